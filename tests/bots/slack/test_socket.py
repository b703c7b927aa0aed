"""Socket Mode, files, history and who runs a room: the started account on the double."""

from __future__ import annotations

from typing import Any

import pytest

from core.contract import Rejected, Retry, Since
from core.model import BotAdded, BotRemoved, MessageDeleted, MessageEdited, MessageNew, NativeId, Text, room_id
from tests.bots.slack.support import SLACK, Bench
from tests.contract.harness import Site
from tests.fakes.slack import Fault


async def test_acknowledged_when_durable(slack: Bench) -> None:
    """An envelope that cannot be made durable is not acknowledged; Slack tells it again, and it has the same id."""
    await slack.start()
    slack.relay.down = True
    slack.double.say(slack.garden, slack.ann, "kept")
    await slack.said("kept")
    assert slack.double.unacked
    slack.relay.down = False
    await slack.double.until(lambda: not slack.double.unacked)
    assert len({event.native for event in slack.relay.seen}) == 1
    assert len(slack.relay.seen) > 1


async def test_a_refresh_is_followed(slack: Bench) -> None:
    """When Slack asks for a new connection, there is one, and the account says so: history fills the gap."""
    await slack.start()
    first = slack.double.sockets[0]
    slack.relay.is_online = False
    await first.send_json({"type": "disconnect", "reason": "refresh_requested"})
    await slack.until(lambda: slack.relay.is_online)
    await slack.double.until(lambda: slack.double.sockets and slack.double.sockets[-1] is not first)
    slack.double.say(slack.garden, slack.ann, "after it")
    await slack.said("after it")


async def test_a_broken_socket_is_mended(slack: Bench) -> None:
    """A connection that breaks is made again; meanwhile posting goes on."""
    await slack.start()
    slack.double.deaf = True
    await slack.double.cut_sockets()
    await slack.adapter.send(slack.out("still posting"))
    slack.relay.is_online = False
    slack.double.deaf = False
    await slack.until(lambda: slack.relay.is_online)
    assert not slack.relay.reasons


async def test_odd_frames_do_no_harm(slack: Bench) -> None:
    """Frames of no or another shape are left alone; what cannot be read is not told for ever."""
    await slack.start()
    socket = slack.double.sockets[0]
    odd: list[Any] = [[], "x", {}, {"envelope_id": 7}, {"envelope_id": "e", "payload": 3}, {"type": "warning"}]
    for frame in odd:
        await socket.send_json(frame)
    await socket.send_str("{not json")
    envelope = slack.double.envelope({"type": "channel_rename", "channel": {"id": slack.garden.id, "name": "x"}})
    await socket.send_json({"envelope_id": "odd", "type": "events_api", "payload": envelope | {"authorizations": [3]}})
    await socket.send_json({"envelope_id": "new", "type": "interactive", "payload": {}})
    await slack.double.until(lambda: [a for a in slack.double.answers if a.get("envelope_id") == "new"])
    slack.double.say(slack.garden, slack.ann, "well")
    await slack.said("well")


async def test_slash_commands(slack: Bench) -> None:
    """A slash command comes through the socket as well; where the app cannot be, the answer is in the envelope's."""
    await slack.start()
    slack.double.command(slack.garden, slack.ann.id, "open")
    assert (await slack.said("/sameroom open")).room == slack.room
    slack.double.command(slack.double.channel("den", slack.ann, is_private=True), slack.ann.id, "open")
    told = await slack.double.until(lambda: [a for a in slack.double.answers if "payload" in a])
    assert "/invite" in told[0]["payload"]["text"]


@pytest.mark.parametrize("change", [{"bot_token": "xoxb-wrong"}, {"app_token": "xapp-wrong"}])
async def test_lost_credentials(slack: Bench, change: dict[str, str]) -> None:
    """A token that Slack does not take is said to the operator."""
    slack.adapter = slack.make(**change)
    await slack.adapter.start(slack.relay)
    await slack.until(lambda: slack.relay.reasons)
    assert "token" in slack.relay.reasons[0]
    assert not slack.relay.is_online


async def test_slack_that_is_down_at_first(slack: Bench) -> None:
    """The account comes online when Slack does."""
    slack.double.faults.append(Fault("auth.test", 503, {}))
    await slack.start()
    assert slack.relay.reasons


async def test_http_accounts_come_online(slack: Bench) -> None:
    """Without an app-level token, the account is online as soon as its token is good."""
    await slack.start(app_token="")
    assert not slack.double.sockets


# --- what is heard ------------------------------------------------------------------------------------------


async def test_comings_and_goings(slack: Bench) -> None:
    """Invited, thrown out, archived: each is told with the room's name, and the rooms are known by name."""
    await slack.start()
    shed = slack.double.channel("shed", slack.ann)
    slack.double.add_bot(shed, slack.ann)
    added = await slack.heard(BotAdded)
    assert (added.title, added.by.name if added.by else "") == ("#shed", "Ann")
    assert {info.title for info in await slack.adapter.rooms()} == {"#garden", "#shed"}
    slack.double.tell({"type": "channel_left", "channel": shed.id, "actor_id": slack.ann.id})
    assert (await slack.heard(BotRemoved)).room == added.room
    assert slack.adapter.room_info(added.room).title == shed.id


async def test_an_edit_is_no_preview(slack: Bench) -> None:
    """A preview of a link and a counted answer are no edits; a change of words is one."""
    await slack.start()
    raw = slack.double.say(slack.garden, slack.ann, "see https://example.org")
    slack.double.unfurl(slack.garden, raw["ts"], "https://example.org")
    slack.double.say(slack.garden, slack.bob, "nice", thread_ts=raw["ts"])
    slack.double.edit(slack.garden, raw["ts"], "look at https://example.org")
    event = await slack.heard(MessageEdited)
    assert event.text == Text("look at https://example.org")
    assert len([e for e in slack.relay.seen if isinstance(e, MessageEdited)]) == 1


async def test_a_deleted_root_leaves_its_thread(slack: Bench) -> None:
    """A message with answers becomes a stone: it is deleted all the same."""
    await slack.start()
    raw = slack.double.say(slack.garden, slack.ann, "root")
    slack.double.say(slack.garden, slack.bob, "below", thread_ts=raw["ts"])
    slack.double.remove(slack.garden, raw["ts"])
    assert (await slack.heard(MessageDeleted)).target == raw["ts"]


async def test_our_own_doings_do_not_come_back(slack: Bench) -> None:
    """Our posts, their edits, deletions and reactions are told to us by Slack, and are no events."""
    await slack.start()
    receipt = await slack.adapter.send(slack.out("ours"))
    await slack.adapter.edit(receipt.natives, slack.out("still ours"))
    await slack.adapter.delete(slack.room, receipt.natives)
    slack.double.say(slack.garden, slack.ann, "somebody else's")
    await slack.said("somebody else's")
    assert len(slack.relay.seen) == 1


async def test_people_of_other_workspaces(slack: Bench) -> None:
    """In a shared channel, a stranger has the name that the event says, and Slack's or nobody's else."""
    await slack.start()
    olga = slack.double.person("Olga", team="T0OTHER01")
    del slack.double.people[olga.id]
    slack.double.say(slack.garden, olga, "hi", user_team="T0OTHER01", user_profile={"display_name": "Olga"})
    assert (await slack.said("hi")).author.name == "Olga"
    eve = slack.double.person("Eve", team="T0OTHER01")
    slack.double.say(slack.garden, eve, "ho")
    assert (await slack.said("ho")).author.name == "Eve"
    vera = slack.double.person("Vera", team="T0OTHER01")
    del slack.double.people[vera.id]
    slack.double.say(slack.garden, vera, "hum")
    assert (await slack.said("hum")).author.name == "Somebody"


async def test_names_are_asked_for_once(slack: Bench) -> None:
    """A name is remembered, also over a restart; a changed profile is learned."""
    await slack.start()
    for number in range(3):
        slack.double.say(slack.garden, slack.ann, f"line {number}")
    await slack.said("line 2")
    await slack.stop()
    await slack.start()
    slack.double.say(slack.garden, slack.ann, "line 3")
    await slack.said("line 3")
    assert len(slack.double.calls("users.info")) == 1
    changed = slack.ann.raw() | {"profile": {"display_name": "Annie"}}
    slack.double.tell({"type": "user_change", "user": changed})
    slack.double.say(slack.garden, slack.ann, "line 4")
    assert (await slack.said("line 4")).author.name == "Annie"


async def test_direct_messages(slack: Bench) -> None:
    """A direct message is a room that is called like the person, who runs it."""
    await slack.start()
    direct = slack.double.channel("bob", slack.bob, im_with=slack.bob.id)
    direct.members.add(slack.double.bot.id)
    slack.double.say(direct, slack.bob, "hello you")
    event = await slack.said("hello you")
    assert slack.adapter.room_info(event.room).title == "Bob"
    assert await slack.adapter.is_admin(event.room, slack.bob.id)
    assert not await slack.adapter.is_admin(event.room, slack.double.person("Eve").id)


async def test_who_runs_a_room(slack: Bench) -> None:
    """The workspace's admins and the channel's creator; admins of other workspaces and bots do not."""
    await slack.start()
    olga = slack.double.person("Olga", team="T0OTHER01", is_admin=True)
    robot = slack.double.person("Robot", is_bot=True, is_admin=True)
    for who, is_admin in (
        (slack.ann.id, True),
        (slack.bob.id, True),
        (slack.double.person("Eve").id, False),
        (olga.id, False),
        (robot.id, False),
        ("U0NOBODY1", False),
        ("Ann", False),
    ):
        assert await slack.adapter.is_admin(slack.room, who) is is_admin, who


async def test_an_invitation(slack: Bench) -> None:
    """It says what to type and where."""
    steps = slack.make().invite("HLDMU-42K7").steps
    assert "/invite @sameroom" in steps[0]
    assert "connect HLDMU-42K7" in steps[1]


# --- history ------------------------------------------------------------------------------------------------


async def test_history_with_threads_and_pages(slack: Bench) -> None:
    """Many pages are read in order, with the answers in threads that began since then, without our own posts."""
    await slack.start()
    before = slack.double.say(slack.garden, slack.ann, "before")
    await slack.said("before")
    await slack.adapter.send(slack.out("ours"))
    slack.double.deaf = True
    root = slack.double.say(slack.garden, slack.ann, "line 000")
    for number in range(1, 230):
        slack.double.say(slack.garden, slack.bob, f"line {number:03}")
    slack.double.say(slack.garden, slack.bob, "below", thread_ts=root["ts"])
    found = await slack.adapter.history(slack.room, Since(NativeId(before["ts"]), 0))
    texts = [event.text.plain for event in found.events if isinstance(event, MessageNew)]
    assert texts == [*(f"line {number:03}" for number in range(230)), "below"]
    assert found.events[-1].thread == root["ts"]  # type: ignore[union-attr]
    assert found.complete
    assert not found.more


async def test_a_limit_in_the_middle_of_a_history_is_waited_for(slack: Bench) -> None:
    """What was read by then is not asked for once more, or a busy channel would never come to its end."""
    await slack.start()
    slack.double.deaf = True
    roots = [slack.double.say(slack.garden, slack.ann, f"root {number}") for number in range(3)]
    for root in roots:
        slack.double.say(slack.garden, slack.bob, f"below {root['text']}", thread_ts=root["ts"])
    slack.double.faults += [
        Fault("conversations.replies", 429, {"ok": False}, headers={"Retry-After": "0.01"}) for _ in range(2)
    ]
    found = await slack.adapter.history(slack.room, Since(NativeId("1.1"), 0))
    texts = [event.text.plain for event in found.events if isinstance(event, MessageNew)]
    assert texts == [*(f"root {number}" for number in range(3)), *(f"below root {number}" for number in range(3))]
    assert not slack.double.faults
    assert len([1 for method, _ in slack.double.transcript if method == "conversations.history"]) == 1


async def test_history_from_a_moment(slack: Bench) -> None:
    """After a command, whose id Slack does not know, the time counts."""
    await slack.start()
    raw = slack.double.say(slack.garden, slack.ann, "said")
    moment = int(float(raw["ts"]) * 1000)
    since = Since(NativeId("command:1.2.x"), moment - 2000)
    assert [e.native for e in (await slack.adapter.history(slack.room, since)).events] == [raw["ts"]]
    since = Since(NativeId("command:1.2.x"), moment + 2000)
    assert not (await slack.adapter.history(slack.room, since)).events


async def test_history_waits_when_slack_says_so(slack: Bench) -> None:
    """A limit on reading is a limit and no loss."""
    await slack.start()
    slack.double.faults.append(Fault("conversations.history", 429, {"ok": False}, headers={"Retry-After": "3"}))
    with pytest.raises(Retry) as caught:
        await slack.adapter.history(slack.room, Since(NativeId("1.1"), 0))
    assert caught.value.after_s == 3.0


# --- files --------------------------------------------------------------------------------------------------


async def read(slack: Bench, ref: str) -> bytes:
    """All of a file."""
    return b"".join([chunk async for chunk in slack.adapter.open_file(ref)])


def private(slack: Bench, url: str, **more: Any) -> str:
    """A file that Slack says is at ``url``."""
    made = slack.double.file("x.bin", b"x" * 5000, "application/octet-stream", slack.double.url, slack.ann.id)
    made |= {"url_private": url, "url_private_download": url} | more
    return str(made["id"])


async def test_a_shared_file_of_another_workspace(slack: Bench) -> None:
    """What the event does not say of a file is asked for."""
    await slack.start()
    made = slack.double.file("plan.pdf", b"%PDF", "application/pdf", slack.double.url, slack.ann.id)
    slack.double.say(
        slack.garden,
        slack.ann,
        "see",
        subtype="file_share",
        files=[{"id": made["id"], "file_access": "check_file_info"}],
    )
    event = await slack.said("see")
    assert (event.files[0].name, event.files[0].mime, event.files[0].size_bytes) == ("plan.pdf", "application/pdf", 4)
    assert await read(slack, event.files[0].ref) == b"%PDF"


@pytest.mark.parametrize(
    "url",
    [
        "http://evil.example.org/x",
        "https://files.slack.com.evil.example.org/x",
        "https://evil.example.org/files.slack.com",
        "https://files.slack.com@evil.example.org/x",
        "https://u:p@127.0.0.1/x",
        "file:///etc/passwd",
        "http://[::ffff:127.0.0.1]/x",
        "http://2130706433/x",
        "http://localhost/x",
        "//127.0.0.1/x",
        "http://[",
        "",
    ],
)
async def test_the_token_goes_to_slack_only(slack: Bench, url: str) -> None:
    """A file's address elsewhere is refused before anything is asked there."""
    await slack.start()
    with pytest.raises(Rejected, match="server of Slack's"):
        await read(slack, private(slack, url))
    assert not slack.double.downloads


async def test_names_that_lead_inside_are_refused(slack: Bench) -> None:
    """A host that is allowed by name but leads into our own network gets no connection."""
    await slack.start(file_hosts=("localhost",))
    url = slack.double.url.replace("127.0.0.1", "localhost")
    with pytest.raises((Rejected, Retry)):
        await read(slack, private(slack, f"{url}/files-pri/T-F0X/x"))
    assert not slack.double.downloads


async def test_redirects_are_not_followed(slack: Bench) -> None:
    """The token does not go on to where a file's server points."""
    site = Site()
    await site.start()
    await slack.start()
    native = private(slack, "")
    slack.double.files[native]["url_private_download"] = f"{slack.double.url}/files-pri/T-{native}/x"
    slack.double.files_elsewhere = f"{site.url}/f/stolen"
    with pytest.raises(Rejected, match="302"):
        await read(slack, native)
    await site.stop()


async def test_large_files_end(slack: Bench) -> None:
    """A file is read up to the limit and no further, whatever Slack says of its size."""
    await slack.start(file_limit_bytes=1000)
    native = private(slack, "")
    slack.double.files[native] |= {"url_private": f"{slack.double.url}/files-pri/T-{native}/x", "size": 10}
    with pytest.raises(Rejected, match="larger than 1000"):
        await read(slack, native)


async def test_a_sign_in_page_is_no_file(slack: Bench) -> None:
    """Where the app may not read files, Slack hands out a page to sign in; that is said so."""
    await slack.start()
    native = private(slack, "")
    slack.double.files[native]["url_private"] = f"{slack.double.url}/files-pri/T-{native}/x"
    slack.adapter._api._config = slack.make(bot_token="xoxb-other-token")._config
    with pytest.raises(Rejected, match="files:read"):
        async for _ in slack.adapter._api.download(slack.double.files[native]["url_private"], "image/png"):
            pass


@pytest.mark.parametrize("ref", ["", "x", "../F0X", "F0X?token=1", "f0small", "F0MISSING1"])
async def test_files_that_are_gone(slack: Bench, ref: str) -> None:
    """A reference that is none is refused in words."""
    await slack.start()
    with pytest.raises(Rejected, match="file"):
        await read(slack, ref)


async def test_two_rooms_of_one_account(slack: Bench) -> None:
    """What is said in two channels comes from two rooms."""
    await slack.start()
    shed = slack.double.channel("shed", slack.ann)
    shed.members.add(slack.double.bot.id)
    slack.double.say(shed, slack.ann, "in the shed")
    assert (await slack.said("in the shed")).room == room_id(SLACK, shed.id)

"""What comes in: who said what, in which order, once; where the bot is; and what was said while it was away."""

from __future__ import annotations

import asyncio
import json

import pytest

from core.contract import Since
from core.model import (
    BotAdded,
    BotRemoved,
    Joined,
    Left,
    MessageDeleted,
    MessageEdited,
    MessageNew,
    NativeId,
    Reaction,
    RoomRenamed,
    Typing,
    room_id,
)
from core.store import StoreDown
from tests.bots.mattermost.conftest import ACCOUNT, Garden
from tests.contract.stage import Recorder
from tests.fakes.mattermost import Fault
from tests.fakes.mattermost_world import new_id


def said(garden: Garden) -> list[str]:
    """All new messages so far."""
    return [event.text.plain for event in garden.events.seen if isinstance(event, MessageNew)]


async def marked(garden: Garden) -> None:
    """Wait until all that happened so far was heard."""
    mark = new_id()
    garden.say(mark)
    await garden.heard(MessageNew, lambda e: e.text.plain == mark)
    garden.events.seen = [e for e in garden.events.seen if not (isinstance(e, MessageNew) and e.text.plain == mark)]


async def test_our_own_doings_do_not_come_back(garden: Garden) -> None:
    """Posts, edits, reactions and deletions of ours are no events, whatever name they stand under."""
    receipt = await garden.adapter.send(garden.post("ours"))
    await garden.adapter.edit(receipt.natives, garden.post("ours still"))
    await garden.adapter.react(garden.room, receipt.natives[0], "👍", True, garden.post("x").author)  # type: ignore[arg-type]
    await garden.adapter.delete(garden.room, receipt.natives)
    await garden.adapter.typing(garden.room, garden.post("x").author)  # type: ignore[arg-type]
    await marked(garden)
    kept = (MessageNew, MessageEdited, MessageDeleted, Reaction, Typing)
    assert not [event for event in garden.events.seen if isinstance(event, kept)]


async def test_bots_are_marked(garden: Garden) -> None:
    """Another bot and a webhook are bridged, and a webhook never has the rights of the person who made it."""
    other = garden.double.person("helper", is_bot=True)
    garden.channel.members[other.id] = False
    garden.double.post(other, garden.channel, "beep", props={"from_bot": "true"})
    hook = {"from_webhook": "true", "override_username": "Ann", "webhook_display_name": "News"}
    garden.double.post(garden.ann, garden.channel, "from a hook", props=hook)
    beep = await garden.heard(MessageNew, lambda e: e.text.plain == "beep")
    assert (beep.bridged, beep.author.is_bot, beep.author.name) == (True, True, "helper")
    hooked = await garden.heard(MessageNew, lambda e: e.text.plain == "from a hook")
    assert (hooked.bridged, hooked.author.name) == (True, "News")
    garden.channel.members[garden.ann.id] = True
    assert await garden.adapter.is_admin(garden.room, garden.ann.id)
    assert not await garden.adapter.is_admin(garden.room, hooked.author.id)


async def test_system_posts_are_no_words(garden: Garden) -> None:
    """Who joined and what was renamed are events, never messages; pinning is no edit."""
    cleo = garden.double.person("Cleo")
    garden.double.add(cleo, garden.channel, garden.bob)
    garden.double.rename(garden.channel, "Orchard", garden.bob)
    garden.double.remove(cleo, garden.channel, garden.bob)
    garden.double.pin(garden.say("pinned"))
    garden.say("vanishes", type="burn_on_read")
    await marked(garden)
    assert said(garden) == ["pinned"]
    assert (await garden.heard(Joined)).author.name == "Cleo"
    assert (await garden.heard(Left)).author.name == "Cleo"
    assert (await garden.heard(RoomRenamed)).title == "Orchard"
    assert garden.adapter.room_info(garden.room).title == "Orchard"
    assert not [event for event in garden.events.seen if isinstance(event, MessageEdited)]


async def test_coming_and_going(garden: Garden) -> None:
    """Added, removed, archived: the core is told, and nothing is heard where the bot is not."""
    attic = garden.double.channel("Attic", garden.team, garden.ann)
    garden.double.add(garden.double.bot, attic, garden.ann)
    room = room_id(ACCOUNT, attic.id)
    added = await garden.heard(BotAdded, lambda e: e.room == room)
    assert (added.title, added.greet) == ("Attic", True)
    assert garden.adapter.room_info(room).detail == "Village"
    garden.double.remove(garden.double.bot, attic, garden.ann)
    await garden.heard(BotRemoved, lambda e: e.room == room)
    garden.double.archive(garden.channel)
    assert "archived" in (await garden.heard(BotRemoved, lambda e: e.room == garden.room)).reason
    assert len([e for e in garden.events.seen if isinstance(e, BotRemoved)]) == 2


async def test_the_first_start_greets_nobody(garden: Garden) -> None:
    """Where the bot is already it says nothing; the town square, where the server puts everybody, is not greeted."""
    assert not (await garden.heard(BotAdded)).greet
    square = garden.double.channel("Town Square", garden.team, garden.ann)
    garden.double.add(garden.double.bot, square, garden.ann)
    assert not (await garden.heard(BotAdded, lambda e: e.title == "Town Square")).greet


async def test_who_calls_us_while_we_sign_in_is_greeted_once(quiet: Garden) -> None:
    """A channel that we are brought into while the first list of channels is read is no old one."""
    attic = quiet.double.channel("Attic", quiet.team, quiet.ann)
    hold = asyncio.Event()
    quiet.double.faults.append(Fault("GET users/me/channels", hold=hold))
    starting = asyncio.create_task(quiet.start())
    await quiet.double.until(lambda: not quiet.double.faults)
    quiet.double.add(quiet.double.bot, attic, quiet.ann)
    hold.set()
    await starting
    await marked(quiet)
    greeted = [event.title for event in quiet.events.seen if isinstance(event, BotAdded) and event.greet]
    assert greeted == ["Attic"]


async def test_what_changed_while_away_is_told(garden: Garden) -> None:
    """A channel that the bot was added to, removed from, or that was renamed meanwhile."""
    await garden.adapter.stop()
    attic = garden.double.channel("Attic", garden.team, garden.double.bot)
    garden.channel.display_name = "Orchard"
    await garden.start()
    assert (await garden.heard(BotAdded, lambda e: e.room == room_id(ACCOUNT, attic.id))).greet
    assert (await garden.heard(RoomRenamed)).title == "Orchard"
    await garden.adapter.stop()
    del garden.channel.members[garden.double.bot.id]
    await garden.start()
    await garden.heard(BotRemoved, lambda e: e.room == garden.room)


async def test_direct_messages(garden: Garden) -> None:
    """A direct message is a room called like the other person, who runs it."""
    channel = garden.double.direct(garden.ann, garden.double.bot)
    garden.double.post(garden.ann, channel, "psst")
    event = await garden.heard(MessageNew, lambda e: e.text.plain == "psst")
    assert garden.adapter.room_info(event.room).title == "Ann"
    assert await garden.adapter.is_admin(event.room, garden.ann.id)
    assert not await garden.adapter.is_admin(event.room, garden.bob.id)


async def test_who_runs_a_channel(garden: Garden) -> None:
    """Admins of the channel and of its team, by the server's word at that moment; nobody by a made-up id."""
    assert not await garden.adapter.is_admin(garden.room, garden.ann.id)
    garden.channel.members[garden.ann.id] = True
    assert await garden.adapter.is_admin(garden.room, garden.ann.id)
    garden.double.team_admins.add((garden.team, garden.bob.id))
    assert await garden.adapter.is_admin(garden.room, garden.bob.id)
    assert not await garden.adapter.is_admin(garden.room, "../../users/me")


async def test_names_change_and_are_learned(garden: Garden) -> None:
    """A new nickname counts from the next message on, and survives in the store."""
    garden.say("one")
    await garden.heard(MessageNew)
    garden.ann.nickname = "Annie"
    garden.double.tell("user_updated", {"user": garden.ann.raw()})
    garden.say("two")
    assert (await garden.heard(MessageNew, lambda e: e.text.plain == "two")).author.name == "Annie"
    await garden.start()
    garden.double.faults.append(Fault("GET users/[a-z0-9]{26}", 500))
    garden.say("three")
    assert (await garden.heard(MessageNew, lambda e: e.text.plain == "three")).author.name == "Annie"


async def test_a_name_that_cannot_be_asked_costs_no_message(garden: Garden) -> None:
    """Where the server does not tell who it is, the event's own word for the sender has to do."""
    garden.double.faults.append(Fault(f"GET users/{garden.ann.id}", 500))
    garden.say("hello")
    assert (await garden.heard(MessageNew)).author.name == "ann"


# --- the stream


async def test_a_broken_connection_goes_on(garden: Garden) -> None:
    """After a break the server sends what was missed, once: reactions too, which no history has."""
    post = garden.say("before")
    await garden.heard(MessageNew)
    garden.double.cut()
    garden.double.react(garden.bob, post, "tada")
    garden.say("meanwhile")
    assert (await garden.heard(Reaction)).emoji == "🎉"
    await garden.heard(MessageNew, lambda e: e.text.plain == "meanwhile")
    assert said(garden) == ["before", "meanwhile"]
    assert len(garden.double.connections) == 1


async def test_a_gap_is_noticed(garden: Garden) -> None:
    """An event that is missing in the numbers is asked for again, before anything that came after it."""
    connection = garden.double.connections[0]
    garden.say("one")
    await garden.heard(MessageNew)
    number, frame = connection.seq, {"event": "status_change", "data": {}, "broadcast": {}}
    connection.log.append((number + 1, json.dumps(frame | {"seq": number + 1})))
    connection.news.set()
    await garden.until(lambda: garden.events.reasons)
    connection.log.pop()
    garden.say("two")
    garden.say("three")
    await garden.heard(MessageNew, lambda e: e.text.plain == "three")
    assert said(garden) == ["one", "two", "three"]
    assert "missed" in garden.events.reasons[0]


async def test_a_restarted_server_is_read_anew(garden: Garden) -> None:
    """Where the server greets anew, the account comes online again, which reads the history."""
    garden.double.cut(forget=True)
    garden.say("meanwhile")
    await garden.until(lambda: garden.events.reasons and garden.events.is_online)
    garden.say("live")
    await garden.heard(MessageNew, lambda e: e.text.plain == "live")


async def test_the_token_in_the_first_frame_signs_in(quiet: Garden) -> None:
    """Behind a proxy that takes the header away, the challenge works."""
    quiet.double.headers_pass = False
    await quiet.start()
    quiet.say("hello")
    await quiet.heard(MessageNew)
    assert quiet.double.challenges == 1


async def test_a_revoked_token_is_said_so(garden: Garden) -> None:
    """The account goes offline with words for the operator, and posts wait."""
    garden.double.bot.token = new_id()
    garden.double.cut()
    await garden.until(lambda: any("token" in reason for reason in garden.events.reasons))
    with pytest.raises(Exception, match="token"):
        await garden.adapter.send(garden.post("hello"))


async def test_what_cannot_be_read_does_no_harm(garden: Garden) -> None:
    """Frames of unknown kinds and broken posts are passed over."""
    for event, data in (
        ("posted", {"post": "{not json"}),
        ("posted", {"post": '{"id": 7}'}),
        ("posted", {}),
        ("reaction_added", {"reaction": "[]"}),
        ("custom_com.example.plugin_event", {"anything": [1, 2]}),
        ("user_updated", {"user": {"id": "../x"}}),
        ("channel_updated", {"channel": "?"}),
        ("typing", {"user_id": 9}),
        ("odd", ["a", "list"]),
    ):
        garden.double.tell(event, data, channel_id=garden.channel.id)  # type: ignore[arg-type]
    await marked(garden)
    assert said(garden) == []
    assert not garden.events.reasons


async def test_an_event_that_crashes_is_passed_over(garden: Garden) -> None:
    """An answer nobody expects while reading one event does not stop what comes after it."""
    garden.double.faults.append(Fault(f"GET channels/{garden.channel.id}", 200, "[1]"))
    garden.double.tell("channel_updated", {}, channel_id=garden.channel.id)
    await marked(garden)
    assert not garden.events.reasons


async def test_an_event_whose_answer_fails_comes_again(garden: Garden) -> None:
    """Where the server does not answer what an event needs, the event is read again after a new connection."""
    attic = garden.double.channel("Attic", garden.team, garden.ann)
    garden.double.faults.append(Fault(f"GET channels/{attic.id}", 503, "busy"))
    garden.double.add(garden.double.bot, attic, garden.ann)
    garden.say("after it")
    await garden.heard(MessageNew)
    kinds = [type(event) for event in garden.events.seen if event.room != garden.room or isinstance(event, MessageNew)]
    assert kinds == [BotAdded, MessageNew]


async def test_the_store_is_waited_for(quiet: Garden) -> None:
    """While the relay cannot store anything, nothing more is read; then everything goes on in order."""

    class Down(Recorder):
        is_down = False

        async def accepted(self) -> None:
            if self.is_down:
                self.is_down = False
                raise StoreDown("away")

    quiet.events = down = Down()
    await quiet.start()
    down.is_down = True
    quiet.say("one")
    quiet.say("two")
    await quiet.heard(MessageNew, lambda e: e.text.plain == "two")
    assert said(quiet) == ["one", "two"]
    assert not down.is_down


# --- history


async def test_history_has_edits_and_deletions(garden: Garden) -> None:
    """What became of older messages while we were away comes first, with the ids that it has live."""
    posts = [garden.say(words) for words in ("stays", "changes", "goes")]
    await garden.heard(MessageNew, lambda e: e.text.plain == "goes")
    await garden.adapter.stop()
    garden.double.edit(posts[1], "changed")
    garden.double.delete(posts[2], garden.ann)
    garden.say("new", root_id=posts[0]["id"])
    await garden.start()
    found = await garden.adapter.history(garden.room, Since(NativeId(posts[2]["id"]), posts[2]["create_at"]))
    edit, delete, new = found.events
    assert isinstance(edit, MessageEdited)
    assert (edit.target, edit.text.plain) == (posts[1]["id"], "changed")
    assert isinstance(delete, MessageDeleted)
    assert delete.target == posts[2]["id"]
    assert isinstance(new, MessageNew)
    assert (new.text.plain, new.thread, new.author.name) == ("new", posts[0]["id"], "Ann")
    assert found.complete
    assert not found.more


async def test_history_of_many_pages(garden: Garden) -> None:
    """Five hundred messages, and more of our own than a page between them, are read to the end."""
    first = garden.say("first")
    wanted = []
    for number in range(500):
        user = garden.double.bot if 100 <= number < 400 else garden.ann
        garden.double.post(user, garden.channel, f"n{number}")
        wanted += [f"n{number}"] if user is garden.ann else []
    since, texts, more = Since(NativeId(first["id"]), first["create_at"]), [], True
    while more:
        found = await garden.adapter.history(garden.room, since)
        new = [event for event in found.events if isinstance(event, MessageNew)]
        texts += [event.text.plain for event in new]
        more = found.more and bool(new)
        since = Since(new[-1].native, new[-1].at_ms) if new else since
    assert texts == wanted


async def test_history_without_changes(garden: Garden) -> None:
    """Where the list of changes is too much to be read, what was said is read all the same."""
    first = garden.say("first")
    garden.say("second")
    garden.double.faults.append(Fault(f"GET channels/{garden.channel.id}/posts", 200, "[" * 17_000_000))
    found = await garden.adapter.history(garden.room, Since(NativeId(first["id"]), first["create_at"]))
    assert [event.text.plain for event in found.events if isinstance(event, MessageNew)] == ["second"]


async def test_history_after_a_post_that_is_gone_for_good(garden: Garden) -> None:
    """Where the server no longer knows the last post we heard, it is asked by time instead."""
    first = garden.say("first")
    garden.say("second")
    del garden.double.posts[first["id"]]
    found = await garden.adapter.history(garden.room, Since(NativeId(first["id"]), first["create_at"]))
    assert [event.text.plain for event in found.events if isinstance(event, MessageNew)] == ["second"]

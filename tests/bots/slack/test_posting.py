"""What goes out: posts, threads, files, edits, reactions, and what every refusal means."""

from __future__ import annotations

import logging
import traceback
from collections.abc import AsyncIterator
from typing import Any

import pytest

from core.contract import AuthLost, Offline, OutFile, Rejected, Retry, Uncertain
from core.model import Author, Entity, NativeId, Text, room_id
from core.text.mass import MASS_MENTIONS
from tests.bots.slack.support import SLACK, ZOE, Bench
from tests.fakes.slack import APP_TOKEN, BOT_TOKEN, SECRET, Fault
from tests.servers.store import dump_of

PNG = b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR" + bytes(3000)


def file(name: str, data: bytes, size_bytes: int | None = None) -> OutFile:
    """A file whose origin hands it over in small pieces."""

    async def chunks() -> AsyncIterator[bytes]:
        for start in range(0, len(data), 1000):
            yield data[start : start + 1000]

    size = len(data) if size_bytes is None else size_bytes
    return OutFile(name, "image/png", size, f"https://bridge.example.org/f/{name}", chunks)


def refused(error: str, **more: Any) -> dict[str, Any]:
    """An answer that says no."""
    return {"ok": False, "error": error} | more


# --- errors -------------------------------------------------------------------------------------------------

POST = "chat.postMessage"


@pytest.mark.parametrize(
    ("fault", "error", "words"),
    [
        (Fault(POST, 200, refused("invalid_auth")), AuthLost, "OAuth & Permissions"),
        (Fault(POST, 200, refused("token_revoked")), AuthLost, "token_revoked"),
        (Fault(POST, 200, refused("account_inactive")), AuthLost, "account_inactive"),
        (Fault(POST, 200, refused("not_in_channel")), Rejected, "/invite"),
        (Fault(POST, 200, refused("no_permission")), Rejected, "/invite"),
        (Fault(POST, 200, refused("is_archived")), Rejected, "archived"),
        (Fault(POST, 200, refused("missing_scope", needed="chat:write")), Rejected, "chat:write"),
        (Fault(POST, 200, refused("something_new")), Rejected, "something_new"),
        (Fault(POST, 200, refused("ratelimited")), Retry, "slow down"),
        (Fault(POST, 429, refused("ratelimited"), headers={"Retry-After": "7"}), Retry, "slow down"),
        (Fault(POST, 429, "no json", headers={"Retry-After": "soon"}), Retry, "slow down"),
        (Fault(POST, 200, refused("team_added_to_org")), Retry, "organisation"),
        (Fault(POST, 200, refused("internal_error")), Uncertain, "internal_error"),
        (Fault(POST, 200, refused("fatal_error")), Uncertain, "fatal_error"),
        (Fault(POST, 500, {}), Uncertain, "500"),
        (Fault(POST, 502, "<html>"), Uncertain, "502"),
        (Fault(POST, 200, {"weather": "fine"}), Uncertain, "200"),
        (Fault(POST, 200, []), Uncertain, "200"),
        (Fault(POST, cut="before"), Uncertain, "did not answer"),
        (Fault(POST, cut="after"), Uncertain, "did not answer"),
        (Fault(POST, delay_s=2.0), Uncertain, "did not answer"),
    ],
)
async def test_errors(slack: Bench, fault: Fault, error: type[Exception], words: str) -> None:
    """Every way to fail is the right error, in plain words."""
    await slack.start()
    slack.double.faults.append(fault)
    with pytest.raises(error, match=words) as caught:
        await slack.adapter.send(slack.out("lost?"))
    assert type(caught.value) is error or isinstance(caught.value, Rejected)
    if isinstance(caught.value, Retry):
        assert caught.value.after_s == (7.0 if fault.headers.get("Retry-After") == "7" else 5.0)
        assert caught.value.whole_account == (words == "organisation")


async def test_too_fast(slack: Bench) -> None:
    """When Slack says slow down, it is not sent, and how long to wait is Slack's word."""
    await slack.start()
    slack.double.posts_per_s = 1
    await slack.adapter.send(slack.out("one"))
    with pytest.raises(Retry) as caught:
        await slack.adapter.send(slack.out("two"))
    assert caught.value.after_s == 1.0
    assert [raw["text"] for raw in slack.posts()] == ["one"]


async def test_nobody_there(slack: Bench) -> None:
    """A service that is not reached has certainly posted nothing; nor has an account that is not started."""
    slack.adapter = slack.make(api_url="http://127.0.0.1:9/api")
    with pytest.raises(Offline):
        await slack.adapter.send(slack.out("x"))
    await slack.adapter.start(slack.relay)
    with pytest.raises(Offline, match="cannot be reached"):
        await slack.adapter.send(slack.out("x"))


async def test_nothing_to_post(slack: Bench) -> None:
    """A message that shows nothing is refused in words."""
    await slack.start()
    with pytest.raises(Rejected, match="nothing in it"):
        await slack.adapter.send(slack.out(" \n"))


# --- posts --------------------------------------------------------------------------------------------------


async def test_authors_have_names_and_pictures(slack: Bench) -> None:
    """A post stands under its author's name and picture; the bot's own words under its own."""
    await slack.start()
    await slack.adapter.send(slack.out("hello"))
    await slack.adapter.send(slack.out("I am the bot", author=None))
    odd = Author("x:1", "Eve", "javascript:alert(1)")
    await slack.adapter.send(slack.out("no picture", author=odd))
    first, second, third = slack.posts()
    assert (first["username"], first["icons"]["image_48"]) == ("Zoë", ZOE.avatar_url)
    assert "username" not in second
    assert third["username"] == "Eve"
    assert "icons" not in third


async def test_without_the_right_to_names(slack: Bench) -> None:
    """Without chat:write.customize the core puts names into the text, and nothing is refused."""
    slack.double.scopes.discard("chat:write.customize")
    await slack.start(customize=False)
    caps = slack.adapter.capabilities(slack.room)
    assert (caps.names, caps.avatars, caps.bold_names) == ("fallback", "drop", True)
    await slack.adapter.send(slack.out("Zoë (IRC): hello"))
    assert "username" not in slack.posts()[0]


@pytest.mark.parametrize("mention", MASS_MENTIONS)
async def test_mass_mentions(slack: Bench, mention: str) -> None:
    """No way to call everybody goes out, as text or in blocks."""
    slack.adapter = slack.make()
    await slack.adapter.start(slack.relay)
    await slack.adapter.send(slack.out(f"{mention} come"))
    params = slack.double.calls(POST)[0]
    assert params["parse"] == "none"
    assert params["link_names"] == "false"
    assert "<" not in params["text"]
    elements = [element for line in params["blocks"][0]["elements"] for element in line["elements"]]
    assert {element["type"] for element in elements} == {"text"}


async def test_another_try_goes_on(slack: Bench) -> None:
    """A long message whose second part was refused for now is completed, not begun anew."""
    await slack.start()
    outbound = slack.out("word " * 1500)
    slack.double.faults.append(Fault("none"))
    first = slack.adapter._api.call

    async def second_fails(method: str, **params: Any) -> Any:
        if method == POST and slack.posts():
            slack.adapter._api.call = first
            raise Retry(1.0)
        return await first(method, **params)

    slack.adapter._api.call = second_fails
    with pytest.raises(Retry):
        await slack.adapter.send(outbound)
    receipt = await slack.adapter.send(outbound)
    assert [raw["ts"] for raw in slack.posts()] == list(receipt.natives)
    assert len(receipt.natives) == 2


async def test_a_post_that_may_have_arrived_is_found(slack: Bench) -> None:
    """After a cut, the key in the post's metadata tells whether it is there; the missing part only is sent then."""
    await slack.start()
    lost, made = slack.out("lost"), slack.out("word " * 1500)
    slack.double.faults.append(Fault(POST, cut="before"))
    with pytest.raises(Uncertain):
        await slack.adapter.send(lost)
    assert await slack.adapter.find_sent(lost) is None
    slack.double.faults.append(Fault(POST, cut="after"))
    with pytest.raises(Uncertain):
        await slack.adapter.send(made)
    await slack.stop()
    await slack.start()
    assert await slack.adapter.find_sent(made) is None
    receipt = await slack.adapter.send(made)
    assert [raw["ts"] for raw in slack.posts()] == list(receipt.natives)
    assert await slack.adapter.find_sent(made) == receipt


async def test_a_post_in_a_thread_is_found(slack: Bench) -> None:
    """A post below another one is looked for in its thread."""
    await slack.start()
    root = slack.double.say(slack.garden, slack.ann, "root")
    outbound = slack.out("below", thread=NativeId(root["ts"]))
    receipt = await slack.adapter.send(outbound)
    assert await slack.adapter.find_sent(outbound) == receipt


# --- threads ------------------------------------------------------------------------------------------------


async def test_answers(slack: Bench) -> None:
    """An answer stands in the thread and in the channel; one to a message in a thread stands in that thread only."""
    await slack.start()
    root = slack.double.say(slack.garden, slack.ann, "root")
    first = await slack.adapter.send(slack.out("answer", reply_to=NativeId(root["ts"])))
    await slack.adapter.send(slack.out("to the answer", reply_to=first.natives[0]))
    near = slack.double.say(slack.garden, slack.bob, "near", thread_ts=root["ts"])
    await slack.said("near")
    await slack.adapter.send(slack.out("to the near one", reply_to=NativeId(near["ts"])))
    calls = slack.double.calls(POST)
    assert [call["thread_ts"] for call in calls] == [root["ts"]] * 3
    assert [call.get("reply_broadcast") for call in calls] == ["true", None, None]


@pytest.mark.parametrize(("replies", "level", "thread"), [("thread", "partial", True), ("words", "fallback", False)])
async def test_answers_as_the_operator_likes(slack: Bench, replies: str, level: str, thread: bool) -> None:
    """Answers stand in threads only, or nowhere in threads."""
    await slack.start(replies=replies)
    assert slack.adapter.capabilities(slack.room).reply == level
    root = slack.double.say(slack.garden, slack.ann, "root")
    await slack.adapter.send(slack.out("answer", reply_to=NativeId(root["ts"])))
    call = slack.double.calls(POST)[0]
    assert ("thread_ts" in call, "reply_broadcast" in call) == (thread, False)


async def test_an_answer_to_what_is_gone(slack: Bench) -> None:
    """What answers a deleted message stands in the channel."""
    await slack.start()
    outbound = slack.out("late", reply_to=NativeId("1700000000.000100"))
    receipt = await slack.adapter.send(outbound)
    assert "thread_ts" not in slack.posts()[0]
    assert await slack.adapter.find_sent(outbound) == receipt


# --- edits, deletions, reactions ----------------------------------------------------------------------------


async def test_edits_of_other_lengths(slack: Bench) -> None:
    """An edit that needs more parts posts them, one that needs fewer deletes the rest."""
    await slack.start()
    receipt = await slack.adapter.send(slack.out("short"))
    longer = await slack.adapter.edit(receipt.natives, slack.out("word " * 1500))
    assert len(longer.natives) == 2
    assert longer.natives[0] == receipt.natives[0]
    shorter = await slack.adapter.edit(longer.natives, slack.out("short again"))
    assert shorter == receipt
    assert [raw["text"] for raw in slack.posts()] == ["short again"]


async def test_foreign_messages_stay(slack: Bench) -> None:
    """What is not ours cannot be changed or deleted, and that is said."""
    await slack.start()
    native = NativeId(slack.double.say(slack.garden, slack.ann, "mine")["ts"])
    with pytest.raises(Rejected, match="does not let the app change"):
        await slack.adapter.edit([native], slack.out("x"))
    with pytest.raises(Rejected, match="does not let the app delete"):
        await slack.adapter.delete(slack.room, [native])


async def test_reactions_of_many(slack: Bench) -> None:
    """An emoji stands as long as anybody elsewhere wants it; several may stand."""
    await slack.start()
    native = NativeId(slack.double.say(slack.garden, slack.ann, "nice")["ts"])
    yan = Author("irc:yan", "Yan")

    def standing() -> list[str]:
        return sorted(slack.garden.messages[native]["reactions"])

    for emoji, added, who in (("👍", True, ZOE), ("👍", True, yan), ("🎉", True, yan), ("👍", False, ZOE)):
        await slack.adapter.react(slack.room, native, emoji, added, who)
    assert standing() == ["+1", "tada"]
    await slack.adapter.react(slack.room, native, "👍", False, yan)
    assert standing() == ["tada"]


@pytest.mark.parametrize(
    ("emoji", "name"),
    [("👨🏽‍🌾", "male-farmer"), (":party-leek:", "party-leek"), ("❤️", "heart"), ("👍🏽", "+1::skin-tone-4")],
)
async def test_reactions_with_odd_names(slack: Bench, emoji: str, name: str) -> None:
    """Tones that Slack has not are left out; a workspace's own emoji are found by their names."""
    await slack.start()
    native = NativeId(slack.double.say(slack.garden, slack.ann, "nice")["ts"])
    await slack.adapter.react(slack.room, native, emoji, True, ZOE)
    assert list(slack.garden.messages[native]["reactions"]) == [name]
    await slack.adapter.react(slack.room, native, emoji, False, ZOE)
    assert not slack.garden.messages[native]["reactions"]


async def test_reactions_that_cannot_be(slack: Bench) -> None:
    """What Slack has no emoji for is refused, and then said in words; a message that is gone is no error."""
    await slack.start()
    native = NativeId(slack.double.say(slack.garden, slack.ann, "nice")["ts"])
    for emoji in (":no-such-thing:", "🦩", "not an emoji"):
        with pytest.raises(Rejected, match="no such emoji"):
            await slack.adapter.react(slack.room, native, emoji, True, ZOE)
    await slack.adapter.react(slack.room, NativeId("1700000000.000100"), "👍", True, ZOE)
    assert not slack.garden.messages[native]["reactions"]


# --- files --------------------------------------------------------------------------------------------------


async def test_files(slack: Bench) -> None:
    """The words stand under the author's name, the files below them with the name beside; all have ids."""
    await slack.start()
    outbound = slack.out("two plans", files=(file("a.png", PNG), file("b.png", PNG)))
    receipt = await slack.adapter.send(outbound)
    words, first, second = slack.posts()
    assert [raw["ts"] for raw in (words, first, second)] == list(receipt.natives)
    assert first["text"] == "Zoë:"
    assert slack.double.contents[second["files"][0]["id"]] == PNG
    assert await slack.adapter.find_sent(outbound) == receipt
    edited = await slack.adapter.edit(receipt.natives, slack.out("two drawings"))
    assert edited == receipt
    assert slack.posts()[0]["text"] == "two drawings"
    await slack.adapter.delete(slack.room, receipt.natives)
    assert not slack.posts()


async def test_a_file_that_may_have_arrived_is_found(slack: Bench) -> None:
    """After a cut while a file was shared, Slack says where it stands, and it is not shared twice."""
    await slack.start()
    outbound = slack.out("", files=(file("a.png", PNG),))
    slack.double.faults.append(Fault("files.completeUploadExternal", cut="after"))
    with pytest.raises(Uncertain):
        await slack.adapter.send(outbound)
    receipt = await slack.adapter.find_sent(outbound)
    assert receipt is not None
    assert [raw["ts"] for raw in slack.posts()] == list(receipt.natives)


@pytest.mark.parametrize(
    "fault", [Fault("files.info", 429, refused("ratelimited")), Fault("files.info", 200, refused("file_not_found"))]
)
async def test_a_file_is_shared_once_though_slack_does_not_say_where(slack: Bench, fault: Fault) -> None:
    """Once a file is shared, no trouble with asking where it stands has it shared again."""
    await slack.start()
    slack.double.faults.append(fault)
    receipt = await slack.adapter.send(slack.out("", files=(file("a.png", PNG),)))
    assert [raw["ts"] for raw in slack.posts()] == list(receipt.natives)


async def test_files_that_cannot_be(slack: Bench) -> None:
    """What is too large, empty, gone, or lies about its size is a link; the words stand there all the same."""
    await slack.start(file_limit_bytes=5000)
    await slack.adapter.send(slack.out("big", files=(file("big.png", PNG, 9999),)))
    assert "https://bridge.example.org/f/big.png" in slack.posts()[0]["text"]
    outbound = slack.out("see", files=(file("empty.png", b"", 5), file("lies.png", PNG * 3, 10), file("a.png", PNG)))
    receipt = await slack.adapter.send(outbound)
    _, words, empty, lies, real = slack.posts()
    assert [raw["ts"] for raw in (words, empty, lies, real)] == list(receipt.natives)
    assert "https://bridge.example.org/f/empty.png" in empty["text"]
    assert "https://bridge.example.org/f/lies.png" in lies["text"]
    assert real["files"]
    assert await slack.adapter.find_sent(outbound) == receipt
    await slack.adapter.edit(receipt.natives, slack.out("look"))
    assert [raw["text"] for raw in slack.posts()][1:3] == ["look", empty["text"]]


async def test_a_file_that_slack_does_not_take_is_tried_again(slack: Bench) -> None:
    """Nothing is shared before all bytes are there, so a failed upload is certainly not posted."""
    await slack.start()
    slack.double.faults.append(Fault("files.getUploadURLExternal", 503, {}))
    with pytest.raises(Retry):
        await slack.adapter.send(slack.out("see", files=(file("a.png", PNG),)))
    assert len(slack.posts()) == 1


async def test_uploads_go_to_slack_only(slack: Bench) -> None:
    """An address for the bytes that is not one of Slack's servers gets nothing."""
    await slack.start(file_hosts=("files.slack.com",))
    await slack.adapter.send(slack.out("", files=(file("a.png", PNG),)))
    assert "https://bridge.example.org/f/a.png" in slack.posts()[0]["text"]
    assert not slack.double.contents


# --- secrets ------------------------------------------------------------------------------------------------


async def test_the_tokens_are_nowhere(slack: Bench, caplog: pytest.LogCaptureFixture) -> None:
    """Neither a log, nor an error, nor the store, nor a post holds a token."""
    caplog.set_level(logging.DEBUG)
    await slack.start()
    slack.double.faults += [Fault(POST, cut="before"), Fault(POST, 200, refused("invalid_auth"))]
    seen: list[str] = []
    for _ in range(2):
        with pytest.raises((Uncertain, AuthLost)) as caught:
            await slack.adapter.send(slack.out("x"))
        seen.append("".join(traceback.format_exception(caught.value)))
    await slack.adapter.send(slack.out("see", files=(file("a.png", PNG),)))
    await slack.adapter.ping(slack.room)
    await slack.stop()
    seen += [
        caplog.text,
        (await dump_of(slack.store)).decode(errors="replace"),
        str(slack.posts()),
        *slack.relay.reasons,
    ]
    for secret in (BOT_TOKEN, APP_TOKEN, SECRET):
        assert not [text for text in seen if secret in text]


async def test_pings(slack: Bench) -> None:
    """A round trip to the channel; one that is gone is said so."""
    await slack.start()
    await slack.adapter.ping(slack.room)
    with pytest.raises(Rejected, match="gone"):
        await slack.adapter.ping(room_id(SLACK, "C0NOWHERE"))


async def test_formatting_that_slack_takes(slack: Bench) -> None:
    """A text with everything in it is taken as it is."""
    await slack.start()
    kinds = ("bold", "italic", "underline", "strike", "code", "pre", "quote", "link", "timestamp")
    values = {"link": "https://example.org", "timestamp": "1800000000"}
    words = "\n".join(kinds)
    entities = tuple(Entity(k, words.index(k), len(k), values.get(k, "")) for k in kinds)  # type: ignore[arg-type]
    await slack.adapter.send(slack.out(Text(words, entities)))
    assert not slack.double.refusals

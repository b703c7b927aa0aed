"""What goes out: posts, files, edits, reactions, and what every refusal means."""

from __future__ import annotations

import logging
import traceback
from collections.abc import AsyncIterator
from typing import Any

import pytest

from bots.telegram.api import Refused
from core.contract import AuthLost, Offline, OutFile, Rejected, Retry, Uncertain
from core.model import Author, BotRemoved, Entity, NativeId, Text, room_id
from tests.bots.telegram.support import TG, ZOE, Bench
from tests.contract.harness import services
from tests.fakes.telegram import TOKEN, Fault, TelegramDouble
from tests.servers.store import dump_of

PNG = b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR" + bytes(64)


def file(name: str, mime: str, data: bytes, size_bytes: int | None = None) -> OutFile:
    """A file whose origin hands it over in small pieces."""

    async def chunks() -> AsyncIterator[bytes]:
        for start in range(0, len(data), 1000):
            yield data[start : start + 1000]

    size = len(data) if size_bytes is None else size_bytes
    return OutFile(name, mime, size, f"https://bridge.example.org/f/{name}", chunks)


def ok_false(code: int, description: str, **parameters: Any) -> dict[str, Any]:
    """An answer that says no."""
    body = {"ok": False, "error_code": code, "description": description}
    return body | ({"parameters": parameters} if parameters else {})


# --- errors -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fault", "error", "words"),
    [
        (Fault("sendMessage", 401, ok_false(401, "Unauthorized")), AuthLost, "@BotFather"),
        (Fault("sendMessage", 404, ok_false(404, "Not Found")), AuthLost, "@BotFather"),
        (Fault("sendMessage", 400, ok_false(400, "Bad Request: chat not found")), Rejected, "is gone"),
        (Fault("sendMessage", 400, ok_false(400, "Bad Request: SOMETHING_NEW")), Rejected, "SOMETHING_NEW"),
        (
            Fault("sendMessage", 403, ok_false(403, "Forbidden: bot was kicked from the chat")),
            Rejected,
            "removed",
        ),
        (Fault("sendMessage", 403, ok_false(403, "Forbidden: bot was blocked by the user")), Rejected, "blocked"),
        (Fault("sendMessage", 500, ok_false(500, "Internal Server Error")), Uncertain, "500"),
        (Fault("sendMessage", 502, {}), Uncertain, "502"),
        (Fault("sendMessage", 200, {"weather": "fine"}), Uncertain, "200"),
        (Fault("sendMessage", 413, {}), Rejected, "larger than Telegram takes"),
        (Fault("sendMessage", cut="before"), Uncertain, "did not answer"),
        (Fault("sendMessage", cut="after"), Uncertain, "did not answer"),
        (Fault("sendMessage", delay_s=1.0), Uncertain, "did not answer"),
    ],
    ids=lambda value: value.__name__ if isinstance(value, type) else None,
)
async def test_errors(tg: Bench, fault: Fault, error: type[Exception], words: str) -> None:
    """Every way to fail is the right error, in plain words."""
    await tg.start(request_timeout_s=0.5)
    tg.double.faults.append(fault)
    with pytest.raises(error, match=words):
        await tg.adapter.send(tg.out("hello"))


async def test_too_many_requests(tg: Bench) -> None:
    """A 429 is obeyed to the second; it may be meant for this chat only, so the others go on."""
    await tg.start()
    slower = ok_false(429, "Too Many Requests: retry after 17", retry_after=17)
    tg.double.faults.append(Fault("sendMessage", 429, slower))
    with pytest.raises(Retry) as caught:
        await tg.adapter.send(tg.out("hello"))
    assert (caught.value.after_s, caught.value.whole_account) == (17.0, False)
    assert type(caught.value) is Retry


async def test_the_claimed_rate_is_within_the_limit(tg: Bench) -> None:
    """What the capabilities allow a group in a minute is what Telegram takes: 20 posts."""
    caps = tg.make().capabilities(tg.room)
    assert caps.rate_burst + 60 * caps.rate_per_s <= 20
    await tg.start()
    tg.double.group_posts_per_minute = 20
    for number in range(20):
        await tg.adapter.send(tg.out(f"post {number}"))
    with pytest.raises(Retry):
        await tg.adapter.send(tg.out("one too many"))


async def test_private_chats_take_more(tg: Bench) -> None:
    """A private chat is known by its id, a channel by what was seen of it."""
    adapter = tg.make()
    private = adapter.capabilities(room_id(TG, "501"))
    assert private.rate_per_s == 1.0
    assert private is adapter.capabilities(room_id(TG, "502"))
    assert adapter.capabilities(tg.room).rate_per_s == 0.25


async def test_no_server(tg: Bench) -> None:
    """A connection that cannot be made is certainly no post."""
    await tg.start()
    await tg.stop()
    tg.adapter = tg.make(api_url="http://127.0.0.1:9")
    await tg.adapter.start(tg.relay)
    await tg.until(lambda: tg.relay.reasons)
    with pytest.raises(Offline):
        await tg.adapter.send(tg.out("hello"))


async def test_a_room_that_is_none(tg: Bench) -> None:
    """An id that is not Telegram's is refused without asking."""
    await tg.start()
    with pytest.raises(Rejected):
        await tg.adapter.send(tg.out("hello", room_id(TG, "not-a-chat")))


async def test_a_deleted_topic_is_a_room_gone(tg: Bench) -> None:
    """Telegram says nothing of a deleted topic until somebody posts there."""
    forum = tg.double.chat("Forum", tg.bob, forum=True)
    forum.members[tg.double.bot.id] = "administrator"
    await tg.start()
    room = room_id(TG, f"{forum.id}:77")
    with pytest.raises(Refused, match="topic on Telegram was deleted"):
        await tg.adapter.send(tg.out("hello", room))
    assert (await tg.heard(BotRemoved)).room == room


# --- texts --------------------------------------------------------------------------------------------------


async def test_a_long_text_is_posted_in_parts(tg: Bench) -> None:
    """Parts of 4096 UTF-16 code units, the last with a mark where there was more."""
    await tg.start()
    receipt = await tg.adapter.send(tg.out("🦊" * 10_000, max_parts=3))
    posts = tg.posts()
    assert [str(post.id) for post in posts] == list(receipt.natives)
    assert [len(post.plain.encode("utf-16-le")) // 2 for post in posts[:2]] == [4096, 4096]
    assert posts[2].plain.endswith(" … continued")


async def test_a_second_try_goes_on_where_the_first_ended(tg: Bench) -> None:
    """When a later part was refused for now, the parts before it are not posted again."""
    await tg.start()
    outbound = tg.out("a" * 5_000 + " " + "b" * 5_000)
    limit = ok_false(429, "Too Many Requests: retry after 1", retry_after=1)
    tg.double.faults += [Fault("sendMessage"), Fault("sendMessage", 429, limit)]
    with pytest.raises(Retry):
        await tg.adapter.send(outbound)
    receipt = await tg.adapter.send(outbound)
    assert len(receipt.natives) == len(tg.posts())
    assert sum(post.plain.count("a") for post in tg.posts()) == 5_000


async def test_no_markup_no_mode(tg: Bench) -> None:
    """Formatting goes out as entities only, and an answer to what is gone is posted all the same."""
    await tg.start()
    bold = Text("Zoë: *not* <b>bold</b>", (Entity("bold", 0, 3),))
    await tg.adapter.send(tg.out(bold, reply_to=NativeId("99999")))
    params = tg.double.calls("sendMessage")[-1]
    assert params["entities"] == [{"type": "bold", "offset": 0, "length": 3}]
    assert params["text"] == "Zoë: *not* <b>bold</b>"
    assert "reply_to_message" not in tg.posts()[-1].raw


async def test_nothing_to_show_is_refused(tg: Bench) -> None:
    """A post without a visible word is refused before Telegram does it."""
    await tg.start()
    with pytest.raises(Rejected):
        await tg.adapter.send(tg.out(" \n "))


# --- files --------------------------------------------------------------------------------------------------


async def test_files_by_their_kind(tg: Bench) -> None:
    """Pictures together, other files together, in order, with the text below the first."""
    await tg.start()
    files = (
        file("a.png", "image/png", PNG),
        file("b.png", "image/png", PNG),
        file("c.pdf", "application/pdf", b"%PDF"),
    )
    receipt = await tg.adapter.send(tg.out("three files", files=files))
    assert [name for name, _ in tg.double.transcript if name.startswith("send")] == ["sendMediaGroup", "sendDocument"]
    assert [post.plain for post in tg.posts()] == ["three files", "", ""]
    assert len(receipt.natives) == 3
    assert tg.posts()[2].raw["document"]["file_name"] == "c.pdf"


async def test_a_picture_that_is_none_goes_as_a_file(tg: Bench) -> None:
    """What Telegram cannot read as a picture is posted as a file, byte for byte."""
    await tg.start()
    data = bytes(range(256)) * 10_000
    await tg.adapter.send(tg.out("look", files=(file("odd.png", "image/png", data),)))
    document = tg.posts()[-1].raw["document"]
    assert tg.double.files[document["file_id"]] == data
    assert tg.posts()[-1].plain == "look"


async def test_a_long_text_stands_before_its_file(tg: Bench) -> None:
    """A text that is too long for a caption is posted first."""
    await tg.start()
    await tg.adapter.send(tg.out("long " * 300, files=(file("c.pdf", "application/pdf", b"%PDF"),)))
    assert ["document" in post.raw for post in tg.posts()] == [False, True]


@pytest.mark.parametrize("said_bytes", [0, 5_000, 900])
async def test_a_file_that_is_too_large_is_a_link(tg: Bench, said_bytes: int) -> None:
    """Whatever the origin says of its size, a file beyond the limit is linked to and never read to its end."""
    await tg.start(upload_limit_bytes=1_000)
    await tg.adapter.send(tg.out("film", files=(file("film.mkv", "video/x-matroska", bytes(5_000), said_bytes),)))
    assert "https://bridge.example.org/f/film.mkv" in tg.posts()[-1].plain


async def test_edits_keep_files(tg: Bench) -> None:
    """An edit changes the caption or the texts; files stay, texts that are too many go, more are added."""
    await tg.start()
    pdf = (file("c.pdf", "application/pdf", b"%PDF"),)
    captioned = await tg.adapter.send(tg.out("one", files=pdf))
    await tg.adapter.edit(captioned.natives, tg.out("two"))
    assert [post.plain for post in tg.posts()] == ["two"]
    split = await tg.adapter.send(tg.out("w " * 3_000, files=pdf))
    assert len(split.natives) == 3
    shorter = await tg.adapter.edit(split.natives, tg.out("short"))
    assert [post.plain for post in tg.posts()] == ["two", "short", ""]
    longer = await tg.adapter.edit(shorter.natives, tg.out("v " * 3_000))
    assert len(longer.natives) == 3
    assert len(tg.posts()) == 4


async def test_an_edit_that_changes_nothing_is_no_error(tg: Bench) -> None:
    """Telegram complains about it; nobody else needs to."""
    await tg.start()
    receipt = await tg.adapter.send(tg.out("same"))
    assert await tg.adapter.edit(receipt.natives, tg.out("same")) == receipt


async def test_old_posts_stay(tg: Bench) -> None:
    """What Telegram no longer lets the bot delete is said in plain words."""
    await tg.start()
    receipt = await tg.adapter.send(tg.out("old"))
    tg.posts()[-1].raw["date"] -= 3 * 86_400
    with pytest.raises(Rejected, match="48 hours"):
        await tg.adapter.delete(tg.room, receipt.natives)


# --- reactions ----------------------------------------------------------------------------------------------


async def test_the_newest_reaction_that_stands_is_shown(tg: Bench) -> None:
    """A bot has one reaction: the newest of all authors', and the one before when it is taken back."""
    await tg.start()
    native = (await tg.adapter.send(tg.out("well?"))).natives[0]
    shown = lambda: tg.posts()[-1].reactions.get(tg.double.bot.id, [])  # noqa: E731
    other = Author("irc:max", "Max")
    await tg.adapter.react(tg.room, native, "👍🏽", True, ZOE)
    await tg.adapter.react(tg.room, native, "❤️", True, other)
    assert shown() == ["❤"]
    with pytest.raises(Rejected):
        await tg.adapter.react(tg.room, native, "🦖", True, other)
    assert shown() == ["❤"]
    await tg.adapter.react(tg.room, native, "❤️", False, other)
    assert shown() == ["👍"]
    await tg.adapter.react(tg.room, native, "👍", False, ZOE)
    assert shown() == []


async def test_a_chat_may_forbid_reactions(tg: Bench) -> None:
    """A reaction that the chat does not allow is refused, so that it is put into words."""
    await tg.start()
    native = (await tg.adapter.send(tg.out("well?"))).natives[0]
    tg.double.faults.append(Fault("setMessageReaction", 400, ok_false(400, "Bad Request: REACTION_INVALID")))
    with pytest.raises(Rejected):
        await tg.adapter.react(tg.room, native, "👍", True, ZOE)
    assert not tg.posts()[-1].reactions


# --- people, files in, secrets ------------------------------------------------------------------------------


async def test_who_runs_a_group(tg: Bench) -> None:
    """Its creator and admins by Telegram's word now, the group itself for anonymous admins, and nobody else."""
    await tg.start()
    assert await tg.adapter.is_admin(tg.room, str(tg.bob.id))
    assert not await tg.adapter.is_admin(tg.room, str(tg.ann.id))
    tg.group.members[tg.ann.id] = "administrator"
    assert await tg.adapter.is_admin(tg.room, str(tg.ann.id))
    assert await tg.adapter.is_admin(tg.room, str(tg.group.id))
    assert not await tg.adapter.is_admin(tg.room, str(tg.group.id - 1))
    assert not await tg.adapter.is_admin(tg.room, "424242")
    assert await tg.adapter.is_admin(room_id(TG, str(tg.ann.id)), str(tg.ann.id))


def test_invitations(tg: Bench) -> None:
    """A deep link that adds the bot and connects; only words where the code has other letters."""
    adapter = tg.make()
    assert adapter.invite("HLDMU-42K7").url == "https://t.me/bridge_bot?startgroup=HLDMU-42K7"
    odd = adapter.invite("https://bridge.example.org/p/x.y")
    assert odd.url == ""
    assert "-sameroom connect https://bridge.example.org/p/x.y" in odd.steps[-1]


async def test_files_open_where_the_adapter_was_not_started(tg: Bench) -> None:
    """A process that only serves links opens a file by its reference, within the limit."""
    small, large = tg.double.upload(b"x" * 5_000)["file_id"], tg.double.upload(b"y" * 50_000)["file_id"]
    adapter = tg.make(download_limit_bytes=10_000)
    assert b"".join([chunk async for chunk in adapter.open_file(small)]) == b"x" * 5_000
    with pytest.raises(Rejected, match="larger"):
        _ = [chunk async for chunk in adapter.open_file(large)]
    with pytest.raises(Rejected):
        _ = [chunk async for chunk in adapter.open_file("../../etc/passwd")]


@pytest.mark.parametrize("path", ["http://127.0.0.1:1/x", "../../secret", "/etc/passwd", "a/../../b", 7])
async def test_a_file_path_leads_nowhere_else(tg: Bench, path: object) -> None:
    """Whatever the answer to getFile says, nothing but a file of the Bot API server is fetched."""
    tg.double.faults.append(Fault("getFile", 200, {"ok": True, "result": {"file_id": "f", "file_path": path}}))
    with pytest.raises(Rejected):
        _ = [chunk async for chunk in tg.make().open_file("f")]
    assert tg.double.downloads == []


async def test_a_download_is_not_led_elsewhere(tg: Bench) -> None:
    """A redirect would carry the token to whoever is there, so it is not followed."""
    async with TelegramDouble() as other:
        file_id = tg.double.upload(b"data")["file_id"]
        other.files[file_id] = b"from elsewhere"
        tg.double.files_elsewhere = other.url
        with pytest.raises(Rejected):
            _ = [chunk async for chunk in tg.make().open_file(file_id)]


async def test_the_token_is_nowhere(tg: Bench, caplog: pytest.LogCaptureFixture) -> None:
    """Not in an error or its traceback, a log, a reference, a post, or the store: whatever goes wrong."""
    caplog.set_level(logging.DEBUG)
    await tg.start(request_timeout_s=0.5)
    document = tg.double.upload(b"data", file_name="plan.pdf")
    tg.double.post(tg.group, tg.ann, document=document, caption="the plan")
    event = await tg.said("the plan")
    seen = [repr(event), repr(tg.relay.seen)]
    tg.double.faults += [
        Fault("sendMessage", 401, ok_false(401, "Unauthorized")),
        Fault("sendMessage", cut="before"),
        Fault("sendMessage", 502, {}),
        Fault("getFile", cut="before"),
    ]
    for _ in range(3):
        try:
            await tg.adapter.send(tg.out("hello"))
        except (AuthLost, Uncertain):
            seen.append(traceback.format_exc())
    for ref in (event.files[0].ref, event.files[0].ref):
        try:
            _ = [chunk async for chunk in tg.adapter.open_file(ref)]
        except Retry:
            seen.append(traceback.format_exc())
    await tg.adapter.send(tg.out("done", files=(file("c.pdf", "application/pdf", b"%PDF"),)))
    await tg.stop()
    tg.adapter = tg.make(api_url="http://127.0.0.1:9")
    await tg.adapter.start(tg.relay)
    await tg.until(lambda: tg.relay.reasons)
    with pytest.raises(Offline) as caught:
        await tg.adapter.send(tg.out("hello"))
    seen += ["".join(traceback.format_exception(caught.value)), *tg.relay.reasons, caplog.text]
    seen += [str(message.raw) for message in tg.group.messages.values()]
    seen.append((await dump_of(tg.store)).decode(errors="replace"))
    assert len([text for text in seen if "Traceback" in text]) >= 4
    for text in seen:
        assert TOKEN not in text
        assert TOKEN.partition(":")[2] not in text


def test_services_are_lent(tg: Bench) -> None:
    """Making an adapter does nothing: no connection, no file."""
    lent = services(tg.store, TG, tg.site.url)
    assert lent.prefix == "sameroom"
    assert tg.make().room_info(tg.room).title == str(tg.group.id)

"""Posts: under people's names by webhook, as the bot where that is not allowed; errors, limits, threads, reactions."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator

import pytest
from msgspec.structs import replace

from core.contract import AuthLost, Offline, OutFile, Rejected, Retry, Uncertain
from core.model import NativeId, room_id
from core.text.mass import MASS_MENTIONS
from tests.bots.discord.support import DC, YAN, ZOE, Bench
from tests.fakes.discord import Fault


async def without_webhooks(dc: Bench, **changes: object) -> None:
    """Start where the bot may not manage webhooks."""
    await dc.start(webhooks=False, **changes)


async def test_people_post_under_their_own_names(dc: Bench) -> None:
    """Name and picture are the author's; one webhook is made for the channel, and found again after a restart."""
    for _ in range(2):
        await dc.start()
        await dc.adapter.send(dc.out("hello"))
        await dc.adapter.send(dc.out("hi", author=YAN))
        await dc.stop()
    assert dc.read() == [("Zoë", "hello"), ("Yan", "hi")] * 2
    assert dc.posts()[0]["picture"] == ZOE.avatar_url
    assert dc.posts()[1]["picture"] == ""
    assert len(dc.asked("POST", f"/channels/{dc.garden.id}/webhooks")) == 1


async def test_a_picture_that_discord_does_not_take_costs_no_words(dc: Bench) -> None:
    """An address that only the operator's own network knows is left out, and the message is posted without it."""
    await dc.start()
    author = replace(ZOE, avatar_url="http://localhost:8080/avatar.png")
    for text in ("hello", "again"):
        outbound = dc.out(text, author=author)
        if text == "hello":
            with pytest.raises(Retry, match="picture"):
                await dc.adapter.send(outbound)
        await dc.adapter.send(outbound)
    assert dc.read() == [("Zoë", "hello"), ("Zoë", "again")]
    assert [post["picture"] for post in dc.posts()] == ["", ""]


async def test_the_webhooks_token_is_written_down_nowhere(dc: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    """Neither the store nor the log nor an error has a token in it, even when requests fail."""
    await dc.start()
    await dc.adapter.send(dc.out("hello"))
    secret = next(iter(dc.garden.webhooks.values()))["token"]
    dc.double.faults += [Fault("POST /webhooks", 500), Fault("POST /webhooks", cut="before")]
    for _ in range(2):
        with pytest.raises(Uncertain) as caught:
            await dc.adapter.send(dc.out("again"))
        assert secret not in repr(caught.value) + repr(caught.value.__cause__)
    dump = b""
    for key in await dc.store.keys():
        dump += await dc.store.dump(key) or b""
    assert secret.encode() not in dump
    assert dc.double.token.encode() not in dump
    printed = capsys.readouterr()
    assert secret not in printed.out + printed.err
    assert dc.double.token not in printed.out + printed.err


@pytest.mark.parametrize("name", ["Clyde", "Discord Admin", "everyone", "x" * 120, "\u202eevil"])
async def test_any_name_can_post(dc: Bench, name: str) -> None:
    """Discord refuses some names; people who bear them are heard all the same."""
    await dc.start()
    await dc.adapter.send(dc.out("hello", author=type(ZOE)("x:1", name)))
    assert [text for _, text in dc.read()] == ["hello"]


async def test_the_bot_speaks_for_itself(dc: Bench) -> None:
    """What is nobody's words stands under the bot's own name."""
    await dc.start()
    await dc.adapter.send(dc.out("Your code is ABC.", author=None))
    assert dc.read() == [("Bridge", "Your code is ABC.")]


async def test_without_the_permission_names_stand_in_the_text(dc: Bench) -> None:
    """Where Manage Webhooks is missing the bot posts, and says so: names are the core's to put there. When the
    permission comes, so do names and pictures."""
    dc.double.overwrite(dc.guild, dc.garden, dc.double.bot["id"], deny=1 << 29)
    await dc.start()
    caps = dc.adapter.capabilities(dc.room)
    assert (caps.names, caps.avatars, caps.reply, caps.idempotent) == ("fallback", "drop", "full", True)
    await dc.adapter.send(dc.out("Zoë: hello"))
    assert dc.read() == [("Bridge", "Zoë: hello")]
    dc.double.overwrite(dc.guild, dc.garden, dc.double.bot["id"], allow=1 << 29)
    dc.double.say(dc.garden, dc.ann, "now")
    await dc.said("now")
    assert dc.adapter.capabilities(dc.room).names == "full"


async def test_a_channel_with_too_many_webhooks(dc: Bench) -> None:
    """It is not sent nameless: it is composed anew for the bot, at once."""
    dc.double.hooks_max = 0
    await dc.start()
    assert dc.adapter.capabilities(dc.room).names == "full"
    with pytest.raises(Retry) as caught:
        await dc.adapter.send(dc.out("hello"))
    assert caught.value.after_s < 1
    assert dc.adapter.capabilities(dc.room).names == "fallback"
    assert not dc.posts()
    await dc.adapter.send(dc.out("Zoë: hello"))
    assert dc.read() == [("Bridge", "Zoë: hello")]


async def test_a_deleted_webhook_is_made_again(dc: Bench) -> None:
    """Somebody deletes our webhook: the next try has a new one."""
    await dc.start()
    await dc.adapter.send(dc.out("one"))
    dc.garden.webhooks.clear()
    again = dc.out("two")
    with pytest.raises(Retry):
        await dc.adapter.send(again)
    await dc.adapter.send(again)
    assert dc.read() == [("Zoë", "one"), ("Zoë", "two")]


async def test_the_bots_posts_are_idempotent(dc: Bench) -> None:
    """A post whose answer was lost is not seen twice: Discord knows it by its nonce."""
    await without_webhooks(dc)
    outbound = dc.out("long " * 700)
    dc.double.faults.append(Fault(f"POST /channels/{dc.garden.id}/messages", cut="after"))
    with pytest.raises(Uncertain):
        await dc.adapter.send(outbound)
    receipt = await dc.adapter.send(outbound)
    assert len(dc.posts()) == 2 == len(receipt.natives)


@pytest.mark.parametrize("cut", ["before", "after"])
async def test_a_webhooks_post_whose_answer_was_lost_is_found(dc: Bench, cut: str) -> None:
    """Webhooks know no nonce: a post is looked for by its name and words, and nobody's other words are taken for it."""
    await dc.start()
    await dc.adapter.send(dc.out("yes"))
    await dc.adapter.send(dc.out("yes", author=YAN))
    outbound = dc.out("yes")
    dc.double.faults.append(Fault("POST /webhooks", cut=cut))
    with pytest.raises(Uncertain):
        await dc.adapter.send(outbound)
    found = await dc.adapter.find_sent(outbound)
    assert (found is not None) == (cut == "after")
    receipt = found or await dc.adapter.send(outbound)
    assert dc.read() == [("Zoë", "yes"), ("Yan", "yes"), ("Zoë", "yes")]
    assert receipt.natives == (dc.posts()[-1]["id"],)
    assert await dc.adapter.find_sent(outbound) == receipt
    assert await dc.adapter.find_sent(dc.out("yes")) is None


async def test_a_long_post_whose_answer_was_lost_is_gone_on_with(dc: Bench) -> None:
    """Of a post in parts the part in doubt is found, and only those behind it are posted."""
    await dc.start()
    outbound = dc.out("long " * 900)
    dc.double.faults.append(Fault("POST /webhooks", cut="after"))
    with pytest.raises(Uncertain):
        await dc.adapter.send(outbound)
    assert await dc.adapter.find_sent(outbound) is None
    receipt = await dc.adapter.send(outbound)
    assert list(receipt.natives) == [post["id"] for post in dc.posts()]
    assert len(receipt.natives) == 3


async def test_a_post_in_parts_goes_on_where_it_stopped(dc: Bench) -> None:
    """When a later part is refused for now, the earlier ones are not posted again."""
    await dc.start(longest_wait_s=0.0)
    outbound = dc.out("long " * 900)
    dc.double.limit, dc.double.window_s = 1, 0.2
    tries = 0
    while True:
        try:
            receipt = await dc.adapter.send(outbound)
            break
        except Retry as retry:
            tries += 1
            await asyncio.sleep(retry.after_s)
    assert tries >= 2
    assert len(receipt.natives) == 3 == len(dc.posts())


@pytest.mark.parametrize("mention", MASS_MENTIONS)
@pytest.mark.parametrize("webhooks", [True, False])
async def test_nobody_is_called(dc: Bench, mention: str, webhooks: bool) -> None:
    """No post and no edit of ours notifies anybody, whatever is in it."""
    await dc.start(webhooks=webhooks)
    receipt = await dc.adapter.send(dc.out(f"look {mention} now <@{dc.ann['id']}>"))
    await dc.adapter.edit(receipt.natives, dc.out(f"again {mention} <@{dc.ann['id']}>"))
    assert dc.double.called == []
    bodies = [
        body for method, _, body in dc.double.transcript if method in ("POST", "PATCH") and "content" in (body or {})
    ]
    assert bodies
    assert all(body["allowed_mentions"] == {"parse": []} for body in bodies)


def said_no(code: int, message: str = "no") -> dict[str, object]:
    """An error's body."""
    return {"code": code, "message": message}


ODD_FORM = said_no(50035, "Invalid Form Body") | {
    "errors": {
        "embeds": {"0": {"url": {"_errors": [{"code": "URL_TYPE_INVALID_URL", "message": "Not a well formed URL."}]}}}
    }
}
LIMITED = {"message": "You are being rate limited.", "retry_after": 1.5, "global": False}


@pytest.mark.parametrize(
    ("fault", "error", "words"),
    [
        (Fault("/messages", 403, said_no(50001)), Rejected, "cannot see"),
        (Fault("/messages", 403, said_no(50013)), Rejected, "Send Messages"),
        (Fault("/messages", 403, said_no(0)), Rejected, "Send Messages"),
        (Fault("/messages", 404, said_no(10003)), Rejected, "gone"),
        (Fault("/messages", 400, said_no(50035, "Invalid Form Body")), Rejected, "Invalid Form Body"),
        (Fault("/messages", 400, ODD_FORM), Rejected, r"embeds\.0\.url: Not a well formed URL\."),
        (Fault("/messages", 400, said_no(200000)), Rejected, "AutoMod"),
        (Fault("/messages", 413, said_no(40005)), Rejected, "larger"),
        (Fault("/messages", 401, said_no(0)), AuthLost, "Reset Token"),
        (Fault("/messages", 500), Uncertain, "500"),
        (Fault("/messages", 502), Uncertain, "502"),
        (Fault("/messages", cut="before"), Uncertain, "did not answer"),
        (Fault("/messages", cut="after"), Uncertain, "did not answer"),
        (Fault("/messages", delay_s=0.7), Uncertain, "did not answer"),
        (Fault("/messages", 429, LIMITED), Retry, "slow down"),
    ],
)
async def test_errors(dc: Bench, fault: Fault, error: type[Exception], words: str) -> None:
    """Every way to fail is the right error, in plain words."""
    await without_webhooks(dc, request_timeout_s=0.4)
    dc.double.faults.append(fault)
    with pytest.raises(error, match=words):
        await dc.adapter.send(dc.out("hello"))


@pytest.mark.parametrize(
    ("answer", "headers", "after_s", "whole"),
    [
        (LIMITED, {}, 1.5, False),
        (LIMITED | {"global": True}, {"X-RateLimit-Global": "true"}, 1.5, True),
        (None, {"Retry-After": "7"}, 7.0, True),
    ],
)
async def test_too_many_requests(
    dc: Bench, answer: object, headers: dict[str, str], after_s: float, whole: bool
) -> None:
    """A 429 is obeyed: for the room, or for the whole account where it says so or where it is Cloudflare's ban."""
    await without_webhooks(dc)
    dc.double.faults.append(Fault("/messages", 429, answer, headers))
    with pytest.raises(Retry) as caught:
        await dc.adapter.send(dc.out("hello"))
    assert (caught.value.after_s, caught.value.whole_account) == (after_s, whole)
    assert type(caught.value) is Retry


async def test_a_used_up_limit_is_waited_for(dc: Bench) -> None:
    """The headers tell when the route is free again: nothing is refused; other channels are not held up."""
    other = dc.double.channel(dc.guild, "orchard")
    await without_webhooks(dc)
    dc.double.limit, dc.double.window_s = 2, 0.4
    start = time.monotonic()
    for number in range(5):
        await dc.adapter.send(dc.out(f"post {number}"))
    assert time.monotonic() - start > 0.6
    waiting = asyncio.create_task(dc.adapter.send(dc.out("waits")))
    await asyncio.sleep(0)
    await dc.adapter.send(dc.out("at once", room_id(DC, other.id)))
    await waiting
    assert dc.double.refusals == 0


async def test_a_long_wait_is_the_relays(dc: Bench) -> None:
    """What takes longer than configured is a Retry, and certainly not sent."""
    await without_webhooks(dc, longest_wait_s=0.1)
    dc.double.limit, dc.double.window_s = 1, 60
    await dc.adapter.send(dc.out("one"))
    with pytest.raises(Retry) as caught:
        await dc.adapter.send(dc.out("two"))
    assert 50 < caught.value.after_s < 61
    assert len(dc.posts()) == 1


async def test_without_a_connection(dc: Bench) -> None:
    """Before it is online and when nobody is there, it is certainly not sent."""
    with pytest.raises(Offline):
        await dc.make().send(dc.out("hello"))
    await dc.start()
    dc.adapter._sender._api._base = "http://127.0.0.1:9/api"
    with pytest.raises(Offline):
        await dc.adapter.send(dc.out("hello"))


@pytest.mark.parametrize("native", ["../../users/1", "abc", "1/2/3x", "", "12;34", "١٢"])
async def test_ids_that_are_none(dc: Bench, native: str) -> None:
    """No id leads a request elsewhere."""
    await dc.start()
    before = len(dc.double.transcript)
    with pytest.raises(Rejected):
        await dc.adapter.send(dc.out("hello", room_id(DC, native)))
    with pytest.raises(Rejected):
        await dc.adapter.delete(dc.room, [NativeId(f"{native}x")])
    assert len(dc.double.transcript) == before


async def test_replies_by_webhook_lead_to_what_they_answer(dc: Bench) -> None:
    """An embed names who is answered, with the first words and a link; also to our own posts."""
    await dc.start()
    asked = dc.double.say(dc.garden, dc.ann, "a **question** [x](https://evil.example)")
    receipt = await dc.adapter.send(dc.out("an answer", reply_to=NativeId(asked["id"])))
    await dc.adapter.send(dc.out("another", reply_to=receipt.natives[0]))
    first, second = (raw["embeds"][0]["description"] for raw in dc.posts())
    url = f"{dc.config.site_url}/channels/{dc.guild.id}/{dc.garden.id}"
    assert first == f"↩ [Ann]({url}/{asked['id']}) a question x"
    assert second == f"↩ [Zoë]({url}/{receipt.natives[0]}) an answer"


async def test_a_reply_to_what_is_gone(dc: Bench) -> None:
    """It is posted all the same, by webhook and as the bot."""
    await dc.start()
    await dc.adapter.send(dc.out("an answer", reply_to=NativeId("1")))
    await dc.adapter.send(dc.out("the bot's", reply_to=NativeId("1"), author=None))
    assert [text for _, text in dc.read()] == ["an answer", "the bot's"]


async def test_a_thread_is_begun_and_gone_on_with(dc: Bench) -> None:
    """What is said in a thread elsewhere begins one here, once; answers to what is in it stay in it."""
    await dc.start()
    root = dc.double.say(dc.garden, dc.ann, "the root")
    for text in ("one", "two"):
        receipt = await dc.adapter.send(dc.out(text, thread=NativeId(root["id"])))
    thread = dc.guild.channels[root["id"]]
    assert dc.read(thread) == [("Zoë", "one"), ("Zoë", "two")]
    await dc.adapter.send(dc.out("three", reply_to=receipt.natives[0]))
    await dc.adapter.send(dc.out("four", reply_to=receipt.natives[0], author=None))
    assert [text for _, text in dc.read(thread)] == ["one", "two", "three", "four"]
    await dc.adapter.edit(receipt.natives, dc.out("two!"))
    await dc.adapter.react(dc.room, receipt.natives[0], "👍", True, ZOE)
    assert dc.double.reactions[receipt.natives[0].rpartition("/")[2], "👍"]
    await dc.adapter.delete(dc.room, receipt.natives)
    assert [text for _, text in dc.read(thread)] == ["one", "three", "four"]


async def test_a_thread_that_cannot_be_begun(dc: Bench) -> None:
    """It is posted in the channel then."""
    await dc.start()
    dc.double.faults.append(Fault("/threads", 403, said_no(50013)))
    root = dc.double.say(dc.garden, dc.ann, "the root")
    await dc.adapter.send(dc.out("one", thread=NativeId(root["id"])))
    assert dc.read() == [("Zoë", "one")]


async def test_posts_of_forums_are_rooms(dc: Bench) -> None:
    """A forum's post is written to by the forum's webhook."""
    forum = dc.double.channel(dc.guild, "ideas", 15)
    idea = dc.double.channel(dc.guild, "An idea", 11, forum)
    await dc.start()
    room = room_id(DC, idea.id)
    assert dc.adapter.capabilities(room).names == "full"
    assert dc.adapter.capabilities(room).thread == "fallback"
    assert dc.adapter.room_info(room).title == "An idea"
    assert dc.adapter.room_info(dc.room).title == "#garden"
    assert dc.adapter.room_info(dc.room).detail == "Club"
    receipt = await dc.adapter.send(dc.out("hello", room))
    assert dc.read(idea) == [("Zoë", "hello")]
    assert receipt.natives == (NativeId(dc.posts(idea)[0]["id"]),)
    rooms = [info.room for info in await dc.adapter.rooms()]
    assert room in rooms
    assert room_id(DC, forum.id) not in rooms


async def test_edits_grow_and_shrink(dc: Bench) -> None:
    """Parts are changed in place, added and taken away; whichever way they were posted."""
    await dc.start()
    receipt = await dc.adapter.send(dc.out("short"))
    longer = await dc.adapter.edit(receipt.natives, dc.out("long " * 700))
    assert len(longer.natives) == 2 == len(dc.posts())
    shorter = await dc.adapter.edit(longer.natives, dc.out("short again"))
    assert shorter.natives == receipt.natives
    assert dc.read() == [("Zoë", "short again")]
    own = await dc.adapter.send(dc.out("the bot's", author=None))
    await dc.adapter.edit(own.natives, dc.out("the bot's, better", author=None))
    assert dc.read()[-1] == ("Bridge", "the bot's, better")
    await dc.adapter.delete(dc.room, [*own.natives, *shorter.natives])
    assert dc.posts() == []


async def test_files(dc: Bench) -> None:
    """Files go along with the first part of the text, too large ones as a link; an edit keeps them."""
    await dc.start(upload_limit_bytes=1_000)

    def file(name: str, size: int, said: int | None = None) -> OutFile:
        async def chunks() -> AsyncIterator[bytes]:
            for _ in range(size // 100):
                yield b"x" * 100

        return OutFile(name, "text/plain", size if said is None else said, f"https://portal.example/{name}", chunks)

    receipt = await dc.adapter.send(
        dc.out("look", files=(file("a.txt", 500), file("big.txt", 5_000), file("liar.txt", 5_000, 0)))
    )
    post = dc.posts()[0]
    assert [found["filename"] for found in post["attachments"]] == ["a.txt"]
    assert dc.double.files[post["attachments"][0]["id"]] == b"x" * 500
    assert "https://portal.example/big.txt" in post["content"]
    assert "https://portal.example/liar.txt" in post["content"]
    await dc.adapter.edit(receipt.natives, dc.out("looked"))
    assert (post["content"], len(post["attachments"])) == ("looked", 1)
    many = await dc.adapter.send(dc.out("", files=tuple(file(f"{n}.txt", 100) for n in range(23))))
    assert [len(raw["attachments"]) for raw in dc.posts()[1:]] == [10, 10, 3]
    again = await dc.adapter.edit(many.natives, dc.out("three messages"))
    assert again.natives == many.natives


async def test_reactions_stand_as_long_as_anybody_wants_them(dc: Bench) -> None:
    """The bot reacts once for each emoji; the last one who takes it back takes it away."""
    await dc.start()
    native = NativeId(dc.double.say(dc.garden, dc.ann, "nice")["id"])

    def standing() -> list[str]:
        return sorted(emoji for (_, emoji), who in dc.double.reactions.items() if who)

    for author in (ZOE, YAN):
        await dc.adapter.react(dc.room, native, "👍", True, author)
    await dc.adapter.react(dc.room, native, "🔥", True, YAN)
    await dc.adapter.react(dc.room, native, "👍", False, ZOE)
    assert standing() == ["👍", "🔥"]
    await dc.adapter.react(dc.room, native, "👍", False, YAN)
    assert standing() == ["🔥"]


async def test_custom_reactions(dc: Bench) -> None:
    """``:leaf:`` is the server's emoji of that name, if it has one; else it is refused, and then said in words."""
    dc.guild.raw["emojis"] = [{"id": "77", "name": "leaf", "available": True}]
    await dc.start()
    native = NativeId(dc.double.say(dc.garden, dc.ann, "nice")["id"])
    await dc.adapter.react(dc.room, native, ":leaf:", True, ZOE)
    for unknown in (":nowhere:", "no emoji"):
        with pytest.raises(Rejected, match="emoji"):
            await dc.adapter.react(dc.room, native, unknown, True, ZOE)
    assert [emoji for (_, emoji), who in dc.double.reactions.items() if who] == ["leaf:77"]

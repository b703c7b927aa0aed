"""Several messages in one post: into rooms that take fewer posts than come in, on a real store."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from itertools import count
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from core import keys, queues, settling
from core.contract import Capabilities, Retry, Uncertain
from core.folded import text_of
from core.model import AccountId, Author, Entity, FileRef, MessageId, NativeId, RoomId, Text
from core.rendering import GOES_ON, Renderer
from core.store import Redis
from core.text.split import size
from core.wire import Delivery, FoldedLine, decode_posted
from tests.core.sink import ACCOUNT, TAG, Desk, Sink, delivering, rooms

A, B = rooms("a", "b")
SLOW = Capabilities(edit="full", delete="full", reply="full", reaction="full", rate_per_s=20)
"""A room that takes 20 posts a second: a minute of a room that takes 20 a minute passes in a second."""
QUICK = Capabilities(edit="full", delete="full", reply="full", reaction="full", rate_per_s=300)
PEOPLE = ("Alice", "Bob", "Carol")


@pytest.fixture(autouse=True)
def quicker(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Less patience and less memory."""
    monkeypatch.setattr(settling, "UNCERTAIN_RETRY_S", 0.05)
    monkeypatch.setattr(settling, "CRASH_RETRY_S", 0.05)
    monkeypatch.setattr(queues, "IN_MEMORY", 400)
    monkeypatch.setattr(queues, "KEPT_PER_ROOM", 40)
    with capture_logs():
        yield


def talk(total: int, word: str = "line") -> list[tuple[str, str]]:
    """People who speak in turns, every third time one twice."""
    return [(PEOPLE[n % 4 % 3], f"{word} {n}") for n in range(total)]


def as_read(said: list[tuple[str, str]]) -> list[str]:
    """How readers see it."""
    return [f"{who}: {what}" for who, what in said]


async def folded(desk: Desk, said: list[tuple[str, str]], room: RoomId = A, **more: Any) -> list[MessageId]:
    """Say it while the room must wait, so that all of it waits together."""
    desk.sink.next[room].append(Retry(0.1))
    return await desk.say(room, *said, **more)


# --- what people read


async def test_ten_a_second_into_twenty_a_minute(store: Redis) -> None:
    """A room that takes 20 posts a minute keeps up with 10 messages a second: in order, nothing lost, nobody's name
    missing, no faster than it takes them, and the last message is there soon after it was said.
    """
    sink, said = Sink("board", SLOW), talk(1_200)
    async with delivering(store, sink, fold_from=10) as desk:
        began_s = time.monotonic()
        for n in range(0, len(said), 60):
            await desk.say(A, *said[n : n + 60])
            await asyncio.sleep(0.1)
        ended_s = time.monotonic()
        await sink.until(lambda: len(sink.reads(A)) == len(said))
        assert sink.reads(A) == as_read(said)
        assert time.monotonic() - ended_s < 1.0
        assert len(sink.stands[A]) <= 2 + 20 * (sink.times[A][-1] - began_s)
        assert all(len(post.text.plain) <= SLOW.text_limit for post in sink.stands[A].values())
        await desk.until_empty()


@pytest.mark.parametrize("caps", [Capabilities(), Capabilities(rate_per_s=1, rate_burst=100)])
async def test_nobody_folds_what_can_go_out(store: Redis, caps: Capabilities) -> None:
    """Where the platform sets no rate, or lets that many posts through at once, each message has its own post."""
    sink, said = Sink(caps=caps), talk(60)
    async with delivering(store, sink) as desk:
        await folded(desk, said)
        await sink.until(lambda: len(sink.stands[A]) == 60)
        assert sink.reads(A) == as_read(said)


async def test_what_was_held_up_is_folded(store: Redis) -> None:
    """A room without a known rate that was out of reach for long gets what waited together."""
    sink, said = Sink(), talk(60)
    async with delivering(store, sink, old_after_s=0) as desk:
        await folded(desk, said, at_ms=desk.deps.now_ms() - 60_000)
        await sink.until(lambda: len(sink.reads(A)) == 60)
        assert sink.reads(A) == as_read(said)
        assert len(sink.stands[A]) == 2


@pytest.mark.parametrize(("kind", "caps"), [("stream", SLOW), ("plain", Capabilities(rate_per_s=50, multiline=False))])
async def test_where_folding_gains_nothing(store: Redis, kind: str, caps: Capabilities) -> None:
    """A stream and a room of single lines get one post for each message."""
    sink, said = Sink(kind, caps), talk(25)
    async with delivering(store, sink) as desk:
        await folded(desk, said)
        await sink.until(lambda: len(sink.stands[A]) == 25)
        assert sink.reads(A) == as_read(said)


async def test_never_if_the_operator_says_so(store: Redis) -> None:
    """``fold_from: 0`` turns it off."""
    sink, said = Sink("board", SLOW), talk(25)
    async with delivering(store, sink, fold_from=0) as desk:
        await folded(desk, said)
        await sink.until(lambda: len(sink.stands[A]) == 25)
        assert sink.reads(A) == as_read(said)


@pytest.mark.parametrize("unit", ["characters", "utf16", "bytes"])
async def test_a_post_is_no_longer_than_the_room_takes(store: Redis, unit: str) -> None:
    """Posts stay below the room's limit in its unit, and below the most messages; one long message is alone."""
    caps = Capabilities(edit="full", rate_per_s=50, text_limit=300, text_unit=unit)  # type: ignore[arg-type]
    sink = Sink("board", caps)
    said = [(PEOPLE[n % 3], f"😀é {n} " + "ß" * (n % 7) * 5) for n in range(60)]
    said[30] = ("Bob", "long " * 100)
    async with delivering(store, sink, fold_most=12) as desk:
        await folded(desk, said)
        await sink.until(lambda: len(sink.reads(A)) == 60)
        assert sink.reads(A) == as_read(said)
        texts = [post.text.plain for post in sink.stands[A].values()]
        assert all(size(text, caps.text_unit) <= 300 or "\n" not in text for text in texts)
        assert max(text.count("\n") for text in texts) in range(3, 12)
        assert len(texts) < 30


async def test_under_their_own_names_only_one_person_at_a_time(store: Redis) -> None:
    """Where posts have the author's name only what one person said in a row stands together, without names."""
    sink = Sink("board", Capabilities(names="full", rate_per_s=20))
    said = [*talk(4), *[("Alice", f"more {n}") for n in range(30)], ("Bob", "end")]
    async with delivering(store, sink) as desk:
        await folded(desk, said)
        await sink.until(lambda: len(sink.reads(A)) == len(said))
        assert sink.reads(A) == [what for _, what in said]
        by = [(post.author and post.author.name, post.text.plain.count("\n") + 1) for post in sink.stands[A].values()]
        assert by == [("Alice", 1), ("Bob", 1), ("Carol", 1), ("Alice", 31), ("Bob", 1)]


async def test_what_is_no_plain_message_stands_alone(store: Redis) -> None:
    """The bot's own words, files and code have posts of their own, in their place; typing between messages is dropped;
    what is said in a thread goes with its thread.
    """
    caps = Capabilities(edit="full", file="full", thread="full", entities=frozenset({"pre"}), rate_per_s=50)
    sink = Sink("board", caps)
    async with delivering(store, sink, fold_from=5) as desk:
        (root,) = await desk.say(A, ("Alice", "root"))
        await sink.until(lambda: len(sink.stands[A]) == 1)
        await folded(desk, talk(3, "one"))
        await desk.say(A, ("Alice", ""), kind="typing", at_ms=desk.deps.now_ms())
        await desk.say(A, *talk(2, "two"))
        await desk.say(A, ("", "Your code is X."), kind="tell", author=None, message=MessageId(""))
        await desk.say(A, *talk(2, "three"))
        await desk.say(A, ("Bob", "see"), files=(FileRef(AccountId("x"), "ref", "a.txt"),))
        await desk.say(A, *talk(2, "four"), thread=root)
        await desk.say(A, ("Bob", "x = 1\ny = 2"), text=Text("x = 1\ny = 2", (Entity("pre", 0, 11),)))
        await desk.say(A, *talk(7, "five"))
        await sink.until(lambda: bool(sink.stands[A]) and sink.reads(A)[-1].endswith("five 6"))
        await desk.until_empty()
        posts = list(sink.stands[A].values())[1:]
        assert [post.text.plain.split("\n") for post in posts[:4]] == [
            [*as_read(talk(3, "one")), *as_read(talk(2, "two"))],
            ["Your code is X."],
            as_read(talk(2, "three")),
            ["Bob: see"],
        ]
        threaded = [post for post in posts if post.thread]
        assert [line for post in threaded for line in post.text.plain.split("\n")] == as_read(talk(2, "four"))
        assert posts[-1].thread is None
        assert sum(post.text.plain == "Bob: x = 1\ny = 2" for post in posts) == 1


async def test_a_reply_is_readable(store: Redis) -> None:
    """An answer among other messages says whom and what it answers, wherever that stands."""
    sink = Sink("board", SLOW)
    async with delivering(store, sink, fold_from=5) as desk:
        (first,) = await desk.say(A, ("Alice", "what?"))
        await sink.until(lambda: len(sink.stands[A]) == 1)
        (second,) = await folded(desk, [("Bob", "why?")])
        await desk.say(A, ("Carol", "this"), reply_to=first, reply_excerpt="what?")
        await desk.say(A, ("Alice", "that"), reply_to=second, reply_excerpt="why?")
        await desk.say(A, ("Bob", "quiet"), reply_to=MessageId("elsewhere/x\n1"), reply_excerpt="a secret")
        await desk.say(A, *talk(5))
        await sink.until(lambda: len(sink.reads(A)) == 10)
        assert sink.reads(A)[:5] == [
            "Alice: what?",
            "Bob: why?",
            "Carol ↩ Alice “what?”: this",
            "Alice ↩ Bob “why?”: that",
            "Bob: quiet",
        ]


# --- what is done to messages in a fold


async def test_what_is_done_to_messages_in_a_fold(store: Redis) -> None:
    """An edit changes the message's line in place, a deletion takes it out, only for who may; answers and reactions
    find the post; when the last line goes the post goes.
    """
    sink, said = Sink("board", QUICK), talk(30)
    async with delivering(store, sink) as desk:
        messages = await folded(desk, said)
        await sink.until(lambda: len(sink.reads(A)) == 30)
        (native,) = sink.stands[A]
        lines = as_read(said)

        async def does(at: int, kind: str, who: str, text: str = "", **more: Any) -> None:
            await desk.say(A, (who, text), kind=kind, message=messages[at], **more)
            await desk.until_empty()

        await does(5, "edit", said[5][0], "changed\nwords")
        lines[5] = f"{said[5][0]}: changed\n{GOES_ON}words"
        assert sink.stands[A][native].text.plain == "\n".join(lines)
        await does(6, "edit", "Mallory", "forged")
        await does(7, "delete", "Mallory")
        assert sink.stands[A][native].text.plain == "\n".join(lines)
        await does(7, "delete", said[7][0])
        await does(7, "delete", said[7][0])
        del lines[7]
        assert sink.stands[A][native].text.plain == "\n".join(lines)
        for key in [key async for key in store.scan_iter(match="*ids:*")]:
            values = (await store.hgetall(key)).values()
            assert not any(b"line 7" in value or b"line 5" in value for value in values)
        await does(3, "react", "Dora", emoji="👍")
        assert sink.reactions == [(native, "👍")]
        await desk.say(A, ("Dora", "yes"), reply_to=messages[9])
        await desk.until_empty()
        assert list(sink.stands[A].values())[-1].reply_to == native
        assert await desk.deps.ids.messages([(A, native)], desk.deps.now_ms()) == [(messages[-1], True)]
        for n in range(30):
            await does(n, "delete", said[n][0])
        assert native not in sink.stands[A]
        assert len(sink.stands[A]) == 1


async def test_a_fold_is_found_weeks_later(store: Redis) -> None:
    """The record lives in the id map: as long as other messages are known, so are those that stand together."""
    sink, said = Sink("board", SLOW), talk(25)
    async with delivering(store, sink) as desk:
        messages = await folded(desk, said)
        await desk.until_empty()
        later_ms = desk.deps.now_ms() + 29 * 86_400_000
        (found,) = await desk.deps.ids.posted([(A, messages[4])], later_ms)
        assert found is not None
        assert found.natives == tuple(sink.stands[A])
        assert found.author_name == said[4][0]
        (record,) = await desk.deps.ids.folded([(A, found.fold)])
        assert record is not None
        assert [line.message for line in record.lines] == messages
        hashes = [key async for key in store.scan_iter(match=TAG.replace("{", "[{]") + "ids:*")]
        lives = [await store.ttl(key) for key in hashes]
        assert all(0 < life_s <= desk.deps.ids.life_s for life_s in lives)


@pytest.mark.parametrize("delete", ["full", "fallback"])
async def test_in_a_room_that_cannot_edit(store: Redis, delete: str) -> None:
    """Corrections and removals are told in words, no words of the messages are kept, and where posts can be taken away
    the post goes when all that stands in it was deleted.
    """
    sink = Sink("board", Capabilities(delete=delete, rate_per_s=300))  # type: ignore[arg-type]
    said = talk(20)
    async with delivering(store, sink) as desk:
        messages = await folded(desk, said)
        await desk.until_empty()
        (native,) = sink.stands[A]
        for key in await store.keys("*"):
            if await store.type(key) == b"hash":
                assert all(b"line 7" not in value for value in (await store.hgetall(key)).values())
        await desk.say(A, (said[3][0], "better"), kind="edit", message=messages[3])
        await desk.say(A, (said[4][0], ""), kind="delete", message=messages[4])
        await desk.until_empty()
        told = [post.text.plain for post in sink.stands[A].values()][1:]
        assert told == [f"{said[3][0]} corrected: better", f"({said[4][0]} removed a message)"]
        for n in range(20):
            await desk.say(A, (said[n][0], ""), kind="delete", message=messages[n])
        await desk.until_empty()
        if delete == "full":
            assert native not in sink.stands[A]
        else:
            assert sink.stands[A][native].text.plain.split("\n") == as_read(said)


# --- when something goes wrong


@pytest.mark.parametrize("kind", ["keyed", "finds", "plain"])
@pytest.mark.parametrize("arrived", [True, False])
async def test_killed_with_a_fold_under_way(store: Redis, kind: str, arrived: bool) -> None:
    """Whoever goes on posts the same messages together, under the same key, whatever came in meanwhile: once where the
    service has a key or can be asked, at most twice elsewhere; nothing is lost or out of order.
    """
    sink, numbers = Sink(kind, Capabilities(edit="full", idempotent=kind == "keyed", rate_per_s=20)), count(1)
    said, more = talk(30), talk(40, "more")
    async with delivering(store, sink, numbers, "p1", gently=False) as desk:
        sink.next[A].extend([Retry(0.1), "silent" if arrived else "hang"])
        await desk.say(A, *said)
        await sink.until(lambda: len(sink.tried[A]) == 2)
        assert await store.hlen(keys.folds(TAG)) == 1
        await desk.say(A, *more[:20])
    async with delivering(store, sink, numbers, "p2") as desk:
        await desk.say(A, *more[20:])
        await sink.until(lambda: sink.reads(A)[-1:] == as_read(more)[-1:])
        twice = as_read(said) if arrived and kind == "plain" else []
        assert sink.reads(A) == twice + as_read(said + more)
        assert sink.tried[A].count(sink.tried[A][0]) == (2 if kind == "finds" and arrived else 3)
        await desk.until_empty()


async def test_a_fold_outlives_its_move_to_the_backlog(store: Redis) -> None:
    """What was tried together is tried together again when most of the room has gone to its backlog, by another
    process as well.
    """
    sink, numbers = Sink("keyed", Capabilities(idempotent=True, rate_per_s=50)), count(1)
    said = talk(queues.IN_MEMORY + 300)
    sink.next[A].extend([Retry(0.05), "lost"])
    sink.always[A] = Retry(0.3)
    async with delivering(store, sink, numbers, "p1", gently=False) as desk:
        await desk.say(A, *said[:50])
        await sink.until(lambda: len(sink.tried[A]) == 3)
        await desk.say(A, *said[50:])
        await desk.say(B, ("Bob", "b"))
        async with asyncio.timeout(10):
            while not await store.hexists(keys.behind(TAG), A):
                await asyncio.sleep(0.01)
    del sink.always[A]
    async with delivering(store, sink, numbers, "p2") as desk:
        await sink.until(lambda: len(sink.reads(A)) >= len(said))
        assert sink.reads(A) == as_read(said)
        await desk.until_empty()


@pytest.mark.parametrize("trouble", ["rude", "poison"])
async def test_one_of_them_is_to_blame(store: Redis, trouble: str) -> None:
    """When the service refuses a post of several, or it crashes the adapter, each is tried by itself: the bad one is
    set aside, the others arrive in order.
    """
    sink, said = Sink("board", Capabilities(edit="full", rate_per_s=200)), talk(25)
    setattr(sink, trouble, "bad")
    said[11] = ("Bob", "a bad one")
    async with delivering(store, sink) as desk:
        await folded(desk, said)
        await sink.until(lambda: len(sink.reads(A)) == 24)
        await desk.until_empty()
        assert sink.reads(A) == as_read(said[:11] + said[12:])
        (letter,) = await desk.letters()
        assert letter.reason == ("too rude" if trouble == "rude" else "an error of the bot")
        assert len(await desk.notices()) == 1


async def test_rather_not_twice(store: Redis) -> None:
    """With ``on_uncertain: drop`` a fold whose fate nobody knows is set aside whole, and its room is told once."""
    sink, said = Sink("board", SLOW), talk(25)
    async with delivering(store, sink, on_uncertain="drop") as desk:
        sink.next[A].extend([Retry(0.1), Uncertain("no answer")])
        await desk.say(A, *said)
        await desk.until_empty()
        assert len(await desk.letters()) == 25
        (notice,) = await desk.notices()
        assert "nor the 24 after it" in notice
        await desk.say(A, ("Alice", "after"))
        await sink.until(lambda: sink.reads(A) == ["Alice: after"])


async def test_an_uncertain_fold_comes_again_as_it_was(store: Redis) -> None:
    """A fold whose answer was lost is tried again under its key, although more waits by then."""
    sink = Sink("keyed", Capabilities(idempotent=True, rate_per_s=20))
    async with delivering(store, sink) as desk:
        sink.next[A].extend([Retry(0.1), "lost"])
        await desk.say(A, *talk(25))
        await sink.until(lambda: bool(sink.stands[A]))
        await desk.say(A, *talk(25, "more"))
        await sink.until(lambda: len(sink.reads(A)) >= 50)
        assert sink.reads(A) == as_read(talk(25) + talk(25, "more"))


@pytest.mark.parametrize("seed", range(4))
async def test_whatever_happens_people_read_it_in_order(store: Redis, seed: int) -> None:
    """Messages of several people, typing and notices, into a room that refuses, hangs and loses answers, over restarts
    in order and by force and over moves to the backlog: everything is read once, in order, under its author's name.
    """
    random, numbers = Random(seed), count(1)
    sink = Sink("keyed", Capabilities(edit="full", idempotent=True, rate_per_s=300, text_limit=400))
    read: list[str] = []
    for turn in range(5):
        async with delivering(
            store, sink, numbers, f"p{turn % 2}", random.random() < 0.5, fold_from=5, fold_most=20, send_timeout_s=0.2
        ) as desk:
            for _ in range(6):
                said = [(random.choice(PEOPLE), f"{turn} " + "w" * random.randrange(60)) for _ in range(40)]
                await desk.say(A, *said)
                read += as_read(said)
                kind = random.choice(["typing", "tell", ""])
                if kind == "tell":
                    await desk.say(A, ("", f"notice {turn}"), kind="tell", author=None)
                    read.append(f"notice {turn}")
                elif kind == "typing":
                    await desk.say(A, ("Alice", ""), kind="typing", at_ms=desk.deps.now_ms())
                sink.next[A].append(random.choice([None, Retry(0.05), "lost", Uncertain("gone"), "hang"]))
            await asyncio.sleep(random.random() / 3)
    sink.next[A].clear()
    async with delivering(store, sink, numbers, "last", fold_from=5) as desk:
        await sink.until(lambda: len(sink.reads(A)) >= len(read), 20)
        assert sink.reads(A) == read
        await desk.until_empty()


# --- the composition


names = st.text(min_size=1, max_size=20)
words = st.text(min_size=1, max_size=60)
messages = st.lists(st.tuples(names, words, st.booleans(), st.booleans()), min_size=1, max_size=12)


@given(messages, st.sampled_from(["name", "name+platform", "name+room"]), st.booleans(), st.booleans())
def test_each_line_is_its_authors(said: list[Any], style: Any, bold: bool, spoilers: bool) -> None:
    """Whatever people call themselves and whatever they say, a reader can tell from a post of several who said what: a
    line that does not go on another begins with its author's name, and there are as many of those as messages.
    """
    from core.text.safety import clean_text, defuse_mass_mentions

    render = Renderer(64)
    caps = Capabilities(bold_names=bold, entities=frozenset({"bold"}))
    lines, expected = [], []
    for name, text, emote, answers in said:
        body = clean_text(Text(text, (Entity("spoiler", 0, len(text)),) if spoilers else ()))
        delivery = Delivery(
            "new",
            (A,),
            author=Author("x", name),
            platform_title="Slack",
            origin_title="#garden",
            text=body,
            emote=emote,
            reply_to=MessageId("m" if answers else ""),
            reply_excerpt="a\nb",
        )
        opening, shown = render.line(delivery, style, caps)
        lines.append(FoldedLine(MessageId("m"), "x", opening, shown))
        alone = render.message(delivery, style, caps, replies_natively=False)
        expected.append(alone.plain)
    text = text_of(lines)
    read: list[str] = []
    for line in text.plain.split("\n"):
        if line.startswith(GOES_ON):
            read[-1] += "\n" + line.removeprefix(GOES_ON)
        else:
            read.append(line)
    assert len(read) == len(said)
    zero_width = "\u200b"
    assert [line.replace(zero_width, "") for line in read] == [line.replace(zero_width, "") for line in expected]
    assert defuse_mass_mentions(text) is text
    if bold:
        spans = [text.plain[e.start : e.start + e.length] for e in text.entities if e.type == "bold"]
        assert len(spans) == len(said)


def test_old_records_can_be_read() -> None:
    """A record of the id map from before there were folds still decodes."""
    import msgspec

    old = decode_posted(msgspec.msgpack.encode(["a", "Alice", ["n1"], []]))
    assert (old.natives, old.fold) == ((NativeId("n1"),), "")
    assert ACCOUNT

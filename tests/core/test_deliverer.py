"""Deliveries to a service that misbehaves in every way it can, on a real store."""

from __future__ import annotations

import asyncio
import resource
import time
from collections.abc import Iterator
from itertools import count

import pytest
from structlog.testing import capture_logs

from core import keys, notices, queues, settling
from core.contract import AuthLost, Capabilities, Offline, Rejected, Retry, Uncertain
from core.model import NativeId, message_id
from core.store import Redis
from core.streaming import STREAM_BATCH
from core.wire import decode_delivery
from tests.core.sink import ACCOUNT, ORIGIN, TAG, Desk, Sink, delivering, lines, rooms

KINDS = ("plain", "keyed", "finds", "stream")
A, B, C = rooms("a", "b", "c")


@pytest.fixture(autouse=True)
def quicker(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Less patience and less memory, so that tests see in a moment what takes long elsewhere."""
    monkeypatch.setattr(queues, "SLOW_S", 0.3)
    monkeypatch.setattr(settling, "UNCERTAIN_RETRY_S", 0.05)
    monkeypatch.setattr(queues, "IN_MEMORY", 400)
    monkeypatch.setattr(queues, "KEPT_PER_ROOM", 40)
    monkeypatch.setattr(notices, "PUBLISH_S", 0.05)
    with capture_logs():
        yield


@pytest.mark.parametrize("kind", KINDS)
async def test_posts_arrive_in_order(store: Redis, kind: str) -> None:
    """Each room gets its posts in order, entries for several rooms and for one mixed; nothing is left in the store."""
    sink = Sink(kind)
    async with delivering(store, sink) as desk:
        for n in range(40):
            await desk.deliver(A, B, C, texts=lines(f"all {n}", 3))
            await desk.deliver(B, texts=lines(f"one {n}", 2))
        await sink.until(lambda: len(sink.posts[B]) == 200 and len(sink.posts[A]) == len(sink.posts[C]) == 120)
        both = [line for n in range(40) for line in lines(f"all {n}", 3) + lines(f"one {n}", 2)]
        assert sink.posts[B] == both
        assert sink.posts[A] == sink.posts[C] == [line for line in both if "all" in line]
        await desk.until_empty()
        known = await desk.deps.ids.posted([(A, message_id(ORIGIN, NativeId("m1")))], desk.deps.now_ms())
        assert known[0] is not None
        assert known[0].author_id == "alice"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("error", [Retry(0.4), Offline(0.4), AuthLost("renew the token")])
async def test_a_room_that_must_wait(store: Redis, kind: str, error: Exception) -> None:
    """What certainly was not sent is sent later, once and in order; other rooms go on meanwhile."""
    sink = Sink(kind)
    sink.always[A] = error
    async with delivering(store, sink) as desk:
        await desk.deliver(A, texts=lines("a", 5))
        await sink.until(lambda: bool(sink.tried[A]))
        await desk.deliver(B, texts=lines("b", 5))
        await sink.until(lambda: sink.posts[B] == lines("b", 5))
        assert sink.posts[A] == []
        del sink.always[A]
        if not isinstance(error, Retry) or isinstance(error, Offline):
            assert sink.emit
            sink.emit.online()
            await sink.until(lambda: len(sink.posts[A]) == 5, 0.35)
        await sink.until(lambda: len(sink.posts[A]) == 5)
        assert sink.posts[A] == lines("a", 5)
        await desk.until_empty()
        assert len(sink.tried[A]) <= (10 if kind == "stream" else 6)


async def test_the_next_owner_knows_of_a_wait(store: Redis) -> None:
    """A Retry-After is kept in the store: whoever delivers next does not ask again before its time."""
    sink = Sink()
    sink.next[A].append(Retry(0.5))
    numbers = count(1)
    async with delivering(store, sink, numbers) as desk:
        await desk.deliver(A, texts=lines("a", 2))
        await sink.until(lambda: bool(sink.tried[A]))
        started_s = time.monotonic()
        async with asyncio.timeout(5):
            while not await store.hexists(keys.holds(TAG), A):
                await asyncio.sleep(0.005)
    async with delivering(store, sink, numbers, process="p2") as desk:
        await desk.deliver(B)
        await sink.until(lambda: len(sink.posts[B]) == 1)
        await sink.until(lambda: len(sink.posts[A]) == 2)
        assert time.monotonic() - started_s >= 0.45


@pytest.mark.parametrize("kind", KINDS)
async def test_a_refused_post_is_set_aside(store: Redis, kind: str) -> None:
    """A post that will never be accepted becomes a dead letter and a notice where it came from; the next goes on."""
    sink = Sink(kind)
    sink.next[A].extend([None, Rejected("too rude"), None])
    async with delivering(store, sink) as desk:
        await desk.deliver(A, B, texts=["one"])
        await desk.deliver(A, B, texts=["two"])
        await desk.deliver(A, B, texts=["three"])
        await sink.until(lambda: len(sink.posts[A]) >= 1 and len(sink.posts[B]) == 3)
        await desk.until_empty()
        refused = {"one", "two", "three"} - set(sink.posts[A])
        letters = await desk.letters()
        assert len(letters) == len(refused) >= 1
        assert letters[0].room == A
        assert letters[0].reason == "too rude"
        assert decode_delivery(letters[0].record).rooms == (A,)
        (notice,) = await desk.notices()
        assert "too rude" in notice


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("arrived", [True, False])
async def test_a_post_of_unknown_fate(store: Redis, kind: str, arrived: bool) -> None:
    """When the answer is lost a keyed service gets the same key again, one that can be asked is asked, others get it
    once more; what did not arrive arrives, and the order is kept.
    """
    sink = Sink(kind, Capabilities(idempotent=kind == "keyed"))
    sink.next[A].append("lost" if arrived else Uncertain("no answer"))
    async with delivering(store, sink) as desk:
        await desk.deliver(A, texts=["one"])
        await desk.deliver(A, texts=["two"])
        await sink.until(lambda: sink.posts[A][-1:] == ["two"])
        twice = arrived and kind in ("plain", "stream")
        assert sink.posts[A] == ["one"] * (1 + twice) + ["two"]
        assert len(set(sink.tried[A])) == 2
        await desk.until_empty()


@pytest.mark.parametrize("kind", ["plain", "stream"])
async def test_rather_not_twice(store: Redis, kind: str) -> None:
    """With ``on_uncertain: drop`` a post whose fate nobody can tell is set aside, with a notice; the next goes on."""
    sink = Sink(kind)
    sink.next[A].append("lost")
    async with delivering(store, sink, on_uncertain="drop") as desk:
        await desk.deliver(A, texts=["one"])
        await sink.until(lambda: sink.posts[A] == ["one"])
        await desk.deliver(A, texts=["two"])
        await sink.until(lambda: sink.posts[A][-1:] == ["two"])
        assert sink.posts[A] == ["one", "two"]
        (notice,) = await desk.notices()
        assert "nobody can tell" in notice
        await desk.until_empty()


@pytest.mark.parametrize("kind", KINDS)
async def test_an_adapter_that_hangs(store: Redis, kind: str) -> None:
    """A post without an answer is given up after its time, counts as uncertain, and comes again."""
    sink = Sink(kind)
    sink.next[A].append("hang")
    async with delivering(store, sink, send_timeout_s=0.2) as desk:
        await desk.deliver(A, texts=lines("a", 3))
        await sink.until(lambda: len(sink.posts[A]) == 3)
        assert sink.posts[A] == lines("a", 3)
        await desk.until_empty()


@pytest.mark.parametrize("kind", KINDS)
async def test_poison_is_set_aside_alone(store: Redis, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A post that crashes the adapter 8 times becomes a dead letter; its neighbours in the room and in its batch arrive
    in order, and once but for those of a stream that were under way in the first crash.
    """
    monkeypatch.setattr(settling, "CRASH_RETRY_S", 0.05)
    sink = Sink(kind, poison="poison")
    async with delivering(store, sink) as desk:
        await desk.deliver(A, B, texts=["one"])
        await desk.deliver(A, texts=["poison"])
        await desk.deliver(A, B, texts=["two"])
        await sink.until(lambda: sink.posts[A][-1:] == sink.posts[B][-1:] == ["two"])
        for room in (A, B):
            posts = sink.posts[room]
            assert (list(dict.fromkeys(posts)) if kind == "stream" else posts) == ["one", "two"]
        (letter,) = await desk.letters()
        assert letter.room == A
        assert letter.reason == "an error of the bot"
        poisoned = sink.tried[A].count(max(sink.tried[A], key=sink.tried[A].count))
        assert 8 <= poisoned <= 10
        await desk.until_empty()


async def test_crashes_are_counted_over_restarts(store: Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    """A poison post that outlives its process is not tried for ever."""
    monkeypatch.setattr(settling, "CRASH_RETRY_S", 0.1)
    sink, numbers = Sink(poison="poison"), count(1)
    tries = 0
    for turn in range(4):
        async with delivering(store, sink, numbers, f"p{turn}") as desk:
            if turn == 0:
                await desk.deliver(A, texts=["poison", "two"])
            tries = min(tries + 2, 8)
            await sink.until(lambda: len(sink.tried[A]) >= tries)  # noqa: B023
    async with delivering(store, sink, numbers, "last") as desk:
        await sink.until(lambda: sink.posts[A] == ["two"])
        assert len(await desk.letters()) == 1
        assert len(sink.tried[A]) <= 10


async def test_a_broken_connection_is_no_crash(store: Redis) -> None:
    """An adapter that lets a socket's error through is not to blame the post for it, nor to stop the other rooms."""
    sink = Sink()
    sink.next[A].extend([ConnectionResetError("reset"), BrokenPipeError("pipe")])
    sink.slow_s[B] = 0.3
    async with delivering(store, sink) as desk:
        await desk.deliver(B, texts=["slow"])
        await desk.deliver(A, texts=["one"])
        await sink.until(lambda: sink.posts[A] == ["one"] and sink.posts[B] == ["slow"])
        assert sink.started == 1
        assert len(sink.tried[B]) == 1
        assert await desk.letters() == []


@pytest.mark.parametrize("kind", ["plain", "stream"])
@pytest.mark.parametrize("alone", [True, False])
async def test_a_great_many_behind_a_dead_room(store: Redis, kind: str, alone: bool) -> None:
    """What waits behind a dead room lies in the store and not in memory, other rooms stay quick, and when it is back
    everything arrives in order. So also when the dead room had all the memory to itself at first.
    """
    total = (30_000 if alone else 10_000) if kind == "stream" else 3_000
    sink = Sink(kind)
    sink.always[A] = Retry(0.2)
    async with delivering(store, sink) as desk:
        if not alone:
            await desk.deliver(B, texts=["before"])
        before_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        longest_s = 0.0
        for n in range(0, total, total // 20):
            await desk.deliver(A, texts=lines("a", total)[n : n + total // 20])
            said_s = time.monotonic()
            await desk.deliver(B, texts=[f"b {n}"])
            await sink.until(lambda: sink.posts[B][-1:] == [f"b {n}"])  # noqa: B023
            longest_s = max(longest_s, time.monotonic() - said_s)
            assert desk.host.hosts[ACCOUNT].waiting() <= queues.IN_MEMORY + 500
        assert longest_s < 3.0
        if kind == "stream":
            assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kib < 60_000
        assert not sink.posts[A]
        del sink.always[A]
        await sink.until(lambda: len(sink.posts[A]) >= total, 60)
        assert sink.posts[A] == lines("a", total)
        await desk.deliver(A, texts=["after"])
        await sink.until(lambda: sink.posts[A][-1] == "after")
        await desk.until_empty()


async def test_a_slow_room_delays_nobody(store: Redis) -> None:
    """A room that takes its time with each post, without ever refusing one, keeps no other room waiting."""
    sink = Sink()
    sink.slow_s[A] = 0.05
    async with delivering(store, sink) as desk:
        await desk.deliver(A, texts=lines("a", 3 * queues.IN_MEMORY))
        await desk.deliver(B, texts=lines("b", 20))
        await sink.until(lambda: len(sink.posts[B]) == 20, 5)
        assert len(sink.posts[A]) < 100
        sink.slow_s[A] = 0
        await sink.until(lambda: len(sink.posts[A]) == 3 * queues.IN_MEMORY, 30)
        assert sink.posts[A] == lines("a", 3 * queues.IN_MEMORY)
        await desk.until_empty()


async def test_a_flood_in_one_room_of_a_stream_starves_nobody(store: Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a stream every room has its share of each batch."""
    monkeypatch.setattr(queues, "IN_MEMORY", 4_000)
    sink = Sink("stream")
    async with delivering(store, sink) as desk:
        await desk.deliver(A, texts=lines("a", 1_900))
        await desk.deliver(B, texts=["b"])
        sink.slow_s[A] = 0.001
        await sink.until(lambda: sink.posts[B] == ["b"])
        assert len(sink.posts[A]) <= 2 * STREAM_BATCH


async def test_the_rate_of_a_room(store: Redis) -> None:
    """A room's own rate is kept, and it is no other room's."""
    sink = Sink(caps=Capabilities(rate_per_s=50, rate_burst=5))
    async with delivering(store, sink, fold_from=0) as desk:
        started_s = time.monotonic()
        await desk.deliver(A, texts=lines("a", 30))
        await desk.deliver(B, texts=["b"])
        await sink.until(lambda: sink.posts[B] == ["b"], 0.4)
        await sink.until(lambda: len(sink.posts[A]) == 30)
        assert time.monotonic() - started_s >= 0.5
        assert sink.posts[A] == lines("a", 30)


@pytest.mark.parametrize("kind", KINDS)
async def test_one_of_several_rooms_is_stuck(store: Redis, kind: str) -> None:
    """Of an entry for several rooms, those that have it are not asked again after a restart, and the entry goes when
    the last one has it.
    """
    sink, numbers = Sink(kind), count(1)
    sink.always[B] = Retry(0.1)
    async with delivering(store, sink, numbers, "p1") as desk:
        await desk.deliver(A, B, C, texts=lines("x", 30))
        await sink.until(lambda: sink.posts[A] == sink.posts[C] == lines("x", 30))
    async with delivering(store, sink, numbers, "p2") as desk:
        await desk.deliver(A, B, C, texts=["more"])
        await sink.until(lambda: sink.posts[A][-1] == "more")
        assert await store.xlen(keys.stream(TAG)) == 31
        del sink.always[B]
        await sink.until(lambda: len(sink.posts[B]) == 31)
        for room in (A, B, C):
            assert sink.posts[room] == [*lines("x", 30), "more"]
        await desk.until_empty()


@pytest.mark.parametrize("kind", KINDS)
async def test_restarts_lose_nothing_and_send_nothing_twice(store: Redis, kind: str) -> None:
    """Stopped in order and started again and again with posts under way, behind a stuck room with a backlog and with
    entries that some rooms have: every room gets everything once and in order.
    """
    sink, numbers = Sink(kind), count(1)
    sink.always[B] = Retry(0.1)
    sink.slow_s[A] = 0.002
    said: list[str] = []
    for turn in range(5):
        async with delivering(store, sink, numbers, f"p{turn % 2}") as desk:
            texts = lines(f"turn {turn}", 150)
            said += texts
            await desk.deliver(A, B, C, texts=texts)
            if turn == 3:
                del sink.always[B]
            reached = len(sink.posts[A]) + 50
            await sink.until(lambda: len(sink.posts[A]) >= reached)  # noqa: B023
    sink.slow_s.clear()
    async with delivering(store, sink, numbers, "last") as desk:
        await sink.until(lambda: all(len(sink.posts[room]) >= len(said) for room in (A, B, C)), 60)
        for room in (A, B, C):
            assert sink.posts[room] == said
        await desk.until_empty()


@pytest.mark.parametrize("kind", KINDS)
async def test_killed_with_a_post_under_way(store: Redis, kind: str) -> None:
    """When its process is killed between a post and its record, a keyed service drops the second one, one that can be
    asked is asked, and elsewhere it comes at most once more; nothing before or after it does.
    """
    sink, numbers = Sink(kind, Capabilities(idempotent=kind == "keyed")), count(1)
    async with delivering(store, sink, numbers, "p1", gently=False) as desk:
        await desk.deliver(A, texts=lines("a", 3))
        await desk.until_empty()
        sink.next[A].append("lost")
        await desk.deliver(A, texts=["last", "next"])
        await sink.until(lambda: "last" in sink.posts[A])
    async with delivering(store, sink, numbers, "p1") as desk:
        await sink.until(lambda: sink.posts[A][-1] == "next")
        again = ["last"] if kind in ("plain", "stream") else []
        assert sink.posts[A] == [*lines("a", 3), "last", *again, "next"]
        await desk.until_empty()


async def test_only_what_was_under_way_is_looked_for(store: Redis) -> None:
    """After a restart a room is asked for its first waiting post only: what comes after it cannot have been sent."""
    sink, numbers = Sink("finds"), count(1)
    sink.always[A] = Retry(0.1)
    async with delivering(store, sink, numbers, "p1", gently=False) as desk:
        await desk.deliver(A, texts=lines("a", 50))
        await sink.until(lambda: bool(sink.tried[A]))
    del sink.always[A]
    tried = list(sink.tried[A])
    async with delivering(store, sink, numbers, "p2", on_uncertain="drop"):
        await sink.until(lambda: len(sink.posts[A]) == 50)
    assert sink.posts[A] == lines("a", 50)
    assert len(sink.tried[A]) == len(tried) + 50


async def test_keys_are_nobody_elses(store: Redis) -> None:
    """Posts of one entry, of different entries, and of the same entry numbers in a store that was begun anew have
    different keys; they are short and plain.
    """
    seen: list[str] = []
    for _ in range(2):
        sink = Sink()
        async with delivering(store, sink) as desk:
            await desk.deliver(A, B, C, texts=lines("x", 5))
            await sink.until(lambda: all(len(sink.posts[room]) == 5 for room in (A, B, C)))  # noqa: B023
        seen += [key for room in (A, B, C) for key in sink.tried[room]]
        await store.flushall()
    assert len(seen) == len(set(seen)) == 30
    assert all(key.isascii() and key.isprintable() and len(key) <= 64 for key in seen)


async def test_the_key_stays_when_a_post_goes_to_the_backlog(store: Redis) -> None:
    """A post that was tried, spilled and read again, also by another process, is the same post to the service."""
    sink, numbers = Sink("keyed", Capabilities(idempotent=True)), count(1)
    total = queues.IN_MEMORY + 500
    sink.next[B].append("lost")
    sink.always[B] = Retry(0.1)
    async with delivering(store, sink, numbers, "p1") as desk:
        await desk.deliver(A, B, texts=lines("x", total))
        async with asyncio.timeout(10):
            while not await store.hexists(keys.behind(TAG), B):
                await asyncio.sleep(0.01)
        first = sink.tried[B][0]
    del sink.always[B]
    async with delivering(store, sink, numbers, "p2") as desk:
        await sink.until(lambda: len(sink.posts[B]) >= total, 30)
        assert sink.posts[B] == lines("x", total)
        assert sink.tried[B].count(first) >= 2
        await desk.until_empty()


async def test_how_much_waits_is_published(store: Redis) -> None:
    """Within about a second the store says how much waits for a room, and again when nothing does; what an owner
    before said is not left standing.
    """
    sink, numbers = Sink(), count(1)
    sink.always[A] = Retry(0.1)
    await store.hset(keys.waiting(TAG), B, 5)
    async with delivering(store, sink, numbers) as desk:
        await desk.deliver(A, texts=lines("a", 7))
        async with asyncio.timeout(5):
            while await store.hgetall(keys.waiting(TAG)) != {A.encode(): b"7"}:
                await asyncio.sleep(0.02)
        del sink.always[A]
        await desk.until_empty(5)


@pytest.mark.parametrize("total", [5, 1_000])
async def test_people_are_told_of_a_long_wait(store: Redis, total: int) -> None:
    """The room it came from is told once when its messages wait for long, and once when all have arrived, also when
    most of them lay in a backlog.
    """
    sink = Sink()
    sink.always[A] = Retry(0.1)
    async with delivering(store, sink, notice_after_s=0.3) as desk:
        await desk.deliver(A, texts=lines("a", total))
        (notice,) = await desk.notices()
        assert "a (Sink)" in notice
        del sink.always[A]
        await sink.until(lambda: len(sink.posts[A]) == total, 20)
        told = await desk.notices(least=2)
        assert len(told) == 2
        await desk.until_empty()


@pytest.mark.parametrize("kind", KINDS)
async def test_a_graceful_stop(store: Redis, kind: str) -> None:
    """A stop waits for what is under way, sends nothing more, and what is left is the next owner's."""
    sink, numbers = Sink(kind), count(1)
    sink.slow_s = {A: 0.05, B: 0.07}
    async with delivering(store, sink, numbers, "p1") as desk:
        await desk.deliver(A, B, texts=lines("x", 20))
        await sink.until(lambda: sink.under_way > 0 and bool(sink.posts[A]))
    assert sink.under_way == 0
    sent = sum(map(len, sink.tried.values()))
    sink.slow_s.clear()
    async with delivering(store, sink, numbers, "p2") as desk:
        await sink.until(lambda: sink.posts[A] == sink.posts[B] == lines("x", 20))
        await desk.until_empty()
    assert sum(map(len, sink.tried.values())) == 40
    assert sent < 40 or kind == "stream"


async def test_two_hosts_share_and_hand_over(store: Redis) -> None:
    """Two hosts never both serve an account; when its owner goes the other goes on where it stopped."""
    sink, numbers = Sink(), count(1)
    sink.slow_s[A] = 0.01
    async with delivering(store, sink, numbers, "p2") as second:
        async with delivering(store, sink, numbers, "p1") as first:
            await first.deliver(A, texts=lines("x", 60))
            await sink.until(lambda: len(sink.posts[A]) > 10)
            assert sink.started <= 2
        await sink.until(lambda: len(sink.posts[A]) >= 60)
        assert sink.posts[A] == lines("x", 60)
        await second.until_empty()


@pytest.mark.parametrize("kind", ["plain", "stream"])
async def test_an_edit_finds_what_was_just_posted(store: Redis, kind: str) -> None:
    """An edit right behind its message, in a burst of others, reaches the post."""
    sink = Sink(kind)
    async with delivering(store, sink) as desk:
        for n in range(30):
            message = message_id(ORIGIN, NativeId(f"x{n}"))
            await desk.deliver(A, texts=[f"x {n}"], message=message)
            await desk.deliver(A, texts=["changed"], message=message, kind="edit")
        await sink.until(lambda: sum(text.startswith("edit") for text in sink.posts[A]) == 30)
        assert [text.split()[0] for text in sink.posts[A]] == ["x", "edit"] * 30


async def test_many_rooms_of_one_entry_end_side_by_side(store: Redis) -> None:
    """A hundred rooms that get the same messages at their own pace leave nothing behind, however many end at once."""
    sink = Sink()
    many = rooms(*(f"r{n}" for n in range(100)))
    async with delivering(store, sink) as desk:
        await desk.deliver(*many, texts=lines("x", 30))
        await sink.until(lambda: all(sink.posts[room] == lines("x", 30) for room in many), 30)
        await desk.until_empty()


async def test_a_very_wide_batch_ends(store: Redis) -> None:
    """When the last of many rooms catches up with hundreds of entries at once, one step takes them all out."""
    sink = Sink("stream")
    many = rooms(*(f"r{n}" for n in range(60)))
    sink.always[many[0]] = Retry(0.2)
    async with delivering(store, sink) as desk:
        await desk.deliver(*many, texts=lines("x", 150))
        await sink.until(lambda: all(len(sink.posts[room]) == 150 for room in many[1:]), 30)
        del sink.always[many[0]]
        await sink.until(lambda: len(sink.posts[many[0]]) == 150, 30)
        await desk.until_empty()


async def test_the_store_comes_and_goes_under_delivery(store: Redis) -> None:
    """Scripts forgotten, connections cut and writes refused in the middle of it: everything arrives once."""
    sink = Sink()
    async with delivering(store, sink) as desk:
        sink.slow_s[A] = 0.001
        sending = asyncio.create_task(_deliver_slowly(desk))
        for turn in range(3):
            await asyncio.sleep(0.1)
            if turn == 0:
                await store.script_flush()
            elif turn == 1:
                await store.execute_command("CLIENT", "KILL", "TYPE", "NORMAL", "SKIPME", "yes")
            else:
                await store.config_set("maxmemory", "1")
                await asyncio.sleep(0.2)
                await store.config_set("maxmemory", "0")
        await sending
        await sink.until(lambda: len(sink.posts[A]) >= 200, 30)
        assert sink.posts[A] == sink.posts[B] == lines("x", 200)
        assert sink.started == 1
        await desk.until_empty()


async def _deliver_slowly(desk: Desk) -> None:
    for line in lines("x", 200):
        await desk.deliver(A, B, texts=[line])
        await asyncio.sleep(0.002)

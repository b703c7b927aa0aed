"""The platforms' limits: of a room, of a whole account, and over restarts, on a real store."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from itertools import count

import pytest
from structlog.testing import capture_logs

from core import keys, settling
from core.contract import Capabilities, Retry
from core.store import Redis
from tests.core.sink import TAG, Sink, delivering, lines, rooms

A, B, C = rooms("a", "b", "c")


@pytest.fixture(autouse=True)
def quicker(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Less patience."""
    monkeypatch.setattr(settling, "UNCERTAIN_RETRY_S", 0.05)
    with capture_logs():
        yield


def never_too_many(times: list[float], rate_per_s: float, burst: int) -> bool:
    """Whether over every stretch of time no more was posted than the limit allows (and one: two clocks are used)."""
    times = sorted(times)
    return all(
        n - first < burst + 1 + (times[n] - times[first]) * rate_per_s
        for first in range(len(times))
        for n in range(first, len(times))
    )


async def test_the_limit_of_an_account(store: Redis) -> None:
    """All rooms together keep to the account's limit, besides each to its own; a flood in one room leaves the others
    their turns.
    """
    caps = Capabilities(rate_per_s=1_000, rate_burst=1_000, account_rate_per_s=100, account_rate_burst=10)
    sink = Sink(caps=caps)
    async with delivering(store, sink, fold_from=0) as desk:
        await desk.deliver(A, texts=lines("a", 80))
        await sink.until(lambda: len(sink.posts[A]) >= 10)
        before = len(sink.posts[A])
        await desk.deliver(B, C, texts=lines("x", 15))
        await sink.until(lambda: len(sink.posts[B]) == len(sink.posts[C]) == 15)
        assert len(sink.posts[A]) - before <= 15 + 4
        await sink.until(lambda: len(sink.posts[A]) == 80)
        times = [at_s for room in (A, B, C) for at_s in sink.times[room]]
        assert never_too_many(times, 100, 10)
        assert max(times) - min(times) >= 0.95
        await desk.until_empty()


async def test_an_account_at_its_limit_folds(store: Redis) -> None:
    """Rooms that share a small limit get what waits together, each in its turn."""
    sink = Sink(caps=Capabilities(account_rate_per_s=20))
    async with delivering(store, sink) as desk:
        await desk.deliver(A, B, C, texts=lines("x", 200))
        await sink.until(lambda: all(len(sink.reads(room)) == 200 for room in (A, B, C)))
        for room in (A, B, C):
            assert sink.reads(room) == [f"Alice: {text}" for text in lines("x", 200)]
            assert len(sink.stands[room]) < 12


@pytest.mark.parametrize("kind", ["plain", "stream"])
async def test_the_whole_account_must_wait(store: Redis, kind: str) -> None:
    """When the platform refuses everything of an account nothing is tried in any of its rooms before the time, not by
    the next owner either; coming online does not end it.
    """
    sink, numbers = Sink(kind), count(1)
    sink.next[A].append(Retry(0.6, whole_account=True))
    async with delivering(store, sink, numbers, "p1") as desk:
        await desk.deliver(A, texts=lines("a", 2))
        await sink.until(lambda: bool(sink.tried[A]))
        began_s = time.monotonic()
        async with asyncio.timeout(5):
            while not await store.hexists(keys.holds(TAG), ""):
                await asyncio.sleep(0.005)
        await desk.deliver(B, texts=lines("b", 2))
        assert sink.emit
        sink.emit.online()
    async with delivering(store, sink, numbers, "p2") as desk:
        await desk.deliver(C, texts=lines("c", 2))
        await sink.until(lambda: all(len(sink.posts[room]) == 2 for room in (A, B, C)))
    first_s = min(at_s for room in (A, B, C) for at_s in sink.times[room])
    assert first_s - began_s >= 0.55
    assert len(sink.tried[A]) <= 4


@pytest.mark.parametrize("gently", [True, False])
async def test_a_restart_in_a_storm(store: Redis, gently: bool) -> None:
    """Restarted again and again in a storm, an account does not post a new burst each time: one post more for each room
    and restart at most, none after an end in order.
    """
    rate_per_s, burst, turns = 10.0, 10, 4
    sink, numbers = Sink(caps=Capabilities(rate_per_s=rate_per_s, rate_burst=burst)), count(1)
    for turn in range(turns):
        async with delivering(store, sink, numbers, "p1", gently, fold_from=0) as desk:
            await desk.deliver(A, B, texts=lines(f"x {turn}", 20))
            reached = max(len(sink.posts[A]), 9) + 1
            await sink.until(lambda: min(len(sink.posts[A]), len(sink.posts[B])) >= reached)  # noqa: B023
            await asyncio.sleep(0.05)  # a burst would go out by now
    more = 0 if gently else turns - 1
    for room in (A, B):
        assert never_too_many(sink.times[room], rate_per_s, burst + more)
        assert len(sink.times[room]) >= burst + turns - 1


async def test_what_had_not_run_dry_is_full_again(store: Redis) -> None:
    """A new account, and a room that used little before a restart in order, may post a burst at once."""
    sink, numbers = Sink(caps=Capabilities(rate_per_s=0.5, rate_burst=20)), count(1)
    for turn, room in enumerate((A, B, A)):
        async with delivering(store, sink, numbers, f"p{turn}", fold_from=0) as desk:
            before = len(sink.posts[room])
            await desk.deliver(room, texts=lines("x", 8))
            await sink.until(lambda: len(sink.posts[room]) == before + 8, 2)  # noqa: B023


async def test_after_a_kill_the_first_post_goes_at_once(store: Redis) -> None:
    """Whoever takes over without knowing what was used up posts once in each room and then keeps to the rate."""
    sink, numbers = Sink(caps=Capabilities(rate_per_s=2, rate_burst=20)), count(1)
    async with delivering(store, sink, numbers, "p1", gently=False, fold_from=0) as desk:
        await desk.deliver(A, texts=lines("x", 3))
        await sink.until(lambda: len(sink.posts[A]) == 3)
        await desk.until_empty()
    async with delivering(store, sink, numbers, "p1", fold_from=0) as desk:
        await desk.deliver(A, B, texts=lines("y", 2))
        await sink.until(lambda: len(sink.posts[A]) == 5 and len(sink.posts[B]) == 2)
        assert sink.times[A][4] - sink.times[A][3] >= 0.35
        assert sink.times[B][1] - sink.times[B][0] >= 0.35


async def test_typing_is_no_post(store: Redis) -> None:
    """What is not posted uses up nothing of a limit on posts."""
    sink = Sink(caps=Capabilities(rate_per_s=0.1, rate_burst=2))
    async with delivering(store, sink, fold_from=0) as desk:
        for _ in range(10):
            await desk.deliver(A, texts=[""], kind="typing", at_ms=desk.deps.now_ms())
        await desk.deliver(A, texts=["one", "two"])
        await sink.until(lambda: sink.posts[A] == ["one", "two"], 2)

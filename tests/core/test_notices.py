"""What people are told of trouble, and what the log says of it: once for each incident, whoever has the account."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from itertools import count

import pytest
from msgspec.structs import replace
from structlog.testing import capture_logs

from core import keys, notices, settling
from core.contract import AuthLost, Capabilities, Rejected, Retry
from core.model import AccountId, NativeId, RoomId, message_id
from core.store import Redis
from core.wire import Tell
from tests.core.sink import ORIGIN, TAG, Desk, Sink, delivering, lines, rooms

A, B, C = rooms("a", "b", "c")
ELSEWHERE = RoomId("elsewhere/other")


@pytest.fixture(autouse=True)
def quicker(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Look often, try often."""
    monkeypatch.setattr(notices, "PUBLISH_S", 0.05)
    monkeypatch.setattr(settling, "AUTH_RETRY_S", 0.1)
    with capture_logs():
        yield


def acts(told: list[Tell]) -> list[tuple[str, str]]:
    """What each is for, and where it goes."""
    return [(tell.act, tell.room) for tell in told]


async def until_over(desk: Desk) -> None:
    """Return when nothing waits and nobody is told anything any more."""
    await desk.until_empty(20)
    async with asyncio.timeout(5):
        while await desk.deps.store.exists(keys.incidents(TAG)):
            await asyncio.sleep(0.01)


async def test_one_notice_for_all_rooms(store: Redis) -> None:
    """A room whose messages wait for three others is told once, with how many, and once when all have arrived; rooms
    that fall behind later belong to the same incident.
    """
    sink = Sink()
    for room in (A, B, C):
        sink.always[room] = Retry(0.05)
    async with delivering(store, sink, notice_after_s=0.3) as desk:
        await desk.deliver(A, B, texts=lines("x", 7))
        (begun,) = await desk.tells(1)
        assert begun.room == ORIGIN
        assert "(Sink) and 1 other room have not been reached" in begun.text
        assert "7 messages wait" in begun.text
        await desk.deliver(C, texts=lines("y", 3))
        async with asyncio.timeout(5):
            while b"acc/c" not in (await store.hget(keys.incidents(TAG), ORIGIN) or b""):
                await asyncio.sleep(0.01)
        sink.always.clear()
        await until_over(desk)
        told = await desk.tells(2)
        assert acts(told) == [("waits", ORIGIN), ("caught up", ORIGIN)]
        assert told[1].detail.endswith("(Sink) and 2 more")


async def test_every_room_it_came_from_is_told(store: Redis) -> None:
    """Each room of which a message waits hears of it, once, and of its end."""
    sink = Sink()
    sink.always[A] = Retry(0.05)
    async with delivering(store, sink, notice_after_s=0.3) as desk:
        await desk.deliver(A, texts=lines("x", 5))
        await desk.deliver(A, texts=lines("y", 5), message=message_id(ELSEWHERE, NativeId("m")))
        told = await desk.tells(2)
        assert sorted(acts(told)) == [("waits", ORIGIN), ("waits", ELSEWHERE)]
        sink.always.clear()
        await until_over(desk)
        told = await desk.tells(4)
        assert sorted(acts(told)) == sorted(
            (act, room) for act in ("waits", "caught up") for room in (ORIGIN, ELSEWHERE)
        )


async def test_a_room_that_is_only_slow(store: Redis) -> None:
    """Where messages get through, but slower than they come in, that is what people are told."""
    sink = Sink()
    sink.slow_s[A] = 0.1
    async with delivering(store, sink, notice_after_s=1) as desk:
        await desk.deliver(A, texts=lines("x", 25))
        (begun,) = await desk.tells(1)
        assert "a (Sink) takes fewer messages than come in" in begun.text
        sink.slow_s.clear()
        await until_over(desk)
        assert acts(await desk.tells(2)) == [("waits", ORIGIN), ("caught up", ORIGIN)]


async def test_the_next_owner_knows_what_was_told(store: Redis) -> None:
    """Two owners are killed while messages wait: the room is told once all the same, and of the end by the third."""
    sink, numbers = Sink(), count(1)
    sink.always[A] = Retry(0.05)
    async with delivering(store, sink, numbers, "p1", gently=False, notice_after_s=0.3) as desk:
        await desk.deliver(A, texts=lines("x", 5))
        await desk.tells(1)
        async with asyncio.timeout(5):
            while not await store.exists(keys.incidents(TAG)):
                await asyncio.sleep(0.01)
    async with delivering(store, sink, numbers, "p1", gently=False, notice_after_s=0.3) as desk:
        tried = len(sink.tried[A])
        await sink.until(lambda: len(sink.tried[A]) > tried + 10)
    sink.always.clear()
    async with delivering(store, sink, numbers, "p1", notice_after_s=0.3) as desk:
        await until_over(desk)
        assert acts(await desk.tells(2)) == [("waits", ORIGIN), ("caught up", ORIGIN)]


async def test_what_is_set_aside_is_told_together(store: Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of fifty refused messages the first is told at once, and all others in one notice a while later."""
    monkeypatch.setattr(notices, "SET_ASIDE_S", 0.5)
    sink = Sink()
    sink.always[A] = Rejected("the room is gone")
    async with delivering(store, sink) as desk:
        await desk.deliver(A, texts=lines("x", 50))
        first, rest = await desk.tells(2)
        assert "“x 0”. Reason: the room is gone" in first.text
        assert rest.text.startswith("49 more messages did not reach a (Sink). Reason: the room is gone")
        assert [tell.detail for tell in (first, rest)] == [
            "1 for a (Sink): the room is gone",
            "49 more for a (Sink): the room is gone",
        ]
        assert len(await desk.letters()) == 50


async def test_one_that_is_set_aside_later_is_told_in_full(store: Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where only one more was set aside, people are told whose and which; no reason makes a line of its own."""
    monkeypatch.setattr(notices, "SET_ASIDE_S", 0.2)
    sink = Sink()
    sink.always[A] = Rejected("gone\n2026-01-01 open")
    async with delivering(store, sink) as desk:
        await desk.deliver(A, texts=lines("x", 2))
        _, rest = await desk.tells(2)
        assert rest.text.startswith("A message by Alice did not reach a (Sink): “x 1”.")
        assert rest.detail == "1 more for a (Sink): gone 2026-01-01 open"


async def test_whoever_stops_tells_what_it_counted(store: Redis) -> None:
    """An owner that ends in order leaves nothing untold."""
    sink = Sink()
    sink.always[A] = Rejected("the room is gone")
    async with delivering(store, sink) as desk:
        await desk.deliver(A, texts=lines("x", 50))
        await desk.until_empty()
        (host,) = desk.host.hosts.values()
        await host.stop()
        _, rest = await desk.tells(2)
        assert rest.text.startswith("49 more messages")


async def test_credentials_that_end_and_are_renewed(store: Redis) -> None:
    """The log has one line when the account is shut out and one when it is let in, over a change of owner in between;
    people are told why they wait.
    """
    sink, numbers = Sink(), count(1)
    sink.always[A] = sink.always[B] = AuthLost("revoked")
    account = RoomId(f"{AccountId('acc')}/")
    async with delivering(store, sink, numbers, "p1", gently=False, notice_after_s=0.3) as desk:
        await desk.deliver(A, B, texts=lines("x", 5))
        told = await desk.tells(2)
        assert acts(told) == [("shut out", account), ("waits", ORIGIN)]
        assert told[0].text == ""
        assert "has to renew its access" in told[1].text
    async with delivering(store, sink, numbers, "p1", notice_after_s=0.3) as desk:
        tried = len(sink.tried[A])
        await sink.until(lambda: len(sink.tried[A]) > tried + 3)
        sink.always.clear()
        await until_over(desk)
        told = await desk.tells(4)
        assert sorted(act for act, _ in acts(told)) == ["caught up", "let in", "shut out", "waits"]


async def test_renewed_by_adding_it_again(store: Redis) -> None:
    """An account that was shut out, removed, and added again under its name with other credentials: all that waited
    is posted, and whoever waited is told of the end.
    """
    sink = Sink()
    sink.always[A] = AuthLost("revoked")
    async with delivering(store, sink, notice_after_s=0.3) as desk:
        await desk.deliver(A, texts=lines("x", 5))
        await desk.tells(2)
        before = desk.accounts.pop()
        async with asyncio.timeout(5):
            while desk.host.hosts:
                await asyncio.sleep(0.01)
        await desk.deliver(A, texts=lines("y", 5))
        sink.always.clear()
        desk.accounts.append(replace(before, config="renewed"))
        await until_over(desk)
        assert sink.posts[A] == lines("x", 5) + lines("y", 5)
        assert sorted(act for act, _ in acts(await desk.tells(4))) == ["caught up", "let in", "shut out", "waits"]


async def test_folds_are_told_and_written_down(store: Redis) -> None:
    """When a room has caught up, the one that waited hears in how many posts, and the log of the room itself has it."""
    sink = Sink(caps=Capabilities(edit="full", rate_per_s=20))
    sink.next[A].append(Retry(0.8))
    async with delivering(store, sink, notice_after_s=0.3) as desk:
        await desk.say(A, *(("Alice", f"line {number}") for number in range(100)))
        await until_over(desk)
        told = await desk.tells(3)
        assert acts(told) == [("waits", ORIGIN), ("caught up", ORIGIN), ("folded", A)]
        folded, posts = map(int, re.findall(r"\d+", told[2].detail))
        assert folded > 20 * posts
        assert "came there in" in told[1].text
        assert told[2].text == ""

"""Who is alive, and who should have what."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from core.membership import Membership
from core.store import Redis
from tests.conftest import FakeClock

KEY = "bb:tests"


def members(store: Redis, *names: str) -> list[Membership]:
    """Processes of one kind."""
    return [Membership(store, KEY, name, 1_000) for name in names]


async def test_who_is_alive(store: Redis, clock: FakeClock) -> None:
    """A process is alive for as long as it beats, and a moment longer; who leaves is gone at once."""
    one, two = members(store, "one", "two")
    assert await one.beat(clock.now_ms()) == ["one"]
    assert await two.beat(clock.now_ms()) == ["one", "two"]
    clock.advance(900)
    assert await two.beat(clock.now_ms()) == ["one", "two"]
    clock.advance(200)
    assert await two.beat(clock.now_ms()) == ["two"]
    assert await one.beat(clock.now_ms()) == ["one", "two"]
    await two.leave()
    assert await one.beat(clock.now_ms()) == ["one"]


async def test_the_dead_are_forgotten(store: Redis, clock: FakeClock) -> None:
    """Processes that died long ago take no room in the store."""
    for member in members(store, *(f"dead{n}" for n in range(50))):
        await member.beat(clock.now_ms())
    clock.advance(10_000)
    (alive,) = members(store, "alive")
    await alive.beat(clock.now_ms())
    assert await store.zcard(KEY) == 1


@given(st.integers(0, 300), st.integers(1, 12))
def test_everything_is_shared_out_evenly(things: int, count: int) -> None:
    """Each thing is somebody's, nobody's twice, and no share is larger than another by more than one."""
    names = [f"p{n:02}" for n in range(count)]
    shares = [Membership(None, KEY, name, 1).share(range(things), names) for name in names]  # type: ignore[arg-type]
    assert sorted(thing for share in shares for thing in share) == list(range(things))
    assert max(map(len, shares)) - min(map(len, shares)) <= 1

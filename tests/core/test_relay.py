"""The relay as a whole: rooms on a network in memory, paired by typed commands, on a real store."""

from __future__ import annotations

from core.store import Redis
from tests.support.world import account, running_world


async def test_two_rooms_become_one(store: Redis) -> None:
    """Two typed commands make one room of two."""
    async with running_world(store, account("one"), account("two")) as world:
        a, b = world.room("one", "garden"), world.room("two", "kitchen")
        await world.connect(a, b)
        world.say(a, "Alice", "hello")
        await world.shows(b, "Alice: hello")
        world.say(b, "Bob", "hi there")
        await world.shows(a, "Bob: hi there")

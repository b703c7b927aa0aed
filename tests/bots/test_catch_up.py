"""What was said while an account was away comes in its place: in order, once, before what is said now."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from msgspec.structs import replace

from bots import catch_up
from bots.loopback import make_platform
from bots.loopback.adapter import Loopback
from bots.loopback.network import LoopbackNetwork, Post
from core.contract import Platform, Rejected, Remembered, Since
from core.model import RoomId, Text
from core.store import Redis
from tests.support.world import World, running_world


class Archive:
    """How the network's history answers."""

    def __init__(self) -> None:
        self.open = asyncio.Event()
        self.open.set()
        self.asked: list[str] = []
        self.answer: Callable[[Remembered], Remembered] = lambda found: found
        self.page = 1000

    def platform(self, network: LoopbackNetwork) -> Platform:
        """The reference platform, with this history."""
        archive = self

        class Remembers(Loopback):
            async def history(self, room: RoomId, since: Since) -> Remembered:
                archive.asked.append(since.native)
                await archive.open.wait()
                found = await super().history(room, since)
                events = found.events[: archive.page]
                return archive.answer(Remembered(events, more=len(events) < len(found.events), complete=found.complete))

        made = make_platform(network)
        return replace(made, create=lambda account, config, services: Remembers(account, config, services, network))


def texts(world: World, room: RoomId) -> list[str]:
    """What stands in a room of what people said."""
    return [post.text.plain for post in world.posts(room) if post.author != "bot"]


def say_unheard(network: LoopbackNetwork, room: str, *words: str) -> None:
    """Said while nobody listens."""
    for text in words:
        native = network.next_id()
        network.room(room).said[native] = Post(native, "Ann", Text(text))


def world_of(store: Redis, network: LoopbackNetwork, archive: Archive) -> Any:
    """The installation, started (again)."""
    return running_world(store, network=network, platforms={"loopback": archive.platform(network)})


async def connected(store: Redis, network: LoopbackNetwork, archive: Archive) -> None:
    """Two rooms are connected, something was said, everything is stopped in order."""
    async with world_of(store, network, archive) as world:
        a, b = world.room("lo", "a"), world.room("lo", "b")
        await world.connect(a, b)
        world.say(a, "Ann", "before", native=network.next_id())
        await world.shows(b, "before")


async def test_missed_messages_come_in_order_before_live_ones(store: Redis) -> None:
    """After a start: first what was missed, page by page, then what was said meanwhile; nothing twice."""
    network, archive = LoopbackNetwork(), Archive()
    await connected(store, network, archive)
    say_unheard(network, "a", *(f"missed {n}" for n in range(7)))
    archive.page = 3
    archive.open.clear()
    async with world_of(store, network, archive) as world:
        a, b = world.room("lo", "a"), world.room("lo", "b")
        await world.until(lambda: "lo" in network.listeners)
        live = world.say(a, "Bob", "live", native=network.next_id())
        world.edit(a, live, "Bob", "live, mended")
        assert "live" not in texts(world, b)
        archive.open.set()
        await world.shows(b, "live, mended")
        assert texts(world, b)[-9:] == ["before", *(f"missed {n}" for n in range(7)), "live, mended"]


async def test_a_reconnect_reads_on(store: Redis) -> None:
    """A second gap in the same process is read from where the first one ended."""
    network, archive = LoopbackNetwork(), Archive()
    await connected(store, network, archive)
    async with world_of(store, network, archive) as world:
        a, b = world.room("lo", "a"), world.room("lo", "b")
        for gap in ("first", "second"):
            say_unheard(network, "a", gap)
            network.listeners["lo"].online()  # type: ignore[attr-defined]
            await world.shows(b, gap)
        world.say(a, "Ann", "after", native=network.next_id())
        await world.shows(b, "after")
        assert texts(world, b)[-4:] == ["before", "first", "second", "after"]


async def test_a_gap_is_told(store: Redis) -> None:
    """Where the platform no longer has everything, or does not answer, the room hears it; live words go on."""
    network, archive = LoopbackNetwork(), Archive()
    await connected(store, network, archive)

    def refuse(found: Remembered) -> Remembered:
        raise Rejected("not for bots")

    def gaps(world: World) -> int:
        return sum("away for too long" in line for line in world.lines(world.room("lo", "a")))

    archive.answer = lambda found: Remembered(found.events, complete=False)
    async with world_of(store, network, archive) as world:
        a, b = world.room("lo", "a"), world.room("lo", "b")
        world.say(a, "Ann", "live", native=network.next_id())
        await world.shows(b, "live")
        await world.until(lambda: gaps(world) == 1)
    archive.answer = refuse
    async with world_of(store, network, archive) as world:
        world.say(a, "Ann", "once more", native=network.next_id())
        await world.shows(b, "once more")
        await world.until(lambda: gaps(world) == 2)


async def test_more_than_can_wait_is_read_again(store: Redis, monkeypatch: Any) -> None:
    """Live messages beyond what may wait in memory come from history, and still in order and once."""
    monkeypatch.setattr(catch_up, "MAX_HELD", 2)
    network, archive = LoopbackNetwork(), Archive()
    await connected(store, network, archive)
    say_unheard(network, "a", "missed")
    archive.open.clear()
    async with world_of(store, network, archive) as world:
        a, b = world.room("lo", "a"), world.room("lo", "b")
        await world.until(lambda: "lo" in network.listeners)
        for n in range(6):
            world.say(a, "Bob", f"live {n}", native=network.next_id())
        archive.open.set()
        await world.shows(b, "live 5")
        assert texts(world, b)[-8:] == ["before", "missed", *(f"live {n}" for n in range(6))]


async def test_stopping_while_reading_loses_nothing(store: Redis) -> None:
    """What waited behind an unread history when the process stopped is read by the next one."""
    network, archive = LoopbackNetwork(), Archive()
    await connected(store, network, archive)
    say_unheard(network, "a", "missed")
    archive.open.clear()
    async with world_of(store, network, archive) as world:
        await world.until(lambda: "lo" in network.listeners)
        world.say(world.room("lo", "a"), "Bob", "live", native=network.next_id())
    archive.open.set()
    async with world_of(store, network, archive) as world:
        b = world.room("lo", "b")
        await world.shows(b, "live")
        assert texts(world, b)[-3:] == ["before", "missed", "live"]

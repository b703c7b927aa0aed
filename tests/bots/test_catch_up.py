"""What was said while an account was away comes in its place: in order, once, before what is said now."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from bots import catch_up, held
from bots.emit import AccountEmit, RoutesEmit
from bots.host import make_services
from bots.loopback import make_platform
from bots.loopback.adapter import Loopback, LoopbackConfig
from bots.loopback.network import LoopbackNetwork, Post, person
from core import gate
from core.contract import Platform, Rejected, Remembered, Since
from core.model import AccountId, MessageDeleted, MessageNew, NativeId, Reaction, RoomId, RoomMoved, Text
from core.store import Redis, StoreDown, insist, open_store
from tests.servers.store import ValkeyServer
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
        await world.until(lambda: gaps(world) == 1)
        world.say(a, "Ann", "live", native=network.next_id())
        await world.shows(b, "live")
    archive.answer = refuse
    async with world_of(store, network, archive) as world:
        world.say(a, "Ann", "once more", native=network.next_id())
        await world.shows(b, "once more")
        await world.until(lambda: gaps(world) == 2)


async def test_more_than_a_batch_can_wait(store: Redis, monkeypatch: Any) -> None:
    """However much is said while history is read, it all comes after it, in order and once, and nothing is kept."""
    monkeypatch.setattr(held, "BATCH", 3)
    monkeypatch.setattr(catch_up, "TAKEN_AT_ONCE", 2)
    network, archive = LoopbackNetwork(), Archive()
    await connected(store, network, archive)
    say_unheard(network, "a", "missed")
    archive.open.clear()
    async with world_of(store, network, archive) as world:
        a, b = world.room("lo", "a"), world.room("lo", "b")
        await world.until(lambda: "lo" in network.listeners)
        for n in range(10):
            world.say(a, "Bob", f"live {n}", native=network.next_id())
        await world.accepted()
        archive.open.set()
        await world.shows(b, "live 9")
        assert texts(world, b)[-12:] == ["before", "missed", *(f"live {n}" for n in range(10))]
        world.say(a, "Bob", "after", native=network.next_id())
        await world.shows(b, "after")
        assert await store.keys("*held*") == []
        assert await store.keys("*holding*") == []


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


@pytest.mark.parametrize("end", ["stopped", "killed"])
async def test_what_history_does_not_have_outlives_the_process(store: Redis, monkeypatch: Any, end: str) -> None:
    """Edits, deletions and reactions that waited for an unread history are durable once they are acknowledged, and
    the next process carries them out: after what was missed, in order."""
    network, archive = LoopbackNetwork(), Archive()
    async with world_of(store, network, archive) as world:
        a, b = world.room("lo", "a"), world.room("lo", "b")
        await world.connect(a, b)
        edited, deleted, liked = (world.say(a, "Ann", f"old {n}", native=network.next_id()) for n in range(3))
        await world.shows(b, "old 2")
    say_unheard(network, "a", "missed")
    archive.open.clear()
    if end == "killed":
        monkeypatch.setattr(AccountEmit, "close", _killed)
    async with world_of(store, network, archive) as world:
        await world.until(lambda: "lo" in network.listeners)
        world.edit(a, edited, "Ann", "teh edit")
        world.edit(a, edited, "Ann", "the edit")
        world.happen(MessageDeleted, a, target=deleted)
        world.happen(Reaction, a, target=liked, author="Bob", emoji="👍")
        world.say(a, "Bob", "live", native=network.next_id())
        if end == "killed":
            await world.accepted()
    monkeypatch.undo()
    archive.open.set()
    async with world_of(store, network, archive) as world:
        await world.until(lambda: any(post.reactions for post in world.posts(b)))
        assert texts(world, b)[-2:] == ["missed", "live"]
        by_text = {post.text.plain: post for post in world.posts(b) if not post.deleted}
        assert "the edit" in by_text
        assert not {"old 0", "old 1", "teh edit"} & by_text.keys()
        assert by_text["old 2"].reactions == {"👍": {"Bob"}}
        world.say(a, "Bob", "after", native=network.next_id())
        await world.shows(b, "after")
        assert texts(world, b)[-3:] == ["missed", "live", "after"]


async def _killed(emit: AccountEmit) -> None:
    """No process does anything after its end."""
    if emit.catch_up is not None and emit.catch_up._task is not None:
        emit.catch_up._task.cancel()


async def test_a_room_is_read_on_from_its_first_message(store: Redis, monkeypatch: Any) -> None:
    """A process that is killed right after a room's first message was acknowledged knows where to read on."""
    network, archive = LoopbackNetwork(), Archive()
    monkeypatch.setattr(catch_up, "REMEMBER_S", 1000.0)
    monkeypatch.setattr(AccountEmit, "close", _killed)
    async with world_of(store, network, archive) as world:
        a = world.room("lo", "a")
        world.say(a, "Ann", "-sameroom open", native=network.next_id())
        await world.accepted()
    say_unheard(network, "a", "-sameroom list")
    async with world_of(store, network, archive) as world:
        await world.until(lambda: len(world.lines(a)) == 2)
        assert archive.asked


def routes_emit(world: World, archive: Archive) -> AccountEmit:
    """The way in of a process that only serves the account's routes."""
    platform = archive.platform(world.network)
    account = AccountId("lo")
    adapter = platform.create(account, LoopbackConfig(), make_services(account, world.deps))
    return AccountEmit(adapter, platform, world.deps, for_routes=True)


def said_live(world: World, room: RoomId, text: str) -> MessageNew:
    """Somebody says it, and it is still to be emitted."""
    native = NativeId(world.network.next_id())
    world.network.room("a").said[native] = Post(native, "Ann", Text(text))
    return MessageNew(room=room, native=native, at_ms=world.deps.now_ms(), author=person("Ann"), text=Text(text))


async def test_what_comes_by_routes_waits_too(store: Redis) -> None:
    """Where one process has the account and its routes, what comes by these waits for the history as well."""
    network, archive = LoopbackNetwork(), Archive()
    await connected(store, network, archive)
    say_unheard(network, "a", "missed")
    archive.open.clear()
    async with world_of(store, network, archive) as world:
        a, b = world.room("lo", "a"), world.room("lo", "b")
        await world.until(lambda: "lo" in network.listeners)
        emit = RoutesEmit(routes_emit(world, archive), lambda: world.host.hosts[AccountId("lo")].emit)
        emit(said_live(world, a, "by a route"))
        await emit.accepted()
        archive.open.set()
        await world.shows(b, "by a route")
        assert texts(world, b)[-3:] == ["before", "missed", "by a route"]


async def test_what_comes_by_routes_elsewhere_skips_nothing(store: Redis) -> None:
    """What another process takes in by the account's routes does not hide what was missed before."""
    network, archive = LoopbackNetwork(), Archive()
    await connected(store, network, archive)
    say_unheard(network, "a", "missed")
    async with running_world(store, network=network, roles="relay") as world:
        emit = routes_emit(world, archive)
        emit(said_live(world, world.room("lo", "a"), "by a route"))
        await emit.accepted()
    async with world_of(store, network, archive) as world:
        b = world.room("lo", "b")
        await world.shows(b, "missed")
        await world.shows(b, "by a route")
        assert sorted(texts(world, b)[-2:]) == ["by a route", "missed"]


async def test_nothing_held_is_acknowledged_before_it_is_durable(tmp_path: Path) -> None:
    """While the store is down, what waits for a history is not acknowledged; it is kept, and passed on afterwards."""
    network, archive = LoopbackNetwork(), Archive()
    with ValkeyServer(tmp_path) as server:
        store = open_store(server.url)
        await connected(store, network, archive)
        archive.open.clear()
        async with world_of(store, network, archive) as world:
            a, b = world.room("lo", "a"), world.room("lo", "b")
            await world.until(lambda: "lo" in network.listeners)
            server.freeze()
            try:
                world.say(a, "Ann", "live", native=network.next_id())
                with pytest.raises(StoreDown):
                    await world.accepted()
            finally:
                server.thaw()
            await insist(world.accepted)
            archive.open.set()
            await world.shows(b, "live")
        await store.aclose()


async def test_what_the_relay_refused_is_read_from_history(store: Redis, monkeypatch: Any) -> None:
    """Where more came in than the store took, the room's history is read from before what was refused."""
    network, archive = LoopbackNetwork(), Archive()
    await connected(store, network, archive)
    async with world_of(store, network, archive) as world:
        a, b = world.room("lo", "a"), world.room("lo", "b")
        await network.listeners["lo"].catch_up._task  # type: ignore[attr-defined]
        world.say(a, "Ann", "heard", native=network.next_id())
        await world.shows(b, "heard")
        with monkeypatch.context() as full:
            full.setattr(gate, "PENDING_MAX", -1)
            world.say(a, "Ann", "refused", native=network.next_id())
            with pytest.raises(StoreDown):
                await world.accepted()
        world.say(a, "Ann", "taken", native=network.next_id())
        await world.shows(b, "taken")
        network.listeners["lo"].online()  # type: ignore[attr-defined]
        await world.shows(b, "refused")
        world.say(a, "Ann", "after", native=network.next_id())
        await world.shows(b, "after")
        assert texts(world, b)[-4:] == ["heard", "taken", "refused", "after"]


async def test_a_room_that_moves_while_history_is_read(store: Redis) -> None:
    """What is said in a room's new place waits for the move, and the move for the old place's history."""
    network, archive = LoopbackNetwork(), Archive()
    await connected(store, network, archive)
    say_unheard(network, "a", "missed")
    archive.open.clear()
    async with world_of(store, network, archive) as world:
        a, moved, b = (world.room("lo", name) for name in ("a", "moved", "b"))
        await world.until(lambda: "lo" in network.listeners)
        world.happen(RoomMoved, a, to=moved)
        world.say(moved, "Ann", "in the new place", native=network.next_id())
    archive.open.set()
    async with world_of(store, network, archive) as world:
        await world.shows(b, "in the new place")
        assert texts(world, b)[-3:] == ["before", "missed", "in the new place"]

"""The short cut into the outboxes: what takes it, what does not, and that nobody can tell the difference."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager
from itertools import count, pairwise
from pathlib import Path
from typing import Any
from zlib import crc32

import pytest

from core import keys
from core.deps import make_deps
from core.limits import TokenBuckets
from core.model import RoomId
from core.scripts import Script
from core.store import Redis, open_store
from core.wire import Tell
from tests.servers.store import ValkeyServer
from tests.support.world import World, account, running_world

SHARDS = 4


def at_home(account_id: str) -> RoomId:
    """A room of an account that belongs to the first shard by its name, so that connecting moves none of them."""
    names = (RoomId(f"{account_id}/room{number}") for number in count())
    return next(name for name in names if crc32(name.encode()) % SHARDS == 0)


A, B, C = map(at_home, ("one", "two", "three"))
ACCOUNTS = (account("one"), account("two"), account("three"))

Before = Callable[[], Awaitable[None]]


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Redis]:
    """One server, whatever the other tests run on: a cluster has no short cut."""
    with ValkeyServer(tmp_path, appendonly=False) as server:
        opened = open_store(server.url)
        yield opened
        await opened.aclose()


@contextmanager
def watched(monkeypatch: pytest.MonkeyPatch, before: Before | None = None, lose: int = 0) -> Iterator[list[str]]:
    """The names of the scripts that are called. ``before`` is done once, just before the first short cut; so many of
    the short cut's answers are lost.
    """
    called: list[str] = []
    made, run = Script.__init__, Script.__call__
    names: dict[int, str] = {}
    left = [lose]

    def init(self: Script, store: Redis, name: str) -> None:
        made(self, store, name)
        names[id(self)] = name

    async def call(self: Script, names_of_keys: list[str], args: list[Any]) -> Any:
        name = names.get(id(self), "")
        if name == "through" and before and name not in called:
            called.append(name)
            await before()
        called.append(name)
        answer = await run(self, names_of_keys, args)
        if name == "through" and left[0]:
            left[0] -= 1
            raise ConnectionError("the answer was lost")
        return answer

    monkeypatch.setattr(Script, "__init__", init)
    monkeypatch.setattr(Script, "__call__", call)
    yield called


async def join(world: World, called: list[str], *rooms: RoomId) -> None:
    """The rooms are one, and all of that is done."""
    for room, other in pairwise(rooms):
        await world.connect(room, other)
    await world.settled(*rooms)
    async with asyncio.timeout(10):
        while not all(shortcut.open for shortcut in world.deps.ingest.shortcuts.values()):
            await asyncio.sleep(0)
    called.clear()


def heard(world: World, room: RoomId) -> list[str]:
    """What Alice is heard to say in a room."""
    return [line.rpartition(": ")[2] for line in world.lines(room) if "Alice" in line]


async def inbox_size(store: Redis) -> int:
    """Entries that lie in the inboxes."""
    return sum([await store.xlen(keys.stream(keys.shard_tag(shard))) for shard in range(SHARDS)])


async def test_plain_messages_take_it(store: Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    """What needs nothing but routing never lies in an inbox; an answer goes the long way, and both keep their order."""
    with watched(monkeypatch) as called:
        async with running_world(store, account("one"), account("two", plain=True)) as world:
            await join(world, called, A, B)
            native, before = "", await inbox_size(store)
            for number in range(20):
                native = world.say(A, "Alice", f"{number}")
                await world.accepted()
            assert set(called) - {"complete", "lease", "beat", "trim", "mark"} == {"through"}
            assert await inbox_size(store) <= before
            world.say(A, "Alice", "20", reply_to=native)
            world.say(A, "Alice", "21")
            await world.shows(B, "21")
            assert {"ingest", "append"} <= set(called)
            assert heard(world, B) == [str(number) for number in range(22)]


async def test_somebody_elses_entry_came_first(store: Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another process appends to the inbox between plan and step: the plan is dropped, and both entries are relayed,
    each once and in the order of the inbox.
    """
    taken_back: list[object] = []
    give_back = TokenBuckets.give_back
    monkeypatch.setattr(TokenBuckets, "give_back", lambda self, key: (taken_back.append(key), give_back(self, key)))

    async def other() -> None:
        deps = make_deps(store, world.deps.settings, SHARDS, "another", "http://127.0.0.1:8080")
        task = asyncio.create_task(deps.ingest.run())
        gate = deps.ingest.gate(redelivers=False)
        gate.put(Tell(A, "a notice"))
        await gate.accepted()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    with watched(monkeypatch, before=other) as called:
        async with running_world(store, *ACCOUNTS) as world:
            await join(world, called, A, B)
            for number in range(5):
                world.say(A, "Alice", f"{number}")
            await world.shows(B, ": 4")
            await world.shows(A, "a notice")
            assert heard(world, B) == [str(number) for number in range(5)]
            assert called.index("through") < called.index("ingest")
            assert taken_back


@pytest.mark.parametrize("lost", [1, 3])
async def test_a_lost_answer_does_not_double(store: Redis, monkeypatch: pytest.MonkeyPatch, lost: int) -> None:
    """The step is done once, however often its answer is lost, and what it appended is found."""
    with watched(monkeypatch, lose=lost) as called:
        async with running_world(store, *ACCOUNTS) as world:
            await join(world, called, A, B, C)
            said: list[str] = []
            while called.count("through") <= lost:
                assert len(said) < 2_000
                for _ in range(20):
                    said.append(f"{len(said)}")
                    world.say(A, "Alice", said[-1])
                await world.shows(C, f": {said[-1]}")
            for room in (B, C):
                await world.shows(room, f": {said[-1]}")
                assert heard(world, room) == said


async def test_a_redelivery_is_taken_once(store: Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same message again, at once or later, by this process or after a restart, is dropped, and what is said
    between and after it is not.
    """
    with watched(monkeypatch) as called:
        async with running_world(store, *ACCOUNTS) as world:
            await join(world, called, A, B)
            for text in ("one", "one", "two", "one", "two", "three"):
                world.say(A, "Alice", text, native=text)
                await world.accepted()
            await world.shows(B, "three")
        network = world.network
        async with running_world(store, *ACCOUNTS, network=network) as world:
            for text in ("two", "four", "three", "four", "five"):
                world.say(A, "Alice", text, native=text)
                await world.accepted()
            await world.shows(B, "five")
            assert heard(world, B) == ["one", "two", "three", "four", "five"]
    assert "through" in called


async def test_a_room_on_its_way_waits(store: Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    """While a room moves to another shard its messages wait, whatever this process had planned."""
    with watched(monkeypatch) as called:
        async with running_world(store, *ACCOUNTS) as world:
            await join(world, called, A, B)
            moved = keys.moved(keys.shard_tag(0))
            await store.hset(moved, A, "*")
            world.say(A, "Alice", "one")
            world.say(A, "Alice", "two")
            async with asyncio.timeout(10):
                while "ingest" not in called:
                    await asyncio.sleep(0)
            assert heard(world, B) == []
            await store.hdel(moved, A)
            world.say(A, "Alice", "three")
            await world.shows(B, "three")
            assert heard(world, B) == ["one", "two", "three"]


async def test_a_store_of_many_slots_has_none(store: Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a cluster no script touches two journals, so everything goes the long way."""
    monkeypatch.setattr("core.shortcut.is_one_slot", lambda store: False)
    with watched(monkeypatch) as called:
        async with running_world(store, *ACCOUNTS) as world:
            await join(world, called, A, B)
            world.say(A, "Alice", "hello")
            await world.shows(B, "hello")
            assert "through" not in called

"""The way in, on a real store behind a proxy that can be cut: nothing lost, nothing twice, each room in its order."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from random import Random

import pytest

from core import gate as gate_module
from core import ingest as ingest_module
from core import keys
from core.gate import Gate, dedup_key, encodable
from core.ingest import Ingest
from core.journal import Journals
from core.model import AccountId, Author, MessageNew, NativeId, RoomId, RoomMoved, Text, Typing, room_id
from core.settings import Settings
from core.store import Redis, StoreDown, open_store
from core.wire import Incoming, Tell, decode_incoming
from tests.faults.proxy import Proxy
from tests.servers.store import ValkeyServer

SHARDS = 4


@asynccontextmanager
async def running(store: Redis, process: str = "p1", batch: int = 20) -> AsyncIterator[Ingest]:
    """The way in of one process."""
    taking = Ingest(Journals(store, Settings(lease_ms=60_000, batch=batch), process), SHARDS)
    task = asyncio.create_task(taking.run())
    try:
        yield taking
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


def message(room: RoomId, number: int, author: str = "alice", text: str = "") -> MessageNew:
    """What somebody said."""
    words = Text(text or f"{room} {number}")
    return MessageNew(room=room, native=NativeId(f"m{number}"), at_ms=0, author=Author(author, author), text=words)


def rooms_of(*names: str) -> list[RoomId]:
    """Rooms of one account."""
    return [room_id(AccountId("acc"), name) for name in names]


async def inbox(store: Redis, shards: Sequence[int] = range(SHARDS)) -> list[Incoming]:
    """What was taken in, shard by shard, in order."""
    found = []
    for shard in shards:
        rows = await store.xrange(keys.stream(keys.shard_tag(shard)))
        assert [int(row[0].partition(b"-")[0]) for row in rows] == list(range(1, len(rows) + 1))
        found += [decode_incoming(fields[b"e"]) for _, fields in rows]
    return found


async def numbers(store: Redis, shards: Sequence[int] = range(SHARDS)) -> dict[RoomId, list[int]]:
    """Room → the numbers of its messages, in the order in which they were taken in."""
    found: dict[RoomId, list[int]] = defaultdict(list)
    for event in await inbox(store, shards):
        if isinstance(event, MessageNew):
            found[event.room].append(int(event.native[1:]))
    return dict(found)


async def until_accepted(gate: Gate, timeout_s: float = 10.0) -> None:
    """Insist."""
    async with asyncio.timeout(timeout_s):
        while True:
            try:
                return await gate.accepted()
            except StoreDown:
                await asyncio.sleep(0.02)


async def test_many_rooms_in_order(store: Redis) -> None:
    """Events of many rooms come into their shards' inboxes, each room's in order."""
    async with running(store) as taking:
        gate = taking.gate(redelivers=False)
        rooms = rooms_of(*"abcdefgh")
        for n in range(100):
            for room in rooms:
                gate.put(message(room, n))
        await gate.accepted()
        assert await numbers(store) == {room: list(range(100)) for room in rooms}
        assert len({taking.home(room) for room in rooms}) > 1


@pytest.mark.parametrize("redelivers", [True, False])
async def test_a_lost_answer_does_not_double(tmp_path: Path, redelivers: bool) -> None:
    """When the connection is cut between the store's work and its answer, the batch is repeated without effect."""
    with ValkeyServer(tmp_path) as server:
        async with Proxy(server.socket) as proxy:
            behind, direct = open_store(proxy.url), open_store(server.url)
            async with running(behind) as taking:
                gate = taking.gate(redelivers=redelivers)
                (room,) = rooms_of("a")
                for n in range(300):
                    gate.put(message(room, n))
                    if n % 60 == 30:
                        proxy.cuts = 1
                        await until_accepted(gate)
                await until_accepted(gate)
                assert proxy.cuts == 0
            assert await numbers(direct) == {room: list(range(300))}
            await behind.aclose()
            await direct.aclose()


async def test_what_comes_twice_is_taken_once(store: Redis) -> None:
    """A redelivered event is recognised, for a day and more, also by another process."""
    (room,) = rooms_of("a")
    async with running(store, "p1") as one, running(store, "p2") as two:
        for taking in (one, two, one):
            gate = taking.gate(redelivers=True)
            for n in range(50):
                gate.put(message(room, n))
            await gate.accepted()
    assert await numbers(store) == {room: list(range(50))}
    tag = keys.shard_tag(one.home(room))
    life_s = await store.ttl(keys.dedup(tag) + dedup_key(message(room, 7)))
    assert life_s > 25 * 3600


async def test_what_only_looks_alike_is_taken(store: Redis) -> None:
    """An id that another author or another room used again is another event; typing is never kept in mind."""
    a, b = rooms_of("a", "b")
    async with running(store) as taking:
        gate = taking.gate(redelivers=True)
        for event in (message(a, 1), message(a, 1, "mallory"), message(b, 1)):
            gate.put(event)
        for _ in range(2):
            gate.put(Typing(room=a, native=NativeId("t"), at_ms=0, author=Author("alice", "Alice")))
        await gate.accepted()
    assert len(await inbox(store)) == 5


async def test_our_own_records_are_told_apart_by_their_key(store: Redis) -> None:
    """A notice with a key is taken once, one without each time."""
    (room,) = rooms_of("a")
    async with running(store) as taking:
        gate = taking.gate(redelivers=False)
        for key in ("dead 1", "dead 1", "dead 2", "", ""):
            gate.put(Tell(room, "something"), dedup=key)
        await gate.accepted()
    assert len(await inbox(store)) == 4


async def test_a_dead_store_is_said_and_nothing_is_lost(tmp_path: Path) -> None:
    """While the store is down nobody is told that an event is durable; when it is back all of them are, in order."""
    server = ValkeyServer(tmp_path)
    server.start()
    store = open_store(server.url)
    rooms = rooms_of("a", "b")
    try:
        async with running(store) as taking:
            stream, webhook = taking.gate(redelivers=False), taking.gate(redelivers=True)
            stream.put(message(rooms[0], 0))
            await stream.accepted()
            server.kill()
            for n in range(1, 200):
                stream.put(message(rooms[0], n))
                webhook.put(message(rooms[1], n))
            for gate in (stream, webhook):
                with pytest.raises(StoreDown):
                    await asyncio.wait_for(gate.accepted(), 5)
            assert taking.down
            await asyncio.to_thread(server.start)
            await until_accepted(stream)
            await until_accepted(webhook)
            assert not taking.down
            assert await numbers(store) == {rooms[0]: list(range(200)), rooms[1]: list(range(1, 200))}
    finally:
        await store.aclose()
        server.stop()


async def test_a_store_that_comes_late(tmp_path: Path) -> None:
    """Events that come before the store does are kept for it."""
    server = ValkeyServer(tmp_path)
    store = open_store(server.url)
    (room,) = rooms_of("a")
    try:
        async with running(store) as taking:
            gate = taking.gate(redelivers=False)
            gate.put(message(room, 1))
            with pytest.raises(StoreDown):
                await asyncio.wait_for(gate.accepted(), 5)
            await asyncio.to_thread(server.start)
            await until_accepted(gate)
            assert await numbers(store) == {room: [1]}
    finally:
        await store.aclose()
        server.stop()


@pytest.mark.parametrize("how", ["freeze", "pause", "blackhole"])
async def test_a_silent_store_is_said_within_a_second(tmp_path: Path, how: str) -> None:
    """A store that hangs makes nobody wait who can be told to come again; what they brought is taken in later, once."""
    with ValkeyServer(tmp_path) as server:
        async with Proxy(server.socket) as proxy:
            store, direct = open_store(proxy.url), open_store(server.url)
            (room,) = rooms_of("a")
            async with running(store) as taking:
                gate = taking.gate(redelivers=True)
                gate.put(message(room, 0))
                await gate.accepted()
                if how == "freeze":
                    server.freeze()
                elif how == "pause":
                    await direct.execute_command("CLIENT", "PAUSE", "2500", "WRITE")
                else:
                    proxy.blackhole(True)
                gate.put(message(room, 1))
                with pytest.raises(StoreDown):
                    await asyncio.wait_for(gate.accepted(), 1.0)
                gate.put(message(room, 1))
                gate.put(message(room, 2))
                if how == "freeze":
                    server.thaw()
                proxy.blackhole(False)
                await until_accepted(gate)
            assert await numbers(direct) == {room: [0, 1, 2]}
            await store.aclose()
            await direct.aclose()


@pytest.mark.parametrize("why", ["OOM", "NOREPLICAS", "MISCONF"])
async def test_a_store_that_refuses_writes(tmp_path: Path, why: str) -> None:
    """Memory full, replicas gone, disk full: nothing is acknowledged, and all is taken in when that is mended."""
    with ValkeyServer(tmp_path) as server:
        store = open_store(server.url)
        (room,) = rooms_of("a")
        async with running(store) as taking:
            gate = taking.gate(redelivers=True)
            gate.put(message(room, 0))
            await gate.accepted()
            if why == "OOM":
                await store.config_set("maxmemory", "1")
            elif why == "NOREPLICAS":
                await store.config_set("min-replicas-to-write", "1")
            else:
                await bgsave(store, tmp_path, fails=True)
            gate.put(message(room, 1))
            with pytest.raises(StoreDown):
                await gate.accepted()
            assert why in taking.down.upper() or why == "OOM"
            if why == "OOM":
                await store.config_set("maxmemory", "0")
            elif why == "NOREPLICAS":
                await store.config_set("min-replicas-to-write", "0")
            else:
                await bgsave(store, tmp_path, fails=False)
            await until_accepted(gate)
            assert await numbers(store) == {room: [0, 1]}
        await store.aclose()


async def bgsave(store: Redis, folder: Path, *, fails: bool) -> None:
    """Let a snapshot fail, so that the server refuses writes as with a full disk; or let one succeed."""
    in_the_way = folder / "dump.rdb"
    in_the_way.mkdir() if fails else in_the_way.rmdir()
    await store.config_set("save", "3600 1")
    await store.bgsave()
    async with asyncio.timeout(10):
        while (await store.info("persistence"))["rdb_bgsave_in_progress"] or (
            ((await store.info("persistence"))["rdb_last_bgsave_status"] == "ok") == fails
        ):
            await asyncio.sleep(0.01)


async def test_a_flood_is_refused_before_memory_is_full(store: Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    """When too much is pending, what would be redelivered is not taken, and nobody is told that it was: not the one
    whose event it is, nor anybody else for a while. What has no second delivery is always taken.
    """
    monkeypatch.setattr(gate_module, "PENDING_MAX", 10)
    monkeypatch.setattr(gate_module, "REFUSAL_S", 0.3)
    a, b = rooms_of("a", "b")
    async with running(store) as taking:
        webhook, stream = taking.gate(redelivers=True), taking.gate(redelivers=False)
        for n in range(30):
            stream.put(message(b, n))
        webhook.put(message(a, 1))
        for _ in range(2):
            with pytest.raises(StoreDown):
                await webhook.accepted()
        await stream.accepted()
        assert await numbers(store) == {b: list(range(30))}
        await until_accepted(webhook)
        webhook.put(message(a, 1))
        await webhook.accepted()
        assert (await numbers(store))[a] == [1]


async def test_what_follows_a_refused_event_is_refused(store: Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    """From a refusal on nothing is taken until the source knows and starts over, though there is space again meanwhile:
    what comes later would be there first.
    """
    monkeypatch.setattr(gate_module, "PENDING_MAX", 5)
    monkeypatch.setattr(gate_module, "REFUSAL_S", 0.05)
    async with running(store) as taking:
        gate = taking.gate(redelivers=True)
        (room,) = rooms_of("a")
        taken = [gate.put(message(room, n)) for n in range(8)]
        assert taken == [True] * 6 + [False] * 2
        async with asyncio.timeout(10):
            while taking.pending:
                await asyncio.sleep(0)
        assert not gate.put(message(room, 8))
        with pytest.raises(StoreDown):
            await gate.accepted()
        for n in range(6, 9):
            assert gate.put(message(room, n))
        await until_accepted(gate)
        assert await numbers(store) == {room: list(range(9))}


async def test_copies_do_not_pile_up(tmp_path: Path) -> None:
    """While the store is down a source may hand over the same again and again: it waits once, and what another gate
    hands over is waited for by that gate.
    """
    server = ValkeyServer(tmp_path)
    direct = open_store(server.url)
    async with running(direct) as taking:
        one, other = taking.gate(redelivers=True), taking.gate(redelivers=True)
        (room,) = rooms_of("a")
        for _ in range(5):
            for n in range(3):
                assert one.put(message(room, n))
            with pytest.raises(StoreDown):
                await one.accepted()
        assert other.put(message(room, 0))
        assert len(taking.waiting) == 3
        with pytest.raises(StoreDown):
            await other.accepted()
        with server:
            await until_accepted(one)
            await until_accepted(other)
            assert not taking.waiting
            assert await numbers(direct) == {room: [0, 1, 2]}
            await direct.aclose()


async def test_a_flood_holds_up_nobody_else(store: Redis) -> None:
    """Rooms take turns: one message in a quiet room goes in among the first of thousands in another, and is accepted
    before them; each room keeps its order.
    """
    async with running(store) as taking:
        loud = rooms_of("a")[0]
        quiet = next(room for room in rooms_of(*"bcdefghijkl") if taking.home(room) == taking.home(loud))
        flood, other = taking.gate(redelivers=False), taking.gate(redelivers=False)
        for n in range(2_000):
            flood.put(message(loud, n))
        other.put(message(quiet, 0))
        await other.accepted()
        assert len(taking.pending) > 1_500
        await flood.accepted()
        rooms = [event.room for event in await inbox(store)]
        assert rooms.index(quiet) == 20 // ingest_module.TURNS
        assert await numbers(store) == {loud: list(range(2_000)), quiet: [0]}


async def test_an_event_that_needs_an_answer_holds_only_its_room(store: Redis) -> None:
    """What is said after an incomplete event waits for it; other rooms do not; it is durable when it is complete."""
    a, b = rooms_of("a", "b")
    answer: asyncio.Future[Incoming] = asyncio.get_running_loop().create_future()
    async with running(store) as taking:
        gate, other = taking.gate(redelivers=False), taking.gate(redelivers=False)
        gate.put(message(a, 0))
        gate.put(message(a, 1), ready=answer)
        gate.put(message(a, 2))
        other.put(message(b, 0))
        await other.accepted()
        assert await numbers(store) == {a: [0], b: [0]}
        waiting = asyncio.create_task(gate.accepted())
        await asyncio.sleep(0)
        assert not waiting.done()
        answer.set_result(message(a, 1, text="complete"))
        await waiting
        assert (await numbers(store))[a] == [0, 1, 2]
        assert any(isinstance(e, MessageNew) and e.text.plain == "complete" for e in await inbox(store))


async def test_an_event_that_cannot_be_completed_goes_on(store: Redis) -> None:
    """When completing an event fails it is taken as it is, and its room is not held up for ever."""

    async def fails() -> Incoming:
        raise KeyError("an adapter's mistake")

    (room,) = rooms_of("a")
    async with running(store) as taking:
        gate = taking.gate(redelivers=False)
        gate.put(message(room, 1), ready=fails())
        gate.put(message(room, 2))
        await asyncio.wait_for(gate.accepted(), 5)
        assert await numbers(store) == {room: [1, 2]}


async def test_half_a_character_stops_nobody(store: Redis) -> None:
    """A lone surrogate, which JSON can bring in, is replaced; the rest of the text and everybody else go on."""
    (room,) = rooms_of("a")
    async with running(store) as taking:
        gate = taking.gate(redelivers=True)
        gate.put(message(room, 1, author="\udc00", text="half a \ud83d smile"))
        gate.put(message(room, 2))
        await asyncio.wait_for(gate.accepted(), 5)
        first, _ = await inbox(store)
        assert isinstance(first, MessageNew)
        assert first.text.plain == "half a � smile"
    assert encodable(message(room, 1, text="\ud83d\ude00")).text.plain == "😀"


async def test_a_room_on_its_way_waits(store: Redis) -> None:
    """While a room is marked as on its way nothing of it is taken in; then it goes where it is sent, in order."""
    a, b = rooms_of("a", "b")
    async with running(store) as taking:
        gate, other = taking.gate(redelivers=False), taking.gate(redelivers=False)
        home = taking.home(a)
        there = (home + 1) % SHARDS
        await store.hset(keys.moved(keys.shard_tag(home)), a, "*")
        for n in range(100):
            gate.put(message(a, n))
        other.put(message(b, 0))
        await other.accepted()
        assert await numbers(store) == {b: [0]}
        await store.hset(keys.moved(keys.shard_tag(home)), a, str(there))
        await asyncio.wait_for(gate.accepted(), 5)
        assert await numbers(store, [there]) | {b: [0]} == {a: list(range(100)), b: [0]}


async def test_what_may_go_on_keeps_its_order(store: Redis) -> None:
    """A room that waits for two reasons: what is let go with the first stays before what is let go with the second."""
    async with running(store) as taking:
        old, new = rooms_of("old", "new")
        gate = taking.gate(redelivers=True)
        moved = RoomMoved(room=old, native=NativeId("move"), at_ms=0, to=new)
        completed = asyncio.Event()

        async def complete() -> RoomMoved:
            await completed.wait()
            return moved

        gate.put(moved, ready=complete(), rooms=(old, new))
        gate.put(message(old, 3))
        while not taking._stopped:
            await asyncio.sleep(0)
        taking._stop((old,))  # as if the room were on its way between shards
        completed.set()
        while taking._stopped[old].reasons > 1:
            await asyncio.sleep(0)
        taking._release((old,))
        await until_accepted(gate)
        events = [e for e in await inbox(store) if isinstance(e, MessageNew | RoomMoved)]
        assert [e.native for e in events] == ["move", "m3"]


async def test_a_redelivery_after_the_room_moved_is_recognised(store: Redis) -> None:
    """An event that was taken in before its room went to another shard is not taken in again there."""
    (room,) = rooms_of("a")
    async with running(store, "p1") as one, running(store, "p2") as two:
        gate = one.gate(redelivers=True)
        for n in range(10):
            gate.put(message(room, n))
        await gate.accepted()
        there = (one.home(room) + 1) % SHARDS
        await store.hset(keys.moved(keys.shard_tag(one.home(room))), room, str(there))
        for taking in (one, two, one):
            again = taking.gate(redelivers=True)
            for n in range(20):
                again.put(message(room, n))
            await again.accepted()
        assert (await numbers(store, [one.home(room)]))[room] == list(range(10))
        assert (await numbers(store, [there]))[room] == list(range(10, 20))


async def test_a_room_with_a_new_id(store: Redis) -> None:
    """What is said under a room's new id comes after the news of it, in the same shard, wherever that is."""
    async with running(store) as taking:
        names = [room for room in rooms_of(*(f"r{n}" for n in range(40))) if taking.home(room) != 0]
        gate = taking.gate(redelivers=True)
        for old, new in zip(names[::2], names[1::2], strict=False):
            await store.hset(keys.moved(keys.shard_tag(taking.home(old))), old, "*")
            gate.put(message(old, 1))
            moved = RoomMoved(room=old, native=NativeId("move"), at_ms=0, to=new)
            gate.put(moved, ready=pointed(taking, moved), rooms=(old, new))
            gate.put(message(new, 2))
            gate.put(message(old, 3))
            await asyncio.sleep(0.01)
            await store.hset(keys.moved(keys.shard_tag(taking.home(old))), old, "0")
        await until_accepted(gate)
        events = [e for e in await inbox(store, [0]) if isinstance(e, MessageNew | RoomMoved)]
        for old, new in zip(names[::2], names[1::2], strict=False):
            assert [e.native for e in events if e.room in (old, new)] == ["m1", "move", "m2", "m3"]


async def pointed(taking: Ingest, moved: RoomMoved) -> RoomMoved:
    """Completes the news of a move as the host does."""
    while True:
        try:
            await taking.point(moved.to, moved.room)
        except StoreDown:
            await asyncio.sleep(0.005)
        else:
            return moved


@pytest.mark.parametrize("seed", range(12))
async def test_order_whatever_happens(store: Redis, seed: int) -> None:
    """Rooms that move on and on, incomplete events, redeliveries, a store that flickers: each room's events are taken
    in once, in their order.
    """
    random = Random(seed)
    rooms = rooms_of(*"abcde")
    async with running(store, batch=5) as taking:
        gates = [taking.gate(redelivers=True), taking.gate(redelivers=False)]
        gate_of = {room: random.choice(gates) for room in rooms}

        async def complete(event: MessageNew) -> MessageNew:
            await asyncio.sleep(random.random() / 50)
            return event

        async def move(room: RoomId) -> None:
            at = taking.home(room)
            for there in random.sample([s for s in range(SHARDS) if s != at], 2):
                await asyncio.sleep(random.random() / 20)
                await store.hset(keys.moved(keys.shard_tag(at)), room, "*")
                await asyncio.sleep(random.random() / 20)
                await store.hset(keys.moved(keys.shard_tag(at)), room, str(there))
                at = there

        moving = asyncio.gather(*map(move, rooms))
        for n in range(150):
            for room in rooms:
                event = message(room, n)
                gate = gate_of[room]
                gate.put(event, ready=complete(event) if random.random() < 0.1 else None)
                if gate is gates[0] and random.random() < 0.1:
                    gate.put(event)
            if random.random() < 0.3:
                await asyncio.sleep(random.random() / 100)
        await moving
        for gate in gates:
            await until_accepted(gate)
        await taking.drain()
        order: dict[RoomId, list[int]] = defaultdict(list)
        for shard in range(SHARDS):
            for room, found in (await numbers(store, [shard])).items():
                assert found == sorted(found)
                order[room] += found
        assert {room: sorted(found) for room, found in order.items()} == {room: list(range(150)) for room in rooms}

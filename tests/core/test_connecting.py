"""Rooms of different shards become one while everybody talks on: nothing lost, doubled or out of order."""

from __future__ import annotations

import asyncio
import random
import re
from collections import defaultdict
from itertools import combinations, pairwise

import pytest

from core import keys
from core.model import AccountId, BotAdded, BotRemoved, RoomId, RoomMoved, RoomRenamed, native_room, room_id
from core.store import Redis
from tests.support.world import World, account, running_world

ACCOUNTS = ("one", "two", "three")
PAIRS = list[tuple[RoomId, RoomId]]


def rooms_of(count: int) -> list[RoomId]:
    """Rooms of all accounts in turn."""
    return [room_id(AccountId(ACCOUNTS[i % len(ACCOUNTS)]), f"r{i}") for i in range(count)]


def home_in(world: World, shard: int, native: str = "n", where: str = "one") -> RoomId:
    """A room whose home is ``shard``."""
    found = (world.room(where, f"{where}-{native}{i}") for i in range(10_000))
    return next(room for room in found if world.deps.ingest.home(room) == shard)


class Talk:
    """Everybody says numbered messages for as long as it lasts; who heard what is checked at the end."""

    def __init__(self, world: World, rooms: list[RoomId]) -> None:
        self.world = world
        self.rooms = rooms
        self.said: dict[RoomId, int] = defaultdict(int)
        self._task = asyncio.create_task(self._talk())

    async def _talk(self) -> None:
        while True:
            self.round()
            await self.world.accepted()
            await asyncio.sleep(0.02)  # how fast people talk; nothing waits for it

    def round(self) -> None:
        """Everybody says one message."""
        for room in self.rooms:
            self.said[room] += 1
            self.world.say(room, f"{room}", f"#{self.said[room]} in {room}")

    async def end(self) -> None:
        """One more round, which is known to come last."""
        self.stop()
        await asyncio.gather(self._task, return_exceptions=True)
        self.round()

    def stop(self) -> None:
        """Everybody falls silent."""
        self._task.cancel()

    def heard(self, room: RoomId) -> dict[str, list[int]]:
        """What a room heard of each other one, in order."""
        found: dict[str, list[int]] = defaultdict(list)
        for post in self.world.posts(room):
            if post.text.plain.startswith("#"):
                found[post.author].append(int(post.text.plain.split()[0][1:]))
        return found

    async def check(self, *, connected: dict[RoomId, set[RoomId]]) -> None:
        """Each room heard each room that it is connected to in order and without a gap, from some message to the
        last one.
        """
        for room in self.rooms:
            others = connected[room] - {room}

            def complete(room: RoomId = room, others: set[RoomId] = others) -> bool:
                last = {post.author: post.text.plain for post in self.world.posts(room)[-4 * len(self.rooms) :]}
                return all(last.get(other) == f"#{self.said[other]} in {other}" for other in others)

            try:
                await self.world.until(complete, 20)
            except TimeoutError:
                raise AssertionError(f"{room} did not hear the end of all: {self.heard(room)}") from None
            heard = self.heard(room)
            assert set(heard) >= others
            for other in others:
                first, last = heard[other][0], heard[other][-1]
                assert heard[other] == list(range(first, last + 1)), (room, other)


def shape(name: str, rooms: list[RoomId]) -> PAIRS:
    """The connections of a shape."""
    if name == "chain":
        return list(pairwise(rooms))
    if name == "ring":
        return list(zip(rooms, rooms[1:] + rooms[:1], strict=True))
    if name == "star":
        return [(rooms[0], room) for room in rooms[1:]]
    return list(combinations(rooms, 2))


def answered(world: World, room: RoomId, start: int, pattern: str) -> re.Match[str] | None:
    """What the bot itself said in a room after its first ``start`` posts, if it fits."""
    lines = "\n".join(post.text.plain for post in world.posts(room)[start:] if post.author == "bot")
    return re.search(pattern, lines)


async def open_code(world: World, room: RoomId) -> str:
    """A code of a room in which others talk."""
    start = len(world.posts(room))
    world.say(room, "Opener", "-sameroom open")
    await world.until(lambda: answered(world, room, start, r"Your code is (\S+)\.") is not None)
    found = answered(world, room, start, r"Your code is (\S+)\.")
    assert found is not None
    return found[1]


async def join(world: World, a: RoomId, b: RoomId, code: str) -> None:
    """Connect ``b`` with the code of ``a``; also right if they are connected already by way of others."""
    start = len(world.posts(b))
    world.say(b, "Joiner", f"-sameroom connect {code}")
    label = rf"{re.escape(native_room(a))} \(Loopback\)"
    done = f"now connected to {label}|This room and {label} are connected already"
    try:
        await world.until(lambda: answered(world, b, start, done) is not None)
    except TimeoutError:
        own = [post.text.plain for post in world.posts(b)[start:] if post.author == "bot"]
        raise AssertionError(f"{b} was not connected to {a}: {own}") from None


async def connect_when_possible(world: World, a: RoomId, b: RoomId) -> None:
    """Pair two rooms while others talk."""
    await join(world, a, b, await open_code(world, a))


@pytest.mark.parametrize("how", ["chain", "ring", "star", "mesh"])
@pytest.mark.parametrize("shards", [4, 16])
async def test_connecting_while_all_talk(store: Redis, how: str, shards: int) -> None:
    """Connected one after another in random order, in any shape and over many shards, all hear all."""
    rooms = rooms_of(6 if how == "mesh" else 8)
    pairs = shape(how, rooms)
    random.Random(f"{how} {shards}").shuffle(pairs)
    async with running_world(store, *map(account, ACCOUNTS), settings={"shards": shards}) as world:
        talk = Talk(world, rooms)
        for a, b in pairs:
            await connect_when_possible(world, a, b)
        await talk.end()
        await talk.check(connected={room: set(rooms) for room in rooms})
        await world.settled(*rooms)
        assert len({await world.deps.locate(room) for room in rooms}) == 1


@pytest.mark.parametrize("seed", range(3))
async def test_connecting_all_at_once(store: Redis, seed: int) -> None:
    """Connections that are asked for at the same instant, crossing one another, end in one sameroom."""
    rooms = rooms_of(7)
    chance = random.Random(seed)
    pairs = [(a, b) if chance.random() < 0.5 else (b, a) for a, b in shape("ring", rooms)]
    chance.shuffle(pairs)
    async with running_world(store, *map(account, ACCOUNTS), settings={"shards": 8}) as world:
        talk = Talk(world, rooms)
        codes = [await open_code(world, a) for a, _ in pairs]
        await asyncio.gather(*(join(world, a, b, code) for (a, b), code in zip(pairs, codes, strict=True)))
        await talk.end()
        await talk.check(connected={room: set(rooms) for room in rooms})
        await world.settled(*rooms)
        assert len({await world.deps.locate(room) for room in rooms}) == 1


async def test_two_connections_that_cross(store: Redis) -> None:
    """Two rooms that type each other's codes at the same instant get one tube and two answers."""
    async with running_world(store, account("one"), account("two"), settings={"shards": 8}) as world:
        for turn in range(5):
            a, b = home_in(world, turn, f"a{turn}x"), home_in(world, 7 - turn, f"b{turn}x", "two")
            codes = await world.code(a), await world.code(b)
            world.say(a, "Alice", f"-sameroom connect {codes[1]}")
            world.say(b, "Bob", f"-sameroom connect {codes[0]}")
            await asyncio.gather(*(world.shows(room, "now connected") for room in (a, b)))
            await world.until(lambda a=a, b=b: any("connected already" in x for x in world.lines(a) + world.lines(b)))
            assert "Connected to 1 room." in await world.asks(a, "Alice", "-sameroom list")
            assert "Ended: this room's connections to 1 room." in await world.asks(b, "Bob", "-sameroom disable")
            assert "not connected" in await world.asks(a, "Alice", "-sameroom list")


async def test_two_samerooms_become_one(store: Redis) -> None:
    """A whole sameroom moves to another shard, with its tubes, its pause and its bans, while all talk."""
    async with running_world(store, *map(account, ACCOUNTS), settings={"shards": 8}) as world:
        here = [home_in(world, 1, f"h{i}x", ACCOUNTS[i]) for i in range(3)]
        there = [home_in(world, 6, f"t{i}x", ACCOUNTS[i]) for i in range(3)]
        for rooms in (here, there):
            await world.connect(rooms[0], rooms[1])
            await world.connect(rooms[1], rooms[2])
        world.say(there[0], "Mallory", "hi")
        await world.shows(there[2], "Mallory: hi")
        await world.asks(there[2], "Bob", "-sameroom ban Mallory")
        await world.asks(there[1], "Bob", "-sameroom pause")
        talking = [*here, there[0], there[2]]
        talk = Talk(world, talking)
        await connect_when_possible(world, here[2], there[0])
        await talk.end()
        await talk.check(connected={room: set(talking) for room in talking})
        await world.settled(*here, *there)
        assert {await world.deps.locate(room) for room in [*here, *there]} == {1}
        assert not any("#" in line for line in world.lines(there[1]))
        world.say(there[0], "Mallory", "again")
        await world.shows(here[0], "Mallory: again")
        assert not any("Mallory: again" in line for line in world.lines(there[2]))


async def test_apart_and_together_again(store: Redis) -> None:
    """Rooms that were cut off stay where they are and can be connected to others, wherever their home was."""
    async with running_world(store, *map(account, ACCOUNTS), settings={"shards": 8}) as world:
        a, b, c = home_in(world, 2), home_in(world, 5, where="two"), home_in(world, 0, where="three")
        await world.connect(a, b)
        await world.asks(a, "Alice", "-sameroom disable")
        await world.settled(b)
        assert await world.deps.locate(b) == 2
        talk = Talk(world, [a, b, c])
        await connect_when_possible(world, b, c)
        await connect_when_possible(world, c, a)
        await talk.end()
        await talk.check(connected={room: {a, b, c} for room in (a, b, c)})
        await world.settled(a, b, c)
        assert {await world.deps.locate(room) for room in (a, b, c)} == {0}


async def test_after_a_restart(store: Redis) -> None:
    """Another process finds rooms, tubes and pointers as they were, and what is said goes on."""
    rooms = rooms_of(5)
    async with running_world(store, *map(account, ACCOUNTS), settings={"shards": 8}) as world:
        for a, b in shape("chain", rooms):
            await world.connect(a, b)
        network = world.network
    async with running_world(
        store, *map(account, ACCOUNTS), settings={"shards": 8}, process="next", network=network
    ) as world:
        talk = Talk(world, rooms)
        await talk.end()
        await talk.check(connected={room: set(rooms) for room in rooms})
        assert "Connected to 4 rooms." in await world.asks(rooms[0], "Alice", "-sameroom list")


async def test_a_hand_over_that_was_cut_short(store: Redis) -> None:
    """A relay that ends between the steps of a hand-over is followed by one that completes it; nothing is lost."""
    async with running_world(
        store, account("one"), account("two"), settings={"shards": 8}, roles="bots", process="bots"
    ) as bots:
        a, b = home_in(bots, 1), home_in(bots, 6, where="two")
        first = running_world(
            store, account("one"), account("two"), settings={"shards": 8}, roles="relay", process="r1"
        )
        async with first as relay:
            relay.network = bots.network
            code = await bots.code(a)
            bots.say(b, "Bob", f"-sameroom connect {code}")
            await bots.accepted()
            # Ends here, whichever step the hand-over is in.
        talk = Talk(bots, [a, b])
        async with running_world(store, settings={"shards": 8}, roles="relay", process="r2"):
            await bots.shows(a, "now connected")
            await bots.shows(b, "now connected")
            await talk.end()
            await talk.check(connected={a: {a, b}, b: {a, b}})


@pytest.mark.parametrize("shards", [1, 4, 16])
async def test_a_room_that_moves(store: Redis, shards: int) -> None:
    """When the platform gives a room another id its tubes follow, in any shard, and nothing said there is lost."""
    async with running_world(store, *map(account, ACCOUNTS), settings={"shards": shards}) as world:
        rooms = rooms_of(4)
        for a, b in shape("ring", rooms):
            await connect_when_possible(world, a, b)
        await world.asks(rooms[1], "Bob", "-sameroom format name+room")
        old = rooms[1]
        for turn in range(4):
            new = world.room("two", f"moved{turn}")
            world.say(old, "Mover", f"before {turn}")
            world.happen(RoomMoved, old, to=new)
            world.say(new, "Mover", f"after {turn}")
            for room in (rooms[0], rooms[2], rooms[3]):
                await world.shows(room, f"Mover: after {turn}")
                lines = [line for line in world.lines(room) if line.startswith("Mover")]
                assert lines[-2:] == [f"Mover: before {turn}", f"Mover: after {turn}"]
            world.say(rooms[0], "Alice", f"hello {turn}")
            await world.shows(new, f"Alice: hello {turn}")
            assert not any(f"hello {turn}" in line for line in world.lines(old))
            assert "like “name+room” here" in await world.asks(new, "Bob", "-sameroom format")
            old = new
        assert "Connected to 3 rooms." in await world.asks(old, "Bob", "-sameroom list")


async def test_a_moved_room_is_connected_further(store: Redis) -> None:
    """After it moved between shards several times a room still moves on, and its pointers never form a circle."""
    async with running_world(store, *map(account, ACCOUNTS), settings={"shards": 16}) as world:
        a, b = home_in(world, 12), home_in(world, 9, where="two")
        await world.connect(a, b)  # a: 12 → 9
        c = home_in(world, 5, where="three")
        await world.connect(c, a)  # both: 9 → 5
        moved = home_in(world, 2, "moved")
        world.happen(RoomMoved, a, to=moved)
        world.say(moved, "Mover", "here I am")
        await world.shows(b, "Mover: here I am")
        await world.shows(c, "Mover: here I am")
        await world.settled(moved)
        assert await world.deps.locate(moved) == 5
        for shard in (3, 2, 0):
            other = home_in(world, shard, "other", "three")
            await connect_when_possible(world, other, moved)
            world.say(moved, "Mover", f"at {shard}")
            await world.shows(other, f"Mover: at {shard}")
            await world.shows(b, f"Mover: at {shard}")
            await world.settled(moved, other)
            assert await world.deps.locate(moved) == await world.deps.locate(other) == shard


async def test_a_room_that_moves_while_it_is_handed_over(store: Redis) -> None:
    """A room may get its new id in the very moment in which its sameroom goes to another shard."""
    async with running_world(store, *map(account, ACCOUNTS), settings={"shards": 8}) as world:
        for turn in range(8):
            a, b = home_in(world, 7, f"a{turn}x"), home_in(world, turn % 6, f"b{turn}x", "two")
            new = world.room("one", f"new{turn}")
            code = await world.code(b)
            world.say(a, "Alice", f"-sameroom connect {code}")
            for _ in range(turn):
                await asyncio.sleep(0)
            world.happen(RoomMoved, a, to=new)
            await world.shows(b, "now connected")
            await world.asks(new, "Alice", "-sameroom format")
            world.say(new, "Alice", "hello")
            await world.shows(b, "Alice: hello")
            world.say(b, "Bob", "welcome")
            await world.shows(new, "Bob: welcome")


async def test_a_ban_follows_a_room_that_moves(store: Redis) -> None:
    """A banned room is banned under its new id too."""
    async with running_world(store, *map(account, ACCOUNTS)) as world:
        a, b, c = rooms_of(3)
        await world.connect(a, b)
        await world.connect(a, c)
        await world.asks(b, "Bob", "-sameroom ban r0")
        world.happen(RoomMoved, a, to=world.room("one", "new"))
        world.say(world.room("one", "new"), "Alice", "evading")
        await world.shows(c, "Alice: evading")
        world.say(c, "Carol", "fine")
        await world.shows(b, "Carol: fine")
        assert not any("evading" in line for line in world.lines(b))


async def test_nobody_moves_a_room_to_another_account(store: Redis) -> None:
    """A claim that a room now belongs to another account is refused: its tubes stay."""
    async with running_world(store, *map(account, ACCOUNTS)) as world:
        a, b, c = rooms_of(3)
        await world.connect(a, b)
        world.happen(RoomMoved, a, to=c)
        world.say(a, "Alice", "still here")
        await world.shows(b, "Alice: still here")
        assert "not connected" in await world.asks(c, "Carol", "-sameroom list")


async def test_a_room_that_moves_next_door(store: Redis) -> None:
    """A room whose new id is already connected to it ends up with one tube less and no tube to itself."""
    async with running_world(store, *map(account, ACCOUNTS)) as world:
        a, b = world.room("one", "old"), world.room("one", "new")
        c = world.room("two", "kitchen")
        await world.connect(a, b)
        await world.connect(a, c)
        world.happen(RoomMoved, a, to=b)
        assert "Connected to 1 room." in await world.asks(b, "Bob", "-sameroom list")
        world.say(b, "Bob", "hello")
        await world.shows(c, "Bob: hello")
        assert "connections to 1 room" in await world.asks(b, "Bob", "-sameroom disable")


async def test_away_back_and_renamed_in_another_shard(store: Redis) -> None:
    """What happens to a room reaches it in the shard that it was moved to."""
    async with running_world(store, *map(account, ACCOUNTS), settings={"shards": 16}) as world:
        a, b = home_in(world, 1), home_in(world, 14, where="two")
        await world.connect(a, b)
        world.happen(BotRemoved, b)
        await world.shows(a, "The bot was removed")
        world.happen(BotAdded, b, title="pantry")
        await world.shows(a, "again, and the connection goes on")
        world.happen(RoomRenamed, b, title="larder")
        await world.asks(b, "Bob", "-sameroom format")
        world.say(b, "Bob", "hello")
        await world.shows(a, "Bob: hello")


async def test_nothing_is_left_behind(store: Redis) -> None:
    """After hand-overs each room and tube is stored in one shard, no room is on its way, and inboxes are empty."""
    rooms = rooms_of(6)
    async with running_world(store, *map(account, ACCOUNTS), settings={"shards": 16}) as world:
        for a, b in shape("star", rooms):
            await connect_when_possible(world, a, b)
        await world.settled(*rooms)
        tags = [keys.shard_tag(shard) for shard in range(16)]
        stored = [room for tag in tags for room in await store.hkeys(keys.rooms(tag))]
        assert sorted(stored) == sorted(room.encode() for room in rooms)
        assert sum([await store.hlen(keys.tubes(tag)) for tag in tags]) == 5
        assert b"*" not in [where for tag in tags for where in await store.hvals(keys.moved(tag))]
        async with asyncio.timeout(5):
            while any([await store.xlen(keys.stream(tag)) for tag in tags]):
                await asyncio.sleep(0.01)

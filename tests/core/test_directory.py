"""What the portal and the command line see of rooms, samerooms, the log and dead letters; and acts they ask for."""

from __future__ import annotations

import asyncio
import re
from collections import deque
from collections.abc import AsyncIterator

import pytest

from core import keys, notices
from core.contract import Rejected, Retry
from core.directory import Ban, Directory, NoAnswer, Room, Sameroom, TubeLine
from core.model import AccountId, BotRemoved, RoomId
from core.store import Redis
from core.wire import RoomState, Tube, encode
from tests.support.world import World, account, running_world

A, B, C = RoomId("one/garden"), RoomId("two/kitchen"), RoomId("three/cellar")
ACCOUNTS = (account("one"), account("two"), account("three"))


@pytest.fixture
async def world(store: Redis) -> AsyncIterator[World]:
    """Three accounts and many shards."""
    async with running_world(store, *ACCOUNTS, settings={"shards": 16}) as running:
        yield running


@pytest.fixture
def directory(world: World) -> Directory:
    """What is asked."""
    return Directory(world.deps)


async def act(directory: Directory, room: RoomId, name: str, argument: str = "", is_admin: bool | None = None) -> str:
    """What Olga in the portal is answered."""
    return await directory.act(room, "portal/olga", "Olga", name, argument, is_admin)


async def test_unknown_rooms(world: World, directory: Directory) -> None:
    """A room that nobody ever heard of is no room, and alone."""
    assert await directory.room(A) is None
    assert await directory.sameroom(A) == Sameroom((), (), {})
    assert [line async for line in directory.everything()] == []


async def test_a_room(world: World, directory: Directory) -> None:
    """A room is shown with its name, settings, bans, log, and whether something is open."""
    await world.asks(A, "Alice", "-sameroom help")
    await world.settled(A)
    shown = await directory.room(A)
    assert shown == Room(A, "garden", "Loopback", False, "name+platform")
    await world.connect(A, B)
    world.say(A, "Mallory", "hi")
    await world.shows(B, "Mallory: hi")
    for typed in ("pause", "format plain", "ban Mallory"):
        await world.asks(B, "Bob", f"-sameroom {typed}")
    world.happen(BotRemoved, B, reason="kicked")
    await world.shows(A, "The bot was removed")
    await world.settled(B)
    shown = await directory.room(B)
    assert shown is not None
    assert (shown.paused, shown.author_style, shown.away) == (True, "plain", "kicked")
    assert shown.bans == (Ban("person one/mallory", "Mallory"),)
    assert [line.text.partition(",")[0] for line in shown.log] == ["removed", "ban", "format", "pause", "connect"]
    assert shown.log[1].text == "ban, by two/bob, person one/mallory (Mallory)"


async def test_what_is_open(world: World, directory: Directory) -> None:
    """A room is open while a code or a portal link of it is good."""

    async def is_open() -> bool:
        shown = await directory.room(A)
        assert shown is not None
        return shown.portal_open

    await world.asks(A, "Alice", "-sameroom help")
    await world.settled(A)
    assert not await is_open()
    for typed in ("open", "portal"):
        await world.asks(A, "Alice", f"-sameroom {typed}")
        assert await is_open()
        await world.asks(A, "Alice", "-sameroom close")
        assert not await is_open()


async def test_a_sameroom(world: World, directory: Directory) -> None:
    """All rooms and tubes of a sameroom are shown from each of its rooms, with what waits."""
    await world.connect(A, B)
    await world.connect(B, C)
    await world.settled(A)
    found = [await directory.sameroom(room) for room in (A, B, C)]
    for one, first in zip(found, (A, B, C), strict=True):
        assert one.rooms[0].room == first
        assert {room.room for room in one.rooms} == {A, B, C}
        assert {(tube.a, tube.b) for tube in one.tubes} <= {(A, B), (B, A), (B, C), (C, B)}
        assert [(tube.direction, tube.paused, tube.created_by) for tube in one.tubes] == [("both", False, "Joiner")] * 2
        assert one.waiting == {}
    everything = [line async for line in directory.everything()]
    assert {room.room for room, _ in everything if room} == {A, B, C}
    assert len([tube for _, tube in everything if tube]) == 2
    world.network.faults["cellar"] = deque([Retry(3)])
    world.say(A, "Alice", "waits")
    async with asyncio.timeout(5):
        while (await directory.sameroom(A)).waiting != {C: 1}:
            await asyncio.sleep(0.05)


async def test_one_way_tubes(store: Redis) -> None:
    """A one-way tube is shown in a word that a template can use, and in the list of either room."""
    tag = keys.shard_tag(0)
    for room in (A, B):
        await store.hset(keys.rooms(tag), room, encode(RoomState(room, room, "Loopback")))
    await store.hset(keys.tubes(tag), "t", encode(Tube("t", A, B, "a>b", created_by="Olga", created_at_ms=7)))
    async with running_world(store, *ACCOUNTS, settings={"shards": 1}) as world:
        found = await Directory(world.deps).sameroom(B)
        assert found.tubes == (TubeLine("t", A, B, "a_to_b", False, "Olga", 7),)
        assert "kitchen (Loopback): only hears this room" in await world.asks(A, "Alice", "-sameroom list")
        assert "garden (Loopback): only sends here" in await world.asks(B, "Bob", "-sameroom list")
        world.say(B, "Bob", "unheard")
        world.say(A, "Alice", "one way")
        await world.shows(B, "Alice: one way")
        assert not any("unheard" in line for line in world.lines(A))


async def test_the_log(world: World, directory: Directory) -> None:
    """The newest lines come first, of one room or of all."""
    await world.connect(A, B)
    await world.asks(C, "Carol", "-sameroom pause")
    await world.settled(A, B, C)
    everything = [record async for record in directory.security_log()]
    assert [record.at_ms for record in everything] == sorted((r.at_ms for r in everything), reverse=True)
    assert {(record.act, record.room) for record in everything} == {
        ("open", A), ("connect", A), ("connect", B), ("pause", C),
    }  # fmt: skip
    assert [record.act async for record in directory.security_log(C)] == ["pause"]
    assert len([record async for record in directory.security_log(limit=2)]) == 2


async def test_acts_are_answered(world: World, directory: Directory) -> None:
    """Every command can be given in the portal; the answer comes there, and the room is told only what concerns it."""
    await world.connect(A, B)
    stood = len(world.posts(A))
    for name, argument, expected in (
        ("help", "", "-sameroom open"),
        ("list", "", "kitchen (Loopback): connected"),
        ("map", "", "/map/"),
        ("manage", "", "/manage/"),
        ("ping", "", "Asked 1 room."),
        ("pause", "", "Paused."),
        ("resume", "", "Relaying again."),
        ("format", "plain", "From now on"),
        ("ban", "kitchen", "kitchen (Loopback)"),
        ("unban", "kitchen (Loopback)", "comes here again"),
        ("open", "", "Your code is"),
        ("portal", "", "/p/"),
        ("close", "", "Closed: 1 code and the portal link"),
        ("confirm", "", "Nobody waits"),
        ("deny", "", "Nobody waits"),
        ("connect", "", "Something is missing"),
        ("connect", "HLDMU-42K7", "wrong, used or too old"),
        ("frobnicate", "", "I do not know “frobnicate”"),
        ("disconnect", "kitchen", "no longer connected to kitchen (Loopback); Olga ended it"),
        ("disable", "", "not connected"),
    ):
        assert expected in await act(directory, A, name, argument), name
    await world.shows(A, "Ping:")
    assert len(world.posts(A)) == stood + 1
    await world.shows(B, "no longer connected to garden (Loopback); Olga ended it")
    await world.settled(A)
    assert "portal/olga" in {record.actor async for record in directory.security_log(A)}


async def test_connecting_by_act(world: World, directory: Directory) -> None:
    """A connection asked for in the portal is answered there from whichever shard makes it; both rooms are told."""
    shards = set()
    for turn in range(4):
        opener, guest = world.room("one", f"o{turn}"), world.room("two", f"g{turn}")
        code = await world.code(opener)
        answer = await directory.act(
            guest, "portal/olga", "Olga", "connect", code, titles=(f"Guests {turn}", "Browser")
        )
        assert f"now connected to o{turn} (Loopback), by Olga" in answer
        await world.shows(opener, f"now connected to Guests {turn} (Browser), by Olga")
        await world.shows(guest, f"now connected to o{turn}")
        shards.add(world.deps.ingest.home(guest))
    assert len(shards) > 1


async def test_confirming_by_act(store: Redis) -> None:
    """Under connect=confirm both sides can be in the portal."""
    async with running_world(store, *ACCOUNTS, settings={"shards": 16, "connect": "confirm"}) as world:
        directory = Directory(world.deps)
        for verb, here, there in (
            ("deny", "Refused. kitchen (Loopback)", "garden (Loopback) did not agree"),
            ("confirm", "now connected", "now connected to garden"),
        ):
            code = await world.code(A)
            await world.asks(B, "Bob", "-sameroom help")
            assert "I asked garden" in await act(directory, B, "connect", code)
            assert "Nobody waits" in await act(directory, A, verb, "somebody else")
            assert here in await act(directory, A, verb, "kitchen")
            await world.shows(B, there)


async def test_acts_need_the_same_rights(store: Redis) -> None:
    """Under connect=admins an act needs what a typed command needs."""
    async with running_world(store, *ACCOUNTS, settings={"connect": "admins"}) as world:
        directory = Directory(world.deps)
        for is_admin in (None, False):
            assert "Only people who run" in await act(directory, A, "open", is_admin=is_admin)
        assert "Your code is" in await act(directory, A, "open", is_admin=True)


async def test_an_act_without_a_relay(store: Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no relay runs the asker is told so, and what was asked for is done later."""
    monkeypatch.setattr("core.directory.ACT_PATIENCE_S", 1)
    async with running_world(store, *ACCOUNTS, roles="bots", process="bots") as bots:
        with pytest.raises(NoAnswer, match="is noted and will be done"):
            await act(Directory(bots.deps), A, "pause")
        async with running_world(store, roles="relay", process="relay"):
            assert "Relaying" not in await act(Directory(bots.deps), A, "list")  # answered after the pause
            shown = await Directory(bots.deps).room(A)
            assert shown is not None
            assert shown.paused


async def test_dead_letters(world: World, directory: Directory, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was set aside is listed, and can be sent again once; edits and links in it are as they were."""
    monkeypatch.setattr(notices, "SET_ASIDE_S", 0.1)
    await world.connect(A, B)
    world.network.faults["kitchen"] = deque([Rejected("no"), Rejected("still no")])
    world.say(A, "Alice", "first")
    world.say(A, "Alice", "second")
    await world.shows(A, "“second”. Reason: still no")
    accounts = [AccountId("one"), AccountId("two")]
    letters = [letter async for letter in directory.dead_letters(accounts)]
    assert [(letter.letter.reason, letter.letter.room) for letter in letters] == [("no", B), ("still no", B)]
    for letter in letters:
        await directory.replay(letter)
        await directory.replay(letter)
    await world.shows(B, "Alice: second")
    world.say(A, "Alice", "third")
    await world.shows(B, "Alice: third")
    lines = [line for line in world.lines(B) if line.startswith("Alice")]
    assert re.sub(r"(Alice: \w+)(, \1)*", r"\1", ", ".join(lines)) == "Alice: first, Alice: second, Alice: third"
    assert [letter async for letter in directory.dead_letters(accounts)] == []

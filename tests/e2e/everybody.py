"""Rooms on many services in one sameroom, and what people there say and see."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from core.model import AccountId, room_id
from tests.contract.harness import scene_of
from tests.contract.scene import ANN, File, Line
from tests.contract.stage import Session
from tests.cross.party import Guest, connect

PATIENCE_S = 60.0
ADDED_AT_ONCE = 3
Said = dict[str, list[str]]
"""What was said in each room, in order."""
DOUBLED_BY_A_KILL = {"discord": 1, "irc": math.inf, "teams": 1, "telegram": 1}
"""How many posts a room may have twice after a kill, where the service has no key and they cannot be looked for: the
one under way; the batches under way where it is one stream."""
PICTURE = File("map.png", b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 8, "image/png")


@asynccontextmanager
async def everybody(session: Session, port: int, platforms: Iterable[str]) -> AsyncIterator[dict[str, Guest]]:
    """The services, with a room on each for accounts of their names whose routes are served on ``port``."""
    async with AsyncExitStack() as stack:
        guests = {}
        for name in platforms:
            made = scene_of(name)(session, AccountId(name), f"http://127.0.0.1:{port}/bots/{name}")
            guests[name] = Guest(name, await stack.enter_async_context(made))
        yield guests


async def added(add: Callable[[str, Any], None], guests: dict[str, Guest]) -> None:
    """All accounts are added, a few at a time."""
    turns = asyncio.Semaphore(ADDED_AT_ONCE)

    async def one(guest: Guest) -> None:
        async with turns:
            await asyncio.to_thread(add, guest.name, guest.scene.config)

    await asyncio.gather(*map(one, guests.values()))


async def paired(guests: dict[str, Guest]) -> None:
    """The bot comes into all rooms, and they are paired by typed commands."""
    natives = await asyncio.gather(*(guest.scene.enter() for guest in guests.values()))
    for guest, native in zip(guests.values(), natives, strict=True):
        guest.room = room_id(AccountId(guest.name), native)
    first, *others = guests.values()
    await connect(first, others)


def holding(lines: list[Line], text: str) -> list[Line]:
    """The lines that hold ``text``."""
    return [line for line in lines if text in line.plain]


def names_ann(line: Line) -> bool:
    """Does the line say who said it?"""
    return line.author == ANN or ANN in line.plain.replace("\u200b", "")


def others(guests: dict[str, Guest], origin: str) -> list[Guest]:
    """Everybody but ``origin``."""
    return [guest for guest in guests.values() if guest.name != origin]


async def all_see(guests: Iterable[Guest], what: Callable[[list[Line]], Any], why: str) -> None:
    """Wait until all rooms show it."""
    await asyncio.gather(*(guest.sees(what, why) for guest in guests))


async def all_read(guests: Iterable[Guest], *texts: str) -> dict[str, list[Line]]:
    """Wait until all rooms show the last of ``texts``; every room then has each of them exactly once."""

    async def read(guest: Guest) -> list[Line]:
        await guest.line(texts[-1])
        lines = await guest.scene.lines()
        found = [holding(lines, text) for text in texts]
        assert all(len(each) == 1 for each in found), (guest.name, texts, found)
        return [each[0] for each in found]

    guests = list(guests)
    found = await asyncio.gather(*map(read, guests))
    return {guest.name: lines for guest, lines in zip(guests, found, strict=True)}


def in_order(name: str, lines: list[Line], *texts: str) -> set[int]:
    """A room has all of ``texts``, in that order; returns which lines of the room have any of them once more. Where
    many waited for a room, several stand in one post, one below the other."""
    rows = [(number, row) for number, line in enumerate(lines) for row in line.plain.split("\n")]
    places, copies = [], set()
    for text in texts:
        found = [place for place, (_, row) in enumerate(rows) if row.endswith(text)]
        assert found, (name, text, rows[-30:])
        places.append(found[0])
        copies |= {rows[place][0] for place in found[1:]}
    assert places == sorted(places), (name, texts, places)
    return copies


async def somebody_says(guests: dict[str, Guest], said: Said, who: Iterable[str], word: str, times: int) -> None:
    """Somebody in each of some rooms says a few things."""
    for number in range(times):
        for name in who:
            said[name].append(f"{name} {word} {number}")
            await guests[name].scene.say(said[name][-1])


async def everybody_has_everything(guests: dict[str, Guest], said: Said) -> None:
    """Every room has all that was said in the others, in order, and no more of it twice than a kill may cause."""
    for guest in guests.values():
        theirs = [texts for origin, texts in said.items() if origin != guest.name]
        for texts in theirs:
            await guest.line(texts[-1])
        lines = await guest.scene.lines()
        copies = set().union(*(in_order(guest.name, lines, *texts) for texts in theirs))
        assert len(copies) <= DOUBLED_BY_A_KILL.get(guest.name, 0), (
            guest.name,
            [lines[place].plain for place in copies],
        )

"""An installation of its own with an account on every service, a room on each, and what people there see."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import msgspec

from bots import registry
from core.contract import Finds, Streams
from core.model import AccountId, room_id
from core.store import Redis
from tests.bridgebot.support import call, free_port, running
from tests.contract.harness import scene_of, services
from tests.contract.scene import ANN, File, Line
from tests.contract.stage import Session
from tests.cross.party import Guest, connect

PATIENCE_S = 60.0
EVERYBODY = [name for name in registry.names() if name != "loopback"]
ADDED_AT_ONCE = 3
PICTURE = File("map.png", b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 8, "image/png")


class Installation:
    """A data folder, and what is started on it."""

    def __init__(self, home: Path, platforms: Sequence[str]) -> None:
        self.home = home
        self.platforms = platforms
        self.port = free_port()
        self._words = ("--data", str(home / "data"))

    def account_url(self, name: str) -> str:
        """Where an account's routes are reached."""
        return f"http://127.0.0.1:{self.port}/bots/{name}"

    def add(self, name: str, config: Any) -> None:
        """``bridgebot accounts add``, with the configuration on standard input."""
        text = msgspec.json.encode(config).decode()
        done = call(self.home, "accounts", "add", name, "-", "--id", name, *self._words, text=text)
        assert done.returncode == 0, done.stderr + done.stdout

    def run(self) -> Any:
        """``bridgebot run``."""
        return running(self.home, "run", *self._words, "--port", str(self.port))

    async def online(self) -> None:
        """Wait until all accounts can post, by ``/healthz``."""
        states: dict[str, str] = {}
        try:
            async with asyncio.timeout(PATIENCE_S), aiohttp.ClientSession() as http:
                while True:
                    async with http.get(f"http://127.0.0.1:{self.port}/healthz") as answer:
                        states = (await answer.json())["accounts"]
                    if all(states.get(name) == "online" for name in self.platforms):
                        return
                    await asyncio.sleep(0.05)
        except TimeoutError:
            raise AssertionError(f"not everybody came online: {states}") from None


@asynccontextmanager
async def everybody(home: Path, session: Session, platforms: Sequence[str]) -> AsyncIterator[tuple[Any, Any]]:
    """The services, and an installation for them: ``(installation, guests)``. Nothing runs yet."""
    installation = Installation(home, platforms)
    async with AsyncExitStack() as stack:
        guests = {}
        for name in platforms:
            made = scene_of(name)(session, AccountId(name), installation.account_url(name))
            guests[name] = Guest(name, await stack.enter_async_context(made))
        yield installation, guests


async def added(installation: Installation, guests: dict[str, Guest]) -> None:
    """All accounts are added, a few at a time."""
    turns = asyncio.Semaphore(ADDED_AT_ONCE)

    async def add(guest: Guest) -> None:
        async with turns:
            await asyncio.to_thread(installation.add, guest.name, guest.scene.config)

    await asyncio.gather(*map(add, guests.values()))


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


def copies_allowed(guest: Guest, store: Redis) -> float:
    """How many posts a kill may double: none where the service has a key or they can be looked for, the batches under
    way where it is one stream, and else the one under way."""
    account = AccountId(guest.name)
    adapter = guest.scene.platform.create(account, guest.scene.config, services(store, account, ""))
    if isinstance(adapter, Finds) or adapter.capabilities(guest.room).idempotent:
        return 0
    return math.inf if isinstance(adapter, Streams) else 1


def in_order(name: str, lines: list[Line], *texts: str) -> int:
    """A room has all of ``texts``, in that order; returns how many of them it has once more."""
    plains = [line.plain for line in lines]
    places, copies = [], 0
    for text in texts:
        found = [place for place, plain in enumerate(plains) if plain.endswith(text)]
        assert found, (name, text, plains[-30:])
        places.append(found[0])
        copies += len(found) - 1
    assert places == sorted(places), (name, texts, places)
    return copies

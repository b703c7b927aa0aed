"""One sameroom of five: the product as it is started, its accounts added by its own command line, rooms on a Telegram,
GroupMe, Teams and Google Chat double and on a real IRC server, paired by typed commands only.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import pytest

from core.model import AccountId
from tests.bridgebot.support import call, free_port, running
from tests.contract.harness import scene_of
from tests.contract.scene import ANN, File, Line
from tests.contract.stage import Session
from tests.cross.party import Guest, connect

PATIENCE_S = 30.0
FIVE = ("telegram", "groupme", "teams", "googlechat", "irc")
PICTURE = File("map.png", b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 8, "image/png")


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Session]:
    """The servers that the rooms are on."""
    made = Session(tmp_path_factory.mktemp("five"))
    yield made
    made.close()


class Installation:
    """A data folder with an account for each service."""

    def __init__(self, home: Path, port: int) -> None:
        self.home = home
        self.port = port
        self._words = ("--data", str(home / "data"))

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
        async with asyncio.timeout(PATIENCE_S), aiohttp.ClientSession() as http:
            while True:
                async with http.get(f"http://127.0.0.1:{self.port}/healthz") as answer:
                    states = (await answer.json())["accounts"]
                if all(states.get(name) == "online" for name in FIVE):
                    return
                await asyncio.sleep(0.05)


@asynccontextmanager
async def five(home: Path, session: Session) -> AsyncIterator[tuple[Installation, dict[str, Guest]]]:
    """The services, and an installation that has an account on each; not running yet."""
    installation = Installation(home, free_port())
    async with AsyncExitStack() as stack:
        guests = {}
        for name in FIVE:
            url = f"http://127.0.0.1:{installation.port}/bots/{name}"
            scene = await stack.enter_async_context(scene_of(name)(session, AccountId(name), url))
            guests[name] = Guest(name, scene)
            await asyncio.to_thread(installation.add, name, scene.config)
        yield installation, guests


async def enter(guests: dict[str, Guest]) -> None:
    """The bot comes into all rooms, and they are paired by typed commands."""
    for guest in guests.values():
        await guest.scene.enter()
    first, *others = guests.values()
    await connect(first, others)


def holding(lines: list[Line], text: str) -> list[Line]:
    """The lines that hold ``text``."""
    return [line for line in lines if text in line.plain]


def names_ann(line: Line) -> bool:
    """Does the line say who said it?"""
    return line.author == ANN or ANN in line.plain.replace("\u200b", "")


async def everybody_else_sees(guests: dict[str, Guest], origin: str, text: str) -> dict[str, Line]:
    """Wait until all other rooms show it; every one exactly once, with the author's name."""
    found = {}
    for name, guest in guests.items():
        if name != origin:
            found[name] = await guest.line(text)
            assert len(holding(await guest.scene.lines(), text)) == 1, name
    return found


async def test_everything_reaches_everybody(tmp_path: Path, session: Session) -> None:
    """Text, answer, edit, deletion, reaction and picture from each room, as far as its people can do it there."""
    async with five(tmp_path, session) as (installation, guests):
        with installation.run():
            await installation.online()
            await enter(guests)
            for origin, guest in guests.items():
                await _doings(guests, origin, guest, installation.port)
            for origin in guests:
                numbers = [f"{origin} says {number}" for number in (0, 1, 3, 4)]
                for name, guest in guests.items():
                    if name != origin:
                        plains = [line.plain for line in await guest.scene.lines()]
                        places = [next(i for i, plain in enumerate(plains) if text in plain) for text in numbers]
                        assert places == sorted(places)


async def _doings(guests: dict[str, Guest], origin: str, guest: Guest, port: int) -> None:
    hears, scene = guest.scene.platform.hears, guest.scene
    said = [await scene.say(f"{origin} says {number}") for number in range(5)]
    for number in range(5):
        for line in (await everybody_else_sees(guests, origin, f"{origin} says {number}")).values():
            assert names_ann(line)
    if hears.reply != "drop":
        await scene.reply(said[0], f"{origin} answers itself")
        for name, line in (await everybody_else_sees(guests, origin, f"{origin} answers itself")).items():
            answered = (await guests[name].line(f"{origin} says 0")).native
            assert line.reply_to == answered or "↩" in line.plain, name
    if hears.edit != "drop":
        await scene.edit(said[1], f"{origin} says 1, and mends it")
        await everybody_else_sees(guests, origin, f"{origin} says 1, and mends it")
    if hears.delete != "drop":
        await scene.delete(said[2])
        for name, other in guests.items():
            if name != origin:
                await other.sees(lambda lines: _is_removed(lines, f"{origin} says 2"), "that it was removed")
    if hears.reaction == "full":
        await scene.react(said[0], "👍")
        for name, other in guests.items():
            if name != origin:
                await other.sees(lambda lines: _is_reacted(lines, f"{origin} says 0"), "the reaction")
    if hears.file != "drop":
        await scene.post_file(PICTURE, f"{origin} has a picture")
        await everybody_else_sees(guests, origin, f"{origin} has a picture")
        for name, other in guests.items():
            if name != origin:
                # Some services show it below the words, a moment later.
                await other.sees(lambda lines: _has_picture(lines, f"{origin} has a picture", port), "the picture")


def _has_picture(lines: list[Line], text: str, port: int) -> bool:
    start = next(place for place, line in enumerate(lines) if text in line.plain)
    below = lines[start : start + 3]
    has_bytes = any(file.data == PICTURE.data for line in below for file in line.files)
    return has_bytes or any(f"127.0.0.1:{port}/f/" in line.plain for line in below)


def _is_removed(lines: list[Line], text: str) -> bool:
    return not holding(lines, text) or bool(holding(lines, "removed a message"))


def _is_reacted(lines: list[Line], text: str) -> bool:
    return any(line.reactions for line in holding(lines, text)) or bool(holding(lines, "reacted 👍"))


async def test_a_storm_on_one_delays_nobody_else(tmp_path: Path, session: Session) -> None:
    """While Telegram answers 429 to everything, the others read on; then Telegram has it all, in order, once."""
    async with five(tmp_path, session) as (installation, guests):
        with installation.run():
            await installation.online()
            await enter(guests)
            telegram = guests.pop("telegram")
            storm = telegram.scene.storm(retry_after_s=1)  # type: ignore[attr-defined]
            texts = [f"in the storm {number}" for number in range(10)]
            for text in texts:
                await guests["irc"].scene.say(text)
            for name, guest in guests.items():
                if name != "irc":
                    await guest.line(texts[-1])
            assert storm.refused >= 1
            assert not holding(await telegram.scene.lines(), "in the storm")
            storm.end()
            await telegram.line(texts[-1])
            said = [line.plain for line in holding(await telegram.scene.lines(), "in the storm")]
            assert [plain.partition(": ")[2] for plain in said] == texts


async def test_a_restart_in_the_middle_loses_nothing(tmp_path: Path, session: Session) -> None:
    """Stopped in order and started again while everybody talks: every room has everything, in order, once; killed: at
    most what was just under way is there twice, and only on services without a key."""
    async with five(tmp_path, session) as (installation, guests):
        with installation.run() as first:
            await installation.online()
            await enter(guests)
            for number in range(8):
                for origin, guest in guests.items():
                    await guest.scene.say(f"{origin} early {number}")
            await guests["irc"].line("googlechat early 7")
            assert await asyncio.to_thread(first.end, signal.SIGTERM) == 0
        with installation.run() as second:
            await installation.online()
            for origin, guest in guests.items():
                await guest.scene.say(f"{origin} middle")
            for origin in guests:
                for name, guest in guests.items():
                    if name != origin:
                        await guest.line(f"{origin} middle")
            second.process.send_signal(signal.SIGKILL)
            await asyncio.to_thread(second.process.wait)
        with installation.run():
            await installation.online()
            for origin, guest in guests.items():
                await guest.scene.say(f"{origin} late")
            for origin in guests:
                for name, guest in guests.items():
                    if name != origin:
                        await guest.line(f"{origin} late")
                        await _all_there(guest, origin)


async def _all_there(guest: Guest, origin: str) -> None:
    plains = [line.plain for line in await guest.scene.lines()]
    wanted = [*(f"{origin} early {number}" for number in range(8)), f"{origin} middle", f"{origin} late"]
    for text in wanted:
        found = [plain for plain in plains if plain.endswith(text)]
        assert len(found) == 1, (guest.name, text, len(found))
    places = [next(i for i, plain in enumerate(plains) if plain.endswith(text)) for text in wanted]
    assert places == sorted(places), (guest.name, origin)

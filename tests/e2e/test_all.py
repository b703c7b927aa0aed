"""One sameroom of all services: the product as it is started, its accounts added by its own command line, a room on
every service that there is an adapter for (real servers where they can be installed), paired by typed commands only.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import pytest

from bots import registry
from tests.bridgebot.support import call, free_port, running
from tests.contract.scene import Line
from tests.contract.stage import Session
from tests.cross.party import Guest
from tests.e2e.everybody import (
    PATIENCE_S,
    PICTURE,
    Said,
    added,
    all_read,
    all_see,
    everybody,
    everybody_has_everything,
    holding,
    in_order,
    names_ann,
    others,
    paired,
    somebody_says,
)

EVERYBODY = [name for name in registry.names() if name != "loopback"]
BY_HISTORY = [name for name in EVERYBODY if registry.platform(name).hears.history != "drop"] + ["telegram"]
"""Where we can read later what was said while we were away; Telegram keeps it for us."""
WORDS = (0, 1, 3, 4)
"""Of the five things that everybody says, those that stay; the one in between is taken back."""


class Installation:
    """A data folder, and what is started on it."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.port = free_port()
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
        states: dict[str, str] = {}
        try:
            async with asyncio.timeout(PATIENCE_S), aiohttp.ClientSession() as http:
                while True:
                    async with http.get(f"http://127.0.0.1:{self.port}/healthz") as answer:
                        states = (await answer.json())["accounts"]
                    if all(states.get(name) == "online" for name in EVERYBODY):
                        return
                    await asyncio.sleep(0.05)
        except TimeoutError:
            raise AssertionError(f"not everybody came online: {states}") from None


@pytest.fixture
def session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Session]:
    """The servers that the rooms are on."""
    made = Session(tmp_path_factory.mktemp("all"))
    yield made
    made.close()


async def test_all_services_in_one_room(tmp_path: Path, session: Session) -> None:
    """Everything that people do in each room is seen in all others, as far as their services can; trouble of one
    delays nobody else; stops, kills and restarts lose nothing, and what was said meanwhile comes in its place."""
    installation = Installation(tmp_path)
    async with everybody(session, installation.port, EVERYBODY) as guests:
        await asyncio.to_thread(installation.add, "web", guests["web"].scene.config)
        with installation.run() as first:
            await added(installation.add, {name: guest for name, guest in guests.items() if name != "web"})
            await installation.online()
            await paired(guests)
            await everything_reaches_everybody(guests, installation)
            await a_storm_delays_nobody_else(guests)
            await a_server_that_is_gone_delays_nobody_else(guests)
            said: Said = {name: [] for name in EVERYBODY}
            await somebody_says(guests, said, EVERYBODY, "early", 5)
            assert await asyncio.to_thread(first.end, signal.SIGTERM) == 0
        await somebody_says(guests, said, BY_HISTORY, "missed", 3)
        with installation.run() as second:
            await installation.online()
            await guests["web"].scene.back()
            await somebody_says(guests, said, EVERYBODY, "middle", 3)
            # They are accepted when one room has them; all others are being posted to.
            for origin in EVERYBODY:
                await next(iter(others(guests, origin))).line(said[origin][-1])
            second.process.send_signal(signal.SIGKILL)
            await asyncio.to_thread(second.process.wait)
        await somebody_says(guests, said, BY_HISTORY, "missed again", 3)
        with installation.run():
            await installation.online()
            await guests["web"].scene.back()
            await somebody_says(guests, said, EVERYBODY, "late", 1)
            await everybody_has_everything(guests, said)


async def everything_reaches_everybody(guests: dict[str, Guest], installation: Installation) -> None:
    """Text, answer, edit, deletion, reaction and picture from each room, as far as its people can do it there."""
    for origin, guest in guests.items():
        await its_doings(others(guests, origin), guest, installation.port)
    for origin in guests:
        for guest in others(guests, origin):
            plains = [line.plain for line in await guest.scene.lines()]
            places = [
                next(i for i, plain in enumerate(plains) if f"{origin} says {number}" in plain) for number in WORDS
            ]
            assert places == sorted(places), (guest.name, origin)


async def its_doings(readers: list[Guest], guest: Guest, port: int) -> None:
    """What people do in one room, and what all others see of it."""
    origin, hears, scene = guest.name, guest.scene.platform.hears, guest.scene
    said = [await scene.say(f"{origin} says {number}") for number in range(5)]
    roots = await all_read(readers, *(f"{origin} says {number}" for number in range(5)))
    assert all(names_ann(line) for lines in roots.values() for line in lines)
    if hears.reply != "drop":
        await scene.reply(said[0], f"{origin} answers itself")
    if hears.edit != "drop":
        await scene.edit(said[1], f"{origin} says 1, and mends it")
    if hears.delete != "drop":
        await scene.delete(said[2])
    if hears.reaction == "full":
        await scene.react(said[0], "👍")
    if hears.file != "drop":
        await scene.post_file(PICTURE, f"{origin} has a picture")
    if hears.reply != "drop":
        for name, (line,) in (await all_read(readers, f"{origin} answers itself")).items():
            assert line.reply_to == roots[name][0].native or "↩" in line.plain, name
    if hears.edit != "drop":
        await all_read(readers, f"{origin} says 1, and mends it")
    if hears.delete != "drop":
        await all_see(readers, lambda lines: is_removed(lines, f"{origin} says 2"), "that it was removed")
    if hears.reaction == "full":
        await all_see(readers, lambda lines: is_reacted(lines, f"{origin} says 0"), "the reaction")
    if hears.file != "drop":
        await all_read(readers, f"{origin} has a picture")
        # Some services show it below the words, a moment later.
        await all_see(readers, lambda lines: has_picture(lines, f"{origin} has a picture", port), "the picture")


def has_picture(lines: list[Line], text: str, port: int) -> bool:
    """Is the picture at the words or just below, as a file or as a link to one?"""
    start = next(place for place, line in enumerate(lines) if text in line.plain)
    below = lines[start : start + 3]
    has_bytes = any(file.data == PICTURE.data for line in below for file in line.files)
    return has_bytes or any(f"127.0.0.1:{port}/f/" in line.plain for line in below)


def is_removed(lines: list[Line], text: str) -> bool:
    """Is it gone, or said to be?"""
    return not holding(lines, text) or bool(holding(lines, "removed a message"))


def is_reacted(lines: list[Line], text: str) -> bool:
    """Does the reaction stand on it, or is it told in words?"""
    return any(line.reactions for line in holding(lines, text)) or bool(holding(lines, "reacted 👍"))


async def a_storm_delays_nobody_else(guests: dict[str, Guest]) -> None:
    """While Telegram answers 429 to everything, the others read on; then Telegram has it all, in order, once."""
    telegram = guests["telegram"]
    storm = telegram.scene.storm(retry_after_s=1)  # type: ignore[attr-defined]
    texts = [f"in the storm {number}" for number in range(10)]
    for text in texts:
        await guests["irc"].scene.say(text)
    await all_read([guest for guest in others(guests, "irc") if guest is not telegram], texts[-1])
    assert storm.refused >= 1
    assert not holding(await telegram.scene.lines(), "in the storm")
    storm.end()
    for guest in others(guests, "irc"):
        await guest.line(texts[-1])
        assert not in_order(guest.name, await guest.scene.lines(), *texts)


async def a_server_that_is_gone_delays_nobody_else(guests: dict[str, Guest]) -> None:
    """While the XMPP server is not there, the others read on; then its room has it all, in order, once."""
    xmpp = guests["xmpp"]
    await xmpp.scene.server_dies()  # type: ignore[attr-defined]
    texts = [f"in the dark {number}" for number in range(10)]
    for text in texts:
        await guests["slack"].scene.say(text)
    await all_read([guest for guest in others(guests, "slack") if guest is not xmpp], texts[-1])
    await xmpp.scene.server_returns()  # type: ignore[attr-defined]
    for guest in others(guests, "slack"):
        await guest.line(texts[-1])
        assert not in_order(guest.name, await guest.scene.lines(), *texts)

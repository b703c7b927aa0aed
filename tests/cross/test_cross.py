"""Every platform's people say the same forty things, and every other platform's room is compared with a page on file.

``BRIDGEBOT_WRITE_GOLDEN=1 pytest tests/cross`` writes the pages again; read the difference before it is kept.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from bots import registry
from core.model import NativeId, Text
from core.store import Redis
from tests.contract.stage import Session
from tests.cross.party import Guest, party
from tests.cross.script import PICTURE, SCRIPT, Step
from tests.cross.transcript import drawn, paper
from tests.support.world import World

GOLDEN = Path(__file__).parent / "golden"
END = "the end of it"
PLATFORMS = [name for name in registry.names() if name != "loopback"]


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Session]:
    """Servers that the rooms are on."""
    made = Session(tmp_path_factory.mktemp("cross"))
    yield made
    made.close()


class Play:
    """Performs the script in one room."""

    def __init__(self, world: World, origin: Guest, others: Sequence[Guest]) -> None:
        self._world = world
        self._origin = origin
        self._others = others
        self._third = world.room("lo", "third")
        self._here: dict[str, str] = {}
        """Name of a message → its native id in the room it is performed in."""
        self._there: dict[str, NativeId] = {}
        """Name of a message that was said in the third room → its native id there."""
        self.skipped: list[str] = []
        self._last = ""

    async def perform(self) -> None:
        """All that this platform's people can do."""
        for step in SCRIPT:
            hears = self._origin.scene.platform.hears
            missing = step.needs and getattr(hears, step.needs) == "drop"
            if missing or (step.to and step.to not in self._here):
                self.skipped.append(f"{step.kind} {drawn(step.text, ()) if isinstance(step.text, str) else step.name}")
            else:
                await self._do(step)
        await self._origin.scene.say(END)

    async def _do(self, step: Step) -> None:
        scene, words = self._origin.scene, step.text
        plain = words.plain if isinstance(words, Text) else words
        match step.kind:
            case "say":
                if isinstance(words, Text) and words.entities[0].type not in scene.platform.hears.entities:
                    words = words.plain
                native = await scene.say(words)
            case "reply":
                native = await scene.reply(self._here[step.to], plain)
            case "edit":
                await scene.edit(self._here[step.to], plain)
                return
            case "delete":
                await scene.delete(self._here[step.to])
                return
            case "react" | "unreact":
                await scene.react(self._here[step.to], plain, step.kind == "react")
                return
            case "file":
                native = await scene.post_file(PICTURE, plain)
            case "elsewhere":
                native = await self._elsewhere(step.name, plain)
            case "elsewhere replies":
                answered = await self._world.post(self._third, "And beans")
                native = await self._elsewhere(step.name, plain, reply_to=answered.id)
        self._last = plain[:12]
        if step.name:
            self._here[step.name] = native
            # What is said about it later finds it everywhere.
            await self._all_see(plain)

    async def _all_see(self, text: str) -> None:
        for guest in self._others:
            await guest.line(text)

    async def _elsewhere(self, name: str, text: str, reply_to: str = "") -> str:
        await self._all_see(self._last)
        self._there[name] = self._world.say(self._third, "Cleo", text, reply_to=reply_to)
        return (await self._origin.line(text)).native


def page(title: str, lines: list[str]) -> str:
    """A room's part of a page on file."""
    return "\n".join([f"## {title}", "", *lines, ""])


@pytest.mark.parametrize("name", PLATFORMS)
async def test_what_others_read(name: str, store: Redis, session: Session) -> None:
    """The forty doings of one platform's people, as all others show them."""
    async with party([name, *(other for other in PLATFORMS if other != name)], store, session) as (world, guests):
        origin = guests.pop(name)
        starts = {other: await guest.count() for other, guest in guests.items()}
        play = Play(world, origin, list(guests.values()))
        await play.perform()
        found = [f"# What is said on {origin.scene.platform.title}, as others read it\n"]
        if play.skipped:
            found.append("Not possible there: " + "; ".join(play.skipped) + "\n")
        for other, guest in guests.items():
            await guest.line(END)
            lines = paper(await guest.scene.lines())[starts[other] :]
            found.append(page(guest.scene.platform.title, lines))
    text = "\n".join(found)
    file = GOLDEN / f"{name}.md"
    if os.environ.get("BRIDGEBOT_WRITE_GOLDEN"):
        file.write_text(text)
    assert file.read_text() == text

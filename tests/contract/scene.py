"""A room of a real service (or of its double) and two people in it: what the suites need of every platform.

Each ``tests/bots/<platform>/scene.py`` has a ``scene(session, account, url)``. The suite makes the adapter from the
scene's configuration, serves its HTTP routes below ``url``, starts it, and then calls :meth:`Scene.enter`.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Any, Protocol

from core.contract import Platform
from core.model import AccountId, Entity, Text
from tests.contract.stage import Session

ANN = "Ann"
BOB = "Bob"
"""The two people of every scene, by the names that the platform shows."""


@dataclass(frozen=True)
class File:
    """A file as a member gets it."""

    name: str
    data: bytes = field(repr=False)
    mime: str = ""


@dataclass(frozen=True)
class Line:
    """A message as a member of the room sees it, whoever posted it."""

    author: str
    """The name it stands under."""
    plain: str
    """What is to be read: no markup."""
    native: str = ""
    """The platform's id of it; empty where members see none."""
    entities: tuple[Entity, ...] = ()
    """The formatting as the platform shows it, over ``plain``."""
    reply_to: str = ""
    """Native id of the message that it answers, by the platform's own means."""
    thread: str = ""
    files: tuple[File, ...] = ()
    avatar: str = ""
    """Address of the author's picture, where it is the author's and not the bot's."""
    reactions: tuple[str, ...] = ()
    """Emoji that stand on it now, sorted."""


class Scene(Protocol):
    """One room. ``who`` is ANN or BOB. A doing that the platform's ``hears`` claims as more than ``drop``, and a look
    that its capabilities claim, must be there; the others may be missing.
    """

    platform: Platform
    where: str
    """What it runs on, for people: ``InspIRCd 3``, ``a double of ours``."""
    config: Any
    """The account's configuration, pointing to the double where there is one."""

    async def enter(self) -> str:
        """The adapter is started: bring it and the people into the room. Returns the room's native id (what stands
        after ``account/`` in its RoomId) when everybody can read and write there."""

    async def say(self, text: str | Text, who: str = ANN) -> str:
        """Somebody says it, with the platform's own formatting. Returns its native id. Works also while no adapter runs
        where ``hears.history`` is more than ``drop``."""

    async def reply(self, to: str, text: str, who: str = ANN) -> str:
        """Somebody answers a message by the platform's own means."""

    async def say_in_thread(self, root: str, text: str, who: str = ANN) -> str:
        """Somebody says it in the thread below ``root``."""

    async def edit(self, native: str, text: str, who: str = ANN) -> None:
        """Somebody changes what they said."""

    async def delete(self, native: str, who: str = ANN) -> None:
        """Somebody takes back what they said."""

    async def react(self, native: str, emoji: str, added: bool = True, who: str = ANN) -> None:
        """Somebody puts an emoji on a message, or takes it away."""

    async def post_file(self, file: File, text: str = "", who: str = ANN) -> str:
        """Somebody shares a file."""

    async def type(self, who: str = ANN) -> None:
        """Somebody is typing."""

    async def away(self, say: list[str], who: str = ANN) -> None:
        """Cut the adapter's connection, let ``who`` say the texts meanwhile, and let it connect again. Needed where
        ``hears.history`` is more than ``drop``."""

    async def lines(self) -> list[Line]:
        """Everything that stands in the room now, as Bob sees it, oldest first; without what was deleted."""

    async def typing(self) -> list[str]:
        """Names of who is shown as typing; where ``capabilities.typing`` is not ``drop``."""

    async def changed(self) -> None:
        """Return when something may have changed since the last look; the caller has a timeout. Where the service
        cannot tell, after a short while."""


SceneMaker = Callable[[Session, AccountId, str], AbstractAsyncContextManager[Scene]]
"""``scene(session, account, url)``: ``url`` is where the account's HTTP routes are served (or will be),
``http://127.0.0.1:port/bots/<account>``."""

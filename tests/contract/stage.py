"""What the contract suite needs of a platform under test. Each ``tests/bots/<platform>/stage.py`` has a ``stage``."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, AbstractContextManager, ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, TypeVar

from core.contract import Adapter, Platform, Services
from core.model import PlatformEvent, RoomId
from core.store import Redis


@dataclass
class Shown:
    """A post as a member of the room sees it."""

    author: str
    """The name it stands under."""
    text: str
    """What is to be read, without markup."""
    native: str = ""
    """The platform's id of it, where members see one."""


class Stage(Protocol):
    """One started adapter in one room of the real service (or of its double), and a person in that room."""

    adapter: Adapter
    platform: Platform
    room: RoomId
    events: Recorder

    async def say(self, text: str) -> None:
        """The person says something."""

    async def shown(self, text: str) -> Shown:
        """Wait until the person sees a post that holds ``text``; the first such post."""

    async def all_shown(self, marker: str, count: int) -> list[Shown]:
        """Wait until ``count`` posts that hold ``marker`` are seen; in the order seen."""


Shared = TypeVar("Shared")


class Session:
    """Servers that all tests of a session share: started when first asked for, ended with the session."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._stack = ExitStack()
        self._kept: dict[str, Any] = {}

    def keep(self, name: str, make: Callable[[Path], AbstractContextManager[Shared]]) -> Shared:
        """The thing called ``name``, made in a folder of its own if it is not there yet."""
        if name not in self._kept:
            folder = self._folder / name
            folder.mkdir()
            self._kept[name] = self._stack.enter_context(make(folder))
        return self._kept[name]

    def close(self) -> None:
        """End them all."""
        self._stack.close()


StageMaker = Callable[[Redis, Services, Session], AbstractAsyncContextManager[Stage]]
"""``stage(store, services, session)``."""


@dataclass
class Recorder:
    """An ``Emit`` that keeps what it gets."""

    seen: list[PlatformEvent] = field(default_factory=list)
    is_online: bool = False
    reasons: list[str] = field(default_factory=list)
    changed: Callable[[], None] = lambda: None

    def __call__(self, event: PlatformEvent) -> None:
        self.seen.append(event)
        self.changed()

    async def accepted(self) -> None:
        """Everything is durable at once."""

    def online(self) -> None:
        """Note it."""
        self.is_online = True
        self.changed()

    def offline(self, reason: str) -> None:
        """Note it."""
        self.is_online = False
        self.reasons.append(reason)
        self.changed()

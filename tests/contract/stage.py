"""What the contract suite's stages share: servers for a session, and an ``Emit`` that keeps what it gets."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from core.model import PlatformEvent

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


@dataclass
class Recorder:
    """An ``Emit`` that keeps what it gets."""

    seen: list[PlatformEvent] = field(default_factory=list)
    is_online: bool = False
    reasons: list[str] = field(default_factory=list)
    news: asyncio.Event = field(default_factory=asyncio.Event)

    def __call__(self, event: PlatformEvent) -> None:
        self.seen.append(event)
        self.news.set()

    async def accepted(self) -> None:
        """Everything is durable at once."""

    def online(self) -> None:
        """Note it."""
        self.is_online = True
        self.news.set()

    def offline(self, reason: str) -> None:
        """Note it."""
        self.is_online = False
        self.reasons.append(reason)
        self.news.set()

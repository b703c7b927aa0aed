"""What a deliverer has under way, so that it can be stopped in order."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager


class UnderWay:
    """Counts what is under way."""

    def __init__(self) -> None:
        self.draining = False
        """Nothing more is to be started."""
        self._count = 0
        self._ended = asyncio.Event()

    @contextmanager
    def one(self) -> Iterator[None]:
        """One thing is under way inside."""
        self._count += 1
        try:
            yield
        finally:
            self._count -= 1
            self._ended.set()

    async def drained(self) -> None:
        """Return when nothing is under way."""
        while self._count:
            self._ended.clear()
            await self._ended.wait()

"""How much the relay takes: events that are not yet durable are counted, and reading stops when there are many."""

from __future__ import annotations

import asyncio

from bots.irc.connection import Connection
from core.contract import Emit
from core.model import PlatformEvent
from core.store import StoreDown

ASK_AT = 1_000
"""Events after which the relay is asked whether they are durable."""
HOLD_AT = 10_000
"""Events not known to be durable at which reading stops. A server drops a client that lags behind by more
than its send queue, so a good deal is taken in first."""
DOWN_RETRY_S = 0.5


class Intake:
    """One account's way into the relay. It outlives connections."""

    def __init__(self, emit: Emit) -> None:
        self.emit = emit
        self.connection: Connection | None = None
        self._waiting = 0
        self._task: asyncio.Task[None] | None = None

    def event(self, event: PlatformEvent) -> None:
        """Hand over one event."""
        self.emit(event)
        self.took(1)

    def took(self, events: int) -> None:
        """So many events were handed over."""
        self._waiting += events
        if self._waiting >= ASK_AT:
            if self._task is None:
                self._task = asyncio.get_running_loop().create_task(self._until_durable())
            if self._waiting >= HOLD_AT and self.connection is not None:
                self.connection.hold()

    async def _until_durable(self) -> None:
        while self._waiting >= ASK_AT:
            asked = self._waiting
            try:
                await self.emit.accepted()
            except StoreDown:
                # The relay keeps what it was given; it takes it as soon as the store is back.
                await asyncio.sleep(DOWN_RETRY_S)
                continue
            self._waiting -= asked
            if self._waiting < HOLD_AT and self.connection is not None:
                self.connection.release()
        self._task = None

    async def stop(self) -> None:
        """Stop counting."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

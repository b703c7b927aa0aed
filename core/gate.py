"""The gates of :mod:`core.ingest`: each account of a process hands its events in through one of its own."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from core.model import Event, MessageNew, RoomId, Typing
from core.pending import Detour, Open
from core.store import StoreDown
from core.wire import Incoming, encode

if TYPE_CHECKING:
    from core.ingest import Ingest

PENDING_MAX = 20_000
"""Events not yet durable above which those that the platform would redeliver are refused."""
REFUSAL_S = 2.0
"""How long nothing is acknowledged after an event was refused: nobody knows whose it was."""
ACCEPT_S = 0.9
"""Longest that somebody waits for the store who can be told to come again."""

E = TypeVar("E", bound=msgspec.Struct)


def dedup_key(event: Incoming) -> str:
    """What tells an event from its redelivery. An id that somebody else used again is not the same."""
    assert isinstance(event, Event)  # noqa: S101 - our own records come with their key
    author = event.author.id if isinstance(event, MessageNew) else type(event).__name__
    return f"{event.room}\n{event.native}\n{author}"


def encodable(event: E) -> E:
    """The same event without half characters (lone surrogates), which JSON can bring in and nothing can take."""

    def mended(value: Any) -> Any:
        if isinstance(value, str):
            return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
        if isinstance(value, (list, tuple)):
            return [mended(item) for item in value]
        return {mended(key): mended(item) for key, item in value.items()} if isinstance(value, dict) else value

    return msgspec.convert(mended(msgspec.to_builtins(event)), type(event))


class Gate:
    """The way in of one account (or of our own records)."""

    def __init__(self, ingest: Ingest, *, redelivers: bool) -> None:
        self._ingest = ingest
        self._redelivers = redelivers
        self._last = 0
        self._refuses = False
        """Something was refused, and the source does not know yet: whatever follows it must not be there before it."""
        self._refused_until_s = 0.0
        self.open = Open()

    def put(
        self,
        event: Incoming,
        dedup: str | None = None,
        ready: Awaitable[Incoming] | None = None,
        rooms: tuple[RoomId, ...] = (),
    ) -> bool:
        """Take an event; durable only after :meth:`accepted`. False: it was refused.

        ``dedup``: its key, if not the event's own. ``ready``: completes the event first; what is put later for
        ``rooms`` (by default the event's own) waits behind it.
        """
        if self._redelivers and (self._refuses or len(self._ingest.pending) > PENDING_MAX):
            self._refuses = True
            self._refused_until_s = time.monotonic() + REFUSAL_S
            _forget(ready)
            return False
        try:
            record = encode(event)
        except UnicodeEncodeError:
            event = encodable(event)
            record = encode(event)
        if dedup is None:
            dedup = dedup_key(event) if self._redelivers and not isinstance(event, Typing) else ""
        if dedup and self._ingest.waiting.get(dedup) is self:
            _forget(ready)
            return True
        detour = None if ready is None else Detour(rooms or (event.room,), ready)
        self._last = self._ingest.add(event, record, dedup, self, detour)
        return True

    async def has_room(self, count: int) -> None:
        """So many events, put now, would all be taken. Raises StoreDown."""
        if self._redelivers and len(self._ingest.pending) + count > PENDING_MAX:
            raise StoreDown("too many events wait for the store")

    async def accepted(self) -> None:
        """Return when all that was put is durable. Raises StoreDown; what was put is kept, and tried on."""
        if self._refuses or self._refused_until_s > time.monotonic():
            self._refuses = False
            raise StoreDown("too many events wait for the store")
        if not self._redelivers:
            await self._ingest.settled(self._last, self.open)
            return
        try:
            async with asyncio.timeout(ACCEPT_S):
                await self._ingest.settled(self._last, self.open)
        except TimeoutError:
            raise StoreDown("the store takes too long") from None


def _forget(ready: Awaitable[Incoming] | None) -> None:
    if asyncio.iscoroutine(ready):
        ready.close()

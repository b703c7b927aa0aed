"""Live events that wait for their room's history, written down: what was acknowledged outlives the process.

History has messages only, and on some services not all of them. So an event that must wait is durable before its
service is told that we have it, and what a process left behind is passed on by the next one.
"""

from __future__ import annotations

import asyncio
from collections import deque
from itertools import islice
from typing import Any

import msgspec
from redis.exceptions import ResponseError

from core import keys
from core.gate import encodable
from core.model import AccountId, PlatformEvent, RoomId
from core.scripts import Script, refused
from core.store import TRANSIENT, Redis, StoreDown, insist
from core.wire import encode

BATCH = 200
"""Events written or read at a time."""
ACCEPT_S = 0.9
"""Longest that somebody waits for the store who can be told to come again."""

decode = msgspec.msgpack.Decoder(PlatformEvent).decode


class Held:
    """What waits for the histories of an account's rooms."""

    def __init__(self, store: Redis, account: AccountId) -> None:
        self._store = store
        self._tag = keys.account_tag(account)
        self._forget = Script(store, "forget")
        self._unwritten: deque[tuple[RoomId, bytes]] = deque()
        self._turn = asyncio.Lock()

    def add(self, event: PlatformEvent) -> None:
        """Keep an event; durable only after :meth:`accepted`."""
        try:
            record = encode(event)
        except UnicodeEncodeError:
            record = encode(encodable(event))
        self._unwritten.append((event.room, record))

    async def accepted(self) -> None:
        """Return when all that was added is durable. Raises StoreDown; what was added is kept."""
        if not self._unwritten:
            return
        try:
            async with asyncio.timeout(ACCEPT_S):
                await self._write()
        except TRANSIENT as error:
            raise StoreDown(f"the store does not answer: {error}") from error
        except ResponseError as error:
            if refused(error):
                raise StoreDown(str(error)) from error
            raise

    async def _write(self) -> None:
        # An answer that is lost leads to the same entries twice, which ingest knows by the events' ids.
        async with self._turn:
            while batch := list(islice(self._unwritten, BATCH)):
                pipeline = self._store.pipeline(transaction=False)
                pipeline.sadd(keys.holding(self._tag), *{room for room, _ in batch})
                for room, record in batch:
                    pipeline.xadd(keys.held(self._tag, room), {"e": record})
                await pipeline.execute()
                for _ in batch:
                    self._unwritten.popleft()

    async def rooms(self) -> set[RoomId]:
        """Rooms for which something waits."""
        found: set[Any] = await insist(self._store.smembers, keys.holding(self._tag))
        return {RoomId(room.decode()) for room in found}

    async def next(self, room: RoomId) -> list[tuple[bytes, PlatformEvent]]:
        """The oldest events that wait for a room, with their entries; empty when there are none at this moment."""
        while True:
            await insist(self.accepted)
            rows: Any = await insist(self._read, keys.held(self._tag, room))
            if rows or not any(room == other for other, _ in self._unwritten):
                return [(entry, decode(fields[b"e"])) for entry, fields in rows]

    async def _read(self, key: str) -> Any:
        return await self._store.xrange(key, count=BATCH)

    async def forget(self, room: RoomId, entries: list[bytes]) -> None:
        """They are taken in."""
        names = [keys.held(self._tag, room), keys.holding(self._tag)]
        await insist(self._forget, names, [room, *entries])

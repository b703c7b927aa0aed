"""What was said while an account was away: read from the platform's history and emitted in its place.

The first message of every room is remembered at once, and then the newest about once a second. When the account comes
online, each room's history is read on from there, and live events of the room wait until that is done, in the store.
What was taken in before is told from what was not by its id, so reading a little too much does no harm.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import structlog

from bots.held import Held
from core import keys, replies
from core.contract import AdapterError, History, Remembered, Retry, Since
from core.gate import Gate
from core.model import AccountId, BotRemoved, MessageNew, PlatformEvent, RoomId, RoomMoved, Typing
from core.store import TRANSIENT, Redis, StoreDown, as_awaitable, insist
from core.wire import Tell

log = structlog.get_logger()

REMEMBER_S = 1.0
REMEMBER_SELDOM_S = 60.0
"""How often a process writes that only serves an account's routes: the one that holds the account comes online in that
time, and reads on from before what it took in."""
AT_ONCE = 4
"""Rooms whose history is read at the same time."""
TAKEN_AT_ONCE = 200
"""Events that are handed to the relay before it is waited for."""
PAGE_PATIENCE_S = 60.0
TRIES = 5


class Positions:
    """The newest message of every room of an account, kept in the store."""

    def __init__(self, store: Redis, account: AccountId, gate: Gate, *, seldom: bool = False) -> None:
        self._store = store
        self._key = keys.cursors(keys.account_tag(account))
        self._gate = gate
        self.rooms: set[RoomId] = set()
        """Rooms with a position, as far as this process knows."""
        self._changed: dict[RoomId, Since | None] = {}
        self._refused: set[RoomId] = set()
        """Rooms that stay where they are until their history is read: the relay did not take something."""
        self._seldom = seldom
        self._first: dict[RoomId, Since] = {}
        """Rooms whose first position is not written down yet: without one, nothing would be read on."""
        self._timer: asyncio.TimerHandle | None = None
        self._saving: asyncio.Task[None] | None = None

    def refused(self, room: RoomId) -> None:
        """The relay did not take an event of the room: only history leads past it."""
        self._refused.add(room)

    def reading(self, room: RoomId) -> None:
        """The room's history is read on."""
        self._refused.discard(room)

    def note(self, event: PlatformEvent) -> None:
        """An event was handed to the relay."""
        if event.room in self._refused:
            return
        if isinstance(event, MessageNew):
            self._change(event.room, Since(event.native, event.at_ms))
        elif isinstance(event, BotRemoved):
            self._change(event.room, None)
        elif isinstance(event, RoomMoved):
            self._change(event.room, None)
            self._change(event.to, Since(event.native, event.at_ms))

    def _change(self, room: RoomId, since: Since | None) -> None:
        self._changed[room] = since
        if since is None:
            self.rooms.discard(room)
            self._first.pop(room, None)
        elif room not in self.rooms:
            self.rooms.add(room)
            self._first[room] = since
        if self._timer is None:
            after_s = REMEMBER_SELDOM_S if self._seldom else REMEMBER_S
            self._timer = asyncio.get_running_loop().call_later(after_s, self._remember)

    def _remember(self) -> None:
        self._timer = None
        self._saving = asyncio.create_task(self.save())

    async def save(self) -> None:
        """Write down what changed, as soon as it is durable itself."""
        changed, self._changed = self._changed, {}
        known: dict[Any, Any] = {room: msgspec.json.encode(since) for room, since in changed.items() if since}
        gone = [room for room, since in changed.items() if since is None]
        try:
            await self._gate.accepted()
            if known:
                await self._store.hset(self._key, mapping=known)
            if gone:
                await self._store.hdel(self._key, *gone)
        except (*TRANSIENT, StoreDown) as error:
            # With an older position more is read again, and recognised.
            log.debug("positions are not written down", error=str(error))
            self._changed = changed | self._changed

    def first(self) -> dict[RoomId, Since]:
        """Rooms that were heard and have no position yet."""
        return dict(self._first)

    async def begin(self, first: dict[RoomId, Since]) -> None:
        """Write down the positions of rooms that have none; what was heard there is durable. Raises StoreDown."""
        try:
            for room, since in first.items():
                await as_awaitable(self._store.hsetnx(self._key, room, msgspec.json.encode(since)))
                self._first.pop(room, None)
        except TRANSIENT as error:
            raise StoreDown(f"the store does not answer: {error}") from error

    async def load(self) -> dict[RoomId, Since]:
        """Where each room's history is read on."""
        found: dict[Any, Any] = await insist(self._store.hgetall, self._key)
        since = {RoomId(room.decode()): msgspec.json.decode(raw, type=Since) for room, raw in found.items()}
        self.rooms.update(since)
        return since

    async def close(self) -> None:
        """Write down the rest."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._changed:
            await self.save()


class CatchUp:
    """Reads an account's history when it comes online. Only the process that holds the account has one."""

    def __init__(
        self,
        adapter: History,
        positions: Positions,
        held: Held,
        gate: Gate,
        put: Callable[[PlatformEvent], None],
    ) -> None:
        self._adapter = adapter
        self._positions = positions
        self._held = held
        self._gate = gate
        self._put = put
        self._unread: set[RoomId] = set()
        """Rooms whose history is not read yet."""
        self._again = False
        self._task: asyncio.Task[None] | None = None
        self._turns = asyncio.Semaphore(AT_ONCE)

    async def prepare(self) -> None:
        """Before the adapter starts: from now on the events of rooms with a history wait for :meth:`online`."""
        self._unread = {*await self._positions.load(), *await self._held.rooms()}

    def holds(self, event: PlatformEvent) -> bool:
        """Keep a live event back until its room's history is read; False if it need not wait."""
        if event.room not in self._unread:
            return False
        if isinstance(event, Typing):
            return True
        self._held.add(event)
        if isinstance(event, RoomMoved):
            # What is said in the new room comes after it.
            self._unread.add(event.to)
        return True

    async def accepted(self) -> None:
        """Return when all that is held is durable. Raises StoreDown."""
        await self._held.accepted()

    def online(self) -> None:
        """The account is connected (again)."""
        self._unread |= self._positions.rooms
        self._again = True
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._run(), name="catch up")

    async def _run(self) -> None:
        while self._again:
            self._again = False
            await self._positions.save()
            since = await self._positions.load()
            await asyncio.gather(*(self._room(room, at) for room, at in since.items()))
        for room in list(self._unread):
            await self._go_on(room)

    async def _room(self, room: RoomId, since: Since) -> None:
        self._positions.reading(room)
        try:
            async with self._turns:
                await self._read(room, since)
        except (AdapterError, TimeoutError) as error:
            log.warning("history cannot be read", room=room, error=str(error))
            self._tell_gap(room, since)
        except Exception:  # its live events must not wait for ever
            log.exception("reading history failed", room=room)
            self._tell_gap(room, since)
        await self._go_on(room)

    async def _go_on(self, room: RoomId) -> None:
        try:
            await self._release(room)
        except Exception:  # what is said next must not wait for ever
            log.exception("what waited for history is kept until the account comes online again", room=room)
            self._unread.discard(room)

    async def _read(self, room: RoomId, since: Since) -> None:
        count, complete, more = 0, True, True
        while more:
            found = await self._page(room, since)
            complete = complete and found.complete
            await self._take(found.events)
            said = [event for event in found.events if isinstance(event, MessageNew)]
            if said:
                since = Since(said[-1].native, said[-1].at_ms)
                count += len(said)
            more = found.more and bool(said)
        if not complete:
            self._tell_gap(room, since)
        log.debug("history is read", room=room, events=count)

    async def _take(self, events: Sequence[PlatformEvent]) -> None:
        """Hand events to the relay, which refuses none of them; returns when they are durable."""
        for start in range(0, len(events), TAKEN_AT_ONCE):
            some = events[start : start + TAKEN_AT_ONCE]
            await insist(self._gate.has_room, len(some))
            for event in some:
                self._put(event)
            await insist(self._gate.accepted)

    def _tell_gap(self, room: RoomId, since: Since) -> None:
        self._gate.put(Tell(room, replies.history_gap()), dedup=f"gap {room} {since.native}")

    async def _page(self, room: RoomId, since: Since) -> Remembered:
        tries = 0
        while True:
            try:
                async with asyncio.timeout(PAGE_PATIENCE_S):
                    return await self._adapter.history(room, since)
            except Retry as error:
                tries += 1
                if tries == TRIES:
                    raise
                await asyncio.sleep(error.after_s)

    async def _release(self, room: RoomId) -> None:
        """Pass on what waited for the room, oldest first; from then on nothing waits."""
        while found := await self._held.next(room):
            await self._take([event for _, event in found])
            await self._held.forget(room, [entry for entry, _ in found])
        self._unread.discard(room)

    async def close(self) -> None:
        """Stop reading. What is held is passed on next time, after what history has."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        await insist(self._held.accepted)
        await self._positions.close()

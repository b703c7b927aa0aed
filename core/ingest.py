"""The way in: events of all accounts of a process, taken into the inboxes of the relay's shards.

One script call per shard takes a whole batch; while it is under way the next batch gathers. A room's events
are taken in the order they were emitted, whatever happens: a batch whose answer was lost is repeated as it was
(the script knows it by its number), and events of a room that is moving between shards wait for it.
"""

from __future__ import annotations

import asyncio
import secrets
import time
import zlib
from bisect import insort
from collections import Counter, OrderedDict
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any

import structlog
from redis.exceptions import ResponseError

from core import keys
from core.gate import Gate
from core.journal import Journals
from core.model import RoomId, account_of
from core.pending import Detour, Item, Open, Pending, Stop, by_index
from core.scripts import Script
from core.shortcut import Arrival, Plan, Shortcut
from core.store import TRANSIENT, StoreDown, insist
from core.wire import Incoming, encode

log = structlog.get_logger()

MOVING_RETRY_S = 0.02
DOWN_RETRY_S = 0.5
MOVE_IS_NEW_S = 600.0
"""So long the shard that a room moved away from is asked first: it knows what was taken in there."""
TURNS = 4
"""Rooms that share a batch evenly when all of them have much to say."""
RECENT_MAX = 5_000
"""Dedup keys of this process's newest events: what has one of them is certainly a redelivery."""


class Ingest:
    """All gates of a process, and the task that empties them into the store."""

    def __init__(self, journals: Journals, shards: int) -> None:
        self._journals = journals
        self._settings = journals.settings
        self._shards = shards
        self._script = Script(journals.store, "ingest")
        self.pending = Pending(max(1, journals.settings.batch // TURNS))
        self._stopped: dict[RoomId, Stop] = {}
        """Rooms that have an event which is not complete, or that are moving."""
        self._added = 0
        self._open = Open()
        """Of all gates."""
        self.waiting: dict[str, Gate] = {}
        """Dedup keys of events that are not durable yet, and whose they are: a copy of one need not wait as well."""
        self._wake = asyncio.Event()
        self._waiters: list[tuple[int, Open, asyncio.Future[None]]] = []
        self._moved: dict[RoomId, tuple[int, float]] = {}
        """Room that moved → its shard, and until when (monotonic) the one before is asked first."""
        self._batches = 0
        self._run = secrets.token_hex(6)
        self._tasks: set[asyncio.Task[None]] = set()
        self.shortcuts: dict[int, Shortcut] = {}
        """Shard of this process → its short cut."""
        self._recent: OrderedDict[str, None] = OrderedDict()
        self.on_accepted: Callable[[str, int], None] | None = None
        """``on_accepted(account, count)``: counts for the metrics."""
        self.down = ""
        """Why the store took nothing last time; empty while it does."""

    def gate(self, *, redelivers: bool) -> Gate:
        """A new way in. ``redelivers``: the source hands over again what was not acknowledged."""
        return Gate(self, redelivers=redelivers)

    def home(self, room: RoomId) -> int:
        """The shard that a room belongs to by its name."""
        return zlib.crc32(room.encode()) % self._shards

    def add(self, event: Incoming, record: bytes, dedup: str, gate: Gate, detour: Detour | None) -> int:
        """Queue an event; returns its index."""
        index = self._added = self._added + 1
        self.pending.append(Item(index, event, record, dedup, gate, detour))
        gate.open.begin(index)
        self._open.begin(index)
        if dedup:
            self.waiting[dedup] = gate
        self._wake.set()
        return index

    async def settled(self, index: int, of: Open) -> None:
        """Return when everything of ``of`` up to ``index`` is durable. Raises StoreDown."""
        if of.has(index):
            future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiters.append((index, of, future))
            await future

    def _end(self, item: Item) -> None:
        """It is durable, or was before."""
        item.gate.open.end(item.index)
        self._open.end(item.index)
        if item.dedup:
            self.waiting.pop(item.dedup, None)

    async def run(self) -> None:
        """Empty the gates until cancelled."""
        try:
            while True:
                if not self.pending:
                    self._wake.clear()
                    await self._wake.wait()
                groups = self._gather()
                if len(groups) == 1:
                    await self._take_in(*groups.popitem())
                elif groups:
                    await asyncio.gather(*(self._take_in(shard, items) for shard, items in groups.items()))
                self._tell_waiters()
        finally:
            for task in self._tasks:
                task.cancel()

    async def drain(self) -> None:
        """Return when nothing is pending (for a graceful stop). Raises StoreDown."""
        while self._open.has(self._added):
            await self.settled(self._added, self._open)

    # --- the next batch

    def _gather(self) -> dict[int, list[Item]]:
        """The next batch: events per shard."""
        groups: dict[int, list[Item]] = {}
        limit = self._settings.batch
        pending, stopped, moved = self.pending, self._stopped, self._moved
        by_room: dict[RoomId, list[Item]] = {}
        pending.begin_round()
        while not pending.round_is_over():
            item = pending.pop()
            room = item.event.room
            group = by_room.get(room)
            if (stopped or item.detour is not None) and self._must_wait(item):
                continue
            if group is None:
                group = by_room[room] = groups.setdefault(self._shard_of(item), [])
            elif room in moved and group is not groups.get(self._shard_of(item)):
                # A room's events never go two ways at a time: the later ones could be there first.
                pending.put_back([item])
                break
            group.append(item)
            if len(group) >= limit:
                break
        return groups

    def _shard_of(self, item: Item) -> int:
        room, detour = item.event.room, item.detour
        if detour and detour.at is not None:
            return detour.at
        found = self._moved.get(room)
        if found and ((detour and len(detour.rooms) > 1) or not item.dedup or time.monotonic() > found[1]):
            return found[0]
        return self.home(room)

    def _must_wait(self, item: Item) -> bool:
        detour = item.detour
        stopped = self._stopped
        if detour is None and item.event.room not in stopped:
            return False
        detour = item.on_detour()
        holding, detour.holding = detour.holding, ()
        self._release(holding)
        for room in detour.rooms:
            if room in stopped:
                detour.holding = tuple(other for other in detour.rooms if other not in stopped)
                self._stop(detour.holding)
                insort(stopped[room].items, item, key=by_index)
                return True
        if detour.ready is None:
            # What is said in its other rooms comes after it, wherever it is sent on to.
            detour.holding = detour.rooms[1:]
            self._stop(detour.holding)
            return False
        self._stop(detour.rooms)
        task = asyncio.get_running_loop().create_task(self._complete(item, detour, detour.ready))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return True

    async def _complete(self, item: Item, detour: Detour, ready: Awaitable[Incoming]) -> None:
        try:
            event = await ready
            item.event, item.record = event, encode(event)
        except Exception:  # the room must not wait for ever
            log.exception("an event could not be completed and goes on as it is", room=item.event.room)
        detour.ready = None
        self._release(detour.rooms, item)

    def _stop(self, rooms: Iterable[RoomId]) -> None:
        for room in rooms:
            self._stopped.setdefault(room, Stop()).reasons += 1

    def _release(self, rooms: tuple[RoomId, ...], *first: Item) -> None:
        """One reason less to wait in ``rooms``; what may go on then is next, in the order it was emitted."""
        items = list(first)
        for room in rooms:
            stop = self._stopped[room]
            stop.reasons -= 1
            if not stop.reasons:
                del self._stopped[room]
                items += stop.items
        self.pending.put_back(items)
        self._wake.set()

    # --- into the store

    async def _take_in(self, shard: int, items: list[Item]) -> None:
        """One script call, or two if the short cut turns out to be closed."""
        plan = self._plan(shard, items)
        if plan is not None and await self._take_through(*plan, items):
            return
        tag = keys.shard_tag(shard)
        args: list[Any] = [
            self._journals.process,
            self._next_batch(),
            self._settings.dedup_ttl_s,
            keys.dedup(tag),
            keys.wake_channel(""),
            tag,
        ]
        for item in items:
            args += (item.event.room, item.dedup, item.record)
        names = [
            keys.stream(tag),
            keys.seq(tag),
            keys.moved(tag),
            keys.lease(tag),
            keys.batch(tag, self._journals.process),
        ]
        self._sort_out(tag, items, await self._until_answered(self._script, names, args))

    def _next_batch(self) -> str:
        self._batches += 1
        return f"{self._run}.{self._batches}"

    async def _until_answered(self, attempt: Callable[..., Awaitable[Any]], *args: Any) -> Any:
        """The same again and again, until the store has answered. Whoever waits is told that it does not."""
        while True:
            try:
                result = await attempt(*args)
                break
            except (*TRANSIENT, StoreDown, ResponseError) as error:
                self._fail_waiters(error)
                await asyncio.sleep(DOWN_RETRY_S)
        if self.down:
            log.info("store takes events again")
            self.down = ""
        return result

    # --- the short cut

    def _plan(self, shard: int, items: list[Item]) -> tuple[Shortcut, Plan] | None:
        shortcut = self.shortcuts.get(shard)
        if shortcut is None or not shortcut.open or any(self._is_astray(item, shard) for item in items):
            return None
        # What is said once must not count twice against its author, so a redelivery is not routed for a plan.
        known = [item.dedup for item in items if item.dedup]
        if len(set(known)) < len(known) or any(dedup in self._recent for dedup in known):
            return None
        try:
            plan = shortcut.plan([Arrival(item.event, item.dedup) for item in items])
        except Exception:  # the shard finds it on the long way, and sets it aside
            log.debug("an event cannot be routed", exc_info=True)
            return None
        return plan and (shortcut, plan)

    def _is_astray(self, item: Item, shard: int) -> bool:
        """Whether it is on a detour, or comes to a shard that its room has left."""
        moved = self._moved.get(item.event.room) if self._moved else None
        return item.detour is not None or (moved is not None and moved[0] != shard)

    async def _take_through(self, shortcut: Shortcut, plan: Plan, items: list[Item]) -> bool:
        settings, process = self._settings, self._journals.process
        ids = await self._until_answered(shortcut.take, plan, process, self._next_batch(), settings.dedup_ttl_s)
        if ids is None:
            return False
        for item in items:
            self._end(item)
        self._count([item for item, entry in zip(items, ids, strict=True) if entry])
        return True

    def _count(self, taken: Sequence[Item]) -> None:
        """These were taken in, and are durable."""
        recent = self._recent
        for item in taken:
            if item.dedup:
                recent[item.dedup] = None
        while len(recent) > RECENT_MAX:
            recent.popitem(last=False)
        if self.on_accepted and taken:
            for account, count in Counter(account_of(item.event.room) for item in taken).items():
                self.on_accepted(account, count)

    # --- the long way

    def _sort_out(self, tag: str, items: list[Item], result: list[Any]) -> None:
        """Hand over what was taken in; send the rest where the script says."""
        taken: list[tuple[int, Item]] = []
        elsewhere: dict[RoomId, tuple[bytes, list[Item]]] = {}
        for item, entry in zip(items, result[1:], strict=True):
            if isinstance(entry, bytes):
                elsewhere.setdefault(item.event.room, (entry, []))[1].append(item)
                continue
            if entry:
                taken.append((entry, item))
            self._end(item)
            if item.detour and item.detour.holding:
                self._release(item.detour.holding)
        if taken:
            self._count([item for _, item in taken])
            if tail := self._journals.tail(tag):
                tail.offer(result[0], [(entry, item.event) for entry, item in taken])
        for room, (where, waiting) in elsewhere.items():
            self._send_on(room, where, waiting)

    def _send_on(self, room: RoomId, where: bytes, waiting: list[Item]) -> None:
        """Events that were not taken in because their room is elsewhere (``*``: on its way)."""
        if where == b"*":
            self._stop((room,))
            asyncio.get_running_loop().call_later(MOVING_RETRY_S, self._release, (room,))
        else:
            shard = int(where)
            known = self._moved.get(room)
            if known is None or known[0] != shard:
                self._moved[room] = shard, time.monotonic() + MOVE_IS_NEW_S
            for item in waiting:
                detour = item.on_detour()
                detour.at = shard
                if len(detour.rooms) > 1:
                    detour.ready = self._point_again(item, *detour.rooms)
        if stop := self._stopped.get(room):
            for item in waiting:
                insort(stop.items, item, key=by_index)
        else:
            self.pending.put_back(waiting)

    async def _point_again(self, item: Item, old: RoomId, new: RoomId) -> Incoming:
        await insist(self.point, new, old)
        return item.event

    def _tell_waiters(self) -> None:
        still = []
        for index, of, future in self._waiters:
            if not of.has(index):
                if not future.done():
                    future.set_result(None)
            elif not future.done():
                still.append((index, of, future))
        self._waiters = still

    def _fail_waiters(self, error: Exception) -> None:
        if not self.down:
            log.error("store does not take events; they are kept and tried again", error=str(error))
        self.down = str(error)
        waiters, self._waiters = self._waiters, []
        for _, _, future in waiters:
            if not future.done():
                future.set_exception(StoreDown(f"the store does not answer: {error}"))

    async def point(self, room: RoomId, same_as: RoomId) -> None:
        """Send what is said in ``room`` to the shard of ``same_as`` from now on (its id is about to change).

        Raises what the store raises, or StoreDown while ``same_as`` is itself on its way.
        """
        shard = self.home(same_as)
        while where := await self._journals.store.hget(keys.moved(keys.shard_tag(shard)), same_as):
            if where == b"*":
                raise StoreDown("the room is moving")
            shard = int(where)
        if shard != self.home(room):
            await self._journals.store.hset(keys.moved(keys.shard_tag(self.home(room))), room, str(shard))
        self._moved[room] = shard, 0.0
        self._moved.setdefault(same_as, (shard, time.monotonic() + MOVE_IS_NEW_S))

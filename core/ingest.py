"""The way in: events of all accounts of a process, taken into the inboxes of the relay's shards.

One script call per shard takes a whole batch; while it is under way the next batch gathers. A room's events
are taken in the order they were emitted, whatever happens: a batch whose answer was lost is repeated as it was
(the script knows it by its number), and events of a room that is moving between shards wait for it.
"""

from __future__ import annotations

import asyncio
import secrets
import zlib
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any

import structlog
from redis.exceptions import ResponseError

from core import keys
from core.journal import Journals
from core.model import Event, MessageNew, RoomId, Typing
from core.scripts import Script
from core.store import TRANSIENT, StoreDown
from core.wire import Incoming, encode

log = structlog.get_logger()

PENDING_MAX = 20_000
"""Events not yet durable above which those that the platform would redeliver are refused."""
MOVING_RETRY_S = 0.02
DOWN_RETRY_S = 0.5


class Item:
    """An event on its way in."""

    __slots__ = ("dedup", "event", "gate", "index", "ready", "rooms")

    def __init__(self, index: int, event: Incoming, dedup: str, gate: Gate) -> None:
        self.index = index
        self.event = event
        self.dedup = dedup
        self.gate = gate
        self.rooms: tuple[RoomId, ...] = (event.room,)
        self.ready: Awaitable[Incoming] | None = None


def dedup_key(event: Incoming) -> str:
    """What tells an event from its redelivery. An id that somebody else used again is not the same."""
    assert isinstance(event, Event)  # noqa: S101 - our own records come with their key
    author = event.author.id if isinstance(event, MessageNew) else type(event).__name__
    return f"{event.room}\n{event.native}\n{author}"


class Gate:
    """The way in of one account (or of our own records)."""

    def __init__(self, ingest: Ingest, *, redelivers: bool) -> None:
        self._ingest = ingest
        self._redelivers = redelivers
        self._last = 0
        self._refused = False
        self.late: set[int] = set()
        """Indices of events that wait for their room."""

    def put(
        self,
        event: Incoming,
        dedup: str | None = None,
        ready: Awaitable[Incoming] | None = None,
        rooms: tuple[RoomId, ...] = (),
    ) -> None:
        """Take an event; durable only after :meth:`accepted`.

        ``dedup``: its key, if not the event's own. ``ready``: completes the event first; what is put later for
        ``rooms`` (by default the event's own) waits behind it.
        """
        if self._redelivers and len(self._ingest.pending) > PENDING_MAX:
            self._refused = True
            return
        if dedup is None:
            dedup = dedup_key(event) if self._redelivers and not isinstance(event, Typing) else ""
        item = self._ingest.add(event, dedup, self)
        if ready is not None:
            item.ready, item.rooms = ready, rooms or item.rooms
        self._last = item.index

    async def accepted(self) -> None:
        """Return when all that was put is durable. Raises StoreDown; what was put is kept, and tried on."""
        if self._refused:
            self._refused = False
            raise StoreDown("too many events wait for the store")
        await self._ingest.settled(self._last, self)


class Ingest:
    """All gates of a process, and the task that empties them into the store."""

    def __init__(self, journals: Journals, shards: int) -> None:
        self._journals = journals
        self._settings = journals.settings
        self._shards = shards
        self._script = Script(journals.store, "ingest")
        self.pending: deque[Item] = deque()
        self._blocked: dict[RoomId, list[Item]] = {}
        """Room whose next event is not complete, or that is moving → its events, in order."""
        self._added = 0
        self._settled = 0
        self._wake = asyncio.Event()
        self._waiters: list[tuple[int, Gate, asyncio.Future[None]]] = []
        self._shard_of: dict[RoomId, int] = {}
        self._batches = 0
        self._run = secrets.token_hex(6)
        self._tasks: set[asyncio.Task[None]] = set()
        self.on_accepted: Callable[[int], None] = lambda count: None
        self.down = ""
        """Why the store took nothing last time; empty while it does."""

    def gate(self, *, redelivers: bool) -> Gate:
        """A new way in. ``redelivers``: the source hands over again what was not acknowledged."""
        return Gate(self, redelivers=redelivers)

    def home(self, room: RoomId) -> int:
        """The shard that a room belongs to by its name."""
        return zlib.crc32(room.encode()) % self._shards

    def add(self, event: Incoming, dedup: str, gate: Gate) -> Item:
        """Queue an event."""
        self._added += 1
        item = Item(self._added, event, dedup, gate)
        self.pending.append(item)
        self._wake.set()
        return item

    async def settled(self, index: int, gate: Gate) -> None:
        """Return when everything of ``gate`` up to ``index`` is durable. Raises StoreDown."""
        if not self._is_settled(index, gate):
            future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiters.append((index, gate, future))
            await future

    def _is_settled(self, index: int, gate: Gate) -> bool:
        return self._settled >= index and not (gate.late and min(gate.late) <= index)

    async def run(self) -> None:
        """Empty the gates until cancelled."""
        while True:
            if not self.pending:
                self._wake.clear()
                await self._wake.wait()
            groups, popped = self._gather()
            if groups:
                await asyncio.gather(*(self._take_in(shard, items) for shard, items in groups.items()))
            self._settled = max(self._settled, popped)
            self._tell_waiters()

    async def drain(self) -> None:
        """Return when nothing is pending (for a graceful stop)."""
        gate = self.gate(redelivers=False)
        await self.settled(self._added, gate)

    def _gather(self) -> tuple[dict[int, list[Item]], int]:
        """The next batch: events per shard, and the highest index taken off ``pending``."""
        groups: dict[int, list[Item]] = {}
        popped = 0
        limit = self._settings.batch
        pending, blocked, shard_of = self.pending, self._blocked, self._shard_of
        while pending:
            item = pending.popleft()
            popped = max(popped, item.index)
            room = item.event.room
            if (blocked or item.ready is not None) and self._must_wait(item):
                continue
            shard = shard_of.get(room)
            if shard is None:
                shard = shard_of[room] = self.home(room)
            group = groups.setdefault(shard, [])
            group.append(item)
            if len(group) >= limit:
                break
        return groups, popped

    def _must_wait(self, item: Item) -> bool:
        for room in item.rooms:
            if room in self._blocked:
                self._blocked[room].append(item)
                item.gate.late.add(item.index)
                return True
        if item.ready is None:
            return False
        item.gate.late.add(item.index)
        for room in item.rooms:
            self._blocked[room] = []
        task = asyncio.get_running_loop().create_task(self._complete(item, item.ready))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return True

    async def _complete(self, item: Item, ready: Awaitable[Incoming]) -> None:
        item.event, item.ready = await ready, None
        self._unblock(item.rooms, [item])

    def _unblock(self, rooms: tuple[RoomId, ...], first: list[Item]) -> None:
        items = first + [item for room in rooms for item in self._blocked.pop(room, [])]
        self.pending.extendleft(reversed(items))
        self._wake.set()

    async def _take_in(self, shard: int, items: list[Item]) -> None:
        """One script call; repeated as it is until the store has answered."""
        tag = keys.shard_tag(shard)
        self._batches += 1
        args: list[Any] = [
            self._journals.process,
            f"{self._run}.{self._batches}",
            self._settings.dedup_ttl_s,
            keys.dedup(tag),
            keys.wake_channel(""),
            tag,
        ]
        for item in items:
            args += (item.event.room, item.dedup, encode(item.event))
        names = [
            keys.stream(tag),
            keys.seq(tag),
            keys.moved(tag),
            keys.lease(tag),
            keys.batch(tag, self._journals.process),
        ]
        while True:
            try:
                result = await self._script(names, args)
                break
            except (*TRANSIENT, ResponseError) as error:
                self._fail_waiters(error)
                await asyncio.sleep(DOWN_RETRY_S)
        if self.down:
            log.info("store takes events again")
            self.down = ""
        self._sort_out(tag, items, result)

    def _sort_out(self, tag: str, items: list[Item], result: list[Any]) -> None:
        """Hand over what was taken in; send the rest where the script says."""
        taken = []
        elsewhere: dict[RoomId, tuple[bytes, list[Item]]] = {}
        for item, entry in zip(items, result[1:], strict=True):
            if isinstance(entry, bytes):
                elsewhere.setdefault(item.event.room, (entry, []))[1].append(item)
                item.gate.late.add(item.index)
                continue
            if entry:
                taken.append((entry, item.event))
            if item.gate.late:
                item.gate.late.discard(item.index)
        if taken:
            self.on_accepted(len(taken))
            if tail := self._journals.tail(tag):
                tail.offer(result[0], taken)
        for room, (where, waiting) in elsewhere.items():
            if where == b"*":
                self._blocked[room] = waiting
                asyncio.get_running_loop().call_later(MOVING_RETRY_S, self._unblock, (room,), [])
            else:
                self._shard_of[room] = int(where)
                self.pending.extendleft(reversed(waiting))

    def _tell_waiters(self) -> None:
        still = []
        for index, gate, future in self._waiters:
            if self._is_settled(index, gate):
                if not future.done():
                    future.set_result(None)
            else:
                still.append((index, gate, future))
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
        self._shard_of[room] = shard

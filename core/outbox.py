"""The outbox of one account: its entries sorted into rooms, and everything about them that the store keeps."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable, Sequence
from typing import Any

from msgspec.structs import replace

from core import keys
from core.deps import Deps
from core.journal import LeaseLost, Tail
from core.model import AccountId, RoomId
from core.scripts import Script
from core.store import as_awaitable, entries, insist
from core.wire import DeadLetter, Delivery, Posted, decode_delivery, encode

IN_MEMORY = 2_000
"""Jobs of one account kept in memory; the rest waits in the store."""
KEPT_PER_ROOM = 100
"""Jobs of a room that stay in memory when the room is so far behind that the rest goes to its backlog."""


class Job:
    """One delivery for one room."""

    __slots__ = ("delivery", "doubtful", "entry", "room", "shared", "style", "tries")

    def __init__(self, entry: int, room: RoomId, index: int, delivery: Delivery, shared: Shared) -> None:
        self.entry = entry
        self.room = room
        self.delivery = delivery
        self.style = delivery.styles[index]
        self.shared = shared
        self.doubtful = False
        """It may have been sent already, by an owner before us or by a try whose answer was lost."""
        self.tries = 0

    def key(self) -> str:
        """The idempotency key: the same for the same job, whoever does it."""
        return f"{self.entry:x}-{self.shared.index_of(self.room):x}"


class Shared:
    """What the jobs of one entry have in common."""

    __slots__ = ("delivery", "entry", "left", "stream")

    def __init__(self, entry: int, delivery: Delivery, left: int, stream: str) -> None:
        self.entry = entry
        self.delivery = delivery
        self.left = left
        """Rooms that do not have it yet."""
        self.stream = stream
        """The stream that it lies in: the outbox, or a room's backlog."""

    def index_of(self, room: RoomId) -> int:
        return self.delivery.rooms.index(room)


class RoomQueue:
    """The jobs of one room, in order, and whether the room may get one now."""

    __slots__ = (
        "backlog",
        "backlog_read",
        "busy",
        "hold_until_s",
        "jobs",
        "room",
        "since_s",
        "told",
        "waits_for_account",
    )

    def __init__(self, room: RoomId) -> None:
        self.room = room
        self.jobs: deque[Job] = deque()
        self.busy = False
        self.hold_until_s = 0.0
        """Monotonic time before which nothing is to be posted."""
        self.waits_for_account = False
        """The hold ends when the account is back."""
        self.backlog = False
        """Newer entries lie in the room's backlog, so new ones must go there as well."""
        self.backlog_read = 0
        self.since_s = 0.0
        """Since when jobs wait without one getting through; 0: they do not."""
        self.told = False

    def held(self) -> bool:
        """Whether it must wait."""
        return self.hold_until_s > time.monotonic()

    def hold(self, seconds: float, *, for_account: bool = False) -> None:
        """Let it wait."""
        self.hold_until_s = max(self.hold_until_s, time.monotonic() + seconds)
        self.waits_for_account = for_account

    def free(self) -> None:
        """Let it go on."""
        self.hold_until_s = 0.0
        self.waits_for_account = False


class Outbox:
    """Reads an account's outbox, and writes what became of its entries."""

    def __init__(self, account: AccountId, tail: Tail[Delivery], deps: Deps) -> None:
        self.account = account
        self.tag = keys.account_tag(account)
        self.tail = tail
        self._deps = deps
        self._store = deps.store
        self.stream = keys.stream(self.tag)
        self._complete = Script(deps.store, "complete")
        self._spill = Script(deps.store, "spill")
        self._mark = Script(deps.store, "mark")
        self._partly: set[str] = set()
        self._doubtful_up_to = 0
        self.marked = 0

    async def load(self) -> tuple[dict[RoomId, float], list[RoomId]]:
        """Read what an owner before us left: holds (room → seconds left) and rooms with a backlog."""
        pipeline = self._store.pipeline(transaction=False)
        pipeline.hkeys(keys.partly(self.tag))
        pipeline.get(keys.under_way(self.tag))
        pipeline.hgetall(keys.holds(self.tag))
        pipeline.hkeys(keys.behind(self.tag))
        partly, under_way, holds, behind = await pipeline.execute()
        self._partly = {field.decode() for field in partly}
        self._doubtful_up_to = self.marked = int(under_way or 0)
        now_ms = self._deps.now_ms()
        waits = {RoomId(room.decode()): (int(until) - now_ms) / 1000 for room, until in holds.items()}
        return {room: s for room, s in waits.items() if s > 0}, [RoomId(room.decode()) for room in behind]

    async def read(self, count: int) -> list[Job]:
        """The next jobs, noted in the store as under way. Raises LeaseLost."""
        found = await self.tail.read(self._store, count)
        if not found:
            return []
        newest = found[-1][0]
        if newest > max(self.marked, self.tail.marked):
            names = [keys.epoch(self.tag), keys.under_way(self.tag)]
            self._check(await insist(self._mark, names, [self.tail.epoch, newest]))
            self.marked = newest
        return [job for entry, delivery in found for job in self._jobs(entry, delivery, self.stream)]

    def _jobs(self, entry: int, delivery: Delivery, stream: str) -> Iterable[Job]:
        rooms = delivery.rooms
        shared = Shared(entry, delivery, len(rooms), stream)
        for index, room in enumerate(rooms):
            if self._partly and stream == self.stream and f"{entry} {room}" in self._partly:
                shared.left -= 1
                continue
            job = Job(entry, room, index, delivery, shared)
            job.doubtful = entry <= self._doubtful_up_to
            yield job

    async def read_backlog(self, queue: RoomQueue, count: int) -> list[Job]:
        """The next jobs of a room's backlog; none if it is empty, and then it is forgotten."""
        stream = keys.backlog(self.tag, queue.room)
        found = await insist(entries, self._store, stream, queue.backlog_read, count)
        if not found:
            queue.backlog = False
            await insist(lambda: as_awaitable(self._store.hdel(keys.behind(self.tag), queue.room)))
            return []
        queue.backlog_read = found[-1][0]
        return [job for entry, record in found for job in self._jobs(entry, decode_delivery(record), stream)]

    async def set_aside(self, queue: RoomQueue, jobs: Sequence[Job]) -> None:
        """Take the newest jobs of a room out of memory. Raises LeaseLost."""
        if jobs[0].shared.stream == self.stream:
            await self.spill(queue, jobs)
        else:
            queue.backlog_read = jobs[0].entry - 1

    async def spill(self, queue: RoomQueue, jobs: Sequence[Job]) -> None:
        """Move jobs of the outbox to their room's backlog. Raises LeaseLost."""
        queue.backlog = True
        args: list[Any] = [self.tail.epoch, queue.room]
        for job in jobs:
            job.shared.left -= 1
            args += (job.entry, encode(_alone(job)), "" if job.shared.left else "1")
            if job.shared.left:
                self._partly.add(f"{job.entry} {job.room}")
        names = [
            keys.epoch(self.tag),
            self.stream,
            keys.backlog(self.tag, queue.room),
            keys.behind(self.tag),
            keys.partly(self.tag),
        ]
        self._check(await insist(self._spill, names, args))

    async def complete(self, done: Sequence[tuple[Job, Posted | None]]) -> None:
        """End jobs: the id map, and their entries out of the queue, in one step per stream. Raises LeaseLost."""
        by_stream: dict[str, list[tuple[Job, Posted | None]]] = {}
        for item in done:
            by_stream.setdefault(item[0].shared.stream, []).append(item)
        for stream, items in by_stream.items():
            await self._complete_stream(stream, items)

    async def _complete_stream(self, stream: str, items: Sequence[tuple[Job, Posted | None]]) -> None:
        now_ms = self._deps.now_ms()
        finished: list[str] = []
        finished_fields: list[str] = []
        left: dict[int, int] = {}
        jobs_of: dict[int, list[Job]] = {}
        maps: dict[str, list[Any]] = {}
        for job, posted in items:
            jobs_of.setdefault(job.entry, []).append(job)
            left[job.entry] = left.get(job.entry, job.shared.left) - 1
            if posted and job.delivery.message:
                fields = self._deps.ids.fields(job.delivery.message, posted)
                maps.setdefault(self._deps.ids.key(job.room, now_ms), []).extend(fields)
        partly: list[str] = []
        for entry, jobs in jobs_of.items():
            if left[entry]:
                partly += [f"{entry} {job.room}" for job in jobs]
            else:
                finished.append(f"{entry}-0")
                rooms = jobs[0].shared.delivery.rooms
                if len(rooms) > 1 or jobs[0].tries:
                    finished_fields += [f"{entry} {room}" for room in rooms]
        args: list[Any] = [self.tail.epoch]
        args += (len(finished), *finished, len(partly), *partly, len(finished_fields), *finished_fields)
        for key, fields in maps.items():
            args += (key, self._deps.ids.life_s, len(fields), *fields)
        names = [keys.epoch(self.tag), stream, keys.partly(self.tag), keys.attempts(self.tag)]
        self._check(await self._complete(names, args))
        for job, _ in items:
            job.shared.left -= 1

    async def crashed(self, job: Job) -> int:
        """Count a crash on a job; returns how many there were."""
        return int(await self._store.hincrby(keys.attempts(self.tag), f"{job.entry} {job.room}", 1))

    async def bury(self, job: Job, reason: str) -> None:
        """Put a job on the dead-letter list. The caller completes it afterwards."""
        letter = DeadLetter(self._deps.now_ms(), job.room, reason, "delivery", encode(_alone(job)))
        await self._store.xadd(keys.dead(self.tag), {"e": encode(letter)}, id=f"{job.entry}-*")

    async def save_hold(self, room: RoomId, seconds: float) -> None:
        """Let every owner after us know that the platform wants this room to wait."""
        await self._store.hset(keys.holds(self.tag), room, str(self._deps.now_ms() + int(seconds * 1000)))

    async def save_waiting(self, waiting: dict[RoomId, int], gone: Sequence[RoomId]) -> None:
        """Publish how much waits for each room."""
        pipeline = self._store.pipeline(transaction=False)
        if waiting:
            pipeline.hset(keys.waiting(self.tag), mapping={str(room): count for room, count in waiting.items()})
        if gone:
            pipeline.hdel(keys.waiting(self.tag), *gone)
        await pipeline.execute()

    async def backlog_size(self, room: RoomId) -> int:
        """Entries in a room's backlog."""
        return int(await self._store.xlen(keys.backlog(self.tag, room)))

    async def size(self) -> int:
        """Entries in the outbox."""
        return int(await self._store.xlen(self.stream))

    def _check(self, result: int) -> None:
        if result == -1:
            raise LeaseLost(self.tag)


def _alone(job: Job) -> Delivery:
    """The delivery for this job's room only."""
    return replace(job.delivery, rooms=(job.room,), styles=(job.style,))

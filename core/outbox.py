"""The outbox of one account: its entries as jobs, and everything about them that the store keeps.

A room that falls far behind gets a backlog, a stream of its own. From then on all its entries lie there, those in
hand included, so that its order is plain to whoever owns the account next.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from core import keys
from core.deps import Deps
from core.jobs import Done, Extent, Job, RoomQueue, Shared
from core.journal import LeaseLost, Tail
from core.model import AccountId, RoomId
from core.scripts import Script, write
from core.store import entries, insist
from core.wire import DeadLetter, Delivery, Posted, decode_delivery, encode

BIRTH_CHARS = 12
WHOLE_ACCOUNT = RoomId("")
"""Stands for a room where something is about all of them."""
UNSURE = "*"
"""Field of the paces: those that are missing are full, if they had time enough since then."""


class Left(NamedTuple):
    """What an owner before us left behind."""

    holds: dict[RoomId, float]
    """Room (or WHOLE_ACCOUNT) → seconds that it must wait."""
    behind: list[RoomId]
    """Rooms with a backlog."""
    folds: dict[RoomId, Extent]
    """Room → messages that may have been posted there as one."""
    paces: dict[RoomId, float]
    """Room (or WHOLE_ACCOUNT) → when its rate allows a full burst again, as far as that was written."""
    incidents: dict[RoomId, bytes]
    """Room (or WHOLE_ACCOUNT) → what it was told, and is not over."""
    unsure_ms: float | None
    """The last time at which nobody knew the paces that are not in ``paces``; None: now."""


class Outbox:
    """Reads an account's outbox, and writes what became of its entries. The writing is done in one place at a time."""

    def __init__(self, account: AccountId, tail: Tail[Delivery], deps: Deps, under_way_max: int = 1) -> None:
        self.account = account
        self.tag = keys.account_tag(account)
        self.tail = tail
        self._deps = deps
        self._store = deps.store
        self.stream = keys.stream(self.tag)
        self._complete = Script(deps.store, "complete")
        self._spill = Script(deps.store, "spill")
        self._mark = Script(deps.store, "mark")
        self._caught_up = Script(deps.store, "caught_up")
        self._fold = Script(deps.store, "fold")
        self._writing = asyncio.Lock()
        self._ended: list[Done] = []
        self._birth = ""
        self._partly: set[str] = set()
        self._crashed: set[int] = set()
        """Entries of which the store knows that owners before us crashed on them."""
        self._under_way_max = under_way_max
        """Posts of a room that may have been under way when the owner before us ended."""
        self._doubtful_up_to = 0
        self.marked = 0
        self.read_up_to = 0
        """Every entry up to this one was read; none of them will come any more."""

    async def load(self) -> Left:
        """Read what an owner before us left."""
        pipeline = self._store.pipeline(transaction=False)
        pipeline.set(keys.birth(self.tag), self._deps.random_id()[:BIRTH_CHARS], nx=True)
        pipeline.get(keys.birth(self.tag))
        pipeline.hkeys(keys.partly(self.tag))
        pipeline.hkeys(keys.attempts(self.tag))
        pipeline.get(keys.under_way(self.tag))
        pipeline.hgetall(keys.holds(self.tag))
        pipeline.hkeys(keys.behind(self.tag))
        pipeline.hgetall(keys.folds(self.tag))
        pipeline.hgetall(keys.paces(self.tag))
        pipeline.hgetall(keys.incidents(self.tag))
        pipeline.delete(keys.waiting(self.tag))
        born, birth, partly, crashed, under_way, holds, behind, folds, paces, incidents, _ = await pipeline.execute()
        self._birth = birth.decode()
        self._partly = {field.decode() for field in partly}
        self._crashed = {int(field.split()[0]) for field in crashed}
        self.marked = int(under_way or 0)
        # What came since then may be marked already, by ourselves, and was certainly never sent.
        self._doubtful_up_to = min(self.marked, self.tail.inherited)
        now_ms = self._deps.now_ms()
        waits = {room: (until - now_ms) / 1000 for room, until in _times(holds).items()}
        if paces or holds:
            await self._forget_old(now_ms, holds, paces)
        unsure = paces.pop(UNSURE.encode(), b"0" if born else None)
        return Left(
            holds={room: seconds for room, seconds in waits.items() if seconds > 0},
            behind=[RoomId(room.decode()) for room in behind],
            folds={RoomId(room.decode()): Extent(*map(int, extent.split())) for room, extent in folds.items()},
            paces=_times(paces),
            incidents={RoomId(room.decode()): record for room, record in incidents.items()},
            unsure_ms=None if unsure is None else float(unsure),
        )

    async def _forget_old(self, now_ms: int, holds: dict[bytes, bytes], paces: dict[bytes, bytes]) -> None:
        """Take out what is over, and (its time is over too) the word that all paces are there: they soon are not."""
        pipeline = self._store.pipeline(transaction=False)
        for key, fields in ((keys.holds(self.tag), holds), (keys.paces(self.tag), paces)):
            if over := [field for field, at_ms in fields.items() if int(at_ms) <= now_ms]:
                pipeline.hdel(key, *over)
        await pipeline.execute()

    # --- in

    async def read(self, count: int) -> list[Job]:
        """The next jobs, noted in the store as under way. Raises LeaseLost."""
        found = await self.tail.read(self._store, count)
        if self.tail.broken:
            await insist(self._deps.journals.bury_broken, self.tail, "delivery", self._deps.now_ms())
        if not found:
            self.read_up_to = max(self.read_up_to, self.tail.end())
            return []
        newest = self.read_up_to = found[-1][0]
        if newest > max(self.marked, self.tail.marked):
            names = [keys.epoch(self.tag), keys.under_way(self.tag)]
            self._check(await insist(self._mark, names, [self.tail.epoch, newest]))
            self.marked = newest
        return self._jobs_of(found)

    def handed_over(self) -> Sequence[tuple[int, Delivery]]:
        """What :meth:`read_handed_over` would read: nothing, unless it is noted as under way and ours to post."""
        found = self.tail.handed_over()
        noted = max(self.marked, self.tail.marked)
        return found if found and found[-1][0] <= noted and self.tail.held() else ()

    def read_handed_over(self) -> list[Job]:
        """The next jobs, without asking the store."""
        found = self.tail.take_handed_over()
        self.read_up_to = found[-1][0]
        return self._jobs_of(found)

    def _jobs_of(self, found: Sequence[tuple[int, Delivery]]) -> list[Job]:
        now_s = time.monotonic()
        return [job for entry, delivery in found for job in self._jobs(entry, delivery, self.stream, now_s)]

    def _jobs(self, entry: int, delivery: Delivery, stream: str, now_s: float) -> Iterable[Job]:
        shared = Shared(entry, delivery, stream, self._birth, now_s)
        if self._crashed and entry in self._crashed:
            shared.noted = True
        for index, room in enumerate(delivery.rooms):
            if self._partly and stream == self.stream and f"{entry} {room}" in self._partly:
                shared.left -= 1
                shared.noted = True
                continue
            yield Job(index, shared)

    def doubt(self, queue: RoomQueue, job: Job) -> None:
        """Note whether the owner before us may have sent a job that comes next in its room. A room's posts go out in
        order, so only its first ones can have been under way.
        """
        if job.entry <= self._doubtful_up_to and queue.begun < self._under_way_max:
            queue.begun += 1
            job.doubtful = True

    async def read_backlog(self, queue: RoomQueue, count: int) -> list[Job]:
        """The next jobs of a room's backlog. None if there are none, and if none are in memory either it is forgotten.
        Raises LeaseLost.
        """
        stream = keys.backlog(self.tag, queue.room)
        async with self._writing:
            after = queue.jobs[-1].entry if queue.jobs else queue.backlog_read
            rows = await insist(entries, self._store, stream, after, count)
            if rows:
                queue.backlog_read = rows[-1][0]
                new = [row for row in rows if row[0] not in queue.in_hand]
                return [job for row in new for job in self._backlog_jobs(stream, *row)]
            if queue.jobs or queue.in_hand:
                return []
            names = [keys.epoch(self.tag), stream, keys.behind(self.tag)]
            forgotten = self._check(await insist(self._caught_up, names, [self.tail.epoch, queue.room]))
            if forgotten:
                queue.backlog = False
            else:  # entries that are in nobody's memory: read them once more
                queue.backlog_read = 0
            return []

    def _backlog_jobs(self, stream: str, entry: int, record: bytes) -> Iterable[Job]:
        try:
            return self._jobs(entry, decode_delivery(record), stream, time.monotonic())
        except msgspec.MsgspecError as error:
            raise RuntimeError(f"entry {entry} of {stream} cannot be read: {error}") from error

    # --- rooms that are far behind

    async def spill(self, queue: RoomQueue, jobs: Sequence[Job]) -> bool:
        """Move new jobs of a room that has a backlog there; False if it has none by now. Raises LeaseLost."""
        async with self._writing:
            if queue.backlog:
                await self._move(queue, jobs)
            return queue.backlog

    async def set_aside(self, queue: RoomQueue, kept: int) -> int:
        """Move all that a room waits for to its backlog and keep only its next ``kept`` jobs in memory; returns how
        many were let go. Raises LeaseLost.
        """
        async with self._writing:
            waiting = [*queue.in_hand.values(), *queue.jobs]
            await self._move(queue, [job for job in waiting if job.shared.stream == self.stream and not job.ended])
            gone = 0
            while len(queue.jobs) > kept:
                queue.backlog_read = queue.jobs.pop().entry - 1
                gone += 1
            if waiting and not gone:
                queue.backlog_read = max(queue.backlog_read, *(job.entry for job in waiting))
            return gone

    async def _move(self, queue: RoomQueue, jobs: Sequence[Job]) -> None:
        if not jobs:
            return
        queue.backlog = True
        stream = keys.backlog(self.tag, queue.room)
        args: list[Any] = [self.tail.epoch, queue.room]
        moved = []
        for job in jobs:
            shared = job.shared
            shared.left -= 1
            alone = job.alone()
            args += (job.entry, encode(alone))
            if shared.left:
                shared.noted = True
                args.append("")
            else:
                fields = _fields(shared) if shared.noted else []
                args += ("1", len(fields), *fields)
            moved.append(Shared(job.entry, alone, stream, self._birth, shared.read_s))
        names = [keys.epoch(self.tag), self.stream, stream, keys.behind(self.tag), keys.partly(self.tag)]
        self._check(await insist(self._spill, names, args))
        for job, alone_shared in zip(jobs, moved, strict=True):
            alone_shared.noted = job.shared.noted
            job.shared, job.delivery, job.index = alone_shared, alone_shared.delivery, 0

    # --- out

    async def complete(self, done: Iterable[Done]) -> None:
        """End jobs: the id map, and their entries out of the queue, in one step per stream. What ends while another
        step is under way goes into the next one. Raises LeaseLost.
        """
        self._ended += done
        async with self._writing:
            if self._ended:
                ended, self._ended = self._ended, []
                by_stream: dict[str, list[Done]] = {}
                for item in ended:
                    by_stream.setdefault(item.job.shared.stream, []).append(item)
                for stream, items in by_stream.items():
                    await self._write_down(stream, items)
        if self.tail.lost:
            raise LeaseLost(self.tag)

    async def _write_down(self, stream: str, items: Sequence[Done]) -> None:
        # Of an entry that others wait for, the outbox keeps in mind that this room has it, in its backlog or for good.
        in_outbox = stream == self.stream
        letters: list[Any] = []
        folds: list[RoomId] = []
        kept: list[Done] = []
        jobs_of: dict[Shared, list[Job]] = {}
        posted_of: dict[int, list[tuple[Job, Posted]]] = {}
        for item in items:
            job, posted, letter, fields, ends_fold, _ = item
            if fields:
                kept.append(item)
            if ends_fold:
                folds.append(job.room)
            jobs_of.setdefault(job.shared, []).append(job)
            if letter is not None:
                letters += (f"{job.entry}-0", job.field() if in_outbox else "", letter)
            elif posted and job.delivery.message:
                posted_of.setdefault(job.entry, []).append((job, posted))
        finished: list[str] = []
        partly: list[str] = []
        gone: list[str] = []
        for shared, jobs in jobs_of.items():
            shared.left -= len(jobs)
            if shared.left:
                shared.noted = True
                partly += [job.field() for job in jobs]
            else:
                finished.append(f"{shared.entry}-0")
                gone += _fields(shared) if shared.noted else []
        args: list[Any] = [self.tail.epoch]
        for values in (letters, finished, partly, gone if in_outbox else (), gone, folds):
            args += (len(values), *values)
        for key, fields in self._id_maps(posted_of, kept).items():
            args += (key, self._deps.ids.life_s, len(fields), *fields)
        names = [
            keys.epoch(self.tag), stream, keys.partly(self.tag), keys.attempts(self.tag), keys.dead(self.tag),
            keys.folds(self.tag),
        ]  # fmt: skip
        self._check(await insist(self._complete, names, args))
        for item in items:
            item.job.ended = True

    def _id_maps(self, posted_of: dict[int, list[tuple[Job, Posted]]], kept: Sequence[Done]) -> dict[str, list[Any]]:
        """What the id map is to know, per hash. Rooms without ids that got a message at once share one record."""
        ids, now_ms = self._deps.ids, self._deps.now_ms()
        maps: dict[str, list[Any]] = {}
        for items in posted_of.values():
            job, posted = items[0]
            if len(items) > 1 and len(items) == len(job.delivery.rooms) and _alike(items):
                key = ids.shared_key(self.account, now_ms)
                posted = Posted(posted.author_id, posted.author_name, (), job.delivery.rooms)
                maps.setdefault(key, []).extend(ids.fields(job.delivery.message, posted))
                continue
            for job, posted in items:
                fields = ids.fields(job.delivery.message, posted)
                maps.setdefault(ids.key(job.room, now_ms), []).extend(fields)
        for item in kept:
            room, week = item.job.room, item.week
            key = ids.key(room, now_ms) if week is None else ids.key_of_week(room, week)
            maps.setdefault(key, []).extend(item.kept)
        return maps

    def letter(self, job: Job, reason: str) -> bytes:
        """The dead letter of a job that is given up."""
        return encode(DeadLetter(self._deps.now_ms(), job.room, reason, "delivery", encode(job.alone())))

    async def crashed(self, job: Job) -> int:
        """Count a crash on a job; returns how many there were."""
        job.shared.noted = True
        return int(await write(self._store, "HINCRBY", keys.attempts(self.tag), job.field(), 1))

    async def begin_fold(self, queue: RoomQueue, extent: Extent) -> None:
        """From now on these messages are posted as one and not otherwise, by whoever owns the account. Raises
        LeaseLost.
        """
        await self._note_fold(queue.room, f"{extent.first} {extent.last}")
        queue.fold = extent

    async def drop_fold(self, queue: RoomQueue) -> None:
        """Each of them is posted by itself after all. Raises LeaseLost."""
        await self._note_fold(queue.room, "")
        queue.fold = None

    async def _note_fold(self, room: RoomId, extent: str) -> None:
        names = [keys.epoch(self.tag), keys.folds(self.tag)]
        self._check(await insist(self._fold, names, [self.tail.epoch, room, extent]))

    # --- when the platform takes posts again

    async def save_hold(self, room: RoomId, seconds: float) -> None:
        """Let every owner after us know that the platform wants this room (or WHOLE_ACCOUNT) to wait."""
        await write(self._store, "HSET", keys.holds(self.tag), room, self._deps.now_ms() + int(seconds * 1000))

    async def save_paces(self, full_at_ms: Mapping[RoomId, float], unsure_ms: float | None = None) -> None:
        """Let the next owner know when rooms (or WHOLE_ACCOUNT) may post a full burst again. ``unsure_ms``: those are
        all; how it was with the others was last unknown then.
        """
        pairs: list[str | int] = [value for room, at_ms in full_at_ms.items() for value in (room, int(at_ms) + 1)]
        if unsure_ms is not None:
            pairs += (UNSURE, int(unsure_ms))
        if pairs:
            await write(self._store, "HSET", keys.paces(self.tag), *pairs)

    # --- how much waits

    async def save_waiting(self, waiting: dict[RoomId, int], gone: Sequence[RoomId]) -> None:
        """Publish how much waits for each room."""
        if waiting:
            pairs = [value for pair in waiting.items() for value in pair]
            await write(self._store, "HSET", keys.waiting(self.tag), *pairs)
        if gone:
            await write(self._store, "HDEL", keys.waiting(self.tag), *gone)

    async def save_incident(self, room: RoomId, record: bytes | None) -> None:
        """Let the next owner know what a room was told; None: it is over."""
        if record is None:
            await write(self._store, "HDEL", keys.incidents(self.tag), room)
        else:
            await write(self._store, "HSET", keys.incidents(self.tag), room, record)

    async def backlog_size(self, room: RoomId) -> int:
        """Entries in a room's backlog."""
        return int(await self._store.xlen(keys.backlog(self.tag, room)))

    async def size(self) -> int:
        """Entries in the outbox."""
        return int(await self._store.xlen(self.stream))

    def _check(self, result: int) -> int:
        if result == -1:
            self.tail.lose()
            raise LeaseLost(self.tag)
        return result


def _alike(items: Sequence[tuple[Job, Posted]]) -> bool:
    return not any(posted.natives or posted.fold for _, posted in items)


def _times(fields: Mapping[bytes, bytes]) -> dict[RoomId, float]:
    return {RoomId(room.decode()): float(at_ms) for room, at_ms in fields.items()}


def _fields(shared: Shared) -> list[str]:
    return [f"{shared.entry} {room}" for room in shared.delivery.rooms]

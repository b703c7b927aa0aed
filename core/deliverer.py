"""Delivers one account's outbox: in order within a room, no room waiting for another.

A room has one post under way at a time; on a stream (IRC, XMPP) one batch of posts is under way for the whole account.
An entry leaves the outbox in the same step that records what it became, after the platform has taken it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol, TypeVar

import structlog

from core import replies
from core.composer import Composer, TextCache
from core.contract import (
    Adapter,
    AuthLost,
    Finds,
    Offline,
    Receipt,
    Rejected,
    Retry,
    Streams,
    Uncertain,
)
from core.deps import Deps
from core.doing import Doing
from core.ingest import Gate
from core.journal import LeaseLost
from core.limits import TokenBuckets
from core.model import RoomId, said_in
from core.outbox import IN_MEMORY, KEPT_PER_ROOM, Job, Outbox, RoomQueue
from core.store import TRANSIENT, StoreDown, insist
from core.wire import Posted, Tell

log = structlog.get_logger()

STREAM_BATCH = 500
"""Posts under way at once on a stream."""
AUTH_RETRY_S = 30.0
UNCERTAIN_RETRY_S = 1.0
CRASH_RETRY_S = 2.0
PUBLISH_S = 1.0

Outcome = Receipt | Exception
Result = TypeVar("Result")


class Watch(Protocol):
    """Counts what was delivered."""

    def delivered(self, account: str, took_ms: Iterable[int]) -> None:
        """Posts were taken by the platform, so long after they were said."""

    def dead(self, account: str, count: int = 1) -> None:
        """Posts were set aside."""


class Deliverer:
    """The delivery of one account; lives until its lease or its process ends, or something goes wrong."""

    def __init__(
        self, adapter: Adapter, outbox: Outbox, composer: Composer, gate: Gate, deps: Deps, watch: Watch
    ) -> None:
        self._adapter = adapter
        self._stream = adapter if isinstance(adapter, Streams) else None
        self._outbox = outbox
        self._composer = composer
        self._doing = Doing(adapter, composer, gate, deps)
        self._gate = gate
        self._deps = deps
        self._watch = watch
        self._queues: dict[RoomId, RoomQueue] = {}
        self._in_memory = 0
        self._space = asyncio.Event()
        self._work = asyncio.Event()
        self._freed = asyncio.Event()
        self._active: dict[RoomId, RoomQueue] = {}
        """Rooms with something to do."""
        self._tasks = asyncio.TaskGroup()
        self._draining = False
        self._under_way = 0
        self._ended = asyncio.Event()
        self._published: dict[RoomId, int] = {}
        self._buckets: dict[tuple[float, int], TokenBuckets] = {}

    async def run(self) -> None:
        """Work until cancelled. Raises LeaseLost, StoreDown and what the store raises: start anew."""
        holds, behind = await self._outbox.load()
        for room in behind:
            queue = self._active[room] = self._queue(room)
            queue.backlog = True
        for room, seconds in holds.items():
            self._hold(self._queue(room), seconds)
        async with self._tasks as tasks:
            tasks.create_task(self._read())
            tasks.create_task(self._publish())
            if self._stream:
                tasks.create_task(self._run_stream(self._stream))
            else:
                for room in behind:
                    self._start_worker(self._queue(room))

    def online(self) -> None:
        """The account is back: what waited for it goes on."""
        for queue in self._queues.values():
            if queue.waits_for_account:
                queue.free()
        self._wake()

    async def drain(self, patience_s: float) -> None:
        """Start nothing more; return when nothing is under way, or after ``patience_s``."""
        self._draining = True
        self._wake()
        try:
            async with asyncio.timeout(patience_s):
                while self._under_way:
                    self._ended.clear()
                    await self._ended.wait()
        except TimeoutError:
            log.warning("a post is still under way", account=self._outbox.account)

    def waiting(self) -> int:
        """Jobs in memory."""
        return self._in_memory

    def _wake(self) -> None:
        """Something may be sent now."""
        self._work.set()
        freed, self._freed = self._freed, asyncio.Event()
        freed.set()

    def _hold(self, queue: RoomQueue, seconds: float, *, for_account: bool = False) -> None:
        queue.hold(seconds, for_account=for_account)
        asyncio.get_running_loop().call_later(seconds + 0.001, self._wake)

    # --- in

    def _queue(self, room: RoomId) -> RoomQueue:
        queue = self._queues.get(room)
        if queue is None:
            queue = self._queues[room] = RoomQueue(room)
        return queue

    async def _read(self) -> None:
        while True:
            if self._in_memory >= IN_MEMORY and not await self._make_space():
                self._space.clear()
                await self._space.wait()
                continue
            jobs = await self._outbox.read(self._deps.settings.batch)
            if not jobs:
                await self._outbox.tail.wait()
                continue
            overflow: dict[RoomId, list[Job]] = {}
            for job in jobs:
                queue = self._queue(job.room)
                if queue.backlog:
                    overflow.setdefault(job.room, []).append(job)
                else:
                    self._put(queue, job)
            for room, late in overflow.items():
                await self._outbox.spill(self._queue(room), late)
            self._work.set()

    def _put(self, queue: RoomQueue, job: Job) -> None:
        if not queue.jobs:
            self._active[queue.room] = queue
            if not queue.since_s:
                queue.since_s = time.monotonic()
        queue.jobs.append(job)
        self._in_memory += 1
        if not self._stream and not queue.busy:
            self._start_worker(queue)

    def _put_back(self, queue: RoomQueue, job: Job) -> None:
        queue.jobs.appendleft(job)
        self._active[queue.room] = queue

    async def _make_space(self) -> bool:
        """Move what is far behind to backlogs, if others could go on then."""
        held = [q for q in self._active.values() if q.held() and not q.busy]
        if not held or all(q.waits_for_account for q in held):
            return False
        kept = min(KEPT_PER_ROOM, IN_MEMORY // (4 * len(held)))
        moved = False
        for queue in held:
            late = [queue.jobs.pop() for _ in range(len(queue.jobs) - kept)]
            if late:
                moved = True
                self._in_memory -= len(late)
                await self._outbox.set_aside(queue, late[::-1])
        return moved

    async def _refill(self, queue: RoomQueue) -> None:
        """Read on in a room's backlog."""
        for job in await self._outbox.read_backlog(queue, KEPT_PER_ROOM):
            self._put(queue, job)

    # --- out, one post at a time in each room

    def _start_worker(self, queue: RoomQueue) -> None:
        queue.busy = True
        self._tasks.create_task(self._run_room(queue))

    async def _run_room(self, queue: RoomQueue) -> None:
        try:
            while (queue.jobs or queue.backlog) and not self._draining:
                if not queue.jobs:
                    await self._refill(queue)
                    continue
                wait_s = queue.hold_until_s - time.monotonic()
                if wait_s > 0:
                    queue.busy = False
                    await self._freed.wait()
                    queue.busy = True
                    continue
                job = queue.jobs.popleft()
                await self._pace(job)
                await self._one(job)
            if not self._draining:
                self._active.pop(queue.room, None)
        finally:
            queue.busy = False

    async def _pace(self, job: Job) -> None:
        caps = self._adapter.capabilities(job.room)
        if not caps.rate_per_s:
            return
        limit = (caps.rate_per_s, caps.rate_burst)
        buckets = self._buckets.setdefault(limit, TokenBuckets(*limit))
        while not buckets.take(job.room, self._deps.now_ms()):  # noqa: ASYNC110 - waits for time itself
            await asyncio.sleep(buckets.wait_s(job.room, self._deps.now_ms()) or 0.01)

    async def _one(self, job: Job) -> None:
        with self._counted():
            await self._settle([(job, await self._attempt(job))])

    @contextmanager
    def _counted(self) -> Iterator[None]:
        self._under_way += 1
        try:
            yield
        finally:
            self._under_way -= 1
            self._ended.set()

    async def _attempt(self, job: Job) -> Outcome:
        """Do one job; raises only what concerns the store and the lease."""
        await self._outbox.tail.sure()
        return await self._guarded(self._do(job))

    async def _do(self, job: Job) -> Receipt:
        if job.delivery.kind not in ("new", "tell"):
            return await self._doing.do(job)
        outbound = self._composer.message(job, await self._composer.posted([job]), {})
        if job.doubtful and isinstance(self._adapter, Finds):
            found = await self._adapter.find_sent(outbound)
            if found is not None:
                return found
        return await self._adapter.send(outbound)

    async def _guarded(self, doing: Awaitable[Result]) -> Result | Exception:
        try:
            async with asyncio.timeout(self._deps.settings.send_timeout_s):
                return await doing
        except TimeoutError:
            return Uncertain(f"no answer in {self._deps.settings.send_timeout_s} s")
        except (LeaseLost, StoreDown, *TRANSIENT):
            raise
        except Exception as error:  # noqa: BLE001 - whatever an adapter raises concerns this post alone
            return error

    # --- out, a batch at a time on a stream

    async def _run_stream(self, adapter: Streams) -> None:
        while not self._draining:
            now_s = time.monotonic()
            ready = [queue for queue in self._active.values() if queue.hold_until_s <= now_s]
            if not ready:
                self._work.clear()
                await self._work.wait()
                continue
            batch: list[Job] = []
            for queue in ready:
                if not queue.jobs:
                    await self._next_of(queue)
                elif queue.jobs[0].delivery.kind in ("new", "tell"):
                    self._gather(queue, batch)
                else:
                    await self._one(queue.jobs.popleft())
            if batch:
                batch.sort(key=_by_entry)
                with self._counted():
                    await self._settle(await self._attempt_batch(adapter, batch))

    async def _next_of(self, queue: RoomQueue) -> None:
        """A room has nothing in memory: read its backlog, or be done with it."""
        if queue.backlog:
            await self._refill(queue)
        if not queue.jobs:
            self._active.pop(queue.room, None)

    def _gather(self, queue: RoomQueue, batch: list[Job]) -> None:
        """Take the posts of a room that can be under way together."""
        caps = self._adapter.capabilities(queue.room)
        limit = min(STREAM_BATCH - len(batch), caps.rate_burst if caps.rate_per_s else STREAM_BATCH)
        jobs = queue.jobs
        while jobs and limit > 0 and jobs[0].delivery.kind in ("new", "tell"):
            batch.append(jobs.popleft())
            limit -= 1

    async def _attempt_batch(self, adapter: Streams, batch: list[Job]) -> list[tuple[Job, Outcome]]:
        await self._outbox.tail.sure()
        known = await self._composer.posted(batch)
        cache: TextCache = {}
        posts = [self._composer.message(job, known, cache) for job in batch]
        outcome = await self._guarded(adapter.send_stream(posts))
        if isinstance(outcome, Exception):
            return [(job, outcome) for job in batch]
        return list(zip(batch, outcome, strict=True))

    # --- what became of it

    async def _settle(self, results: Sequence[tuple[Job, Outcome]]) -> None:
        done: list[tuple[Job, Posted | None]] = []
        failed: list[tuple[Job, Exception]] = []
        for job, outcome in results:
            if isinstance(outcome, Receipt):
                done.append((job, self._posted(job, outcome)))
            else:
                failed.append((job, outcome))
        if done:
            # Whatever the lease says by now: the script takes it only if nobody else owns the account.
            await insist(self._outbox.complete, done)
            self._finished(done)
        for job, error in reversed(failed):
            await self._failed(job, error)

    def _posted(self, job: Job, receipt: Receipt) -> Posted | None:
        author = job.delivery.author
        if author is None or job.delivery.kind not in ("new", "edit"):
            return None
        return Posted(author.id, author.name, receipt.natives)

    def _finished(self, done: Sequence[tuple[Job, Posted | None]]) -> None:
        self._in_memory -= len(done)
        now_ms = self._deps.now_ms()
        said_ms = (job.delivery.at_ms for job, _ in done if job.delivery.at_ms)
        self._watch.delivered(self._outbox.account, [max(0, now_ms - at_ms) for at_ms in said_ms])
        for job, _ in done:
            queue = self._queues[job.room]
            queue.since_s = time.monotonic() if queue.jobs else 0.0
            if queue.told and not queue.jobs and not queue.backlog:
                queue.told = False
                self._tell_origin(job, replies.caught_up(self._label(job.room)), "caught up")
        if self._in_memory < IN_MEMORY:
            self._space.set()

    async def _failed(self, job: Job, error: Exception) -> None:
        queue = self._queues[job.room]
        if isinstance(error, Rejected):
            await self._bury(job, error.reason)
            return
        if isinstance(error, Offline):
            self._hold(queue, error.after_s, for_account=True)
        elif isinstance(error, Retry):
            self._hold(queue, error.after_s)
            await insist(self._outbox.save_hold, job.room, error.after_s)
        elif isinstance(error, AuthLost):
            self._hold(queue, AUTH_RETRY_S, for_account=True)
        elif isinstance(error, Uncertain):
            job.doubtful = True
            self._hold(queue, UNCERTAIN_RETRY_S, for_account=True)
        else:
            attempts = await insist(self._outbox.crashed, job)
            job.tries += 1
            log.error("a post crashed its adapter", account=self._outbox.account, attempts=attempts, exc_info=error)
            if attempts >= self._deps.settings.max_attempts:
                await self._bury(job, "an error of the bot")
                return
            self._hold(queue, min(CRASH_RETRY_S, 0.1 * 2**attempts))
        self._put_back(queue, job)

    async def _bury(self, job: Job, reason: str) -> None:
        """Set a job aside and say so where it came from; what comes after it goes on."""
        delivery = job.delivery
        if delivery.kind in ("new", "edit") and delivery.author:
            text = replies.dead_letter(self._label(job.room), delivery.author.name, delivery.text.plain, reason)
            self._tell_origin(job, text, "dead")
            await insist(self._gate.accepted)
        await insist(self._outbox.bury, job, reason)
        await insist(self._outbox.complete, [(job, None)])
        log.warning("a post was set aside", account=self._outbox.account, reason=reason)
        self._watch.dead(self._outbox.account)
        self._finished([(job, None)])

    def _tell_origin(self, job: Job, text: str, why: str) -> None:
        if job.delivery.message:
            origin, _ = said_in(job.delivery.message)
            self._gate.put(Tell(origin, text), dedup=f"{why} {self._outbox.account} {job.entry} {job.room}")

    def _label(self, room: RoomId) -> str:
        info = self._adapter.room_info(room)
        return f"{info.title} ({info.detail})" if info.detail else info.title

    # --- what people and operators see

    async def _publish(self) -> None:
        """Say how much waits for each room, and tell the rooms it came from when that takes long."""
        while True:
            await asyncio.sleep(PUBLISH_S)
            waiting = {room: len(queue.jobs) for room, queue in self._active.items() if queue.jobs}
            for room in waiting:
                if self._queues[room].backlog:
                    waiting[room] += await insist(self._outbox.backlog_size, room)
            if len(waiting) == 1 and self._in_memory >= IN_MEMORY:
                waiting = {room: await insist(self._outbox.size) for room in waiting}
            gone = [room for room in self._published if room not in waiting]
            if waiting != self._published:
                await insist(self._outbox.save_waiting, waiting, gone)
                self._published = waiting
            for room, count in waiting.items():
                self._notice_delay(self._queues[room], count)

    def _notice_delay(self, queue: RoomQueue, count: int) -> None:
        waited_s = time.monotonic() - queue.since_s
        if queue.told or not queue.since_s or waited_s < self._deps.settings.notice_after_s or not queue.jobs:
            return
        queue.told = True
        text = replies.waiting_long(self._deps.settings.prefix, self._label(queue.room), count, waited_s)
        self._tell_origin(queue.jobs[0], text, "waits")


def _by_entry(job: Job) -> int:
    return job.entry

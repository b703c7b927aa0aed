"""Delivers one account's outbox: in order within a room, no room waiting for another.

A room has one post under way at a time; on a stream (IRC, XMPP) a batch of posts is under way for the whole account.
An entry leaves the outbox in the same step that records what it became, after the platform has taken it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import groupby
from typing import Protocol, TypeVar

import structlog

from core.composer import Composer, TextCache
from core.contract import (
    Adapter,
    AdapterError,
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
from core.jobs import POSTS, Done, Job, RoomQueue
from core.journal import LeaseLost
from core.limits import TokenBuckets
from core.model import MessageId, RoomId
from core.notices import Notices
from core.outbox import Outbox
from core.store import TRANSIENT, StoreDown, insist
from core.wire import Posted

log = structlog.get_logger()

IN_MEMORY = 2_000
"""Jobs of one account kept in memory; the rest waits in the store."""
KEPT_PER_ROOM = 100
"""Jobs of a room that stay in memory when the room is so far behind that the rest goes to its backlog."""
SLOW_S = 0.5
"""A room that keeps a job waiting for so long while the memory is full goes to its backlog, so that others go on."""
STREAM_BATCH = 500
"""Posts under way at once on a stream; as many again may be confirmed and not yet written down."""
AUTH_RETRY_S = 30.0
UNCERTAIN_RETRY_S = 1.0
CRASH_RETRY_S = 2.0
SHORTEST_RETRY_S = 0.05

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
        self._notices = Notices(adapter, outbox, gate, deps.settings)
        self._deps = deps
        self._watch = watch
        self._queues: dict[RoomId, RoomQueue] = {}
        self._active: dict[RoomId, RoomQueue] = {}
        """Rooms with something to do."""
        self._in_memory = 0
        self._space = asyncio.Event()
        self._work = asyncio.Event()
        self._tasks = asyncio.TaskGroup()
        self._draining = False
        self._under_way = 0
        self._ended = asyncio.Event()
        self._buckets: dict[tuple[float, int], TokenBuckets] = {}

    async def run(self) -> None:
        """Work until cancelled. Raises LeaseLost, StoreDown and what the store raises: start anew."""
        holds, behind = await insist(self._outbox.load)
        for room in behind:
            queue = self._active[room] = self._queue(room)
            queue.backlog = True
        for room, seconds in holds.items():
            self._hold(self._queue(room), seconds)
        async with self._tasks as tasks:
            tasks.create_task(self._read())
            tasks.create_task(self._notices.publish(self._active, self._is_full))
            if self._stream:
                tasks.create_task(self._run_stream(self._stream))
            else:
                for room in behind:
                    self._start_worker(self._queue(room))

    def online(self) -> None:
        """The account is back: what waited for it goes on."""
        for queue in self._active.values():
            if queue.waits_for_account:
                queue.free()
        self._work.set()

    async def drain(self, patience_s: float) -> None:
        """Start nothing more; return when nothing is under way, or after ``patience_s``."""
        self._draining = True
        self._work.set()
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

    def _hold(self, queue: RoomQueue, seconds: float, *, for_account: bool = False) -> None:
        seconds = max(seconds, SHORTEST_RETRY_S)
        queue.hold(seconds, for_account=for_account)
        if self._stream:
            asyncio.get_running_loop().call_later(seconds + 0.001, self._work.set)

    # --- in

    def _queue(self, room: RoomId) -> RoomQueue:
        queue = self._queues.get(room)
        if queue is None:
            queue = self._queues[room] = RoomQueue(room)
        return queue

    async def _read(self) -> None:
        while True:
            if self._is_full() and not await self._make_space():
                await self._wait_for_space()
                continue
            jobs = await self._outbox.read(self._deps.settings.batch)
            if not jobs:
                await self._outbox.tail.wait()
                continue
            late: dict[RoomId, list[Job]] = {}
            for job in jobs:
                queue = self._queue(job.room)
                if queue.backlog:
                    late.setdefault(job.room, []).append(job)
                else:
                    self._put(queue, job)
            self._work.set()
            for room, overflow in late.items():
                if not await self._outbox.spill(self._queue(room), overflow):
                    for job in overflow:
                        self._put(self._queue(room), job)

    def _put(self, queue: RoomQueue, job: Job) -> None:
        if not queue.jobs:
            self._active[queue.room] = queue
            if not queue.since_s:
                queue.since_s = time.monotonic()
        self._outbox.doubt(queue, job)
        queue.jobs.append(job)
        self._in_memory += 1
        if not self._stream and not queue.worker:
            self._start_worker(queue)

    def _is_full(self) -> bool:
        return self._in_memory >= IN_MEMORY + len(self._active)

    async def _wait_for_space(self) -> None:
        self._space.clear()
        try:
            async with asyncio.timeout(SLOW_S / 4):
                await self._space.wait()
        except TimeoutError:
            return

    async def _make_space(self) -> bool:
        """Move what is far behind to backlogs, so that others can go on."""
        queues = [queue for queue in self._active.values() if queue.jobs]
        if all(queue.waits_for_account for queue in queues):
            return False
        kept = max(1, min(KEPT_PER_ROOM, IN_MEMORY // (4 * len(queues))))
        # A room that is alone in its burst gets more patience: perhaps nobody waits behind it.
        slow_s = time.monotonic() - SLOW_S * (1 if len(queues) > 1 else 4)
        gone = 0
        for queue in queues:
            if len(queue.jobs) > kept and (queue.held() or queue.jobs[0].shared.read_s < slow_s):
                gone += (left := await self._outbox.set_aside(queue, kept))
                self._in_memory -= left
        return gone > 0

    async def _refill(self, queue: RoomQueue) -> None:
        """Read on in a room's backlog."""
        count = STREAM_BATCH if self._stream else KEPT_PER_ROOM
        for job in await self._outbox.read_backlog(queue, count):
            self._put(queue, job)
        if not queue.jobs and not queue.backlog:
            self._notices.caught_up(queue, queue.backlog_read)
        self._work.set()

    # --- out, one post at a time in each room

    def _start_worker(self, queue: RoomQueue) -> None:
        queue.worker = True
        self._tasks.create_task(self._run_room(queue))

    async def _run_room(self, queue: RoomQueue) -> None:
        try:
            while (queue.jobs or queue.backlog) and not self._draining:
                if not queue.jobs:
                    await self._refill(queue)
                elif queue.held():
                    await queue.until_free()
                elif (wait_s := self._pace_s(queue.room)) > 0:
                    await asyncio.sleep(wait_s)
                else:
                    await self._one(queue)
            if not self._draining:
                self._active.pop(queue.room, None)
        finally:
            queue.worker = False

    def _pace_s(self, room: RoomId) -> float:
        """How long the room's own rate lets its next post wait; 0: a token was taken, go on."""
        caps = self._adapter.capabilities(room)
        if not caps.rate_per_s:
            return 0.0
        limit = (caps.rate_per_s, caps.rate_burst)
        buckets = self._buckets.setdefault(limit, TokenBuckets(*limit))
        now_ms = self._deps.now_ms()
        return 0.0 if buckets.take(room, now_ms) else max(0.01, buckets.wait_s(room, now_ms))

    async def _one(self, queue: RoomQueue) -> None:
        with self._counted():
            job = queue.take()
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
        """Do one job; raises only what concerns the lease."""
        if job.delivery.kind not in POSTS:
            await self._outbox.tail.sure()
            return await self._guarded(self._doing.do(job))
        known = await self._known([job])
        await self._outbox.tail.sure()
        return await self._guarded(self._post(job, known))

    async def _known(self, jobs: Sequence[Job]) -> dict[tuple[RoomId, MessageId], Posted]:
        return await insist(self._composer.posted, jobs)

    async def _post(self, job: Job, known: dict[tuple[RoomId, MessageId], Posted]) -> Receipt:
        outbound = self._composer.message(job, known, {})
        if job.doubtful and not self._adapter.capabilities(job.room).idempotent:
            if isinstance(self._adapter, Finds):
                found = await self._adapter.find_sent(outbound)
                if found is not None:
                    return found
            elif self._deps.settings.on_uncertain == "drop":
                raise Rejected("nobody can tell whether it arrived")
        return await self._adapter.send(outbound)

    async def _guarded(self, doing: Awaitable[Result]) -> Result | Exception:
        """What came of an attempt. Whatever an adapter raises concerns this post alone."""
        try:
            async with asyncio.timeout(self._deps.settings.send_timeout_s):
                return await doing
        except TimeoutError:
            return Uncertain(f"no answer in {self._deps.settings.send_timeout_s} s")
        except LeaseLost:
            raise
        except (StoreDown, *TRANSIENT) as error:
            return Uncertain(f"a connection broke: {error}")
        except Exception as error:  # noqa: BLE001 - it is looked at in _failed
            return error

    # --- out, a batch at a time on a stream

    async def _run_stream(self, adapter: Streams) -> None:
        settling: asyncio.Task[None] | None = None
        while not self._draining:
            now_s = time.monotonic()
            ready = [queue for queue in self._active.values() if queue.hold_until_s <= now_s]
            if not ready:
                self._work.clear()
                await self._work.wait()
                continue
            others = self._others(ready)
            batch = self._next_batch(ready)
            if settling and (others or any(_refers(job) for job in batch)):
                # What they refer to may be among what is being written down.
                await settling
                settling = None
            for queue in others:
                await self._serve(queue)
            if not batch:
                continue
            with self._counted():
                results = await self._attempt_batch(adapter, batch)
                if settling:
                    await settling
                    settling = None
                if all(isinstance(outcome, Receipt) for _, outcome in results):
                    # Written down while the next batch is under way; a failure must be put back before that.
                    settling = self._tasks.create_task(self._settle_counted(results))
                else:
                    await self._settle(results)

    async def _settle_counted(self, results: Sequence[tuple[Job, Outcome]]) -> None:
        with self._counted():
            await self._settle(results)

    def _others(self, ready: Sequence[RoomQueue]) -> list[RoomQueue]:
        """Rooms whose next job is no post of a batch, or lies in the backlog. Rooms without any are forgotten."""
        others = []
        for queue in ready:
            if not queue.jobs and not queue.backlog:
                self._active.pop(queue.room, None)
            elif not queue.jobs or not self._is_batchable(queue.jobs[0]):
                others.append(queue)
        return others

    async def _serve(self, queue: RoomQueue) -> None:
        if not queue.jobs:
            await self._refill(queue)
        elif not self._draining:
            await self._one(queue)

    def _next_batch(self, ready: Sequence[RoomQueue]) -> list[Job]:
        """Posts that can be under way together, by entry."""
        batch: list[Job] = []
        # An even share for each room: rooms that have the same to post then stay side by side in the batch.
        share = max(1, STREAM_BATCH // len(ready))
        for queue in ready:
            if queue.jobs and self._is_batchable(queue.jobs[0]):
                self._gather(queue, batch, share)
                # Whoever had its turn stands last in line for the next one.
                self._active[queue.room] = self._active.pop(queue.room)
                if len(batch) >= STREAM_BATCH:
                    break
        batch.sort(key=_by_entry)
        return batch

    def _gather(self, queue: RoomQueue, batch: list[Job], share: int) -> None:
        """Take the posts of a room that can be under way together, ``share`` of them at most."""
        caps = self._adapter.capabilities(queue.room)
        limit = min(share, caps.rate_burst) if caps.rate_per_s else share
        jobs, in_hand = queue.jobs, queue.in_hand
        while jobs and limit > 0 and self._is_batchable(jobs[0]):
            job = jobs.popleft()
            in_hand[job.entry] = job
            batch.append(job)
            limit -= 1

    def _is_batchable(self, job: Job) -> bool:
        """A post; but one that may be there already, or that was in a batch that crashed, is done by itself."""
        if job.delivery.kind not in POSTS or job.tries:
            return False
        return not job.doubtful or not (isinstance(self._adapter, Finds) or self._deps.settings.on_uncertain == "drop")

    async def _attempt_batch(self, adapter: Streams, batch: list[Job]) -> list[tuple[Job, Outcome]]:
        known = await self._known(batch)
        await self._outbox.tail.sure()
        outcome = await self._guarded(self._post_batch(adapter, batch, known))
        if isinstance(outcome, Exception):
            return [(job, outcome) for job in batch]
        return list(zip(batch, outcome, strict=True))

    async def _post_batch(
        self, adapter: Streams, batch: list[Job], known: dict[tuple[RoomId, MessageId], Posted]
    ) -> Sequence[Outcome]:
        cache: TextCache = {}
        outcome = await adapter.send_stream([self._composer.message(job, known, cache) for job in batch])
        if len(outcome) != len(batch):
            raise RuntimeError(f"{len(outcome)} results for {len(batch)} posts")
        return outcome

    # --- what became of it

    async def _settle(self, results: Sequence[tuple[Job, Outcome]]) -> None:
        done: list[Done] = []
        failed: list[tuple[Job, Exception]] = []
        for job, outcome in results:
            if isinstance(outcome, Receipt):
                done.append(Done(job, self._posted(job, outcome)))
            else:
                failed.append((job, outcome))
        if done:
            # Whatever the lease says by now: the script takes it only if nobody else owns the account.
            await self._outbox.complete(done)
            self._finished(done)
        if failed:
            failed.sort(key=_by_room)
            for room, items in groupby(failed, key=_by_room):
                await self._failed(self._queues[RoomId(room)], list(items), alone=len(results) == 1)

    def _posted(self, job: Job, receipt: Receipt) -> Posted | None:
        author = job.delivery.author
        if author is None or not (job.delivery.kind == "new" or (job.delivery.kind == "edit" and receipt.natives)):
            # An edit that was not its author's, or of what never got here, leaves no trace.
            return None
        return Posted(author.id, author.name, receipt.natives)

    def _finished(self, done: Sequence[Done]) -> None:
        self._in_memory -= len(done)
        now_ms = self._deps.now_ms()
        said_ms = (item.job.delivery.at_ms for item in done if item.job.delivery.at_ms)
        self._watch.delivered(self._outbox.account, [max(0, now_ms - at_ms) for at_ms in said_ms])
        now_s = time.monotonic()
        for job, _, _ in done:
            queue = self._queues[job.room]
            queue.in_hand.pop(job.entry, None)
            queue.waits_for_account = False
            queue.since_s = now_s if queue.jobs else 0.0
            if queue.told and not queue.jobs and not queue.backlog:
                self._notices.caught_up(queue, job.entry)
        if not self._is_full():
            self._space.set()

    async def _failed(self, queue: RoomQueue, items: list[tuple[Job, Exception]], *, alone: bool) -> None:
        """Posts of one room that did not get there, oldest first: set aside, or tried again in their order."""
        back: list[tuple[Job, Exception]] = []
        for job, error in items:
            reason = await self._why_never(job, error, alone=alone)
            if reason:
                await self._give_up(job, reason)
            else:
                back.append((job, error))
        if back:
            job, error = back[0]
            await self._delay(queue, job, error)
            queue.put_back([job for job, _ in back])
            self._active[queue.room] = queue
            self._work.set()

    async def _why_never(self, job: Job, error: Exception, *, alone: bool) -> str:
        """Why there is no use in another try, for people; empty if there is."""
        if isinstance(error, Rejected):
            return error.reason
        if isinstance(error, AdapterError):
            job.doubtful = job.doubtful or isinstance(error, Uncertain)
            return ""
        job.tries += 1
        job.doubtful = True
        if not alone:  # one of them is to blame: each is tried by itself now
            return ""
        attempts = await insist(self._outbox.crashed, job)
        log.error("a post crashed its adapter", account=self._outbox.account, attempts=attempts, exc_info=error)
        return "an error of the bot" if attempts >= self._deps.settings.max_attempts else ""

    async def _delay(self, queue: RoomQueue, job: Job, error: Exception) -> None:
        if isinstance(error, Offline):
            self._hold(queue, error.after_s, for_account=True)
        elif isinstance(error, Retry):
            self._hold(queue, error.after_s)
            await insist(self._outbox.save_hold, queue.room, error.after_s)
        elif isinstance(error, AuthLost):
            self._hold(queue, AUTH_RETRY_S, for_account=True)
        elif isinstance(error, Uncertain):
            self._hold(queue, UNCERTAIN_RETRY_S, for_account=True)
        else:
            self._hold(queue, min(CRASH_RETRY_S, 0.05 * 2**job.tries))

    async def _give_up(self, job: Job, reason: str) -> None:
        """Set a job aside and say so where it came from; what comes after it goes on."""
        await self._notices.given_up(job, reason)
        done = [Done(job, letter=self._outbox.letter(job, reason))]
        await self._outbox.complete(done)
        log.warning("a post was set aside", account=self._outbox.account, reason=reason)
        self._watch.dead(self._outbox.account)
        self._finished(done)


def _by_entry(job: Job) -> int:
    return job.entry


def _by_room(item: tuple[Job, Exception]) -> str:
    return item[0].room


def _refers(job: Job) -> bool:
    return bool(job.delivery.reply_to or job.delivery.thread)

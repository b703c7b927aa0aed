"""Delivery on a stream (IRC, XMPP): a batch of posts is under way for the account, and the next one forms meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from core.attempts import Attempts, Outcome
from core.contract import Adapter, Finds, Streams
from core.deps import Deps
from core.jobs import POSTS, Done, Job, RoomQueue
from core.queues import Queues
from core.settling import Settling
from core.under_way import UnderWay

STREAM_BATCH = 500
"""Posts under way at once on a stream; as many again may be confirmed and not yet written down."""
LATE_MS = 2_000
LATE_BATCH = 32
"""Posts under way at once while all of them are late anyway: small steps, so that whoever is not late need not wait."""

Serve = Callable[[RoomQueue], Awaitable[None]]


class Streaming:
    """Posts what waits for one account, batch by batch."""

    def __init__(
        self,
        adapter: Adapter,
        queues: Queues,
        attempts: Attempts,
        settling: Settling,
        under_way: UnderWay,
        serve: Serve,
        deps: Deps,
    ) -> None:
        self._adapter = adapter
        self._queues = queues
        self._attempts = attempts
        self._settling = settling
        self._under_way = under_way
        self._serve = serve
        """Does a room's next job by itself, or reads on in its backlog."""
        self._now_ms = deps.now_ms
        self._old_after_ms = deps.settings.old_after_s * 1000
        self._one_by_one = isinstance(adapter, Finds) or deps.settings.on_uncertain == "drop"
        """What may be there already is not just sent again."""

    async def run(self, stream: Streams, tasks: asyncio.TaskGroup) -> None:
        """Post until everything is to be drained."""
        settling: asyncio.Task[None] | None = None
        while not self._under_way.draining:
            ready = self._queues.ready()
            if not ready:
                self._queues.work.clear()
                await self._queues.work.wait()
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
            with self._under_way.one():
                results = await self._attempts.batch(stream, batch)
                if settling:
                    await settling
                    settling = None
                if all(isinstance(outcome, Done) for _, outcome in results):
                    # Written down while the next batch is under way; a failure must be put back before that.
                    settling = tasks.create_task(self._settle(results))
                else:
                    await self._settling.settle(results)

    async def _settle(self, results: Sequence[tuple[Job, Outcome]]) -> None:
        with self._under_way.one():
            await self._settling.settle(results)

    def _others(self, ready: Sequence[RoomQueue]) -> list[RoomQueue]:
        """Rooms whose next job is no post of a batch, or lies in the backlog. Rooms without any are forgotten."""
        others = []
        for queue in ready:
            if not queue.jobs and not queue.backlog:
                self._queues.active.pop(queue.room, None)
            elif not queue.jobs or not self._is_batchable(queue.jobs[0]):
                others.append(queue)
        return others

    def _next_batch(self, ready: Sequence[RoomQueue]) -> list[Job]:
        """Posts that can be under way together, by entry."""
        batch: list[Job] = []
        active = self._queues.active
        now_ms = self._now_ms()
        is_late = all(queue.jobs and queue.jobs[0].delivery.at_ms < now_ms - LATE_MS for queue in ready)
        most = LATE_BATCH if is_late else STREAM_BATCH
        # An even share for each room: rooms that have the same to post then stay side by side in the batch.
        share = max(1, most // len(ready))
        for queue in ready:
            if queue.jobs and self._is_batchable(queue.jobs[0]):
                self._gather(queue, batch, share, now_ms)
                # Whoever had its turn stands last in line for the next one.
                active[queue.room] = active.pop(queue.room)
                if len(batch) >= most:
                    break
        batch.sort(key=_by_entry)
        return batch

    def _gather(self, queue: RoomQueue, batch: list[Job], share: int, now_ms: int) -> None:
        """Take the posts of a room that can be under way together, ``share`` of them at most."""
        caps = self._adapter.capabilities(queue.room)
        limit = min(share, caps.rate_burst) if caps.rate_per_s else share
        jobs, in_hand = queue.jobs, queue.in_hand
        old_ms = now_ms - self._old_after_ms
        first = len(batch)
        while jobs and limit > 0 and self._is_batchable(jobs[0]):
            if _refers(jobs[0]) and _answers_any(jobs[0], batch[first:]):
                break  # its answer can be a real one once that post has an id
            job = jobs.popleft()
            in_hand[job.entry] = job
            if queue.ago or job.delivery.at_ms < old_ms:
                queue.date(job, now_ms, self._old_after_ms)
            batch.append(job)
            limit -= 1

    def _is_batchable(self, job: Job) -> bool:
        """A post; but one that may be there already, or that was in a batch that crashed, is done by itself."""
        if job.delivery.kind not in POSTS or job.tries:
            return False
        return not job.doubtful or not self._one_by_one


def _answers_any(job: Job, batch: Sequence[Job]) -> bool:
    about = (job.delivery.reply_to, job.delivery.thread)
    return any(other.delivery.message in about for other in batch)


def _by_entry(job: Job) -> int:
    return job.entry


def _refers(job: Job) -> bool:
    return bool(job.delivery.reply_to or job.delivery.thread)

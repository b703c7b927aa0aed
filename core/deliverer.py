"""Delivers one account's outbox: in order within a room, no room waiting for another.

A room has one post under way at a time; on a stream (IRC, XMPP) a batch of posts is under way for the whole account.
An entry leaves the outbox in the same step that records what it became, after the platform has taken it.
"""

from __future__ import annotations

import asyncio

import structlog

from core.attempts import Attempts
from core.composer import Composer
from core.contract import Adapter, Streams
from core.deps import Deps
from core.doing import Doing
from core.folding import Folding
from core.gate import Gate
from core.jobs import Job, RoomQueue
from core.model import RoomId
from core.notices import Notices
from core.outbox import Outbox
from core.pacing import Pacing
from core.queues import Queues
from core.settling import Settling, Watch
from core.store import TRANSIENT, StoreDown, insist
from core.streaming import STREAM_BATCH, Streaming
from core.under_way import UnderWay

__all__ = ["STREAM_BATCH", "Deliverer", "Watch"]

log = structlog.get_logger()

UNPACED = ("typing", "ping")
"""Kinds that are no posts, and so no concern of a limit on posts."""


class Deliverer:
    """The delivery of one account; lives until its lease or its process ends, or something goes wrong."""

    def __init__(
        self, adapter: Adapter, outbox: Outbox, composer: Composer, gate: Gate, deps: Deps, watch: Watch
    ) -> None:
        self._stream = adapter if isinstance(adapter, Streams) else None
        self._outbox = outbox
        self._deps = deps
        self._old_after_ms = deps.settings.old_after_s * 1000
        self._under_way = UnderWay()
        self._tasks = asyncio.TaskGroup()
        self._notices = Notices(adapter, outbox, gate, deps.settings)
        self._queues = Queues(outbox, self._came)
        self._pacing = Pacing(adapter, outbox, deps)
        self._attempts = Attempts(adapter, outbox, composer, Doing(adapter, composer, gate, deps), deps)
        self._folding = Folding(adapter, outbox, composer, self._queues, self._pacing, deps)
        self._settling = Settling(outbox, self._queues, self._notices, deps, watch)
        self._streaming = Streaming(
            adapter, self._queues, self._attempts, self._settling, self._under_way, self._serve, deps
        )

    async def run(self) -> None:
        """Work until cancelled. Raises LeaseLost, StoreDown and what the store raises: start anew."""
        left = await insist(self._outbox.load)
        self._queues.restore(left)
        self._pacing.restore(left)
        self._notices.restore(left)
        async with self._tasks as tasks:
            tasks.create_task(self._read())
            tasks.create_task(self._notices.publish(self._queues.active, self._queues.is_full))
            if self._stream:
                tasks.create_task(self._streaming.run(self._stream, tasks))
            else:
                tasks.create_task(self._pacing.keep())
                for room in left.behind:
                    self._came(self._queues.of(room))

    def online(self) -> None:
        """The account is back: what waited for it goes on."""
        self._queues.online()

    async def shut_out(self) -> None:
        """The platform does not let the account in: its log says so."""
        await self._notices.shut_out()

    async def drain(self, patience_s: float) -> None:
        """Start nothing more; return when nothing is under way, or after ``patience_s``."""
        self._notices.flush()
        self._under_way.draining = True
        self._queues.work.set()
        try:
            async with asyncio.timeout(patience_s):
                await self._under_way.drained()
                await self._pacing.save()
        except TimeoutError:
            log.warning("a post is still under way", account=self._outbox.account)
        except (*TRANSIENT, StoreDown) as error:
            log.debug("the pace is not written down", account=self._outbox.account, error=str(error))

    def waiting(self) -> int:
        """Jobs in memory."""
        return self._queues.in_memory

    # --- in

    async def _read(self) -> None:
        queues = self._queues
        while True:
            queues.looked.set()
            if queues.is_full() and not await queues.make_space():
                await queues.wait_for_space()
                continue
            jobs = await self._outbox.read(self._deps.settings.batch)
            if not jobs:
                queues.looked.set()
                await self._wait()
                continue
            late: dict[RoomId, list[Job]] = {}
            full: dict[RoomId, RoomQueue] = {}
            for job in jobs:
                queue = queues.of(job.room)
                if queue.backlog:
                    late.setdefault(job.room, []).append(job)
                else:
                    queues.put(queue, job)
                    if not self._stream and queues.is_far_behind(queue):
                        full[job.room] = queue
            queues.work.set()
            for room, overflow in late.items():
                await queues.spill(queues.of(room), overflow)
            for queue in full.values():
                await queues.set_aside(queue)

    async def _wait(self) -> None:
        """Return when there is something to read. On a stream, what is handed over meanwhile needs no reading."""
        tail = self._outbox.tail
        tail.taker = self._take_at_once if self._stream else None
        try:
            await tail.wait()
        finally:
            tail.taker = None

    def _take_at_once(self) -> None:
        queues, handed_over = self._queues, self._outbox.handed_over()
        if not handed_over or queues.is_full():
            return
        if any(queues.of(room).backlog for _, delivery in handed_over for room in delivery.rooms):
            return
        for job in self._outbox.read_handed_over():
            queues.put(queues.of(job.room), job)
        queues.work.set()

    def _came(self, queue: RoomQueue) -> None:
        if not self._stream and not queue.worker:
            queue.worker = True
            self._tasks.create_task(self._run_room(queue))

    # --- out, one post at a time in each room

    async def _run_room(self, queue: RoomQueue) -> None:
        try:
            while (queue.jobs or queue.backlog) and not self._under_way.draining:
                if (held_s := self._queues.held_s(queue)) > 0:
                    await queue.until_free(held_s)
                else:
                    await self._turn(queue)
            if not self._under_way.draining:
                self._queues.active.pop(queue.room, None)
        finally:
            queue.worker = False

    async def _turn(self, queue: RoomQueue) -> None:
        """The room may have its next post, if its platform's limits let it."""
        if not queue.jobs:
            await self._queues.refill(queue)
            return
        if queue.fold:
            await self._folding.gather(queue)
        if queue.jobs[0].delivery.kind not in UNPACED:
            await self._pacing.turn(queue.room)
            if self._under_way.draining or self._queues.held_s(queue) > 0:
                return
        with self._under_way.one():
            fold = await self._folding.begin(queue) if self._folding.may(queue) else None
            if fold:
                await self._settling.settle_fold(queue, fold, await self._attempts.fold(fold))
            else:
                await self._one(queue)

    async def _one(self, queue: RoomQueue) -> None:
        job = queue.take()
        queue.date(job, self._deps.now_ms(), self._old_after_ms)
        await self._settling.settle([(job, await self._attempts.one(job))])

    async def _serve(self, queue: RoomQueue) -> None:
        """On a stream: what is not posted in a batch."""
        if not queue.jobs:
            await self._queues.refill(queue)
        elif not self._under_way.draining:
            with self._under_way.one():
                await self._one(queue)

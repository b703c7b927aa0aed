"""What waits for an account's rooms in memory, and which of them may be posted to.

Memory is bounded: what piles up for a room that must wait goes to a backlog of its own in the store.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence

from core.jobs import Job, RoomQueue
from core.model import RoomId
from core.outbox import WHOLE_ACCOUNT, Left, Outbox

IN_MEMORY = 2_000
"""Jobs of one account kept in memory; the rest waits in the store."""
KEPT_PER_ROOM = 100
"""Jobs of a room that stay in memory when the room is so far behind that the rest goes to its backlog."""
SLOW_S = 0.5
"""A room that keeps a job waiting for so long while the memory is full goes to its backlog, so that others go on."""


class Queues:
    """The rooms of one account."""

    def __init__(self, outbox: Outbox, on_put: Callable[[RoomQueue], None]) -> None:
        self._outbox = outbox
        self._on_put = on_put
        self._all: dict[RoomId, RoomQueue] = {}
        self.active: dict[RoomId, RoomQueue] = {}
        """Rooms with something to do."""
        self.in_memory = 0
        self.account_free_s = 0.0
        """Monotonic time before which the platform wants nothing from the account."""
        self.work = asyncio.Event()
        """Something came in, or a room need not wait any longer."""
        self.looked = asyncio.Event()
        """The outbox was read on, or it was found that it cannot be."""
        self._space = asyncio.Event()

    def restore(self, left: Left) -> None:
        """Go on from what an owner before us left."""
        for room in left.behind:
            queue = self.active[room] = self.of(room)
            queue.backlog = True
        for room, extent in left.folds.items():
            self.of(room).fold = extent
        for room, seconds in left.holds.items():
            if room == WHOLE_ACCOUNT:
                self.hold_account(seconds)
            else:
                self.hold(self.of(room), seconds)

    def of(self, room: RoomId) -> RoomQueue:
        """The queue of a room."""
        queue = self._all.get(room)
        if queue is None:
            queue = self._all[room] = RoomQueue(room)
        return queue

    def put(self, queue: RoomQueue, job: Job) -> None:
        """A job comes last in its room."""
        if not queue.jobs:
            self.active[queue.room] = queue
            if not queue.since_s:
                queue.since_s = time.monotonic()
        self._outbox.doubt(queue, job)
        queue.jobs.append(job)
        self.in_memory += 1
        self._on_put(queue)

    def put_back(self, queue: RoomQueue, jobs: Sequence[Job]) -> None:
        """Jobs that were in hand come next after all."""
        queue.put_back(jobs)
        self.active[queue.room] = queue
        self.work.set()

    async def spill(self, queue: RoomQueue, jobs: Sequence[Job]) -> None:
        """New jobs of a room with a backlog go there. Raises LeaseLost."""
        if not await self._outbox.spill(queue, jobs):
            for job in jobs:
                self.put(queue, job)

    def is_far_behind(self, queue: RoomQueue) -> bool:
        """Whether a room has more in memory than one that takes a post at a time should: whoever comes behind in the
        outbox must not wait until there is space again.
        """
        return len(queue.jobs) > 2 * KEPT_PER_ROOM

    async def set_aside(self, queue: RoomQueue, kept: int = 0) -> int:
        """All that a room waits for goes to its backlog, but for some that stay in memory as well; returns how many are
        not in memory any more. Raises LeaseLost.
        """
        gone = await self._outbox.set_aside(queue, kept or KEPT_PER_ROOM)
        self.in_memory -= gone
        return gone

    async def refill(self, queue: RoomQueue, at_least: int = 0) -> int:
        """Read on in a room's backlog; returns how many jobs that brought. Raises LeaseLost."""
        jobs = await self._outbox.read_backlog(queue, max(at_least, KEPT_PER_ROOM))
        for job in jobs:
            self.put(queue, job)
        self.work.set()
        return len(jobs)

    # --- memory

    def is_full(self) -> bool:
        """Whether nothing more is to be read for now."""
        return self.in_memory >= IN_MEMORY + len(self.active)

    def ended(self, count: int) -> None:
        """So many jobs are done."""
        self.in_memory -= count
        if not self.is_full():
            self._space.set()

    async def wait_for_space(self) -> None:
        """Return when there is, or it is time to make some."""
        self._space.clear()
        try:
            async with asyncio.timeout(SLOW_S / 4):
                await self._space.wait()
        except TimeoutError:
            return

    async def make_space(self) -> bool:
        """Move what is far behind to backlogs, so that others can go on. Raises LeaseLost."""
        queues = [queue for queue in self.active.values() if queue.jobs]
        now_s = time.monotonic()
        if self.account_free_s > now_s or all(queue.waits_for_account for queue in queues):
            return False
        kept = max(1, min(KEPT_PER_ROOM, IN_MEMORY // (4 * len(queues))))
        # A room that is alone in its burst gets more patience: perhaps nobody waits behind it.
        slow_s = now_s - SLOW_S * (1 if len(queues) > 1 else 4)
        gone = 0
        for queue in queues:
            if len(queue.jobs) > kept and (queue.hold_until_s > now_s or queue.jobs[0].shared.read_s < slow_s):
                gone += await self.set_aside(queue, kept)
        return gone > 0

    # --- rooms that must wait

    def held_s(self, queue: RoomQueue) -> float:
        """How long a room must wait; 0 or less: it need not."""
        return max(queue.hold_until_s, self.account_free_s) - time.monotonic()

    def ready(self) -> list[RoomQueue]:
        """Rooms with something to do that need not wait."""
        now_s = time.monotonic()
        if self.account_free_s > now_s:
            return []
        return [queue for queue in self.active.values() if queue.hold_until_s <= now_s]

    def hold(self, queue: RoomQueue, seconds: float, *, for_account: bool = False) -> None:
        """Let a room wait. ``for_account``: until the account is back, if that is earlier."""
        queue.hold(seconds, for_account=for_account)
        self._look_again(seconds)

    def hold_account(self, seconds: float) -> None:
        """Let all rooms wait, whatever comes."""
        self.account_free_s = max(self.account_free_s, time.monotonic() + seconds)
        self._look_again(seconds)

    def online(self) -> None:
        """The account is back: what waited for it goes on."""
        for queue in self.active.values():
            if queue.waits_for_account:
                queue.free()
        self.work.set()

    def _look_again(self, seconds: float) -> None:
        asyncio.get_running_loop().call_later(seconds + 0.001, self.work.set)

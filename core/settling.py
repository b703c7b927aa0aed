"""What becomes of attempts: written down, set aside, or tried again in their order."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import Protocol

import structlog

from core.attempts import Outcome, Unknowable
from core.contract import AdapterError, AuthLost, Offline, Rejected, Retry, Uncertain
from core.deps import Deps
from core.folding import Fold
from core.jobs import Done, Job, RoomQueue
from core.model import RoomId, said_in
from core.notices import Notices
from core.outbox import WHOLE_ACCOUNT, Outbox
from core.queues import Queues
from core.store import insist

log = structlog.get_logger()

AUTH_RETRY_S = 30.0
UNCERTAIN_RETRY_S = 1.0
CRASH_RETRY_S = 2.0
SHORTEST_RETRY_S = 0.05


class Watch(Protocol):
    """Counts what was delivered."""

    def delivered(self, account: str, took_ms: Iterable[int]) -> None:
        """Posts were taken by the platform, so long after they were said."""

    def dead(self, account: str, count: int = 1) -> None:
        """Posts were set aside."""


class Settling:
    """Settles the attempts of one account. Raises LeaseLost."""

    def __init__(self, outbox: Outbox, queues: Queues, notices: Notices, deps: Deps, watch: Watch) -> None:
        self._outbox = outbox
        self._queues = queues
        self._notices = notices
        self._deps = deps
        self._watch = watch

    async def settle(self, results: Sequence[tuple[Job, Outcome]]) -> None:
        """Settle attempts that were under way together."""
        done = [outcome for _, outcome in results if isinstance(outcome, Done)]
        if done:
            await self._end(done)
        if len(done) < len(results):
            failed = [(job, outcome) for job, outcome in results if isinstance(outcome, Exception)]
            failed.sort(key=_by_room)
            for room, items in groupby(failed, key=_by_room):
                await self._failed(self._queues.of(RoomId(room)), list(items), alone=len(results) == 1)

    async def settle_fold(self, queue: RoomQueue, fold: Fold, outcome: list[Done] | Exception) -> None:
        """Settle the attempt to post several messages as one."""
        if isinstance(outcome, list):
            await self._end(outcome)
            queue.fold = None
            self._notices.folded(queue, len(fold.lines))
        elif isinstance(outcome, Unknowable):
            await self._give_up_fold(queue, fold, outcome.reason)
        elif isinstance(outcome, AdapterError) and not isinstance(outcome, Rejected):
            for job in fold.jobs:
                job.doubtful = job.doubtful or isinstance(outcome, Uncertain)
            await self._delay(queue, fold.jobs[0], outcome)
            self._queues.put_back(queue, fold.jobs)
        else:
            await self._take_apart(queue, fold, outcome)

    async def _end(self, done: Sequence[Done]) -> None:
        # Whatever the lease says by now: the script takes it only if nobody else owns the account.
        await self._outbox.complete(done)
        now_ms = self._deps.now_ms()
        said_ms = (item.job.delivery.at_ms for item in done if item.job.delivery.at_ms)
        self._watch.delivered(self._outbox.account, [max(0, now_ms - at_ms) for at_ms in said_ms])
        now_s = time.monotonic()
        for item in done:
            job = item.job
            queue = self._queues.of(job.room)
            queue.in_hand.pop(job.entry, None)
            queue.waits_for_account = False
            queue.since_s = now_s if queue.jobs else 0.0
        if self._notices.shut and any(item.letter is None for item in done):
            await self._notices.let_in()
        self._queues.ended(len(done))

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
            self._queues.put_back(queue, [job for job, _ in back])

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
            await self._wait_as_told(queue, error)
        elif isinstance(error, AuthLost):
            self._hold(queue, AUTH_RETRY_S, for_account=True)
            await self._notices.shut_out()
        elif isinstance(error, Uncertain):
            self._hold(queue, UNCERTAIN_RETRY_S, for_account=True)
        else:
            self._hold(queue, min(CRASH_RETRY_S, 0.05 * 2**job.tries))

    async def _wait_as_told(self, queue: RoomQueue, error: Retry) -> None:
        if error.whole_account:
            self._queues.hold_account(max(error.after_s, SHORTEST_RETRY_S))
        else:
            self._hold(queue, error.after_s)
        await insist(self._outbox.save_hold, WHOLE_ACCOUNT if error.whole_account else queue.room, error.after_s)

    def _hold(self, queue: RoomQueue, seconds: float, *, for_account: bool = False) -> None:
        self._queues.hold(queue, max(seconds, SHORTEST_RETRY_S), for_account=for_account)

    async def _give_up(self, job: Job, reason: str) -> None:
        """Set a job aside and say so where it came from; what comes after it goes on."""
        await self._notices.given_up(job, reason)
        await self._bury([Done(job, letter=self._outbox.letter(job, reason))], reason)

    async def _bury(self, done: Sequence[Done], reason: str) -> None:
        count = sum(item.letter is not None for item in done)
        log.warning("posts were set aside", account=self._outbox.account, reason=reason, count=count)
        self._watch.dead(self._outbox.account, count)
        await self._end(done)

    # --- several messages in one post

    async def _take_apart(self, queue: RoomQueue, fold: Fold, error: Exception) -> None:
        """One of them is to blame: each is tried by itself now."""
        crashed = not isinstance(error, Rejected)
        if crashed:
            log.error("a post of several crashed its adapter", account=self._outbox.account, exc_info=error)
        await self._outbox.drop_fold(queue)
        for job in fold.jobs:
            job.single = True
            job.tries += crashed
            job.doubtful = job.doubtful or crashed
        if crashed:
            self._hold(queue, SHORTEST_RETRY_S)
        self._queues.put_back(queue, fold.jobs)

    async def _give_up_fold(self, queue: RoomQueue, fold: Fold, reason: str) -> None:
        """Set all of them aside; each room that they came from is told once."""
        messages = fold.messages()
        messages.sort(key=_by_origin)
        for _, items in groupby(messages, key=_by_origin):
            first, *others = items
            more = f", nor the {len(others)} after it" if others else ""
            await self._notices.given_up(first, reason + more)
        letters = {job.entry for job in messages}
        await self._bury(
            [
                Done(
                    job,
                    letter=self._outbox.letter(job, reason) if job.entry in letters else None,
                    ends_fold=job is fold.jobs[0],
                )
                for job in fold.jobs
            ],
            reason,
        )
        queue.fold = None


def _by_room(item: tuple[Job, Exception]) -> str:
    return item[0].room


def _by_origin(job: Job) -> str:
    return said_in(job.delivery.message)[0]

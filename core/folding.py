"""Several messages in one post, for a room that takes fewer posts than come in: a line for each, with its author.

Which messages stand together is in the store before they are posted, so that whoever tries again posts the same ones
under the same key. What a post of several is made of is a record of the id map: an edit changes its line, a deletion
takes its line out.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from typing import NamedTuple

from core.composer import Composer
from core.contract import Adapter, Capabilities, Outbound, Receipt, Unit
from core.deps import Deps
from core.folded import recorded, text_of
from core.idmap import IdMap
from core.jobs import Done, Extent, Job, RoomQueue
from core.model import Text
from core.outbox import Outbox
from core.pacing import Pacing
from core.queues import Queues
from core.store import insist
from core.text.split import size
from core.wire import Folded, FoldedLine, Posted

LONGEST = 8_000
"""A post of several is no longer than this, whatever the room takes: it is to be read, and its words are kept."""
HELD_MS = 30_000
"""In a room without a known rate, what has waited for so long is posted together: it was held up."""
ENTITY_SIZE = 8
"""What an entity may add to a text, besides its value, in the dialect of a platform."""


class Fold(NamedTuple):
    """Messages of a room that are posted as one."""

    key: str
    """The idempotency key of the post."""
    jobs: list[Job]
    """All that wait between the first and the last message: these, and what nobody needs any more by then."""
    lines: list[FoldedLine]
    outbound: Outbound

    def messages(self) -> list[Job]:
        """The jobs that are messages."""
        return _messages(self.jobs)

    def is_doubtful(self) -> bool:
        """Whether it may have been posted already."""
        return any(job.doubtful for job in self.jobs)

    def done(self, receipt: Receipt, now_ms: int, *, with_words: bool) -> list[Done]:
        """Its end. ``with_words``: the record is to have what a changed post is made of."""
        fold = IdMap.fold_id(now_ms, self.key) if receipt.natives else ""
        ended = []
        for job in self.jobs:
            author = job.delivery.author if job.delivery.kind == "new" else None
            ended.append(Done(job, Posted(author.id, author.name, (), (), fold) if author else None))
        lines = self.lines if with_words else [FoldedLine(line.message, line.author_id) for line in self.lines]
        if fold:
            ended[0] = recorded(ended[0], fold, Folded(receipt.natives, tuple(lines)))
        ended[0] = ended[0]._replace(ends_fold=True)
        return ended


class Folding:
    """Decides for one account which messages are posted together."""

    def __init__(
        self, adapter: Adapter, outbox: Outbox, composer: Composer, queues: Queues, pacing: Pacing, deps: Deps
    ) -> None:
        self._adapter = adapter
        self._outbox = outbox
        self._composer = composer
        self._queues = queues
        self._pacing = pacing
        self._deps = deps
        self._from = deps.settings.fold_from
        self._most = deps.settings.fold_most
        self._old_after_ms = deps.settings.old_after_s * 1000

    def may(self, queue: RoomQueue) -> bool:
        """Whether it is worth while to ask :meth:`begin`."""
        many = len(queue.jobs) >= self._from or queue.backlog or queue.catches_up
        return queue.fold is not None or (many and self._from > 0)

    async def gather(self, queue: RoomQueue) -> None:
        """Return when all that is to be posted as one is in memory. Raises LeaseLost."""
        while queue.fold and queue.jobs[0].entry >= queue.fold.first:
            if queue.jobs[0].entry > queue.fold.first:
                # Somebody took the first of them out by hand.
                await self._outbox.drop_fold(queue)
            elif queue.jobs[-1].entry >= queue.fold.last:
                return
            elif queue.backlog:
                if not await self._queues.refill(queue):
                    return
            elif self._outbox.read_up_to >= queue.fold.last:
                return
            else:
                self._queues.looked.clear()
                await self._queues.looked.wait()

    async def begin(self, queue: RoomQueue) -> Fold | None:
        """Take what is to be posted as one; None if the next message is posted by itself. Raises LeaseLost."""
        caps = self._adapter.capabilities(queue.room)
        if queue.fold and queue.fold.first == queue.jobs[0].entry:
            return await self._again(queue, queue.fold)
        queue.catches_up = caps.multiline and self._is_behind(queue, caps)
        if queue.fold or not queue.catches_up or not self._is_foldable(queue.jobs[0], caps):
            return None
        if queue.backlog and len(queue.jobs) < self._most:
            await self._queues.refill(queue, self._most)
        run = self._run(queue, caps)
        if len(run) < 2:
            return None
        jobs = queue.take_up_to(run[-1].entry)
        self._date(queue, run)
        fold = await self._compose(jobs, min(caps.text_limit, LONGEST), caps.text_unit)
        if len(fold.lines) < 2:
            queue.put_back(jobs)
            return None
        queue.put_back(jobs[len(fold.jobs) :])
        await self._outbox.begin_fold(queue, Extent(fold.jobs[0].entry, fold.jobs[-1].entry))
        return fold

    async def _again(self, queue: RoomQueue, extent: Extent) -> Fold | None:
        jobs = queue.take_up_to(extent.last)
        if messages := _messages(jobs):
            self._date(queue, messages)
            return await self._compose(jobs, None, "characters", extent)
        queue.put_back(jobs)
        await self._outbox.drop_fold(queue)
        return None

    def _date(self, queue: RoomQueue, messages: Sequence[Job]) -> None:
        now_ms = self._deps.now_ms()
        for job in messages:
            queue.date(job, now_ms, self._old_after_ms)

    def _is_behind(self, queue: RoomQueue, caps: Capabilities) -> bool:
        """Whether more waits than the room takes now."""
        if caps.rate_per_s or caps.account_rate_per_s:
            # The turn that is being used is the room's already.
            return queue.backlog or len(queue.jobs) - 1 > self._pacing.at_once(queue.room, caps)
        at_ms = queue.jobs[0].delivery.at_ms
        return at_ms > 0 and self._deps.now_ms() - at_ms > HELD_MS

    def _is_foldable(self, job: Job, caps: Capabilities) -> bool:
        delivery = job.delivery
        if delivery.kind != "new" or delivery.author is None or delivery.files or not delivery.text.plain:
            return False
        if job.single or job.doubtful or job.tries:
            return False
        # Code is not to be marked line by line.
        return caps.names == "full" or all(entity.type != "pre" for entity in delivery.text.entities)

    def _run(self, queue: RoomQueue, caps: Capabilities) -> list[Job]:
        """The next messages that may stand in one post, by what they are."""
        run: list[Job] = []
        for job in islice(queue.jobs, 4 * self._most):
            if job.delivery.kind == "typing":
                continue
            if not self._is_foldable(job, caps) or (run and not _go_together(run[0], job, caps)):
                break
            run.append(job)
            if len(run) >= self._most:
                break
        return run

    async def _compose(self, jobs: list[Job], limit: int | None, unit: Unit, extent: Extent | None = None) -> Fold:
        """The post of as many of ``jobs`` as fit, of one at least."""
        messages = _messages(jobs)
        known = await insist(self._composer.posted, messages)
        lines: list[FoldedLine] = []
        taken = 0
        for job in messages:
            opening, words = self._composer.line(job, known)
            taken += _size(opening, unit) + _size(words, unit) + 1
            if limit is not None and taken > limit and lines:
                break
            author = job.delivery.author
            lines.append(FoldedLine(job.delivery.message, author.id if author else "", opening, words))
        del messages[len(lines) :]
        last = messages[-1].entry
        key = f"{messages[0].key()}-{extent.last if extent else last:x}"
        outbound = self._composer.together(messages, key, text_of(lines), known)
        return Fold(key, [job for job in jobs if job.entry <= last], lines, outbound)


def _messages(jobs: Sequence[Job]) -> list[Job]:
    return [job for job in jobs if job.delivery.kind == "new"]


def _go_together(first: Job, job: Job, caps: Capabilities) -> bool:
    """Whether one post can stand for both: in one thread, and under one name where posts have an author's name."""
    if caps.thread != "fallback" and job.delivery.thread != first.delivery.thread:
        return False
    return caps.names != "full" or job.delivery.author == first.delivery.author


def _size(text: Text, unit: Unit) -> int:
    return size(text.plain, unit) + sum(len(entity.value) + ENTITY_SIZE for entity in text.entities)

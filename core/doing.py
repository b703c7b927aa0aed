"""Everything but new messages: edits, deletions, reactions, typing, pings, each by what the room can do."""

from __future__ import annotations

import structlog

from core.composer import Composer
from core.contract import Adapter, AdapterError, Deletes, Edits, Pings, Reacts, Receipt, Rejected, Types
from core.deps import Deps
from core.folded import FoldedPosts
from core.gate import Gate
from core.jobs import Done, Job
from core.model import MessageId, said_in
from core.wire import Pong, Posted

log = structlog.get_logger()
TYPING_MAX_AGE_MS = 5_000


def done(job: Job, receipt: Receipt) -> Done:
    """The job ended with ``receipt``: what the id map is to know of that."""
    delivery, author = job.delivery, job.delivery.author
    if author is None or not (delivery.kind == "new" or (delivery.kind == "edit" and receipt.natives)):
        # An edit that was not its author's, or of what never got here, leaves no trace.
        return Done(job)
    return Done(job, Posted(author.id, author.name, receipt.natives))


class Doing:
    """Does one job; raises what the adapter raises."""

    def __init__(self, adapter: Adapter, composer: Composer, gate: Gate, deps: Deps) -> None:
        self._adapter = adapter
        self._composer = composer
        self._gate = gate
        self._deps = deps
        self._folded = FoldedPosts(adapter, composer, deps)

    async def do(self, job: Job) -> Done:
        """Do it natively, or post the readable substitute."""
        kind = job.delivery.kind
        if kind == "typing":
            return await self._typing(job)
        if kind == "ping":
            return await self._ping(job)
        posted = (await self._composer.posted([job])).get((job.room, job.delivery.message))
        if posted is None:
            # It never got here: said before the rooms were connected, hushed, or too long ago.
            return Done(job)
        if kind == "edit":
            return await self._edit(job, posted)
        if kind == "delete":
            return await self._delete(job, posted)
        return await self._react(job, posted)

    async def _edit(self, job: Job, posted: Posted) -> Done:
        author = job.delivery.author
        if author is None or author.id != posted.author_id:
            return Done(job)
        caps = self._adapter.capabilities(job.room)
        if posted.fold and (edited := await self._folded.edit(job, posted)):
            return edited
        if not posted.fold and isinstance(self._adapter, Edits) and caps.edit != "fallback" and posted.natives:
            outbound = self._composer.message(job, {}, {})
            return done(job, await self._adapter.edit(posted.natives, outbound))
        receipt = await self._adapter.send(self._composer.correction(job, caps))
        if posted.fold:
            # It goes on standing in its post; an answer to the correction is one to the message.
            return Done(job, kept=[field for n in receipt.natives for field in ("n" + n, job.delivery.message)])
        return done(job, receipt if receipt.natives else Receipt(posted.natives))

    async def _delete(self, job: Job, posted: Posted) -> Done:
        author = job.delivery.author
        if author is not None and author.id != posted.author_id and author.role != "admin":
            return Done(job)
        if posted.fold:
            return await self._delete_folded(job, posted)
        caps = self._adapter.capabilities(job.room)
        if isinstance(self._adapter, Deletes) and caps.delete != "fallback" and posted.natives:
            await self._adapter.delete(job.room, posted.natives)
            return Done(job)
        return await self._say_removed(job, posted)

    async def _delete_folded(self, job: Job, posted: Posted) -> Done:
        removed = await self._folded.remove(job, posted)
        if not removed.shown:
            await self._say_removed(job, posted)
        return removed.done

    async def _say_removed(self, job: Job, posted: Posted) -> Done:
        caps = self._adapter.capabilities(job.room)
        text = self._composer.renderer.removal(job.delivery, job.style, caps, posted)
        await self._adapter.send(self._composer.post(job, text))
        return Done(job)

    async def _react(self, job: Job, posted: Posted) -> Done:
        delivery = job.delivery
        caps = self._adapter.capabilities(job.room)
        author = self._composer.renderer.author(delivery)
        if isinstance(self._adapter, Reacts) and caps.reaction != "fallback" and posted.natives and author:
            try:
                await self._adapter.react(job.room, posted.natives[0], delivery.emoji, delivery.added, author)
                return Done(job)
            except Rejected as error:
                log.debug("a reaction is put into words", account=self._adapter.account, reason=error.reason)
        text = self._composer.renderer.reaction(delivery, job.style, caps, posted)
        await self._adapter.send(self._composer.post(job, text))
        return Done(job)

    async def _typing(self, job: Job) -> Done:
        author = self._composer.renderer.author(job.delivery)
        fresh = self._deps.now_ms() - job.delivery.at_ms < TYPING_MAX_AGE_MS
        shown = self._adapter.capabilities(job.room).typing != "drop"
        if isinstance(self._adapter, Types) and author and shown and fresh:
            await self._adapter.typing(job.room, author)
        return Done(job)

    async def _ping(self, job: Job) -> Done:
        error = ""
        if isinstance(self._adapter, Pings):
            try:
                await self._adapter.ping(job.room)
            except AdapterError as failed:
                error = str(failed)
        asked_in, _ = said_in(MessageId(job.delivery.ping))
        self._gate.put(Pong(asked_in, job.delivery.ping, job.room, error), dedup="")
        return Done(job)

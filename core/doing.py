"""Everything but new messages: edits, deletions, reactions, typing, pings, each by what the room can do."""

from __future__ import annotations

from core.composer import Composer
from core.contract import Adapter, AdapterError, Deletes, Edits, Pings, Reacts, Receipt, Types
from core.deps import Deps
from core.ingest import Gate
from core.jobs import Job
from core.model import MessageId, said_in
from core.wire import Pong, Posted

DONE = Receipt()
TYPING_MAX_AGE_MS = 5_000


class Doing:
    """Does one job; raises what the adapter raises."""

    def __init__(self, adapter: Adapter, composer: Composer, gate: Gate, deps: Deps) -> None:
        self._adapter = adapter
        self._composer = composer
        self._gate = gate
        self._deps = deps

    async def do(self, job: Job) -> Receipt:
        """Do it natively, or post the readable substitute."""
        kind = job.delivery.kind
        if kind == "typing":
            return await self._typing(job)
        if kind == "ping":
            return await self._ping(job)
        posted = (await self._composer.posted([job])).get((job.room, job.delivery.message))
        if posted is None:
            # It never got here: said before the rooms were connected, hushed, or too long ago.
            return DONE
        if kind == "edit":
            return await self._edit(job, posted)
        if kind == "delete":
            return await self._delete(job, posted)
        return await self._react(job, posted)

    async def _edit(self, job: Job, posted: Posted) -> Receipt:
        author = job.delivery.author
        if author is None or author.id != posted.author_id:
            return DONE
        caps = self._adapter.capabilities(job.room)
        if isinstance(self._adapter, Edits) and caps.edit != "fallback" and posted.natives:
            outbound = self._composer.message(job, {}, {})
            return await self._adapter.edit(posted.natives, outbound)
        receipt = await self._adapter.send(self._composer.correction(job, caps))
        return receipt if receipt.natives else Receipt(posted.natives)

    async def _delete(self, job: Job, posted: Posted) -> Receipt:
        author = job.delivery.author
        if author is not None and author.id != posted.author_id and author.role != "admin":
            return DONE
        caps = self._adapter.capabilities(job.room)
        if isinstance(self._adapter, Deletes) and caps.delete != "fallback" and posted.natives:
            await self._adapter.delete(job.room, posted.natives)
            return DONE
        text = self._composer.renderer.removal(job.delivery, job.style, caps, posted)
        return await self._adapter.send(self._composer.post(job, text))

    async def _react(self, job: Job, posted: Posted) -> Receipt:
        delivery = job.delivery
        caps = self._adapter.capabilities(job.room)
        if isinstance(self._adapter, Reacts) and caps.reaction != "fallback" and posted.natives and delivery.author:
            author = self._composer.renderer.author(delivery.author)
            await self._adapter.react(job.room, posted.natives[0], delivery.emoji, delivery.added, author)
            return DONE
        text = self._composer.renderer.reaction(delivery, job.style, caps, posted)
        return await self._adapter.send(self._composer.post(job, text))

    async def _typing(self, job: Job) -> Receipt:
        author = job.delivery.author
        fresh = self._deps.now_ms() - job.delivery.at_ms < TYPING_MAX_AGE_MS
        shown = self._adapter.capabilities(job.room).typing != "drop"
        if isinstance(self._adapter, Types) and author and shown and fresh:
            await self._adapter.typing(job.room, self._composer.renderer.author(author))
        return DONE

    async def _ping(self, job: Job) -> Receipt:
        error = ""
        if isinstance(self._adapter, Pings):
            try:
                await self._adapter.ping(job.room)
            except AdapterError as failed:
                error = str(failed)
        asked_in, _ = said_in(MessageId(job.delivery.ping))
        self._gate.put(Pong(asked_in, job.delivery.ping, job.room, error), dedup="")
        return DONE

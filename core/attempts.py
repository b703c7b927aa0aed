"""Tries to post: what the adapter is asked, and what came of it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Sequence
from typing import TypeVar

from core.composer import Composer, Known, TextCache
from core.contract import Adapter, AdapterError, Finds, Outbound, Receipt, Rejected, Streams, Uncertain
from core.deps import Deps
from core.doing import Doing, done
from core.folded import can_edit
from core.folding import Fold
from core.jobs import POSTS, Done, Job
from core.journal import LeaseLost
from core.outbox import Outbox
from core.store import TRANSIENT, StoreDown, insist

Result = TypeVar("Result")
Outcome = Done | Exception


class Unknowable(Rejected):
    """It may have arrived, nothing can tell, and it is not to be sent twice."""

    def __init__(self) -> None:
        super().__init__("nobody can tell whether it arrived")


class Attempts:
    """Tries for one account. Each returns what came of it, and raises only what concerns the lease."""

    def __init__(self, adapter: Adapter, outbox: Outbox, composer: Composer, doing: Doing, deps: Deps) -> None:
        self._adapter = adapter
        self._outbox = outbox
        self._composer = composer
        self._doing = doing
        self._settings = deps.settings
        self._now_ms = deps.now_ms

    async def one(self, job: Job) -> Outcome:
        """Do one job."""
        if job.delivery.kind not in POSTS:
            await self._outbox.tail.sure()
            return await self._guarded(self._doing.do(job))
        known = await self._known([job])
        await self._outbox.tail.sure()
        receipt = await self._guarded(self._post(self._composer.message(job, known, {}), job.doubtful))
        return done(job, receipt) if isinstance(receipt, Receipt) else receipt

    async def fold(self, fold: Fold) -> list[Done] | Exception:
        """Post several messages as one."""
        await self._outbox.tail.sure()
        receipt = await self._guarded(self._post(fold.outbound, fold.is_doubtful()))
        if isinstance(receipt, Exception):
            return receipt
        return fold.done(receipt, self._now_ms(), with_words=can_edit(self._adapter, fold.outbound.room))

    async def batch(self, adapter: Streams, batch: list[Job]) -> list[tuple[Job, Outcome]]:
        """Post a batch on a stream."""
        known = await self._known(batch)
        await self._outbox.tail.sure()
        receipts = await self._guarded(self._post_batch(adapter, batch, known))
        if isinstance(receipts, Exception):
            return [(job, receipts) for job in batch]
        return [
            (job, done(job, receipt) if isinstance(receipt, Receipt) else receipt)
            for job, receipt in zip(batch, receipts, strict=True)
        ]

    async def _known(self, jobs: Sequence[Job]) -> Known:
        return await insist(self._composer.posted, jobs)

    async def _post(self, outbound: Outbound, doubtful: bool) -> Receipt:
        if doubtful and not self._adapter.capabilities(outbound.room).idempotent:
            if isinstance(self._adapter, Finds):
                found = await self._adapter.find_sent(outbound)
                if found is not None:
                    return found
            elif self._settings.on_uncertain == "drop":
                raise Unknowable
        return await self._adapter.send(outbound)

    async def _post_batch(self, adapter: Streams, batch: list[Job], known: Known) -> Sequence[Receipt | AdapterError]:
        cache: TextCache = {}
        receipts = await adapter.send_stream([self._composer.message(job, known, cache) for job in batch])
        if len(receipts) != len(batch):
            raise RuntimeError(f"{len(receipts)} results for {len(batch)} posts")
        return receipts

    async def _guarded(self, doing: Awaitable[Result]) -> Result | Exception:
        """What came of an attempt. Whatever an adapter raises concerns this post alone."""
        try:
            async with asyncio.timeout(self._settings.send_timeout_s):
                return await doing
        except TimeoutError:
            return Uncertain(f"no answer in {self._settings.send_timeout_s} s")
        except LeaseLost:
            raise
        except (StoreDown, *TRANSIENT) as error:
            return Uncertain(f"a connection broke: {error}")
        except Exception as error:  # noqa: BLE001 - it is looked at when it is settled
            return error

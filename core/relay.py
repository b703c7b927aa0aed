"""The relay of one process: takes its share of the shards and keeps each one running."""

from __future__ import annotations

import asyncio

import structlog

from core import keys
from core.deps import Deps
from core.journal import LeaseLost, Tail
from core.membership import BEAT_MAX_S, Membership
from core.shard import Shard
from core.store import TRANSIENT, StoreDown
from core.wire import Incoming, decode_incoming

log = structlog.get_logger()

RESTART_S = 0.2


class Relay:
    """Runs shards until stopped."""

    def __init__(self, deps: Deps) -> None:
        self._deps = deps
        self._gate = deps.ingest.gate(redelivers=False)
        self._members = Membership(deps.store, keys.RELAYS, deps.journals.process, deps.settings.lease_ms)
        self._running: dict[int, asyncio.Task[None]] = {}
        self._tails: dict[int, Tail[Incoming]] = {}
        self.ready = asyncio.Event()
        """Set once this process has had its share of the shards."""

    async def run(self) -> None:
        """Work until cancelled, then give the shards back."""
        try:
            while True:
                try:
                    await self._balance()
                except (*TRANSIENT, StoreDown) as error:
                    log.warning("relay waits for the store", error=str(error))
                await asyncio.sleep(min(BEAT_MAX_S, self._deps.settings.lease_ms / 4000))
        finally:
            await asyncio.shield(self._stop())

    async def _balance(self) -> None:
        members = await self._members.beat(self._deps.now_ms())
        mine = self._members.share(range(self._deps.shards), members)
        for index in [i for i in self._running if i not in mine]:
            await self._give_up(index)
        missing = [index for index in mine if index not in self._running or self._running[index].done()]
        await asyncio.gather(*(self._take(index) for index in missing))
        if all(index in self._running for index in mine):
            self.ready.set()

    async def _take(self, index: int) -> None:
        tail = await self._deps.journals.take(keys.shard_tag(index), decode_incoming)
        if tail:
            self._tails[index] = tail
            self._running[index] = asyncio.create_task(self._run_shard(index, tail), name=f"shard {index}")

    async def _run_shard(self, index: int, tail: Tail[Incoming]) -> None:
        while True:
            try:
                await Shard(index, tail, self._deps, self._gate).run()
            except LeaseLost:
                log.info("shard changed hands", shard=index)
                await self._release(tail)
            except (*TRANSIENT, StoreDown) as error:
                log.warning("shard starts again", shard=index, error=str(error))
                await self._release(tail)
            except Exception:  # the rooms of a shard must not be gone for good
                log.exception("shard starts again", shard=index)
                await self._release(tail)
            while True:
                await asyncio.sleep(RESTART_S)
                try:
                    taken = await self._deps.journals.take(tail.tag, decode_incoming)
                except (*TRANSIENT, StoreDown):
                    continue
                if taken:
                    tail = self._tails[index] = taken
                    break

    async def _release(self, tail: Tail[Incoming]) -> None:
        try:
            await self._deps.journals.release(tail)
        except (*TRANSIENT, StoreDown) as error:
            log.debug("lease runs out by itself", error=str(error))

    async def _give_up(self, index: int) -> None:
        task = self._running.pop(index)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await self._release(self._tails.pop(index))

    async def _stop(self) -> None:
        for index in list(self._running):
            await self._give_up(index)
        try:
            await self._members.leave()
        except (*TRANSIENT, StoreDown) as error:
            log.debug("membership runs out by itself", error=str(error))

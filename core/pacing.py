"""How fast an account posts: the platform's limits for a room and for the whole account, over restarts.

An owner that ends in order writes down what its buckets hold. One that is killed cannot: the next one then begins with
a single post per room and account instead of a burst, and knows from the last second of its life what had run dry.
"""

from __future__ import annotations

import asyncio

from core.contract import Adapter, Capabilities
from core.deps import Deps
from core.limits import TokenBuckets
from core.model import RoomId
from core.outbox import WHOLE_ACCOUNT, Left, Outbox
from core.store import insist

SAVE_S = 1.0
"""How often what ran dry is written down."""
SHORTEST_WAIT_S = 0.01

Limit = tuple[float, int]


class Pacing:
    """The buckets of one account. A room has one post under way, so rooms take turns where they share a limit."""

    def __init__(self, adapter: Adapter, outbox: Outbox, deps: Deps) -> None:
        self._adapter = adapter
        self._outbox = outbox
        self._now_ms = deps.now_ms
        self._buckets: dict[Limit, TokenBuckets] = {}
        self._turns = asyncio.Lock()
        self._unsure_ms = 0.0
        """Nobody knows what rooms had used up at that time, but for those in ``_before``."""
        self._before: dict[RoomId, float] = {}
        self._dry: dict[RoomId, float] = {}
        self._wake = asyncio.Event()

    def restore(self, left: Left) -> None:
        """Go on from what an owner before us used up."""
        self._unsure_ms = self._now_ms() if left.unsure_ms is None else left.unsure_ms
        self._before = left.paces

    async def turn(self, room: RoomId) -> None:
        """Return when the room may post; that counts as a post."""
        caps = self._adapter.capabilities(room)
        if caps.rate_per_s:
            await self._take((caps.rate_per_s, caps.rate_burst), room)
        if caps.account_rate_per_s:
            # The lock is given to who asked first: every room that wants to post has its turn before one has two.
            async with self._turns:
                await self._take((caps.account_rate_per_s, caps.account_rate_burst), WHOLE_ACCOUNT)

    def at_once(self, room: RoomId, caps: Capabilities) -> float:
        """How many posts the room may make without waiting; infinity where nothing limits it."""
        found = float("inf")
        for limit, of in (
            ((caps.rate_per_s, caps.rate_burst), room),
            ((caps.account_rate_per_s, caps.account_rate_burst), WHOLE_ACCOUNT),
        ):
            if limit[0]:
                found = min(found, self._bucket(limit, of).level(of, self._now_ms()))
        return found

    async def _take(self, limit: Limit, of: RoomId) -> None:
        bucket = self._bucket(limit, of)
        while True:
            now_ms = self._now_ms()
            if bucket.take(of, now_ms):
                break
            await asyncio.sleep(max(SHORTEST_WAIT_S, bucket.wait_s(of, now_ms)))
        if bucket.level(of, now_ms) < 1:
            self._dry[of] = bucket.full_at_ms(of, now_ms)
            self._wake.set()

    def _bucket(self, limit: Limit, of: RoomId) -> TokenBuckets:
        buckets = self._buckets.get(limit)
        if buckets is None:
            buckets = self._buckets[limit] = TokenBuckets(*limit)
        if of not in buckets:
            known_ms = self._before.pop(of, 0.0)
            rate_per_s, burst = limit
            buckets.fill_at(of, max(known_ms, self._unsure_ms + 1000 * (burst - 1) / rate_per_s))
        return buckets

    async def keep(self) -> None:
        """Write down what runs dry, until cancelled."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            dry, self._dry = self._dry, {}
            await insist(self._outbox.save_paces, dry)
            await asyncio.sleep(SAVE_S)

    async def save(self) -> None:
        """Write everything down: nothing is posted any more. Raises what the store raises."""
        now_ms = self._now_ms()
        full_at_ms = {RoomId(str(room)): at for each in self._buckets.values() for room, at in each.all(now_ms).items()}
        before = {room: at_ms for room, at_ms in self._before.items() if at_ms > now_ms}
        await self._outbox.save_paces(before | full_at_ms, unsure_ms=self._unsure_ms)

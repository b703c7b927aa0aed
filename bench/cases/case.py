"""What a case is, and the measurements that several cases make."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import NamedTuple

from bench import procfs
from bench.bridge import Bridge, Ends
from bench.report import Figures, Row
from bench.tally import Tally, Tube
from bench.world import MakeBridge, World

MIB = 1024 * 1024
US_PER_S = 1_000_000
ONE_TUBE = (Tube("#a", ("#b",)),)


class Case(NamedTuple):
    """One thing to measure. ``floor`` None: without a bridge there is nothing to compare it with."""

    name: str
    rows: tuple[Row, ...]
    measure: Callable[[World, MakeBridge], Awaitable[Figures]]
    floor: Callable[[World], Awaitable[Figures]] | None = None
    short: bool = False
    """Cheap enough to be measured several times, for a median."""
    by_default: bool = True
    ours_only: bool = False
    """Means nothing for another bridge."""
    limit_s: float = 300.0
    """When it is given up."""


async def burst(world: World, ends: Ends, count: int) -> Tally:
    """Say ``count`` lines at once and wait for what comes out."""
    tally, mouth = world.tally(ends, count)
    async with world.awake():
        await mouth.burst(tally)
        await tally.settled()
    return tally


async def steady(world: World, ends: Ends, count: int, rate_per_s: float) -> Tally:
    """Say ``count`` lines by the clock and wait for what comes out."""
    tally, mouth = world.tally(ends, count)
    await mouth.steady(tally, rate_per_s)
    await tally.settled()
    return tally


class Meter:
    """What a bridge uses, from here on."""

    def __init__(self, bridge: Bridge) -> None:
        self._bridge = bridge
        self._before = procfs.usage(bridge.pids)

    def us_per(self, tally: Tally) -> float:
        """CPU time per delivery, in µs."""
        used_s = procfs.usage(self._bridge.pids).cpu_s - self._before.cpu_s
        return used_s * US_PER_S / max(1, tally.delivered)


async def rest(bridge: Bridge) -> None:
    """Wait until the bridge has nothing left to do."""
    await procfs.quiet(lambda: bridge.pids)


def rss_mib(bridge: Bridge) -> float:
    """Memory of all its processes now."""
    return procfs.usage(bridge.pids).rss_bytes / MIB


async def pause(world: World, seconds: float) -> None:
    """Let time pass; a quick run is in a hurry."""
    await asyncio.sleep(seconds / 5 if world.quick else seconds)

"""What a case is, and the measurements that several cases make."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import NamedTuple, Protocol

from bench import load, procfs
from bench.bridge import Ends
from bench.report import Figures, Row
from bench.tally import Tally, Tube
from bench.world import MakeBridge, World

MIB = 1024 * 1024
US_PER_S = 1_000_000
ONE_TUBE = (Tube("#a", ("#b",)),)


def _no_notes(figures: Figures) -> list[str]:
    return []


class Case(NamedTuple):
    """One thing to measure. ``floor`` None: without a bridge there is nothing to compare it with."""

    name: str
    rows: tuple[Row, ...]
    measure: Callable[[World, MakeBridge], Awaitable[Figures]] | None
    """None: there is only a floor."""
    floor: Callable[[World], Awaitable[Figures]] | None = None
    short: bool = False
    """Cheap enough to be measured several times, for a median."""
    ours_only: bool = False
    """Means nothing for another bridge."""
    irc: bool = True
    """Needs the IRC servers."""
    in_quick: bool = True
    """Small enough for a quick run."""
    notes: Callable[[Figures], list[str]] = _no_notes
    """What the figures say, in sentences."""
    limit_s: float = 300.0
    """When it is given up."""


async def burst(world: World, ends: Ends, count: int) -> Tally:
    """Say ``count`` lines at once and wait for what comes out."""
    tally, mouth = world.tally(ends, count)
    async with world.awake():
        await load.burst(mouth, tally)
        await tally.settled()
    return tally


async def steady(world: World, ends: Ends, count: int, rate_per_s: float) -> Tally:
    """Say ``count`` lines by the clock and wait for what comes out."""
    tally, mouth = world.tally(ends, count)
    await load.steady(mouth, tally, rate_per_s)
    await tally.settled()
    return tally


class HasPids(Protocol):
    """Whatever has processes."""

    @property
    def pids(self) -> list[int]:
        """Processes that count with all their descendants."""


class Meter:
    """What a bridge uses, from here on."""

    def __init__(self, bridge: HasPids) -> None:
        self._bridge = bridge
        self._before = procfs.usage(bridge.pids)

    def us_per(self, tally: Tally) -> float:
        """CPU time per delivery, in µs."""
        return self.used_s() * US_PER_S / max(1, tally.delivered)

    def used_s(self) -> float:
        """CPU time so far, in seconds."""
        return procfs.usage(self._bridge.pids).cpu_s - self._before.cpu_s


async def rest(bridge: HasPids) -> None:
    """Wait until the bridge has nothing left to do."""
    await procfs.quiet(lambda: bridge.pids)


def rss_mib(bridge: HasPids) -> float:
    """Memory of all its processes now."""
    return procfs.usage(bridge.pids).rss_bytes / MIB


async def pause(world: World, seconds: float) -> None:
    """Let time pass; a quick run is in a hurry."""
    await asyncio.sleep(seconds / 5 if world.quick else seconds)

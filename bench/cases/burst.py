"""20,000 lines at once through one tube: rate, faults, CPU and memory."""

from __future__ import annotations

from bench import procfs
from bench.cases.case import MIB, ONE_TUBE, Case, Meter, burst, rest, rss_mib
from bench.report import Figures, Row
from bench.tally import Tally
from bench.world import MakeBridge, World

COUNT = 20_000


def _outcome(tally: Tally) -> Figures:
    return {
        "burst.rate": tally.per_s,
        "burst.lost": tally.lost,
        "burst.twice": tally.twice,
        "burst.order": tally.out_of_order,
    }


async def floor(world: World) -> Figures:
    """Speaker and watcher on one server."""
    async with world.floor(ONE_TUBE) as ends:
        return _outcome(await burst(world, ends, world.scaled(COUNT)))


async def measure(world: World, make: MakeBridge) -> Figures:
    """Through a bridge that has just been started and paired."""
    async with world.bridged(make, ONE_TUBE) as (bridge, ends):
        await rest(bridge)
        idle_mib = rss_mib(bridge)
        meter = Meter(bridge)
        async with procfs.Peak(lambda: bridge.pids) as peak:
            tally = await burst(world, ends, world.scaled(COUNT))
        figures = _outcome(tally)
        figures["burst.cpu"] = meter.us_per(tally)
        figures["burst.idle"], figures["burst.peak"] = idle_mib, peak.rss_bytes / MIB
        return figures


CASE = Case(
    "burst",
    (
        Row("burst.rate", "burst of 20,000, one tube: messages/s", "/s", 15_000, "more"),
        Row("burst.lost", "… lost", "", 0),
        Row("burst.twice", "… twice", "", 0),
        Row("burst.order", "… out of order", "", 0),
        Row("burst.cpu", "… CPU per delivery", "µs", 80),
        Row("burst.idle", "memory of all processes, idle", "MiB", 70),
        Row("burst.peak", "… largest during the burst", "MiB", 130),
    ),
    measure,
    floor,
    short=True,
)

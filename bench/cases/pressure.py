"""Latency over load: the same stream at more and more lines per second through one tube, until it does not keep up."""

from __future__ import annotations

from bench.cases.case import ONE_TUBE, Case, rest, steady
from bench.report import Figures, Row
from bench.tally import Tally
from bench.world import MakeBridge, World

RATES = (20, 50, 200, 500, 1_000, 2_000, 5_000, 10_000)
SECONDS = 4


def _outcome(tally: Tally, rate: int) -> Figures:
    shares = {"p50": 0.50, "p90": 0.90, "p99": 0.99}
    return {f"pressure.{rate}.{name}": tally.latency_ms(share) for name, share in shares.items()}


async def floor(world: World) -> Figures:
    """Speaker and watcher on one server."""
    figures: Figures = {}
    async with world.floor(ONE_TUBE) as ends, world.awake():
        for rate in RATES:
            figures |= _outcome(await steady(world, ends, SECONDS * rate, rate), rate)
    return figures


async def measure(world: World, make: MakeBridge) -> Figures:
    """Through a bridge."""
    figures: Figures = {}
    faults = 0
    async with world.bridged(make, ONE_TUBE) as (bridge, ends), world.awake():
        for rate in RATES:
            await rest(bridge)
            tally = await steady(world, ends, SECONDS * rate, rate)
            figures |= _outcome(tally, rate)
            faults += tally.faults
    return figures | {"pressure.faults": faults}


CASE = Case(
    "pressure",
    (
        *(
            row
            for rate in RATES
            for row in (
                Row(f"pressure.{rate}.p50", f"latency at {rate:,}/s for 4 s, one tube: p50", "ms"),
                Row(f"pressure.{rate}.p99", "… p99", "ms"),
            )
        ),
        Row("pressure.faults", "… lost, twice or out of order, all together", "", 0),
    ),
    measure,
    floor,
    in_quick=False,
)

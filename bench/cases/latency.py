"""A steady stream, said by the clock: how long a line takes from socket to socket."""

from __future__ import annotations

from bench.cases.case import ONE_TUBE, Case, Meter, rest, steady
from bench.report import Figures, Row
from bench.tally import Tally
from bench.world import MakeBridge, World

STREAMS = ((50, 1_000), (500, 10_000))
"""Lines per second, and how many."""


def _outcome(tally: Tally, rate: int) -> Figures:
    return {
        f"latency.{rate}.p50": tally.latency_ms(0.50),
        f"latency.{rate}.p99": tally.latency_ms(0.99),
        f"latency.{rate}.late": tally.late_ms(0.99),
        f"latency.{rate}.faults": tally.lost + tally.twice + tally.out_of_order,
    }


async def floor(world: World) -> Figures:
    """Speaker and watcher on one server."""
    figures: Figures = {}
    async with world.floor(ONE_TUBE) as ends:
        for rate, count in STREAMS:
            figures |= _outcome(await steady(world, ends, world.scaled(count), rate), rate)
    return figures


async def measure(world: World, make: MakeBridge) -> Figures:
    """Through a bridge."""
    figures: Figures = {}
    async with world.bridged(make, ONE_TUBE) as (bridge, ends):
        for rate, count in STREAMS:
            await rest(bridge)
            meter = Meter(bridge)
            tally = await steady(world, ends, world.scaled(count), rate)
            figures |= _outcome(tally, rate) | {f"latency.{rate}.cpu": meter.us_per(tally)}
    return figures


CASE = Case(
    "latency",
    (
        Row("latency.50.p50", "latency at 50/s: p50", "ms", 0.9),
        Row("latency.50.p99", "… p99", "ms", 2.0),
        Row("latency.50.late", "… the harness itself was late: p99", "ms"),
        Row("latency.50.faults", "… lost, twice or out of order", "", 0),
        Row("latency.50.cpu", "… CPU per delivery", "µs", 900),
        Row("latency.500.p50", "latency at 500/s: p50", "ms", 0.45),
        Row("latency.500.p99", "… p99", "ms", 1.5),
        Row("latency.500.late", "… the harness itself was late: p99", "ms"),
        Row("latency.500.faults", "… lost, twice or out of order", "", 0),
        Row("latency.500.cpu", "… CPU per delivery", "µs"),
    ),
    measure,
    floor,
    short=True,
    in_quick=False,
)

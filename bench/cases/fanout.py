"""5,000 lines at once in one room that ten rooms hear."""

from __future__ import annotations

from bench.cases.case import Case, Meter, burst, rest
from bench.report import Figures, Row
from bench.tally import Tally, Tube
from bench.world import MakeBridge, World

COUNT = 5_000
ONE_TO_TEN = (Tube("#one", tuple(f"#of{number}" for number in range(10))),)


def _outcome(tally: Tally) -> Figures:
    faults = tally.lost + tally.twice + tally.out_of_order
    return {"fanout.rate": tally.per_s, "fanout.faults": faults}


async def floor(world: World) -> Figures:
    """Each line said to ten channels by the speaker itself."""
    async with world.floor(ONE_TO_TEN) as ends:
        return _outcome(await burst(world, ends, world.scaled(COUNT)))


async def measure(world: World, make: MakeBridge) -> Figures:
    """Through a bridge."""
    async with world.bridged(make, ONE_TO_TEN) as (bridge, ends):
        await rest(bridge)
        meter = Meter(bridge)
        tally = await burst(world, ends, world.scaled(COUNT))
        return _outcome(tally) | {"fanout.cpu": meter.us_per(tally)}


CASE = Case(
    "fanout",
    (
        Row("fanout.rate", "one room → 10 rooms, burst of 5,000: deliveries/s", "/s", 50_000, "more"),
        Row("fanout.faults", "… lost, twice or out of order", "", 0),
        Row("fanout.cpu", "… CPU per delivery", "µs", 80),
    ),
    measure,
    floor,
    short=True,
    in_quick=False,
)

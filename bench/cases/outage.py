"""The destination's server is down for ten seconds in a stream at 50/s."""

from __future__ import annotations

import asyncio
from time import perf_counter_ns

from bench import load
from bench.cases.case import ONE_TUBE, Case, pause, rest
from bench.report import Figures, Row
from bench.tally import NS_PER_S
from bench.world import MakeBridge, World

RATE = 50
BEFORE_S, DOWN_S, AFTER_S = 5.0, 10.0, 15.0
IDLE_S = 30.0


async def measure(world: World, make: MakeBridge) -> Figures:
    """The server is killed and started; its door opens to the bridge when the watcher is back in the room."""
    two = world.servers[1]
    async with world.bridged(make, ONE_TUBE) as (bridge, ends), world.awake():
        await rest(bridge)
        tally, mouth = world.tally(ends, int(RATE * (BEFORE_S + DOWN_S + AFTER_S) / (5 if world.quick else 1)))
        talking = asyncio.create_task(load.steady(mouth, tally, RATE))
        await pause(world, BEFORE_S)
        await two.kill()
        try:
            await pause(world, DOWN_S)
        finally:
            await two.start(bridge_door=False)
        await ends.watcher.until_ready()
        await two.open_bridge_door()
        back_ns = perf_counter_ns()
        await talking
        await tally.settled(IDLE_S)
        first_ns = tally.first_after(back_ns)
        return {
            "outage.lost": tally.lost,
            "outage.faults": tally.twice + tally.out_of_order,
            "outage.silence": (first_ns - back_ns) / NS_PER_S if first_ns else float("nan"),
        }


CASE = Case(
    "outage",
    (
        Row("outage.lost", "destination down for 10 s at 50/s: lost", "", 0),
        Row("outage.faults", "… twice or out of order", "", 0),
        Row("outage.silence", "… silence after it is back", "s", 3.0),
    ),
    measure,
    in_quick=False,
)

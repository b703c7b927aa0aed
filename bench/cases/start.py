"""From starting the process to the first line that it relays, on a data folder that knows the tube."""

from __future__ import annotations

import asyncio
from statistics import median
from time import perf_counter_ns

from bench import load
from bench.bridge import Bridge, Ends
from bench.cases.case import ONE_TUBE, Case
from bench.client import Client
from bench.report import Figures, Row
from bench.tally import NS_PER_S
from bench.world import MakeBridge, World

TIMES = 9
LINES_PER_S = 200
LONGEST_S = 60


async def _once(world: World, bridge: Bridge, ends: Ends) -> float:
    await bridge.stop()
    tally, mouth = world.tally(ends, LINES_PER_S * LONGEST_S)
    talking = asyncio.create_task(load.steady(mouth, tally, LINES_PER_S))
    try:
        spawned_ns = perf_counter_ns()
        await bridge.start()
        async with asyncio.timeout(LONGEST_S):
            await tally.reached(1)
        return (tally.arrivals_ns[0] - spawned_ns) / NS_PER_S
    finally:
        talking.cancel()
        await asyncio.gather(talking, return_exceptions=True)


async def floor(world: World) -> Figures:
    """A client that is running already gets into its channel. InspIRCd lets people in by a clock of whole seconds,
    so that this takes up to a second.
    """
    times_s = []
    async with world.awake():
        for _ in range(TIMES):
            await asyncio.sleep(world.rng.random())
            began_ns = perf_counter_ns()
            async with Client(world.servers[1].port, world.unique("f"), ["#b"]):
                times_s.append((perf_counter_ns() - began_ns) / NS_PER_S)
    return {"start.first": median(times_s), "start.slowest": max(times_s)}


async def measure(world: World, make: MakeBridge) -> Figures:
    """Somebody talks all the time; the bridge is stopped and started again."""
    async with world.bridged(make, ONE_TUBE) as (bridge, ends), world.awake():
        times_s = [await _once(world, bridge, ends) for _ in range(1 if world.quick else TIMES)]
        return {"start.first": median(times_s), "start.slowest": max(times_s)}


CASE = Case(
    "start",
    (
        Row("start.first", "start to first relayed message, warm data folder", "s", 1.0),
        Row("start.slowest", "… the slowest", "s"),
    ),
    measure,
    floor,
    in_quick=False,
)

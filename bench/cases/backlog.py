"""100,000 messages wait behind a dead server; another pair of rooms must not notice, nor while they drain."""

from __future__ import annotations

import asyncio

from bench import load
from bench.bridge import Bridge, Ends, running
from bench.cases.case import Case, rest
from bench.report import Figures, Row
from bench.tally import NS_PER_S, Tally, Tube
from bench.world import MakeBridge, World

COUNT = 100_000
NEIGHBOUR_RATE, NEIGHBOUR_COUNT, NEIGHBOUR_MOST = 50, 500, 15_000
STUCK, NEIGHBOUR = Tube("#stuck", ("#behind",), 1), Tube("#well", ("#fine",), 2)
IDLE_S = 30.0


async def _neighbour(world: World, pair: Ends, until: asyncio.Task[None] | None = None) -> Tally:
    """A stream in the other pair: ten seconds of it, or for as long as something else goes on."""
    tally, mouth = world.tally(pair, NEIGHBOUR_MOST if until else world.scaled(NEIGHBOUR_COUNT))
    talking = asyncio.create_task(load.steady(mouth, tally, NEIGHBOUR_RATE))
    await asyncio.wait([talking, until] if until else [talking], return_when=asyncio.FIRST_COMPLETED)
    talking.cancel()
    await asyncio.gather(talking, return_exceptions=True)
    tally.end_here()
    await tally.settled()
    return tally


async def _phases(world: World, bridge: Bridge, stuck: Ends, well: Ends) -> Figures:
    two = world.servers[STUCK.server]
    await rest(bridge)
    before = await _neighbour(world, well)
    await two.kill()
    try:
        tally, mouth = world.tally(stuck, world.scaled(COUNT))
        async with world.awake():
            await load.burst(mouth, tally)
            await rest(bridge)
        waiting = await _neighbour(world, well)
    finally:
        await two.start(bridge_door=False)
    await stuck.watcher.until_ready()
    await two.open_bridge_door()
    async with world.awake():
        draining = await _neighbour(world, well, asyncio.create_task(tally.settled(IDLE_S)))
    drained_s = (tally.last_ns - tally.arrivals_ns[0]) / NS_PER_S if tally.delivered else float("nan")
    usual_ms = before.latency_ms(0.99)
    return {
        "backlog.lost": tally.lost,
        "backlog.twice": tally.twice,
        "backlog.order": tally.out_of_order,
        "backlog.rate": tally.delivered / drained_s if drained_s else float("nan"),
        "backlog.p99": usual_ms,
        "backlog.waiting": waiting.latency_ms(0.99) / usual_ms,
        "backlog.draining": draining.latency_ms(0.99) / usual_ms,
        "backlog.neighbour": sum(t.lost + t.twice + t.out_of_order for t in (before, waiting, draining)),
    }


async def measure(world: World, make: MakeBridge) -> Figures:
    """The other pair's destination is a third server."""
    bridge = world.bridge(make, (STUCK, NEIGHBOUR))
    async with world.ends([STUCK]) as stuck, world.ends([NEIGHBOUR]) as well, running(bridge, stuck, well):
        return await _phases(world, bridge, stuck, well)


CASE = Case(
    "backlog",
    (
        Row("backlog.lost", "100,000 waiting behind a dead server: lost", "", 0),
        Row("backlog.twice", "… twice", "", 0),
        Row("backlog.order", "… out of order", "", 0),
        Row("backlog.rate", "… drained, messages/s", "/s"),
        Row("backlog.p99", "another pair at 50/s: p99 before", "ms"),
        Row("backlog.waiting", "… times that while they wait", "", 2.0),
        Row("backlog.draining", "… times that while they drain", "", 2.0),
        Row("backlog.neighbour", "… its lost, twice or out of order", "", 0),
    ),
    measure,
    limit_s=600.0,
    in_quick=False,
)

"""1,000 rooms talk, each once a second; then there is a burst in one of them, which the others must not notice."""

from __future__ import annotations

import asyncio

from bench import load, procfs
from bench.cases.case import US_PER_S, Case, Meter, pause, rest
from bench.chat.service import Layout
from bench.chat.stage import MakeChatBridge, Stage, bare, staged, whole
from bench.report import Figures, Row
from bench.tally import Tally, Tube
from bench.world import MakeBridge, World

ROOMS = 1_000
ALONE_S = 10.0
LONGEST_S = 60
BURST = 10_000


async def _talk(world: World, stage: Stage, tubes: list[Tube], until: asyncio.Task[None] | None = None) -> Tally:
    """Every room says a line a second: for a while, or until something else is over."""
    tally, mouth = stage.tally(LONGEST_S * len(tubes), tubes)
    talking = asyncio.create_task(load.steady(mouth, tally, len(tubes)))
    if until:
        await asyncio.wait([until, talking], return_when=asyncio.FIRST_COMPLETED)
        await until
    else:
        await pause(world, ALONE_S)
    talking.cancel()
    await asyncio.gather(talking, return_exceptions=True)
    tally.end_here()
    await tally.settled()
    return tally


async def _phases(world: World, make: MakeChatBridge) -> Figures:
    pairs = world.scaled(ROOMS // 2)
    async with staged(world, Layout(pairs=pairs), make) as stage:
        # Both rooms of a tube talk; the last tube has only the burst.
        there = stage.service.layout.tubes()
        tubes = there[:-1] + [Tube(tube.targets[0], (tube.source,)) for tube in there[:-1]]
        await rest(stage.bridge)
        meter, store_before_s = Meter(stage.bridge), procfs.named(stage.bridge.pids, "server").cpu_s
        alone = await _talk(world, stage, tubes)
        cpu_us = meter.us_per(alone)
        store_s = procfs.named(stage.bridge.pids, "server").cpu_s - store_before_s
        flood, mouth = stage.tally(world.scaled(BURST), there[-1:])
        bursting = asyncio.create_task(_burst(flood, mouth))
        beside = await _talk(world, stage, tubes, bursting)
    times = flood.began_ns, flood.last_ns
    with_ms = {share: beside.latency_between_ms(share, *times) for share in (0.50, 0.99)}
    return {
        "crowd.p50": alone.latency_ms(0.50),
        "crowd.p99": alone.latency_ms(0.99),
        "crowd.late": alone.late_ms(0.99),
        "crowd.cpu": cpu_us,
        "crowd.store_cpu": store_s * US_PER_S / max(1, alone.delivered),
        "crowd.burst_p50": with_ms[0.50],
        "crowd.burst_p99": with_ms[0.99],
        "crowd.burst_late": beside.late_ms(0.99),
        "crowd.times_p50": with_ms[0.50] / alone.latency_ms(0.50),
        "crowd.times_p99": with_ms[0.99] / alone.latency_ms(0.99),
        "crowd.rate": flood.per_s,
        "crowd.faults": sum(tally.faults for tally in (alone, flood, beside)),
    }


async def _burst(tally: Tally, mouth: load.Mouth) -> None:
    await load.burst(mouth, tally)
    await tally.settled(linger_s=0.0)


async def floor(world: World) -> Figures:
    """A process that only hands on."""
    return await _phases(world, bare)


async def measure(world: World, make: MakeBridge) -> Figures:
    """bridgebot."""
    return await _phases(world, whole)


CASE = Case(
    "crowd",
    (
        Row("crowd.p50", "1,000 rooms, each 1 message/s: p50", "ms"),
        Row("crowd.p99", "… p99", "ms"),
        Row("crowd.late", "… the harness itself was late: p99", "ms"),
        Row("crowd.cpu", "… CPU per delivery", "µs"),
        Row("crowd.store_cpu", "… of that in the store", "µs"),
        Row("crowd.burst_p50", "the same during a burst of 10,000 in another room: p50", "ms"),
        Row("crowd.burst_p99", "… p99", "ms"),
        Row("crowd.burst_late", "… the harness itself was late: p99", "ms"),
        Row("crowd.times_p50", "… p50: times that without the burst", ""),
        Row("crowd.times_p99", "… p99: times that without the burst", ""),
        Row("crowd.rate", "… the burst itself: messages/s", "/s"),
        Row("crowd.faults", "… lost, twice or out of order", "", 0),
    ),
    measure,
    floor,
    ours_only=True,
    irc=False,
)

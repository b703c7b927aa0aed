"""500 tubes (1,000 rooms) beside one tube: nothing may cost more because there are many."""

from __future__ import annotations

from collections.abc import Sequence

from bench.cases.case import ONE_TUBE, Case, Meter, burst, rest, rss_mib, steady
from bench.report import Figures, Row
from bench.tally import Tube
from bench.world import MakeBridge, World

MANY = tuple(Tube(f"#a{number}", (f"#b{number}",)) for number in range(500))
BURST, STEADY, RATE = 5_000, 1_000, 50


async def _both_loads(world: World, make: MakeBridge, tubes: Sequence[Tube]) -> Figures:
    async with world.bridged(make, tubes) as (bridge, ends):
        await rest(bridge)
        memory_mib, meter = rss_mib(bridge), Meter(bridge)
        stream = await steady(world, ends, world.scaled(STEADY), RATE)
        stream_us = meter.us_per(stream)
        await rest(bridge)
        meter = Meter(bridge)
        flood = await burst(world, ends, BURST)
        return {
            "p50": stream.latency_ms(0.50),
            "p99": stream.latency_ms(0.99),
            "cpu": stream_us,
            "rate": flood.per_s,
            "burst_cpu": meter.us_per(flood),
            "memory": memory_mib,
            "faults": sum(t.lost + t.twice + t.out_of_order for t in (stream, flood)),
        }


async def floor(world: World) -> Figures:
    """Speaker and watcher on one server, in 500 channels."""
    async with world.floor(MANY) as ends:
        stream = await steady(world, ends, world.scaled(STEADY), RATE)
        flood = await burst(world, ends, BURST)
        return {
            "tubes.p50": stream.latency_ms(0.50),
            "tubes.p99": stream.latency_ms(0.99),
            "tubes.rate": flood.per_s,
        }


async def measure(world: World, make: MakeBridge) -> Figures:
    """The same bridge with one tube, then with 500; figures of the 500, and how many times those of the one."""
    one = await _both_loads(world, make, ONE_TUBE)
    many = await _both_loads(world, make, MANY)
    times = {f"tubes.{key}_times": many[key] / max(one[key], 1e-9) for key in ("p50", "p99", "cpu", "burst_cpu")}
    times["tubes.rate_times"] = one["rate"] / max(many["rate"], 1e-9)
    return {f"tubes.{key}": value for key, value in many.items()} | times


CASE = Case(
    "tubes",
    (
        Row("tubes.p50", "500 tubes, 1,000 rooms, 50/s: p50", "ms"),
        Row("tubes.p50_times", "… times one tube's", "", 1.2),
        Row("tubes.p99", "… p99", "ms"),
        Row("tubes.p99_times", "… times one tube's", "", 1.2),
        Row("tubes.cpu", "… CPU per delivery", "µs"),
        Row("tubes.cpu_times", "… times one tube's", "", 1.2),
        Row("tubes.rate", "500 tubes, burst of 5,000: messages/s", "/s"),
        Row("tubes.rate_times", "… one tube is faster by", "", 1.2),
        Row("tubes.burst_cpu", "… CPU per delivery", "µs"),
        Row("tubes.burst_cpu_times", "… times one tube's", "", 1.2),
        Row("tubes.faults", "… lost, twice or out of order, both loads", "", 0),
        Row("tubes.memory", "memory of all processes, 1,000 rooms", "MiB", 90),
    ),
    measure,
    floor,
    limit_s=600.0,
    in_quick=False,
)

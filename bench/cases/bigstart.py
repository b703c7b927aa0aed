"""A start with 10,000 tubes (20,000 rooms) in the store."""

from __future__ import annotations

from statistics import median

from bench.cases.case import Case, rest, rss_mib
from bench.chat.service import Layout
from bench.chat.stage import MakeChatBridge, bare, staged, whole
from bench.report import Figures, Row
from bench.world import MakeBridge, World

TUBES = 10_000


async def _start(world: World, make: MakeChatBridge, tubes: int) -> tuple[float, float]:
    async with staged(world, Layout(pairs=tubes), make) as stage:
        await rest(stage.bridge)
        return stage.first_s, rss_mib(stage.bridge)


async def floor(world: World) -> Figures:
    """A process that keeps nothing, and for which 10,000 tubes are a rule."""
    first_s, memory_mib = await _start(world, bare, 1)
    return {"bigstart.one": first_s, "bigstart.first": first_s, "bigstart.memory": memory_mib}


async def measure(world: World, make: MakeBridge) -> Figures:
    """On one tube first, for comparison."""
    many = world.scaled(TUBES)
    one = [await _start(world, whole, 1) for _ in range(world.repeats)]
    big = [await _start(world, whole, many) for _ in range(world.repeats)]
    one_s, big_s = median(first for first, _ in one), median(first for first, _ in big)
    return {
        "bigstart.one": one_s,
        "bigstart.first": big_s,
        "bigstart.per_1000": (big_s - one_s) * 1_000 / many,
        "bigstart.memory": median(memory for _, memory in big),
    }


CASE = Case(
    "bigstart",
    (
        Row("bigstart.one", "start to first relayed message, 1 tube", "s", 1.0),
        Row("bigstart.first", "start to first relayed message, 10,000 tubes", "s"),
        Row("bigstart.per_1000", "… each 1,000 tubes add", "s"),
        Row("bigstart.memory", "… memory of all processes, idle after it", "MiB"),
    ),
    measure,
    floor,
    ours_only=True,
    irc=False,
)

"""The same burst in 1, 10, 100 and 1,000 tubes: throughput over the number of rooms."""

from __future__ import annotations

from bench import load
from bench.cases.case import Case, Meter, rest
from bench.chat.service import Layout
from bench.chat.stage import MakeChatBridge, bare, staged, whole
from bench.report import Figures, Row
from bench.world import MakeBridge, World

TUBES = (1, 10, 100, 1_000)
KINDS = {"http": False, "stream": True}
COUNT = 10_000


def _sizes(world: World) -> tuple[int, ...]:
    return TUBES[2:3] if world.quick else TUBES


async def _burst(world: World, make: MakeChatBridge, tubes: int, *, stream: bool) -> tuple[float, float, int]:
    async with staged(world, Layout(pairs=tubes, stream=stream), make) as stage:
        await rest(stage.bridge)
        meter = Meter(stage.bridge)
        tally, mouth = stage.tally(world.scaled(COUNT))
        await load.burst(mouth, tally)
        await tally.settled()
        return tally.per_s, meter.us_per(tally), tally.faults


async def floor(world: World) -> Figures:
    """A process that only hands on; it knows no difference between the two kinds."""
    figures: Figures = {}
    for tubes in _sizes(world):
        rate, cpu_us, _ = await _burst(world, bare, tubes, stream=False)
        for kind in KINDS:
            figures |= {f"spread.{kind}.{tubes}": rate, f"spread.{kind}.{tubes}.cpu": cpu_us}
    return figures


async def measure(world: World, make: MakeBridge) -> Figures:
    """bridgebot, started anew for each number of tubes."""
    figures: Figures = {}
    faults = 0
    for kind, stream in KINDS.items():
        for tubes in _sizes(world):
            rate, cpu_us, wrong = await _burst(world, whole, tubes, stream=stream)
            figures |= {f"spread.{kind}.{tubes}": rate, f"spread.{kind}.{tubes}.cpu": cpu_us}
            faults += wrong
    return figures | {"spread.faults": faults}


def _rows(kind: str, title: str) -> tuple[Row, ...]:
    rows = []
    for tubes in TUBES:
        many = "1 tube" if tubes == 1 else f"{tubes:,} tubes"
        rows.append(Row(f"spread.{kind}.{tubes}", f"burst of 10,000 over {many}, {title}: messages/s", "/s"))
        rows.append(Row(f"spread.{kind}.{tubes}.cpu", "… CPU per delivery", "µs"))
    return tuple(rows)


CASE = Case(
    "spread",
    (
        *_rows("http", "a post at a time in each room"),
        *_rows("stream", "on streams"),
        Row("spread.faults", "… lost, twice or out of order, all together", "", 0),
    ),
    measure,
    floor,
    ours_only=True,
    irc=False,
    in_quick=False,
)

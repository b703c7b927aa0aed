"""One sameroom of 200 rooms on eight accounts; a burst in one of the rooms."""

from __future__ import annotations

from bench import load
from bench.cases.case import Case, Meter, rest
from bench.chat.service import Layout
from bench.chat.stage import MakeChatBridge, bare, staged, whole
from bench.report import Figures, Row
from bench.world import MakeBridge, World

ROOMS, ACCOUNTS_A_SIDE, COUNT = 200, 4, 250


async def _burst(world: World, make: MakeChatBridge, name: str, *, stream: bool) -> Figures:
    layout = Layout(star=ROOMS, accounts=ACCOUNTS_A_SIDE, stream=stream)
    async with staged(world, layout, make) as stage:
        await rest(stage.bridge)
        meter = Meter(stage.bridge)
        tally, mouth = stage.tally(world.scaled(COUNT))
        await load.burst(mouth, tally)
        await tally.settled()
        return {
            f"sameroom.{name}.rate": tally.per_s,
            f"sameroom.{name}.cpu": meter.us_per(tally),
            f"sameroom.{name}.faults": tally.faults,
        }


async def floor(world: World) -> Figures:
    """A process that only hands on; it knows no difference between the two kinds."""
    found = await _burst(world, bare, "http", stream=False)
    return found | {key.replace("http", "stream"): value for key, value in found.items()}


async def measure(world: World, make: MakeBridge) -> Figures:
    """Rooms of a service that takes one post at a time in each, and rooms on a stream."""
    figures = await _burst(world, whole, "stream", stream=True)
    return figures if world.quick else figures | await _burst(world, whole, "http", stream=False)


def _rows(name: str, title: str) -> tuple[Row, ...]:
    return (
        Row(f"sameroom.{name}.rate", f"sameroom of 200 rooms, {title}: deliveries/s", "/s", better="more"),
        Row(f"sameroom.{name}.cpu", "… CPU per delivery", "µs"),
        Row(f"sameroom.{name}.faults", "… lost, twice or out of order", "", 0),
    )


CASE = Case(
    "sameroom",
    _rows("http", "a post at a time in each") + _rows("stream", "on streams"),
    measure,
    floor,
    ours_only=True,
    irc=False,
)

"""One, two and four relays on one Redis; and what is full when more of them do not help."""

from __future__ import annotations

import os
from statistics import median
from time import monotonic

from bench import procfs
from bench.apart import Apart
from bench.bridge import running
from bench.cases.case import Case, burst, rest
from bench.children import Child
from bench.report import Figures, Row
from bench.tally import Tube
from bench.world import MakeBridge, World

COUNT = 20_000
RELAYS = (1, 2, 4)
BOTS = 2
TUBES = tuple(Tube(f"#a{number}", (f"#b{number}",)) for number in range(64))


def _cpu_s(children: list[Child]) -> float:
    return procfs.usage(child.pid for child in children).cpu_s


async def _with_relays(world: World, relays: int) -> Figures:
    folder = world.folder / world.unique("apart")
    apart = Apart(world.product, world.servers, TUBES, folder, relays=relays, bots=BOTS)
    async with world.ends(TUBES) as ends, running(apart, ends):
        rates, shares = [], []
        for _ in range(world.repeats):
            await rest(apart)
            before = _cpu_s(apart.relays), _cpu_s(apart.bots), procfs.usage([apart.redis.pid]).cpu_s
            busy_before_s, began_s = procfs.machine_busy_s(), monotonic()
            tally = await burst(world, ends, world.scaled(COUNT))
            busy_s, wall_s = procfs.machine_busy_s() - busy_before_s, monotonic() - began_s
            after = _cpu_s(apart.relays), _cpu_s(apart.bots), procfs.usage([apart.redis.pid]).cpu_s
            rates.append(tally.per_s)
            used = [now - then for then, now in zip(before, after, strict=True)]
            machine = 100 * busy_s / wall_s / (os.cpu_count() or 1)
            shares.append([*(100 * part_s / tally.span_s for part_s in used), machine])
        figures = {f"scale.{relays}": median(rates)}
        for name, column in zip(("relay", "bots", "redis", "machine"), zip(*shares, strict=True), strict=True):
            figures[f"scale.{relays}.{name}"] = median(column)
        return figures


async def measure(world: World, make: MakeBridge) -> Figures:
    """Rates, and how many times that of one relay."""
    figures: Figures = {}
    for relays in RELAYS:
        figures |= await _with_relays(world, relays)
    for relays in RELAYS[1:]:
        figures[f"scale.{relays}.times"] = figures[f"scale.{relays}"] / max(figures["scale.1"], 1e-9)
    return figures


def _rows(relays: int) -> tuple[Row, ...]:
    title = f"{relays} relay{'s' if relays > 1 else ''} on one Redis, 64 tubes, burst of 20,000: messages/s"
    wanted = {2: 1.7, 4: 3.0}.get(relays)
    times = (Row(f"scale.{relays}.times", "… times one relay's", "", wanted, "more"),) if wanted else ()
    return (
        Row(f"scale.{relays}", title, "/s"),
        *times,
        Row(f"scale.{relays}.relay", "… CPU of all relays (100 %: one core)", "%"),
        Row(f"scale.{relays}.bots", "… CPU of both processes of bots", "%"),
        Row(f"scale.{relays}.redis", "… CPU of Redis", "%"),
        Row(f"scale.{relays}.machine", "… of the whole machine's CPU in use", "%"),
    )


CASE = Case(
    "scale",
    tuple(row for relays in RELAYS for row in _rows(relays)),
    measure,
    by_default=False,
    ours_only=True,
    limit_s=600.0,
)

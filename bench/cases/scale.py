"""One, two and four relays, with as many processes of bots, on one Redis or Valkey; and what is full when more of them
do not help.
"""

from __future__ import annotations

import os
from pathlib import Path
from statistics import median
from time import monotonic
from typing import NamedTuple

from bench import load, procfs
from bench.cases.case import US_PER_S, Case, rest
from bench.chat.bridges import ChatBridge, Roles
from bench.chat.service import Layout, Service
from bench.chat.stage import Stage, bare, staged
from bench.report import Figures, Row
from bench.tally import Tally
from bench.world import MakeBridge, World

PROCESSES = (1, 2, 4)
COUNT = 20_000
LAYOUT = Layout(pairs=64, accounts=4, stream=True)
FULL = 90.0
"""Per cent of its core, or of all cores, from which on we call something full."""
WHO = ("relay", "bots", "store")


class _Cpu(NamedTuple):
    """CPU seconds: of each relay, of each process of bots, of the store, of the whole machine; and the clock."""

    relay: list[float]
    bots: list[float]
    store: list[float]
    machine_s: float
    clock_s: float


def _cpu(roles: Roles) -> _Cpu:
    def of(pids: list[int]) -> list[float]:
        return [procfs.usage([pid]).cpu_s for pid in pids]

    relays, bots = [child.pid for child in roles.relays], [child.pid for child in roles.bots]
    return _Cpu(of(relays), of(bots), of([roles.redis.pid]), procfs.machine_busy_s(), monotonic())


def _outcome(before: _Cpu, after: _Cpu, tally: Tally) -> Figures:
    wall_s = after.clock_s - before.clock_s
    figures = {
        "rate": tally.per_s,
        "faults": float(tally.faults),
        "machine": 100 * (after.machine_s - before.machine_s) / wall_s / (os.cpu_count() or 1),
    }
    for who in WHO:
        used = [now - then for then, now in zip(getattr(before, who), getattr(after, who), strict=True)]
        figures[f"{who}_us"] = sum(used) * US_PER_S / max(1, tally.delivered)
        figures[f"{who}_busiest"] = 100 * max(used) / wall_s
    return figures


async def _burst(world: World, stage: Stage, roles: Roles) -> Figures:
    await rest(roles)
    before = _cpu(roles)
    tally, mouth = stage.tally(world.scaled(COUNT))
    await load.burst(mouth, tally)
    await tally.settled(linger_s=0.0)
    return _outcome(before, _cpu(roles), tally)


async def _with(world: World, processes: int) -> Figures:
    made: list[Roles] = []

    def make(world: World, service: Service, folder: Path) -> ChatBridge:
        made.append(Roles(world.product, service, folder, relays=processes, bots=processes))
        return made[0]

    async with staged(world, LAYOUT, make) as stage:
        runs = [await _burst(world, stage, made[0]) for _ in range(world.repeats)]
    return {f"scale.{processes}.{key}": median(run[key] for run in runs) for key in runs[0]}


async def floor(world: World) -> Figures:
    """One process that only hands on."""
    async with staged(world, LAYOUT, bare) as stage:
        tally, mouth = stage.tally(world.scaled(COUNT))
        await load.burst(mouth, tally)
        await tally.settled()
        return {f"scale.{processes}.rate": tally.per_s for processes in PROCESSES}


async def measure(world: World, make: MakeBridge) -> Figures:
    """Rates, and how many times that of one relay and one process of bots."""
    figures: Figures = {}
    for processes in PROCESSES:
        figures |= await _with(world, processes)
    for processes in PROCESSES[1:]:
        figures[f"scale.{processes}.times"] = figures[f"scale.{processes}.rate"] / max(figures["scale.1.rate"], 1e-9)
    return figures


def limit(figures: Figures, processes: int) -> str:
    """What was full."""
    of = {key: figures.get(f"scale.{processes}.{key}", 0.0) for key in ("machine", *(f"{who}_busiest" for who in WHO))}
    names = {"store_busiest": "the store", "relay_busiest": "a relay", "bots_busiest": "a process of bots"}
    full = [f"{name} ({of[key]:.0f} % of a core)" for key, name in names.items() if of[key] >= FULL]
    if of["machine"] >= FULL:
        full.append(f"the machine ({of['machine']:.0f} % of its {os.cpu_count()} cores, with the harness)")
    busiest = max(names, key=lambda key: of[key])
    if full:
        return f"full: {' and '.join(full)}"
    return (
        f"nothing was full; the machine {of['machine']:.0f} %, the busiest process {names[busiest]} with "
        f"{of[busiest]:.0f} % of a core: they waited for one another"
    )


def _many(processes: int) -> str:
    return f"{processes} relays, {processes} processes of bots" if processes > 1 else "1 relay, 1 process of bots"


def notes(figures: Figures) -> list[str]:
    """The limits by name, and where each part would be full if it had a core to itself."""
    lines = []
    for processes in PROCESSES:
        if f"scale.{processes}.rate" in figures:
            lines.append(f"{_many(processes)}: {limit(figures, processes)}.")
    if "scale.1.store_us" in figures:
        most = {who: US_PER_S / max(figures[f"scale.1.{who}_us"], 1e-9) for who in WHO}
        lines.append(
            "By CPU per delivery, one core each: a relay is full at "
            f"{most['relay']:,.0f} deliveries/s, a process of bots at {most['bots']:,.0f}, the store at "
            f"{most['store']:,.0f}. So one store keeps up with {most['store'] / most['relay']:.1f} relays and "
            f"{most['store'] / most['bots']:.1f} processes of bots that work at full speed."
        )
    return lines


def _rows(processes: int) -> tuple[Row, ...]:
    many = f"{_many(processes)} on one store"
    wanted = {2: 1.7, 4: 3.0}.get(processes)
    times = (Row(f"scale.{processes}.times", "… times one of each", "", wanted, "more"),) if wanted else ()
    return (
        Row(f"scale.{processes}.rate", f"{many}, 64 tubes, burst of 20,000: messages/s", "/s"),
        *times,
        Row(f"scale.{processes}.relay_us", "… CPU per delivery: relays", "µs"),
        Row(f"scale.{processes}.bots_us", "… bots", "µs"),
        Row(f"scale.{processes}.store_us", "… the store", "µs"),
        Row(f"scale.{processes}.machine", "… of the whole machine's CPU in use", "%"),
        Row(f"scale.{processes}.faults", "… lost, twice or out of order", "", 0),
    )


CASE = Case(
    "scale",
    tuple(row for processes in PROCESSES for row in _rows(processes)),
    measure,
    floor,
    ours_only=True,
    irc=False,
    in_quick=False,
    limit_s=600.0,
    notes=notes,
)

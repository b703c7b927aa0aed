"""Times that delivery promises, taken in a running trial before its faults: acknowledgement, neighbours, take-over."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import quantiles
from typing import TYPE_CHECKING

from tests.faults.checker import words

if TYPE_CHECKING:
    from tests.faults.trial import Trial

WINDOW_S = 4.0
RATE = 200.0
"""Messages a second while something is measured."""
SETTLE_S = 1.0
PATIENCE_S = 30.0


@dataclass
class Figures:
    """What was measured, in seconds."""

    acks_s: list[float] = field(default_factory=list)
    """From handing an event over to its acknowledgement."""
    calm_s: list[float] = field(default_factory=list)
    """From saying something to its arrival, in rooms beside one that will be stuck."""
    stuck_s: list[float] = field(default_factory=list)
    """The same while it is stuck."""
    takeovers_s: list[float] = field(default_factory=list)
    """The longest silence in any room after each kill of a process whose work another one takes over."""
    beyond_lease_s: list[float] = field(default_factory=list)
    """The same, without the lease."""


def p99(samples: Sequence[float]) -> float:
    """The 99th percentile; NaN of too few."""
    return quantiles(samples, n=100)[98] if len(samples) >= 100 else float("nan")


async def measure(trial: Trial) -> Figures:
    """Talk for a while and take the times; the trial's processes run as before when it returns."""
    figures = Figures()
    talking = asyncio.create_task(trial.talk(float("inf"), RATE, bursts=False))
    try:
        await asyncio.sleep(SETTLE_S)
        stuck = trial.random.choice(trial.rooms)
        began_s = time.monotonic()
        await asyncio.sleep(WINDOW_S)
        stuck_s = time.monotonic()
        trial.note(f"{stuck} is stuck")
        trial.service.busy_until_s[stuck] = stuck_s + WINDOW_S
        await asyncio.sleep(WINDOW_S)
        ended_s = time.monotonic()
        await asyncio.sleep(SETTLE_S)
        figures.acks_s = _acks(trial, began_s, ended_s)
        figures.calm_s = _times(trial, began_s, stuck_s, stuck)
        figures.stuck_s = _times(trial, stuck_s, ended_s, stuck)
        for role in ("relay", "bots"):
            if len(those := [process for process in trial.processes if role in process.roles.split()]) > 1:
                process = trial.random.choice(those)
                silence_s = await _take_over(trial, process.name)
                figures.takeovers_s.append(silence_s)
                figures.beyond_lease_s.append(silence_s - trial.plan.lease_ms / 1000)
                await trial.start(process)
    finally:
        talking.cancel()
        await asyncio.gather(talking, return_exceptions=True)
    return figures


def _acks(trial: Trial, from_s: float, to_s: float) -> list[float]:
    return [
        said.acked_s - said.handed_s
        for account in trial.service.accounts.values()
        for said in account.said
        if from_s <= said.handed_s < to_s and said.acked_s
    ]


def _times(trial: Trial, from_s: float, to_s: float, but: str) -> list[float]:
    """How long messages said in that time took to the rooms that take posts as they come."""
    said_s = {said.text: said.at_s for account in trial.service.accounts.values() for said in account.said}
    return [
        post.at_s - at_s
        for room in trial.rooms
        if room != but and trial.service.kind(room) != "slow"
        for post in trial.service.posts[room]
        if from_s <= (at_s := said_s.get(words(post.text), 0.0)) < to_s
    ]


async def _take_over(trial: Trial, name: str) -> float:
    """Kill a process; returns the longest time until a room has heard something that was said after that."""
    (process,) = (process for process in trial.processes if process.name == name)
    trial.note(f"kill {name}; others take over")
    await trial.kill(process, "process")
    killed_s = time.monotonic()
    silent = {room: len(trial.service.posts[room]) for room in trial.rooms}
    last_s = killed_s

    def all_heard() -> bool:
        nonlocal last_s
        for room, before in list(silent.items()):
            for post in trial.service.posts[room][before:]:
                if trial.said_s.get(words(post.text), 0.0) >= killed_s:
                    last_s = max(last_s, post.at_s)
                    del silent[room]
                    break
        return not silent

    await trial.service.until(all_heard, PATIENCE_S, f"every room hears something after the end of {name}")
    return last_s - killed_s

"""The short form: whole trials with real processes that are killed and frozen. The long one: python -m tests.faults."""

from __future__ import annotations

import asyncio
import signal
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from tests.faults import nemesis
from tests.faults.away import away
from tests.faults.checker import Report
from tests.faults.trial import ACCOUNTS, LEASE_MS, PREFIX, SAMEROOMS, Plan, Trial, bounds, run, running_trial

ALONE = (("all", "relay bots"),)
TWO = (("both1", "relay bots"), ("both2", "relay bots"))
APART = (("relay1", "relay"), ("relay2", "relay"), ("bots1", "bots"), ("bots2", "bots"))


def verdict(report: Report, log: Sequence[str]) -> None:
    """Fail with everything that helps when the promise was broken."""
    problems = bounds(report)
    assert not problems, "\n".join([*problems, str(report), *log])


@pytest.mark.parametrize(
    ("plan"),
    [
        Plan(1, 5.0, ALONE, faults=("kill", "point", "busy", "storm", "down")),
        Plan(2, 4.0, ALONE, faults=("store kill", "store stop", "stop", "pause"), store="redis"),
        Plan(3, 5.0, APART, faults=("kill", "point", "stop", "store kill", "busy")),
        Plan(6, 5.0, TWO, faults=(*nemesis.NETWORK, "kill", "disk"), network=True, lease_ms=500),
    ],
    ids=lambda plan: f"seed{plan.seed}",
)
async def test_nothing_is_lost(plan: Plan, tmp_path: Path) -> None:
    """Whatever is killed, frozen or cut off under load, every accepted message arrives, in order, and as often as
    promised.
    """
    report, _, log, _ = await run(replace(plan, rate=150.0, burst=800), tmp_path)
    assert report.accepted > 500
    assert report.faults.total() >= 3
    verdict(report, log)


async def test_away_and_back(tmp_path: Path) -> None:
    """A service that is down, with its bots and the store killed meanwhile, and a token that is revoked: all arrives,
    and each room is told once of the wait and once of its end.
    """
    found = await away(tmp_path, 9, 5.0, 1_000, 1, short=True)
    assert not found.problems, "\n".join([*found.problems, *found.lines, *found.trial.log])


async def heard_everywhere(trial: Trial, turn: int) -> float:
    """Say something in one room of each sameroom; returns how long it took until it was heard in all others."""
    started_s = time.monotonic()
    texts = {}
    for rooms in SAMEROOMS:
        texts[rooms] = f"{PREFIX}{rooms[0]} {turn}"
        trial.service.say(rooms[0], texts[rooms])

    def arrived() -> bool:
        return all(
            any(text in post for post in trial.service.texts(room)[-8:])
            for rooms, text in texts.items()
            for room in rooms[1:]
        )

    await trial.service.until(arrived, 15, f"everything of turn {turn}")
    return time.monotonic() - started_s


async def test_somebody_takes_over(tmp_path: Path) -> None:
    """When a relay and a bot host are killed for good, the others take over their shards and accounts."""
    async with running_trial(Plan(4, 0, APART), tmp_path) as trial:
        await heard_everywhere(trial, 1)
        for turn, process in enumerate((trial.processes[0], trial.processes[2]), 2):
            await trial.kill(process)
            await heard_everywhere(trial, turn)
        report = await trial.report()
        report.faults = Counter(kill=2)
        verdict(report, trial.log)


async def test_whoever_overslept_does_nothing(tmp_path: Path) -> None:
    """A relay and a bot host that were frozen for longer than their lease change nothing when they wake up."""
    async with running_trial(Plan(5, 0, APART), tmp_path) as trial:
        for turn, process in enumerate((trial.processes[1], trial.processes[3]), 1):
            for room in ("a/1", "b/3", "c/4", "a/6", "d/9", "d/11"):
                for _ in range(50):
                    trial.say(room)
            trial.signal(process, signal.SIGSTOP)
            await asyncio.sleep(LEASE_MS / 1000 * 1.2)
            for rooms in SAMEROOMS:
                trial.say(rooms[0])
            await trial.quiet()
            trial.signal(process, signal.SIGCONT)
            await trial.service.until(lambda: True, 1, "a moment")
            before = {room: len(trial.service.texts(room)) for rooms in SAMEROOMS for room in rooms}
            for rooms in SAMEROOMS:
                trial.say(rooms[-1])
            await trial.quiet()
            for rooms in SAMEROOMS:
                for room in rooms[:-1]:
                    assert len(trial.service.texts(room)) - before[room] <= 1 + 2 * (ACCOUNTS[room[0]] != "keyed"), turn
        report = await trial.report()
        report.faults = Counter(kill=2)
        verdict(report, trial.log)

"""The long form: trial after trial, each from its own seed, until the time is over or a promise is broken.

    python -m tests.faults --seed 7 --minutes 60

A trial that fails prints how to run it again, and its folder with the logs is kept.
"""

from __future__ import annotations

import argparse
import asyncio
import shutil
import tempfile
import time
from pathlib import Path
from random import Random

from tests.faults.trial import Plan, bounds, run

LAYOUTS = (
    (("all", "relay bots"),),
    (("relay1", "relay"), ("bots1", "bots")),
    (("relay1", "relay"), ("relay2", "relay"), ("bots1", "bots"), ("bots2", "bots")),
)
TRIAL_S = 30.0


def plan_of(seed: int) -> Plan:
    """The trial of a seed."""
    random = Random(seed)
    return Plan(
        seed,
        TRIAL_S,
        random.choice(LAYOUTS),
        rate=random.choice((50.0, 200.0, 500.0)),
        burst=random.choice((100, 1_500, 6_000)),
        pause_s=random.choice(((0.05, 0.3), (0.3, 1.5))),
        in_memory=random.choice((50, 200, 2_000)),
    )


def main() -> int:
    """Run trials; returns 1 when one failed."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("--seed", type=int, default=1, help="seed of the first trial; the next one adds 1")
    parser.add_argument("--minutes", type=float, default=1.0, help="start no trial after so many")
    given = parser.parse_args()
    seed, end_s = given.seed, time.monotonic() + given.minutes * 60
    accepted = delivered = faults = twice = 0
    while True:
        folder = Path(tempfile.mkdtemp(prefix="faults-"))
        report, log = asyncio.run(run(plan_of(seed), folder))
        accepted += report.accepted
        delivered += report.delivered
        faults += report.faults
        twice += sum(report.duplicates.values())
        print(f"seed {seed}: {report}", flush=True)
        if problems := bounds(report):
            print("\n".join(["BROKEN: " + "; ".join(problems), *log]))
            print(f"Again: python -m tests.faults --seed {seed} --minutes 0   Logs: {folder}")
            return 1
        shutil.rmtree(folder)
        seed += 1
        if time.monotonic() >= end_s:
            print(f"all: accepted {accepted}, delivered {delivered}, faults {faults}, lost 0, twice {twice}")
            return 0


if __name__ == "__main__":
    raise SystemExit(main())

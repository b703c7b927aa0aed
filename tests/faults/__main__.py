"""The long form: trial after trial, each from its own seed, until there are enough or a promise is broken.

    python -m tests.faults --seed 7 --minutes 60
    python -m tests.faults --messages 1000000 --kills 1000 --write

A trial that fails prints how to run it again, and its folder with the logs is kept. Ctrl+C prints what there is so
far; with --keep FILE the next run goes on from there.
"""

from __future__ import annotations

import argparse
import asyncio
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
from pathlib import Path
from random import Random

import uvloop

from tests.faults import nemesis, totals
from tests.faults.away import away
from tests.faults.totals import Totals
from tests.faults.trial import ROOT, Outcome, Plan, bounds, run
from tests.support.page import commit, machine, put_between_marks

PAGE = ROOT / "docs" / "delivery.md"
LAYOUTS = (
    (("all", "relay bots"),),
    (("relay1", "relay"), ("bots1", "bots")),
    (("relay1", "relay"), ("relay2", "relay"), ("bots1", "bots"), ("bots2", "bots")),
    (("both1", "relay bots"), ("both2", "relay bots")),
)
TRIAL_S = 150.0


def plan_of(seed: int, seconds: float = TRIAL_S) -> Plan:
    """The trial of a seed."""
    random = Random(seed)
    network = random.random() < 0.4
    return Plan(
        seed,
        seconds,
        random.choice(LAYOUTS),
        rate=random.choice((600.0, 900.0, 1_200.0)),
        burst=random.choice((100, 1_500, 6_000)),
        pause_s=random.choice(((0.5, 2.0), (0.8, 3.0))),
        faults=nemesis.ALL if network else nemesis.LOCAL,
        in_memory=random.choice((50, 200, 2_000)),
        lease_ms=random.choice((500, 500, 1_000, 2_000)),
        store=random.choice(("", "redis")),
        fsync=random.choice(("everysec", "everysec", "everysec", "always")),
        network=network,
        measures=True,
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__.partition("\n")[0])
    parser.add_argument("--seed", type=int, default=0, help="seed of the first trial (1); the next one adds 1")
    parser.add_argument("--minutes", type=float, help="start no trial after so many (1, if nothing else is given)")
    parser.add_argument("--messages", type=int, default=0, metavar="N", help="go on until so many were accepted")
    parser.add_argument("--kills", type=int, default=0, metavar="N", help="go on until so many were killed")
    parser.add_argument("--trial-s", type=float, default=TRIAL_S, metavar="S", help="seconds of faults in a trial")
    parser.add_argument("--keep", type=Path, metavar="FILE", help="go on from FILE, and keep the totals there")
    parser.add_argument("--write", action="store_true", help="put the table into docs/delivery.md")
    parser.add_argument("--away", action="store_true", help="instead: away for --minutes (10), then back; see away.py")
    return parser


def _away(given: argparse.Namespace) -> int:
    folder = Path(tempfile.mkdtemp(prefix="faults-"))
    seconds = 60 * (10.0 if given.minutes is None else given.minutes)
    notice_after_s = min(60, max(1, int(seconds / 5)))
    found = uvloop.run(away(folder, given.seed or 1, seconds, given.messages or 100_000, notice_after_s))
    print("\n".join(found.lines))
    if found.problems:
        print("\n".join(["BROKEN: " + "; ".join(found.problems), *found.trial.log, f"Logs: {folder}"]))
        return 1
    shutil.rmtree(folder)
    return 0


def _enough(given: argparse.Namespace, found: Totals, began_s: float) -> bool:
    minutes = given.minutes
    if given.messages or given.kills:
        if found.accepted >= given.messages and found.killed() >= given.kills:
            return True
    elif minutes is None:
        minutes = 1.0
    return minutes is not None and time.monotonic() - began_s >= minutes * 60


async def _trial(plan: Plan, folder: Path) -> Outcome:
    """The trial; SIGINT and SIGTERM end it in order."""
    task, loop = asyncio.current_task(), asyncio.get_running_loop()
    assert task is not None
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, task.cancel)
    return await run(plan, folder)


def _run(given: argparse.Namespace, found: Totals) -> int:
    """Trial after trial; returns the exit code."""
    seed, began_s = given.seed or found.next_seed or 1, time.monotonic()
    while True:
        folder, trial_s = Path(tempfile.mkdtemp(prefix="faults-")), time.monotonic()
        try:
            outcome = uvloop.run(_trial(plan_of(seed, given.trial_s), folder))
        except (KeyboardInterrupt, asyncio.CancelledError):
            shutil.rmtree(folder)
            print(f"Stopped in the trial of seed {seed}, which does not count. Go on: --seed {seed}", file=sys.stderr)
            return 130
        except Exception:  # noqa: BLE001 - whatever it is, what was counted before is still worth having
            traceback.print_exc()
            print(_again(seed, given, folder))
            return 1
        found.add(seed, outcome, time.monotonic() - trial_s)
        totals.save(given.keep, found)
        times = " + ".join(f"{seconds:.0f}" for seconds in outcome.seconds)
        print(f"seed {seed} in {times} s: {outcome.report}\n  all: {found.line()}", flush=True)
        if problems := bounds(outcome.report):
            print("\n".join(["BROKEN: " + "; ".join(problems), *outcome.log]))
            print(_again(seed, given, folder))
            return 1
        shutil.rmtree(folder)
        seed += 1
        if _enough(given, found, began_s):
            return 0


def _again(seed: int, given: argparse.Namespace, folder: Path) -> str:
    command = f"python -m tests.faults --seed {seed} --minutes 0 --trial-s {given.trial_s:g}"
    return f"Again: {command}   Logs: {folder}"


def main() -> int:
    """Run trials; returns 1 when one failed, 130 when interrupted."""
    given = _parser().parse_args()
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if given.away:
        return _away(given)
    found = totals.load(given.keep)
    code = _run(given, found)
    if found.trials:
        report = _report(given, found)
        print(report)
        if given.write and code == 0:
            put_between_marks(PAGE, "faults", report)
            print(f"Written to {PAGE}.")
    return code


def _report(given: argparse.Namespace, found: Totals) -> str:
    """The command, when and where it ran, the table."""
    words = [f"--seed {found.first_seed}"]
    words += [f"--{name} {getattr(given, name)}" for name in ("messages", "kills") if getattr(given, name)]
    if given.minutes is not None:
        words.append(f"--minutes {given.minutes:g}")
    at = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime())
    return (
        f'`make faults ARGS="{" ".join(words)}"`: {found.trials} trials in {found.seconds / 60:.0f} minutes; '
        f"{at}; {commit() or 'no commit'}; {machine()}.\n\n{found.table()}"
    )


if __name__ == "__main__":
    raise SystemExit(main())

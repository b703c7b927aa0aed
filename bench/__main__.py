"""``python -m bench``: run the cases, print the table of budgets."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import resource
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import uvloop

from bench.bridge import Peer, Product
from bench.cases import CASES
from bench.cases.case import Case
from bench.report import Figures, medians, table
from bench.world import MakeBridge, World, world

PRODUCT = f"{sys.executable} -m bridgebot"


class Results:
    """What was measured, by whom: ``floor``, ``ours``, ``peer``; and what went wrong."""

    def __init__(self) -> None:
        self.samples: dict[str, dict[str, list[Figures]]] = {"floor": {}, "ours": {}, "peer": {}}
        self.failures: list[str] = []
        self.loads: dict[str, float] = {}

    def add(self, who: str, case: str, figures: Figures) -> None:
        """Keep one run's figures."""
        self.samples[who].setdefault(case, []).append(figures)

    def figures(self, who: str) -> Figures:
        """The medians of all that was measured of one of them."""
        return {key: value for runs in self.samples[who].values() for key, value in medians(runs).items()}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m bench",
        description="Measures the running bridgebot from outside, on real IRC servers that it starts itself.",
        epilog=f"Cases: {', '.join(case.name for case in CASES)}. What they mean: docs/performance.md.",
    )
    parser.add_argument("--only", default="", metavar="A,B", help="these cases, and no others")
    parser.add_argument("--quick", action="store_true", help="a tenth of the load, once: to see that all works")
    parser.add_argument("--repeats", type=int, default=3, metavar="N", help="runs of a short case; its median counts")
    parser.add_argument("--seed", type=int, default=1, metavar="N", help="of the marks in the lines")
    parser.add_argument("--product", default=PRODUCT, metavar="COMMAND", help="how bridgebot is started, before `run`")
    parser.add_argument("--peer", default="", metavar="COMMAND", help="starts another bridge to compare with")
    parser.add_argument("--json", default="", metavar="FILE", help="write every sample there as well")
    return parser


def _chosen(only: str) -> list[Case]:
    names = [name.strip() for name in only.split(",") if name.strip()]
    known = {case.name: case for case in CASES}
    if unknown := [name for name in names if name not in known]:
        raise SystemExit(f"There is no case {', '.join(unknown)}. There are: {', '.join(known)}.")
    return [known[name] for name in names] if names else [case for case in CASES if case.by_default]


def machine() -> str:
    """The machine in a line."""
    model = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if "model name" in line
        ),
        platform.machine(),
    )
    python = f"{platform.python_implementation()} {platform.python_version()}"
    return f"{os.cpu_count()} cores, {model}, Linux {platform.release().partition('-')[0]}, {python}"


async def _attempt(results: Results, who: str, case: Case, work: Any) -> None:
    """One measurement. What goes wrong is told in the end; the other cases go on."""
    began_s = time.monotonic()
    limit = asyncio.timeout(case.limit_s)
    try:
        async with limit:
            results.add(who, case.name, await work)
    except Exception as error:  # noqa: BLE001 - whatever it is, the other cases are still worth having
        reason = str(error) if isinstance(error, RuntimeError) else repr(error)
        if limit.expired():
            reason = f"took more than {case.limit_s:.0f} s"
        results.failures.append(f"{case.name}, {who}: {reason}")
        print(f"  {who}: failed: {reason}", file=sys.stderr)
    else:
        print(f"  {who}: {time.monotonic() - began_s:.1f} s", file=sys.stderr)


async def _run_case(results: Results, here: World, case: Case, bridges: dict[str, MakeBridge]) -> None:
    for _ in range(here.repeats if case.short else 1):
        if case.floor is not None:
            await _attempt(results, "floor", case, case.floor(here))
        for who, make in bridges.items():
            if who == "ours" or not case.ours_only:
                await _attempt(results, who, case, case.measure(here, make))
    results.loads[case.name] = os.getloadavg()[0]


def _stop_in_order() -> None:
    """At the first SIGINT or SIGTERM, stop what was started; a second one does not cut that short."""
    task, loop = asyncio.current_task(), asyncio.get_running_loop()
    assert task is not None
    asked = False

    def stop() -> None:
        nonlocal asked
        if not asked:
            asked = True
            task.cancel()

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop)


async def _run(arguments: argparse.Namespace, cases: Sequence[Case], results: Results) -> None:
    _stop_in_order()
    bridges: dict[str, MakeBridge] = {"ours": partial(Product, arguments.product)}
    if arguments.peer:
        bridges["peer"] = partial(Peer, arguments.peer)
    repeats = 1 if arguments.quick else max(1, arguments.repeats)
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        async with world(
            Path(folder), arguments.product, arguments.seed, quick=arguments.quick, repeats=repeats
        ) as here:
            for number, case in enumerate(cases, 1):
                print(f"[{number}/{len(cases)}] {case.name}", file=sys.stderr)
                await _run_case(results, here, case, bridges)


def _report(results: Results, cases: Sequence[Case], arguments: argparse.Namespace) -> None:
    rows = [row for case in cases for row in case.rows]
    stamp = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime())
    loads = ", ".join(f"{name} {load:.1f}" for name, load in results.loads.items())
    print(table(rows, results.figures("floor"), results.figures("ours"), results.figures("peer")))
    print(f"\n{stamp}; {machine()}.")
    print(f"Load average after each case: {loads}.{' Quick run: a tenth of the load.' if arguments.quick else ''}")
    for failure in results.failures:
        print(f"Failed: {failure}")
    if arguments.json:
        everything = {"at": stamp, "machine": machine(), "quick": arguments.quick, "seed": arguments.seed}
        everything |= {"loads": results.loads, "failures": results.failures, "samples": results.samples}
        Path(arguments.json).write_text(json.dumps(everything, indent=1) + "\n")


def main() -> int:
    """Exit code 1 when a case could not be measured, 130 when interrupted; never for a figure."""
    arguments = _parser().parse_args()
    cases = _chosen(arguments.only)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    results = Results()
    stopped = False
    try:
        uvloop.run(_run(arguments, cases, results))
    except (KeyboardInterrupt, asyncio.CancelledError):
        stopped = True
        print("Stopped; this is what there is so far.", file=sys.stderr)
    _report(results, cases, arguments)
    return 130 if stopped else 1 if results.failures else 0


if __name__ == "__main__":
    sys.exit(main())

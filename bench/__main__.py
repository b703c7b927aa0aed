"""``python -m bench``: run the cases, print the table of budgets."""

from __future__ import annotations

import argparse
import asyncio
import os
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

from bench import plots, record, sizing
from bench.bridge import Peer, Product
from bench.cases import CASES
from bench.cases.case import Case
from bench.record import Results
from bench.world import MakeBridge, World, world
from tests.support.page import machine, put_between_marks

PRODUCT = f"{sys.executable} -m bridgebot"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m bench",
        description="Measures the running bridgebot from outside, over servers that it starts itself.",
        epilog=f"Cases: {', '.join(case.name for case in CASES)}. What they mean: docs/performance.md.",
    )
    parser.add_argument("--only", default="", metavar="A,B", help="these cases, and no others")
    parser.add_argument("--quick", action="store_true", help="the short cases at a tenth of the load: does all work?")
    parser.add_argument("--repeats", type=int, default=3, metavar="N", help="runs of a short case; its median counts")
    parser.add_argument("--seed", type=int, default=1, metavar="N", help="of the marks in the lines")
    parser.add_argument("--product", default=PRODUCT, metavar="COMMAND", help="how bridgebot is started, before `run`")
    parser.add_argument("--peer", default="", metavar="COMMAND", help="starts another bridge to compare with")
    parser.add_argument("--write", action="store_true", help="put a full run's figures into docs/ as well")
    return parser


def _chosen(only: str, *, quick: bool) -> list[Case]:
    names = [name.strip() for name in only.split(",") if name.strip()]
    known = {case.name: case for case in CASES}
    if unknown := [name for name in names if name not in known]:
        raise SystemExit(f"There is no case {', '.join(unknown)}. There are: {', '.join(known)}.")
    return [known[name] for name in names] or [case for case in CASES if case.in_quick or not quick]


async def _attempt(found: Results, who: str, case: Case, work: Any) -> None:
    """One measurement. What goes wrong is told in the end; the other cases go on."""
    began_s = time.monotonic()
    limit = asyncio.timeout(case.limit_s)
    try:
        async with limit:
            found.add(who, case.name, await work)
    except Exception as error:  # noqa: BLE001 - whatever it is, the other cases are still worth having
        reason = str(error) if isinstance(error, RuntimeError) else repr(error)
        if limit.expired():
            reason = f"took more than {case.limit_s:.0f} s"
        found.failures.append(f"{case.name}, {who}: {reason}")
        print(f"  {who}: failed: {reason}", file=sys.stderr)
    else:
        print(f"  {who}: {time.monotonic() - began_s:.1f} s", file=sys.stderr)


async def _run_case(found: Results, here: World, case: Case, bridges: dict[str, MakeBridge]) -> None:
    for _ in range(here.repeats if case.short else 1):
        if case.floor is not None:
            await _attempt(found, "floor", case, case.floor(here))
        for who, make in bridges.items():
            if case.measure is not None and (who == "ours" or not case.ours_only):
                await _attempt(found, who, case, case.measure(here, make))
    found.loads[case.name] = os.getloadavg()[0]


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


async def _run(arguments: argparse.Namespace, cases: Sequence[Case], found: Results) -> None:
    _stop_in_order()
    bridges: dict[str, MakeBridge] = {"ours": partial(Product, arguments.product)}
    if arguments.peer:
        bridges["peer"] = partial(Peer, arguments.peer)
    irc = any(case.irc for case in cases)
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        made = World(Path(folder), arguments.product, arguments.seed, quick=arguments.quick, repeats=found.repeats)
        async with world(made, irc=irc) as here:
            for number, case in enumerate(cases, 1):
                print(f"[{number}/{len(cases)}] {case.name}", file=sys.stderr)
                await _run_case(found, here, case, bridges)


def _write(found: Results, cases: Sequence[Case], report: str) -> None:
    put_between_marks(record.PERFORMANCE, "figures", report)
    put_between_marks(
        record.OPERATIONS,
        "sizing",
        sizing.section(found.figures("ours"), f"{found.at} on {machine()}, {found.load()}"),
    )
    print(f"Written to {record.PERFORMANCE} and {record.OPERATIONS}.")


def _keep(found: Results, cases: Sequence[Case], report: str) -> None:
    """The table, every sample and the plots, in a folder of this run."""
    folder = record.new_folder(found)
    (folder / "results.json").write_text(found.as_json())
    (folder / "table.md").write_text(report + "\n")
    measured = [case.name for case in cases if case.name in found.samples["ours"]]
    caption = f"{found.at}; {machine()}"
    try:
        drawn = plots.draw(folder, found.figures("floor"), found.figures("ours"), measured, caption)
    except ImportError:
        print(plots.WITHOUT)
        drawn = []
    print(f"Kept in {folder}: results.json, table.md{''.join(f', {path.name}' for path in drawn)}.")


def main() -> int:
    """Exit code 1 when a case could not be measured, 130 when interrupted; never for a figure."""
    arguments = _parser().parse_args()
    cases = _chosen(arguments.only, quick=arguments.quick)
    if arguments.write and (arguments.quick or arguments.only):
        raise SystemExit("--write is for a full run: leave out --quick and --only.")
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    repeats = 1 if arguments.quick else max(1, arguments.repeats)
    found = Results(quick=arguments.quick, repeats=repeats, seed=arguments.seed)
    stopped = False
    try:
        uvloop.run(_run(arguments, cases, found))
    except (KeyboardInterrupt, asyncio.CancelledError):
        stopped = True
        print("Stopped; this is what there is so far.", file=sys.stderr)
    report = found.report(cases)
    print(report)
    if left := [case.name for case in CASES if case not in cases]:
        print(f"\nNot measured in this run: {', '.join(left)}.")
    _keep(found, cases, report)
    if arguments.write and not stopped:
        _write(found, cases, report)
    return 130 if stopped else 1 if found.failures else 0


if __name__ == "__main__":
    sys.exit(main())

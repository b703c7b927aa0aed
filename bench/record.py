"""What was measured, and where it is written: a folder of its own for every run, and the pages in docs/."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.cases.case import Case
from bench.report import Figures, medians, table
from tests.support.page import commit, machine

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "bench" / "results"
PERFORMANCE = ROOT / "docs" / "performance.md"
OPERATIONS = ROOT / "docs" / "operations.md"
WHO = ("floor", "ours", "peer")


class Results:
    """What was measured, by whom: ``floor``, ``ours``, ``peer``; and what went wrong."""

    def __init__(self, *, quick: bool, repeats: int, seed: int) -> None:
        self.quick = quick
        self.repeats = repeats
        self.seed = seed
        self.commit = commit() or "no commit"
        self.at = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime())
        self.samples: dict[str, dict[str, list[Figures]]] = {who: {} for who in WHO}
        self.failures: list[str] = []
        self.loads: dict[str, float] = {}
        """Case → the machine's load average after it."""

    def add(self, who: str, case: str, figures: Figures) -> None:
        """Keep one run's figures."""
        self.samples[who].setdefault(case, []).append(figures)

    def figures(self, who: str) -> Figures:
        """The medians of all that was measured of one of them."""
        return {key: value for runs in self.samples[who].values() for key, value in medians(runs).items()}

    def load(self) -> str:
        """How busy the machine was."""
        return f"load average {min(self.loads.values()):.1f} to {max(self.loads.values()):.1f}" if self.loads else ""

    def as_json(self) -> str:
        """Everything, every sample."""
        everything: dict[str, Any] = {"at": self.at, "commit": self.commit, "machine": machine(), "quick": self.quick}
        everything |= {"repeats": self.repeats, "seed": self.seed, "loads": self.loads}
        everything |= {"failures": self.failures, "samples": self.samples}
        return json.dumps(everything, indent=1) + "\n"

    def report(self, cases: Sequence[Case]) -> str:
        """When, where, under which load; the table; what it says."""
        rows = [row for case in cases for row in case.rows]
        loads = ", ".join(f"{name} {load:.1f}" for name, load in self.loads.items())
        runs = f"short cases: medians of {self.repeats} runs" if self.repeats > 1 else "one run of each case"
        parts = [
            f"{self.at}; {self.commit}; {machine()}; {'a tenth of the load, ' if self.quick else ''}{runs}.",
            f"Load average after each case: {loads}.",
            "",
            table(rows, self.figures("floor"), self.figures("ours"), self.figures("peer")),
        ]
        if notes := [f"- {note}" for case in cases for note in case.notes(self.figures("ours"))]:
            parts += ["", *notes]
        if self.failures:
            parts += ["", *(f"Failed: {failure}" for failure in self.failures)]
        return "\n".join(parts)


def new_folder(results: Results) -> Path:
    """The folder of this run; git ignores it."""
    name = results.at.removesuffix(" UTC").replace(":", "").replace(" ", "T")
    folder = FOLDER / f"{name}{'-quick' if results.quick else ''}"
    folder.mkdir(parents=True, exist_ok=True)
    return folder

"""What was measured, and where it is written: a folder of its own for every run, and the pages in docs/."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.cases.case import Case
from bench.report import Figures, medians, table

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


def commit() -> str:
    """What was measured: the commit, with a plus where there are changes; empty outside of a repository."""
    asked = ["git", "-C", str(ROOT), "describe", "--always", "--exclude=*", "--dirty=+"]
    try:
        return "commit " + subprocess.run(asked, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""


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
    memory = next(line for line in Path("/proc/meminfo").read_text().splitlines() if line.startswith("MemTotal"))
    python = f"{platform.python_implementation()} {platform.python_version()}"
    system = f"Linux {platform.release().partition('-')[0]}"
    return f"{os.cpu_count()} cores, {model}, {int(memory.split()[1]) / 1024**2:.0f} GiB, {system}, {python}"


def new_folder(results: Results) -> Path:
    """The folder of this run; git ignores it."""
    name = results.at.removesuffix(" UTC").replace(":", "").replace(" ", "T")
    folder = FOLDER / f"{name}{'-quick' if results.quick else ''}"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def put_between_marks(page: Path, name: str, text: str) -> None:
    """Replace what stands between ``<!-- name: begin … -->`` and ``<!-- name: end -->``. Raises ValueError."""
    old = page.read_text()
    begin, end = old.find(f"<!-- {name}: begin"), old.find(f"<!-- {name}: end -->")
    if begin < 0 or end < begin:
        raise ValueError(f"{page} has no marks `<!-- {name}: begin -->` and `<!-- {name}: end -->`.")
    begin = old.index("-->", begin) + len("-->")
    page.write_text(f"{old[:begin]}\n{text.strip()}\n{old[end:]}")

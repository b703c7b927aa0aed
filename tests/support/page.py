"""Figures on a page: what they are of, and where they stand."""

from __future__ import annotations

import os
import platform
import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[2]


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


def put_between_marks(page: Path, name: str, text: str) -> None:
    """Replace what stands between ``<!-- name: begin … -->`` and ``<!-- name: end -->``. Raises ValueError."""
    old = page.read_text()
    begin, end = old.find(f"<!-- {name}: begin"), old.find(f"<!-- {name}: end -->")
    if begin < 0 or end < begin:
        raise ValueError(f"{page} has no marks `<!-- {name}: begin -->` and `<!-- {name}: end -->`.")
    begin = old.index("-->", begin) + len("-->")
    page.write_text(f"{old[:begin]}\n{text.strip()}\n{old[end:]}")

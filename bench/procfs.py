"""CPU time and memory of processes and of all that they started, from Linux's /proc (man 5 proc)."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

TICK_S = 1 / os.sysconf("SC_CLK_TCK")
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
SAMPLE_EVERY_S = 0.05
QUIET_S = 0.5
KIB = 1024
NS_PER_S = 1_000_000_000


class Restless(RuntimeError):
    """Processes that should have come to rest did not."""


class Stat(NamedTuple):
    """``cpu_s`` counts a process and its children that have ended; ``started`` tells it from a later one."""

    cpu_s: float
    rss_bytes: int
    started: int


class Usage(NamedTuple):
    """What a family of processes uses: CPU since its start, memory now."""

    cpu_s: float
    rss_bytes: int


def stat(pid: int) -> Stat | None:
    """What a process uses; None when there is none."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    fields = text[text.rindex(")") + 2 :].split()  # from the third field of the manual on
    cpu_s = sum(int(field) for field in fields[11:15]) * TICK_S
    return Stat(max(cpu_s, _threads_s(pid)), int(fields[21]) * PAGE_BYTES, int(fields[19]))


def _threads_s(pid: int) -> float:
    """The CPU time of the threads there are, in finer steps than ticks; 0.0 where the kernel does not tell."""
    sum_ns = 0
    for path in Path(f"/proc/{pid}/task").glob("*/schedstat"):
        try:
            sum_ns += int(path.read_text().split()[0])
        except (OSError, IndexError):
            continue  # the thread ended meanwhile
    return sum_ns / NS_PER_S


def same_process(pid: int, before: Stat) -> bool:
    """Whether ``pid`` is still the process that it was."""
    now = stat(pid)
    return now is not None and now.started == before.started


def family(roots: Iterable[int]) -> dict[int, Stat]:
    """These processes and all that descend from them."""
    found: dict[int, Stat] = {}
    todo = list(roots)
    while todo:
        pid = todo.pop()
        now = stat(pid)
        if now is None or pid in found:
            continue
        found[pid] = now
        for children in Path(f"/proc/{pid}/task").glob("*/children"):
            try:
                todo += [int(child) for child in children.read_text().split()]
            except OSError:
                continue  # the thread ended meanwhile
    return found


def usage(roots: Iterable[int]) -> Usage:
    """CPU time and memory of these processes and their descendants together."""
    stats = family(roots).values()
    return Usage(sum(s.cpu_s for s in stats), sum(s.rss_bytes for s in stats))


def machine_busy_s() -> float:
    """CPU time that all processes of the machine have used since it was started."""
    user, nice, system, _, _, irq, softirq = (int(word) for word in Path("/proc/stat").read_text().split()[1:8])
    return (user + nice + system + irq + softirq) * TICK_S


def forget_peaks(roots: Iterable[int]) -> None:
    """From now on, the kernel counts the largest memory of these processes and their descendants anew."""
    for pid in family(roots):
        Path(f"/proc/{pid}/clear_refs").write_text("5")


def peak_bytes(roots: Iterable[int]) -> int:
    """The largest memory that each of these processes and their descendants ever had, added up; nothing is missed."""
    sum_bytes = 0
    for pid in family(roots):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                sum_bytes += int(line.split()[1]) * KIB
    return sum_bytes


def named(roots: Iterable[int], part: str) -> Usage:
    """What those of them use whose command has ``part`` in its name: ``server`` is the store."""
    found = [s for pid, s in family(roots).items() if part in Path(f"/proc/{pid}/comm").read_text()]
    return Usage(sum(s.cpu_s for s in found), sum(s.rss_bytes for s in found))


async def quiet(roots: Callable[[], list[int]], share: float = 0.15, within_s: float = 120.0) -> None:
    """Wait until the processes use less than ``share`` of a core: they have done what there was to do.

    Raises Restless.
    """
    before = usage(roots()).cpu_s
    for _ in range(int(within_s / QUIET_S)):
        await asyncio.sleep(QUIET_S)
        now = usage(roots()).cpu_s
        used, before = now - before, now
        if used < share * QUIET_S:
            return
    raise Restless(f"The bridge has nothing to do and uses {used / QUIET_S:.0%} of a core, for {within_s:.0f} s now.")


class Peak:
    """Samples the memory of processes while its ``with`` block runs; ``rss_bytes`` is the largest sum seen."""

    def __init__(self, roots: Callable[[], list[int]]) -> None:
        self._roots = roots
        self.rss_bytes = 0

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._watch())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def _watch(self) -> None:
        while True:
            self.rss_bytes = max(self.rss_bytes, usage(self._roots()).rss_bytes)
            await asyncio.sleep(SAMPLE_EVERY_S)

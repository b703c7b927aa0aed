"""Counting what comes out: lost, twice, out of order, where it should not be, and how late."""

from __future__ import annotations

import asyncio
import re
from array import array
from collections.abc import Sequence
from time import perf_counter_ns
from typing import NamedTuple

NS_PER_S = 1_000_000_000
NS_PER_MS = 1_000_000


class Tube(NamedTuple):
    """A channel on the first server, and those on another server that hear it."""

    source: str
    targets: tuple[str, ...]
    server: int = 1
    """Which server has the targets."""


def percentile(values: Sequence[int], share: float) -> float:
    """The value that ``share`` of all values do not exceed; NaN where there are none."""
    if not values:
        return float("nan")
    ordered = sorted(values)
    return float(ordered[min(len(ordered) - 1, int(share * len(ordered)))])


class _Copy:
    """What one target channel has heard."""

    __slots__ = ("highest", "seen", "tube")

    def __init__(self, tube: int, count: int) -> None:
        self.tube = tube
        self.seen = bytearray(count)
        self.highest = -1


class Tally:
    """``count`` numbered lines; line ``i`` is said into tube ``i`` modulo the number of tubes."""

    def __init__(self, tag: str, tubes: Sequence[Tube], count: int) -> None:
        self.tag = tag
        self.count = count
        self.sent = 0
        self.began_ns = perf_counter_ns()
        self.sent_all_ns = self.last_ns = self.began_ns
        self.late_ns = array("q")
        """Of each line of a steady stream: how long after its time it was handed to the socket."""
        self.latency_ns = array("q")
        self.arrivals_ns = array("q")
        self.delivered = self.twice = self.out_of_order = self.stray = 0
        self._tubes = len(tubes)
        self._copies = {t.encode().lower(): _Copy(i, count) for i, tube in enumerate(tubes) for t in tube.targets}
        self._find = re.compile(rb"PRIVMSG (\S+) :[^\r\n]*?~%s,(\d+),(\d+)~" % tag.encode()).finditer
        self._goal = 0
        self._goal_reached = asyncio.Event()

    @property
    def expected(self) -> int:
        """Deliveries that all lines together should make."""
        return sum(len(range(copy.tube, self.count, self._tubes)) for copy in self._copies.values())

    @property
    def lost(self) -> int:
        """Deliveries that never came."""
        return self.expected - self.delivered

    @property
    def faults(self) -> int:
        """Lost, twice and out of order together."""
        return self.lost + self.twice + self.out_of_order

    @property
    def span_s(self) -> float:
        """From the first line said to the last one delivered."""
        return (self.last_ns - self.began_ns) / NS_PER_S

    @property
    def per_s(self) -> float:
        """Deliveries per second."""
        return self.delivered / self.span_s if self.delivered else 0.0

    def line(self, number: int, now_ns: int) -> bytes:
        """The mark that line ``number`` carries: which run, which line, when it was said."""
        return b"~%s,%d,%d~" % (self.tag.encode(), number, now_ns)

    def end_here(self) -> None:
        """No more lines are said than were said so far."""
        self.count = self.sent

    def begin(self) -> None:
        """The first line is being said now."""
        self.began_ns = self.last_ns = perf_counter_ns()

    def take(self, chunk: bytes, now_ns: int) -> None:
        """Count a chunk of whole lines."""
        for found in self._find(chunk):
            channel, number, sent_ns = found.groups()
            self.note(channel, int(number), int(sent_ns), now_ns)

    def note(self, channel: bytes, index: int, sent_ns: int, now_ns: int) -> None:
        """Count line ``index`` in one channel."""
        copy = self._copies.get(channel)
        if copy is None or index >= self.count or index % self._tubes != copy.tube:
            self.stray += 1
        elif copy.seen[index]:
            self.twice += 1
        else:
            copy.seen[index] = 1
            if index < copy.highest:
                self.out_of_order += 1
            else:
                copy.highest = index
            self.delivered += 1
            self.latency_ns.append(now_ns - sent_ns)
            self.arrivals_ns.append(now_ns)
            self.last_ns = now_ns
        if self.delivered >= self._goal:
            self._goal_reached.set()

    async def reached(self, goal: int) -> None:
        """Wait until so many deliveries were made."""
        self._goal = goal
        self._goal_reached.clear()
        if self.delivered < goal:
            await self._goal_reached.wait()

    async def settled(self, idle_s: float = 5.0, linger_s: float = 0.3) -> None:
        """Wait until all is there, or nothing came for ``idle_s``; then linger for what comes twice."""
        goal = self.expected
        while self.delivered < goal:
            before = self.delivered
            try:
                async with asyncio.timeout(idle_s):
                    await self.reached(goal)
            except TimeoutError:
                if self.delivered == before:
                    return
        await asyncio.sleep(linger_s)

    def lost_before(self, number: int) -> int:
        """Lines that never came although a later one did that was said before line ``number``: holes."""
        holes = 0
        for copy in self._copies.values():
            top = copy.seen.rfind(1, 0, number)
            holes += sum(1 for index in range(copy.tube, max(top, 0), self._tubes) if not copy.seen[index])
        return holes

    def first_after(self, moment_ns: int) -> int | None:
        """When the first delivery came that was not before ``moment_ns``."""
        return next((at for at in self.arrivals_ns if at >= moment_ns), None)

    def longest_silence_ns(self, moment_ns: int) -> int:
        """The longest time without a delivery that ended after ``moment_ns``."""
        pairs = zip(self.arrivals_ns, self.arrivals_ns[1:], strict=False)
        return max((later - earlier for earlier, later in pairs if later > moment_ns), default=0)

    def latency_ms(self, share: float) -> float:
        """A percentile of the latency."""
        return percentile(self.latency_ns, share) / NS_PER_MS

    def latency_between_ms(self, share: float, from_ns: int, to_ns: int) -> float:
        """A percentile of the latency of what was said between two moments."""
        said = zip(self.arrivals_ns, self.latency_ns, strict=True)
        return percentile([took for at, took in said if from_ns <= at - took <= to_ns], share) / NS_PER_MS

    def late_ms(self, share: float) -> float:
        """A percentile of the harness's own lateness."""
        return percentile(self.late_ns, share) / NS_PER_MS

"""The figures of many trials together, as the table of docs/delivery.md. Kept in a file, so that a run can go on."""

from __future__ import annotations

import math
from collections import Counter
from pathlib import Path
from typing import Any

import msgspec

from tests.faults.checker import Report
from tests.faults.measure import Figures, p99
from tests.faults.service import KEYED
from tests.faults.trial import ACCOUNTS, SAMEROOMS, Outcome

MESSAGES = 1_000_000
KILLS = 1_000
DUPLICATES_PER_KILL = 0.3
"""In a room, which has one post under way at a time."""
BEYOND_LEASE_S = 1.0
ACK_P99_S = 0.1
ACK_MOST_S = 1.0
NEIGHBOUR = 2.0
UNKEYED = {"finds": "it can be asked", "plain": "nothing tells", "stream": "a batch is under way"}
"""Kinds of services, and how they are told apart in the table."""
FINEST_S = 0.0005
"""Times are counted in steps of this."""


class Totals(msgspec.Struct):
    """What many trials brought. Bounded: it grows with the kinds of what happened, not with their number."""

    trials: int = 0
    first_seed: int = 0
    next_seed: int = 0
    seconds: float = 0.0
    accepted: int = 0
    delivered: int = 0
    lost: int = 0
    out_of_order: int = 0
    phantom: int = 0
    repeats_dropped: int = 0
    kills: dict[str, int] = {}
    faults: dict[str, int] = {}
    duplicates: dict[str, int] = {}
    """Kind of service → posts that stand there once too often."""
    acks: dict[int, int] = {}
    """Steps of time from hand-over to acknowledgement → how often."""
    acks_most_s: float = 0.0
    takeovers_s: list[float] = []
    beyond_lease_s: list[float] = []
    neighbours: list[tuple[float, float]] = []
    """99th percentile of the others, before and while a room is stuck; of each trial."""

    def add(self, seed: int, outcome: Outcome, seconds: float) -> None:
        """Count a trial."""
        if not self.trials:
            self.first_seed = seed
        self.trials += 1
        self.next_seed = seed + 1
        self.seconds += seconds
        self._count(outcome.report)
        self._time(outcome.figures)

    def _count(self, report: Report) -> None:
        self.accepted += report.accepted
        self.delivered += report.delivered
        self.lost += len(report.lost)
        self.out_of_order += len(report.out_of_order)
        self.phantom += len(report.phantom)
        self.repeats_dropped += report.repeats_dropped
        self.kills = _sum(self.kills, report.kills)
        self.faults = _sum(self.faults, report.faults)
        by_kind: Counter[str] = Counter()
        for room, times in report.duplicates.items():
            by_kind[ACCOUNTS[room.partition("/")[0]]] += times
        self.duplicates = _sum(self.duplicates, by_kind)

    def _time(self, figures: Figures) -> None:
        if not figures.acks_s:
            return
        self.acks = _sum(self.acks, Counter(math.ceil(took_s / FINEST_S) for took_s in figures.acks_s))
        self.acks_most_s = max(self.acks_most_s, *figures.acks_s)
        self.takeovers_s += figures.takeovers_s
        self.beyond_lease_s += figures.beyond_lease_s
        self.neighbours.append((p99(figures.calm_s), p99(figures.stuck_s)))

    def killed(self) -> int:
        """How often something was killed."""
        return sum(self.kills.values())

    def line(self) -> str:
        """The progress in a line."""
        return (
            f"{self.trials} trials, {self.seconds / 60:.1f} min: {self.accepted:,} accepted, {self.killed():,} kills, "
            f"{sum(self.faults.values()):,} faults, {self.lost} lost, {self.out_of_order} out of order, "
            f"{self.phantom} phantom, twice {self.duplicates}"
        )

    def table(self) -> str:
        """Figures and targets, in Markdown."""
        lines = ["| figure | measured | target | met? |", "|---|---|---|---|"]
        lines += [f"| {what} | {value} | {target} | {_yes(met)} |" for what, value, target, met in self._rows()]
        lines += [
            "",
            f"Killed: {_list(self.kills)}. Ordered: {_list(self.faults)}.",
            f"Repeats that keyed services were sent and dropped: {self.repeats_dropped:,}.",
        ]
        return "\n".join(lines)

    def _rows(self) -> list[tuple[str, str, str, bool | None]]:
        killed = self.killed()
        faults = killed + sum(self.faults.values())
        keyed = sum(self.duplicates.get(kind, 0) for kind in KEYED)
        rows: list[tuple[str, str, str, bool | None]] = [
            ("accepted messages", f"{self.accepted:,}", f"≥ {MESSAGES:,}", self.accepted >= MESSAGES),
            ("delivered posts' messages", f"{self.delivered:,}", "", None),
            ("kills", f"{killed:,}", f"≥ {KILLS:,}", killed >= KILLS),
            ("faults of all kinds, kills included", f"{faults:,}", "", None),
            ("lost", f"{self.lost}", "0", self.lost == 0),
            ("out of order", f"{self.out_of_order}", "0", self.out_of_order == 0),
            ("phantom", f"{self.phantom}", "0", self.phantom == 0),
            ("twice, where the service has a key", f"{keyed}", "0", keyed == 0),
        ]
        for kind, title in (
            ("finds", "it can be asked"),
            ("plain", "nothing tells"),
            ("stream", "a batch is under way"),
        ):
            twice = self.duplicates.get(kind, 0)
            rooms = sum(ACCOUNTS[room.partition("/")[0]] == kind for there in SAMEROOMS for room in there)
            per_kill = twice / (killed * rooms) if killed else math.nan
            judged = None if kind == "stream" else per_kill <= DUPLICATES_PER_KILL
            target = "the batches under way" if kind == "stream" else f"≤ {DUPLICATES_PER_KILL} per kill and room"
            measured = f"{twice:,} in {rooms} rooms ({per_kill:.2f} per kill and room)"
            rows.append((f"twice, where {title}", measured, target, judged))
        return rows + self._timed_rows()

    def _timed_rows(self) -> list[tuple[str, str, str, bool | None]]:
        if not self.acks:
            return []
        ack_s = self._ack_p99_s()
        calm, stuck = (sorted(times)[len(times) // 2] for times in zip(*self.neighbours, strict=True))
        rows: list[tuple[str, str, str, bool | None]] = []
        if self.beyond_lease_s:
            worst_s, beyond_s = max(self.takeovers_s), max(self.beyond_lease_s)
            rows.append(
                (
                    f"longest silence after a kill ({len(self.takeovers_s)} take-overs)",
                    f"lease {'+' if beyond_s >= 0 else '−'} {abs(beyond_s):.2f} s, at most {worst_s:.2f} s",
                    f"≤ lease + {BEYOND_LEASE_S:.0f} s",
                    beyond_s <= BEYOND_LEASE_S,
                )
            )
        rows += [
            ("hand-over to acknowledgement, p99", f"{ack_s * 1000:.1f} ms", "≤ 100 ms", ack_s <= ACK_P99_S),
            ("the same, longest", f"{self.acks_most_s * 1000:.0f} ms", "≤ 1,000 ms", self.acks_most_s <= ACK_MOST_S),
            (
                "neighbours of a stuck room, p99 (before; median of the trials)",
                f"{stuck * 1000:.0f} ms ({calm * 1000:.0f} ms)",
                f"≤ {NEIGHBOUR:.0f}×",
                stuck <= NEIGHBOUR * calm,
            ),
        ]
        return rows

    def _ack_p99_s(self) -> float:
        left = sum(self.acks.values()) // 100
        for steps in sorted(self.acks, reverse=True):
            left -= self.acks[steps]
            if left < 0:
                return steps * FINEST_S
        return 0.0


def load(path: Path | None) -> Totals:
    """What a run before this one has kept; nothing yet."""
    return msgspec.json.decode(path.read_bytes(), type=Totals) if path and path.exists() else Totals()


def save(path: Path | None, totals: Totals) -> None:
    """Keep it for the next run."""
    if path:
        path.write_bytes(msgspec.json.encode(totals))


def _sum(a: dict[Any, int], b: Counter[Any]) -> dict[Any, int]:
    return dict(sorted((Counter(a) + b).items()))


def _list(counted: dict[str, int]) -> str:
    return ", ".join(f"{what} {times:,}" for what, times in counted.items()) or "nothing"


def _yes(met: bool | None) -> str:
    return "" if met is None else "yes" if met else "NO"

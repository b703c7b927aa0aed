"""Rows with their budgets, and the table they make."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from statistics import median
from typing import Literal, NamedTuple

Better = Literal["more", "less"]
Figures = dict[str, float]
"""Row key → what was measured."""


class Row(NamedTuple):
    """A line of the table. ``budget`` None: shown, not judged."""

    key: str
    title: str
    unit: str = ""
    budget: float | None = None
    better: Better = "less"

    def met(self, value: float) -> bool | None:
        """Whether the budget is kept; None where there is none."""
        if self.budget is None or math.isnan(value):
            return None
        return value >= self.budget if self.better == "more" else value <= self.budget


def medians(samples: Sequence[Figures]) -> Figures:
    """The median of each figure over several runs."""
    keys = dict.fromkeys(key for sample in samples for key in sample)
    return {key: median([sample[key] for sample in samples if key in sample]) for key in keys}


def number(value: float | None, unit: str = "") -> str:
    """A figure for people: three digits that count, thousands apart."""
    if value is None or math.isnan(value):
        return "–"
    decimals = 0 if value == int(value) or abs(value) >= 100 else 2 if abs(value) < 10 else 1
    return f"{value:,.{decimals}f} {unit}".rstrip()


def ratio(value: float | None, floor: float | None) -> str:
    """How many times the floor a figure is."""
    if value is None or not floor or math.isnan(value) or math.isnan(floor):
        return "–"
    found = value / floor
    return f"{found:.1f}×" if found >= 1 else f"{found:.2f}×"


def _cells(row: Row, floor: Mapping[str, float], ours: Mapping[str, float], peer: Mapping[str, float]) -> list[str]:
    value = ours.get(row.key)
    sign = "" if row.budget == 0 else "≥ " if row.better == "more" else "≤ "
    budget = "" if row.budget is None else sign + number(row.budget, row.unit)
    met = None if value is None else row.met(value)
    return [
        row.title,
        number(floor.get(row.key), row.unit),
        number(value, row.unit),
        number(peer.get(row.key), row.unit),
        budget,
        ratio(value, floor.get(row.key)),
        "" if met is None else ("yes" if met else "NO"),
    ]


def table(rows: Sequence[Row], floor: Mapping[str, float], ours: Mapping[str, float], peer: Mapping[str, float]) -> str:
    """The table, in Markdown that reads well as it is. The peer has a column when it was measured."""
    known = [row for row in rows if row.key in ours or row.key in floor or row.key in peer]
    header = ["case", "floor", "ours", "peer", "budget", "ratio to floor", "met?"]
    lines = [header, *(_cells(row, floor, ours, peer) for row in known)]
    if not peer:
        lines = [cells[:3] + cells[4:] for cells in lines]
    widths = [max(len(cells[column]) for cells in lines) for column in range(len(lines[0]))]
    shown = ["| " + " | ".join(c.ljust(w) for c, w in zip(cells, widths, strict=True)) + " |" for cells in lines]
    return "\n".join([shown[0], "|" + "|".join("-" * (width + 2) for width in widths) + "|", *shown[1:]])

"""The figures of docs/operations.md, computed from a run: what a core and a GiB carry, and what is full first."""

from __future__ import annotations

import math
from typing import NamedTuple

from bench.report import Figures, number

US_PER_S = 1_000_000
GIB = 1024**3
MIB_PER_GIB = 1024
KIB_PER_GIB = 1024**2
DAY_S = 86_400
ID_MAP_DAYS = 30
DEDUP_DAYS = 26 / 24

ROOMS = (10_000, 100_000, 1_000_000)
SAID_A_DAY = 50
PEAK = 4
"""The busiest hour has so many times the messages of the mean hour."""
START_MOST_S = 10.0


class Need(NamedTuple):
    """What an installation needs."""

    rooms: int
    peak_per_s: float
    cores: float
    store_cores: float
    rooms_gib: float
    kept_gib: float
    start_s: float

    def first(self) -> str:
        """What breaks first: of all that is beyond one core, one GiB or ten seconds, what is furthest beyond."""
        store_gib = self.rooms_gib + self.kept_gib
        most = "kept messages" if self.kept_gib > self.rooms_gib else "rooms and tubes"
        ratios = {
            f"memory of one GiB ({most})": store_gib,
            "one core for everything": self.cores,
            "the store's one core": self.store_cores,
            f"a start within {START_MOST_S:.0f} s": self.start_s / START_MOST_S,
        }
        name, ratio = max(ratios.items(), key=lambda item: item[1])
        return f"{name}, by {ratio:.1f}×" if ratio > 1 else f"nothing; {name} is nearest, {ratio:.0%} full"


def need(figures: Figures, rooms: int) -> Need:
    """What so many rooms need, in samerooms of two, each saying SAID_A_DAY messages a day."""

    def of(key: str) -> float:
        return figures.get(key, math.nan)

    said_per_s = rooms * SAID_A_DAY / DAY_S
    peak_per_s = PEAK * said_per_s
    kept_bytes = of("memory.message.ids") * ID_MAP_DAYS + of("memory.message.rest") * DEDUP_DAYS
    return Need(
        rooms,
        peak_per_s,
        peak_per_s * of("crowd.cpu") / US_PER_S,
        peak_per_s * of("crowd.store_cpu") / US_PER_S,
        (of("memory.tubes.0") / MIB_PER_GIB) + rooms / 2 * of("memory.tubes.each") / KIB_PER_GIB,
        rooms * SAID_A_DAY * kept_bytes / GIB,
        of("bigstart.one") + rooms / 2 / 1_000 * max(0.0, of("bigstart.per_1000")),
    )


def _table(header: list[str], rows: list[list[str]]) -> list[str]:
    widths = [max(len(row[at]) for row in [header, *rows]) for at in range(len(header))]
    lines = ["| " + " | ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)) + " |" for row in [header, *rows]]
    return [lines[0], "|" + "|".join("-" * (width + 2) for width in widths) + "|", *lines[1:]]


def _carries(figures: Figures) -> list[list[str]]:
    """What one core and one GiB carry, and by which case."""

    def per_core(key: str) -> str:
        return number(US_PER_S / figures[key]) if figures.get(key) else "–"

    def per_gib(key: str) -> str:
        free_kib = KIB_PER_GIB - figures.get("memory.tubes.0", 0.0) * 1024
        return number(round(free_kib / figures[key], -2)) if figures.get(key, 0.0) > 0 else "–"

    kept = figures.get("memory.message.ids", math.nan)
    return [
        ["a core: deliveries/s in a burst, on IRC", per_core("burst.cpu"), "burst"],
        [
            "a core: deliveries/s in a burst over 1,000 tubes, post by post",
            per_core("spread.http.1000.cpu"),
            "spread",
        ],
        [
            "a core: deliveries/s in a sameroom of 200 rooms, post by post",
            per_core("sameroom.http.cpu"),
            "sameroom",
        ],
        ["a core: deliveries/s of 1,000 rooms with 1 message/s each", per_core("crowd.cpu"), "crowd"],
        ["a core: edits/s", per_core("changes.edit.cpu"), "changes"],
        ["the store's core: deliveries/s of 1,000 rooms with 1 message/s each", per_core("crowd.store_cpu"), "crowd"],
        ["the store's core: deliveries/s in a burst on streams", per_core("scale.1.store_us"), "scale"],
        ["a GiB: idle rooms without a tube", per_gib("memory.rooms.each"), "memory"],
        ["a GiB: idle tubes, that is samerooms of two", per_gib("memory.tubes.each"), "memory"],
        ["a GiB: idle accounts, without a vendor's library", per_gib("memory.accounts.each"), "memory"],
        ["a GiB: deliveries kept for edits (30 days)", number(round(GIB / kept, -5)) if kept > 0 else "–", "memory"],
    ]


def section(figures: Figures, measured: str) -> str:
    """The tables, in Markdown. ``measured``: when, where and under which load."""
    needs = [need(figures, rooms) for rooms in ROOMS]
    rows = [
        [
            f"{found.rooms:,}",
            number(found.peak_per_s, "/s"),
            number(found.cores),
            number(found.store_cores),
            number(found.rooms_gib, "GiB"),
            number(found.kept_gib, "GiB"),
            number(found.start_s, "s"),
            found.first(),
        ]
        for found in needs
    ]
    header = ["rooms", "peak", "cores", "of them the store", "rooms, tubes", "kept messages", "start", "breaks first"]
    lines = [f"Measured {measured}.", "", *_table(["one", "carries", "case"], _carries(figures)), ""]
    lines += [
        f"Samerooms of two, {SAID_A_DAY} messages a day from each room, {PEAK} times the mean in the busiest hour:",
        "",
        *_table(header, rows),
    ]
    return "\n".join(lines)

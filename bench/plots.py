"""Pictures of a run, as PNG. They need matplotlib, which is an extra: ``pip install 'bridgebot-swarm[bench]'``."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from bench.cases import memory, pressure, scale, spread
from bench.report import Figures

FLOOR, OURS, OTHER = "#8a8a8a", "#1f5fa8", "#c8641e"
WITHOUT = "No plots: matplotlib is missing. For plots: .venv/bin/pip install -e '.[bench]'"

Points = Sequence[tuple[float, float]]


def _points(figures: Mapping[str, float], keys: Iterable[tuple[float, str]]) -> Points:
    return [(x, figures[key]) for x, key in keys if figures.get(key, 0.0) > 0]


def _line(axes: Any, points: Points, label: str, colour: str, style: str = "-o") -> None:
    if points:
        axes.plot(*zip(*points, strict=True), style, label=label, color=colour, markersize=4, linewidth=1.5)


def _latency(axes: Any, floor: Figures, ours: Figures) -> None:
    """Percentiles over load."""
    axes.set(xscale="log", yscale="log", xlabel="messages said per second, one tube", ylabel="latency, ms")
    axes.set_title("Latency over load")
    for share, style in (("p50", "-o"), ("p90", "--s"), ("p99", ":^")):
        keys = [(rate, f"pressure.{rate}.{share}") for rate in pressure.RATES]
        _line(axes, _points(ours, keys), f"bridgebot {share}", OURS, style)
        _line(axes, _points(floor, keys), f"floor {share}", FLOOR, style)


def _throughput(axes: Any, floor: Figures, ours: Figures) -> None:
    """Messages per second over the number of tubes."""
    axes.set(xscale="log", yscale="log", xlabel="tubes", ylabel="messages per second in a burst")
    axes.set_title("Throughput over rooms")
    for kind, title, colour in (("stream", "on streams", OURS), ("http", "a post at a time in each room", OTHER)):
        keys = [(tubes, f"spread.{kind}.{tubes}") for tubes in spread.TUBES]
        _line(axes, _points(ours, keys), f"bridgebot, {title}", colour)
    _line(axes, _points(floor, [(tubes, f"spread.http.{tubes}") for tubes in spread.TUBES]), "floor", FLOOR)


def _scale(axes: Any, floor: Figures, ours: Figures) -> None:
    """Throughput over processes, and the machine's load."""
    keys = [(processes, f"scale.{processes}.rate") for processes in scale.PROCESSES]
    found = _points(ours, keys)
    axes.set(xlabel="relays, and as many processes of bots", ylabel="messages per second in a burst")
    axes.set_title("Scale over processes, one store")
    _line(axes, found, "bridgebot", OURS)
    if found:
        first = found[0][1]
        _line(axes, [(x, first * x) for x, _ in found], "if each added as much", FLOOR, "--")
    for x, y in found:
        busy = ours.get(f"scale.{x:.0f}.machine", 0.0)
        where = {"textcoords": "offset points", "xytext": (0, -16), "ha": "center", "fontsize": 8}
        axes.annotate(f"machine {busy:.0f} %", (x, y), **where)
    axes.margins(x=0.1)
    axes.set_xticks(scale.PROCESSES)
    axes.set_ylim(bottom=0)


def _memory(axes: Any, floor: Figures, ours: Figures) -> None:
    """Memory over idle rooms and tubes."""
    axes.set(xlabel="idle rooms or tubes", ylabel="memory of all processes, MiB")
    axes.set_title("Memory over rooms")
    for kind, title, colour in (("tubes", "tube, two rooms each", OURS), ("rooms", "room without a tube", OTHER)):
        each = ours.get(f"memory.{kind}.each", float("nan"))
        keys = [(size, f"memory.{kind}.{size}") for size in memory.SIZES]
        _line(axes, _points(ours, keys), f"{each:.2f} KiB per {title}", colour)
    axes.set_ylim(bottom=0)


PLOTS: dict[str, tuple[str, Callable[[Any, Figures, Figures], None]]] = {
    "latency": ("pressure", _latency),
    "throughput": ("spread", _throughput),
    "scale": ("scale", _scale),
    "memory": ("memory", _memory),
}
"""File name → the case that it shows, and what draws it."""


def draw(folder: Path, floor: Figures, ours: Figures, measured: Iterable[str], caption: str) -> list[Path]:
    """Draw what was measured. Raises ImportError without matplotlib."""
    agg, made = import_module("matplotlib.backends.backend_agg"), import_module("matplotlib.figure")
    drawn = []
    there = set(measured)
    for name, (case, fill) in PLOTS.items():
        if case not in there:
            continue
        figure = made.Figure(figsize=(9, 4.5), layout="constrained")
        axes = figure.add_subplot()
        fill(axes, floor, ours)
        axes.xaxis.set_major_formatter("{x:,.0f}")
        axes.yaxis.set_major_formatter("{x:,g}")
        axes.grid(visible=True, which="major", alpha=0.3)
        if axes.get_legend_handles_labels()[0]:
            figure.legend(loc="outside right upper", fontsize=8)
        figure.supxlabel(caption, fontsize=6, color=FLOOR)
        path = folder / f"{name}.png"
        agg.FigureCanvasAgg(figure).print_png(str(path))
        drawn.append(path)
    return drawn

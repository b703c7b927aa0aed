"""Where each room stands on the map: a small force layout, the same for the same sameroom every time.

It works in units of one room's box, and yields between rounds so that a large map never holds up the relay.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

BOX_WIDTH_PX = 152
BOX_HEIGHT_PX = 54
UNIT_X_PX = 178
UNIT_Y_PX = 88
MARGIN_PX = 20
ROUNDS = 150
MOST_FORCED = 120
"""Above this many rooms the first placement stands: the rounds would take too long."""
_IDEAL = 1.35
_UPRIGHT = 6
"""Up to so many rooms the picture is higher than wide."""
_UNITS_EACH = 1.9
_HOME = 0.25
"""Pull towards the middle, which keeps long chains on one picture."""

Point = tuple[float, float]
Edge = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Placed:
    """Centres of the boxes in pixels, and the size of the picture."""

    centres: tuple[Point, ...]
    width_px: int
    height_px: int


def _neighbours(count: int, edges: Sequence[Edge]) -> list[list[int]]:
    near: list[list[int]] = [[] for _ in range(count)]
    for a, b in edges:
        near[a].append(b)
        near[b].append(a)
    return near


def first_places(count: int, edges: Sequence[Edge]) -> list[Point]:
    """Rings around the best connected room, by the number of tubes between."""
    near = _neighbours(count, edges)
    rings: list[list[int]] = []
    seen: set[int] = set()
    for root in sorted(range(count), key=lambda i: (-len(near[i]), i)):
        if root in seen:
            continue
        seen.add(root)
        queue = deque([(root, 0)])
        while queue:
            node, depth = queue.popleft()
            rings.extend([] for _ in range(depth + 1 - len(rings)))
            rings[depth].append(node)
            for other in near[node]:
                if other not in seen:
                    seen.add(other)
                    queue.append((other, depth + 1))
    places: list[Point] = [(0.0, 0.0)] * count
    # A long chain becomes a spiral instead of a picture that is miles wide.
    step = min(_IDEAL, 1.2 * math.sqrt(count) / len(rings)) if count else _IDEAL
    turn = 0.5 if len(rings) > 4 else 0.05
    radius = 0.0
    for depth, ring in enumerate(rings):
        if depth > 0 or len(ring) > 1:
            radius += step
        for index, node in enumerate(ring):
            angle = math.tau * index / len(ring) + depth * turn
            places[node] = (radius * math.cos(angle), radius * math.sin(angle))
    return places


def relax(places: list[Point], edges: Sequence[Edge]) -> Iterator[None]:
    """Rounds of pushing all rooms apart and pulling connected ones together, in place (Fruchterman-Reingold)."""
    count = len(places)
    for round_number in range(ROUNDS if count <= MOST_FORCED else 0):
        heat = 0.6 * (1 - round_number / ROUNDS)
        force = [[0.0, 0.0] for _ in places]
        for i in range(count):
            for j in range(i):
                _add(force, places, i, j, _IDEAL * _IDEAL * 0.8)
        for a, b in edges:
            dx, dy = places[a][0] - places[b][0], places[a][1] - places[b][1]
            pull = math.hypot(dx, dy) / _IDEAL
            force[a][0] -= dx * pull
            force[a][1] -= dy * pull
            force[b][0] += dx * pull
            force[b][1] += dy * pull
        for i, (fx, fy) in enumerate(force):
            fx, fy = fx - places[i][0] * _HOME, fy - places[i][1] * _HOME
            strength = math.hypot(fx, fy) or 1.0
            step = min(strength, heat) / strength
            places[i] = (places[i][0] + fx * step, places[i][1] + fy * step)
        yield


def _add(force: list[list[float]], places: list[Point], i: int, j: int, push: float) -> None:
    dx, dy = places[i][0] - places[j][0], places[i][1] - places[j][1]
    square = dx * dx + dy * dy or 0.01
    px, py = dx * push / square, dy * push / square
    force[i][0] += px
    force[i][1] += py
    force[j][0] -= px
    force[j][1] -= py


def part(places: list[Point]) -> Iterator[None]:
    """Rounds that move overlapping boxes apart along the shorter way, in place, until none overlap."""
    for _ in range(200):
        is_clear = True
        for i in range(len(places)):
            for j in range(i):
                dx, dy = places[i][0] - places[j][0], places[i][1] - places[j][1]
                over_x, over_y = 1.0 - abs(dx), 1.0 - abs(dy)
                if over_x <= 1e-6 or over_y <= 1e-6:
                    continue
                is_clear = False
                mx = math.copysign(over_x / 2 + 1e-3, dx) if over_x <= over_y else 0.0
                my = 0.0 if mx else math.copysign(over_y / 2 + 1e-3, dy)
                places[i] = (places[i][0] + mx, places[i][1] + my)
                places[j] = (places[j][0] - mx, places[j][1] - my)
        if is_clear:
            return
        yield


def gather(places: list[Point]) -> None:
    """Shrink a wide picture in place, so that it fills a screen or two; few rooms stand below one another,
    as a phone is narrow.
    """
    wide, high = _spread(places, 0), _spread(places, 1)
    if len(places) <= _UPRIGHT and wide > high:
        places[:] = [(y, x) for x, y in places]
    roomy = math.sqrt(_UNITS_EACH * max(len(places), _UPRIGHT))
    share_x, share_y = min(1.0, roomy / (wide or 1)), min(1.0, 1.3 * roomy / (high or 1))
    if len(places) > _UPRIGHT:
        places[:] = [(x * share_x, y * share_y) for x, y in places]


def _spread(places: list[Point], axis: int) -> float:
    return max(place[axis] for place in places) - min(place[axis] for place in places)


def rounds(places: list[Point], edges: Sequence[Edge]) -> Iterator[None]:
    """The whole layout, in place and in small steps, from ``first_places`` on."""
    yield from relax(places, edges)
    gather(places)
    yield from part(places)


def in_pixels(places: Sequence[Point]) -> Placed:
    """The finished picture, with a margin around it."""
    left, top = min(x for x, _ in places), min(y for _, y in places)
    off_x, off_y = MARGIN_PX + BOX_WIDTH_PX / 2, MARGIN_PX + BOX_HEIGHT_PX / 2
    centres = tuple(((x - left) * UNIT_X_PX + off_x, (y - top) * UNIT_Y_PX + off_y) for x, y in places)
    width, height = max(x for x, _ in centres) + off_x, max(y for _, y in centres) + off_y
    return Placed(centres, math.ceil(width), math.ceil(height))


def border(centre: Point, towards: Point) -> Point:
    """Where the line from ``centre`` to ``towards`` leaves the room's box, in pixels."""
    dx, dy = towards[0] - centre[0], towards[1] - centre[1]
    if dx == 0 and dy == 0:
        return centre
    x_share = (BOX_WIDTH_PX / 2 + 4) / abs(dx) if dx else math.inf
    y_share = (BOX_HEIGHT_PX / 2 + 4) / abs(dy) if dy else math.inf
    share = min(x_share, y_share, 1.0)
    return centre[0] + dx * share, centre[1] + dy * share

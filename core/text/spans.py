"""Changing the words of a text while its entities stay where they belong."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate
from typing import NamedTuple

from core.model import Entity, Text


class Edit(NamedTuple):
    """Replace the code points ``start`` to ``end`` (not included) by ``new``; ``start == end`` inserts."""

    start: int
    end: int
    new: str


def rewrite(text: Text, edits: Sequence[Edit]) -> Text:
    """``text`` with all ``edits`` made. They are sorted, do not overlap, and count in the text as it was.

    What is put in between two entities belongs to neither: an entity that begins there begins after it, one
    that ends there ends before it. An entity of which nothing is left is dropped. Linear but for a bisection
    for each entity.
    """
    if not edits:
        return text
    parts: list[str] = []
    last = 0
    for edit in edits:
        parts += (text.plain[last : edit.start], edit.new)
        last = edit.end
    parts.append(text.plain[last:])
    entities = _moved(text.entities, edits) if text.entities else ()
    return Text("".join(parts), entities)


def _moved(entities: Sequence[Entity], edits: Sequence[Edit]) -> tuple[Entity, ...]:
    shift = [0, *accumulate(len(edit.new) - (edit.end - edit.start) for edit in edits)]
    before_start = [edit.end for edit in edits]
    before_end = [edit.end + 0.5 if edit.start == edit.end else edit.end for edit in edits]
    moved: list[Entity] = []
    for entity in entities:
        start, end = entity.start, entity.start + entity.length
        i = bisect_right(before_start, start)
        inside = i < len(edits) and edits[i].start < start
        start = (edits[i].start if inside else start) + shift[i]
        i = bisect_right(before_end, end)
        inside = i < len(edits) and edits[i].start < end
        end = (edits[i].start + len(edits[i].new) if inside else end) + shift[i]
        if end > start:
            moved.append(Entity(entity.type, start, end - start, entity.value))
    return tuple(moved)


def slices(text: Text, cuts: Sequence[tuple[int, int]]) -> list[Text]:
    """The parts ``[start, end)`` of ``text``, each with its share of the entities. The cuts are sorted and do
    not overlap; one pass over the entities serves all of them.
    """
    waiting = sorted(text.entities, key=lambda entity: (entity.start, -entity.length))
    active: list[Entity] = []
    parts: list[Text] = []
    following = 0
    for start, end in cuts:
        active = [entity for entity in active if entity.start + entity.length > start]
        while following < len(waiting) and waiting[following].start < end:
            active.append(waiting[following])
            following += 1
        parts.append(Text(text.plain[start:end], clip(active, start, end)))
    return parts


def clip(entities: Sequence[Entity], start: int, end: int) -> tuple[Entity, ...]:
    """The shares of ``entities`` in ``[start, end)``, counted from ``start``."""
    clipped: list[Entity] = []
    for entity in entities:
        first, last = max(entity.start, start), min(entity.start + entity.length, end)
        if last > first:
            clipped.append(Entity(entity.type, first - start, last - first, entity.value))
    return tuple(clipped)

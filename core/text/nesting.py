"""The one form of a text that formatters rely on: sound, sorted, properly nested spans."""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from itertools import pairwise
from typing import Final, Literal, NamedTuple, get_args

from core.model import Entity, EntityType, Text
from core.text.spans import Edit, rewrite

STYLES: Final[tuple[EntityType, ...]] = ("bold", "italic", "underline", "strike")
_LEAVES: Final[tuple[EntityType, ...]] = ("code", "mention", "timestamp", "emoji")
"""Spans with no other span inside. Where two meet, the one named first wins."""
_ATOMS: Final = frozenset({"mention", "timestamp", "emoji"})
_SPANNING: Final[tuple[EntityType, ...]] = ("link", "spoiler", *STYLES)
"""Where two of these cross, the one named later is cut in two."""
_OUTER_FIRST: Final = {
    kind: rank for rank, kind in enumerate(("quote", "pre", "spoiler", *STYLES, "link", *reversed(_LEAVES)))
}
_APART: Final = _ATOMS | {"quote", "pre"}
"""Two of these side by side are two; of every other type they are one."""
_TYPES: Final = frozenset(get_args(EntityType))
_LANGUAGE: Final = re.compile(r"[A-Za-z0-9_+#.-]{1,40}")
_SECONDS: Final = re.compile(r"-?[0-9]{1,11}")


class Span(NamedTuple):
    start: int
    end: int
    value: str = ""


Spans = dict[EntityType, list[Span]]


class Piece(NamedTuple):
    """One step of :func:`walk`: words, or the edge of an entity."""

    kind: Literal["text", "open", "close"]
    start: int
    end: int
    entity: Entity | None = None


def normalise(text: Text) -> Text:
    """``text`` in canonical form; the same again when repeated.

    - Spans lie inside the text, are not empty, neither begin nor end with a line break, and have a sound
      value (a link, mention or emoji has one, a timestamp's is a number, a pre's language is one word).
    - They are properly nested and sorted, outer before inner. A type never lies within itself.
    - Quote and pre fill whole lines: the line breaks that lack are put in, which is all that changes in the
      words. A pre has nothing inside and lies in nothing but a quote; under a spoiler it becomes code.
    - Code, mention, timestamp and emoji have nothing inside; other spans begin and end outside of them.
    - Where styles, links and spoilers cross, one is cut in two; what hides text is never made smaller.
    """
    if not text.entities:
        return text
    spans = _sound(text)
    _place_blocks(text.plain, spans)
    text = _with_line_breaks(text.plain, spans)
    spans = {kind: [] for kind in _OUTER_FIRST}
    for entity in text.entities:
        spans[entity.type].append(Span(entity.start, entity.start + entity.length, entity.value))
    _place_inline(text.plain, spans)
    entities = [
        Entity(kind, start, end - start, span.value)
        for kind, of_kind in spans.items()
        for span in of_kind
        for start, end in (_trim(text.plain, span.start, span.end),)
        if end > start
    ]
    entities.sort(key=lambda entity: (entity.start, -entity.length, _OUTER_FIRST[entity.type]))
    return Text(text.plain, tuple(entities))


def walk(text: Text) -> Iterator[Piece]:
    """The words and the edges of the entities of a normalised text, in order, every open with its close."""
    at = 0
    stack: list[Entity] = []

    def until(position: int) -> Iterator[Piece]:
        nonlocal at
        while stack and stack[-1].start + stack[-1].length <= position:
            inner = stack.pop()
            end = inner.start + inner.length
            if end > at:
                yield Piece("text", at, end)
                at = end
            yield Piece("close", inner.start, end, inner)
        if position > at:
            yield Piece("text", at, position)
            at = position

    for entity in text.entities:
        yield from until(entity.start)
        stack.append(entity)
        yield Piece("open", entity.start, entity.start + entity.length, entity)
    yield from until(len(text.plain))


# --- steps of normalise -------------------------------------------------------------------------------------


def _sound(text: Text) -> Spans:
    spans: Spans = {kind: [] for kind in _OUTER_FIRST}
    size = len(text.plain)
    for entity in text.entities:
        start, end = max(entity.start, 0), min(entity.start + entity.length, size)
        if end <= start or entity.type not in _TYPES:
            continue
        value = _value(entity)
        if value is not None:
            spans[entity.type].append(Span(start, end, value))
    for kind in spans:
        spans[kind] = _joined(kind, spans[kind])
    return spans


def _value(entity: Entity) -> str | None:
    """The entity's value made sound; None where the entity means nothing without one."""
    if entity.type in ("link", "mention", "emoji"):
        return entity.value or None
    if entity.type == "timestamp":
        return entity.value if _SECONDS.fullmatch(entity.value) else None
    if entity.type == "pre":
        return entity.value if _LANGUAGE.fullmatch(entity.value) else ""
    return ""


def _joined(kind: EntityType, spans: list[Span]) -> list[Span]:
    """Sorted and disjoint: overlapping spans become one, or the later one gives way."""
    joined: list[Span] = []
    for span in sorted(spans):
        last = joined[-1] if joined else None
        if last is None or span.start > last.end or (span.start == last.end and kind in _APART):
            joined.append(span)
        elif span.value == last.value and kind not in _ATOMS:
            joined[-1] = Span(last.start, max(last.end, span.end), last.value)
        elif kind in _ATOMS:
            if span.start >= last.end:
                joined.append(span)
        elif span.end > last.end:
            joined.append(Span(last.end, span.end, span.value))
    return joined


def _trim(plain: str, start: int, end: int) -> tuple[int, int]:
    while start < end and plain[start] == "\n":
        start += 1
    while end > start and plain[end - 1] == "\n":
        end -= 1
    return start, end


def _place_blocks(plain: str, spans: Spans) -> None:
    """Quotes and pres without outer line breaks, pres cut where a quote begins or ends or a spoiler lies."""
    quotes = [Span(*_trim(plain, span.start, span.end)) for span in spans["quote"]]
    spans["quote"] = [span for span in quotes if span.end > span.start]
    borders, hidden = _edges(spans["quote"]), spans["spoiler"]
    pres: list[Span] = []
    for span in spans["pre"]:
        for part in _cut_at(span, borders):
            start, end = _trim(plain, part.start, part.end)
            if end > start:
                is_hidden = _overlapping(hidden, start, end)
                (spans["code"] if is_hidden else pres).append(Span(start, end, "" if is_hidden else span.value))
    spans["pre"] = pres
    spans["code"] = _joined("code", spans["code"])


def _with_line_breaks(plain: str, spans: Spans) -> Text:
    places: set[int] = set()
    for span in (*spans["quote"], *spans["pre"]):
        if span.start > 0 and plain[span.start - 1] != "\n":
            places.add(span.start)
        if span.end < len(plain) and plain[span.end] != "\n":
            places.add(span.end)
    entities = tuple(
        Entity(kind, span.start, span.end - span.start, span.value)
        for kind, of_kind in spans.items()
        for span in of_kind
    )
    return rewrite(Text(plain, entities), [Edit(place, place, "\n") for place in sorted(places)])


def _place_inline(plain: str, spans: Spans) -> None:
    borders = sorted({*_edges(spans["quote"]), *_edges(spans["pre"])})
    pres = spans["pre"]
    for kind in (*_LEAVES, *_SPANNING):
        spans[kind] = [
            Span(start, end, span.value)
            for span in spans[kind]
            for part in _cut_at(span, borders)
            for start, end in (_trim(plain, part.start, part.end),)
            if end > start and not _overlapping(pres, start, end)
        ]
    leaves: list[Span] = []
    for kind in _LEAVES:
        spans[kind] = [span for span in spans[kind] if not _overlapping(leaves, span.start, span.end)]
        leaves = sorted([*leaves, *spans[kind]])
    above: list[list[Span]] = []
    for kind in _SPANNING:
        fitted = (_around_leaves(kind, span, leaves) for span in spans[kind])
        kept = _joined(kind, [span for span in fitted if span.end > span.start])
        spans[kind] = [part for span in kept for part in _uncrossed(span, above)]
        above.append(spans[kind])


def _around_leaves(kind: EntityType, span: Span, leaves: list[Span]) -> Span:
    """The span with both ends outside of every leaf: grown if it hides, shrunk if not."""
    first, last = _around(leaves, span.start), _around(leaves, span.end)
    grows = kind == "spoiler"
    start = span.start if first is None else first.start if grows else first.end
    end = span.end if last is None else last.end if grows else last.start
    return Span(start, end, span.value)


def _uncrossed(span: Span, above: list[list[Span]]) -> list[Span]:
    """The span cut where it crosses one of a type that stays whole."""
    cuts: set[int] = set()
    for others in above:
        first, last = _around(others, span.start), _around(others, span.end)
        if first is not None and first.end < span.end:
            cuts.add(first.end)
        if last is not None and last.start > span.start:
            cuts.add(last.start)
    return _cut_at(span, sorted(cuts))


def _edges(spans: list[Span]) -> list[int]:
    return sorted({edge for span in spans for edge in span[:2]})


def _cut_at(span: Span, places: list[int]) -> list[Span]:
    inner = places[bisect_right(places, span.start) : bisect_left(places, span.end)]
    if not inner:
        return [span]
    edges = [span.start, *inner, span.end]
    return [Span(start, end, span.value) for start, end in pairwise(edges)]


def _around(spans: list[Span], place: int) -> Span | None:
    """The one of the disjoint ``spans`` that has ``place`` strictly inside."""
    i = bisect_left(spans, (place,)) - 1
    return spans[i] if i >= 0 and spans[i].end > place else None


def _overlapping(spans: list[Span], start: int, end: int) -> bool:
    i = bisect_left(spans, (end,)) - 1
    return i >= 0 and spans[i].end > start

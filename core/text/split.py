"""Parts that fit: cut at the end of a line, else of a word, else of a reader's character."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator

from core.contract import Unit
from core.model import Entity, Text
from core.text.graphemes import border
from core.text.spans import clip, slices

_LONGEST = {"characters": 1, "utf16": 2, "bytes": 4}
_WHOLE = frozenset({"mention", "emoji", "timestamp"})
SMALLEST_LIMIT = 4
"""One code point takes up to four bytes."""


def size(words: str, unit: Unit) -> int:
    """The length of ``words`` in ``unit``. A lone surrogate counts as what stands in for it when it is sent."""
    if unit == "characters" or words.isascii():
        return len(words)
    if unit == "bytes":
        return len(words.encode("utf-8", "replace"))
    return len(words.encode("utf-16-le", "replace")) // 2


def split(text: Text, limit: int, unit: Unit) -> list[Text]:
    """``text`` in parts of at most ``limit`` in ``unit``; one part, the same object, where it fits.

    A part ends where a line ends, else where a word ends, in its second half; else where a reader's character
    ends; a mention, emoji or timestamp is cut only if it is longer than a part. White space at a cut is left
    out, and so is a part of nothing else. Entities go on in the next part. Linear.
    Raises ValueError for a limit below 4.
    """
    if limit < SMALLEST_LIMIT:
        raise ValueError(f"A post must take at least {SMALLEST_LIMIT} {unit}; the limit given is {limit}.")
    words = text.plain
    if len(words) * _LONGEST[unit] <= limit or size(words, unit) <= limit:
        return [text]

    def reach(start: int) -> int:
        return start + _fitting(words[start : start + limit], limit, unit)

    return slices(text, list(_cuts(text, reach))) or [Text()]


def _fitting(words: str, limit: int, unit: Unit) -> int:
    """How many code points at the beginning of ``words`` fit into ``limit``."""
    if unit == "characters" or words.isascii():
        return min(len(words), limit)
    encoding, width = ("utf-8", 1) if unit == "bytes" else ("utf-16-le", 2)
    encoded = words.encode(encoding, "replace")
    if len(encoded) <= limit * width:
        return len(words)
    return len(encoded[: limit * width].decode(encoding, "ignore"))


def split_by(text: Text, limit: int, measure: Callable[[Text], int]) -> list[Text]:
    """Like :func:`split`, where ``measure`` says how long a part is once it is formatted for its platform.

    ``measure`` is at least the number of code points of what is given to it. Where a single character is too
    long with its entities (a link longer than a post), the part goes without them. Takes about twenty
    measurements for each part.
    """
    if limit < SMALLEST_LIMIT:
        raise ValueError(f"A post must take at least {SMALLEST_LIMIT}; the limit given is {limit}.")
    if len(text.plain) <= limit and measure(text) <= limit:
        return [text]
    measured = _Measured(text, limit, measure)
    parts: list[Text] = []
    for start, end in _cuts(text, measured.reach):
        while start < end:
            stop = end if measured.fits(start, end) else measured.reach(start, end - 1)
            parts.append(measured.part(start, stop))
            start = stop
    return parts or [Text()]


class _Measured:
    """Parts of one text, asked for from front to back."""

    def __init__(self, text: Text, limit: int, measure: Callable[[Text], int]) -> None:
        self._plain = text.plain
        self._limit = limit
        self._measure = measure
        self._waiting = sorted(text.entities, key=lambda entity: (entity.start, -entity.length))
        self._starts = [entity.start for entity in self._waiting]
        self._active: list[Entity] = []
        self._taken = 0
        self._bare_at = -1

    def part(self, start: int, end: int) -> Text:
        """The part of the text, without entities where they alone are too long."""
        return self._part(start, end, bare=self._bare_at == start)

    def fits(self, start: int, end: int) -> bool:
        return self._measure(self.part(start, end)) <= self._limit

    def reach(self, start: int, at_most: int | None = None) -> int:
        """The end of the longest part from ``start`` that fits; at least one code point."""
        self._go_on(start)
        end = min(len(self._plain), start + self._limit, at_most or len(self._plain))
        if self._measure(self._part(start, start + 1, bare=False)) > self._limit:
            self._bare_at = start
        if end <= start + 1 or self.fits(start, end):
            return max(end, start + 1)
        good, bad = start + 1, end
        while bad - good > 1:
            middle = (good + bad) // 2
            if self.fits(start, middle):
                good = middle
            else:
                bad = middle
        return good

    def _go_on(self, start: int) -> None:
        following = bisect_right(self._starts, start)
        self._active += self._waiting[self._taken : following]
        self._taken = max(self._taken, following)
        self._active = [entity for entity in self._active if entity.start + entity.length > start]

    def _part(self, start: int, end: int, *, bare: bool) -> Text:
        words = self._plain[start:end]
        if bare:
            return Text(words)
        ahead = self._waiting[self._taken : bisect_right(self._starts, end - 1)]
        return Text(words, clip((*self._active, *ahead), start, end))


def _cuts(text: Text, reach: Callable[[int], int]) -> Iterator[tuple[int, int]]:
    """``[start, end)`` of each part, where ``reach(start)`` is how far a part from ``start`` may go."""
    words = text.plain
    whole = sorted((entity.start, entity.start + entity.length) for entity in text.entities if entity.type in _WHOLE)
    start = 0
    while start < len(words):
        furthest = reach(start)
        if furthest >= len(words):
            end = following = len(words)
        else:
            end, following = _cut(words, start, furthest, whole)
        if end > start and not words[start:end].isspace():
            yield start, end
        start = following


def _cut(words: str, start: int, furthest: int, whole: list[tuple[int, int]]) -> tuple[int, int]:
    """Where the part ends, and where the next one begins: white space between them belongs to neither."""
    middle = start + (furthest - start) // 2
    for blank in ("\n", " "):
        end = words.rfind(blank, middle, furthest + 1)
        if end > start and _before_whole(end, whole) == end:
            return _skip(words, start, end, blank)
    end = border(words, start, furthest)
    earlier = _before_whole(end, whole)
    end = earlier if earlier > start else end
    return end, end


def _skip(words: str, start: int, end: int, blank: str) -> tuple[int, int]:
    following = end
    while following < len(words) and words[following] == blank:
        following += 1
    while end > start and words[end - 1] in (blank, "\r"):
        end -= 1
    return end, following


def _before_whole(place: int, whole: list[tuple[int, int]]) -> int:
    i = bisect_left(whole, (place,)) - 1
    return whole[i][0] if i >= 0 and place < whole[i][1] else place


def truncate(text: Text, max_chars: int, mark: str = "…") -> Text:
    """The first characters of ``text`` and ``mark``, together at most ``max_chars`` code points; the same object
    where it is not longer. No reader's character is torn apart; a mark that leaves no room is left out.
    """
    words = text.plain
    if len(words) <= max_chars:
        return text
    room = max_chars - len(mark)
    if room <= 0:
        room, mark = max_chars, ""
    end = border(words, 0, room) if room > 0 else 0
    return Text(words[:end] + mark, clip(text.entities, 0, end))

"""Where a reader's characters end (extended grapheme clusters, Unicode Standard Annex 29)."""

from __future__ import annotations

WINDOW = 32
"""Code points looked back for a border. The longest emoji sequences in use have 14; a longer cluster is
decoration, and is cut rather than searched."""


def border(plain: str, start: int, at: int) -> int:
    """The last place in ``(start, at]`` where ``plain`` can be cut without tearing a character apart, given that
    ``start`` is such a place; ``at`` itself where there is none near.
    """
    if at >= len(plain):
        return len(plain)
    before, after = plain[at - 1], plain[at]
    if before.isascii() and after.isascii():
        torn = before == "\r" and after == "\n"
        return at - 1 if torn and at - 1 > start else at
    import grapheme  # type: ignore[import-untyped]

    first = max(start, at - WINDOW)
    first -= _flags_before(plain, start, first) % 2
    found: int = first + grapheme.safe_split_index(plain[first : at + 1], at - first)
    return found if found > first else at


def _flags_before(plain: str, start: int, at: int) -> int:
    """How many regional indicators precede ``at``: two make a flag, so a window must not begin within one."""
    place = at
    while place > start and "\U0001f1e6" <= plain[place - 1] <= "\U0001f1ff":
        place -= 1
    return at - place

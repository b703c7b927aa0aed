"""A room on paper: what its members see, readable, and the same every time."""

from __future__ import annotations

import re
from collections.abc import Sequence

from core.model import Entity
from tests.contract.scene import Line

MARKS = {
    "bold": ("⟦b:", "⟧"),
    "italic": ("⟦i:", "⟧"),
    "underline": ("⟦u:", "⟧"),
    "strike": ("⟦s:", "⟧"),
    "spoiler": ("⟦spoiler:", "⟧"),
    "code": ("⟦code:", "⟧"),
    "quote": ("⟦quote:", "⟧"),
    "mention": ("⟦mention:", "⟧"),
    "emoji": ("⟦emoji:", "⟧"),
    "timestamp": ("⟦time:", "⟧"),
}
CHANGING = (
    (re.compile(r"https?://127\.0\.0\.1:\d+/\S*"), "LINK"),
    (re.compile(r"\d+\.\d+ (kB|MB)"), "SIZE"),
)
MOST_CHARS = 300


def drawn(plain: str, entities: Sequence[Entity]) -> str:
    """The words with their formatting in brackets."""
    inserts: list[tuple[int, int, int, str]] = []
    for number, entity in enumerate(entities):
        start, end = entity.start, entity.start + entity.length
        before, after = MARKS.get(entity.type, (f"⟦{entity.type} {entity.value}:", "⟧"))
        inserts += [(start, 1, -end, before), (end, 0, -start, after)]
        assert number < 200
    out, at = [], 0
    for place, _, _, mark in sorted(inserts):
        out += [plain[at:place], mark]
        at = place
    return "".join([*out, plain[at:]])


def paper(lines: Sequence[Line]) -> list[str]:
    """A line of text for every message."""
    by_native = {line.native: line for line in lines if line.native}
    return [_one(line, by_native) for line in lines]


def _one(line: Line, by_native: dict[str, Line]) -> str:
    words = drawn(line.plain, line.entities)
    for pattern, instead in CHANGING:
        words = pattern.sub(instead, words)
    words = words.replace("\n", "⏎")
    if len(words) > MOST_CHARS:
        words = f"{words[:120]} … {words[-60:]} ({len(line.plain)} characters)"
    answers = ""
    if line.reply_to:
        answered = by_native.get(line.reply_to)
        answers = f" ↩ “{answered.plain[:40] if answered else '?'}”"
    files = "".join(f" 📎{file.name} ({len(file.data)} bytes)" for file in line.files)
    reactions = "".join(f" ({emoji})" for emoji in line.reactions)
    return f"[{line.author}]{answers} {words}{files}{reactions}"

"""A message as lines that fit: cut at line breaks, then words, then graphemes, measured in bytes as sent."""

from __future__ import annotations

from collections.abc import Iterator

from bots.irc.format import format_text, slice_text
from core.model import Text

MORE = " … continued"


def pieces(text: Text, limit_bytes: int, max_parts: int) -> list[str]:
    """``text`` with its formatting codes, in at most ``max_parts`` lines of at most ``limit_bytes`` (UTF-8).

    Empty lines are left out. What does not fit is dropped, and the last line says so.
    """
    plain = text.plain
    if not text.entities and plain.isprintable() and _bytes(plain) <= limit_bytes:
        return [plain] if plain and not plain.isspace() else []
    from core.text.split import split_by

    parts: list[Text] = []
    for start, end in _lines(plain):
        # One part more than may be shown is enough to know that there is more.
        end = min(end, start + (max_parts + 1) * limit_bytes)
        parts += split_by(slice_text(text, start, end), limit_bytes, _measure)
        if len(parts) > max_parts:
            last = split_by(parts[max_parts - 1], limit_bytes - _bytes(MORE), _measure)[0]
            return [format_text(part) for part in parts[: max_parts - 1]] + [format_text(last).rstrip() + MORE]
    return [format_text(part) for part in parts]


def _bytes(line: str) -> int:
    return len(line) if line.isascii() else len(line.encode("utf-8", "replace"))


def _measure(part: Text) -> int:
    return _bytes(format_text(part))


def _lines(plain: str) -> Iterator[tuple[int, int]]:
    """Where each line that is not blank begins and ends, without its CR or LF."""
    start = 0
    for line in plain.replace("\r", "\n").split("\n"):
        if line and not line.isspace():
            yield start, start + len(line)
        start += len(line) + 1

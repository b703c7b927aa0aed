"""Names people give: to themselves, to rooms, to files. Whatever comes, one harmless readable line results."""

from __future__ import annotations

import unicodedata
from pathlib import PurePosixPath

MAX_NAME_CHARS = 40
MAX_TITLE_CHARS = 60
MAX_FILE_NAME_CHARS = 100
MARKS_IN_A_ROW = 2
JOINER = "\u200d"


def clean_line(text: str, limit: int) -> str:
    """``text`` without controls, direction overrides and stacked marks, in one line of at most ``limit``."""
    kept: list[str] = []
    marks = 0
    for char in unicodedata.normalize("NFC", text[: limit * 8]):
        category = unicodedata.category(char)
        if category.startswith("Z") or char in "\t\n\r":
            char = " "
        elif category.startswith("C") and char != JOINER:
            continue
        marks = marks + 1 if category.startswith("M") else 0
        if marks <= MARKS_IN_A_ROW:
            kept.append(char)
    return " ".join("".join(kept).split())[:limit].strip(f" {JOINER}")


def clean_name(text: str) -> str:
    """A person's name; empty where nothing readable is left."""
    return clean_line(text, MAX_NAME_CHARS)


def clean_title(text: str) -> str:
    """A room's name; empty where nothing readable is left."""
    return clean_line(text, MAX_TITLE_CHARS)


def clean_text(text: str) -> str:
    """A message as typed: lines and tabs stay, other controls and direction overrides go."""
    unified = text.replace("\r\n", "\n").replace("\r", "\n")
    return "".join(c for c in unified if c in "\n\t" or not _hidden(c)).strip()


def _hidden(char: str) -> bool:
    return unicodedata.category(char) in ("Cc", "Cs") or "\u202a" <= char <= "\u202e" or "\u2066" <= char <= "\u2069"


def clean_file_name(text: str) -> str:
    """A file's own name: no folder, no leading dot, never empty."""
    last = PurePosixPath(text.replace("\\", "/").replace("\0", "")).name
    name = clean_line(last.replace(":", "_"), 400).lstrip(". ")
    if len(name) > MAX_FILE_NAME_CHARS:
        stem, dot, ending = name.rpartition(".")
        short = MAX_FILE_NAME_CHARS - 11
        name = f"{stem[:short]}.{ending[:10]}" if dot else name[:MAX_FILE_NAME_CHARS]
    return name or "file"


def is_emoji(text: str) -> bool:
    """Something to react with: a few symbols, or a ``:shortcode:``."""
    if len(text) > 2 and text[0] == text[-1] == ":":
        return all(c.isascii() and (c.isalnum() or c in "_+-") for c in text[1:-1])
    return 0 < len(text) <= 16 and all(_of_emoji(c) for c in text) and any(ord(c) > 0xA8 for c in text)


def _of_emoji(char: str) -> bool:
    return char in "0123456789#*" or unicodedata.category(char) in ("So", "Sk", "Mn", "Me", "Cf", "Sm", "Po")

"""Makes docs/fidelity.md of what the platforms claim."""

from __future__ import annotations

from collections.abc import Sequence
from typing import get_args

from core.contract import Capabilities, Hears
from core.model import EntityType

HEAD = """# What works where

Made by the contract suite (`make fidelity`); the suite fails when a claim here and what really happens differ.

In: what people do in a room of the platform, as the other rooms get it. Out: what comes from other rooms, as it is
shown on the platform.

- **full**: as the platform's own people do it
- partial: with something missing; the platform's page in docs/platforms says what
- text: as readable text (a correction line, a quote, a link)
- – : the platform tells bots nothing of it, or has nothing of the kind
"""
WORD = {"full": "**full**", "partial": "partial", "fallback": "text", "drop": "–"}
FEATURES = {
    "edit": "Edits",
    "delete": "Deletions",
    "reply": "Replies",
    "thread": "Threads",
    "reaction": "Reactions",
    "file": "Files and pictures",
    "typing": "Typing",
    "names": "Authors' names",
    "avatars": "Authors' pictures",
}
Row = tuple[str, str, Hears, Capabilities]


def page(platforms: Sequence[Row]) -> str:
    """The page, for (title, where it was checked, what comes in, what goes out) of each platform."""
    rows = sorted(platforms, key=lambda row: row[0])
    titles = [title for title, _, _, _ in rows]
    lines = [HEAD, "## Features", "", _line("", titles), _rule(len(titles))]
    lines.append(_line("Checked on", [where for _, where, _, _ in rows]))
    for field, label in FEATURES.items():
        cells = [f"{WORD[getattr(hears, field)]} / {WORD[getattr(caps, field)]}" for _, _, hears, caps in rows]
        lines.append(_line(f"{label}, in / out", cells))
    history = [WORD[hears.history] for _, _, hears, _ in rows]
    lines.append(_line("What was said while the bot was away", history))
    lines.append(_line("A post tried again is posted once", ["yes" if caps.idempotent else "–" for *_, caps in rows]))
    lines.append(_line("Longest post", [f"{caps.text_limit} {caps.text_unit}" for *_, caps in rows]))
    lines += ["", "## Formatting", "", _line("", titles), _rule(len(titles))]
    for kind in get_args(EntityType):
        cells = [f"{_has(kind in hears.entities)} / {_has(kind in caps.entities)}" for _, _, hears, caps in rows]
        lines.append(_line(f"{kind}, in / out", cells))
    return "\n".join(lines) + "\n"


def _has(claimed: bool) -> str:
    return "**yes**" if claimed else "words"


def _rule(columns: int) -> str:
    return "|---" * (columns + 1) + "|"


def _line(first: str, cells: Sequence[str]) -> str:
    return f"| {first} | " + " | ".join(cells) + " |"

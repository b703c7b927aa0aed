"""What people typed, as the model's text; and the model's text as the nested nodes that pages draw."""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from typing import Any

from core.model import Entity, Text

LINK = re.compile(r"https?://[^\s<>\"'`]{1,2000}")
TRAILING = ".,;:!?)]}*_~"
SHOWN = frozenset(
    {
        "bold",
        "italic",
        "underline",
        "strike",
        "spoiler",
        "code",
        "pre",
        "quote",
        "link",
        "mention",
        "timestamp",
    }
)
MAX_ENTITIES = 1000
Node = str | list[Any]


def is_web_link(url: str) -> bool:
    """Only these become something to click on."""
    return url.startswith(("https://", "http://")) and len(url) <= 2048


def nodes(text: Text) -> tuple[Any, ...]:
    """Nested nodes for ``text``: a string, or ``[type, value, [nodes]]``. A type nests only once in itself,
    so the depth is bounded by the number of types, whatever the entities.
    """
    size = len(text.plain)
    spans = [_clip(e, size) for e in text.entities[:MAX_ENTITIES] if e.type in SHOWN]
    spans = sorted((s for s in spans if s.length > 0), key=lambda s: (s.start, -s.length))
    borders = sorted({0, size, *(s.start for s in spans), *(s.start + s.length for s in spans)})
    top: list[Any] = []
    stack: list[tuple[Entity, list[Any]]] = []
    waiting = iter(spans)
    following = next(waiting, None)
    active: list[Entity] = []
    for start, end in itertools.pairwise(borders):
        active = [s for s in active if s.start + s.length > start]
        while following is not None and following.start <= start:
            if all(s.type != following.type for s in active):
                active.append(following)
            following = next(waiting, None)
        _descend(top, stack, active).append(text.plain[start:end])
    return tuple(top)


def _clip(entity: Entity, size: int) -> Entity:
    start = min(max(entity.start, 0), size)
    end = min(max(entity.start + entity.length, start), size)
    value = entity.value
    kind = entity.type
    if kind == "link" and not is_web_link(value):
        return Entity("link", start, 0)
    return Entity(kind, start, end - start, value)


def _descend(top: list[Any], stack: list[tuple[Entity, list[Any]]], active: Sequence[Entity]) -> list[Any]:
    same = 0
    while same < len(stack) and same < len(active) and stack[same][0] is active[same]:
        same += 1
    del stack[same:]
    for span in active[same:]:
        inside: list[Any] = []
        (stack[-1][1] if stack else top).append([span.type, span.value, inside])
        stack.append((span, inside))
    return stack[-1][1] if stack else top


def plain(body: Sequence[Any]) -> str:
    """The words of ``body``, spoilers covered."""
    parts: list[str] = []
    for node in body:
        if isinstance(node, str):
            parts.append(node)
        elif node[0] == "spoiler":
            parts.append("▒▒▒")
        else:
            parts.append(plain(node[2]))
    return "".join(parts)


def excerpt(body: Sequence[Any], limit: int = 120) -> str:
    """The beginning of a message in one line, for quoting."""
    words = " ".join(plain(body).split())
    return words if len(words) <= limit else words[: limit - 1].rstrip() + "…"


def cut(text: Text, limit: int, max_parts: int) -> list[Text]:
    """``text`` in parts of at most ``limit`` characters, cut at a line or word end where there is one; at least
    one part, at most ``max_parts``, the last ending in an ellipsis where something had to be left out.
    """
    parts: list[Text] = []
    at = 0
    while not parts or (at < len(text.plain) and len(parts) < max_parts):
        end = min(at + limit, len(text.plain))
        if end < len(text.plain):
            room_end = end - 1 if len(parts) == max_parts - 1 else end
            border = max(text.plain.rfind("\n", at, room_end), text.plain.rfind(" ", at, room_end)) + 1
            end = border if border > at + limit // 2 else room_end
        parts.append(_slice(text, at, end))
        at = end
    if at < len(text.plain):
        parts[-1] = Text(parts[-1].plain + "…", parts[-1].entities)
    return parts


def _slice(text: Text, start: int, end: int) -> Text:
    inside = [
        Entity(e.type, max(e.start, start) - start, min(e.start + e.length, end) - max(e.start, start), e.value)
        for e in text.entities
        if e.start < end and e.start + e.length > start
    ]
    return Text(text.plain[start:end], tuple(inside))

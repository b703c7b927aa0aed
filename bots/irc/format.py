"""Text with formatting codes (the IRC formatting conventions of modern.ircdocs.horse/formatting) and our model.

Bold, italic, underline, strike and monospace are toggles. A spoiler is text in the colour of its background.
Other colours and reverse carry no meaning that another platform could show, so they are dropped.
"""

from __future__ import annotations

import re
from typing import Final, cast

from core.model import Entity, EntityType, Text

TOGGLES: Final[dict[str, str]] = {
    "\x02": "bold",
    "\x1d": "italic",
    "\x1f": "underline",
    "\x1e": "strike",
    "\x11": "code",
}
CODES: Final[dict[str, str]] = {name: code for code, name in TOGGLES.items()} | {"pre": "\x11"}
ENTITIES: Final = frozenset({*TOGGLES.values(), "pre", "spoiler"})
"""What a reader of IRC sees as such."""

_SPOILER_ON = "\x0301,01"
_NOTHING = "\x02\x02"
"""Bold on and off: keeps a digit that follows a colour code from being read as part of it."""
_TOKEN = re.compile(
    r"\x03(?:(?P<fg>[0-9]{1,2})(?:,(?P<bg>[0-9]{1,2}))?)?"
    r"|\x04(?:(?P<hexfg>[0-9a-fA-F]{6})(?:,(?P<hexbg>[0-9a-fA-F]{6}))?)?"
    r"|[\x00-\x1f\x7f]"
)
_CONTROL = re.compile(r"[\x00-\x1f\x7f\x80-\x9f\ud800-\udfff\u2028\u2029]")


def parse_text(said: str) -> Text:
    """The model of a line's text. Every control character is understood or dropped."""
    plain: list[str] = []
    entities: list[Entity] = []
    open_at: dict[str, int] = {}
    length = last = 0
    for match in _TOKEN.finditer(said):
        piece = said[last : match.start()]
        plain.append(piece)
        length += len(piece)
        last = match.end()
        code = match[0][0]
        if code in TOGGLES:
            _switch(TOGGLES[code], TOGGLES[code] not in open_at, length, open_at, entities)
        elif code in "\x03\x04":
            fg, bg = (match["fg"], match["bg"]) if code == "\x03" else (match["hexfg"], match["hexbg"])
            hidden = bg is not None and fg.lower().lstrip("0") == bg.lower().lstrip("0")
            _switch("spoiler", hidden, length, open_at, entities)
        elif code == "\x0f":
            _close_all(length, open_at, entities)
        elif code == "\t":
            plain.append(" ")
            length += 1
    plain.append(said[last:])
    _close_all(length + len(said) - last, open_at, entities)
    entities.sort(key=lambda entity: (entity.start, -entity.length))
    return Text(_without_controls("".join(plain)), tuple(entities))


def _without_controls(plain: str) -> str:
    """Nothing that a terminal, or Unicode, takes for a control or a line break; offsets stay as they are."""
    return _CONTROL.sub(" ", plain)


def _switch(kind: str, on: bool, at: int, open_at: dict[str, int], entities: list[Entity]) -> None:
    start = open_at.pop(kind, None)
    if start is not None and at > start:
        entities.append(Entity(cast("EntityType", kind), start, at - start))
    if on:
        open_at[kind] = _went_on(kind, at, entities)


def _went_on(kind: str, at: int, entities: list[Entity]) -> int:
    """Where a span that begins at ``at`` really began: off and on again at one place is no end."""
    for index in range(len(entities) - 1, -1, -1):
        entity = entities[index]
        if entity.type == kind:
            if entity.start + entity.length == at:
                del entities[index]
                return entity.start
            break
    return at


def _close_all(at: int, open_at: dict[str, int], entities: list[Entity]) -> None:
    for kind in list(open_at):
        _switch(kind, False, at, open_at, entities)


def format_text(text: Text) -> str:
    """``text`` as one line: control characters of its own become spaces, entities we can show become codes."""
    plain = clean(text.plain)
    shown = [entity for entity in text.entities if entity.type in ENTITIES and entity.length > 0]
    if not shown:
        return plain
    edges: dict[int, list[tuple[str, int]]] = {}
    for entity in shown:
        kind = "code" if entity.type == "pre" else entity.type
        edges.setdefault(max(0, entity.start), []).append((kind, 1))
        edges.setdefault(min(len(plain), entity.start + entity.length), []).append((kind, -1))
    out: list[str] = []
    depth: dict[str, int] = {}
    last = 0
    for at in sorted(edges):
        out.append(plain[last:at])
        out.append(_codes(edges[at], depth, plain[at : at + 1]))
        last = at
    out.append(plain[last:])
    return "".join(out)


def _codes(changes: list[tuple[str, int]], depth: dict[str, int], following: str) -> str:
    """The codes for what begins and ends at one place; overlapping spans of one kind count as one."""
    before = {kind: depth.get(kind, 0) > 0 for kind, _ in changes}
    for kind, step in changes:
        depth[kind] = depth.get(kind, 0) + step
    codes = ""
    colour_off = False
    for kind, was in before.items():
        if was == (depth[kind] > 0):
            continue
        if kind != "spoiler":
            codes += CODES[kind]
        elif was:
            colour_off = True
        else:
            codes += _SPOILER_ON
    if colour_off:
        codes = "\x03" + (codes or (_NOTHING if following[:1].isdigit() else ""))
    return codes


def clean(plain: str) -> str:
    """``plain`` without anything that could be read as a code or a line's end."""
    return plain if plain.isprintable() else _CONTROL.sub(" ", plain)


def slice_text(text: Text, start: int, end: int) -> Text:
    """The part of ``text`` between two code points, with its share of the entities."""
    entities = []
    for entity in text.entities:
        first, last = max(entity.start, start), min(entity.start + entity.length, end)
        if last > first:
            entities.append(Entity(entity.type, first - start, last - first, entity.value))
    return Text(text.plain[start:end], tuple(entities))


def insert(text: Text, at: int, what: str) -> Text:
    """``text`` with ``what`` put in at a code point; spans move or grow with it."""
    entities = []
    for entity in text.entities:
        first, last = entity.start, entity.start + entity.length
        first += len(what) if first >= at else 0
        last += len(what) if last > at else 0
        entities.append(Entity(entity.type, first, last - first, entity.value))
    return Text(text.plain[:at] + what + text.plain[at:], tuple(entities))

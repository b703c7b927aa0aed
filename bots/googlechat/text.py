"""Google Chat's dialects and our model.

Out: Markdown (``MARKUP_SYNTAX_MARKDOWN``), in which a backslash keeps every sign literal; Chat's own syntax has no
escape. Cards: HTML. In: ``formattedText``, in either syntax, by what the app's configuration page says
(Google Chat, format-messages).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from core.model import Entity, EntityType, Text
from core.text.ops import Edit, normalise, rewrite, walk, web_link
from core.text.safety import clean_text, defuse_mass_mentions

ENTITIES: Final = frozenset({"bold", "italic", "strike", "code", "pre", "quote", "link"})
CARD_ENTITIES: Final = frozenset({"bold", "italic", "underline", "strike", "link"})
JOINER: Final = "\u2060"
"""Word joiner: nobody sees it, and ``<users/all>`` with it calls nobody."""
_CALL: Final = re.compile(r"<(?=\s*users/)", re.IGNORECASE)
_FENCE: Final = re.compile(r"(?:> ?)*(`{3,})[^`]*")
_ESCAPED: Final = re.compile(r"[\\*`\[\]<~|_!&#\-+=>:.)]")
_EDGE_BLANKS: Final = re.compile(r"^\s+|\s+$", re.MULTILINE)
_PER_LINE: Final = 6
_PER_ENTITY: Final = 16


def safe(text: Text) -> Text:
    """``text`` without controls and half characters, and unable to call anybody."""
    plain = text.plain
    if not plain.isascii() and any("\ud800" <= char <= "\udfff" for char in plain):
        text = Text("".join("\ufffd" if "\ud800" <= char <= "\udfff" else char for char in plain), text.entities)
    text = defuse_mass_mentions(clean_text(text))
    if "<" not in text.plain:
        return text
    return rewrite(text, [Edit(found.end(), found.end(), JOINER) for found in _CALL.finditer(text.plain)])


# --- out ----------------------------------------------------------------------------------------------------


def to_markdown(text: Text) -> str:
    """A text as Markdown for the Chat API. ``text`` is :func:`safe`."""
    from core.text import markdown

    return _hard_breaks(markdown.format(text))


def _hard_breaks(written: str) -> str:
    """CommonMark shows a bare line break as a blank; two blanks before it keep it a line break."""
    if "\n" not in written:
        return written
    out: list[str] = []
    fence = ""
    lines = written.split("\n")
    for line, following in zip(lines, [*lines[1:], ""], strict=True):
        found = _FENCE.fullmatch(line)
        if fence:
            if found and found[1] == fence:
                fence = ""
        elif found:
            fence = found[1]
        elif line.strip("> ") and following.strip("> ") and not _FENCE.fullmatch(following):
            line += "  "
        out.append(line)
    return "\n".join(out)


def markdown_weight(text: Text) -> int:
    """At least as many bytes as :func:`to_markdown` makes of ``text``; quick, for finding where to cut."""
    plain = text.plain
    size = len(plain) if plain.isascii() else len(plain.encode("utf-8", "replace"))
    size += len(_ESCAPED.findall(plain)) + _PER_LINE * (plain.count("\n") + 1)
    size += 8 * sum(len(found) for found in _EDGE_BLANKS.findall(plain))
    return size + sum(_PER_ENTITY + 2 * len(entity.value.encode("utf-8", "replace")) for entity in text.entities)


_TAGS: Final[dict[str, str]] = {"bold": "b", "italic": "i", "underline": "u", "strike": "s"}


def to_html(text: Text) -> str:
    """A text as a card's text paragraph shows it. ``text`` is :func:`safe`."""
    from html import escape

    text = normalise(text)
    out: list[str] = []
    for piece in walk(text):
        entity = piece.entity
        if entity is None:
            out.append(escape(text.plain[piece.start : piece.end]).replace("\n", "<br>"))
        elif entity.type in _TAGS:
            out.append(f"<{'/' if piece.kind == 'close' else ''}{_TAGS[entity.type]}>")
        elif entity.type == "link" and web_link(entity.value):
            out.append(f'<a href="{escape(entity.value)}">' if piece.kind == "open" else "</a>")
    return "".join(out)


def html_weight(text: Text) -> int:
    """How many bytes :func:`to_html` makes of ``text``."""
    return max(len(to_html(text).encode("utf-8", "replace")), len(text.plain))


# --- in -----------------------------------------------------------------------------------------------------

_MENTION: Final = re.compile(r"<(users/[^<>|\s]{1,100})>|(?<![\w:]):([a-z0-9_-]{1,64}):(?![\w:])")


def read(formatted: str, markup: str, names: Mapping[str, str], emoji: frozenset[str] = frozenset()) -> Text:
    """The model of a message's ``formattedText``.

    ``names``: ``users/123`` → how that person is called, of those who are mentioned. ``emoji``: names of the
    custom emoji in it.
    """
    if markup == "chat":
        text = _parse_chat(formatted)
    else:
        from core.text import markdown

        text = markdown.parse(formatted)
    edits: list[Edit] = []
    marks: list[Entity] = []
    shift = 0
    for match in _MENTION.finditer(text.plain):
        person, custom = match[1], match[2]
        if person in names:
            words = f"@{names[person].lstrip('@')}"
            marks.append(Entity("mention", match.start() + shift, len(words), person))
        elif custom in emoji:
            words = match[0]
            marks.append(Entity("emoji", match.start() + shift, len(words), custom))
        else:
            continue
        edits.append(Edit(match.start(), match.end(), words))
        shift += len(words) - len(match[0])
    if not marks:
        return text
    text = rewrite(text, edits)
    return normalise(Text(text.plain, (*text.entities, *marks)))


_SOLID: Final = re.compile(
    r"```(?P<pre>(?:[^`]|`(?!``)){1,32000})```"
    r"|`(?P<code>[^`\n]{1,32000})`"
    r"|<(?P<url>(?:https?://|mailto:)[^<>|\s]{1,2048})(?:\|(?P<label>[^<>\n]{1,4000}))?>"
)
_MARK: Final = re.compile(r"[*_~\n]")
_STYLES: Final[dict[str, EntityType]] = {"*": "bold", "_": "italic", "~": "strike"}


def _parse_chat(said: str) -> Text:
    """Chat's own syntax: ``*bold*``, ``_italic_``, ``~strike~``, code, blocks and ``<url|label>``. Linear."""
    solid = list(_SOLID.finditer(said))
    out: list[str] = []
    size = last = 0
    entities: list[Entity] = []
    opened: dict[int, int] = {}
    pairs = _pairs(said, solid)
    steps: dict[int, re.Match[str] | None] = {match.start(): match for match in solid} | dict.fromkeys(pairs)
    for at in sorted(steps):
        match = steps[at]
        out.append(said[last:at])
        size += at - last
        last = match.end() if match else at + 1
        if match:
            kind, words, value = _solid(match)
            entities.append(Entity(kind, size, len(words), value))
            out.append(words)
            size += len(words)
        elif pairs[at] > at:
            opened[at] = size
        else:
            start = opened[pairs[at]]
            entities.append(Entity(_STYLES[said[at]], start, size - start))
    out.append(said[last:])
    return normalise(Text("".join(out), tuple(entities)))


def _solid(match: re.Match[str]) -> tuple[EntityType, str, str]:
    if match["pre"] is not None:
        return "pre", match["pre"].strip("\n"), ""
    if match["code"] is not None:
        return "code", match["code"], ""
    return "link", match["label"] or match["url"], match["url"]


def _pairs(said: str, solid: list[re.Match[str]]) -> dict[int, int]:
    """Where the marks of styles are, and their partners: one opens before a word and closes behind one, in a line."""
    pairs: dict[int, int] = {}
    standing: dict[str, int] = {}
    inside = iter([*((match.start(), match.end()) for match in solid), (len(said), len(said))])
    start, end = next(inside)
    for found in _MARK.finditer(said):
        at, mark = found.start(), found[0]
        while at >= end and end < len(said):
            start, end = next(inside)
        if start <= at < end:
            continue
        before, after = said[at - 1 : at] if at else "", said[at + 1 : at + 2]
        if mark == "\n":
            standing.clear()
        elif mark in standing and standing[mark] < at - 1 and not before.isspace() and not after.isalnum():
            since = standing.pop(mark)
            pairs[since], pairs[at] = at, since
            standing = {other: place for other, place in standing.items() if place < since}
        elif after.strip() and not before.isalnum():
            standing[mark] = at
    return pairs

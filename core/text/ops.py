"""Building, cutting and joining texts, and putting into plain words what a room cannot show."""

from __future__ import annotations

from bisect import bisect_right
from datetime import UTC, datetime

from core.model import Entity, EntityType, Text
from core.text.nesting import Piece, normalise, walk
from core.text.spans import Edit, clip, rewrite

__all__ = [
    "Edit",
    "Piece",
    "bold",
    "code",
    "concat",
    "downgrade",
    "emoji",
    "italic",
    "link",
    "mention",
    "normalise",
    "plain",
    "pre",
    "quote",
    "rewrite",
    "slice_text",
    "spoiler",
    "strike",
    "strip",
    "timestamp",
    "underline",
    "walk",
    "web_link",
]

_LINK_SCHEMES = ("https://", "http://", "mailto:")
MAX_URL_CHARS = 2048


# --- building -----------------------------------------------------------------------------------------------


def plain(words: str) -> Text:
    """Words that mean nothing but themselves."""
    return Text(words)


def bold(words: str | Text) -> Text:
    """All of it bold."""
    return _wrapped("bold", words)


def italic(words: str | Text) -> Text:
    """All of it italic."""
    return _wrapped("italic", words)


def underline(words: str | Text) -> Text:
    """All of it underlined."""
    return _wrapped("underline", words)


def strike(words: str | Text) -> Text:
    """All of it struck out."""
    return _wrapped("strike", words)


def spoiler(words: str | Text) -> Text:
    """All of it hidden until the reader asks."""
    return _wrapped("spoiler", words)


def code(words: str) -> Text:
    """A piece of code within a line."""
    return _wrapped("code", words)


def pre(words: str, language: str = "") -> Text:
    """A block of code."""
    return _wrapped("pre", words, language)


def quote(words: str | Text) -> Text:
    """What somebody else said."""
    return _wrapped("quote", words)


def link(label: str | Text, url: str) -> Text:
    """``label``, leading to ``url``."""
    return _wrapped("link", label, url)


def mention(name: str, person_id: str) -> Text:
    """Somebody's name, and the platform's id of them."""
    return _wrapped("mention", name, person_id)


def emoji(shown: str, shortcode: str) -> Text:
    """An emoji as ``shown``, and its shortcode without colons."""
    return _wrapped("emoji", shown, shortcode)


def timestamp(shown: str, at_s: int) -> Text:
    """A moment as ``shown``, and the Unix time in seconds that it means."""
    return _wrapped("timestamp", shown, str(at_s))


def _wrapped(kind: EntityType, words: str | Text, value: str = "") -> Text:
    text = Text(words) if isinstance(words, str) else words
    return Text(text.plain, (Entity(kind, 0, len(text.plain), value), *text.entities)) if text.plain else text


# --- cutting and joining ------------------------------------------------------------------------------------


def concat(*texts: Text) -> Text:
    """One text after the other."""
    words: list[str] = []
    entities: list[Entity] = []
    size = 0
    for text in texts:
        words.append(text.plain)
        for entity in text.entities:
            entities.append(
                entity if size == 0 else Entity(entity.type, entity.start + size, entity.length, entity.value)
            )
        size += len(text.plain)
    return Text("".join(words), tuple(entities))


def slice_text(text: Text, start: int, end: int) -> Text:
    """The code points ``[start, end)`` with their share of the entities. No negative places."""
    if start <= 0 and end >= len(text.plain):
        return text
    return Text(text.plain[start:end], clip(text.entities, max(start, 0), min(end, len(text.plain))))


def strip(text: Text) -> Text:
    """``text`` without white space at its two ends."""
    words = text.plain
    start = len(words) - len(words.lstrip())
    return slice_text(text, start, max(start, len(words.rstrip())))


def web_link(url: str) -> bool:
    """Is this what people may be given to click on: http, https or mailto, one word, not too long?"""
    return url.lower().startswith(_LINK_SCHEMES) and len(url) <= MAX_URL_CHARS and not _has_blank(url)


def _has_blank(url: str) -> bool:
    return any(char.isspace() or not char.isprintable() for char in url)


# --- what a room cannot show --------------------------------------------------------------------------------


def downgrade(text: Text, allowed: frozenset[str]) -> Text:
    """``text`` with only the entity types in ``allowed``; of the others, what their words do not say already
    is put into words.

    A link becomes ``label (url)`` unless the label says the url; a quote's lines begin with ``> ``; a spoiler
    becomes ``[spoiler: ...]``, for nobody can unread it; struck words become ``~~words~~``, for they mean the
    opposite; a timestamp becomes ``2026-01-31 23:59 UTC``. Bold, italic, underline and code are emphasis, and a
    mention or an emoji says its name already: their words stay as they are.
    """
    if not text.entities or all(entity.type in allowed for entity in text.entities):
        return text
    text = normalise(text)
    shown = [entity for entity in text.entities if entity.type in allowed]
    blocks = [entity for entity in shown if entity.type == "pre"]
    edits: list[tuple[int, int, int, Edit]] = []
    for depth, entity in enumerate(text.entities):
        if entity.type not in allowed:
            for edit in _in_words(text.plain, entity, blocks):
                closes = edit.start == edit.end == entity.start + entity.length
                edits.append((edit.start, 0 if closes else 1, -depth if closes else depth, edit))
    edits.sort(key=lambda found: found[:3])
    return rewrite(Text(text.plain, tuple(shown)), [edit for *_, edit in edits])


def _in_words(words: str, entity: Entity, blocks: list[Entity]) -> list[Edit]:
    start, end = entity.start, entity.start + entity.length
    if entity.type == "quote":
        return [Edit(place, place, "> ") for place in _line_starts(words, start, end, blocks)]
    if entity.type == "link":
        return _link_in_words(words[start:end], entity.value, start, end)
    if entity.type == "spoiler":
        return [Edit(start, start, "[spoiler: "), Edit(end, end, "]")]
    if entity.type == "strike":
        return [Edit(start, start, "~~"), Edit(end, end, "~~")]
    if entity.type == "timestamp":
        return [Edit(start, end, _moment(int(entity.value), words[start:end]))]
    return []


def _link_in_words(label: str, url: str, start: int, end: int) -> list[Edit]:
    if not web_link(url) or _same_place(label, url):
        return []
    scheme = url.partition("://")[0] + "://"
    if _same_place(scheme + label, url):
        return [Edit(start, start, scheme)]
    return [Edit(end, end, f" ({url})")]


def _same_place(label: str, url: str) -> bool:
    return label.strip().rstrip("/") in (url.rstrip("/"), url.removeprefix("mailto:"))


def _moment(at_s: int, words: str) -> str:
    try:
        return datetime.fromtimestamp(at_s, UTC).strftime("%Y-%m-%d %H:%M UTC")
    except (ValueError, OverflowError, OSError):
        return words


def _line_starts(words: str, start: int, end: int, blocks: list[Entity]) -> list[int]:
    """Where the lines begin; a line of a code block that is shown as such is left alone."""
    starts: list[int] = []
    place = start
    while place >= start:
        i = bisect_right(blocks, place, key=lambda block: block.start) - 1
        if i < 0 or blocks[i].start + blocks[i].length <= place:
            starts.append(place)
        place = words.find("\n", place, end) + 1 or -1
    return starts

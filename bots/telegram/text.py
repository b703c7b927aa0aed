"""Telegram's text and our model: words with entities that count UTF-16 code units (core.telegram.org/bots/api
#messageentity). Nothing is ever sent with a ``parse_mode``, so no word can be taken for markup.
"""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Mapping
from typing import Any, Final, cast

from core.model import Entity, EntityType, Text
from core.text.mass import defuse_mass_mentions
from core.text.nesting import normalise
from core.text.ops import rewrite, web_link
from core.text.spans import Edit
from core.text.split import size, split

MORE: Final = " … continued"
ZERO_WIDTH: Final = "\u200b"
WORD_JOINER: Final = "\u2060"
_OUT: Final[dict[str, str]] = {
    "bold": "bold",
    "italic": "italic",
    "underline": "underline",
    "strike": "strikethrough",
    "spoiler": "spoiler",
    "code": "code",
    "pre": "pre",
    "quote": "blockquote",
    "link": "text_link",
    "timestamp": "date_time",
}
ENTITIES: Final = frozenset(_OUT)
"""What a post of ours can show."""
_IN: Final[dict[str, EntityType]] = {
    **{theirs: cast("EntityType", ours) for ours, theirs in _OUT.items()},
    "expandable_blockquote": "quote",
    "text_mention": "mention",
    "mention": "mention",
}
_COMMAND = re.compile(r"/(?P<name>[A-Za-z0-9_]+)(?:@(?P<bot>\w+))?(?:\s+|$)(?P<rest>.*)", re.DOTALL)
_AT_NAME = re.compile(r"@(?=\w)")
_PEOPLE_LINK = re.compile(r"https?://", re.IGNORECASE)


# --- places -------------------------------------------------------------------------------------------------


class Places:
    """Between code points and UTF-16 code units of one text."""

    def __init__(self, plain: str) -> None:
        self._points = [] if plain.isascii() else [i for i, char in enumerate(plain) if char > "\uffff"]
        self._units = [point + earlier for earlier, point in enumerate(self._points)]

    def units(self, point: int) -> int:
        """UTF-16 code units before a code point."""
        return point + bisect_left(self._points, point)

    def point(self, units: int) -> int:
        """The code point at a place in UTF-16; behind the character where the place is inside one."""
        return units - bisect_right(self._units, units - 2)


# --- out ----------------------------------------------------------------------------------------------------


def outgoing(text: Text, *, mentions: bool = True, relayed: bool = True) -> Text:
    """``text`` as it may be posted: nothing calls a room, nothing runs a command of another bot, only what Telegram
    can show. ``mentions``: an ``@name`` may notify somebody. ``relayed``: it is somebody's words, not the bot's own.
    """
    text = defuse_mass_mentions(_encodable(text))
    edits = [] if mentions else [Edit(m.end(), m.end(), ZERO_WIDTH) for m in _AT_NAME.finditer(text.plain)]
    if relayed and text.plain.startswith("/"):
        edits.insert(0, Edit(1, 1, WORD_JOINER))
    text = rewrite(text, edits)
    return normalise(_links_in_words(text))


def _encodable(text: Text) -> Text:
    """Without half characters, which no request can carry."""
    try:
        text.plain.encode()
    except UnicodeEncodeError:
        return Text(text.plain.encode("utf-8", "replace").decode(), text.entities)
    return text


def _links_in_words(text: Text) -> Text:
    """Telegram links to web pages only, and ``tg:`` addresses would name people: other links lose theirs."""
    kept = []
    edits = []
    for entity in text.entities:
        if entity.type != "link" or (web_link(entity.value) and _PEOPLE_LINK.match(entity.value)):
            kept.append(entity)
        elif web_link(entity.value):
            end = entity.start + entity.length
            address = entity.value.partition(":")[2]
            if address not in text.plain[entity.start : end]:
                edits.append(Edit(end, end, f" ({address})"))
    edits.sort(key=lambda edit: edit.start)
    return rewrite(Text(text.plain, tuple(kept)), edits)


def parts(text: Text, limit: int, max_parts: int) -> list[Text]:
    """``text`` in at most ``max_parts`` parts of ``limit`` UTF-16 code units; the last says when there was more."""
    found = [part for part in split(text, limit, "utf16") if part.plain.strip()]
    if len(found) <= max_parts:
        return found
    last = split(found[max_parts - 1], limit - len(MORE), "utf16")[0]
    return [*found[: max_parts - 1], Text(last.plain + MORE, last.entities)]


def fits(text: Text, limit: int) -> bool:
    """Is ``text`` at most ``limit`` UTF-16 code units long?"""
    return size(text.plain, "utf16") <= limit


def entities_of(text: Text) -> list[dict[str, Any]] | None:
    """The MessageEntity objects of a text that :func:`outgoing` made; None where there are none."""
    if not text.entities:
        return None
    places = Places(text.plain)
    found: list[dict[str, Any]] = []
    for entity in text.entities:
        kind = _OUT.get(entity.type)
        if kind is None:
            continue
        start = places.units(entity.start)
        made: dict[str, Any] = {
            "type": kind,
            "offset": start,
            "length": places.units(entity.start + entity.length) - start,
        }
        if kind == "text_link":
            made["url"] = entity.value
        elif kind == "pre" and entity.value:
            made["language"] = entity.value
        elif kind == "date_time":
            made["unix_time"] = int(entity.value)
        found.append(made)
    return found or None


# --- in -----------------------------------------------------------------------------------------------------


def incoming(plain: str, entities: Iterable[Any] = ()) -> Text:
    """The model of a message's text or caption. Entities of a kind or shape that is not known are plain words."""
    places = Places(plain)
    found: list[Entity] = []
    for raw in entities:
        if not isinstance(raw, Mapping):
            continue
        kind, offset, length = _IN.get(str(raw.get("type"))), raw.get("offset"), raw.get("length")
        if kind is None or not isinstance(offset, int) or not isinstance(length, int):
            continue
        start, end = places.point(offset), places.point(offset + length)
        value = _value(raw, plain[start:end])
        if value is not None and 0 <= start < end <= len(plain):
            found.append(Entity(kind, start, end - start, value))
    return Text(plain, tuple(found))


def _value(raw: Mapping[str, Any], words: str) -> str | None:
    kind = raw["type"]
    if kind == "text_link":
        return str(raw.get("url") or "") or None
    if kind == "text_mention":
        user = raw.get("user")
        return str(user["id"]) if isinstance(user, Mapping) and "id" in user else None
    if kind == "mention":
        return words
    if kind == "date_time":
        return str(raw["unix_time"]) if isinstance(raw.get("unix_time"), int) else None
    return str(raw.get("language") or "") if kind == "pre" else ""


def as_command(text: Text, prefix: str, username: str, *, private: bool) -> Text:
    """``/sameroom open``, ``/sameroom@ourbot open``, and ``/start CODE`` of a deep link, as the command they mean.

    What is addressed to another bot stays plain talk. ``/start`` and ``/help`` are ours only where nobody else can
    be meant: in private, or with our name.
    """
    match = _COMMAND.match(text.plain)
    if match is None:
        return text
    name, bot, rest = match["name"].casefold(), match["bot"], match["rest"].strip()
    if bot and bot.casefold() != username.casefold():
        if name == prefix.casefold():
            return rewrite(text, [Edit(1, 1, WORD_JOINER)])
        return text
    if name == prefix.casefold():
        return Text(f"-{prefix} {rest}".rstrip())
    if bot or private:
        if name == "start" and rest:
            return Text(f"-{prefix} connect {rest}")
        if name in ("start", "help"):
            return Text(f"-{prefix} help")
    return text

"""The words of Matrix messages in both directions: ``body`` is plain, ``formatted_body`` is HTML."""

from __future__ import annotations

import re
from typing import Any, Final
from urllib.parse import unquote

import msgspec

from core.model import Entity, Text
from core.text import html
from core.text.ops import downgrade, slice_text
from core.text.safety import clean_text
from core.text.split import split_by

FORMAT: Final = "org.matrix.custom.html"
ENTITIES: Final = frozenset({"bold", "italic", "underline", "strike", "spoiler", "code", "pre", "quote", "link"})
"""What a Matrix room shows; mentions, emoji and moments are written as their words."""
HEARD: Final = ENTITIES | {"mention", "emoji"}
TEXT_LIMIT_BYTES: Final = 30_000
"""An event has at most 65,536 bytes (Client-Server API, "Size limits"), and ours hold the words twice."""
MORE: Final = " … (cut)"
_LEFT_OUT: Final = html.LEFT_OUT | {"mx-reply"}
_PILL: Final = re.compile(r"https://matrix\.to/#/((?:@|%40)[^/?#\s]+)(?:\?\S*)?", re.IGNORECASE)
_QUOTED: Final = re.compile(r"> (?:\* )?<@[^>\n]*>.*(?:\n>.*)*\n*")


def to_content(text: Text) -> dict[str, Any]:
    """``body``, and ``formatted_body`` where there is formatting."""
    if not text.entities:
        return {"body": text.plain}
    return {
        "body": downgrade(text, frozenset()).plain,
        "format": FORMAT,
        "formatted_body": html.format(text),
    }


def from_content(content: dict[str, Any]) -> Text:
    """What people wrote, without the quote of an answered message that older clients put in front.

    Rich replies: the fallback was taken out of the specification in version 1.13.
    """
    formatted = content.get("formatted_body")
    if content.get("format") == FORMAT and isinstance(formatted, str) and formatted:
        return _with_mentions(html.parse(formatted, _LEFT_OUT))
    body = content.get("body")
    plain = body if isinstance(body, str) else ""
    return Text(_QUOTED.sub("", plain, count=1) if answered(content) and _QUOTED.match(plain) else plain)


def answered(content: dict[str, Any]) -> str:
    """The id of the event that this one answers; empty where it answers none."""
    relation = content.get("m.relates_to")
    if not isinstance(relation, dict) or (relation.get("rel_type") == "m.thread" and relation.get("is_falling_back")):
        return ""
    to = relation.get("m.in_reply_to")
    event_id = to.get("event_id") if isinstance(to, dict) else None
    return event_id if isinstance(event_id, str) else ""


def _with_mentions(text: Text) -> Text:
    """Links to people (pills) as mentions."""
    if not any(entity.type == "link" for entity in text.entities):
        return text
    return Text(text.plain, tuple(_mention(entity) for entity in text.entities))


def _mention(entity: Entity) -> Entity:
    pill = _PILL.fullmatch(entity.value) if entity.type == "link" else None
    return Entity("mention", entity.start, entity.length, unquote(pill[1])) if pill else entity


def parts(text: Text, max_parts: int) -> list[Text]:
    """``text`` in events that fit, at most ``max_parts``; the last one says so where something was left out."""
    # One part more than may be shown is enough to know that there is more.
    text = clean_text(slice_text(text, 0, (max_parts + 1) * TEXT_LIMIT_BYTES))
    found = split_by(text, TEXT_LIMIT_BYTES, _measure)
    if len(found) <= max_parts:
        return found
    last = split_by(found[max_parts - 1], TEXT_LIMIT_BYTES - len(MORE.encode()), _measure)[0]
    return [*found[: max_parts - 1], Text(last.plain.rstrip() + MORE, last.entities)]


def _measure(part: Text) -> int:
    """Bytes of the words, or half of those of the content where formatting makes it long."""
    words = len(part.plain.encode())
    return max(words, len(msgspec.json.encode(to_content(part))) // 2)

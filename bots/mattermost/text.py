"""Mattermost's Markdown and our model.

Its clients have two readers: an old fork of marked in browsers (github.com/mattermost/marked) and a CommonMark one on
phones. What :func:`markdown` writes means the same in both.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Final

from bots.mattermost import emojis
from core.model import Entity, Text
from core.text import markdown as dialect
from core.text.mass import defuse_mass_mentions
from core.text.nesting import normalise
from core.text.ops import rewrite
from core.text.spans import Edit
from core.text.split import split_by, truncate

ENTITIES: Final = frozenset({"bold", "italic", "strike", "code", "pre", "quote", "link"})
MORE: Final = " … continued"
ZERO_WIDTH: Final = "\u200b"
_AT_NAME: Final = re.compile(r"(?<![\w.+-])@([\w.-]+)")
_SHORTCODE: Final = re.compile(r":([A-Za-z0-9_+-]+):")
_VERBATIM: Final = frozenset({"code", "pre"})
_TOKEN: Final = re.compile(
    r"(?P<code>(?P<ticks>`+)(?!`)[\s\S]*?(?<!`)(?P=ticks)(?!`))"
    r"|\]\((?P<target><(?:\\.|[^>\\])*>|[^\s()<>]+)\)"
    r"|(?P<url>https?://(?:\\[^\w\s]|(?!~~)[^\s<>*`\[\]\\])+)"
    r"|\\(?P<sign>[^\w\s])"
    r"|(?P<named>:)(?=(?!\d+:)[A-Za-z0-9_+-]+:|100:|1234:)"
    r"|(?P<math>\$)(?=[^$\n]+\$(?!\w))"
)
_ESCAPED: Final = re.compile(r"\\([^\w\s])")
_MARKED_ESCAPES: Final = frozenset("`*{}[]()#+-.!_>|~")
"""What may stand behind a backslash in marked's fork."""
_TAG_START: Final = re.compile(r"[A-Za-z/!?]")


# --- out ----------------------------------------------------------------------------------------------------


def names_in(text: Text) -> set[str]:
    """User names that a text might mention, in small letters."""
    found = {match[1].lower() for match in _AT_NAME.finditer(text.plain)}
    return found | {name.rstrip(".-_") for name in found}


def outgoing(text: Text, callable_names: Collection[str] = ()) -> Text:
    """``text`` as it may be posted: no ``@name`` notifies anybody but those in ``callable_names``: no room, no group
    of people, no stranger. Code is left as it is, for nothing calls there."""
    text = defuse_mass_mentions(_encodable(text))
    verbatim = [(entity.start, entity.start + entity.length) for entity in text.entities if entity.type in _VERBATIM]
    edits = []
    for match in _AT_NAME.finditer(text.plain):
        name, at = match[1].lower(), match.start()
        if name in callable_names or name.rstrip(".-_") in callable_names:
            continue
        if not any(start <= at < end for start, end in verbatim):
            edits.append(Edit(at + 1, at + 1, ZERO_WIDTH))
    return rewrite(text, edits)


def _encodable(text: Text) -> Text:
    """Without half characters and NUL, which the server cannot store."""
    plain = text.plain.encode("utf-8", "replace").decode().replace("\0", " ")
    return Text(plain, text.entities) if plain != text.plain else text


def markdown(text: Text) -> str:
    """``text`` so that every client of Mattermost shows its words and spans, and makes nothing else of them."""
    return _TOKEN.sub(_token, dialect.format(text))


def _token(match: re.Match[str]) -> str:
    if match["code"] is not None:
        return match[0]
    if (target := match["target"]) is not None:
        return f"]({_ESCAPED.sub(_in_target, target)})"
    if (url := match["url"]) is not None:
        return f"<{_ESCAPED.sub(_itself, url)}>" if "\\" in url else url
    if match["named"]:
        return "&#58;"
    if match["math"]:
        return "&#36;"
    return _sign(match["sign"], match.string[match.end() : match.end() + 1])


def _sign(sign: str, following: str) -> str:
    if sign == "\\":
        return "\\" if following.isalnum() or following == "_" else "\\\\"
    if sign == "<":
        return "&lt;" if _TAG_START.match(following) or following == "\\" else "<"
    if sign == "&":
        return "&amp;"
    return f"\\{sign}" if sign in _MARKED_ESCAPES else f"&#{ord(sign)};"


def _itself(match: re.Match[str]) -> str:
    return match[1]


def _in_target(match: re.Match[str]) -> str:
    return "&amp;" if match[1] == "&" else f"%{ord(match[1]):02X}"


def parts(text: Text, limit: int, max_parts: int) -> list[Text]:
    """``text`` in at most ``max_parts`` parts whose Markdown has ``limit`` characters at most; the last says when
    there was more."""
    whole = text
    text = truncate(text, limit * max_parts, "")
    found = [part for part in split_by(text, limit, _measure) if part.plain.strip()]
    if len(found) <= max_parts and text is whole:
        return found
    last = split_by(found[min(max_parts, len(found)) - 1], limit - len(MORE), _measure)[0]
    return [*found[: max_parts - 1][: len(found) - 1], Text(last.plain + MORE, last.entities)]


def _measure(text: Text) -> int:
    return max(len(markdown(text)), len(text.plain))


# --- in -----------------------------------------------------------------------------------------------------


def incoming(message: str) -> Text:
    """The model of a post's ``message``. Emoji that have a character of their own are shown as it."""
    text = dialect.parse(message)
    if ":" not in text.plain:
        return text
    verbatim = [(entity.start, entity.start + entity.length) for entity in text.entities if entity.type in _VERBATIM]
    edits: list[Edit] = []
    found: list[Entity] = []
    shift = 0
    for match in _SHORTCODE.finditer(text.plain):
        if any(start <= match.start() < end for start, end in verbatim) or not (emoji := emojis.shown(match[1])):
            continue
        edits.append(Edit(match.start(), match.end(), emoji))
        found.append(Entity("emoji", match.start() + shift, len(emoji), match[1]))
        shift += len(emoji) - len(match[0])
    if not edits:
        return text
    text = rewrite(text, edits)
    return normalise(Text(text.plain, (*text.entities, *found)))

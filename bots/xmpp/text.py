"""Texts in both directions: the body with Message Styling, XHTML-IM beside it, and parts that fit."""

from __future__ import annotations

from typing import Final
from xml.etree.ElementTree import Element, ParseError, fromstring

from bots.xmpp import styling
from bots.xmpp.xml import XHTML, local, sendable
from core.model import Entity, Text
from core.text import html
from core.text.ops import downgrade
from core.text.spans import Edit, rewrite
from core.text.split import split

ENTITIES: Final = frozenset({"bold", "italic", "underline", "strike", "code", "pre", "quote", "link"})
MORE: Final = " … continued"
EMOTE: Final = "/me "
HTML_CHARS: Final = 100_000
"""XHTML beyond is not looked at; the body says the same."""
_AS_SPANS: Final = {"u": "underline", "del": "line-through"}
_STYLES: Final = {
    "font-weight:bold": "b",
    "font-style:italic": "i",
    "text-decoration:underline": "u",
    "text-decoration:line-through": "s",
}
_VOID: Final = frozenset({"br", "img", "hr"})


# --- out ----------------------------------------------------------------------------------------------------


def clean(text: Text) -> Text:
    """``text`` with only what XML can carry."""
    plain = sendable(text.plain)
    if plain == text.plain:
        return text
    if not text.entities:
        return Text(plain)
    edits = [Edit(at, at + 1, "") for at, char in enumerate(text.plain) if char == "\r" or not sendable(char)]
    return rewrite(text, edits)


def parts(text: Text, limit_chars: int, max_parts: int) -> list[Text]:
    """``text`` in at most ``max_parts`` parts; the last one says when there was more."""
    cut = Text(text.plain[: limit_chars * (max_parts + 1)], text.entities) if text.plain else text
    found = split(cut, limit_chars, "characters")
    if len(found) <= max_parts:
        return found
    last = split(found[max_parts - 1], limit_chars - len(MORE), "characters")[0]
    return [*found[: max_parts - 1], Text(last.plain + MORE, last.entities)]


def to_xhtml(text: Text) -> Element | None:
    """The ``body`` of XHTML-IM (XEP-0071); None for a text without formatting."""
    text = downgrade(text, ENTITIES)
    if not text.entities:
        return None
    written = html.format(text).replace("<br>", "<br/>").replace("&nbsp;", "&#160;")
    try:
        made = fromstring(f"<body xmlns='{XHTML}'>{written}</body>")  # noqa: S314 - we wrote it
    except ParseError:
        # A character that XML has no place for; the words go out in the body.
        return None
    for item in made.iter():
        if decoration := _AS_SPANS.get(local(item.tag)):
            # XEP-0071 section 7.8 has no element for these.
            item.tag = f"{{{XHTML}}}span"
            item.set("style", f"text-decoration: {decoration}")
    return made


# --- in -----------------------------------------------------------------------------------------------------


def as_html(body: Element) -> str:
    """The inside of an XHTML-IM body as HTML, styles as the elements that say the same."""
    out: list[str] = []
    size = 0
    stack: list[tuple[Element, int, str]] = [(body, 0, "")]
    while stack:
        item, following, closing = stack.pop()
        if not following:
            out.append(_escaped(item.text))
        if following < len(item):
            inner = item[following]
            stack.append((item, following + 1, closing))
            opening, close = _tags(inner)
            out.append(opening)
            stack.append((inner, 0, close))
        else:
            out.append(closing)
            if item is not body:
                out.append(_escaped(item.tail))
        size += len(out[-1])
        if size > HTML_CHARS:
            return ""
    return "".join(out)


def _tags(item: Element) -> tuple[str, str]:
    name = local(item.tag).lower() if isinstance(item.tag, str) else "span"
    attributes = "".join(
        f' {key}="{_escaped(value)}"' for key, value in item.items() if key in ("href", "alt", "class")
    )
    if name in _VOID:
        return f"<{name}{attributes}>", ""
    styles = [part.replace(" ", "").lower() for part in item.get("style", "").split(";")]
    extra = [_STYLES[style] for style in styles if style in _STYLES]
    opening = f"<{name}{attributes}>" + "".join(f"<{tag}>" for tag in extra)
    return opening, "".join(f"</{tag}>" for tag in reversed(extra)) + f"</{name}>"


def _escaped(words: str | None) -> str:
    return (words or "").replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace('"', "&quot;")


def read(body: str, written: str, *, unstyled: bool) -> Text:
    """What a member reads: XHTML-IM where it has formatting (``written``, as HTML), else the styled body."""
    if written:
        shown = html.parse(written)
        kept = tuple(entity for entity in shown.entities if entity.type in ENTITIES)
        if kept and shown.plain.strip():
            return _without_void_links(Text(shown.plain.replace("\u00a0", " "), kept))
    return Text(body) if unstyled else styling.parse(body)


def _without_void_links(text: Text) -> Text:
    """Some clients make every address a link to itself: that is no formatting."""

    def says_more(entity: Entity) -> bool:
        return entity.type != "link" or text.plain[entity.start : entity.start + entity.length] != entity.value

    return Text(text.plain, tuple(filter(says_more, text.entities)))

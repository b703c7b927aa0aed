"""What a guest types, as the model's text: the usual Markdown marks, and links as they are."""

from __future__ import annotations

import re
from typing import Final

from bots.web.body import LINK, TRAILING
from core.model import Entity, Text

_MARKS: Final = re.compile(r"[*_~`\[>]")
_IN_A_WORD: Final = re.compile(r"(?<=\w)([*_])(?=\w)")
"""``2*3*4`` and ``snake_case``: nobody who types this in a chat means emphasis."""
_AS_IT_IS: Final = frozenset(("code", "pre", "link"))


def parse(text: str) -> Text:
    """Marks become formatting, links become links; everything else stays as typed."""
    if not _MARKS.search(text):
        return with_links(Text(text))
    from core.text import markdown

    if "`" not in text:
        text = _IN_A_WORD.sub(r"\\\1", LINK.sub(_escaped_link, text))
    return with_links(markdown.parse(text))


def to_copy(text: Text, prefix: str) -> Text:
    """What the bot says, with the codes and the commands that hold one marked as code: one tap copies them."""
    code = r"[A-Z0-9]{5}-[A-Z0-9]{4}"
    found = re.finditer(rf"-{re.escape(prefix)} connect {code}|\b{code}\b", text.plain)
    codes = tuple(Entity("code", m.start(), len(m.group())) for m in found)
    return with_links(Text(text.plain, text.entities + codes))


def _escaped_link(found: re.Match[str]) -> str:
    # An address may hold any of the marks, and must come out as it was typed.
    return re.sub(r"([*_~])", r"\\\1", found.group())


def with_links(text: Text) -> Text:
    """Addresses that nobody marked become links, wherever the text is from."""
    taken = [(e.start, e.start + e.length) for e in text.entities if e.type in _AS_IT_IS]
    links = []
    for found in LINK.finditer(text.plain):
        url = found.group().rstrip(TRAILING)
        start, end = found.start(), found.start() + len(url)
        if not any(start < there and here < end for here, there in taken):
            links.append(Entity("link", start, len(url), url))
    return Text(text.plain, text.entities + tuple(links)) if links else text

"""How a Chat client shows a message's Markdown: strictly as CommonMark with ``~~strike~~``, and every mention anywhere
taken for one, even behind a backslash or in code. What is literal here is literal under every reading."""

from __future__ import annotations

import re
from html import unescape
from typing import Any

from markdown_it import MarkdownIt

from core.model import Entity

CALL = re.compile(r"<(users/[\w-]+)>", re.IGNORECASE)
TAG = re.compile(r"<(/?)(b|i|u|s|a)(?: href=\"([^\"]*)\")?>|<br>")
STYLES = {"strong": "bold", "em": "italic", "s": "strike", "blockquote": "quote"}
TAGS = {"b": "bold", "i": "italic", "u": "underline", "s": "strike", "a": "link"}


class Shown:
    """Words and spans while they are read."""

    def __init__(self) -> None:
        self.plain = ""
        self.entities: list[Entity] = []
        self.open: list[tuple[str, int, str]] = []

    def begin(self, kind: str, value: str = "") -> None:
        """A span begins."""
        self.open.append((kind, len(self.plain), value))

    def end(self) -> None:
        """The innermost span ends."""
        kind, start, value = self.open.pop()
        self.entities.append(Entity(kind, start, len(self.plain) - start, value))  # type: ignore[arg-type]

    def done(self) -> tuple[str, tuple[Entity, ...]]:
        """What a reader sees."""
        for found in CALL.finditer(self.plain):
            self.entities.append(Entity("mention", found.start(), len(found[0]), found[1]))
        return self.plain, tuple(sorted(self.entities, key=lambda entity: (entity.start, -entity.length)))


def calls(source: str) -> list[str]:
    """Who is called by a text."""
    return [found[1].lower() for found in CALL.finditer(source)]


def render_markdown(source: str) -> tuple[str, tuple[Entity, ...]]:
    """What a reader sees of Markdown."""
    shown = Shown()
    parser = MarkdownIt("commonmark", {"html": False}).enable("strikethrough")
    first = True
    for token in parser.parse(source):
        name = token.type.removesuffix("_open").removesuffix("_close")
        if token.nesting == 1 and token.type == "blockquote_open":
            shown.plain += "" if first else "\n"
            first = True
            shown.begin("quote")
        elif token.type == "blockquote_close":
            shown.end()
            first = False
        elif token.type in ("inline", "fence", "code_block", "hr") or (name == "list_item" and token.nesting == 1):
            shown.plain += "" if first else "\n"
            first = name == "list_item"
            _leaf(token, name, shown)
    return shown.done()


def _leaf(token: Any, name: str, shown: Shown) -> None:
    if name == "list_item":
        shown.plain += "• "
    elif name in ("fence", "code_block"):
        shown.begin("pre", token.info.strip())
        shown.plain += token.content.removesuffix("\n")
        shown.end()
    elif name == "hr":
        shown.plain += "———"
    else:
        _inline(token.children or [], shown)


def _inline(tokens: list[Any], shown: Shown) -> None:
    for token in tokens:
        if token.type == "link_open":
            shown.begin("link", str(token.attrGet("href")))
        elif token.type == "code_inline":
            shown.begin("code")
            shown.plain += token.content
            shown.end()
        elif token.type == "softbreak":
            shown.plain += " "
        elif token.type == "hardbreak":
            shown.plain += "\n"
        elif token.nesting == 1:
            shown.begin(STYLES[token.tag])
        elif token.nesting == -1:
            shown.end()
        else:
            shown.plain += token.content


def render_card(source: str) -> tuple[str, tuple[Entity, ...]]:
    """What a reader sees of a card's text paragraph."""
    shown = Shown()
    last = 0
    for found in TAG.finditer(source):
        shown.plain += unescape(source[last : found.start()])
        last = found.end()
        if found[0] == "<br>":
            shown.plain += "\n"
        elif found[1]:
            shown.end()
        else:
            shown.begin(TAGS[found[2]], unescape(found[3] or ""))
    rest = unescape(source[last:])
    if re.search(r"<\w", re.sub(TAG, "", source)):
        raise ValueError(f"a tag that cards do not know: {source!r}")
    shown.plain += rest
    return shown.done()

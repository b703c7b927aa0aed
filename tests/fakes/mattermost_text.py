"""What a Mattermost client makes of a message: Markdown as marked's fork reads it, emoji by name, mentions."""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Any

from markdown_it import MarkdownIt

ESCAPABLE = set("`*{}[]()#+-.!_>|~")
KINDS = {
    "strong_open": "bold",
    "em_open": "italic",
    "s_open": "strike",
    "link_open": "link",
    "blockquote_open": "quote",
    "heading_open": "bold",
}
MASS = ("all", "channel", "here")
EMOJI = {
    "+1": "👍",
    "thumbsup": "👍",
    "tada": "🎉",
    "wave": "👋",
    "100": "💯",
    "heart": "❤️",
    "smile": "😄",
    "eyes": "👀",
    "melting_face": "🫠",
}
"""Some of the emoji that the double has."""
_CODE_OR_ESCAPE = re.compile(r"(`+)(?!`)[\s\S]*?(?<!`)\1(?!`)|<https?://[^\s<>]*>|\\([\s\S]|$)")
_NAMED = re.compile(r":([A-Za-z0-9_+-]+):")
_CALLED = re.compile(r"\B@([A-Za-z0-9._-]+)")
_LATEX = re.compile(r"\$[^$\n]+\$(?!\w)")
Span = tuple[str, int, int, str]
"""Kind, start, length, value."""


def _as_marked(message: str) -> str:
    """The same for a reader that knows all escapes of CommonMark."""

    def one(match: re.Match[str]) -> str:
        escaped = match[2]
        if escaped is None:
            return match[0]
        if escaped == "\\":
            after = message[match.end() : match.end() + 1]
            return "\\\\\\\\" if after.isalnum() or after == "_" else "\\\\"
        return match[0] if escaped in ESCAPABLE or escaped.isalnum() or escaped.isspace() else f"\\\\{escaped}"

    return _CODE_OR_ESCAPE.sub(one, message)


class Shown:
    """The words and the formatting that a reader sees."""

    def __init__(self, message: str, usernames: Collection[str] = ()) -> None:
        self.plain = ""
        self.spans: list[Span] = []
        self.calls: list[str] = []
        """Names that are called: people, and whole channels."""
        self._usernames = usernames
        self._open: list[tuple[str, int, str]] = []
        self._line = 0
        self._after_quote = False
        reader = (
            MarkdownIt("commonmark", {"html": False}).enable("strikethrough").disable(["text_join", "list", "code"])
        )
        for token in reader.parse(_as_marked(message)):
            self._block(token)

    def _block(self, token: Any) -> None:
        if token.type in KINDS:
            self._go_to(token)
            self._begin(KINDS[token.type])
        elif token.type in ("blockquote_close", "heading_close"):
            self._end()
            self._after_quote = token.type == "blockquote_close"
        elif token.type == "fence":
            self._go_to(token)
            self._begin("pre", token.info.strip())
            self.plain += token.content.removesuffix("\n")
            self._end()
            self._line = token.map[1] - 1
        elif token.type == "inline":
            self._go_to(token)
            for child in token.children or []:
                self._inline(child)
            self._line = token.map[1] - 1
        elif token.type == "hr":
            self.plain += "(a rule)"

    def _go_to(self, token: Any) -> None:
        breaks = token.map[0] - self._line
        self.plain += "\n" * (breaks - 1 if self._after_quote and breaks > 1 else breaks)
        self._line, self._after_quote = token.map[0], False

    def _inline(self, token: Any) -> None:
        if token.type in KINDS:
            self._begin(KINDS[token.type], token.attrGet("href") or "")
        elif token.type.endswith("_close"):
            self._end()
        elif token.type == "code_inline":
            self._begin("code")
            self.plain += token.content
            self._end()
        elif token.type == "text":
            self._words(token.content)
        elif token.type == "image":
            self.plain += "(a picture)"
        else:
            self.plain += "\n" if token.type in ("softbreak", "hardbreak") else token.content

    def _words(self, words: str) -> None:
        words = _LATEX.sub("(a formula)", words)
        at = 0
        for match in _NAMED.finditer(words):
            if emoji := EMOJI.get(match[1]):
                self._said(words[at : match.start()])
                self.spans.append(("emoji", len(self.plain), len(emoji), match[1]))
                self.plain += emoji
                at = match.end()
        self._said(words[at:])

    def _said(self, words: str) -> None:
        for match in _CALLED.finditer(words):
            name = match[1].lower().rstrip("._-")
            # \b: letters and digits of ASCII end the word.
            is_mass = any(re.match(rf"{mass}\b", match[1], re.IGNORECASE | re.ASCII) for mass in MASS)
            if is_mass or name in self._usernames:
                self.calls.append(name)
                self.spans.append(("mention", len(self.plain) + match.start(), len(match[0]), name))
        self.plain += words

    def _begin(self, kind: str, value: str = "") -> None:
        self._open.append((kind, len(self.plain), value))

    def _end(self) -> None:
        kind, start, value = self._open.pop()
        if len(self.plain) > start:
            self.spans.append((kind, start, len(self.plain) - start, value))

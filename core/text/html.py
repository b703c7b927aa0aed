"""The HTML of chats, in both directions.

Reading goes by one regular expression and the standard library's ``html.unescape``, and builds no tree: both
parsers at hand take quadratic time on hostile input (``html.parser`` on unclosed comments and tags, lexbor on
deeply nested blocks and on tags with thousands of attributes: seconds for 200 kB), and a tree is of no use, for
spans may cross in what people send. Every name that is not known is passed over and its words are kept.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from html import escape, unescape
from typing import Final

from core.model import Entity, EntityType, Text
from core.text.nesting import normalise, walk
from core.text.ops import web_link

LEFT_OUT: Final = frozenset({"head", "script", "style", "template", "title"})
"""Elements of which not even the words are for readers."""

_STYLES: Final[dict[str, EntityType]] = {
    "b": "bold",
    "strong": "bold",
    "i": "italic",
    "em": "italic",
    "u": "underline",
    "ins": "underline",
    "s": "strike",
    "del": "strike",
    "strike": "strike",
    "code": "code",
    "tt": "code",
    "tg-spoiler": "spoiler",
    **dict.fromkeys(("h1", "h2", "h3", "h4", "h5", "h6"), "bold"),
}
_WITH_ATTRIBUTES: Final = frozenset({"a", "code", "pre", "span", "time"})
_BREAKS: Final[dict[str, int]] = {
    "p": 2,
    **dict.fromkeys(("h1", "h2", "h3", "h4", "h5", "h6"), 2),
    **dict.fromkeys(("blockquote", "dd", "div", "dl", "dt", "hr", "li", "ol", "pre", "table", "tr", "ul"), 1),
}
"""Line breaks that lie at least between these and what is before and after."""
_TAG: Final = re.compile(
    r"<(?P<close>/?)(?P<name>[A-Za-z][A-Za-z0-9-]{0,30})(?![A-Za-z0-9-])"
    r"(?P<rest>(?:[^<>\"'=]++|=\s*+(?:\"[^\"]{0,4096}+\"|'[^']{0,4096}+')?|[\"']){0,200}+)>"
)
_ATTRIBUTE: Final = re.compile(r"([^\s\"'<>/=]++)(?:\s*+=\s*+(?:\"([^\"]*+)\"|'([^']*+)'|([^\s\"'=<>`]++)))?", re.ASCII)
_LINE_ENDS: Final = re.compile(r"[ \t\f]*+[\r\n][ \t\r\n\f]*+")
_LONG_NUMBER: Final = re.compile(r"&#(?:[0-9]{12,}+|[xX][0-9a-fA-F]{12,}+);?")
_LANGUAGE: Final = re.compile(r"(?:^|\s)lang(?:uage)?-(\S+)")
_SHORTCODE: Final = re.compile(r":([\w+-]+):")


# --- reading ------------------------------------------------------------------------------------------------


def parse(html: str, left_out: frozenset[str] = LEFT_OUT) -> Text:
    """The text that ``html`` shows, normalised. Elements named in ``left_out`` are passed over whole. Linear.

    Understood: b strong i em u ins s del strike code tt; pre with the language of its code; blockquote; a with
    an http, https or mailto link; p div h1-h6 hr br; ul ol li; table, tr, td; img by its alternative text; time;
    and spoilers (``span data-mx-spoiler``, ``tg-spoiler``). White space outside of pre is read as a browser
    does, except that runs of blanks within a line are kept.
    """
    reader = _Reader()
    at = 0
    last_comment_end = html.rfind("-->")
    while (sign := html.find("<", at)) >= 0:
        if html.startswith("<!--", sign) and sign < last_comment_end - 1:
            reader.words(html[at:sign])
            at = html.find("-->", sign + 2) + 3
            continue
        tag = _TAG.match(html, sign)
        if tag is None:
            at_next = html.find("<", sign + 1)
            reader.words(html[at:] if at_next < 0 else html[at:at_next])
            at = len(html) if at_next < 0 else at_next
            continue
        reader.words(html[at:sign])
        at = tag.end()
        name = tag["name"].lower()
        if name in left_out and not tag["close"]:
            at = _end_of(html, name, at)
        elif tag["close"]:
            reader.close(name)
        else:
            reader.open(name, tag["rest"])
    reader.words(html[at:])
    return reader.text()


def _end_of(html: str, name: str, at: int) -> int:
    found = re.compile(rf"</{re.escape(name)}[^<>]{{0,100}}>", re.IGNORECASE).search(html, at)
    return found.end() if found else len(html)


def _attributes(rest: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for name, *values in _ATTRIBUTE.findall(rest):
        found.setdefault(name.lower(), unescape("".join(values)))
    return found


def _readable(raw: str) -> str:
    """Character references as characters; a non-breaking blank by its name is a blank that must not be lost."""
    if "&" not in raw:
        return raw
    return unescape(_LONG_NUMBER.sub("\ufffd", raw).replace("&nbsp;", " "))


@dataclass(slots=True)
class _Open:
    """A span that has begun; ``start`` is -1 until there are words in it."""

    type: EntityType
    value: str
    start: int = -1


class _Reader:
    """What has been read so far, the spans that are open, and what lies between this word and the next."""

    def __init__(self) -> None:
        self._out: list[str] = []
        self._size = 0
        self._entities: list[Entity] = []
        self._open: dict[str, list[_Open | None]] = {}
        self._unplaced: list[_Open] = []
        self._newlines = 0
        self._breaks_due = 0
        self._blank_due = False
        self._after_bullet = False
        self._pres: list[_Open] = []
        self._after_pre_tag = False
        self._lists: list[int | None] = []

    def text(self) -> Text:
        """All that was read; what is still open ends here."""
        for name, spans in self._open.items():
            while spans:
                self._end_span(name)
        return normalise(Text("".join(self._out), tuple(self._entities)))

    def words(self, raw: str) -> None:
        """Character data as it stands in the source."""
        if self._pres:
            raw = raw.replace("\r\n", "\n").replace("\r", "\n")
            if self._after_pre_tag:
                raw = raw.removeprefix("\n")
            self._after_pre_tag = False
            self._write(_readable(raw))
            return
        for i, part in enumerate(_LINE_ENDS.split(raw)):
            at_start = self._at_line_start()
            if i and not at_start:
                self._blank_due = True
            self._write(_readable(part.lstrip(" \t\f") if at_start or self._blank_due else part))

    def open(self, name: str, rest: str) -> None:
        """A start tag and the source of its attributes."""
        self._break_at(name)
        if name == "br":
            self._line_break()
        elif name == "hr":
            self._write("---")
            self._breaks_due = 1
        elif name == "img":
            self._picture(_attributes(rest))
        elif name in ("ul", "ol"):
            self._lists.append(_first_number(_attributes(rest)) if name == "ol" else None)
        elif name == "li":
            self._bullet()
        elif name in ("td", "th"):
            self._write("" if self._at_line_start() else " | ")
        elif name in _STYLES or name in ("a", "blockquote", "pre", "span", "time"):
            self._begin_span(name, rest)

    def close(self, name: str) -> None:
        """An end tag; one that ends nothing is passed over."""
        if name == "pre" and self._pres:
            self._end_pre()
        if self._open.get(name):
            self._end_span(name)
        elif name in ("ul", "ol") and self._lists:
            self._lists.pop()
        self._break_at(name)
        self._blank_due = self._blank_due and not self._breaks_due

    def _break_at(self, name: str) -> None:
        breaks = _BREAKS.get(name, 0)
        self._breaks_due = max(self._breaks_due, min(breaks, 1) if self._lists else breaks)

    # --- words ----------------------------------------------------------------------------------------------

    def _at_line_start(self) -> bool:
        return not self._size or self._newlines > 0 or self._breaks_due > 0 or self._after_bullet

    def _write(self, words: str) -> None:
        if not words:
            return
        self._between()
        for span in self._unplaced:
            span.start = self._size
        self._unplaced.clear()
        self._append(words)

    def _between(self) -> None:
        if self._breaks_due and self._size and not self._after_bullet:
            self._append("\n" * (self._breaks_due - self._newlines))
        elif self._blank_due:
            self._append(" ")
        self._breaks_due = 0
        self._blank_due = self._after_bullet = False

    def _append(self, words: str) -> None:
        if words:
            self._out.append(words)
            self._size += len(words)
            kept = len(words.rstrip("\n"))
            self._newlines = len(words) - kept + (0 if kept else self._newlines)

    def _line_break(self) -> None:
        self._blank_due = False
        self._between()
        self._append("\n")

    def _bullet(self) -> None:
        number = self._lists[-1] if self._lists else None
        if number is not None:
            self._lists[-1] = number + 1
        self._write("  " * min(len(self._lists) - 1, 8) + ("• " if number is None else f"{number}. "))
        self._after_bullet = True

    def _picture(self, attributes: dict[str, str]) -> None:
        alternative = attributes.get("alt") or attributes.get("title") or ""
        self._write(alternative)
        shortcode = _SHORTCODE.fullmatch(alternative)
        if shortcode:
            start = self._size - len(alternative)
            self._entities.append(Entity("emoji", start, len(alternative), shortcode[1]))

    # --- spans ----------------------------------------------------------------------------------------------

    def _begin_span(self, name: str, rest: str) -> None:
        span = self._span(name, rest)
        self._open.setdefault(name, []).append(span)
        if span is not None:
            self._unplaced.append(span)
        if name == "pre" and span is not None:
            self._pres.append(span)
            self._after_pre_tag = True

    def _span(self, name: str, rest: str) -> _Open | None:
        attributes = _attributes(rest) if rest and name in _WITH_ATTRIBUTES else {}
        if name == "code" and self._pres:
            self._pres[-1].value = _language(attributes) or self._pres[-1].value
            return None
        if name == "a":
            url = attributes.get("href", "").strip()
            return _Open("link", url) if web_link(url) else None
        if name == "span":
            hides = "data-mx-spoiler" in attributes or attributes.get("class") == "tg-spoiler"
            return _Open("spoiler", "") if hides else None
        if name == "time":
            return _moment(attributes.get("datetime", ""))
        if name == "pre":
            return _Open("pre", _language(attributes))
        return _Open("quote" if name == "blockquote" else _STYLES[name], "")

    def _end_span(self, name: str) -> None:
        span = self._open[name].pop()
        if span is not None and 0 <= span.start < self._size:
            self._entities.append(Entity(span.type, span.start, self._size - span.start, span.value))

    def _end_pre(self) -> None:
        span = self._pres.pop()
        if 0 <= span.start < self._size and self._newlines:
            self._out[-1] = self._out[-1][:-1]
            self._size -= 1
            self._newlines -= 1


def _language(attributes: dict[str, str]) -> str:
    found = _LANGUAGE.search(attributes.get("class", ""))
    return found[1] if found else ""


def _first_number(attributes: dict[str, str]) -> int:
    start = attributes.get("start", "1")
    return int(start) if len(start) <= 9 and start.isdecimal() else 1


def _moment(iso: str) -> _Open | None:
    try:
        moment = datetime.fromisoformat(iso)
    except ValueError:
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return _Open("timestamp", str(int(moment.timestamp())))


# --- writing ------------------------------------------------------------------------------------------------

_TAGS: Final[dict[str, str]] = {
    "bold": "strong",
    "italic": "em",
    "underline": "u",
    "strike": "del",
    "code": "code",
    "quote": "blockquote",
}
_BLANK_TO_KEEP: Final = re.compile("(?<= ) ")
_ESCAPED: Final = str.maketrans(
    {
        "&": "&amp;",
        "<": "&lt;",
        ">": "&gt;",
        '"': "&quot;",
        "'": "&#39;",
        "\t": "&#9;",
        "\f": "&#12;",
        "\r": "&#13;",
        "\u00a0": "&#160;",
    }
)


def format(text: Text, spoiler_tag: str = "span data-mx-spoiler") -> str:
    """``text`` as HTML that :func:`parse` reads as the same text, and a browser shows as it was written: all that
    could be markup is escaped, line breaks are ``br``, and blanks that would be lost are ``&nbsp;``.

    Mentions, emoji, timestamps and links to anything but http, https and mailto are written as their words. One
    line break behind a quote or a pre at the very end of the text is lost: HTML has none there.
    """
    text = normalise(text)
    writer = _Writer()
    for piece in walk(text):
        if piece.entity is None:
            writer.words(text.plain[piece.start : piece.end])
        else:
            writer.edge(piece.entity, piece.kind == "open", spoiler_tag)
    return "".join(writer.out)


class _Writer:
    def __init__(self) -> None:
        self.out: list[str] = []
        self._in_pre = False
        self._after_block = False
        self._keep_blank = True

    def words(self, words: str) -> None:
        """Words between two edges."""
        if self._in_pre:
            self.out.append(escape(words).replace("\r", "&#13;"))
            return
        if self._after_block:
            words = words.removeprefix("\n")
            self._after_block = False
            self._keep_blank = True
        for i, line in enumerate(words.split("\n")):
            if i:
                self.out.append("<br>")
                self._keep_blank = True
            if line:
                self._line(line)

    def _line(self, line: str) -> None:
        line = line.translate(_ESCAPED)
        shown = _BLANK_TO_KEEP.sub("&nbsp;", line)
        if self._keep_blank and line[0] == " ":
            shown = "&nbsp;" + shown[1:]
        self._keep_blank = line[-1] == " "
        self.out.append(shown)

    def edge(self, entity: Entity, opens: bool, spoiler_tag: str) -> None:
        """Where an entity begins or ends."""
        if entity.type == "pre":
            language = f' class="language-{escape(entity.value)}"' if entity.value else ""
            self.out.append(f"<pre><code{language}>" if opens else "</code></pre>")
            self._in_pre = opens
        elif entity.type == "link" and web_link(entity.value):
            self.out.append(f'<a href="{escape(entity.value)}">' if opens else "</a>")
        elif entity.type == "spoiler":
            self.out.append(f"<{spoiler_tag}>" if opens else f"</{spoiler_tag.partition(' ')[0]}>")
        elif entity.type in _TAGS:
            self.out.append(f"<{'' if opens else '/'}{_TAGS[entity.type]}>")
        if entity.type in ("pre", "quote"):
            self._after_block = not opens
            self._keep_blank = True

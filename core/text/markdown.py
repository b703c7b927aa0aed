"""Markdown as chats use it (CommonMark 0.31 and ``~~strike~~``), in both directions.

Understood: emphasis, strike, code spans, fenced code, quotes, headings (as bold), links, images (as links to
them, never fetched). Lists, rules, tables and indented code stay as they were typed, which is how they read best
everywhere; HTML is text. Line breaks are kept, each one.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING, Final

from core.model import Entity, EntityType, Text
from core.text.nesting import normalise, walk
from core.text.ops import web_link
from core.text.spans import slices

if TYPE_CHECKING:
    from markdown_it import MarkdownIt
    from markdown_it.token import Token

LONGEST_PARSED_CHARS: Final = 40_000
"""Anything longer is taken as it was typed: the parser does some 100 kB a second."""

_RULES: Final = (
    "fence",
    "blockquote",
    "heading",
    "paragraph",
    "text",
    "newline",
    "escape",
    "backticks",
    "strikethrough",
    "emphasis",
    "link",
    "image",
    "autolink",
    "entity",
)
_MAX_NESTING: Final = 20
_TOO_DEEP: Final = re.compile(rf"^[ \t]*+(?:>[ \t]*+){{{_MAX_NESTING - 4}}}", re.MULTILINE)
_OPENS: Final[dict[str, EntityType]] = {
    "strong_open": "bold",
    "em_open": "italic",
    "s_open": "strike",
    "link_open": "link",
    "blockquote_open": "quote",
    "heading_open": "bold",
}
_CLOSES: Final = frozenset(name.replace("_open", "_close") for name in _OPENS)


# --- reading ------------------------------------------------------------------------------------------------


@cache
def _parser() -> MarkdownIt:
    from markdown_it import MarkdownIt

    class Parser(MarkdownIt):
        """Links stay as they were written, and lead to nothing but web pages and mail."""

        def validateLink(self, url: str) -> bool:
            return web_link(url)

        def normalizeLink(self, url: str) -> str:
            return url

        def normalizeLinkText(self, url: str) -> str:
            return url

    parser = Parser("zero", {"html": False, "maxNesting": _MAX_NESTING})
    return parser.enable(list(_RULES))


def parse(markdown: str) -> Text:
    """The text that ``markdown`` means, normalised. Blank lines are kept, but for one behind a quote, which only
    ends it. Taken as typed: more than 40,000 characters, quotes nested so deeply that the parser gives up,
    and marks with no words between them.
    """
    if len(markdown) > LONGEST_PARSED_CHARS or _TOO_DEEP.search(markdown):
        return Text(markdown)
    markdown = markdown.replace("\r\n", "\n").replace("\r", "\n")
    reader = _Reader()
    for token in _parser().parse(markdown):
        reader.block(token)
    text = reader.text(markdown.count("\n"))
    return text if text.plain.strip("\n") else Text(markdown)


class _Reader:
    """What has been read so far, and the line of the source that it ends on."""

    def __init__(self) -> None:
        self._out: list[str] = []
        self._size = 0
        self._entities: list[Entity] = []
        self._open: list[tuple[EntityType, int, str]] = []
        self._line = 0
        self._after_quote = False

    def text(self, last_line: int) -> Text:
        """All that was read, and the blank lines that follow it in the source."""
        self._write("\n" * (last_line - self._line))
        return normalise(Text("".join(self._out), tuple(self._entities)))

    def block(self, token: Token) -> None:
        """One token of the block structure."""
        if token.type in _OPENS:
            if token.map and token.type != "heading_open":
                self._go_to(token.map[0])
            self._begin(_OPENS[token.type])
        elif token.type in _CLOSES:
            self._end()
            self._after_quote = self._after_quote or token.type == "blockquote_close"
        elif token.map and token.type in ("inline", "fence"):
            self._go_to(token.map[0])
            if token.type == "inline":
                self._inline(token.children or [])
            else:
                self._begin("pre", token.info.strip().partition(" ")[0])
                self._write(token.content.removesuffix("\n"))
                self._end()
            self._line = token.map[1] - 1

    def _go_to(self, line: int) -> None:
        breaks = line - self._line
        if self._after_quote and breaks > 1:
            breaks -= 1
        self._after_quote = False
        self._line = line
        self._write("\n" * breaks)

    def _inline(self, tokens: Sequence[Token]) -> None:
        for token in tokens:
            if token.type in _OPENS:
                self._begin(_OPENS[token.type], str(token.attrGet("href") or ""))
            elif token.type in _CLOSES:
                self._end()
            elif token.type == "code_inline":
                self._begin("code")
                self._write(token.content)
                self._end()
            elif token.type == "image":
                url = str(token.attrGet("src") or "")
                self._begin("link", url)
                self._write(token.content or url)
                self._end()
            else:
                self._write("\n" if token.type in ("softbreak", "hardbreak") else token.content)

    def _begin(self, kind: EntityType, value: str = "") -> None:
        self._open.append((kind, self._size, value))

    def _end(self) -> None:
        kind, start, value = self._open.pop()
        if self._size > start:
            self._entities.append(Entity(kind, start, self._size - start, value))

    def _write(self, words: str) -> None:
        self._out.append(words)
        self._size += len(words)


# --- writing ------------------------------------------------------------------------------------------------

_MARKS: Final[dict[str, str]] = {"bold": "**", "italic": "*", "strike": "~~"}
_LEFT_OUT: Final = (
    frozenset[str](),
    frozenset({"italic"}),
    frozenset({"italic", "strike"}),
    frozenset({"italic", "strike", "bold"}),
    frozenset({"italic", "strike", "bold", "link"}),
)
"""What is given up, step by step, where spans lie so that CommonMark has no way to write them."""
_PARAGRAPH_END: Final = re.compile(r"\n{2,}")
_LINE_END: Final = re.compile(r"\n")
_BARE_URL: Final = re.compile(r"(https?://[^\s<>]+)")
_SPECIAL: Final = re.compile(r"[\\*`\[\]<~|]|(?<![^\W_])_|_(?![^\W_])|!(?=\[|$)|&(?=#?\w+;)")
_SPECIAL_IN_URL: Final = re.compile(r"[\\*`\[\]<|]|~(?=~)|(?<=~)~|(?<![^\W_])_|_(?![^\W_])|&(?=#?\w+;)")
_SPECIAL_AT_START: Final = re.compile(r"(?:\d{1,9}(?=[.)])|(?=#{1,6}(?:\s|$)|[-+=>]|:-))")
_SPECIAL_IN_TARGET: Final = re.compile(r"[\\<>]|&(?=#?\w+;)")
_BACKTICKS: Final = re.compile(r"`+")


def format(text: Text) -> str:
    """``text`` as CommonMark that :func:`parse` reads as the same words, whatever they are, and as the same spans
    where CommonMark has them.

    It has no underline, spoiler, mention, emoji and timestamp: these are written as their words. Spans of
    emphasis lose white space at their ends, and a bracket or the like that touches a word outside; they end
    where a paragraph ends, code where a line ends. Spans that still cannot be written are left out: italic
    first, then strike, bold, links.
    """
    text = _expressible(normalise(text))
    markdown = ""
    for left_out in _LEFT_OUT:
        kept = tuple(entity for entity in text.entities if entity.type not in left_out)
        if markdown and len(kept) == len(text.entities):
            continue
        text = Text(text.plain, kept)
        markdown = _blocks(text)
        if not any(entity.type in _MARKS or entity.type == "link" for entity in kept) or parse(markdown) == text:
            break
    return markdown


def _expressible(text: Text) -> Text:
    """``text`` with only such spans as CommonMark can write, as far as one span shows that by itself."""
    edges = {"start": set[int](), "end": set[int]()}
    for entity in text.entities:
        if entity.type in ("code", "link"):
            edges["start"].add(entity.start)
            edges["end"].add(entity.start + entity.length)
    kept: list[Entity] = []
    for entity in text.entities:
        start, end = entity.start, entity.start + entity.length
        if entity.type in ("quote", "pre"):
            kept.append(entity)
            continue
        if not (entity.type in _MARKS or entity.type == "code" or (entity.type == "link" and web_link(entity.value))):
            continue
        for first, last in _between(_LINE_END if entity.type == "code" else _PARAGRAPH_END, text.plain, start, end):
            if entity.type != "code":
                first, last = _without_blanks(text.plain, first, last)
            if entity.type in _MARKS:
                first, last = _flanked(text.plain, first, last, edges["start"], edges["end"])
            if last > first:
                kept.append(Entity(entity.type, first, last - first, entity.value))
    return normalise(Text(text.plain, tuple(kept)))


def _between(border: re.Pattern[str], plain: str, start: int, end: int) -> list[tuple[int, int]]:
    found = [match.span() for match in border.finditer(plain, start, end)]
    return list(zip([start, *(after for _, after in found)], [*(before for before, _ in found), end], strict=True))


def _without_blanks(plain: str, start: int, end: int) -> tuple[int, int]:
    while start < end and plain[start].isspace():
        start += 1
    while end > start and plain[end - 1].isspace():
        end -= 1
    return start, end


def _flanked(plain: str, start: int, end: int, begin: set[int], stop: set[int]) -> tuple[int, int]:
    """The span shrunk so that its marks are left- and right-flanking (CommonMark 0.31, section 6.2)."""
    if _in_word(plain, start - 1) and start not in stop:
        if start in begin:
            return start, start
        if start < end and _is_sign(plain[start]):
            start, end = _without_blanks(plain, start + 1, end)
    if _in_word(plain, end) and end not in begin:
        if end in stop:
            return start, start
        if end > start and _is_sign(plain[end - 1]):
            start, end = _without_blanks(plain, start, end - 1)
    return start, end


def _in_word(plain: str, at: int) -> bool:
    return 0 <= at < len(plain) and not plain[at].isspace() and not _is_sign(plain[at])


def _is_sign(char: str) -> bool:
    return unicodedata.category(char)[0] in "PS"


def _blocks(text: Text) -> str:
    """Quotes, code blocks and what lies between them."""
    cuts: list[tuple[int, int]] = []
    kinds: list[Entity | None] = []
    at = 0
    for entity in text.entities:
        if entity.type in ("quote", "pre") and entity.start >= at:
            cuts += ((at, entity.start), (entity.start, entity.start + entity.length))
            kinds += (None, entity)
            at = entity.start + entity.length
    cuts.append((at, len(text.plain)))
    kinds.append(None)
    out: list[str] = []
    ends_quote = False
    last = len(text.plain.rstrip("\n"))
    for part, (start, _), kind in zip(slices(text, cuts), cuts, kinds, strict=True):
        if ends_quote and start < last:
            out.append("\n")
        ends_quote = False
        if kind is None:
            out.append(_inline(part))
        elif kind.type == "pre":
            out.append(_fence(part.plain, kind.value))
        else:
            inside = Text(part.plain, tuple(entity for entity in part.entities if entity.type != "quote"))
            out.append("\n".join(f"> {line}" if line else ">" for line in _blocks(inside).split("\n")))
            ends_quote = True
    return "".join(out)


def _fence(words: str, language: str) -> str:
    fence = "`" * max(3, 1 + max((len(run) for run in _BACKTICKS.findall(words)), default=0))
    return f"{fence}{language}\n{words}\n{fence}"


def _inline(text: Text) -> str:
    out: list[str] = []
    words = text.plain
    in_code = False
    for piece in walk(text):
        entity = piece.entity
        if entity is None:
            said = words[piece.start : piece.end]
            starts = piece.start == 0 or words[piece.start - 1] == "\n"
            ends = piece.end == len(words) or words[piece.end] == "\n"
            out.append(_code(said) if in_code else _literal(said, starts, ends))
        elif entity.type == "code":
            in_code = piece.kind == "open"
        elif entity.type == "link":
            out.append("[" if piece.kind == "open" else f"]({_target(entity.value)})")
        else:
            out.append(_MARKS[entity.type])
    return "".join(out)


def _code(words: str) -> str:
    runs = {len(run) for run in _BACKTICKS.findall(words)}
    marks = "`" * next(size for size in range(1, len(runs) + 2) if size not in runs)
    pads = words[0] == "`" or words[-1] == "`" or (words[0] == " " == words[-1] and words.strip(" "))
    return f"{marks} {words} {marks}" if pads else f"{marks}{words}{marks}"


def _target(url: str) -> str:
    escaped = _SPECIAL_IN_TARGET.sub(r"\\\g<0>", url)
    return f"<{escaped}>" if "(" in url or ")" in url or escaped != url else url


def _literal(words: str, starts: bool, ends: bool) -> str:
    lines = words.split("\n")
    last = len(lines) - 1
    return "\n".join(_line(line, i > 0 or starts, i < last or ends) for i, line in enumerate(lines))


def _line(line: str, starts: bool, ends: bool) -> str:
    """A line, or a part of one, so that it means itself. White space at the ends of a line is written as
    character references, or else it would be lost."""
    if not line.strip():
        return _references(line) if starts or ends else line
    first = len(line) - len(line.lstrip()) if starts else 0
    last = len(line.rstrip()) if ends else len(line)
    middle = "".join(
        (_SPECIAL_IN_URL if i % 2 else _SPECIAL).sub(r"\\\g<0>", part)
        for i, part in enumerate(_BARE_URL.split(line[first:last]))
    )
    if starts and not first:
        middle = _SPECIAL_AT_START.sub(r"\g<0>\\", middle, count=1) if _SPECIAL_AT_START.match(middle) else middle
    return _references(line[:first]) + middle + _references(line[last:])


def _references(blanks: str) -> str:
    return "".join(f"&#{ord(char)};" for char in blanks)

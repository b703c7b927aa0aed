"""Discord's Markdown (Reference, Message Formatting) and our model.

What goes out is read back by the same rules before it goes; spans that would not come back as they are, are left out.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Final

from core.model import Entity, EntityType, Text
from core.text.mass import defuse_mass_mentions
from core.text.nesting import normalise, walk
from core.text.ops import downgrade, web_link
from core.text.spans import slices
from core.text.split import split_by

TEXT_LIMIT: Final = 2_000
MORE: Final = " … continued"
LONGEST_READ: Final = 8_000
DEEPEST: Final = 12
ENTITIES: Final = frozenset(
    {"bold", "italic", "underline", "strike", "spoiler", "code", "pre", "quote", "link", "timestamp"}
)
"""What a post of ours can show."""
Lookup = Callable[[str, str], str]
"""``lookup("user" | "role" | "channel", id)``: its name; empty where it is not known."""

# --- in -----------------------------------------------------------------------------------------------------

_FENCE = re.compile(r"```(?:([a-z0-9_+\-.#]+?)\n)?\n*([^\n](?:.*?))\n*```", re.IGNORECASE | re.DOTALL)
_TICKS = re.compile(r"(`+)(.*?[^`])\1(?!`)", re.DOTALL)
_PADDED = re.compile(r"^ (?= *`)|(?<=`) $")
_ANGLE = re.compile(
    r"<(?:@!?(?P<user>\d+)|@&(?P<role>\d+)|#(?P<channel>\d+)|a?:(?P<emoji>\w+):\d+|t:(?P<time>-?\d{1,13})(?::[tTdDfFRsS])?"
    r"|(?P<command>/[^:<>\n]+):\d+|(?P<url>https?://[^\s<>]+))>"
)
_URL = re.compile(r"https?://[^\s<]+[^<.,:;\"'\]\s]", re.IGNORECASE)
_LINK = re.compile(
    r"\[((?:\\.|[^\[\]\\]|\[[^\[\]]*\])+)\]\(\s*<?((?:\\.|[^\s\\()<>]|\([^\s()]*\))+)>?(?:\s+[\"'].*?[\"'])?\s*\)"
)
_BOLD = re.compile(r"\*\*((?:\\.|[^\\])+?)\*\*(?!\*)", re.DOTALL)
_STAR = re.compile(r"\*(?=\S)((?:\*\*|\\.|\s+(?:\\.|[^\s*\\]|\*\*)|[^\s*\\])+?)\*(?!\*)", re.DOTALL)
_LINE = re.compile(r"__((?:\\.|[^\\])+?)__(?!_)", re.DOTALL)
_LOW = re.compile(r"\b_((?:__|\\.|[^\\_])+?)_\b", re.DOTALL)
_STRIKE = re.compile(r"~~(.+?)~~(?!_)", re.DOTALL)
_SPOILER = re.compile(r"\|\|(.+?)\|\|", re.DOTALL)
_ESCAPED = re.compile(r"\\([^0-9A-Za-z\s])")
_HEAD = re.compile(r"(#{1,3}|-#)[ ]+(?=\S)([^\n]*)")
_QUOTE = re.compile(r" *>>> (.*)|((?: *> [^\n]*(?:\n|$))+)", re.DOTALL)
_QUOTE_MARK = re.compile(r"^ *> ", re.MULTILINE)
_PLAIN = re.compile(r"[^\\`<*_~|\[\nh]+", re.IGNORECASE)
_STYLES: Final[dict[str, tuple[tuple[EntityType, re.Pattern[str]], ...]]] = {
    "*": (("bold", _BOLD), ("italic", _STAR)),
    "_": (("underline", _LINE), ("italic", _LOW)),
    "~": (("strike", _STRIKE),),
    "|": (("spoiler", _SPOILER),),
}


def nobody(kind: str, native: str) -> str:
    """Knows no names."""
    return ""


def incoming(content: str, lookup: Lookup = nobody) -> Text:
    """The model of a message's content."""
    if len(content) > LONGEST_READ:
        return Text(content)
    reader = _Reader(lookup)
    reader.read(content, 0, quotes=True)
    return normalise(Text("".join(reader.out), tuple(reader.entities)))


class _Reader:
    """What was read so far."""

    def __init__(self, lookup: Lookup) -> None:
        self.out: list[str] = []
        self.entities: list[Entity] = []
        self._size = 0
        self._lookup = lookup

    def read(self, source: str, depth: int, *, quotes: bool) -> None:
        """Read ``source``, which begins on a new line where nothing or a line break was written last."""
        at = 0
        while at < len(source):
            if depth >= DEEPEST:
                self._write(source[at:])
                return
            starts = (at == 0 and (not self.out or self.out[-1].endswith("\n"))) or source[at - 1 : at] == "\n"
            ahead = self._block(source, at, depth, quotes=quotes) if starts else at
            at = ahead if ahead > at else self._inline(source, at, depth, quotes=quotes)

    def _block(self, source: str, at: int, depth: int, *, quotes: bool) -> int:
        if quotes and (found := _QUOTE.match(source, at)):
            inner = found[1] if found[1] is not None else _QUOTE_MARK.sub("", found[2].removesuffix("\n"))
            self._span("quote", inner, depth, quotes=False)
            end = found.end()
            return end - 1 if found[1] is None and found[2].endswith("\n") else end
        if found := _HEAD.match(source, at):
            if found[1] == "-#":
                self.read(found[2], depth + 1, quotes=False)
            else:
                self._span("bold", found[2], depth)
            return found.end()
        return at

    def _inline(self, source: str, at: int, depth: int, *, quotes: bool) -> int:
        sign = source[at]
        if sign in _STYLES:
            matches = [(kind, found) for kind, rule in _STYLES[sign] if (found := rule.match(source, at))]
            if matches:
                kind, found = max(matches, key=lambda match: match[1].end())
                self._span(kind, found[1], depth, quotes=quotes)
                return found.end()
        elif sign == "`":
            if end := self._code(source, at):
                return end
        elif sign == "<" and (found := _ANGLE.match(source, at)):
            self._angle(found)
            return found.end()
        elif sign == "\\" and (found := _ESCAPED.match(source, at)):
            self._write(found[1])
            return found.end()
        elif sign == "[" and (found := _LINK.match(source, at)):
            url = _ESCAPED.sub(r"\1", found[2])
            if web_link(url) and "://" not in found[1]:
                self._span("link", found[1], depth, url, quotes=False)
                return found.end()
        elif sign in "hH" and (found := _URL.match(source, at)):
            self._write(found[0])
            return found.end()
        plain = _PLAIN.match(source, at)
        end = plain.end() if plain else at + 1
        self._write(source[at:end])
        return end

    def _code(self, source: str, at: int) -> int:
        if found := _FENCE.match(source, at):
            self._leaf("pre", found[2], found[1] or "")
        elif found := _TICKS.match(source, at):
            self._leaf("code", _PADDED.sub("", found[2]))
        return found.end() if found else 0

    def _angle(self, found: re.Match[str]) -> None:
        kind, value = found.lastgroup or "", found[found.lastgroup or 0]
        if kind == "user":
            self._leaf("mention", "@" + (self._lookup(kind, value) or value), value)
        elif kind in ("role", "channel"):
            self._write(("@" if kind == "role" else "#") + (self._lookup(kind, value) or f"unknown-{kind}"))
        elif kind == "emoji":
            self._leaf("emoji", f":{value}:", value)
        elif kind == "time":
            self._leaf("timestamp", moment(int(value)) or found[0], value)
        else:
            self._write(value)

    def _span(self, kind: EntityType, inner: str, depth: int, value: str = "", *, quotes: bool = False) -> None:
        start = self._size
        self.read(inner, depth + 1, quotes=quotes)
        if self._size > start:
            self.entities.append(Entity(kind, start, self._size - start, value))

    def _leaf(self, kind: EntityType, words: str, value: str = "") -> None:
        self.entities.append(Entity(kind, self._size, len(words), value))
        self._write(words)

    def _write(self, words: str) -> None:
        if words:
            self.out.append(words)
            self._size += len(words)


def moment(at_s: int) -> str:
    """A moment in words; empty where no calendar has it."""
    try:
        return datetime.fromtimestamp(at_s, UTC).strftime("%Y-%m-%d %H:%M")
    except (ValueError, OverflowError, OSError):
        return ""


# --- out ----------------------------------------------------------------------------------------------------

_MARKS: Final[dict[str, str]] = {"bold": "**", "italic": "*", "underline": "__", "strike": "~~", "spoiler": "||"}
_LEFT_OUT: Final = ("italic", "underline", "strike", "bold", "link", "quote", "code", "pre", "timestamp", "spoiler")
"""What is given up, one after the other, where Discord has no way to write it; what hides text comes last."""
_SPECIAL = re.compile(r"[\\*_~`|<\[\]]")
_STARTS = re.compile(r"( *)(?:([>#+-])|(\d{1,9})(?=[.)]))")
_BARE_URL = re.compile(r"(https?://[^\s<>]+)", re.IGNORECASE)
_IN_URL = re.compile(r"[\\*_~`|()<>\[\]]")
_RUN = re.compile("`+")


def outgoing(text: Text) -> Text:
    """``text`` as it may be posted: it calls nobody, and has only what can be shown and read back."""
    text = _encodable(normalise(defuse_mass_mentions(text)))
    labelled = [e for e in text.entities if e.type == "link" and "://" in text.plain[e.start : e.start + e.length]]
    if labelled:
        # Discord makes no link of a label that holds an address.
        bare = downgrade(Text(text.plain, tuple(labelled)), frozenset())
        if bare.plain == text.plain:
            text = Text(text.plain, tuple(e for e in text.entities if e not in labelled))
        else:
            text = downgrade(text, ENTITIES - {"link"})
    return downgrade(text, ENTITIES)


def _encodable(text: Text) -> Text:
    """Without half characters, which no request can carry."""
    try:
        text.plain.encode()
    except UnicodeEncodeError:
        return Text(text.plain.encode("utf-8", "replace").decode(), text.entities)
    return text


def markdown(text: Text) -> str:
    """A text that :func:`outgoing` made, as Discord reads it."""
    text = normalise(text)
    shown = {str(entity.type) for entity in text.entities}
    written = _written(text)
    for left_out in _LEFT_OUT:
        if not shown or _reads_back(written, text):
            break
        if left_out in shown:
            shown.discard(left_out)
            text = downgrade(text, frozenset(shown))
            written = _written(text)
    return written


def _reads_back(written: str, text: Text) -> bool:
    back = incoming(written)
    # A moment is shown in the reader's own words.
    return (
        [_shape(e) for e in back.entities] == [_shape(e) for e in text.entities] if _has_moment(text) else back == text
    )


def _shape(entity: Entity) -> tuple[str, str]:
    return entity.type, entity.value


def _has_moment(text: Text) -> bool:
    return any(entity.type == "timestamp" for entity in text.entities)


def _written(text: Text) -> str:
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
    for part, kind in zip(slices(text, cuts), kinds, strict=True):
        if kind is None:
            out.append(_spans(part))
        elif kind.type == "pre":
            out.append(f"```{kind.value}\n{part.plain}\n```")
        else:
            inside = Text(part.plain, tuple(entity for entity in part.entities if entity.type != "quote"))
            out.append("\n".join(f"> {line}" for line in _written(inside).split("\n")))
    return "".join(out)


def _spans(text: Text) -> str:
    out: list[str] = []
    words = text.plain
    leaf: Entity | None = None
    depth = 0
    for piece in walk(text):
        entity = piece.entity
        if entity is None:
            said = words[piece.start : piece.end]
            starts = piece.start == 0 or words[piece.start - 1] == "\n"
            out.append(_leaf(leaf, said) if leaf else _literal(said, starts, inside=depth > 0))
            continue
        opens = piece.kind == "open"
        depth += 1 if opens else -1
        if entity.type in ("code", "timestamp"):
            leaf = entity if opens else None
        elif entity.type == "link":
            out.append("[" if opens else f"]({_IN_URL.sub(_percent, entity.value)})")
        else:
            out.append(_MARKS[entity.type])
    return "".join(out)


def _leaf(entity: Entity, words: str) -> str:
    if entity.type == "timestamp":
        return f"<t:{entity.value}>"
    runs = {len(run) for run in _RUN.findall(words)}
    marks = "`" if 1 not in runs else "``"
    before, after = " " * words.startswith("`"), " " * words.endswith("`")
    return f"{marks}{before}{words}{after}{marks}"


def _percent(found: re.Match[str]) -> str:
    return found[0] if found[0] in "_~" else f"%{ord(found[0]):02X}"


def _literal(words: str, starts: bool, *, inside: bool) -> str:
    lines = words.split("\n")
    return "\n".join(_line(line, starts or number > 0, inside=inside) for number, line in enumerate(lines))


def _line(line: str, starts: bool, *, inside: bool) -> str:
    """A line, or a part of one, so that it means itself."""
    parts = _BARE_URL.split(line)
    for place, part in enumerate(parts):
        if place % 2 == 0:
            parts[place] = _SPECIAL.sub(r"\\\g<0>", part)
        elif inside:
            # The marks around it would end in it.
            parts[place] = _IN_URL.sub(lambda found: f"%{ord(found[0]):02X}", part)
    if starts and (found := _STARTS.match(parts[0])):
        at = found.end() if found[3] else found.end(1)
        parts[0] = f"{parts[0][:at]}\\{parts[0][at:]}"
    return "".join(parts)


def parts(text: Text, limit: int, max_parts: int) -> list[str]:
    """``text`` as Markdown, at most ``max_parts`` parts of ``limit`` characters; the last says when there was more."""
    text = outgoing(_cut(text, limit * max_parts))
    found = [part for part in split_by(text, limit, _length) if part.plain.strip()]
    if len(found) > max_parts:
        last = split_by(found[max_parts - 1], limit - len(MORE), _length)[0]
        found = [*found[: max_parts - 1], Text(last.plain + MORE, last.entities)]
    return [markdown(part) for part in found]


def _cut(text: Text, most: int) -> Text:
    """No more than can ever be posted, so that a megabyte is not formatted to be thrown away."""
    from core.text.ops import slice_text

    return text if len(text.plain) <= most + 1 else slice_text(text, 0, most + 1)


def _length(text: Text) -> int:
    # Discord counts characters; the model's are never more than the written ones.
    return max(len(markdown(text)), len(text.plain))


def excerpt(content: Any) -> str:
    """The first words of a message's content, as one line without markup."""
    words = " ".join(incoming(str(content or "")).plain.split())
    return words if len(words) <= 80 else words[:79].rstrip() + "…"

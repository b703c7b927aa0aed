"""Message Styling (XEP-0393): what ``*bold*``, ``_italic_``, ``~struck~``, `` `code` ``, fences and ``>`` mean."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from core.model import Entity, EntityType, Text
from core.text.nesting import normalise, walk
from core.text.ops import concat, downgrade
from core.text.spans import slices

ENTITIES: Final = frozenset({"bold", "italic", "strike", "code", "pre", "quote"})
_MARKS: Final[dict[str, EntityType]] = {"*": "bold", "_": "italic", "~": "strike", "`": "code"}
_SIGNS: Final[dict[str, str]] = {kind: sign for sign, kind in _MARKS.items()}
_OPENING: Final = re.compile(r"[*_~`](?=\S)")
_CLOSING: Final = {sign: re.compile(rf"(?<=\S){re.escape(sign)}") for sign in _MARKS}
_DEEPEST: Final = 8
LONGEST_CHARS: Final = 100_000
"""Longer bodies are read as they are."""


# --- reading ------------------------------------------------------------------------------------------------


def parse(words: str) -> Text:
    """The text that a client shows for the body ``words``, without the marks."""
    if len(words) > LONGEST_CHARS or not any(sign in words for sign in "*_~`>"):
        return Text(words)
    parts: list[Text] = []
    for kind, lines in _blocks(words.split("\n")):
        if parts:
            parts.append(Text("\n"))
        if kind == "pre":
            parts.append(_whole("pre", Text("\n".join(lines[1:])), lines[0][3:].strip()))
        elif kind == "quote":
            parts.append(_whole("quote", _lines([line[1:].removeprefix(" ") for line in lines])))
        else:
            parts.append(_lines(lines))
    return normalise(concat(*parts))


def _whole(kind: EntityType, text: Text, value: str = "") -> Text:
    return Text(text.plain, (Entity(kind, 0, len(text.plain), value), *text.entities)) if text.plain else text


def _blocks(lines: list[str]) -> Iterator[tuple[str, list[str]]]:
    """Runs of lines: ``pre`` with its opening line, ``quote``, or plain ones. A fence that is never closed is none
    (the document lets it run to the end; people who type three backticks rarely mean that)."""
    at = 0
    last_fence = max((number for number, line in enumerate(lines) if line == "```"), default=-1)
    while at < len(lines):
        if lines[at].startswith("```") and at < last_fence:
            end = lines.index("```", at + 1)
            yield "pre", lines[at:end]
            at = end + 1
            continue
        start, is_quote = at, lines[at].startswith(">")
        at += 1
        while at < len(lines) and lines[at].startswith(">") == is_quote:
            if lines[at].startswith("```") and at < last_fence:
                break
            at += 1
        yield ("quote" if is_quote else "plain"), lines[start:at]


def _lines(lines: list[str]) -> Text:
    parts: list[Text] = []
    for number, line in enumerate(lines):
        parts += (Text("\n"), _spans(line, 0)) if number else (_spans(line, 0),)
    return concat(*parts)


def _spans(line: str, depth: int, before: str = "") -> Text:
    """One line: from the left, each mark that opens with the next one that closes it."""
    parts: list[Text] = []
    at = done = 0
    unclosed: set[str] = set()
    while (opening := _OPENING.search(line, at)) is not None:
        sign, start = opening[0], opening.start()
        at = start + 1
        previous = line[start - 1] if start else before
        opens = not previous or previous.isspace() or (previous in _MARKS and previous != sign)
        if not opens or sign in unclosed:
            continue
        closing = _CLOSING[sign].search(line, at)
        if closing is None:
            unclosed.add(sign)
        elif closing.start() == at:
            # With nothing between them neither is a mark.
            at += 1
        else:
            inner = line[at : closing.start()]
            text = Text(inner) if sign == "`" or depth >= _DEEPEST else _spans(inner, depth + 1, sign)
            parts += (Text(line[done:start]), _whole(_MARKS[sign], text))
            at = done = closing.end()
    parts.append(Text(line[done:]))
    return concat(*parts)


# --- writing ------------------------------------------------------------------------------------------------


def format(text: Text) -> tuple[str, bool]:
    """``text`` as a body, and whether that body is styled. Where the marks would not be read as exactly this text
    (they touch a word, or its own words look like marks) there are none, and the body must be sent as ``unstyled``.
    Links and the like are put into words first.
    """
    text = normalise(downgrade(text, ENTITIES))
    for kinds in (ENTITIES, frozenset({"pre", "quote"})):
        kept = Text(text.plain, tuple(entity for entity in text.entities if entity.type in kinds))
        if kept.entities:
            words = _write(kept)
            if parse(words) == kept:
                return words, True
    return downgrade(text, frozenset()).plain, False


def _write(text: Text) -> str:
    """With all marks, whatever a reader would make of them."""
    blocks = [entity for entity in text.entities if entity.type in ("pre", "quote")]
    blocks = [block for block in blocks if not any(_within(block, other) for other in blocks)]
    cuts: list[tuple[int, int]] = []
    at = 0
    for block in blocks:
        cuts += ((at, block.start), (block.start, block.start + block.length))
        at = block.start + block.length
    cuts.append((at, len(text.plain)))
    out = []
    for number, part in enumerate(slices(text, cuts)):
        if number % 2 == 0:
            out.append(_inline(part))
        elif blocks[number // 2].type == "pre":
            out.append(f"```{blocks[number // 2].value}\n{part.plain}\n```")
        else:
            out.append("\n".join(f"> {line}" for line in _inline(part).split("\n")))
    return "".join(out)


def _within(block: Entity, other: Entity) -> bool:
    end, other_end = block.start + block.length, other.start + other.length
    return other is not block and other.start <= block.start and end <= other_end and other.length > block.length


def _inline(text: Text) -> str:
    return "".join(
        text.plain[piece.start : piece.end] if piece.entity is None else _SIGNS.get(piece.entity.type, "")
        for piece in walk(text)
    )

"""Rocket.Chat's markup both ways (packages/message-parser of the server, the grammar of its own clients).

In: the server's own parse of a message (``md``), or its text as typed where there is none. Out: a backslash takes the
meaning of ``*_~` `` and the like; where it cannot, an invisible character stands between. A word with a dot between
letters is taken for an address up to the next blank, and nothing in it means anything, so nothing is escaped there.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from core.model import Entity, EntityType, Text
from core.text.nesting import normalise, walk
from core.text.ops import slice_text, strip, web_link
from core.text.safety import clean_text, defuse_mass_mentions
from core.text.spans import slices
from core.text.split import size, split_by

ZERO_WIDTH: Final = "\u200b"
SHOWS: Final = frozenset({"bold", "italic", "strike", "code", "pre", "quote", "link"})
MORE: Final = " … continued"
_MARKS: Final[dict[str, str]] = {"bold": "*", "italic": "_", "strike": "~", "code": "`"}

# --- out ----------------------------------------------------------------------------------------------------

_NOT_IN_HOST = r"\s.,!%~*\"':;()=$@&+#?\\/|><`\[\]"
_HOST: Final = re.compile(rf"(?![_])[^{_NOT_IN_HOST}]+\.[^{_NOT_IN_HOST}]")
_WORD: Final = re.compile(r"[^ \t\n]+")
_ENDS_ADDRESS: Final = re.compile(r"(?<=[*~])[.,!%~*\"':;()=]*$")
_LABELLED: Final = re.compile(r"<[^\s<>|]+(?=\|[^<>|\n]+>)")
_LITERAL: Final = re.compile(
    r"(?P<escape>[*~`]|(?<![A-Za-z])_|_(?=_))"
    r"|(?P<after>\\(?=[*_~`#.(\[<\\]|$)|\](?=\()|<(?=\S)|\|(?=\|)|@(?=\S)|#(?=[\w.-])"
    r"|(?<![A-Za-z0-9]):(?=[0-9A-Za-z_+.-]+:)|!(?=\[))"
)
_MEANS_WITH_NEXT: Final = tuple("@#:<!\\|]")
_AT_START: Final = re.compile(r"[>#|-]|\d+\.")
_EMOJI: Final = re.compile(r":(?=[0-9A-Za-z_+.-]+:)")
_NOT_IN_SPAN: Final = re.compile(r"[*_~`\[\]<|\\]")
_NOT_IN: Final = {"code": re.compile("`"), "link": re.compile(r"[<>|\x00-\x1f]")}
_QUERY: Final = re.compile(r"[?&]")


def parts(text: Text, limit: int, max_parts: int, site: str) -> list[str]:
    """``text`` as markup in at most ``max_parts`` posts of ``limit`` UTF-16 units; the last one says so where
    something was cut off. ``site``: the server's own address, links into which quote nothing (see ``unlinked``).
    """
    text = defuse_mass_mentions(clean_text(text))
    most = (max_parts + 1) * limit
    is_cut = len(text.plain) > most
    text = strip(slice_text(text, 0, most))

    def written(part: Text) -> str:
        return unlinked(markdown(part), site)

    found = [part for part in split_by(text, limit, lambda part: size(written(part), "utf16")) if part.plain.strip()]
    if is_cut or len(found) > max_parts:
        found = found[:max_parts]
        last = split_by(found[-1], limit - len(MORE), lambda part: size(written(part), "utf16"))[0]
        found[-1] = Text(last.plain.rstrip() + MORE, last.entities)
    return [written(part) for part in found]


def unlinked(markup: str, site: str) -> str:
    """``markup`` in which no address leads to a single message of the server: the server puts the words of such a
    message beside the post if the bot's user may read it, whatever room they were said in (BeforeSaveJumpToMessage)."""
    host = site.partition("://")[2].lower()
    if not host or host not in markup.lower():
        return markup

    def without(word: re.Match[str]) -> str:
        return _QUERY.sub(rf"\g<0>{ZERO_WIDTH}", word[0]) if host in word[0].lower() else word[0]

    return _WORD.sub(without, markup)


def unmarked(name: str) -> str:
    """A name for the ``alias`` of a post: nobody is called by it."""
    return name.replace("@", f"@{ZERO_WIDTH}")


def markdown(text: Text) -> str:
    """``text`` so that the server's parser reads the same words, and the same spans where it can have them."""
    text = normalise(Text(text.plain, tuple(entity for entity in text.entities if entity.type in SHOWS)))
    out: list[str] = []
    at = 0
    for block in (entity for entity in text.entities if entity.type in ("quote", "pre")):
        if block.start >= at:
            out.append(_lines(slice_text(text, at, block.start)))
            at = block.start + block.length
            part = slice_text(text, block.start, at)
            out.append(_quote(part) if block.type == "quote" else _fence(part.plain, block.value))
    out.append(_lines(slice_text(text, at, len(text.plain))))
    return "".join(out)


def _quote(part: Text) -> str:
    inside = Text(part.plain, tuple(entity for entity in part.entities if entity.type not in ("quote", "pre")))
    return "\n".join(f"> {line or ZERO_WIDTH}" for line in _lines(inside).split("\n"))


def _fence(words: str, language: str) -> str:
    return f"```{re.sub(r'[^A-Za-z0-9_.-]', '', language)}\n{words.replace('```', f'`{ZERO_WIDTH}``')}\n```"


def _lines(text: Text) -> str:
    cuts, at = [], 0
    for line in text.plain.split("\n"):
        cuts.append((at, at + len(line)))
        at += len(line) + 1
    return "\n".join(_line(part) for part in slices(text, cuts))


def _line(text: Text) -> str:
    words = text.plain
    taken = _addresses(words)
    kept = [found for entity in text.entities if (found := _writable(words, entity, taken))]
    # The label of a link is nothing but words.
    links = [(entity.start, entity.start + entity.length) for entity in kept if entity.type == "link"]
    text = normalise(Text(words, tuple(entity for entity in kept if not _in_label(entity, links))))
    out: list[str] = []
    inside: list[str] = []
    for piece in walk(text):
        entity = piece.entity
        if entity is None:
            said, more = words[piece.start : piece.end], bool(inside) or piece.end < len(words)
            if inside[-1:] in (["code"], ["link"]):
                out.append(said)
            else:
                out.append(_EMOJI.sub(rf":{ZERO_WIDTH}", _escaped(said, more)) if inside else _literal(said, more))
        elif piece.kind == "open":
            inside.append(entity.type)
            out.append(f"<{_target(entity.value)}|" if entity.type == "link" else _MARKS[entity.type])
        else:
            inside.pop()
            out.append(">" if entity.type == "link" else _MARKS[entity.type])
    markup = "".join(out)
    return ZERO_WIDTH + markup if _AT_START.match(words) and markup[:1] == words[0] else markup


def _in_label(entity: Entity, links: Sequence[tuple[int, int]]) -> bool:
    start, end = entity.start, entity.start + entity.length
    if entity.type == "link" or (entity.type != "code" and (start, end) in links):
        return False
    return any(first <= start and end <= last for first, last in links)


def _addresses(words: str) -> list[tuple[int, int]]:
    """Where the parser takes what it finds for an address, to the end of the word."""
    found = ((host, word) for word in _WORD.finditer(words) if (host := _HOST.search(words, word.start(), word.end())))
    return [(host.start(), word.end()) for host, word in found]


def _writable(words: str, entity: Entity, taken: Sequence[tuple[int, int]]) -> Entity | None:
    """The entity as far as the grammar has a way to write it; None where it has not."""
    start, end = entity.start, entity.start + entity.length
    while start < end and words[start].isspace():
        start += 1
    while end > start and words[end - 1].isspace():
        end -= 1
    said = words[start:end]
    if not said or any(first < start < last for first, last in taken):
        return None
    if _NOT_IN.get(entity.type, _NOT_IN_SPAN).search(said):
        return None
    if entity.type == "link" and (not web_link(entity.value) or said == entity.value):
        return None
    if entity.type not in ("code", "link") and "\\" in _escaped(said, True):
        return None
    if entity.type == "italic" and not _may_slant(words, start, end):
        return None
    return Entity(entity.type, start, end - start, entity.value)


def _may_slant(words: str, start: int, end: int) -> bool:
    """May a ``_`` stand before and behind? Not within a word, and not where it, or what parts it from a sign, would be
    part of an address or of an emoji's name."""
    if _is_letter(words, start - 1) or _is_letter(words, end):
        return False
    before, said, behind = words[start - 1 : start] if start else "", words[start:end], words[end : end + 1]
    begins_address = before == "." or ("." in said and before in _MEANS_WITH_NEXT)
    return not (before == "_" or begins_address or (behind == ":" and ":" in said))


def _is_letter(words: str, at: int) -> bool:
    return 0 <= at < len(words) and words[at].isascii() and words[at].isalnum()


def _literal(words: str, more: bool) -> str:
    out: list[str] = []
    at = 0
    for first, last in _addresses(words):
        out += (_escaped(words[at:first], True), words[first:last])
        if _ENDS_ADDRESS.search(words, first, last):
            out.append(ZERO_WIDTH)
        at = last
    return "".join((*out, _escaped(words[at:], more)))


def _escaped(words: str, more: bool) -> str:
    """``words`` outside of addresses; ``more``: something follows at once that is written without escapes."""
    said = _LABELLED.sub(r"\g<0> ", words)
    said = _LITERAL.sub(lambda found: f"\\{found[0]}" if found["escape"] else found[0] + ZERO_WIDTH, said)
    said = said.replace(f"{ZERO_WIDTH}.", f"{ZERO_WIDTH}\\.")  # or the two would begin an address
    return said + ZERO_WIDTH if more and said[-1:] in _MEANS_WITH_NEXT else said


def _target(url: str) -> str:
    return re.sub(r"[()<>|\\`]", lambda found: f"%{ord(found[0]):02X}", url)


# --- in -----------------------------------------------------------------------------------------------------

_DEEPEST: Final = 20
_STYLES: Final[dict[str, EntityType]] = {"BOLD": "bold", "ITALIC": "italic", "STRIKE": "strike", "SPOILER": "spoiler"}
_BLOCKS: Final[dict[str, EntityType]] = {"HEADING": "bold", "QUOTE": "quote", "SPOILER_BLOCK": "spoiler", "CODE": "pre"}
_ENDS_BEFORE_BREAK: Final = frozenset({"HEADING", "CODE", "KATEX", "SPOILER_BLOCK"})
"""Blocks that leave the line break behind them to a LINE_BREAK of its own."""
_QUOTED: Final = re.compile(r"(?:\[ ?\]\([^)\s]*[?&]msg=[^)\s]*\)\s*)+")


def incoming(msg: str, md: Any, people: Mapping[str, tuple[str, str]]) -> Text:
    """The words of a message: ``md`` is the server's parse of ``msg``, ``people`` the mentioned by user name, each with
    id and name. The links in front that only make a quote are left out."""
    if isinstance(md, list) and md:
        reader = _Reader(people)
        reader.blocks(md)
        return strip(clean_text(normalise(reader.text())))
    return strip(clean_text(Text(msg[len(quoted(msg)) :])))


def quoted(msg: str) -> str:
    """The links in front of a text that only make a quote; empty where there are none."""
    found = _QUOTED.match(msg)
    return found[0] if found else ""


class _Reader:
    """Reads the nodes of ``md`` (packages/message-parser/src/definitions.ts); what it does not know gives its words."""

    def __init__(self, people: Mapping[str, tuple[str, str]]) -> None:
        self._people = people
        self._out: list[str] = []
        self._size = 0
        self._entities: list[Entity] = []

    def text(self) -> Text:
        """All that was read."""
        return Text("".join(self._out), tuple(self._entities))

    def blocks(self, nodes: Sequence[Any], depth: int = 0) -> None:
        """Blocks, one below the other."""
        before = ""
        for number, node in enumerate(nodes):
            kind = node.get("type") if isinstance(node, dict) else ""
            if kind == "LINE_BREAK" and before in _ENDS_BEFORE_BREAK:
                before = ""
                continue
            before = kind or ""
            self._write("\n" if number else "")
            self._block(node, depth)

    def _block(self, node: Any, depth: int) -> None:
        kind, value = _parts(node)
        start = self._size
        if depth > _DEEPEST:
            return
        if kind in ("QUOTE", "SPOILER_BLOCK") and isinstance(value, list):
            self.blocks(value, depth + 1)
        elif kind == "CODE" and isinstance(value, list):
            self._write("\n".join(_plain(_parts(line)[1]) for line in value))
        elif kind in ("UNORDERED_LIST", "ORDERED_LIST", "TASKS") and isinstance(value, list):
            self._items(value, depth)
        elif kind != "LINE_BREAK":
            self._inline(value if isinstance(value, list) else node, depth)
        if kind in _BLOCKS:
            language = str(node.get("language") or "").replace("none", "") if kind == "CODE" else ""
            self._entities.append(Entity(_BLOCKS[kind], start, self._size - start, language))

    def _items(self, items: Sequence[Any], depth: int) -> None:
        for number, item in enumerate(items):
            kind, value = _parts(item)
            mark = "- "
            if kind == "TASK":
                mark = "- [x] " if item.get("status") else "- [ ] "
            elif isinstance(item, dict) and isinstance(item.get("number"), int):
                mark = f"{item['number']}. "
            self._write(("\n" if number else "") + mark)
            self._inline(value, depth + 1)

    def _inline(self, node: Any, depth: int) -> None:
        if isinstance(node, list):
            for child in node:
                self._inline(child, depth + 1)
            return
        kind, value = _parts(node)
        start = self._size
        if depth > _DEEPEST or not kind:
            return
        if kind in _STYLES:
            self._inline(value, depth + 1)
            self._entities.append(Entity(_STYLES[kind], start, self._size - start))
        elif kind == "INLINE_CODE":
            self._write(_plain(value))
            self._entities.append(Entity("code", start, self._size - start))
        elif kind in ("LINK", "IMAGE") and isinstance(value, dict):
            self._link(value, depth)
        elif kind == "MENTION_USER":
            self._mention(_plain(value))
        elif kind == "EMOJI":
            self._write(_emoji(node, value))
        elif kind == "TIMESTAMP" and isinstance(value, dict):
            self._moment(str(value.get("timestamp") or ""))
        elif isinstance(value, list):
            self._inline(value, depth + 1)
        else:
            self._write(("#" if kind == "MENTION_CHANNEL" else "") + _plain(value))

    def _link(self, value: Mapping[str, Any], depth: int) -> None:
        source, start, mark = _plain(value.get("src")), self._size, len(self._out)
        self._inline(value.get("label"), depth + 1)
        label = "".join(self._out[mark:])
        if not label.strip() and "msg=" in source and not "".join(self._out[:mark]).strip():
            self._out, self._entities, self._size = [], [], 0  # the link that makes the quote
        elif not label:
            self._write(source)
        elif web_link(source) and source not in (label, f"mailto:{label}"):
            self._entities.append(Entity("link", start, self._size - start, source))

    def _mention(self, username: str) -> None:
        person = self._people.get(username)
        if person is None:
            self._write(f"@{username}")
            return
        self._entities.append(Entity("mention", self._size, len(person[1]) + 1, person[0]))
        self._write(f"@{person[1]}")

    def _moment(self, seconds: str) -> None:
        from datetime import UTC, datetime

        try:
            shown = datetime.fromtimestamp(int(seconds), UTC).strftime("%Y-%m-%d %H:%M UTC")
        except (ValueError, OverflowError, OSError):
            self._write(seconds)
            return
        self._entities.append(Entity("timestamp", self._size, len(shown), seconds))
        self._write(shown)

    def _write(self, words: str) -> None:
        self._out.append(words)
        self._size += len(words)


def _parts(node: Any) -> tuple[str, Any]:
    return (str(node.get("type") or ""), node.get("value")) if isinstance(node, dict) else ("", None)


def _plain(node: Any) -> str:
    value = node.get("value") if isinstance(node, dict) else node
    return value if isinstance(value, str) else ""


def _emoji(node: Mapping[str, Any], value: Any) -> str:
    if isinstance(node.get("unicode"), str):
        return str(node["unicode"])
    typed, name = _plain(value), str(node.get("shortCode") or "")
    return shown(name) if typed in ("", name) else typed


# --- emoji --------------------------------------------------------------------------------------------------

_SKINS: Final = dict.fromkeys(range(0x1F3FB, 0x1F400))


def shown(name: str) -> str:
    """The emoji called ``name``; ``:name:`` for one of the server's own."""
    import emoji

    found: str = emoji.emojize(f":{name}:", language="alias")
    if found == f":{name}:":
        found = emoji.emojize(f":{name.replace('-', '_')}:", language="alias")
    return found if not found.isascii() else f":{name}:"


def names(shown_as: str) -> list[str]:
    """What the server may call an emoji, the likeliest first; ``:shortcode:`` is its own name."""
    import emoji

    if re.fullmatch(r":[0-9A-Za-z_+.-]+:", shown_as):
        return [shown_as[1:-1]]
    bare = shown_as.translate(_SKINS)
    data = emoji.EMOJI_DATA.get(bare) or emoji.EMOJI_DATA.get(bare + "\ufe0f") or {}
    found = [*data.get("alias", ()), *([data["en"]] if "en" in data else ())]
    return list(dict.fromkeys(name.strip(":") for name in found))

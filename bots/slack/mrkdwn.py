"""Slack's own markup, as bots write it and as old messages have it (docs.slack.dev/messaging/formatting-message-text).

Only read: what we post is rich text. Linear in the length of the text.
"""

from __future__ import annotations

import re
from typing import Final

from bots.slack.blocks import Names, moment, shown_emoji
from core.model import Entity, EntityType, Text
from core.text import ops
from core.text.nesting import normalise
from core.text.ops import Edit

_HOLE: Final = "\ufdd0"
"""Stands for a finished piece while the rest is read: a noncharacter, which no text may hold."""
_PIECE: Final = re.compile(
    r"```(?P<pre>.+?)```|`(?P<code>[^`\n]+)`|<(?P<token>(?:[@#!]|[a-z][a-z0-9+.-]{1,20}:)[^<>\n]{1,3000})>",
    re.DOTALL,
)
_EMOJI: Final = re.compile(r"(?<![\w:]):([a-z0-9_+'-]{1,100}(?:::skin-tone-[2-6])?):(?!\w)")
_ESCAPED: Final = re.compile(r"&(amp|lt|gt);")
_CHARS: Final = {"amp": "&", "lt": "<", "gt": ">"}
_MARKS: Final[dict[str, EntityType]] = {"*": "bold", "_": "italic", "~": "strike"}
_QUOTED: Final = re.compile(r"^&gt;(?!&gt;&gt;) ?", re.MULTILINE)
_QUOTED_REST: Final = re.compile(r"^&gt;&gt;&gt; ?", re.MULTILINE)
_LABELLED: Final = re.compile(r"<!subteam\^([A-Z0-9]+)\|([^<>]{1,200})>|<#([A-Z0-9]+)\|([^<>]{1,200})>")
MENTIONED: Final = re.compile(r"<([@#])([A-Z0-9]{1,40})(?:\|[^<>]{0,200})?>")


def labels(source: str) -> tuple[dict[str, str], dict[str, str]]:
    """Names of groups and of channels that stand beside their ids."""
    groups, channels = {}, {}
    for group, group_name, channel, channel_name in _LABELLED.findall(source):
        if group:
            groups[group] = unescape(group_name)
        else:
            channels[channel] = unescape(channel_name)
    return groups, channels


def unescape(words: str) -> str:
    """``&amp;``, ``&lt;`` and ``&gt;`` as what they stand for; there are no others."""
    return _ESCAPED.sub(lambda found: _CHARS[found[1]], words)


def read(source: str, names: Names) -> Text:
    """What ``source`` says."""
    source = source.replace("\r\n", "\n").replace(_HOLE, "")
    pieces: list[Text] = []

    def hole(found: re.Match[str]) -> str:
        piece = _piece(found, names)
        if piece is None:
            return found[0]
        pieces.append(piece)
        return _HOLE

    return normalise(_filled(_read_open(_PIECE.sub(hole, source)), pieces))


def _piece(found: re.Match[str], names: Names) -> Text | None:
    if found["pre"] is not None:
        words = unescape(found["pre"]).strip("\n")
        return ops.pre(words) if words else None
    if found["code"] is not None:
        return ops.code(unescape(found["code"]))
    return _token(found["token"], names)


def _token(token: str, names: Names) -> Text:
    """What stands between ``<`` and ``>``."""
    target, _, label = token.partition("|")
    label = unescape(label)
    if target.startswith("@"):
        who = target[1:]
        return ops.mention(f"@{names.people.get(who) or label or who}", who) if who else Text("@")
    if target.startswith("#"):
        return Text(f"#{label or names.channels.get(target[1:], target[1:])}")
    if target.startswith("!date^"):
        return moment(target.split("^")[1], label)
    if target.startswith("!subteam^"):
        group = target.partition("^")[2]
        return Text(f"@{(label or names.groups.get(group, 'group')).lstrip('@')}")
    if target.startswith("!"):
        return Text(f"@{target[1:]}" if target[1:] in ("here", "channel", "everyone") else label or target[1:])
    url = unescape(target)
    if not label or label in (url, url.removeprefix("mailto:")):
        return Text(label or url)
    return ops.link(label, url)


def _read_open(source: str) -> Text:
    """Everything but the finished pieces: styles, quotes, emoji, escapes."""
    edits: list[Edit] = []
    entities = [*_quotes(source, edits)]
    taken: set[int] = {place for edit in edits for place in range(edit.start, edit.end)}
    shown: list[tuple[int, Text]] = []
    for found in _EMOJI.finditer(source):
        text = shown_emoji(found[1])
        edits.append(Edit(found.start(), found.end(), text.plain))
        entities.append(Entity("emoji", found.start(), len(found[0]), found[1]))
        shown.append((found.start(), text))
        taken.update(range(found.start(), found.end()))
    for found in _ESCAPED.finditer(source):
        if found.start() not in taken:
            edits.append(Edit(found.start(), found.end(), _CHARS[found[1]]))
    for start, end, kind in _styled(source, taken):
        edits += [Edit(start, start + 1, ""), Edit(end, end + 1, "")]
        entities.append(Entity(kind, start, end + 1 - start))
    return ops.rewrite(Text(source, tuple(entities)), sorted(edits))


def _quotes(source: str, edits: list[Edit]) -> list[Entity]:
    rest = _QUOTED_REST.search(source)
    end = rest.start() if rest else len(source)
    found: list[Entity] = []
    for mark in _QUOTED.finditer(source, 0, end):
        edits.append(Edit(mark.start(), mark.end(), ""))
        stop = source.find("\n", mark.end(), end)
        stop = end if stop < 0 else stop
        if found and found[-1].start + found[-1].length + 1 == mark.start():
            found[-1] = Entity("quote", found[-1].start, stop - found[-1].start)
        elif stop > mark.start():
            found.append(Entity("quote", mark.start(), stop - mark.start()))
    if rest:
        edits.append(Edit(rest.start(), rest.end(), ""))
        found.append(Entity("quote", rest.start(), len(source) - rest.start()))
    return found


def _styled(source: str, taken: set[int]) -> list[tuple[int, int, EntityType]]:
    """``(place of the first mark, of the last, style)``: a mark begins behind a sign or blank, and ends before one."""
    found: list[tuple[int, int, EntityType]] = []
    opened: list[tuple[str, int]] = []
    for at, char in enumerate(source):
        if char == "\n":
            opened.clear()
        if char not in _MARKS or at in taken:
            continue
        before, after = source[at - 1 : at] if at else "", source[at + 1 : at + 2]
        place = next((i for i, (mark, _) in enumerate(opened) if mark == char), -1)
        if place >= 0 and before.strip() and not _is_word(after) and at - opened[place][1] > 1:
            found.append((opened[place][1], at, _MARKS[char]))
            del opened[place:]
        elif place < 0 and after.strip() and not _is_word(before):
            opened.append((char, at))
    return found


def _is_word(char: str) -> bool:
    return char.isalnum() or char == _HOLE


def _filled(text: Text, pieces: list[Text]) -> Text:
    """``text`` with the finished pieces in their holes."""
    holes = [at for at, char in enumerate(text.plain) if char == _HOLE]
    edits = [Edit(at, at + 1, piece.plain) for at, piece in zip(holes, pieces, strict=True)]
    grown = 0
    inner: list[Entity] = []
    for at, piece in zip(holes, pieces, strict=True):
        inner += [Entity(e.type, e.start + at + grown, e.length, e.value) for e in piece.entities]
        grown += len(piece.plain) - 1
    filled = ops.rewrite(text, edits)
    return Text(filled.plain, (*filled.entities, *inner))

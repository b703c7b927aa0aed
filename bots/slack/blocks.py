"""Slack's rich text (docs.slack.dev/reference/block-kit/blocks/rich-text-block) and our model.

A rich text says what is a word and what is formatting in fields of their own: no word of a post can be taken for
markup, a mention or a call of the whole channel.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

import msgspec

from bots.slack import emoji
from core.model import Entity, EntityType, Text
from core.text import ops
from core.text.mass import defuse_mass_mentions
from core.text.nesting import normalise, walk
from core.text.safety import clean_text
from core.text.split import split

Json = Mapping[str, Any]
STYLES: Final[tuple[EntityType, ...]] = ("bold", "italic", "underline", "strike", "code")
ENTITIES: Final = frozenset({*STYLES, "pre", "quote", "link", "timestamp"})
"""What a post of ours can show."""
TEXT_LIMIT: Final = 4000
"""Slack cuts longer texts into several messages by itself (docs.slack.dev, chat.postMessage, Truncating content)."""
MORE: Final = " … (cut)"
FALLBACK_CHARS: Final = 3000
MAX_DEPTH: Final = 8
_URL: Final = re.compile(r"https?://[^\s<>\"]+", re.IGNORECASE)
_TRAILING: Final = ".,;:!?'’”*_~`|"
_DATE: Final = "{date_num} {time}"


class Names(msgspec.Struct, frozen=True):
    """What the ids in a message are called; ids that are missing stay as they are."""

    people: Mapping[str, str] = {}
    channels: Mapping[str, str] = {}
    groups: Mapping[str, str] = {}


# --- what we write ------------------------------------------------------------------------------------------


def outgoing(text: Text) -> Text:
    """``text`` as it may be posted: clean, nothing in it calls a room, and properly nested."""
    return normalise(defuse_mass_mentions(clean_text(text)))


def parts(text: Text, max_parts: int, limit: int = TEXT_LIMIT) -> list[Text]:
    """``text`` in at most ``max_parts`` posts; the last one says when there was more. Empty where there is nothing."""
    found = [part for part in split(text, limit, "characters") if part.plain.strip()]
    if len(found) <= max_parts:
        return found
    last = split(found[max_parts - 1], limit - len(MORE), "characters")[0]
    return [*found[: max_parts - 1], Text(last.plain + MORE, last.entities)]


def escape(words: str) -> str:
    """``words`` for a field that is read as mrkdwn (docs.slack.dev/messaging/formatting-message-text)."""
    return words.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def fallback(text: Text) -> str:
    """What notifications and searches read instead of the blocks."""
    return escape(ops.slice_text(text, 0, FALLBACK_CHARS).plain)


def write(text: Text) -> list[dict[str, Any]]:
    """The blocks of a text that :func:`outgoing` made."""
    lines: list[dict[str, Any]] = []
    kind, elements = "", list[dict[str, Any]]()

    def close() -> None:
        if elements:
            lines.append(_line(kind, elements))

    for words, active in _pieces(normalise(text)):
        here = _kind(active)
        if here != kind:
            close()
            if lines:
                words = words.removeprefix("\n")
            kind, elements = here, []
        if words:
            elements += _elements(words, active, is_pre=here.startswith("pre"))
    close()
    return [{"type": "rich_text", "elements": lines}]


def _pieces(text: Text) -> Iterator[tuple[str, list[Entity]]]:
    stack: list[Entity] = []
    for piece in walk(text):
        if piece.kind == "open" and piece.entity:
            stack.append(piece.entity)
        elif piece.kind == "close":
            stack.pop()
        else:
            yield text.plain[piece.start : piece.end], list(stack)


def _kind(active: list[Entity]) -> str:
    """Which line of the rich text a piece belongs to; two quotes side by side are two."""
    quote = next((f"quote{entity.start}" for entity in active if entity.type == "quote"), "")
    pre = next((f"pre{entity.start}" for entity in active if entity.type == "pre"), "")
    return pre + quote


def _line(kind: str, elements: list[dict[str, Any]]) -> dict[str, Any]:
    if kind.startswith("pre"):
        border = {"border": 1} if "quote" in kind else {}
        return {"type": "rich_text_preformatted", "elements": elements} | border
    return {"type": "rich_text_quote" if kind else "rich_text_section", "elements": elements}


def _elements(words: str, active: list[Entity], *, is_pre: bool) -> list[dict[str, Any]]:
    if is_pre:
        return [{"type": "text", "text": words}]
    kinds = {entity.type: entity.value for entity in active}
    styles = {style: True for style in STYLES if style in kinds}
    more: dict[str, Any] = {"style": styles} if styles else {}
    if "timestamp" in kinds:
        moment = {"timestamp": int(kinds["timestamp"]), "format": _DATE, "fallback": words}
        return [{"type": "date"} | moment | more]
    if ops.web_link(kinds.get("link", "")):
        return [{"type": "link", "url": kinds["link"], "text": words} | more]
    if "code" in kinds:
        return [{"type": "text", "text": words} | more]
    found: list[dict[str, Any]] = []
    at = 0
    for match in _URL.finditer(words):
        url = _trimmed(match[0])
        if len(url) > len("https://") and ops.web_link(url):
            if match.start() > at:
                found.append({"type": "text", "text": words[at : match.start()]} | more)
            found.append({"type": "link", "url": url} | more)
            at = match.start() + len(url)
    return [*found, {"type": "text", "text": words[at:]} | more] if at < len(words) else found


def _trimmed(url: str) -> str:
    """An address in a sentence without the sentence's own signs."""
    while url:
        if url[-1] in _TRAILING or any(url[-1] == end and url.count(end) > url.count(begin) for begin, end in _PAIRS):
            url = url[:-1]
        else:
            break
    return url


_PAIRS: Final = ("()", "[]", "{}")


# --- what people write --------------------------------------------------------------------------------------


def read(blocks: Iterable[Any], names: Names) -> Text:
    """The words of all rich texts among ``blocks``."""
    found = [
        _read_lines(block.get("elements"), names, MAX_DEPTH)
        for block in blocks
        if isinstance(block, Mapping) and block.get("type") == "rich_text"
    ]
    return normalise(joined(found))


def joined(lines: Iterable[Text]) -> Text:
    """Texts as lines below each other; one that ends its line itself needs no line break."""
    out: list[Text] = []
    for line in lines:
        if not line.plain:
            continue
        if out and not out[-1].plain.endswith("\n"):
            out.append(Text("\n"))
        out.append(line)
    return ops.concat(*out)


def _read_lines(elements: Any, names: Names, depth: int) -> Text:
    lines: list[Text] = []
    for element in elements if isinstance(elements, list) else ():
        if not isinstance(element, Mapping) or depth == 0:
            continue
        kind, inner = element.get("type"), element.get("elements")
        if kind == "rich_text_list":
            line = _read_list(element, names, depth)
        elif kind == "rich_text_preformatted":
            words = ops.concat(*(_read_element(each, names) for each in inner or ()))
            line = ops.pre(words.plain.strip("\n"), str(element.get("language") or ""))
        else:
            line = ops.concat(*(_read_element(each, names) for each in inner or ()))
        if kind == "rich_text_quote":
            line = ops.quote(line)
        lines.append(ops.quote(line) if element.get("border") else line)
    return joined(lines)


def _read_list(element: Json, names: Names, depth: int) -> Text:
    indent, offset = element.get("indent"), element.get("offset")
    margin = "    " * min(indent, MAX_DEPTH) if isinstance(indent, int) else ""
    first = offset + 1 if isinstance(offset, int) else 1
    rows: list[Text] = []
    for number, each in enumerate(element.get("elements") or ()):
        sign = f"{first + number}. " if element.get("style") == "ordered" else "• "
        rows.append(ops.concat(Text(margin + sign), ops.strip(_read_lines([each], names, depth - 1))))
    return joined(rows)


def _read_element(raw: Any, names: Names) -> Text:
    if not isinstance(raw, Mapping):
        return Text()
    found = _bare(raw, names)
    style = raw.get("style")
    if isinstance(style, Mapping) and found.plain:
        kinds = [kind for kind in STYLES if style.get(kind) is True]
        whole = tuple(Entity(kind, 0, len(found.plain)) for kind in kinds)
        found = Text(found.plain, (*whole, *found.entities))
    return found


def _bare(raw: Json, names: Names) -> Text:
    """An element without its style (docs.slack.dev/reference/block-kit/block-elements)."""
    words = str(raw.get("text") or "")
    match raw.get("type"):
        case "text":
            return Text(words)
        case "link":
            url = str(raw.get("url") or "")
            return ops.link(words, url) if words and words != url else Text(url)
        case "user":
            who = str(raw.get("user_id") or "")
            return ops.mention(f"@{names.people.get(who, who)}", who)
        case "channel":
            channel = str(raw.get("channel_id") or "")
            return Text(f"#{names.channels.get(channel, channel)}")
        case "usergroup":
            group = str(raw.get("usergroup_id") or "")
            return Text(f"@{names.groups.get(group, 'group').lstrip('@')}")
        case "broadcast":
            return Text(f"@{raw.get('range') or 'channel'}")
        case "emoji":
            return shown_emoji(str(raw.get("name") or ""), str(raw.get("unicode") or ""))
        case "date":
            return moment(raw.get("timestamp"), str(raw.get("fallback") or ""))
        case "color":
            return Text(str(raw.get("value") or ""))
        case _:
            return Text(words)


def shown_emoji(name: str, codepoints: str = "") -> Text:
    """A standard emoji as itself, a workspace's own one as ``:name:``."""
    if not emoji.is_name(name.partition("::")[0]):
        return Text(f":{name}:" if name else "")
    shown = emoji.from_codepoints(codepoints) or emoji.to_unicode(name) or f":{name}:"
    return ops.emoji(shown, name)


def moment(at_s: Any, words: str) -> Text:
    """A date with the words that stand in for it."""
    try:
        seconds = int(at_s)
    except (TypeError, ValueError):
        return Text(words)
    if not words:
        words = ops.downgrade(ops.timestamp("then", seconds), frozenset()).plain
    return ops.timestamp(words, seconds)

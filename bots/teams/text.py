"""Teams' two dialects: the HTML that people's messages come in, and the XML that a bot's messages go out in."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from html import escape
from typing import Final

from bots.teams.activity import Mark
from core.model import Entity, Text
from core.text import html
from core.text.nesting import normalise
from core.text.ops import Edit, rewrite, slice_text, strip
from core.text.safety import clean_text
from core.text.split import split_by

SHOWN: Final = frozenset({"bold", "italic", "strike", "code", "pre", "quote", "link"})
"""What Teams shows of a bot's message (Teams docs, Format your bot messages)."""
LIMIT: Final = 24_000
"""Longest post in UTF-16 units of XML. Teams takes 100 KB of payload counted as UTF-16, and JSON makes two
characters of a line break or a backslash: at worst 24,000 units are 96,000 bytes."""
MORE: Final = " … (cut)"
MAX_EXCERPT_CHARS: Final = 200
MAX_QUOTES: Final = 20
MAX_QUOTE_CHARS: Final = 20_000

_BEGIN, _MIDDLE, _END = "\ufdd0", "\ufdd1", "\ufdd2"
"""Around a mention while the HTML is read: noncharacters, which no text may hold (Unicode, 23.7)."""
_MARKED = re.compile(f"{_BEGIN}([0-9]{{0,4}}){_MIDDLE}([^{_BEGIN}{_MIDDLE}{_END}]{{0,300}}){_END}")
_STRAY = re.compile(f"[{_BEGIN}{_MIDDLE}{_END}]")
_ATTRIBUTES = r"(?P<rest>[^<>]{0,4000})"
_QUOTE = re.compile(rf"<blockquote\b{_ATTRIBUTES}>", re.IGNORECASE)
_QUOTE_END = re.compile(r"</blockquote>", re.IGNORECASE)
_TAG = re.compile(rf"<(?P<close>/?)(?P<name>img|emoji|codeblock|at|span|p)\b{_ATTRIBUTES}>", re.IGNORECASE)
_IS_REPLY = re.compile(r"schema\.skype\.com/Reply", re.IGNORECASE)
_IS_MENTION = re.compile(r"schema\.skype\.com/Mention", re.IGNORECASE)
_IS_EMOJI = re.compile(r"schema\.skype\.com/Emoji", re.IGNORECASE)
_VALUE = re.compile(r"\b(itemid|id|alt|class)\s*=\s*(?:\"([^\"]{0,400})\"|'([^']{0,400})')", re.IGNORECASE)
_SENDER = re.compile(r"<strong\b[^<>]{0,400}>([^<]{0,400})</strong>", re.IGNORECASE)
_PREVIEW = re.compile(r"<p\b[^<>]{0,400}itemprop=[\"']preview[\"'][^<>]{0,400}>", re.IGNORECASE)
_EMPTY_LINE = re.compile(r"<p\b[^<>]{0,400}>(?:&nbsp;|&#160;|\s){0,9}</p>", re.IGNORECASE)
_QUOTED_TAG = re.compile(r"<quoted\b[^<>]{0,200}/?>\s?", re.IGNORECASE)


# --- what people write --------------------------------------------------------------------------------------


def read_html(source: str, marks: Sequence[Mark], own_id: str) -> Text:
    """What a message's HTML says: mentions as names with their ids, our own mention left out. Linear."""
    source = _STRAY.sub("", _without_quotes(source))
    read = html.parse(_plainer(source))
    return strip(_with_mentions(read, [mark for mark in marks if mark.type == "mention"], own_id))


def read_plain(source: str, marks: Sequence[Mark], own_id: str) -> Text:
    """What a message without HTML says; mentions are the exact words that the entities name."""
    source = _STRAY.sub("", _QUOTED_TAG.sub("", source.replace("\r\n", "\n").replace("\r", "\n")))
    mentions = [mark for mark in marks if mark.type == "mention"]
    for number, mark in enumerate(mentions):
        name = mark.mentioned.name if mark.mentioned else None
        if mark.text:
            shown = _STRAY.sub("", name or html.parse(mark.text).plain)
            source = source.replace(mark.text, f"{_BEGIN}{number}{_MIDDLE}{shown}{_END}", 1)
    return strip(_with_mentions(Text(source), mentions, own_id))


def quoted_in(source: str) -> tuple[str, str, str]:
    """Id, author and first words of the message that an answer in a chat quotes; empty where it quotes none."""
    for found in _QUOTE.finditer(source):
        if _IS_REPLY.search(found["rest"]):
            end = _QUOTE_END.search(source, found.end())
            inside = source[found.end() : end.start() if end else len(source)][:MAX_QUOTE_CHARS]
            sender, preview = _SENDER.search(inside), _PREVIEW.search(inside)
            return (
                _values(found["rest"]).get("itemid", ""),
                html.parse(sender[1]).plain if sender else "",
                html.parse(inside[preview.end() :]).plain[:MAX_EXCERPT_CHARS] if preview else "",
            )
    return "", "", ""


def _without_quotes(source: str) -> str:
    """Without the quotes that Teams puts before an answer."""
    kept: list[str] = []
    at = 0
    for found in _QUOTE.finditer(source):
        if found.start() >= at and _IS_REPLY.search(found["rest"]):
            end = _QUOTE_END.search(source, found.end()) if len(kept) < MAX_QUOTES else None
            if end is None:
                break
            kept.append(source[at : found.start()])
            at = end.end()
    return "".join(kept) + source[at:]


def _values(rest: str) -> dict[str, str]:
    return {name.lower(): double or single for name, double, single in _VALUE.findall(rest)}


def _plainer(source: str) -> str:
    """With common HTML, and marks around mentions, instead of Teams' own elements. A paragraph of Teams' has no space
    around it: it is a line, and an empty one is an empty line.
    """
    source = _EMPTY_LINE.sub("<div><br></div>", source)
    out: list[str] = []
    at = 0
    spans: list[bool] = []
    for found in _TAG.finditer(source):
        out.append(source[at : found.start()])
        at = found.end()
        name, closes, values = found["name"].lower(), bool(found["close"]), _values(found["rest"])
        if name == "span":
            is_mention = spans.pop() if closes and spans else not closes and bool(_IS_MENTION.search(found["rest"]))
            if not closes:
                spans.append(is_mention)
            if is_mention:
                out.append(_END if closes else f"{_BEGIN}{_digits(values.get('itemid', ''))}{_MIDDLE}")
        elif name == "at":
            out.append(_END if closes else f"{_BEGIN}{_digits(values.get('id', ''))}{_MIDDLE}")
        elif name == "p":
            out.append("</div>" if closes else "<div>")
        elif name == "codeblock":
            language = re.sub(r"[^A-Za-z0-9+#_.-]", "", values.get("class", "")).lower()
            out.append("</pre>" if closes else f'<pre class="language-{language}">' if language else "<pre>")
        elif not closes and (name == "emoji" or _IS_EMOJI.search(found["rest"])):
            out.append(values.get("alt", ""))
    out.append(source[at:])
    return "".join(out)


def _digits(value: str) -> str:
    return value if value.isascii() and value.isdigit() and len(value) <= 4 else ""


def _with_mentions(text: Text, mentions: Sequence[Mark], own_id: str) -> Text:
    """The marks taken away, and what they meant as entities."""
    edits: list[Edit] = []
    named: list[tuple[int, int, str]] = []
    taken = 0
    for order, found in enumerate(_MARKED.finditer(text.plain)):
        number = int(found[1]) if found[1] else order
        person = mentions[number].mentioned if number < len(mentions) else None
        start, end = found.span()
        if person is not None and person.id == own_id:
            blank = end
            while text.plain[blank : blank + 1] in (" ", "\u00a0"):
                blank += 1
            edits.append(Edit(start, blank, ""))
            taken += blank - start
            continue
        name = found[2]
        edits += [Edit(start, found.start(2), ""), Edit(found.end(2), end, "")]
        if person is not None and name.strip():
            named.append((start - taken, len(name), person.id))
        taken += end - start - len(name)
    text = rewrite(text, edits)
    if _STRAY.search(text.plain):
        text = rewrite(text, [Edit(found.start(), found.end(), "") for found in _STRAY.finditer(text.plain)])
    if not named:
        return text
    return normalise(Text(text.plain, (*text.entities, *(Entity("mention", *where) for where in named))))


# --- what we write ------------------------------------------------------------------------------------------

_XML: Final = (
    ("<br>", "<br/>"),
    ("&nbsp;", "&#160;"),
    ("<pre><code>", "<pre>"),
    ("</code></pre>", "</pre>"),
    ("<del>", "<strike>"),
    ("</del>", "</strike>"),
)


def write(text: Text) -> str:
    """``text`` as the XML subset of ``textFormat: xml``. Nothing of its words is taken for markup, so it mentions
    nobody: that takes an entity besides the text (Teams docs, Channel and group conversations)."""
    shown = Text(text.plain, tuple(_bare(entity) for entity in text.entities if entity.type in SHOWN))
    source = html.format(shown)
    for ours, theirs in _XML:
        source = source.replace(ours, theirs)
    return source


def _bare(entity: Entity) -> Entity:
    return Entity("pre", entity.start, entity.length) if entity.type == "pre" else entity


def quote_tag(native: str) -> str:
    """Where the quoted message stands in the XML; it takes an entity besides (Teams SDK, quoted replies)."""
    return f'<quoted messageId="{escape(native)}"/> '


def units(words: str) -> int:
    """Length in UTF-16 units."""
    return len(words) if words.isascii() else len(words.encode("utf-16-le", "replace")) // 2


def cut(text: Text, max_parts: int, limit: int = LIMIT, measure: Callable[[Text], int] | None = None) -> list[Text]:
    """``text`` in at most ``max_parts`` parts that fit into a post each; the last one says when there is more.
    ``measure`` tells how long a part is as it is sent: by default the UTF-16 units of its XML.
    """
    measure = measure or measure_of
    text = clean_text(text)
    most = (max_parts + 1) * limit
    parts = split_by(slice_text(text, 0, most), limit, measure)
    if len(parts) > max_parts or len(text.plain) > most:
        last = split_by(parts[max_parts - 1], limit - len(MORE), measure)[0]
        parts = [*parts[: max_parts - 1], Text(last.plain.rstrip() + MORE, last.entities)]
    return parts


def measure_of(part: Text) -> int:
    """Length of ``part`` as it is sent, in UTF-16 units."""
    return units(write(part))

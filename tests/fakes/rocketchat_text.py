"""Rocket.Chat's message grammar, as far as the double needs it: text to the nodes of ``md``, and nodes to what a member
reads. After packages/message-parser of the server: ordered choices, no look back, escapes only outside of spans.
"""

from __future__ import annotations

import re
from typing import Any

Node = dict[str, Any]
Span = tuple[str, int, int, str]
"""Type, start, length, value."""

EXTRA = ".,!%~*\"':;()="
DOMAIN = r"[^\s.,!%~*\"':;()=$@&+#?\\/|><`\[\]]"
HOST = re.compile(rf"(?:[A-Za-z0-9+-]{{1,32}}://)?(?:localhost(?![\w.-])|(?!_){DOMAIN}+(?:\.{DOMAIN}+)+)(?::\d+)?")
URL = re.compile(rf"(?:[A-Za-z0-9+-]{{1,32}}:[^\s)|>\\]+|{DOMAIN}+\.{DOMAIN}[^\s)|>\\]*)")
NAME = re.compile(r"@+([-_.\w]+(?:[:@][-_.\w]+)?)")
CHANNEL = re.compile(r"#([-_.\w]+)")
EMOJI = re.compile(r":([0-9a-zA-Z_+.-]+):")
CODE = re.compile(r"```([a-zA-Z0-9 _\-.]*)\n(.*?)\n```", re.DOTALL)


def node(kind: str, value: Any, **more: Any) -> Node:
    """A node of the tree."""
    return {"type": kind, "value": value, **more}


def plain(words: str) -> Node:
    """Words."""
    return node("PLAIN_TEXT", words)


def parse(msg: str) -> list[Node]:
    """The blocks of a message."""
    found: list[Node] = []
    at = 0
    while at < len(msg):
        at = _block(msg, at, found)
    return found or [node("PARAGRAPH", [plain("")])]


def _line(msg: str, at: int) -> tuple[str, int]:
    end = msg.find("\n", at)
    return (msg[at:], len(msg)) if end < 0 else (msg[at:end], end + 1)


def _block(msg: str, at: int, found: list[Node]) -> int:
    line, following = _line(msg, at)
    if line.startswith(">"):
        inside = []
        while at < len(msg) and msg[at] == ">":
            line, at = _line(msg, at)
            inside.append(node("PARAGRAPH", inline(line[1:].lstrip(" \t"))))
        found.append(node("QUOTE", inside))
        return at
    if code := CODE.match(msg, at):
        lines = [node("CODE_LINE", plain(line)) for line in code[2].split("\n")]
        found.append(node("CODE", lines, language=code[1] or "none"))
        return code.end()
    if heading := re.match(r"(#{1,4})[ \t]+(.+)", line):
        found.append(node("HEADING", [plain(heading[2])], level=len(heading[1])))
        return at + len(line)
    for kind, mark in (("TASKS", r"- \[([ x])\][ \t]+(.+)"), ("ORDERED_LIST", r"(\d+)\.[ \t]+(.+)")):
        if re.match(mark, line):
            return _items(msg, at, found, kind, mark)
    if re.match(r"-[ \t]+.", line):
        return _items(msg, at, found, "UNORDERED_LIST", r"(-)[ \t]+(.+)")
    if re.match(r"\*[ \t]+[^*]+$", line):
        return _items(msg, at, found, "UNORDERED_LIST", r"(\*)[ \t]+([^*]+)$")
    if not line.strip(" \t") and following > at + len(line):
        found.append(node("LINE_BREAK", None))
    else:
        found.append(node("PARAGRAPH", inline(line)))
    return following


def _items(msg: str, at: int, found: list[Node], kind: str, mark: str) -> int:
    items = []
    while at < len(msg) and (match := re.match(mark, _line(msg, at)[0])):
        at = _line(msg, at)[1]
        if kind == "TASKS":
            items.append(node("TASK", inline(match[2]), status=match[1] == "x"))
        else:
            number = {"number": int(match[1])} if kind == "ORDERED_LIST" else {}
            items.append(node("LIST_ITEM", inline(match[2]), **number))
    found.append(node(kind, items))
    return at


def reduced(nodes: list[Node]) -> list[Node]:
    """Words side by side are one."""
    out: list[Node] = []
    for one in nodes:
        if out and one["type"] == out[-1]["type"] == "PLAIN_TEXT":
            out[-1] = plain(out[-1]["value"] + one["value"])
        else:
            out.append(one)
    return out


def inline(line: str) -> list[Node]:
    """What stands in one line."""
    out: list[Node] = []
    at = 0
    after_plain = False
    while at < len(line):
        step = _item(line, at, after_plain)
        after_plain = step is None
        if step is None:
            out.append(plain(line[at]))
            at += 1
        else:
            out.append(step[0])
            at = step[1]
    return reduced(out)


def _item(line: str, at: int, after_plain: bool) -> tuple[Node, int] | None:
    if blanks := re.compile(r"[ \t]+").match(line, at):
        return plain(blanks[0]), blanks.end()
    for rule in (_reference, _address, _blank_emphasis, _emphasis, _mention):
        if step := rule(line, at):
            return step
    if not after_plain and (emoji := EMOJI.match(line, at)):
        return node("EMOJI", plain(emoji[1]), shortCode=emoji[1]), emoji.end()
    if step := _code(line, at):
        return step
    if spoiler := re.compile(r"\|\|((?:(?!\|\|).)+)\|\|").match(line, at):
        return node("SPOILER", inline(spoiler[1])), spoiler.end()
    if escaped := re.compile(r"\\([*_~`#.])").match(line, at):
        return plain(escaped[1]), escaped.end()
    return None


def _reference(line: str, at: int) -> tuple[Node, int] | None:
    found = re.compile(r"\[((?:(?!\]\().)*)\]\(").match(line, at)
    url = URL.match(line, found.end()) if found else None
    if found and url and line[url.end() : url.end() + 1] == ")":
        label = inline_label(found[1]) if found[1] else [plain(url[0])]
        return node("LINK", {"src": plain(url[0]), "label": label}), url.end() + 1
    if line[at] == "<" and (url := URL.match(line, at + 1)):
        title = re.compile(r"\|([^<>|]+)>").match(line, url.end())
        if title:
            return node("LINK", {"src": plain(url[0]), "label": [plain(title[1])]}), title.end()
    return None


def inline_label(words: str) -> list[Node]:
    """The label of a link: words and emphasis."""
    out: list[Node] = []
    at = 0
    while at < len(words):
        step = _emphasis(words, at)
        out.append(step[0] if step else plain(words[at]))
        at = step[1] if step else at + 1
    return reduced(out)


def _address(line: str, at: int) -> tuple[Node, int] | None:
    host = HOST.match(line, at)
    if not host:
        return None
    end = host.end()
    while end < len(line) and line[end] not in " \t":
        rest = line[end:].lstrip(EXTRA)
        if not rest or rest[0] in " \t":
            break
        end += 1
    words = line[at:end]
    if "://" not in words and not re.search(r"\.(?:com|org|net|example|chat)\b", words):
        return plain(words), end
    return node("LINK", {"src": plain(words if "://" in words else "//" + words), "label": [plain(words)]}), end


def _blank_emphasis(line: str, at: int) -> tuple[Node, int] | None:
    found = re.compile(r"\*+[ \t]+\*+|_+[ \t]+_+|~+[ \t]+~+").match(line, at)
    return (plain(found[0]), found.end()) if found else None


def _mention(line: str, at: int) -> tuple[Node, int] | None:
    for sign, kind in (("@", "MENTION_USER"), ("#", "MENTION_CHANNEL")):
        found = re.compile(rf"([^()*\[\\\]^_`{{|}}~\n])({sign}+)(\w)").match(line, at)
        if found and found[1] != sign:
            return plain(found[0]), found.end()
        name = (NAME if sign == "@" else CHANNEL).match(line, at)
        if name and not name[1].endswith("__"):
            return node(kind, plain(name[1])), name.end()
    return None


def _code(line: str, at: int) -> tuple[Node, int] | None:
    found = re.compile(r"`([^`\n]+)`").match(line, at)
    return (node("INLINE_CODE", plain(found[1])), found.end()) if found else None


KINDS = {"*": "BOLD", "_": "ITALIC", "~": "STRIKE"}


def _emphasis(line: str, at: int, skip: str = "") -> tuple[Node, int] | None:
    if "_" not in skip and (run := re.compile(r"[a-zA-Z0-9]+__?").match(line, at)):
        return plain(run[0]), run.end()
    mark = line[at]
    if mark not in KINDS or mark in skip:
        return None
    for size in (2, 1):
        marks = mark * size
        if not line.startswith(marks, at):
            continue
        content, end = _content(line, at + size, skip + mark)
        if content and line.startswith(marks, end):
            end += size
            tail = re.compile(r"[a-zA-Z0-9]+" if size == 2 else r"[a-zA-Z]+").match(line, end)
            if mark == "_" and tail:
                return plain(line[at : tail.end()]), tail.end()
            return node(KINDS[mark], reduced(content)), end
    return None


def _content(line: str, at: int, skip: str) -> tuple[list[Node], int]:
    """What stands within a span, up to its mark. There are no escapes and no bare addresses here."""
    out: list[Node] = []
    while at < len(line) and line[at] != skip[-1]:
        step = _code(line, at) or _reference(line, at) or _mention(line, at) or _emphasis(line, at, skip)
        if step is None and (emoji := EMOJI.match(line, at)):
            step = node("EMOJI", plain(emoji[1]), shortCode=emoji[1]), emoji.end()
        out.append(step[0] if step else plain(line[at]))
        at = step[1] if step else at + 1
    return out, at


# --- what a member reads ------------------------------------------------------------------------------------

ENTITIES = {"BOLD": "bold", "ITALIC": "italic", "STRIKE": "strike", "SPOILER": "spoiler", "INLINE_CODE": "code"}
EMOJIS = {"smile": "😄", "wave": "👋", "+1": "👍", "thumbsup": "👍", "100": "💯"}


def read(nodes: list[Node]) -> tuple[str, list[Span]]:
    """The words on the screen, and their formatting."""
    spans: list[Span] = []
    words = ""
    skip = False
    for number, block in enumerate(nodes):
        if block["type"] == "LINE_BREAK" and skip:
            skip = False
            continue
        skip = block["type"] in ("CODE", "HEADING")
        words += "\n" if number else ""
        words = _read(block, words, spans)
    return words, spans


def _read(one: Node, words: str, spans: list[Span]) -> str:
    kind, value, start = one["type"], one["value"], len(words)
    if kind == "CODE":
        words += "\n".join(line["value"]["value"] for line in value)
        spans.append(("pre", start, len(words) - start, "" if one["language"] == "none" else one["language"]))
    elif kind in ("QUOTE", "UNORDERED_LIST", "ORDERED_LIST", "TASKS"):
        for number, item in enumerate(value):
            mark = "" if kind == "QUOTE" else f"{item['number']}. " if "number" in item else "• "
            words = _read(item, words + ("\n" if number else "") + mark, spans)
        spans.append((kind.lower(), start, len(words) - start, ""))
    elif kind == "LINK":
        for part in value["label"]:
            words = _read(part, words, spans)
        spans.append(("link", start, len(words) - start, value["src"]["value"]))
    elif kind == "EMOJI":
        words += EMOJIS.get(one["shortCode"], f":{one['shortCode']}:")
        spans.append(("emoji", start, len(words) - start, one["shortCode"]))
    elif kind in ("MENTION_USER", "MENTION_CHANNEL"):
        words += ("@" if kind == "MENTION_USER" else "#") + value["value"]
        spans.append(("mention", start, len(words) - start, value["value"]))
    elif isinstance(value, list):
        for part in value:
            words = _read(part, words, spans)
    elif value is not None:
        words += value if isinstance(value, str) else value["value"]
    if kind in ENTITIES or kind == "HEADING":
        spans.append((ENTITIES.get(kind, "heading"), start, len(words) - start, ""))
    return words

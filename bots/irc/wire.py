"""Lines of the IRC protocol: taking them apart and putting them together. Pure and linear in their length.

Grammar: RFC 1459 section 2.3.1 and the IRCv3 message-tags specification. A line that is put together here
can hold neither CR nor LF nor NUL, so nothing that somebody said can become a command of ours.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final, NamedTuple

NO_TAGS: Final[Mapping[str, str]] = {}
LINE_BYTES = 512
"""Longest line with its CR LF and without its tags (RFC 1459 section 2.3)."""

_ESCAPE = re.compile(r"\\(.?)", re.DOTALL)
_UNESCAPED = {":": ";", "s": " ", "r": "\r", "n": "\n"}
_ESCAPED = str.maketrans({"\\": "\\\\", ";": "\\:", " ": "\\s", "\r": "\\r", "\n": "\\n", "\0": ""})
_UNSAFE = str.maketrans({"\r": " ", "\n": " ", "\0": ""})
_BAD_IN_MIDDLE = re.compile(r"[\0\r\n ]")
_BAD_IN_CHANNEL = re.compile(r"[\0-\x20,\x7f]")
_BAD_IN_NICK = re.compile(r"[\0-\x20\x7f!@#&:,*?.+%$~]")
_CASE_TABLES = {
    "ascii": None,
    "rfc1459": str.maketrans("[]\\~", "{}|^"),
    "rfc1459-strict": str.maketrans("[]\\", "{}|"),
}
_ASCII_LOWER = str.maketrans("ABCDEFGHIJKLMNOPQRSTUVWXYZ", "abcdefghijklmnopqrstuvwxyz")


class Line(NamedTuple):
    """A line taken apart. ``source`` is ``nick!user@host`` or a server's name, without the colon."""

    tags: Mapping[str, str]
    source: str
    command: str
    params: list[str]

    @property
    def nick(self) -> str:
        """Who sent it: the nick, or the server's name."""
        return self.source.partition("!")[0]


def parse(line: str) -> Line | None:
    """A line without its CR LF; None when it is not one."""
    tags = NO_TAGS
    if line[:1] == "@":
        raw, _, line = line[1:].partition(" ")
        tags = parse_tags(raw)
        line = line.lstrip(" ")
    source = ""
    if line[:1] == ":":
        source, _, line = line[1:].partition(" ")
    head, colon, trailing = line.partition(" :")
    params = [word for word in head.split(" ") if word]
    if not params:
        return None
    command = params.pop(0).upper()
    if not (command.isascii() and command.isalnum()):
        return None
    if colon:
        params.append(trailing)
    return Line(tags, source, command, params)


def parse_tags(raw: str) -> dict[str, str]:
    """``time=…;msgid=…`` as a dict; a tag without a value has an empty one (message-tags, "Format")."""
    tags = {}
    for item in raw.split(";"):
        name, _, value = item.partition("=")
        if name:
            tags[name] = _ESCAPE.sub(_unescape, value) if "\\" in value else value
    return tags


def _unescape(match: re.Match[str]) -> str:
    return _UNESCAPED.get(match[1], match[1])


def build(command: str, *params: str, tags: Mapping[str, str] = NO_TAGS) -> str:
    """A line with its CR LF. Only the last parameter may be empty or hold spaces.

    Raises ValueError when another one cannot be written; line breaks in the last one become spaces.
    """
    *middle, last = params
    for param in middle:
        if not param or param[0] == ":" or _BAD_IN_MIDDLE.search(param):
            raise ValueError(f"{param!r} cannot stand in an IRC line")
    last = last.translate(_UNSAFE)
    words = [command, *middle, f":{last}" if not last or last[0] == ":" or " " in last else last]
    if tags:
        written = ";".join(f"{name}={value.translate(_ESCAPED)}" for name, value in tags.items())
        words.insert(0, "@" + written)
    return " ".join(words) + "\r\n"


def decode(line: bytes, fallback: str = "cp1252") -> str:
    """UTF-8, and what is not UTF-8 as the ``fallback`` encoding; never fails."""
    try:
        return line.decode()
    except UnicodeDecodeError:
        return line.decode(fallback, "replace")


def casefold(name: str, mapping: str = "rfc1459") -> str:
    """``name`` as the server compares it (ISUPPORT CASEMAPPING). An unknown mapping counts as ASCII."""
    lower = name.lower() if name.isascii() else name.translate(_ASCII_LOWER)
    table = _CASE_TABLES.get(mapping)
    return lower.translate(table) if table else lower


def valid_channel(name: str, types: str = "#&+!", longest: int = 200) -> bool:
    """Could ``name`` be a channel's? (RFC 1459 section 1.3; ISUPPORT CHANTYPES, CHANNELLEN)"""
    return 1 < len(name) <= longest and name[0] in types and not _BAD_IN_CHANNEL.search(name)


def valid_nick(name: str) -> bool:
    """Could ``name`` be a nick on some server?"""
    return bool(name) and not _BAD_IN_NICK.search(name) and name[0] not in "0123456789-"


def clean_nick(name: str) -> str:
    """What of ``name`` may stand in a nick (RELAYMSG, "Abuse prevention"); never empty."""
    cleaned = "".join(c for c in re.sub(r"[\0\s]+", "_", name) if c.isprintable() and c not in "!+%@&#$:'\"?*,.~/\\")
    return cleaned.strip("_-") or "user"

"""Teams as its people see it: teams with channels, chats, messages with formatting, and who is in them."""

from __future__ import annotations

import time
import xml.etree.ElementTree as ET
from dataclasses import dataclass, field
from itertools import count
from typing import Any

Span = tuple[str, int, int, str]
"""Type, start, length, value; in code points."""
STYLES = {"strong": "bold", "b": "bold", "em": "italic", "i": "italic", "strike": "strike", "code": "code"}
BLOCKS = {"pre": "pre", "blockquote": "quote"}


class BadXml(Exception):
    """It is not what Teams understands as textFormat xml."""


@dataclass
class Message:
    """A message as it stands in a conversation."""

    id: str
    author: str
    plain: str
    spans: list[Span] = field(default_factory=list)
    root: str = ""
    quotes: str = ""
    files: list[tuple[str, str, bytes]] = field(default_factory=list)
    """Name, type, bytes."""
    card: dict[str, Any] | None = None
    summary: str = ""
    reactions: dict[str, set[str]] = field(default_factory=dict)
    """Type to ids of who reacted."""
    deleted: bool = False


@dataclass
class Person:
    """Somebody, or the bot."""

    id: str
    name: str
    aad: str = ""


@dataclass
class Conversation:
    """A channel, a chat of several, or a chat with one person."""

    id: str
    kind: str
    name: str = ""
    team: str = ""
    team_name: str = ""
    members: dict[str, Person] = field(default_factory=dict)
    """By name."""
    messages: dict[str, Message] = field(default_factory=dict)
    typing: list[str] = field(default_factory=list)
    has_bot: bool = False
    posted_s: list[float] = field(default_factory=list)

    def order(self) -> list[Message]:
        """As they show: the posts of a channel with their answers below them."""
        standing = [message for message in self.messages.values() if not message.deleted]
        return sorted(standing, key=lambda message: int(message.id))


class Ids:
    """Ids of messages are times in milliseconds, each once."""

    def __init__(self) -> None:
        self._last = 0
        self._people = count(1)

    def message(self) -> str:
        """The next one."""
        self._last = max(self._last + 1, time.time_ns() // 1_000_000)
        return str(self._last)

    def person(self, name: str) -> Person:
        """A new person."""
        number = next(self._people)
        return Person(f"29:{name.lower()}-{number:04}", name, f"00000000-0000-0000-0000-{number:012}")


def shown(source: str) -> tuple[str, list[Span]]:
    """What the client draws of ``textFormat: xml``. Raises BadXml for what is not well formed."""
    try:
        tree = ET.fromstring(f"<root>{source}</root>")  # noqa: S314 - written by the test's own bot
    except ET.ParseError as error:
        raise BadXml(str(error)) from None
    drawing = _Drawing()
    drawing.draw(tree)
    return drawing.plain, drawing.spans


class _Drawing:
    def __init__(self) -> None:
        self.plain = ""
        self.spans: list[Span] = []
        self._due = False

    def _add(self, words: str | None) -> None:
        if words:
            if self._due and self.plain:
                self.plain += "\n"
            self._due = False
            self.plain += words.replace("\u00a0", " ")

    def draw(self, element: ET.Element) -> None:
        self._add(element.text)
        for child in element:
            self._child(child)
            self._add(child.tail)

    def _child(self, child: ET.Element) -> None:
        if child.tag == "br":
            self._add("\n")
            return
        kind = STYLES.get(child.tag) or BLOCKS.get(child.tag) or ("link" if child.tag == "a" else "")
        if not kind:
            raise BadXml(f"Teams has no <{child.tag}>")
        if child.tag in BLOCKS:
            self._due = bool(self.plain) and not self.plain.endswith("\n")
            if self._due:
                self.plain += "\n"
                self._due = False
        start = len(self.plain)
        self.draw(child)
        self.spans.append((kind, start, len(self.plain) - start, child.get("href", "")))
        if child.tag in BLOCKS:
            self._due = True

"""What a reader sees: a delivery, put into words for one room by what that room can show. Pure."""

from __future__ import annotations

from collections import OrderedDict

from core.contract import Capabilities
from core.model import Author, AuthorStyle, Entity, Text
from core.text.ops import concat, downgrade
from core.text.safety import clean_name, defuse_mass_mentions
from core.wire import Delivery, Posted

NAMES_KEPT = 5_000
EXCERPT_CHARS = 60


class Renderer:
    """Renders for one account. Author names are cleaned once and remembered."""

    def __init__(self, max_name_chars: int) -> None:
        self._max_name_chars = max_name_chars
        self._names: OrderedDict[str, str] = OrderedDict()

    def name(self, raw: str) -> str:
        """A name that is safe to show: one line, no tricks of direction, not too long."""
        clean = self._names.get(raw)
        if clean is None:
            clean = self._names[raw] = clean_name(raw, self._max_name_chars)
            if len(self._names) > NAMES_KEPT:
                self._names.popitem(last=False)
        return clean

    def author(self, author: Author) -> Author:
        """The author with a safe name, for platforms that post under it."""
        name = self.name(author.name)
        return author if name == author.name else Author(author.id, name, author.avatar_url, author.is_bot, author.role)

    def said_by(self, delivery: Delivery, style: AuthorStyle) -> str:
        """``Alice (Slack)``."""
        author = delivery.author
        if author is None:
            return ""
        name = self.name(author.name)
        if style == "name+platform" and delivery.platform_title:
            return f"{name} ({delivery.platform_title})"
        if style == "name+room" and delivery.origin_title:
            return f"{name} ({self.name(delivery.origin_title)})"
        return name

    def message(self, delivery: Delivery, style: AuthorStyle, caps: Capabilities, *, replies_natively: bool) -> Text:
        """A message as one post: author (where the room does not show it), what it answers, its words, its files."""
        text = delivery.text
        head = ""
        if delivery.author is not None and caps.names != "full" and style != "plain":
            head = self.said_by(delivery, style)
        answer = "" if replies_natively else self._answer(delivery)
        if delivery.emote:
            head = head or self.name(delivery.author.name if delivery.author else "")
            opening = f"* {head}{answer} "
        elif head or answer:
            opening = f"{head}{answer}: ".lstrip()
        else:
            opening = ""
        if text.entities:
            text = downgrade(text, caps.entities)
        if opening and head and caps.bold_names:
            bold = Entity("bold", opening.index(head), len(head))
            text = concat(Text(opening, (bold,)), text)
        elif opening:
            text = concat(Text(opening), text) if text.entities else Text(opening + text.plain)
        return defuse_mass_mentions(text)

    def _answer(self, delivery: Delivery) -> str:
        if not delivery.reply_to:
            return ""
        who = f" {self.name(delivery.reply_author)}" if delivery.reply_author else ""
        excerpt = " ".join(delivery.reply_excerpt.split())
        if excerpt:
            excerpt = clean_name(excerpt, EXCERPT_CHARS)
        return f" ↩{who}" + (f" “{excerpt}”" if excerpt else "")

    def correction(self, delivery: Delivery, style: AuthorStyle, caps: Capabilities) -> Text:
        """An edit, for a room that cannot edit."""
        return self._notice(f"{self.said_by(delivery, style)} corrected: ", delivery.text, caps)

    def removal(self, delivery: Delivery, style: AuthorStyle, caps: Capabilities, posted: Posted | None) -> Text:
        """A deletion, for a room that cannot delete."""
        who = self.said_by(delivery, style) or (self.name(posted.author_name) if posted else "")
        return self._notice(f"({who or 'Somebody'} removed a message)", Text(), caps)

    def reaction(self, delivery: Delivery, style: AuthorStyle, caps: Capabilities, posted: Posted | None) -> Text:
        """A reaction, for a room that has none."""
        to = f" to {self.name(posted.author_name)}" if posted and posted.author_name else ""
        verb = "reacted" if delivery.added else "took back"
        return self._notice(f"({self.said_by(delivery, style)} {verb} {delivery.emoji}{to})", Text(), caps)

    def files(self, text: Text, lines: list[str]) -> Text:
        """A message with links to its files, for a room that takes none."""
        joined = "\n".join(lines)
        separator = "\n" if text.plain and not text.plain.endswith((": ", "\n")) else ""
        return concat(text, Text(separator + joined))

    def _notice(self, opening: str, text: Text, caps: Capabilities) -> Text:
        return defuse_mass_mentions(concat(Text(opening), downgrade(text, caps.entities)))


def size_label(size_bytes: int) -> str:
    """``1.4 MB``; empty where the size is not known."""
    if size_bytes <= 0:
        return ""
    size = float(size_bytes)
    for unit in ("bytes", "kB", "MB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "bytes" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} GB"

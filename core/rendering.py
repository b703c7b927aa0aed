"""What a reader sees: a delivery, put into words for one room by what that room can show. Pure."""

from __future__ import annotations

from collections import OrderedDict

from core.contract import Capabilities
from core.model import Author, AuthorStyle, Entity, Text
from core.text.ops import Edit, concat, downgrade, rewrite
from core.text.safety import clean_name, defuse_mass_mentions
from core.wire import Delivery, Posted

NAMES_KEPT = 5_000
EXCERPT_CHARS = 60
GOES_ON = "│ "
"""Begins every further line of a message that stands among others: nobody can put words into another's mouth."""
NOTHING = Text()


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

    def author(self, delivery: Delivery) -> Author | None:
        """The author as adapters get it: with a safe name, and an id that no author of another account has."""
        author = delivery.author
        if author is None:
            return None
        author_id = f"{delivery.account}/{author.id}"
        return Author(author_id, self.name(author.name), author.avatar_url, author.is_bot, author.role)

    def said_by(self, delivery: Delivery, style: AuthorStyle, ago: str = "") -> str:
        """``Alice (Slack)``, ``Alice (Slack, 2 h ago)``."""
        author = delivery.author
        if author is None:
            return ""
        detail = ago
        if style == "name+platform" and delivery.platform_title:
            detail = f"{delivery.platform_title}, {ago}" if ago else delivery.platform_title
        elif style == "name+room" and delivery.origin_title:
            title = self.name(delivery.origin_title)
            detail = f"{title}, {ago}" if ago else title
        name = self.name(author.name)
        return f"{name} ({detail})" if detail else name

    def message(
        self, delivery: Delivery, style: AuthorStyle, caps: Capabilities, *, replies_natively: bool, ago: str = ""
    ) -> Text:
        """A message as one post: author (where the room does not show it), what it answers, its words, its files.
        ``ago``: how long ago it was said, if that is to be shown.
        """
        opening = self._opening(delivery, style, caps, replies_natively, ago)
        text = delivery.text
        if text.entities:
            text = downgrade(text, caps.entities)
        if opening.entities or text.entities:
            text = concat(opening, text)
        elif opening.plain:
            text = Text(opening.plain + text.plain)
        return defuse_mass_mentions(text)

    def line(self, delivery: Delivery, style: AuthorStyle, caps: Capabilities, ago: str = "") -> tuple[Text, Text]:
        """A message as one of several in a post: what stands before its words, and its words."""
        opening = defuse_mass_mentions(self._opening(delivery, style, caps, False, ago))
        return opening, self.words(delivery.text, caps)

    def words(self, text: Text, caps: Capabilities) -> Text:
        """What somebody said among what others said: only their first line can look like somebody else's."""
        text = downgrade(text, caps.entities)
        if caps.names != "full" and "\n" in text.plain:
            text = rewrite(text, [Edit(at + 1, at + 1, GOES_ON) for at, c in enumerate(text.plain) if c == "\n"])
        return defuse_mass_mentions(text)

    def _opening(
        self, delivery: Delivery, style: AuthorStyle, caps: Capabilities, replies_natively: bool, ago: str
    ) -> Text:
        head = ""
        if delivery.author is not None and caps.names != "full" and style != "plain":
            head = self.said_by(delivery, style, ago)
            ago = ""
        answer = "" if replies_natively or not delivery.reply_to else self._answer(delivery)
        if delivery.emote:
            head = head or self.name(delivery.author.name if delivery.author else "")
            opening = f"* {head}{f' ({ago})' if ago else ''}{answer} "
        elif head or answer:
            opening = f"({ago}){head}{answer}: " if ago else f"{head}{answer}: ".lstrip()
        elif ago:
            opening = f"({ago}) "
        else:
            return NOTHING
        if head and caps.bold_names:
            return Text(opening, (Entity("bold", opening.index(head), len(head)),))
        return Text(opening)

    def _answer(self, delivery: Delivery) -> str:
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


def ago_label(seconds: float) -> str:
    """``20 min ago``, ``2 h ago``, ``3 days ago``: coarse, so that it stays the same over many messages."""
    minutes = int(seconds) // 60
    if minutes < 10:
        return f"{max(1, minutes)} min ago"
    if minutes < 60:
        return f"{minutes // 10 * 10} min ago"
    hours = minutes // 60
    return f"{hours} h ago" if hours < 48 else f"{hours // 24} days ago"


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

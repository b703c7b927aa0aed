"""From posts to lines: which text goes to which channels in one PRIVMSG, and what stands in front of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from bots.irc.channels import Channel, Channels
from bots.irc.connection import Connection
from bots.irc.format import clean, insert
from bots.irc.pieces import pieces
from bots.irc.wire import build, clean_nick
from core.contract import AdapterError, Outbound, Rejected, Retry
from core.model import Author, Text

ZERO_WIDTH_SPACE = "\u200b"
JOINING_RETRY_S = 0.3


class Unit(NamedTuple):
    """A line to send. ``targets``: the channels it goes to, each with the index of its post."""

    line: str
    said: str
    targets: list[tuple[Channel, int]]
    relay: bool
    first: bool
    """The first line of its posts."""


class _Group:
    """Posts of one text that can share their lines."""

    __slots__ = ("cfs", "room_bytes", "said", "targets", "text")

    def __init__(self, text: Text, said: list[str], channel: Channel, index: int, line_bytes: int) -> None:
        self.text = text
        self.said = said
        self.targets = [(channel, index)]
        self.cfs = {channel.cf}
        longest = max(len(line.encode()) for line in said)
        self.room_bytes = line_bytes - len("PRIVMSG  :\r\n") - longest - channel.name_bytes


class Composer:
    """Makes lines for one connection."""

    def __init__(self, connection: Connection, channels: Channels) -> None:
        self._connection = connection
        self._channels = channels

    def text_limit_bytes(self) -> int:
        """The longest text that reaches everybody in every channel as one line.

        The server puts ``:nick!user@host `` in front and cuts what is beyond its line length. Before it has
        told us our source, the longest possible one is assumed.
        """
        features, source = self._connection.features, self._connection.source
        mask = len(source.partition("!")[2]) or features.user_length + features.host_length + 2
        nick = max(len(self._connection.nick), len(self._connection.config.nick))
        ours = len(":!  PRIVMSG :\r\n") + nick + mask + self._channels.longest_name_bytes
        return max(64, features.line_bytes - ours)

    def compose(
        self, posts: Sequence[Outbound], refuse: Callable[[int, AdapterError], None], *, relay: bool = True
    ) -> list[Unit]:
        """The lines for ``posts``, in order. ``refuse`` gets those that cannot be sent, by their index.

        ``relay`` False: no RELAYMSG, the author's name goes into the text.
        """
        units: list[Unit] = []
        group: _Group | None = None
        by_room = self._channels.by_room
        features = self._connection.features
        limit = self.text_limit_bytes()
        most = features.max_targets
        separator = features.relay_separator
        for index, post in enumerate(posts):
            channel = by_room.get(post.room)
            if channel is None or channel.state != "joined":
                refuse(index, self._why_not(channel))
                continue
            text = self._without_ping(post, channel) if post.author is not None else post.text
            special = post.reply_to is not None or post.files or (separator and post.author is not None)
            if group is not None:
                if not special and (text is group.text or text == group.text) and self._fits(group, channel, most):
                    group.targets.append((channel, index))
                    group.cfs.add(channel.cf)
                    group.room_bytes -= channel.name_bytes + 1
                    continue
                self._flush(group, units)
                group = None
            if special:
                units += self._special(post, text, channel, index, relay=relay, limit=limit, refuse=refuse)
                continue
            said = pieces(text, limit, post.max_parts)
            if not said:
                refuse(index, Rejected("The message has no text that IRC could show."))
                continue
            group = _Group(text, said, channel, index, 512)
        if group is not None:
            self._flush(group, units)
        return units

    def _fits(self, group: _Group, channel: Channel, most: int) -> bool:
        if len(group.targets) >= most or channel.cf in group.cfs:
            return False
        return group.room_bytes > channel.name_bytes

    def _flush(self, group: _Group, units: list[Unit]) -> None:
        names = ",".join([channel.name for channel, _ in group.targets])
        first = True
        for said in group.said:
            units.append(Unit(f"PRIVMSG {names} :{said}\r\n", said, group.targets, False, first))
            first = False

    def _why_not(self, channel: Channel | None) -> AdapterError:
        if channel is None:
            nick = self._connection.nick
            return Rejected(f"The bot is not in this channel any more. Type there: /invite {nick} #channel")
        return channel.problem or Retry(JOINING_RETRY_S, f"The bot is just joining {channel.name}.")

    def _without_ping(self, post: Outbound, channel: Channel) -> Text:
        """The name in front must not ping a member of the same nick: an invisible character goes into it."""
        author, text = post.author, post.text
        if author is None or len(author.name) < 2 or self._channels.fold(author.name) not in channel.members:
            return text
        if not text.plain.startswith(author.name):
            return text
        return insert(text, 1, ZERO_WIDTH_SPACE)

    def _special(
        self,
        post: Outbound,
        text: Text,
        channel: Channel,
        index: int,
        *,
        relay: bool,
        limit: int,
        refuse: Callable[[int, AdapterError], None],
    ) -> list[Unit]:
        """A post that shares its lines with no other: an answer, one with files, one under its author's nick."""
        nick = ""
        separator = self._connection.features.relay_separator
        if post.author is not None and separator:
            if relay and channel.relaymsg:
                nick = self._relay_nick(post.author, separator)
                limit -= max(0, len(nick.encode()) - len(self._connection.config.nick)) + len("RELAYMSG ")
                text = post.text
            else:
                text = insert(text, 0, f"{clean(post.author.name)}: ")
        for file in post.files:
            if file.link not in text.plain:
                text = Text(f"{text.plain}\n{file.name}: {file.link}", text.entities)
        said = pieces(text, limit, post.max_parts)
        if not said:
            refuse(index, Rejected("The message has no text that IRC could show."))
        tags = {}
        if post.reply_to and self._connection.features.tag_allowed("draft/reply"):
            tags = {"+draft/reply": str(post.reply_to), "+reply": str(post.reply_to)}
        units = []
        for number, line in enumerate(said):
            words = ("RELAYMSG", channel.name, nick) if nick else ("PRIVMSG", channel.name)
            written = build(*words, line, tags={} if number else tags)
            units.append(Unit(written, line, [(channel, index)], bool(nick), number == 0))
        return units

    def _relay_nick(self, author: Author, separator: str) -> str:
        suffix = separator + self._connection.config.relaymsg_suffix
        room = max(1, self._connection.features.nick_length - len(suffix))
        cleaned = clean_nick(author.name).replace(separator, "")
        while len(cleaned.encode()) > room:
            cleaned = cleaned[:-1]
        return (cleaned or "user") + suffix

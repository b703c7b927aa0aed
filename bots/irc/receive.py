"""The receiving side: what people say in the channels, as events. PRIVMSG has a short way of its own."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime

from bots.irc.channels import Channel, Channels
from bots.irc.connection import Connection
from bots.irc.format import parse_text
from bots.irc.intake import Intake
from bots.irc.people import People
from bots.irc.send import Sender
from bots.irc.wire import Line, parse_tags
from core.model import MessageDeleted, MessageNew, NativeId, Reaction, ReplyTo, Text, Typing

EMOJI_MAX = 64
MUTED_BATCHES = frozenset({"chathistory", "netsplit", "netjoin"})


class Receiver:
    """Turns one connection's lines into events."""

    def __init__(
        self,
        connection: Connection,
        channels: Channels,
        people: People,
        sender: Sender,
        intake: Intake,
        now_ms: Callable[[], int],
        stem: str,
    ) -> None:
        self._connection = connection
        self._channels = channels
        self._people = people
        self._sender = sender
        self._intake = intake
        self._now_ms = now_ms
        self._stem = stem
        self._serial = 0
        self._second = ""
        self._second_ms = 0
        self._muted: set[str] = set()
        self.private: Callable[[Line], None] = lambda line: None
        """Takes what somebody says to us alone."""
        connection.take_lines = self.take_lines
        on = connection.on
        on(self._on_said, "PRIVMSG", "NOTICE")
        on(self._on_tags, "TAGMSG")
        on(self._on_redact, "REDACT")
        on(self._on_batch, "BATCH")

    def new_native(self) -> NativeId:
        """An id for an event that the server gave none: unique over all connections."""
        self._serial += 1
        return NativeId(f"{self._stem}{self._serial}")

    def take_lines(self, lines: list[str]) -> None:
        """All lines of a chunk. Plain words of somebody known, in a channel we are in, take the short way."""
        now_ms = self._now_ms()
        emit, stem = self._intake.emit, self._stem
        channels, authors = self._channels.by_raw, self._people.by_source
        events = 0
        for raw in lines:
            parts = raw.split(" ", 3)
            if len(parts) == 4 and parts[1] == "PRIVMSG":
                author = authors.get(parts[0][1:])
                channel = channels.get(parts[2])
                said = parts[3]
                if author is not None and channel is not None and said.isprintable() and said[:1] == ":":
                    self._serial += 1
                    native = NativeId(f"{stem}{self._serial}")
                    emit(MessageNew(room=channel.room, native=native, at_ms=now_ms, author=author, text=Text(said[1:])))
                    events += 1
                    continue
            elif raw[:1] == "@" and len(parts) == 4 and parts[2] == "PRIVMSG":
                target, colon, said = parts[3].partition(" :")
                if colon and " " not in target:
                    self._said(parse_tags(parts[0][1:]), parts[1][1:], target, said, notice=False)
                    continue
            if raw:
                self._connection.take(raw)
        self._intake.took(events)

    def at_ms(self, tags: Mapping[str, str]) -> int:
        """When it was said: the server's word (server-time), or our clock's."""
        time = tags.get("time", "")
        if len(time) == 24 and time[:19] == self._second and time[20:23].isdecimal():
            return self._second_ms + int(time[20:23])
        try:
            at_ms = int(datetime.fromisoformat(time).timestamp() * 1000)
        except (ValueError, OverflowError):
            return self._now_ms()
        if len(time) == 24 and time[20:23].isdecimal():
            self._second, self._second_ms = time[:19], at_ms - int(time[20:23])
        return at_ms

    def _is_us(self, nick: str) -> bool:
        return nick == self._connection.nick or self._channels.fold(nick) == self._channels.fold(self._connection.nick)

    def is_muted(self, tags: Mapping[str, str]) -> bool:
        """Part of a batch that is none of the relay's business (old messages, a netsplit)."""
        return bool(self._muted) and tags.get("batch", "") in self._muted

    # --- words ---

    def _on_said(self, line: Line) -> None:
        self._said(line.tags, line.source, line.params[0], line.params[1], notice=line.command == "NOTICE", line=line)

    def _said(
        self, tags: Mapping[str, str], source: str, target: str, said: str, *, notice: bool, line: Line | None = None
    ) -> None:
        channel = self._channels.find(target)
        if channel is None or channel.state != "joined":
            if channel is None and line is None:
                line = Line(tags, source, "PRIVMSG", [target, said])
            if line is not None and self._is_us(target):
                self.private(line)
            return
        relayer = tags.get("draft/relaymsg") or tags.get("relaymsg") or ""
        if source == self._connection.source or self._is_us(relayer or source.partition("!")[0]):
            self._sender.echoed(channel.cf, said, tags.get("msgid", ""))
            return
        if "!" not in source or self.is_muted(tags):
            return
        emote = said[:8] == "\x01ACTION "
        if said[:1] == "\x01" and not emote:
            return
        if emote:
            said = said[8:].rstrip("\x01")
        self._say(channel, tags, source, said, emote=emote, bridged=notice or bool(relayer))

    def _say(
        self, channel: Channel, tags: Mapping[str, str], source: str, said: str, *, emote: bool, bridged: bool
    ) -> None:
        author = self._people.author(source, tags)
        native = tags.get("msgid", "")
        if tags:
            if not native and "message-tags" in self._connection.features.caps:
                self._connection.features.message_ids = False
            reply = tags.get("+draft/reply") or tags.get("+reply")
        else:
            reply = None
        text = Text(said) if said.isprintable() else parse_text(said)
        self._intake.event(
            MessageNew(
                room=channel.room,
                native=NativeId(native) if native else self.new_native(),
                at_ms=self.at_ms(tags) if tags else self._now_ms(),
                author=author,
                text=text,
                reply_to=ReplyTo(NativeId(reply)) if reply else None,
                emote=emote,
                bridged=bridged or author.is_bot,
            )
        )

    # --- tags, deletions ---

    def _on_tags(self, line: Line) -> None:
        """TAGMSG: a reaction (client-tags/react), or somebody typing (client-tags/typing)."""
        channel = self._channels.find(line.params[0])
        if channel is None or channel.state != "joined" or self._is_us(line.nick) or self.is_muted(line.tags):
            return
        tags = line.tags
        author = self._people.author(line.source, {k: v for k, v in tags.items() if k in ("account", "bot")})
        target = tags.get("+draft/reply") or tags.get("+reply")
        for name, added in (("react", True), ("unreact", False)):
            emoji = tags.get(f"+draft/{name}") or tags.get(f"+{name}")
            if emoji and target and len(emoji) <= EMOJI_MAX and emoji.isprintable():
                self._intake.event(
                    Reaction(
                        room=channel.room,
                        native=NativeId(tags.get("msgid") or self.new_native()),
                        at_ms=self.at_ms(tags),
                        target=NativeId(target),
                        author=author,
                        emoji=emoji,
                        added=added,
                    )
                )
        if (tags.get("+typing") or tags.get("+draft/typing")) == "active":
            self._intake.event(
                Typing(room=channel.room, native=self.new_native(), at_ms=self.at_ms(tags), author=author)
            )

    def _on_redact(self, line: Line) -> None:
        """REDACT (message-redaction): the server lets only the author and moderators through."""
        channel = self._channels.find(line.params[0])
        if channel is None or self._is_us(line.nick) or self.is_muted(line.tags):
            return
        self._intake.event(
            MessageDeleted(
                room=channel.room,
                native=NativeId(line.tags.get("msgid") or self.new_native()),
                at_ms=self.at_ms(line.tags),
                target=NativeId(line.params[1]),
            )
        )

    def _on_batch(self, line: Line) -> None:
        reference = line.params[0]
        if reference[:1] == "-":
            self._muted.discard(reference[1:])
        elif line.params[1] in MUTED_BATCHES or self.is_muted(line.tags):
            self._muted.add(reference[1:])

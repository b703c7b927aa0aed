"""Being in channels: joining, being invited, kicked or refused, and who else comes and goes."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable

from bots.irc.channels import Channel, Channels, add_names, change_modes
from bots.irc.connection import Connection
from bots.irc.intake import Intake
from bots.irc.memory import Memory
from bots.irc.people import People
from bots.irc.receive import Receiver
from bots.irc.send import Sender
from bots.irc.wire import Line, build, valid_channel
from bots.irc.words import JOIN_REFUSED, REJOIN_AFTER_S, join_error
from core.contract import Rejected, Retry
from core.model import BotAdded, BotRemoved, Joined, Left

JOIN_LINE_BYTES = 400
ALL_JOINED_WITHIN_S = 5.0
KICKED_AGAIN_WITHIN_S = 600.0
SPLIT = re.compile(r"[\w*-]+(\.[\w*-]+)+ [\w*-]+(\.[\w*-]+)+", re.ASCII)
"""The QUIT message of a netsplit: the names of two servers."""
SPLIT_NICKS_MAX = 10_000


class Membership:
    """The channels of one connection. ``ready`` is called once all first joins are answered."""

    def __init__(
        self,
        connection: Connection,
        channels: Channels,
        people: People,
        sender: Sender,
        receiver: Receiver,
        intake: Intake,
        memory: Memory,
        ready: Callable[[], None],
    ) -> None:
        self._connection = connection
        self._config = connection.config
        self._channels = channels
        self._people = people
        self._sender = sender
        self._receiver = receiver
        self._intake = intake
        self._memory = memory
        self._ready: Callable[[], None] | None = ready
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._split: set[str] = set()
        self._hinted: set[str] = set()
        sender.rejoin = self.join_again
        receiver.private = self._on_private
        on = connection.on
        on(self._on_join, "JOIN")
        on(self._on_part, "PART")
        on(self._on_kick, "KICK")
        on(self._on_quit, "QUIT")
        on(self._on_nick, "NICK")
        on(self._on_chghost, "CHGHOST")
        on(self._on_names, "353")
        on(self._on_mode, "MODE")
        on(self._on_invite, "INVITE")
        on(self._on_refused, *JOIN_REFUSED)
        on(self._on_forwarded, "470")

    def begin(self) -> None:
        """The server has greeted us: join everything we want to be in."""
        self._channels.fold_by(self._connection.features.case_mapping)
        wanted = [channel for channel in self._channels if channel.wanted]
        self._join(wanted)
        self._later("all", ALL_JOINED_WITHIN_S, self._all_joined)
        self._check_ready()

    def end(self) -> None:
        """The connection is gone."""
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()
        for channel in self._channels:
            if channel.state != "out":
                channel.state = "out"
                channel.problem = None
            channel.members.clear()

    def join_again(self, channel: Channel) -> None:
        """The server says that we are not in ``channel``: join it."""
        if channel.state == "joined":
            self._join([channel])

    def _join(self, wanted: list[Channel]) -> None:
        lines: list[str] = []
        names: list[str] = []
        for channel in wanted:
            channel.state = "joining"
            channel.members.clear()
            if channel.key:
                lines.append(build("JOIN", channel.name, channel.key))
                continue
            full = len(",".join([*names, channel.name]).encode()) > JOIN_LINE_BYTES
            if names and (full or len(names) >= self._connection.features.max_join_targets):
                lines.append(build("JOIN", ",".join(names)))
                names = []
            names.append(channel.name)
        if names:
            lines.append(build("JOIN", ",".join(names)))
        self._sender.bucket.spend(len(lines))
        self._connection.write("".join(lines))

    def _later(self, what: str, after_s: float, call: Callable[[], None]) -> None:
        if previous := self._timers.pop(what, None):
            previous.cancel()
        self._timers[what] = asyncio.get_running_loop().call_later(after_s, call)

    def _check_ready(self) -> None:
        if self._ready and all(channel.state != "joining" for channel in self._channels):
            self._all_joined()

    def _all_joined(self) -> None:
        ready, self._ready = self._ready, None
        if ready:
            ready()

    def _is_us(self, nick: str) -> bool:
        return self._channels.fold(nick) == self._channels.fold(self._connection.nick)

    # --- ourselves ---

    def _on_join(self, line: Line) -> None:
        for name in line.params[0].split(","):
            channel = self._channels.find(name)
            if not self._is_us(line.nick):
                if channel is not None:
                    self._came(channel, line)
            elif channel is None:
                self._connection.write(build("PART", name, "I was not invited here."))
            else:
                self._we_joined(channel, line)

    def _we_joined(self, channel: Channel, line: Line) -> None:
        self._connection.source = line.source
        channel.state = "joined"
        channel.problem = None
        channel.members = {self._channels.fold(line.nick): ""}
        self._channels.by_raw[channel.name] = channel
        greet = not channel.known or channel.added_by is not None
        if greet or channel.removed:
            self._intake.event(
                BotAdded(
                    room=channel.room,
                    native=self._receiver.new_native(),
                    at_ms=self._receiver.at_ms(line.tags),
                    title=channel.name,
                    by=channel.added_by,
                    greet=greet,
                )
            )
        if greet:
            self._memory.keep(channel)
        channel.known = channel.wanted = True
        channel.removed = False
        channel.added_by = None
        self._check_ready()

    def _on_refused(self, line: Line) -> None:
        """We may not join (or, where we are in already, may not speak: the sender's matter)."""
        channel = self._channels.find(line.params[1]) if len(line.params) > 2 else None
        if channel is None or channel.state != "joining":
            self._sender.on_other(line)
            return
        error = join_error(line.command, channel.name, self._connection.nick, line.params[-1])
        channel.state = "out"
        channel.problem = error
        if isinstance(error, Retry):
            self._rejoin_later(channel, error.after_s)
        elif channel.configured or channel.known:
            self._removed(channel, str(error))
            self._rejoin_later(channel, REJOIN_AFTER_S)
        else:
            self._channels.forget(channel)
        self._check_ready()

    def _on_forwarded(self, line: Line) -> None:
        """470: the server puts us into another channel than the one we asked for. We do not stay there."""
        self._on_refused(Line(line.tags, line.source, "473", [*line.params[:2], line.params[-1]]))

    def _rejoin_later(self, channel: Channel, after_s: float) -> None:
        def join() -> None:
            if channel.wanted and channel.state == "out":
                self._join([channel])

        self._later(channel.cf, after_s, join)

    def _removed(self, channel: Channel, reason: str) -> None:
        if not channel.removed and channel.known:
            channel.removed = True
            self._intake.event(
                BotRemoved(
                    room=channel.room,
                    native=self._receiver.new_native(),
                    at_ms=self._receiver.at_ms({}),
                    reason=reason,
                )
            )

    def _put_out(self, channel: Channel, reason: str, *, back: bool) -> None:
        invite = f"To bring it back, type there: /invite {self._connection.nick} {channel.name}"
        channel.state = "out"
        channel.problem = Rejected(f"{reason} {invite}")
        channel.members.clear()
        self._removed(channel, reason)
        now_s = asyncio.get_running_loop().time()
        again = now_s - channel.kicked_at_s < KICKED_AGAIN_WITHIN_S
        channel.kicked_at_s = now_s
        after_s = self._config.rejoin_after_kick_s
        if back and channel.configured and after_s and not again:
            self._rejoin_later(channel, after_s)
            return
        channel.wanted = False
        if not channel.configured:
            self._memory.drop(channel)

    def _on_kick(self, line: Line) -> None:
        channel = self._channels.find(line.params[0])
        if channel is None:
            return
        if not self._is_us(line.params[1]):
            nick = self._channels.fold(line.params[1])
            channel.members.pop(nick, None)
            self._out_of_sight(nick)
            return
        why = f": {line.params[2]}" if len(line.params) > 2 and line.params[2] != line.nick else ""
        self._put_out(channel, f"The bot was kicked from {channel.name} by {line.nick}{why}.", back=True)

    def _on_invite(self, line: Line) -> None:
        """``:alice!… INVITE <us> <channel>``"""
        nick, name = line.params[0], line.params[1]
        if not (self._is_us(nick) and self._config.accept_invites and "!" in line.source):
            return
        if not valid_channel(name, self._connection.features.channel_types, self._connection.features.channel_length):
            return
        channel = self._channels.add(name)
        if channel.state == "out":
            channel.added_by = self._people.author(line.source, {k: v for k, v in line.tags.items() if k == "account"})
            channel.wanted = True
            self._join([channel])

    def _on_private(self, line: Line) -> None:
        """Somebody talks to us alone: say once, by NOTICE, where we listen."""
        nick = line.nick
        if line.command != "PRIVMSG" or "!" not in line.source or line.params[1][:1] == "\x01" or nick in self._hinted:
            return
        if len(self._hinted) < 1000:
            self._hinted.add(nick)
            us = self._connection.nick
            words = f"I relay channels. In a channel of yours, type: /invite {us} #channel"
            self._sender.hint(build("NOTICE", nick, words))

    # --- others ---

    def _came(self, channel: Channel, line: Line) -> None:
        nick = self._channels.fold(line.nick)
        channel.members[nick] = ""
        if nick in self._split:
            return
        author = self._people.author(line.source, {k: v for k, v in line.tags.items() if k == "account"})
        native, at_ms = self._receiver.new_native(), self._receiver.at_ms(line.tags)
        self._intake.event(Joined(room=channel.room, native=native, at_ms=at_ms, author=author))

    def _went(self, channel: Channel, line: Line) -> None:
        author = self._people.author(line.source, {k: v for k, v in line.tags.items() if k == "account"})
        native, at_ms = self._receiver.new_native(), self._receiver.at_ms(line.tags)
        self._intake.event(Left(room=channel.room, native=native, at_ms=at_ms, author=author))

    def _on_part(self, line: Line) -> None:
        for name in line.params[0].split(","):
            channel = self._channels.find(name)
            if channel is None:
                continue
            if self._is_us(line.nick):
                self._put_out(channel, f"The bot was taken out of {channel.name}.", back=False)
            elif channel.members.pop(self._channels.fold(line.nick), None) is not None:
                self._went(channel, line)
                self._out_of_sight(self._channels.fold(line.nick))

    def _out_of_sight(self, nick: str) -> None:
        if not any(nick in channel.members for channel in self._channels.by_cf.values()):
            self._people.gone(nick)

    def _on_quit(self, line: Line) -> None:
        nick = self._channels.fold(line.nick)
        split = self._receiver.is_muted(line.tags) or bool(line.params and SPLIT.fullmatch(line.params[-1]))
        if split and len(self._split) < SPLIT_NICKS_MAX:
            self._split.add(nick)
            self._later("split", KICKED_AGAIN_WITHIN_S, self._split.clear)
        for channel in self._channels.by_cf.values():
            if channel.members.pop(nick, None) is not None and not split:
                self._went(channel, line)
        self._people.gone(nick)
        if nick == self._channels.fold(self._config.nick) and not self._is_us(self._config.nick):
            self._connection.write(build("NICK", self._config.nick))

    def _on_nick(self, line: Line) -> None:
        if self._is_us(line.params[0]):
            self._people.forget()
        old, new = self._channels.fold(line.nick), self._channels.fold(line.params[0])
        for channel in self._channels.by_cf.values():
            if (modes := channel.members.pop(old, None)) is not None:
                channel.members[new] = modes
        self._people.gone(old)

    def _on_chghost(self, line: Line) -> None:
        """IRCv3 chghost: ``:nick!old@host CHGHOST newuser newhost``."""
        if self._is_us(line.nick):
            self._connection.source = f"{line.nick}!{line.params[0]}@{line.params[1]}"

    def _on_names(self, line: Line) -> None:
        if channel := self._channels.find(line.params[2]):
            add_names(channel, line.params[3], self._connection.features, self._channels.mapping)

    def _on_mode(self, line: Line) -> None:
        if channel := self._channels.find(line.params[0]):
            change_modes(channel, line, self._connection.features, self._channels.mapping)

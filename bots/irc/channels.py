"""The channels we are in or want to be in, and who is there: names, operators, live from the server's lines."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from bots.irc.features import Features
from bots.irc.wire import Line, casefold
from core.contract import AdapterError
from core.model import AccountId, Author, RoomId, room_id

State = Literal["out", "joining", "joined"]


class Channel:
    """A channel. ``members`` maps a folded nick to the letters of its modes there (``ov``)."""

    __slots__ = (
        "added_by", "cf", "configured", "key", "kicked_at_s", "known", "members", "name", "name_bytes", "problem",
        "relaymsg", "removed", "room", "state", "typed_at_s", "wanted",
    )  # fmt: skip

    def __init__(self, account: AccountId, name: str, mapping: str) -> None:
        self.name = name
        self.name_bytes = len(name.encode("utf-8", "replace"))
        self.cf = casefold(name, mapping)
        self.room: RoomId = room_id(account, self.cf)
        self.key = ""
        self.configured = False
        self.state: State = "out"
        self.problem: AdapterError | None = None
        """Why we are not in it, as it is told to whoever posts there."""
        self.known = False
        """Its BotAdded has been emitted, now or in an earlier life."""
        self.added_by: Author | None = None
        self.members: dict[str, str] = {}
        self.relaymsg = True
        """False once the server refused RELAYMSG here."""
        self.kicked_at_s = float("-inf")
        self.typed_at_s = float("-inf")
        self.wanted = True
        """Join it after every reconnect."""
        self.removed = False
        """Its BotRemoved has been emitted, and no BotAdded since."""


class Channels:
    """All channels of an account, found by name as written, by room, or by folded name."""

    def __init__(self, account: AccountId) -> None:
        self._account = account
        self.mapping = "rfc1459"
        self.by_cf: dict[str, Channel] = {}
        self.by_room: dict[RoomId, Channel] = {}
        self.by_raw: dict[str, Channel] = {}
        """Names exactly as the server writes them; a short cut for the receiving side."""
        self.longest_name_bytes = 1

    def __iter__(self) -> Iterator[Channel]:
        return iter(list(self.by_cf.values()))

    def add(self, name: str) -> Channel:
        """The channel called ``name``, new or not."""
        channel = self.find(name)
        if channel is None:
            channel = Channel(self._account, name, self.mapping)
            self.by_cf[channel.cf] = self.by_room[channel.room] = channel
            self.longest_name_bytes = max(self.longest_name_bytes, channel.name_bytes)
        return channel

    def find(self, name: str) -> Channel | None:
        """The channel called ``name`` in any spelling."""
        channel = self.by_raw.get(name)
        if channel is None:
            channel = self.by_cf.get(casefold(name, self.mapping))
            if channel is not None:
                if len(self.by_raw) > 4 * len(self.by_cf):
                    self.by_raw.clear()
                self.by_raw[name] = channel
        return channel

    def forget(self, channel: Channel) -> None:
        """We do not want to be in it any more."""
        self.by_cf.pop(channel.cf, None)
        self.by_room.pop(channel.room, None)
        self.by_raw.clear()

    def fold_by(self, mapping: str) -> None:
        """The server compares names in its own way: name the rooms accordingly."""
        if mapping == self.mapping:
            return
        self.mapping = mapping
        known = list(self.by_cf.values())
        self.by_cf.clear()
        self.by_room.clear()
        self.by_raw.clear()
        for channel in known:
            channel.cf = casefold(channel.name, mapping)
            channel.room = room_id(self._account, channel.cf)
            self.by_cf[channel.cf] = self.by_room[channel.room] = channel

    def fold(self, nick: str) -> str:
        """``nick`` as the server compares it."""
        return casefold(nick, self.mapping)


def add_names(channel: Channel, names: str, features: Features, mapping: str) -> None:
    """Take in a line of 353 (RPL_NAMREPLY): nicks with the symbols of their modes."""
    for word in names.split(" "):
        nick = word.lstrip(features.prefix_symbols)
        if nick:
            symbols = word[: len(word) - len(nick)]
            modes = "".join(features.prefix_modes[features.prefix_symbols.index(symbol)] for symbol in symbols)
            channel.members[casefold(nick.partition("!")[0], mapping)] = modes


def change_modes(channel: Channel, line: Line, features: Features, mapping: str) -> None:
    """Take in a MODE line of a channel (ISUPPORT CHANMODES and PREFIX say which letters have parameters)."""
    params = iter(line.params[2:])
    on = True
    for letter in line.params[1]:
        if letter in "+-":
            on = letter == "+"
        elif letter in features.prefix_modes:
            nick = casefold(next(params, ""), mapping)
            if nick in channel.members:
                had = channel.members[nick].replace(letter, "")
                channel.members[nick] = had + letter if on else had
        elif letter in features.list_modes + features.always_modes or (on and letter in features.set_modes):
            next(params, "")


def is_operator(modes: str, features: Features) -> bool:
    """Do these modes make somebody an operator of the channel (o, or what the server ranks above it)?"""
    return not set(modes).isdisjoint(features.operator_modes)

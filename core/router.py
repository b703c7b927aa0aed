"""Who hears what: one event of a room, turned into deliveries per account. Pure but for the state it is given."""

from __future__ import annotations

from collections import OrderedDict
from typing import Literal, NamedTuple

from msgspec.structs import replace

from core.breaker import EchoBreaker
from core.command_language import is_hush
from core.limits import TokenBuckets
from core.model import (
    Author,
    Event,
    MessageDeleted,
    MessageEdited,
    MessageId,
    MessageNew,
    NativeId,
    Reaction,
    RoomId,
    Typing,
    account_of,
    message_id,
)
from core.outgoing import Outgoing
from core.settings import Settings
from core.text.safety import clean_text
from core.topology import Reach, Topology
from core.wire import Delivery, DeliveryKind

HEARD_MAX = 10_000
TYPING_MAX_AGE_MS = 5_000
BURST_S = 5
"""Seconds' worth of messages that a room or an author may bring in at once."""

Refusal = Literal["", "quota", "echo"]
"""Why a message was not relayed although somebody could hear it."""


class Known(NamedTuple):
    """What the id map says of a native id: the message, and whether we posted it in that room."""

    message: MessageId
    relayed: bool


KnownIds = dict[tuple[RoomId, NativeId], Known]


def person_key(room: RoomId, author_id: str) -> str:
    """What a ban of a person is kept under."""
    return f"person {account_of(room)}/{author_id}"


def _burst(rate_per_s: float) -> int:
    """What people may say at once: as much as in so many seconds."""
    return int(rate_per_s * BURST_S)


class Router:
    """Routes the events of one shard."""

    def __init__(self, topology: Topology, settings: Settings) -> None:
        self.topology = topology
        self._breaker = EchoBreaker(settings.echo_repeats, settings.echo_window_s * 1000)
        self._room_quota = TokenBuckets(settings.room_rate_per_s, _burst(settings.room_rate_per_s))
        self._author_quota = TokenBuckets(settings.author_rate_per_s, _burst(settings.author_rate_per_s))
        self._tell_quota = TokenBuckets(1 / 60)
        self.heard: OrderedDict[tuple[RoomId, str], str] = OrderedDict()
        """Recent authors, the latest newcomer last: (room, name) → the author's id. For bans by name."""

    def first_refusal(self, key: tuple[RoomId, str, str], now_ms: int) -> bool:
        """Whether the room is to be told of a refusal: once a minute per author and reason."""
        return self._tell_quota.take(key, now_ms)

    def route(self, event: Event, known: KnownIds, out: Outgoing, now_ms: int) -> Refusal:
        """Add the deliveries of ``event`` to ``out``. ``known`` has every native id that it refers to."""
        reach = self.topology.reach(event.room)
        if not reach:
            return ""
        if isinstance(event, MessageNew):
            return self._new(event, reach, known, out, now_ms)
        if isinstance(event, MessageEdited):
            return self._edited(event, reach, out, now_ms)
        if isinstance(event, MessageDeleted):
            if not known[event.room, event.target].relayed:
                delivery = self._about(event, known[event.room, event.target].message, "delete", event.author)
                self._send(event.room, delivery, reach, out)
        elif isinstance(event, Reaction):
            if not self._has_quota(event.room, event.author, now_ms):
                return "quota"
            delivery = self._about(event, known[event.room, event.target].message, "react", event.author)
            self._send(event.room, replace(delivery, emoji=event.emoji, added=event.added), reach, out)
        elif isinstance(event, Typing) and now_ms - event.at_ms < TYPING_MAX_AGE_MS:
            self._send(event.room, self._about(event, MessageId(""), "typing", event.author), reach, out)
        return ""

    def _new(self, event: MessageNew, reach: tuple[Reach, ...], known: KnownIds, out: Outgoing, now_ms: int) -> Refusal:
        plain = event.text.plain
        room, author, reply = event.room, event.author, event.reply_to
        if is_hush(plain):
            return ""
        if not self._has_quota(room, author, now_ms):
            return "quota"
        if plain and self._breaker.is_echo(self.topology.sameroom(room), room, author.id, plain, now_ms):
            return "echo"
        self._note(room, author)
        state = self.topology.rooms[room]
        delivery = Delivery(
            "new",
            reach[0].rooms,
            reach[0].styles,
            message_id(room, event.native),
            event.at_ms,
            state.title,
            state.platform_title,
            author,
            clean_text(event.text),
            event.files,
            known[room, reply.native].message if reply else MessageId(""),
            reply.author_name if reply else "",
            reply.excerpt if reply else "",
            known[room, event.thread].message if event.thread else MessageId(""),
            event.emote,
            account=account_of(room),
        )
        self._send(room, delivery, reach, out)
        return ""

    def _has_quota(self, room: RoomId, author: Author, now_ms: int) -> bool:
        return self._room_quota.take(room, now_ms) and self._author_quota.take((room, author.id), now_ms)

    def take_back(self, event: MessageNew) -> None:
        """It is routed once more, and counts only then."""
        self._room_quota.give_back(event.room)
        self._author_quota.give_back((event.room, event.author.id))

    def _edited(self, event: MessageEdited, reach: tuple[Reach, ...], out: Outgoing, now_ms: int) -> Refusal:
        if is_hush(event.text.plain):
            return ""
        if not self._has_quota(event.room, event.author, now_ms):
            return "quota"
        delivery = self._about(event, message_id(event.room, event.target), "edit", event.author)
        self._send(event.room, replace(delivery, text=clean_text(event.text), files=event.files), reach, out)
        return ""

    def _about(self, event: Event, message: MessageId, kind: DeliveryKind, author: Author | None) -> Delivery:
        state = self.topology.rooms[event.room]
        account = account_of(event.room)
        return Delivery(kind, (), (), message, event.at_ms, state.title, state.platform_title, author, account=account)

    def _send(self, origin: RoomId, delivery: Delivery, reach: tuple[Reach, ...], out: Outgoing) -> None:
        author = delivery.author
        banning = author is not None and self.topology.bans_in_reach(origin)
        for account, rooms, styles in reach:
            if banning and author:
                kept = [(r, s) for r, s in zip(rooms, styles, strict=True) if not self._is_banned(origin, author, r)]
                if not kept:
                    continue
                rooms, styles = tuple(r for r, _ in kept), tuple(s for _, s in kept)
            if delivery.rooms is not rooms:
                delivery = replace(delivery, rooms=rooms, styles=styles)
            out.deliver(account, delivery)

    def _is_banned(self, origin: RoomId, author: Author, room: RoomId) -> bool:
        bans = self.topology.rooms[room].bans
        return bool(bans) and (person_key(origin, author.id) in bans or f"room {origin}" in bans)

    def _note(self, room: RoomId, author: Author) -> None:
        key = (room, author.name)
        if self.heard.get(key) != author.id:
            self.heard[key] = author.id
            self.heard.move_to_end(key)
            if len(self.heard) > HEARD_MAX:
                self.heard.popitem(last=False)

"""The records of the journals: what a shard's inbox and an account's outbox hold besides the platforms' events."""

from __future__ import annotations

from typing import Literal

import msgspec

from core.model import (
    AccountId,
    Author,
    AuthorStyle,
    FileRef,
    MessageId,
    NativeId,
    PlatformEvent,
    RoomId,
    Text,
)

ORDINALS_PER_ENTRY = 65_536
"""Records that one entry of a journal may append to another journal: more than any sameroom has rooms."""


# --- rooms and tubes, as stored ------------------------------------------------------------------------------


Direction = Literal["both", "a>b", "b>a"]


class ConnectAsked(msgspec.Struct, frozen=True, array_like=True, tag_field="type", tag="connect"):
    """``room`` is to get a tube with ``other``, which may live in another shard. Passed on until both meet."""

    room: RoomId
    other: RoomId
    by: str
    direction: Direction = "both"
    """``a>b``: from ``room`` to ``other`` only."""
    asked_in: RoomId = RoomId("")
    """The room where it was asked for; the other one had opened."""
    reply_to: str = ""
    """Id of the Act to answer, if it came from the portal."""
    confirmed: bool = True
    """False: the room that had opened is to be asked first (``connect: confirm``)."""

    def opener(self) -> RoomId:
        """The room whose code or link it was."""
        return self.other if self.asked_in == self.room else self.room

    def turned(self) -> ConnectAsked:
        """The same connection, seen from the other room."""
        turn: dict[Direction, Direction] = {"both": "both", "a>b": "b>a", "b>a": "a>b"}
        return msgspec.structs.replace(self, room=self.other, other=self.room, direction=turn[self.direction])


class RoomState(msgspec.Struct, frozen=True, array_like=True):
    """What the relay knows of a room that takes part."""

    room: RoomId
    title: str
    platform_title: str
    style: AuthorStyle = "name+platform"
    paused: bool = False
    away: str = ""
    """Why nothing can be posted there (the bot was put out); empty while all is well."""
    bans: dict[str, str] = msgspec.field(default_factory=dict)
    """``person <account>/<author id>`` or ``room <room id>`` → the name for people."""
    asking: ConnectAsked | None = None
    """A connection that waits for ``-sameroom confirm`` in this room."""
    asking_until_ms: int = 0

    def label(self) -> str:
        """``#garden (IRC)``."""
        return f"{self.title} ({self.platform_title})" if self.platform_title else self.title


class Tube(msgspec.Struct, frozen=True, array_like=True):
    """A connection of two rooms."""

    id: str
    a: RoomId
    b: RoomId
    direction: Direction = "both"
    paused: bool = False
    created_by: str = ""
    created_at_ms: int = 0

    def other(self, room: RoomId) -> RoomId:
        """The room at the other end."""
        return self.b if room == self.a else self.a


# --- inbox: events of our own --------------------------------------------------------------------------------


class Act(msgspec.Struct, frozen=True, array_like=True, tag_field="type", tag="act"):
    """A command that did not come as a message: from the portal or the command line."""

    room: RoomId
    id: str
    actor: str
    """The person's name for people."""
    person: str
    """Who that is for the security log."""
    name: str
    argument: str = ""
    is_admin: bool | None = None
    title: str = ""
    platform_title: str = ""
    """Of a room that is new to the relay (a guest room made by the portal)."""


class HandOver(msgspec.Struct, frozen=True, array_like=True, tag_field="type", tag="handover"):
    """Everything said in ``rooms`` before they were marked as on their way is done: now they go to ``shard``."""

    room: RoomId
    rooms: tuple[RoomId, ...]
    shard: int
    then: ConnectAsked


class Adopt(msgspec.Struct, frozen=True, array_like=True, tag_field="type", tag="adopt"):
    """Rooms and tubes that come from another shard, and the connection they come for."""

    room: RoomId
    rooms: tuple[RoomState, ...]
    tubes: tuple[Tube, ...]
    then: ConnectAsked


class Tell(msgspec.Struct, frozen=True, array_like=True, tag_field="type", tag="tell"):
    """A notice for the people in ``room``, and a line of its log; each only if it is not empty."""

    room: RoomId
    text: str
    act: str = ""
    detail: str = ""


class Pong(msgspec.Struct, frozen=True, array_like=True, tag_field="type", tag="pong"):
    """A room's answer to a ping that was asked for in ``room``."""

    room: RoomId
    ping: str
    answered: RoomId
    error: str = ""


Incoming = PlatformEvent | Act | ConnectAsked | HandOver | Adopt | Tell | Pong
"""Every record of an inbox."""


# --- outbox --------------------------------------------------------------------------------------------------


DeliveryKind = Literal["new", "edit", "delete", "react", "typing", "tell", "ping"]


class Delivery(msgspec.Struct, frozen=True, array_like=True):
    """One thing to do in some rooms of one account."""

    kind: DeliveryKind
    rooms: tuple[RoomId, ...]
    styles: tuple[AuthorStyle, ...] = ()
    """How authors are shown, per room."""
    message: MessageId = MessageId("")
    """The message this is, or is about."""
    at_ms: int = 0
    origin_title: str = ""
    platform_title: str = ""
    author: Author | None = None
    text: Text = Text()
    files: tuple[FileRef, ...] = ()
    reply_to: MessageId = MessageId("")
    reply_author: str = ""
    reply_excerpt: str = ""
    thread: MessageId = MessageId("")
    emote: bool = False
    emoji: str = ""
    added: bool = True
    ping: str = ""
    place: int = 0
    """Of a delivery for one room alone: which of its entry's rooms that was."""
    account: AccountId = AccountId("")
    """Whose person the author is: authors of different accounts may have the same id."""


class Posted(msgspec.Struct, frozen=True, array_like=True):
    """Record of the id map: what a message became in a room."""

    author_id: str
    author_name: str
    natives: tuple[NativeId, ...]
    rooms: tuple[RoomId, ...] = ()
    """Of a record that rooms share: which ones have the message."""
    fold: str = ""
    """The post that it stands in together with others; that one's record has the natives."""


class FoldedLine(msgspec.Struct, frozen=True, array_like=True):
    """A message in a post that stands for several. Without words where the post cannot be edited."""

    message: MessageId
    author_id: str
    opening: Text = Text()
    """Who said it, and what it answers."""
    words: Text = Text()


class Folded(msgspec.Struct, frozen=True, array_like=True):
    """Record of the id map: a post that stands for several messages."""

    natives: tuple[NativeId, ...]
    lines: tuple[FoldedLine, ...]


class SecurityRecord(msgspec.Struct, frozen=True, array_like=True):
    """A line of the security log."""

    at_ms: int
    act: str
    room: RoomId
    actor: str
    detail: str = ""


class DeadLetter(msgspec.Struct, frozen=True, array_like=True):
    """Something that was set aside, and why."""

    at_ms: int
    room: RoomId
    """Where it should have gone, or where it came from if it got no further."""
    reason: str
    kind: Literal["event", "delivery"]
    record: bytes
    """The Incoming or the Delivery (for this one room), as it was in the journal."""


encode = msgspec.msgpack.Encoder().encode
decode_incoming = msgspec.msgpack.Decoder(Incoming).decode
decode_delivery = msgspec.msgpack.Decoder(Delivery).decode
decode_room = msgspec.msgpack.Decoder(RoomState).decode
decode_tube = msgspec.msgpack.Decoder(Tube).decode
decode_posted = msgspec.msgpack.Decoder(Posted).decode
decode_folded = msgspec.msgpack.Decoder(Folded).decode
decode_security = msgspec.msgpack.Decoder(SecurityRecord).decode
decode_dead = msgspec.msgpack.Decoder(DeadLetter).decode

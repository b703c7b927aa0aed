"""The words of the product as types: ids, text, people, files, and the events that cross the layers.

Everything here is plain frozen data (msgspec structs), safe to put on the wire between processes. Structs on
the wire are arrays: add new fields at the end, with a default, and stored records of an older version still
decode.
"""

from __future__ import annotations

from typing import Literal, NewType

import msgspec

PlatformId = NewType("PlatformId", str)
"""Short name of a chat service, as in the registry: ``irc``."""
AccountId = NewType("AccountId", str)
"""One identity on a platform that can read and post; unique in this installation; no ``/`` in it."""
RoomId = NewType("RoomId", str)
"""``<account id>/<the platform's own id of the room>``. Made by :func:`room_id`, opaque elsewhere."""
NativeId = NewType("NativeId", str)
"""A platform's own id of a message or event. Unique within a room; the same again when it is redelivered."""
MessageId = NewType("MessageId", str)
"""Our id of a message: where it was first said. Made by :func:`message_id`, opaque elsewhere."""
SameroomId = NewType("SameroomId", str)
"""A connected component of rooms. Named after the smallest RoomId in it."""


def room_id(account: AccountId, native_room: str) -> RoomId:
    """The RoomId of a platform's room as seen by ``account``."""
    return RoomId(f"{account}/{native_room}")


def account_of(room: RoomId) -> AccountId:
    """The account through which ``room`` is read and written."""
    return AccountId(room.partition("/")[0])


def native_room(room: RoomId) -> str:
    """The platform's own id of ``room``."""
    return room.partition("/")[2]


def message_id(room: RoomId, native: NativeId) -> MessageId:
    """The MessageId of a message that was said first in ``room`` under the platform's id ``native``."""
    return MessageId(f"{room}\n{native}")


def said_in(message: MessageId) -> tuple[RoomId, NativeId]:
    """Where a message was said first, and its platform's id there. Inverse of :func:`message_id`."""
    room, _, native = message.partition("\n")
    return RoomId(room), NativeId(native)


# --- text ---------------------------------------------------------------------------------------------------

EntityType = Literal[
    "bold",
    "italic",
    "underline",
    "strike",
    "spoiler",
    "code",
    "pre",
    "quote",
    "link",
    "mention",
    "emoji",
    "timestamp",
]


class Entity(msgspec.Struct, frozen=True, array_like=True):
    """A span of a text that means something. ``start`` and ``length`` count code points of ``Text.plain``.

    ``value`` is the language of a pre, the URL of a link, the platform's id of a mentioned person, the
    shortcode of an emoji (no colons), the Unix time in seconds of a timestamp; empty for the rest.
    """

    type: EntityType
    start: int
    length: int
    value: str = ""


class Text(msgspec.Struct, frozen=True, array_like=True):
    """A message's words: what is to be read, and what spans of it mean. The model has no mass mention."""

    plain: str = ""
    entities: tuple[Entity, ...] = ()


# --- people, files, replies ---------------------------------------------------------------------------------


class Author(msgspec.Struct, frozen=True, array_like=True):
    """Who said it. ``id`` is the platform's stable id, and the only thing that rights are given to."""

    id: str
    name: str
    avatar_url: str = ""
    is_bot: bool = False
    role: Literal["", "member", "admin"] = ""
    """What the platform says this person is in the room; empty where it was not asked."""


class FileRef(msgspec.Struct, frozen=True, array_like=True):
    """A file or picture of a message. The bytes stay at the origin: ``Files.open_file(ref)`` streams them."""

    account: AccountId
    ref: str
    """Whatever the origin's adapter needs to open it. Never shown, never sent to another platform."""
    name: str
    mime: str = "application/octet-stream"
    size_bytes: int = 0
    """0 where the platform does not say."""


class ReplyTo(msgspec.Struct, frozen=True, array_like=True):
    """What a message answers, as the platform told us."""

    native: NativeId
    author_name: str = ""
    excerpt: str = ""


# --- events -------------------------------------------------------------------------------------------------


class Event(msgspec.Struct, frozen=True, array_like=True, tag_field="type", kw_only=True):
    """Something that happened in a room. ``native`` is the same again when the platform redelivers it."""

    room: RoomId
    native: NativeId
    at_ms: int
    """When it was said, Unix time in milliseconds, by the platform's clock where it has one."""


class MessageNew(Event, tag="new", frozen=True, array_like=True, kw_only=True):
    """Somebody said something. ``native`` is the message's id."""

    author: Author
    text: Text
    files: tuple[FileRef, ...] = ()
    reply_to: ReplyTo | None = None
    thread: NativeId = NativeId("")
    """The root message of the thread this was said in, where the platform has threads."""
    emote: bool = False
    """Said in the third person (``/me waves``)."""
    bridged: bool = False
    """The platform says that a bot or another bridge posted it."""
    room_title: str = ""
    """The room's name for people; the host fills it in for commands."""
    platform_title: str = ""
    """The platform's name for people; the host fills it in for commands."""


class MessageEdited(Event, tag="edited", frozen=True, array_like=True, kw_only=True):
    """A message has a new text. ``native`` is the edit's own id, ``target`` the message's."""

    target: NativeId
    author: Author
    text: Text
    files: tuple[FileRef, ...] = ()


class MessageDeleted(Event, tag="deleted", frozen=True, array_like=True, kw_only=True):
    """A message is gone. ``author`` is who deleted it, where the platform leaves checking that to us;
    None where the platform itself allows only its author or a moderator.
    """

    target: NativeId
    author: Author | None = None


class Reaction(Event, tag="reaction", frozen=True, array_like=True, kw_only=True):
    """Somebody put ``emoji`` (Unicode, or ``:shortcode:``) on a message, or took it away again."""

    target: NativeId
    author: Author
    emoji: str
    added: bool = True


class Typing(Event, tag="typing", frozen=True, array_like=True, kw_only=True):
    """Somebody is typing. The only event that may be dropped."""

    author: Author


class Joined(Event, tag="joined", frozen=True, array_like=True, kw_only=True):
    """Somebody came in. Never relayed unless asked."""

    author: Author


class Left(Event, tag="left", frozen=True, array_like=True, kw_only=True):
    """Somebody went away. Never relayed unless asked."""

    author: Author


class RoomRenamed(Event, tag="renamed", frozen=True, array_like=True, kw_only=True):
    """The room has a new name for people."""

    title: str


class RoomMoved(Event, tag="moved", frozen=True, array_like=True, kw_only=True):
    """The platform itself says that the room's id changed: ``room`` is the old one. Its tubes follow."""

    to: RoomId


class BotAdded(Event, tag="bot_added", frozen=True, array_like=True, kw_only=True):
    """We were brought into the room. It is greeted."""

    title: str
    by: Author | None = None
    greet: bool = True
    """False where we came back by ourselves (a rejoin)."""
    platform_title: str = ""
    """The platform's name for people; the host fills it in."""


class BotRemoved(Event, tag="bot_removed", frozen=True, array_like=True, kw_only=True):
    """We were put out of the room, or it is gone. Its tubes pause and the other rooms are told."""

    reason: str = ""


PlatformEvent = (
    MessageNew
    | MessageEdited
    | MessageDeleted
    | Reaction
    | Typing
    | Joined
    | Left
    | RoomRenamed
    | RoomMoved
    | BotAdded
    | BotRemoved
)
"""What an adapter may emit."""

AuthorStyle = Literal["name", "name+platform", "name+room", "plain"]
"""How authors are shown in a room (``-sameroom format``)."""

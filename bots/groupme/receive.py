"""From GroupMe's payloads to events. Pure."""

from __future__ import annotations

import mimetypes
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from bots.groupme import text as dialect
from bots.groupme.memory import digest
from bots.groupme.payload import Malformed, Message, id_of, need_id
from core.model import (
    AccountId,
    Author,
    FileRef,
    Joined,
    Left,
    MessageDeleted,
    MessageEdited,
    MessageNew,
    NativeId,
    PlatformEvent,
    Reaction,
    ReplyTo,
    RoomId,
    RoomRenamed,
    room_id,
)

FileData = Mapping[str, tuple[str, str, int]]
"""File id → name, MIME type, size in bytes."""
PEOPLE = ("user", "bot")
POWERUP_EMOJI = ":powerup:"
HEART = "❤️"
_KINDS = {"jpg": "jpeg"}


def room_of(account: AccountId, message: Message) -> RoomId:
    """The room that a message was said in. Raises Malformed."""
    return room_id(account, need_id(message.group_id, "group_id"))


def is_system(message: Message) -> bool:
    """Is it GroupMe itself that speaks?"""
    return bool(message.system) or (message.sender_type or "user") not in PEOPLE


def author_of(message: Message) -> Author:
    """Who said it. Raises Malformed."""
    sender = need_id(message.sender, "sender_id")
    return Author(sender, message.name or "", message.avatar_url or "", is_bot=message.sender_type == "bot")


def file_ids(message: Message) -> list[str]:
    """The files of a message whose names must be asked for."""
    return [found for part in message.parts("file") if (found := id_of(part.get("file_id")))]


def files_of(message: Message, account: AccountId, known: FileData) -> tuple[FileRef, ...]:
    """Pictures, videos and files of a message."""
    found: list[FileRef] = []
    for part in message.attachments or ():
        kind, url = part.get("type"), part.get("url") or part.get("source_url")
        if kind in ("image", "linked_image", "video") and isinstance(url, str) and url:
            found.append(_media(account, str(kind), url))
        elif kind == "file" and (file := id_of(part.get("file_id"))):
            name, mime, size = known.get(file, ("file", "", 0))
            guessed = mime or mimetypes.guess_type(name)[0] or "application/octet-stream"
            found.append(FileRef(account, f"file {id_of(message.group_id)} {file}", name, guessed, size))
    return tuple(found)


def _media(account: AccountId, kind: str, url: str) -> FileRef:
    """``https://i.groupme.com/480x325.jpeg.9e20…`` names its format in the middle."""
    last = urlsplit(url).path.rpartition("/")[2].split(".")
    formats = [word.lower() for word in last[1:] if mimetypes.guess_type(f"x.{word}")[0]]
    ending = formats[0] if formats else ("mp4" if kind == "video" else "jpeg")
    mime = mimetypes.guess_type(f"x.{ending}")[0] or "application/octet-stream"
    return FileRef(
        account, f"url {url}", f"{'video' if kind == 'video' else 'picture'}.{_KINDS.get(ending, ending)}", mime
    )


def said(account: AccountId, message: Message, known: FileData) -> MessageNew:
    """Somebody's words. Raises Malformed."""
    reply_to = None
    for part in message.parts("reply"):
        target = id_of(part.get("reply_id")) or id_of(part.get("base_reply_id"))
        reply_to = ReplyTo(NativeId(target)) if target else reply_to
    return MessageNew(
        room=room_of(account, message),
        native=NativeId(message.native),
        at_ms=message.at_ms,
        author=author_of(message),
        text=dialect.incoming(message.text or "", message.attachments or ()),
        files=files_of(message, account, known),
        reply_to=reply_to,
        bridged=message.sender_type == "bot",
    )


def edited(account: AccountId, message: Message, known: FileData) -> MessageEdited:
    """Somebody's new words for an old message. Raises Malformed."""
    changed = int((message.updated_at or message.created_at or 0) * 1000)
    return MessageEdited(
        room=room_of(account, message),
        # Whole seconds are all that GroupMe tells, and two edits fit into one.
        native=NativeId(f"edit:{message.native}:{changed}:{digest(message.text or '')[:8]}"),
        at_ms=changed,
        target=NativeId(message.native),
        author=author_of(message),
        text=dialect.incoming(message.text or "", message.attachments or ()),
        files=files_of(message, account, known),
    )


def deleted(room: RoomId, target: str, at_ms: int) -> MessageDeleted:
    """A message is gone; GroupMe itself lets only its author and the group's admins do that."""
    return MessageDeleted(room=room, native=NativeId(f"deleted:{target}"), at_ms=at_ms, target=NativeId(target))


def happened(account: AccountId, message: Message) -> list[PlatformEvent]:
    """What a system message tells (Message Events); nothing for what is of no use elsewhere. Raises Malformed."""
    room, event = room_of(account, message), message.event or {}
    kind, data = event.get("type"), event.get("data")
    if not isinstance(data, dict):
        return []
    common: dict[str, Any] = {"room": room, "at_ms": message.at_ms}
    if kind == "membership.announce.added":
        people = data.get("added_users")
        found = [_person(person) for person in people] if isinstance(people, list) else []
        return [Joined(native=_nth(message, who), author=who, **common) for who in found]
    if kind in ("membership.announce.joined", "membership.announce.rejoined"):
        who = _person(data.get("user"))
        return [Joined(native=_nth(message, who), author=who, **common)]
    if kind in ("membership.notifications.exited", "membership.notifications.removed"):
        who = _person(data.get("removed_user"))
        return [Left(native=_nth(message, who), author=who, **common)]
    if kind == "group.name_change" and isinstance(data.get("name"), str):
        return [RoomRenamed(native=NativeId(message.native), title=data["name"], **common)]
    if kind == "message.deleted":
        return [deleted(room, need_id(data.get("message_id"), "message_id"), message.at_ms)]
    return []


def _nth(message: Message, who: Author) -> NativeId:
    return NativeId(f"{message.native}:{who.id}")


def _person(value: Any) -> Author:
    if not isinstance(value, dict):
        raise Malformed("a person is missing")
    return Author(need_id(value.get("id"), "a person's id"), str(value.get("nickname") or ""))


def standing(subject: Mapping[str, Any], person: str) -> str:
    """The reaction of ``person`` on a message, by a ``favorite`` event; empty: none."""
    reactions = subject.get("reactions")
    for entry in reactions if isinstance(reactions, list) else ():
        people = entry.get("user_ids") if isinstance(entry, dict) else None
        if isinstance(people, list) and person in map(str, people):
            code = entry.get("code")
            return code if entry.get("type") == "unicode" and isinstance(code, str) and code else POWERUP_EMOJI
    line = subject.get("line")
    people = line.get("favorited_by") if isinstance(line, dict) and not isinstance(reactions, list) else None
    return HEART if isinstance(people, list) and person in map(str, people) else ""


def reacted(room: RoomId, target: str, author: Author, change: tuple[str, str], at_ms: int) -> list[Reaction]:
    """Events for ``change``: what somebody's reaction was and what it is."""
    events = []
    for emoji, added in zip(change, (False, True), strict=True):
        if emoji and change[0] != change[1]:
            native = NativeId(f"like:{target}:{author.id}:{at_ms}:{int(added)}")
            common: dict[str, Any] = {"target": NativeId(target), "author": author, "emoji": emoji, "added": added}
            events.append(Reaction(room=room, native=native, at_ms=at_ms, **common))
    return events

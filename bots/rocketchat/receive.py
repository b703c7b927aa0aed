"""What Rocket.Chat sends, as events (the server's IMessage; system messages by their ``t``). Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import parse_qs, quote, unquote, urlsplit

import msgspec

from bots.rocketchat import text as dialect
from core.model import (
    AccountId,
    Author,
    FileRef,
    MessageDeleted,
    MessageEdited,
    MessageNew,
    NativeId,
    Reaction,
    ReplyTo,
    RoomId,
    Text,
    room_id,
)

JOINS: Final = frozenset({"uj", "ut", "ujt"})
LEAVES: Final = frozenset({"ul", "ult"})
ADDS: Final = frozenset({"au", "added-user-to-team"})
REMOVES: Final = frozenset({"ru", "removed-user-from-team"})
EXCERPT_CHARS: Final = 200
E2E: Final = "e2e"
"""Kind of a message that is encrypted from end to end; all others that have a kind are notices of the server's."""
ENCRYPTED: Final = "(an encrypted message, which the bridge cannot read)"
_OWN_FILE: Final = re.compile(r"(?:https?://[^/]+)?(?:/[\w.-]+)*?/file-upload/(?P<id>[\w.-]+)/(?P<name>[^/?#]+)")


class Malformed(ValueError):
    """Not the shape that the server's messages have."""


class Person(msgspec.Struct, frozen=True):
    """Who it is, as messages name people."""

    id: str = msgspec.field(name="_id", default="")
    username: str | None = None
    name: str | None = None

    @property
    def shown(self) -> str:
        """The name for people."""
        return self.name or self.username or "someone"


class Message(msgspec.Struct, frozen=True, kw_only=True):
    """A message, new or changed. Moments are ``{"$date": ms}`` in the stream and ISO 8601 in answers."""

    id: str = msgspec.field(name="_id")
    rid: str
    u: Person
    ts: Any
    updated_at: Any = msgspec.field(name="_updatedAt", default=None)
    msg: str | None = None
    md: Any = None
    t: str | None = None
    tmid: str | None = None
    alias: str | None = None
    avatar: str | None = None
    bot: Any = None
    editedAt: Any = None
    mentions: tuple[Person, ...] | None = None
    attachments: tuple[dict[str, Any], ...] | None = None
    files: tuple[dict[str, Any], ...] | None = None
    file: dict[str, Any] | None = None
    reactions: Any = None

    @property
    def notice(self) -> str:
        """The kind of notice it is; empty for what somebody said."""
        return "" if self.t in (None, E2E) else str(self.t)

    @property
    def at_ms(self) -> int:
        """When it was said."""
        return moment_ms(self.ts)


def read(raw: Any) -> Message:
    """A message. Raises Malformed."""
    try:
        message = msgspec.convert(raw, Message)
    except (msgspec.ValidationError, TypeError) as error:
        raise Malformed(str(error)) from None
    if not message.id or not message.rid or not message.u.id:
        raise Malformed("a message without ids")
    return message


def moment_ms(value: Any) -> int:
    """Unix time in ms of a moment of either interface; 0 where there is none."""
    if isinstance(value, dict):
        value = value.get("$date")
    if isinstance(value, (int, float)):
        return int(value)
    try:
        moment = datetime.fromisoformat(str(value))
    except ValueError:
        return 0
    return int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1000)


def title_of(room: Mapping[str, Any], me: str) -> str:
    """A room's name for people: of a direct room the others' names."""
    if room.get("t") == "d":
        others = [str(name) for name in room.get("usernames") or () if name != me]
        return ", ".join(f"@{name}" for name in others) or str(
            room.get("fname") or room.get("name") or "direct messages"
        )
    name = str(room.get("fname") or room.get("name") or room.get("_id") or "")
    return name if room.get("prid") or room.get("t") == "p" else f"#{name}"


def author(message: Message, base: str) -> Author:
    """Who said it, under the name that the server shows."""
    avatar = message.avatar or ""
    if not avatar.startswith(("https://", "http://")):
        avatar = avatar_of(message.u, base)
    return Author(message.u.id, message.alias or message.u.shown, avatar, bool(message.bot))


def avatar_of(person: Person, base: str) -> str:
    """The address of somebody's picture."""
    return f"{base}/avatar/{quote(person.username, safe='')}" if person.username else ""


def said(account: AccountId, message: Message, base: str, sites: frozenset[str]) -> MessageNew:
    """A new message. ``sites``: hosts of the server's own addresses."""
    return MessageNew(
        room=room_id(account, message.rid),
        native=NativeId(message.id),
        at_ms=message.at_ms,
        author=author(message, base),
        text=words(message),
        files=files(account, message),
        reply_to=answered(message, sites),
        thread=NativeId(message.tmid or ""),
        bridged=bool(message.bot or message.alias or message.u.id == "rocket.cat"),
    )


def edited(account: AccountId, message: Message, base: str) -> MessageEdited:
    """Somebody changed it: only then does a message have ``editedAt``."""
    at_ms = moment_ms(message.editedAt)
    return MessageEdited(
        room=room_id(account, message.rid),
        native=NativeId(f"{message.id}/edit/{at_ms}"),
        at_ms=at_ms,
        target=NativeId(message.id),
        author=author(message, base),
        text=words(message),
        files=files(account, message),
    )


def deleted(account: AccountId, rid: str, native: str, at_ms: int) -> MessageDeleted:
    """It is gone: the server lets only its author and moderators do that."""
    native_id = NativeId(f"{native}/gone")
    return MessageDeleted(room=room_id(account, rid), native=native_id, at_ms=at_ms, target=NativeId(native))


def words(message: Message) -> Text:
    """What is to be read: the text, or else what a bot put into attachments."""
    if message.t == E2E:
        return Text(ENCRYPTED)
    people = {p.username: (p.id, p.shown) for p in message.mentions or () if p.username and p.id not in ("all", "here")}
    text = dialect.incoming(message.msg or "", message.md, people)
    lines = [text.plain] if text.plain else []
    for part in message.attachments or ():
        if part.get("type") != "file" and not part.get("message_link"):
            lines += [line for key in ("pretext", "title", "text") if isinstance(line := part.get(key), str) and line]
        elif part.get("type") == "file" and isinstance(part.get("description"), str) and part["description"]:
            lines.append(part["description"])
    return Text("\n".join(lines), text.entities)


def files(account: AccountId, message: Message) -> tuple[FileRef, ...]:
    """Files that were uploaded to the server itself, without the small pictures made of them."""
    about = {part.get("_id"): part for part in (*(message.files or ()), *([message.file] if message.file else ()))}
    found: list[FileRef] = []
    for part in message.attachments or ():
        link = _OWN_FILE.fullmatch(str(part.get("title_link") or ""))
        if part.get("type") != "file" or link is None:
            continue
        known = about.get(link["id"], {})
        mimes = (known.get("type"), *(part.get(f"{kind}_type") for kind in ("image", "audio", "video")))
        mime = next((mime for mime in mimes if isinstance(mime, str) and "/" in mime), "application/octet-stream")
        size = known.get("size") or part.get("size") or 0
        name = str(known.get("name") or part.get("title") or unquote(link["name"]))
        ref = f"{link['id']}/{link['name']}"
        found.append(FileRef(account, ref, name, mime, size if type(size) is int else 0))
    return tuple(found)


def answered(message: Message, sites: frozenset[str]) -> ReplyTo | None:
    """What it answers: the first quote that the server made of a link in front of the text."""
    if not dialect.quoted(message.msg or ""):
        return None
    for part in message.attachments or ():
        native = linked(part.get("message_link"), sites)
        if native:
            excerpt = " ".join(str(part.get("text") or "").split())[:EXCERPT_CHARS]
            return ReplyTo(NativeId(native), str(part.get("author_name") or ""), excerpt)
    return None


def linked(link: Any, sites: frozenset[str]) -> str:
    """The message that a link of the server leads to; empty for any other."""
    try:
        parts = urlsplit(str(link or ""))
        native = parse_qs(parts.query).get("msg", [""])[0]
    except ValueError:
        return ""
    return native if parts.netloc.lower() in sites else ""


def standing(message: Message) -> dict[str, list[str]]:
    """Emoji name → names of the users whose reaction it is, as it is now."""
    found: dict[str, list[str]] = {}
    for name, entry in (message.reactions if isinstance(message.reactions, dict) else {}).items():
        users = entry.get("usernames") if isinstance(entry, dict) else None
        if isinstance(users, list):
            found[str(name).strip(":")] = [str(user) for user in users]
    return found


def changes(before: Mapping[str, list[str]], now: Mapping[str, list[str]]) -> list[tuple[str, str, bool]]:
    """(emoji name, user name, added) of what is different; what went comes first."""
    was = {(name, user) for name, users in before.items() for user in users}
    there = {(name, user) for name, users in now.items() for user in users}
    return [(*gone, False) for gone in sorted(was - there)] + [(*new, True) for new in sorted(there - was)]


def reacted(room: RoomId, target: str, who: Author, name: str, added: bool, at_ms: int) -> Reaction:
    """Somebody's reaction came or went."""
    native = NativeId(f"{target}/{name}/{who.id}/{int(added)}/{at_ms}")
    emoji = dialect.shown(name)
    return Reaction(
        room=room, native=native, at_ms=at_ms, target=NativeId(target), author=who, emoji=emoji, added=added
    )

"""Activities as events. Pure: what they need to know of the room is handed in."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from hashlib import blake2b
from typing import Any, Final

import msgspec

from bots.teams.activity import Activity, Attachment, Mark, Person
from bots.teams.rooms import Room
from bots.teams.text import quoted_in, read_html, read_plain
from core.model import (
    AccountId,
    Author,
    BotAdded,
    BotRemoved,
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
    Text,
    Typing,
    room_id,
)
from core.text.html import parse as parse_html
from core.text.markdown import parse as parse_markdown
from core.text.ops import concat, link, strip, web_link

DOWNLOAD: Final = "application/vnd.microsoft.teams.file.download.info"
REFERENCE: Final = "reference"
EMOJI: Final = {
    "like": "👍",
    "heart": "❤️",
    "laugh": "😆",
    "surprised": "😮",
    "sad": "😢",
    "angry": "😡",
    "launch": "🚀",
}
"""Reactions that Teams calls by words (Bot Framework MessageReactionTypes; Teams SDK, MessageReactionType)."""
TYPES: Final = {emoji.rstrip("\ufe0f"): name for name, emoji in EMOJI.items()}
_BY_CODE = re.compile(r"([0-9a-f]{4,6}(?:[-_][0-9a-f]{4,6})*)(?:_.*)?")
_TEAM_GONE: Final = frozenset({"teamDeleted", "teamHardDeleted"})
_MAX_FILES = 20


class SharedFile(msgspec.Struct, frozen=True):
    """Where the bytes of a FileRef are. ``ours``: at the service, which wants the bot's token."""

    url: str
    ours: bool


Found = tuple[list[PlatformEvent], dict[str, SharedFile]]


def events(activity: Activity, account: AccountId, room: Room, own_ids: frozenset[str], now_ms: int) -> Found:
    """What an activity of people tells, and where the files in it are. Comings and goings of the bot, and what
    happens to a team, are :func:`changes`.
    """
    where = room_id(account, activity.room)
    sender = activity.sender
    at_ms = activity.at_ms(now_ms)
    if sender is None or sender.id in own_ids or not activity.room:
        return [], {}
    event_type = activity.data().event_type or ""
    if activity.type == "message" and activity.id:
        return _message(activity, account, where, sender, at_ms)
    if activity.type == "messageUpdate" and activity.id and event_type in ("", "editMessage", "undeleteMessage"):
        return _edit(activity, account, where, sender, at_ms)
    if activity.type == "messageDelete" and activity.id and event_type in ("", "softDeleteMessage"):
        native = NativeId(f"{activity.id}:deleted:{activity.timestamp or ''}")
        return [MessageDeleted(room=where, native=native, at_ms=at_ms, target=NativeId(activity.id))], {}
    if activity.type == "messageReaction" and activity.reply_to_id and activity.id:
        return list(_reactions(activity, where, sender, at_ms)), {}
    if activity.type == "typing":
        native = NativeId(activity.id or f"typing:{at_ms}")
        return [Typing(room=where, native=native, at_ms=at_ms, author=_author(sender))], {}
    return [], {}


def changes(
    activity: Activity, account: AccountId, room: Room, team: Sequence[Room], own_ids: frozenset[str], now_ms: int
) -> list[PlatformEvent]:
    """What a conversationUpdate or installationUpdate tells. ``team``: the rooms of its team that are known."""
    event_type = activity.data().event_type or ""
    stamp = activity.id or activity.timestamp or str(now_ms)
    at_ms = activity.at_ms(now_ms)
    found: list[PlatformEvent] = []
    if activity.type == "installationUpdate":
        action = activity.action or ""
        if action.startswith("add") and not action.endswith("upgrade"):
            found.append(_added(activity, account, room, stamp, at_ms))
        elif action.startswith("remove") and not action.endswith("upgrade"):
            found += _gone(account, _all(room, team), "the app was removed", stamp, at_ms)
        return found
    where = room_id(account, room.id)
    for person in activity.members_added or ():
        if person.id in own_ids:
            found.append(_added(activity, account, room, stamp, at_ms))
        elif person.id:
            native = NativeId(f"{stamp}:joined:{person.id}")
            found.append(Joined(room=where, native=native, at_ms=at_ms, author=_author(person)))
    for person in activity.members_removed or ():
        if person.id in own_ids:
            found += _gone(account, _all(room, team), "the bot was removed", stamp, at_ms)
        elif person.id:
            native = NativeId(f"{stamp}:left:{person.id}")
            found.append(Left(room=where, native=native, at_ms=at_ms, author=_author(person)))
    return found + _renamed_or_gone(activity, account, room, team, event_type, stamp, at_ms)


def _renamed_or_gone(
    activity: Activity,
    account: AccountId,
    room: Room,
    team: Sequence[Room],
    event_type: str,
    stamp: str,
    at_ms: int,
) -> list[PlatformEvent]:
    channel = activity.data().channel
    here = next((one for one in team if channel and one.id == channel.id), None)
    if event_type == "channelDeleted" and channel:
        return _gone(account, [Room(channel.id)], "the channel was deleted", stamp, at_ms)
    if event_type in _TEAM_GONE:
        return _gone(account, _all(room, team), "the team was deleted", stamp, at_ms)
    renamed: Sequence[Room] = ()
    if event_type == "channelRenamed" and here:
        renamed = (here,)
    elif event_type == "teamRenamed":
        renamed = _all(room, team)
    elif activity.topic_name:
        renamed = (room,)
    native = NativeId(f"{stamp}:renamed")
    return [
        RoomRenamed(room=room_id(account, one.id), native=native, at_ms=at_ms, title=one.title)
        for one in renamed
        if one.title
    ]


def _all(room: Room, team: Sequence[Room]) -> list[Room]:
    return [*team, *([] if any(one.id == room.id for one in team) else [room])]


def _added(activity: Activity, account: AccountId, room: Room, stamp: str, at_ms: int) -> BotAdded:
    sender = activity.sender
    by = _author(sender) if sender and sender.name and not sender.is_bot else None
    return BotAdded(
        room=room_id(account, room.id), native=NativeId(f"{stamp}:added"), at_ms=at_ms, title=room.shown, by=by
    )


def _gone(account: AccountId, rooms: Sequence[Room], why: str, stamp: str, at_ms: int) -> list[PlatformEvent]:
    native = NativeId(f"{stamp}:removed")
    return [BotRemoved(room=room_id(account, room.id), native=native, at_ms=at_ms, reason=why) for room in rooms]


# --- messages -----------------------------------------------------------------------------------------------


def _author(person: Person) -> Author:
    return Author(person.id, person.name or "somebody", is_bot=person.is_bot)


def _message(activity: Activity, account: AccountId, where: RoomId, sender: Person, at_ms: int) -> Found:
    marks = activity.marks()
    files, where_from = _files(activity, account)
    text = strip(concat(_text(activity, marks), *_references(activity)))
    if not text.plain and not files:
        return [], {}
    native = activity.id or ""
    root = activity.root if activity.root != native else ""
    message = MessageNew(
        room=where,
        native=NativeId(native),
        at_ms=at_ms,
        author=_author(sender),
        text=text,
        files=files,
        reply_to=_answers(activity, marks, root),
        thread=NativeId(root),
        bridged=sender.is_bot,
    )
    return [message], where_from


def _edit(activity: Activity, account: AccountId, where: RoomId, sender: Person, at_ms: int) -> Found:
    files, where_from = _files(activity, account)
    edit = MessageEdited(
        room=where,
        native=NativeId(f"{activity.id}:edited:{activity.timestamp or at_ms}"),
        at_ms=at_ms,
        target=NativeId(activity.id or ""),
        author=_author(sender),
        text=strip(concat(_text(activity, activity.marks()), *_references(activity))),
        files=files,
    )
    return ([edit], where_from) if edit.text.plain or files else ([], {})


def _html(activity: Activity) -> str:
    for attachment in activity.attachments or ():
        if attachment.content_type == "text/html" and isinstance(attachment.content, str):
            return attachment.content
    return ""


def _text(activity: Activity, marks: Sequence[Mark]) -> Text:
    """The body: its HTML where there is one, for ``text`` has lost the formatting."""
    own_id = activity.recipient.id if activity.recipient else ""
    source, said = _html(activity), activity.text or ""
    if not source and activity.text_format == "xml":
        source = said
    if source:
        return read_html(source, marks, own_id)
    read = read_plain(said, marks, own_id)
    if activity.text_format == "markdown" and not read.entities:
        return parse_markdown(read.plain)
    return read


def _answers(activity: Activity, marks: Sequence[Mark], root: str) -> ReplyTo | None:
    """The message that is quoted, else the first one of the thread: in a channel everything below it answers it."""
    for mark in marks:
        quoted = mark.quoted_reply
        if mark.type == "quotedReply" and quoted and quoted.message_id:
            excerpt = parse_html(quoted.preview or "").plain[:200]
            return ReplyTo(NativeId(quoted.message_id), quoted.sender_name or "", excerpt)
    native, name, excerpt = quoted_in(_html(activity))
    if native:
        return ReplyTo(NativeId(native), name, excerpt)
    return ReplyTo(NativeId(root)) if root else None


def _reactions(activity: Activity, where: RoomId, sender: Person, at_ms: int) -> Iterator[Reaction]:
    both = (("+", activity.reactions_added), ("-", activity.reactions_removed))
    for sign, emotions in both:
        for emotion in emotions or ():
            if emotion.type:
                yield Reaction(
                    room=where,
                    native=NativeId(f"{activity.id}:{sign}{emotion.type}"),
                    at_ms=at_ms,
                    target=NativeId(activity.reply_to_id or ""),
                    author=_author(sender),
                    emoji=emoji_of(emotion.type),
                    added=sign == "+",
                )


def emoji_of(kind: str) -> str:
    """``like`` → 👍, ``1f440_eyes`` → 👀; what is not known as ``:name:``."""
    if kind in EMOJI:
        return EMOJI[kind]
    if by_code := _BY_CODE.fullmatch(kind):
        codes = [int(code, 16) for code in re.split("[-_]", by_code[1])]
        if all(0xA9 <= code <= 0x10FFFF and not 0xD800 <= code <= 0xDFFF for code in codes):
            return "".join(map(chr, codes))
    return f":{re.sub(r'[^A-Za-z0-9_+-]', '', kind)[:40] or 'reaction'}:"


# --- files --------------------------------------------------------------------------------------------------


def _files(activity: Activity, account: AccountId) -> tuple[tuple[FileRef, ...], dict[str, SharedFile]]:
    files: list[FileRef] = []
    where_from: dict[str, SharedFile] = {}
    for number, attachment in enumerate((activity.attachments or ())[:_MAX_FILES]):
        shared = _shared(attachment)
        if shared is None:
            continue
        file, mime = shared
        ref = blake2b(f"{activity.room}\n{activity.id}\n{number}".encode(), digest_size=16).hexdigest()
        where_from[ref] = file
        name = attachment.name or f"picture.{mime.partition('/')[2] or 'png'}"
        files.append(FileRef(account, ref, name, mime))
    return tuple(files), where_from


def _shared(attachment: Attachment) -> tuple[SharedFile, str] | None:
    kind = (attachment.content_type or "").lower()
    url = attachment.content_url or ""
    if kind == DOWNLOAD and isinstance(attachment.content, dict):
        url = _word(attachment.content, "downloadUrl")
        return (SharedFile(url, ours=False), _mime(attachment.name or "")) if url else None
    if kind.startswith(("image/", "audio/", "video/")) and url.startswith(("http://", "https://")):
        mime = "image/png" if kind == "image/*" else kind
        return SharedFile(url, ours=True), mime
    return None


def _mime(name: str) -> str:
    import mimetypes

    return mimetypes.guess_type(name)[0] or "application/octet-stream"


def _word(content: dict[str, Any], name: str) -> str:
    value = content.get(name)
    return value if isinstance(value, str) else ""


def _references(activity: Activity) -> Iterator[Text]:
    """Files in a team's library: bots may not open them, so their links are passed on."""
    for attachment in (activity.attachments or ())[:_MAX_FILES]:
        url = attachment.content_url or ""
        if attachment.content_type == REFERENCE and web_link(url):
            yield concat(Text("\n📎 "), link(attachment.name or "file", url))

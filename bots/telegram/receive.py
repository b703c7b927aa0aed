"""Updates of the Bot API as events (core.telegram.org/bots/api#update). Pure: what has to be looked up comes later.

A forum topic is a room of its own: its native id is ``<chat id>:<thread id>``, that of any other chat ``<chat id>``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import msgspec

from bots.telegram.kinds import chat_name, person_name, readable
from bots.telegram.text import as_command, incoming
from core.model import (
    AccountId,
    Author,
    BotAdded,
    BotRemoved,
    FileRef,
    Joined,
    Left,
    MessageEdited,
    MessageNew,
    NativeId,
    PlatformEvent,
    Reaction,
    ReplyTo,
    RoomId,
    RoomMoved,
    RoomRenamed,
    Text,
    room_id,
)
from core.rendering import size_label
from core.text.ops import concat, italic, plain, slice_text

Raw = Mapping[str, Any]
ALLOWED_UPDATES: Final = (
    "message",
    "edited_message",
    "channel_post",
    "edited_channel_post",
    "message_reaction",
    "my_chat_member",
    "chat_member",
)
"""Reactions and members are sent only when they are asked for."""
PAID_REACTION: Final = "⭐"
CUSTOM_REACTION: Final = ":custom_emoji:"
EXCERPT_CHARS: Final = 200
FIRST_SUPERGROUP: Final = -1_000_000_000_000
"""Ids of supergroups and channels are below this (core.telegram.org/api/bots/ids)."""
_PRESENT: Final = ("creator", "administrator", "member")
_FILES: Final[dict[str, tuple[str, str]]] = {
    "animation": ("animation.mp4", "video/mp4"),
    "document": ("file", "application/octet-stream"),
    "video": ("video.mp4", "video/mp4"),
    "audio": ("audio.mp3", "audio/mpeg"),
    "voice": ("voice.ogg", "audio/ogg"),
    "video_note": ("video.mp4", "video/mp4"),
}
"""An animation also has a ``document``, so it stands before it."""


class Me(msgspec.Struct, frozen=True):
    """Who reads the updates."""

    account: AccountId
    id: int
    username: str
    prefix: str
    download_limit_bytes: int
    hears_all: bool = True
    """Privacy mode is off (User.can_read_all_group_messages)."""


def events(update: Raw, me: Me) -> list[PlatformEvent]:
    """The events that an update means; none for what is not conversation or not known."""
    number = update.get("update_id", 0)
    for kind in ALLOWED_UPDATES:
        body = update.get(kind)
        if isinstance(body, Mapping) and isinstance(body.get("chat"), Mapping):
            if kind in ("message", "channel_post"):
                return list(_message(body, me))
            if kind in ("edited_message", "edited_channel_post"):
                return list(_edit(body, me, number))
            if kind == "message_reaction":
                return list(_reactions(body, me, number))
            if kind == "my_chat_member":
                return list(_our_membership(body, me, number))
            return list(_membership(body, me))
    return []


def body_of(update: Raw) -> Raw:
    """What an update is about: the message, the reaction, the change of a member."""
    return next((update[kind] for kind in ALLOWED_UPDATES if isinstance(update.get(kind), Mapping)), {})


def native_of(message: Raw) -> str:
    """The native room of a message. Only topics of forums count: replies in other groups have a thread id too."""
    chat = str(message["chat"]["id"])
    thread = message.get("message_thread_id")
    return f"{chat}:{thread}" if thread and message.get("is_topic_message") else chat


def _room(message: Raw, me: Me) -> RoomId:
    return room_id(me.account, native_of(message))


def _ms(message: Raw, field: str = "date") -> int:
    return int(message.get(field) or 0) * 1000


# --- messages -----------------------------------------------------------------------------------------------


def _message(message: Raw, me: Me) -> Iterator[PlatformEvent]:
    if _is_service(message):
        yield from _service(message, me)
        return
    author = _author(message)
    if author.id == str(me.id):
        return
    text, files = _text(message, me), _files(message, me)
    if not text.plain and not files:
        return
    private = message["chat"].get("type") == "private"
    yield MessageNew(
        room=_room(message, me),
        native=NativeId(str(message["message_id"])),
        at_ms=_ms(message),
        author=author,
        text=as_command(text, me.prefix, me.username, private=private),
        files=files,
        reply_to=_reply(message, me),
        bridged=author.is_bot or bool(message.get("via_bot")),
    )


def _edit(message: Raw, me: Me, number: int) -> Iterator[PlatformEvent]:
    author = _author(message)
    # A live location is edited every few seconds; nobody wants to read that.
    if author.id == str(me.id) or "location" in message:
        return
    text = _text(message, me)
    if text.plain or _files(message, me):
        yield MessageEdited(
            room=_room(message, me),
            native=NativeId(f"u{number}"),
            at_ms=_ms(message, "edit_date") or _ms(message),
            target=NativeId(str(message["message_id"])),
            author=author,
            text=text,
        )


def _author(message: Raw) -> Author:
    chat, sender, user = message["chat"], message.get("sender_chat"), message.get("from")
    if isinstance(sender, Mapping):
        # Anonymous admins, channels: ``from`` is a stand-in then (GroupAnonymousBot, Channel_Bot, Telegram).
        signature = str(message.get("author_signature") or "")
        is_own = sender.get("id") == chat.get("id")
        name = chat_name(sender)
        if signature:
            name = signature if chat.get("type") == "channel" else f"{name} ({signature})"
        return Author(str(sender.get("id")), name, role="admin" if is_own else "")
    if isinstance(user, Mapping):
        return _person(user)
    return Author(str(chat["id"]), str(message.get("author_signature") or "") or chat_name(chat), role="admin")


def _person(user: Raw) -> Author:
    return Author(str(user.get("id")), person_name(user), is_bot=bool(user.get("is_bot")))


def _text(message: Raw, me: Me) -> Text:
    if isinstance(message.get("text"), str):
        text = incoming(message["text"], message.get("entities") or ())
    else:
        caption = message.get("caption")
        text = incoming(caption, message.get("caption_entities") or ()) if isinstance(caption, str) else Text()
        shown = [Text(words) for words in (readable(message), *_too_large(message, me)) if words]
        text = _joined([*shown, text])
    origin = message.get("forward_origin")
    if isinstance(origin, Mapping) and not message.get("is_automatic_forward"):
        text = _joined([italic(f"Forwarded from {_origin_name(origin)}"), text])
    return text


def _joined(texts: Sequence[Text]) -> Text:
    found = [text for text in texts if text.plain]
    lines = [piece for text in found for piece in (plain("\n"), text)]
    return concat(*lines[1:]) if lines else Text()


def _origin_name(origin: Raw) -> str:
    user, chat = origin.get("sender_user"), origin.get("sender_chat") or origin.get("chat")
    if isinstance(user, Mapping):
        return person_name(user)
    if isinstance(chat, Mapping):
        return chat_name(chat)
    return str(origin.get("sender_user_name") or "somebody")


# --- files --------------------------------------------------------------------------------------------------


def _media(message: Raw) -> tuple[Raw, str, str] | None:
    """The file of a message, a name and a MIME type for it."""
    photos = [size for size in message.get("photo") or () if isinstance(size, Mapping)]
    if photos:
        largest = max(photos, key=lambda size: (size.get("width") or 0) * (size.get("height") or 0))
        return largest, f"photo_{largest.get('file_unique_id', '')}.jpg", "image/jpeg"
    for field, (name, mime) in _FILES.items():
        file = message.get(field)
        if isinstance(file, Mapping):
            return file, str(file.get("file_name") or name), str(file.get("mime_type") or mime)
    return None


def _files(message: Raw, me: Me) -> tuple[FileRef, ...]:
    found = _media(message)
    if found is None or not isinstance(found[0].get("file_id"), str) or _too_large(message, me):
        return ()
    file, name, mime = found
    return (FileRef(me.account, file["file_id"], name, mime, int(file.get("file_size") or 0)),)


def _too_large(message: Raw, me: Me) -> tuple[str, ...]:
    found = _media(message)
    size_bytes = int(found[0].get("file_size") or 0) if found else 0
    if found is None or size_bytes <= me.download_limit_bytes:
        return ()
    return (f"📎 {found[1]} ({size_label(size_bytes)}; larger than Telegram gives to bots)",)


def merged(album: Sequence[MessageNew]) -> MessageNew:
    """The messages of an album as one: the first one's, with all files and captions."""
    first = album[0]
    return msgspec.structs.replace(
        first,
        text=_joined([part.text for part in album]),
        files=tuple(file for part in album for file in part.files),
        reply_to=next((part.reply_to for part in album if part.reply_to), None),
    )


# --- replies ------------------------------------------------------------------------------------------------


def _reply(message: Raw, me: Me) -> ReplyTo | None:
    answered = message.get("reply_to_message")
    if not isinstance(answered, Mapping) or "message_id" not in answered or "forum_topic_created" in answered:
        # In a topic, whatever answers nothing else is said to answer the message that opened the topic.
        return None
    author = _author(answered) if "chat" in answered else Author("", "")
    text = _text(answered, me) if "chat" in answered else Text()
    quote = message.get("quote")
    if author.id == str(me.id):
        # The core knows whose words a post of ours holds; the name in front of them is no part of the words.
        author, text = Author("", ""), _without_name(text)
    excerpt = str(quote.get("text") or "") if isinstance(quote, Mapping) else text.plain
    return ReplyTo(NativeId(str(answered["message_id"])), author.name, excerpt[:EXCERPT_CHARS])


def _without_name(text: Text) -> Text:
    first = text.entities[0] if text.entities else None
    if first and first.type == "bold" and first.start == 0 and text.plain.startswith(": ", first.length):
        return slice_text(text, first.length + 2, len(text.plain))
    return text


# --- service messages ---------------------------------------------------------------------------------------

_SERVICE = frozenset(
    {
        *("migrate_to_chat_id", "migrate_from_chat_id", "new_chat_members", "left_chat_member", "new_chat_title"),
        *("forum_topic_created", "forum_topic_edited"),
    }
)


def _is_service(message: Raw) -> bool:
    return not _SERVICE.isdisjoint(message)


def _service(message: Raw, me: Me) -> Iterator[PlatformEvent]:
    chat, at_ms = message["chat"], _ms(message)
    here = room_id(me.account, str(chat["id"]))
    if move := migration(message):
        old, new = (room_id(me.account, str(native)) for native in move)
        yield RoomMoved(room=old, native=NativeId(f"migrate:{move[1]}"), at_ms=at_ms, to=new)
    for user in message.get("new_chat_members") or ():
        if isinstance(user, Mapping) and user.get("id") != me.id:
            yield Joined(room=here, native=_coming(user, message), at_ms=at_ms, author=_person(user))
    left = message.get("left_chat_member")
    if isinstance(left, Mapping) and left.get("id") != me.id:
        yield Left(room=here, native=_coming(left, message), at_ms=at_ms, author=_person(left))
    topic = message.get("forum_topic_edited")
    title = topic.get("name") if isinstance(topic, Mapping) else message.get("new_chat_title")
    if isinstance(title, str) and title:
        room = _room(message, me) if topic else here
        yield RoomRenamed(room=room, native=NativeId(str(message["message_id"])), at_ms=at_ms, title=title)


def migration(message: Raw) -> tuple[int, int] | None:
    """(old id, new id) where the message itself is Telegram's word that a group became a supergroup."""
    chat = message["chat"]
    here, to, came_from = chat.get("id"), message.get("migrate_to_chat_id"), message.get("migrate_from_chat_id")
    if isinstance(to, int) and chat.get("type") == "group":
        return (here, to) if to < FIRST_SUPERGROUP < here < 0 else None
    if isinstance(came_from, int) and chat.get("type") == "supergroup":
        return (came_from, here) if here < FIRST_SUPERGROUP < came_from < 0 else None
    return None


def _coming(user: Raw, message: Raw) -> NativeId:
    """The same for the message that says it and for the change of the member, which admins are sent as well."""
    return NativeId(f"{user.get('id')}@{message.get('date')}")


# --- reactions and members ----------------------------------------------------------------------------------


def _reactions(body: Raw, me: Me, number: int) -> Iterator[PlatformEvent]:
    actor, user = body.get("actor_chat"), body.get("user")
    if isinstance(actor, Mapping):
        author = Author(str(actor.get("id")), chat_name(actor))
    elif isinstance(user, Mapping) and user.get("id") != me.id:
        author = _person(user)
    else:
        return
    old, new = _emoji(body.get("old_reaction")), _emoji(body.get("new_reaction"))
    changes = [(emoji, False) for emoji in old if emoji not in new]
    changes += [(emoji, True) for emoji in new if emoji not in old]
    for place, (emoji, added) in enumerate(changes):
        yield Reaction(
            room=room_id(me.account, str(body["chat"]["id"])),
            native=NativeId(f"u{number}.{place}"),
            at_ms=_ms(body),
            target=NativeId(str(body.get("message_id"))),
            author=author,
            emoji=emoji,
            added=added,
        )


def _emoji(reactions: Any) -> list[str]:
    found = []
    for reaction in reactions if isinstance(reactions, Sequence) else ():
        kind = reaction.get("type") if isinstance(reaction, Mapping) else ""
        if kind == "emoji" and isinstance(reaction.get("emoji"), str):
            found.append(reaction["emoji"])
        elif kind == "custom_emoji":
            found.append(CUSTOM_REACTION)
        elif kind == "paid":
            found.append(PAID_REACTION)
    return found


def is_present(member: Any) -> bool:
    """Is somebody with this ChatMember in the chat?"""
    status = member.get("status") if isinstance(member, Mapping) else ""
    return status in _PRESENT or (status == "restricted" and bool(member.get("is_member")))


def _our_membership(body: Raw, me: Me, number: int) -> Iterator[PlatformEvent]:
    room, native, at_ms = _room(body, me), NativeId(f"u{number}"), _ms(body)
    before, after = is_present(body.get("old_chat_member")), is_present(body.get("new_chat_member"))
    user, private = body.get("from"), body["chat"].get("type") == "private"
    by = _person(user) if isinstance(user, Mapping) else None
    if after and not before:
        title = chat_name(body["chat"])
        yield BotAdded(room=room, native=native, at_ms=at_ms, title=title, by=by, greet=not private)
    elif before and not after:
        reason = "the bot was blocked" if private else "the bot was removed from the chat"
        yield BotRemoved(room=room, native=native, at_ms=at_ms, reason=reason)


def _membership(body: Raw, me: Me) -> Iterator[PlatformEvent]:
    member = body.get("new_chat_member")
    user = member.get("user") if isinstance(member, Mapping) else None
    if not isinstance(user, Mapping) or user.get("id") == me.id:
        return
    before, after = is_present(body.get("old_chat_member")), is_present(member)
    kind = Joined if after and not before else Left if before and not after else None
    if kind is not None:
        yield kind(room=_room(body, me), native=_coming(user, body), at_ms=_ms(body), author=_person(user))

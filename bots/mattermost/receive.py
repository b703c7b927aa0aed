"""What the server says, as events of the relay. Pure: whoever is named in it was looked up before."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, TypeVar

import msgspec

from bots.mattermost import emojis
from bots.mattermost.text import incoming
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
    Text,
    Typing,
    room_id,
)
from core.text.ops import concat, plain

Kind = TypeVar("Kind")
HOOK: Final = "hook:"
"""Before the author id of what a webhook or another integration posted: its user is not who speaks."""
_FLAGS: Final = ("from_webhook", "from_bot", "from_plugin", "from_oauth_app")
_TYPES: Final = ("", "me", "slack_attachment")
_EXCERPT: Final = ("pretext", "title", "text")


class FileInfo(msgspec.Struct, frozen=True):
    """A file, as ``metadata.files`` of a post has it."""

    id: str
    name: str = "file"
    mime_type: str = ""
    size: int = 0


class Metadata(msgspec.Struct, frozen=True):
    """The part of a post's metadata that matters here."""

    files: list[FileInfo] | None = None


class Post(msgspec.Struct, frozen=True):
    """A post (server/public/model/post.go)."""

    id: str
    channel_id: str
    user_id: str = ""
    create_at: int = 0
    edit_at: int = 0
    delete_at: int = 0
    root_id: str = ""
    message: str = ""
    type: str = ""
    props: dict[str, Any] | None = None
    file_ids: list[str] | None = None
    metadata: Metadata | None = None

    def prop(self, name: str) -> str:
        """A property of it, if it is a word."""
        found = (self.props or {}).get(name)
        return found if isinstance(found, str) else "true" if found is True else ""


class ReactionInfo(msgspec.Struct, frozen=True):
    """A reaction (server/public/model/reaction.go)."""

    user_id: str
    post_id: str
    emoji_name: str


class Broadcast(msgspec.Struct, frozen=True):
    """Whom an event is for."""

    channel_id: str | None = ""
    user_id: str | None = ""
    team_id: str | None = ""


class Frame(msgspec.Struct, frozen=True):
    """A frame of the websocket: an event, or the answer to an action."""

    event: str = ""
    data: dict[str, Any] | None = None
    broadcast: Broadcast | None = None
    seq: int = 0
    status: str = ""
    seq_reply: int = 0

    def text(self, name: str) -> str:
        """A word of its data."""
        found = (self.data or {}).get(name)
        return found if isinstance(found, str) else ""

    def channel(self) -> str:
        """The channel that it is about."""
        return (self.broadcast and self.broadcast.channel_id) or self.text("channel_id")


class Person(msgspec.Struct, frozen=True):
    """A user as people know them."""

    id: str
    name: str
    username: str = ""
    is_bot: bool = False


class Here(msgspec.Struct, frozen=True):
    """What a frame is read with. ``native``: an id of the frame that it has again when it is sent again."""

    account: AccountId
    me: str
    people: Mapping[str, Person]
    native: str
    now_ms: int
    overrides: bool = True
    """The server lets integrations choose the name that they post under."""

    def room(self, channel: str) -> RoomId:
        """The RoomId of a channel."""
        return room_id(self.account, channel)

    def author(self, user: str) -> Author:
        """Somebody, as an author."""
        person = self.people.get(user) or Person(user, user)
        return Author(user, person.name, is_bot=person.is_bot)


def post_of(frame: Frame) -> Post | None:
    """The post in an event: JSON in a string of the JSON."""
    return _inner(frame.text("post"), Post)


def reaction_of(frame: Frame) -> ReactionInfo | None:
    """The reaction in an event."""
    return _inner(frame.text("reaction"), ReactionInfo)


def _inner(raw: str, kind: type[Kind]) -> Kind | None:
    try:
        return msgspec.json.decode(raw, type=kind)
    except (msgspec.DecodeError, msgspec.ValidationError, UnicodeError):
        return None


def who(frame: Frame) -> str:
    """The user whose doing a frame is; empty where there is none."""
    if frame.event in ("posted", "post_edited", "post_deleted"):
        post = post_of(frame)
        return post.user_id if post else ""
    if frame.event in ("reaction_added", "reaction_removed"):
        reaction = reaction_of(frame)
        return reaction.user_id if reaction else ""
    return frame.text("user_id") if frame.event in ("typing", "user_added", "user_removed") else ""


def translate(frame: Frame, here: Here) -> PlatformEvent | None:
    """The event that a frame means; None where it means nothing to other rooms, or is our own doing."""
    channel = frame.channel()
    if frame.event in ("posted", "post_edited", "post_deleted"):
        return _of_post(frame.event, post_of(frame), here)
    user = who(frame)
    if not channel or not user or user == here.me:
        return None
    base: dict[str, Any] = {"room": here.room(channel), "native": NativeId(here.native), "at_ms": here.now_ms}
    if frame.event in ("reaction_added", "reaction_removed"):
        return _of_reaction(frame, here, base)
    if frame.event == "typing":
        return Typing(author=here.author(user), **base)
    if frame.event == "user_added":
        return Joined(author=here.author(user), **base)
    return Left(author=here.author(user), **base) if frame.event == "user_removed" else None


def _of_post(event: str, post: Post | None, here: Here) -> PlatformEvent | None:
    if post is None or post.user_id == here.me or not relayed(post):
        return None
    if event == "posted":
        return said(post, here)
    return edited(post, here) if event == "post_edited" else deleted(post, here)


def relayed(post: Post) -> bool:
    """Is it something that somebody said? System posts, and those that vanish once they are read, are not."""
    return post.type in _TYPES or post.type.startswith("custom_")


def said(post: Post, here: Here) -> MessageNew | None:
    """A new message. A post in a thread answers its root: Mattermost has no other answers."""
    text, files = _words(post), _files(post, here.account)
    if not text.plain.strip() and not files:
        return None
    return MessageNew(
        room=here.room(post.channel_id),
        native=NativeId(post.id),
        at_ms=post.create_at,
        author=_author(post, here),
        text=text,
        files=files,
        reply_to=ReplyTo(NativeId(post.root_id)) if post.root_id else None,
        thread=NativeId(post.root_id),
        emote=post.type == "me",
        bridged=_is_bridged(post) or here.author(post.user_id).is_bot,
    )


def edited(post: Post, here: Here) -> MessageEdited | None:
    """A change of the words. Pinning comes as an edit, too, but leaves ``edit_at`` as it was."""
    if not post.edit_at:
        return None
    return MessageEdited(
        room=here.room(post.channel_id),
        native=NativeId(f"{post.id}:edit:{post.edit_at}"),
        at_ms=post.edit_at,
        target=NativeId(post.id),
        author=_author(post, here),
        text=_words(post),
        files=_files(post, here.account),
    )


def deleted(post: Post, here: Here) -> MessageDeleted:
    """It is gone; the server allows that only its author and admins."""
    return MessageDeleted(
        room=here.room(post.channel_id),
        native=NativeId(f"{post.id}:delete"),
        at_ms=post.delete_at or here.now_ms,
        target=NativeId(post.id),
    )


def _of_reaction(frame: Frame, here: Here, base: dict[str, Any]) -> Reaction | None:
    found = reaction_of(frame)
    if found is None:
        return None
    return Reaction(
        target=NativeId(found.post_id),
        author=here.author(found.user_id),
        emoji=emojis.shown(found.emoji_name) or f":{found.emoji_name}:",
        added=frame.event == "reaction_added",
        **base,
    )


def _is_bridged(post: Post) -> bool:
    return any(post.prop(flag) == "true" for flag in _FLAGS)


def _author(post: Post, here: Here) -> Author:
    author = here.author(post.user_id)
    if post.prop("from_webhook") != "true":
        return author
    name = (post.prop("override_username") if here.overrides else "") or post.prop("webhook_display_name")
    return Author(HOOK + post.user_id, name or author.name, is_bot=True)


def _words(post: Post) -> Text:
    message = post.message
    if post.type == "me":
        message = post.prop("message") or message.removeprefix("*").removesuffix("*")
    text = incoming(message)
    attached = (post.props or {}).get("attachments")
    for each in attached if isinstance(attached, list) else ():
        if isinstance(each, dict):
            found = [str(each[name]) for name in _EXCERPT if isinstance(each.get(name), str) and each[name]]
            words = incoming("\n".join(found) or str(each.get("fallback") or ""))
            text = concat(text, plain("\n"), words) if text.plain else words
    return text


def _files(post: Post, account: AccountId) -> tuple[FileRef, ...]:
    infos = (post.metadata and post.metadata.files) or [FileInfo(ref) for ref in post.file_ids or ()]
    return tuple(
        FileRef(account, info.id, info.name, info.mime_type or "application/octet-stream", info.size) for info in infos
    )

"""What the gateway's payloads mean: pure functions from a payload to an event (Events, Gateway Events; Message)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from bots.discord.cache import Cache, Place
from bots.discord.text import Lookup, excerpt, incoming
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
    Typing,
    room_id,
)
from core.text.ops import concat, plain

Json = Mapping[str, Any]
SAID: Final = frozenset({0, 19, 20, 23})
"""Message types that are somebody's words: a message, a reply, an answer to a command."""
EPOCH_MS: Final = 1_420_070_400_000
_FORWARD: Final = 1
_CODE_MENTION = "<@!?{}>\\s*"


class Me(NamedTuple):
    """Who we are."""

    account: AccountId
    user: str
    application: str
    prefix: str
    cdn_url: str

    def room(self, place: Place) -> RoomId:
        """The RoomId of a place."""
        return room_id(self.account, place.room)

    def is_ours(self, raw: Json) -> bool:
        """Did we post this message, as the bot or by a webhook of ours?"""
        by_us = str(raw.get("author", {}).get("id")) == self.user
        return by_us or bool(self.application and str(raw.get("application_id")) == self.application)


def at_ms(snowflake: str) -> int:
    """The moment in an id (Reference, Snowflakes)."""
    return (int(snowflake) >> 22) + EPOCH_MS


# --- people -------------------------------------------------------------------------------------------------


def name_of(user: Json, member: Json | None = None) -> str:
    """A person's name as the server's members see it."""
    nick = (member or {}).get("nick")
    return str(nick or user.get("global_name") or user.get("username") or user.get("id"))


def author_of(user: Json, member: Json | None, guild: str, me: Me, *, by_webhook: bool = False) -> Author:
    """Somebody, with their picture in this server."""
    native = str(user["id"])
    of_guild, of_user = (member or {}).get("avatar"), user.get("avatar")
    if of_guild and guild:
        picture = f"guilds/{guild}/users/{native}/avatars/{of_guild}.png"
    elif of_user:
        picture = f"avatars/{native}/{of_user}.png"
    else:
        picture = f"embed/avatars/{(int(native) >> 22) % 6}.png"
    is_bot = by_webhook or bool(user.get("bot"))
    return Author(native, name_of(user, member), f"{me.cdn_url}/{picture}", is_bot)


# --- messages -----------------------------------------------------------------------------------------------


def new_message(raw: Json, place: Place, cache: Cache, me: Me) -> MessageNew | None:
    """MESSAGE_CREATE, and a message of the history; None for what is ours or nobody's words."""
    if int(raw.get("type", 0)) not in SAID or me.is_ours(raw):
        return None
    text, files = _content(raw, cache, me)
    if not text.plain.strip() and not files:
        return None
    author = _author(raw, me)
    return MessageNew(
        room=me.room(place),
        native=NativeId(place.native(str(raw["id"]))),
        at_ms=at_ms(str(raw["id"])),
        author=author,
        text=text if author.is_bot else as_command(text, raw, me),
        files=files,
        reply_to=_reply(raw, place),
        thread=NativeId(place.thread),
        bridged=author.is_bot,
    )


def edited_message(raw: Json, place: Place, cache: Cache, me: Me) -> MessageEdited | None:
    """MESSAGE_UPDATE; None where nobody changed the words (a link's preview that has come, a pin)."""
    edited = raw.get("edited_timestamp")
    if not edited or "author" not in raw or int(raw.get("type", 0)) not in SAID or me.is_ours(raw):
        return None
    text, files = _content(raw, cache, me)
    return MessageEdited(
        room=me.room(place),
        native=NativeId(f"{raw['id']}@{edited}"),
        at_ms=_iso_ms(str(edited)),
        target=NativeId(place.native(str(raw["id"]))),
        author=_author(raw, me),
        text=text,
        files=files,
    )


def deleted_message(message: str, place: Place, now_ms: int, me: Me) -> MessageDeleted:
    """One id of MESSAGE_DELETE or MESSAGE_DELETE_BULK. Discord lets only authors and moderators delete."""
    target = NativeId(place.native(message))
    return MessageDeleted(room=me.room(place), native=NativeId(f"{message}@deleted"), at_ms=now_ms, target=target)


def _author(raw: Json, me: Me) -> Author:
    by_webhook = bool(raw.get("webhook_id"))
    return author_of(raw["author"], raw.get("member"), str(raw.get("guild_id") or ""), me, by_webhook=by_webhook)


def _iso_ms(iso: str) -> int:
    from datetime import datetime

    return int(datetime.fromisoformat(iso).timestamp() * 1000)


def _reply(raw: Json, place: Place) -> ReplyTo | None:
    reference = raw.get("message_reference")
    if not isinstance(reference, Mapping) or reference.get("type") == _FORWARD or raw.get("type") != 19:
        return None
    answered = raw.get("referenced_message")
    native = NativeId(place.native(str(reference.get("message_id"))))
    if not isinstance(answered, Mapping):
        return ReplyTo(native)
    return ReplyTo(native, name_of(answered.get("author") or {}, None), excerpt(answered.get("content")))


def lookup(raw: Json, cache: Cache) -> Lookup:
    """Names for what a message mentions: of the message itself, else as last heard."""
    people = {str(user["id"]): name_of(user, user.get("member")) for user in raw.get("mentions") or ()}
    channels = {str(channel["id"]): str(channel["name"]) for channel in raw.get("mention_channels") or ()}

    def find(kind: str, native: str) -> str:
        if kind == "user":
            known = cache.name(native)
            return people.get(native) or ("" if known == native else known)
        if kind == "channel":
            found = cache.channels.get(native)
            return found.name if found else channels.get(native, "")
        guild = cache.guilds.get(str(raw.get("guild_id")))
        return guild.roles.get(native, ("", 0))[0] if guild else ""

    return find


def _content(raw: Json, cache: Cache, me: Me) -> tuple[Text, tuple[FileRef, ...]]:
    """A message's words, with what it holds besides, and its files."""
    texts = [incoming(str(raw.get("content") or ""), lookup(raw, cache))]
    sources = [raw]
    for snapshot in raw.get("message_snapshots") or ():
        forwarded = snapshot.get("message") or {}
        sources.append(forwarded)
        texts.append(concat(plain("↪ forwarded: "), incoming(str(forwarded.get("content") or ""), lookup(raw, cache))))
    for source in sources:
        texts += [plain(f"[sticker: {sticker.get('name')}]") for sticker in source.get("sticker_items") or ()]
        by_machine = bool(raw.get("webhook_id") or raw.get("author", {}).get("bot")) or source is not raw
        texts += [_embed(found) for found in source.get("embeds") or () if by_machine and found.get("type") == "rich"]
    if isinstance(poll := raw.get("poll"), Mapping):
        texts.append(_poll(poll))
    text = Text()
    for part in texts:
        if part.plain.strip():
            text = concat(text, plain("\n"), part) if text.plain else part
    where = f"{raw['channel_id']}/{raw['id']}"
    found = (attachment for source in sources for attachment in source.get("attachments") or ())
    return text, tuple(_file(attachment, where, me) for attachment in found)


def _file(raw: Json, where: str, me: Me) -> FileRef:
    mime = str(raw.get("content_type") or "application/octet-stream").partition(";")[0]
    name = str(raw.get("filename") or "file")
    return FileRef(me.account, f"{where}/{raw['id']}", name, mime, int(raw.get("size") or 0))


def _embed(raw: Json) -> Text:
    title, url = str(raw.get("title") or ""), str(raw.get("url") or "")
    lines = [incoming(" ".join(filter(None, (title, url))))]
    lines += [incoming(str(raw.get("description") or ""))]
    lines += [incoming(f"{field.get('name')}: {field.get('value')}") for field in raw.get("fields") or ()]
    text = Text()
    for line in lines:
        if line.plain:
            text = concat(text, plain("\n"), line) if text.plain else line
    return text


def _poll(raw: Json) -> Text:
    question = str((raw.get("question") or {}).get("text") or "")
    answers = [str((answer.get("poll_media") or {}).get("text") or "") for answer in raw.get("answers") or ()]
    return plain("\n".join([f"📊 {question}", *(f"• {answer}" for answer in answers)]))


def as_command(text: Text, raw: Json, me: Me) -> Text:
    """``@Sameroom open`` as the command it means."""
    content = str(raw.get("content") or "")
    found = re.match(_CODE_MENTION.format(re.escape(me.user)), content)
    return Text(f"-{me.prefix} {incoming(content[found.end() :]).plain}".rstrip()) if found else text


# --- the rest -----------------------------------------------------------------------------------------------


def reaction(raw: Json, place: Place, added: bool, mark: str, now_ms: int, cache: Cache, me: Me) -> Reaction | None:
    """MESSAGE_REACTION_ADD and MESSAGE_REACTION_REMOVE, which has no name in it."""
    user, emoji = str(raw["user_id"]), raw.get("emoji") or {}
    name = str(emoji.get("name") or "")
    if user == me.user or not name:
        return None
    member = raw.get("member")
    if isinstance(member, Mapping) and isinstance(member.get("user"), Mapping):
        author = author_of(member["user"], member, str(raw.get("guild_id") or ""), me)
    else:
        author = Author(user, cache.name(user))
    return Reaction(
        room=me.room(place),
        native=NativeId(mark),
        at_ms=now_ms,
        target=NativeId(place.native(str(raw["message_id"]))),
        author=author,
        emoji=f":{name}:" if emoji.get("id") else name,
        added=added,
    )


def typing(raw: Json, place: Place, mark: str, cache: Cache, me: Me) -> Typing | None:
    """TYPING_START; None for ourselves and other bots."""
    user, member = str(raw["user_id"]), raw.get("member")
    if user == me.user:
        return None
    author = Author(user, cache.name(user))
    if isinstance(member, Mapping) and isinstance(member.get("user"), Mapping):
        if member["user"].get("bot"):
            return None
        author = author_of(member["user"], member, str(raw.get("guild_id") or ""), me)
    at = int(raw.get("timestamp") or 0) * 1000
    return Typing(room=me.room(place), native=NativeId(mark), at_ms=at, author=author)

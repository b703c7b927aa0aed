"""Chats of Telegram and the people in them: what they do becomes the updates that a bot gets of it."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from tests.fakes.telegram_methods import emoji_of

FIRST_UPDATE = 400_000_001
SUPERGROUP = -1_000_000_000_000
NOT_BY_DEFAULT = {"chat_member", "message_reaction", "message_reaction_count"}
MEDIA = ("photo", "animation", "video", "audio", "document")
Raw = dict[str, Any]


@dataclass
class Person:
    """A user."""

    id: int
    first_name: str
    username: str = ""
    is_bot: bool = False

    def raw(self) -> Raw:
        """As a User object."""
        found: Raw = {"id": self.id, "is_bot": self.is_bot, "first_name": self.first_name}
        return found | ({"username": self.username} if self.username else {})


@dataclass
class Message:
    """A message in a chat."""

    raw: Raw
    by_bot: bool = False
    reactions: dict[int, list[str]] = field(default_factory=dict)

    @property
    def id(self) -> int:
        """Its id in the chat."""
        return int(self.raw["message_id"])

    @property
    def plain(self) -> str:
        """Text or caption."""
        return str(self.raw.get("text") or self.raw.get("caption") or "")


@dataclass
class Chat:
    """A chat: who is in it, as what, and what was said."""

    id: int
    kind: str
    title: str
    members: dict[int, str] = field(default_factory=dict)
    topics: dict[int, str] = field(default_factory=dict)
    messages: dict[int, Message] = field(default_factory=dict)
    next_id: int = 101
    migrated_to: int = 0
    linked: int = 0
    posted_at_s: list[float] = field(default_factory=list)

    def raw(self) -> Raw:
        """As a Chat object."""
        found: Raw = {"id": self.id, "type": self.kind}
        if self.kind == "private":
            return found | {"first_name": self.title}
        return found | {"title": self.title} | ({"is_forum": True} if self.topics else {})


class World:
    """Chats, people, files, and the updates that wait for the bot."""

    def __init__(self, bot_id: int) -> None:
        self.bot = Person(bot_id, "Bridge", "bridge_bot", is_bot=True)
        self.reads_all = True
        self.people: dict[int, Person] = {self.bot.id: self.bot}
        self.chats: dict[int, Chat] = {}
        self.files: dict[str, bytes] = {}
        self.updates: list[Raw] = []
        """Not confirmed yet."""
        self.allowed: list[str] | None = None
        """Kinds of updates that the bot asked for; None: Telegram's own choice."""
        self.on_update: Callable[[Raw], None] = lambda update: None
        self._next_update = FIRST_UPDATE
        self._next_chat = 0
        self._next_album = 0
        self._waiters: list[asyncio.Event] = []

    def changed(self) -> None:
        """Wake whoever waits for something."""
        for event in self._waiters:
            event.set()

    async def wait(self) -> None:
        """Return when something happened."""
        event = asyncio.Event()
        self._waiters.append(event)
        try:
            await event.wait()
        finally:
            self._waiters.remove(event)

    async def until(self, condition: Callable[[], Any], timeout_s: float = 10.0) -> Any:
        """Wait until ``condition`` is something; returns it."""
        async with asyncio.timeout(timeout_s):
            while not (found := condition()):
                await self.wait()
            return found

    # --- chats and people

    def person(self, first_name: str, username: str = "", *, is_bot: bool = False) -> Person:
        """A new user."""
        made = Person(1_000 + len(self.people), first_name, username, is_bot)
        self.people[made.id] = made
        return made

    def chat(self, title: str, *members: Person, kind: str = "supergroup", forum: bool = False) -> Chat:
        """A new chat; the first member is its creator. Add the bot with :meth:`add_bot`."""
        self._next_chat += 1
        if kind == "private":
            chat_id = members[0].id
        else:
            chat_id = -self._next_chat - 5_000 if kind == "group" else SUPERGROUP - self._next_chat - 5_000
        made = Chat(chat_id, kind, title, {p.id: "member" for p in members})
        if members:
            made.members[members[0].id] = "creator"
        if kind == "private":
            made.members[self.bot.id] = "member"
        if forum:
            made.topics[1] = "General"
        self.chats[chat_id] = made
        return made

    def add_bot(self, chat: Chat, by: Person, status: str = "member") -> None:
        """Add the bot, or change what it is; ``left`` and ``kicked`` take it out."""
        before = chat.members.get(self.bot.id, "left")
        chat.members[self.bot.id] = status
        change = {
            "chat": chat.raw(),
            "from": by.raw(),
            "date": int(time.time()),
            "old_chat_member": {"user": self.bot.raw(), "status": before},
            "new_chat_member": {"user": self.bot.raw(), "status": status},
        }
        self.push("my_chat_member", change)

    def topic(self, chat: Chat, name: str, by: Person) -> int:
        """A new topic; returns its thread id."""
        made = self.post(chat, by, forum_topic_created={"name": name, "icon_color": 1})
        chat.topics[made.id] = name
        return made.id

    def migrate(self, chat: Chat, *, tell: bool = True) -> Chat:
        """The group becomes a supergroup."""
        new = self.chat(chat.title)
        new.members = dict(chat.members)
        admin = self.people[next(iter(chat.members))]
        chat.migrated_to = new.id
        if tell:
            self.post(chat, admin, migrate_to_chat_id=new.id)
            self.post(new, admin, migrate_from_chat_id=chat.id)
        return new

    # --- people's doings

    def post(self, chat: Chat, by: Person, *, thread: int = 0, reply_to: int = 0, **fields: Any) -> Message:
        """Somebody posts a message with any fields."""
        raw: Raw = {"message_id": chat.next_id, "date": int(time.time()), "chat": chat.raw()}
        if chat.kind == "channel":
            raw["sender_chat"] = chat.raw()
        else:
            raw["from"] = by.raw()
        if thread:
            raw |= {"message_thread_id": thread, "is_topic_message": True}
            raw["reply_to_message"] = shallow(chat.messages[thread].raw)
        if reply_to:
            raw["reply_to_message"] = shallow(chat.messages[reply_to].raw)
        raw |= fields
        return self.keep(chat, raw)

    def keep(self, chat: Chat, raw: Raw, *, by_bot: bool = False) -> Message:
        """A message stands in a chat now."""
        message = Message(raw, by_bot)
        chat.messages[message.id] = message
        chat.next_id = message.id + 1
        if not by_bot and self._heard(chat, message):
            self.push("channel_post" if chat.kind == "channel" else "message", raw)
        if chat.kind == "channel" and chat.linked:
            self._forward(chat, message)
        self.changed()
        return message

    def _forward(self, channel: Chat, message: Message) -> None:
        group = self.chats[channel.linked]
        origin = {"type": "channel", "chat": channel.raw(), "message_id": message.id, "date": message.raw["date"]}
        telegram = Person(777_000, "Telegram")
        copied = {k: v for k, v in message.raw.items() if k in ("text", "entities", "caption", *MEDIA)}
        self.post(
            group, telegram, sender_chat=channel.raw(), is_automatic_forward=True, forward_origin=origin, **copied
        )

    def _heard(self, chat: Chat, message: Message) -> bool:
        """Does the bot get this message (core.telegram.org/bots/features#privacy-mode)?"""
        status = chat.members.get(self.bot.id, "left")
        if status in ("left", "kicked"):
            return False
        service = not any(name in message.raw for name in ("text", "caption", *MEDIA, "sticker"))
        if self.reads_all or status == "administrator" or chat.kind in ("private", "channel") or service:
            return True
        answered = message.raw.get("reply_to_message", {}).get("from", {}).get("id")
        named = f"@{self.bot.username}" in message.plain
        return message.plain.startswith("/") or answered == self.bot.id or named

    def say(self, chat: Chat, by: Person, text: str, *, entities: list[Raw] | None = None, **more: Any) -> Message:
        """Somebody says something."""
        return self.post(chat, by, text=text, **({"entities": entities} if entities else {}), **more)

    def edit(self, chat: Chat, message: int, text: str) -> None:
        """Somebody changes what they said."""
        raw = chat.messages[message].raw
        raw["caption" if "caption" in raw else "text"] = text
        raw.pop("entities", None)
        raw["edit_date"] = int(time.time())
        self.push("edited_channel_post" if chat.kind == "channel" else "edited_message", raw)

    def react(self, chat: Chat, by: Person, message: int, emoji: list[str]) -> None:
        """Somebody's reactions to a message are these now."""
        found = chat.messages[message]
        old = found.reactions.get(by.id, [])
        found.reactions[by.id] = emoji
        change = {"chat": chat.raw(), "message_id": message, "user": by.raw(), "date": int(time.time())}
        change |= {"old_reaction": emoji_of(old), "new_reaction": emoji_of(emoji)}
        if chat.members.get(self.bot.id) == "administrator" or chat.kind == "private":
            self.push("message_reaction", change)

    def upload(self, data: bytes, **fields: Any) -> Raw:
        """A file on Telegram's servers, as a Document (or whatever ``fields`` make of it)."""
        number = len(self.files) + 1
        file_id = f"BQACAgIAAx{number:06d}"
        self.files[file_id] = data
        return {"file_id": file_id, "file_unique_id": f"AgAD{number}", "file_size": len(data)} | fields

    def album(self, chat: Chat, by: Person, files: list[bytes], caption: str = "") -> list[Message]:
        """Somebody shares several documents at once."""
        self._next_album += 1
        group = str(13_000_000 + self._next_album)
        made = []
        for place, data in enumerate(files):
            more = {"caption": caption} if caption and place == 0 else {}
            document = self.upload(data, file_name=f"part{place}.bin", mime_type="application/octet-stream")
            made.append(self.post(chat, by, media_group_id=group, document=document, **more))
        return made

    # --- updates

    def push(self, kind: str, body: Raw) -> Raw | None:
        """Queue an update, if the bot asked for its kind."""
        allowed = self.allowed
        if kind not in allowed if allowed else kind in NOT_BY_DEFAULT:
            return None
        update = {"update_id": self._next_update, kind: json.loads(json.dumps(body))}
        self._next_update += 1
        self.updates.append(update)
        self.on_update(update)
        self.changed()
        return update


def shallow(raw: Raw) -> Raw:
    """A message as it stands in another one: without what it answers itself."""
    return {name: value for name, value in raw.items() if name != "reply_to_message"}

"""What an account must remember: its rooms, and what the ids of single messages stand for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import msgspec

from bots.telegram.kinds import chat_name
from core.contract import RoomInfo, Services
from core.model import AccountId, RoomId, room_id
from core.store import insist

MARK_S = 30 * 86_400
"""As long as the relay itself knows ids by default."""
MOVED_MAX = 1_000
MarkKind = Literal["album", "topic", "own", "shape"]
"""album: part → first message. topic: message → thread. own: a channel's post is ours. shape: texts and caption."""


class Room(msgspec.Struct, frozen=True):
    """A chat or a topic as people know it."""

    title: str
    kind: str
    """``private``, ``group``, ``supergroup`` or ``channel``; also for a topic, whose chat's it is."""
    detail: str = ""
    is_admin: bool = False
    """The bot is an admin of the chat, and so hears everything."""
    privacy: Literal["", "owed", "told"] = ""
    """The room is to be told, or was told, that privacy mode keeps its words from the bot."""


class Rooms:
    """The rooms that the bot is in: a hash in the store, and a copy in memory."""

    def __init__(self, account: AccountId, services: Services) -> None:
        self._account = account
        self._store = services.store
        self._key = services.key("rooms")
        self._moved_key = services.key("moved")
        self._rooms: dict[str, Room] = {}
        self._moved: dict[str, str] = {}

    async def load(self) -> None:
        """Read what the store holds; waits for it as long as it takes."""
        stored: dict[Any, Any] = await insist(self._store.hgetall, self._key)
        self._rooms = {name.decode(): msgspec.json.decode(raw, type=Room) for name, raw in stored.items()}
        moved: dict[Any, Any] = await insist(self._store.hgetall, self._moved_key)
        self._moved = {old.decode(): new.decode() for old, new in moved.items()}

    def get(self, native: str) -> Room | None:
        """What is known of a room."""
        return self._rooms.get(native)

    def all(self) -> list[str]:
        """Native ids of all rooms."""
        return list(self._rooms)

    def topics(self, chat: str) -> list[str]:
        """The topics of a chat in which something was said."""
        return [native for native in self._rooms if native.startswith(f"{chat}:")]

    def info(self, native: str) -> RoomInfo:
        """A room for people."""
        room = self._rooms.get(native)
        if room is None:
            return RoomInfo(room_id(self._account, native), native)
        return RoomInfo(room_id(self._account, native), room.title, room.detail)

    def kind(self, native: str) -> str:
        """What sort of chat it is; by its id where it is not known (those of people are positive)."""
        room = self._rooms.get(native) or self._rooms.get(native.partition(":")[0])
        return room.kind if room else "group" if native.startswith("-") else "private"

    def room(self, native: str) -> RoomId:
        """The RoomId of a native id."""
        return room_id(self._account, native)

    async def see(self, message: Mapping[str, Any], native: str) -> None:
        """Learn a room's name from something that was said or happened in it."""
        chat = message["chat"]
        here = str(chat["id"])
        known = self._rooms.get(here)
        kind = str(chat.get("type") or "")
        title = str(message.get("new_chat_title") or chat_name(chat))
        await self._keep(here, msgspec.structs.replace(known or Room("", kind), title=title, kind=kind))
        if native != here:
            topic = self._rooms.get(native)
            name = _topic_name(message) or (topic.title if topic else native.partition(":")[2])
            await self._keep(native, msgspec.structs.replace(topic or Room("", kind), title=name, detail=title))

    async def set_admin(self, native: str, is_admin: bool) -> None:
        """Note whether the bot is an admin of a chat."""
        if room := self._rooms.get(native):
            await self._keep(native, msgspec.structs.replace(room, is_admin=is_admin))

    async def set_privacy(self, native: str, privacy: Literal["owed", "told"]) -> None:
        """Note that the room is to be told of privacy mode, or was."""
        if room := self._rooms.get(native):
            await self._keep(native, msgspec.structs.replace(room, privacy=privacy))

    async def _keep(self, native: str, room: Room) -> None:
        if self._rooms.get(native) != room:
            await insist(self._store.hset, self._key, native, msgspec.json.encode(room))
            self._rooms[native] = room

    async def drop(self, native: str) -> None:
        """The bot is no longer there."""
        if native in self._rooms:
            await insist(self._store.hdel, self._key, native)
            del self._rooms[native]

    def now(self, native: str) -> str:
        """Where a room is now: another id, when its group became a supergroup."""
        chat, colon, thread = native.partition(":")
        return self._moved.get(chat, chat) + colon + thread

    async def move(self, old: str, new: str) -> None:
        """Telegram says that a group has a new id."""
        if self._moved.get(old) == new:
            return
        if len(self._moved) < MOVED_MAX:
            await insist(self._store.hset, self._moved_key, old, new)
        self._moved[old] = new
        if (room := self._rooms.get(old)) and new not in self._rooms:
            await self._keep(new, msgspec.structs.replace(room, kind="supergroup"))
        await self.drop(old)

    def is_deaf(self, native: str) -> bool:
        """Does privacy mode, if it is on, keep the room's words from the bot, and was the room not told?"""
        room = self._rooms.get(native)
        return room is not None and room.kind.endswith("group") and not room.is_admin and room.privacy != "told"

    def is_successor(self, native: str) -> bool:
        """Is this the new id of a group that had another one?"""
        return native in self._moved.values()

    def has_moved(self, native: str) -> bool:
        """Is this the id of a group that has another one now?"""
        return native in self._moved


def _topic_name(message: Mapping[str, Any]) -> str:
    answered = message.get("reply_to_message")
    for source in (message, answered if isinstance(answered, Mapping) else {}):
        for field in ("forum_topic_edited", "forum_topic_created"):
            topic = source.get(field)
            if isinstance(topic, Mapping) and topic.get("name"):
                return str(topic["name"])
    return ""


class Marks:
    """Notes on single messages of a chat, forgotten after 30 days."""

    def __init__(self, services: Services) -> None:
        self._store = services.store
        self._key = services.key

    async def note(self, kind: MarkKind, chat: str, message: str, value: str) -> None:
        """Remember ``value``; waits for the store as long as it takes."""
        await insist(self._set, self._key(kind, chat, message), value)

    async def _set(self, name: str, value: str) -> None:
        await self._store.set(name, value, ex=MARK_S)

    async def find(self, kind: MarkKind, chat: str, message: str) -> str:
        """What was noted; empty where nothing was."""
        raw: Any = await insist(self._store.get, self._key(kind, chat, message))
        return raw.decode() if raw else ""

"""What an account remembers in the store: its rooms, people's names, threads, and what was wished of reactions."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from typing import Any, Final

import msgspec

from core.contract import RoomInfo, Services
from core.model import AccountId, RoomId, room_id
from core.store import as_awaitable, insist

PERSON_S: Final = 86_400
MARK_S: Final = 30 * 86_400
PEOPLE_MAX: Final = 2_000
WISHES_MAX: Final = 200


class Person(msgspec.Struct, frozen=True, array_like=True):
    """A member, or somebody of another workspace in a shared channel."""

    name: str
    avatar: str = ""
    is_bot: bool = False


class Room(msgspec.Struct, frozen=True, array_like=True):
    """A conversation. ``with_user``: of a direct message, who it is with."""

    title: str
    with_user: str = ""


class Memory:
    """One account's."""

    def __init__(self, account: AccountId, services: Services, detail: str) -> None:
        self._account = account
        self._store = services.store
        self._key = services.key
        self._detail = detail
        self._rooms: dict[str, Room] = {}
        self._people: OrderedDict[str, Person] = OrderedDict()

    def room(self, channel: str) -> RoomId:
        """A conversation's RoomId."""
        return room_id(self._account, channel)

    # --- rooms ---

    async def load(self) -> None:
        """Read the rooms."""
        raw: dict[Any, Any] = await insist(self._store.hgetall, self._key("rooms"))
        self._rooms = {name.decode(): msgspec.json.decode(value, type=Room) for name, value in raw.items()}

    async def find_room(self, channel: str) -> Room | None:
        """A room that is known, here or to another process."""
        if (known := self._rooms.get(channel)) is not None:
            return known
        raw: Any = await insist(self._store.hget, self._key("rooms"), channel)
        if raw:
            self._rooms[channel] = msgspec.json.decode(raw, type=Room)
        return self._rooms.get(channel)

    async def keep_room(self, channel: str, room: Room) -> None:
        """Remember a room, or its new name."""
        if self._rooms.get(channel) != room:
            await insist(self._store.hset, self._key("rooms"), channel, msgspec.json.encode(room))
            self._rooms[channel] = room

    async def forget_room(self, channel: str) -> None:
        """We are no longer there."""
        await insist(self._store.hdel, self._key("rooms"), channel)
        self._rooms.pop(channel, None)

    async def move_room(self, old: str, new: str) -> None:
        """The room has a new id."""
        if (room := await self.find_room(old)) is not None:
            await self.keep_room(new, room)
        await self.forget_room(old)

    def info(self, channel: str) -> RoomInfo:
        """The room for people."""
        room = self._rooms.get(channel)
        return RoomInfo(self.room(channel), room.title if room else channel, self._detail)

    def channels(self) -> list[str]:
        """Ids of the rooms that this process knows."""
        return list(self._rooms)

    # --- people ---

    async def person(self, user: str) -> Person | None:
        """Somebody whose name was asked for in the last day."""
        if (known := self._people.get(user)) is not None:
            self._people.move_to_end(user)
            return known
        raw: Any = await insist(self._store.get, self._key("person", user))
        if raw:
            self._note(user, msgspec.json.decode(raw, type=Person))
        return self._people.get(user)

    async def keep_person(self, user: str, person: Person) -> None:
        """Remember a name and picture for a day."""
        if self._people.get(user) != person:
            self._note(user, person)
            await insist(self._set, self._key("person", user), msgspec.json.encode(person), PERSON_S)

    def _note(self, user: str, person: Person) -> None:
        self._people[user] = person
        self._people.move_to_end(user)
        while len(self._people) > PEOPLE_MAX:
            self._people.popitem(last=False)

    async def _set(self, name: str, value: str | bytes, life_s: int) -> None:
        await self._store.set(name, value, ex=life_s)

    # --- the token ---

    async def lose(self, token: str) -> None:
        """This token is worthless now. Another one of the account is not concerned."""
        await insist(self._set, self._key("lost"), _mark(token), MARK_S)

    async def is_lost(self, token: str) -> bool:
        """Was that said of this token?"""
        raw: Any = await insist(self._store.get, self._key("lost"))
        return raw is not None and bool(raw.decode() == _mark(token))

    # --- marks on messages ---

    async def mark(self, kind: str, channel: str, native: str, value: str) -> None:
        """Note something about a message for 30 days: ``root`` of its thread, number of ``files``, uploaded file."""
        await insist(self._set, self._key(kind, channel, native), value, MARK_S)

    async def marked(self, kind: str, channel: str, native: str) -> str:
        """What was noted; empty where nothing was."""
        raw: Any = await insist(self._store.get, self._key(kind, channel, native))
        return raw.decode() if raw else ""

    async def wish(self, channel: str, native: str, emoji: str, author: str, added: bool) -> bool:
        """Note that somebody wants an emoji on a message, or no longer. Returns whether anybody wants it now."""
        name = self._key("wishes", channel, native, emoji)
        if not added:
            await as_awaitable(self._store.srem(name, author))
        elif await as_awaitable(self._store.scard(name)) < WISHES_MAX:
            await as_awaitable(self._store.sadd(name, author))
            await as_awaitable(self._store.expire(name, MARK_S))
        return bool(await as_awaitable(self._store.scard(name)))


def _mark(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()

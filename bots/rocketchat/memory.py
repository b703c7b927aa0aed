"""What an account keeps in the store: its rooms, reactions that stand, wishes for them, files that are under way."""

from __future__ import annotations

from typing import Any, cast

import msgspec

from core.contract import Services

DAY_S = 86_400
KEPT_S = 30 * DAY_S
WISHES_MAX = 200


class Room(msgspec.Struct, frozen=True, array_like=True):
    """A room that we are in: its kind (``c``, ``p``, ``d``), its name for people, its part of a link."""

    kind: str
    title: str
    path: str = ""


class Memory:
    """Every method may raise a redis error."""

    def __init__(self, services: Services) -> None:
        self._store = cast("Any", services.store)
        self._key = services.key

    async def rooms(self) -> dict[str, Room]:
        """The rooms that we know we are in."""
        rows = await self._store.hgetall(self._key("rooms"))
        return {rid.decode(): msgspec.json.decode(row, type=Room) for rid, row in rows.items()}

    async def keep_room(self, rid: str, room: Room) -> None:
        """Remember a room."""
        await self._store.hset(self._key("rooms"), rid, msgspec.json.encode(room))

    async def drop_room(self, rid: str) -> None:
        """Forget a room."""
        await self._store.hdel(self._key("rooms"), rid)

    async def first_look(self) -> bool:
        """True once: the rooms that we find now were there before us."""
        return bool(await self._store.set(self._key("looked"), "1", nx=True))

    async def reacted(self, native: str, now: dict[str, list[str]]) -> dict[str, list[str]]:
        """Note the reactions that stand on a message; returns those that stood."""
        name = self._key("reactions", native)
        if now:
            before = await self._store.set(name, msgspec.json.encode(now), get=True, ex=KEPT_S)
        else:
            before = await self._store.getdel(name)
        return msgspec.json.decode(before, type=dict[str, list[str]]) if before else {}

    async def wish(self, native: str, emoji: str, author: str, *, added: bool) -> bool:
        """Note that somebody elsewhere wants a reaction, or no more; does anybody want it now?"""
        name = self._key("wish", native, emoji)
        if not added:
            await self._store.srem(name, author)
        elif await self._store.scard(name) < WISHES_MAX:
            await self._store.sadd(name, author)
            await self._store.expire(name, KEPT_S)
        return bool(await self._store.exists(name))

    async def uploaded(self, key: str) -> str:
        """The id of a file that was uploaded for a post already; empty: none."""
        found = await self._store.get(self._key("upload", key))
        return found.decode() if found else ""

    async def keep_upload(self, key: str, file: str) -> None:
        """Remember a file until the server forgets it: it keeps what was not posted for a day."""
        await self._store.set(self._key("upload", key), file, ex=DAY_S)

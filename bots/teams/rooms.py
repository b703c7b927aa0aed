"""What the account knows of its rooms, in the store: webhooks arrive in another process than posts leave from.

Keys: ``rooms`` a hash of rooms; ``root:<room>:<message>`` the thread a message is in; ``came:<room>`` and
``went:<room>`` who told first that the bot was added or removed; ``file:<ref>`` where a shared file is;
``part:<key>`` how far a long post got; ``texts:…`` and ``wish:…`` what stands besides it. Nothing of what is said.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final

import msgspec
from msgspec.structs import replace

from bots.teams.activity import Activity
from core.contract import Services
from core.model import NativeId

REMEMBERED_S: Final = 30 * 24 * 3600
"""How long messages can be answered in their thread: as long as the core remembers them."""
CLAIM_S: Final = 120
"""The events that tell of one installation arrive within this."""
FRESH_S: Final = 600.0
"""After so long a room is read from the store again."""
CHANNEL: Final = "channel"
PERSONAL: Final = "personal"
MAX_NAMED: Final = 3


class Room(msgspec.Struct, frozen=True, omit_defaults=True):
    """A conversation. ``kind`` is the connector's conversationType: personal, groupChat, channel."""

    id: str
    service_url: str = ""
    kind: str = ""
    name: str = ""
    team: str = ""
    team_name: str = ""
    bot: str = ""
    """The bot's own id there."""

    @property
    def title(self) -> str:
        """As members know it: ``Team / Channel``, the chat's topic, or who is in it."""
        if self.team_name and self.name:
            return f"{self.team_name} / {self.name}"
        return self.name or self.team_name

    @property
    def shown(self) -> str:
        """The title, or what kind of room it is."""
        return self.title or ("a Teams channel" if self.kind == CHANNEL else "a Teams chat")


_decode = msgspec.json.Decoder(Room).decode


def kind_of(activity: Activity) -> str:
    """The kind of a conversation, also where the channel does not say it."""
    said = activity.conversation.conversation_type
    if said:
        return said
    return "groupChat" if activity.conversation.is_group else PERSONAL


def guessed_kind(room: str) -> str:
    """The kind by the form of the id, for a room that was not read from the store yet."""
    if room.endswith(("@thread.tacv2", "@thread.skype")):
        return CHANNEL
    return "groupChat" if room.startswith("19:") else PERSONAL


def merged(known: Room | None, activity: Activity) -> Room:
    """The room as it is after ``activity``; the same object where nothing is new."""
    data = activity.data()
    room = known or Room(activity.room)
    event = data.event_type or ""
    kind = kind_of(activity)
    name = activity.topic_name or activity.conversation.name or ""
    sender = activity.sender
    if kind == PERSONAL and sender and sender.name and not sender.is_bot:
        name = sender.name
    if data.channel and data.channel.name and data.channel.id == activity.room:
        name = data.channel.name
    changed = replace(
        room,
        service_url=activity.service_url or room.service_url,
        kind=kind,
        name=name or room.name,
        team=(data.team.id if data.team else "") or room.team,
        team_name=(data.team.name if data.team and event != "teamDeleted" else "") or room.team_name,
        bot=(activity.recipient.id if activity.recipient else "") or room.bot,
    )
    return room if known and changed == room else changed


def _word(raw: bytes | str) -> str:
    return raw if isinstance(raw, str) else raw.decode()


class Rooms:
    """The rooms of one account. What was read is kept for some minutes."""

    def __init__(self, services: Services) -> None:
        self._store = services.store
        self._key = services.key
        self._rooms: dict[str, tuple[float, Room]] = {}

    def _now_s(self) -> float:
        return asyncio.get_running_loop().time()

    def peek(self, room: str) -> Room | None:
        """The room, if this process has heard of it."""
        found = self._rooms.get(room)
        return found[1] if found else None

    async def load(self) -> list[Room]:
        """All rooms, from the store."""
        raw = await self._store.hgetall(self._key("rooms"))
        now_s = self._now_s()
        found = [_decode(value) for value in raw.values()]
        self._rooms.update({room.id: (now_s, room) for room in found})
        return found

    async def get(self, room: str) -> Room | None:
        """The room; from the store when this process has not looked for a while."""
        known = self._rooms.get(room)
        if known and self._now_s() - known[0] < FRESH_S:
            return known[1]
        raw = await self._store.hget(self._key("rooms"), room)
        if raw is None:
            return None
        found = _decode(raw)
        self._rooms[room] = self._now_s(), found
        return found

    async def put(self, room: Room) -> None:
        """Remember a room as it is now."""
        self._rooms[room.id] = self._now_s(), room
        await self._store.hset(self._key("rooms"), room.id, msgspec.json.encode(room))

    async def forget(self, rooms: Sequence[str]) -> None:
        """The bot is no longer in them."""
        for room in rooms:
            self._rooms.pop(room, None)
        if rooms:
            await self._store.hdel(self._key("rooms"), *rooms)

    async def seen(self, activity: Activity) -> Room:
        """The room of an activity, with what the activity tells of it. Remembered where something is new."""
        known = await self.get(activity.room)
        room = merged(known, activity)
        if room is not known:
            await self.put(room)
        return room

    async def of_team(self, team: str) -> list[Room]:
        """The rooms of a team that are known."""
        return [room for room in await self.load() if room.team == team or room.id == team]

    async def claim(self, what: str, room: str, event: str) -> bool:
        """Is ``event`` the one that tells of this coming or going? The same event may ask again."""
        key = self._key(what, room)
        if await self._store.set(key, event, nx=True, ex=CLAIM_S):
            other = "went" if what == "came" else "came"
            await self._store.delete(self._key(other, room))
            return True
        first = await self._store.get(key)
        return first is None or _word(first) == event

    async def set_root(self, room: str, native: str, root: str) -> None:
        """A message lies in the thread below ``root``."""
        await self._store.set(self._key("root", room, native), root, ex=REMEMBERED_S)

    async def root(self, room: str, native: str) -> str:
        """The first message of the thread that ``native`` is in; empty where it is not known to be in one."""
        found = await self._store.get(self._key("root", room, native))
        return _word(found) if found else ""

    async def remember_file(self, ref: str, file: bytes, life_s: int) -> None:
        """Where a file of a message is."""
        await self._store.set(self._key("file", ref), file, ex=life_s)

    async def file(self, ref: str) -> bytes | None:
        """See :meth:`remember_file`."""
        found = await self._store.get(self._key("file", ref))
        return _word(found).encode() if found else None

    async def progress(self, key: str) -> list[NativeId]:
        """The parts of a post that are there already, from a try that broke off."""
        return [NativeId(_word(raw)) for raw in await self._store.lrange(self._key("part", key), 0, -1)]

    async def add_part(self, key: str, native: NativeId) -> None:
        """One more part of a post is there."""
        await self._store.rpush(self._key("part", key), native)
        await self._store.expire(self._key("part", key), 24 * 3600)

    async def put_shape(self, room: str, native: NativeId, texts: int) -> None:
        """The post that begins with ``native`` has so many parts of text; pictures follow."""
        await self._store.set(self._key("texts", room, native), texts, ex=REMEMBERED_S)

    async def shape(self, room: str, native: NativeId) -> int | None:
        """See :meth:`put_shape`; None where all parts are text."""
        found = await self._store.get(self._key("texts", room, native))
        return int(found) if found else None

    async def wish(self, room: str, native: str, emoji: str, author: str, *, added: bool) -> bool:
        """Note that ``author`` wants a reaction there, or no more. Did that change whether one stands?"""
        key = self._key("wish", room, native, emoji)
        if added:
            before = await self._store.scard(key)
            await self._store.sadd(key, author)
            await self._store.expire(key, REMEMBERED_S)
            return not before
        removed = await self._store.srem(key, author)
        return bool(removed) and not await self._store.scard(key)

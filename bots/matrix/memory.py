"""What the account remembers, in the store: rooms, people, ghosts, reactions. Copies in memory save round trips."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from hashlib import sha256
from typing import Any, TypeVar

import msgspec

from core.contract import Services
from core.store import TRANSIENT, StoreDown

DAY_S = 86_400
MONTH_S = 30 * DAY_S
"""As long as the relay knows which message is which."""
STORE_S = 0.9
"""Longest wait for the store: who waits for us is told to come again."""
CACHED = 20_000
Value = TypeVar("Value")


class Room(msgspec.Struct, array_like=True):
    """What is known of a room. ``name`` and ``alias`` as the room says them."""

    joined: bool = False
    name: str = ""
    alias: str = ""
    invited_by: str = ""
    """Name of who invited us, for rooms without a name."""
    encrypted: bool = False
    told: bool = False
    """It was said in the room that it cannot be bridged."""
    ghosts: bool = True
    """False: ghosts can neither join nor be invited here."""

    @property
    def title(self) -> str:
        """The room for people; empty where nothing is known."""
        return self.name or self.alias or self.invited_by


class Person(msgspec.Struct, frozen=True, array_like=True):
    """A member as the room shows them; ``mxc`` is the picture's address."""

    name: str
    mxc: str = ""


class Present(msgspec.Struct, frozen=True, array_like=True):
    """A ghost in a room: its name and picture there, and when it said something last."""

    name: str
    mxc: str
    at_ms: int = 0


class Move(msgspec.Struct, frozen=True, array_like=True):
    """The room ``old`` goes on in another one, which ``via`` named."""

    old: str
    via: str


class Invited(msgspec.Struct, frozen=True, array_like=True):
    """Somebody asked us into a room, and we are on the way."""

    by: str


class Reacted(msgspec.Struct, frozen=True, array_like=True):
    """What a reaction's event was about."""

    target: str
    emoji: str
    sender: str


class Cache(OrderedDict[str, Value]):
    """The newest entries."""

    def keep(self, name: str, value: Value) -> None:
        """Remember one, forget the oldest."""
        self[name] = value
        self.move_to_end(name)
        if len(self) > CACHED:
            self.popitem(last=False)


@asynccontextmanager
async def in_time() -> AsyncIterator[None]:
    """Waits for the store only so long. Raises StoreDown."""
    try:
        async with asyncio.timeout(STORE_S):
            yield
    except (*TRANSIENT, TimeoutError) as error:
        raise StoreDown(f"the store does not answer ({type(error).__name__})") from None


class Memory:
    """The account's corner of the store. Everything raises StoreDown when the store does not answer in time."""

    def __init__(self, services: Services) -> None:
        self._store: Any = services.store
        self._key = services.key
        self.rooms: dict[str, Room] = {}
        """Rooms as last read or written by this process."""
        self.taking = asyncio.Lock()
        """Held while events change :attr:`rooms`, until that is written."""
        self.changed: set[str] = set()
        """Rooms that are to be written once the events that changed them are durable."""
        self._present: Cache[Present | None] = Cache()
        self._pictures: Cache[str] = Cache()

    # --- rooms

    async def load_rooms(self) -> None:
        """Read all rooms: another process may have taken in what changed them."""
        async with self.taking:
            async with in_time():
                raw = await self._store.hgetall(self._key("rooms"))
            self.rooms = {name.decode(): msgspec.json.decode(value, type=Room) for name, value in raw.items()}

    async def read_rooms(self, names: Iterable[str]) -> None:
        """Read some rooms, which another process may have changed."""
        wanted = list(dict.fromkeys(names))
        if not wanted:
            return
        async with in_time():
            found = await self._store.hmget(self._key("rooms"), wanted)
        for name, raw in zip(wanted, found, strict=True):
            if raw is not None:
                self.rooms[name] = msgspec.json.decode(raw, type=Room)

    async def peek(self, name: str) -> Room | None:
        """A room as the store has it now."""
        return await self._one("rooms", name, Room)

    async def save_rooms(self, names: Iterable[str]) -> None:
        """Write rooms as they are in :attr:`rooms`."""
        written = {name: msgspec.json.encode(self.rooms[name]) for name in names}
        if written:
            async with in_time():
                await self._store.hset(self._key("rooms"), mapping=written)

    async def save_changed(self) -> None:
        """Write what events changed."""
        await self.save_rooms(self.changed)
        self.changed.clear()

    def undo_changed(self) -> None:
        """The events come again: until then the store knows better."""
        for name in self.changed:
            self.rooms.pop(name, None)
        self.changed.clear()

    # --- on the way

    async def save_invite(self, room: str, invited: Invited) -> None:
        """We are asked into ``room``."""
        await self._put("invites", room, invited)

    async def invites(self) -> dict[str, Invited]:
        """Rooms that we are on the way into."""
        return await self._all("invites", Invited)

    async def invite(self, room: str) -> Invited | None:
        """Who asked us into ``room``, if anybody did."""
        return await self._one("invites", room, Invited)

    async def save_move(self, new: str, move: Move) -> None:
        """A room is followed to ``new``."""
        await self._put("moves", new, move)

    async def moves(self) -> dict[str, Move]:
        """Rooms that others are followed to."""
        return await self._all("moves", Move)

    async def move(self, new: str) -> Move | None:
        """Which room is followed to ``new``."""
        return await self._one("moves", new, Move)

    async def arrived(self, room: str) -> None:
        """We are there, or shall not be."""
        async with in_time():
            await self._store.hdel(self._key("invites"), room)
            await self._store.hdel(self._key("moves"), room)

    async def _put(self, table: str, room: str, value: msgspec.Struct) -> None:
        async with in_time():
            await self._store.hset(self._key(table), room, msgspec.json.encode(value))
            await self._store.expire(self._key(table), MONTH_S)

    async def _all(self, table: str, kind: type[Value]) -> dict[str, Value]:
        async with in_time():
            raw = await self._store.hgetall(self._key(table))
        return {name.decode(): msgspec.json.decode(value, type=kind) for name, value in raw.items()}

    async def _one(self, table: str, room: str, kind: type[Value]) -> Value | None:
        async with in_time():
            raw = await self._store.hget(self._key(table), room)
        return None if raw is None else msgspec.json.decode(raw, type=kind)

    # --- people

    async def people(self, room: str, users: Iterable[str]) -> dict[str, Person]:
        """Those of ``users`` that are known in ``room``."""
        wanted = list(dict.fromkeys(users))
        if not wanted:
            return {}
        async with in_time():
            found = await self._store.hmget(self._key("people", room), wanted)
        return {
            user: msgspec.json.decode(raw, type=Person)
            for user, raw in zip(wanted, found, strict=True)
            if raw is not None
        }

    async def save_person(self, room: str, user: str, person: Person) -> None:
        """How ``room`` shows ``user`` from now on."""
        async with in_time():
            await self._store.hset(self._key("people", room), user, msgspec.json.encode(person))
            await self._store.expire(self._key("people", room), MONTH_S)

    # --- what came in

    async def had(self, transaction: str, body: bytes) -> bool:
        """Was this very transaction taken in before?"""
        async with in_time():
            return bool(await self._store.get(self._key("txn", transaction)) == sha256(body).digest())

    async def taken(self, transaction: str, body: bytes) -> None:
        """It is taken in."""
        async with in_time():
            await self._store.set(self._key("txn", transaction), sha256(body).digest(), ex=DAY_S)

    async def save_reaction(self, event_id: str, reacted: Reacted) -> None:
        """A redaction names only the reaction's event: remember what it was about."""
        async with in_time():
            await self._store.set(self._key("reaction", event_id), msgspec.json.encode(reacted), ex=MONTH_S)

    async def reaction(self, event_id: str) -> Reacted | None:
        """What the reaction was about; None where it is none that is known."""
        async with in_time():
            raw = await self._store.get(self._key("reaction", event_id))
        return None if raw is None else msgspec.json.decode(raw, type=Reacted)

    async def position(self) -> str:
        """Where /sync goes on; empty at first."""
        async with in_time():
            return (await self._store.get(self._key("since")) or b"").decode()

    async def save_position(self, since: str) -> None:
        """All before it is taken in."""
        async with in_time():
            await self._store.set(self._key("since"), since)

    # --- what went out

    async def wish(self, about: str, author: str, wanted: bool) -> int:
        """Note that ``author`` wants a reaction to stand, or no longer; how many want it now."""
        key = self._key("wish", about)
        async with in_time():
            await (self._store.sadd(key, author) if wanted else self._store.srem(key, author))
            await self._store.expire(key, MONTH_S)
            return int(await self._store.scard(key))

    async def annotation(self, about: str) -> str:
        """The event of ours by which a reaction stands; empty where it does not."""
        async with in_time():
            return (await self._store.get(self._key("annotation", about)) or b"").decode()

    async def save_annotation(self, about: str, event_id: str) -> None:
        """It stands by ``event_id``; empty: no longer."""
        async with in_time():
            await self._store.set(self._key("annotation", about), event_id, ex=MONTH_S)

    async def text_parts(self, native: str) -> int | None:
        """How many of the posts that began with ``native`` are words; None: all of them."""
        async with in_time():
            raw = await self._store.get(self._key("words", native))
        return None if raw is None else int(raw)

    async def save_text_parts(self, native: str, count: int) -> None:
        """Only the first ``count`` posts are words, the others are files."""
        async with in_time():
            await self._store.set(self._key("words", native), count, ex=MONTH_S)

    # --- ghosts

    async def profile(self, ghost: str) -> Person | None:
        """The ghost's profile as we set it; None where it is not registered."""
        return await self._one("profiles", ghost, Person)

    async def save_profile(self, ghost: str, person: Person) -> None:
        """The ghost is registered and has this profile."""
        async with in_time():
            await self._store.hset(self._key("profiles"), ghost, msgspec.json.encode(person))

    async def present(self, room: str, ghost: str) -> Present | None:
        """The ghost in the room; None where it is not there."""
        name = f"{room} {ghost}"
        if name not in self._present:
            self._present.keep(name, await self._one(f"ghosts:{room}", ghost, Present))
        return self._present[name]

    async def save_present(self, room: str, ghost: str, present: Present) -> None:
        """The ghost is in the room."""
        self._present.keep(f"{room} {ghost}", present)
        async with in_time():
            await self._store.hset(self._key(f"ghosts:{room}"), ghost, msgspec.json.encode(present))

    async def forget_present(self, room: str, ghost: str) -> None:
        """The ghost is no longer in the room."""
        self._present.pop(f"{room} {ghost}", None)
        async with in_time():
            await self._store.hdel(self._key(f"ghosts:{room}"), ghost)

    async def all_present(self, room: str) -> dict[str, Present]:
        """All ghosts in the room."""
        return await self._all(f"ghosts:{room}", Present)

    async def picture(self, url: str) -> str | None:
        """Where the picture at ``url`` was uploaded to; empty: it could not be had; None: not tried."""
        if url in self._pictures:
            return self._pictures[url]
        async with in_time():
            raw = await self._store.get(self._key("picture", _digest(url)))
        if raw:
            self._pictures.keep(url, raw.decode())
        return None if raw is None else raw.decode()

    async def save_picture(self, url: str, mxc: str, for_s: int) -> None:
        """Remember it for ``for_s`` seconds."""
        async with in_time():
            await self._store.set(self._key("picture", _digest(url)), mxc, ex=for_s)


def _digest(words: str) -> str:
    return sha256(words.encode("utf-8", "replace")).hexdigest()[:32]

"""What must be known after a restart, in the store: the rooms we are in, whose message is which, reactions, files.

Everything but the list of rooms has a life of its own: a few weeks.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from hashlib import sha256
from typing import Any, Final

import msgspec

from bots.xmpp.receive import Link
from bots.xmpp.rooms import Room, Rooms
from core.contract import Services
from core.store import TRANSIENT, insist

WEEK_MS: Final = 7 * 86_400_000
OWN_WEEKS: Final = 6
"""So long our posts can be changed; the core refers to them for a month."""
SAID_WEEKS: Final = 2
"""So long people's messages can be corrected; their clients offer it for the last one only, as a rule."""
REACTION_S: Final = OWN_WEEKS * 7 * 86_400
FILE_S: Final = OWN_WEEKS * 7 * 86_400
CACHED: Final = 5_000
RETRY_S: Final = 0.5


class Own(msgspec.Struct, frozen=True, array_like=True):
    """A post of ours: the id that corrections refer to, and who posted it."""

    origin: str
    is_file: bool = False
    author_id: str = ""
    """Empty: the bot's own occupant."""
    author_name: str = ""


class Known(msgspec.Struct, frozen=True, array_like=True):
    """A room that we are in."""

    jid: str
    invited: bool
    password: str = ""


_own = msgspec.json.Decoder(Own)
_known = msgspec.json.Decoder(Known)


class Memory:
    """Written in the background, in order; what is not yet written is known all the same."""

    def __init__(self, services: Services) -> None:
        self._store = services.store
        self._key = services.key
        self._now_ms = services.now_ms
        self._recent: OrderedDict[tuple[str, str, str], bytes] = OrderedDict()
        """(kind, room, field) → value."""
        self._changes: dict[tuple[str, str], tuple[bytes | None, int]] = {}
        """(hash, field) → value and life in seconds; 0: for ever."""
        self._task: asyncio.Task[None] | None = None

    # --- rooms ---

    async def load(self, rooms: Rooms) -> None:
        """Add what is remembered to ``rooms``; waits for the store as long as it takes."""
        stored: dict[bytes, bytes] = await self._ask(self._store.hgetall, self._key("rooms"))
        for value in stored.values():
            known = _known.decode(value)
            room = rooms.by_jid.get(known.jid)
            if room is None and known.invited:
                room = rooms.add(known.jid)
                room.password = known.password
            if room is not None:
                room.known = True

    def keep(self, room: Room) -> None:
        """Remember that we are in ``room``."""
        known = Known(room.jid, not room.configured, "" if room.configured else room.password)
        self._change(self._key("rooms"), room.jid, msgspec.json.encode(known))

    def drop(self, room: Room) -> None:
        """Forget ``room``."""
        self._change(self._key("rooms"), room.jid, None)

    async def prefix(self, random_id: str) -> str:
        """How the ids of our own stanzas begin, in every life of this account."""
        key = self._key("prefix")
        await insist(lambda: self._store.set(key, random_id, nx=True))
        found: bytes = await self._ask(self._store.get, key)
        return found.decode()

    # --- messages ---

    def own(self, room: str, native: str, own: Own) -> None:
        """A post of ours stands in a room."""
        self._note("own", room, native, msgspec.json.encode(own), OWN_WEEKS)

    async def find_own(self, room: str, natives: Sequence[str]) -> list[Own | None]:
        """Which of these messages are ours."""
        found = await self._find("own", room, natives, OWN_WEEKS)
        return [_own.decode(value) if value else None for value in found]

    def said(self, room: str, author_id: str, origin: str, native: str) -> None:
        """Somebody's message: what they call it and what the room calls it."""
        if origin:
            self._note("said", room, f"{author_id}\n{origin}", native.encode(), SAID_WEEKS)

    async def find_said(self, room: str, author_id: str, origin: str) -> str:
        """The room's id of what ``author_id`` calls ``origin``; empty where that is not known."""
        found = await self._find("said", room, [f"{author_id}\n{origin}"], SAID_WEEKS)
        return found[0].decode() if found[0] else ""

    def _note(self, kind: str, room: str, field: str, value: bytes, weeks: int) -> None:
        self._recent[kind, room, field] = value
        if len(self._recent) > CACHED:
            self._recent.popitem(last=False)
        week = str(self._now_ms() // WEEK_MS)
        self._change(self._key(kind, room, week), field, value, (weeks + 1) * WEEK_MS // 1000)

    async def _find(self, kind: str, room: str, fields: Sequence[str], weeks: int) -> list[bytes | None]:
        cached = [self._recent.get((kind, room, field)) for field in fields]
        missing = [field for field, value in zip(fields, cached, strict=True) if value is None]
        if not missing:
            return cached
        week = self._now_ms() // WEEK_MS
        names = [self._key(kind, room, str(number)) for number in range(week, week - weeks - 1, -1)]

        async def ask() -> list[list[bytes | None]]:
            pipeline = self._store.pipeline(transaction=False)
            for name in names:
                pipeline.hmget(name, missing)
            answers: list[list[bytes | None]] = await pipeline.execute()
            return answers

        columns = zip(*await insist(ask), strict=True)
        found = {field: next(filter(None, column), None) for field, column in zip(missing, columns, strict=True)}
        return [value or found.get(field) for field, value in zip(fields, cached, strict=True)]

    # --- reactions ---

    async def reacted(self, room: str, native: str, author_id: str) -> frozenset[str]:
        """What somebody had put on a message when we last heard of it."""
        name = self._key("reacted", room, native)
        waiting = self._changes.get((name, author_id))
        value = waiting[0] if waiting else await self._ask(self._store.hget, name, author_id)
        return frozenset(msgspec.json.decode(value, type=list[str])) if value else frozenset()

    def set_reacted(self, room: str, native: str, author_id: str, emoji: Iterable[str]) -> None:
        """What somebody has put on a message now."""
        self._change(self._key("reacted", room, native), author_id, msgspec.json.encode(sorted(emoji)), REACTION_S)

    async def wish(self, room: str, native: str, author_id: str, emoji: str, *, added: bool) -> dict[str, set[str]]:
        """An author of another room wants ``emoji`` on a message, or no more. Returns all wishes: author → emoji."""
        name, field = self._key("wished", room, native), f"{author_id}\n{emoji}"

        async def ask() -> list[bytes]:
            pipeline = self._store.pipeline(transaction=True)
            pipeline.hset(name, field, b"1") if added else pipeline.hdel(name, field)
            pipeline.expire(name, REACTION_S)
            pipeline.hkeys(name)
            return list((await pipeline.execute())[-1])

        wishes: dict[str, set[str]] = {}
        for key in await insist(ask):
            author, _, wanted = key.decode().rpartition("\n")
            wishes.setdefault(author, set()).add(wanted)
        return wishes

    # --- files ---

    async def keep_file(self, link: Link) -> str:
        """A name for a file's address, always the same, under which :meth:`file` finds it."""
        ref = sha256(link.url.encode()).hexdigest()[:32]
        await insist(lambda: self._store.set(self._key("file", ref), link.url, ex=FILE_S))
        return ref

    async def file(self, ref: str) -> str:
        """The address of a file; empty when it is too old."""
        found: bytes | None = await self._ask(self._store.get, self._key("file", ref))
        return found.decode() if found else ""

    # --- reading and writing ---

    @staticmethod
    async def _ask(command: Any, *args: str) -> Any:
        """The store's answer, as long as it takes; its types know strings too, which we do not ask for."""
        return await insist(command, *args)

    def _change(self, name: str, field: str, value: bytes | None, life_s: int = 0) -> None:
        self._changes[name, field] = value, life_s
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._write())

    async def _write(self) -> None:
        while self._changes:
            changes = dict(self._changes)
            pipeline: Any = self._store.pipeline(transaction=False)
            for (name, field), (value, life_s) in changes.items():
                pipeline.hdel(name, field) if value is None else pipeline.hset(name, field, value)
                if life_s:
                    pipeline.expire(name, life_s)
            try:
                await pipeline.execute()
            except TRANSIENT:
                await asyncio.sleep(RETRY_S)
                continue
            for where, change in changes.items():
                if self._changes.get(where) is change:
                    del self._changes[where]
        self._task = None

    async def stop(self, within_s: float = 2.0) -> None:
        """Write what is still to be written, if the store takes it in time."""
        if self._task is not None:
            await asyncio.wait((self._task,), timeout=within_s)
            if self._task is not None:
                self._task.cancel()
                await asyncio.gather(self._task, return_exceptions=True)

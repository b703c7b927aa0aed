"""Guest rooms in the store: who is in, what was said, and the one numbered series of changes of each room.

A room keeps its messages as they stand now, each with the number of its last change; so a page that was away
asks for what changed since the last number it saw, and a deleted text is gone for good.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

import msgspec

from bots.web.wire import Record, digest, encode

if TYPE_CHECKING:
    from bots.web import WebConfig
    from core.contract import Services

LUA = Path(__file__).parent / "lua"
DAY_S = 86_400
DAY_MS = DAY_S * 1000


class Room(msgspec.Struct, frozen=True):
    id: str
    name: str
    owner: str
    """The guest id, in this room, of who made it."""
    seq: int
    """Number of the newest change."""
    trimmed: int = 0
    """Birth number of the newest message that is no longer kept; 0: all are."""


class Membership(msgspec.Struct, frozen=True, array_like=True):
    name: str
    joined: int
    """The room's change number at that time; what was born later may be read."""


class Snapshot(msgspec.Struct, frozen=True):
    """``messages``: (change number, birth number, record as JSON), in order of birth."""

    seq: int
    name: str
    messages: tuple[tuple[int, int, bytes], ...]


class Full(Exception):
    """There is no place; the message says for what, and what to do."""


class TooFast(Exception):
    """A bucket is full; try again in ``after_ms``."""

    def __init__(self, after_ms: int) -> None:
        super().__init__(f"Slow down a little: try again in {max(1, round(after_ms / 1000))} s.")
        self.after_ms = after_ms


class Gone(Exception):
    """The room does not exist (any more)."""

    def __init__(self) -> None:
        super().__init__("This room is gone. Open a new one and connect it again.")


def id_of_link(link: str) -> str:
    """The room that a link opens. The link is the right to join and is stored nowhere; the id is no secret."""
    return digest("room", link)


def guest_in(room: str, session: str) -> str:
    """A session's id within one room: it cannot be followed into another."""
    return digest("guest", room, session)


class Rooms:
    """All guest rooms of one account. Every method may raise a redis error."""

    def __init__(self, services: Services, config: WebConfig) -> None:
        self._store = services.store
        self._key = services.key
        self._now_ms = services.now_ms
        self._config = config
        self._life_ms = config.room_idle_days * DAY_MS
        self._put = self._script("put")
        self._rename = self._script("rename")
        self._since = self._script("since")
        self._bucket = self._script("bucket")

    def _script(self, name: str) -> Any:
        return self._store.register_script((LUA / f"{name}.lua").read_text())

    def channel(self, room: str) -> str:
        """Where a room's changes are published."""
        return self._key("live", room)

    def _keys(self, room: str) -> list[str]:
        parts = ("room", "messages", "born", "changed", "guests")
        return [*(self._key(part, room) for part in parts), self._key("rooms")]

    # --- rooms and guests ---

    async def create(self, room: str, name: str, owner: str) -> None:
        """Make a room. Raises TooFast or Full."""
        await self.take("create", per_minute=self._config.rooms_per_minute)
        index = self._key("rooms")
        if await self._store.zcard(index) >= self._config.max_rooms:
            raise Full("There are as many guest rooms as this server allows. Try again tomorrow.")
        now = self._now_ms()
        async with self._store.pipeline(transaction=True) as pipe:
            fields: Any = {"name": name, "owner": owner, "seq": 0, "bytes": 0, "created_ms": now}
            pipe.hset(self._key("room", room), mapping=fields)
            pipe.pexpire(self._key("room", room), self._life_ms)
            pipe.zadd(index, {room: now + self._life_ms})
            await pipe.execute()

    async def get(self, room: str) -> Room | None:
        """The room, or None where there is none."""
        values = await cast("Any", self._store.hmget(self._key("room", room), "name", "owner", "seq", "trimmed"))
        if values[0] is None:
            return None
        return Room(room, values[0].decode(), values[1].decode(), int(values[2]), int(values[3] or 0))

    async def names(self) -> dict[str, str]:
        """Every room there is, with its name."""
        ids = [raw.decode() for raw in cast("list[bytes]", await self._store.zrange(self._key("rooms"), 0, -1))]
        async with self._store.pipeline(transaction=False) as pipe:
            for room in ids:
                pipe.hget(self._key("room", room), "name")
            names = await pipe.execute()
        return {room: name.decode() for room, name in zip(ids, names, strict=True) if name is not None}

    async def expired(self) -> Sequence[str]:
        """Rooms that nobody visited for too long and that have not been forgotten yet."""
        found = await self._store.zrangebyscore(self._key("rooms"), "-inf", self._now_ms())
        return [raw.decode() for raw in cast("list[bytes]", found)]

    async def forget(self, room: str) -> None:
        """Take every trace of a room away."""
        keys = self._keys(room)
        async with self._store.pipeline(transaction=True) as pipe:
            pipe.delete(*keys[:5])
            pipe.zrem(keys[5], room)
            await pipe.execute()

    async def join(self, room: Room, guest: str, name: str) -> None:
        """Let a guest in under ``name``, to read what is said from now on (who made the room: everything).

        Who is in already stays as they are. Raises TooFast or Full.
        """
        key = self._key("guests", room.id)
        await self.take("join", room.id, per_minute=self._config.joins_per_minute)
        if await cast("Any", self._store.hlen(key)) >= self._config.max_guests_per_room:
            raise Full("This room is full.")
        joined = 0 if guest == room.owner else room.seq
        await cast("Any", self._store.hsetnx(key, guest, msgspec.json.encode(Membership(name, joined))))
        await self.touch(room.id)

    async def member(self, room: str, guest: str) -> Membership | None:
        """How a guest is known in the room; None for who has not joined."""
        raw = await cast("Any", self._store.hget(self._key("guests", room), guest))
        return None if raw is None else msgspec.json.decode(raw, type=Membership)

    async def touch(self, room: str) -> None:
        """Somebody is here: the room lives on."""
        keys = self._keys(room)
        async with self._store.pipeline(transaction=True) as pipe:
            for key in keys[:5]:
                pipe.pexpire(key, self._life_ms)
            pipe.zadd(keys[5], {room: self._now_ms() + self._life_ms}, xx=True)
            await pipe.execute()

    async def rename(self, room: str, name: str) -> None:
        """Raises Gone."""
        encoded = msgspec.json.encode(name)
        done = await self._rename(keys=[self._key("room", room)], args=[name, encoded, self.channel(room)])
        if done == b"gone":
            raise Gone

    async def take(self, *bucket: str, per_minute: float, burst: float = 0, cost: float = 1) -> None:
        """Take ``cost`` units from a bucket that refills at ``per_minute``. Raises TooFast."""
        args = [self._now_ms(), repr(60_000 / per_minute), repr(burst or per_minute), repr(cost)]
        wait_ms = int(await self._bucket(keys=[self._key("bucket", *bucket)], args=args))
        if wait_ms:
            raise TooFast(wait_ms)

    # --- messages ---

    async def raw(self, room: str, message: str) -> bytes:
        """A message's record as JSON; empty where there is none."""
        return await cast("Any", self._store.hget(self._key("messages", room), message)) or b""

    async def put(
        self, room: str, record: Record, expected: bytes, *, visited: bool
    ) -> tuple[Literal["put", "same", "stale"], bytes]:
        """Replace a message's record, if it still is ``expected`` (empty: there is none).

        ``visited`` keeps the room alive. Returns what happened, and with ``stale`` the record as it is.
        Raises Gone.
        """
        done, found = await self._put(
            keys=self._keys(room),
            args=[
                record.id,
                expected,
                encode(record),
                self._now_ms(),
                self._life_ms if visited else 0,
                self._config.history_messages,
                self._config.history_bytes,
                self.channel(room),
                room,
            ],
        )
        if done == b"gone":
            raise Gone
        return cast("Any", done.decode()), found

    async def since(self, room: str, seq: int, joined: int) -> Snapshot:
        """What changed after ``seq``, of the messages born after ``joined``. Raises Gone."""
        keys = self._keys(room)[:4]
        found = await self._since(keys=keys, args=[seq, joined])
        if found is None:
            raise Gone
        rows = found[2:]
        messages = [(int(rows[i]), int(rows[i + 1]), rows[i + 2]) for i in range(0, len(rows), 3)]
        return Snapshot(int(found[0]), found[1].decode(), tuple(sorted(messages, key=lambda m: m[1])))

    async def publish(self, room: str, payload: bytes) -> None:
        """Tell the open pages something that is not kept."""
        await self._store.publish(self.channel(room), payload)

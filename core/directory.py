"""Reading what the relay keeps: rooms, samerooms, tubes, the security log, dead letters. And asking it to act.

Readers see what is stored; only the relay changes it, and only in the order of its inboxes.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from typing import Any

import msgspec
from msgspec.structs import replace

from codes import keys as code_keys
from core import keys
from core.deps import Deps
from core.gate import Gate
from core.model import AccountId, AuthorStyle, RoomId, account_of
from core.store import as_awaitable
from core.topology import Topology
from core.wire import (
    Act,
    DeadLetter,
    Direction,
    RoomState,
    SecurityRecord,
    Tube,
    decode_dead,
    decode_delivery,
    decode_incoming,
    decode_room,
    decode_security,
    decode_tube,
    encode,
)

LOG_SHOWN = 20
ACT_PATIENCE_S = 10


class Ban(msgspec.Struct, frozen=True):
    """A remote person or room that is not relayed into a room."""

    id: str
    name: str


class LogLine(msgspec.Struct, frozen=True):
    """A line of the security log, for people."""

    at_ms: int
    text: str


class Room(msgspec.Struct, frozen=True):
    """A room, for people."""

    room: RoomId
    title: str
    platform_title: str
    paused: bool
    author_style: AuthorStyle
    away: str = ""
    bans: tuple[Ban, ...] = ()
    portal_open: bool = False
    log: tuple[LogLine, ...] = ()


class TubeLine(msgspec.Struct, frozen=True):
    """A tube, for people."""

    id: str
    a: RoomId
    b: RoomId
    direction: str
    """``both``, ``a_to_b`` or ``b_to_a``."""
    paused: bool
    created_by: str
    created_at_ms: int


class Sameroom(msgspec.Struct, frozen=True):
    """Everything that tubes connect with one room."""

    rooms: tuple[Room, ...]
    tubes: tuple[TubeLine, ...]
    waiting: dict[RoomId, int]


class Letter(msgspec.Struct, frozen=True):
    """A dead letter where it lies."""

    tag: str
    id: str
    letter: DeadLetter


_DIRECTIONS: dict[Direction, str] = {"both": "both", "a>b": "a_to_b", "b>a": "b_to_a"}


class NoAnswer(Exception):
    """The relay did not answer in time."""

    def __init__(self) -> None:
        super().__init__("The relay did not answer. What you asked for is noted and will be done; look again soon.")


class Directory:
    """Everything that the portal and the command line read."""

    def __init__(self, deps: Deps) -> None:
        self._deps = deps
        self._store = deps.store
        self._gate: Gate | None = None

    async def _topology(self, shard: int) -> Topology:
        tag = keys.shard_tag(shard)
        pipeline = self._store.pipeline(transaction=False)
        pipeline.hvals(keys.rooms(tag))
        pipeline.hvals(keys.tubes(tag))
        rooms, tubes = await pipeline.execute()
        return Topology(map(decode_room, rooms), map(decode_tube, tubes))

    async def _topology_with(self, room: RoomId) -> Topology:
        shard = await self._deps.locate(room)
        return await self._topology(self._deps.ingest.home(room) if shard is None else shard)

    async def room(self, room_id: RoomId) -> Room | None:
        """A room with its log; None when nobody knows it."""
        topology = await self._topology_with(room_id)
        state = topology.rooms.get(room_id)
        if state is None:
            return None
        shown = _room(state)
        lines = [line async for line in self.security_log(room_id, LOG_SHOWN)]
        return replace(shown, portal_open=await self._portal_open(room_id), log=tuple(map(_log_line, lines)))

    async def _portal_open(self, room: RoomId) -> bool:
        if await self._store.exists(code_keys.link_generation("portal", room)):
            return True
        issued: Any = await self._store.zrangebyscore(code_keys.codes_of(room), f"({self._deps.now_ms()}", "+inf")
        # One that was used or taken back stays in the list until it would have ended.
        claims = [await as_awaitable(self._store.hget(code_keys.code(code.decode()), "claim")) for code in issued]
        return b"" in claims

    async def sameroom(self, room_id: RoomId) -> Sameroom:
        """The sameroom that a room is in; at least the room itself, when it is known."""
        topology = await self._topology_with(room_id)
        rooms = [room for room in topology.component(room_id) if room in topology.rooms]
        tubes = {tube.id: tube for room in rooms for tube in topology.tubes_of(room)}
        return Sameroom(
            tuple(_room(topology.rooms[room]) for room in rooms),
            tuple(_tube(tube) for tube in tubes.values()),
            await self._waiting(rooms),
        )

    async def _waiting(self, rooms: Iterable[RoomId]) -> dict[RoomId, int]:
        rooms = list(rooms)
        pipeline = self._store.pipeline(transaction=False)
        for room in rooms:
            pipeline.hget(keys.waiting(keys.account_tag(account_of(room))), room)
        found = await pipeline.execute() if rooms else []
        return {room: int(count) for room, count in zip(rooms, found, strict=True) if count}

    async def everything(self) -> AsyncIterator[tuple[RoomState | None, Tube | None]]:
        """Every room and every tube, as stored, shard by shard."""
        for shard in range(self._deps.shards):
            topology = await self._topology(shard)
            for state in topology.rooms.values():
                yield state, None
            for tube in topology.tubes.values():
                yield None, tube

    async def security_log(self, room: RoomId | None = None, limit: int = 1_000) -> AsyncIterator[SecurityRecord]:
        """The newest lines of the security log, newest first; of one room, or of all."""
        found: list[SecurityRecord] = []
        for shard in range(self._deps.shards):
            rows: Any = await self._store.xrevrange(keys.security_log(keys.shard_tag(shard)), count=limit * 10)
            records = (decode_security(fields[b"e"]) for _, fields in rows)
            found += [record for record in records if room is None or record.room == room]
        found.sort(key=lambda record: -record.at_ms)
        for record in found[:limit]:
            yield record

    # --- dead letters

    async def dead_letters(self, accounts: Iterable[AccountId]) -> AsyncIterator[Letter]:
        """Everything that was set aside, oldest first in each journal."""
        tags = [keys.account_tag(account) for account in accounts]
        tags += [keys.shard_tag(shard) for shard in range(self._deps.shards)]
        for tag in tags:
            rows: Any = await self._store.xrange(keys.dead(tag))
            for row_id, fields in rows:
                yield Letter(tag, row_id.decode(), decode_dead(fields[b"e"]))

    async def replay(self, found: Letter) -> None:
        """Put a dead letter back into its journal, at the end; it leaves the list once it is there."""
        journals = self._deps.journals
        letter = found.letter
        record: Any
        if letter.kind == "event":
            record = decode_incoming(letter.record)
            self._gate = self._gate or self._deps.ingest.gate(redelivers=False)
            self._gate.put(record, dedup=f"replay {found.tag} {found.id}")
            await self._gate.accepted()
        else:
            record = decode_delivery(letter.record)
            source = f"replay {found.id}"
            await journals.append(found.tag, source, 0, [(1, encode(record), record)])
            await as_awaitable(self._store.hdel(keys.sources(found.tag), source))
        await self._store.xdel(keys.dead(found.tag), found.id)

    # --- acts

    async def act(
        self,
        room: RoomId,
        person: str,
        actor: str,
        name: str,
        argument: str = "",
        is_admin: bool | None = None,
        titles: tuple[str, str] = ("", ""),
    ) -> str:
        """Give a command, in the same queue as those typed in the room; returns the reply for people.

        Raises core.store.StoreDown when it could not be given, NoAnswer when it is given and the reply is late.
        """
        act_id = self._deps.random_id()
        self._gate = self._gate or self._deps.ingest.gate(redelivers=False)
        self._gate.put(Act(room, act_id, actor, person, name, argument, is_admin, *titles), dedup="")
        await self._gate.accepted()
        reply = await as_awaitable(self._store.blpop([keys.act_reply(act_id)], ACT_PATIENCE_S))
        if reply is None:
            raise NoAnswer
        return str(reply[1].decode())


def _room(state: RoomState) -> Room:
    bans = tuple(Ban(key, name) for key, name in state.bans.items())
    return Room(state.room, state.title, state.platform_title, state.paused, state.style, state.away, bans)


def _tube(tube: Tube) -> TubeLine:
    direction = _DIRECTIONS[tube.direction]
    return TubeLine(tube.id, tube.a, tube.b, direction, tube.paused, tube.created_by, tube.created_at_ms)


def _log_line(record: SecurityRecord) -> LogLine:
    parts = [record.act, f"by {record.actor}" if record.actor else "", record.detail]
    return LogLine(record.at_ms, ", ".join(part for part in parts if part))

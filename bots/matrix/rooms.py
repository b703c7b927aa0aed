"""Being in rooms: invited, put out, told that a room is encrypted, and following a room that was upgraded."""

from __future__ import annotations

import asyncio

import structlog

from bots.matrix.client import Json, Refused, at, at_state
from bots.matrix.config import room_alias
from bots.matrix.desk import Desk
from bots.matrix.ghosts import Ghosts
from bots.matrix.memory import Invited, Move, Room
from bots.matrix.receive import MARK, Told
from core.contract import Emit, Retry
from core.model import Author, BotAdded, BotRemoved, NativeId, RoomMoved, RoomRenamed

log = structlog.get_logger()

LOOK_S = 5.0
JOIN_S = 120.0
"""Joining a room of another homeserver takes long."""
JOIN_TRIES = 5
JOIN_AT_ONCE = 4
ENCRYPTED = "the room is end-to-end encrypted now, and the bot cannot read it"


class Rooming:
    """The rooms of one account."""

    def __init__(self, desk: Desk, ghosts: Ghosts) -> None:
        self._desk = desk
        self._ghosts = ghosts
        self._joining = asyncio.Semaphore(JOIN_AT_ONCE)

    # --- coming in

    async def invited(self, room: str, by: str) -> None:
        """Somebody invites us: remember it, then go there beside."""
        await self._desk.memory.save_invite(room, Invited(by))
        self._desk.spawn(self.join(room, by))

    async def resume(self) -> None:
        """Go on where an earlier run was on its way."""
        for room, invited in (await self._desk.memory.invites()).items():
            self._desk.spawn(self.join(room, invited.by))
        for room, move in (await self._desk.memory.moves()).items():
            self._desk.spawn(self.join(room, move.via))

    async def join(self, room: str, via: str = "") -> None:
        """Join a room by id or alias; ``via`` is somebody whose homeserver knows it. What follows is told by the
        homeserver, as an event. Raises any AdapterError.
        """
        server = via.partition(":")[2]
        query = {"via": server, "server_name": server} if server and room.startswith("!") else {}
        for attempt in range(JOIN_TRIES):
            try:
                async with self._joining:
                    await self._desk.client.call("POST", at("join", room), {}, query=query, timeout_s=JOIN_S)
                return
            except Refused as error:
                log.info("matrix: cannot join", account=self._desk.account, room=room, error=str(error))
                if await self._desk.memory.move(room) is None:
                    # An upgraded room may let us in later, when somebody invites us; an invitation was taken back.
                    await self._desk.memory.arrived(room)
                return
            except Retry as error:
                await asyncio.sleep(max(error.after_s, 2.0**attempt))

    async def is_member(self, room: str) -> bool:
        """Does the homeserver say that we are in the room?"""
        try:
            member = await self._desk.client.get(at_state(room, "m.room.member", self._desk.me), timeout_s=LOOK_S)
        except Refused:
            return False
        return member.get("membership") == "join"

    async def enter(self, emit: Emit, room: str, native: str, at_ms: int, *, greet: bool) -> Room:
        """We are in the room now: what is it called, can it be bridged, and is it an upgrade of another?"""
        memory = self._desk.memory
        invited = await memory.invite(room)
        name, alias, encryption, host = await asyncio.gather(
            self._state(room, "m.room.name"),
            self._state(room, "m.room.canonical_alias"),
            self._state(room, "m.room.encryption"),
            self._state(room, "m.room.member", invited.by if invited else self._desk.me),
        )
        by = Author(invited.by, _word(host, "displayname") or localpart(invited.by)) if invited else None
        known = Room(
            joined=True,
            name=_word(name, "name"),
            alias=_word(alias, "alias"),
            invited_by=by.name if by else "",
            encrypted=bool(encryption),
            told=memory.rooms.get(room, Room()).told,
        )
        memory.rooms[room] = known
        memory.changed.add(room)
        if old := await self._succeeds(room):
            self._moved(emit, old, room, at_ms)
        elif known.encrypted:
            await self.tell_encrypted(room)
        else:
            where = self._desk.room(room)
            title, greet = known.title or room, greet or by is not None
            emit(BotAdded(room=where, native=NativeId(native), at_ms=at_ms, title=title, by=by, greet=greet))
        return known

    async def _state(self, room: str, kind: str, key: str = "") -> Json:
        try:
            return await self._desk.client.get(at_state(room, kind, key), timeout_s=LOOK_S)
        except Refused:
            return {}

    # --- going out

    def left(self, emit: Emit, event: Told) -> None:
        """We are no longer in the room."""
        known = self._desk.memory.rooms.get(event.room)
        if known is None or not known.joined:
            return
        known.joined = False
        self._desk.memory.changed.add(event.room)
        why = event.content.get("reason")
        said = f" ({why[:200]})" if isinstance(why, str) and why else ""
        verb = "banned" if event.content.get("membership") == "ban" else "removed"
        self.removed(emit, event, f"the bot was {verb} by {event.sender}{said}")
        if self._desk.config.is_appservice:
            self._desk.spawn(self._ghosts.leave(event.room))

    def removed(self, emit: Emit, event: Told, reason: str) -> None:
        """The room can no longer be bridged."""
        room = self._desk.room(event.room)
        emit(BotRemoved(room=room, native=NativeId(event.id), at_ms=event.at_ms, reason=reason))

    # --- what cannot be read

    async def tell_encrypted(self, room: str) -> None:
        """Say once that the room cannot be bridged, and what to do."""
        known = self._desk.memory.rooms[room]
        if known.told:
            return
        known.told = True
        await self._desk.memory.save_rooms([room])
        words = (
            "I cannot bridge this room: it is end-to-end encrypted, and I cannot read what is said here. Encryption "
            "cannot be switched off in a room. Make a new room with encryption off (in Element: Create room, switch "
            f"off “Enable end-to-end encryption”) and invite {self._desk.me} there."
        )
        content = {"msgtype": "m.notice", "body": words, "m.mentions": {}, MARK: True}
        path = at("rooms", room, "send", "m.room.message", f"encrypted-{self._desk.services.random_id()}")

        async def say() -> None:
            await self._desk.client.call("PUT", path, content, posts=True)

        self._desk.spawn(say())

    # --- names

    def renamed(self, emit: Emit, event: Told) -> None:
        """The room has a new name or alias."""
        known = self._desk.memory.rooms[event.room]
        before = known.title
        if event.kind == "m.room.name":
            known.name = _word(event.content, "name")
        else:
            known.alias = _word(event.content, "alias")
        if known.title != before:
            title = known.title or event.room
            room = self._desk.room(event.room)
            emit(RoomRenamed(room=room, native=NativeId(event.id), at_ms=event.at_ms, title=title))

    # --- upgrades

    async def tombstone(self, emit: Emit, event: Told) -> None:
        """The room goes on elsewhere. Only the room's present state counts, which the homeserver lets only people
        with the power change; and the new room must name this one as its predecessor ("Room upgrades").
        """
        new = await self._successor(event.room) if event.state_key == "" else ""
        if not new or event.content.get("replacement_room") != new:
            log.warning("matrix: a room's move is not its state", account=self._desk.account, room=event.room)
            return
        memory = self._desk.memory
        await memory.read_rooms([new])
        if (there := memory.rooms.get(new)) and there.joined:
            if await self._succeeds(new) == event.room:
                self._moved(emit, event.room, new, event.at_ms)
            return
        await memory.save_move(new, Move(event.room, event.sender))
        self._desk.spawn(self.join(new, event.sender))

    async def _successor(self, room: str) -> str:
        """Where the room's state says that it goes on; empty where it does not."""
        new = (await self._state(room, "m.room.tombstone")).get("replacement_room")
        return new if isinstance(new, str) and new.startswith("!") and new != room else ""

    async def _succeeds(self, room: str) -> str:
        """The room of ours that goes on in this one by the word of both; empty where there is none."""
        predecessor = (await self._state(room, "m.room.create")).get("predecessor")
        old = predecessor.get("room_id") if isinstance(predecessor, dict) else None
        if not isinstance(old, str):
            return ""
        memory = self._desk.memory
        await memory.read_rooms([old])
        if (before := memory.rooms.get(old)) is None or not before.joined:
            return ""
        if await self._successor(old) != room:
            log.warning("matrix: a room claims to succeed another", account=self._desk.account, room=room, old=old)
            return ""
        return old

    def _moved(self, emit: Emit, old: str, new: str, at_ms: int) -> None:
        """The tubes go on in ``new``; nobody stays behind."""
        desk = self._desk
        emit(RoomMoved(room=desk.room(old), native=NativeId(f"moved {new}"), at_ms=at_ms, to=desk.room(new)))
        desk.memory.rooms[old].joined = False
        desk.memory.changed.add(old)
        desk.spawn(self._leave(old))

    async def _leave(self, room: str) -> None:
        if self._desk.config.is_appservice:
            await self._ghosts.leave(room)
        await self._desk.client.call("POST", at("rooms", room, "leave"), {})

    # --- people

    async def is_admin(self, room: str, user: str) -> bool:
        """May this person change the room's state and ban people? (Client-Server API, "m.room.power_levels")"""
        create = await self._desk.client.get(at_state(room, "m.room.create"), {"format": "event"}, timeout_s=LOOK_S)
        found = create.get("content")
        content: Json = found if isinstance(found, dict) else create
        creators = {create.get("sender"), content.get("creator")} - {None}
        levels = await self._state(room, "m.room.power_levels")
        if str(content.get("room_version", "1")).isdecimal() and int(content.get("room_version", "1")) >= 12:
            # Creators stand above all levels since room version 12.
            more = content.get("additional_creators")
            if user in creators or (isinstance(more, list) and user in more):
                return True
        if not levels:
            return user in creators
        needed = max(_level(levels.get("state_default"), 50), _level(levels.get("ban"), 50), 1)
        users = levels.get("users")
        listed = users.get(user) if isinstance(users, dict) else None
        return _level(listed, _level(levels.get("users_default"), 0)) >= needed

    async def reconcile(self, emit: Emit) -> None:
        """Compare what we remember with what the homeserver says, after a store was lost or we were away."""
        found = (await self._desk.client.get(at("joined_rooms"))).get("joined_rooms")
        joined = [room for room in found if isinstance(room, str)] if isinstance(found, list) else []
        memory, now_ms = self._desk.memory, self._desk.services.now_ms()
        # Of those that we are on the way into, the homeserver tells us when we are there.
        expected = {*await memory.invites(), *await memory.moves()}
        async with memory.taking:
            known = {room for room, seen in memory.rooms.items() if seen.joined}
            entered = [room for room in joined if room not in known | expected]
            gone = known.difference(joined)
            for room in entered:
                await self.enter(emit, room, f"found-{now_ms}", now_ms, greet=False)
            for room in gone:
                memory.rooms[room].joined = False
                native = NativeId(f"gone-{now_ms}")
                why = "the bot is no longer in the room"
                emit(BotRemoved(room=self._desk.room(room), native=native, at_ms=now_ms, reason=why))
            memory.changed |= gone
            await emit.accepted()
            await memory.save_changed()

    async def join_configured(self) -> None:
        """Join the rooms that the operator named."""
        for entry in self._desk.config.join:
            await self.join(room_alias(entry))


def localpart(user: str) -> str:
    """``@ann:example.org`` → ``ann``."""
    return user[1:].partition(":")[0] or user


def _word(content: Json, name: str) -> str:
    word = content.get(name)
    return word.strip()[:200] if isinstance(word, str) else ""


def _level(value: object, default: int) -> int:
    """Old rooms have levels as text."""
    try:
        return int(value) if isinstance(value, int | str) else default
    except ValueError:
        return default

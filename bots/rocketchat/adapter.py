"""One user on one Rocket.Chat server: hears by the live stream, speaks by REST."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Sequence
from typing import Any
from urllib.parse import urlsplit

import structlog

from bots.rocketchat import receive
from bots.rocketchat.api import KINDS
from bots.rocketchat.config import RocketChatConfig
from bots.rocketchat.ddp import FORGET_S, Stream
from bots.rocketchat.files import opened
from bots.rocketchat.memory import Room
from bots.rocketchat.past import read
from bots.rocketchat.receive import Malformed, Message, Person
from bots.rocketchat.send import OURS, Speaker
from core.contract import (
    AdapterError,
    AuthLost,
    Emit,
    Invite,
    Rejected,
    Remembered,
    Retry,
    RoomInfo,
    Services,
    Since,
)
from core.model import (
    AccountId,
    Author,
    BotAdded,
    BotRemoved,
    Joined,
    Left,
    NativeId,
    PlatformEvent,
    RoomId,
    RoomRenamed,
    Typing,
    native_room,
    room_id,
)
from core.store import TRANSIENT, StoreDown

log = structlog.get_logger()

AUTH_RETRY_S = 300.0
FULL_STORE_S = 0.5
FRESH_MS = 60_000
"""A message that we do not know is new if it was last changed so soon after it was said."""
SEEN_MAX = 5_000
PEOPLE_MAX = 5_000
TYPING_EVERY_S = 5.0
RUNS_ROOM = frozenset({"owner", "moderator", "leader"})


class RocketChatAdapter(Speaker):
    """Implements Adapter, Edits, Deletes, Reacts, Types, Files, Members, History, Pings, Rooms and Invites."""

    def __init__(self, account: AccountId, config: RocketChatConfig, services: Services) -> None:
        super().__init__(account, config, services)
        self._emit: Emit | None = None
        self._stream: Stream | None = None
        self._task: asyncio.Task[None] | None = None
        self._seen: dict[str, int] = {}
        """Newest messages → Unix time in ms of their last change by somebody; 0: none."""
        self._people: dict[str, Person] = {}
        """By user name, and by the name that they type under."""
        self._typed_s: dict[RoomId, float] = {}

    # --- life

    async def start(self, emit: Emit) -> None:
        """Connect in the background, and stay connected."""
        self._emit = emit
        self._task = asyncio.create_task(self._live(emit), name=f"rocketchat {self.account}")

    async def stop(self) -> None:
        """Disconnect."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        if self._made is not None and self._sessions:
            await self._made.logout()
        self._made = None
        for session in self._sessions.values():
            await session.close()
        self._sessions.clear()

    async def _live(self, emit: Emit) -> None:
        least_s, most_s = self._config.reconnect_min_s, self._config.reconnect_max_s
        pauses_s, failures = (least_s, most_s), 0
        api = self._api
        self._stream = Stream(
            self._session,
            self._config.stream,
            pauses_s,
            api.login,
            api.forget_login,
            self._ready,
            self._hear,
            emit.offline,
        )
        loop = asyncio.get_running_loop()
        while True:
            pause_s, began_s = 0.0, loop.time()
            try:
                await self._stream.run()
            except AuthLost as error:
                self._auth_lost = str(error)
                emit.offline(str(error))
                pause_s = AUTH_RETRY_S
            except (AdapterError, *TRANSIENT) as error:
                emit.offline(str(error))
                pause_s = error.after_s if isinstance(error, Retry) else 0.0
            except Exception as error:  # an account that died silently would be worse than one that tries again
                log.exception("rocketchat account failed", account=self.account)
                emit.offline(f"an error of the bot ({error})")
            failures = 1 if loop.time() - began_s > FORGET_S else failures + 1
            spread = random.uniform(0.7, 1.0)  # noqa: S311 - spreads reconnects, keeps no secret
            await asyncio.sleep(max(pause_s, min(most_s, least_s * 2.0 ** min(failures, 12)) * spread))

    async def _ready(self, user: str) -> None:
        """The subscriptions stand: learn what we may and where we are, then have the gap looked up."""
        self._me = user
        await self._learn()
        self._auth_lost = ""
        self._rooms = await self._memory.rooms()
        await self._look_at_rooms(first=await self._memory.first_look())
        if self._emit is not None:
            self._emit.online()

    # --- rooms

    async def _look_at_rooms(self, *, first: bool = False) -> None:
        found = await self._api.rooms()
        for raw in found:
            await self._is_in(str(raw["_id"]), self._room_of(raw), greet=not first)
        for rid in self._rooms.keys() - {str(raw["_id"]) for raw in found}:
            await self._went(rid)

    def _room_of(self, raw: dict[str, Any]) -> Room:
        kind = str(raw["t"])
        path = str(raw.get("name") or "") if kind != "d" else ""
        return Room(kind, receive.title_of(raw, self._username), path)

    async def _is_in(self, rid: str, room: Room, *, greet: bool) -> None:
        """We are in this room, under this name."""
        before = self._rooms.get(rid)
        if self._stream is not None:
            await self._stream.follow(rid)
        if before == room or self._emit is None:
            return
        self._rooms[rid] = room
        await self._memory.keep_room(rid, room)
        now = self._services.now_ms()
        where = room_id(self.account, rid)
        if before is None and greet:
            self._emit(BotAdded(room=where, native=NativeId(f"added/{now}"), at_ms=now, title=room.title))
        elif before is not None and before.title != room.title:
            native = NativeId(f"renamed/{now}")
            self._emit(RoomRenamed(room=where, native=native, at_ms=now, title=room.title))

    async def _went(self, rid: str) -> None:
        """We are in this room no more."""
        if self._rooms.pop(rid, None) is None or self._emit is None:
            return
        await self._memory.drop_room(rid)
        if self._stream is not None:
            await self._stream.unfollow(rid)
        now = self._services.now_ms()
        native, reason = NativeId(f"removed/{now}"), "The bot's user is not in the room any more."
        self._emit(BotRemoved(room=room_id(self.account, rid), native=native, at_ms=now, reason=reason))

    async def _subscription(self, action: str, raw: dict[str, Any]) -> None:
        """Our membership in a room came, changed or went; or the room itself."""
        rid = str(raw.get("rid") or raw.get("_id") or "")
        if action == "removed":
            await self._went(rid)
        elif action == "inserted" and rid not in self._rooms and raw.get("t", "c") in KINDS:
            await self._look_at_rooms()
        elif rid in self._rooms and raw.get("t") in ("c", "p") and raw.get("name"):
            await self._is_in(rid, self._room_of(raw), greet=False)

    # --- what is heard

    async def _hear(self, collection: str, event: str, args: list[Any]) -> None:
        """Take in one notice; returns when it is durable. Raises an AdapterError where something that has to be asked
        for it cannot be had for now: with the next connection the gap is looked up.
        """
        if self._emit is None:
            return
        try:
            await self._take(self._emit, collection, event, args)
        except (Malformed, Rejected) as error:
            log.info("rocketchat notice not understood", account=self.account, kind=collection, why=str(error)[:200])
        except TRANSIENT as error:
            log.warning("rocketchat notice lost for now", account=self.account, error=str(error))
            self._emit.online()  # the gap is looked up
        held = False
        while True:
            try:
                await self._emit.accepted()
            except StoreDown:
                held = True
                await asyncio.sleep(FULL_STORE_S)
            else:
                break
        if held:
            self._emit.online()  # something may have been refused: it is looked up

    async def _take(self, emit: Emit, collection: str, event: str, args: list[Any]) -> None:
        first = args[0] if args else None
        if collection == "stream-room-messages":
            extra = args[1] if len(args) > 1 and isinstance(args[1], dict) else {}
            # A public channel is open to us before we are in it.
            if extra.get("roomParticipant") is not False and extra.get("roomType", "c") in KINDS:
                await self._message(emit, receive.read(first))
        elif collection == "stream-notify-user" and len(args) > 1 and isinstance(args[1], dict):
            await self._subscription(str(first), args[1])
        elif collection == "stream-notify-room":
            rid, _, what = event.partition("/")
            if what == "deleteMessage" and isinstance(first, dict) and first.get("_id"):
                self._gone(emit, rid, str(first["_id"]))
            elif what == "user-activity" and len(args) > 1 and "user-typing" in (args[1] or ()):
                await self._typing_seen(emit, rid, str(first))

    async def _message(self, emit: Emit, message: Message) -> None:
        if message.rid not in self._rooms:
            await self._look_at_rooms()
            if message.rid not in self._rooms:
                return
        self._knows(message)
        seen, edited_ms = self._seen.get(message.id), receive.moment_ms(message.editedAt)
        updated_ms = receive.moment_ms(message.updated_at)
        fresh = updated_ms - message.at_ms <= FRESH_MS
        self._saw(message.id, max(edited_ms, seen or 0))
        if message.notice:
            if seen is None or message.notice == "rm":
                await self._happened(emit, message)
            return
        if not self._is_ours(message):
            if edited_ms:
                if edited_ms > (seen or 0):
                    emit(receive.edited(self.account, message, self._config.base))
            elif seen is None and fresh:
                emit(receive.said(self.account, message, self._config.base, self._sites))
        if message.reactions or seen is not None or not fresh:
            await self._reactions(emit, message, updated_ms)

    def _is_ours(self, message: Message) -> bool:
        """Of our user, and with a mark of ours: what its owner types by hand has none."""
        return message.u.id == self._me and bool(message.id.startswith(OURS) or message.alias or message.file)

    def _saw(self, native: str, edited_ms: int) -> None:
        self._seen.pop(native, None)
        self._seen[native] = edited_ms
        if len(self._seen) > SEEN_MAX:
            del self._seen[next(iter(self._seen))]

    def _gone(self, emit: Emit, rid: str, native: str) -> None:
        if native not in self._deleted:
            emit(receive.deleted(self.account, rid, native, self._services.now_ms()))

    async def _happened(self, emit: Emit, message: Message) -> None:
        """A system message."""
        kind, who = message.notice, message.u
        if kind == "rm":
            self._gone(emit, message.rid, message.id)
        elif kind == "r" and message.msg:
            known = self._rooms[message.rid]
            raw = {"t": known.kind, "name": message.msg, "fname": message.msg}
            await self._is_in(message.rid, self._room_of(raw), greet=False)
        elif kind in receive.JOINS | receive.LEAVES | receive.ADDS | receive.REMOVES:
            if kind in receive.ADDS | receive.REMOVES:
                who = await self._person(message.msg or "")
            event = Joined if kind in receive.JOINS | receive.ADDS else Left
            if who.id != self._me:
                where, native = room_id(self.account, message.rid), NativeId(message.id)
                emit(event(room=where, native=native, at_ms=message.at_ms, author=self._author(who)))

    async def _reactions(self, emit: Emit, message: Message, at_ms: int) -> None:
        now = receive.standing(message)
        before = await self._memory.reacted(message.id, now)
        for name, username, added in receive.changes(before, now):
            if username != self._username:
                who = self._author(await self._person(username))
                emit(receive.reacted(room_id(self.account, message.rid), message.id, who, name, added, at_ms))

    async def _typing_seen(self, emit: Emit, rid: str, name: str) -> None:
        if name not in (self._username, self._shown_as) and rid in self._rooms:
            who, now = self._author(await self._person(name)), self._services.now_ms()
            emit(
                Typing(room=room_id(self.account, rid), native=NativeId(f"typing/{name}/{now}"), at_ms=now, author=who)
            )

    # --- people

    def _knows(self, message: Message) -> None:
        for person in (message.u, *(message.mentions or ())):
            for name in {person.username, person.name} - {None, ""}:
                self._people.pop(str(name), None)
                self._people[str(name)] = person
        while len(self._people) > PEOPLE_MAX:
            del self._people[next(iter(self._people))]

    async def _person(self, name: str) -> Person:
        """Somebody by user name (or by the name that typing notices have)."""
        if name not in self._people:
            try:
                found = await self._api.user(username=name)
            except AdapterError:
                found = {}
            self._people[name] = Person(
                str(found.get("_id") or name), str(found.get("username") or name), found.get("name")
            )
        return self._people[name]

    def _author(self, person: Person) -> Author:
        return Author(person.id, person.shown, receive.avatar_of(person, self._config.base))

    async def is_admin(self, room: RoomId, author_id: str) -> bool:
        """Does this user own, moderate or lead the room, or run the server? In a direct room: take part in it?"""
        rid = native_room(room)
        known = (await self._known()).get(rid)
        if known is None or not author_id:
            return False
        if known.kind == "d":
            return author_id in ((await self._api.room(rid)).get("uids") or ())
        if RUNS_ROOM & set((await self._api.roles(known.kind, rid)).get(author_id, ())):
            return True
        try:
            return "admin" in ((await self._api.user(userId=author_id)).get("roles") or ())
        except Rejected:
            return False

    # --- what else an account does

    def room_info(self, room: RoomId) -> RoomInfo:
        """The room's name, and the server's."""
        known = self._rooms.get(native_room(room))
        host = urlsplit(self._config.base).hostname or ""
        return RoomInfo(room, known.title if known else native_room(room), host)

    async def rooms(self) -> Sequence[RoomInfo]:
        """The rooms that the user is in."""
        found = {str(raw["_id"]): self._room_of(raw) for raw in await self._api.rooms()}
        host = urlsplit(self._config.base).hostname or ""
        return [RoomInfo(room_id(self.account, rid), room.title, host) for rid, room in found.items()]

    def invite(self, code: str) -> Invite:
        """How to bring the user into a room of this server."""
        name = self._username or "the bot's user"
        host = urlsplit(self._config.base).hostname
        return Invite(
            title=f"Rocket.Chat at {host}",
            steps=(
                f"In your channel or group at {host}, type: /invite @{name}",
                f"When it has come, say there: -{self._services.prefix} connect {code}",
            ),
        )

    async def ping(self, room: RoomId) -> None:
        """Ask the server for the room."""
        await self._api.room(native_room(room))

    async def typing(self, room: RoomId, author: Author) -> None:
        """Show that the bot's user types: the server lets nobody say that of somebody else."""
        now_s = asyncio.get_running_loop().time()
        if self._stream is None or now_s - self._typed_s.get(room, -TYPING_EVERY_S) < TYPING_EVERY_S:
            return
        self._typed_s[room] = now_s
        params = [f"{native_room(room)}/user-activity", self._shown_as, ["user-typing"], {}]
        await self._stream.notify("stream-notify-room", params)

    async def history(self, room: RoomId, since: Since) -> Remembered:
        """What was said since then, threads too, the newest two thousand messages at most; and which older ones were
        changed or deleted."""
        rid = native_room(room)
        known = (await self._known()).get(rid)
        if known is None:
            raise Rejected("The bot's user is not in the room.")
        self._me, _ = await self._api.login()
        past = await read(self._api, known.kind, rid, since)
        now_ms, base = self._services.now_ms(), self._config.base
        events: list[PlatformEvent] = [
            receive.edited(self.account, one, base) for one in past.edited if not self._is_ours(one)
        ]
        # Of ours, it is not said whether we did it ourselves: what is too much for a shorter text goes, too.
        gone = [native for native in past.deleted if not native.startswith(OURS) and native not in self._deleted]
        events += [receive.deleted(self.account, rid, native, now_ms) for native in gone]
        for message in past.said:
            if not message.notice and not self._is_ours(message):
                self._knows(message)
                events.append(receive.said(self.account, message, base, self._sites))
        return Remembered(tuple(events), complete=past.complete)

    def open_file(self, ref: str) -> AsyncIterator[bytes]:
        """Stream a file of the server. Raises Rejected and Retry."""
        return opened(self._config, self._api, self._sessions, ref, self._caps.file_limit_bytes)

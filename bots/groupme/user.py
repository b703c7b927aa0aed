"""A GroupMe account that is a member of groups: reads by the push service, posts as its user."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping, Sequence
from typing import Any

import structlog

from bots.groupme import receive
from bots.groupme import text as dialect
from bots.groupme.config import GroupMeConfig
from bots.groupme.faye import Push
from bots.groupme.files import LIMIT_BYTES
from bots.groupme.payload import Group, Malformed, Message, id_of, need_id, read
from bots.groupme.speaker import OURS, Speaker
from core.contract import (
    AdapterError,
    Capabilities,
    Emit,
    Invite,
    Remembered,
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
    RoomId,
    RoomRenamed,
    Typing,
    native_room,
    room_id,
)
from core.store import TRANSIENT, StoreDown

log = structlog.get_logger()

FULL_STORE_S = 0.5
TYPING_EVERY_S = 4.0
"""The indicator lasts five seconds (WebSocket gateway, "typing")."""


class UserAdapter(Speaker):
    """One user of GroupMe, all its groups as rooms."""

    def __init__(self, account: AccountId, config: GroupMeConfig, services: Services) -> None:
        super().__init__(account, config, services)
        self._me = ""
        self._task: asyncio.Task[None] | None = None
        self._push: Push | None = None
        self._typed_s: dict[RoomId, float] = {}
        self._capabilities = Capabilities(
            edit="full",
            delete="full",
            reply="full",
            reaction="partial",
            file="full",
            typing="partial",
            entities=frozenset({"mention"}),
            text_limit=dialect.LIMIT,
            text_unit="utf16",
            file_limit_bytes=LIMIT_BYTES,
            rate_per_s=config.rate_per_s,
            rate_burst=config.rate_burst,
            idempotent=True,
        )

    # --- life

    async def start(self, emit: Emit) -> None:
        """Begin to connect; return at once."""
        self._emit = emit
        self._task = asyncio.create_task(self._keep_trying(emit, self._listen), name=f"groupme {self.account}")

    async def stop(self) -> None:
        """Disconnect."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        await self._close()

    async def _listen(self, emit: Emit) -> None:
        self._me, name = await self._api.me()
        self._auth_lost = ""
        log.info("groupme user found", account=self.account, user=name)
        await self._connect(emit).run(f"/user/{self._me}")

    def _connect(self, emit: Emit) -> Push:
        pauses_s = (self._config.reconnect_min_s, self._config.reconnect_max_s)
        now_ms, token = self._services.now_ms, self._config.token
        push = Push(
            self._session, self._config.push_url, token, now_ms, pauses_s, self._hear, self._ready, emit.offline
        )
        self._push = push
        return push

    async def _ready(self) -> None:
        """The subscription stands: see which groups there are now, then have the gap looked up."""
        emit = self._started()
        try:
            await self._look_at_groups(emit)
        except (AdapterError, *TRANSIENT) as error:
            log.warning("groupme groups not read", account=self.account, error=str(error))
        emit.online()

    async def _look_at_groups(self, emit: Emit) -> None:
        await self._groups.load()
        known, found = await self._memory.groups(), await self._api.groups()
        first = await self._memory.first_look()
        for group, title in found.items():
            await self._groups.came(group, title)
            if group not in known and not first:
                self._added(emit, group, title)
            elif known.get(group, title) != title:
                native = self._native("renamed", str(self._services.now_ms()))
                renamed = RoomRenamed(room=self._room(group), native=native, at_ms=self._now(), title=title)
                emit(renamed)
        for group in known.keys() - found.keys():
            await self._removed(emit, group)
        if self._push is not None:
            self._push.want(f"/group/{group}" for group in found)

    def _started(self) -> Emit:
        assert self._emit is not None  # noqa: S101 - start() set it
        return self._emit

    def _now(self) -> int:
        return self._services.now_ms()

    def _room(self, group: str) -> RoomId:
        return room_id(self.account, group)

    def _added(self, emit: Emit, group: str, title: str) -> None:
        native = self._native("added", str(self._now()))
        emit(BotAdded(room=self._room(group), native=native, at_ms=self._now(), title=title))

    async def _removed(self, emit: Emit, group: str) -> None:
        if self._push is not None:
            self._push.forget(f"/group/{group}")
        if await self._groups.went(group):
            native = self._native("removed", str(self._now()))
            reason = "The bot's user is not in the group any more."
            emit(BotRemoved(room=self._room(group), native=native, at_ms=self._now(), reason=reason))

    # --- what is heard

    async def _hear(self, channel: str, data: Mapping[str, Any]) -> None:
        """Take in one message of the push service; returns when it is durable."""
        emit = self._started()
        try:
            await self._take(emit, channel, data)
        except Malformed as error:
            log.info("groupme sent something unknown", account=self.account, kind=str(data.get("type")), why=str(error))
            return
        except TRANSIENT as error:
            log.warning("groupme event lost for now", account=self.account, error=str(error))
            emit.online()  # the gap is looked up
            return
        await self._until_accepted(emit)

    async def _until_accepted(self, emit: Emit) -> None:
        held = False
        while True:
            try:
                await emit.accepted()
            except StoreDown:
                held = True
                await asyncio.sleep(FULL_STORE_S)
            else:
                break
        if held:
            emit.online()  # something may have been refused: it is looked up

    async def _take(self, emit: Emit, channel: str, data: Mapping[str, Any]) -> None:
        kind, subject = data.get("type"), data.get("subject")
        if kind == "typing":
            await self._typing_seen(emit, channel, data)
        elif not isinstance(subject, dict):
            return
        elif kind == "line.create":
            await self._line(emit, read(subject, Message))
        elif kind in ("message.update", "message.deleted"):
            await self._changed(emit, read(subject, Message), gone=kind == "message.deleted")
        elif kind in ("favorite", "like.create"):
            await self._liked(emit, data, subject)
        elif kind == "membership.create":
            group = read(subject, Group)
            await self._came(emit, need_id(group.id, "a group's id"), group.name or "")

    async def _line(self, emit: Emit, message: Message) -> None:
        events = await self._said(message)
        group = id_of(message.group_id)
        for event in events:
            who = getattr(event, "author", None)
            if isinstance(event, (Joined, Left)) and who and who.id == self._me:
                if isinstance(event, Left):
                    await self._removed(emit, group)
                continue
            if isinstance(event, RoomRenamed):
                await self._groups.renamed(group, event.title)
            emit(event)

    async def _changed(self, emit: Emit, message: Message, *, gone: bool) -> None:
        if gone:
            emit(receive.deleted(receive.room_of(self.account, message), message.native, self._now()))
        elif not await self.is_ours(message):
            emit(receive.edited(self.account, message, await self._file_data(message)))

    async def _came(self, emit: Emit, group: str, title: str) -> None:
        if self._push is not None:
            self._push.want([f"/group/{group}"])
        if await self._groups.came(group, title):
            self._added(emit, group, title)

    async def _liked(self, emit: Emit, data: Mapping[str, Any], subject: Mapping[str, Any]) -> None:
        line = read(subject.get("line") or {}, Message)
        person = need_id(subject.get("user_id"), "user_id")
        if person == self._me or not id_of(line.group_id):
            return
        room, group, now = receive.room_of(self.account, line), str(line.group_id), receive.standing(subject, person)
        before = await self._memory.liked(f"{group}.{line.native}", person, now)
        if before != now:
            at_ms = data.get("received_at")
            at_ms = at_ms if isinstance(at_ms, int) else self._now()
            author = await self._groups.author(self._api, group, person)
            for event in receive.reacted(room, line.native, author, (before, now), at_ms):
                emit(event)

    async def _typing_seen(self, emit: Emit, channel: str, data: Mapping[str, Any]) -> None:
        person, group = id_of(data.get("user_id")), channel.removeprefix("/group/")
        if person and person != self._me and group != channel:
            author = await self._groups.author(self._api, group, person)
            native = self._native("typing", person, str(self._now()))
            emit(Typing(room=self._room(group), native=native, at_ms=self._now(), author=author))

    async def is_ours(self, message: Message) -> bool:
        """Our user's, and with our mark: what its owner types by hand has another."""
        return message.sender == self._me and id_of(message.source_guid).startswith(OURS)

    # --- what rooms can show

    def capabilities(self, room: RoomId) -> Capabilities:
        """The same in all groups."""
        return self._capabilities

    async def rooms(self) -> Sequence[RoomInfo]:
        """The groups that the user is in."""
        found = await self._api.groups()
        self._groups.titles |= found
        return [self.room_info(self._room(group)) for group in found]

    def invite(self, code: str) -> Invite:
        """How to bring the user into a group."""
        name = self._config.user_name or "the bot's user"
        return Invite(
            title="GroupMe group",
            steps=(
                f"In GroupMe, open your group, tap its picture, then Members, then Add members, and add {name}.",
                f"When {name} has come, say in the group: -{self._services.prefix} connect {code}",
            ),
        )

    async def is_admin(self, room: RoomId, author_id: str) -> bool:
        """Is this member the group's owner or one of its admins?"""
        return await self._groups.is_admin(self._api, native_room(room), author_id)

    async def ping(self, room: RoomId) -> None:
        """Read the newest message of the group."""
        await self._api.messages(native_room(room), limit=1)

    async def history(self, room: RoomId, since: Since) -> Remembered:
        """What was said after ``since``."""
        if not self._me:
            self._me, _ = await self._api.me()
        return await self._history(room, since)

    async def lost(self, group: str) -> None:
        """Are we really out of it?"""
        with contextlib.suppress(AdapterError, *TRANSIENT):
            if self._emit is not None and group not in await self._api.groups():
                await self._removed(self._emit, group)

    async def typing(self, room: RoomId, author: Author) -> None:
        """Show that the user types: GroupMe has no way to say that somebody else does."""
        now_s = asyncio.get_running_loop().time()
        if self._push is None or now_s - self._typed_s.get(room, -TYPING_EVERY_S) < TYPING_EVERY_S:
            return
        self._typed_s[room] = now_s
        data = {"type": "typing", "user_id": self._me, "started": self._now()}
        self._push.publish(f"/group/{native_room(room)}", data)

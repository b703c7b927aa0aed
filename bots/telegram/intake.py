"""From updates to events: albums are put together, and what has to be looked up is looked up.

An album comes as several messages without an end mark. Its room waits for a moment of silence, and what is said there
meanwhile waits behind it; the other rooms go on.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

import structlog
from msgspec.structs import replace

from bots.telegram import receive
from bots.telegram.memory import Marks, Rooms
from bots.telegram.receive import Me, body_of, native_of
from bots.telegram.sources import Update, update_id
from core.contract import Emit
from core.model import (
    BotAdded,
    BotRemoved,
    MessageEdited,
    MessageNew,
    NativeId,
    PlatformEvent,
    Reaction,
    RoomMoved,
    native_room,
)

log = structlog.get_logger()

IsOurs = Callable[[str, str], Awaitable[bool]]
"""``is_ours(chat, message)``: did we post this message of a channel?"""
ALBUM_PARTS: Final = 10
"""An album has at most ten messages (core.telegram.org/bots/api#sendmediagroup)."""


class Held:
    """An album that may not be complete, and what was said in its room since."""

    __slots__ = ("due_s", "group", "later", "parts")

    def __init__(self, group: str, update: Update, due_s: float) -> None:
        self.group = group
        self.parts = [update]
        self.due_s = due_s
        self.later: list[tuple[float, Update]] = []


class Intake:
    """Takes one account's updates in order, and emits."""

    def __init__(self, me: Me, rooms: Rooms, marks: Marks, emit: Emit, album_wait_s: float, is_ours: IsOurs) -> None:
        self._me = me
        self._rooms = rooms
        self._marks = marks
        self._emit = emit
        self._album_wait_s = album_wait_s
        self._is_ours = is_ours
        self._held: dict[str, Held] = {}

    @property
    def held(self) -> set[int]:
        """Ids of the updates of which nothing was emitted yet."""
        found: set[int] = set()
        for held in self._held.values():
            found.update(map(update_id, held.parts), (update_id(update) for _, update in held.later))
        return found

    def due_s(self) -> float | None:
        """When (the loop's time) the first album is taken for complete; None where there is none."""
        return min((held.due_s for held in self._held.values()), default=None)

    def forget(self) -> None:
        """What is held will be handed over again."""
        self._held.clear()

    async def take(self, updates: list[Update]) -> None:
        """New updates, in order."""
        now_s = asyncio.get_running_loop().time()
        for update in updates:
            await self._take(update, now_s)

    async def _take(self, update: Update, now_s: float) -> None:
        body = body_of(update)
        room = native_of(body) if isinstance(body.get("chat"), Mapping) and "id" in body["chat"] else ""
        group = str(body.get("media_group_id") or "") if "edit_date" not in body else ""
        held = self._held.get(room)
        if held is None and group:
            self._held[room] = Held(group, update, now_s + self._album_wait_s)
        elif held is None:
            await self._events_of([update])
        elif group == held.group and len(held.parts) < ALBUM_PARTS:
            held.parts.append(update)
            held.due_s = now_s + self._album_wait_s
        else:
            held.later.append((now_s, update))

    async def flush(self) -> None:
        """Emit the albums that are complete, and what waited behind them."""
        now_s = asyncio.get_running_loop().time()
        for room, held in list(self._held.items()):
            if held.due_s <= now_s:
                del self._held[room]
                await self._events_of(held.parts)
                for came_s, update in held.later:
                    await self._take(update, came_s)

    # --- what an update says

    async def _events_of(self, updates: list[Update]) -> None:
        try:
            await self._emit_all(updates)
        except (KeyError, TypeError, ValueError, AttributeError):
            # Telegram sends more kinds of updates every month; one that cannot be read must not stop the others.
            log.exception("an update cannot be read", account=self._me.account, update=update_id(updates[0]))

    async def _emit_all(self, updates: list[Update]) -> None:
        body = body_of(updates[0])
        if isinstance(body.get("chat"), Mapping):
            if await self._is_echo(body):
                return
            await self._learn(updates[0], body)
        found = [event for update in updates for event in receive.events(update, self._me)]
        album = [event for event in found if isinstance(event, MessageNew)]
        if len(album) > 1:
            for part in album[1:]:
                await self._marks.note("album", str(body["chat"]["id"]), part.native, album[0].native)
            found = [receive.merged(album)]
        for event in found:
            if ready := await self._completed(event, body):
                self._emit(ready)

    async def _is_echo(self, message: Mapping[str, Any]) -> bool:
        """Is it the copy, in a channel's discussion group, of what we posted in the channel?"""
        origin = message.get("forward_origin")
        if not message.get("is_automatic_forward") or not isinstance(origin, Mapping):
            return False
        chat = origin.get("chat")
        if not isinstance(chat, Mapping):
            return False
        return await self._is_ours(str(chat.get("id")), str(origin.get("message_id")))

    async def _learn(self, update: Update, body: Mapping[str, Any]) -> None:
        native, chat = native_of(body), str(body["chat"]["id"])
        if "migrate_to_chat_id" not in body and not self._rooms.has_moved(chat):
            await self._rooms.see(body, native)
        if ":" in native and "message_id" in body:
            await self._marks.note("topic", chat, str(body["message_id"]), native)
        member = body.get("new_chat_member")
        if "my_chat_member" in update and isinstance(member, Mapping):
            await self._rooms.set_admin(chat, member.get("status") == "administrator")

    async def _completed(self, event: PlatformEvent, body: Mapping[str, Any]) -> PlatformEvent | None:
        """The event with what only our memory knows; None where it is not to be emitted."""
        native = native_room(event.room)
        if isinstance(event, RoomMoved):
            await self._rooms.move(native, native_room(event.to))
        elif isinstance(event, BotRemoved):
            return await self._removed(event, native)
        elif isinstance(event, BotAdded):
            if self._rooms.is_successor(native):
                return replace(event, greet=False)
            if not self._me.hears_all and self._rooms.is_deaf(native):
                await self._rooms.set_privacy(native, "owed")
        elif isinstance(event, Reaction):
            return await self._reaction(event, native)
        elif isinstance(event, MessageEdited) and body.get("media_group_id"):
            return replace(event, target=await self._first_of(native, event.target))
        elif isinstance(event, MessageNew) and event.reply_to:
            answered = body.get("reply_to_message")
            if isinstance(answered, Mapping) and answered.get("media_group_id"):
                first = await self._first_of(native, event.reply_to.native)
                return replace(event, reply_to=replace(event.reply_to, native=first))
        return event

    async def _removed(self, event: BotRemoved, native: str) -> BotRemoved | None:
        if self._rooms.has_moved(native):
            # The old shell of a group that became a supergroup.
            return None
        for topic in self._rooms.topics(native):
            self._emit(replace(event, room=self._rooms.room(topic)))
            await self._rooms.drop(topic)
        await self._rooms.drop(native)
        return event

    async def _reaction(self, event: Reaction, chat: str) -> Reaction:
        room = event.room
        if self._rooms.topics(chat):
            # Telegram does not say in which topic the message is.
            room = self._rooms.room(await self._marks.find("topic", chat, event.target) or chat)
        return replace(event, room=room, target=await self._first_of(chat, event.target))

    async def _first_of(self, native: str, message: str) -> NativeId:
        """The message that stands for the album of which ``message`` may be a part."""
        return NativeId(await self._marks.find("album", native.partition(":")[0], message) or message)

"""Takes in what the gateway tells: keeps the picture of servers up to date, and emits what happened."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import Any, Final

import msgspec
import structlog

from bots.discord import receive
from bots.discord.api import Api, Refused
from bots.discord.cache import Cache, Channel, Place
from bots.discord.receive import Me
from core.contract import AdapterError, Emit, Services
from core.model import BotAdded, BotRemoved, NativeId, PlatformEvent, RoomRenamed, room_id
from core.store import TRANSIENT, StoreDown, insist

log = structlog.get_logger()

Json = dict[str, Any]
GUILDS_WAIT_S: Final = 5.0
"""How long the servers may take that Discord announced; those with an outage do not come."""
DELETED_MAX: Final = 2_000
EDIT_MAX_AGE_MS: Final = 15 * 60_000
"""An update long after the last edit is about something else: a pin, a preview. Sessions are resumed sooner."""
_GONE: Final = "The channel on Discord is gone, or the bot may no longer see it."
_OUT: Final = "The bot was removed from the server on Discord."


class Intake:
    """One account's."""

    def __init__(self, me: Me, cache: Cache, api: Api, services: Services, emit: Emit) -> None:
        self.me = me
        self._cache = cache
        self._api = api
        self._services = services
        self._emit = emit
        self._key = services.key("guilds")
        self._known: dict[str, list[str]] = {}
        """Servers we were in when we last looked, and their rooms."""
        self._pending: set[str] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._deleted: OrderedDict[str, None] = OrderedDict()
        self._handlers: dict[str, Callable[[Json, str], Awaitable[list[PlatformEvent]]]] = {
            "READY": self._ready,
            "RESUMED": self._resumed,
            "GUILD_CREATE": self._guild,
            "GUILD_UPDATE": self._guild_changed,
            "GUILD_DELETE": self._guild_gone,
            "GUILD_ROLE_CREATE": self._role,
            "GUILD_ROLE_UPDATE": self._role,
            "GUILD_ROLE_DELETE": self._role,
            "GUILD_MEMBER_UPDATE": self._member,
            "GUILD_EMOJIS_UPDATE": self._emojis,
            "CHANNEL_CREATE": self._channel,
            "CHANNEL_UPDATE": self._channel,
            "CHANNEL_DELETE": self._channel_gone,
            "THREAD_CREATE": self._thread,
            "THREAD_UPDATE": self._thread,
            "THREAD_DELETE": self._channel_gone,
            "THREAD_LIST_SYNC": self._threads,
            "MESSAGE_CREATE": self._message,
            "MESSAGE_UPDATE": self._message_changed,
            "MESSAGE_DELETE": self._message_gone,
            "MESSAGE_DELETE_BULK": self._message_gone,
            "MESSAGE_REACTION_ADD": self._reacted,
            "MESSAGE_REACTION_REMOVE": self._unreacted,
            "TYPING_START": self._typing,
        }

    async def load(self) -> None:
        """Read what the store holds; waits for it as long as it takes."""
        stored: dict[Any, Any] = await insist(self._services.store.hgetall, self._key)
        self._known = {guild.decode(): msgspec.json.decode(raw, type=list[str]) for guild, raw in stored.items()}

    def pause(self) -> None:
        """The connection is gone: what it had announced will not come now."""
        if self._timer:
            self._timer.cancel()

    def deleting(self, message: str) -> None:
        """We delete this message: that it is gone is no news."""
        self._deleted[message] = None
        if len(self._deleted) > DELETED_MAX:
            self._deleted.popitem(last=False)

    async def take_in(self, name: str, data: Json, mark: str) -> None:
        """One event of the gateway; returns when the relay has what it means. Raises StoreDown."""
        handler = self._handlers.get(name)
        if handler is None:
            return
        try:
            events = await handler(data, mark)
        except (AdapterError, StoreDown, *TRANSIENT):
            raise
        except Exception as error:  # noqa: BLE001 - asked for again it would be the same, and nothing after it be heard
            log.error("an event of discord makes no sense", event_name=name, error=type(error).__name__)
            return
        for event in events:
            self._emit(event)
        if events:
            await self._emit.accepted()
        if name == "READY":
            for guild in [found for found in self._known if found not in self._pending]:
                await self._remember(guild)
        elif name.startswith(("GUILD_", "CHANNEL_")):
            await self._remember(str(data.get("guild_id") or data.get("id")))

    # --- servers and channels

    async def _ready(self, data: Json, mark: str) -> list[PlatformEvent]:
        user, application = str(data["user"]["id"]), str((data.get("application") or {}).get("id") or "")
        self._cache.me = user
        self.me = self.me._replace(user=user, application=application or self.me.application)
        listed = {str(guild["id"]) for guild in data.get("guilds") or ()}
        self._pending = set(listed)
        if self._pending:
            self._await_guilds()
        else:
            self._all_told()
        gone = [guild for guild in self._known if guild not in listed]
        events = [event for guild in gone for event in self._left(guild, mark)]
        for guild in gone:
            self._cache.drop_guild(guild)
        return events

    async def _resumed(self, data: Json, mark: str) -> list[PlatformEvent]:
        if self._pending:
            self._await_guilds()
        else:
            self._all_told()
        return []

    def _await_guilds(self) -> None:
        self.pause()
        self._timer = asyncio.get_running_loop().call_later(GUILDS_WAIT_S, self._all_told)

    def _all_told(self) -> None:
        self.pause()
        self._pending.clear()
        self._emit.online()

    async def _guild(self, data: Json, mark: str) -> list[PlatformEvent]:
        if data.get("unavailable"):
            return []
        guild = self._cache.put_guild(data)
        if guild.id in self._pending:
            self._pending.discard(guild.id)
            if not self._pending:
                self._all_told()
        if guild.id in self._known:
            return self._changes(guild.id, mark)
        room = self._cache.greeted(guild)
        if not room:
            return []
        native = NativeId(f"added:{guild.id}:{guild.joined_at}")
        title = self._cache.title(room)
        return [
            BotAdded(room=room_id(self.me.account, room), native=native, at_ms=self._services.now_ms(), title=title)
        ]

    async def _guild_changed(self, data: Json, mark: str) -> list[PlatformEvent]:
        if guild := self._cache.guilds.get(str(data["id"])):
            self._cache.change_guild(guild, data)
        return self._changes(str(data["id"]), mark)

    async def _guild_gone(self, data: Json, mark: str) -> list[PlatformEvent]:
        guild = str(data["id"])
        if data.get("unavailable"):
            return []
        events = self._left(guild, mark)
        self._cache.drop_guild(guild)
        return events

    async def _role(self, data: Json, mark: str) -> list[PlatformEvent]:
        guild = self._cache.guilds.get(str(data["guild_id"]))
        if guild and "role" in data:
            self._cache.put_role(guild, data["role"])
        elif guild:
            guild.roles.pop(str(data.get("role_id")), None)
        return self._changes(str(data["guild_id"]), mark)

    async def _member(self, data: Json, mark: str) -> list[PlatformEvent]:
        guild = self._cache.guilds.get(str(data["guild_id"]))
        if guild and str(data["user"]["id"]) == self.me.user:
            guild.my_roles = frozenset(map(str, data.get("roles") or ()))
        return self._changes(str(data["guild_id"]), mark)

    async def _emojis(self, data: Json, mark: str) -> list[PlatformEvent]:
        if guild := self._cache.guilds.get(str(data["guild_id"])):
            self._cache.put_emoji(guild, data.get("emojis") or ())
        return []

    async def _channel(self, data: Json, mark: str) -> list[PlatformEvent]:
        guild = str(data.get("guild_id") or "")
        before = self._cache.channels.get(str(data["id"]))
        channel = self._cache.put_channel(data, guild)
        return [*self._renamed(before, channel, mark), *self._changes(guild, mark)]

    async def _thread(self, data: Json, mark: str) -> list[PlatformEvent]:
        before = self._cache.channels.get(str(data["id"]))
        channel = self._cache.put_channel(data, str(data.get("guild_id") or ""))
        return self._renamed(before, channel, mark) if self._cache.in_forum(channel) else []

    async def _threads(self, data: Json, mark: str) -> list[PlatformEvent]:
        for thread in data.get("threads") or ():
            self._cache.put_channel(thread, str(data["guild_id"]))
        return []

    async def _channel_gone(self, data: Json, mark: str) -> list[PlatformEvent]:
        native, guild = str(data["id"]), str(data.get("guild_id") or "")
        below = [channel for channel in self._cache.channels.values() if channel.parent == native]
        gone = [channel.id for channel in below if self._cache.in_forum(channel)]
        if (found := self._cache.channels.get(native)) and self._cache.in_forum(found):
            gone.append(native)
        for channel in (*(channel.id for channel in below if channel.kind in (10, 11, 12)), native):
            self._cache.drop_channel(channel)
        return [*(self._removed(room, _GONE, mark) for room in gone), *self._changes(guild, mark)]

    def _renamed(self, before: Channel | None, channel: Channel, mark: str) -> list[PlatformEvent]:
        if before is None or before.name == channel.name or not self._cache.is_room(channel):
            return []
        room, title = room_id(self.me.account, channel.id), self._cache.title(channel.id)
        return [RoomRenamed(room=room, native=NativeId(mark), at_ms=self._services.now_ms(), title=title)]

    def _rooms(self, guild: str) -> list[str]:
        """The channels of a server that are rooms. Posts of forums are not counted: Discord does not tell of those that
        nobody has written to for a while."""
        channels = self._cache.channels
        return [room for room in self._cache.rooms(guild) if not self._cache.in_forum(channels[room])]

    def _changes(self, guild: str, mark: str) -> list[PlatformEvent]:
        """Rooms that came or went since we last looked."""
        if guild not in self._cache.guilds or guild not in self._known:
            return []
        before, now = set(self._known[guild]), self._rooms(guild)
        events: list[PlatformEvent] = [self._removed(room, _GONE, mark) for room in sorted(before - set(now), key=int)]
        for room in now:
            if room not in before:
                where, title = room_id(self.me.account, room), self._cache.title(room)
                native, at = NativeId(f"seen:{mark}"), self._services.now_ms()
                events.append(BotAdded(room=where, native=native, at_ms=at, title=title, greet=False))
        return events

    def _left(self, guild: str, mark: str) -> list[PlatformEvent]:
        here = [channel for channel in self._cache.channels.values() if channel.guild == guild]
        rooms = {*self._known.get(guild, ()), *(channel.id for channel in here if self._cache.in_forum(channel))}
        return [self._removed(room, _OUT, mark) for room in sorted(rooms, key=int)]

    def _removed(self, room: str, reason: str, mark: str) -> PlatformEvent:
        at = self._services.now_ms()
        native = NativeId(f"gone:{mark}")
        return BotRemoved(room=room_id(self.me.account, room), native=native, at_ms=at, reason=reason)

    async def _remember(self, guild: str) -> None:
        store = self._services.store
        if guild in self._cache.guilds:
            rooms = self._rooms(guild)
            if self._known.get(guild) != rooms:
                await insist(store.hset, self._key, guild, msgspec.json.encode(rooms))
                self._known[guild] = rooms
        elif guild in self._known:
            await insist(store.hdel, self._key, guild)
            del self._known[guild]

    # --- messages

    async def place(self, data: Json) -> Place | None:
        """Where a message belongs; asks Discord for a thread that was not told of. None where it does not say."""
        channel, guild = str(data["channel_id"]), str(data.get("guild_id") or "")
        if channel not in self._cache.channels:
            try:
                raw = await self._api.call("GET", f"/channels/{channel}")
            except Refused:
                return None
            if not guild and raw.get("recipients"):
                raw = raw | {"name": receive.name_of(raw["recipients"][0])}
            self._cache.put_channel(raw, str(raw.get("guild_id") or guild))
        return self._cache.place(channel)

    async def _message(self, data: Json, mark: str) -> list[PlatformEvent]:
        place = await self.place(data)
        event = receive.new_message(data, place, self._cache, self.me) if place else None
        if event is None:
            return []
        self._cache.name(event.author.id, event.author.name)
        return [event]

    async def _message_changed(self, data: Json, mark: str) -> list[PlatformEvent]:
        place = await self.place(data)
        event = receive.edited_message(data, place, self._cache, self.me) if place else None
        if event is None or self._services.now_ms() - event.at_ms > EDIT_MAX_AGE_MS:
            return []
        return [event]

    async def _message_gone(self, data: Json, mark: str) -> list[PlatformEvent]:
        place = await self.place(data)
        if place is None:
            return []
        ids = [str(found) for found in data.get("ids") or [data["id"]]]
        now_ms = self._services.now_ms()
        return [receive.deleted_message(one, place, now_ms, self.me) for one in ids if one not in self._deleted]

    async def _reacted(self, data: Json, mark: str) -> list[PlatformEvent]:
        return await self._reaction(data, mark, added=True)

    async def _unreacted(self, data: Json, mark: str) -> list[PlatformEvent]:
        return await self._reaction(data, mark, added=False)

    async def _reaction(self, data: Json, mark: str, *, added: bool) -> list[PlatformEvent]:
        place = await self.place(data)
        if place is None:
            return []
        event = receive.reaction(data, place, added, mark, self._services.now_ms(), self._cache, self.me)
        if event and added:
            self._cache.name(event.author.id, event.author.name)
        return [event] if event else []

    async def _typing(self, data: Json, mark: str) -> list[PlatformEvent]:
        place = await self.place(data)
        event = receive.typing(data, place, mark, self._cache, self.me) if place else None
        return [event] if event else []

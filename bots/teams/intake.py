"""The messaging endpoint: checks the sender, puts what came side by side in order, and hands it over."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from heapq import heappop, heappush
from typing import TYPE_CHECKING, Final

import msgspec
import structlog
from redis.exceptions import RedisError

from bots.teams.activity import Activity, decode
from bots.teams.names import Names
from bots.teams.receive import SharedFile, changes, events
from bots.teams.rooms import CHANNEL, Room, Rooms
from bots.teams.verify import KeyRing, NoKeys, NotThem, check_body, claims_of
from core.contract import Emit, Services
from core.model import AccountId, BotAdded, BotRemoved, PlatformEvent, native_room
from core.store import StoreDown
from core.webhooks import whole_body

if TYPE_CHECKING:
    from aiohttp import web

    from bots.teams.config import TeamsConfig

log = structlog.get_logger()

MAX_BODY_BYTES: Final = 1_000_000
PATIENCE_S: Final = 8.0
"""Teams gives an endpoint about ten seconds."""
UPDATES: Final = frozenset({"conversationUpdate", "installationUpdate"})
FILE_LIFE_S: Final = 7 * 24 * 3600


class Lane:
    """The conversation's events that wait for earlier ones."""

    def __init__(self) -> None:
        self.waiting: list[tuple[int, int, Sequence[PlatformEvent]]] = []
        self.users = 0


class Intake:
    """Takes activities in for one account, in a process where the adapter may not be started."""

    def __init__(
        self,
        account: AccountId,
        config: TeamsConfig,
        services: Services,
        ring: KeyRing,
        rooms: Rooms,
        names: Names,
        emit: Emit,
    ) -> None:
        self._account = account
        self._config = config
        self._services = services
        self._ring = ring
        self._rooms = rooms
        self._names = names
        self._emit = emit
        self._lanes: dict[str, Lane] = {}
        self._count = 0

    async def messages(self, request: web.Request) -> web.Response:
        """POST …/messages. 200: durable. 401: not from the service, or not for us. 503: try again."""
        from aiohttp import web

        try:
            claims = await claims_of(request.headers.get("Authorization", ""), self._config, self._ring)
        except NotThem as why:
            return self._refused(why)
        except NoKeys as why:
            log.warning("teams: nobody can be recognised", account=self._account, reason=str(why))
            return web.Response(status=503)
        if request.headers.get("Content-Encoding", "identity") != "identity":
            return web.Response(status=415)
        raw = await whole_body(request, MAX_BODY_BYTES)
        if raw is None:
            return web.Response(status=413)
        try:
            activity = decode(raw)
        except (msgspec.MsgspecError, RecursionError):
            return web.Response(status=400, text="This is no activity.")
        try:
            check_body(claims, activity.channel_id, activity.service_url, self._config)
        except NotThem as why:
            return self._refused(why)
        try:
            async with asyncio.timeout(PATIENCE_S):
                await self._take(activity)
        except (StoreDown, RedisError, OSError, TimeoutError):
            return web.Response(status=503, headers={"Retry-After": "5"})
        return web.Response(status=200)

    def _refused(self, why: NotThem) -> web.Response:
        from aiohttp import web

        log.warning("teams: a request was refused", account=self._account, reason=str(why))
        return web.Response(status=401)

    async def _take(self, activity: Activity) -> None:
        if not activity.room:
            return
        room = await self._known(activity)
        found, files = await self._events(activity, room)
        if not found:
            return
        for ref, file in files.items():
            await self._rooms.remember_file(ref, msgspec.json.encode(file), FILE_LIFE_S)
        await self._remember_thread(activity, room)
        await self._in_order(activity, found)
        await self._emit.accepted()
        await self._forget(found)

    async def _known(self, activity: Activity) -> Room:
        """The room of an activity; its name is asked for where nobody told it yet."""
        room = await self._rooms.seen(activity)
        if room.title or not _matters(activity):
            return room
        return await self._names.ask(room)

    async def _events(self, activity: Activity, room: Room) -> tuple[list[PlatformEvent], dict[str, SharedFile]]:
        own_ids = frozenset(
            filter(None, (f"28:{self._config.app_id}", activity.recipient.id if activity.recipient else ""))
        )
        now_ms = self._services.now_ms()
        if activity.type not in UPDATES:
            return events(activity, self._account, room, own_ids, now_ms)
        team = await self._team(activity, room)
        found = changes(activity, self._account, room, team, own_ids, now_ms)
        return [event for event in found if await self._is_news(event, activity)], {}

    async def _team(self, activity: Activity, room: Room) -> list[Room]:
        """The rooms of the activity's team, with what it tells of them."""
        data = activity.data()
        if data.team is None:
            return []
        renamed = data.team.name if data.event_type == "teamRenamed" else None
        named = data.channel if data.event_type == "channelRenamed" else None
        found = []
        for known in await self._rooms.of_team(data.team.id):
            now = known
            if renamed:
                now = msgspec.structs.replace(now, team_name=renamed)
            if named and named.id == known.id and named.name:
                now = msgspec.structs.replace(now, name=named.name)
            if now != known:
                await self._rooms.put(now)
            found.append(now)
        return found

    async def _is_news(self, event: PlatformEvent, activity: Activity) -> bool:
        """One installation is told of twice, by two kinds of activity: the first one counts."""
        if not isinstance(event, BotAdded | BotRemoved):
            return True
        what, room = "came" if isinstance(event, BotAdded) else "went", native_room(event.room)
        is_news = await self._rooms.claim(what, room, activity.id or activity.timestamp or "")
        if what == "went" and not is_news:
            await self._rooms.forget([room])
        return is_news

    async def _remember_thread(self, activity: Activity, room: Room) -> None:
        root = activity.root
        if room.kind == CHANNEL and root and activity.id and root != activity.id and activity.type == "message":
            await self._rooms.set_root(room.id, activity.id, root)

    async def _forget(self, found: Sequence[PlatformEvent]) -> None:
        await self._rooms.forget([native_room(event.room) for event in found if isinstance(event, BotRemoved)])

    async def _in_order(self, activity: Activity, found: Sequence[PlatformEvent]) -> None:
        """Emit ``found`` behind everything of the conversation that happened earlier and came within reorder_ms."""
        lane = self._lanes.setdefault(activity.room, Lane())
        lane.users += 1
        self._count += 1
        mine = activity.at_ms(self._services.now_ms()), self._count
        heappush(lane.waiting, (*mine, found))
        try:
            await asyncio.sleep(self._config.reorder_ms / 1000)
            while lane.waiting and lane.waiting[0][:2] <= mine:
                for event in heappop(lane.waiting)[2]:
                    self._emit(event)
        finally:
            lane.users -= 1
            if not lane.users:
                self._lanes.pop(activity.room, None)


def _matters(activity: Activity) -> bool:
    """Is the room's name needed for what an activity tells?"""
    return activity.type == "message" or bool(activity.members_added) or (activity.action or "").startswith("add")

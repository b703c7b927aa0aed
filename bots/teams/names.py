"""What a conversation is called, where messages do not say it: asked of the service once.

Teams docs, Get Teams-specific context: the team's details, its channels, the members of a chat.
"""

from __future__ import annotations

import asyncio
from typing import Final
from urllib.parse import quote

import msgspec
import structlog
from msgspec.structs import replace

from bots.teams.connector import Connector
from bots.teams.rooms import MAX_NAMED, Room, Rooms
from core.contract import AdapterError

log = structlog.get_logger()

PATIENCE_S: Final = 3.0
ASK_AGAIN_S: Final = 3600.0
MOST_ASKED: Final = 10_000


class _Named(msgspec.Struct):
    id: str = ""
    name: str | None = None


class _Channels(msgspec.Struct):
    conversations: list[_Named] = []


class _Members(msgspec.Struct):
    members: list[_Named] = []


class Names:
    """Asks for names; for one room once an hour at most."""

    def __init__(self, connector: Connector, rooms: Rooms) -> None:
        self._connector = connector
        self._rooms = rooms
        self._asked: dict[str, tuple[float, asyncio.Future[Room]]] = {}

    async def ask(self, room: Room) -> Room:
        """``room`` with a name, or as it was where the service does not say one in time."""
        now_s = asyncio.get_running_loop().time()
        asked = self._asked.get(room.id)
        if asked and now_s - asked[0] < ASK_AGAIN_S:
            return await asyncio.shield(asked[1])
        if len(self._asked) >= MOST_ASKED:
            self._asked.clear()
        answer = asyncio.ensure_future(self._named(room))
        self._asked[room.id] = now_s, answer
        answer.add_done_callback(lambda done: self._done(room.id, done))
        return await asyncio.shield(answer)

    def _done(self, room: str, answer: asyncio.Future[Room]) -> None:
        if answer.cancelled() or answer.exception() is not None:
            # The store was away: the next message asks again.
            self._asked.pop(room, None)

    async def _named(self, room: Room) -> Room:
        try:
            async with asyncio.timeout(PATIENCE_S):
                found = await (self._in_team(room) if room.team else self._in_chat(room))
        except (AdapterError, TimeoutError, msgspec.MsgspecError) as error:
            log.info("teams: a conversation has no name", error=type(error).__name__)
            return room
        if found != room:
            await self._rooms.put(found)
        return found

    async def _in_team(self, room: Room) -> Room:
        base = f"/v3/teams/{quote(room.team, safe='')}"
        name, team_name = room.name, room.team_name
        if not team_name:
            raw = await self._connector.ask("GET", room.service_url, base)
            team_name = msgspec.json.decode(raw, type=_Named).name or ""
        if not name:
            raw = await self._connector.ask("GET", room.service_url, f"{base}/conversations")
            channels = msgspec.json.decode(raw, type=_Channels).conversations
            name = next((one.name for one in channels if one.id == room.id and one.name), "")
        return replace(room, name=name, team_name=team_name)

    async def _in_chat(self, room: Room) -> Room:
        path = f"/v3/conversations/{quote(room.id, safe='')}/pagedMembers?pageSize=50"
        raw = await self._connector.ask("GET", room.service_url, path)
        people = [one.name for one in msgspec.json.decode(raw, type=_Members).members if one.name]
        more = f" +{len(people) - MAX_NAMED}" if len(people) > MAX_NAMED else ""
        return replace(room, name=", ".join(people[:MAX_NAMED]) + more)

"""A plain account's way in: /sync, whose position is kept in the store (Client-Server API, "Syncing")."""

from __future__ import annotations

import asyncio
import json
import zlib
from collections.abc import Iterable
from typing import Any, Final

import structlog

from bots.matrix.client import Json, at
from bots.matrix.desk import Desk
from bots.matrix.intake import Intake
from bots.matrix.past import gap
from bots.matrix.receive import Told, told
from core.contract import AuthLost, Emit, Offline, Rejected, Retry
from core.store import StoreDown

log = structlog.get_logger()

WAIT_MS = 30_000
SLACK_S = 15.0
MOST_PAUSE_S = 30.0
AUTH_RETRY_S = 60.0
FILTER: Final = json.dumps(
    {
        "presence": {"types": []},
        "account_data": {"types": []},
        "room": {
            "account_data": {"types": []},
            "ephemeral": {"types": ["m.typing"]},
            "state": {"lazy_load_members": True},
            "timeline": {"limit": 100},
        },
    },
    separators=(",", ":"),
)


class Sync:
    """Reads on and on."""

    def __init__(self, desk: Desk, intake: Intake, emit: Emit) -> None:
        self._desk = desk
        self._intake = intake
        self._emit = emit
        self.why_offline = "not connected yet"
        """Empty while the homeserver answers."""
        self.auth_lost = False

    async def run(self) -> None:
        """Until cancelled."""
        failures = 0
        since: str | None = None
        while True:
            try:
                if since is None:
                    since = await self._desk.memory.position()
                since = await self._once(since)
                failures = 0
            except AuthLost as error:
                self._offline(str(error), auth_lost=True)
                await asyncio.sleep(AUTH_RETRY_S)
            except Rejected as error:
                self._offline(f"the homeserver does not let us read: {error}")
                await asyncio.sleep(MOST_PAUSE_S)
            except (Retry, StoreDown) as error:
                failures += 1
                if not isinstance(error, StoreDown):
                    self._offline(str(error))
                after_s = error.after_s if isinstance(error, Retry) and not isinstance(error, Offline) else 0.0
                await asyncio.sleep(max(after_s, min(0.25 * 2.0**failures, MOST_PAUSE_S)))
            except Exception as error:  # an account that died silently would be worse than one that tries again
                log.exception("matrix: sync failed", account=self._desk.account)
                self._offline(f"an error of the bot ({error})")
                await asyncio.sleep(MOST_PAUSE_S)

    def _offline(self, reason: str, *, auth_lost: bool = False) -> None:
        self.why_offline, self.auth_lost = reason, auth_lost
        self._emit.offline(reason)

    async def _once(self, since: str) -> str:
        """One answer of /sync, taken in; where to read on."""
        wait_ms = WAIT_MS if since and not self.why_offline else 0
        # A first look is answered at once whatever the timeout; Synapse answers one that it had within two minutes
        # from memory, and that could be an old one.
        fresh_ms = zlib.crc32(self._desk.services.random_id().encode()) % 60_000
        query: dict[str, str | int] = {"filter": FILTER, "timeout": wait_ms if since else fresh_ms}
        if since:
            query["since"] = since
        answer = await self._desk.client.get(at("sync"), query, timeout_s=wait_ms / 1000 + SLACK_S)
        await self._take(answer, since)
        position = str(answer.get("next_batch", since))
        await self._desk.memory.save_position(position)
        if self.why_offline:
            self.why_offline, self.auth_lost = "", False
            self._emit.online()
        return position

    async def _take(self, answer: Json, since: str) -> None:
        rooms = _dict(answer.get("rooms"))
        for room, part in _dict(rooms.get("invite")).items():
            for event in _events(room, _dict(part).get("invite_state")):
                if event.kind == "m.room.member" and event.state_key == self._desk.me:
                    await self._intake.rooming.invited(room, event.sender)
        joined = _dict(rooms.get("join"))
        await self._desk.memory.read_rooms(joined)
        for room, part in joined.items():
            await self._joined(room, _dict(part), since)
        for room, part in _dict(rooms.get("leave")).items():
            events = _events(room, _dict(part).get("timeline")) + _events(room, _dict(part).get("state"))
            ours = [event for event in events if event.kind == "m.room.member" and event.state_key == self._desk.me]
            await self._intake.take(self._emit, ours[-1:] if since else [])

    async def _joined(self, room: str, part: Json, since: str) -> None:
        timeline = _dict(part.get("timeline"))
        events = _events(room, timeline)
        known = self._desk.memory.rooms.get(room)
        if known is None or not known.joined:
            events = await self._arrived(room, events, part, since)
        elif not since:
            # The position is lost: what was said meanwhile is asked for as history.
            events = []
        elif timeline.get("limited"):
            events = await gap(self._desk.client, room, str(timeline.get("prev_batch", "")), since) + events
        await self._intake.take(self._emit, events)
        for event in _dict(part.get("ephemeral")).get("events") or ():
            if isinstance(event, dict) and event.get("type") == "m.typing":
                await self._intake.typing(self._emit, room, _dict(event.get("content")).get("user_ids"))

    async def _arrived(self, room: str, events: list[Told], part: Json, since: str) -> list[Told]:
        """A room that is new to us: what was said there before we came is none of our business."""

        def is_our_join(event: Told) -> bool:
            return (
                event.kind == "m.room.member"
                and event.state_key == self._desk.me
                and event.content.get("membership") == "join"
            )

        joins = [place for place, event in enumerate(events) if is_our_join(event)]
        if since and joins:
            return events[joins[-1] :]
        earlier = [event for event in _events(room, part.get("state")) if is_our_join(event)]
        if since and earlier:
            return earlier
        # The first look at an account that is in rooms already: they are known from now on, and not greeted.
        at_ms = self._desk.services.now_ms()
        native = f"found-{at_ms}"
        memory = self._desk.memory
        async with memory.taking:
            await self._intake.rooming.enter(self._emit, room, native, at_ms, greet=False)
            await self._emit.accepted()
            await memory.save_changed()
        await memory.arrived(room)
        return []


def _dict(value: Any) -> Json:
    return value if isinstance(value, dict) else {}


def _events(room: str, part: Any) -> list[Told]:
    found: Iterable[Any] = _dict(part).get("events") or ()
    return [event for event in (told(_with_id(raw), room) for raw in found) if event is not None]


def _with_id(raw: Any) -> Any:
    """The state that comes with an invitation has neither ids nor times."""
    if isinstance(raw, dict) and "event_id" not in raw:
        return {"event_id": "stripped", **raw}
    return raw

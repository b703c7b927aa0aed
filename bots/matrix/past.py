"""What was said before: /messages, read backwards until what is known (Client-Server API, "Getting events")."""

from __future__ import annotations

import json
from typing import Final

from bots.matrix.client import Client, at
from bots.matrix.intake import Intake
from bots.matrix.receive import SAID, Told, told
from core.contract import Remembered, Since

PAGE = 100
MOST_PAGES = 20
"""Pages that are read backwards before what lies further back is given up."""
CLOCKS_MS = 3_600_000
"""Homeservers' clocks may differ by so much."""
SAID_FILTER: Final = json.dumps(
    {"types": sorted({*SAID, "m.reaction", "m.room.redaction"}), "lazy_load_members": True}, separators=(",", ":")
)


async def history(client: Client, intake: Intake, room: str, since: Since) -> Remembered:
    """What was said in ``room`` after ``since``. Raises any AdapterError."""
    newer: list[Told] = []
    token = ""
    for _ in range(MOST_PAGES):
        query: dict[str, str | int] = {"dir": "b", "limit": PAGE, "filter": SAID_FILTER}
        page, token = await _page(client, room, query | ({"from": token} if token else {}))
        for event in page:
            if event.id == since.native:
                return Remembered(tuple(await intake.read(room, newer[::-1])))
            newer.append(event)
        if not token or (page and page[-1].at_ms < since.at_ms - CLOCKS_MS):
            break
    # What is known is not there any more, so only the clock says what came after it.
    later = [event for event in reversed(newer) if event.at_ms > since.at_ms]
    return Remembered(tuple(await intake.read(room, later)), complete=not token or len(later) < len(newer))


async def gap(client: Client, room: str, end: str, since: str) -> list[Told]:
    """What a limited timeline left out: between two positions, oldest first."""
    found: list[Told] = []
    token = end
    for _ in range(MOST_PAGES):
        page, token = await _page(client, room, {"dir": "b", "limit": PAGE, "from": token, "to": since})
        found += page
        if not page or not token:
            break
    return found[::-1]


async def _page(client: Client, room: str, query: dict[str, str | int]) -> tuple[list[Told], str]:
    answer = await client.get(at("rooms", room, "messages"), query)
    chunk, token = answer.get("chunk"), answer.get("end")
    events = (told(raw, room) for raw in (chunk if isinstance(chunk, list) else ()))
    return [event for event in events if event is not None], token if isinstance(token, str) else ""

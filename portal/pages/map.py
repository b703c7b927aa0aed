"""The map: all rooms of a sameroom and the tubes between them, drawn, and once more as a list."""

from __future__ import annotations

import asyncio
from typing import Any

from aiohttp import web

from codes.links import LinkError
from core.model import RoomId
from portal import drawing
from portal.deps import RoomView, SameroomView, TubeView
from portal.errors import Oops
from portal.forms import DEPS
from portal.render import page
from portal.tokens import MAP, explain

_TITLE_CHARS = 17
_PLATFORM_CHARS = 22


def shorten(text: str, most: int) -> str:
    """``text`` for a box on the map; the list below has it in full."""
    return text if len(text) <= most else text[: most - 1].rstrip() + "…"


def _edge(tube: TubeView, ends: tuple[drawing.Point, drawing.Point]) -> dict[str, Any]:
    start, end = (ends[1], ends[0]) if tube.direction == "b_to_a" else ends
    (x1, y1), (x2, y2) = drawing.border(start, end), drawing.border(end, start)
    return {
        "x1": round(x1, 1),
        "y1": round(y1, 1),
        "x2": round(x2, 1),
        "y2": round(y2, 1),
        "one_way": tube.direction != "both",
        "paused": tube.paused,
    }


async def draw(sameroom: SameroomView, here: RoomId) -> dict[str, Any]:
    """Boxes and lines in pixels, ready for the template; the box of ``here`` stands out."""
    index = {room.room: number for number, room in enumerate(sameroom.rooms)}
    tubes = [tube for tube in sameroom.tubes if tube.a in index and tube.b in index]
    edges = [(index[tube.a], index[tube.b]) for tube in tubes]
    places = drawing.first_places(len(index), edges)
    for _ in drawing.rounds(places, edges):
        await asyncio.sleep(0)
    placed = drawing.in_pixels(places)
    boxes = [_box(room, centre, here) for room, centre in zip(sameroom.rooms, placed.centres, strict=True)]
    lines = [_edge(tube, (placed.centres[a], placed.centres[b])) for tube, (a, b) in zip(tubes, edges, strict=True)]
    return {"boxes": boxes, "lines": lines, "width": placed.width_px, "height": placed.height_px}


def _box(room: RoomView, centre: drawing.Point, here: RoomId) -> dict[str, Any]:
    return {
        "x": round(centre[0], 1),
        "y": round(centre[1], 1),
        "title": shorten(room.title, _TITLE_CHARS),
        "platform": shorten(room.platform_title, _PLATFORM_CHARS),
        "paused": room.paused,
        "here": room.room == here,
    }


def as_list(sameroom: SameroomView) -> list[dict[str, Any]]:
    """Each room with the rooms it is connected to: the map for those who cannot see it."""
    titles = {room.room: room.title for room in sameroom.rooms}
    listed = []
    for room in sameroom.rooms:
        near = []
        for tube in sameroom.tubes:
            if room.room not in (tube.a, tube.b):
                continue
            is_a = tube.a == room.room
            ways = {
                "both": "both ways",
                "a_to_b": "sends to" if is_a else "hears",
                "b_to_a": "hears" if is_a else "sends to",
            }
            other = titles.get(tube.b if is_a else tube.a, "a room")
            near.append({"title": other, "way": ways[tube.direction], "paused": tube.paused})
        listed.append({"room": room, "near": near, "waiting": sameroom.waiting.get(room.room, 0)})
    return listed


async def map_page(request: web.Request) -> web.Response:
    """``GET /map/<token>``."""
    deps = request.app[DEPS]
    again = f"Type -{deps.settings.prefix} map in your room to get a new one."
    try:
        room_id = deps.links.verify(MAP, request.match_info["token"], deps.settings.link_ttl_s)
    except LinkError as error:
        raise explain(error, again) from None
    sameroom = await deps.directory.sameroom(RoomId(str(room_id)))
    if not sameroom.rooms:
        raise Oops(410, "This room is gone", "The bot is no longer in it. Invite it again.")
    room = next((view for view in sameroom.rooms if view.room == room_id), sameroom.rooms[0])
    context = {
        "room": room,
        "drawing": await draw(sameroom, room.room),
        "listed": as_list(sameroom),
        "sameroom": sameroom,
    }
    return page(request, "map.html", context)

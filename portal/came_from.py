"""Which room a visitor wants to connect with: the one whose portal they came through, or the one they signed in from.

The portal's link stays in a cookie of theirs, since a link is worth what a key is and the store keeps none.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from aiohttp import web

from portal.deps import RoomView
from portal.errors import Oops
from portal.forms import DEPS, PORTAL_COOKIE, is_https
from portal.pages.portal_link import link_url, opened
from portal.sessions import Session, manager

_LIFE_S = 3600


@dataclass(frozen=True, slots=True)
class Target:
    """A room to connect with."""

    key: Literal["portal", "room"]
    room: RoomView


def remember(request: web.Request, response: web.StreamResponse, token: str) -> None:
    """The visitor came through this portal."""
    secure = is_https(request.app[DEPS])
    response.set_cookie(PORTAL_COOKIE, token, max_age=_LIFE_S, httponly=True, samesite="Strict", secure=secure)


async def targets(request: web.Request, session: Session) -> list[Target]:
    """The rooms that the visitor may connect with, the likeliest first."""
    found: list[Target] = []
    if token := request.cookies.get(PORTAL_COOKIE):
        try:
            _, room = await opened(request, token)
            found.append(Target("portal", room))
        except Oops:  # closed meanwhile
            pass
    own = await request.app[DEPS].directory.room(session.room) if session.room else None
    if own and own.room not in {target.room.room for target in found}:
        found.append(Target("room", own))
    return found


async def argument(request: web.Request, key: str) -> str:
    """What is typed after ``connect``: the portal's link, or a fresh code of the visitor's own room. Raises Oops."""
    if key == "portal":
        token = request.cookies.get(PORTAL_COOKIE, "")
        await opened(request, token or "none")
        return link_url(request, token)
    if key != "room":
        raise Oops(400, "There is no such room", "Go back and choose the room to connect with.")
    session = await manager(request)
    return await request.app[DEPS].pairing.issue_code(session.room, session.name)

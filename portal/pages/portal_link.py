"""A portal: whoever has its link connects a room of theirs to the portal's room, or joins as a guest."""

from __future__ import annotations

import io
from typing import Any

from aiohttp import web

from codes.links import LinkError, Revocable
from core.model import RoomId
from portal.company import RULES
from portal.deps import RoomView
from portal.errors import Oops
from portal.forms import DEPS, read_form
from portal.limits import allow
from portal.pages.landing import invites
from portal.render import page
from portal.tokens import PORTAL, PortalTerms, explain, read

_MOST_CODES = 20
_ASK = "Ask whoever gave it to you for a new one."


async def opened(request: web.Request, token: str | None = None) -> tuple[Revocable, RoomView]:
    """A portal (the one of the page's address), and its room. Raises Oops when it is not open (any more)."""
    deps = request.app[DEPS]
    try:
        link = await deps.links.verify_revocable(PORTAL, token or request.match_info["token"])
    except LinkError as error:
        raise explain(error, _ASK) from None
    room = await deps.directory.room(RoomId(link.subject))
    if room is None:
        raise Oops(410, "This room is gone", "The bot is no longer in it. " + _ASK)
    return link, room


def link_url(request: web.Request, token: str | None = None) -> str:
    """A portal's whole address."""
    return f"{request.app[DEPS].public_url}/p/{token or request.match_info['token']}"


def _context(request: web.Request, link: Revocable, room: RoomView) -> dict[str, Any]:
    terms = read(link.data, PortalTerms)
    is_plain = terms == PortalTerms() and not link.max_uses
    return {
        "room": room,
        "terms": terms,
        "link": link,
        "url": link_url(request),
        "path": f"/p/{request.match_info['token']}",
        # A code knows nothing of a portal's terms, so where there are any, the link itself is typed instead.
        "gives_codes": is_plain,
        "guest_rooms": request.app[DEPS].guest_rooms,
        # Whether the visitor may cannot be known here: who comes from another site brings no session.
        "offers_accounts": _offers_accounts(request),
        "code": "",
        # Before there is a code, only the platforms' names are shown.
        "ways": invites(request, "CODE" if is_plain else link_url(request)),
        "minutes": max(1, request.app[DEPS].settings.code_ttl_s // 60),
    }


def _offers_accounts(request: web.Request) -> bool:
    who = request.app[DEPS].settings.add_accounts
    return request.app[DEPS].desk is not None and (who == "members" or (who == "company" and RULES in request.app))


async def portal_page(request: web.Request) -> web.Response:
    """``GET /p/<token>``: changes nothing, however often anybody or any preview fetches it."""
    return page(request, "portal.html", _context(request, *await opened(request)))


async def get_code(request: web.Request) -> web.Response:
    """``POST /p/<token>/code``: a fresh code for the portal's room, and how to use it on each platform."""
    await read_form(request, in_session=False)
    link, room = await opened(request)
    context = _context(request, link, room)
    if not context["gives_codes"]:
        raise Oops(403, "This portal gives out no codes", "Type the command with the link itself in your room.")
    await allow(request, "code", _MOST_CODES)
    code = await request.app[DEPS].pairing.issue_code(room.room, "somebody with the portal link")
    return page(request, "portal.html", context | {"code": code, "ways": invites(request, code)})


async def qr_code(request: web.Request) -> web.Response:
    """``GET /p/<token>/qr.svg``: the link to scan with a phone."""
    await opened(request)
    import segno

    out = io.BytesIO()
    segno.make(link_url(request), error="m").save(
        out, kind="svg", scale=6, border=3, dark="#10201f", light="#ffffff", xmldecl=False
    )
    return web.Response(body=out.getvalue(), content_type="image/svg+xml")

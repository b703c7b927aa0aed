"""The front page, and two guest rooms side by side to try the product in."""

from __future__ import annotations

import re
from typing import NoReturn

from aiohttp import web

from core.contract import AdapterError, Invite, Invites
from portal.company import RULES
from portal.deps import GuestRooms
from portal.errors import Oops
from portal.forms import DEPS, read_form
from portal.limits import allow
from portal.render import page

TITLES = ("Amber room", "Teal room")
_MOST_TRIES = 10
_KEY = re.compile(r"[A-Za-z0-9_-]{1,128}")


def invites(request: web.Request, code: str) -> list[tuple[str, list[Invite]]]:
    """How to bring the bot in and connect with ``code``: (platform's title, an invitation for each of its accounts).

    Guest rooms are left out: the pages offer them in a place of their own. So are accounts of teams: that they are
    here is nobody else's business.
    """
    found: dict[str, list[Invite]] = {}
    for account in request.app[DEPS].accounts():
        if not account.is_public:
            continue
        if isinstance(account.adapter, Invites) and not isinstance(account.adapter, GuestRooms):
            found.setdefault(account.platform_title, []).append(account.adapter.invite(code))
    return sorted(found.items(), key=lambda way: way[0].casefold())


def guest_rooms(request: web.Request) -> GuestRooms:
    """The account that makes guest rooms. Raises Oops 404 when this installation has none."""
    rooms = request.app[DEPS].guest_rooms
    if rooms is None:
        raise Oops(404, "There are no guest rooms here", "Invite the bot into a room of yours instead.")
    return rooms


def _no_room(error: AdapterError) -> NoReturn:
    raise Oops(503, "There is no room free just now", f"{error} Try again a little later.") from error


async def landing(request: web.Request) -> web.Response:
    """``GET /``."""
    deps = request.app[DEPS]
    # The steps are shown without a tap-to-invite link: that one needs a real code, which a room gives out.
    ways = invites(request, "CODE")
    context = {"ways": ways, "guest_rooms": deps.guest_rooms, "is_company": RULES in request.app}
    return page(request, "landing.html", context)


async def make_two(request: web.Request) -> web.Response:
    """``POST /try``: two guest rooms, and on to the page that shows both."""
    await read_form(request, in_session=False)
    rooms = guest_rooms(request)
    await allow(request, "try", _MOST_TRIES)
    response = web.Response(status=303)
    visitor = rooms.visitor(request, response)
    try:
        keys = [await rooms.create_room(title, visitor) for title in TITLES]
    except AdapterError as error:
        _no_room(error)
    response.headers["Location"] = f"/try/{keys[0]}/{keys[1]}"
    return response


async def two_rooms(request: web.Request) -> web.Response:
    """``GET /try/<key>/<key>``."""
    rooms = guest_rooms(request)
    keys = (request.match_info["a"], request.match_info["b"])
    if not all(_KEY.fullmatch(key) for key in keys):
        raise web.HTTPNotFound
    frames = [
        (title, rooms.room_path(key, embed=True), rooms.room_path(key)) for title, key in zip(TITLES, keys, strict=True)
    ]
    response = page(request, "try.html", {"frames": frames})
    rooms.visitor(request, response)
    return response

"""One account: how it is, its rooms, what is left to do, and its end."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from portal.came_from import argument, targets
from portal.desk import AccountView, RoomsSeen
from portal.errors import Oops
from portal.forms import DEPS, read_form
from portal.headers import SANDBOX
from portal.limits import allow
from portal.pages.accounts import is_theirs, the_desk
from portal.pages.files import disposition
from portal.render import page
from portal.sessions import Session, put_flash, take_flash, visitor

_MOST_LOOKS = 20
_MOST_LISTS = 200
_MOST_CONNECTS = 60
_MOST_ROOMS = 100
"""Rooms on one page; a filter finds the others."""
_FILTER_FROM = 9
_SETTLES_S = 60
"""A new account may need so long to come online; until then the page looks again by itself."""
_AGAIN_S = 4


async def _own(request: web.Request) -> tuple[Session, AccountView]:
    """The visitor and the account of the page's address. Raises Oops 404 for other people's, as for none."""
    desk = the_desk(request)
    session = await visitor(request)
    account = await desk.account(request.match_info["id"])
    if account is None or not is_theirs(account, session):
        raise Oops(404, "There is no such account", "It was removed, or it is not yours. Look at your accounts.")
    return session, account


async def account_page(request: web.Request) -> web.Response:
    """``GET /account/<id>``; ``?q=`` shows only rooms with that in their titles."""
    session, account = await _own(request)
    await allow(request, "rooms", _MOST_LISTS, session.person)
    deps, desk = request.app[DEPS], the_desk(request)
    seen = await desk.rooms(account)
    is_new = deps.now_ms() - account.added_at_ms < _SETTLES_S * 1000
    settles = is_new and not seen.rooms and account.state != "online"
    context: dict[str, Any] = {
        "account": account,
        "session": session,
        "targets": await targets(request, session),
        "guide": await desk.guide(account, "CODE"),
        "looked": await desk.looked(account),
        "connections": await desk.connections(account),
        "settles": settles,
        "flash": await take_flash(request),
        **_rooms(request, seen),
    }
    # Only while there is nothing to choose yet: nobody is interrupted.
    headers = {"Refresh": str(_AGAIN_S)} if settles else {}
    return page(request, "account.html", context, headers=headers)


def _rooms(request: web.Request, seen: RoomsSeen) -> dict[str, Any]:
    wanted = " ".join(request.query.get("q", "").split())[:100]
    found = [room for room in seen.rooms if wanted.casefold() in room.title.casefold()]
    return {
        "rooms": found[:_MOST_ROOMS],
        "more": len(found) - _MOST_ROOMS,
        "wanted": wanted,
        "has_filter": len(seen.rooms) >= _FILTER_FROM,
        "trouble": seen.trouble,
    }


async def look(request: web.Request) -> web.Response:
    """``POST /account/<id>/look``: ask the service how the account is."""
    await read_form(request)
    session, account = await _own(request)
    await allow(request, "look", _MOST_LOOKS, session.person)
    await the_desk(request).look(account)
    raise web.HTTPSeeOther(f"/account/{account.id}")


async def file(request: web.Request) -> web.Response:
    """``POST /account/<id>/file``: what the service has to be given, to be saved and never shown."""
    await read_form(request)
    session, account = await _own(request)
    await allow(request, "look", _MOST_LOOKS, session.person)
    found = await the_desk(request).file(account)
    if found is None:
        raise Oops(
            404, "There is no file for this account", "It is handed out for an hour after the account was added."
        )
    headers = {"Content-Disposition": disposition(found.name), "Content-Security-Policy": SANDBOX}
    return web.Response(body=found.text.encode(), content_type="application/octet-stream", headers=headers)


async def connect(request: web.Request) -> web.Response:
    """``POST /account/<id>/connect``: the same as typing the command in the chosen room."""
    fields = await read_form(request)
    session, account = await _own(request)
    await allow(request, "connect", _MOST_CONNECTS, session.person)
    desk = the_desk(request)
    choice = next((room for room in (await desk.rooms(account)).rooms if room.room == fields.get("room")), None)
    if choice is None:
        raise Oops(404, "That room is not there", "Go back, look again and choose a room from the list.")
    what = await argument(request, fields.get("with", ""))
    await put_flash(request, await desk.connect(choice, account, session, what))
    raise web.HTTPSeeOther(f"/account/{account.id}")


async def remove(request: web.Request) -> web.Response:
    """``POST /account/<id>/remove``: the account and its secrets are gone; with ``end`` its connections, too."""
    fields = await read_form(request)
    session, account = await _own(request)
    words = await the_desk(request).remove(account, session, end=fields.get("end") == "yes")
    await put_flash(request, f"{account.id} is removed, and its secrets with it. {words}".rstrip())
    raise web.HTTPSeeOther("/accounts")

"""A room's page: its tubes, how authors are shown, bans, the portal, and who did what."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, get_args

from aiohttp import web
from multidict import MultiDictProxy

from codes.links import BadLink, LinkError
from core.model import AuthorStyle, RoomId
from portal.deps import Actor, PortalDeps, RoomView, SameroomView
from portal.errors import Oops
from portal.forms import COOKIE, DEPS, read_form, renew_form_cookie
from portal.limits import allow
from portal.render import page
from portal.sessions import Session, manager, put_flash, sign_in, sign_out, signed_in, take_flash
from portal.tokens import MANAGE, OPERATOR, ManageLink, OperatorLink, explain, read

STYLES = {
    "name": "Alice",
    "name+platform": "Alice (IRC)",
    "name+room": "Alice (#lounge)",
    "plain": "text only",
}
_MOST_ACTS = 120
_MOST_ARGUMENT = 200


def _again(deps: PortalDeps) -> str:
    return f"Type -{deps.settings.prefix} manage in your room to get a new one."


async def manage_page(request: web.Request) -> web.Response:
    """``GET /manage/<token>``: a button. Preview bots may look as often as they like."""
    deps = request.app[DEPS]
    token = request.match_info["token"]
    try:
        link = await _either(deps, deps.links.peek_once, token)
    except LinkError as error:
        raise explain(error, _again(deps)) from None
    is_operator = isinstance(link, OperatorLink)
    room = await deps.directory.room(link.room) if isinstance(link, ManageLink) else None
    return page(request, "manage.html", {"room": room, "token": token, "is_operator": is_operator})


async def _either(deps: PortalDeps, look: Callable[..., Awaitable[Any]], *given: str) -> ManageLink | OperatorLink:
    """What the token carries, for whichever of the two purposes it was signed. Raises LinkError."""
    try:
        return read(await look(MANAGE, *given), ManageLink)
    except BadLink:
        if deps.desk is None:
            raise
    return read(await look(OPERATOR, *given), OperatorLink)


async def redeem(request: web.Request) -> web.Response:
    """``POST /manage/<token>``: use the link up, start a session under a new name, and on to the room's page."""
    await read_form(request, in_session=False)
    deps = request.app[DEPS]
    # The form cookie is the claim, so a second tap of the same button is no second use; it changes right after.
    claim = request.cookies[COOKIE]
    try:
        link = await _either(deps, deps.links.redeem_once, request.match_info["token"], claim)
    except LinkError as error:
        raise explain(error, _again(deps)) from None
    if isinstance(link, OperatorLink):
        session, target = Session(RoomId(""), "operator", link.name, operator=True), "/accounts"
    elif await deps.may_manage(link.room, link.person):
        session, target = Session(link.room, link.person, link.name), "/room"
    else:
        raise Oops(403, "You may not change this room", "Ask somebody who runs the room.")
    response = web.Response(status=303, headers={"Location": target})
    await sign_in(request, response, session)
    renew_form_cookie(request, response)
    return response


async def room_page(request: web.Request) -> web.Response:
    """``GET /room``."""
    session = await manager(request)
    deps = request.app[DEPS]
    room = await deps.directory.room(session.room)
    if room is None:
        raise Oops(410, "This room is gone", "The bot is no longer in it. Invite it again.")
    sameroom = await deps.directory.sameroom(session.room)
    context = {
        "room": room,
        "tubes": own_tubes(room, sameroom),
        "waiting": sameroom.waiting.get(room.room, 0),
        "styles": STYLES,
        "flash": await take_flash(request),
        "has_accounts": deps.desk is not None,
    }
    return page(request, "room.html", context)


def own_tubes(room: RoomView, sameroom: SameroomView) -> list[dict[str, Any]]:
    """The tubes that end in ``room``: the other room, which way it relays, and how many messages wait."""
    others = {view.room: view for view in sameroom.rooms}
    found = []
    for tube in sameroom.tubes:
        if room.room not in (tube.a, tube.b):
            continue
        is_a = tube.a == room.room
        other = tube.b if is_a else tube.a
        ways = {"both": "both", "a_to_b": "out" if is_a else "in", "b_to_a": "in" if is_a else "out"}
        found.append(
            {
                "tube": tube,
                "other": other,
                "view": others.get(other),
                "way": ways[tube.direction],
                "waiting": sameroom.waiting.get(other, 0),
            }
        )
    return found


async def _disconnect(deps: PortalDeps, session: Session, fields: MultiDictProxy[str]) -> str:
    sameroom = await deps.directory.sameroom(session.room)
    for tube in sameroom.tubes:
        if tube.id == fields.get("tube") and session.room in (tube.a, tube.b):
            return str(tube.b if tube.a == session.room else tube.a)
    raise Oops(404, "That connection is gone already", "Reload the page of your room.")


async def _argument(deps: PortalDeps, session: Session, name: str, fields: MultiDictProxy[str]) -> str:
    """What follows the command's word, checked against what this room has."""
    value = " ".join(fields.get("value", "").split())[:_MOST_ARGUMENT]
    if name == "disconnect":
        return await _disconnect(deps, session, fields)
    if name == "format" and value not in get_args(AuthorStyle):
        raise Oops(400, "There is no such format", "Choose one from the list.")
    if name == "ban" and not value:
        raise Oops(400, "Nobody was named", "Write the name of the person or room to ban.")
    if name == "unban":
        room = await deps.directory.room(session.room)
        if room is None or all(ban.id != fields.get("value") for ban in room.bans):
            raise Oops(404, "That ban is gone already", "Reload the page of your room.")
        return fields["value"]
    return value if name in ("format", "ban") else ""


ACTS = ("pause", "resume", "disconnect", "format", "ban", "unban", "close", "disable")


async def act(request: web.Request) -> web.Response:
    """``POST /room/<command>``: the same as typing it in the room, then back to the room's page."""
    fields = await read_form(request)
    session = await manager(request)
    name = request.match_info["name"]
    if name not in ACTS:
        raise web.HTTPNotFound
    deps = request.app[DEPS]
    argument = await _argument(deps, session, name, fields)
    await allow(request, "act", _MOST_ACTS)
    reply = await deps.act(session.room, Actor(session.person, session.name), name, argument)
    await put_flash(request, reply)
    raise web.HTTPSeeOther("/room")


async def leave(request: web.Request) -> web.Response:
    """``POST /room/leave``: sign out."""
    await read_form(request)
    await signed_in(request)
    response = web.Response(status=303, headers={"Location": "/"})
    await sign_out(request, response)
    return response

"""Who is signed in to which room's page. The session lives in the store; the browser has only its random name.

Kept in the store, not in the cookie, so that signing out and being demoted end it everywhere at once. The
store knows a hash of the name, so that a dump of it opens no session.
"""

from __future__ import annotations

import hashlib
from typing import cast

import msgspec
from aiohttp import web

from core.keys import PREFIX
from core.model import RoomId
from portal.company import RULES
from portal.errors import Oops, Way
from portal.forms import DEPS, PORTAL_COOKIE, SESSION_COOKIE, is_https

_FLASH_S = 60


class Session(msgspec.Struct, frozen=True, array_like=True):
    """A person who may look at one room's page; the operator, and whoever signed in with the company's account, have
    no room.
    """

    room: RoomId
    person: str
    name: str
    operator: bool = False
    rules: str = ""
    """Of the company's sign-in: the mark of the rules that let them in."""


def _key(kind: str, name: str) -> str:
    return f"{PREFIX}portal:{kind}:{hashlib.sha256(name.encode()).hexdigest()}"


def current_key(request: web.Request) -> str:
    """Where the store keeps the visitor's session; empty when there is none. It is no secret: it opens nothing."""
    name = request.cookies.get(SESSION_COOKIE)
    return _key("session", name) if name else ""


async def sign_in(
    request: web.Request, response: web.StreamResponse, session: Session, *, replaces: str | None = None
) -> None:
    """Start a session under a new name; the browser's old one, whoever made it, is worth nothing any more.

    ``replaces``: that one's :func:`current_key`, for an answer to a request from another site, with which browsers
    send neither its cookie nor the portal's; the portal's stays then.
    """
    deps = request.app[DEPS]
    await _forget(request)
    if replaces:
        await deps.store.delete(replaces)
    name = deps.random_id() + deps.random_id()
    life_s = deps.settings.session_ttl_s
    await deps.store.set(_key("session", name), msgspec.msgpack.encode(session), ex=life_s)
    secure = is_https(deps)
    response.set_cookie(SESSION_COOKIE, name, max_age=life_s, httponly=True, samesite="Strict", secure=secure)
    if replaces is None:
        response.del_cookie(PORTAL_COOKIE)


async def sign_out(request: web.Request, response: web.StreamResponse) -> None:
    """End the session everywhere."""
    await _forget(request)
    response.del_cookie(SESSION_COOKIE)
    response.del_cookie(PORTAL_COOKIE)


async def _forget(request: web.Request) -> None:
    if old := request.cookies.get(SESSION_COOKIE):
        await request.app[DEPS].store.delete(_key("session", old))


async def signed_in(request: web.Request) -> Session:
    """The visitor's session. Raises Oops 401 when there is none (any more)."""
    found = await known(request)
    if found is None:
        typed = f"Type -{request.app[DEPS].settings.prefix} manage in your room."
        hint = f"{typed} The link in the answer brings you to its page."
        if RULES in request.app:
            raise Oops(401, "You are not signed in", f"{hint} Or use your company account.", Way("/sign-in", "Sign in"))
        raise Oops(401, "You are not signed in", hint)
    return found


async def visitor_of(request: web.Request, key: str) -> Session:
    """As :func:`visitor`, for the session of that :func:`current_key`: a browser that another site leads here keeps the
    session's own cookie back. Raises Oops 401 or 403."""
    session = await _read(request, key)
    if session is None:
        raise Oops(401, "You are no longer signed in", "Sign in again, and begin anew.")
    if session.room and not await request.app[DEPS].may_manage(session.room, session.person):
        raise Oops(403, "You may no longer change this room", "Ask somebody who runs the room.")
    return session


async def known(request: web.Request) -> Session | None:
    """The visitor's session, if there is one."""
    return await _read(request, current_key(request))


async def _read(request: web.Request, key: str) -> Session | None:
    record = cast("bytes | None", await request.app[DEPS].store.get(key)) if key else None
    found = msgspec.msgpack.decode(record, type=Session) if record else None
    return found if found and _still_holds(request, found) else None


def _still_holds(request: web.Request, session: Session) -> bool:
    """Are the rules that let them in still the rules?"""
    rules = request.app.get(RULES)
    return not session.rules or (rules is not None and rules.mark == session.rules)


async def manager(request: web.Request) -> Session:
    """The visitor's session, if the person may still change the room as of now. Raises Oops 401 or 403."""
    session = await signed_in(request)
    if not session.room:
        who = "as the operator" if session.operator else "with your company account"
        raise Oops(404, "You have no room here", f"You are signed in {who}: your page is /accounts.")
    if not await request.app[DEPS].may_manage(session.room, session.person):
        await _forget(request)
        raise Oops(403, "You may no longer change this room", "Ask somebody who runs the room.")
    return session


async def visitor(request: web.Request) -> Session:
    """The session of somebody without a room, or of a person who may still change theirs. Raises Oops 401 or 403."""
    session = await signed_in(request)
    return await manager(request) if session.room else session


async def put_flash(request: web.Request, text: str) -> None:
    """Keep a message for the next page this session looks at."""
    name = request.cookies.get(SESSION_COOKIE, "")
    await request.app[DEPS].store.set(_key("flash", name), text, ex=_FLASH_S)


async def take_flash(request: web.Request) -> str:
    """The message left by the last form, once; empty when there is none."""
    name = request.cookies.get(SESSION_COOKIE, "")
    text = cast("bytes | None", await request.app[DEPS].store.getdel(_key("flash", name)))
    return text.decode() if text else ""

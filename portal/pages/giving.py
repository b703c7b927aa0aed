"""A team gives its account by signing in at the service: away, and back with the service's answer.

The way back is a GET, as the service leads the browser, and yet it adds an account. What makes that safe is its
``state``: made for one press of the button, by one session, good for one use within ten minutes, and worth nothing
without a cookie that only that browser has. So a preview bot, another visitor, and a link that somebody else prepared
(with an account of their own) change nothing and use nothing up.
"""

from __future__ import annotations

import hashlib
import hmac
from typing import cast

import msgspec
from aiohttp import web

from core.keys import PREFIX
from portal.desk import NotTaken
from portal.errors import Oops
from portal.forms import AWAY_COOKIE, DEPS, is_https, read_form
from portal.limits import allow
from portal.pages.accounts import count, form_of, must_be_allowed, the_desk
from portal.render import page
from portal.sessions import current_key, visitor, visitor_of

_LIFE_S = 600
_MOST_RETURNS = 100
_MOST_CHARS = 4_000
_AGAIN = "Open the page of the service again, and press the button there."


class _Journey(msgspec.Struct, frozen=True, array_like=True):
    """Who went where. ``browser``: the hash of its cookie; ``session``: the key of its session in the store."""

    platform: str
    browser: str
    session: str


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _key(state: str) -> str:
    # The store keeps no state, so that a dump of it is worth nothing.
    return f"{PREFIX}portal:away:{_hash(state)}"


async def leave(request: web.Request) -> web.Response:
    """``POST /add/<platform>/sign-in``: on to the service."""
    await read_form(request)
    session = await visitor(request)
    must_be_allowed(request, session)
    form, deps = form_of(request), request.app[DEPS]
    await count(request, session)
    state, browser = deps.random_id() + deps.random_id(), deps.random_id() + deps.random_id()
    try:
        address = await the_desk(request).leave(form.platform, state, session)
    except NotTaken as error:
        raise Oops(409, f"No account on {form.title} can be added just now", str(error)) from None
    journey = _Journey(form.platform, _hash(browser), current_key(request))
    await deps.store.set(_key(state), msgspec.msgpack.encode(journey), ex=_LIFE_S)
    response = web.Response(status=303, headers={"Location": address})
    # Lax: another site leads the browser back, and Strict cookies stay behind then.
    response.set_cookie(
        AWAY_COOKIE, browser, max_age=_LIFE_S, httponly=True, samesite="Lax", secure=is_https(deps), path="/add/"
    )
    return response


async def come_back(request: web.Request) -> web.Response:
    """``GET /add/<platform>/done``: the service's answer, once, in the browser that left."""
    await allow(request, "come back", _MOST_RETURNS)
    desk, form = the_desk(request), form_of(request)
    answer = dict(request.query)
    if len(request.query_string) > _MOST_CHARS:
        raise Oops(413, "That is too long", _AGAIN)
    session = await visitor_of(request, await _journey(request, form.platform, answer.pop("state", "")))
    must_be_allowed(request, session)
    try:
        account_id = await desk.redeem(form.platform, answer, session)
    except NotTaken as error:
        raise Oops(409, f"No account on {form.title} was added", str(error)) from None
    account = await desk.account(account_id)
    if account is not None:
        await desk.look(account)
    # Not a redirect: the session's cookie comes along only from a page of ours.
    context = {"form": form, "account_id": account_id}
    response = page(request, "come_back.html", context, headers={"Refresh": f"0; url=/account/{account_id}"})
    response.del_cookie(AWAY_COOKIE, path="/add/")
    return response


async def _journey(request: web.Request, platform: str, state: str) -> str:
    """The key of the session that began this; the state is used up. Raises Oops 410."""
    store, browser = request.app[DEPS].store, request.cookies.get(AWAY_COOKIE, "")
    record = cast("bytes | None", await store.get(_key(state)))
    journey = msgspec.msgpack.decode(record, type=_Journey) if record else None
    if (
        journey is None
        or journey.platform != platform
        or not hmac.compare_digest(journey.browser, _hash(browser))
        or not await store.delete(_key(state))
    ):
        raise Oops(
            410, "This was not begun here, or is over", f"It works once, for ten minutes, in one browser. {_AGAIN}"
        )
    return journey.session

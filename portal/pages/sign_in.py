"""Signing in with the company's account: to the provider's page and back.

One sign-in is one record in the store, found by its state, taken out by the first answer that names it, and bound to
the browser by the form cookie (which comes along when another site leads back to us, as the session's does not).
Both ways lead over a page of ours that goes on by itself: a form that is answered with a redirect to another site
would need that site, and all that it redirects to, in the policy of the page; and a redirect at the end of a way that
began on another site would arrive without the new session's cookie.
"""

from __future__ import annotations

import hashlib
import logging
import re
from typing import NoReturn, cast

import msgspec
from aiohttp import web

from core.keys import PREFIX
from core.model import RoomId
from portal.came_from import remember
from portal.company import RULES, NotAllowed, Person
from portal.errors import Oops, Way
from portal.forms import COOKIE, DEPS, PORTAL_COOKIE, read_form, renew_form_cookie
from portal.id_token import BadToken, WrongTime
from portal.limits import allow
from portal.oidc import PROVIDER, Declined, Flow, ProviderTrouble
from portal.pages.portal_link import opened
from portal.render import page
from portal.sessions import Session, current_key, sign_in

log = logging.getLogger("bridgebot.portal")

FLOW_S = 600
"""Life of a sign-in: so long somebody may take on the provider's pages."""
_MOST_STARTS = 60
_MOST_CHARS = 8192
_CODE = re.compile(r"[a-z_]{1,60}")
_AGAIN = Way("/sign-in", "Sign in again")


class _UnderWay(msgspec.Struct, frozen=True, array_like=True):
    """A sign-in that was begun."""

    flow: Flow
    browser: str
    """A hash of the form cookie of the browser that began it."""
    replaces: str
    """Where the session is that this browser had."""


def _hashed(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()


def _key(state: str) -> str:
    return f"{PREFIX}portal:sign-in:{_hashed(state)}"


async def sign_in_page(request: web.Request) -> web.Response:
    """``GET /sign-in``, ``GET /p/<token>/sign-in``: a button. Changes nothing."""
    room = (await opened(request))[1] if "token" in request.match_info else None
    return page(request, "sign_in.html", {"host": request.app[RULES].host, "action": request.path, "room": room})


async def begin(request: web.Request) -> web.Response:
    """``POST /sign-in``, ``POST /p/<token>/sign-in``: on to the provider."""
    await read_form(request, in_session=False)
    token = request.match_info.get("token")
    if token:
        await opened(request)
    await allow(request, "sign-in", _MOST_STARTS)
    deps = request.app[DEPS]
    flow = Flow(*(deps.random_id() + deps.random_id() for _ in range(3)))
    try:
        url = await request.app[PROVIDER].authorization_url(flow)
    except ProviderTrouble as error:
        _down(error)
    under_way = _UnderWay(flow, _hashed(request.cookies[COOKIE]), current_key(request))
    await deps.store.set(_key(flow.state), msgspec.msgpack.encode(under_way), ex=FLOW_S)
    context = {"title": "On to your company's sign-in", "words": "", "url": url, "link": "Go on"}
    response = page(request, "goes_on.html", context, headers={"Refresh": f"0; url={url}"})
    if token:
        remember(request, response, token)
    else:
        response.del_cookie(PORTAL_COOKIE)
    return response


async def come_back(request: web.Request) -> web.Response:
    """``GET /sign-in/callback``: whoever comes back with the provider's word is signed in, once."""
    under_way = await _taken(request)
    person = await _person(request, under_way.flow)
    rules = request.app[RULES]
    log.info("signed in with the company's account: %s%s", person.id, " (operator)" if person.operator else "")
    session = Session(RoomId(""), person.id, person.name, person.operator, rules.mark)
    context = {"title": "You are signed in", "words": person.name, "url": "/accounts", "link": "Go on to your accounts"}
    response = page(request, "goes_on.html", context, headers={"Refresh": "0; url=/accounts"})
    await sign_in(request, response, session, replaces=under_way.replaces)
    renew_form_cookie(request, response)
    return response


async def _taken(request: web.Request) -> _UnderWay:
    """The sign-in that this answer belongs to; it is over now. Raises Oops when this browser began none such."""
    state, cookie = request.query.get("state", ""), request.cookies.get(COOKIE, "")
    record = cast("bytes | None", await request.app[DEPS].store.getdel(_key(state)))
    under_way = msgspec.msgpack.decode(record, type=_UnderWay) if record else None
    if under_way is None or not cookie or under_way.browser != _hashed(cookie):
        hint = f"It was used already, or begun in another browser or more than {FLOW_S // 60} minutes ago."
        raise Oops(403, "This sign-in is over", hint, _AGAIN)
    return under_way


async def _person(request: web.Request, flow: Flow) -> Person:
    """Who came back. Raises Oops."""
    provider, query = request.app[PROVIDER], request.query
    try:
        if not await provider.is_from(query.get("iss")):
            raise BadToken("the answer is of another issuer")
        if "error" in query:
            _refused(query["error"])
        code = query.get("code", "")
        if not 0 < len(code) <= _MOST_CHARS:
            raise BadToken("the answer has no code")
        return request.app[RULES].person(await provider.claims(code, flow))
    except ProviderTrouble as error:
        _down(error)
    except Declined as error:
        _declined(error)
    except WrongTime as error:
        log.warning("company sign-in: %s", error)
        hint = "The clocks of this bridge and of your company's sign-in differ. Tell the operator to set this one's."
        raise Oops(502, "The clocks do not agree", hint, _AGAIN) from None
    except BadToken as error:
        log.warning("company sign-in: %s", error)
        hint = "Nobody was signed in. Try once more. If it happens again, tell the operator: the log says why."
        raise Oops(502, "Your company's sign-in gave an answer that we do not trust", hint, _AGAIN) from None
    except NotAllowed as error:
        log.info("company sign-in: %s", error)
        hint = "Your company knows you, but the operator of this bridge lets only some people in. Ask the operator."
        raise Oops(403, "You may not sign in here", hint) from None


def _down(error: ProviderTrouble) -> NoReturn:
    log.warning("company sign-in: %s", error)
    hint = "Try again in a minute. If it stays like this, tell the operator: the log says why."
    raise Oops(503, "Your company's sign-in does not answer", hint, _AGAIN) from None


def _refused(code: str) -> NoReturn:
    """The provider sends the visitor back without a code (RFC 6749, 4.1.2.1; Core 1.0, 3.1.2.6)."""
    known = code if _CODE.fullmatch(code) else "something that is no code"
    log.info("company sign-in: the provider answers %s", known)
    if code == "access_denied":
        hint = "You, or your company's sign-in, said no. If that was a mistake, try again or ask your administrator."
        raise Oops(403, "You were not signed in", hint, _AGAIN)
    if code in ("server_error", "temporarily_unavailable"):
        raise Oops(503, "Your company's sign-in has trouble", "Try again in a minute.", _AGAIN)
    hint = f"It answers “{known}”. Tell the operator, who finds the same in the log."
    raise Oops(502, "Your company's sign-in did not sign you in", hint, _AGAIN)


def _declined(error: Declined) -> NoReturn:
    """The provider gives us no token for the code (RFC 6749, 5.2)."""
    known = error.code if _CODE.fullmatch(error.code) else "something that is no code"
    log.warning("company sign-in: the provider gives no token: %s", known)
    if error.code == "invalid_grant":
        raise Oops(403, "This sign-in is over", "It took too long, or was used already. Start again.", _AGAIN) from None
    hint = f"It answers “{known}”. Tell the operator: the client's ID, its secret or its redirect address is not right."
    raise Oops(502, "Your company's sign-in does not know this bridge", hint) from None

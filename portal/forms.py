"""Forms that only our own pages can send: a token bound to the browser, and a check of where it came from."""

from __future__ import annotations

from urllib.parse import urlsplit

from aiohttp import web
from multidict import MultiDictProxy

from portal.deps import PortalDeps

DEPS = web.AppKey("deps", PortalDeps)
COOKIE = "sameroom_form"
SESSION_COOKIE = "sameroom_session"
PORTAL_COOKIE = "sameroom_portal"
"""The portal that the visitor came through."""
AWAY_COOKIE = "sameroom_away"
"""The visitor went to another site, to come back with an account of theirs."""
FIELD = "form_token"
FRESH = web.RequestKey("portal_fresh_form_cookie", str)
"""The form cookie that this answer gives to the browser."""
_PURPOSE = "form"


class ForeignForm(Exception):
    """The form did not come from one of our pages, or that page is too old."""


def is_https(deps: PortalDeps) -> bool:
    """Do browsers reach the portal over TLS? Then cookies are Secure and HSTS is set."""
    return deps.public_url.startswith("https://")


def _bound_to(request: web.Request, cookie: str) -> str:
    return f"{cookie}:{request.cookies.get(SESSION_COOKIE, '')}"


def form_token(request: web.Request) -> str:
    """The hidden field of a form on the page that answers ``request``."""
    deps = request.app[DEPS]
    cookie = request.cookies.get(COOKIE) or request.get(FRESH)
    if not cookie:
        cookie = request[FRESH] = deps.random_id()
    return str(deps.links.sign(_PURPOSE, _bound_to(request, cookie)))


def set_form_cookie(request: web.Request, response: web.StreamResponse) -> None:
    """Give the browser the cookie that its forms are bound to, when this page made a new one."""
    if FRESH in request:
        secure = is_https(request.app[DEPS])
        response.set_cookie(COOKIE, request[FRESH], httponly=True, samesite="Lax", secure=secure)


def _is_own_origin(request: web.Request, origin: str) -> bool:
    deps = request.app[DEPS]
    own = urlsplit(deps.public_url)
    if origin == f"{own.scheme}://{own.netloc}":
        return True
    return not deps.settings.public_url and urlsplit(origin).netloc == request.host


def _check_origin(request: web.Request) -> None:
    site = request.headers.get("Sec-Fetch-Site")
    if site not in (None, "same-origin", "none"):
        raise ForeignForm
    # Under Referrer-Policy no-referrer browsers send "null" even for our own forms.
    origin = request.headers.get("Origin", "null")
    if origin != "null" and not _is_own_origin(request, origin):
        raise ForeignForm


async def read_form(request: web.Request, *, in_session: bool = True) -> MultiDictProxy[str]:
    """The fields of a form of ours. Raises ForeignForm, and HTTPUnsupportedMediaType for other bodies.

    ``in_session``: False for what does not act in the visitor's session. A browser that follows a link from another
    site keeps the session's cookie back at first, so such a page's form may know nothing of it.
    """
    _check_origin(request)
    if request.content_type != "application/x-www-form-urlencoded":
        raise web.HTTPUnsupportedMediaType
    fields = await request.post()
    deps = request.app[DEPS]
    cookie = request.cookies.get(COOKIE, "")
    try:
        bound = deps.links.verify(_PURPOSE, str(fields.get(FIELD, "")), deps.settings.session_ttl_s)
    except ValueError:
        raise ForeignForm from None
    if not cookie or (bound != _bound_to(request, cookie) and (in_session or bound != f"{cookie}:")):
        raise ForeignForm
    return fields  # type: ignore[return-value]


def renew_form_cookie(request: web.Request, response: web.StreamResponse) -> None:
    """Bind the forms of this browser to a new cookie: pages it has open by now send nothing any more."""
    request[FRESH] = request.app[DEPS].random_id()
    set_form_cookie(request, response)

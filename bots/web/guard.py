"""Who may: the guest's cookie, the form token, the origin of a request, and the headers of every answer."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from bots.web.wire import digest

if TYPE_CHECKING:
    from aiohttp import web

    from core.contract import Services

CSP = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "form-action 'self'; frame-ancestors 'self'; base-uri 'none'"
)
PAGE_HEADERS = {
    "Content-Security-Policy": CSP,
    # Not `no-referrer`: under it browsers send `Origin: null` with forms, and the origin could not be checked.
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "SAMEORIGIN",
    "Cache-Control": "no-store",
}
FILE_HEADERS = {
    "Content-Security-Policy": "sandbox; default-src 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "private, max-age=3600",
}


class Guard:
    """Checks requests of one account. Cookie and form token are signed; nothing about a session is stored."""

    def __init__(self, services: Services, life_s: int) -> None:
        self._services = services
        self._life_s = life_s
        self._secure = services.public_url.startswith("https://")
        self._cookie = "__Secure-guest" if self._secure else "guest"
        self._origin = _origin(services.public_url)

    def session(self, request: web.Request) -> str:
        """The browser's session, or an empty string where it has none that we made."""
        try:
            return self._services.verify("guest", request.cookies.get(self._cookie, ""), self._life_s)
        except ValueError:
            return ""

    def remember(self, response: web.StreamResponse, session: str) -> None:
        """Give the session to the browser, for another ``life_s`` seconds."""
        response.set_cookie(
            self._cookie,
            self._services.sign("guest", session),
            path="/",  # the portal's own pages must know the guest, too
            httponly=True,
            samesite="Lax",
            secure=self._secure,
            max_age=self._life_s,
        )

    def form_token(self, session: str) -> str:
        """A token for forms, good only together with the session's cookie."""
        return self._services.sign("form", digest("form", session))

    def form_token_fits(self, token: str, session: str) -> bool:
        """Was ``token`` made for this session?"""
        try:
            bound = self._services.verify("form", token, self._life_s)
        except ValueError:
            return False
        return bool(session) and secrets.compare_digest(bound, digest("form", session))

    def same_origin(self, request: web.Request) -> bool:
        """Does the request come from a page of ours? Browsers say so; who says nothing is refused."""
        site = request.headers.get("Sec-Fetch-Site")
        if site is not None and site != "same-origin":
            return False
        origin = request.headers.get("Origin", "")
        if origin == "null":
            return site == "same-origin"
        return origin == self._origin or (bool(origin) and urlsplit(origin).netloc == request.host)


def _origin(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"

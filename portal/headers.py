"""What every answer says about itself: nothing may be embedded, sniffed, referred to or kept by default."""

from __future__ import annotations

from collections.abc import Sequence

from aiohttp import web
from aiohttp.typedefs import Handler

from portal.errors import for_adapter
from portal.forms import DEPS, is_https

CSP = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "frame-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)
SANDBOX = "default-src 'none'; sandbox; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
"""For bytes that strangers sent: no script, no form, no origin."""


def leading_to(destinations: Sequence[str]) -> dict[str, str]:
    """Headers of a page with a form that leads on to other origins: browsers hold the redirects after a form against
    the policy of its page."""
    policy = CSP.replace("form-action 'self'", " ".join(["form-action 'self'", *destinations]))
    return {"Content-Security-Policy": policy, "X-Frame-Options": "DENY"}


_HSTS = "max-age=31536000"
_KEPT_S = 31_536_000


async def set_headers(request: web.Request, response: web.StreamResponse) -> None:
    """Add the headers that the handler did not set itself."""
    headers = response.headers
    if "Content-Security-Policy" not in headers:
        headers["Content-Security-Policy"] = CSP
        headers["X-Frame-Options"] = "DENY"
    https = is_https(request.app[DEPS])
    # Over plain HTTP browsers say where a form comes from by Origin only, and no-referrer makes that "null".
    headers.setdefault("Referrer-Policy", "no-referrer" if https else "same-origin")
    headers.setdefault("X-Content-Type-Options", "nosniff")
    headers.setdefault("Cross-Origin-Opener-Policy", "same-origin")
    # Pages ask for static files with the hash of their content in the query.
    is_fixed = request.path.startswith("/static/") and response.status in (200, 304) and "v" in request.query
    headers.setdefault("Cache-Control", f"public, max-age={_KEPT_S}, immutable" if is_fixed else "no-store")
    if https:
        headers.setdefault("Strict-Transport-Security", _HSTS)
    headers.pop("Server", None)


@web.middleware
async def refuse_coded_bodies(request: web.Request, handler: Handler) -> web.StreamResponse:
    """No compressed bodies: a few kilobytes must not become gigabytes (no platform sends them)."""
    coding = request.headers.get("Content-Encoding", "identity").strip().lower()
    if coding not in ("", "identity"):
        if for_adapter(request):
            return web.Response(status=415, text="Send the body without Content-Encoding.")
        raise web.HTTPUnsupportedMediaType
    return await handler(request)

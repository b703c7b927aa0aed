"""For machines that look after us: is it alive, and how does it do?"""

from __future__ import annotations

import hmac
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any

from aiohttp import web


@dataclass(frozen=True, slots=True)
class Watched:
    """What can be asked of a process. ``metrics_token`` empty: only this machine may look inside."""

    health: Callable[[], Awaitable[tuple[bool, dict[str, Any]]]]
    metrics: Callable[[], bytes]
    metrics_token: str = ""


WATCHED = web.AppKey("watched", Watched)
_FORWARDED = ("Forwarded", "X-Forwarded-For", "X-Real-IP", "Via")


def may_look_inside(request: web.Request) -> bool:
    """This machine itself, not through a proxy; or whoever has the metrics token."""
    token = request.app[WATCHED].metrics_token
    given = request.headers.get("Authorization", "").removeprefix("Bearer ").encode("utf-8", "replace")
    if token and hmac.compare_digest(given, token.encode()):
        return True
    try:
        is_local = ip_address(request.remote or "").is_loopback
    except ValueError:
        is_local = not request.remote
    return is_local and not any(name in request.headers for name in _FORWARDED)


async def healthz(request: web.Request) -> web.Response:
    """``GET /healthz``: 200 or 503; the details only for those who may look inside."""
    is_ok, details = await request.app[WATCHED].health()
    body = {"ok": is_ok, **(details if may_look_inside(request) else {})}
    return web.json_response(body, status=200 if is_ok else 503)


async def metrics(request: web.Request) -> web.Response:
    """``GET /metrics``: Prometheus' text format."""
    if not may_look_inside(request):
        raise web.HTTPForbidden
    return web.Response(body=request.app[WATCHED].metrics(), headers={"Content-Type": "text/plain; version=0.0.4"})


def add_pages(app: web.Application, watched: Watched) -> None:
    """Both pages, for ``watched``."""
    app[WATCHED] = watched
    app.router.add_get("/healthz", healthz)
    app.router.add_get("/metrics", metrics)

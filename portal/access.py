"""The access log: which page, how it went, how long it took. Never a path, a query, a cookie or a header.

Links to portals, maps, files and room pages are secrets in the path, so the log names the route instead.
"""

from __future__ import annotations

from aiohttp import web
from aiohttp.abc import AbstractAccessLogger


def route_name(request: web.BaseRequest) -> str:
    """The route's pattern (``/p/{token}``); an adapter's is only its account, its paths may hold secrets."""
    if not isinstance(request, web.Request):
        return "-"
    try:
        resource = request.match_info.route.resource
    except AssertionError:  # what could not even be read has no route
        return "-"
    if resource is None:
        return "(no page)"
    pattern = resource.canonical
    if pattern.startswith(("/bots/", "/apps/")):
        return "/".join(pattern.split("/")[:3]) + "/…"
    return pattern


class AccessLogger(AbstractAccessLogger):
    """Writes one line per request."""

    def log(self, request: web.BaseRequest, response: web.StreamResponse, time: float) -> None:
        """``POST /p/{token}/code 200 1234 bytes 0.012 s``."""
        name = route_name(request)
        size = response.body_length
        self.logger.info("%s %s %d %d bytes %.3f s", request.method, name, response.status, size, time)

"""A way to a homeserver that can be made to fail: what a real one does only when it is in trouble."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

import aiohttp
from aiohttp import web
from yarl import URL

DROPPED = frozenset({"Host", "Transfer-Encoding", "Content-Length", "Content-Encoding", "Connection"})


@dataclass
class Trouble:
    """What happens to requests whose path holds ``path``, the next ``times`` times."""

    path: str
    kind: Literal["answer", "cut before", "cut after", "endless", "hang"]
    times: int = 1
    status: int = 200
    body: Any = None
    headers: dict[str, str] = field(default_factory=dict)


class MatrixProxy:
    """Passes requests on to ``target`` (nowhere, where it is empty) unless there is trouble."""

    def __init__(self, target: str = "") -> None:
        self.target = target
        self.url = ""
        self.troubles: list[Trouble] = []
        self.seen: list[tuple[str, str]] = []
        """Method and path of every request."""
        self.connections: set[object] = set()
        """The far end of every connection that a request came by."""
        self._session: aiohttp.ClientSession | None = None

    def trouble(self, path: str, kind: Any, **more: Any) -> Trouble:
        """Make some."""
        made = Trouble(path, kind, **more)
        self.troubles.append(made)
        return made

    def limit(self, path: str, times: int = 1, **body: Any) -> Trouble:
        """A rate limit, in the shape of the specification."""
        said = {"errcode": "M_LIMIT_EXCEEDED", "error": "Too Many Requests"} | body
        return self.trouble(path, "answer", times=times, status=429, body=said)

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        self.seen.append((request.method, request.path))
        self.connections.add(request.transport and request.transport.get_extra_info("peername"))
        found = next((one for one in self.troubles if one.times > 0 and one.path in request.path), None)
        if found is None:
            return await self._pass_on(request)
        found.times -= 1
        if found.kind == "answer":
            if isinstance(found.body, bytes):
                return web.Response(status=found.status, body=found.body, headers=found.headers)
            return web.json_response(found.body, status=found.status, headers=found.headers)
        if found.kind == "endless":
            return await self._without_end(request)
        if found.kind == "hang":
            await asyncio.sleep(3600)
        if found.kind == "cut after":
            await self._pass_on(request)
        assert request.transport is not None
        request.transport.abort()
        return web.Response()

    async def _without_end(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "image/png"})
        await response.prepare(request)
        while True:
            await response.write(b"x" * 65_536)

    async def _pass_on(self, request: web.Request) -> web.Response:
        if not self.target:
            return web.json_response({"errcode": "M_UNRECOGNIZED", "error": "nobody is here"}, status=404)
        assert self._session is not None
        url = URL(f"{self.target}{request.raw_path}", encoded=True)
        headers = {name: value for name, value in request.headers.items() if name not in DROPPED}
        body = await request.read()
        async with self._session.request(request.method, url, headers=headers, data=body or None) as answer:
            raw = await answer.read()
            kept = {name: value for name, value in answer.headers.items() if name not in DROPPED}
            return web.Response(status=answer.status, body=raw, headers=kept)


@asynccontextmanager
async def matrix_proxy(target: str = "") -> AsyncIterator[MatrixProxy]:
    """A proxy on a free port of the loopback."""
    made = MatrixProxy(target)
    app = web.Application(client_max_size=100 * 1024 * 1024)
    app.router.add_route("*", "/{path:.*}", made._handle)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    made.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    async with aiohttp.ClientSession() as made._session:
        yield made
        await runner.cleanup()

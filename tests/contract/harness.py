"""Puts an adapter on a scene: makes it, serves its HTTP routes, starts it, brings it into the room."""

from __future__ import annotations

import asyncio
import importlib
import secrets
import socket
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import TypeVar

from aiohttp import web

from core.contract import Adapter, Emit, Platform, Services, Webhooks
from core.model import AccountId, PlatformEvent, RoomId, room_id
from core.store import Redis
from tests.contract.scene import Line, Scene, SceneMaker
from tests.contract.stage import Recorder, Session

PATIENCE_S = 15.0
Kind = TypeVar("Kind", bound=PlatformEvent)
Found = TypeVar("Found")


def scene_of(platform: str) -> SceneMaker:
    """Every platform has one."""
    made: SceneMaker = importlib.import_module(f"tests.bots.{platform}.scene").scene
    return made


def services(store: Redis, account: AccountId, public_url: str) -> Services:
    """What a host lends, with links that anybody can read."""

    def verify(purpose: str, token: str, max_age_s: int) -> str:
        if not token.startswith(f"{purpose}~"):
            raise ValueError("not ours")
        return token.partition("~")[2]

    return Services(
        store=store,
        key=lambda *parts: f"bb:{{a:{account}}}:x:" + ":".join(parts),
        now_ms=lambda: time.time_ns() // 1_000_000,
        random_id=lambda: secrets.token_hex(16),
        public_url=public_url,
        prefix="sameroom",
        sign=lambda purpose, payload: f"{purpose}~{payload}",
        verify=verify,
    )


class Site:
    """A web server on a free port (or on that of an earlier one), for the routes of adapters."""

    def __init__(self, port: int = 0) -> None:
        self._socket = socket.socket()
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._socket.bind(("127.0.0.1", port))
        self.port = self._socket.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._app = web.Application()
        self._app.router.add_get("/f/{name}", self._file)
        self.files: dict[str, bytes] = {}
        """What :meth:`file_url` leads to."""
        self.open_link: Callable[[str], AsyncIterator[bytes]] | None = None
        """Opens what the relay's own file links lead to, by their last part."""
        self._runner = web.AppRunner(self._app, access_log=None, shutdown_timeout=1, auto_decompress=False)

    def account_url(self, account: AccountId) -> str:
        """Where the routes of an account are reached."""
        return f"{self.url}/bots/{account}"

    def file_url(self, name: str) -> str:
        """Where a file that is posted can be had, as the portal's file links."""
        return f"{self.url}/f/{name}"

    async def _file(self, request: web.Request) -> web.Response:
        name = request.match_info["name"]
        if self.open_link is None:
            return web.Response(body=self.files[name])
        return web.Response(body=b"".join([chunk async for chunk in self.open_link(name)]))

    def add(self, adapter: Adapter, emit: Emit) -> None:
        """Serve an adapter's routes; before :meth:`start`."""
        if isinstance(adapter, Webhooks):
            for route in adapter.routes(emit):
                path = f"/bots/{adapter.account}/{route.path.lstrip('/')}"
                self._app.router.add_route(route.method, path, route.handler)

    async def start(self) -> None:
        """Listen."""
        await self._runner.setup()
        await web.SockSite(self._runner, self._socket).start()

    async def stop(self) -> None:
        """Listen no more."""
        await self._runner.cleanup()
        self._socket.close()


class Stage:
    """One started adapter in one room of the real service (or of its double), and the people in it."""

    def __init__(self, scene: Scene, adapter: Adapter, room: RoomId, events: Recorder, site: Site) -> None:
        self.scene = scene
        self.adapter = adapter
        self.platform: Platform = scene.platform
        self.room = room
        self.events = events
        self.site = site

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait for something that the adapter emits."""
        try:
            async with asyncio.timeout(PATIENCE_S):
                while not condition():
                    self.events.news.clear()
                    await self.events.news.wait()
        except TimeoutError:
            raise AssertionError(f"never emitted; last: {self.events.seen[-5:]} {self.events.reasons[-3:]}") from None

    async def heard(self, kind: type[Kind], where: Callable[[Kind], bool] = lambda event: True) -> Kind:
        """Wait for the first event of a kind."""

        def found() -> list[Kind]:
            return [event for event in self.events.seen if isinstance(event, kind) and where(event)]

        await self.until(lambda: bool(found()))
        return found()[0]

    async def sees(self, what: Callable[[list[Line]], Found | None]) -> Found:
        """Wait until Bob sees it: until ``what`` of the room's lines is something."""
        lines: list[Line] = []
        try:
            async with asyncio.timeout(PATIENCE_S):
                while True:
                    lines = await self.scene.lines()
                    if found := what(lines):
                        return found
                    await self.scene.changed()
        except TimeoutError:
            raise AssertionError(f"never seen; the room shows: {lines[-8:]}") from None

    async def line(self, marker: str) -> Line:
        """Wait for the first line that holds ``marker``."""
        return await self.sees(lambda lines: next((line for line in lines if marker in line.plain), None))

    async def lines(self, marker: str, count: int) -> list[Line]:
        """Wait until there are ``count`` lines that hold ``marker``."""

        def enough(lines: list[Line]) -> list[Line] | None:
            found = [line for line in lines if marker in line.plain]
            return found if len(found) >= count else None

        return await self.sees(enough)


@asynccontextmanager
async def staged(platform: str, store: Redis, session: Session) -> AsyncIterator[Stage]:
    """The platform's adapter, online in a room of its own."""
    account, site, events = AccountId(platform), Site(), Recorder()
    try:
        async with scene_of(platform)(session, account, site.account_url(account)) as scene:
            lent = services(store, account, site.url)
            adapter = scene.platform.create(account, scene.config, lent)
            site.add(adapter, events)
            await site.start()
            await adapter.start(events)
            try:
                async with asyncio.timeout(PATIENCE_S):
                    while not events.is_online:
                        events.news.clear()
                        await events.news.wait()
                    room = room_id(account, await scene.enter())
                yield Stage(scene, adapter, room, events, site)
            finally:
                await adapter.stop()
    finally:
        await site.stop()

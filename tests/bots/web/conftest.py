"""A real server with the guest rooms' routes on a free port, and guests who use it over HTTP and sockets."""

from __future__ import annotations

import asyncio
import json
import re
import secrets
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from itsdangerous import BadData, URLSafeTimedSerializer

from bots.web import PLATFORM, WebConfig
from bots.web.adapter import WebAdapter
from core.contract import Emit, Services
from core.model import AccountId, Author, PlatformEvent, RoomId, Text, room_id
from core.store import Redis, StoreDown

ACCOUNT = AccountId("web")
WAIT_S = 5.0


class Inbox:
    """The relay's side of ``emit``: takes events in, or is down."""

    def __init__(self) -> None:
        self.events: list[PlatformEvent] = []
        self.waiting: list[PlatformEvent] = []
        self.down = False
        self.states: list[str] = []

    def __call__(self, event: PlatformEvent) -> None:
        self.waiting.append(event)

    async def accepted(self) -> None:
        await asyncio.sleep(0)
        waiting, self.waiting = self.waiting, []
        if self.down:
            raise StoreDown("down")
        self.events += waiting

    def online(self) -> None:
        self.states.append("online")

    def offline(self, reason: str) -> None:
        self.states.append(reason)

    def of(self, kind: type) -> list[Any]:
        """The events of one kind, once for each native id, as ingest would have them."""
        return list({e.native: e for e in self.events if isinstance(e, kind)}.values())


def services(store: Redis, public_url: str) -> Services:
    """What a host lends, made of the real store and the real signing library."""

    def sign(purpose: str, payload: str) -> str:
        return str(URLSafeTimedSerializer("k" * 32, salt=purpose).dumps(payload))

    def verify(purpose: str, token: str, max_age_s: int) -> str:
        try:
            return str(URLSafeTimedSerializer("k" * 32, salt=purpose).loads(token, max_age=max_age_s))
        except BadData as error:
            raise ValueError("this link is not ours or too old") from error

    return Services(
        store=store,
        key=lambda *parts: "bb:{a:web}:own:" + ":".join(parts),
        now_ms=lambda: time.time_ns() // 1_000_000,
        random_id=lambda: secrets.token_hex(16),
        public_url=public_url,
        prefix="sameroom",
        sign=sign,
        verify=verify,
    )


class Server:
    """A web process: an adapter that is not started, its routes mounted as the portal does it."""

    def __init__(self, store: Redis, config: WebConfig, inbox: Emit, port: int = 0) -> None:
        self._store, self._config, self.inbox, self.port = store, config, inbox, port
        self.lent: Services | None = None

    async def start(self) -> Server:
        """Listen; on the same port again after a stop."""
        app = web.Application()
        self._runner = web.AppRunner(app, shutdown_timeout=1, access_log=None)
        sock = socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(("127.0.0.1", self.port))
        self.port = sock.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.adapter: WebAdapter = PLATFORM.create(ACCOUNT, self._config, self.lent or services(self._store, self.url))  # type: ignore[assignment]
        for route in self.adapter.routes(self.inbox):
            app.router.add_route(route.method, f"/bots/{ACCOUNT}/{route.path}", route.handler)
        await self._runner.setup()
        await web.SockSite(self._runner, sock).start()
        return self

    async def stop(self) -> None:
        """As a process that ends: pages are sent away."""
        await self.adapter.stop()
        await self._runner.cleanup()

    @property
    def base(self) -> str:
        """The account's path."""
        return f"{self.url}/bots/{ACCOUNT}/"


class Socket:
    """A guest's open page."""

    def __init__(self, ws: aiohttp.ClientWebSocketResponse) -> None:
        self.ws = ws
        self.last = 0
        self.seen: list[dict[str, Any]] = []

    async def send(self, **wish: Any) -> None:
        """A wish, as it is."""
        await self.ws.send_str(json.dumps(wish))

    async def receive(self) -> dict[str, Any]:
        """The next news."""
        message = await self._next()
        if message.type != aiohttp.WSMsgType.TEXT:
            raise ConnectionError(f"closed: {self.ws.close_code}")
        news: dict[str, Any] = json.loads(message.data)
        self.last = max(self.last, news.get("seq", 0))
        self.seen.append(news)
        return news

    async def _next(self) -> aiohttp.WSMessage:
        return await self.ws.receive(timeout=WAIT_S)

    async def until(self, fits: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """The next news that fits."""
        while True:
            news = await self.receive()
            if fits(news):
                return news

    async def answer(self, **wish: Any) -> dict[str, Any]:
        """Send a wish and return the server's yes or no."""
        await self.send(**wish)
        return await self.until(lambda n: n["t"] in ("ok", "no") and n["id"] == wish.get("id", ""))

    async def say(self, text: str, **more: Any) -> dict[str, Any]:
        """Say something and return it as it shows."""
        cid = secrets.token_hex(8)
        await self.send(t="say", id=cid, text=text, **more)
        shown: dict[str, Any] = {}
        taken = False
        while not (shown and taken):
            news = await self.receive()
            if news["t"] == "message" and news["m"].get("cid") == cid:
                shown = news["m"]
            taken = taken or news == {"t": "ok", "id": cid}
        return shown

    async def closed(self) -> int:
        """Read on until the server closes; the code it gives."""
        async with asyncio.timeout(WAIT_S):
            async for _ in self.ws:
                pass
        return self.ws.close_code or 0

    async def message(self) -> dict[str, Any]:
        """The next message or change of one."""
        return dict((await self.until(lambda n: n["t"] == "message"))["m"])


class Page(Socket):
    """It takes in what the server sends, and answers its pings, also while nobody looks at it."""

    def __init__(self, ws: aiohttp.ClientWebSocketResponse) -> None:
        super().__init__(ws)
        self._waiting: asyncio.Queue[aiohttp.WSMessage] = asyncio.Queue()
        self.reading = asyncio.create_task(self._read())

    async def _read(self) -> None:
        while True:
            message = await self.ws.receive()
            self._waiting.put_nowait(message)
            if message.type != aiohttp.WSMsgType.TEXT:
                return

    async def _next(self) -> aiohttp.WSMessage:
        async with asyncio.timeout(WAIT_S):
            return await self._waiting.get()


class Browser:
    """Somebody with a cookie jar."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.http = aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True))
        self.link = ""
        self.token = ""

    @property
    def own(self) -> dict[str, str]:
        """The header a browser sends from our own page."""
        return {"Origin": self.server.url}

    async def open_room(self, **fields: str) -> str:
        """Make a room; its link."""
        async with self.http.post(
            self.server.base + "rooms", data={"name": "Garden"} | fields, headers=self.own, allow_redirects=False
        ) as answer:
            assert answer.status == 303, await answer.text()
            self.link = answer.headers["Location"].rpartition("/r/")[2].partition("?")[0]
            return self.link

    async def page(self, link: str = "") -> str:
        """The room's page; remembers its form token."""
        self.link = link or self.link
        async with self.http.get(f"{self.server.base}r/{self.link}") as answer:
            text = await answer.text()
            found = re.search(r'name="token" value="([^"]+)"', text)
            self.token = found[1] if found else ""
            return text

    async def post(self, path: str, **fields: Any) -> tuple[int, str]:
        """A form below the room, with its token."""
        data = {"token": self.token} | fields
        url = f"{self.server.base}r/{self.link}/{path}"
        async with self.http.post(url, data=data, headers=self.own, allow_redirects=False) as answer:
            return answer.status, await answer.text()

    async def join(self, link: str, name: str) -> Browser:
        """Join by a link."""
        await self.page(link)
        assert (await self.post("join", name=name))[0] == 303
        return self

    async def connect(self, last: int = 0, kind: type[Socket] = Socket) -> Socket:
        """Open the page's socket; the welcome is its first news."""
        ws = await self.http.ws_connect(f"{self.server.base}ws/{self.link}", headers=self.own)
        socket = kind(ws)
        await socket.send(t="hello", last=last)
        assert (await socket.receive())["t"] == "welcome"
        return socket


@pytest.fixture
def inbox() -> Inbox:
    """Where the events go."""
    return Inbox()


@pytest.fixture
async def make_server(store: Redis, inbox: Inbox) -> AsyncIterator[Callable[..., Awaitable[Server]]]:
    """Servers with other limits, or several on the same store."""
    running: list[Server] = []

    async def make(**limits: Any) -> Server:
        server = await Server(store, WebConfig(**({"says_burst": 1000} | limits)), inbox).start()
        running.append(server)
        return server

    yield make
    for server in running:
        await server.stop()


@pytest.fixture
async def server(make_server: Callable[..., Awaitable[Server]]) -> Server:
    """A server with roomy limits."""
    return await make_server()


@pytest.fixture
async def browsers() -> AsyncIterator[Callable[[Server], Browser]]:
    """New people, each with cookies of their own."""
    made: list[Browser] = []

    def new(server: Server) -> Browser:
        made.append(Browser(server))
        return made[-1]

    yield new
    for browser in made:
        await browser.http.close()


class Pair:
    """Ann, who made the room, and Ben, who joined it by its link; both have it open."""

    def __init__(self, server: Server, ann: Browser, ben: Browser, a: Socket, b: Socket) -> None:
        self.server, self.ann, self.ben, self.a, self.b = server, ann, ben, a, b

    @property
    def room(self) -> RoomId:
        """As the relay knows it."""
        from bots.web.rooms import id_of_link

        return room_id(ACCOUNT, id_of_link(self.ann.link))


@pytest.fixture
async def pair(server: Server, browsers: Callable[[Server], Browser]) -> Pair:
    """A room with two guests."""
    ann, ben = browsers(server), browsers(server)
    link = await ann.open_room(guest="Ann")
    await ben.join(link, "Ben")
    return Pair(server, ann, ben, await ann.connect(), await ben.connect())


REMOTE = Author("U1", "Cleo (Slack)")


def words(text: str) -> Text:
    """Plain text."""
    return Text(text)

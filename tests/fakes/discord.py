"""A strict Discord: REST API v10 and gateway, after the vendor's documentation.

It checks tokens, fields, lengths, names and permissions, counts requests against the limits that its headers tell,
hands out events with sequence numbers, and resumes sessions.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from dataclasses import dataclass, field
from typing import Any

from aiohttp import WSMsgType, web

from tests.fakes.discord_rest import Answer, Rest, error
from tests.fakes.discord_world import Raw

CONTENT = 1 << 15
CONTENT_FLAG = 1 << 19


@dataclass
class Fault:
    """What happens to the next request whose ``METHOD /path`` holds ``where``: an answer of its own, a cut before or
    after it was done, a delay."""

    where: str
    status: int = 0
    answer: Any = None
    headers: dict[str, str] = field(default_factory=dict)
    cut: str = ""
    delay_s: float = 0.0


@dataclass
class Session:
    """One of the gateway's."""

    id: str
    events: list[Raw] = field(default_factory=list)
    socket: web.WebSocketResponse | None = None


class DiscordDouble(Rest):
    """Use it as an async context manager."""

    def __init__(self) -> None:
        super().__init__()
        self.transcript: list[tuple[str, str, Any]] = []
        self.faults: list[Fault] = []
        self.downloads: list[str] = []
        self.url = ""
        self.beat_ms = 30_000
        self.deaf = False
        """Heartbeats are not answered."""
        self.identified = 0
        self.resumed: list[int] = []
        self.beats = 0
        self.closed: list[int] = []
        """Close codes that clients have sent."""
        self.refuse_with = 0
        """A close code for whoever identifies."""
        self.limit = 1_000
        self.window_s = 1.0
        self.content_allowed = True
        self.cdn_answer: Any = None
        self._windows: dict[str, tuple[float, int]] = {}
        self._sessions: dict[str, Session] = {}
        self._runner: web.AppRunner | None = None
        self.dispatch = self._dispatch

    async def __aenter__(self) -> DiscordDouble:
        app = web.Application(client_max_size=30 * 1024 * 1024)
        app.router.add_get("/gateway/", self._gateway)
        app.router.add_get("/attachments/{tail:.*}", self._file)
        app.router.add_route("*", "/api/v10/{path:.*}", self._request)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.5)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        root = f"http://127.0.0.1:{self._runner.addresses[0][1]}"
        self.url, self.cdn, self.ws = f"{root}/api/v10", root, f"{root}/gateway".replace("http", "ws", 1)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.drop(1001)
        assert self._runner is not None
        await self._runner.cleanup()

    # --- REST

    async def _request(self, request: web.Request) -> web.StreamResponse:
        path = f"/{request.match_info['path']}"
        where = f"{request.method} {path}"
        fault = next((fault for fault in self.faults if fault.where in where), None)
        if fault:
            self.faults.remove(fault)
            await asyncio.sleep(fault.delay_s)
            if fault.cut == "before":
                return self._cut(request)
            if fault.status:
                return web.Response(
                    status=fault.status,
                    body=json.dumps(fault.answer).encode() if fault.answer else b"",
                    headers=fault.headers,
                )
        if not request.headers.get("User-Agent", "").startswith("DiscordBot ("):
            return web.Response(status=403, text="Forbidden (Cloudflare)")
        by_webhook = path.startswith("/webhooks/")
        if not by_webhook and request.headers.get("Authorization") != f"Bot {self.token}":
            return web.json_response({"message": "401: Unauthorized", "code": 0}, status=401)
        headers = self._count(request.method, path)
        if headers is None:
            return self._too_many(request.method, path)
        try:
            body, uploads = await _body(request)
            self.transcript.append((request.method, path, body))
            found = self.handle(request.method, path, body, uploads, dict(request.query))
        except Answer as answer:
            found = answer
        if fault and fault.cut == "after":
            return self._cut(request)
        if found.status == 204:
            return web.Response(status=204, headers=headers)
        return web.json_response(found.body, status=found.status, headers=headers)

    def _cut(self, request: web.Request) -> web.StreamResponse:
        if request.transport:
            request.transport.abort()
        return web.Response(status=500)

    def _bucket(self, method: str, path: str) -> str:
        parts = path.split("/")
        return f"{method} {'/'.join(parts[1:3])}"

    def _count(self, method: str, path: str) -> dict[str, str] | None:
        """The headers of a request that is within its limit."""
        now = time.monotonic()
        start, used = self._windows.get(self._bucket(method, path), (now, 0))
        if now - start >= self.window_s:
            start, used = now, 0
        if used >= self.limit:
            return None
        self._windows[self._bucket(method, path)] = start, used + 1
        left_s = start + self.window_s - now
        return {
            "X-RateLimit-Limit": str(self.limit),
            "X-RateLimit-Remaining": str(self.limit - used - 1),
            "X-RateLimit-Reset": f"{time.time() + left_s:.3f}",
            "X-RateLimit-Reset-After": f"{left_s:.3f}",
            "X-RateLimit-Bucket": "abcd1234",
        }

    def _too_many(self, method: str, path: str) -> web.Response:
        start, _ = self._windows[self._bucket(method, path)]
        left_s = round(start + self.window_s - time.monotonic(), 3)
        self.refusals += 1
        return web.json_response(
            {"message": "You are being rate limited.", "retry_after": left_s, "global": False},
            status=429,
            headers={"Retry-After": str(int(left_s) + 1), "X-RateLimit-Scope": "user"},
        )

    async def _file(self, request: web.Request) -> web.StreamResponse:
        self.downloads.append(str(request.rel_url))
        if self.cdn_answer is not None:
            return await self.cdn_answer(request)  # type: ignore[no-any-return]
        native = request.path.split("/")[3]
        if request.query.get("hm") != native[-6:] or native not in self.files:
            return web.Response(status=404, text="This content is no longer available.")
        return web.Response(body=self.files[native])

    # --- gateway

    async def _gateway(self, request: web.Request) -> web.StreamResponse:
        socket = web.WebSocketResponse(max_msg_size=4096)
        await socket.prepare(request)
        if request.query.get("v") != "10" or request.query.get("encoding") != "json":
            await socket.close(code=4012)
            return socket
        await socket.send_json({"op": 10, "d": {"heartbeat_interval": self.beat_ms}, "s": None, "t": None})
        session: Session | None = None
        async for message in socket:
            if message.type != WSMsgType.TEXT:
                break
            payload = json.loads(message.data)
            op, data = payload["op"], payload["d"]
            if op == 1:
                self.beats += 1
                if not self.deaf:
                    await socket.send_json({"op": 11, "d": None})
            elif session is not None:
                await socket.close(code=4005 if op in (2, 6) else 4001)
            elif op == 2:
                session = await self._identify(socket, data)
            elif op == 6:
                session = await self._resume(socket, data)
            else:
                await socket.close(code=4003)
            self.changed()
        if session and session.socket is socket:
            session.socket = None
        self.closed.append(socket.close_code or 0)
        self.changed()
        return socket

    async def _identify(self, socket: web.WebSocketResponse, data: Raw) -> Session | None:
        self.identified += 1
        if self.refuse_with or data["token"] != self.token:
            await socket.close(code=self.refuse_with or 4004)
            return None
        if set(data["properties"]) != {"os", "browser", "device"}:
            await socket.close(code=4002)
            return None
        if data["intents"] & CONTENT and not self.content_allowed:
            await socket.close(code=4014, message=b"Disallowed intent(s).")
            return None
        for other in self._sessions.values():
            if other.socket:
                await other.socket.close(code=4009)
        session = Session(f"session{self.identified}")
        self._sessions = {session.id: session}
        session.socket = socket
        here = [guild for guild in self.guilds.values() if self.bot["id"] in guild.members]
        ready = {
            "v": 10,
            "user": self.bot,
            "guilds": [{"id": guild.id, "unavailable": True} for guild in here],
            "session_id": session.id,
            "resume_gateway_url": self.ws,
            "application": {"id": self.application, "flags": self.flags()},
        }
        self._event(session, "READY", ready)
        for guild in here:
            self._event(session, "GUILD_CREATE", self.guild_raw(guild))
        return session

    async def _resume(self, socket: web.WebSocketResponse, data: Raw) -> Session | None:
        session = self._sessions.get(data["session_id"])
        if data["token"] != self.token:
            await socket.close(code=4004)
            return None
        if session is None or data["seq"] > len(session.events):
            await socket.send_json({"op": 9, "d": False})
            return None
        self.resumed.append(data["seq"])
        session.socket = socket
        for event in session.events[data["seq"] :]:
            await socket.send_json(event)
        self._event(session, "RESUMED", {})
        return session

    def _dispatch(self, name: str, data: Raw) -> None:
        if name.startswith(("GUILD_", "CHANNEL_", "THREAD_")):
            guild = self.guilds.get(data.get("guild_id") or data["id"])
            if guild and self.bot["id"] not in guild.members and name != "GUILD_DELETE":
                return
        elif not self.sees(data):
            return
        for session in self._sessions.values():
            self._event(session, name, data)

    def _event(self, session: Session, name: str, data: Raw) -> None:
        event = {"op": 0, "t": name, "s": len(session.events) + 1, "d": data}
        session.events.append(event)
        self._push(session, event)

    def _push(self, session: Session, payload: Raw) -> None:
        if session.socket is not None and not session.socket.closed:
            # The frame is written at once; only flushing is waited for.
            with contextlib.suppress(ConnectionError):
                task = asyncio.ensure_future(session.socket.send_json(payload))
                self._sends.add(task)
                task.add_done_callback(self._sent_off)

    def _sent_off(self, task: asyncio.Future[None]) -> None:
        self._sends.discard(task)
        if not task.cancelled():
            task.exception()

    async def drop(self, code: int) -> None:
        """Close all connections with a code."""
        for session in self._sessions.values():
            if session.socket is not None:
                socket, session.socket = session.socket, None
                await socket.close(code=code)

    async def tell_op(self, op: int, data: Any = None) -> None:
        """Send an operation: 7 reconnect, 9 invalid session, 1 heartbeat request."""
        for session in self._sessions.values():
            if session.socket is not None:
                await session.socket.send_json({"op": op, "d": data})

    def forget_sessions(self) -> None:
        """No session can be resumed any more."""
        self._sessions = {}

    def redeliver(self, count: int) -> None:
        """The newest events again, as after a resume from further back."""
        for session in self._sessions.values():
            for event in session.events[-count:]:
                self._push(session, event)


async def _body(request: web.Request) -> tuple[Any, list[tuple[str, str, bytes]]]:
    """(JSON, uploads): as the body, or in the payload_json of a form."""
    uploads: list[tuple[str, str, bytes]] = []
    if request.content_type != "multipart/form-data":
        raw = await request.read()
        if raw and request.content_type != "application/json":
            raise error(400, 50109, "The request body contains invalid JSON.")
        return (json.loads(raw) if raw else None), uploads
    body: Any = None
    async for part in await request.multipart():
        data = bytes(await part.read())  # type: ignore[union-attr]
        if part.name == "payload_json":  # type: ignore[union-attr]
            body = json.loads(data)
        else:
            uploads.append((part.name or "", part.filename or "", data))  # type: ignore[union-attr]
    return body, uploads

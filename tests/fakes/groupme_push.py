"""The push service of the GroupMe double: a strict Bayeux server with websockets and long polls."""

from __future__ import annotations

import asyncio
import itertools
import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from aiohttp import WSMsgType, web

CLOCK_S = 400 * 86_400
"""Clocks of tests are in the year after."""


@dataclass
class Client:
    """Somebody who shook hands."""

    id: str
    channels: set[str] = field(default_factory=set)
    waiting: list[dict[str, Any]] = field(default_factory=list)
    news: asyncio.Event = field(default_factory=asyncio.Event)
    socket: web.WebSocketResponse | None = None
    connected: bool = False
    tasks: set[asyncio.Task[None]] = field(default_factory=set)


class PushService:
    """``user_of(token)`` says whose token it is, ``is_member(user, group)`` who may listen to a group."""

    def __init__(self, user_of: Callable[[object], str], is_member: Callable[[str, str], bool]) -> None:
        self._user_of = user_of
        self._is_member = is_member
        self.clients: dict[str, Client] = {}
        self.types = ["long-polling", "cross-origin-long-polling", "callback-polling", "websocket", "in-process"]
        self.refuse_sockets = False
        self.down = False
        self.timeout_ms = 30_000
        self.handshakes = 0
        self.typed: list[tuple[str, str, float]] = []
        """Typing that was published: channel, user, when (monotonic)."""
        self.changed = asyncio.Event()
        self._numbers = itertools.count(1)

    # --- what a test does

    def publish(self, channel: str, data: dict[str, Any]) -> None:
        """Tell all who subscribed."""
        data = json.loads(json.dumps(data))
        for client in self.clients.values():
            if channel in client.channels:
                number = str(next(self._numbers))
                client.waiting.append({"channel": channel, "data": data, "clientId": client.id, "id": number})
                client.news.set()

    def subscribers(self, channel: str) -> int:
        """How many listen."""
        return sum(channel in client.channels for client in self.clients.values())

    def forget_clients(self) -> None:
        """All handshakes are too old: the next connect is refused; what is said meanwhile is lost."""
        for client in self.clients.values():
            client.channels.clear()
            client.connected = False
            client.news.set()
        self.clients.clear()

    def cut(self) -> None:
        """The service goes away."""
        self.down = True
        for client in self.clients.values():
            transport = client.socket._req.transport if client.socket is not None and client.socket._req else None
            if transport is not None:
                transport.abort()
        self.forget_clients()

    def back(self) -> None:
        """The service is there again."""
        self.down = False

    def close(self) -> None:
        """The end."""
        for client in self.clients.values():
            for task in client.tasks:
                task.cancel()

    # --- the protocol

    async def post(self, request: web.Request) -> web.Response:
        """Messages by HTTP: everything, or long polls."""
        if self.down:
            return web.Response(status=503)
        messages = await request.json()
        assert isinstance(messages, list)
        answers: list[dict[str, Any]] = []
        for message in messages:
            if message.get("channel") == "/meta/connect" and message.get("clientId") in self.clients:
                answers += await self._poll(message)
            else:
                answers.append(self._answer(message, None))
        return web.json_response(answers)

    async def _poll(self, message: dict[str, Any]) -> list[dict[str, Any]]:
        client = self.clients[message["clientId"]]
        assert message.get("connectionType") == "long-polling"
        await self._until_news(client)
        told, client.waiting = client.waiting, []
        return [self._connected(message), *told]

    async def _until_news(self, client: Client) -> None:
        try:
            async with asyncio.timeout(self.timeout_ms / 1000):
                while not client.waiting and client.id in self.clients:
                    client.news.clear()
                    await client.news.wait()
        except TimeoutError:
            return

    async def socket(self, request: web.Request) -> web.StreamResponse:
        """Messages by websocket."""
        if self.down or self.refuse_sockets:
            return web.Response(status=503)
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        mine: Client | None = None
        try:
            async for frame in socket:
                if frame.type is not WSMsgType.TEXT:
                    break
                answers = []
                for message in json.loads(frame.data):
                    mine = self.clients.get(message.get("clientId"), mine)
                    answer = self._answer(message, socket)
                    if answer:
                        answers.append(answer)
                if answers:
                    await socket.send_json(answers)
        finally:
            for task in mine.tasks if mine else ():
                task.cancel()
        return socket

    def _answer(self, message: dict[str, Any], socket: web.WebSocketResponse | None) -> dict[str, Any]:
        channel, common = message["channel"], {"channel": message["channel"], "id": message["id"]}
        if channel == "/meta/handshake":
            return self._handshake(message, common)
        client = self.clients.get(message.get("clientId", ""))
        if client is None:
            return {**common, "successful": False, "error": "401::Unknown client", "advice": {"reconnect": "handshake"}}
        if channel == "/meta/subscribe":
            return {**common, "clientId": client.id, **self._subscribe(client, message)}
        if channel == "/meta/connect":
            assert socket is not None
            assert message.get("connectionType") == "websocket"
            self._hold(client, message, socket)
            return {}
        return {**common, **self._published(client, message)}

    def _handshake(self, message: dict[str, Any], common: dict[str, Any]) -> dict[str, Any]:
        self.handshakes += 1
        assert message["version"] == "1.0"
        client = Client(f"client{next(self._numbers)}")
        self.clients[client.id] = client
        advice = {"reconnect": "retry", "interval": 0, "timeout": self.timeout_ms}
        types = {"supportedConnectionTypes": self.types, "version": "1.0"}
        return {**common, **types, "successful": True, "clientId": client.id, "advice": advice}

    def _subscribe(self, client: Client, message: dict[str, Any]) -> dict[str, Any]:
        channel, ext = message["subscription"], message.get("ext") or {}
        user, told = self._user_of(ext.get("access_token")), {"subscription": channel}
        kind, _, name = channel.lstrip("/").partition("/")
        fresh = isinstance(ext.get("timestamp"), int) and abs(ext["timestamp"] - time.time()) < CLOCK_S
        allowed = (kind == "user" and name == user) or (kind == "group" and bool(user) and self._is_member(user, name))
        if not (user and fresh and allowed):
            return {**told, "successful": False, "error": f"403:{channel}:Forbidden"}
        client.channels.add(channel)
        self.changed.set()
        return {**told, "successful": True}

    def _published(self, client: Client, message: dict[str, Any]) -> dict[str, Any]:
        data, user = message.get("data") or {}, self._user_of((message.get("ext") or {}).get("access_token"))
        if data.get("type") != "typing" or not user or data.get("user_id") != user:
            return {"successful": False, "error": "403::Forbidden"}
        self.typed.append((message["channel"], user, time.monotonic()))
        self.publish(message["channel"], data)
        self.changed.set()
        return {"successful": True}

    def _connected(self, message: dict[str, Any]) -> dict[str, Any]:
        common = {"channel": "/meta/connect", "id": message["id"], "clientId": message["clientId"]}
        if message["clientId"] not in self.clients:
            error = f"401:{message['clientId']}:Unknown client"
            return {**common, "successful": False, "error": error, "advice": {"reconnect": "handshake"}}
        advice = {"reconnect": "retry", "interval": 0, "timeout": self.timeout_ms}
        return {**common, "successful": True, "advice": advice}

    def _hold(self, client: Client, message: dict[str, Any], socket: web.WebSocketResponse) -> None:
        client.socket = socket
        task = asyncio.create_task(self._serve(client, message, socket))
        client.tasks.add(task)
        task.add_done_callback(client.tasks.discard)

    async def _serve(self, client: Client, message: dict[str, Any], socket: web.WebSocketResponse) -> None:
        """Messages go out as they come, while the connect is held; it is answered when its time is over."""
        until = time.monotonic() + self.timeout_ms / 1000
        try:
            while client.id in self.clients and (left := until - time.monotonic()) > 0:
                told, client.waiting = client.waiting, []
                if told:
                    await socket.send_json(told)
                client.news.clear()
                try:
                    async with asyncio.timeout(left):
                        await client.news.wait()
                except TimeoutError:
                    break
            await socket.send_json([self._connected(message)])
        except ConnectionError:
            return

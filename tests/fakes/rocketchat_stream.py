"""The live stream of the Rocket.Chat double: DDP over a websocket, and how moments are written."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from aiohttp import WSMsgType, web

from tests.fakes.rocketchat_world import User, World


@dataclass
class Line:
    """One websocket and what it wants to hear."""

    socket: web.WebSocketResponse
    user: User | None = None
    connected: bool = False
    subs: dict[str, tuple[str, str]] = field(default_factory=dict)
    queue: asyncio.Queue[dict[str, Any]] = field(default_factory=asyncio.Queue)


class StreamWorld(World):
    """A world that tells those who listen. ``frames`` is what came by websocket, ``typed`` who was said to type."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.tell = self._tell
        self.lines_up: list[Line] = []
        self.frames: list[dict[str, Any]] = []
        self.typed: list[tuple[str, str]] = []
        self.refuse_sockets = False

    def _tell(self, stream: str, event: str, args: list[Any], user: str) -> None:
        for line in self.lines_up:
            if line.user and line.user.id == user and (stream, event) in line.subs.values():
                fields = {"eventName": event, "args": ejson(args)}
                line.queue.put_nowait({"msg": "changed", "collection": stream, "id": "id", "fields": fields})

    def listening(self, uid: str, stream: str, event: str) -> bool:
        """Is somebody subscribed?"""
        return any(
            line.user and line.user.id == uid and (stream, event) in line.subs.values() for line in self.lines_up
        )

    async def cut(self) -> None:
        """Close every websocket, and take no new one until :meth:`back`."""
        self.refuse_sockets = True
        for line in list(self.lines_up):
            await line.socket.close()

    def back(self) -> None:
        """Take websockets again."""
        self.refuse_sockets = False

    async def websocket(self, request: web.Request) -> web.StreamResponse:
        """``/websocket``: DDP."""
        if self.refuse_sockets:
            return web.Response(status=502, text="<html>bad gateway</html>")
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        line = Line(socket)
        self.lines_up.append(line)
        await socket.send_json({"server_id": "0"})
        sender = asyncio.create_task(self._send(line))
        try:
            async for message in socket:
                if message.type is WSMsgType.TEXT:
                    frame = json.loads(message.data)
                    self.frames.append(frame)
                    await self._frame(line, frame)
        finally:
            self.lines_up.remove(line)
            sender.cancel()
            await asyncio.gather(sender, return_exceptions=True)
            self.changed.set()
        return socket

    async def _send(self, line: Line) -> None:
        while True:
            await line.socket.send_json(await line.queue.get())

    async def _frame(self, line: Line, frame: dict[str, Any]) -> None:
        kind, put = frame.get("msg"), line.queue.put_nowait
        if kind == "connect":
            line.connected = frame.get("version") == "1" and "1" in frame.get("support", [])
            put({"msg": "connected", "session": self.id("c")} if line.connected else {"msg": "failed", "version": "1"})
        elif kind == "ping":
            put({"msg": "pong", **({"id": frame["id"]} if "id" in frame else {})})
        elif not line.connected:
            put({"msg": "error", "reason": "Must connect first"})
        elif kind == "method":
            self._method(line, frame)
        elif kind == "sub":
            self._subscribe(line, frame)
        elif kind == "unsub":
            line.subs.pop(frame["id"], None)
            put({"msg": "nosub", "id": frame["id"]})

    def _method(self, line: Line, frame: dict[str, Any]) -> None:
        answer: dict[str, Any] = {"msg": "result", "id": frame["id"]}
        if frame["method"] == "login":
            token = frame["params"][0].get("resume")
            line.user = next((user for user in self.users.values() if token in user.tokens), None)
            if line.user:
                answer["result"] = {"id": line.user.id, "token": token, "type": "resume"}
            else:
                words = "You've been logged out by the server. Please log in again."
                answer["error"] = {
                    "error": 403,
                    "reason": words,
                    "message": f"{words} [403]",
                    "errorType": "Meteor.Error",
                }
        elif frame["method"] == "stream-notify-room" and line.user:
            rid, _, what = frame["params"][0].partition("/")
            name = line.user.name if self.settings["UI_Use_Real_Name"] else line.user.username
            if what == "user-activity" and frame["params"][1] == name and line.user.id in self.rooms[rid].members:
                self.typed.append((rid, name))
                self.changed.set()
        else:
            answer["error"] = {"error": 404, "reason": f"Method '{frame['method']}' not found"}
        line.queue.put_nowait(answer)

    def _subscribe(self, line: Line, frame: dict[str, Any]) -> None:
        stream, event = frame["name"], frame["params"][0]
        rid = event.partition("/")[0]
        uid = line.user.id if line.user else ""
        ok = bool(uid) and (
            (stream == "stream-room-messages" and event == "__my_messages__")
            or (stream == "stream-notify-user" and rid == uid)
            or (stream == "stream-notify-room" and rid in self.rooms and uid in self.rooms[rid].members)
        )
        if not ok:
            line.queue.put_nowait({"msg": "nosub", "id": frame["id"], "error": {"error": "not-allowed"}})
            return
        line.subs[frame["id"]] = (stream, event)
        line.queue.put_nowait({"msg": "ready", "subs": [frame["id"]]})
        self.changed.set()


def ejson(value: Any) -> Any:
    """Moments as the stream has them."""
    return _moments(value, lambda ms: {"$date": ms})


def iso(value: Any) -> Any:
    """Moments as answers have them."""
    return _moments(
        value,
        lambda ms: datetime.fromtimestamp(ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
    )


def _moments(value: Any, shown: Callable[[int], Any]) -> Any:
    if isinstance(value, dict):
        moments = ("ts", "_updatedAt", "editedAt")
        return {k: shown(v) if k in moments and isinstance(v, int) else _moments(v, shown) for k, v in value.items()}
    return [_moments(one, shown) for one in value] if isinstance(value, list) else value

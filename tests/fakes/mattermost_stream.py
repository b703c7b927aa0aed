"""The websocket of the double, who may use it, and how the server says no."""

from __future__ import annotations

import asyncio
import contextlib

from aiohttp import WSMsgType, web

from tests.fakes.mattermost_world import Connection, Raw, User, World, new_id


class Problem(Exception):
    """An answer that is no success."""

    def __init__(self, status: int, error_id: str, message: str = "") -> None:
        self.status, self.id, self.message = status, error_id, message or error_id

    def response(self) -> web.Response:
        """In Mattermost's shape."""
        body = {"id": self.id, "message": self.message, "detailed_error": "", "request_id": new_id()}
        return web.json_response(body | {"status_code": self.status}, status=self.status)


def forbidden() -> Problem:
    """What is said of everything one may not do, and of much that is not there."""
    return Problem(403, "api.context.permissions.app_error", "You do not have the appropriate permissions.")


class Sockets(World):
    """A world that people listen to."""

    def __init__(self) -> None:
        super().__init__()
        self.challenges = 0
        self.headers_pass = True
        """The proxy in front passes on the Authorization header of websockets."""

    def _who(self, request: web.Request) -> User:
        kind, _, token = request.headers.get("Authorization", "").partition(" ")
        user = next((user for user in self.users.values() if user.token == token), None)
        if kind.lower() not in ("bearer", "token") or user is None:
            raise Problem(
                401, "api.context.session_expired.app_error", "Invalid or expired session, please login again."
            )
        return user

    async def _websocket(self, request: web.Request) -> web.StreamResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        user = None
        if self.headers_pass and "Authorization" in request.headers:
            with contextlib.suppress(Problem):
                user = self._who(request)
        connection, start = None, 0
        if user is not None:
            connection, start = self._registered(user, request)
        writers: list[asyncio.Task[None]] = []
        try:
            if connection:
                writers.append(asyncio.create_task(self._write(socket, connection, start)))
            async for message in socket:
                if message.type is not WSMsgType.TEXT:
                    break
                action = message.json()
                if connection is None:
                    user = next((u for u in self.users.values() if u.token == action["data"].get("token")), None)
                    if action["action"] != "authentication_challenge" or user is None:
                        break
                    self.challenges += 1
                    connection, start = self._registered(user, request)
                    writers.append(asyncio.create_task(self._write(socket, connection, start)))
                await self._act(socket, connection, action)
        finally:
            for writer in writers:
                writer.cancel()
            await asyncio.gather(*writers, return_exceptions=True)
            if connection and connection.close is socket:
                connection.close = None
        return socket

    def _registered(self, user: User, request: web.Request) -> tuple[Connection, int]:
        """The old connection where it is known and still has what comes next; else a new one, which is greeted."""
        asked, number = request.query.get("connection_id"), int(request.query.get("sequence_number", "0"))
        for connection in self.connections:
            if connection.id == asked and connection.user is user:
                first = connection.log[0][0] if connection.log else connection.seq
                if first <= number <= connection.seq:
                    return connection, number
                self.connections.remove(connection)
                break
        connection = Connection(user)
        self.connections.append(connection)
        hello = {"server_version": f"{self.config['Version']}.x", "connection_id": connection.id}
        connection.put("hello", hello, {"user_id": user.id, "channel_id": "", "team_id": ""})
        return connection, 0

    async def _write(self, socket: web.WebSocketResponse, connection: Connection, start: int) -> None:
        connection.close = socket
        with contextlib.suppress(ConnectionError):
            while True:
                connection.news.clear()
                for number, frame in list(connection.log):
                    if number >= start:
                        await socket.send_str(frame)
                        start = number + 1
                await connection.news.wait()

    async def _act(self, socket: web.WebSocketResponse, connection: Connection, action: Raw) -> None:
        if action["action"] == "user_typing":
            channel = self.channels[action["data"]["channel_id"]]
            if connection.user.id in channel.members:
                self.types(connection.user, channel)
        # What was said before goes out before the answer.
        await asyncio.sleep(0)
        if action["action"] == "ping":
            answer = {"status": "OK", "data": {"text": "pong"}, "seq_reply": action["seq"]}
            await socket.send_json(answer)

    def cut(self, *, forget: bool = False) -> None:
        """Break all websockets. ``forget``: as after a restart, no connection can go on."""
        for connection in self.connections:
            if connection.close is not None and (transport := connection.close._req.transport):
                transport.abort()
        if forget:
            self.connections.clear()

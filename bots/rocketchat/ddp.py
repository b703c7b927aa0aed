"""Rocket.Chat's live stream: DDP over a websocket (developer.rocket.chat/apidocs/realtimeapi), for subscriptions and
the typing notice alone; everything else goes by REST, as the vendor advises.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any

import msgspec
import structlog

from core.contract import AuthLost

if TYPE_CHECKING:
    import aiohttp

log = structlog.get_logger()

QUIET_S = 30.0
"""After so long without a frame we ask whether the server is there, and after as long again it is not."""
OPEN_S = 20.0
FRAME_BYTES = 8 * 1024 * 1024
FORGET_S = 60.0
"""A connection that lasted so long was a good one: the next failure is the first again."""

Frame = Mapping[str, Any]


class Ended(Exception):
    """The connection is over; the message says why."""


class LoginRefused(Ended):
    """The server does not accept the token."""


class Stream:
    """Keeps connected. ``login()`` gives user id and token; ``refused()`` says whether a new one can be had;
    ``ready(user)`` is awaited when the subscriptions to everything of our user stand; ``hear(collection, event, args)``
    for each notice, in order; ``gone(reason)`` when the connection is lost."""

    def __init__(
        self,
        session: aiohttp.ClientSession,
        url: str,
        pauses_s: tuple[float, float],
        login: Callable[[], Awaitable[tuple[str, str]]],
        refused: Callable[[], bool],
        ready: Callable[[str], Awaitable[None]],
        hear: Callable[[str, str, list[Any]], Awaitable[None]],
        gone: Callable[[str], None],
    ) -> None:
        self._session = session
        self._url = url
        self._pauses_s = pauses_s
        self._login = login
        self._refused = refused
        self._ready = ready
        self._hear = hear
        self._gone = gone
        self._socket: aiohttp.ClientWebSocketResponse | None = None
        self._rooms: dict[str, list[str]] = {}
        """Room → ids of its subscriptions on this connection."""
        self._ids = 0

    async def run(self) -> None:
        """Stay connected. Raises AuthLost when the login is lost for good, and what ``login`` and ``ready`` raise."""
        import aiohttp

        failures = 0
        loop = asyncio.get_running_loop()
        while True:
            began_s = loop.time()
            try:
                await self._connected()
            except LoginRefused as ended:
                if not self._refused():
                    raise AuthLost(f"Rocket.Chat does not accept the token: {ended}") from None
                reason = str(ended)
            except (Ended, aiohttp.ClientError, OSError, TimeoutError) as error:
                reason = f"the live stream broke: {error or type(error).__name__}"
            finally:
                self._socket = None
                self._rooms = {}
            failures = 1 if loop.time() - began_s > FORGET_S else failures + 1
            self._gone(reason)
            least_s, most_s = self._pauses_s
            spread = random.uniform(0.7, 1.0)  # noqa: S311 - spreads reconnects, keeps no secret
            await asyncio.sleep(min(most_s, least_s * 2.0 ** min(failures - 1, 12)) * spread)

    async def _connected(self) -> None:
        user, token = await self._login()
        async with self._session.ws_connect(self._url, max_msg_size=FRAME_BYTES, timeout=_closing()) as socket:
            held: list[Frame] = []
            async with asyncio.timeout(OPEN_S):
                await self._send(socket, msg="connect", version="1", support=["1"])
                await self._until(socket, held, lambda frame: frame.get("msg") == "connected")
                await self._method(socket, "login", [{"resume": token}], "login")
                answer = await self._until(socket, held, lambda frame: frame.get("id") == "login" and "msg" in frame)
                if error := answer.get("error"):
                    words = error.get("reason") or error.get("error") if isinstance(error, dict) else error
                    raise LoginRefused(str(words))
                wanted = {await self._subscribe(socket, "stream-room-messages", "__my_messages__")}
                for event in ("subscriptions-changed", "rooms-changed"):
                    wanted.add(await self._subscribe(socket, "stream-notify-user", f"{user}/{event}"))
                while wanted:
                    answer = await self._until(socket, held, lambda frame: frame.get("msg") in ("ready", "nosub"))
                    if answer.get("msg") == "nosub":
                        raise Ended("a subscription was refused")
                    wanted -= set(answer.get("subs") or ())
            self._socket = socket
            await self._ready(user)
            for frame in held:
                await self._take(socket, frame)
            while True:
                await self._take(socket, await self._next(socket))

    async def follow(self, room: str) -> None:
        """Hear of typing and deletions in a room, too."""
        if self._socket is not None and room not in self._rooms:
            self._rooms[room] = []
            for event in ("deleteMessage", "user-activity"):
                sub = await self._subscribe(self._socket, "stream-notify-room", f"{room}/{event}")
                self._rooms[room].append(sub)

    async def unfollow(self, room: str) -> None:
        """The room is none of ours any more."""
        for sub in self._rooms.pop(room, ()):
            if self._socket is not None:
                await self._send(self._socket, msg="unsub", id=sub)

    async def notify(self, method: str, params: list[Any]) -> None:
        """Call a method whose answer does not matter; lost where there is no connection."""
        import aiohttp

        if self._socket is not None:
            self._ids += 1
            try:
                await self._method(self._socket, method, params, f"m{self._ids}")
            except (aiohttp.ClientError, OSError) as error:
                log.debug("notice lost", error=str(error))

    # --- frames

    async def _send(self, socket: aiohttp.ClientWebSocketResponse, **frame: Any) -> None:
        await socket.send_str(msgspec.json.encode(frame).decode())

    async def _method(
        self, socket: aiohttp.ClientWebSocketResponse, method: str, params: list[Any], frame_id: str
    ) -> None:
        await self._send(socket, msg="method", method=method, id=frame_id, params=params)

    async def _subscribe(self, socket: aiohttp.ClientWebSocketResponse, name: str, event: str) -> str:
        self._ids += 1
        sub = f"s{self._ids}"
        options = {"useCollection": False, "args": []}
        await self._send(socket, msg="sub", id=sub, name=name, params=[event, options])
        return sub

    async def _next(self, socket: aiohttp.ClientWebSocketResponse) -> Frame:
        """The next frame that is no ping. Raises Ended."""
        import aiohttp

        asked = False
        while True:
            try:
                message = await socket.receive(timeout=QUIET_S)
            except TimeoutError:
                if asked:
                    raise Ended("the server is silent") from None
                asked = True
                await self._send(socket, msg="ping")
                continue
            if message.type is not aiohttp.WSMsgType.TEXT:
                raise Ended("the server closed it")
            asked = False
            try:
                frame = msgspec.json.decode(message.data)
            except msgspec.DecodeError:
                continue
            if isinstance(frame, dict) and frame.get("msg") == "ping":
                await self._send(socket, msg="pong", **({"id": frame["id"]} if "id" in frame else {}))
            elif isinstance(frame, dict) and frame.get("msg") == "failed":
                raise Ended("the server speaks another version of DDP")
            elif isinstance(frame, dict):
                return frame

    async def _until(
        self, socket: aiohttp.ClientWebSocketResponse, held: list[Frame], wanted: Callable[[Frame], bool]
    ) -> Frame:
        """The first frame that is ``wanted``; notices before it are ``held``."""
        while not wanted(frame := await self._next(socket)):
            if frame.get("msg") == "changed":
                held.append(frame)
        return frame

    async def _take(self, socket: aiohttp.ClientWebSocketResponse, frame: Frame) -> None:
        if frame.get("msg") == "changed":
            fields = frame.get("fields")
            if isinstance(fields, dict) and isinstance(fields.get("args"), list):
                await self._hear(str(frame.get("collection")), str(fields.get("eventName")), fields["args"])
        elif frame.get("msg") == "result" and frame.get("error"):
            log.debug("a method failed", error=str(frame["error"])[:200])
        elif frame.get("msg") == "nosub":
            log.info("a subscription ended", why=str(frame.get("error"))[:200])


def _closing() -> aiohttp.ClientWSTimeout:
    import aiohttp

    return aiohttp.ClientWSTimeout(ws_close=2.0)

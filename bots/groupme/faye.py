"""A small Bayeux client for GroupMe's push service: handshake, subscriptions, the connect loop, by websocket or, where
there is none to be had, by long polls (Bayeux 1.0 sections 4 and 7; GroupMe's notes on the WebSocket gateway).
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import msgspec
import structlog

from core.contract import AuthLost

if TYPE_CHECKING:
    import aiohttp

log = structlog.get_logger()

TRANSPORTS = ("websocket", "long-polling")
ADVISED_S = 30.0
"""How long the server holds a connect, where it does not say."""
GRACE_S = 15.0
HANDSHAKE_S = 15.0
FRAME_BYTES = 4 * 1024 * 1024
AT_ONCE = 50
"""Subscriptions in one frame."""
QUICK_S = 1.0
"""A server that sends us to the handshake so soon gets a pause."""
FORGET_S = 60.0
"""A connection that lasted so long was a good one: the next failure is the first again."""

Hear = Callable[[str, Mapping[str, Any]], Awaitable[None]]


class Ended(Exception):
    """The connection is over; the message says why. ``again``: the server itself wants a new handshake."""

    def __init__(self, reason: str, *, again: bool = False) -> None:
        super().__init__(reason)
        self.again = again


class Push:
    """Keeps subscribed. ``hear(channel, data)`` is awaited for each message, in order; ``ready()`` whenever the
    subscriptions stand anew: what was said in between has to be looked up. ``gone(reason)`` when they are lost."""

    def __init__(
        self,
        session: aiohttp.ClientSession,
        url: str,
        token: str,
        now_ms: Callable[[], int],
        pauses_s: tuple[float, float],
        hear: Hear,
        ready: Callable[[], Awaitable[None]],
        gone: Callable[[str], None],
    ) -> None:
        self._session = session
        self._url = url
        self._token = token
        self._now_ms = now_ms
        self._pauses_s = pauses_s
        self._hear = hear
        self._ready = ready
        self._gone = gone
        self._channels: dict[str, None] = {}
        self._main = ""
        self._client = ""
        self._ids = 0
        self._socket: aiohttp.ClientWebSocketResponse | None = None
        self._held_s = ADVISED_S
        self._pause_s = 0.0
        self._is_ready = False
        self._no_socket = False
        self._news: list[dict[str, Any]] = []
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self, main: str) -> None:
        """Stay subscribed to ``main`` and what :meth:`want` named. Raises AuthLost when the server refuses ``main``."""
        self._main = main
        failures = 0
        loop = asyncio.get_running_loop()
        while True:
            began_s, self._is_ready = loop.time(), False
            reason, again = await self._one_session()
            if again and (self._is_ready or self._no_socket):
                if loop.time() - began_s < QUICK_S:
                    await asyncio.sleep(self._pauses_s[0])
                continue
            failures = 1 if loop.time() - began_s > FORGET_S or self._is_ready else failures + 1
            self._gone(reason)
            least_s, most_s = self._pauses_s
            spread = random.uniform(0.7, 1.0)  # noqa: S311 - spreads reconnects, keeps no secret
            await asyncio.sleep(min(most_s, least_s * 2.0 ** min(failures - 1, 12)) * spread)

    async def _one_session(self) -> tuple[str, bool]:
        import aiohttp

        try:
            await self._handshake_and_listen()
        except Ended as ended:
            return str(ended), ended.again
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            return f"the push service is not reachable: {error or type(error).__name__}", False
        finally:
            self._client, self._socket = "", None
        return "the push service closed the connection", False

    def want(self, channels: Iterable[str]) -> None:
        """Subscribe to these, too: now where there is a connection, and after every handshake."""
        new = [channel for channel in channels if channel not in self._channels]
        self._channels |= dict.fromkeys(new)
        if self._client:
            self._news += self._subscriptions(new)
            self._wake()

    def forget(self, channel: str) -> None:
        """Do not subscribe to it any more after the next handshake."""
        self._channels.pop(channel, None)

    def publish(self, channel: str, data: Mapping[str, Any]) -> None:
        """Say something on a channel if there is a connection; lost otherwise."""
        if self._is_ready and self._client:
            self._news.append(self._signed(channel, data=dict(data)))
            self._wake()

    def _wake(self) -> None:
        task = asyncio.get_running_loop().create_task(self._send_news())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _send_news(self) -> None:
        import aiohttp

        news, self._news = self._news, []
        try:
            if self._socket is not None:
                await self._write(self._socket, news)
            elif news:
                await self._take(await self._post(news, GRACE_S))
        except (aiohttp.ClientError, OSError, TimeoutError, Ended) as error:
            log.debug("push message lost", error=str(error))

    # --- messages

    def _message(self, channel: str, **fields: Any) -> dict[str, Any]:
        self._ids += 1
        client = {"clientId": self._client} if self._client else {}
        return {"channel": channel, "id": str(self._ids), **client, **fields}

    def _signed(self, channel: str, **fields: Any) -> dict[str, Any]:
        ext = {"access_token": self._token, "timestamp": self._now_ms() // 1000}
        return self._message(channel, ext=ext, **fields)

    def _subscriptions(self, channels: Iterable[str]) -> list[dict[str, Any]]:
        return [self._signed("/meta/subscribe", subscription=channel) for channel in channels]

    def _connect(self, transport: str) -> dict[str, Any]:
        return self._message("/meta/connect", connectionType=transport)

    # --- one session

    async def _handshake_and_listen(self) -> None:
        asked = self._message("/meta/handshake", version="1.0", supportedConnectionTypes=list(TRANSPORTS))
        answers = await self._post([asked], HANDSHAKE_S)
        answer = next((found for found in answers if found.get("channel") == "/meta/handshake"), {})
        self._follow(answer.get("advice"))
        if answer.get("successful") is not True or not isinstance(answer.get("clientId"), str):
            raise Ended(f"the push service refuses the handshake: {answer.get('error') or 'no reason given'}")
        self._client = answer["clientId"]
        offered = answer.get("supportedConnectionTypes")
        if isinstance(offered, list) and "websocket" in offered and not self._no_socket:
            await self._by_socket()
        else:
            self._no_socket = False  # the next handshake tries the better way again
            await self._by_polls()

    async def _by_socket(self) -> None:
        import aiohttp

        url = "ws" + self._url.removeprefix("http")
        try:
            socket = await self._session.ws_connect(url, max_msg_size=FRAME_BYTES)
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            self._no_socket = True
            raise Ended(f"no websocket to the push service: {error}", again=True) from None
        async with socket:
            self._socket = socket
            await self._subscribe_all(lambda messages: self._write(socket, messages))
            await self._write(socket, [self._connect("websocket")])
            while True:
                frame = await socket.receive(timeout=self._held_s + GRACE_S)
                if frame.type not in (aiohttp.WSMsgType.TEXT, aiohttp.WSMsgType.BINARY):
                    raise Ended("the push service closed the connection")
                if await self._take(_decoded(frame.data)):
                    await asyncio.sleep(self._pause_s)
                    await self._write(socket, [self._connect("websocket")])

    async def _subscribe_all(self, send: Callable[[list[dict[str, Any]]], Awaitable[None]]) -> None:
        wanted = self._subscriptions([self._main, *self._channels])
        for start in range(0, len(wanted), AT_ONCE):
            await send(wanted[start : start + AT_ONCE])

    async def _by_polls(self) -> None:
        async def send(messages: list[dict[str, Any]]) -> None:
            await self._take(await self._post(messages, GRACE_S))

        await self._subscribe_all(send)
        while True:
            answers = await self._post([self._connect("long-polling")], self._held_s + GRACE_S)
            await self._take(answers)
            await asyncio.sleep(self._pause_s)

    async def _write(self, socket: aiohttp.ClientWebSocketResponse, messages: Sequence[dict[str, Any]]) -> None:
        if messages:
            await socket.send_str(msgspec.json.encode(messages).decode())

    async def _post(self, messages: Sequence[dict[str, Any]], patience_s: float) -> list[dict[str, Any]]:
        import aiohttp

        timeout = aiohttp.ClientTimeout(total=patience_s)
        async with self._session.post(
            self._url, json=list(messages), timeout=timeout, allow_redirects=False
        ) as response:
            if response.status != 200:
                raise Ended(f"the push service answers {response.status}")
            body = bytearray()
            async for chunk in response.content.iter_chunked(65_536):
                body += chunk
                if len(body) > FRAME_BYTES:
                    raise Ended("the push service sent too much at once")
            return _decoded(bytes(body))

    async def _take(self, messages: Sequence[dict[str, Any]]) -> bool:
        """Take messages in; was the connect among them answered?"""
        connected = False
        for message in messages:
            channel = message.get("channel")
            if channel == "/meta/connect":
                connected = True
                self._connected(message)
            elif channel == "/meta/subscribe":
                await self._subscribed(message)
            elif isinstance(channel, str) and isinstance(message.get("data"), dict):
                await self._hear(channel, message["data"])
        return connected

    def _connected(self, answer: Mapping[str, Any]) -> None:
        self._follow(answer.get("advice"))
        if answer.get("successful") is False:
            # 401: the server does not know the client any more; 402 and others: the same cure.
            raise Ended(f"the push service forgot us: {answer.get('error') or 'no reason given'}", again=True)

    async def _subscribed(self, answer: Mapping[str, Any]) -> None:
        ok, channel, error = answer.get("successful"), answer.get("subscription"), str(answer.get("error") or "")
        if not ok and channel == self._main:
            if error.startswith(("401", "402")) and "client" in error.lower():
                raise Ended(f"the push service forgot us: {error}", again=True)
            raise AuthLost(f"GroupMe's push service refuses the access token: {error or 'no reason given'}")
        if not ok:
            log.info("a group's own channel is not to be had", error=error)
        elif channel == self._main and not self._is_ready:
            self._is_ready = True
            await self._ready()

    def _follow(self, advice: object) -> None:
        if not isinstance(advice, dict):
            return
        timeout, interval, reconnect = advice.get("timeout"), advice.get("interval"), advice.get("reconnect")
        if isinstance(timeout, (int, float)) and timeout > 0:
            self._held_s = min(timeout / 1000, 600.0)
        if isinstance(interval, (int, float)) and interval >= 0:
            self._pause_s = min(interval / 1000, self._pauses_s[1])
        if reconnect == "handshake":
            raise Ended("the push service wants a new handshake", again=True)
        if reconnect == "none":
            raise Ended("the push service wants no connection now")


def _decoded(data: str | bytes) -> list[dict[str, Any]]:
    try:
        found = msgspec.json.decode(data) if data else []
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise Ended("the push service sent something that is no JSON") from None
    found = found if isinstance(found, list) else [found]
    return [message for message in found if isinstance(message, dict)]

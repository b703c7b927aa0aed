"""The gateway: a WebSocket that tells what happens (Events, Gateway).

An event counts as taken in only when the relay has it; a session is resumed from the last one that does.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Final

import msgspec
import structlog

from bots.discord.api import Api
from bots.discord.config import DiscordConfig
from core.contract import AdapterError, AuthLost, Rejected, Retry
from core.store import StoreDown

if TYPE_CHECKING:
    import aiohttp

log = structlog.get_logger()

Json = dict[str, Any]
INTENTS: Final = sum(1 << bit for bit in (0, 3, 9, 10, 11, 12, 13, 14, 15))
"""Servers; their emoji, messages, reactions, typing; the same of direct messages; message content."""
LEAVE: Final = 4000
"""A close code that lets the session be resumed (1000 and 1001 end it)."""
HELLO_S: Final = 20.0
MOST_BYTES: Final = 64 * 1024 * 1024
RETRY_MIN_S: Final = 0.5
RETRY_MAX_S: Final = 60.0
HOPELESS_S: Final = 300.0
STORE_RETRY_S: Final = 0.3
TRIES: Final = 5
"""Of an event for which something has to be asked."""
_NEW_SESSION: Final = (4007, 4009)
_CONTENT: Final = (
    "Discord does not let the bot read messages. At discord.com/developers/applications, the application, Bot, switch "
    "on Message Content Intent, and save."
)
_HOPELESS: Final = {
    4010: "Discord refuses the connection (invalid shard).",
    4011: "The bot is in too many servers for one connection (Discord requires sharding).",
    4012: "Discord no longer speaks this version of its gateway. Update bridgebot.",
    4013: "Discord refuses the connection (invalid intents).",
    4014: _CONTENT,
}


class Gateway:
    """One connection at a time, until it is cancelled. ``take_in(name, data, mark)`` takes an event; ``mark`` is the
    same when it comes again."""

    def __init__(self, config: DiscordConfig, api: Api, take_in: Callable[[str, Json, str], Awaitable[None]]) -> None:
        self._config = config
        self._api = api
        self._take_in = take_in
        self._session_id = ""
        self._mark = ""
        self._resume_url = ""
        self._taken = 0
        """Sequence number of the last event that the relay has."""
        self._seen = 0
        self._acked = True
        self._failures = 0
        self._tried = self._tries = 0
        self.lost = ""
        """Why nothing can be posted any more."""

    async def run(self, offline: Callable[[str], None]) -> None:
        """Connect, and again."""
        while True:
            try:
                await self._connect()
                pause_s = self._pause_s()
                offline("Discord has closed the connection")
            except StoreDown:
                pause_s = STORE_RETRY_S
                offline("the store is down")
            except (AuthLost, Rejected) as error:
                self.lost = str(error) if isinstance(error, AuthLost) else ""
                pause_s = HOPELESS_S
                self._forget()
                offline(str(error))
            except AdapterError as error:
                pause_s = max(self._pause_s(), error.after_s if isinstance(error, Retry) else 0.0)
                offline(str(error))
            except OSError:
                pause_s = self._pause_s()
                offline("Discord cannot be reached")
            except Exception as error:  # noqa: BLE001 - an account must not be gone for good, whatever it was
                log.error("discord connects again", error=type(error).__name__)
                pause_s = self._pause_s()
                offline(f"the connection to Discord broke ({type(error).__name__})")
            await asyncio.sleep(pause_s)

    def _pause_s(self) -> float:
        pause_s = min(RETRY_MIN_S * 2.0**self._failures, RETRY_MAX_S) * random.uniform(0.5, 1.0)  # noqa: S311
        self._failures = min(self._failures + 1, 10)
        return pause_s

    def _forget(self) -> None:
        self._session_id, self._resume_url = "", ""
        self._taken = self._seen = 0

    async def _url(self) -> str:
        url = self._resume_url if self._session_id else ""
        if not (url := url or self._config.gateway_url):
            found = await self._api.call("GET", "/gateway/bot")
            url = str(found["url"])
            starts = found.get("session_start_limit") or {}
            if not self._session_id and starts.get("remaining") == 0:
                raise Retry(starts.get("reset_after", 0) / 1000, "Discord allows no more connections today")
        return f"{url.rstrip('/')}/?v=10&encoding=json"

    async def _connect(self) -> None:
        url = await self._url()
        async with self._api.session().ws_connect(url, max_msg_size=MOST_BYTES, autoclose=False) as socket:
            beats: asyncio.Task[None] | None = None
            try:
                hello = await _read(socket, HELLO_S)
                if hello is None or hello.get("op") != 10:
                    return
                self._acked = True
                beats = asyncio.create_task(self._beat(socket, hello["d"]["heartbeat_interval"] / 1000))
                await self._introduce(socket)
                while (payload := await _read(socket)) is not None:
                    if not await self._payload(socket, payload):
                        await socket.close(code=LEAVE)
                        return
                self._closed(socket.close_code or 0)
            finally:
                if beats:
                    beats.cancel()
                await socket.close(code=LEAVE)

    async def _beat(self, socket: aiohttp.ClientWebSocketResponse, interval_s: float) -> None:
        # The first one is spread out, so that all the clients of a fallen server do not return as one.
        await asyncio.sleep(interval_s * random.random())  # noqa: S311
        while not socket.closed:
            if not self._acked:
                await socket.close(code=LEAVE)
                return
            self._acked = False
            try:
                await _write(socket, 1, self._seen or None)
            except ConnectionError:
                return
            await asyncio.sleep(interval_s)

    async def _introduce(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        if self._session_id:
            resume = {"token": self._config.token, "session_id": self._session_id, "seq": self._taken}
            await _write(socket, 6, resume)
            return
        who = {"os": "linux", "browser": "bridgebot", "device": "bridgebot"}
        identity = {"token": self._config.token, "intents": INTENTS, "properties": who, "large_threshold": 50}
        await _write(socket, 2, identity)

    async def _payload(self, socket: aiohttp.ClientWebSocketResponse, payload: Json) -> bool:
        """Take one payload; False where the connection is to be made anew."""
        op, data = payload.get("op"), payload.get("d")
        if op == 0:
            await self._event(str(payload["t"]), data, int(payload["s"]))
        elif op == 1:
            await _write(socket, 1, self._seen or None)
        elif op == 11:
            self._acked = True
        elif op == 7:
            return False
        elif op == 9:
            if data is not True:
                self._forget()
            self._failures = max(self._failures, 1)
            return False
        return True

    async def _event(self, name: str, data: Any, number: int) -> None:
        self._seen = number
        if name == "READY":
            self._session_id, self._resume_url = str(data["session_id"]), str(data.get("resume_gateway_url") or "")
            # The session's id could be used together with the token: what leads back to it goes nowhere.
            self._mark = f"{random.getrandbits(48):x}"
        if name in ("READY", "RESUMED"):
            self._failures = 0
            self.lost = ""
        try:
            await self._take_in(name, data if isinstance(data, dict) else {}, f"{self._mark}:{number}")
        except AdapterError as error:
            self._tries = self._tries + 1 if number == self._tried else 1
            self._tried = number
            if self._tries < TRIES:
                raise
            log.warning("an event of discord is left out", event_name=name, error=str(error))
        self._taken = number

    def _closed(self, code: int) -> None:
        if code == 4004:
            raise AuthLost("Discord does not take the bot's token. Make a new one: Bot, Reset Token.")
        if code in _HOPELESS:
            raise Rejected(_HOPELESS[code])
        if code in _NEW_SESSION:
            self._forget()


async def _read(socket: aiohttp.ClientWebSocketResponse, timeout_s: float | None = None) -> Json | None:
    """The next payload; None when the connection is at its end."""
    import aiohttp

    try:
        async with asyncio.timeout(timeout_s):
            message = await socket.receive()
    except TimeoutError:
        return None
    if message.type not in (aiohttp.WSMsgType.TEXT, aiohttp.WSMsgType.BINARY):
        return None
    payload = msgspec.json.decode(message.data)
    return payload if isinstance(payload, dict) else {}


async def _write(socket: aiohttp.ClientWebSocketResponse, op: int, data: Any) -> None:
    await socket.send_str(msgspec.json.encode({"op": op, "d": data}).decode())

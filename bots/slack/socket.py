"""Socket Mode: we call Slack, and it tells us through a web socket (docs.slack.dev/apis/events-api/using-socket-mode).

An envelope is acknowledged only when what it holds is durable; Slack tells what is not acknowledged once more.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

import msgspec
import structlog

from bots.slack.api import OFFLINE_S, Api, Refused
from bots.slack.intake import Intake
from core.contract import AdapterError, AuthLost, Emit, Retry
from core.store import TRANSIENT, StoreDown

if TYPE_CHECKING:
    import aiohttp

log = structlog.get_logger()
HEARTBEAT_S: Final = 20.0
HELLO_S: Final = 20.0
MAX_FRAME_BYTES: Final = 4 * 1024 * 1024


class Socket:
    """One connection after the other."""

    def __init__(self, api: Api, app_token: str, intake: Intake, emit: Emit, now_ms: Callable[[], int]) -> None:
        self._api = api
        self._token = app_token
        self._intake = intake
        self._emit = emit
        self._now_ms = now_ms

    async def hold(self) -> None:
        """Connect, and take envelopes until Slack ends the connection. Raises any AdapterError."""
        import aiohttp

        url = await self._address()
        try:
            async with self._api.session.ws_connect(
                url, heartbeat=HEARTBEAT_S, max_msg_size=MAX_FRAME_BYTES, timeout=aiohttp.ClientWSTimeout(ws_close=2.0)
            ) as socket:
                async with asyncio.timeout(HELLO_S):
                    frame = await self._next(socket)
                if frame is None or frame.get("type") != "hello":
                    raise Retry(OFFLINE_S, "Slack does not greet us")
                # What was said since the last connection is read from history now.
                self._emit.online()
                while (frame := await self._next(socket)) is not None:
                    if frame.get("type") == "disconnect":
                        log.debug("slack asks to connect anew", reason=frame.get("reason"))
                        return
                    await self._take(socket, frame)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise Retry(OFFLINE_S, f"the connection to Slack broke ({type(error).__name__})") from None

    async def _address(self) -> str:
        try:
            url = str((await self._api.ask("apps.connections.open", token=self._token)).get("url") or "")
        except (AuthLost, Refused) as error:
            raise AuthLost(
                f"Slack does not take the app-level token ({error}). It needs connections:write, and Socket Mode must "
                "be on: Basic Information, App-Level Tokens."
            ) from None
        if not url.startswith("wss://" if self._api.is_secure else "ws"):
            raise Retry(OFFLINE_S, "Slack names no web socket")
        return url

    async def _next(self, socket: aiohttp.ClientWebSocketResponse) -> dict[str, Any] | None:
        """The next frame that makes sense; None when the connection ends."""
        import aiohttp

        while True:
            message = await socket.receive()
            if message.type in (aiohttp.WSMsgType.CLOSE, aiohttp.WSMsgType.CLOSED, aiohttp.WSMsgType.CLOSING):
                return None
            if message.type is aiohttp.WSMsgType.ERROR:
                raise Retry(OFFLINE_S, "the connection to Slack broke")
            if message.type is not aiohttp.WSMsgType.TEXT:
                continue
            try:
                frame = msgspec.json.decode(message.data)
            except (msgspec.DecodeError, RecursionError):
                log.warning("slack sent a frame that cannot be read")
                continue
            if isinstance(frame, dict):
                return frame

    async def _take(self, socket: aiohttp.ClientWebSocketResponse, frame: dict[str, Any]) -> None:
        envelope, payload = frame.get("envelope_id"), frame.get("payload")
        if not isinstance(envelope, str) or not isinstance(payload, dict):
            return
        answer: dict[str, Any] = {"envelope_id": envelope}
        try:
            words = await self._events(str(frame.get("type")), payload)
            await self._emit.accepted()
        except (StoreDown, *TRANSIENT, AdapterError) as error:
            log.warning("an envelope is not acknowledged", error=str(error))
            return
        except (KeyError, TypeError, ValueError, AttributeError):
            # Slack has many kinds of events; one that cannot be read must not come again for ever.
            log.exception("an event cannot be read")
            words = ""
        if words:
            answer["payload"] = {"response_type": "ephemeral", "text": words}
        await socket.send_str(msgspec.json.encode(answer).decode())

    async def _events(self, kind: str, payload: dict[str, Any]) -> str:
        """Emit what an envelope holds; words for the one who typed a command."""
        words = ""
        if kind == "events_api" and isinstance(payload.get("event"), dict) and await self._intake.for_us(payload):
            for event in await self._intake.events(payload["event"]):
                self._emit(event)
        elif kind == "slash_commands" and await self._intake.for_us(payload):
            found, words = await self._intake.command(payload, self._now_ms())
            for event in found:
                self._emit(event)
        return words

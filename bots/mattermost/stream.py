"""The websocket: what the server tells as it happens.

Events are numbered. After a broken connection the server is asked to go on with the same ``connection_id`` where we
were (it keeps the last 128 events of a connection for some minutes); where it cannot, it greets anew, and what was
missed is read from history.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any, Final

import msgspec
import structlog

from bots.mattermost.api import Api
from bots.mattermost.receive import Frame
from core.contract import Offline

if TYPE_CHECKING:
    import aiohttp

log = structlog.get_logger()

FRAME_MAX_BYTES: Final = 16 * 1024 * 1024
HELLO_S: Final = 15.0


class _Numbered(msgspec.Struct):
    seq: int


class Lost(Offline):
    """The connection is gone, or something was missed on it: connect again."""

    def __init__(self, reason: str) -> None:
        super().__init__(1.0, reason)


class Stream:
    """One account's websocket."""

    def __init__(self, api: Api, ping_s: float) -> None:
        self._api = api
        self._ping_s = ping_s
        self._socket: aiohttp.ClientWebSocketResponse | None = None
        self._connection = ""
        self._next = 0
        self._sent = 0
        self._early: list[Frame] = []

    def place(self, frame: Frame) -> str:
        """An id of an event, the same when it is sent again."""
        return f"{self._connection}:{frame.seq}"

    async def connect(self) -> bool:
        """Connect; True where the server goes on where we were. Raises Lost."""
        import aiohttp

        params = {"connection_id": self._connection, "sequence_number": str(self._next)} if self._connection else {}
        try:
            async with asyncio.timeout(HELLO_S):
                self._socket = await self._api.session().ws_connect(
                    self._api.url("websocket"),
                    params=params,
                    headers=self._api.headers(),
                    heartbeat=self._ping_s,
                    max_msg_size=FRAME_MAX_BYTES,
                )
                return await self._greeting()
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            await self.close()
            raise Lost(f"the server's websocket cannot be reached ({type(error).__name__})") from None
        except Lost:
            await self.close()
            raise

    async def _greeting(self) -> bool:
        """Wait for ``hello`` (a new connection) or for the answer to our ping (the old one goes on)."""
        # Where a proxy takes the header away, the token in the first frame is what signs in.
        await self.act("authentication_challenge", {"token": self._api.token})
        asked = await self.act("ping", {})
        self._early.clear()
        while True:
            frame = await self._read()
            if frame.event == "hello":
                self._early.clear()
                self._greeted(frame)
                return False
            if frame.event:
                self._early.append(frame)
            elif frame.seq_reply == asked:
                if frame.status != "OK" or not self._connection:
                    raise Lost("the server does not greet")
                return True

    def _greeted(self, frame: Frame) -> None:
        self._connection = frame.text("connection_id")
        self._next = frame.seq + 1

    async def act(self, action: str, data: dict[str, Any]) -> int:
        """Ask the server for something; the number of the request. Raises Lost."""
        if self._socket is None or self._socket.closed:
            raise Lost("the websocket is not connected")
        self._sent += 1
        body = {"seq": self._sent, "action": action, "data": data}
        try:
            await self._socket.send_str(msgspec.json.encode(body).decode())
        except ConnectionError:
            raise Lost("the websocket broke") from None
        return self._sent

    async def _read(self) -> Frame:
        import aiohttp

        assert self._socket is not None  # noqa: S101 - connect() made it
        message = await self._socket.receive()
        if message.type is not aiohttp.WSMsgType.TEXT:
            raise Lost("the server closed the websocket")
        try:
            return msgspec.json.decode(message.data, type=Frame)
        except msgspec.DecodeError as error:
            log.warning("a frame of the websocket cannot be read", error=str(error))
        try:
            # It counts, or else it would be asked for again and again.
            return Frame("unreadable", seq=msgspec.json.decode(message.data, type=_Numbered).seq)
        except msgspec.DecodeError:
            raise self._forget("the server says what cannot be read") from None

    async def frames(self) -> AsyncIterator[Frame]:
        """Events, each once and in order. The next is asked for only when the last is taken in. Raises Lost."""
        while True:
            frame = self._early.pop(0) if self._early else await self._read()
            if frame.event == "hello":
                raise self._forget("the server began anew")
            if not frame.event or frame.seq < self._next:
                continue
            if frame.seq > self._next:
                raise Lost("an event was missed on the websocket")
            yield frame
            self._next = frame.seq + 1

    def _forget(self, reason: str) -> Lost:
        self._connection = ""
        return Lost(reason)

    async def close(self) -> None:
        """Disconnect; the place is kept."""
        if self._socket is not None:
            await self._socket.close()
            self._socket = None

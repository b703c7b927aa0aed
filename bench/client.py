"""An IRC client that costs next to nothing per line: what it reads goes on in chunks, as it came."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from time import perf_counter_ns
from types import TracebackType
from typing import Self, cast

RECONNECT_S = 0.02
READY_TIMEOUT_S = 60.0
JOIN_AT_ONCE = 10
WRITE_HIGH_BYTES = 256 * 1024

OnChunk = Callable[[bytes, int], None]
"""Takes whole lines, and when they came (``perf_counter_ns``)."""


class ClientTrouble(RuntimeError):
    """The harness's own client did not get in; the message has what the server said last."""


class Client(asyncio.Protocol):
    """Somebody who is in ``channels``, and comes back there whenever the connection breaks."""

    def __init__(self, port: int, nick: str, channels: list[str]) -> None:
        self._port, self._nick, self._channels = port, nick, channels
        self._transport: asyncio.Transport | None = None
        self._rest = b""
        self._joined = 0
        self._trouble = ""
        self._lost = asyncio.Event()
        self._may_write = asyncio.Event()
        self.ready = asyncio.Event()
        """In all channels."""
        self.listeners: list[OnChunk] = []

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._stay_connected())
        try:
            await self.until_ready()
        except BaseException:
            await self._leave()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._leave()

    async def until_ready(self) -> None:
        """Wait until the client is in all its channels. Raises ClientTrouble."""
        try:
            async with asyncio.timeout(READY_TIMEOUT_S):
                await self.ready.wait()
        except TimeoutError:
            raise ClientTrouble(f"{self._nick} did not get into its channels. {self._trouble}") from None

    def send(self, data: bytes) -> None:
        """Send whole lines. What is sent while there is no connection is gone, as with any client."""
        if self._transport is not None:
            self._transport.write(data)

    async def drained(self) -> None:
        """Wait while the server takes no more."""
        await self._may_write.wait()

    # --- asyncio.Protocol ---

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Sign in."""
        self._transport = cast("asyncio.Transport", transport)
        self._transport.set_write_buffer_limits(high=WRITE_HIGH_BYTES)
        self._rest, self._joined = b"", 0
        self._may_write.set()
        self.send(f"NICK {self._nick}\r\nUSER bench 0 * :bench\r\n".encode())

    def connection_lost(self, error: Exception | None) -> None:
        """Come back soon."""
        self._transport = None
        self.ready.clear()
        self._may_write.set()
        self._lost.set()

    def pause_writing(self) -> None:
        """The server is slower than we are."""
        self._may_write.clear()

    def resume_writing(self) -> None:
        """The server has caught up."""
        self._may_write.set()

    def data_received(self, data: bytes) -> None:
        """Pass on whole lines; look into them only while signing in, or when the server asks something."""
        now_ns = perf_counter_ns()
        data = self._rest + data
        end = data.rfind(b"\n") + 1
        self._rest = data[end:]
        chunk = data[:end]
        if not self.ready.is_set() or b"PING" in chunk:
            for line in chunk.splitlines():
                self._serve(line)
        for listener in self.listeners:
            listener(chunk, now_ns)

    def _serve(self, line: bytes) -> None:
        if line.startswith(b"PING"):
            self.send(b"PONG" + line[4:] + b"\r\n")
            return
        numeric = line.split(b" ", 2)[1:2]
        if numeric == [b"001"]:
            for start in range(0, len(self._channels), JOIN_AT_ONCE):
                self.send(f"JOIN {','.join(self._channels[start : start + JOIN_AT_ONCE])}\r\n".encode())
            if not self._channels:
                self.ready.set()
        elif numeric == [b"366"]:
            self._joined += 1
            if self._joined == len(self._channels):
                self.ready.set()
        elif numeric and numeric[0][:1] in b"45" and numeric[0].isdigit() and numeric != [b"422"]:
            self._trouble = line.decode(errors="replace")

    async def _stay_connected(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            self._lost.clear()
            try:
                await loop.create_connection(lambda: self, "127.0.0.1", self._port)
                await self._lost.wait()
            except OSError:
                pass
            await asyncio.sleep(RECONNECT_S)

    async def _leave(self) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        if self._transport is not None:
            self._transport.abort()
            await self._lost.wait()

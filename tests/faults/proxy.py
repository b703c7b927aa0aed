"""A TCP proxy in front of the store's socket that can cut, delay and swallow what passes."""

from __future__ import annotations

import asyncio
from pathlib import Path
from types import TracebackType
from typing import Self


class Proxy:
    """Listens on a free port of 127.0.0.1 and passes everything to and from a Unix socket."""

    def __init__(self, target: Path) -> None:
        self._target = target
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._ways: set[asyncio.Task[None]] = set()
        self._open = asyncio.Event()
        self._open.set()
        self.cuts = 0
        """So many of the next answers are swallowed, and their connections closed."""
        self.cuts_before = 0
        """So many of the next requests are swallowed, and their connections closed."""
        self.slice_bytes = 65_536
        self.latency_s = 0.0

    @property
    def url(self) -> str:
        """What ``core.store.open_store`` takes."""
        assert self._server
        return f"redis://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    def blackhole(self, on: bool) -> None:
        """Swallow nothing, pass nothing: connections stay open and silent."""
        self._open.clear() if on else self._open.set()

    def drop(self) -> None:
        """Close all connections; what they hold back is gone."""
        for way in self._ways:
            way.cancel()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._connect, "127.0.0.1", 0)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._server
        self._server.close()
        self.drop()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task
        self._tasks.add(task)
        try:
            there_reader, there_writer = await asyncio.open_unix_connection(self._target)
        except OSError:
            writer.close()
            self._tasks.discard(task)
            return
        ways = [
            asyncio.create_task(self._pass(reader, there_writer)),
            asyncio.create_task(self._pass(there_reader, writer, answers=True)),
        ]
        self._ways.update(ways)
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._tasks.discard(task)
            self._ways.difference_update(ways)
            for way in ways:
                way.cancel()
            for end in (writer, there_writer):
                end.close()
            await asyncio.gather(*ways, writer.wait_closed(), there_writer.wait_closed(), return_exceptions=True)

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, answers: bool = False) -> None:
        while data := await reader.read(self.slice_bytes):
            if answers and self.cuts:
                self.cuts -= 1
                return
            if not answers and self.cuts_before:
                self.cuts_before -= 1
                return
            if self.latency_s:
                await asyncio.sleep(self.latency_s)
            await self._open.wait()
            writer.write(data)
            await writer.drain()

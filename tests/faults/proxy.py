"""A TCP proxy in front of the store's socket that can cut, delay and swallow what passes."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path
from types import TracebackType
from typing import Self


class Proxy:
    """Listens on a free port of 127.0.0.1 and passes everything to and from a Unix socket."""

    def __init__(self, target: Path) -> None:
        self._target = target
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._open = asyncio.Event()
        self._open.set()
        self.cuts = 0
        """So many of the next answers are swallowed, and their connections closed."""
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

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._connect, "127.0.0.1", 0)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._server
        self._server.close()
        for task in self._tasks:
            task.cancel()
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
        try:
            done, rest = await asyncio.wait(
                [
                    asyncio.create_task(self._pass(reader, there_writer)),
                    asyncio.create_task(self._pass(there_reader, writer, answers=True)),
                ],
                return_when=asyncio.FIRST_COMPLETED,
            )
            for other in rest:
                other.cancel()
            await asyncio.gather(*done, *rest, return_exceptions=True)
        finally:
            self._tasks.discard(task)
            for end in (writer, there_writer):
                end.close()
                with contextlib.suppress(OSError):
                    await end.wait_closed()

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, answers: bool = False) -> None:
        while data := await reader.read(self.slice_bytes):
            if answers and self.cuts:
                self.cuts -= 1
                return
            if self.latency_s:
                await asyncio.sleep(self.latency_s)
            await self._open.wait()
            writer.write(data)
            await writer.drain()

"""One connection to the store for scripts, shared by everybody in the process: answers come in the order of questions.

redis-py opens it (addresses, TLS, passwords, Sentinel), then we speak on its transport ourselves. Its own way of
sending one command, a pool with locks and timeouts and two stream layers, costs ten times as much as this (ADR 8).
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Any

import hiredis
from redis.exceptions import ConnectionError, ReadOnlyError, ResponseError


class Lane(asyncio.Protocol):
    """Sends commands without waiting for the answers to earlier ones. Never send one that blocks."""

    def __init__(self, pool: Any) -> None:
        self._pool = pool
        self._waiting: deque[asyncio.Future[Any]] = deque()
        self._transport: asyncio.Transport | None = None
        self._connection: Any = None
        self._streams: Any = None
        self._reader = hiredis.Reader()
        self._connecting = asyncio.Lock()
        self._loop: asyncio.AbstractEventLoop = None  # type: ignore[assignment]  # set with the transport

    async def __call__(self, *args: str | bytes | int | float) -> Any:
        """Send a command, return its answer. Raises what the store raises; nothing is retried."""
        if self._transport is None:
            await self._connect()
        answer = self._loop.create_future()
        self._waiting.append(answer)
        assert self._transport is not None  # noqa: S101 - _connect has just set it
        self._transport.write(hiredis.pack_command(args))  # type: ignore[arg-type]
        return await answer

    async def _connect(self) -> None:
        async with self._connecting:
            if self._transport is not None:
                return
            connection = await self._pool.get_connection()
            try:
                await connection.connect()
                transport = connection._writer.transport
                parser = connection._parser
            except BaseException:
                await self._pool.release(connection)
                raise
            self._reader = hiredis.Reader(protocolError=ConnectionError, replyError=parser.parse_error)
            self._connection, self._streams = connection, transport.get_protocol()
            self._loop = asyncio.get_running_loop()
            transport.set_protocol(self)
            self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Answers, in the order of the questions."""
        self._reader.feed(data)
        waiting = self._waiting
        while (answer := self._reader.gets()) is not False:
            future = waiting.popleft()
            if isinstance(answer, ResponseError | ConnectionError):
                if isinstance(answer, ReadOnlyError) and self._transport:
                    self._transport.abort()  # the master is another one now
                if not future.done():
                    future.set_exception(answer)
            elif not future.done():
                future.set_result(answer)

    def connection_lost(self, exc: Exception | None) -> None:
        """Nobody knows what became of what was asked."""
        self._transport = None
        waiting, self._waiting = self._waiting, deque()
        for future in waiting:
            if not future.done():
                future.set_exception(ConnectionError("the connection to the store was lost"))
        streams, connection = self._streams, self._connection
        self._streams = self._connection = None
        if streams is not None:
            streams.connection_lost(exc)
        if connection is not None:
            task = asyncio.get_running_loop().create_task(self._give_back(connection))
            task.add_done_callback(_forget)

    async def _give_back(self, connection: Any) -> None:
        await connection.disconnect(nowait=True)
        await self._pool.release(connection)

    def pause_writing(self) -> None:
        """What is asked is small and answered at once: nothing to hold back."""

    def resume_writing(self) -> None:
        """See pause_writing."""


def _forget(task: asyncio.Task[None]) -> None:
    if not task.cancelled():
        task.exception()

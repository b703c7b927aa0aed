"""What a service posts to us is read whole, or not at all."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
import pytest
from aiohttp import web

from core import webhooks
from core.webhooks import whole_body

MOST = 1_000


@asynccontextmanager
async def reader() -> AsyncIterator[tuple[str, list[bytes | None]]]:
    """A server that reads what is posted to it; its address, and what it read."""
    read: list[bytes | None] = []

    async def handle(request: web.Request) -> web.Response:
        read.append(await whole_body(request, MOST))
        return web.Response()

    app = web.Application()
    app.router.add_post("/", handle)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/", read
    finally:
        await runner.cleanup()


async def in_pieces(piece: bytes, times: int) -> AsyncIterator[bytes]:
    """A body that does not say how long it is."""
    for _ in range(times):
        yield piece


async def test_a_body_is_read_as_it_was_sent() -> None:
    """Up to the limit every byte arrives, whether or not the length was told before."""
    async with reader() as (url, read), aiohttp.ClientSession() as http:
        for body in (b"", b"\xff\x00 {", b"x" * MOST):
            await http.post(url, data=body)
        await http.post(url, data=in_pieces(b"ab", MOST // 2))
        assert read == [b"", b"\xff\x00 {", b"x" * MOST, b"ab" * (MOST // 2)]


async def test_a_body_that_is_too_large_is_none() -> None:
    """One byte more than the limit is refused, told before or not."""
    async with reader() as (url, read), aiohttp.ClientSession() as http:
        await http.post(url, data=b"x" * (MOST + 1))
        await http.post(url, data=in_pieces(b"ab", MOST // 2 + 1))
        assert read == [None, None]


async def test_a_body_that_does_not_end_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever stops in the middle holds the handler only for so long."""
    monkeypatch.setattr(webhooks, "PATIENCE_S", 0.05)
    answered = asyncio.Event()

    async def stalls() -> AsyncIterator[bytes]:
        yield b"begins"
        await answered.wait()

    async with reader() as (url, read), aiohttp.ClientSession() as http:
        answer = await http.post(url, data=stalls())
        answered.set()
        answer.close()
        assert read == [None]

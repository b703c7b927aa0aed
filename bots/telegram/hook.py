"""The webhook: a call of Telegram's is checked, put into the store, and only then answered with 200. The started
adapter reads it there, so it works in any process, and nothing is lost when no adapter runs.
"""

from __future__ import annotations

import asyncio
from secrets import compare_digest
from typing import TYPE_CHECKING, Final

import msgspec
from aiohttp import web
from redis.exceptions import RedisError

from bots.telegram.config import TelegramConfig
from bots.telegram.sources import stream_key, update_id
from core.contract import Route, Services
from core.webhooks import whole_body

if TYPE_CHECKING:
    from collections.abc import Sequence

SECRET_HEADER: Final = "X-Telegram-Bot-Api-Secret-Token"  # noqa: S105 - a header's name
BODY_MAX_BYTES: Final = 1024 * 1024
WAITING_MAX: Final = 10_000
"""Updates that nobody has read yet above which Telegram is told to come again."""
STORE_S: Final = 0.9
"""How long the store may take: services give up on a webhook that is slow."""


class Hook:
    """The route of one account."""

    def __init__(self, config: TelegramConfig, services: Services) -> None:
        self._config = config
        self._store = services.store
        self._key = stream_key(services)

    def routes(self) -> Sequence[Route]:
        """None without secrets: then nobody could tell Telegram's calls from others."""
        config = self._config
        if not (config.webhook and config.webhook_path and config.webhook_secret):
            return ()
        return (Route("POST", "hook/{path}", self.take),)

    async def take(self, request: web.Request) -> web.Response:
        """Take one update in."""
        if not _same(request.match_info["path"], self._config.webhook_path):
            return web.Response(status=404)
        if not _same(request.headers.get(SECRET_HEADER, ""), self._config.webhook_secret):
            return web.Response(status=401)
        if request.headers.get("Content-Encoding", "identity").lower() != "identity":
            return web.Response(status=415)
        body = await whole_body(request, BODY_MAX_BYTES)
        if body is None:
            return web.Response(status=413)
        try:
            update = msgspec.json.decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return web.Response(status=400)
        if not isinstance(update, dict) or update_id(update) < 0:
            return web.Response(status=400)
        return web.Response(status=200 if await self._put(body) else 503)

    async def _put(self, body: bytes) -> bool:
        try:
            async with asyncio.timeout(STORE_S):
                if await self._store.xlen(self._key) >= WAITING_MAX:
                    return False
                await self._store.xadd(self._key, {"u": body})
        except (RedisError, OSError, TimeoutError):
            return False
        return True


def _same(given: str, secret: str) -> bool:
    return bool(secret) and compare_digest(given.encode("utf-8", "surrogateescape"), secret.encode())

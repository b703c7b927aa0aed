"""The callback of GroupMe's bots. GroupMe signs nothing (Bots tutorial), so a path of 256 bits is the proof of who
calls; where there is an access token, what has consequences is confirmed through the API besides.
"""

from __future__ import annotations

import asyncio
import hmac
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

import structlog

from bots.groupme.config import GroupMeConfig
from bots.groupme.payload import Malformed, Message, id_of, parse
from bots.groupme.receive import is_system
from core.command_language import looks_like_command
from core.contract import AdapterError, Emit
from core.store import TRANSIENT, StoreDown
from core.webhooks import whole_body

if TYPE_CHECKING:
    from aiohttp import web

log = structlog.get_logger()

BODY_BYTES = 128 * 1024


class Hearer(Protocol):
    """The account whose callbacks these are."""

    async def confirm(self, message: Message) -> bool:
        """Does GroupMe itself say so? Raises AdapterErrors."""

    async def events(self, message: Message) -> Sequence[Any]:
        """What a message means; nothing for our own. Raises Malformed and redis errors."""


class Callbacks:
    """Handlers for ``/bots/<account>/<secret>``. Callbacks of one group are taken one after the other."""

    def __init__(self, config: GroupMeConfig, prefix: str, groups: Sequence[str], hearer: Hearer, emit: Emit) -> None:
        self._paths = {group: config.path(group).encode() for group in groups}
        self._prefix = prefix
        self._hearer = hearer
        self._emit = emit
        self._locks = {group: asyncio.Lock() for group in groups}

    def _group(self, request: web.Request) -> str:
        """The group that the path belongs to; empty for no path of ours. Looks at all of them, whatever it is."""
        given = request.match_info.get("secret", "").encode("utf-8", "replace")
        found = ""
        for group, path in self._paths.items():
            if hmac.compare_digest(given, path):
                found = group
        return found

    async def look(self, request: web.Request) -> web.Response:
        """Somebody looks whether the address is right: GroupMe when a bot is made, or ``bridgebot doctor``."""
        from aiohttp import web

        return web.Response(status=200 if self._group(request) else 404)

    async def take(self, request: web.Request) -> web.Response:
        """A message of a group. 200 only when it is durable."""
        from aiohttp import web

        group = self._group(request)
        if not group:
            return web.Response(status=404)
        if request.headers.get("Content-Encoding", "identity").lower() != "identity":
            return web.Response(status=415)
        body = await whole_body(request, BODY_BYTES)
        if body is None:
            return web.Response(status=413)
        try:
            message = parse(body, Message)
        except Malformed:
            return web.Response(status=400)
        if not hmac.compare_digest(id_of(message.group_id).encode("utf-8", "replace"), group.encode()):
            log.warning("a callback names another group than its path", group=group)
            return web.Response(status=401)
        async with self._locks[group]:
            return web.Response(status=await self._hear(message))

    async def _hear(self, message: Message) -> int:
        try:
            if self._has_consequences(message) and not await self._hearer.confirm(message):
                log.warning("a callback that GroupMe does not confirm", group=id_of(message.group_id))
                return 401
            for event in await self._hearer.events(message):
                self._emit(event)
            await self._emit.accepted()
        except Malformed:
            return 400
        except (StoreDown, AdapterError, *TRANSIENT) as error:
            log.warning("a callback is not taken now", error=type(error).__name__)
            return 503
        return 200

    def _has_consequences(self, message: Message) -> bool:
        return is_system(message) or looks_like_command(message.text or "", self._prefix)

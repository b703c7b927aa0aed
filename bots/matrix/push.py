"""What the homeserver of an application service pushes to us (Application Service API, "Pushing events"), and the
pictures of Matrix members for other platforms.
"""

from __future__ import annotations

import asyncio
import hmac
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import msgspec
import structlog

from bots.matrix.desk import Desk
from bots.matrix.intake import Intake
from bots.matrix.receive import told
from core.contract import AdapterError, Emit, Route
from core.store import StoreDown
from core.webhooks import whole_body

if TYPE_CHECKING:
    from aiohttp import web

log = structlog.get_logger()

MOST_BYTES = 16 * 1024 * 1024
"""A transaction of Synapse has up to 100 events of up to 64 KiB each."""
CHUNK_BYTES = 65_536
TAKE_S = 20.0
AVATAR_BYTES = 4 * 1024 * 1024
AVATARS = frozenset({"image/png", "image/jpeg", "image/gif", "image/webp"})
EPHEMERAL = ("ephemeral", "de.sorunome.msc2409.ephemeral")


class Push:
    """The routes of one account."""

    def __init__(self, desk: Desk, intake: Intake, emit: Emit) -> None:
        self._desk = desk
        self._intake = intake
        self._emit = emit
        self._order = asyncio.Lock()

    def routes(self) -> Sequence[Route]:
        """An account that is no application service has nothing pushed to it."""
        avatar = Route("GET", "avatar/{server}/{media}/{seal}", self.avatar)
        if not self._desk.config.is_appservice:
            return (avatar,)
        return (
            avatar,
            Route("PUT", "_matrix/app/v1/transactions/{txn}", self.transaction),
            Route("POST", "_matrix/app/v1/ping", self.ping),
            Route("GET", "_matrix/app/v1/users/{user}", self.nobody),
            Route("GET", "_matrix/app/v1/rooms/{alias}", self.nobody),
        )

    def _is_homeserver(self, request: web.Request) -> bool:
        """Is there exactly one right ``Authorization: Bearer`` header?"""
        given = request.headers.getall("Authorization", [])
        wanted = f"Bearer {self._desk.config.hs_token}".encode()
        return len(given) == 1 and hmac.compare_digest(given[0].encode("utf-8", "surrogateescape"), wanted)

    async def transaction(self, request: web.Request) -> web.Response:
        """PUT …/transactions/{txnId}: some events. 200 when they are durable; at anything else they come again."""
        if not self._is_homeserver(request):
            return _answer(401, "M_FORBIDDEN", "this is not the hs_token of the registration file")
        raw = await whole_body(request, MOST_BYTES)
        if raw is None:
            return _answer(413, "M_TOO_LARGE", f"more than {MOST_BYTES} bytes")
        try:
            body = msgspec.json.decode(raw, type=dict[str, Any])
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return _answer(400, "M_NOT_JSON", "a JSON object is expected")
        events = body.get("events", [])
        if not isinstance(events, list):
            return _answer(400, "M_BAD_JSON", "events is a list")
        try:
            async with asyncio.timeout(TAKE_S):
                await self._take(request.match_info["txn"], raw, events, body)
        except (StoreDown, AdapterError, TimeoutError) as error:
            log.warning("matrix: transaction not taken in", account=self._desk.account, error=str(error))
            return _answer(503, "M_UNKNOWN", "try again")
        return _answer(200)

    async def _take(self, txn: str, raw: bytes, events: list[Any], body: dict[str, Any]) -> None:
        memory = self._desk.memory
        async with self._order:
            if await memory.had(txn, raw):
                return
            await self._intake.take(self._emit, [event for event in map(told, events) if event is not None])
            for name in EPHEMERAL:
                for event in body.get(name) or ():
                    await self._ephemeral(event)
            await memory.taken(txn, raw)

    async def _ephemeral(self, event: object) -> None:
        if isinstance(event, dict) and event.get("type") == "m.typing" and isinstance(event.get("content"), dict):
            room = str(event.get("room_id"))
            if room not in self._desk.memory.rooms:
                await self._desk.memory.read_rooms([room])
            await self._intake.typing(self._emit, room, event["content"].get("user_ids"))

    async def ping(self, request: web.Request) -> web.Response:
        """POST …/ping: the homeserver looks whether it reaches us."""
        return _answer(200) if self._is_homeserver(request) else _answer(401, "M_FORBIDDEN", "not the hs_token")

    async def nobody(self, request: web.Request) -> web.Response:
        """GET …/users and …/rooms: ghosts are made when their authors speak, not when somebody looks for them."""
        if not self._is_homeserver(request):
            return _answer(401, "M_FORBIDDEN", "not the hs_token")
        return _answer(404, "M_NOT_FOUND", "there is nobody of that name")

    async def avatar(self, request: web.Request) -> web.StreamResponse:
        """GET avatar/…: a member's picture, by an address that we made."""
        from aiohttp import web

        info = request.match_info
        place = f"{info['server']}/{info['media']}"
        seal = info["seal"].encode("utf-8", "replace")
        if not hmac.compare_digest(seal, self._desk.seal(place).encode()):
            return web.Response(status=404)
        try:
            picture, mime = await self._picture(info["server"], info["media"])
        except AdapterError:
            return web.Response(status=404)
        headers = {
            "Cache-Control": "public, max-age=604800, immutable",
            "X-Content-Type-Options": "nosniff",
            "Content-Security-Policy": "default-src 'none'; sandbox",
        }
        return web.Response(body=picture, content_type=mime, headers=headers)

    async def _picture(self, server: str, media: str) -> tuple[bytes, str]:
        from core.contract import Rejected

        async with self._desk.client.download(server, media) as response:
            if response.content_type not in AVATARS:
                raise Rejected("it is no picture")
            whole = bytearray()
            async for chunk in response.content.iter_chunked(CHUNK_BYTES):
                whole += chunk
                if len(whole) > AVATAR_BYTES:
                    raise Rejected("the picture is too large")
            return bytes(whole), response.content_type


def _answer(status: int, errcode: str = "", error: str = "") -> web.Response:
    from aiohttp import web

    return web.json_response({"errcode": errcode, "error": error} if errcode else {}, status=status)

"""Slack calls us: signatures are checked on the raw bytes, and an event is answered only when it is durable.

docs.slack.dev/authentication/verifying-requests-from-slack, docs.slack.dev/apis/events-api.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
from collections.abc import Sequence
from heapq import heappop, heappush
from typing import TYPE_CHECKING, Final
from urllib.parse import parse_qsl

import msgspec
import structlog
from aiohttp import web
from redis.exceptions import RedisError

from bots.slack.blocks import Json
from bots.slack.config import SlackConfig
from bots.slack.intake import Intake
from bots.slack.manifest import ENDED
from bots.slack.receive import at_us
from core.contract import AdapterError, Emit, Route, Services
from core.store import StoreDown
from core.webhooks import whole_body

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    Take = Callable[[bytes], Awaitable[web.Response]]

log = structlog.get_logger()
MAX_BODY_BYTES: Final = 1_048_576
MAX_AGE_S: Final = 300
PATIENCE_S: Final = 2.5
"""Slack gives us three seconds, and then comes again."""
ODD: Final = (KeyError, TypeError, ValueError, AttributeError, IndexError)
FAILED: Final = (StoreDown, RedisError, OSError, TimeoutError, AdapterError)


def signature(secret: str, timestamp: str, body: bytes) -> str:
    """What stands in ``X-Slack-Signature``."""
    signed = b"v0:" + timestamp.encode() + b":" + body
    return "v0=" + hmac.new(secret.encode(), signed, hashlib.sha256).hexdigest()


def is_signed(secret: str, timestamp: str, given: str, body: bytes, now_s: float) -> bool:
    """Did Slack sign ``body``, and in the last five minutes?"""
    if not secret or not timestamp.isascii() or not timestamp.isdigit() or len(timestamp) > 12:
        return False
    if abs(now_s - int(timestamp)) > MAX_AGE_S:
        return False
    return hmac.compare_digest(signature(secret, timestamp, body).encode(), given.encode("utf-8", "surrogateescape"))


class Waiting:
    """An event that waits for its turn, and what came of it."""

    def __init__(self, event: Json) -> None:
        self.event = event
        self.error: Exception | None = TimeoutError("given up")


class Lane:
    """A conversation's events that wait for earlier ones."""

    def __init__(self) -> None:
        self.waiting: list[tuple[int, int, Waiting]] = []
        self.lock = asyncio.Lock()
        self.users = 0


class Webhook:
    """The routes of one account."""

    def __init__(
        self,
        config: SlackConfig,
        services: Services,
        intake: Intake,
        emit: Emit,
        on_lost: Callable[[], Awaitable[None]],
    ) -> None:
        self._on_lost = on_lost
        self._config = config
        self._services = services
        self._intake = intake
        self._emit = emit
        self._lanes: dict[str, Lane] = {}
        self._count = 0

    def routes(self) -> Sequence[Route]:
        """None without a signing secret: then nobody could tell Slack's calls from others."""
        if not self._config.signing_secret:
            return ()
        return (Route("POST", "events", self.events), Route("POST", "commands", self.commands))

    async def events(self, request: web.Request) -> web.Response:
        """POST …/events. 200: durable. 401: not from Slack, or not for us. 503: try again."""
        return await self._checked(request, self._callback)

    async def commands(self, request: web.Request) -> web.Response:
        """POST …/commands: somebody typed a slash command."""
        return await self._checked(request, self._command)

    async def _checked(self, request: web.Request, take: Take) -> web.Response:
        return await checked(request, self._config.signing_secret, self._services.now_ms, take)

    async def _callback(self, body: bytes) -> web.Response:
        return await called_back(body, self._for_us)

    async def _for_us(self, envelope: Json) -> None:
        if await self._intake.for_us(envelope):
            await self.take(envelope["event"])

    async def take(self, event: Json) -> None:
        """An event for this account; returns when it is durable. Raises what :data:`FAILED` and :data:`ODD` have."""
        if event.get("type") in ENDED:
            await self._on_lost()
            return
        await self._in_order(event)
        await self._emit.accepted()

    async def _in_order(self, event: Json) -> None:
        """Emit behind everything of the conversation that happened earlier and comes within reorder_ms: Slack calls
        for several events side by side. Names are looked up in turn as well, so that none overtakes another."""
        item = event.get("item")
        channel = event.get("channel") or (item.get("channel") if isinstance(item, dict) else "")
        lane = self._lanes.setdefault(str(channel), Lane())
        lane.users += 1
        self._count += 1
        mine = at_us(event.get("event_ts") or event.get("ts")), self._count
        waiting = Waiting(event)
        heappush(lane.waiting, (*mine, waiting))
        try:
            await asyncio.sleep(self._config.reorder_ms / 1000)
            async with lane.lock:
                while lane.waiting and lane.waiting[0][:2] <= mine:
                    await self._pass(heappop(lane.waiting)[2])
        finally:
            lane.users -= 1
            if not lane.users:
                self._lanes.pop(str(channel), None)
        if waiting.error is not None:
            raise waiting.error

    async def _pass(self, waiting: Waiting) -> None:
        try:
            found = await self._intake.events(waiting.event)
        except (*FAILED, *ODD) as error:
            waiting.error = error
            return
        for event in found:
            self._emit(event)
        waiting.error = None

    async def _command(self, body: bytes) -> web.Response:
        form = command_of(body)
        if form is None or form.get("ssl_check"):
            return web.Response(status=400 if form is None else 200)
        if not await self._intake.for_us(form):
            return web.Response(status=401)
        return await self.command(form)

    async def command(self, form: Json) -> web.Response:
        """A slash command for this account."""
        found, words = await self._intake.command(form, self._services.now_ms())
        for event in found:
            self._emit(event)
        await self._emit.accepted()
        return web.json_response({"response_type": "ephemeral", "text": words}) if words else web.Response()


async def checked(request: web.Request, secret: str, now_ms: Callable[[], int], take: Take) -> web.Response:
    """What ``take`` answers to the body, if Slack signed it with ``secret``."""
    if request.headers.get("Content-Encoding", "identity").lower() != "identity":
        return web.Response(status=415)
    body = await whole_body(request, MAX_BODY_BYTES)
    if body is None:
        return web.Response(status=413)
    timestamp, given = (
        request.headers.get("X-Slack-Request-Timestamp", ""),
        request.headers.get("X-Slack-Signature"),
    )
    if not is_signed(secret, timestamp, given or "", body, now_ms() / 1000):
        return web.Response(status=401)
    try:
        async with asyncio.timeout(PATIENCE_S):
            return await take(body)
    except FAILED as error:
        log.warning("a call of slack's was not taken", error=str(error) or type(error).__name__)
        return web.Response(status=503)
    except ODD:
        # Signed, so it is Slack's, and of a shape that nobody knows: 400 tells Slack, and nothing is lost silently.
        log.exception("an event cannot be read")
        return web.Response(status=400)


async def called_back(body: bytes, take: Callable[[Json], Awaitable[None]]) -> web.Response:
    """The answer to a callback of the Events API; ``take`` gets the envelope of an event."""
    try:
        envelope = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return web.Response(status=400)
    if not isinstance(envelope, dict):
        return web.Response(status=400)
    if envelope.get("type") == "url_verification":
        return web.json_response({"challenge": str(envelope.get("challenge") or "")})
    if envelope.get("type") != "event_callback" or not isinstance(envelope.get("event"), dict):
        # app_rate_limited, and whatever else Slack will think of: nothing that anybody said.
        return web.Response(status=200 if isinstance(envelope.get("type"), str) else 400)
    await take(envelope)
    return web.Response()


def command_of(body: bytes) -> dict[str, str] | None:
    """The form of a slash command, or of Slack's test of the certificate; None for anything else."""
    try:
        form = dict(parse_qsl(body.decode(), max_num_fields=100))
    except ValueError:
        return None
    return form if form.get("command") or form.get("ssl_check") else None

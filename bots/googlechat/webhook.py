"""Interaction events: what people say to the app, and its coming and going. Google posts them to our endpoint."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final
from weakref import WeakValueDictionary

import msgspec
import structlog
from aiohttp import web

from bots.googlechat import receive
from bots.googlechat.api import Api
from bots.googlechat.intake import Intake
from bots.googlechat.memory import Memory
from bots.googlechat.receive import Json, Space
from bots.googlechat.verify import KeysUnavailable, Unauthorized, Verifier
from core.command_language import looks_like_command
from core.contract import AdapterError, Emit
from core.model import PlatformEvent
from core.store import TRANSIENT, StoreDown
from core.webhooks import whole_body

if TYPE_CHECKING:
    from collections.abc import Callable

log = structlog.get_logger()
MAX_BODY_BYTES: Final = 1_048_576
ACCEPT_S: Final = 5.0
PAYLOADS: Final = {
    "messagePayload": "MESSAGE",
    "appCommandPayload": "APP_COMMAND",
    "addedToSpacePayload": "ADDED_TO_SPACE",
    "removedFromSpacePayload": "REMOVED_FROM_SPACE",
}
"""How an app that is built as a Workspace add-on is told the same (add-ons, Chat event objects)."""


class Interaction(msgspec.Struct, frozen=True):
    """An interaction event, whatever kind of app it was sent to."""

    kind: str
    time: str
    user: Any
    space: Space | None
    message: Json | None


class Malformed(ValueError):
    """This is no event."""


def interaction(body: bytes) -> Interaction:
    """Read an event's body. Raises Malformed."""
    try:
        payload = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise Malformed("no JSON") from None
    if not isinstance(payload, dict):
        raise Malformed("no object")
    chat = payload.get("chat")
    if isinstance(chat, dict):
        kind = next((kind for name, kind in PAYLOADS.items() if isinstance(chat.get(name), dict)), "OTHER")
        inner: Json = next((chat[name] for name in PAYLOADS if isinstance(chat.get(name), dict)), {})
        payload = {**inner, "type": kind, "eventTime": chat.get("eventTime"), "user": chat.get("user")}
    if not isinstance(payload.get("type"), str):
        raise Malformed("no type")
    message = payload.get("message")
    message = message if isinstance(message, dict) else None
    raw_space = payload.get("space") or (message or {}).get("space")
    space = receive.space_of(raw_space)
    if raw_space is not None and space is None:
        raise Malformed("no space")
    return Interaction(payload["type"], str(payload.get("eventTime") or ""), payload.get("user"), space, message)


class Webhook:
    """Handles the events of one account."""

    def __init__(
        self, api: Api, verifier: Verifier, intake: Intake, memory: Memory, prefix: str, changed: Callable[[], None]
    ) -> None:
        self._api = api
        self._verifier = verifier
        self._intake = intake
        self._memory = memory
        self._prefix = prefix
        self._changed = changed
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def handle(self, request: web.Request, emit: Emit) -> web.Response:
        """One POST of Google's. The answer is empty: all that we say goes through the API."""
        try:
            await self._verifier.check(self._api.session, request.headers.getall("Authorization", []))
        except Unauthorized as error:
            log.info("an event was refused", reason=str(error))
            return web.Response(status=401)
        except KeysUnavailable as error:
            log.warning("events cannot be verified", reason=str(error))
            return web.Response(status=503)
        if request.headers.get("Content-Encoding", "identity").lower() != "identity":
            return web.Response(status=415)
        body = await whole_body(request, MAX_BODY_BYTES)
        if body is None:
            return web.Response(status=413)
        try:
            event = interaction(body)
        except Malformed:
            return web.Response(status=400)
        try:
            await self._take(event, emit)
            async with asyncio.timeout(ACCEPT_S):
                await emit.accepted()
        except (*TRANSIENT, StoreDown, AdapterError, TimeoutError) as error:
            log.warning("an event was not taken", reason=str(error) or type(error).__name__)
            return web.Response(status=503)
        return web.json_response({})

    async def _take(self, event: Interaction, emit: Emit) -> None:
        """One at a time for each space, so that what was said first is handed over first."""
        if event.space is None:
            return
        lock = self._locks.get(event.space.id) or self._locks.setdefault(event.space.id, asyncio.Lock())
        async with lock:
            for found in await self._events(event, event.space):
                emit(found)

    async def _events(self, event: Interaction, space: Space) -> list[PlatformEvent]:
        if event.kind == "REMOVED_FROM_SPACE":
            removed = self._intake.removed(space.id, event.time)
            await self._memory.forget(space.id)
            self._changed()
            return [removed]
        found: list[PlatformEvent] = []
        if event.kind == "ADDED_TO_SPACE":
            found.append(await self._intake.added(space, event.user, event.time))
            self._changed()
        elif event.kind in ("MESSAGE", "APP_COMMAND"):
            found += await self._intake.space(space, event.time, receive.at_ms(event.time))
        else:
            return []
        return found + await self._message(event, space)

    async def _message(self, event: Interaction, space: Space) -> list[PlatformEvent]:
        raw = event.message
        place = receive.message_place(raw.get("name")) if raw else None
        if raw is None or place is None or place[0] != space.id:
            return []
        said = await self._intake.message(raw)
        if said is None:
            return []
        is_command = looks_like_command(said.text.plain, self._prefix)
        if raw.get("privateMessageViewer") and not is_command:
            return []
        # Everything said in the space comes through Pub/Sub as well, in its order; only a command is not to wait.
        if not is_command and await self._memory.hears_all(space.id):
            return []
        return [said]

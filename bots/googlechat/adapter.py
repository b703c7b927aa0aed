"""A Google Chat account: a Chat app's spaces as rooms."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Coroutine, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, TypeVar
from urllib.parse import quote

import structlog

from bots.googlechat import receive
from bots.googlechat.api import APPROVAL, Api, Refused
from bots.googlechat.config import GoogleChatConfig, endpoint
from bots.googlechat.intake import Intake
from bots.googlechat.memory import Memory
from bots.googlechat.pull import Puller
from bots.googlechat.send import Sender
from bots.googlechat.subscriptions import Upkeep
from bots.googlechat.text import CARD_ENTITIES, ENTITIES
from bots.googlechat.verify import Verifier
from core.contract import (
    AdapterError,
    AuthLost,
    Capabilities,
    Emit,
    Invite,
    Offline,
    Outbound,
    Receipt,
    Rejected,
    Remembered,
    RoomInfo,
    Route,
    Services,
    Since,
)
from core.model import AccountId, NativeId, PlatformEvent, RoomId, native_room, room_id
from core.store import TRANSIENT, StoreDown

if TYPE_CHECKING:
    from aiohttp import web

log = structlog.get_logger()
T = TypeVar("T")
PAGE: Final = 200
KNOCK_MIN_S: Final = 0.5
KNOCK_MAX_S: Final = 60.0
UNSAVED_MS: Final = 86_400_000
"""A space whose history is off forgets after a day."""
_ATTACHMENT: Final = re.compile(r"(?!.*(?:^|/)\.{1,2}(?:/|$))[\w./=+~@-]{1,4000}", re.ASCII)
_PERSON: Final = re.compile(r"users/([\w.@-]{1,200})", re.ASCII)


class GoogleChatAdapter:
    """One Chat app."""

    def __init__(self, account: AccountId, config: GoogleChatConfig, services: Services) -> None:
        self.account = account
        self._config = config
        self._services = services
        self._api = Api(config, services.now_ms)
        self._memory = Memory(services)
        self._intake = Intake(account, self._api, self._memory, services)
        self._sender = Sender(self._api, self._memory)
        self._upkeep = Upkeep(self._api, self._memory, services, self._catch_up)
        self._tasks: list[asyncio.Task[None]] = []
        self._gone = asyncio.Event()
        self._why = ""
        self._capabilities = {threads: self._capability(threads) for threads in (False, True)}

    # --- life ---

    async def start(self, emit: Emit) -> None:
        """Begin to knock at Google's; return at once. Raises Rejected for a key that is none."""
        try:
            _ = self._api.tokens
        except AuthLost as error:
            raise Rejected(str(error)) from None
        self._go(self._keep_online(emit), "online")
        self._go(self._upkeep.run(), "subscriptions")
        if self._config.pubsub_subscription:
            puller = Puller(self._api, self._intake, self._memory, self._upkeep, self._trouble)
            self._go(puller.run(emit), "pull")

    def _go(self, work: Coroutine[Any, Any, None], what: str) -> None:
        self._tasks.append(asyncio.create_task(work, name=f"googlechat {self.account} {what}"))

    async def stop(self) -> None:
        """End everything. Also ends an instance that only served routes."""
        tasks, self._tasks = self._tasks, []
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._api.close()

    async def _keep_online(self, emit: Emit) -> None:
        """Knock until Google answers; then wait for trouble, and knock again."""
        pause_s = KNOCK_MIN_S
        while True:
            try:
                await self._look_around()
            except (AdapterError, StoreDown, *TRANSIENT) as error:
                emit.offline(str(error) or "Google does not answer")
                await asyncio.sleep(pause_s)
                pause_s = min(2 * pause_s, KNOCK_MAX_S)
                continue
            pause_s = KNOCK_MIN_S
            self._gone.clear()
            emit.online()
            await self._gone.wait()
            emit.offline(self._why)

    def _catch_up(self) -> None:
        """Go off and on again, whereupon the host reads the spaces' history."""
        self._trouble("reading what was said while a space had no subscription")

    def _trouble(self, why: str) -> None:
        self._why = why
        self._gone.set()

    async def _look_around(self) -> None:
        """Which spaces are we in? Raises any AdapterError, and the store's."""
        await self._memory.load()
        token = ""
        while True:
            params = {"pageSize": "1000"} | ({"pageToken": token} if token else {})
            answer = await self._api.chat("GET", "spaces", params=params)
            for raw in answer.get("spaces") or ():
                if space := receive.space_of(raw):
                    await self._memory.learn(space)
            token = str(answer.get("nextPageToken") or "")
            if not token:
                break
        self._upkeep.changed()

    async def _noting(self, work: Coroutine[Any, Any, T]) -> T:
        """Do it; when the connection or the key is gone, everybody is told."""
        try:
            return await work
        except (Offline, AuthLost) as error:
            self._trouble(str(error))
            raise

    # --- what rooms can show ---

    def _capability(self, threads: bool) -> Capabilities:
        config = self._config
        return Capabilities(
            edit="full",
            delete="full",
            reply="full",
            thread="full" if threads else "fallback",
            names="full" if config.cards else "fallback",
            avatars="full" if config.cards else "drop",
            entities=CARD_ENTITIES if config.cards else ENTITIES,
            text_limit=config.text_limit_bytes,
            text_unit="bytes",
            rate_per_s=config.writes_per_s,
            account_rate_per_s=config.project_writes_per_min / 60,
            account_rate_burst=max(1, int(config.project_writes_per_min / 60)),
            bold_names=True,
            idempotent=True,
        )

    def capabilities(self, room: RoomId) -> Capabilities:
        """By whether the space has threads. Apps may not react and not upload, whatever the space."""
        space = self._memory.spaces.get(native_room(room))
        return self._capabilities[space is not None and space.threads]

    def room_info(self, room: RoomId) -> RoomInfo:
        """The space's name."""
        space = self._memory.spaces.get(native_room(room))
        return RoomInfo(room, space.shown() if space else native_room(room))

    async def rooms(self) -> Sequence[RoomInfo]:
        """The spaces we are in."""
        return [self.room_info(room_id(self.account, space)) for space in self._memory.spaces]

    def invite(self, code: str) -> Invite:
        """How to bring the app into a space."""
        return Invite(
            title="Google Chat space",
            steps=(
                "In your Google Chat space, click its name → Apps & integrations → Add apps, and choose the bridge's "
                "app. (Its Workspace must be the one that the app is for.)",
                f"When it has come, mention it and say: -{self._services.prefix} connect {code}",
            ),
        )

    # --- posting ---

    async def send(self, outbound: Outbound) -> Receipt:
        """Post it."""
        return await self._noting(self._sender.send(outbound))

    async def edit(self, natives: Sequence[NativeId], outbound: Outbound) -> Receipt:
        """Change our posts."""
        return await self._noting(self._sender.edit(natives, outbound))

    async def delete(self, room: RoomId, natives: Sequence[NativeId]) -> None:
        """Take our posts away."""
        await self._noting(self._sender.delete(native_room(room), natives))

    async def ping(self, room: RoomId) -> None:
        """Ask for the space."""
        await self._noting(self._api.chat("GET", f"spaces/{native_room(room)}"))

    # --- looking things up ---

    async def is_admin(self, room: RoomId, author_id: str) -> bool:
        """Does this person manage the space? In a direct message everybody in it does."""
        found = _PERSON.fullmatch(author_id)
        space = self._memory.spaces.get(native_room(room))
        if found is None or receive.member_place(f"spaces/{native_room(room)}/members/{found[1]}") is None:
            return False
        try:
            member = await self._api.chat("GET", f"spaces/{native_room(room)}/members/{found[1]}")
        except Refused as error:
            if error.status == 404:
                return False
            raise
        if member.get("state") not in (None, "JOINED"):
            return False
        return member.get("role") == "ROLE_MANAGER" or (space is not None and space.kind == "DIRECT_MESSAGE")

    async def open_file(self, ref: str) -> AsyncIterator[bytes]:
        """Stream an attachment. ``ref`` is its resource name, which leads nowhere but to the Chat API."""
        if not _ATTACHMENT.fullmatch(ref):
            raise Rejected("the file is no longer there")
        async for chunk in self._api.media(ref):
            yield chunk

    async def history(self, room: RoomId, since: Since) -> Remembered:
        """What was said since, a page at a time; nothing where we are to hear only mentions."""
        if not self._config.pubsub_subscription:
            return Remembered(())
        space_id = native_room(room)
        stamp = datetime.fromtimestamp(since.at_ms / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        syntax = "MARKUP_SYNTAX_CHAT" if self._config.markup == "chat" else "MARKUP_SYNTAX_MARKDOWN"
        params = {
            "filter": f'create_time > "{stamp}"',
            "orderBy": "ASC",
            "pageSize": str(PAGE),
            "markupSyntax": syntax,
        }
        try:
            answer = await self._noting(self._api.read(f"spaces/{space_id}/messages", params))
        except Refused as error:
            raise Rejected(APPROVAL if error.status == 403 else error.reason) from None
        events: list[PlatformEvent] = []
        for raw in answer.get("messages") or ():
            place = receive.message_place(raw.get("name")) if isinstance(raw, dict) else None
            if place and place != (space_id, since.native) and (said := await self._intake.message(raw)):
                events.append(said)
        space = self._memory.spaces.get(space_id)
        lost = space is not None and not space.keeps_history and self._services.now_ms() - since.at_ms > UNSAVED_MS
        more = bool(answer.get("nextPageToken")) and bool(events)
        return Remembered(tuple(events), more=more, complete=not lost)

    # --- HTTP ---

    def routes(self, emit: Emit) -> Sequence[Route]:
        """Where Google posts interaction events to."""
        from bots.googlechat.webhook import Webhook

        base = f"{self._services.public_url}/bots/{quote(self.account, safe='')}"
        verifier = Verifier(self._config, endpoint(self._config, base), self._services.now_ms)
        hook = Webhook(self._api, verifier, self._intake, self._memory, self._services.prefix, self._upkeep.changed)

        async def events(request: web.Request) -> web.StreamResponse:
            return await hook.handle(request, emit)

        return (Route("POST", "events", events),)

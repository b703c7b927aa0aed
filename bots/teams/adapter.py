"""A bot of Azure AI Bot Service: posts by its Connector, hears by its messaging endpoint."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Sequence
from typing import Any, Final, TypeVar
from urllib.parse import quote

import msgspec
import structlog
from redis.exceptions import RedisError

from bots.teams.compose import CARD_ENTITIES, PICTURE_BYTES
from bots.teams.config import TeamsConfig
from bots.teams.connector import Connector, activities
from bots.teams.http import Http
from bots.teams.intake import Intake
from bots.teams.login import Login
from bots.teams.names import Names
from bots.teams.receive import SharedFile
from bots.teams.rooms import CHANNEL, PERSONAL, Rooms, guessed_kind
from bots.teams.send import Sender
from bots.teams.text import LIMIT, SHOWN
from bots.teams.verify import KeyRing
from core.contract import (
    AdapterError,
    AuthLost,
    Capabilities,
    Emit,
    Invite,
    Outbound,
    Receipt,
    Rejected,
    Retry,
    RoomInfo,
    Route,
    Services,
)
from core.model import AccountId, Author, NativeId, RoomId, native_room, room_id

log = structlog.get_logger()

T = TypeVar("T")
REFUSED_RETRY_S: Final = 300.0
STORE_RETRY_S: Final = 1.0
SOON_S: Final = 1.0
LEAST_SLEEP_S: Final = 1.0
TYPING_EVERY_S: Final = 4.0
MOST_TYPING: Final = 1000


class TeamsAdapter:
    """One bot, with all the conversations that it was added to."""

    def __init__(self, account: AccountId, config: TeamsConfig, services: Services) -> None:
        self.account = account
        self._config = config
        self._services = services
        self._http = Http()
        self._login = Login(config, self._http, time.monotonic)
        self._connector = Connector(config, self._http, self._login)
        self._rooms = Rooms(services)
        self._sender = Sender(config, self._connector, self._rooms)
        self._ring = KeyRing(config, self._http, time.monotonic)
        self._task: asyncio.Task[None] | None = None
        self._typed_s: dict[str, float] = {}
        self._kinds = {kind: _capabilities(config, kind) for kind in (CHANNEL, "", PERSONAL)}

    # --- life ---

    async def start(self, emit: Emit) -> None:
        """Sign in, and keep signed in. Raises Rejected without credentials."""
        if not self._config.app_id or not self._config.app_secret:
            raise Rejected("The account has no app_id and app_secret. Add it again: bridgebot accounts add teams")
        await self._guarded(self._rooms.load())
        self._task = asyncio.create_task(self._keep_signed_in(emit), name=f"teams {self.account}")

    async def stop(self) -> None:
        """Sign in no more, close the connections. Also ends an instance that only served its routes."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        await self._http.close()

    async def _keep_signed_in(self, emit: Emit) -> None:
        while True:
            try:
                await self._login.token()
            except AuthLost as error:
                emit.offline(str(error))
                await asyncio.sleep(REFUSED_RETRY_S)
            except Retry as error:
                emit.offline(str(error))
                await asyncio.sleep(SOON_S)
            else:
                emit.online()
                await asyncio.sleep(max(self._login.left_s(), LEAST_SLEEP_S))

    async def _guarded(self, work: Awaitable[T]) -> T:
        try:
            return await work
        except (RedisError, ConnectionError):
            raise Retry(STORE_RETRY_S, "the store does not answer") from None

    # --- rooms ---

    def capabilities(self, room: RoomId) -> Capabilities:
        """By the kind of conversation: channels have threads, chats show typing."""
        known = self._rooms.peek(native_room(room))
        kind = known.kind if known and known.kind else guessed_kind(native_room(room))
        return self._kinds.get(kind) or self._kinds[""]

    def room_info(self, room: RoomId) -> RoomInfo:
        """``Team / Channel``, or who is in the chat."""
        known = self._rooms.peek(native_room(room))
        return RoomInfo(room, known.shown if known else native_room(room), "Teams")

    async def rooms(self) -> Sequence[RoomInfo]:
        """Every conversation the bot was added to or heard something in."""
        found = await self._guarded(self._rooms.load())
        return [self.room_info(room_id(self.account, room.id)) for room in found]

    def invite(self, code: str) -> Invite:
        """How to add the bot to a team or a chat."""
        name, prefix = self._config.bot_name, self._services.prefix
        return Invite(
            title="Microsoft Teams",
            steps=(
                f"In Teams, open Apps, search for {name}, and add it to your team or chat "
                "(your organisation must have it in its app catalogue).",
                f"In the channel or chat, write: -{prefix} connect {code}",
            ),
            url=self._config.app_link,
        )

    async def ping(self, room: RoomId) -> None:
        """Ask the service for one member of the conversation."""
        known = await self._guarded(self._sender.room(native_room(room)))
        path = f"/v3/conversations/{quote(known.id, safe='')}/pagedMembers?pageSize=1"
        await self._connector.ask("GET", known.service_url, path)

    # --- posting ---

    async def send(self, outbound: Outbound) -> Receipt:
        """Post it; pictures are posts of their own."""
        return await self._guarded(self._sender.send(outbound))

    async def edit(self, natives: Sequence[NativeId], outbound: Outbound) -> Receipt:
        """Change the posts in place."""
        return await self._guarded(self._sender.edit(natives, outbound))

    async def delete(self, room: RoomId, natives: Sequence[NativeId]) -> None:
        """Take our posts away."""
        known = await self._guarded(self._sender.room(native_room(room)))
        await self._guarded(self._sender.delete(known, natives))

    async def react(self, room: RoomId, native: NativeId, emoji: str, added: bool, author: Author) -> None:
        """Put the bot's own reaction on a message, in everybody's stead."""
        known = await self._guarded(self._sender.room(native_room(room)))
        await self._guarded(self._sender.react(known, native, emoji, added, author))

    async def typing(self, room: RoomId, author: Author) -> None:
        """Show that the bot is typing; for each conversation at most every four seconds."""
        known = await self._guarded(self._sender.room(native_room(room)))
        now_s = time.monotonic()
        if known.kind == CHANNEL or now_s - self._typed_s.get(known.id, float("-inf")) < TYPING_EVERY_S:
            return
        if len(self._typed_s) >= MOST_TYPING:
            self._typed_s.clear()
        self._typed_s[known.id] = now_s
        try:
            await self._connector.ask("POST", known.service_url, activities(known.id), {"type": "typing"})
        except AdapterError as error:
            log.debug("teams: typing was not shown", account=self.account, error=str(error))

    # --- hearing ---

    def routes(self, emit: Emit) -> Sequence[Route]:
        """The messaging endpoint."""
        names = Names(self._connector, self._rooms)
        intake = Intake(self.account, self._config, self._services, self._ring, self._rooms, names, emit)
        return (Route("POST", "messages", intake.messages),)

    async def open_file(self, ref: str) -> AsyncIterator[bytes]:
        """Stream a picture or file of a message: from the service with the bot's token, from elsewhere without."""
        from core.egress import fetch, guarded_session

        raw = await self._guarded(self._rooms.file(ref))
        if raw is None:
            raise Rejected("the file is no longer there")
        file = msgspec.json.decode(raw, type=SharedFile)
        if file.ours and self._config.is_service(file.url):
            async for chunk in self._from_service(file.url):
                yield chunk
            return
        async with guarded_session(self._config.trusted_addresses) as session:
            async for chunk in fetch(session, file.url, self._config.max_file_bytes):
                yield chunk

    async def _from_service(self, url: str) -> AsyncIterator[bytes]:
        import aiohttp

        from core.egress import SILENCE_S, WHOLE_S, fetch

        options: dict[str, Any] = {
            "headers": {"Authorization": f"Bearer {await self._login.token()}"},
            # Another host must not get the token.
            "allow_redirects": False,
            "timeout": aiohttp.ClientTimeout(total=WHOLE_S, sock_read=SILENCE_S),
        }
        async for chunk in fetch(self._http.session, url, self._config.max_file_bytes, **options):
            yield chunk


PERSONAL_RATE_PER_S = 0.49
PERSONAL_BURST = 6


def _capabilities(config: TeamsConfig, kind: str) -> Capabilities:
    """What a kind of conversation shows. Rates: Teams docs, per bot and thread 7 in 1 s, 8 in 2 s, 60 in 30 s, and
    in a conversation with one person 1,800 an hour.
    """
    in_channel, alone = kind == CHANNEL, kind == PERSONAL
    reply = "partial" if in_channel else "fallback"
    return Capabilities(
        edit="full",
        delete="full",
        reply=reply if config.cards else "full",  # type: ignore[arg-type]
        thread="full" if in_channel else "fallback",
        reaction="partial" if config.reactions else "fallback",
        file="partial",
        typing="drop" if in_channel else "partial",
        names="full" if config.cards else "fallback",
        avatars="full" if config.cards else "drop",
        entities=frozenset(CARD_ENTITIES if config.cards else SHOWN),
        text_limit=LIMIT,
        text_unit="utf16",
        file_limit_bytes=PICTURE_BYTES,
        rate_per_s=PERSONAL_RATE_PER_S if alone else config.room_rate_per_s,
        rate_burst=PERSONAL_BURST if alone else config.room_burst,
        account_rate_per_s=config.app_rate_per_s * 0.8,
        account_rate_burst=max(1, int(config.app_rate_per_s * 0.2)),
        bold_names=True,
    )

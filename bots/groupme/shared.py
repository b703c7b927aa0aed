"""What the accounts of both kinds do alike: sessions, files in, history, invitations."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import structlog

from bots.groupme import receive
from bots.groupme.api import PAGE, Api, new_session
from bots.groupme.config import GroupMeConfig
from bots.groupme.files import opened, session_of
from bots.groupme.groups import Groups
from bots.groupme.memory import Memory
from bots.groupme.payload import Malformed, Message
from core.contract import AdapterError, AuthLost, Emit, Remembered, RoomInfo, Services, Since
from core.model import AccountId, NativeId, PlatformEvent, RoomId, Text, native_room
from core.store import TRANSIENT

if TYPE_CHECKING:
    import aiohttp

log = structlog.get_logger()

AUTH_RETRY_S = 300.0


class GroupMe:
    """The common part of an account. Sessions are made when they are first needed, so its routes and files work
    where it was not started."""

    def __init__(self, account: AccountId, config: GroupMeConfig, services: Services) -> None:
        self.account = account
        self._config = config
        self._services = services
        self._memory = Memory(services)
        self._groups = Groups(self._memory, config.titles, time.monotonic)
        self._sessions: dict[str, aiohttp.ClientSession] = {}
        self._emit: Emit | None = None
        self._auth_lost = ""

    @property
    def _session(self) -> aiohttp.ClientSession:
        if "api" not in self._sessions:
            self._sessions["api"] = new_session(self._config)
        return self._sessions["api"]

    @property
    def _api(self) -> Api:
        return Api(self._config, self._session)

    async def _keep_trying(self, emit: Emit, work: Callable[[Emit], Awaitable[None]]) -> None:
        """Do ``work`` until it is done, with pauses that grow; meanwhile the account is offline."""
        least_s, most_s = self._config.reconnect_min_s, self._config.reconnect_max_s
        failures = 0
        while True:
            try:
                await work(emit)
            except AuthLost as error:
                self._auth_lost = str(error)
                emit.offline(str(error))
                await asyncio.sleep(AUTH_RETRY_S)
                continue
            except (AdapterError, Malformed, *TRANSIENT) as error:
                emit.offline(str(error))
            except Exception as error:  # an account that died silently would be worse than one that tries again
                log.exception("groupme account failed", account=self.account)
                emit.offline(f"an error of the bot ({error})")
            else:
                return
            failures += 1
            pause_s = min(most_s, least_s * 2.0 ** min(failures, 12))
            await asyncio.sleep(pause_s * random.uniform(0.7, 1.0))  # noqa: S311 - spreads reconnects, keeps no secret

    async def _close(self) -> None:
        for session in self._sessions.values():
            await session.close()
        self._sessions.clear()

    def room_info(self, room: RoomId) -> RoomInfo:
        """The group's name."""
        return self._groups.info(room)

    async def open_file(self, ref: str) -> AsyncIterator[bytes]:
        """Stream a picture, video or file of a message. Raises Rejected and Retry."""
        if "media" not in self._sessions:
            self._sessions["media"] = session_of(self._config)
        async for chunk in opened(self._config, self._sessions["media"], self._session, ref):
            yield chunk

    async def is_ours(self, message: Message) -> bool:
        """Did we post it? Replaced by each kind of account."""
        return False

    async def _said(self, message: Message) -> list[PlatformEvent]:
        """The events of a message, none for our own. Raises Malformed and redis errors."""
        if receive.is_system(message):
            return receive.happened(self.account, message)
        if message.deleted_at or await self.is_ours(message):
            return []
        self._groups.heard(message)
        return [receive.said(self.account, message, await self._file_data(message))]

    async def _members_for(self, group: str, part: Text) -> Mapping[str, str]:
        if any(entity.type == "mention" for entity in part.entities):
            await self._groups.look(self._api, group)
        return self._groups.names(group)

    async def _file_data(self, message: Message) -> receive.FileData:
        files = receive.file_ids(message)
        if not files or not self._config.token:
            return {}
        try:
            return await self._api.file_data(str(message.group_id), files)
        except AdapterError:
            return {}  # the file itself can be had without its name

    async def _history(self, room: RoomId, since: Since) -> Remembered:
        """What was said in a group after ``since``, by the index with ``after_id``."""
        group = native_room(room)
        if since.native.isdigit():
            found = await self._api.messages(group, where={"after_id": since.native})
            return Remembered(await self._events(found), more=len(found) >= PAGE)
        # The last that was heard was no message: go by its time.
        newest = await self._api.messages(group)
        found = [message for message in reversed(newest) if message.at_ms >= since.at_ms - since.at_ms % 1000]
        return Remembered(await self._events(found), complete=len(found) < PAGE)

    async def _events(self, messages: Sequence[Message]) -> tuple[PlatformEvent, ...]:
        events: list[PlatformEvent] = []
        for message in messages:
            try:
                events += await self._said(message)
            except Malformed:
                continue
        return tuple(events)

    def _native(self, *parts: str) -> NativeId:
        return NativeId(":".join(parts))

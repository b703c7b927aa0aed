"""What the parts of one account share."""

from __future__ import annotations

import asyncio
import hmac
from collections.abc import Coroutine
from hashlib import sha256
from typing import Any

import structlog

from bots.matrix.client import Client
from bots.matrix.config import MatrixConfig
from bots.matrix.memory import Memory
from core.contract import AdapterError, Services
from core.model import AccountId, RoomId, room_id
from core.store import StoreDown

log = structlog.get_logger()
SEAL_CHARS = 24


class Desk:
    """One account: its configuration, its homeserver, its memory."""

    def __init__(self, account: AccountId, config: MatrixConfig, services: Services) -> None:
        self.account = account
        self.config = config
        self.services = services
        self.client = Client(config)
        self.memory = Memory(services)
        self.me = config.user_id
        """Our own user id."""
        self._tasks: set[asyncio.Task[None]] = set()

    def room(self, native: str) -> RoomId:
        """The RoomId of a Matrix room."""
        return room_id(self.account, native)

    def is_ghost(self, user: str) -> bool:
        """Is it one of our ghosts? The homeserver keeps these names for us."""
        config = self.config
        return (
            config.is_appservice
            and user.startswith(f"@{config.ghost_prefix}")
            and user.endswith(f":{config.server_name}")
        )

    def is_ours(self, user: str) -> bool:
        """Is it the bot, or one of its ghosts?"""
        return user == self.me or self.is_ghost(user)

    def seal(self, mxc: str) -> str:
        """Proves that an address of ours for a picture was made by us; the same every time, so that who keeps pictures
        by their address has each once.
        """
        key = self.config.token.encode()
        return hmac.new(key, f"avatar {mxc}".encode(), sha256).hexdigest()[:SEAL_CHARS]

    def avatar_url(self, mxc: str) -> str:
        """Where other platforms get a member's picture: the homeserver gives it to signed-in users only."""
        place = mxc.removeprefix("mxc://")
        if not mxc.startswith("mxc://") or place.count("/") != 1:
            return ""
        return f"{self.services.public_url}/bots/{self.account}/avatar/{place}/{self.seal(place)}"

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Do it beside; whatever goes wrong is logged."""

        async def guarded() -> None:
            try:
                await work
            except (AdapterError, StoreDown) as error:
                log.info("matrix: left undone", account=self.account, error=str(error))

        task = asyncio.get_running_loop().create_task(guarded())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        """End what is done beside, and the session."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.client.close()

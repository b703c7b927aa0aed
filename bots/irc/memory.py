"""The channels that people brought the bot to, kept in the store so that a restart finds back to them."""

from __future__ import annotations

import asyncio

from bots.irc.channels import Channel, Channels
from core.contract import Services
from core.store import TRANSIENT

RETRY_S = 0.5


class Memory:
    """A hash: a channel's folded name → ``i`` (invited) or ``c`` (configured) and its name as written."""

    def __init__(self, services: Services) -> None:
        self._store = services.store
        self._key = services.key("channels")
        self._changes: dict[str, str | None] = {}
        self._task: asyncio.Task[None] | None = None

    async def load(self, channels: Channels) -> None:
        """Add what is remembered to ``channels``; waits for the store as long as it takes."""
        while True:
            try:
                stored = await self._store.hgetall(self._key)
                break
            except TRANSIENT:
                await asyncio.sleep(RETRY_S)
        for value in stored.values():
            kind, _, name = (value.decode() if isinstance(value, bytes) else value).partition(" ")
            if kind == "i":
                channels.add(name).known = True
            elif known := channels.find(name):
                known.known = True

    def keep(self, channel: Channel) -> None:
        """Remember that we are in ``channel``."""
        self._change(channel.cf, f"{'c' if channel.configured else 'i'} {channel.name}")

    def drop(self, channel: Channel) -> None:
        """Forget ``channel``."""
        self._change(channel.cf, None)

    def _change(self, cf: str, value: str | None) -> None:
        self._changes[cf] = value
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._write())

    async def _write(self) -> None:
        while self._changes:
            cf, value = next(iter(self._changes.items()))
            try:
                if value is None:
                    await self._store.hdel(self._key, cf)
                else:
                    await self._store.hset(self._key, cf, value)
            except TRANSIENT:
                await asyncio.sleep(RETRY_S)
                continue
            if self._changes.get(cf, "") == value:
                del self._changes[cf]
        self._task = None

    async def stop(self, within_s: float = 2.0) -> None:
        """Write what is still to be written, if the store takes it in time."""
        if self._task is not None:
            await asyncio.wait((self._task,), timeout=within_s)
            if self._task is not None:
                self._task.cancel()
                await asyncio.gather(self._task, return_exceptions=True)

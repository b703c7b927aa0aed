"""Which processes of a kind are alive, and who should have what: an even share that moves when they come and go."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from core.scripts import Script
from core.store import Redis

Thing = TypeVar("Thing")
BEAT_MAX_S = 0.5
"""Longest time between two beats: with the lease it is how long work lies when a process has died."""


class Membership:
    """This process among its like (all relays, or all bot hosts), by a sorted set in the store."""

    def __init__(self, store: Redis, key: str, process: str, life_ms: int) -> None:
        self._store = store
        self._key = key
        self._process = process
        self._life_ms = life_ms
        self._beat = Script(store, "beat")

    async def beat(self, now_ms: int) -> list[str]:
        """Say that this process is alive; returns all that are. Raises StoreDown and what the store raises."""
        args = [self._process, now_ms + self._life_ms, now_ms, now_ms - self._life_ms]
        found = await self._beat([self._key], args)
        return sorted(member.decode() for member in found)

    async def leave(self) -> None:
        """This process takes part no more."""
        await self._store.zrem(self._key, self._process)

    def share(self, things: Sequence[Thing], members: Sequence[str]) -> list[Thing]:
        """What this process should have: every n-th of ``things``."""
        if self._process not in members:
            return list(things)
        return list(things[members.index(self._process) :: len(members)])

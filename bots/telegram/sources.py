"""Where updates come from: long polling, or what the webhook put into the store. One or the other hands them out in
order, and forgets them only when everything that was made of them is durable.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping
from typing import Any, Protocol

import msgspec
import structlog

from bots.telegram.api import Api
from bots.telegram.receive import ALLOWED_UPDATES
from core.contract import Services

Update = Mapping[str, Any]
log = structlog.get_logger()

BATCH = 100
"""Most that getUpdates hands out (core.telegram.org/bots/api#getupdates)."""
STEP_S = 0.2
"""While something unfinished is held, how often Telegram is asked for more."""
GAP_S = 0.4
"""How long a webhook call that overtook another waits for it: update ids are consecutive."""
READ_S = 5.0


class Source(Protocol):
    """A way in."""

    async def more(self, wait_s: float | None) -> list[Update]:
        """New updates in order; waits for them, but no longer than ``wait_s`` where it is given."""

    async def settle(self, held: Collection[int]) -> None:
        """All that was handed out is durable, but for the update ids in ``held``."""

    def again(self) -> None:
        """Nothing since the last :meth:`settle` is durable: hand it out once more."""


def update_id(update: Update) -> int:
    """The id of an update; -1 where it has none."""
    number = update.get("update_id")
    return number if isinstance(number, int) else -1


class Polling:
    """getUpdates. An update is confirmed by asking for later ones, so whatever is held keeps its place."""

    def __init__(self, api: Api, poll_s: int) -> None:
        self._api = api
        self._poll_s = poll_s
        self._offset = 0
        self._given: set[int] = set()

    async def more(self, wait_s: float | None) -> list[Update]:
        """Ask Telegram. Raises what :meth:`bots.telegram.api.Api.call` raises."""
        if wait_s is not None:
            # With something unconfirmed Telegram answers at once, so the waiting is ours.
            await asyncio.sleep(min(wait_s, STEP_S))
        timeout_s = self._poll_s if wait_s is None else 0
        found = await self._api.call(
            "getUpdates",
            wait_s=timeout_s,
            offset=self._offset or None,
            limit=BATCH,
            timeout=timeout_s,
            allowed_updates=ALLOWED_UPDATES,
        )
        updates: list[Update] = [update for update in found if isinstance(update, dict)] if found else []
        if not updates:
            # After a week of silence ids begin anew, perhaps with lower ones than the offset.
            self._offset = 0
        fresh = [update for update in updates if update_id(update) not in self._given]
        self._given.update(map(update_id, fresh))
        return fresh

    async def settle(self, held: Collection[int]) -> None:
        """Confirm with the next request."""
        if self._given:
            self._offset = min(held) if held else max(self._given) + 1
            self._given = {number for number in self._given if number >= self._offset}

    def again(self) -> None:
        """Take what Telegram still has."""
        self._given.clear()


class Stored:
    """The stream that the webhook's handler fills. Calls for different chats may come at the same time, so what
    overtook an earlier update waits for it a little.
    """

    def __init__(self, services: Services) -> None:
        self._store = services.store
        self._key = stream_key(services)
        self._last = "0"
        self._entries: dict[int, list[bytes]] = {}
        self._waiting: dict[int, Update] = {}
        self._since_s = 0.0
        self._next = 0

    async def more(self, wait_s: float | None) -> list[Update]:
        """Read on; waits until there is something to hand out, or for ``wait_s``."""
        loop = asyncio.get_running_loop()
        until_s = loop.time() + (READ_S if wait_s is None else wait_s)
        while True:
            gap_s = self._since_s + GAP_S - loop.time() if self._waiting else READ_S
            block_s = max(0.001, min(until_s - loop.time(), gap_s))
            await self._read(block_s)
            if found := self._in_order(loop.time()):
                return found
            if loop.time() >= until_s and (wait_s is not None or not self._waiting):
                return []

    async def _read(self, block_s: float) -> None:
        answer: Any = await self._store.xread({self._key: self._last}, count=BATCH, block=max(1, int(block_s * 1000)))
        for entry, fields in answer[0][1] if answer else ():
            self._last = entry.decode()
            update = msgspec.json.decode(fields[b"u"])
            number = update_id(update)
            self._entries.setdefault(number, []).append(entry)
            if not self._waiting:
                self._since_s = asyncio.get_running_loop().time()
            self._waiting[number] = update

    def _in_order(self, now_s: float) -> list[Update]:
        """What nothing earlier is missing before, or what has waited long enough."""
        patient = self._next and now_s < self._since_s + GAP_S
        found: list[Update] = []
        for number in sorted(self._waiting):
            if patient and number > self._next:
                break
            found.append(self._waiting.pop(number))
            self._next = max(self._next, number + 1)
        return found

    async def settle(self, held: Collection[int]) -> None:
        """Delete what is done. Raises what the store raises."""
        done = [number for number in self._entries if number not in held and number not in self._waiting]
        entries = [entry for number in done for entry in self._entries[number]]
        if entries:
            await self._store.xdel(self._key, *entries)
        for number in done:
            del self._entries[number]

    def again(self) -> None:
        """Read from the beginning."""
        self._last = "0"
        self._entries.clear()
        self._waiting.clear()
        self._next = 0


def stream_key(services: Services) -> str:
    """Where the webhook's handler puts updates."""
    return services.key("updates")

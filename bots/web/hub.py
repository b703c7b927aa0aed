"""From the store to the open pages of this process: one subscription for all rooms.

When the subscription breaks, every page is told to come back; it then asks for what it missed by number. So
nothing here has to be repaired, and a page that cannot keep up is treated the same.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from redis.exceptions import RedisError

from bots.web.wire import Live, decode_live

if TYPE_CHECKING:
    from redis.asyncio import Redis

WAITING = 512
"""Changes that may wait for one page."""
SILENCE_S = 20.0
CONFIRM_S = 5.0


class Page:
    """An open page: what waits to be sent to it. ``None`` in the queue: tell it to come back."""

    def __init__(self, joined: int) -> None:
        self.joined = joined
        self.seen = 0
        self.queue: asyncio.Queue[str | None] = asyncio.Queue(WAITING)
        self.live = False
        self._early: list[tuple[Live, str]] = []

    def feed(self, head: Live, payload: str) -> None:
        """A change of the room, in order. Held back until :meth:`open`."""
        if not self.live:
            self._early.append((head, payload))
        elif head.seq and head.seq <= self.seen:
            return
        else:
            self.seen = head.seq or self.seen
            if head.n == 0 or head.n > self.joined:
                self.put(payload)

    def open(self, seq: int) -> None:
        """The page has everything up to ``seq``; what came meanwhile follows."""
        self.seen, self.live = seq, True
        early, self._early = self._early, []
        for head, payload in early:
            self.feed(head, payload)

    def put(self, payload: str) -> None:
        """Send something to this page only."""
        try:
            self.queue.put_nowait(payload)
        except asyncio.QueueFull:
            self.drop()

    def drop(self) -> None:
        """Forget what waits, and have the page come back."""
        while not self.queue.empty():
            self.queue.get_nowait()
        self.queue.put_nowait(None)


class Hub:
    """The open pages of one account in this process."""

    def __init__(self, store: Redis, channel: Callable[[str], str]) -> None:
        self._store = store
        self._channel = channel
        self._pages: dict[str, set[Page]] = {}
        self._confirmed: dict[str, asyncio.Event] = {}
        self._pubsub: Any = None
        self._reader: asyncio.Task[None] | None = None
        self._lock = asyncio.Lock()

    def count(self, room: str) -> int:
        """Open pages of a room."""
        return len(self._pages.get(self._channel(room), ()))

    async def add(self, room: str, page: Page) -> None:
        """From its return on, every change of the room reaches the page. Raises RedisError, TimeoutError."""
        channel = self._channel(room)
        async with self._lock:
            self._pages.setdefault(channel, set()).add(page)
            if channel not in self._confirmed:
                self._confirmed[channel] = asyncio.Event()
                self._pubsub = self._pubsub or self._store.pubsub(ignore_subscribe_messages=False)
                await self._pubsub.subscribe(channel)
                if self._reader is None:
                    self._reader = asyncio.create_task(self._read(self._pubsub))
            confirmed = self._confirmed[channel]
        await asyncio.wait_for(confirmed.wait(), CONFIRM_S)

    async def remove(self, room: str, page: Page) -> None:
        """The page is closed."""
        channel = self._channel(room)
        async with self._lock:
            pages = self._pages.get(channel, set())
            pages.discard(page)
            if pages or channel not in self._pages:
                return
            del self._pages[channel]
            if self._confirmed.pop(channel, None) is None:
                return
            if not self._confirmed:
                await self._end()
            else:
                await self._pubsub.unsubscribe(channel)

    async def close(self) -> None:
        """Send every page away; they come back to whoever serves them next."""
        async with self._lock:
            self._send_away()
            await self._end()

    async def _end(self) -> None:
        reader, self._reader = self._reader, None
        pubsub, self._pubsub = self._pubsub, None
        if reader is not None and reader is not asyncio.current_task():
            reader.cancel()
            await asyncio.gather(reader, return_exceptions=True)
        if pubsub is not None:
            await pubsub.aclose()

    async def _read(self, pubsub: Any) -> None:
        asked = False
        try:
            while True:
                message = await pubsub.get_message(timeout=SILENCE_S)
                if message is not None:
                    asked = False
                    self._dispatch(message)
                elif asked:
                    raise ConnectionError("the store's subscription is silent")
                else:
                    asked = True
                    await pubsub.ping()
        except (RedisError, OSError):
            async with self._lock:
                self._send_away()
                if self._pubsub is pubsub:
                    await self._end()

    def _dispatch(self, message: dict[str, Any]) -> None:
        channel = message["channel"].decode() if message.get("channel") else ""
        if message["type"] == "subscribe" and channel in self._confirmed:
            self._confirmed[channel].set()
        elif message["type"] == "message" and channel in self._pages:
            head = decode_live(message["data"])
            payload = message["data"].decode()
            for page in self._pages[channel]:
                page.feed(head, payload)

    def _send_away(self) -> None:
        for pages in self._pages.values():
            for page in pages:
                page.drop()
        self._pages.clear()
        self._confirmed.clear()

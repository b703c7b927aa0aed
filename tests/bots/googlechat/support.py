"""What the Google Chat tests share."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from msgspec.structs import replace

from bots.googlechat.adapter import GoogleChatAdapter
from bots.googlechat.config import GoogleChatConfig
from core.contract import Outbound, Services
from core.model import AccountId, Author, RoomId, Text, room_id
from core.store import Redis, StoreDown
from tests.contract.harness import Site, services
from tests.contract.stage import Recorder
from tests.fakes.googlechat import GoogleChatDouble
from tests.fakes.googlechat_model import Space
from tests.fakes.googlechat_people import People

ACCOUNT = AccountId("chat-test")
AT_S = 1_800_000_000.0
"""The harness's clock."""
PATIENCE_S = 10.0


class Events(Recorder):
    """An ``Emit`` whose store can be shut, or be slow."""

    shut = False
    slow: asyncio.Event | None = None

    async def accepted(self) -> None:
        """As the relay would."""
        if self.slow:
            await self.slow.wait()
        if self.shut:
            raise StoreDown("shut by the test")


class World:
    """A double with a space, and an adapter that is in it."""

    def __init__(self, double: GoogleChatDouble, people: People, adapter: GoogleChatAdapter, events: Events) -> None:
        self.double = double
        self.people = people
        self.adapter = adapter
        self.events = events
        self.ann = people.person("Ann")
        self.bob = people.person("Bob")
        self.space: Space = people.space("AAQAgarden", "Garden", self.ann, self.bob)
        self.space.has_app = True
        self.hints: list[dict[str, Any]] = []
        """What the adapter said by itself when it started."""

    @property
    def room(self) -> RoomId:
        """The space as a room."""
        return room_id(ACCOUNT, self.space.id)

    def post(self, text: str | Text = "hello", key: str = "k1", **more: Any) -> Outbound:
        """A post of Alice's."""
        words = text if isinstance(text, Text) else Text(text)
        return Outbound(self.room, key, words, **({"author": Author("u1", "Alice")} | more))

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait for something that the adapter emits, or that happens in the double."""
        async with asyncio.timeout(PATIENCE_S):
            while not condition():
                self.events.news.clear()
                waits = [asyncio.ensure_future(one.wait()) for one in (self.events.news, self.double.news)]
                await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
                for one in waits:
                    one.cancel()

    async def of(self, kind: type[Any], count: int = 1) -> list[Any]:
        """Wait for events of a kind."""

        def found() -> list[Any]:
            return [event for event in self.events.seen if isinstance(event, kind)]

        await self.until(lambda: len(found()) >= count)
        return found()


def lent(store: Redis, url: str) -> Services:
    """What a host lends, with the double's clock."""
    return replace(services(store, ACCOUNT, url), now_ms=lambda: int(AT_S * 1000))


@asynccontextmanager
async def world(
    store: Redis, *, pubsub: bool = True, audience: str = "project", started: bool = True, **config: Any
) -> AsyncIterator[World]:
    """A double, and an adapter on it."""
    site, events = Site(), Events()
    async with GoogleChatDouble(clock=lambda: AT_S) as double:
        people = People(double, f"{site.account_url(ACCOUNT)}/events", audience)
        given = {
            "service_account": double.key_file(),
            "project_number": double.project_number,
            "pubsub_subscription": double.subscription if pubsub else "",
            "audience": audience,
            **double.urls(),
            **config,
        }
        adapter = GoogleChatAdapter(ACCOUNT, GoogleChatConfig(**given), lent(store, site.url))
        site.add(adapter, events)
        await site.start()
        made = World(double, people, adapter, events)
        try:
            if started:
                await adapter.start(events)
                await made.until(lambda: events.is_online and bool(double.subscriptions or made.space.messages))
                made.hints = list(made.space.messages.values())
                made.space.messages.clear()
                made.space.writes_s.clear()
            yield made
        finally:
            await adapter.stop()
            await site.stop()

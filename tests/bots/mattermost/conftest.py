"""A started account on a double, in a channel with Ann and Bob."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from msgspec.structs import replace

from bots.mattermost.adapter import MattermostAdapter
from bots.mattermost.config import MattermostConfig
from core.contract import Outbound
from core.model import AccountId, Author, PlatformEvent, Text, room_id
from core.store import Redis
from tests.contract.harness import services
from tests.contract.stage import Recorder
from tests.fakes.mattermost import MattermostDouble
from tests.fakes.mattermost_world import Raw

ACCOUNT = AccountId("mm")
ALICE = Author("u1", "Alice", "https://pictures.example/alice.png")


class Garden:
    """The double, the adapter, and what it emitted."""

    def __init__(self, double: MattermostDouble, store: Redis) -> None:
        self.double = double
        self.ann, self.bob = double.person("Ann"), double.person("Bob")
        self.team = double.team("Village")
        self.channel = double.channel("Garden", self.team, self.ann, self.bob, double.bot)
        self.room = room_id(ACCOUNT, self.channel.id)
        self.events = Recorder()
        self.services = services(store, ACCOUNT, "http://portal.example")
        self.config = MattermostConfig(
            server_url=double.url,
            token=double.bot.token,
            username="bridge",
            reconnect_min_s=0.02,
            reconnect_max_s=0.1,
            request_timeout_s=3,
        )
        self.adapter = self.made()

    def made(self, **changes: Any) -> MattermostAdapter:
        """An adapter that is not started."""
        return MattermostAdapter(ACCOUNT, replace(self.config, **changes), self.services)

    async def start(self, **changes: Any) -> None:
        """Start it (anew), and wait until it is online."""
        await self.adapter.stop()
        self.adapter = self.made(**changes)
        self.events.is_online = False
        await self.adapter.start(self.events)
        await self.until(lambda: self.events.is_online)

    async def until(self, condition: Callable[[], object]) -> None:
        """Wait for something that the adapter does."""
        async with asyncio.timeout(10):
            while not condition():
                self.events.news.clear()
                await self.events.news.wait()

    async def heard(self, kind: type[Any], where: Callable[[Any], bool] = lambda event: True) -> Any:
        """The first event of a kind."""

        def found() -> list[PlatformEvent]:
            return [event for event in self.events.seen if isinstance(event, kind) and where(event)]

        await self.until(found)
        return found()[0]

    def say(self, message: str, **more: Any) -> Raw:
        """Ann says it."""
        return self.double.post(self.ann, self.channel, message, **more)

    def post(self, text: str | Text, **more: Any) -> Outbound:
        """A post of Alice's."""
        words = text if isinstance(text, Text) else Text(text)
        return Outbound(self.room, **({"key": secrets.token_hex(8), "text": words, "author": ALICE} | more))

    def shown(self) -> list[str]:
        """The words that stand in the channel."""
        return [self.double.shown(post).plain for post in self.double.standing(self.channel)]


@pytest.fixture
async def quiet(store: Redis) -> AsyncIterator[Garden]:
    """Not started yet."""
    async with MattermostDouble() as double:
        garden = Garden(double, store)
        yield garden
        await garden.adapter.stop()


@pytest.fixture
async def garden(quiet: Garden) -> Garden:
    """Started and online."""
    await quiet.start()
    return quiet

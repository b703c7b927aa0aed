"""An adapter with its endpoint on a free port, and the double of Teams that it speaks with."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import pytest

from bots.teams import PLATFORM
from bots.teams.adapter import TeamsAdapter
from bots.teams.config import TeamsConfig
from core.contract import Outbound, OutFile, Services
from core.model import AccountId, Author, PlatformEvent, RoomId, Text, room_id
from core.store import Redis, StoreDown
from tests.contract.harness import Site
from tests.fakes.teams import BotService
from tests.fakes.teams_people import People

ACCOUNT = AccountId("teams")
ALICE = Author("u1", "Alice")
Kind = TypeVar("Kind", bound=PlatformEvent)


class Inbox:
    """The relay's side of ``emit``: takes events in, or is down, or stalls."""

    def __init__(self) -> None:
        self.events: list[PlatformEvent] = []
        self.waiting: list[PlatformEvent] = []
        self.down = False
        self.stalled: asyncio.Event | None = None
        self.states: list[str] = []
        self.news = asyncio.Event()

    def __call__(self, event: PlatformEvent) -> None:
        self.waiting.append(event)

    async def accepted(self) -> None:
        if self.stalled:
            await self.stalled.wait()
        if self.down:
            raise StoreDown("down")
        waiting, self.waiting = self.waiting, []
        self.events += waiting

    def online(self) -> None:
        self.states.append("online")
        self.news.set()

    def offline(self, reason: str) -> None:
        self.states.append(reason)
        self.news.set()

    def of(self, kind: type[Kind]) -> list[Kind]:
        """The events of one kind."""
        return [event for event in self.events if isinstance(event, kind)]

    async def state(self, words: str) -> None:
        """Wait until the account is in a state that ``words`` name."""
        async with asyncio.timeout(10):
            while not any(words in state for state in self.states):
                self.news.clear()
                await self.news.wait()


def services(store: Redis, url: str) -> Services:
    """What a host lends."""
    return Services(
        store=store,
        key=lambda *parts: "bb:{a:teams}:x:" + ":".join(parts),
        now_ms=lambda: time.time_ns() // 1_000_000,
        random_id=lambda: secrets.token_hex(16),
        public_url=url,
        prefix="sameroom",
        sign=lambda purpose, payload: f"{purpose}~{payload}",
        verify=lambda purpose, token, max_age_s: token,
    )


class World:
    """The double, an adapter that is not started, and what it emits."""

    def __init__(self, store: Redis, service: BotService, **settings: Any) -> None:
        self.store = store
        self.service = service
        self.site = Site()
        self.inbox = Inbox()
        self.config = TeamsConfig(**(service.settings() | settings))
        self.adapter: TeamsAdapter = PLATFORM.create(ACCOUNT, self.config, services(store, self.site.url))  # type: ignore[assignment]
        self.site.add(self.adapter, self.inbox)
        service.endpoint = f"{self.site.account_url(ACCOUNT)}/messages"

    async def chat(self, *names: str, personal: bool = False) -> People:
        """A chat with the bot in it."""
        room = self.service.chat(*(self.service.person(name) for name in names), personal=personal)
        return await self._entered(People(self.service, room))

    async def channel(self, *names: str, name: str = "Seeds", team: str = "Garden Club") -> People:
        """A channel with the bot in it."""
        room = self.service.channel(team, name, *(self.service.person(one) for one in names))
        return await self._entered(People(self.service, room))

    async def _entered(self, people: People) -> People:
        await people.add_bot(next(iter(people.room.members)))
        return people

    def room(self, people: People) -> RoomId:
        """As the relay knows it."""
        return room_id(ACCOUNT, people.room.id)

    def post(self, people: People, text: str | Text, **more: Any) -> Outbound:
        """A post of Alice's."""
        words = text if isinstance(text, Text) else Text(text)
        return Outbound(self.room(people), secrets.token_hex(8), words, **({"author": ALICE} | more))

    def asked(self, part: str) -> list[tuple[str, str, str]]:
        """The bot's requests whose path holds ``part``."""
        return [one for one in self.service.transcript if part in one[1]]


def file(data: bytes, name: str = "plan.png", mime: str = "image/png", size: int | None = None) -> OutFile:
    """A file of another platform."""

    async def chunks() -> AsyncIterator[bytes]:
        for start in range(0, len(data), 65_536):
            yield data[start : start + 65_536]

    return OutFile(name, mime, len(data) if size is None else size, f"https://bridge.example/f/{name}", chunks)


@asynccontextmanager
async def running(
    store: Redis, *, rates: bool = False, reactions: bool = True, **settings: Any
) -> AsyncIterator[World]:
    """All of it, ended in order."""
    async with BotService(rates=rates, reactions=reactions) as service:
        world = World(store, service, **settings)
        await world.site.start()
        try:
            yield world
        finally:
            await world.adapter.stop()
            await world.site.stop()


@pytest.fixture
async def world(store: Redis) -> AsyncIterator[World]:
    """With the default settings."""
    async with running(store) as made:
        yield made

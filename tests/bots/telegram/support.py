"""An adapter on a double, with a group in which Ann and Bob are."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

from msgspec.structs import replace

from bots.telegram.adapter import TelegramAdapter
from bots.telegram.config import TelegramConfig
from core.contract import Outbound
from core.model import AccountId, Author, MessageNew, PlatformEvent, RoomId, Text, room_id
from core.store import Redis, StoreDown
from tests.contract.harness import Site, services
from tests.contract.stage import Recorder
from tests.fakes.telegram import TelegramDouble
from tests.fakes.telegram_world import Chat, Message, Person

TG = AccountId("tg")
ZOE = Author("irc:zoe", "Zoë")
PATIENCE_S = 10.0
Kind = TypeVar("Kind", bound=PlatformEvent)


class Relay(Recorder):
    """Keeps what it gets; can be told that the store is down."""

    down = False

    async def accepted(self) -> None:
        """Durable, unless the store is down."""
        if self.down:
            raise StoreDown("down")


@dataclass
class Bench:
    """Everything of one test."""

    double: TelegramDouble
    config: TelegramConfig
    store: Redis
    site: Site
    ann: Person
    bob: Person
    group: Chat
    relay: Relay = field(default_factory=Relay)
    adapter: Any = None
    keys: int = 0

    @property
    def room(self) -> RoomId:
        """The group's room."""
        return room_id(TG, str(self.group.id))

    def make(self, **changes: Any) -> TelegramAdapter:
        """A new adapter, not started."""
        self.config = replace(self.config, **changes)
        return TelegramAdapter(TG, self.config, services(self.store, TG, self.site.url))

    async def start(self, **changes: Any) -> None:
        """Start an adapter; return when it is online."""
        self.adapter = self.make(**changes)
        self.relay.is_online = False
        await self.adapter.start(self.relay)
        await self.until(lambda: self.relay.is_online)

    async def stop(self) -> None:
        """Stop it."""
        if self.adapter:
            await self.adapter.stop()
            self.adapter = None

    async def until(self, condition: Callable[[], Any]) -> Any:
        """Wait for something that the adapter emits."""
        try:
            async with asyncio.timeout(PATIENCE_S):
                while not (found := condition()):
                    self.relay.news.clear()
                    await self.relay.news.wait()
                return found
        except TimeoutError:
            raise AssertionError(f"never emitted: {self.relay.seen[-4:]} {self.relay.reasons[-2:]}") from None

    async def heard(self, kind: type[Kind], where: Callable[[Kind], bool] = lambda event: True) -> Kind:
        """Wait for an event."""

        def found() -> list[Kind]:
            return [event for event in self.relay.seen if isinstance(event, kind) and where(event)]

        return (await self.until(found))[0]  # type: ignore[no-any-return]

    async def said(self, text: str) -> MessageNew:
        """Wait until a text was heard."""
        return await self.heard(MessageNew, lambda event: event.text.plain == text)

    def texts(self) -> list[str]:
        """The texts heard so far."""
        return [event.text.plain for event in self.relay.seen if isinstance(event, MessageNew)]

    def out(self, text: str | Text, room: RoomId | None = None, **more: Any) -> Outbound:
        """A post."""
        self.keys += 1
        words = Text(text) if isinstance(text, str) else text
        return Outbound(room or self.room, f"key{self.keys}", words, more.pop("author", ZOE), **more)

    def posts(self, chat: Chat | None = None) -> list[Message]:
        """What the bot posted."""
        return [message for message in (chat or self.group).messages.values() if message.by_bot]

    async def posted(self, text: str, chat: Chat | None = None) -> Message:
        """Wait for a post that holds ``text``."""

        def found() -> Message | None:
            return next((post for post in self.posts(chat) if text in post.plain), None)

        return await self.double.until(found)  # type: ignore[no-any-return]


@asynccontextmanager
async def bench(store: Redis) -> AsyncIterator[Bench]:
    """A double and a web server; the adapter is made by the test."""
    site = Site()
    async with TelegramDouble() as double:
        ann, bob = double.person("Ann", "ann_writes"), double.person("Bob")
        group = double.chat("Garden", bob, ann)
        group.members[double.bot.id] = "member"
        config = TelegramConfig(
            token=double.token,
            username="bridge_bot",
            api_url=double.url,
            poll_s=5,
            album_wait_s=0.4,
            request_timeout_s=3.0,
            webhook_path="a-secret-path-nobody-guesses",
            webhook_secret="a-secret-header-nobody-guesses",
        )
        made = Bench(double, config, store, site, ann, bob, group)
        try:
            yield made
        finally:
            await made.stop()
            await site.stop()

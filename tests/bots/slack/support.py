"""An adapter on a double, with a channel in which Ann, Bob and the app are."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

from msgspec.structs import replace

from bots.slack.adapter import SlackAdapter
from bots.slack.config import SlackConfig
from core.contract import Outbound, Services
from core.model import AccountId, Author, MessageNew, PlatformEvent, RoomId, Text, room_id
from core.store import Redis, StoreDown
from tests.contract.harness import Site, services
from tests.contract.stage import Recorder
from tests.fakes.slack import APP_TOKEN, BOT_TOKEN, SECRET, SlackDouble
from tests.fakes.slack_world import TEAM, Channel, Person, Raw

SLACK = AccountId("slack")
ZOE = Author("irc:zoe", "Zoë", "https://pictures.example.org/zoe.png")
PATIENCE_S = 10.0
Kind = TypeVar("Kind", bound=PlatformEvent)


class Relay(Recorder):
    """Keeps what it gets; can be told that the store is down."""

    down = False
    accepts = 0

    async def accepted(self) -> None:
        """Durable, unless the store is down."""
        self.accepts += 1
        if self.down:
            raise StoreDown("down")


@dataclass
class Bench:
    """Everything of one test."""

    double: SlackDouble
    config: SlackConfig
    store: Redis
    site: Site
    ann: Person
    bob: Person
    garden: Channel
    relay: Relay = field(default_factory=Relay)
    adapter: Any = None
    keys: int = 0

    @property
    def room(self) -> RoomId:
        """The channel's room."""
        return room_id(SLACK, self.garden.id)

    def services(self) -> Services:
        """What a host lends, with the real time: signatures depend on it."""
        return replace(services(self.store, SLACK, self.site.url), now_ms=lambda: int(time.time() * 1000))

    def make(self, **changes: Any) -> SlackAdapter:
        """A new adapter, not started."""
        self.config = replace(self.config, **changes)
        return SlackAdapter(SLACK, self.config, self.services())

    async def start(self, **changes: Any) -> None:
        """Start an adapter; return when it is online."""
        self.adapter = self.make(**changes)
        self.relay.is_online = False
        await self.adapter.start(self.relay)
        await self.until(lambda: self.relay.is_online)

    async def listen(self) -> None:
        """Slack is to call us: serve the routes, of an adapter that is not started."""
        self.adapter = self.make(app_token="")
        self.site.add(self.adapter, self.relay)
        await self.site.start()
        self.double.events_url = f"{self.site.account_url(SLACK)}/events"

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

    def posts(self, channel: Channel | None = None) -> list[Raw]:
        """What the app posted."""
        return [raw for raw in (channel or self.garden).messages.values() if raw.get("bot_id")]


@asynccontextmanager
async def bench(store: Redis) -> AsyncIterator[Bench]:
    """A double and a web server; the adapter is made by the test."""
    site = Site()
    async with SlackDouble() as double:
        ann, bob = double.person("Ann", is_admin=True), double.person("Bob")
        garden = double.channel("garden", bob, ann)
        garden.members.add(double.bot.id)
        config = SlackConfig(
            bot_token=BOT_TOKEN,
            app_token=APP_TOKEN,
            signing_secret=SECRET,
            team_id=TEAM,
            team_name="Garden Club",
            user_id=double.bot.id,
            bot_id=double.bot_id,
            app_id=double.app_id,
            bot_name=double.bot.name,
            api_url=f"{double.url}/api",
            file_hosts=("127.0.0.1",),
            request_timeout_s=1.5,
            reorder_ms=50,
        )
        made = Bench(double, config, store, site, ann, bob, garden)
        try:
            yield made
        finally:
            await made.stop()
            await site.stop()

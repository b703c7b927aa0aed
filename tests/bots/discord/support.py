"""An adapter on a double, with a server in which Ann and Bob are."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

from msgspec.structs import replace

from bots.discord.adapter import DiscordAdapter
from bots.discord.config import DiscordConfig
from core.contract import Outbound
from core.model import AccountId, Author, MessageNew, PlatformEvent, RoomId, Text, room_id
from core.store import Redis, StoreDown
from tests.bots.discord.scene import config_of
from tests.contract.harness import services
from tests.contract.stage import Recorder
from tests.fakes.discord import DiscordDouble
from tests.fakes.discord_text import shown
from tests.fakes.discord_world import Channel, Guild, Raw

DC = AccountId("dc")
ZOE = Author("irc:zoe", "Zoë", "https://pictures.example/zoe.png")
YAN = Author("irc:yan", "Yan")
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

    double: DiscordDouble
    config: DiscordConfig
    store: Redis
    ann: Raw
    bob: Raw
    guild: Guild
    garden: Channel
    relay: Relay = field(default_factory=Relay)
    adapter: Any = None
    keys: int = 0

    @property
    def room(self) -> RoomId:
        """The channel's room."""
        return room_id(DC, self.garden.id)

    def make(self, **changes: Any) -> DiscordAdapter:
        """A new adapter, not started."""
        self.config = replace(self.config, **changes)
        return DiscordAdapter(DC, self.config, services(self.store, DC, "http://portal.example"))

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

    def posts(self, channel: Channel | None = None) -> list[Raw]:
        """What we posted."""
        found = (channel or self.garden).messages.values()
        return [raw for raw in found if raw["author"].get("bot")]

    def read(self, channel: Channel | None = None) -> list[tuple[str, str]]:
        """Names and words of what we posted."""
        return [(raw["author"]["username"], shown(raw["content"])[0]) for raw in self.posts(channel)]

    def asked(self, method: str, part: str = "") -> list[tuple[str, str, Any]]:
        """Requests that were made."""
        return [found for found in self.double.transcript if found[0] == method and part in found[1]]


@asynccontextmanager
async def bench(store: Redis) -> AsyncIterator[Bench]:
    """A double; the adapter is made by the test."""
    async with DiscordDouble() as double:
        ann, bob, owner = double.person("Ann"), double.person("Bob"), double.person("Olga")
        guild = double.guild("Club", ann, bob, owner, owner=owner)
        garden = double.channel(guild, "garden")
        double.add_bot(guild)
        made = Bench(double, replace(config_of(double), request_timeout_s=2.0), store, ann, bob, guild, garden)
        try:
            yield made
        finally:
            await made.stop()

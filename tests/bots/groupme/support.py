"""An account of the GroupMe double with its routes served, as the tests of this folder want it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

from bots.groupme import PLATFORM
from bots.groupme.config import GroupMeConfig
from core.contract import Emit, Outbound
from core.model import AccountId, Author, MessageNew, RoomId, Text, room_id
from core.store import Redis
from tests.bots.groupme.scene import GROUP, ME, PEOPLE, config_for, populate
from tests.contract.harness import Site, services
from tests.contract.scene import ANN, BOB
from tests.contract.stage import Recorder
from tests.fakes.groupme import Bot, GroupMeDouble, running_groupme

GM = AccountId("gm")
ROOM = room_id(GM, GROUP)
PATH_KEY = "5e" * 32
ALICE = Author("u1", "Alice")
PATIENCE_S = 10.0
Event = TypeVar("Event")


@dataclass
class Account:
    """A running account, and the service that it is on."""

    double: GroupMeDouble
    adapter: Any
    events: Any
    site: Site
    config: GroupMeConfig
    bot: Bot | None = None

    @property
    def callback(self) -> str:
        """The callback URL of the group's bot."""
        return f"{self.site.account_url(GM)}/{self.config.path(GROUP)}"

    def texts(self) -> list[str]:
        """What was heard, in order."""
        return [event.text.plain for event in self.events.seen if isinstance(event, MessageNew)]

    def of(self, kind: type[Event]) -> list[Event]:
        """What was heard of one kind."""
        return [event for event in self.events.seen if isinstance(event, kind)]

    async def until(self, condition: Callable[[], object]) -> None:
        """Wait for something that is heard, or that happens at GroupMe."""
        try:
            async with asyncio.timeout(PATIENCE_S):
                while not condition():
                    self.double.changed.clear()
                    self.events.news.clear()
                    waits = [asyncio.create_task(e.wait()) for e in (self.double.changed, self.events.news)]
                    await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED, timeout=0.2)
                    for task in waits:
                        task.cancel()
        except TimeoutError:
            raise AssertionError(f"never: {self.events.seen[-4:]} {self.events.reasons[-3:]}") from None

    def say(self, text: str, who: str = ANN, **more: Any) -> str:
        """Somebody says it."""
        return self.double.say(GROUP, PEOPLE[who], text, **more)

    def requests(self, what: str) -> list[Any]:
        """Bodies of the requests whose ``METHOD path`` begins so."""
        return [body for method, path, body in self.double.requests if f"{method} {path}".startswith(what)]


def post(text: str | Text, key: str = "k1", **more: Any) -> Outbound:
    """Something to post."""
    words = text if isinstance(text, Text) else Text(text)
    return Outbound(**({"room": ROOM, "key": key, "text": words, "author": ALICE} | more))


@asynccontextmanager
async def member(store: Redis, *, start: bool = True, **more: Any) -> AsyncIterator[Account]:
    """An account that is a member of the group."""
    async with running_groupme() as double:
        populate(double, with_me=True)
        async with _running(double, config_for(double, **more), store, start=start) as account:
            if start:
                await account.until(lambda: double.push.subscribers(f"/group/{GROUP}"))
            yield account


@asynccontextmanager
async def group_bot(
    store: Redis, *, token: str = "", emit: Emit | None = None, start: bool = True, **more: Any
) -> AsyncIterator[Account]:
    """An account that is a bot of the group, made by hand by Ann; without a token unless one is given."""
    async with running_groupme() as double:
        populate(double, with_me=bool(token))
        config = config_for(double, **({"token": token, "bots": f"{GROUP}:b07", "path_key": PATH_KEY} | more))
        async with _running(double, config, store, start=start, emit=emit) as account:
            owner = ME if token else PEOPLE[ANN]
            account.bot = double.bot("b07", GROUP, "BridgeBot", account.callback, owner)
            yield account


@asynccontextmanager
async def _running(
    double: GroupMeDouble, config: GroupMeConfig, store: Redis, *, start: bool, emit: Emit | None = None
) -> AsyncIterator[Account]:
    site, events = Site(), emit or Recorder()
    adapter = PLATFORM.create(GM, config, services(store, GM, site.url))
    site.add(adapter, events)
    await site.start()
    account = Account(double, adapter, events, site, config)
    try:
        if start:
            await adapter.start(events)
            await account.until(lambda: getattr(events, "is_online", True))
        yield account
    finally:
        await adapter.stop()
        await site.stop()


__all__ = ["ALICE", "ANN", "BOB", "GM", "GROUP", "ROOM", "Account", "RoomId", "group_bot", "member", "post"]

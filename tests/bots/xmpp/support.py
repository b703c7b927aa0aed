"""What the tests share: an adapter that runs, a room with people in it, and waiting for what happens."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from bots.xmpp.adapter import XmppAdapter
from bots.xmpp.config import XmppConfig
from core.contract import Outbound, Receipt, Retry
from core.model import AccountId, Author, PlatformEvent, RoomId, Text, room_id
from core.store import Redis
from tests.contract.harness import services
from tests.contract.stage import Recorder
from tests.servers.xmpp import BRIDGE, CONFERENCE, SECRET, Prosody

ACCOUNT = AccountId("xmpp")
ALICE = Author("u1", "Alice")
PATIENCE_S = 10.0
Kind = TypeVar("Kind", bound=PlatformEvent)


def new_room() -> str:
    """The address of a room that nobody was in yet."""
    return f"room-{secrets.token_hex(4)}@{CONFERENCE}"


def roomed(room: str) -> RoomId:
    """Its RoomId."""
    return room_id(ACCOUNT, room)


def component_config(prosody: Prosody, **more: Any) -> XmppConfig:
    """The component of a server."""
    return XmppConfig(
        jid=BRIDGE,
        password=SECRET,
        host="127.0.0.1",
        port=prosody.component_port,
        trusted_addresses=("127.0.0.1",),
        **more,
    )


def post(room: str, text: str | Text, author: Author | None = ALICE, **more: Any) -> Outbound:
    """A post for a room."""
    words = text if isinstance(text, Text) else Text(text)
    return Outbound(roomed(room), secrets.token_hex(8), words, author, **more)


class Running:
    """An adapter that was started, and what it emitted."""

    def __init__(self, adapter: XmppAdapter, events: Recorder) -> None:
        self.adapter = adapter
        self.events = events

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait for something that the adapter emits."""
        async with asyncio.timeout(PATIENCE_S):
            while not condition():
                self.events.news.clear()
                await self.events.news.wait()

    async def heard(self, kind: type[Kind], where: Callable[[Kind], bool] = lambda event: True) -> Kind:
        """Wait for an event; the first one that fits."""

        def found() -> list[Kind]:
            return [event for event in self.events.seen if isinstance(event, kind) and where(event)]

        await self.until(lambda: bool(found()))
        return found()[0]


async def delivered(link: Running, outbound: Outbound) -> Receipt:
    """Post it, again as long as it is certain that it was not sent; as the core does."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            try:
                return await link.adapter.send(outbound)
            except Retry as error:
                await asyncio.sleep(error.after_s)


@asynccontextmanager
async def running(config: XmppConfig, store: Redis, recorder: Recorder | None = None) -> AsyncIterator[Running]:
    """The adapter, online."""
    events = recorder or Recorder()
    adapter = XmppAdapter(ACCOUNT, config, services(store, ACCOUNT, "http://127.0.0.1:1"))
    await adapter.start(events)
    try:
        made = Running(adapter, events)
        await made.until(lambda: events.is_online)
        yield made
    finally:
        await adapter.stop()

"""The contract suite's stage for the reference platform."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import count

from bots.loopback import make_platform
from bots.loopback.adapter import Loopback, LoopbackConfig
from bots.loopback.network import LoopbackNetwork, person
from core.contract import Services
from core.model import AccountId, MessageNew, NativeId, RoomId, Text, room_id
from core.store import Redis
from tests.contract.stage import Recorder, Session, Shown

ACCOUNT = AccountId("lo")
ROOM = "garden"


class LoopbackStage:
    """One adapter in a room of a network in memory."""

    def __init__(self, network: LoopbackNetwork, adapter: Loopback, events: Recorder) -> None:
        self.platform = make_platform(network)
        self.adapter = adapter
        self.room: RoomId = room_id(ACCOUNT, ROOM)
        self.events = events
        self._network = network
        self._ids = count()

    async def say(self, text: str) -> None:
        """Ann says something."""
        native = NativeId(f"said{next(self._ids)}")
        event = MessageNew(room=self.room, native=native, at_ms=1, author=person("Ann"), text=Text(text))
        self._network.listeners[ACCOUNT](event)

    async def shown(self, text: str) -> Shown:
        """The first post that holds ``text``."""
        return (await self.all_shown(text, 1))[0]

    async def all_shown(self, marker: str, wanted: int) -> list[Shown]:
        """All posts that hold ``marker``."""

        def found() -> list[Shown]:
            posts = self._network.room(ROOM).posts.values()
            return [Shown(p.author, p.text.plain, p.id) for p in posts if marker in p.text.plain]

        await self._network.until(lambda: len(found()) >= wanted)
        return found()


@asynccontextmanager
async def stage(store: Redis, services: Services, session: Session) -> AsyncIterator[LoopbackStage]:
    """A network with one room and the adapter on it."""
    network = LoopbackNetwork()
    network.room(ROOM, "Garden")
    events = Recorder()
    adapter = Loopback(ACCOUNT, LoopbackConfig(), services, network)
    await adapter.start(events)
    try:
        yield LoopbackStage(network, adapter, events)
    finally:
        await adapter.stop()

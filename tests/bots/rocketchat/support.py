"""An account on the Rocket.Chat double, as the tests of this folder want it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

from bots.rocketchat import PLATFORM
from core.contract import Outbound, OutFile
from core.model import AccountId, Author, MessageNew, Text, room_id
from core.store import Redis
from tests.bots.rocketchat.scene import ME, PEOPLE, ROOM, config_for, populate
from tests.contract.harness import services
from tests.contract.scene import ANN
from tests.contract.stage import Recorder
from tests.fakes.rocketchat import RocketChatDouble, running_rocketchat

RC = AccountId("rc")
WHERE = room_id(RC, ROOM)
ALICE = Author("u1", "Alice", "https://pics.example.org/alice.png")
PATIENCE_S = 10.0
Event = TypeVar("Event")


@dataclass
class Account:
    """An account, and the server that it is on."""

    double: RocketChatDouble
    adapter: Any
    events: Any

    def texts(self) -> list[str]:
        """What was heard, in order."""
        return [event.text.plain for event in self.events.seen if isinstance(event, MessageNew)]

    def of(self, kind: type[Event]) -> list[Event]:
        """What was heard of one kind."""
        return [event for event in self.events.seen if isinstance(event, kind)]

    async def until(self, condition: Callable[[], object]) -> None:
        """Wait for something that is heard, or that happens on the server."""
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
        return str(self.double.insert(ROOM, PEOPLE[who], {"msg": text, **more})["_id"])

    def lines(self) -> list[dict[str, Any]]:
        """What we posted."""
        return [m for m in self.double.rooms[ROOM].messages if m["u"]["_id"] == ME and not m.get("t")]

    async def settled(self) -> None:
        """Everything that was said so far is heard."""
        mark = f"settled {len(self.events.seen)} {self.double.now()}"
        self.say(mark)
        await self.until(lambda: mark in self.texts())


def post(text: str | Text = "", key: str = "k1", **more: Any) -> Outbound:
    """Something to post."""
    words = text if isinstance(text, Text) else Text(text)
    return Outbound(**({"room": WHERE, "key": key, "text": words, "author": ALICE} | more))


def out(name: str, data: bytes, mime: str = "image/png", size: int | None = None) -> OutFile:
    """A file to post."""

    async def chunks() -> AsyncIterator[bytes]:
        for start in range(0, len(data), 1000):
            yield data[start : start + 1000]

    return OutFile(name, mime, len(data) if size is None else size, f"https://bridge.example.org/f/{name}", chunks)


def adapter_for(double: RocketChatDouble, store: Redis, **more: Any) -> Any:
    """An adapter that is not started."""
    return PLATFORM.create(RC, config_for(double, **more), services(store, RC, "https://bridge.example.org"))


@asynccontextmanager
async def running(
    store: Redis, *, start: bool = True, roles: tuple[str, ...] = ("bot",), events: Any = None, **more: Any
) -> AsyncIterator[Account]:
    """An account that is in the channel."""
    async with running_rocketchat() as double:
        populate(double, with_me=True, roles=roles)
        events = events or Recorder()
        adapter = adapter_for(double, store, **more)
        account = Account(double, adapter, events)
        try:
            if start:
                await adapter.start(events)
                await account.until(lambda: getattr(events, "is_online", True))
                await account.until(lambda: double.listening(ME, "stream-notify-room", f"{ROOM}/user-activity"))
            yield account
        finally:
            await account.adapter.stop()


__all__ = ["ALICE", "ME", "PEOPLE", "RC", "ROOM", "WHERE", "Account", "out", "post", "running"]

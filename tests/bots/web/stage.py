"""The contract suite's stage: a room on a real server, and a guest with its page open."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from bots.web import PLATFORM, WebConfig
from bots.web.adapter import WebAdapter
from core.contract import Services
from core.model import RoomId, room_id
from core.store import Redis
from tests.bots.web.conftest import WAIT_S, Browser, Server, Socket
from tests.contract.stage import Recorder, Session, Shown


class WebStage:
    """One started adapter, and Ann in a room of hers."""

    platform = PLATFORM

    def __init__(self, adapter: WebAdapter, room: RoomId, events: Recorder, socket: Socket) -> None:
        self.adapter, self.room, self.events = adapter, room, events
        self._socket = socket
        self._messages: dict[str, Shown] = {}

    async def say(self, text: str) -> None:
        """Ann says something."""
        await self._socket.say(text)

    async def shown(self, text: str) -> Shown:
        """Wait until Ann sees a post that holds ``text``; the first such post."""
        return (await self.all_shown(text, 1))[0]

    async def all_shown(self, marker: str, count: int) -> list[Shown]:
        """Wait until ``count`` posts that hold ``marker`` are seen; in the order seen."""
        async with asyncio.timeout(WAIT_S):
            while True:
                for news in self._socket.seen:
                    if news["t"] == "message":
                        self._keep(news["m"])
                self._socket.seen.clear()
                found = [post for post in self._messages.values() if marker in post.text]
                if len(found) >= count:
                    return found
                await self._socket.receive()

    def _keep(self, message: dict[str, Any]) -> None:
        text = _words(message.get("body", []))
        self._messages[message["id"]] = Shown(message.get("name", ""), text, message["id"])


def _words(body: list[Any]) -> str:
    return "".join(node if isinstance(node, str) else _words(node[2]) for node in body)


@asynccontextmanager
async def stage(store: Redis, services: Services, session: Session) -> AsyncIterator[WebStage]:
    """A server that holds the account and serves its pages."""
    from bots.web.rooms import id_of_link

    events = Recorder()
    server = Server(store, WebConfig(says_burst=1000), events)
    server.lent = services
    await server.start()
    browser = Browser(server)
    try:
        await server.adapter.start(events)
        link = await browser.open_room(guest="Ann")
        socket = await browser.connect()
        yield WebStage(server.adapter, room_id(server.adapter.account, id_of_link(link)), events, socket)
    finally:
        await browser.http.close()
        await server.stop()

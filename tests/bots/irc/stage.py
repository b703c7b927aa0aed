"""The contract suite's stage for IRC: a channel on a real InspIRCd, and a person in it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import count

from bots.irc import PLATFORM
from bots.irc.adapter import IrcAdapter
from bots.irc.format import parse_text
from core.contract import Services
from core.model import RoomId
from core.store import Redis
from tests.bots.irc.support import ACCOUNT, config, room
from tests.contract.stage import Recorder, Session, Shown
from tests.servers.irc import HermeticIrcClient, InspIrcd

_numbers = count()
TIMEOUT_S = 10.0


class IrcStage:
    """One adapter in a channel, and Ann."""

    platform = PLATFORM

    def __init__(self, channel: str, nick: str, adapter: IrcAdapter, events: Recorder, ann: HermeticIrcClient) -> None:
        self.adapter = adapter
        self.room: RoomId = room(channel)
        self._channel = channel
        self.events = events
        self._ann = ann
        self._nick = nick

    async def say(self, text: str) -> None:
        """Ann says something, one line at a time."""
        self._ann.say(self._channel, *text.split("\n"))

    async def shown(self, text: str) -> Shown:
        """The first line that holds ``text``."""
        return (await self.all_shown(text, 1))[0]

    async def all_shown(self, marker: str, count: int) -> list[Shown]:
        """All lines of the bot that hold ``marker``."""
        async with asyncio.timeout(TIMEOUT_S):
            while True:
                lines = [parse_text(line).plain for line in self._ann.said(self._channel, by=self._nick)]
                found = [Shown(self._nick, line) for line in lines if marker in line]
                if len(found) >= count:
                    return found
                await self._ann.settled()


@asynccontextmanager
async def stage(store: Redis, services: Services, session: Session) -> AsyncIterator[IrcStage]:
    """A channel of its own on a shared server, a person, and the adapter in it."""
    server = session.keep("inspircd", InspIrcd)
    number = next(_numbers)
    channel, nick = f"#garden{number}", f"relay{number}"
    events = Recorder()
    adapter = IrcAdapter(ACCOUNT, config(server.port, nick=nick, channels=(channel,)), services)
    # Both at once: the server takes a second over each.
    await adapter.start(events)
    ann = await HermeticIrcClient(f"ann{number}").connect(server.port)
    ann.send(f"JOIN {channel}")
    await ann.sees(f":{nick}!", nick)  # the bot's JOIN, or its name in the list of who is there
    try:
        yield IrcStage(channel, nick, adapter, events, ann)
    finally:
        await adapter.stop()
        await ann.close()

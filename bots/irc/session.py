"""One connection with all that belongs to it, from connecting until it is lost."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from bots.irc.channels import Channels
from bots.irc.config import IrcConfig
from bots.irc.connection import Connection, tls_context
from bots.irc.intake import Intake
from bots.irc.membership import Membership
from bots.irc.memory import Memory
from bots.irc.people import People
from bots.irc.receive import Receiver
from bots.irc.registration import Registration
from bots.irc.send import Sender
from core.contract import Services

CONNECT_TIMEOUT_S = 15.0
GREETING_TIMEOUT_S = 60.0
REGAIN_EVERY_S = 60.0


class Session:
    """The parts of one connection, put together. ``ready`` is called when posts can go out."""

    def __init__(
        self,
        config: IrcConfig,
        services: Services,
        channels: Channels,
        intake: Intake,
        memory: Memory,
        ready: Callable[[], None],
    ) -> None:
        self.connection = Connection(config)
        self.people = People(channels)
        self.sender = Sender(self.connection, channels)
        self.receiver = Receiver(
            self.connection,
            channels,
            self.people,
            self.sender,
            intake,
            services.now_ms,
            services.random_id()[:12] + "-",
        )
        self.registration = Registration(self.connection, services.random_id, self._welcomed)
        self.membership = Membership(
            self.connection, channels, self.people, self.sender, self.receiver, intake, memory, self._all_joined
        )
        self.ready = False
        self._config = config
        self._intake = intake
        self._on_ready = ready

    async def run(self) -> str:
        """Connect and stay until the connection is gone; why it is. Raises OSError when there was none."""
        loop = asyncio.get_running_loop()
        config, connection = self._config, self.connection
        context = tls_context(config) if config.tls else None
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                await loop.create_connection(lambda: connection, config.host, config.port, ssl=context)
        except TimeoutError:
            raise OSError("the server does not answer") from None
        self._intake.connection = connection
        greeting = loop.call_later(GREETING_TIMEOUT_S, self._check_greeting)
        regain = asyncio.create_task(self._regain())
        try:
            return await asyncio.shield(connection.closed)
        finally:
            greeting.cancel()
            regain.cancel()
            connection.abort("closed by us")
            self.ready = False
            self._intake.connection = None
            self.sender.lost(connection.reason or "the connection is gone")
            self.membership.end()

    def _check_greeting(self) -> None:
        if not self.registration.welcome_over:
            self.connection.abort("the server did not greet us in time")

    def _welcomed(self) -> None:
        self.membership.begin()

    def _all_joined(self) -> None:
        self.ready = True
        self._on_ready()

    async def _regain(self) -> None:
        while True:
            await asyncio.sleep(REGAIN_EVERY_S)
            self.registration.regain()

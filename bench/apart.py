"""bridgebot with its roles apart, on a Redis that they share: some relays, some bots."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

from bench.bridge import Ends, NotRelayed, clean_environment, pair_by_chat, targets
from bench.children import Child
from bench.servers import Ircd, RedisServer
from bench.tally import Tube

SECRET_KEY = "0123456789abcdef" * 4  # of a store that lives for a minute


class Apart:
    """``bridgebot relay`` and ``bridgebot bots``, several of each. :meth:`kill` kills the first relay."""

    def __init__(
        self, command: str, servers: Sequence[Ircd], tubes: Sequence[Tube], folder: Path, *, relays: int, bots: int
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.redis = RedisServer(folder / "redis")
        self._env = clean_environment() | {"REDIS_URL": self.redis.url, "SECRET_KEY": SECRET_KEY}
        self._argv = shlex.split(command)
        self._folder = folder
        self._targets = targets(servers, tubes)
        self.relays = [self._child("relay", number) for number in range(relays)]
        self.bots = [self._child("bots", number) for number in range(bots)]

    @property
    def pids(self) -> list[int]:
        """Every process, the store's too."""
        return [self.redis.pid, *(child.pid for child in self.relays + self.bots)]

    @property
    def last_words(self) -> str:
        """The end of every log."""
        return "\n".join(child.last_words() for child in self.relays + self.bots)

    async def start(self) -> None:
        """Start what does not run: at first everything, after a kill the relay."""
        if not self.redis.runs:
            await self.redis.start()
            for number, target in enumerate(self._targets):
                await self._add_account(target, number)
        for child in self.relays + self.bots:
            if not child.runs:
                await child.start()

    async def pair(self, ends: Ends) -> None:
        """Type what people type."""
        await pair_by_chat(ends)

    async def kill(self) -> None:
        """SIGKILL the first relay."""
        await self.relays[0].kill()

    async def stop(self) -> None:
        """End the bots, the relays, the store."""
        for child in self.bots + self.relays:
            await child.stop()
        await self.redis.stop()

    def _child(self, role: str, number: int) -> Child:
        return Child([*self._argv, role], self._folder / f"{role}{number}.log", self._env)

    async def _add_account(self, target: str, number: int) -> None:
        adding = Child([*self._argv, "accounts", "add", "irc", target], self._folder / f"add{number}.log", self._env)
        await adding.start()
        if await adding.ended() != 0:
            raise NotRelayed(f"The account was not added: {adding.last_words()}")

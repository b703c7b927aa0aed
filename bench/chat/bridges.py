"""What is measured between the service's rooms: bridgebot in one process, its roles apart, or the floor."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Protocol

from bench.bridge import clean_environment
from bench.chat.seed import Sizes, add_accounts, seed, seed_folder
from bench.chat.service import Service
from bench.children import Child, free_port
from bench.servers import RedisServer

SECRET_KEY = "0123456789abcdef" * 4  # of a store that lives for a minute
PLAIN = "-m bridgebot"


class ChatBridge(Protocol):
    """A bridge between the rooms of a service."""

    @property
    def pids(self) -> list[int]:
        """Processes whose descendants, and they themselves, are the bridge."""

    @property
    def last_words(self) -> str:
        """The end of what it printed."""

    async def prepare(self) -> Sizes:
        """Make the rooms and tubes, before it is started."""

    async def start(self) -> None:
        """Start it; return at once."""

    async def stop(self) -> None:
        """End it in good order."""


def with_chat(command: str) -> list[str]:
    """bridgebot's command line with the harness's service among its platforms."""
    if not command.endswith(PLAIN):
        raise RuntimeError(f"This case needs a --product that ends in `{PLAIN}`, and this is: {command}")
    return [*command.removesuffix(PLAIN).split(), "-m", "bench.chat"]


class Whole:
    """``bridgebot run``: one process and its embedded store."""

    def __init__(self, command: str, service: Service, folder: Path) -> None:
        self.data = folder / "data"
        """The data folder, with the socket of the store in it."""
        self._layout = service.layout
        argv = [*with_chat(command), "run", "--data", str(self.data), "--port", str(free_port())]
        for name in service.layout.names():
            argv += ["--bench", f"{service.path}#{name}{'+stream' if service.layout.stream else ''}"]
        self._child = Child(argv, folder / "bridge.log", clean_environment())

    @property
    def pids(self) -> list[int]:
        """The one process; its store is a child of it."""
        return [self._child.pid]

    @property
    def last_words(self) -> str:
        """The end of its log."""
        return self._child.last_words()

    async def prepare(self) -> Sizes:
        """Seed the data folder."""
        return await seed_folder(self.data, self._layout)

    async def start(self) -> None:
        """Start it on the same folder."""
        await self._child.start()

    async def stop(self) -> None:
        """As Ctrl+C would, and its store with it."""
        await self._child.stop()


class Roles:
    """``bridgebot relay`` and ``bridgebot bots``, several of each, on one Redis or Valkey."""

    def __init__(self, command: str, service: Service, folder: Path, *, relays: int, bots: int) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.redis = RedisServer(folder / "redis")
        self._service = service
        env = clean_environment() | {"REDIS_URL": self.redis.url, "SECRET_KEY": SECRET_KEY}
        argv = with_chat(command)
        self.relays = [Child([*argv, "relay"], folder / f"relay{n}.log", env) for n in range(relays)]
        self.bots = [Child([*argv, "bots"], folder / f"bots{n}.log", env) for n in range(bots)]

    @property
    def pids(self) -> list[int]:
        """Every process, the store's too."""
        return [self.redis.pid, *(child.pid for child in self.relays + self.bots)]

    @property
    def last_words(self) -> str:
        """The end of every log."""
        return "\n".join(child.last_words() for child in self.relays + self.bots)

    async def prepare(self) -> Sizes:
        """Start the store and seed it."""
        await self.redis.start()
        await add_accounts(self.redis.url, self._service.layout, self._service.path)
        return await seed(self.redis.url, self._service.layout)

    async def start(self) -> None:
        """Start all roles."""
        for child in self.relays + self.bots:
            await child.start()

    async def stop(self) -> None:
        """End the bots, the relays, the store."""
        for child in self.bots + self.relays:
            await child.stop()
        await self.redis.stop()


class Bare:
    """The floor: a process that hands on what it hears (``bench.chat.bare``)."""

    def __init__(self, service: Service, folder: Path) -> None:
        layout = service.layout
        fanout = max(1, layout.star - 1)
        argv = [sys.executable, "-m", "bench.chat.bare", str(service.path), str(fanout), *layout.names()]
        self._child = Child(argv, folder / "bare.log", clean_environment())

    @property
    def pids(self) -> list[int]:
        """The one process."""
        return [self._child.pid]

    @property
    def last_words(self) -> str:
        """What it said when it failed."""
        return self._child.last_words()

    async def prepare(self) -> Sizes:
        """It keeps nothing."""
        return Sizes()

    async def start(self) -> None:
        """Start it."""
        await self._child.start()

    async def stop(self) -> None:
        """End it."""
        await self._child.stop()

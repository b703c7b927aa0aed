"""The roles as processes of their own on one shared store: a web server, two relays, two hosts of bots."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import pytest

from core.store import Redis
from tests.bridgebot.support import KEY, Running, call, free_port, running
from tests.contract.stage import Session
from tests.e2e.everybody import PATIENCE_S, Said, added, everybody, everybody_has_everything, paired, somebody_says

ROOMS = ("slack", "telegram", "teams", "mattermost", "rocketchat", "web")
LEASE_MS = 2_000


@pytest.fixture
def session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Session]:
    """What the scenes share."""
    made = Session(tmp_path_factory.mktemp("apart"))
    yield made
    made.close()


class Apart:
    """The processes of an installation, each of which can be killed."""

    def __init__(self, home: Path, store_url: str) -> None:
        self.home = home
        self.port = free_port()
        self.health: dict[str, int] = {}
        self._env = {"REDIS_URL": store_url, "SECRET_KEY": KEY, "BRIDGEBOT_LEASE_MS": str(LEASE_MS)}
        self._env["BRIDGEBOT_PUBLIC_URL"] = f"http://127.0.0.1:{self.port}"
        self._running: dict[str, Running] = {}
        self._stack = ExitStack()

    def add(self, name: str, config: Any) -> None:
        """``bridgebot accounts add``, with the configuration on standard input."""
        text = msgspec.json.encode(config).decode()
        done = call(self.home, "accounts", "add", name, "-", "--id", name, env=self._env, text=text)
        assert done.returncode == 0, done.stderr + done.stdout

    def start(self, name: str, *words: str) -> None:
        """Start a process and wait until it says that it runs."""
        self._running[name] = self._stack.enter_context(running(self.home, *words, env=self._env))

    def start_bots(self, name: str) -> None:
        """Start a host of bots that tells how its accounts are."""
        self.health[name] = free_port()
        self.start(name, "bots", "--port", str(self.health[name]))

    def kill(self, name: str) -> None:
        """SIGKILL."""
        process = self._running.pop(name).process
        process.send_signal(signal.SIGKILL)
        process.wait()

    def stop(self) -> None:
        """End what still runs."""
        self._stack.close()

    async def online(self, *hosts: str) -> None:
        """Wait until ``hosts`` together have all accounts online, and each of them some."""
        async with asyncio.timeout(PATIENCE_S), aiohttp.ClientSession() as http:
            while True:
                found = [await self._online(http, host) for host in hosts]
                if all(found) and set().union(*found) == set(ROOMS):
                    return
                await asyncio.sleep(0.05)

    async def _online(self, http: aiohttp.ClientSession, host: str) -> set[str]:
        async with http.get(f"http://127.0.0.1:{self.health[host]}/healthz") as answer:
            states = (await answer.json())["accounts"]
        return {name for name, state in states.items() if state == "online"}


async def test_a_host_and_a_relay_die_and_nothing_is_lost(
    tmp_path: Path, session: Session, store: Redis, store_url: str
) -> None:
    """A host of bots, then a relay are killed while everybody talks: the other ones take over what was theirs, and
    every room has everything, in order, and twice at most what a kill may double."""
    apart = Apart(tmp_path, store_url)
    async with everybody(session, apart.port, ROOMS) as guests:
        try:
            await added(apart.add, guests)
            processes = [("web", "web", "--port", str(apart.port)), ("relay1", "relay"), ("relay2", "relay")]
            await asyncio.gather(*(asyncio.to_thread(apart.start, *words) for words in processes))
            await asyncio.gather(*(asyncio.to_thread(apart.start_bots, name) for name in ("bots1", "bots2")))
            await apart.online("bots1", "bots2")
            await paired(guests)
            said: Said = {name: [] for name in ROOMS}
            await somebody_says(guests, said, ROOMS, "before", 5)
            await asyncio.to_thread(apart.kill, "bots1")
            await somebody_says(guests, said, ROOMS, "without a host", 5)
            await apart.online("bots2")
            await asyncio.to_thread(apart.kill, "relay1")
            await somebody_says(guests, said, ROOMS, "without a relay", 5)
            await everybody_has_everything(guests, said)
        finally:
            await asyncio.to_thread(apart.stop)

"""What is measured: bridgebot, started and used as its users do, or another bridge started by a command."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import shlex
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Protocol

from bench.children import Child, free_port
from bench.client import Client
from bench.servers import Ircd
from bench.tally import Tube

ASK_EVERY_S = 3.0
PAIRING_TIMEOUT_S = 120.0
PROBE_TIMEOUT_S = 60.0
PAIRS_AT_ONCE = 50
ROLE_SETTINGS = ("REDIS_URL", "SECRET_KEY", "PORT")


class NotRelayed(RuntimeError):
    """The bridge did not do in time what it should; the message has its last words."""


class Bridge(Protocol):
    """A bridge between two servers."""

    @property
    def pids(self) -> list[int]:
        """Processes whose descendants, and they themselves, are the bridge."""

    @property
    def last_words(self) -> str:
        """The end of what it printed."""

    async def start(self) -> None:
        """Start it, or start it again; return at once."""

    async def pair(self, ends: Ends) -> None:
        """Make the tubes. Does nothing where they are made by configuration."""

    async def kill(self) -> None:
        """SIGKILL its main process."""

    async def stop(self) -> None:
        """End it in good order."""


class Ends:
    """The harness's two clients: who speaks on the first server, and who watches where the targets are."""

    def __init__(self, speaker: Client, watcher: Client, tubes: Sequence[Tube], said_to: Sequence[str]) -> None:
        self.speaker, self.watcher = speaker, watcher
        self.tubes = list(tubes)
        self.said_to = list(said_to)
        """Where the lines of each tube are said."""


def clean_environment() -> dict[str, str]:
    """Ours without anybody's settings of bridgebot."""
    return {k: v for k, v in os.environ.items() if not k.startswith("BRIDGEBOT_") and k not in ROLE_SETTINGS}


def targets(servers: Sequence[Ircd], tubes: Sequence[Tube]) -> list[str]:
    """How the accounts are written on bridgebot's command line: one for each server that has rooms."""
    rooms: dict[int, dict[str, None]] = {}
    for tube in tubes:
        rooms.setdefault(0, {})[tube.source] = None
        rooms.setdefault(tube.server, {}).update(dict.fromkeys(tube.targets))
    return [
        f"127.0.0.1:{servers[index].port}/{','.join(channels)}?flood=off&tls=0&nick=bridge"
        for index, channels in rooms.items()
    ]


class Product:
    """``bridgebot run`` in one process with its embedded store."""

    def __init__(self, command: str, servers: Sequence[Ircd], tubes: Sequence[Tube], folder: Path) -> None:
        argv = [*shlex.split(command), "run", "--data", str(folder / "data"), "--port", str(free_port())]
        for target in targets(servers, tubes):
            argv += ["--irc", target]
        folder.mkdir(parents=True, exist_ok=True)
        self._child = Child(argv, folder / "bridge.log", clean_environment())

    @property
    def pids(self) -> list[int]:
        """The one process; its store is a child of it."""
        return [self._child.pid]

    @property
    def last_words(self) -> str:
        """The end of its log."""
        return self._child.last_words()

    async def start(self) -> None:
        """Start it on the same folder."""
        await self._child.start()

    async def pair(self, ends: Ends) -> None:
        """Type what people type, in every pair of rooms."""
        await pair_by_chat(ends)

    async def kill(self) -> None:
        """SIGKILL the process; its store is left to itself."""
        await self._child.kill()

    async def stop(self) -> None:
        """As Ctrl+C would, and its store with it."""
        await self._child.stop()


class Peer:
    """Another bridge. Its command finds the servers (``BENCH_SERVER_1``, ``_2``, ``_3``), a folder of its own
    (``BENCH_FOLDER``) and the tubes (``BENCH_TUBES``: ``#a=2#b #c=2#d,#e``, the number being the targets'
    server) in the environment, writes its configuration and then becomes the bridge (``exec``).
    """

    def __init__(self, command: str, servers: Sequence[Ircd], tubes: Sequence[Tube], folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        env = clean_environment() | {
            "BENCH_FOLDER": str(folder),
            "BENCH_TUBES": " ".join(f"{tube.source}={tube.server + 1}{','.join(tube.targets)}" for tube in tubes),
        }
        env |= {f"BENCH_SERVER_{number}": f"127.0.0.1:{server.port}" for number, server in enumerate(servers, 1)}
        self._child = Child(["/bin/sh", "-c", command], folder / "bridge.log", env)

    @property
    def pids(self) -> list[int]:
        """What the command became."""
        return [self._child.pid]

    @property
    def last_words(self) -> str:
        """The end of what it printed."""
        return self._child.last_words()

    async def start(self) -> None:
        """Run the command."""
        await self._child.start()

    async def pair(self, ends: Ends) -> None:
        """Its command did that already."""

    async def kill(self) -> None:
        """SIGKILL what the command became."""
        await self._child.kill()

    async def stop(self) -> None:
        """End it."""
        await self._child.stop()


class _Ear:
    """Waits for what the bot says in a channel."""

    def __init__(self, client: Client, pattern: bytes) -> None:
        self._client = client
        self._find = re.compile(rb"(?:PRIVMSG|NOTICE) (#\S+) :" + pattern).finditer
        self._heard: dict[bytes, asyncio.Future[bytes]] = {}

    def __enter__(self) -> _Ear:
        self._client.listeners.append(self._take)
        return self

    def __exit__(self, *_: object) -> None:
        self._client.listeners.remove(self._take)

    def _take(self, chunk: bytes, now_ns: int) -> None:
        for found in self._find(chunk):
            future = self._heard.get(found[1])
            if future is not None and not future.done():
                future.set_result(found[2])

    async def answer(self, channel: str, said: str, every_s: float) -> str:
        """Say something every so often until the bot answers it."""
        future = self._heard[channel.encode()] = asyncio.get_running_loop().create_future()
        while True:
            self._client.send(f"PRIVMSG {channel} :{said}\r\n".encode())
            done, _ = await asyncio.wait([future], timeout=every_s)
            if done:
                return bytes(future.result()).decode()


async def pair_by_chat(ends: Ends) -> None:
    """In every source room: ``-sameroom open``; in its target rooms: ``-sameroom connect`` with the code."""
    gate = asyncio.Semaphore(PAIRS_AT_ONCE)
    with (
        _Ear(ends.speaker, rb"[^\r\n]*?code is ([A-Z0-9-]+[A-Z0-9])") as codes,
        _Ear(ends.watcher, rb"[^\r\n]*?((?:now connected to|connected already|wrong|too many)[^\r\n]*)") as answers,
    ):

        async def connect(tube: Tube) -> None:
            async with gate:
                for target in tube.targets:
                    code = await codes.answer(tube.source, "-sameroom open", ASK_EVERY_S)
                    reply = await answers.answer(target, f"-sameroom connect {code}", 10 * ASK_EVERY_S)
                    if "connected" not in reply:
                        raise NotRelayed(f"{target} was not connected: {reply}")

        try:
            async with asyncio.timeout(PAIRING_TIMEOUT_S), asyncio.TaskGroup() as tasks:
                for tube in ends.tubes:
                    tasks.create_task(connect(tube))
        except TimeoutError:
            raise NotRelayed(f"The rooms were not paired within {PAIRING_TIMEOUT_S:.0f} s.") from None


async def until_relayed(ends: Ends, every_s: float = 0.2) -> None:
    """Wait until something said in every tube is heard in every room of it. Raises NotRelayed."""
    missing = {target.encode() for tube in ends.tubes for target in tube.targets}
    arrived = asyncio.Event()
    find = re.compile(rb"PRIVMSG (\S+) :[^\r\n]*?~probe~").finditer

    def take(chunk: bytes, now_ns: int) -> None:
        missing.difference_update(found[1] for found in find(chunk))
        if not missing:
            arrived.set()

    ends.watcher.listeners.append(take)
    try:
        async with asyncio.timeout(PROBE_TIMEOUT_S):
            while not arrived.is_set():
                for tube, said_to in zip(ends.tubes, ends.said_to, strict=True):
                    if any(target.encode() in missing for target in tube.targets):
                        ends.speaker.send(f"PRIVMSG {said_to} :~probe~\r\n".encode())
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(arrived.wait(), every_s * (1 + len(ends.tubes) / 50))
    except TimeoutError:
        raise NotRelayed(f"{len(missing)} rooms heard nothing within {PROBE_TIMEOUT_S:.0f} s.") from None
    finally:
        ends.watcher.listeners.remove(take)
    await asyncio.sleep(0.5)


async def _still_runs(bridge: Bridge) -> None:
    """Wait for as long as the bridge runs. Raises ChildEnded."""
    while bridge.pids:
        await asyncio.sleep(0.1)


async def _make_tubes(bridge: Bridge, all_ends: Sequence[Ends]) -> None:
    for ends in all_ends:
        await bridge.pair(ends)
        await until_relayed(ends)


@asynccontextmanager
async def running(bridge: Bridge, *all_ends: Ends) -> AsyncIterator[Bridge]:
    """Start a bridge, make its tubes, wait until it relays; stop it at the end, whatever happens.

    Raises NotRelayed.
    """
    try:
        await bridge.start()
        watching = asyncio.create_task(_still_runs(bridge))
        pairing = asyncio.create_task(_make_tubes(bridge, all_ends))
        try:
            await asyncio.wait([watching, pairing], return_when=asyncio.FIRST_COMPLETED)
            if not pairing.done():
                raise NotRelayed("It ended by itself.")
            await pairing
        except (NotRelayed, ExceptionGroup) as error:
            raise NotRelayed(f"{error} Its last words:\n{bridge.last_words}") from error
        finally:
            watching.cancel()
            pairing.cancel()
            await asyncio.gather(watching, pairing, return_exceptions=True)
        yield bridge
    finally:
        await bridge.stop()

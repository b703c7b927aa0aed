"""What every case gets: servers, a scratch folder, and ways to put clients and a bridge between them."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from bench.bridge import Bridge, Ends, running, until_relayed
from bench.client import Client
from bench.load import IrcMouth, Mouth
from bench.servers import Ircd
from bench.tally import Tally, Tube

MakeBridge = Callable[[Sequence[Ircd], Sequence[Tube], Path], Bridge]
PING_EVERY_S = 0.002


class World:
    """Three servers that know nothing of one another. ``quick``: a tenth of the load, to see that all works."""

    def __init__(self, folder: Path, product: str, seed: int, *, quick: bool, repeats: int) -> None:
        self.folder = folder
        self.product = product
        """How bridgebot is started."""
        self.rng = random.Random(seed)
        self.quick = quick
        self.repeats = repeats
        """How often a short measurement is made; its median counts."""
        self.servers = tuple(Ircd(name, folder / name) for name in ("one", "two", "three"))
        self.pingers = [Client(server.harness_port, f"ping{server.name}", []) for server in self.servers]
        self._serial = 0

    def scaled(self, full: int) -> int:
        """A number of lines: all, or a tenth."""
        return full // 10 if self.quick else full

    def unique(self, stem: str) -> str:
        """A word that was not used before: for tags, nicks and folders."""
        self._serial += 1
        return f"{stem}{self._serial}x{self.rng.randrange(1 << 24):06x}"

    def bridge(self, make: MakeBridge, tubes: Sequence[Tube]) -> Bridge:
        """A bridge for these tubes, not started, with a folder of its own."""
        return make(self.servers, tubes, self.folder / self.unique("bridge"))

    def tally(self, ends: Ends, count: int) -> tuple[Tally, Mouth]:
        """A new count of lines through these ends, and what says them."""
        tally = Tally(self.unique("t"), ends.tubes, count)
        ends.watcher.listeners[:] = [tally.take]
        return tally, IrcMouth(ends.speaker, ends.said_to)

    @asynccontextmanager
    async def awake(self) -> AsyncIterator[None]:
        """Keep the servers awake in a burst. InspIRCd 3 reads at most 64 KiB of a connection at a time, and
        with more waiting it sleeps until something else happens, up to a second; here, that is a ping.
        """
        task = asyncio.create_task(_ping(self.pingers))
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    @asynccontextmanager
    async def ends(self, tubes: Sequence[Tube]) -> AsyncIterator[Ends]:
        """A speaker on the first server and a watcher on the targets' one, in the rooms of all tubes."""
        sources = [tube.source for tube in tubes]
        heard = [target for tube in tubes for target in tube.targets]
        watched = self.servers[tubes[0].server]
        async with (
            Client(self.servers[0].harness_port, self.unique("s"), sources) as speaker,
            Client(watched.harness_port, self.unique("w"), heard) as watcher,
        ):
            yield Ends(speaker, watcher, tubes, sources)

    @asynccontextmanager
    async def floor(self, tubes: Sequence[Tube]) -> AsyncIterator[Ends]:
        """The same without a bridge: the speaker is on the watcher's server and says each line in the targets."""
        heard = [target for tube in tubes for target in tube.targets]
        port = self.servers[tubes[0].server].harness_port
        async with Client(port, self.unique("s"), heard) as speaker, Client(port, self.unique("w"), heard) as watcher:
            ends = Ends(speaker, watcher, tubes, [",".join(tube.targets) for tube in tubes])
            # The first words on a connection wait for a delayed acknowledgement of TCP; none is measured by them.
            await until_relayed(ends)
            yield ends

    @asynccontextmanager
    async def bridged(self, make: MakeBridge, tubes: Sequence[Tube]) -> AsyncIterator[tuple[Bridge, Ends]]:
        """A bridge that relays in all tubes, and the clients at its ends."""
        async with self.ends(tubes) as ends, running(self.bridge(make, tubes), ends) as bridge:
            yield bridge, ends


async def _ping(clients: Sequence[Client]) -> None:
    while True:
        for client in clients:
            if client.ready.is_set():
                client.send(b"PING awake\r\n")
        await asyncio.sleep(PING_EVERY_S)


@asynccontextmanager
async def world(made: World, *, irc: bool) -> AsyncIterator[World]:
    """A world whose servers run, if any case needs them; they are stopped at the end, whatever happens."""
    async with AsyncExitStack() as stack:
        for server in made.servers if irc else ():
            stack.push_async_callback(server.stop)
            await server.start()
        for pinger in made.pingers if irc else ():
            await stack.enter_async_context(pinger)
        yield made

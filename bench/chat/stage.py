"""A service with a bridge between its rooms, and the load in them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from time import perf_counter_ns

from bench.bridge import NotRelayed
from bench.chat.bridges import Bare, ChatBridge, Whole
from bench.chat.seed import Sizes
from bench.chat.service import Layout, Service
from bench.load import PADDING
from bench.tally import NS_PER_S, Tally, Tube
from bench.world import World

MakeChatBridge = Callable[[World, Service, Path], ChatBridge]
START_TIMEOUT_S = 60.0
TAIL = PADDING.decode()


def whole(world: World, service: Service, folder: Path) -> ChatBridge:
    """``bridgebot run``."""
    return Whole(world.product, service, folder)


def bare(world: World, service: Service, folder: Path) -> ChatBridge:
    """The floor."""
    return Bare(service, folder)


class ChatMouth:
    """People say line ``i`` in the room where tube ``i % len(tubes)`` begins; its id is ``<tag>.<i>``."""

    def __init__(self, service: Service, tubes: Sequence[Tube]) -> None:
        self._service = service
        self._rooms = [tube.source for tube in tubes]

    def say(self, tally: Tally, start: int, end: int) -> None:
        """Say them."""
        rooms, now_ns = self._rooms, perf_counter_ns()
        self._service.do(
            [
                ["new", rooms[n % len(rooms)], f"{tally.tag}.{n}", tally.line(n, now_ns).decode() + TAIL]
                for n in range(start, end)
            ]
        )

    async def drained(self) -> None:
        """Wait while nobody takes more."""
        await self._service.drained()


class Stage:
    """A service and the bridge between its rooms, which relays already."""

    def __init__(self, world: World, service: Service, bridge: ChatBridge, sizes: Sizes) -> None:
        self._world = world
        self.service = service
        self.bridge = bridge
        self.sizes = sizes
        self.first_s = float("nan")
        """From starting the bridge to the first line that it relayed."""

    def tally(self, count: int, tubes: Sequence[Tube] | None = None) -> tuple[Tally, ChatMouth]:
        """A new count of lines in all tubes or in some, and what says them."""
        tubes = self.service.layout.tubes() if tubes is None else tubes
        tally = Tally(self._world.unique("t"), tubes, count)
        self.service.tallies[tally.tag] = tally
        return tally, ChatMouth(self.service, tubes)

    async def until_relayed(self, began_ns: int) -> None:
        """Wait until every account is there, and something said on each of them is heard. What is said to somebody who
        is there is never lost, so it is said once."""
        await self.service.all_here()
        tubes = self.service.layout.tubes()[: self.service.layout.accounts]
        tally, mouth = self.tally(len(tubes), tubes)
        mouth.say(tally, 0, len(tubes))
        await tally.reached(1)
        self.first_s = (perf_counter_ns() - began_ns) / NS_PER_S
        await tally.reached(tally.expected)


async def _watched(stage: Stage, began_ns: int) -> None:
    """Wait until the bridge relays, or until it ends by itself. Raises NotRelayed."""
    waiting = asyncio.create_task(stage.until_relayed(began_ns))
    try:
        async with asyncio.timeout(START_TIMEOUT_S):
            while not waiting.done():
                _ = stage.bridge.pids
                await asyncio.wait([waiting], timeout=0.2)
            await waiting
    except TimeoutError:
        raise NotRelayed(f"Nothing was relayed. Its last words:\n{stage.bridge.last_words}") from None
    finally:
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)


@asynccontextmanager
async def staged(world: World, layout: Layout, make: MakeChatBridge = whole) -> AsyncIterator[Stage]:
    """Make the rooms and tubes, start the bridge, wait until it relays; end everything afterwards.

    Raises NotRelayed, ChildEnded.
    """
    folder = world.folder / world.unique("chat")
    folder.mkdir(parents=True)
    service = Service(world.folder / f"{world.unique('s')}.sock", layout)
    await service.start()
    bridge = make(world, service, folder)
    try:
        stage = Stage(world, service, bridge, await bridge.prepare())
        began_ns = perf_counter_ns()
        await bridge.start()
        await _watched(stage, began_ns)
        yield stage
    finally:
        await bridge.stop()
        await service.stop()

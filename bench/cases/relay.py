"""Roles apart: the relay is killed in a burst and started again. Everything said was accepted by the bots."""

from __future__ import annotations

from time import perf_counter_ns

from bench import load
from bench.apart import Apart
from bench.bridge import running
from bench.cases.case import ONE_TUBE, Case, rest
from bench.report import Figures, Row
from bench.tally import NS_PER_S
from bench.world import MakeBridge, World

COUNT = 20_000
IDLE_S = 20.0
LEASE_S = 5.0


async def measure(world: World, make: MakeBridge) -> Figures:
    """One relay, one process of bots."""
    folder = world.folder / world.unique("apart")
    apart = Apart(world.product, world.servers, ONE_TUBE, folder, relays=1, bots=1)
    async with world.ends(ONE_TUBE) as ends, running(apart, ends), world.awake():
        await rest(apart)
        tally, mouth = world.tally(ends, world.scaled(COUNT))
        await load.burst(mouth, tally)
        await tally.reached(tally.count // 4)
        await apart.kill()
        killed_ns = perf_counter_ns()
        await apart.start()
        await tally.settled(IDLE_S)
        return {
            "relay.lost": tally.lost,
            "relay.twice": tally.twice,
            "relay.order": tally.out_of_order,
            "relay.silence": tally.longest_silence_ns(killed_ns) / NS_PER_S,
        }


CASE = Case(
    "relay",
    (
        Row("relay.lost", "SIGKILL of the relay alone in a burst, restarted: lost of what was said", "", 0),
        Row("relay.twice", "… twice", "", 0),
        Row("relay.order", "… out of order", "", 0),
        Row("relay.silence", "… silence until the next relay has taken over (lease 5 s)", "s", LEASE_S + 1),
    ),
    measure,
    ours_only=True,
    in_quick=False,
)

"""Roles apart: the bots are killed in a burst and started again, on a service that hands over again what was not
acknowledged and makes no post twice under one key. Nothing that was said may be lost, and nothing may come twice.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from time import perf_counter_ns

from bench import load
from bench.cases.case import Case, rest
from bench.chat.bridges import ChatBridge, Roles
from bench.chat.service import Layout, Service
from bench.chat.stage import staged
from bench.report import Figures, Row
from bench.tally import NS_PER_S
from bench.world import MakeBridge, World

COUNT = 10_000
LAYOUT = Layout(pairs=16, redelivers=True)
IDLE_S = 20.0
LEASE_S = 5.0


async def measure(world: World, make: MakeBridge) -> Figures:
    """One relay, one process of bots, which is killed when a quarter is through."""
    made: list[Roles] = []

    def roles(world: World, service: Service, folder: Path) -> ChatBridge:
        made.append(Roles(world.product, service, folder, relays=1, bots=1))
        return made[0]

    async with staged(world, LAYOUT, roles) as stage:
        await rest(stage.bridge)
        tally, mouth = stage.tally(world.scaled(COUNT))
        saying = asyncio.create_task(load.burst(mouth, tally))
        await tally.reached(tally.count // 4)
        await made[0].bots[0].kill()
        killed_ns = perf_counter_ns()
        await made[0].bots[0].start()
        await saying
        await tally.settled(IDLE_S)
        return {
            "redelivery.lost": tally.lost,
            "redelivery.twice": tally.twice,
            "redelivery.order": tally.out_of_order,
            "redelivery.silence": tally.longest_silence_ns(killed_ns) / NS_PER_S,
        }


CASE = Case(
    "redelivery",
    (
        Row("redelivery.lost", "SIGKILL of the bots in a burst, redelivering service: lost of what was said", "", 0),
        Row("redelivery.twice", "… twice", "", 0),
        Row("redelivery.order", "… out of order", "", 0),
        Row("redelivery.silence", "… silence until the next bots have taken over (lease 5 s)", "s", LEASE_S + 1),
    ),
    measure,
    ours_only=True,
    irc=False,
    in_quick=False,
)

"""SIGKILL and a restart at once: in the middle of a burst, and with everything taken in and nothing delivered."""

from __future__ import annotations

from bench import load
from bench.cases.case import ONE_TUBE, Case, rest
from bench.load import Mouth
from bench.report import Figures, Row
from bench.tally import Tally
from bench.world import MakeBridge, World

COUNT = 20_000
IDLE_S = 8.0


async def _in_a_burst(world: World, make: MakeBridge) -> Figures:
    async with world.bridged(make, ONE_TUBE) as (bridge, ends), world.awake():
        await rest(bridge)
        tally, mouth = world.tally(ends, world.scaled(COUNT))
        said = await _say_until_half_is_there(tally, mouth)
        await bridge.kill()
        await bridge.start()
        await tally.settled(IDLE_S)
        return {
            "kill.said": 100 * tally.lost / tally.count,
            "kill.holes": tally.lost_before(said),
            "kill.twice": tally.twice,
            "kill.order": tally.out_of_order,
        }


async def _say_until_half_is_there(tally: Tally, mouth: Mouth) -> int:
    await load.burst(mouth, tally)
    await tally.reached(tally.count // 2)
    return tally.sent


async def _while_waiting(world: World, make: MakeBridge) -> Figures:
    async with world.bridged(make, ONE_TUBE) as (bridge, ends), world.awake():
        two = world.servers[1]
        await two.kill()
        try:
            tally, mouth = world.tally(ends, world.scaled(COUNT))
            await load.burst(mouth, tally)
            await rest(bridge)
            await bridge.kill()
            await bridge.start()
        finally:
            await two.start(bridge_door=False)
        await ends.watcher.until_ready()
        await two.open_bridge_door()
        await tally.settled(IDLE_S)
        return {
            "kill.accepted": tally.lost,
            "kill.accepted_twice": tally.twice,
            "kill.accepted_order": tally.out_of_order,
        }


async def measure(world: World, make: MakeBridge) -> Figures:
    """A line counts as accepted for certain when a later one was relayed, or when the bridge had come to rest."""
    return await _in_a_burst(world, make) | await _while_waiting(world, make)


CASE = Case(
    "kill",
    (
        Row("kill.holes", "SIGKILL in a burst of 20,000, restarted: lost of what was accepted", "", 0),
        Row("kill.said", "… lost of what was said (the socket's content dies with the process)", "%"),
        Row("kill.twice", "… twice (at most the batch under way)", "", 200),
        Row("kill.order", "… out of order", "", 0),
        Row("kill.accepted", "SIGKILL with 20,000 waiting, restarted: lost", "", 0),
        Row("kill.accepted_twice", "… twice", "", 0),
        Row("kill.accepted_order", "… out of order", "", 0),
    ),
    measure,
    short=True,
    in_quick=False,
)

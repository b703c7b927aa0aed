"""A GroupMe group and another room, connected by typed commands alone."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from bots.groupme import PLATFORM
from core.model import AccountId, NativeId, PlatformId
from core.store import Redis
from tests.bots.groupme.scene import GROUP, PEOPLE, config_for, populate
from tests.contract.scene import ANN
from tests.fakes.groupme import running_groupme
from tests.support.world import StoredAccount, account, running_world


async def test_a_group_and_a_room_become_one(store: Redis) -> None:
    """Codes, words, answers, edits and deletions go both ways between a GroupMe group and a room elsewhere."""
    async with running_groupme() as double:
        populate(double, with_me=True)
        gm = StoredAccount(AccountId("gm"), PlatformId("groupme"), config_for(double, rate_per_s=0))
        async with running_world(store, account("lo"), gm, platforms={"groupme": PLATFORM}) as world:
            room = world.room("lo", "den")

            def lines() -> list[str]:
                return [line["text"] for line in double.lines(GROUP)]

            async def until(event: asyncio.Event, condition: Callable[[], bool]) -> None:
                async with asyncio.timeout(10):
                    while not condition():
                        event.clear()
                        await event.wait()

            await until(double.push.changed, lambda: double.push.subscribers(f"/group/{GROUP}") > 0)
            code = await world.code(room)
            double.say(GROUP, PEOPLE[ANN], f"-sameroom connect {code}")
            await world.shows(room, "now connected")
            double.say(GROUP, PEOPLE[ANN], "hello from GroupMe")
            await world.shows(room, "hello from GroupMe")
            said = world.say(room, "Zed", "hello from the den")
            await until(double.changed, lambda: any("Zed" in line and "hello from the den" in line for line in lines()))
            native = next(line["id"] for line in double.lines(GROUP) if "hello from the den" in line["text"])
            world.edit(room, said, "Zed", "hello again")
            await until(double.changed, lambda: any("hello again" in line for line in lines()))
            assert double.find(GROUP, native)["text"].endswith("hello again")
            double.say(GROUP, PEOPLE[ANN], "welcome", [{"type": "reply", "base_reply_id": native}])
            post = await world.post(room, "welcome")
            assert post.reply_to == NativeId(said)

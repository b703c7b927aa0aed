"""A Rocket.Chat channel and another room, connected by typed commands alone."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from bots.rocketchat import PLATFORM
from core.model import AccountId, NativeId, PlatformId
from core.store import Redis
from tests.bots.rocketchat.scene import ME, PEOPLE, ROOM, config_for, populate
from tests.contract.scene import ANN
from tests.fakes.rocketchat import running_rocketchat
from tests.support.world import StoredAccount, account, running_world


async def test_a_channel_and_a_room_become_one(store: Redis) -> None:
    """Codes, words, answers, edits and deletions go both ways between a channel and a room elsewhere."""
    async with running_rocketchat() as double:
        populate(double, with_me=True)
        rc = StoredAccount(AccountId("rc"), PlatformId("rocketchat"), config_for(double))
        async with running_world(store, account("lo"), rc, platforms={"rocketchat": PLATFORM}) as world:
            room = world.room("lo", "den")

            def lines() -> list[dict[str, object]]:
                return [m for m in double.rooms[ROOM].messages if m["u"]["_id"] == ME]

            async def until(condition: Callable[[], bool]) -> None:
                async with asyncio.timeout(10):
                    while not condition():
                        double.changed.clear()
                        await double.changed.wait()

            def say(words: str) -> str:
                return str(double.insert(ROOM, PEOPLE[ANN], {"msg": words})["_id"])

            await until(lambda: double.listening(ME, "stream-notify-room", f"{ROOM}/user-activity"))
            code = await world.code(room)
            say(f"-sameroom connect {code}")
            await world.shows(room, "now connected")
            say("hello from Rocket.Chat")
            await world.shows(room, "hello from Rocket.Chat")
            said = world.say(room, "Zed", "hello from the den")
            await until(lambda: any(m["msg"] == "hello from the den" for m in lines()))
            line = next(m for m in lines() if m["msg"] == "hello from the den")
            assert str(line["alias"]).startswith("Zed")
            world.edit(room, said, "Zed", "hello again")
            await until(lambda: line["msg"] == "hello again")
            say(f"[ ]({double.url}/channel/garden?msg={line['_id']}) welcome")
            post = await world.post(room, "welcome")
            assert post.reply_to == NativeId(said)

"""The whole way: a space and a room of another platform, joined by typed commands on the real relay."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from bots.googlechat import PLATFORM
from bots.googlechat.config import GoogleChatConfig
from core.model import AccountId, PlatformId
from core.store import Redis
from tests.fakes.googlechat import GoogleChatDouble
from tests.fakes.googlechat_people import People
from tests.fakes.googlechat_text import render_markdown
from tests.support.world import StoredAccount, account, running_world


def shown(space: object) -> list[str]:
    """What stands in the space, as people read it."""
    return [render_markdown(m["text"])[0].replace("\u200b", "") for m in space.messages.values()]  # type: ignore[attr-defined]


async def seen(double: GoogleChatDouble, condition: Callable[[], bool]) -> None:
    """Wait for something in the double."""
    async with asyncio.timeout(15):
        while not condition():
            await double.news.wait()


async def test_two_rooms_become_one(store: Redis) -> None:
    """Open here, connect there; what is said on one side is read once on the other, though Google tells it twice."""
    async with GoogleChatDouble() as double:
        people = People(double, "http://127.0.0.1:1/unused")
        ann = people.person("Ann")
        space = people.space("AAQAgarden", "Garden", ann)
        space.has_app = True
        config = GoogleChatConfig(
            service_account=double.key_file(),
            project_number=double.project_number,
            pubsub_subscription=double.subscription,
            writes_per_s=50.0,
            **double.urls(),
        )
        chat = StoredAccount(AccountId("gchat"), PlatformId("googlechat"), config)

        async def say(text: str, times: int = 1) -> None:
            message = people.said(space, ann, text)
            for _ in range(times):
                double.happened(space, "message.v1.created", "message", message)

        async with running_world(store, account("lo"), chat, platforms={"googlechat": PLATFORM}) as world:
            await seen(double, lambda: bool(double.subscriptions))
            shed = world.room("lo", "shed")
            world.add_bot(shed, "Shed")
            code = await world.code(shed)
            await say(f"-sameroom connect {code}")
            await world.shows(shed, "now connected")
            await seen(double, lambda: any("now connected" in line for line in shown(space)))
            await say("tea at *noon*?", times=2)
            await world.shows(shed, "tea at noon?")
            world.say(shed, "Cem", "yes, *please* <users/all>")
            await seen(double, lambda: any("please" in line for line in shown(space)))
            await say("good")
            await world.shows(shed, "good")
            assert len([line for line in world.lines(shed) if "tea at" in line]) == 1
            said = [line for line in shown(space) if "please" in line]
            assert said == ["Cem (Loopback): yes, *please* <users/all>"]

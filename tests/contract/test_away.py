"""For every platform that claims a history: what was said while nothing of us ran comes after the next start."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import pytest
from msgspec.structs import replace

from bots import registry
from bots.emit import AccountEmit
from bots.host import make_services
from bots.loopback.network import LoopbackNetwork
from core.contract import Adapter, Services
from core.deps import Deps
from core.model import AccountId
from core.store import Redis
from tests.contract.harness import PATIENCE_S, Site, scene_of
from tests.contract.scene import ANN, Scene
from tests.contract.stage import Session
from tests.contract.test_contract import session
from tests.cross.party import online
from tests.support.world import StoredAccount, World, account, running_world

__all__ = ["session"]

PLATFORMS = [
    name for name in registry.names() if name != "loopback" and registry.platform(name).hears.history != "drop"
]
HOURS_MS = 2 * 3_600_000


@asynccontextmanager
async def started(
    scene: Scene, store: Redis, site: Site, network: LoopbackNetwork, late_ms: int = 0
) -> AsyncIterator[World]:
    """An installation with the platform's account and one in memory, ``late_ms`` after now by the relay's clock."""
    platform = scene.platform
    stored = StoredAccount(AccountId(platform.id), platform.id, scene.config)

    def create(name: AccountId, config: Any, lent: Services) -> Adapter:
        return platform.create(name, config, replace(lent, now_ms=now_ms))

    async with AsyncExitStack() as stack:
        stack.push_async_callback(site.stop)

        async def serve(deps: Deps) -> None:
            adapter = create(stored.id, scene.config, make_services(stored.id, deps))
            stack.push_async_callback(adapter.stop)
            site.add(adapter, AccountEmit(adapter, platform, deps))
            await site.start()

        async with running_world(
            store,
            stored,
            account("lo", plain=True),
            network=network,
            platforms={platform.id: replace(platform, create=create)},
            public_url=site.url,
            now_ms=lambda: now_ms() + late_ms,
            before=serve,
        ) as world:
            await online(world, stored.id)
            yield world


def now_ms() -> int:
    """What the platforms' clocks say."""
    return time.time_ns() // 1_000_000


@pytest.mark.parametrize("name", PLATFORMS)
async def test_what_was_said_while_we_were_away(name: str, store: Redis, session: Session) -> None:
    """It comes in order, once, before what is said afterwards, and shows how long ago it was said."""
    site, network = Site(), LoopbackNetwork()
    missed = [f"missed {number}" for number in range(5)]
    async with scene_of(name)(session, AccountId(name), site.account_url(AccountId(name))) as scene:
        async with started(scene, store, site, network) as world:
            await scene.enter()
            third = world.room("lo", "third")
            world.add_bot(third, "Third room")
            await scene.say(f"-sameroom connect {await world.code(third)}")
            await world.shows(third, "now connected")
            await scene.say("before")
            await world.shows(third, "before")
        for words in missed:
            await scene.say(words)
        async with started(scene, store, Site(site.port), network, HOURS_MS) as world:
            await world.shows(third, missed[-1], PATIENCE_S)
            await scene.say("after")
            await world.shows(third, "after", PATIENCE_S)
            said = [post.text.plain for post in world.posts(third) if post.text.plain.startswith(ANN)]
            assert [words.partition(": ")[2] for words in said] == ["before", *missed, "after"]
            assert said[1].startswith(f"{ANN} ({scene.platform.title}, 2 h ago): ")

"""One sameroom over rooms of many platforms, connected by typed commands alone."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TypeVar

from bots.emit import AccountEmit
from bots.host import make_services
from core.contract import Adapter, Files, Webhooks
from core.deps import Deps
from core.model import AccountId, RoomId, room_id
from core.store import Redis
from tests.contract.harness import Site, scene_of
from tests.contract.scene import Line, Scene
from tests.contract.stage import Session
from tests.support.world import StoredAccount, World, account, running_world

PATIENCE_S = 30.0
Found = TypeVar("Found")


class Guest:
    """A platform's room in the sameroom."""

    def __init__(self, name: str, scene: Scene) -> None:
        self.name = name
        self.scene = scene
        self.room = RoomId("")

    async def sees(self, what: Callable[[list[Line]], Found | None], why: str) -> Found:
        """Wait until Bob's view of the room holds it."""
        lines: list[Line] = []
        try:
            async with asyncio.timeout(PATIENCE_S):
                while True:
                    lines = await self.scene.lines()
                    if found := what(lines):
                        return found
                    await self.scene.changed()
        except TimeoutError:
            raise AssertionError(f"{self.name} never saw {why}; it shows: {lines[-6:]}") from None

    async def line(self, text: str) -> Line:
        """Wait for the newest line that holds ``text``."""
        return await self.sees(lambda lines: next((x for x in lines[::-1] if text in x.plain), None), repr(text))

    async def count(self) -> int:
        """How many lines there are now."""
        return len(await self.scene.lines())


async def connect(first: Guest, others: Sequence[Guest]) -> None:
    """Type the commands: a code in the first room, ``connect`` with it in each of the others."""
    for other in others:
        before = await first.count()
        await first.scene.say("-sameroom open")
        answer = await first.sees(
            lambda lines, n=before: next((x.plain for x in lines[n:] if "Your code is " in x.plain), None),  # type: ignore[misc]
            "its code",
        )
        code = answer.partition("Your code is ")[2][:10]
        before = await first.count()
        await other.scene.say(f"-sameroom connect {code}")
        for guest, start in ((other, 0), (first, before)):
            await guest.sees(
                lambda lines, n=start: [x for x in lines[n:] if "now connected" in x.plain],  # type: ignore[misc]
                f"that {first.name} and {other.name} are connected",
            )


@asynccontextmanager
async def party(
    platforms: Sequence[str], store: Redis, session: Session
) -> AsyncIterator[tuple[World, dict[str, Guest]]]:
    """All platforms' rooms, and the room ``third`` of the account ``lo`` in memory, in one sameroom."""
    site = Site()
    unstarted: dict[str, Adapter] = {}
    async with AsyncExitStack() as stack:
        stack.push_async_callback(site.stop)
        scenes = {
            name: await stack.enter_async_context(
                scene_of(name)(session, AccountId(name), site.account_url(AccountId(name)))
            )
            for name in platforms
        }

        async def serve(deps: Deps) -> None:
            for name, scene in scenes.items():
                found = AccountId(name)
                adapter = scene.platform.create(found, scene.config, make_services(found, deps))
                unstarted[name] = adapter
                stack.push_async_callback(adapter.stop)
                if isinstance(adapter, Webhooks):
                    site.add(adapter, AccountEmit(adapter, scene.platform, deps))
            site.open_link = lambda token: _open_link(deps, unstarted, token)
            await site.start()

        stored = [StoredAccount(AccountId(n), s.platform.id, s.config) for n, s in scenes.items()]
        world = await stack.enter_async_context(
            running_world(
                store,
                *stored,
                account("lo"),
                platforms={scene.platform.id: scene.platform for scene in scenes.values()},
                public_url=site.url,
                # What is folded depends on how fast this machine is; tests/core/test_folding.py is about that.
                settings={"fold_from": 0},
                before=serve,
            )
        )
        guests = {}
        for name, scene in scenes.items():
            await online(world, AccountId(name))
            guests[name] = Guest(name, scene)
            guests[name].room = room_id(AccountId(name), await scene.enter())
        first, *others = guests.values()
        await connect(first, others)
        third = world.room("lo", "third")
        world.add_bot(third, "Third room")
        await first.scene.say("-sameroom open")
        answer = await first.sees(lambda lines: _code(lines, others), "its code")
        world.say(third, "Cleo", f"-sameroom connect {answer}")
        await world.shows(third, "now connected")
        await first.line("Third room")
        yield world, guests


async def _open_link(deps: Deps, adapters: Mapping[str, Adapter], token: str) -> AsyncIterator[bytes]:
    """What the portal does for a file link."""
    link = deps.links.verify("file", token, 60)
    adapter = adapters[link["a"]]
    assert isinstance(adapter, Files)
    async for chunk in adapter.open_file(link["r"]):
        yield chunk


def _code(lines: list[Line], others: Sequence[Guest]) -> str | None:
    answers = [x.plain for x in lines if "Your code is " in x.plain]
    return answers[-1].partition("Your code is ")[2][:10] if len(answers) > len(others) else None


async def online(world: World, name: AccountId) -> None:
    """Wait until an account can post."""
    async with asyncio.timeout(PATIENCE_S):
        while name not in world.host.hosts or not (emit := world.host.hosts[name].emit) or emit.why_offline:
            await asyncio.sleep(0.01)

"""Away and back, as everybody sees it: people in the rooms, the operator at the command line, a room's own page."""

from __future__ import annotations

import asyncio
from collections import deque
from pathlib import Path

import pytest

from core import folding, notices, settling
from core.contract import AuthLost, Rejected
from core.model import RoomId
from core.store import Redis
from tests.bridgebot.support import KEY, call
from tests.portal.house import House, open_web
from tests.support.world import World, account, running_world

A, B = RoomId("one/garden"), RoomId("two/kitchen")


@pytest.fixture(autouse=True)
def quicker(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look often, try often, and call it long after a moment."""
    monkeypatch.setattr(notices, "PUBLISH_S", 0.05)
    monkeypatch.setattr(notices, "SET_ASIDE_S", 0.5)
    monkeypatch.setattr(settling, "AUTH_RETRY_S", 0.05)
    monkeypatch.setattr(folding, "HELD_MS", 100)


async def page_of(house: House, room: RoomId) -> str:
    """The page of a room, as somebody in it sees it."""
    client = await house.sign_in(person=f"{room.partition('/')[0]}/ada", room=room)
    return await house.page(client, "/room")


async def locked_out(world: World, house: House) -> None:
    """Seven messages wait for a room whose account was shut out, until it is let in again."""
    world.network.faults["kitchen"] = deque([AuthLost("the token was revoked")] * 10_000)
    for number in range(7):
        world.say(A, "Alice", f"line {number}")
    told = await world.shows(A, "kitchen (Loopback) has not been reached for")
    assert "whoever runs it has to renew its access. 7 messages wait" in told
    assert "<b>7 waiting</b>" in await page_of(house, A)
    assert "<b>7 messages wait for this room</b>" in await page_of(house, B)
    world.network.faults.clear()
    told = await world.shows(A, "All that waited for kitchen (Loopback) has arrived there.")
    assert "7 messages came there in 1 post." in told
    assert [post.text.plain for post in world.posts(B)][-1].splitlines() == [f"line {number}" for number in range(7)]


async def refused(world: World) -> None:
    """Three messages that the service will never take."""
    world.network.faults["kitchen"] = deque([Rejected("too rude")] * 3)
    for number in range(3):
        world.say(A, "Bob", f"word {number}")
    await world.shows(A, "A message by Bob did not reach kitchen (Loopback)")
    await world.shows(A, "2 more messages did not reach kitchen (Loopback). Reason: too rude.")


async def test_away_and_back(store: Redis, store_url: str, tmp_path: Path) -> None:
    """Credentials that end and are renewed, and messages that are refused: one notice each for what begins and ends, a
    line of each in the log, and both rooms' pages show what waits and what happened.
    """
    settings = {"shards": 16, "notice_after_s": 1, "fold_from": 3}
    world_of = running_world(store, account("one"), account("two"), settings=settings)
    async with world_of as world, open_web(store_url) as house:
        world.network.room("kitchen", "kitchen")
        await world.connect(A, B)
        before = len(world.posts(A))
        await locked_out(world, house)
        await refused(world)
        assert len(world.posts(A)) == before + 4
        await world.settled(A, B)
        log = await asyncio.to_thread(call, tmp_path, "log", env={"REDIS_URL": store_url, "SECRET_KEY": KEY})
        lines = [line.partition("  ")[2] for line in log.stdout.splitlines()]
        for line in (
            "shut out  two/  its credentials work no longer; what is for it waits",
            "waits  one/garden  for kitchen (Loopback); the bot was shut out there",
            "let in  two/  its credentials work again",
            "caught up  one/garden  kitchen (Loopback)",
            "folded  two/kitchen  messages: 7, posts: 1",
            "set aside  one/garden  1 for kitchen (Loopback): too rude",
            "set aside  one/garden  2 more for kitchen (Loopback): too rude",
        ):
            assert lines.count(line) == 1, log.stdout
        garden, kitchen = await page_of(house, A), await page_of(house, B)
        assert "caught up, kitchen (Loopback)" in garden
        assert "set aside, 2 more for kitchen (Loopback): too rude" in garden
        assert "folded, messages: 7, posts: 1" in kitchen
        assert "wait for this room" not in kitchen

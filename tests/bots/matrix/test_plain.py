"""A plain account on a real homeserver: signed in by password, reading by /sync."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator

import aiohttp
import pytest

from bots.matrix.adapter import MatrixAdapter
from bots.matrix.check import prepared
from bots.matrix.config import MatrixConfig
from core.contract import AuthLost, Since
from core.model import (
    Author,
    BotAdded,
    BotRemoved,
    MessageDeleted,
    MessageEdited,
    MessageNew,
    NativeId,
    Reaction,
    RoomMoved,
    RoomRenamed,
    Typing,
)
from core.store import Redis
from tests.bots.matrix import test_appservice
from tests.bots.matrix.support import ALICE, make, of, on_stage, post
from tests.bots.matrix.test_appservice import scene_of, upgraded
from tests.contract.harness import Stage
from tests.contract.scene import ANN
from tests.servers.matrix import Person, Synapse


async def account(synapse: Synapse, **more: object) -> MatrixConfig:
    """An ordinary account, signed in as an operator would."""
    bot = Person(synapse, "Robot", secrets.token_hex(6))
    async with aiohttp.ClientSession() as bot.session:
        await bot.sign_up()
    given = MatrixConfig(homeserver=synapse.url, user_id=bot.id, password=bot.password, **more)  # type: ignore[arg-type]
    _, config = await prepared(given)
    assert (config.user_id, config.password) == (bot.id, "")
    assert config.token
    return config


@pytest.fixture
async def stage(synapse: Synapse, store: Redis) -> AsyncIterator[Stage]:
    """A started plain account in a room with Ann and Bob."""
    async with on_stage(synapse, store, await account(synapse), door=False) as made:
        await made.heard(BotAdded)
        yield made


def said(stage: Stage) -> list[str]:
    """All messages so far."""
    return [event.text.plain for event in of(stage, MessageNew)]


async def again(stage: Stage, store: Redis, adapter: MatrixAdapter) -> MatrixAdapter:
    """Another run of the same account."""
    stage.events.seen.clear()
    stage.events.is_online = False
    made = make(store, adapter._config)
    await made.start(stage.events)
    await stage.until(lambda: stage.events.is_online)
    return made


async def test_both_ways(stage: Stage) -> None:
    """What people do is heard, what the account posts is seen, and never comes back."""
    scene, adapter, ann, _ = scene_of(stage)
    added = of(stage, BotAdded)[0]
    assert (added.title, added.greet, added.by.name) == ("Garden", True, ANN)
    caps = adapter.capabilities(stage.room)
    assert (caps.names, caps.bold_names, caps.account_rate_per_s, caps.account_rate_burst) == (
        "fallback",
        True,
        0.2,
        10,
    )
    receipt = await adapter.send(post(stage.room, "Alice: hello"))
    native = NativeId(await scene.say("good day"))
    await stage.heard(MessageNew)
    await scene.edit(native, "good evening")
    assert (await stage.heard(MessageEdited)).text.plain == "good evening"
    await scene.react(native, "👍")
    await scene.react(native, "👍", added=False)
    assert not (await stage.heard(Reaction, lambda e: not e.added)).added
    await scene.type()
    assert (await stage.heard(Typing)).author.name == ANN
    await scene.delete(native)
    assert (await stage.heard(MessageDeleted)).target == native
    await adapter.edit(receipt.natives, post(stage.room, "Alice: hello again"))
    await adapter.typing(stage.room, ALICE)
    assert await scene.typing() == ["Robot"]
    await ann.state(scene.room, "m.room.name", {"name": "Orchard"})
    assert (await stage.heard(RoomRenamed)).title == "Orchard"
    assert said(stage) == ["good day"]
    assert [(line.author, line.plain) for line in await scene.lines()] == [("Robot", "Alice: hello again")]


async def test_one_reaction_stands_for_all(stage: Stage) -> None:
    """A plain account has one reaction of a kind: it stands while any author wants it."""
    scene, adapter, _, _ = scene_of(stage)
    native = NativeId(await scene.say("a flower"))
    eve = Author("u2", "Eve")
    for author in (ALICE, eve):
        await adapter.react(stage.room, native, "🌻", True, author)
    assert (await scene.lines())[0].reactions == ("🌻",)
    await adapter.react(stage.room, native, "🌻", False, ALICE)
    assert (await scene.lines())[0].reactions == ("🌻",)
    await adapter.react(stage.room, native, "🌻", False, eve)
    assert (await scene.lines())[0].reactions == ()


async def test_what_was_said_while_away(stage: Stage, store: Redis) -> None:
    """After a restart everything that was missed is heard: once, in order, however much it is."""
    scene, adapter, _, _ = scene_of(stage)
    await scene.say("before")
    await stage.heard(MessageNew)
    await adapter.stop()
    for number in range(120):
        await scene.say(f"missed {number}")
    second = await again(stage, store, adapter)
    await stage.heard(MessageNew, lambda e: e.text.plain == "missed 119")
    assert said(stage) == [f"missed {number}" for number in range(120)]
    assert not of(stage, BotAdded)
    await second.stop()
    third = await again(stage, store, second)
    await scene.say("after")
    await stage.heard(MessageNew)
    assert said(stage) == ["after"]
    await third.stop()


async def test_a_lost_position(stage: Stage, store: Redis) -> None:
    """With an empty store the account knows its rooms again, greets nobody, repeats nothing, and has the history."""
    scene, adapter, _, _ = scene_of(stage)
    await scene.say("one")
    first = await stage.heard(MessageNew)
    await adapter.stop()
    await store.flushall()
    await scene.say("two")
    second = await again(stage, store, adapter)
    found = of(stage, BotAdded)
    assert [(event.title, event.greet) for event in found] == [("Garden", False)]
    assert said(stage) == []
    past = await second.history(stage.room, Since(first.native, first.at_ms))
    assert [event.text.plain for event in past.events if isinstance(event, MessageNew)] == ["two"]
    assert past.complete
    gone = await second.history(stage.room, Since(NativeId("$gone"), first.at_ms))
    assert [event.text.plain for event in gone.events if isinstance(event, MessageNew)] == ["two"]
    await second.stop()


async def test_what_was_said_before_it_came(synapse: Synapse, store: Redis) -> None:
    """A room's past is none of the bot's business, although the homeserver shows it."""
    config = await account(synapse)
    async with on_stage(synapse, store, config, door=False, enter=False) as stage:
        scene, _, ann, _ = scene_of(stage)
        made = await ann.call("POST", "v3/createRoom", {"preset": "public_chat"})
        scene.room = made["room_id"]
        await scene.say("a secret from before")
        await ann.call("POST", f"v3/rooms/{scene.room}/invite", {"user_id": config.user_id})
        await stage.heard(BotAdded)
        await scene.say("welcome")
        await stage.heard(MessageNew)
        assert said(stage) == ["welcome"]


async def test_rooms_that_the_operator_names(synapse: Synapse, store: Redis) -> None:
    """Public rooms of ``join`` are joined at the start, by alias."""
    async with aiohttp.ClientSession() as session:
        ann = await synapse.person(ANN)
        ann.session = session
        name = f"public{id(session)}"
        await ann.call("POST", "v3/createRoom", {"preset": "public_chat", "room_alias_name": name})
    config = await account(synapse, join=(f"#{name}:localhost",))
    async with on_stage(synapse, store, config, door=False, enter=False) as stage:
        assert (await stage.heard(BotAdded)).title == f"#{name}:localhost"


async def test_an_encrypted_room_is_told_once(stage: Stage) -> None:
    """Also here, who invites the bot into an encrypted room is told once why that is no use."""
    await test_appservice.test_an_encrypted_room_is_told_once(stage)


async def test_rooms_end_and_move(stage: Stage) -> None:
    """A room that is upgraded is followed; where the bot is put out, that is told."""
    _, adapter, ann, _ = scene_of(stage)
    body = {"preset": "public_chat", "invite": [adapter._desk.me]}
    room = (await ann.call("POST", "v3/createRoom", body))["room_id"]
    await stage.heard(BotAdded, lambda e: room in e.room)
    new = await upgraded(ann, room, "12")
    moved = await stage.heard(RoomMoved)
    assert (moved.room, moved.to) == (f"matrix/{room}", f"matrix/{new}")
    await ann.send(new, {"msgtype": "m.text", "body": "here"})
    assert (await stage.heard(MessageNew)).room == moved.to
    await ann.call("POST", f"v3/rooms/{new}/ban", {"user_id": adapter._desk.me})
    removed = await stage.heard(BotRemoved)
    assert removed.room == moved.to
    assert "banned" in removed.reason


async def test_a_token_that_ends(stage: Stage) -> None:
    """A token that the homeserver no longer takes is said so, to the relay and to the operator."""
    scene, adapter, _, _ = scene_of(stage)
    await scene.as_bot("POST", "v3/logout", {})
    with pytest.raises(AuthLost):
        await adapter.send(post(stage.room, "hello"))
    await stage.until(lambda: not stage.events.is_online)
    assert "token" in stage.events.reasons[-1]
    with pytest.raises(AuthLost, match="accounts add matrix"):
        await adapter.send(post(stage.room, "hello"))


async def test_a_homeserver_that_restarts(stage: Stage) -> None:
    """Nothing that is said around a restart of the homeserver is lost or heard twice."""
    scene, _, _, _ = scene_of(stage)
    await scene.say("before")
    await stage.heard(MessageNew)
    scene.server.kill()
    await stage.until(lambda: not stage.events.is_online)
    await asyncio.to_thread(scene.server.start)
    await scene.say("after")
    await stage.until(lambda: stage.events.is_online)
    await stage.heard(MessageNew, lambda e: e.text.plain == "after")
    assert said(stage) == ["before", "after"]

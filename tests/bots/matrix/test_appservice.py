"""An application service on a real homeserver: ghosts, rooms, and what moderators do to them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from bots.matrix.adapter import MatrixAdapter
from bots.matrix.memory import Present
from core.contract import Offline, OutFile, Rejected, Retry
from core.model import (
    Author,
    BotAdded,
    BotRemoved,
    Entity,
    Joined,
    Left,
    MessageNew,
    NativeId,
    RoomId,
    RoomMoved,
    RoomRenamed,
    Text,
)
from core.store import Redis
from core.text.safety import MASS_MENTIONS
from tests.bots.matrix.scene import MatrixScene, config_of
from tests.bots.matrix.support import ACCOUNT, ALICE, make, of, on_stage, post
from tests.contract.harness import Stage
from tests.contract.scene import ANN, BOB
from tests.servers.matrix import TINY_PNG, MatrixError, Person, Synapse

ENCRYPTION = {"algorithm": "m.megolm.v1.aes-sha2"}


@pytest.fixture
async def stage(synapse: Synapse, store: Redis) -> AsyncIterator[Stage]:
    """A started adapter in a room with Ann and Bob."""
    config = config_of(synapse)
    async with on_stage(synapse, store, config) as made:
        await made.heard(BotAdded)
        yield made


def scene_of(stage: Stage) -> tuple[MatrixScene, MatrixAdapter, Person, Person]:
    """Its parts."""
    scene: Any = stage.scene
    adapter: Any = stage.adapter
    return scene, adapter, scene.people[ANN], scene.people[BOB]


async def members(person: Person, room: str) -> dict[str, str]:
    """Names of the ghosts in a room, by user id."""
    found = await person.members(room)
    return {user: str(shown["display_name"]) for user, shown in found.items() if user.startswith("@_bridge_")}


async def heard(stage: Stage, words: str) -> MessageNew:
    """Wait for a message."""
    return await stage.heard(MessageNew, lambda event: event.text.plain == words)


# --- ghosts


class Pictures:
    """A web server with authors' pictures, that counts."""

    def __init__(self) -> None:
        self.hits: list[str] = []
        self.url = ""

    async def __aenter__(self) -> Pictures:
        app = web.Application()
        app.router.add_get("/{name}", self._picture)
        self._runner = web.AppRunner(app, access_log=None)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._runner.cleanup()

    async def _picture(self, request: web.Request) -> web.Response:
        self.hits.append(request.path)
        kind = "text/html" if "page" in request.path else "image/png"
        return web.Response(body=TINY_PNG, content_type=kind)


async def test_names_and_pictures(synapse: Synapse, store: Redis) -> None:
    """A ghost has its author's name and picture, follows when they change, and each picture is carried once."""
    from msgspec.structs import replace

    config = replace(config_of(synapse), trusted_addresses=("127.0.0.1",))
    async with Pictures() as pictures, on_stage(synapse, store, config) as stage:
        scene, adapter, ann, _ = scene_of(stage)
        first = Author("u1", "Alice", f"{pictures.url}/a.png")
        await adapter.send(post(stage.room, "one", author=first))
        await adapter.send(post(stage.room, "two", author=first))
        [ghost] = await members(ann, scene.room)
        shown = (await ann.members(scene.room))[ghost]
        assert shown["display_name"] == "Alice"
        assert await ann.download(shown["avatar_url"]) == TINY_PNG
        assert pictures.hits == ["/a.png"]
        await adapter.send(post(stage.room, "three", author=Author("u1", "Alice B.", f"{pictures.url}/b.png")))
        changed = (await ann.members(scene.room))[ghost]
        assert changed["display_name"] == "Alice B."
        assert changed["avatar_url"] != shown["avatar_url"]
        await adapter.send(post(stage.room, "page", author=Author("u2", "Eve", f"{pictures.url}/page")))
        again = make(store, config)
        await again.send(post(stage.room, "four", author=first))
        await again.send(post(stage.room, "page", author=Author("u2", "Eve", f"{pictures.url}/page")))
        assert pictures.hits == ["/a.png", "/b.png", "/page"], "remembered in the store, the useless one too"
        assert [line.author for line in await scene.lines()] == ["Alice", "Alice", "Alice B.", "Eve", "Alice", "Eve"]


PRIVATE = (
    "http://127.0.0.1:{port}/x.png",
    "http://127.1:{port}/x.png",
    "http://2130706433:{port}/x.png",
    "http://0x7f000001:{port}/x.png",
    "http://localhost:{port}/x.png",
    "http://[::ffff:127.0.0.1]:{port}/x.png",
    "http://[64:ff9b::7f00:1]:{port}/x.png",
    "file:///etc/passwd",
    "ftp://127.0.0.1:{port}/x.png",
    "gopher://127.0.0.1:{port}/x",
    "not an address",
)


async def test_pictures_lead_nowhere_private(stage: Stage) -> None:
    """A picture's address in our own network is not visited, and the message goes out all the same (threat 13)."""
    scene, adapter, ann, _ = scene_of(stage)
    async with Pictures() as pictures:
        port = pictures.url.rpartition(":")[2]
        for number, url in enumerate(PRIVATE):
            author = Author(f"p{number}", f"P{number}", url.format(port=port))
            await adapter.send(post(stage.room, f"message {number}", author=author))
        assert pictures.hits == []
    lines = await scene.lines()
    assert [line.plain for line in lines] == [f"message {number}" for number in range(len(PRIVATE))]
    assert not [
        shown
        for user, shown in (await ann.members(scene.room)).items()
        if "_bridge_" in user and shown.get("avatar_url")
    ]


async def test_a_ghost_that_was_kicked_comes_back(stage: Stage) -> None:
    """A kick sends a ghost away until its author speaks again; a ban stays, and is said in words."""
    scene, adapter, ann, _ = scene_of(stage)
    await adapter.send(post(stage.room, "one"))
    [ghost] = await members(ann, scene.room)
    await ann.call("POST", f"v3/rooms/{scene.room}/kick", {"user_id": ghost})
    await adapter.send(post(stage.room, "two"))
    assert list(await members(ann, scene.room)) == [ghost]
    await ann.call("POST", f"v3/rooms/{scene.room}/ban", {"user_id": ghost})
    with pytest.raises(Rejected, match="banned from the Matrix room"):
        await adapter.send(post(stage.room, "three"))
    await adapter.send(post(stage.room, "somebody else", author=Author("u2", "Eve")))
    assert [line.plain for line in await scene.lines()] == ["one", "two", "somebody else"]


async def test_where_ghosts_cannot_come_in_the_bot_speaks(stage: Stage) -> None:
    """In a room where the bot may not invite, it posts itself, until it may."""
    scene, adapter, ann, _ = scene_of(stage)
    levels = await ann.call("GET", f"v3/rooms/{scene.room}/state/m.room.power_levels")
    await ann.state(scene.room, "m.room.power_levels", levels | {"invite": 50})
    assert adapter.capabilities(stage.room).names == "full"
    with pytest.raises(Retry):
        await adapter.send(post(stage.room, "as Alice"))
    caps = adapter.capabilities(stage.room)
    assert (caps.names, caps.bold_names, caps.account_rate_per_s) == ("fallback", True, 0)
    await adapter.send(post(stage.room, "Alice: as the bot"))
    assert [line.author for line in await scene.lines()] == ["BridgeBot"]
    await ann.state(scene.room, "m.room.power_levels", levels | {"invite": 0})
    await scene.say("now you may")
    await heard(stage, "now you may")
    assert (await adapter._desk.memory.peek(scene.room)).ghosts  # type: ignore[union-attr]
    await adapter._desk.memory.load_rooms()
    await adapter.send(post(stage.room, "as Alice again"))
    assert (await scene.lines())[-1].author == "Alice"


async def test_idle_ghosts_leave(stage: Stage) -> None:
    """A ghost whose author is silent for long leaves, and comes back with the next message."""
    scene, adapter, ann, _ = scene_of(stage)
    await adapter.send(post(stage.room, "one"))
    await adapter.send(post(stage.room, "busy", author=Author("u2", "Eve")))
    ghost = adapter._ghosts.user_of(ALICE)
    now_ms = adapter._desk.services.now_ms()
    await adapter._desk.memory.save_present(scene.room, ghost, Present("Alice", "", now_ms - 40 * 86_400_000))
    await adapter._ghosts.sweep()
    assert list((await members(ann, scene.room)).values()) == ["Eve"]
    await adapter.send(post(stage.room, "two"))
    assert sorted((await members(ann, scene.room)).values()) == ["Alice", "Eve"]


async def test_a_ghost_that_is_invited_declines(stage: Stage) -> None:
    """A ghost that a person asks into a room of theirs leaves again: nobody would hear them."""
    scene, adapter, ann, _ = scene_of(stage)
    await adapter.send(post(stage.room, "one"))
    ghost = adapter._ghosts.user_of(ALICE)
    other = (await ann.call("POST", "v3/createRoom", {"preset": "private_chat", "invite": [ghost]}))["room_id"]

    async def declined() -> bool:
        state = await ann.call("GET", f"v3/rooms/{other}/state/m.room.member/{ghost}")
        return bool(state["membership"] == "leave")

    async with asyncio.timeout(10):
        while not await declined():
            await scene.changed()
    assert not of(stage, BotAdded, lambda e: other in e.room)


# --- messages


async def test_nobody_is_pinged(stage: Stage) -> None:
    """No way to write a mass mention, nor a member's name or id, highlights anybody (threat 10)."""
    scene, adapter, _, bob = scene_of(stage)
    variants = ["@room", "@ROOM", f"{BOB}: hello", bob.id, "＠room", *MASS_MENTIONS][:40]
    for words in variants:
        await adapter.send(post(stage.room, f"hey {words} look"))
    pill = Text("Bob", (Entity("link", 0, 3, f"https://matrix.to/#/{bob.id}"),))
    await adapter.send(post(stage.room, pill))
    events = [e for e in await bob.events(scene.room) if e["type"] == "m.room.message"]
    assert len(events) == len(variants) + 1
    assert all(e["content"]["m.mentions"] == {} for e in events)
    found = await bob.call("GET", "v3/sync", timeout="0")
    assert found["rooms"]["join"][scene.room]["unread_notifications"]["highlight_count"] == 0


async def test_an_edit_grows_and_shrinks(stage: Stage) -> None:
    """Parts change in their places, missing ones are posted, surplus ones go; files stay."""
    scene, adapter, _, _ = scene_of(stage)

    async def chunks() -> AsyncIterator[bytes]:
        yield b"plan"

    file = OutFile("plan.txt", "text/plain", 4, "https://x/f/1", chunks)
    first = await adapter.send(post(stage.room, "short", files=(file,)))
    assert len(first.natives) == 2
    long = " ".join(f"word{number}" for number in range(9_000))
    grown = await adapter.edit(first.natives, post(stage.room, long))
    assert len(grown.natives) > 3
    assert (grown.natives[0], grown.natives[-1]) == first.natives
    lines = await scene.lines()
    assert " ".join(line.plain for line in lines if not line.files).split() == long.split()
    shrunk = await adapter.edit(grown.natives, post(stage.room, "short again"))
    assert shrunk.natives == first.natives
    assert [line.plain for line in await scene.lines()] == ["short again", ""]
    await adapter.delete(stage.room, shrunk.natives)
    assert await scene.lines() == []


async def test_a_file_that_is_too_large_is_a_link(stage: Stage) -> None:
    """What the homeserver does not take is offered as a link, whether its size is known before or not."""
    scene, adapter, _, _ = scene_of(stage)
    adapter._sender.file_limit_bytes = 1000

    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(3):
            yield b"x" * 500

    for size in (1500, 0):
        file = OutFile("big.bin", "application/x-y", size, "https://bridge.example/f/1", chunks)
        await adapter.send(post(stage.room, f"look {size}", files=(file,)))
    said = [line.plain for line in await scene.lines()]
    assert [words for words in said if "https://bridge.example/f/1" in words] == [said[1], said[3]]


async def test_a_file_that_is_gone_costs_no_words(stage: Stage) -> None:
    """What its origin no longer hands out is a link, and the words around it are not called undelivered."""
    scene, adapter, _, _ = scene_of(stage)

    async def gone() -> AsyncIterator[bytes]:
        raise Rejected("the file is no longer there")
        yield b""

    file = OutFile("gone.bin", "application/x-y", 5, "https://bridge.example/f/1", gone)
    receipt = await adapter.send(post(stage.room, "look", files=(file,)))
    said = [line.plain for line in await scene.lines()]
    assert said[0] == "look"
    assert "https://bridge.example/f/1" in said[1]
    assert len(receipt.natives) == 2


async def test_a_reaction_whose_answer_was_lost(stage: Stage) -> None:
    """A reaction that stands although we do not know it is found, and can be taken away."""
    scene, adapter, _, _ = scene_of(stage)
    native = NativeId(await scene.say("a flower"))
    await adapter.react(stage.room, native, "🌻", True, ALICE)
    about = f"{scene.room} {native} 🌻 {adapter._ghosts.user_of(ALICE)}"
    await adapter._desk.memory.save_annotation(about, "")
    await adapter.react(stage.room, native, "🌻", True, ALICE)
    await adapter.react(stage.room, native, "🌻", True, Author("u2", "Eve"))
    assert (await scene.lines())[0].reactions == ("🌻", "🌻")
    await adapter.react(stage.room, native, "🌻", False, ALICE)
    await adapter.react(stage.room, native, "🌻", False, ALICE)
    assert (await scene.lines())[0].reactions == ("🌻",)


async def test_what_an_answer_answers(stage: Stage) -> None:
    """An answer comes with who is answered and how that begins, and only of this very room (threat 14)."""
    scene, adapter, ann, _ = scene_of(stage)
    receipt = await adapter.send(post(stage.room, "Who has the key?"))
    await scene.reply(receipt.natives[0], "I have")
    reply = (await heard(stage, "I have")).reply_to
    assert reply is not None
    assert (reply.author_name, reply.excerpt) == ("Alice", "Who has the key?")
    other = (await ann.call("POST", "v3/createRoom", {"preset": "private_chat"}))["room_id"]
    secret = await ann.send(other, {"msgtype": "m.text", "body": "a secret of another room"})
    await scene.reply(secret, "what was that")
    reply = (await heard(stage, "what was that")).reply_to
    assert reply is not None
    assert (reply.native, reply.author_name, reply.excerpt) == (secret, "", "")


async def test_members_pictures_can_be_had(stage: Stage) -> None:
    """The address of a member's picture gives the picture, to anybody, as nothing but a picture."""
    scene, _, _, _ = scene_of(stage)
    await scene.say("who am I")
    event = await heard(stage, "who am I")
    assert event.author.avatar_url.startswith(stage.site.account_url(ACCOUNT))
    async with aiohttp.ClientSession() as session, session.get(event.author.avatar_url) as response:
        assert (response.status, response.content_type) == (200, "image/png")
        assert await response.read() == TINY_PNG
        assert "sandbox" in response.headers["Content-Security-Policy"]


# --- rooms


async def test_coming_and_going(stage: Stage) -> None:
    """Who comes and goes, the room's name, being put out with the reason, and being brought back."""
    scene, adapter, ann, bob = scene_of(stage)
    added = await stage.heard(BotAdded)
    assert (added.title, added.greet) == ("Garden", True)
    assert added.by
    assert (added.by.id, added.by.name) == (ann.id, ANN)
    await bob.call("POST", f"v3/rooms/{scene.room}/leave", {})
    assert (await stage.heard(Left)).author.name == BOB
    await ann.call("POST", f"v3/rooms/{scene.room}/invite", {"user_id": bob.id})
    await bob.call("POST", f"v3/join/{scene.room}", {})
    assert (await stage.heard(Joined)).author.id == bob.id
    await ann.state(scene.room, "m.room.name", {"name": "Orchard"})
    assert (await stage.heard(RoomRenamed)).title == "Orchard"
    await adapter.send(post(stage.room, "one"))
    await ann.call("POST", f"v3/rooms/{scene.room}/kick", {"user_id": adapter._desk.me, "reason": "too loud"})
    removed = await stage.heard(BotRemoved)
    assert removed.room == stage.room
    assert "too loud" in removed.reason
    with pytest.raises(Rejected, match="no longer in the Matrix room"):
        await adapter.send(post(stage.room, "two"))
    async with asyncio.timeout(10):
        while await members(ann, scene.room):
            await scene.changed()
    stage.events.seen.clear()
    await ann.call("POST", f"v3/rooms/{scene.room}/invite", {"user_id": adapter._desk.me})
    assert (await stage.heard(BotAdded)).greet
    await adapter.send(post(stage.room, "three"))
    assert [line.plain for line in await scene.lines()] == ["one", "three"]


async def test_a_restart_and_a_lost_store(stage: Stage, store: Redis) -> None:
    """A new adapter knows its rooms; with an empty store it finds them, and greets nobody."""
    scene, adapter, _, _ = scene_of(stage)
    receipt = await adapter.send(post(stage.room, "one"))
    await adapter.stop()
    for is_lost in (False, True):
        if is_lost:
            await store.flushall()
        stage.events.seen.clear()
        stage.events.is_online = False
        again = make(store, adapter._config)
        await again.start(stage.events)
        try:
            await stage.until(lambda: stage.events.is_online)
            assert again.room_info(stage.room).title == "Garden"
            assert [(e.title, e.greet) for e in of(stage, BotAdded)] == ([("Garden", False)] if is_lost else [])
            await again.edit(receipt.natives, post(stage.room, f"two {is_lost}"))
        finally:
            await again.stop()
    assert [line.plain for line in await scene.lines()] == ["two True"]


async def test_an_encrypted_room_is_told_once(stage: Stage) -> None:
    """Who invites the bot into an encrypted room is told once why that is no use, and what to do."""
    scene, adapter, ann, _ = scene_of(stage)
    stage.events.seen.clear()
    state = [{"type": "m.room.encryption", "state_key": "", "content": ENCRYPTION}]
    body = {"preset": "private_chat", "initial_state": state, "invite": [adapter._desk.me]}
    room = (await ann.call("POST", "v3/createRoom", body))["room_id"]

    async def notices() -> list[str]:
        found = await ann.events(room)
        return [e["content"]["body"] for e in found if e["content"].get("msgtype") == "m.notice"]

    async with asyncio.timeout(10):
        while not await notices():
            await scene.changed()
    for _ in range(3):
        await ann.send(room, {"algorithm": "m.megolm.v1.aes-sha2", "ciphertext": "x"}, "m.room.encrypted")
    await scene.say("marker")
    await heard(stage, "marker")
    [notice] = await notices()
    assert "end-to-end encrypted" in notice
    assert adapter._desk.me in notice
    assert not of(stage, BotAdded, lambda e: room in e.room)


async def test_a_room_that_becomes_encrypted(stage: Stage) -> None:
    """Its tubes end, everybody is told, and nothing is posted in the clear any more."""
    scene, adapter, ann, _ = scene_of(stage)
    await ann.state(scene.room, "m.room.encryption", ENCRYPTION)
    assert "encrypted" in (await stage.heard(BotRemoved)).reason
    with pytest.raises(Rejected, match="without encryption"):
        await adapter.send(post(stage.room, "in the clear"))


async def test_who_runs_a_room(stage: Stage) -> None:
    """By the room's power levels; what somebody is called counts for nothing (threat 19)."""
    scene, adapter, ann, bob = scene_of(stage)
    assert await adapter.is_admin(stage.room, ann.id)
    assert not await adapter.is_admin(stage.room, bob.id)
    assert not await adapter.is_admin(stage.room, "Ann")
    levels = await ann.call("GET", f"v3/rooms/{scene.room}/state/m.room.power_levels")
    users = levels.get("users", {})
    await ann.state(scene.room, "m.room.power_levels", levels | {"users": users | {bob.id: 50}})
    assert await adapter.is_admin(stage.room, bob.id)
    await ann.state(scene.room, "m.room.power_levels", levels | {"users": users | {bob.id: 50}, "ban": 75})
    assert not await adapter.is_admin(stage.room, bob.id)


@pytest.mark.parametrize("version", ["10", "12"])
async def test_the_creator_runs_a_room(stage: Stage, version: str) -> None:
    """Before version 12 by a level, since then by having made it."""
    _, adapter, ann, bob = scene_of(stage)
    body = {"preset": "public_chat", "room_version": version, "invite": [bob.id]}
    room = (await ann.call("POST", "v3/createRoom", body))["room_id"]
    assert (":" in room) == (version == "10")
    await ann.call("POST", f"v3/rooms/{room}/invite", {"user_id": adapter._desk.me})
    await stage.heard(BotAdded, lambda e: room in e.room)
    assert await adapter.is_admin(RoomId(f"{ACCOUNT}/{room}"), ann.id)
    assert not await adapter.is_admin(RoomId(f"{ACCOUNT}/{room}"), bob.id)


# --- upgrades (threat 15)


async def upgraded(person: Person, room: str, version: str) -> str:
    """Somebody upgrades the room as clients do; the new room."""
    return str((await person.call("POST", f"v3/rooms/{room}/upgrade", {"new_version": version}))["replacement_room"])


async def test_an_upgraded_room_is_followed(stage: Stage) -> None:
    """A private room's successor lets the bot in when somebody invites it: the tubes are there, without a greeting."""
    scene, adapter, ann, _ = scene_of(stage)
    stage.events.seen.clear()
    new = await upgraded(ann, scene.room, "12")
    await ann.call("POST", f"v3/rooms/{new}/invite", {"user_id": adapter._desk.me})
    moved = await stage.heard(RoomMoved)
    assert (moved.room, moved.to) == (stage.room, f"{ACCOUNT}/{new}")
    await ann.send(new, {"msgtype": "m.text", "body": "here we are"})
    event = await heard(stage, "here we are")
    assert event.room == moved.to
    assert stage.events.seen.index(moved) < stage.events.seen.index(event)
    assert not of(stage, BotAdded, lambda e: new in e.room)
    await adapter.send(post(moved.to, "and so are we"))
    assert "and so are we" in [e["content"].get("body") for e in await ann.events(new)]


async def test_an_upgraded_public_room_is_followed_at_once(stage: Stage) -> None:
    """Nobody needs to invite the bot into a public room's successor."""
    _, adapter, ann, _ = scene_of(stage)
    body = {"preset": "public_chat", "invite": [adapter._desk.me]}
    room = (await ann.call("POST", "v3/createRoom", body))["room_id"]
    await stage.heard(BotAdded, lambda e: room in e.room)
    new = await upgraded(ann, room, "11")
    moved = await stage.heard(RoomMoved)
    assert (moved.room, moved.to) == (f"{ACCOUNT}/{room}", f"{ACCOUNT}/{new}")


async def test_a_claimed_move_is_refused(stage: Stage) -> None:
    """Neither somebody without power, nor a room that calls itself the successor, nor a room that does not, takes the
    tubes along.
    """
    scene, adapter, ann, bob = scene_of(stage)
    claims = {"predecessor": {"room_id": scene.room}}
    body: dict[str, Any] = {"preset": "public_chat", "creation_content": claims, "invite": [adapter._desk.me]}
    claimed = (await bob.call("POST", "v3/createRoom", body))["room_id"]
    added = await stage.heard(BotAdded, lambda e: claimed in e.room)
    assert added.greet, "a room like any other"
    with pytest.raises(MatrixError, match="403"):
        await bob.state(scene.room, "m.room.tombstone", {"replacement_room": claimed, "body": ""})
    other = (await bob.call("POST", "v3/createRoom", {"preset": "public_chat"}))["room_id"]
    await ann.state(scene.room, "m.room.tombstone", {"replacement_room": other, "body": "moved"})
    # The bot looks, sees that the other room knows nothing of this one, and leaves the tubes where they are.
    await stage.heard(BotAdded, lambda e: other in e.room)
    # Nor does it help to say it again, now that the bot is there.
    await ann.state(scene.room, "m.room.tombstone", {"replacement_room": other, "body": "moved, really"})
    await scene.say("still here")
    await heard(stage, "still here")
    assert not of(stage, RoomMoved, lambda e: e.room == stage.room or claimed in e.to or other in e.to)


# --- the homeserver goes away


async def test_a_homeserver_that_restarts(stage: Stage) -> None:
    """While it is away posts wait; when it is back everything goes on by itself, in both directions."""
    scene, adapter, _, _ = scene_of(stage)
    await adapter.send(post(stage.room, "before"))
    scene.server.kill()
    with pytest.raises(Offline):
        await adapter.send(post(stage.room, "after"))
    await stage.until(lambda: not stage.events.is_online)
    await asyncio.to_thread(scene.server.start)
    await stage.until(lambda: stage.events.is_online)
    await adapter.send(post(stage.room, "after"))
    await scene.say("welcome back")
    await heard(stage, "welcome back")
    assert [line.plain for line in await scene.lines()] == ["before", "after", "welcome back"]

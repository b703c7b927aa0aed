"""Every command in its good and bad forms, typed in rooms of a whole relay on a real store."""

from __future__ import annotations

import asyncio
import re
from collections import deque
from collections.abc import AsyncIterator

import pytest

from bots.loopback.network import person
from core.command_language import COMMANDS
from core.contract import Retry
from core.model import BotAdded, BotRemoved, NativeId, RoomRenamed
from core.store import Redis
from tests.conftest import FakeClock
from tests.support.world import World, account, running_world


@pytest.fixture
async def world(store: Redis) -> AsyncIterator[World]:
    """A relay with three accounts."""
    async with running_world(store, account("one"), account("two"), account("three")) as running:
        yield running


async def heard_nothing_but(world: World, room: str, *lines: str) -> None:
    """Assert what the bot posted in a room, after a marker from there has made its whole way through the relay."""
    await world.asks(room, "Marker", "-sameroom help")
    assert [post.text.plain for post in world.posts(room)][:-1] == list(lines)


async def test_help_names_every_command(world: World) -> None:
    """Help, the bare prefix and every kind of dash give one line for each command."""
    room = world.room("one", "garden")
    for typed in ("-sameroom help", "@sameroom", "/sameroom help", "\u2014SameRoom  Help.", "--sameroom help"):
        answer = await world.asks(room, "Alice", typed)
        assert all(f"-sameroom {spec.usage} – {spec.summary}" in answer for spec in COMMANDS.values())


async def test_help_in_mixed_company(world: World) -> None:
    """Commands and their replies stay in the room where they were typed."""
    a, b = world.room("one", "garden"), world.room("two", "kitchen")
    await world.connect(a, b)
    before = len(world.posts(b))
    for typed in ("-sameroom help", "-sameroom list", "-sameroom opne", "-sameroom format", "@sameroom connect XX"):
        await world.asks(a, "Alice", typed)
    world.say(a, "Alice", "^^^ a secret")
    world.say(a, "Alice", " \u200e^^^ another secret")
    world.say(a, "Alice", "hello")
    await world.shows(b, "Alice: hello")
    assert world.lines(b)[before:] == ["Alice: hello"]


async def test_the_bot_greets(world: World) -> None:
    """Brought into a room the bot says what to type; coming back by itself it says nothing."""
    room, other = world.room("one", "garden"), world.room("one", "shed")
    world.happen(BotAdded, other, title="shed", greet=False)
    world.add_bot(room, "garden")
    assert "-sameroom open" in await world.shows(room, "Hello.")
    await heard_nothing_but(world, other)


async def test_a_redelivered_greeting(world: World) -> None:
    """An event that the platform hands over twice happens once."""
    room = world.room("one", "garden")
    for _ in range(3):
        world.happen(BotAdded, room, native="added", title="garden")
    await world.shows(room, "Hello.")
    world.say(room, "Alice", "-sameroom help", native="h")
    world.say(room, "Alice", "-sameroom help", native="h")
    world.say(room, "Bob", "-sameroom format")
    await world.shows(room, "look like")
    assert len(world.posts(room)) == 3


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        ("-sameroom opne", "-sameroom open"),
        ("-sameroom HLDMU-42K7", "-sameroom connect HLDMU-42K7"),
        ("-sameroom stop", "-sameroom pause"),
        ("-sameroom qqqqq", "-sameroom help"),
        ("-sameroom connect", "Something is missing. Type: -sameroom connect <code or link>"),
        ("-sameroom disconnect", "Something is missing. Type: -sameroom disconnect <room>"),
        ("-sameroom ban", "Something is missing. Type: -sameroom ban <name>"),
        ("-sameroom unban", "Something is missing. Type: -sameroom unban <name>"),
        ("-sameroom connect HLDMU-42K7", "That code is wrong, used or too old"),
        ("-sameroom connect rubbish", "That code is wrong, used or too old"),
        ("-sameroom connect http://127.0.0.1:8080/p/rubbish", "That link does not work"),
        ("-sameroom list", "not connected to any other"),
        ("-sameroom ping", "not connected to any other"),
        ("-sameroom disable", "not connected to any other"),
        ("-sameroom disconnect kitchen", "not connected to any other"),
        ("-sameroom ban Mallory", "Nobody elsewhere"),
        ("-sameroom unban Mallory", "Nobody is banned here."),
        ("-sameroom confirm", "Nobody waits for an answer"),
        ("-sameroom deny", "Nobody waits for an answer"),
        ("-sameroom close", "Nothing was open"),
        ("-sameroom format", "look like “name+platform” here"),
        ("-sameroom format loud", "There is no format “loud”"),
        ("-sameroom open", "It works once, for 2 minutes."),
        ("-sameroom portal", "http://127.0.0.1:8080/p/"),
        ("-sameroom map", "http://127.0.0.1:8080/map/"),
        ("-sameroom manage", "http://127.0.0.1:8080/manage/"),
        ("-sameroom pause", "Paused."),
        ("-sameroom resume", "Relaying again."),
    ],
)
async def test_an_answer_for_everything(world: World, typed: str, expected: str) -> None:
    """In a room without connections every command, right or wrong, is answered by what to do next."""
    assert expected in await world.asks(world.room("one", "garden"), "Alice", typed)


@pytest.mark.parametrize("dress", ["{}", "“{}”", "<{}>", "`{}`.", "{} ", "code {}"])
async def test_a_code_as_people_type_it(world: World, dress: str) -> None:
    """A code works in lower case, without its dash, in quotes and with a full stop."""
    a, b = world.room("one", "garden"), world.room("two", "kitchen")
    code = await world.code(a)
    typed = dress.format(code.lower().replace("-", " ")) if dress != "code {}" else code.replace("-", "\u2013")
    assert "now connected to garden (Loopback), by Bob" in await world.asks(b, "Bob", f"-sameroom connect {typed}")
    told = await world.shows(a, "now connected to kitchen (Loopback), by Bob")
    assert "-sameroom disconnect kitchen (Loopback)" in told


async def test_a_code_works_once(world: World) -> None:
    """A used code is refused in the same words as a wrong one, and nothing is connected by it."""
    a, b, c = world.room("one", "garden"), world.room("two", "kitchen"), world.room("three", "cellar")
    code = await world.code(a)
    await world.asks(b, "Bob", f"-sameroom connect {code}")
    wrong = await world.asks(c, "Carol", "-sameroom connect HLDMU-42K7")
    assert await world.asks(c, "Carol", f"-sameroom connect {code}") == wrong
    assert "not connected" in await world.asks(c, "Carol", "-sameroom list")


async def test_a_code_that_is_too_old(store: Redis, clock: FakeClock) -> None:
    """After two minutes a code is worth nothing."""
    async with running_world(store, account("one"), account("two"), now_ms=clock.now_ms) as world:
        code = await world.code(world.room("one", "garden"))
        clock.advance(120_000)
        assert "wrong, used or too old" in await world.asks(
            world.room("two", "kitchen"), "Bob", f"-sameroom connect {code}"
        )


async def test_the_rooms_own_code(world: World) -> None:
    """Typed in the room it came from a code is not used up."""
    a, b = world.room("one", "garden"), world.room("two", "kitchen")
    code = await world.code(a)
    assert "this room's own" in await world.asks(a, "Alice", f"-sameroom connect {code}")
    assert "now connected" in await world.asks(b, "Bob", f"-sameroom connect {code}")


async def test_connected_already(world: World) -> None:
    """Rooms of one sameroom, also by way of a third, are not connected again."""
    a, b, c = world.room("one", "garden"), world.room("two", "kitchen"), world.room("three", "cellar")
    await world.connect(a, b)
    await world.connect(b, c)
    code = await world.code(a)
    answer = await world.asks(c, "Carol", f"-sameroom connect {code}")
    assert "connected already" in answer
    assert "garden" in answer
    assert "Ended: this room's connections to 1 room." in await world.asks(c, "Carol", "-sameroom disable")


async def test_portal_links(world: World) -> None:
    """A portal link connects several rooms, stays the same, and is worth nothing once it was closed."""
    a, b, c, d = (world.room(x, y) for x, y in (("one", "w"), ("two", "x"), ("three", "y"), ("two", "z")))
    answer = await world.asks(a, "Alice", "-sameroom portal")
    link = re.search(r"http://\S+", answer)
    assert link is not None
    assert "No approval is needed" in answer
    assert link[0] in await world.asks(a, "Alice", "-sameroom portal")
    for room, typed in ((b, link[0]), (c, f"<{link[0]}?utm=1>")):
        assert "now connected to w" in await world.asks(room, "Bob", f"-sameroom connect {typed}")
    assert "this room's own" in await world.asks(a, "Alice", f"-sameroom connect {link[0]}")
    await world.code(a)
    assert "1 code and the portal link" in await world.asks(a, "Alice", "-sameroom close")
    assert "link does not work" in await world.asks(d, "Dan", f"-sameroom connect {link[0]}")
    assert link[0] not in await world.asks(a, "Alice", "-sameroom portal")


async def test_a_closed_code(world: World) -> None:
    """A code is worth nothing after its room was closed, and connections stay."""
    a, b, c = world.room("one", "garden"), world.room("two", "kitchen"), world.room("three", "cellar")
    await world.connect(a, b)
    code = await world.code(a)
    assert "1 code" in await world.asks(a, "Alice", "-sameroom close")
    assert "wrong, used or too old" in await world.asks(c, "Carol", f"-sameroom connect {code}")
    assert "kitchen (Loopback): connected" in await world.asks(a, "Alice", "-sameroom list")


@pytest.mark.parametrize("shards", [1, 2, 16])
async def test_two_rooms_and_one_code(store: Redis, shards: int) -> None:
    """Of two rooms that type the same code at the same instant exactly one gets in, whatever shards they are in."""
    async with running_world(store, account("one"), account("two"), settings={"shards": shards}) as world:
        for turn in range(6):
            opener, b, c = (world.room("one", f"o{turn}"), world.room("two", f"b{turn}"), world.room("two", f"c{turn}"))
            code = await world.code(opener)
            answers = await asyncio.gather(
                world.asks(b, f"Bob{turn}", f"-sameroom connect {code}"),
                world.asks(c, f"Carol{turn}", f"-sameroom connect {code}"),
            )
            assert sorted("now connected" in answer for answer in answers) == [False, True]
            assert sum("wrong, used or too old" in answer for answer in answers) == 1
            assert "Connected to 1 room." in await world.asks(opener, "Alice", "-sameroom list")


async def test_guessing_ends(store: Redis) -> None:
    """After five wrong codes a person gets nowhere, not even with a right one; others do."""
    async with running_world(store, account("one"), account("two")) as world:
        a, b = world.room("one", "garden"), world.room("two", "kitchen")
        code = await world.code(a)
        for guess in range(5):
            assert "wrong, used" in await world.asks(b, "Mallory", f"-sameroom connect HLDMU-42K{guess + 2}")
        assert "too many wrong codes" in await world.asks(b, "Mallory", f"-sameroom connect {code}")
        assert ("guesses", "two/mallory") in [(line.act, line.actor) for line in await world.log(b)]
        assert "now connected" in await world.asks(b, "Bob", f"-sameroom connect {code}")


async def test_pause_and_resume(world: World) -> None:
    """A paused room neither speaks nor hears, keeps its tube, and others go on."""
    a, b, c = world.room("one", "garden"), world.room("two", "kitchen"), world.room("three", "cellar")
    await world.connect(a, b)
    await world.connect(a, c)
    await world.asks(b, "Bob", "-sameroom pause")
    assert "kitchen (Loopback): paused" in await world.asks(a, "Alice", "-sameroom list")
    assert "This room is paused" in await world.asks(b, "Bob", "-sameroom list")
    world.say(b, "Bob", "from the paused room")
    world.say(a, "Alice", "to the paused room")
    await world.shows(c, "Alice: to the paused room")
    await world.asks(b, "Bob", "-sameroom resume")
    world.say(a, "Alice", "after")
    world.say(b, "Bob", "after too")
    await world.shows(b, "Alice: after")
    await world.shows(c, "Bob: after too")
    assert not any("paused room" in line for line in world.lines(b))
    assert not any("from the paused" in line for line in world.lines(a) + world.lines(c))


async def test_disconnect(world: World) -> None:
    """One tube goes, by the room's title, with or without its sign, and both rooms are told."""
    a, b, c = world.room("one", "garden"), world.room("two", "kitchen"), world.room("three", "cellar")
    world.network.room("kitchen", "#kitchen")
    await world.connect(a, b)
    await world.connect(a, c)
    answer = await world.asks(a, "Alice", "-sameroom disconnect attic")
    assert "No connected room is called “attic”" in answer
    assert "cellar (Loopback)" in answer
    answer = await world.asks(a, "Alice", "-sameroom disconnect KITCHEN.")
    assert answer.startswith("This room is no longer connected to #kitchen (Loopback); Alice ended it.")
    await world.shows(b, "no longer connected to garden (Loopback); Alice ended it")
    world.say(a, "Alice", "still here")
    await world.shows(c, "Alice: still here")
    assert "not connected" in await world.asks(b, "Bob", "-sameroom list")
    assert not any("still here" in line for line in world.lines(b))


async def test_disconnect_where_there_is_another_way(world: World) -> None:
    """A room that is still reached through a third one is said to be so."""
    a, b, c = world.room("one", "garden"), world.room("two", "kitchen"), world.room("three", "cellar")
    await world.connect(a, b)
    await world.connect(b, c)
    assert "still reached" not in await world.asks(b, "Bob", "-sameroom disconnect garden")
    await world.connect(a, c)
    answer = await world.asks(a, "Alice", "-sameroom disconnect kitchen")
    assert "No connected room is called “kitchen”" in answer
    assert "cellar (Loopback): connected" in await world.asks(a, "Alice", "-sameroom list")
    assert "kitchen (Loopback): connected, by way of another room" in await world.asks(a, "Alice", "-sameroom list")


async def test_disconnect_needs_a_full_name(world: World) -> None:
    """Two rooms of one name are told apart by their ids."""
    a, b, c = world.room("one", "garden"), world.room("two", "k1"), world.room("three", "k2")
    world.network.room("k1", "kitchen")
    world.network.room("k2", "kitchen")
    await world.connect(a, b)
    await world.connect(a, c)
    answer = await world.asks(a, "Alice", "-sameroom disconnect kitchen")
    assert "fits more than one: two/k1, three/k2" in answer
    assert "no longer connected" in await world.asks(a, "Alice", "-sameroom disconnect three/k2")
    assert "Connected to 1 room." in await world.asks(a, "Alice", "-sameroom list")


async def test_disable(world: World) -> None:
    """All tubes of a room go, the rooms at their ends are told, and what is said stays where it is."""
    a, b, c = world.room("one", "garden"), world.room("two", "kitchen"), world.room("three", "cellar")
    await world.connect(a, b)
    await world.connect(a, c)
    assert "connections to 2 rooms" in await world.asks(a, "Alice", "-sameroom disable")
    for room in (b, c):
        await world.shows(room, "no longer connected to garden")
    world.say(b, "Bob", "anybody there?")
    for room in (a, c):
        assert "not connected" in await world.asks(room, "Carol", "-sameroom list")
        assert not any("anybody" in line for line in world.lines(room))


async def test_disable_in_a_room_with_many_tubes(world: World) -> None:
    """However many rooms hear of it, what is said afterwards is not lost."""
    hub = world.room("one", "hub")
    spokes = [world.room("two", f"s{i}") for i in range(70)]
    link = re.search(r"http://\S+", await world.asks(hub, "Alice", "-sameroom portal"))
    assert link is not None
    await asyncio.gather(*(world.asks(room, "Bob", f"-sameroom connect {link[0]}") for room in spokes))
    assert "connections to 70 rooms" in await world.asks(hub, "Alice", "-sameroom disable")
    for room in spokes:
        await world.shows(room, "no longer connected")
    assert "not connected" in await world.asks(spokes[0], "Bob", "-sameroom list")
    assert "not connected" in await world.asks(hub, "Alice", "-sameroom list")


async def test_list_shows_what_waits(world: World) -> None:
    """The list counts what waits for a room, and no more once it arrived."""
    a, b = world.room("one", "garden"), world.room("two", "kitchen")
    await world.connect(a, b)
    world.network.faults["kitchen"] = deque([Retry(1.6)])
    for number in range(3):
        world.say(a, "Alice", f"message {number}")
    async with asyncio.timeout(5):
        while "kitchen (Loopback): connected, 3 messages waiting" not in await world.asks(a, "A", "-sameroom list"):
            pass
    await world.shows(b, "Alice: message 2")


@pytest.mark.parametrize(
    ("style", "shown"),
    [
        ("name", "bot: Alice: good day"),
        ("name+platform", "bot: Alice (Loopback): good day"),
        ("Name + Room", "bot: Alice (garden): good day"),
        ("plain", "bot: good day"),
    ],
)
async def test_format(store: Redis, style: str, shown: str) -> None:
    """A room chooses how authors are shown, where the platform does not show them itself."""
    async with running_world(store, account("one"), account("two", plain=True)) as world:
        a, b = world.room("one", "garden"), world.room("two", "kitchen")
        await world.connect(a, b)
        assert "From now on" in await world.asks(b, "Bob", f"-sameroom format {style}")
        world.say(a, "Alice", "good day")
        await world.shows(b, "good day")
        assert world.lines(b)[-1] == shown


async def test_ban_a_person(world: World) -> None:
    """A banned person is not heard here under any name; elsewhere, and after the ban, as before."""
    a, b, c = world.room("one", "garden"), world.room("two", "kitchen"), world.room("three", "cellar")
    await world.connect(a, b)
    await world.connect(a, c)
    mallory = person("Mallory", id="m1")
    target = world.say(a, mallory, "hi")
    await world.shows(b, "Mallory: hi")
    assert "-sameroom unban Mallory" in await world.asks(b, "Bob", "-sameroom ban @mallory")
    world.say(a, person("Not Mallory", id="m1"), "spam")
    world.edit(a, target, mallory, "spam in an edit")
    world.say(a, "Alice", "fine")
    await world.shows(c, "spam in an edit")
    await world.shows(b, "Alice: fine")
    assert "“Bob” is not banned here. Banned are: Mallory" in await world.asks(b, "Bob", "-sameroom unban Bob")
    assert "comes here again" in await world.asks(b, "Bob", "-sameroom unban MALLORY.")
    world.say(a, mallory, "sorry")
    await world.shows(b, "Mallory: sorry")
    assert not any("spam" in line for line in world.lines(b))


@pytest.mark.parametrize("typed", ["Mallory (Loopback)", "mallory (garden)", "Mallory"])
async def test_ban_by_the_name_as_it_is_shown(world: World, typed: str) -> None:
    """A person is found by the name as any format shows it, cleaned of what nobody can type; the latest one wins."""
    a, b = world.room("one", "garden"), world.room("two", "kitchen")
    await world.connect(a, b)
    world.say(a, person("Mallory", id="old"), "first")
    world.say(a, person("Mal\u200blory", id="new"), "second")
    await world.shows(b, "second")
    await world.asks(b, "Bob", f"-sameroom ban {typed}")
    world.say(a, person("Mallory", id="new"), "banned")
    world.say(a, person("Mallory", id="old"), "not banned")
    await world.shows(b, ": not banned")
    assert not any(line.endswith(": banned") for line in world.lines(b))


async def test_ban_a_room(world: World) -> None:
    """Nobody in a banned room is heard; the ban holds under the room's new name."""
    a, b, c = world.room("one", "garden"), world.room("two", "kitchen"), world.room("three", "cellar")
    await world.connect(a, b)
    await world.connect(b, c)
    assert "garden (Loopback)" in await world.asks(b, "Bob", "-sameroom ban garden")
    world.happen(RoomRenamed, a, title="park")
    world.say(a, "Alice", "anybody?")
    await world.shows(c, "Alice: anybody?")
    world.say(c, "Carol", "yes")
    await world.shows(b, "Carol: yes")
    assert not any("anybody" in line for line in world.lines(b))
    await world.asks(b, "Bob", "-sameroom unban garden (Loopback)")
    world.say(a, "Alice", "again")
    await world.shows(b, "Alice: again")


async def test_ping(store: Redis) -> None:
    """Every connected room answers with its time, and one that cannot says why."""
    async with running_world(store, account("one"), account("two"), account("three")) as world:
        a, b, c = world.room("one", "garden"), world.room("two", "kitchen"), world.room("three", "cellar")
        await world.connect(a, b)
        await world.connect(b, c)
        answer = await world.asks(a, "Alice", "-sameroom ping")
        assert re.search(r"• kitchen \(Loopback\): (under 1|\d+) ms", answer)
        assert re.search(r"• cellar \(Loopback\): (under 1|\d+) ms", answer)


async def test_links_for_browsers(world: World) -> None:
    """Map and manage links hold what the portal needs, signed."""
    room = world.room("one", "garden")
    found = re.search(r"/map/(\S+)", await world.asks(room, "Alice", "-sameroom map"))
    assert found is not None
    assert world.deps.links.verify("map", found[1], 86_400) == room
    answer = await world.asks(room, "Alice", "-sameroom manage")
    found = re.search(r"/manage/(\S+)", answer)
    assert found is not None
    assert "15 minutes" in answer
    payload = await world.deps.links.peek_once("manage", found[1])
    assert payload == {"room": room, "person": "one/alice", "name": "Alice"}


async def test_every_act_is_logged(world: World) -> None:
    """The security log says who did what, where, by id, and never the code."""
    a, b = world.room("one", "garden"), world.room("two", "kitchen")
    code = await world.code(a, "Alice")
    await world.asks(b, "Bob", f"-sameroom connect {code}")
    world.say(b, "Carol", "hi")
    await world.shows(a, "Carol: hi")
    for typed in (
        "pause", "resume", "format name", "ban Carol", "unban Carol", "portal", "close", "manage", "disconnect kitchen",
    ):  # fmt: skip
        await world.asks(a, "Alice", f"-sameroom {typed}")
    await world.connect(a, b)
    await world.asks(a, "Alice", "-sameroom disable")
    lines = await world.log(a)
    assert [line.act for line in lines] == [
        "open", "connect", "pause", "resume", "format", "ban", "unban", "portal", "close", "manage", "disconnect",
        "open", "connect", "disable",
    ]  # fmt: skip
    assert {line.actor for line in lines if line.act not in ("connect", "open")} == {"one/alice"}
    assert [line.detail for line in lines if line.act == "connect"] == ["with kitchen (Loopback)"] * 2
    assert [line.act for line in await world.log(b)] == ["connect", "connect"]
    assert code not in str([await world.log(room) for room in (a, b)])


async def test_away_and_back(world: World) -> None:
    """Put out of a room the bot says so in the others and posts nothing there; brought back, all goes on."""
    a, b, c = world.room("one", "garden"), world.room("two", "kitchen"), world.room("three", "cellar")
    await world.connect(a, b)
    await world.connect(a, c)
    world.happen(BotRemoved, b, reason="kicked by Bob")
    await world.shows(a, "The bot was removed from kitchen (Loopback) (kicked by Bob)")
    assert "kitchen (Loopback): the bot is not there" in await world.asks(a, "Alice", "-sameroom list")
    stood = len(world.posts(b))
    world.say(a, "Alice", "while away")
    await world.shows(c, "while away")
    world.happen(BotAdded, b, title="kitchen")
    await world.shows(a, "The bot is in kitchen (Loopback) again")
    world.say(a, "Alice", "after")
    await world.shows(b, "Alice: after")
    assert [line.partition(":")[0] for line in world.lines(b)[stood:]] == ["bot", "Alice"]
    assert "removed" in [line.act for line in await world.log(b)]


async def test_nothing_is_said_in_a_room_without_the_bot(world: World) -> None:
    """A room that the bot was put out of is not told of a cut tube: nothing could be posted there."""
    a, b = world.room("one", "garden"), world.room("two", "kitchen")
    await world.connect(a, b)
    world.happen(BotRemoved, b)
    await world.shows(a, "The bot was removed")
    stood = len(world.posts(b))
    await world.asks(a, "Alice", "-sameroom disconnect kitchen")
    world.happen(BotAdded, b, title="kitchen", native=NativeId("back"))
    await world.shows(b, "Hello.")
    assert len(world.posts(b)) == stood + 1


async def test_a_renamed_room(world: World) -> None:
    """A room is called by its newest name."""
    a, b = world.room("one", "garden"), world.room("two", "kitchen")
    await world.connect(a, b)
    world.happen(RoomRenamed, b, title="pantry")
    world.network.room("kitchen").title = "pantry"
    await world.asks(b, "Bob", "-sameroom format")
    assert "pantry (Loopback): connected" in await world.asks(a, "Alice", "-sameroom list")
    assert "no longer connected to pantry" in await world.asks(a, "Alice", "-sameroom disconnect pantry")


async def test_another_prefix(store: Redis) -> None:
    """The word after the dash is a setting; with another one the usual word is ordinary talk."""
    async with running_world(store, account("one"), account("two"), settings={"prefix": "bridge"}) as world:
        a, b = world.room("one", "garden"), world.room("two", "kitchen")
        answer = await world.asks(a, "Alice", "-bridge open")
        found = re.search(r"type: -bridge connect (\S+)\.", answer)
        assert found is not None
        await world.asks(b, "Bob", f"-bridge connect {found[1]}")
        world.say(a, "Alice", "-sameroom help")
        await world.shows(b, "Alice: -sameroom help")

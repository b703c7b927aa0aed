"""Guests talk: rooms, joining, history, reconnecting, edits, deletions, reactions, typing, names."""

from __future__ import annotations

import asyncio
import secrets

import pytest

from core.contract import Outbound
from core.model import BotAdded, MessageDeleted, MessageEdited, MessageNew, Reaction, RoomRenamed, Text, Typing
from tests.bots.web.conftest import Pair

NAUGHTY = [
    "<script>alert(1)</script>",
    "\u202eevil\u2066",
    "Z" + "\u0301" * 50,
    '"><img src=x onerror=alert(1)>',
    "{{7*7}}",
]


async def test_making_a_room_tells_the_relay(server, browsers, inbox):
    """A new room is reported with its title, to be greeted, and its maker is its admin."""
    ann = browsers(server)
    link = await ann.open_room(name="  Our \u202egarden ", guest="Ann")
    (added,) = inbox.of(BotAdded)
    assert (added.title, added.greet) == ("Our garden", True)
    assert link not in added.room
    assert await server.adapter.is_admin(added.room, added.by.id)
    assert not await server.adapter.is_admin(added.room, "guest:somebody")


async def test_the_maker_reads_the_greeting(server, browsers, inbox):
    """What the bot says between making the room and giving a name is there for its maker."""
    ann = browsers(server)
    link = await ann.open_room()
    greeting = Outbound(room=inbox.of(BotAdded)[0].room, key="g", text=Text("Welcome"))
    await server.adapter.send(greeting)
    await ann.join(link, "Ann")
    socket = await ann.connect()
    assert [m["m"]["body"] for m in socket.seen[0]["messages"]] == [["Welcome"]]


async def test_two_guests_talk(pair: Pair, inbox):
    """What one says reaches the other once, and the relay with id, author, text and room title."""
    said = await pair.a.say("hello **Ben**")
    heard = await pair.b.message()
    assert (heard["id"], heard["name"], heard["kind"]) == (said["id"], "Ann", "guest")
    (new,) = inbox.of(MessageNew)
    assert (new.native, new.author.name, new.author.role, new.room) == (said["id"], "Ann", "admin", pair.room)
    assert new.author.id.startswith("guest:")
    assert "Ben" in new.text.plain
    assert new.room_title == "Garden"


async def test_a_wish_that_comes_twice_is_done_once(pair: Pair, inbox):
    """The same client id again is acknowledged and makes no second message anywhere."""
    for _ in range(3):
        assert (await pair.a.answer(t="say", id="once", text="hi"))["t"] == "ok"
    await pair.a.say("end")
    assert [(await pair.b.message())["src"] for _ in range(2)] == ["hi", "end"]
    assert len(inbox.of(MessageNew)) == 2


async def test_nothing_shows_that_was_not_accepted(pair: Pair, inbox):
    """While the relay cannot take it the browser is told to keep it; tried again it is said once."""
    inbox.down = True
    answer = await pair.a.answer(t="say", id="kept", text="later")
    assert (answer["t"], answer["retry"]) == ("no", True)
    inbox.down = False
    assert (await pair.a.answer(t="say", id="kept", text="later"))["t"] == "ok"
    await pair.a.say("end")
    assert [(await pair.b.message())["src"] for _ in range(2)] == ["later", "end"]


async def test_reconnect_gets_the_gap_and_nothing_twice(pair: Pair):
    """Who comes back with the last number gets what changed since, in order."""
    first = await pair.a.say("one")
    await pair.b.message()
    last = pair.b.last
    await pair.b.ws.close()
    await pair.a.say("two")
    await pair.a.answer(t="edit", id="e1", target=first["id"], text="one!")
    back = await pair.ben.connect(last)
    assert [m["m"]["src"] for m in back.seen[0]["messages"]] == ["one!", "two"]
    await pair.a.say("three")
    assert (await back.message())["src"] == "three"


async def test_a_burst_while_connecting_has_no_gap(pair: Pair):
    """Messages said during the hello come exactly once, whichever side of the welcome they fall on."""

    async def talk() -> None:
        for number in range(60):
            await pair.a.answer(t="say", id=f"n{number}", text=str(number))

    talking = asyncio.create_task(talk())
    late = await pair.ben.connect()
    got = [m["m"]["src"] for m in late.seen[0]["messages"]]
    while len(got) < 60:
        got.append((await late.message())["src"])
    await talking
    assert got == [str(number) for number in range(60)]


async def test_two_processes_share_a_room(pair: Pair, make_server):
    """A guest served by another process sees and says the same."""
    other = await make_server()
    pair.ben.server.url, old = pair.ben.server.url, pair.ben.server
    pair.ben.server = other
    socket = await pair.ben.connect()
    await pair.a.say("across")
    assert (await socket.message())["src"] == "across"
    await socket.say("back")
    assert (await pair.a.message())["src"] == "back"
    pair.ben.server = old


async def test_history_starts_at_joining(pair: Pair, browsers):
    """A newcomer sees nothing said before, not even when it is edited; the maker sees everything."""
    old = await pair.a.say("before")
    cleo = await browsers(pair.server).join(pair.ann.link, "Cleo")
    socket = await cleo.connect()
    assert socket.seen[0]["messages"] == []
    await pair.a.answer(t="edit", id="e", target=old["id"], text="before, edited")
    await pair.a.say("after")
    assert (await socket.message())["src"] == "after"
    assert "before" not in await cleo.page()
    assert "after" in await cleo.page()
    again = await pair.ann.connect()
    assert [m["m"]["src"] for m in again.seen[0]["messages"]] == ["before, edited", "after"]


async def test_only_the_author_edits(pair: Pair, inbox):
    """An edit by somebody else is refused and reaches nobody, not even by who made the room."""
    bens = await pair.b.say("Ben's")
    refused = await pair.a.answer(t="edit", id="x", target=bens["id"], text="no")
    assert (refused["t"], refused["retry"]) == ("no", False)
    assert inbox.of(MessageEdited) == []
    assert (await pair.b.answer(t="edit", id="y", target=bens["id"], text="Ben's, better"))["t"] == "ok"
    (edited,) = inbox.of(MessageEdited)
    assert (edited.target, edited.text.plain) == (bens["id"], "Ben's, better")


async def test_the_author_and_the_maker_delete(pair: Pair, inbox):
    """Others may not; a deleted text is gone from the store as well."""
    anns, bens = await pair.a.say("Ann's secret"), await pair.b.say("Ben's secret")
    assert (await pair.b.answer(t="delete", id="1", target=anns["id"]))["t"] == "no"
    assert (await pair.b.answer(t="delete", id="2", target=bens["id"]))["t"] == "ok"
    assert (await pair.a.answer(t="delete", id="3", target=anns["id"]))["t"] == "ok"
    third = await pair.b.say("Ben's third")
    assert (await pair.a.answer(t="delete", id="4", target=third["id"]))["t"] == "ok"
    assert [e.target for e in inbox.of(MessageDeleted)] == [bens["id"], anns["id"], third["id"]]
    assert (await pair.a.answer(t="edit", id="5", target=anns["id"], text="back"))["t"] == "no"
    assert "secret" not in await pair.ann.page()


async def test_reactions_toggle(pair: Pair, inbox):
    """A reaction shows with who gave it, goes once, and only an emoji counts."""
    said = await pair.a.say("nice")
    assert (await pair.b.answer(t="react", id="r1", target=said["id"], emoji="👍", on=True))["t"] == "ok"
    shown = await pair.a.until(lambda n: n["t"] == "message" and n["m"].get("reactions"))
    assert list(shown["m"]["reactions"]["👍"].values()) == ["Ben"]
    assert (await pair.b.answer(t="react", id="r2", target=said["id"], emoji="👍", on=False))["t"] == "ok"
    assert [(e.emoji, e.added) for e in inbox.of(Reaction)] == [("👍", True), ("👍", False)]
    for bad in ("hello", "<b>", "👍" * 20, "1"):
        assert (await pair.b.answer(t="react", id="r3", target=said["id"], emoji=bad, on=True))["t"] == "no"


async def test_a_reply_quotes(pair: Pair, inbox):
    """A reply carries who and what it answers, for pages and for the relay."""
    said = await pair.a.say("what  is\nit?")
    answer = await pair.b.say("this", reply=said["id"])
    assert answer["reply"] == {"id": said["id"], "name": "Ann", "excerpt": "what is it?"}
    assert inbox.of(MessageNew)[-1].reply_to.native == said["id"]
    assert (await pair.b.answer(t="say", id="z", text="x", reply="nowhere"))["t"] == "no"


async def test_typing_shows_and_is_throttled(pair: Pair, inbox):
    """Others see it; several in a row reach the relay once."""
    for _ in range(5):
        await pair.a.send(t="typing")
    news = await pair.b.until(lambda n: n["t"] == "typing")
    assert news["name"] == "Ann"
    await pair.a.say("done")
    assert len([e for e in inbox.events if isinstance(e, Typing)]) == 1


async def test_renaming_is_for_the_maker(pair: Pair, inbox):
    """The new name reaches the pages and the relay."""
    assert (await pair.b.answer(t="rename", id="n1", name="Mine"))["t"] == "no"
    assert (await pair.a.answer(t="rename", id="n2", name='Shed "2"'))["t"] == "ok"
    assert (await pair.b.until(lambda n: n["t"] == "room"))["name"] == 'Shed "2"'
    assert [e.title for e in inbox.of(RoomRenamed)] == ['Shed "2"']


@pytest.mark.parametrize("name", NAUGHTY)
async def test_naughty_names_are_harmless(server, browsers, name):
    """A name is cut to one clean line and stands escaped on the page."""
    ann = browsers(server)
    await ann.open_room(name=name, guest=name)
    socket = await ann.connect()
    await socket.say(name)
    page = await ann.page()
    shown = socket.seen[0]["you"]["name"]
    assert len(shown) <= 40
    assert not set(shown) & {"\u202e", "\u2066"}
    assert shown.count("\u0301") <= 3
    for tag in ("<script>alert", "<img src=x"):
        assert tag not in page
    assert "49" not in shown


async def test_old_messages_make_room(make_server, browsers):
    """A room keeps the newest messages up to the limit, by number and by bytes."""
    server = await make_server(history_messages=10, history_bytes=65_536)
    ann = browsers(server)
    await ann.open_room(guest="Ann")
    socket = await ann.connect()
    for number in range(14):
        await socket.say(str(number))
    again = await ann.connect()
    assert [m["m"]["src"] for m in again.seen[0]["messages"]] == [str(n) for n in range(4, 14)]
    for _ in range(5):
        await socket.say("x" * 8000)
    again = await ann.connect()
    assert len(again.seen[0]["messages"]) < 5


async def test_a_code_in_the_form_is_said_by_the_guest(server, browsers, inbox):
    """Joining with a code makes a room, joins it and types the command, in this order."""
    await browsers(server).open_room(guest="Ann", connect="HLDMU-42K7")
    assert [type(e) for e in inbox.events] == [BotAdded, MessageNew]
    assert inbox.events[1].text.plain == "-sameroom connect HLDMU-42K7"


async def test_a_store_that_goes_away_sends_pages_away(pair: Pair, store):
    """A cut subscription closes the sockets; coming back with the last number loses nothing."""
    await pair.a.say("one")
    await store.client_kill_filter(_type="pubsub")
    assert await pair.b.closed() == 1012
    back = await pair.ben.connect(0)
    assert [m["m"]["src"] for m in back.seen[0]["messages"]] == ["one"]
    again = await pair.ann.connect()
    await again.say(secrets.token_hex(4))
    await back.message()

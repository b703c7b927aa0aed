"""As a component: authors of other rooms are in the room under their own names, over one stream."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from xml.etree.ElementTree import Element

import pytest
from msgspec.structs import replace

from bots.xmpp import xml as x
from bots.xmpp.ghosts import nicks
from core.contract import Receipt
from core.model import Author, BotAdded, BotRemoved, Joined, Left, MessageNew, Typing
from core.store import Redis
from tests.bots.xmpp.scene import View
from tests.bots.xmpp.support import ALICE, Running, component_config, delivered, new_room, post, roomed, running
from tests.bots.xmpp.test_account import settled
from tests.servers.xmpp import Door, Person, Prosody, stanza_id

BODY = "{jabber:client}body"


def says(text: str, nick: str = "") -> object:
    """Is this a room's message with ``text``?"""

    def found(stanza: Element) -> bool:
        return stanza.findtext(BODY) == text and (not nick or stanza.get("from", "").endswith(f"/{nick}"))

    return found


@pytest.fixture
async def ann(prosody: Prosody) -> AsyncIterator[Person]:
    """Somebody on the server."""
    async with Person(prosody, "ann") as person:
        yield person


async def in_room(ann: Person, link: Running, room: str) -> None:
    """Ann comes in and sees the bot."""
    await ann.enter(room, "Ann")
    await ann.sees(room, "bridgebot")
    assert link.events.is_online


async def test_authors_stand_under_their_own_names(prosody: Prosody, store: Redis, ann: Person) -> None:
    """Two authors are two occupants; the bot's own words are the bot's; none of it comes back as an event."""
    room = new_room()
    async with running(component_config(prosody, rooms=(room,)), store) as link:
        await in_room(ann, link, room)
        assert link.adapter.capabilities(roomed(room)).names == "full"
        posts = [
            post(room, "from alice"),
            post(room, "from zoe", Author("u2", "Zoë")),
            post(room, "from the bot", None),
        ]
        results = await link.adapter.send_stream(posts)
        for text, nick in (("from alice", "Alice"), ("from zoe", "Zoë"), ("from the bot", "bridgebot")):
            seen = await ann.until(says(text, nick))  # type: ignore[arg-type]
            assert stanza_id(seen) in [native for result in results for native in result.natives]  # type: ignore[union-attr]
        await ann.say(room, "<body>from ann</body>")
        await link.heard(MessageNew)
        texts = [event.text.plain for event in link.events.seen if isinstance(event, MessageNew)]
        assert texts == ["from ann"]
        assert not [event for event in link.events.seen if isinstance(event, Joined) and event.author.name != "Ann"]


async def test_a_thousand_authors_are_one_stream(prosody: Prosody, store: Redis, ann: Person) -> None:
    """A burst of many authors keeps its order; those beyond the limit speak through the bot, with their names."""
    room = new_room()
    async with running(component_config(prosody, rooms=(room,), ghosts_per_room=20), store) as link:
        await in_room(ann, link, room)
        posts = [post(room, f"burst {n:03}", Author(f"a{n}", f"Author {n}")) for n in range(1000)]
        results = await link.adapter.send_stream(posts)
        assert all(isinstance(result, Receipt) for result in results)
        await ann.until(lambda stanza: (stanza.findtext(BODY) or "").endswith("burst 999"))
        said = [
            (s.get("from", "").partition("/")[2], s.findtext(BODY) or "") for s in ann.heard if s.find(BODY) is not None
        ]
        assert [text.partition("burst ")[2] for _, text in said] == [f"{n:03}" for n in range(1000)]
        assert said[0] == ("Author 0", "burst 000")
        assert said[-1] == ("bridgebot", "Author 999: burst 999")
        assert sum(nick != "bridgebot" for nick, _ in said) == 20


async def test_a_taken_name_gets_a_number(prosody: Prosody, store: Redis, ann: Person) -> None:
    """A namesake in the room keeps the name; two remote people of one name are two occupants."""
    room = new_room()
    async with running(component_config(prosody, rooms=(room,)), store) as link:
        await in_room(ann, link, room)
        await link.adapter.send(post(room, "not Ann", Author("u5", "Ann")))
        await ann.until(says("not Ann", "Ann (2)"))  # type: ignore[arg-type]
        await link.adapter.send(post(room, "nor this", Author("u6", "Ann")))
        await ann.until(says("nor this", "Ann (3)"))  # type: ignore[arg-type]
        await link.adapter.send(post(room, "nobody left", Author("u7", "Ann")))
        await ann.until(says("Ann: nobody left", "bridgebot"))  # type: ignore[arg-type]


async def test_names_that_no_server_takes(prosody: Prosody, store: Redis, ann: Person) -> None:
    """Whatever somebody is called, their words arrive."""
    room = new_room()
    async with running(component_config(prosody, rooms=(room,)), store) as link:
        await in_room(ann, link, room)
        for number, name in enumerate(("🦊", "a/b & <c>", "\u2068שלום\u2069", "x" * 500, "Zoë 🦊")):
            receipt = await link.adapter.send(post(room, f"words {number}", Author(f"n{number}", name)))
            seen = await ann.until(lambda s, n=number: (s.findtext(BODY) or "").endswith(f"words {n}"))  # type: ignore[misc]
            assert receipt.natives == (stanza_id(seen),)


def test_nicks_fall_back_to_old_characters() -> None:
    """Without what servers do not know, then with a number; nothing for a name of which nothing is left."""
    assert list(nicks("Zoë 🦊")) == ["Zoë", "Zoë (2)", "Zoë (3)"]
    assert list(nicks("\u2068שלום\u2069")) == ["שלום"]
    assert not list(nicks(" 🦊 \x07"))


async def test_the_author_changes_what_the_author_said(prosody: Prosody, store: Redis, ann: Person) -> None:
    """Corrections, retractions and reactions come from the author's own occupant."""
    room = new_room()
    async with running(component_config(prosody, rooms=(room,)), store) as link:
        await in_room(ann, link, room)
        view = View(ann, room)
        receipt = await link.adapter.send(post(room, "teh first"))
        await link.adapter.edit(receipt.natives, post(room, "the first"))
        said = await ann.say(room, "<body>Ann's</body>")
        await link.adapter.react(roomed(room), stanza_id(said), "👍", True, ALICE)  # type: ignore[arg-type]
        await link.adapter.react(roomed(room), stanza_id(said), "🎉", True, Author("u2", "Zoë"))  # type: ignore[arg-type]
        view.look()
        assert [(s.nick, s.line.plain) for s in view.said] == [("Alice", "the first"), ("Ann", "Ann's")]
        assert view.reactions[stanza_id(said)] == {"Alice": ("👍",), "Zoë": ("🎉",)}
        await link.adapter.delete(roomed(room), receipt.natives)
        view.look()
        assert view.said[0].gone


async def test_what_the_bot_said_for_somebody_is_changed_with_the_name(
    prosody: Prosody, store: Redis, ann: Person
) -> None:
    """Without a place for a ghost the name stays in the text when the text changes."""
    room = new_room()
    async with running(component_config(prosody, rooms=(room,), ghosts_per_room=0), store) as link:
        await in_room(ann, link, room)
        view = View(ann, room)
        receipt = await link.adapter.send(post(room, "teh first"))
        await link.adapter.edit(receipt.natives, post(room, "the first"))
        view.look()
        assert [(s.nick, s.line.plain) for s in view.said] == [("bridgebot", "Alice: the first")]


async def test_the_idle_leave_and_come_back(prosody: Prosody, store: Redis, ann: Person) -> None:
    """Who says nothing for long leaves without a word to the relay, and enters again to speak."""
    room = new_room()
    async with running(component_config(prosody, rooms=(room,), ghost_idle_s=0.2), store) as link:
        await in_room(ann, link, room)
        await link.adapter.send(post(room, "hello"))
        left = lambda s: s.get("from") == f"{room}/Alice" and s.get("type") == "unavailable"  # noqa: E731
        await ann.until(left)
        await link.adapter.send(post(room, "again"))
        await ann.until(says("again", "Alice"))  # type: ignore[arg-type]
        assert not [event for event in link.events.seen if isinstance(event, Left)]


async def test_a_kicked_ghost_is_spoken_for(prosody: Prosody, store: Redis, ann: Person) -> None:
    """A moderator may put an author out: the bot then says it, for a while."""
    room = new_room()
    await ann.enter(room, "Ann")
    async with running(component_config(prosody, rooms=(room,)), store) as link:
        await ann.sees(room, "bridgebot")
        await link.adapter.send(post(room, "hello"))
        kick = "<query xmlns='http://jabber.org/protocol/muc#admin'><item nick='Alice' role='none'/></query>"
        await ann.ask("set", room, kick)
        await delivered(link, post(room, "still here"))
        await ann.until(says("Alice: still here", "bridgebot"))  # type: ignore[arg-type]


async def test_ghosts_come_again_after_a_new_connection(prosody: Prosody, store: Redis, ann: Person) -> None:
    """When the component's stream breaks everybody is gone, and comes back when they speak."""
    room = new_room()
    async with running(component_config(prosody, rooms=(room,)), store) as link:
        await in_room(ann, link, room)
        await link.adapter.send(post(room, "before"))
        ann.heard.clear()
        assert link.adapter._link
        assert link.adapter._link.stream
        link.adapter._link.stream.cut()
        await link.until(lambda: bool(link.events.reasons))
        await link.until(lambda: link.events.is_online)
        await delivered(link, post(room, "after"))
        await ann.until(says("after", "Alice"))  # type: ignore[arg-type]


async def test_a_component_that_is_cut_within_a_burst(prosody: Prosody, store: Redis, ann: Person) -> None:
    """A component's stream cannot be resumed (XEP-0114): what nobody knows of is looked for in the archive, and each
    post stands there once, in order, under its author's name."""
    room = new_room()
    authors = [Author(f"u{number}", f"Author {number}") for number in range(5)]
    async with Door(prosody.component_port) as door:
        config = replace(component_config(prosody, rooms=(room,)), port=door.port)
        async with running(config, store) as link:
            await in_room(ann, link, room)
            for author in authors:
                await delivered(link, post(room, "hello", author))
            door.up_bytes = 5_000
            posts = [post(room, f"out {number}", authors[number % 5]) for number in range(25)]
            burst = asyncio.create_task(link.adapter.send_stream(posts))
            await ann.until(lambda s: s.findtext(BODY) == "out 3")
            door.close()
            await link.until(lambda: bool(link.events.reasons))
            door.open()
            results = await burst
            receipts = [await settled(link, sent, result) for sent, result in zip(posts, results, strict=True)]
            assert len({receipt.natives for receipt in receipts}) == 25
            await ann.until(lambda s: s.findtext(BODY) == "out 24")
            said = [(x.resource(s.get("from", "")), s.findtext(BODY) or "") for s in ann.heard]
            assert [each for each in said if each[1].startswith("out")] == [
                (f"Author {number % 5}", f"out {number}") for number in range(25)
            ]


async def test_typing_is_the_ghosts(prosody: Prosody, store: Redis, ann: Person) -> None:
    """An author who is in the room is shown as typing; nobody enters for it alone."""
    room = new_room()
    async with running(component_config(prosody, rooms=(room,)), store) as link:
        await in_room(ann, link, room)
        view = View(ann, room)
        await link.adapter.typing(roomed(room), Author("u9", "Stranger"))
        await link.adapter.send(post(room, "hello"))
        await link.adapter.typing(roomed(room), ALICE)
        await link.adapter.typing(roomed(room), ALICE)
        composing = "{http://jabber.org/protocol/chatstates}composing"
        await ann.until(lambda s: s.find(composing) is not None)
        view.look()
        assert view.typing == {"Alice": True}
        assert sum(s.find(composing) is not None for s in ann.heard) == 1
        assert not [event for event in link.events.seen if isinstance(event, Typing)]


async def test_a_destroyed_room_is_left_by_all(prosody: Prosody, store: Redis, ann: Person) -> None:
    """When the room is gone the relay is told once, with why and where it goes on; nothing is posted there."""
    room, elsewhere = new_room(), new_room()
    await ann.enter(room, "Ann")
    async with running(component_config(prosody), store) as link:
        ann.send(f"<message to='bot@bridge.localhost'><x xmlns='jabber:x:conference' jid='{room}'/></message>")
        await link.heard(BotAdded)
        await delivered(link, post(room, "hello"))
        destroy = f"<destroy jid='{elsewhere}'><reason>enough</reason></destroy>"
        await ann.ask("set", room, f"<query xmlns='http://jabber.org/protocol/muc#owner'>{destroy}</query>")
        event = await link.heard(BotRemoved)
        assert event.reason == f"the room was destroyed and goes on at {elsewhere}: enough"
        results = await link.adapter.send_stream([post(room, "anybody?")])
        assert "not in this room" in str(results[0])

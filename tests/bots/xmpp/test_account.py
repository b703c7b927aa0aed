"""As one account, on a real server: coming and going, what is heard and posted, and what happens when things break."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from msgspec.structs import replace

from bots.xmpp import link as link_module
from bots.xmpp.adapter import XmppAdapter
from bots.xmpp.send import refusal
from core.contract import AdapterError, AuthLost, Offline, Outbound, OutFile, Receipt, Rejected, Retry, Since, Uncertain
from core.model import (
    BotAdded,
    BotRemoved,
    Joined,
    Left,
    MessageDeleted,
    MessageEdited,
    MessageNew,
    NativeId,
    RoomRenamed,
    Text,
)
from core.store import Redis, StoreDown
from tests.bots.xmpp.scene import View, account_config
from tests.bots.xmpp.support import ACCOUNT, ALICE, Running, delivered, new_room, post, roomed, running
from tests.contract.harness import services
from tests.contract.stage import Recorder
from tests.servers.xmpp import Door, Person, Prosody, element, stanza_id

BODY = "{jabber:client}body"
REACTION = "{urn:xmpp:reactions:0}reaction"
ADMIN = "http://jabber.org/protocol/muc#admin"
OWNER = "http://jabber.org/protocol/muc#owner"


@pytest.fixture
async def ann(prosody: Prosody) -> AsyncIterator[Person]:
    """Somebody on the server."""
    async with Person(prosody, "ann") as person:
        yield person


@pytest.fixture
async def bob(prosody: Prosody) -> AsyncIterator[Person]:
    """Somebody else."""
    async with Person(prosody, "bob") as person:
        yield person


class Counting(Recorder):
    """Counts how often the account came online, and may take nothing in."""

    down = False
    onlines = 0

    async def accepted(self) -> None:
        """Not while the store is down."""
        if self.down:
            raise StoreDown("no")

    def online(self) -> None:
        """Count it."""
        self.onlines += 1
        super().online()


def texts(link: Running) -> list[str]:
    """What was heard."""
    return [event.text.plain for event in link.events.seen if isinstance(event, MessageNew)]


async def configure(person: Person, room: str, **fields: str) -> None:
    """The owner sets a room up."""
    form = "".join(
        f"<field var='muc#roomconfig_{name}'><value>{value}</value></field>" for name, value in fields.items()
    )
    kind = (
        f"<field var='FORM_TYPE' type='hidden'><value>http://jabber.org/protocol/muc#roomconfig</value></field>{form}"
    )
    await person.ask("set", room, f"<query xmlns='{OWNER}'><x xmlns='jabber:x:data' type='submit'>{kind}</x></query>")


# --- coming and going ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["direct", "mediated"])
async def test_an_invitation_is_followed_and_remembered(prosody: Prosody, store: Redis, ann: Person, way: str) -> None:
    """Whoever invites the bot is named when it comes; after a restart it comes back without a greeting."""
    room = new_room()
    await ann.enter(room, "Ann")
    invite = "<invite to='bridge@localhost'/>"
    async with running(account_config(prosody), store) as link:
        if way == "direct":
            ann.send(f"<message to='bridge@localhost'><x xmlns='jabber:x:conference' jid='{room}'/></message>")
        else:
            ann.send(f"<message to='{room}'><x xmlns='http://jabber.org/protocol/muc#user'>{invite}</x></message>")
        added = await link.heard(BotAdded)
        assert (added.room, added.title, added.greet) == (roomed(room), room.partition("@")[0], True)
        assert added.by is not None
        # The room hides who is who, the person's own invitation does not.
        assert (added.by.id == "jid:ann@localhost") == (way == "direct")
        assert added.by.name == ("ann" if way == "direct" else "Ann")
        await ann.sees(room, "bridgebot")
    ann.heard.clear()
    async with running(account_config(prosody), store) as link:
        await ann.sees(room, "bridgebot")
        await ann.say(room, "<body>welcome back</body>")
        await link.heard(MessageNew)
        assert not [event for event in link.events.seen if isinstance(event, BotAdded)]


async def test_an_invitation_may_be_ignored(prosody: Prosody, store: Redis, ann: Person) -> None:
    """Where the operator does not want it, nobody brings the bot anywhere."""
    room, other = new_room(), new_room()
    await ann.enter(room, "Ann")
    async with running(account_config(prosody, rooms=(other,), accept_invites=False), store) as link:
        ann.send(f"<message to='bridge@localhost'><x xmlns='jabber:x:conference' jid='{room}'/></message>")
        await ann.enter(other, "Ann")
        await ann.say(other, "<body>after it</body>")
        await link.heard(MessageNew)
        assert [info.room for info in await link.adapter.rooms()] == [roomed(other)]


async def test_a_kick_ends_it_and_an_invitation_mends_it(prosody: Prosody, store: Redis, ann: Person) -> None:
    """An invited bot that is kicked stays out, forgets the room, and comes back when it is invited again."""
    room = new_room()
    await ann.enter(room, "Ann")
    invite = f"<message to='bridge@localhost'><x xmlns='jabber:x:conference' jid='{room}'/></message>"
    async with running(account_config(prosody), store) as link:
        ann.send(invite)
        await link.heard(BotAdded)
        kick = f"<query xmlns='{ADMIN}'><item nick='bridgebot' role='none'><reason>shoo</reason></item></query>"
        await ann.ask("set", room, kick)
        removed = await link.heard(BotRemoved)
        assert removed.reason == "the bot was kicked out of the room: shoo"
        with pytest.raises(Rejected, match="Invite bridge@localhost"):
            await link.adapter.send(post(room, "hello?"))
        ann.send(invite)
        await link.until(lambda: sum(isinstance(event, BotAdded) for event in link.events.seen) == 2)
        await delivered(link, post(room, "here again"))


async def test_a_configured_bot_comes_back_once_after_a_kick(prosody: Prosody, store: Redis, ann: Person) -> None:
    """The operator's word counts more than one kick, and not more than two."""
    room = new_room()
    await ann.enter(room, "Ann")
    config = account_config(prosody, rooms=(room,), rejoin_after_kick_s=0.1)
    async with running(config, store) as link:
        kick = f"<query xmlns='{ADMIN}'><item nick='bridgebot' role='none'/></query>"
        await ann.ask("set", room, kick)
        await link.until(lambda: sum(isinstance(event, BotAdded) for event in link.events.seen) == 2)
        assert [e.greet for e in link.events.seen if isinstance(e, BotAdded)] == [True, False]
        await ann.ask("set", room, kick)
        await link.until(lambda: sum(isinstance(event, BotRemoved) for event in link.events.seen) == 2)
        with pytest.raises(Rejected, match="put out of"):
            await link.adapter.send(post(room, "hello?"))


async def test_a_ban_is_told(prosody: Prosody, store: Redis, ann: Person) -> None:
    """Banned while it is there: removed. Banned while it was away: removed when it wants to come back."""
    room = new_room()
    await ann.enter(room, "Ann")
    ban = f"<query xmlns='{ADMIN}'><item jid='bridge@localhost' affiliation='%s'/></query>"
    async with running(account_config(prosody, rooms=(room,)), store) as link:
        await ann.ask("set", room, ban % "outcast")
        removed = await link.heard(BotRemoved)
        assert removed.reason == "the bot was banned from the room"
    async with running(account_config(prosody, rooms=(room,)), store) as link:
        removed = await link.heard(BotRemoved)
        assert "banned from" in removed.reason
        with pytest.raises(Rejected, match="banned from"):
            await link.adapter.send(post(room, "hello?"))


async def test_a_password_and_members_only(prosody: Prosody, store: Redis, ann: Person) -> None:
    """A room with a password is entered with it; one for members only says what is missing."""
    room, members = new_room(), new_room()
    await ann.enter(room, "Ann")
    await configure(ann, room, passwordprotectedroom="1", roomsecret="sesame")
    await ann.enter(members, "Ann")
    await configure(ann, members, membersonly="1")
    async with running(account_config(prosody, rooms=(f"{room} sesame", members)), store) as link:
        await delivered(link, post(room, "let in"))
        with pytest.raises(Rejected, match="make bridge@localhost a member"):
            await link.adapter.send(post(members, "let in?"))
    async with running(account_config(prosody, rooms=(f"{room} wrong",)), store) as link:
        with pytest.raises(Retry, match="has a password"):
            await link.adapter.send(post(room, "let in?"))


async def test_a_taken_nick_gets_a_line(prosody: Prosody, store: Redis, ann: Person) -> None:
    """Somebody else is called bridgebot: the bot is bridgebot_ and still knows its own words."""
    room = new_room()
    await ann.enter(room, "bridgebot")
    async with running(account_config(prosody, rooms=(room,)), store) as link:
        await ann.sees(room, "bridgebot_")
        await delivered(link, post(room, "from the bridge"))
        await ann.say(room, "<body>from the person</body>")
        await link.heard(MessageNew)
        assert texts(link) == ["from the person"]


async def test_others_come_and_go(prosody: Prosody, store: Redis, ann: Person, bob: Person) -> None:
    """Who comes later and who leaves is told, who was there before is not; a new name is no coming and going."""
    room = new_room()
    await ann.enter(room, "Ann")
    async with running(account_config(prosody, rooms=(room,)), store) as link:
        await bob.enter(room, "Bob")
        bob.send(f"<presence to='{room}/Robert'/>")
        await bob.sees(room, "Robert")
        bob.send(f"<presence to='{room}/Robert' type='unavailable'/>")
        left = await link.heard(Left)
        joined = [event.author for event in link.events.seen if isinstance(event, Joined)]
        assert [author.name for author in joined] == ["Bob"]
        assert left.author.name == "Robert"
        assert left.author.id == joined[0].id


async def test_a_room_gets_a_name(prosody: Prosody, store: Redis, ann: Person) -> None:
    """The owner's name for the room is its title."""
    room = new_room()
    await ann.enter(room, "Ann")
    async with running(account_config(prosody, rooms=(room,)), store) as link:
        await configure(ann, room, roomname="The Garden")
        event = await link.heard(RoomRenamed)
        assert event.title == "The Garden"
        assert link.adapter.room_info(roomed(room)).title == "The Garden"


# --- who is who ---------------------------------------------------------------------------------------------


async def test_ids_are_as_durable_as_the_room_allows(prosody: Prosody, store: Redis, ann: Person) -> None:
    """An address where everybody sees it, else the room's id of the person; never the nick, which others may take."""
    hidden, open_room = new_room(), new_room()
    for room in (hidden, open_room):
        await ann.enter(room, "Ann")
    await configure(ann, open_room, whois="anyone")
    async with running(account_config(prosody, rooms=(hidden, open_room)), store) as link:
        await ann.say(open_room, "<body>seen</body>")
        await ann.say(hidden, "<body>unseen</body>")
        seen = await link.heard(MessageNew, lambda e: e.text.plain == "seen")
        unseen = await link.heard(MessageNew, lambda e: e.text.plain == "unseen")
        assert seen.author.id == "jid:ann@localhost"
        assert unseen.author.id.startswith("occupant:")
        assert unseen.author.name == "Ann"


async def test_who_runs_the_room(prosody: Prosody, store: Redis, ann: Person, bob: Person) -> None:
    """The owner does, others do not; the day it changes it counts."""
    room = new_room()
    await ann.enter(room, "Ann")
    await bob.enter(room, "Bob")
    async with running(account_config(prosody, rooms=(room,)), store) as link:
        for person in (ann, bob):
            await person.say(room, "<body>me</body>")
        await link.until(lambda: len(texts(link)) == 2)
        ids = {e.author.name: e.author.id for e in link.events.seen if isinstance(e, MessageNew)}
        assert await link.adapter.is_admin(roomed(room), ids["Ann"])
        assert not await link.adapter.is_admin(roomed(room), ids["Bob"])
        await ann.ask("set", room, f"<query xmlns='{ADMIN}'><item jid='bob@localhost' affiliation='admin'/></query>")
        await ann.say(room, "<body>bob is an admin now</body>")
        await link.until(lambda: len(texts(link)) == 3)
        assert await link.adapter.is_admin(roomed(room), ids["Bob"])
        assert not await link.adapter.is_admin(roomed(room), "nick:Ann")


# --- what is heard ------------------------------------------------------------------------------------------


async def test_what_was_said_before_we_came_is_not_new(prosody: Prosody, store: Redis, ann: Person) -> None:
    """A room's history at joining is not taken for something that is said now."""
    room = new_room()
    await ann.enter(room, "Ann")
    await ann.say(room, "<body>long ago</body>")
    async with running(account_config(prosody, rooms=(room,)), store) as link:
        held_back = "<delay xmlns='urn:xmpp:delay' from='ann@localhost' stamp='2026-01-01T00:00:00Z'/>"
        await ann.say(room, f"<body>written in a tunnel</body>{held_back}")
        await link.heard(MessageNew)
        assert texts(link) == ["written in a tunnel"]


async def test_a_stranger_cannot_change_anothers_message(
    prosody: Prosody, store: Redis, ann: Person, bob: Person
) -> None:
    """A correction counts for its author only; a retraction says who it is from; forged ids and moderators do not."""
    room = new_room()
    await ann.enter(room, "Ann")
    await bob.enter(room, "Bob")
    async with running(account_config(prosody, rooms=(room,)), store) as link:
        said = await ann.say(room, "<body>mine</body>", "ann-said-this")
        await bob.say(room, "<body>yours</body><replace xmlns='urn:xmpp:message-correct:0' id='ann-said-this'/>")
        await bob.say(
            room,
            f"<retract xmlns='urn:xmpp:message-retract:1' id='{stanza_id(said)}'>"
            "<moderated xmlns='urn:xmpp:message-moderate:1'/></retract><store xmlns='urn:xmpp:hints'/>",
        )
        forged = f"<stanza-id xmlns='urn:xmpp:sid:0' by='{room}' id='forged'/>"
        await bob.say(room, f"<body>forger</body>{forged}")
        await bob.say(room, f"<retract xmlns='urn:xmpp:message-retract:1' id='{stanza_id(said)}'/>")
        event = await link.heard(MessageDeleted)
        assert event.author is not None
        assert event.author.name == "Bob"
        assert texts(link) == ["mine", "yours", "forger"]
        assert not [e for e in link.events.seen if isinstance(e, MessageEdited)]
        assert "forged" not in [e.native for e in link.events.seen]


async def test_a_correction_is_found_after_a_restart(prosody: Prosody, store: Redis, ann: Person) -> None:
    """Which message a correction is about is kept in the store."""
    room = new_room()
    await ann.enter(room, "Ann")
    async with running(account_config(prosody, rooms=(room,)), store) as link:
        said = await ann.say(room, "<body>teh</body>", "the-first")
        await link.heard(MessageNew)
        receipt = await link.adapter.send(post(room, "our own"))
    async with running(account_config(prosody, rooms=(room,)), store) as link:
        await ann.say(room, "<body>the</body><replace xmlns='urn:xmpp:message-correct:0' id='the-first'/>")
        event = await link.heard(MessageEdited)
        assert event.target == stanza_id(said)
        again = await link.adapter.edit(receipt.natives, post(room, "our own, mended"))
        assert again == receipt


async def test_own_words_of_an_earlier_life_are_no_events(prosody: Prosody, store: Redis, ann: Person) -> None:
    """History has our own posts too, under whatever nick: they are left out."""
    room = new_room()
    await ann.enter(room, "Ann")
    said = await ann.say(room, "<body>first</body>")
    async with running(account_config(prosody, rooms=(room,), nick="oldname"), store) as link:
        await link.adapter.send(post(room, "posted by us"))
    await ann.say(room, "<body>second</body>")
    async with running(account_config(prosody, rooms=(room,)), store) as link:
        found = await link.adapter.history(roomed(room), Since(NativeId(stanza_id(said)), 0))
        assert [event.text.plain for event in found.events if isinstance(event, MessageNew)] == ["second"]
        assert found.complete


async def test_history_of_many_pages(prosody: Prosody, store: Redis, ann: Person) -> None:
    """It is read page by page, in order, with edits and reactions in between."""
    room = new_room()
    await ann.enter(room, "Ann")
    first = await ann.say(room, "<body>0</body>")
    for number in range(1, 120):
        await ann.say(room, f"<body>{number}</body>", f"n{number}")
    await ann.say(room, "<body>119 mended</body><replace xmlns='urn:xmpp:message-correct:0' id='n119'/>")
    async with running(account_config(prosody, rooms=(room,)), store) as link:
        since, more, events = Since(NativeId(stanza_id(first)), 0), True, []
        while more:
            found = await link.adapter.history(roomed(room), since)
            events += found.events
            more, since = found.more, Since(events[-1].native, events[-1].at_ms)
        said = [event for event in events if isinstance(event, MessageNew)]
        assert [event.text.plain for event in said] == [str(number) for number in range(1, 120)]
        assert isinstance(events[-1], MessageEdited)
        assert events[-1].target == said[-1].native


async def test_history_by_the_clock(prosody: Prosody, store: Redis, ann: Person) -> None:
    """Where the archive does not know the message any more it is read from that time; what it lost is admitted."""
    room = new_room()
    await ann.enter(room, "Ann")
    await ann.say(room, "<body>kept</body>")
    async with running(account_config(prosody, rooms=(room,)), store) as link:
        found = await link.adapter.history(roomed(room), Since(NativeId("forgotten"), 1000))
        assert [event.text.plain for event in found.events if isinstance(event, MessageNew)] == ["kept"]
        assert not found.complete


# --- what is posted -----------------------------------------------------------------------------------------


async def test_edits_that_get_longer_and_shorter(prosody: Prosody, store: Redis, ann: Person) -> None:
    """Parts are changed in place, surplus ones taken back, missing ones posted; a file stays."""
    room = new_room()
    await ann.enter(room, "Ann")
    async with running(account_config(prosody, rooms=(room,), text_limit=100), store) as link:
        view = View(ann, room)
        file = OutFile("a.txt", "text/plain", 2, "http://127.0.0.1:1/f/x", _bytes)
        receipt = await link.adapter.send(post(room, "one", files=(file,)))
        assert len(receipt.natives) == 2
        longer = await link.adapter.edit(receipt.natives, post(room, "x" * 60 + " " + "y" * 60))
        assert len(longer.natives) == 3
        assert set(receipt.natives) < set(longer.natives)
        shorter = await link.adapter.edit(longer.natives, post(room, "z"))
        assert set(shorter.natives) == set(receipt.natives)
        view.look()
        assert [said.line.plain for said in view.said if not said.gone] == ["z", ""]


async def _bytes() -> AsyncIterator[bytes]:
    yield b"hi"


async def test_a_file_of_unknown_size_and_one_that_is_too_large(prosody: Prosody, store: Redis, ann: Person) -> None:
    """The one is uploaded all the same, of the other there is a link."""
    room = new_room()
    await ann.enter(room, "Ann")
    async with running(account_config(prosody, rooms=(room,)), store) as link:
        small = OutFile("a.txt", "text/plain", 0, "http://127.0.0.1:1/f/small", _bytes)
        large = OutFile("b.bin", "", 2_000_000, "http://127.0.0.1:1/f/large", _bytes)
        await link.adapter.send(post(room, "two files", files=(small, large)))
        await ann.until(lambda s: (s.findtext(BODY) or "").endswith("/a.txt"))
        bodies = [s.findtext(BODY) or "" for s in ann.heard if s.find(BODY) is not None]
        assert "http://127.0.0.1:1/f/large" in bodies[0]
        assert bodies[1].endswith("/a.txt")


async def test_everybodys_reactions_are_the_bots(prosody: Prosody, store: Redis, ann: Person) -> None:
    """The bot shows what any author put there, until the last one takes it away."""
    room = new_room()
    await ann.enter(room, "Ann")
    async with running(account_config(prosody, rooms=(room,)), store) as link:
        native = NativeId(stanza_id(await ann.say(room, "<body>look</body>")))
        for author, emoji, added in (("u1", "👍", True), ("u2", "👍", True), ("u2", "🎉", True), ("u1", "👍", False)):
            await link.adapter.react(roomed(room), native, emoji, added, type(ALICE)(author, author))
        await ann.until(lambda s: [e.text for e in s.iter(REACTION)] == ["🎉", "👍"])
        await link.adapter.react(roomed(room), native, "👍", False, type(ALICE)("u2", "u2"))
        await ann.until(lambda s: [e.text for e in s.iter(REACTION)] == ["🎉"])


async def test_an_answer_has_a_quote_for_old_clients(prosody: Prosody, store: Redis, ann: Person) -> None:
    """Who knows no replies reads what is answered; the others are told where that part ends."""
    room = new_room()
    await ann.enter(room, "Ann")
    async with running(account_config(prosody, rooms=(room,)), store) as link:
        said = await ann.say(room, "<body>shall we?</body>")
        await link.heard(MessageNew)
        await link.adapter.send(post(room, "yes 👍", reply_to=NativeId(stanza_id(said))))
        answer = await ann.until(lambda s: s.find("{urn:xmpp:reply:0}reply") is not None)
        assert answer.findtext(BODY) == "> Ann:\n> shall we?\nyes 👍"
        reply = answer.find("{urn:xmpp:reply:0}reply")
        assert reply is not None
        assert reply.get("to") == f"{room}/Ann"


async def test_errors_are_told_apart(prosody: Prosody, store: Redis, ann: Person) -> None:
    """No voice: rejected in words. Fallen out of the room: tried again, and it works."""
    room = new_room()
    await ann.enter(room, "Ann")
    async with running(account_config(prosody, rooms=(room,)), store) as link:
        mute = f"<query xmlns='{ADMIN}'><item nick='bridgebot' role='%s'/></query>"
        await ann.ask("set", room, mute % "visitor")
        with pytest.raises(Rejected, match="no voice"):
            await link.adapter.send(post(room, "psst"))
        await ann.ask("set", room, mute % "participant")
        assert link.adapter._link
        stream = link.adapter._link.ready()
        stream.send(stream.element("presence", f"{room}/bridgebot", type="unavailable"))
        with pytest.raises(Retry):
            await link.adapter.send(post(room, "lost?"))
        await delivered(link, post(room, "found"))


async def test_a_room_that_lost_us_is_noticed(prosody: Prosody, store: Redis, ann: Person) -> None:
    """A ping through the room tells that we are not in it: we go in again, and what was missed is asked for."""
    room = new_room()
    await ann.enter(room, "Ann")
    recorder = Counting()
    async with running(account_config(prosody, rooms=(room,), self_ping_s=0.1), store, recorder) as link:
        await link.adapter.ping(roomed(room))
        assert link.adapter._link
        found = link.adapter._link._rooms.by_room[roomed(room)]
        found.nick = "somebody-else"
        ann.heard.clear()
        await ann.sees(room, "bridgebot")
        await delivered(link, post(room, "here"))
        assert recorder.onlines > 1


# --- when things break --------------------------------------------------------------------------------------


async def test_a_short_break_is_bridged(prosody: Prosody, store: Redis, ann: Person) -> None:
    """The stream goes on where it was: nobody sees the bot leave, nothing is lost, nothing comes twice."""
    room = new_room()
    await ann.enter(room, "Ann")
    config = account_config(prosody, 0, rooms=(room,))
    async with Door(prosody.port) as door, running(replace(config, port=door.port), store) as link:
        await ann.say(room, "<body>before</body>")
        await link.heard(MessageNew)
        ann.heard.clear()
        door.close()
        await link.until(lambda: bool(link.events.reasons))
        with pytest.raises(Offline):
            await link.adapter.send(post(room, "into the void"))
        await ann.say(room, "<body>meanwhile</body>")
        door.open()
        await link.until(lambda: link.events.is_online)
        await delivered(link, post(room, "after"))
        await ann.say(room, "<body>and on</body>")
        await link.until(lambda: "and on" in texts(link))
        assert texts(link) == ["before", "meanwhile", "and on"]
        assert not [s for s in ann.heard if s.tag.endswith("presence")]


@pytest.mark.parametrize("lost", ["all of it", "half of it", "the answers"])
async def test_a_cut_in_the_middle_of_a_burst(prosody: Prosody, store: Redis, ann: Person, lost: str) -> None:
    """Of many posts under way and many things said, none is lost, doubled or out of order. The stream is resumed with
    what the server did not get (XEP-0198 section 5); only where it was cut within a stanza, which Prosody 0.12 does not
    get over, the archive has to be asked."""
    room = new_room()
    await ann.enter(room, "Ann")
    config = account_config(prosody, 0, rooms=(room,))
    async with Door(prosody.port) as door, running(replace(config, port=door.port), store) as link:
        door.up_bytes = {"all of it": 0, "half of it": 20_000}.get(lost)
        if lost == "the answers":
            door.silent.clear()
        posts = [post(room, f"out {number}") for number in range(100)]
        burst = asyncio.create_task(link.adapter.send_stream(posts))
        for number in range(50):
            await ann.say(room, f"<body>in {number}</body>")
        if lost != "all of it":
            last = "out 99" if lost == "the answers" else "out 5"
            await ann.until(lambda s: s.findtext(BODY) == last)
        door.close()
        await link.until(lambda: bool(link.events.reasons))
        door.silent.set()
        door.open()
        results = await burst
        assert lost == "half of it" or all(isinstance(result, Receipt) for result in results)
        receipts = [await settled(link, sent, result) for sent, result in zip(posts, results, strict=True)]
        assert len({receipt.natives for receipt in receipts}) == 100
        await ann.until(lambda s: s.findtext(BODY) == "out 99")
        said = [s.findtext(BODY) or "" for s in ann.heard if s.tag.endswith("message")]
        assert [body for body in said if body.startswith("out")] == [f"out {number}" for number in range(100)]
        await link.until(lambda: "in 49" in texts(link))
        assert texts(link) == [f"in {number}" for number in range(50)]


async def settled(link: Running, sent: Outbound, result: Receipt | AdapterError) -> Receipt:
    """What the core makes of a result: what nobody knows is looked for, and sent again if it is not there."""
    if isinstance(result, Receipt):
        return result
    await link.until(lambda: link.events.is_online)
    found = await link.adapter.find_sent(sent) if isinstance(result, Uncertain) else None
    return found or await delivered(link, sent)


async def test_a_server_that_went_down_comes_back(tmp_path_factory: pytest.TempPathFactory, store: Redis) -> None:
    """The bot knocks until the server is there again, enters its rooms, and opens those that it makes."""
    room = new_room()
    with Prosody(tmp_path_factory.mktemp("mortal"), locking=True) as mortal:
        async with running(account_config(mortal, rooms=(room,)), store) as link:
            mortal.kill()
            await link.until(lambda: bool(link.events.reasons))
            assert "localhost is not reachable" in link.events.reasons[-1]
            mortal.start()
            await link.until(lambda: link.events.is_online)
            async with Person(mortal, "ann") as ann:
                await ann.enter(room, "Ann")
                await delivered(link, post(room, "here again"))


async def test_a_silent_connection_is_none(prosody: Prosody, store: Redis) -> None:
    """Where nothing comes back any more the bot hangs up and connects anew."""
    room = new_room()
    async with Door(prosody.port) as door:
        config = account_config(prosody, door.port, rooms=(room,), self_ping_s=0.2, confirm_timeout_s=0.3)
        async with running(config, store) as link:
            door.silent.clear()
            await link.until(lambda: bool(link.events.reasons))
            door.silent.set()
            await link.until(lambda: link.events.is_online)
            await delivered(link, post(room, "there"))


REFUSALS = [
    ("not-acceptable", "modify", Retry, "fell out"),
    ("forbidden", "auth", Rejected, "no voice"),
    ("policy-violation", "wait", Retry, "that fast"),
    ("resource-constraint", "wait", Retry, "that fast"),
    ("policy-violation", "modify", Rejected, "does not take"),
    ("remote-server-timeout", "wait", Uncertain, "did not answer"),
    ("remote-server-not-found", "cancel", Retry, "is not there"),
    ("item-not-found", "cancel", Rejected, "is gone"),
    ("internal-server-error", "wait", Retry, "that fast"),
    ("bad-request", "modify", Rejected, "bad-request: too long"),
]


@pytest.mark.parametrize(("condition", "kind", "error", "words"), REFUSALS)
def test_what_a_room_refuses(condition: str, kind: str, error: type[Exception], words: str) -> None:
    """Every error of a room is one of ours."""
    stanzas = "urn:ietf:params:xml:ns:xmpp-stanzas"
    inside = f"<{condition} xmlns='{stanzas}'/><text xmlns='{stanzas}'>too long</text>"
    stanza = element(f"<message xmlns='jabber:client' type='error'><error type='{kind}'>{inside}</error></message>")
    found = refusal(stanza, "garden@conference.example.org")
    assert type(found) is error
    assert words in str(found)


async def test_what_is_not_reflected_is_uncertain_and_can_be_found(prosody: Prosody, store: Redis, ann: Person) -> None:
    """The post left and nothing came back: nobody knows, until the archive is asked. It does not go out twice."""
    room = new_room()
    await ann.enter(room, "Ann")
    async with Door(prosody.port) as door:
        config = account_config(prosody, door.port, rooms=(room,), confirm_timeout_s=0.3)
        async with running(config, store) as link:
            doubtful, never = post(room, "did it arrive?"), post(room, "never sent")
            door.silent.clear()
            with pytest.raises(Uncertain):
                await link.adapter.send(doubtful)
            await ann.until(lambda s: s.findtext(BODY) == "did it arrive?")
            door.close()
            await link.until(lambda: bool(link.events.reasons))
            door.silent.set()
            door.open()
            await link.until(lambda: link.events.is_online)
            found = await link.adapter.find_sent(doubtful)
            assert found is not None
            assert len(found.natives) == 1
            assert await link.adapter.find_sent(never) is None
            await delivered(link, post(room, "the end"))
            await ann.until(lambda s: s.findtext(BODY) == "the end")
            assert sum(s.findtext(BODY) == "did it arrive?" for s in ann.heard) == 1


async def test_a_store_that_is_down_holds_the_reading_back(
    prosody: Prosody, store: Redis, ann: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While nothing can be taken in nothing more is read; afterwards history is asked for once more."""
    monkeypatch.setattr(link_module, "HOLD_AT", 5)
    room = new_room()
    await ann.enter(room, "Ann")

    recorder = Counting()
    async with running(account_config(prosody, rooms=(room,)), store, recorder) as link:
        assert link.adapter._link
        stream = link.adapter._link.ready()
        held, hold = asyncio.Event(), stream.hold
        monkeypatch.setattr(stream, "hold", lambda: (hold(), held.set()))
        recorder.down = True
        for number in range(20):
            await ann.say(room, f"<body>{number}</body>")
        onlines = recorder.onlines
        async with asyncio.timeout(10):
            await held.wait()
        assert not stream._xmpp.transport.is_reading()
        recorder.down = False
        await link.until(lambda: len(texts(link)) == 20 and recorder.onlines > onlines)
        assert texts(link) == [str(number) for number in range(20)]


async def test_a_wrong_password_is_said_so(prosody: Prosody, store: Redis) -> None:
    """Nothing is posted, and the reason tells what to mend."""
    events = Recorder()
    config = account_config(prosody)
    wrong = type(config)(**{name: getattr(config, name) for name in config.__struct_fields__} | {"password": "wrong"})
    adapter = XmppAdapter(ACCOUNT, wrong, services(store, ACCOUNT, "http://127.0.0.1:1"))
    await adapter.start(events)
    try:
        link = Running(adapter, events)
        await link.until(lambda: bool(events.reasons))
        assert "does not accept the password" in events.reasons[0]
        with pytest.raises(AuthLost, match="jid and password"):
            await adapter.send(post(new_room(), "hello?"))
    finally:
        await adapter.stop()
    nameless = XmppAdapter(ACCOUNT, account_config(prosody), services(store, ACCOUNT, "http://127.0.0.1:1"))
    with pytest.raises(Offline):
        await nameless.send(post(new_room(), "never started"))


async def test_many_posts_in_many_rooms(prosody: Prosody, store: Redis, ann: Person) -> None:
    """One batch for several rooms: each keeps its order, a room that is not there fails alone."""
    rooms = tuple(new_room() for _ in range(3))
    for room in rooms:
        await ann.enter(room, "Ann")
    async with running(account_config(prosody, rooms=rooms), store) as link:
        posts = [post(rooms[number % 3], f"m{number:03}") for number in range(300)]
        posts.insert(7, post(new_room(), "nowhere"))
        results = await link.adapter.send_stream(posts)
        assert isinstance(results.pop(7), Rejected)
        assert all(isinstance(result, Receipt) and result.natives for result in results)
        await ann.until(lambda s: s.findtext(BODY) == "m299")
        for room in rooms:
            said = [
                s.findtext(BODY) or ""
                for s in ann.heard
                if s.get("from") == f"{room}/bridgebot" and s.find(BODY) is not None
            ]
            assert said == sorted(said)
            assert len(said) == 100


async def test_direct_tls(prosody: Prosody, store: Redis) -> None:
    """The other port of a server: TLS from the first byte."""
    room = new_room()
    async with running(account_config(prosody, prosody.direct_port, tls="direct", rooms=(room,)), store) as link:
        await delivered(link, post(room, Text("hello")))

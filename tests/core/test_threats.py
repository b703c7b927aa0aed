"""What attackers, broken bots and bad luck do to a relay, and that it holds. Numbers are those of the threat model."""

from __future__ import annotations

import asyncio
import itertools
import re
import time
from collections import deque

import pytest

from bots.loopback.adapter import Loopback
from bots.loopback.network import LoopbackNetwork, person
from codes import keys as code_keys
from core import keys
from core.contract import Platform, Rejected
from core.directory import Directory
from core.model import AccountId, Author, MessageDeleted, NativeId, PlatformId, Reaction, RoomId, Text
from core.store import Redis
from core.text.safety import MASS_MENTIONS
from core.wire import RoomState, Tube, encode
from tests.conftest import FakeClock
from tests.support.world import StoredAccount, World, account, running_world

A, B, C, D = RoomId("one/garden"), RoomId("two/kitchen"), RoomId("three/cellar"), RoomId("one/attic")
ACCOUNTS = (account("one"), account("two"), account("three"))
PLAIN = (account("one"), account("two", plain=True), account("three"))


async def chain(world: World) -> None:
    """A – B – C."""
    await world.connect(A, B)
    await world.connect(B, C)


# --- 3, 4: loops and echoes


async def test_a_cycle_sends_each_message_twice(store: Redis) -> None:
    """3: in a cycle of three rooms N messages are posted exactly 2 N times."""
    tag = keys.shard_tag(0)
    for room in (A, B, C):
        await store.hset(keys.rooms(tag), room, encode(RoomState(room, room, "Loopback")))
    for tube_id, (a, b) in enumerate(((A, B), (B, C), (C, A))):
        await store.hset(keys.tubes(tag), f"t{tube_id}", encode(Tube(f"t{tube_id}", a, b)))
    async with running_world(store, *ACCOUNTS, settings={"shards": 1}) as world:
        for number in range(30):
            world.say((A, B, C)[number % 3], "Alice", f"message {number}")
        for room in (A, B, C):
            await world.until(lambda room=room: len(world.posts(room)) >= 20)
        world.say(A, "Alice", "the end")
        await world.shows(B, "the end")
        await world.shows(C, "the end")
        assert [len(world.posts(room)) for room in (A, B, C)] == [20, 21, 21]


@pytest.mark.parametrize("dress", ["{}", "Alice: {}", "<Alice> {}", "bridge: <Alice> {}"])
async def test_an_echo_bot_is_stopped(store: Redis, dress: str) -> None:
    """4: somebody else's bridge that says everything again is heard less than five times, and its room is told."""
    async with running_world(store, *ACCOUNTS) as world:
        await world.connect(A, B)
        echo = Author("echo", "Echo", is_bot=True)
        for number in range(10):
            world.say(A, "Alice", f"message {number}")
            await world.shows(B, f"Alice: message {number}")
            world.say(B, echo, dress.format(f"message {number}"))
        await world.shows(B, "Echo keeps repeating the same text")
        world.say(B, "Bob", "people are heard")
        await world.shows(A, "people are heard")
        assert sum(line.startswith("Echo") for line in world.lines(A)) == 4
        assert sum("keeps repeating" in line for line in world.lines(B)) == 1


async def test_two_echo_bots_do_not_talk_for_ever(store: Redis) -> None:
    """4: an echo bot at each end of a tube comes to an end by itself, for each thing that is said."""
    async with running_world(store, *ACCOUNTS) as world:
        await world.connect(A, B)
        done = {room: len(world.posts(room)) for room in (A, B)}

        async def echo(room: RoomId) -> None:
            while True:
                await world.until(lambda: len(world.posts(room)) > done[room], 60)
                for post in world.posts(room)[done[room] :]:
                    if post.author != "bot":
                        world.say(room, Author("e", f"Echo of {room}", is_bot=True), post.text.plain)
                done[room] = len(world.posts(room))

        bots = [asyncio.create_task(echo(room)) for room in (A, B)]
        world.say(A, "Alice", "one")
        await world.shows(B, "keeps repeating")
        for bot in bots:
            bot.cancel()
        await asyncio.gather(*bots, return_exceptions=True)
        world.say(A, "Alice", "the end")
        await world.shows(B, "the end")
        assert len(world.posts(A)) + len(world.posts(B)) < 20


async def test_people_may_repeat_short_words(store: Redis) -> None:
    """4: votes, jokes and greetings are no echo, however often somebody says the same as others did."""
    async with running_world(store, *ACCOUNTS) as world:
        await world.connect(A, B)
        world.say(A, "Alice", "+1")
        for number in range(8):
            world.say(B, "Bob", "+1", native=f"bob{number}")
            world.say(B, f"Voter {number}", "+1")
            world.say(A, f"Other {number}", "ok")
        for word in ("hi", "ok", "lol"):
            world.say(A, "Alice", word)
            world.say(B, "Carol", word)
        world.say(B, "Bob", "the end")
        await world.shows(A, "the end")
        lines = world.lines(A)
        assert lines.count("Bob: +1") == 8
        assert sum(line.startswith("Voter") for line in lines) == 8
        assert sum(line.startswith("Carol") for line in lines) == 3


async def test_the_same_news_in_rooms_that_are_strangers(store: Redis) -> None:
    """4: two feeds that say the same in rooms of different samerooms do not count as each other's echo."""
    async with running_world(store, *ACCOUNTS, settings={"shards": 1}) as world:
        await world.connect(A, B)
        await world.connect(D, C)
        for number in range(8):
            world.say(A, "Feed", f"news {number}")
            world.say(D, "Feed", f"news {number}")
        await world.shows(B, "news 7")
        await world.shows(C, "news 7")
        assert sum("news" in line for line in world.lines(B)) == sum("news" in line for line in world.lines(C)) == 8


async def test_an_echo_is_forgiven_in_time(store: Redis, clock: FakeClock) -> None:
    """4: a repeat now and then, minutes apart, is never held against anybody."""
    async with running_world(store, *ACCOUNTS, now_ms=clock.now_ms) as world:
        await world.connect(A, B)
        for number in range(8):
            world.say(A, "Alice", f"message {number}")
            world.say(B, "Bob", f"message {number}")
            await world.shows(A, f"Bob: message {number}")
            clock.advance(61_000)


# --- 6, 7, 8: who may connect


ROLES = {"admin": True, "member": False, "Admin": False}


@pytest.mark.parametrize("role", ROLES)
async def test_only_admins_where_it_is_set_so(store: Redis, role: str) -> None:
    """7, 19: under connect=admins the platform's own word decides, for every command; a name or id alone does not."""
    commands = (
        "open", "connect HLDMU-42K7", "portal", "close", "pause", "resume", "disconnect kitchen", "disable",
        "format name", "ban Bob", "unban Bob", "manage", "confirm", "deny",
    )  # fmt: skip
    async with running_world(store, *ACCOUNTS, settings={"connect": "admins"}) as world:
        world.network.room("garden").admins.add("root")
        who = person("Root", id="root") if role == "admin" else person(role, id="somebody")
        for typed in commands:
            answer = await world.asks(A, who, f"-sameroom {typed}")
            assert ("Only people who run this room" not in answer) == ROLES[role], typed
        for typed in ("help", "list", "map", "ping"):
            assert "Only people who run" not in await world.asks(A, who, f"-sameroom {typed}")
        assert bool(await world.log(A)) == ROLES[role]


async def test_an_admin_of_one_room_is_nobody_in_another(store: Redis) -> None:
    """7: rights are asked for in the room where the command is typed, as of now."""
    async with running_world(store, *ACCOUNTS, settings={"connect": "admins"}) as world:
        world.network.room("garden").admins.add("root")
        code = await world.code(A, "Root")
        assert "Only people who run" in await world.asks(B, "Root", f"-sameroom connect {code}")
        world.network.room("kitchen").admins.add("root")
        assert "now connected" in await world.asks(B, "Root", f"-sameroom connect {code}")
        world.network.room("kitchen").admins.clear()
        assert "Only people who run" in await world.asks(B, "Root", "-sameroom disable")


class Unhelpful(Loopback):
    """An account whose platform breaks when it is asked about members."""

    async def is_admin(self, room: RoomId, author_id: str) -> bool:
        """Break."""
        raise KeyError(author_id)


async def test_a_platform_that_breaks_when_asked(store: Redis) -> None:
    """7: where nobody can say who runs the room nobody does, and the room goes on."""
    network = LoopbackNetwork()

    def create(account_id: AccountId, config: object, services: object) -> Unhelpful:
        return Unhelpful(account_id, config, services, network)  # type: ignore[arg-type]

    one = account("one")
    odd = Platform(PlatformId("odd"), "Odd", type(one.config), create, lambda target: (target, one.config))
    accounts = (StoredAccount(AccountId("one"), PlatformId("odd"), one.config), account("two"))
    async with running_world(
        store, *accounts, network=network, platforms={"odd": odd}, settings={"connect": "admins"}
    ) as world:
        async with asyncio.timeout(10):
            while "one" not in network.listeners:
                await asyncio.sleep(0.005)
        assert "Only people who run" in await world.asks(A, "Alice", "-sameroom open")
        assert "-sameroom help" in await world.asks(A, "Alice", "-sameroom help")


@pytest.fixture
def confirming() -> dict[str, str]:
    """Settings under which the opener confirms."""
    return {"connect": "confirm"}


async def test_the_opener_confirms(store: Redis, confirming: dict[str, str]) -> None:
    """8: under connect=confirm a code alone connects nothing; the room that opened says yes, once."""
    async with running_world(store, *ACCOUNTS, settings=confirming | {"shards": 16}) as world:
        code = await world.code(A, "Alice")
        assert "I asked garden (Loopback)" in await world.asks(B, "Bob", f"-sameroom connect {code}")
        asked = await world.shows(A, "Bob wants to connect kitchen (Loopback) to this room.")
        assert "-sameroom confirm kitchen (Loopback)" in asked
        assert "Nobody waits" in await world.asks(B, "Bob", "-sameroom confirm")
        assert "not connected" in await world.asks(B, "Bob", "-sameroom list")
        assert "now connected to kitchen" in await world.asks(A, "Alice", "-sameroom confirm kitchen (Loopback).")
        await world.shows(B, "now connected to garden (Loopback), by Bob")
        assert "Nobody waits" in await world.asks(A, "Alice", "-sameroom confirm")
        assert [line.act for line in await world.log(A)] == ["open", "confirm", "connect"]


async def test_the_opener_refuses(store: Redis, confirming: dict[str, str]) -> None:
    """8: refused, both rooms are told, and nothing is connected."""
    async with running_world(store, *ACCOUNTS, settings=confirming) as world:
        code = await world.code(A, "Alice")
        await world.asks(B, "Bob", f"-sameroom connect {code}")
        assert "Refused. kitchen (Loopback) was told" in await world.asks(A, "Alice", "-sameroom deny kitchen")
        await world.shows(B, "garden (Loopback) did not agree")
        assert "Nobody waits" in await world.asks(A, "Alice", "-sameroom confirm")
        assert "not connected" in await world.asks(A, "Alice", "-sameroom list")
        assert [line.act for line in await world.log(A)] == ["open", "deny"]


async def test_nobody_slips_in_front(store: Redis, confirming: dict[str, str]) -> None:
    """8: while one room waits for an answer another one cannot take its place, and a wrong name confirms nothing."""
    async with running_world(store, *ACCOUNTS, settings=confirming) as world:
        answer = await world.asks(A, "Alice", "-sameroom portal")
        assert "Each room needs your agreement first" in answer
        link = re.search(r"http://\S+", answer)
        assert link is not None
        await world.asks(B, "Bob", f"-sameroom connect {link[0]}")
        assert "has not answered another room yet" in await world.asks(C, "Mallory", f"-sameroom connect {link[0]}")
        assert "Nobody waits" in await world.asks(A, "Alice", "-sameroom confirm cellar")
        await world.asks(A, "Alice", "-sameroom confirm")
        await world.shows(B, "now connected to garden")
        assert "not connected" in await world.asks(C, "Mallory", "-sameroom list")


async def test_a_question_lapses(store: Redis, confirming: dict[str, str], clock: FakeClock) -> None:
    """8: without an answer a request lapses, and the next room may ask."""
    async with running_world(store, *ACCOUNTS, settings=confirming, now_ms=clock.now_ms) as world:
        code = await world.code(A, "Alice")
        await world.asks(B, "Bob", f"-sameroom connect {code}")
        clock.advance(600_000)
        assert "Nobody waits" in await world.asks(A, "Alice", "-sameroom confirm")
        code = await world.code(A, "Alice")
        assert "I asked" in await world.asks(C, "Carol", f"-sameroom connect {code}")


# --- 10, 14, 16, 22, 36, 40: what is said


async def test_no_mass_mention_goes_out(store: Redis) -> None:
    """10: no variant of a mass mention reaches a room that shows authors, nor one that does not, in words or names."""
    async with running_world(store, *PLAIN) as world:
        await chain(world)
        for mention in MASS_MENTIONS:
            world.say(A, Author(f"id {mention}", mention), f"{mention} look")
        world.say(A, "Alice", "the end")
        for room in (B, C):
            await world.shows(room, "the end")
            posts = [post for post in world.posts(room) if post.text.plain.endswith("look")]
            assert len(posts) == len(MASS_MENTIONS)
            assert not [post for post, mention in zip(posts, MASS_MENTIONS, strict=True) if mention in post.text.plain]


async def test_no_quote_of_what_was_not_said_here(store: Redis) -> None:
    """14: a reply to an unknown id, to another room's id, to a hush or to what was said before shows no quote."""
    async with running_world(store, *PLAIN) as world:
        earlier = world.say(A, "Alice", "said before you came")
        await chain(world)
        hushed = world.say(A, "Alice", "^^^ the secret plan")
        command = world.say(A, "Alice", "-sameroom help")
        foreign = world.say(D, "Dan", "of another room")
        elsewhere = await world.asks(D, "Dan", "-sameroom help")
        assert elsewhere
        ids = [earlier, hushed, command, foreign, NativeId("unknown"), NativeId(world.posts(D)[0].id)]
        for number, native in enumerate(ids):
            world.say(
                A,
                "Mallory",
                f"reply {number}",
                reply_to=native,
                quoting={"author_name": "Alice", "excerpt": "^^^ the secret plan"},
            )
        await world.shows(B, f"reply {len(ids) - 1}")
        await world.shows(C, f"reply {len(ids) - 1}")
        replies = [line for line in world.lines(B) if "reply" in line]
        assert replies == [f"bot: Mallory (Loopback): reply {i}" for i in range(len(ids))]
        assert [post.reply_to for post in world.posts(C) if "reply" in post.text.plain] == [""] * len(ids)


async def test_an_id_of_another_author(store: Redis) -> None:
    """16: a message under an id that somebody else used before is a new message, and edits nothing."""
    async with running_world(store, *ACCOUNTS) as world:
        await world.connect(A, B)
        world.say(A, "Alice", "mine", native="m1")
        await world.shows(B, "Alice: mine")
        world.edit(A, "m1", "Mallory", "edited by Mallory")
        world.say(A, "Mallory", "also m1", native="m1")
        await world.shows(B, "Mallory: also m1")
        world.edit(A, "m1", "Mallory", "m1 edited")
        await world.shows(B, "Mallory: m1 edited")
        assert "Alice: mine" in world.lines(B)
        assert not any("edited by" in line for line in world.lines(B))


async def test_reactions_to_what_nobody_knows(store: Redis) -> None:
    """14: reactions, edits and deletions of unknown or foreign ids change nothing and stop nothing."""
    async with running_world(store, *PLAIN) as world:
        await chain(world)
        foreign = world.say(D, "Dan", "of another room")
        before = {room: [post.text.plain for post in world.posts(room)] for room in (B, C)}
        for target in (foreign, NativeId("unknown")):
            world.happen(Reaction, A, target=target, author="Mallory", emoji="👎")
            world.edit(A, target, "Dan", "edited")
            world.happen(MessageDeleted, A, target=target)
        world.say(A, "Alice", "after")
        for room in (B, C):
            await world.shows(room, "after")
            assert [post.text.plain for post in world.posts(room)][:-1] == before[room]


async def test_text_is_only_text(store: Redis) -> None:
    """22: markup, escapes and lookalikes of our own notation arrive as they were typed."""
    texts = [
        "*bold* _it_ `code` <b>html</b>",
        "[x](javascript:alert(1))",
        "\\n \\u0000 %s {0}",
        "💥" * 50,
        "a\tb",
        "|| ~~",
    ]
    async with running_world(store, *PLAIN) as world:
        await chain(world)
        for text in texts:
            world.say(A, "Alice", text)
            await world.shows(B, f"bot: Alice (Loopback): {text}")
            post = await world.post(C, text)
            assert post.text == Text(text)


async def test_a_huge_text(store: Redis) -> None:
    """36: a message of 1 MB is cut with a mark, also in an edit, and what follows goes on."""
    async with running_world(store, *ACCOUNTS) as world:
        await world.connect(A, B)
        started_s = time.monotonic()
        native = world.say(A, "Alice", "x" * 1_000_000)
        post = await world.post(B, "xxx")
        assert len(post.text.plain) == 32_000
        assert post.text.plain.endswith("… (cut)")
        world.edit(A, native, "Alice", "y" * 1_000_000)
        await world.until(lambda: post.text.plain.startswith("y"))
        assert len(post.text.plain) == 32_000
        world.say(A, "Alice", "after")
        await world.shows(B, "after")
        assert time.monotonic() - started_s < 5


async def test_a_command_through_a_tube_stays_text(store: Redis) -> None:
    """40: a command that a bridge relays, or that a message is edited into, is never carried out."""
    async with running_world(store, *ACCOUNTS) as world:
        await chain(world)
        world.say(A, "Mallory via bridge", "-sameroom disable", bridged=True)
        await world.shows(C, "Mallory via bridge: -sameroom disable")
        native = world.say(A, "Alice", "hello")
        await world.shows(C, "hello")
        world.edit(A, native, "Alice", "-sameroom disable")
        await world.shows(C, "Alice: -sameroom disable")
        world.say(B, "Bob", "still connected")
        await world.shows(A, "still connected")
        await world.shows(C, "still connected")


# --- 32, 33: spam


async def test_a_flood_is_let_through_at_its_rate(store: Redis, clock: FakeClock) -> None:
    """33: a room that floods is cut to its quota and told once; its neighbours are heard in full."""
    settings = {"room_rate_per_s": 2.0}
    async with running_world(store, *ACCOUNTS, settings=settings, now_ms=clock.now_ms) as world:
        await chain(world)
        for number in range(100):
            world.say(A, "Mallory", f"spam {number}")
        for number in range(10):
            world.say(C, "Carol", f"talk {number}")
        await world.shows(A, "Mallory is too fast")
        await world.shows(B, "talk 9")
        await world.shows(B, "spam 9")
        assert [line for line in world.lines(B) if "spam" in line] == [f"Mallory: spam {i}" for i in range(10)]
        assert sum("talk" in line for line in world.lines(B)) == 10
        assert sum("too fast" in line for line in world.lines(A)) == 1
        clock.advance(1_000)
        for number in range(10):
            world.say(A, "Mallory", f"more {number}")
        await world.asks(A, "Alice", "-sameroom help")
        world.say(C, "Carol", "the end")
        await world.shows(B, "the end")
        assert sum("more" in line for line in world.lines(B)) == 2


async def test_an_author_who_floods(store: Redis, clock: FakeClock) -> None:
    """32: one author's quota is nobody else's, and edits and reactions count as well."""
    settings = {"author_rate_per_s": 1.0}
    async with running_world(store, *PLAIN, settings=settings, now_ms=clock.now_ms) as world:
        await world.connect(A, B)
        native = world.say(A, "Mallory", "spam")
        await world.shows(B, "spam")
        for number in range(50):
            world.edit(A, native, "Mallory", f"spam edit {number}")
            world.happen(Reaction, A, target=native, author="Mallory", emoji=f"spam {number}")
        world.say(A, "Alice", "good evening")
        await world.shows(B, "good evening")
        assert sum("spam" in line for line in world.lines(B)) == 5


# --- 34: poison


async def test_a_post_that_crashes_its_adapter(store: Redis) -> None:
    """34: after a few crashes the message is set aside, its room is told, the next goes on; it can be replayed."""
    async with running_world(store, *ACCOUNTS, settings={"max_attempts": 3}) as world:
        await chain(world)
        world.network.faults["kitchen"] = deque(RuntimeError("boom") for _ in range(3))
        world.say(A, "Alice", "poison")
        world.say(A, "Alice", "next")
        await world.shows(C, "Alice: poison")
        await world.shows(B, "Alice: next")
        told = await world.shows(A, "A message by Alice did not reach kitchen (Loopback): “poison”")
        assert "an error of the bot" in told
        directory = Directory(world.deps)
        letters = [letter async for letter in directory.dead_letters([AccountId("two")])]
        assert [(letter.letter.room, letter.letter.kind) for letter in letters] == [(B, "delivery")]
        await directory.replay(letters[0])
        await world.shows(B, "Alice: poison")
        assert [letter async for letter in directory.dead_letters([AccountId("two")])] == []
        assert world.lines(C).count("Alice: poison") == 1


async def test_a_post_that_is_refused(store: Redis) -> None:
    """34: what a platform will never take is set aside at once, with the platform's reason."""
    async with running_world(store, *ACCOUNTS) as world:
        await world.connect(A, B)
        world.network.faults["kitchen"] = deque([Rejected("too spicy")])
        world.say(A, "Alice", "vindaloo")
        world.say(A, "Alice", "korma")
        assert "“vindaloo”. Reason: too spicy" in await world.shows(A, "did not reach")
        await world.shows(B, "korma")


async def test_an_entry_that_crashes_the_relay(store: Redis) -> None:
    """34: an inbox entry that cannot be handled is set aside, the room is told, and all else goes on."""
    async with running_world(store, *ACCOUNTS, settings={"max_attempts": 2, "shards": 1}) as world:
        await world.connect(A, B)
        await store.delete(code_keys.codes_of(A))
        await store.set(code_keys.codes_of(A), "not what it should be")
        for number in range(5):
            world.say(A, "Alice", f"before {number}")
        world.say(A, "Alice", "-sameroom open")
        for number in range(5):
            world.say(A, "Alice", f"after {number}")
        await world.shows(B, "after 4")
        await world.shows(A, "did not reach the other rooms")
        wanted = [f"Alice: {when} {i}" for when, i in itertools.product(("before", "after"), range(5))]
        assert [line for line in world.lines(B) if line.startswith("Alice")] == wanted
        directory = Directory(world.deps)
        letters = [letter async for letter in directory.dead_letters([])]
        assert [letter.letter.kind for letter in letters] == ["event"]
        await store.delete(code_keys.codes_of(A))
        await directory.replay(letters[0])
        await world.shows(A, "Your code is")
        assert [letter async for letter in directory.dead_letters([])] == []

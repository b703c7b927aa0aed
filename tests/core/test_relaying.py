"""What is said, changed, answered and shown in one room reaches the others, also after a restart."""

from __future__ import annotations

import asyncio

import pytest

from bots.loopback import make_platform
from bots.loopback.network import LoopbackNetwork, person
from core.model import (
    AccountId,
    Author,
    Entity,
    FileRef,
    MessageDeleted,
    NativeId,
    Reaction,
    RoomId,
    Text,
    Typing,
)
from core.outgoing import Outgoing
from core.store import Redis
from core.wire import ORDINALS_PER_ENTRY, Tell
from tests.support.world import World, account, running_world

A, B, C = RoomId("one/garden"), RoomId("two/kitchen"), RoomId("three/cellar")
ACCOUNTS = (account("one"), account("two"), account("three"))
PLAIN = (account("one"), account("two", plain=True), account("three"))


async def chain(world: World) -> None:
    """A – B – C."""
    await world.connect(A, B)
    await world.connect(B, C)


async def test_an_edit_reaches_all(store: Redis) -> None:
    """An edited message is edited in every room, as often as its author likes; formatting included."""
    async with running_world(store, *ACCOUNTS) as world:
        await chain(world)
        native = world.say(A, "Alice", "helo")
        for text in ("hello", "hello all"):
            world.edit(A, native, "Alice", text)
            for room in (B, C):
                assert (await world.post(room, text)).edited
        assert world.lines(C).count("Alice: hello all") == 1
        assert not any("helo" in line for line in world.lines(B) + world.lines(C))


async def test_a_deletion_reaches_all(store: Redis) -> None:
    """A message that its author, an admin or the platform itself takes away is gone everywhere."""
    async with running_world(store, *ACCOUNTS) as world:
        await chain(world)
        for turn, who in enumerate([None, person("Alice"), person("Root", role="admin")]):
            native = world.say(A, "Alice", f"oops {turn}")
            post = await world.post(C, f"oops {turn}")
            world.happen(MessageDeleted, A, target=native, author=who)
            await world.until(lambda post=post: post.deleted)
            world.happen(MessageDeleted, A, target=native, author=who)  # twice is no error
        world.say(A, "Alice", "after")
        await world.shows(C, "after")


async def test_only_the_author_edits(store: Redis) -> None:
    """Neither somebody else nor an admin changes what a person said, and nobody but an admin or the author takes it
    away.
    """
    async with running_world(store, *ACCOUNTS) as world:
        await world.connect(A, B)
        native = world.say(A, "Alice", "mine")
        post = await world.post(B, "mine")
        for who in (person("Mallory"), person("Alice", id="impostor"), person("Root", role="admin")):
            world.edit(A, native, who, "changed")
        for who in (person("Mallory"), person("admin"), person("Alice", id="impostor")):
            world.happen(MessageDeleted, A, target=native, author=who)
        world.say(A, "Alice", "after")
        await world.shows(B, "after")
        assert (post.text.plain, post.edited, post.deleted) == ("mine", False, False)
        world.edit(A, native, "Mallory", "changed at the second try")
        world.happen(MessageDeleted, A, target=native, author=person("Mallory"))
        world.edit(A, native, "Alice", "still mine")
        await world.until(lambda: post.edited)
        assert (post.text.plain, post.deleted) == ("still mine", False)


async def test_a_copy_is_not_the_original(store: Redis) -> None:
    """Editing or deleting the copy in another room changes nothing elsewhere."""
    async with running_world(store, *ACCOUNTS) as world:
        await chain(world)
        world.say(A, "Alice", "original")
        here, there = await world.post(B, "original"), await world.post(C, "original")
        world.edit(B, here.id, "Alice", "changed")
        world.happen(MessageDeleted, B, target=NativeId(here.id))
        world.say(B, "Bob", "after")
        await world.shows(C, "after")
        assert (there.text.plain, there.deleted) == ("original", False)


async def test_replies(store: Redis) -> None:
    """A reply points at the answered message in every room, also if that was said in a third one."""
    async with running_world(store, *ACCOUNTS) as world:
        await chain(world)
        native = world.say(A, "Alice", "question?")
        in_b, in_c = await world.post(B, "question?"), await world.post(C, "question?")
        world.say(B, "Bob", "answer", reply_to=in_b.id)
        assert (await world.post(A, "answer")).reply_to == native
        assert (await world.post(C, "answer")).reply_to == in_c.id
        world.say(A, "Alice", "thanks", reply_to=next(p.id for p in world.posts(A) if p.text.plain == "answer"))
        assert (await world.post(C, "thanks")).reply_to == next(
            p.id for p in world.posts(C) if p.text.plain == "answer"
        )


async def test_replies_in_words(store: Redis) -> None:
    """Where there are no replies the reader is told who is answered, and what."""
    async with running_world(store, *PLAIN) as world:
        await chain(world)
        native = world.say(A, "Alice", "question?")
        await world.shows(B, "question?")
        await world.shows(C, "question?")
        world.say(A, "Bob", "answer", reply_to=native, quoting={"author_name": "Alice", "excerpt": "question?"})
        await world.shows(B, "bot: Bob (Loopback) ↩ Alice “question?”: answer")
        world.say(A, "Bob", "and more", reply_to=native)
        await world.shows(B, "bot: Bob (Loopback) ↩ Alice: and more")
        in_c = await world.post(C, "question?")
        world.say(C, "Carol", "from c", reply_to=in_c.id)
        await world.shows(B, "bot: Carol (Loopback) ↩ Alice: from c")


async def test_a_reply_is_never_before_what_it_answers(store: Redis) -> None:
    """Replies at full speed point at what was said a moment before."""
    async with running_world(store, *ACCOUNTS) as world:
        await chain(world)
        last = world.say(A, "Alice", "0 said")
        for number in range(1, 40):
            last = world.say(A, "Alice", f"{number} said", reply_to=last)
        for room in (B, C):
            await world.shows(room, "39 said")
            posts = [post for post in world.posts(room) if post.text.plain.endswith("said")]
            assert [post.text.plain for post in posts] == [f"{i} said" for i in range(40)]
            assert [post.reply_to for post in posts[1:]] == [post.id for post in posts[:-1]]


async def test_reactions(store: Redis) -> None:
    """A reaction comes and goes at the message in every room, whichever room it was given in."""
    async with running_world(store, *ACCOUNTS) as world:
        await chain(world)
        native = world.say(A, "Alice", "good news")
        in_b, in_c = await world.post(B, "good news"), await world.post(C, "good news")
        original = world.network.room("garden").said[native]
        world.happen(Reaction, A, target=native, author="Alice", emoji="🎉")
        await world.until(lambda: in_b.reactions == in_c.reactions == {"🎉": {"Alice"}})
        world.happen(Reaction, C, target=NativeId(in_c.id), author="Carol", emoji="🎉")
        await world.until(
            lambda: in_b.reactions == {"🎉": {"Alice", "Carol"}} and original.reactions == {"🎉": {"Carol"}}
        )
        world.happen(Reaction, C, target=NativeId(in_c.id), author="Carol", emoji="🎉", added=False)
        await world.until(lambda: in_b.reactions == {"🎉": {"Alice"}} and original.reactions == {"🎉": set()})


async def test_substitutes_in_a_plain_room(store: Redis) -> None:
    """A room that shows nothing but text gets a readable line for edits, deletions, reactions, emotes and files."""
    async with running_world(store, *PLAIN) as world:
        await world.connect(A, B)
        world.network.files["f"] = b"bytes"
        native = world.say(A, "Alice", Text("hello all", (Entity("bold", 0, 5),)))
        await world.shows(B, "Alice (Loopback): hello all")
        world.edit(A, native, "Alice", "hello everybody here")
        await world.shows(B, "Alice (Loopback) corrected: hello everybody here")
        world.happen(Reaction, A, target=native, author="Bob", emoji="👍")
        await world.shows(B, "(Bob (Loopback) reacted 👍 to Alice)")
        world.happen(Reaction, A, target=native, author="Bob", emoji="👍", added=False)
        await world.shows(B, "(Bob (Loopback) took back 👍 to Alice)")
        world.happen(MessageDeleted, A, target=native)
        await world.shows(B, "(Alice removed a message)")
        world.say(A, "Alice", "waves", emote=True)
        await world.shows(B, "bot: * Alice (Loopback) waves")
        world.say(A, "Alice", "see", files=(FileRef(AccountId("one"), "f", "plan.pdf", "application/pdf", 1_400_000),))
        line = await world.shows(B, "plan.pdf")
        assert line.startswith("bot: Alice (Loopback): see\n📎 plan.pdf (1.4 MB) http://127.0.0.1:8080/f/")
        payload = world.deps.links.verify("file", line.rpartition("/f/")[2], 60)
        assert payload == {"a": "one", "r": "f", "n": "plan.pdf", "m": "application/pdf"}
        world.say(A, "Alice", "", files=(FileRef(AccountId("one"), "f", "a.txt"),))
        await world.shows(B, "bot: Alice (Loopback): 📎 a.txt http")
        world.happen(Typing, A, author="Alice")
        world.say(A, "Alice", "done")
        await world.shows(B, "done")
        assert world.network.room("kitchen").typing == []


async def test_files(store: Redis) -> None:
    """A file's bytes go from account to account, in order with the words; one that is gone is told where it was put."""
    async with running_world(store, *ACCOUNTS) as world:
        await chain(world)
        data = bytes(range(256)) * 1_000
        world.network.files["f"] = data
        world.say(A, "Alice", "look", files=(FileRef(AccountId("one"), "f", "a.bin", size_bytes=len(data)),))
        for room in (B, C):
            assert (await world.post(room, "look")).files == (("a.bin", data),)
        world.say(A, "Alice", "gone", files=(FileRef(AccountId("one"), "missing", "b.bin"),))
        told = await world.shows(A, "did not reach kitchen")
        assert "“gone”" in told
        assert "there is no such file" in told
        world.say(A, "Alice", "after")
        await world.shows(C, "after")


async def test_file_names_are_names(store: Redis) -> None:
    """A name that is a path or holds controls is handed on as a name."""
    async with running_world(store, *PLAIN) as world:
        await chain(world)
        world.network.files["f"] = b"x"
        for name in ("../../etc/passwd", "C:\\temp\\passwd", "/passwd", "pass\u202ewd", "p\r\na\x00sswd/"):
            world.say(A, "Alice", name[-3:] or "x", files=(FileRef(AccountId("one"), "f", name),))
        await world.until(lambda: sum(bool(post.files) for post in world.posts(C)) == 5)
        names = [post.files[0][0] for post in world.posts(C) if post.files]
        assert names == ["passwd", "passwd", "passwd", "passwd", "p a sswd"]
        await world.until(lambda: sum("📎" in line for line in world.lines(B)) == 5)
        assert all(line.count("\n") <= 1 for line in world.lines(B))


async def test_typing_emotes_and_threads(store: Redis) -> None:
    """Who types is shown, a third-person message says who, and a thread stays one."""
    async with running_world(store, *ACCOUNTS) as world:
        await chain(world)
        world.happen(Typing, A, author="Alice")
        await world.until(lambda: world.network.room("cellar").typing == ["Alice"])
        root = world.say(A, "Alice", "waves", emote=True)
        post = await world.post(C, "waves")
        assert (post.author, post.text.plain) == ("Alice", "* Alice waves")
        world.say(A, "Bob", "in the thread", thread=root)
        assert (await world.post(C, "in the thread")).thread == post.id
        world.say(C, "Carol", "from c", thread=NativeId(post.id))
        assert (await world.post(A, "from c")).thread == root


async def test_after_a_restart(store: Redis) -> None:
    """What an earlier process relayed can be edited, answered, reacted to and deleted."""
    network = LoopbackNetwork()
    async with running_world(store, *ACCOUNTS, network=network) as world:
        await chain(world)
        native = world.say(A, "Alice", "before the restart")
        in_b, in_c = await world.post(B, "before"), await world.post(C, "before")
    async with running_world(store, *ACCOUNTS, network=network, process="next") as world:
        world.edit(A, native, "Alice", "edited later")
        await world.until(lambda: in_b.text.plain == in_c.text.plain == "edited later")
        world.say(C, "Carol", "late answer", reply_to=in_c.id)
        assert (await world.post(B, "late answer")).reply_to == in_b.id
        assert (await world.post(A, "late answer")).reply_to == native
        world.happen(Reaction, B, target=NativeId(in_b.id), author="Bob", emoji="👍")
        await world.until(lambda: in_c.reactions == {"👍": {"Bob"}})
        world.happen(MessageDeleted, A, target=native)
        await world.until(lambda: in_b.deleted and in_c.deleted)


async def test_what_waited_arrives_in_order(store: Redis) -> None:
    """Messages, edits and deletions for a room that is down wait, and then come in order; others do not wait."""
    async with running_world(store, *ACCOUNTS) as world:
        await chain(world)
        world.network.slow_s["kitchen"] = 0.3
        natives = [world.say(A, "Alice", f"{i} while slow") for i in range(3)]
        world.edit(A, natives[2], "Alice", "2 edited")
        world.happen(MessageDeleted, A, target=natives[1])
        await world.shows(C, "2 edited")
        assert not any("while slow" in line for line in world.lines(B))
        del world.network.slow_s["kitchen"]
        await world.shows(B, "2 edited")
        await world.until(lambda: not any("1 while slow" in line for line in world.lines(B)))
        assert [line for line in world.lines(B) if "bot" not in line] == ["Alice: 0 while slow", "Alice: 2 edited"]


async def test_redelivered_events_happen_once(store: Redis) -> None:
    """A platform that hands over everything twice is relayed once; one that never does needs no keys for that."""
    async with running_world(store, *ACCOUNTS) as world:
        await world.connect(A, B)
        for _ in range(2):
            for number in range(5):
                world.say(A, "Alice", f"message {number}", native=f"fixed{number}")
        world.say(A, "Alice", "end")
        await world.shows(B, "end")
        assert [line for line in world.lines(B) if "message" in line] == [f"Alice: message {i}" for i in range(5)]
        assert [key async for key in store.scan_iter("*seen*")]
    await store.flushall()
    network = LoopbackNetwork()
    platforms = {"loopback": make_platform(network, redelivers=False)}
    async with running_world(store, *ACCOUNTS, network=network, platforms=platforms) as world:
        await world.connect(A, B)
        world.say(A, "Alice", "hello")
        await world.shows(B, "hello")
        assert not [key async for key in store.scan_iter("*seen*")]


async def test_nothing_of_the_text_stays(store: Redis) -> None:
    """Once a message is delivered everywhere the store does not hold its words any more."""
    async with running_world(store, *ACCOUNTS, account("four")) as world:
        more = [RoomId(f"three/m{i}") for i in range(4)]
        await chain(world)
        for room in more:
            await world.connect(A, room)
        for number in range(10):
            world.say(A, "Alice", f"xyzzy-{number}")
            world.say(B, "Bob", f"xyzzy-{number}b")
        for room in (C, *more):
            await world.shows(room, "xyzzy-9b")
        await world.shows(A, "xyzzy-9b")
        await eventually_gone(store, b"xyzzy")


async def eventually_gone(store: Redis, word: bytes) -> None:
    """Wait until no key of the store holds ``word`` (the last completions come after the last posts)."""
    for _ in range(200):
        dumps = [await store.dump(key) async for key in store.scan_iter("*")]
        values = [value for value in dumps if value and word in value]
        if not values:
            return
        await asyncio.sleep(0.02)
    raise AssertionError(f"{len(values)} keys still hold {word!r}")


def test_an_entry_may_append_a_lot() -> None:
    """However much one entry brings about, each journal gets rising ordinals and the next entry starts afresh."""
    out = Outgoing()
    out.begin(7)
    for number in range(40):
        for shard in range(3):
            out.forward(shard, Tell(A, str(number)))
    out.begin(8)
    out.forward(0, Tell(A, "next"))
    for records in out.by_tag.values():
        ordinals = [ordinal for ordinal, _, _ in records]
        assert ordinals[:40] == list(range(7 * ORDINALS_PER_ENTRY, 7 * ORDINALS_PER_ENTRY + 40))
        assert ordinals[40:] in ([], [8 * ORDINALS_PER_ENTRY])


@pytest.mark.parametrize("bridged", [True, False])
async def test_bots_are_heard(store: Redis, bridged: bool) -> None:
    """What another bot says is relayed like anybody's words."""
    async with running_world(store, *ACCOUNTS) as world:
        await world.connect(A, B)
        world.say(A, Author("b", "Weather", is_bot=True), "sunny", bridged=bridged)
        await world.shows(B, "Weather: sunny")

"""The whole relay against a model of a page: whatever people do, in whatever order, through crashes and clock jumps,
every room shows exactly what the model says, once and in order.
"""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from itertools import count
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bots.loopback.network import LoopbackNetwork
from core.model import MessageDeleted, NativeId, Reaction, RoomId
from core.store import Redis, open_store
from tests.support.world import World, running_world

ROOMS = tuple(RoomId(f"lo/{name}") for name in "abcd")
PEOPLE = ("Ann", "Ben", "Cleo")
STEPS = 24
MINUTE_MS = 60_000

room = st.sampled_from(ROOMS)
person = st.sampled_from(PEOPLE)
any_message = st.integers(0, 1_000)
action = st.one_of(
    st.tuples(st.just("say"), room, person),
    st.tuples(st.just("say"), room, person),
    st.tuples(st.just("say"), room, person),
    st.tuples(st.just("reply"), room, person, any_message),
    st.tuples(st.just("edit"), any_message, st.booleans()),
    st.tuples(st.just("delete"), any_message),
    st.tuples(st.just("react"), any_message, person, st.booleans()),
    st.tuples(st.just("again"), any_message),
    st.tuples(st.just("connect"), room, room),
    st.tuples(st.just("connect"), room, room),
    st.tuples(st.just("disconnect"), room, room),
    st.tuples(st.just("disable"), room),
    st.tuples(st.just("pause"), room),
    st.tuples(st.just("resume"), room),
    st.tuples(st.just("ban"), room, person),
    st.tuples(st.just("unban"), room, person),
    st.tuples(st.just("crash")),
    st.tuples(st.just("clock"), st.integers(-90, 90)),
)


@dataclass
class Said:
    """A message, and what became of it."""

    native: str
    room: RoomId
    author: str
    text: str
    reply_to: int | None = None
    deleted: bool = False
    shown: dict[RoomId, str] = field(default_factory=dict)
    """Room → the text that it shows; rooms that do not have it are missing."""
    reactions: dict[RoomId, set[tuple[str, str]]] = field(default_factory=dict)


class Model:
    """What must be."""

    def __init__(self) -> None:
        self.tubes: set[frozenset[RoomId]] = set()
        self.paused: set[RoomId] = set()
        self.bans: set[tuple[RoomId, str]] = set()
        self.said: list[Said] = []

    def hears(self, origin: RoomId, author: str) -> list[RoomId]:
        """Who hears somebody now."""
        if origin in self.paused:
            return []
        return [r for r in self.sameroom(origin)[1:] if r not in self.paused and (r, author) not in self.bans]

    def sameroom(self, origin: RoomId) -> list[RoomId]:
        """All that tubes connect with a room, itself first."""
        found = [origin]
        for here in found:
            for tube in self.tubes:
                if here in tube:
                    found += [there for there in tube if there not in found]
        return found

    def lines(self, here: RoomId) -> list[tuple[str, str]]:
        """What stands in a room of what was said elsewhere: (author, text), in the order it was said."""
        return [(m.author, m.shown[here]) for m in self.said if here in m.shown]


class Play:
    """Does it in the relay and in the model."""

    def __init__(self, store: Redis) -> None:
        self._store = store
        self.network = LoopbackNetwork()
        self.model = Model()
        self.offset_ms = 0
        self._stack = AsyncExitStack()
        self.world: World = None  # type: ignore[assignment]  # set by start
        self._heard: set[tuple[RoomId, str]] = set()
        self._edits = 0
        self._ids = count(1)
        """Of messages and events: a platform gives none out twice."""

    async def start(self) -> None:
        """A process starts on what the store holds."""
        clock = asyncio.get_running_loop().time
        made = running_world(
            self._store,
            network=self.network,
            now_ms=lambda: int(1_800_000_000_000 + clock() * 1000) + self.offset_ms,
        )
        self.world = await self._stack.enter_async_context(made)
        self.world.ids = self._ids

    async def stop(self) -> None:
        """It ends."""
        await self._stack.aclose()

    async def do(self, name: str, *args: Any) -> None:
        """One action, and then everything must be as the model has it."""
        await getattr(self, f"do_{name}")(*args)
        await self.world.accepted()
        await self.world.settled(*ROOMS)
        await self.check(name)

    async def check(self, after: str) -> None:
        """All rooms, at last."""
        try:
            await self.world.until(lambda: all(self._shown(r) == self.model.lines(r) for r in ROOMS), 5.0)
        except TimeoutError:
            wrong = {r: (self._shown(r), self.model.lines(r)) for r in ROOMS if self._shown(r) != self.model.lines(r)}
            raise AssertionError(f"after {after}: room → (is, must be) {wrong}") from None

    def _posts(self, here: RoomId) -> list[Any]:
        return [post for post in self.world.posts(here) if not post.deleted and post.author != "bot"]

    def _shown(self, here: RoomId) -> list[tuple[str, str]]:
        return [(post.author, post.text.plain) for post in self._posts(here)]

    def _message(self, number: int) -> Said | None:
        alive = [message for message in self.model.said if not message.deleted]
        return alive[number % len(alive)] if alive else None

    # --- actions

    async def do_say(self, here: RoomId, author: str, reply: Said | None = None) -> None:
        """Somebody says something new."""
        text = f"words {len(self.model.said)}"
        native = self.world.say(here, author, text, reply_to=reply.native if reply else "")
        said = Said(native, here, author, text)
        for there in self.model.hears(here, author):
            said.shown[there] = text
            self._heard.add((there, author))
        self.model.said.append(said)

    async def do_reply(self, here: RoomId, author: str, number: int) -> None:
        """Somebody answers what was said in the same room, or shown there."""
        message = self._message(number)
        if message is None or message.room != here:
            await self.do_say(here, author)
            return
        await self.do_say(here, author, message)
        answer = self.model.said[-1]
        await self.check("reply")
        for there in answer.shown:
            if there in message.shown:
                posts = {post.text.plain: post for post in self._posts(there)}
                assert posts[answer.text].reply_to == posts[message.shown[there]].id

    async def do_edit(self, number: int, by_author: bool) -> None:
        """The author changes a message; or somebody else tries to."""
        message = self._message(number)
        if message is None:
            return
        text = f"{message.text} edited {self._edits}"
        self._edits += 1
        who = message.author if by_author else next(p for p in PEOPLE if p != message.author)
        self.world.edit(message.room, message.native, who, text)
        if by_author:
            for there in self.model.hears(message.room, message.author):
                if there in message.shown:
                    message.shown[there] = text

    async def do_delete(self, number: int) -> None:
        """A message is taken back, where it was said."""
        message = self._message(number)
        if message is None:
            return
        message.deleted = True
        self.world.happen(MessageDeleted, message.room, target=NativeId(message.native))
        for there in self.model.hears(message.room, ""):
            message.shown.pop(there, None)

    async def do_react(self, number: int, who: str, added: bool) -> None:
        """Somebody reacts in the room where it was said: words stay as they are."""
        message = self._message(number)
        if message is not None:
            fields = {"target": NativeId(message.native), "author": who, "emoji": "👍", "added": added}
            self.world.happen(Reaction, message.room, **fields)

    async def do_again(self, number: int) -> None:
        """The platform hands the same message over once more."""
        message = self._message(number)
        if message is not None:
            self.world.say(message.room, message.author, message.text, native=message.native)

    async def do_connect(self, a: RoomId, b: RoomId) -> None:
        """Two typed commands."""
        if b in self.model.sameroom(a):
            return
        answer = await self.world.asks(a, "Opener", "-sameroom open")
        code = answer.split("Your code is ")[1].split(".")[0]
        answer = await self.world.asks(b, "Joiner", f"-sameroom connect {code}")
        assert "now connected" in answer, answer
        self.model.tubes.add(frozenset((a, b)))

    async def do_disconnect(self, a: RoomId, b: RoomId) -> None:
        """Cut one connection, by the other room's name."""
        if frozenset((a, b)) in self.model.tubes:
            name = self.network.room(b.partition("/")[2]).title
            answer = await self.world.asks(a, "Ann", f"-sameroom disconnect {name}")
            assert "disconnected" in answer or "no longer" in answer, answer
            self.model.tubes.discard(frozenset((a, b)))

    async def do_disable(self, here: RoomId) -> None:
        """Cut them all."""
        await self.world.asks(here, "Ann", "-sameroom disable")
        self.model.tubes = {tube for tube in self.model.tubes if here not in tube}

    async def do_pause(self, here: RoomId) -> None:
        """Stop relaying here."""
        await self.world.asks(here, "Ann", "-sameroom pause")
        self.model.paused.add(here)

    async def do_resume(self, here: RoomId) -> None:
        """Relay again."""
        await self.world.asks(here, "Ann", "-sameroom resume")
        self.model.paused.discard(here)

    async def do_ban(self, here: RoomId, who: str) -> None:
        """Somebody who was heard here is not to be heard any more."""
        if (here, who) in self._heard and (here, who) not in self.model.bans:
            answer = await self.world.asks(here, "Dora", f"-sameroom ban {who}")
            assert who in answer, answer
            self.model.bans.add((here, who))

    async def do_unban(self, here: RoomId, who: str) -> None:
        """And again."""
        if (here, who) in self.model.bans:
            await self.world.asks(here, "Dora", f"-sameroom unban {who}")
            self.model.bans.discard((here, who))

    async def do_crash(self) -> None:
        """The process ends and another one takes over."""
        await self.stop()
        self._heard.clear()
        await self.start()

    async def do_clock(self, minutes: int) -> None:
        """The machine's clock is set."""
        self.offset_ms += minutes * MINUTE_MS


@settings(max_examples=60, suppress_health_check=list(HealthCheck), print_blob=True)
@given(actions=st.lists(action, min_size=6, max_size=STEPS))
def test_every_room_shows_what_it_must(store_url: str, actions: list[tuple[Any, ...]]) -> None:
    """Pairing, cutting, pausing, banning, editing, deleting, answering, redelivery, crashes, clock jumps."""

    async def play() -> None:
        store = open_store(store_url)
        await store.flushall()
        made = Play(store)
        try:
            await made.start()
            for name, *args in actions:
                await made.do(name, *args)
        finally:
            await made.stop()
            await store.aclose()

    asyncio.run(play())

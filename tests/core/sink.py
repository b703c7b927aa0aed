"""A service to post to that does as it is told: it refuses, hangs, loses answers, crashes its adapter."""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict, deque
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from itertools import count
from typing import Any

from msgspec.structs import replace

from bots.host import Adapters, BotHost
from core import keys
from core.contract import (
    AdapterError,
    Capabilities,
    Emit,
    Outbound,
    Platform,
    Receipt,
    Rejected,
    RoomInfo,
    Services,
    Uncertain,
)
from core.deps import Deps, make_deps
from core.model import (
    AccountId,
    Author,
    MessageId,
    NativeId,
    PlatformId,
    RoomId,
    Text,
    message_id,
    native_room,
    room_id,
)
from core.settings import Settings
from core.store import Redis
from core.wire import DeadLetter, Delivery, Tell, decode_dead, decode_incoming, encode
from tests.support.world import SECRET, StoredAccount

ACCOUNT = AccountId("acc")
ORIGIN = RoomId("elsewhere/origin")
TAG = keys.account_tag(ACCOUNT)

EDITS = Capabilities(edit="full")

Behaviour = Exception | str | None
"""An error to raise; ``hang``: no answer ever; ``lost``: it is posted, and the answer is lost; ``silent``: it is
posted, and there is no answer ever; None: it is posted."""


@dataclass
class Sink:
    """The service. It outlives the adapters."""

    kind: str = "plain"
    caps: Capabilities = EDITS
    posts: dict[RoomId, list[str]] = field(default_factory=lambda: defaultdict(list))
    tried: dict[RoomId, list[str]] = field(default_factory=lambda: defaultdict(list))
    """Room → keys of all tries."""
    by_key: dict[str, NativeId] = field(default_factory=dict)
    next: dict[RoomId, deque[Behaviour]] = field(default_factory=lambda: defaultdict(deque))
    always: dict[RoomId, Behaviour] = field(default_factory=dict)
    poison: str = ""
    """A text that crashes the adapter."""
    rude: str = ""
    """A text that is refused."""
    stands: dict[RoomId, dict[NativeId, Outbound]] = field(default_factory=lambda: defaultdict(dict))
    """Room → what stands there now, in the order in which it was posted first."""
    times: dict[RoomId, list[float]] = field(default_factory=lambda: defaultdict(list))
    """Room → monotonic times of its posts."""
    reactions: list[tuple[NativeId, str]] = field(default_factory=list)
    slow_s: dict[RoomId, float] = field(default_factory=dict)
    made: int = 0
    """Posts that were ever made."""
    under_way: int = 0
    started: int = 0
    emit: Emit | None = None
    changed: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def take(self, outbound: Outbound) -> Receipt:
        """A post arrives."""
        room = outbound.room
        self.tried[room].append(outbound.key)
        self.under_way += 1
        try:
            await asyncio.sleep(self.slow_s.get(room, 0))
            return await self._answer(outbound)
        finally:
            self.under_way -= 1
            async with self.changed:
                self.changed.notify_all()

    async def _answer(self, outbound: Outbound) -> Receipt:
        room = outbound.room
        if self.poison and self.poison in outbound.text.plain:
            raise KeyError("poison")
        if self.rude and self.rude in outbound.text.plain:
            raise Rejected("too rude")
        behaviour = self.next[room].popleft() if self.next[room] else self.always.get(room)
        if behaviour == "hang":
            await self.happened()
            await asyncio.sleep(3600)
        if isinstance(behaviour, Exception):
            raise behaviour
        if self.kind == "keyed" and outbound.key in self.by_key:
            return Receipt((self.by_key[outbound.key],))
        self.made += 1
        native = self.by_key[outbound.key] = NativeId(f"n{self.made}")
        self.posts[room].append(outbound.text.plain.rpartition(": ")[2])
        self.stands[room][native] = outbound
        self.times[room].append(time.monotonic())
        if behaviour == "silent":
            await self.happened()
            await asyncio.sleep(3600)
        if behaviour == "lost":
            raise Uncertain("the answer was lost")
        return Receipt((native,))

    def reads(self, room: RoomId) -> list[str]:
        """What people read in a room: the lines of all posts that stand there."""
        return [line for post in self.stands[room].values() for line in post.text.plain.split("\n")]

    async def happened(self) -> None:
        """Tell who waits that something changed."""
        async with self.changed:
            self.changed.notify_all()

    async def until(self, condition: Callable[[], bool], timeout_s: float = 10.0) -> None:
        """Return when ``condition`` holds."""
        try:
            async with asyncio.timeout(timeout_s), self.changed:
                await self.changed.wait_for(condition)
        except TimeoutError:
            shown = {room: (len(texts), texts[-3:]) for room, texts in self.posts.items()}
            raise AssertionError(f"not in {timeout_s} s; posts: {shown}") from None

    def platform(self) -> Platform:
        """The service as a platform."""
        made = {"plain": Plain, "keyed": Plain, "finds": Finding, "stream": Streaming, "board": Board}[self.kind]

        def create(account: AccountId, config: Any, services: Services) -> Plain:
            return made(account, self)

        return Platform(
            id=PlatformId("sink"),
            title="Sink",
            config=StoredAccount,
            create=create,
            from_target=lambda target: (target, None),
        )


class Plain:
    """One post at a time in a room."""

    def __init__(self, account: AccountId, sink: Sink) -> None:
        self.account = account
        self.sink = sink

    async def start(self, emit: Emit) -> None:
        self.sink.emit = emit
        self.sink.started += 1
        emit.online()

    async def stop(self) -> None:
        self.sink.emit = None

    def capabilities(self, room: RoomId) -> Capabilities:
        return self.sink.caps

    def room_info(self, room: RoomId) -> RoomInfo:
        return RoomInfo(room, native_room(room), "Sink")

    async def send(self, outbound: Outbound) -> Receipt:
        return await self.sink.take(outbound)

    async def edit(self, natives: Sequence[NativeId], outbound: Outbound) -> Receipt:
        self.sink.posts[outbound.room].append(f"edit {natives[0]}")
        self.sink.stands[outbound.room][natives[0]] = outbound
        await self.sink.happened()
        return Receipt(tuple(natives))


class Finding(Plain):
    """Can be asked whether a post is there."""

    async def find_sent(self, outbound: Outbound) -> Receipt | None:
        native = self.sink.by_key.get(outbound.key)
        return Receipt((native,)) if native else None


class Board(Plain):
    """Also takes posts away, and reacts."""

    async def delete(self, room: RoomId, natives: Sequence[NativeId]) -> None:
        for native in natives:
            self.sink.stands[room].pop(native, None)
        await self.sink.happened()

    async def react(self, room: RoomId, native: NativeId, emoji: str, added: bool, author: Author) -> None:
        self.sink.reactions.append((native, emoji))
        await self.sink.happened()


class Streaming(Plain):
    """A batch at a time; after a failure in a room it takes nothing more for that room."""

    async def send_stream(self, posts: Sequence[Outbound]) -> Sequence[Receipt | AdapterError]:
        results: list[Receipt | AdapterError] = []
        failed: dict[RoomId, AdapterError] = {}
        for post in posts:
            if post.room not in failed:
                try:
                    results.append(await self.sink.take(post))
                    continue
                except AdapterError as error:
                    failed[post.room] = error
            results.append(failed[post.room])
        return results


@dataclass
class Desk:
    """What a test does with a running host."""

    deps: Deps
    host: BotHost
    sink: Sink
    numbers: Any
    accounts: list[StoredAccount]
    """What there is to serve; may change."""

    async def deliver(self, *rooms: RoomId, texts: Sequence[str] = ("hello",), **more: Any) -> None:
        """Append posts to the account's outbox."""
        plain = Delivery("new", rooms, ("name",) * len(rooms), author=Author("alice", "Alice"), origin_title="origin")
        records = []
        for text in texts:
            number = next(self.numbers)
            message = message_id(ORIGIN, NativeId(f"m{number}"))
            delivery = replace(plain, message=more.get("message", message), text=Text(text), **_without(more))
            records.append((number, encode(delivery), delivery))
        for at in range(0, len(records), 500):
            await self.deps.journals.append(TAG, "test", 1, records[at : at + 500])

    async def say(self, room: RoomId, *said: tuple[str, str], **more: Any) -> list[MessageId]:
        """Messages by people (who, what) for a room, in one go; returns their ids. ``more``: fields of all of them."""
        records, messages = [], []
        for who, what in said:
            number = next(self.numbers)
            message = more.get("message", message_id(ORIGIN, NativeId(f"m{number}")))
            plain = Delivery("new", (room,), ("name",), message, author=Author(who.lower(), who), text=Text(what))
            delivery = replace(plain, **_without(more))
            records.append((number, encode(delivery), delivery))
            messages.append(message)
        for at in range(0, len(records), 500):
            await self.deps.journals.append(TAG, "test", 1, records[at : at + 500])
        return messages

    async def is_empty(self) -> bool:
        """Whether nothing waits and nothing is left behind in the store."""
        store = self.deps.store
        sizes = [await store.xlen(keys.stream(TAG))]
        for name in (keys.partly, keys.behind, keys.attempts, keys.waiting, keys.folds):
            sizes.append(await store.hlen(name(TAG)))
        async for key in store.scan_iter(match=TAG.replace("{", "[{]") + "backlog:*"):
            sizes.append(await store.xlen(key))
        return not any(sizes)

    async def until_empty(self, timeout_s: float = 10.0) -> None:
        """Return when it is."""
        async with asyncio.timeout(timeout_s):
            while not await self.is_empty():
                await asyncio.sleep(0.01)

    async def letters(self) -> list[DeadLetter]:
        """The dead letters."""
        return [decode_dead(fields[b"e"]) for _, fields in await self.deps.store.xrange(keys.dead(TAG))]

    async def notices(self, timeout_s: float = 5.0, least: int = 1) -> list[str]:
        """What the origin room was told."""
        inbox = keys.stream(keys.shard_tag(self.deps.ingest.home(ORIGIN)))
        async with asyncio.timeout(timeout_s):
            while await self.deps.store.xlen(inbox) < least:
                await asyncio.sleep(0.01)
        found = [decode_incoming(fields[b"e"]) for _, fields in await self.deps.store.xrange(inbox)]
        return [event.text for event in found if isinstance(event, Tell) and event.room == ORIGIN]

    async def tells(self, least: int, timeout_s: float = 5.0) -> list[Tell]:
        """All notices and lines of the log, wherever they are to go; returns when there are so many."""
        found: list[Tell] = []
        async with asyncio.timeout(timeout_s):
            while len(found) < least:
                await asyncio.sleep(0.01)
                found = []
                for shard in range(self.deps.shards):
                    rows = await self.deps.store.xrange(keys.stream(keys.shard_tag(shard)))
                    events = (decode_incoming(fields[b"e"]) for _, fields in rows)
                    found += [event for event in events if isinstance(event, Tell)]
        return found


def _without(more: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in more.items() if name != "message"}


def rooms(*names: str) -> list[RoomId]:
    """Rooms of the account."""
    return [room_id(ACCOUNT, name) for name in names]


def lines(prefix: str, total: int) -> list[str]:
    """Texts to tell apart."""
    return [f"{prefix} {n}" for n in range(total)]


@asynccontextmanager
async def delivering(
    store: Redis, sink: Sink, numbers: Any = None, process: str = "p1", gently: bool = True, **settings: Any
) -> AsyncIterator[Desk]:
    """A host that serves one account of ``sink``. ``gently``: it is stopped in order at the end, else as if killed."""
    chosen = Settings(**({"secret_key": SECRET, "shards": 4, "lease_ms": 1_000} | settings))
    deps = make_deps(store, chosen, chosen.shards, process, "http://127.0.0.1:8080")
    accounts = [StoredAccount(ACCOUNT, PlatformId("sink"), None)]

    async def list_accounts() -> list[StoredAccount]:
        return accounts

    host = BotHost(deps, list_accounts, Adapters(deps, list_accounts, lambda name: sink.platform()))
    parts = [asyncio.create_task(work) for work in (deps.journals.keep(), deps.ingest.run(), host.run())]
    try:
        yield Desk(deps, host, sink, numbers or count(1), accounts)
    finally:
        if not gently:
            for running in list(host.hosts.values()):
                assert running._task
                running._task.cancel()
                running._deliverer = None
        for part in parts[::-1]:
            part.cancel()
            with suppress(asyncio.CancelledError):
                await part

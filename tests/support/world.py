"""A whole installation in one process on a real store, with accounts on a network in memory."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import count
from typing import Any

import msgspec

from bots.host import Adapters, BotHost
from bots.loopback import make_platform
from bots.loopback.adapter import LoopbackConfig
from bots.loopback.network import LoopbackNetwork, Post, person
from core.contract import Platform
from core.deps import Deps, make_deps
from core.directory import Directory
from core.model import (
    AccountId,
    Author,
    BotAdded,
    MessageEdited,
    MessageNew,
    NativeId,
    PlatformEvent,
    PlatformId,
    ReplyTo,
    RoomId,
    Text,
    room_id,
)
from core.relay import Relay
from core.settings import Settings
from core.store import Redis
from core.wire import SecurityRecord

SECRET = "a secret key for tests, long enough"


class StoredAccount(msgspec.Struct, frozen=True):
    """An account as the host wants it."""

    id: AccountId
    platform: PlatformId
    config: Any


@dataclass
class World:
    """One process of the installation, and the network that its accounts are on."""

    deps: Deps
    network: LoopbackNetwork
    host: BotHost
    relay: Relay
    ids: Any

    def room(self, account: str, native: str) -> RoomId:
        """The id of a room."""
        return room_id(AccountId(account), native)

    def emit(self, event: PlatformEvent) -> None:
        """Something happens on the network."""
        account = event.room.partition("/")[0]
        self.network.listeners[account](event)

    def say(
        self,
        room: RoomId,
        who: str | Author,
        text: str | Text,
        *,
        native: str = "",
        reply_to: str = "",
        quoting: dict[str, str] | None = None,
        **more: Any,
    ) -> NativeId:
        """Somebody says something. ``quoting``: what the platform says of the answered message."""
        native_id = NativeId(native or f"m{next(self.ids)}")
        author = who if isinstance(who, Author) else person(who)
        words = text if isinstance(text, Text) else Text(text)
        here = self.network.room(room.partition("/")[2])
        here.said[native_id] = Post(native_id, author.name, words)
        self.emit(
            MessageNew(
                room=room,
                native=native_id,
                at_ms=self.deps.now_ms(),
                author=author,
                text=words,
                reply_to=ReplyTo(NativeId(reply_to), **(quoting or {})) if reply_to else None,
                **more,
            )
        )
        return native_id

    def happen(self, kind: type[PlatformEvent], room: RoomId, **fields: Any) -> None:
        """Something else happens in a room; ``author`` may be a name."""
        if isinstance(fields.get("author"), str):
            fields["author"] = person(fields["author"])
        native = NativeId(fields.pop("native", "") or f"e{next(self.ids)}")
        self.emit(kind(room=room, native=native, at_ms=self.deps.now_ms(), **fields))

    def edit(self, room: RoomId, target: str, who: str | Author, text: str, **more: Any) -> None:
        """Somebody changes a message."""
        self.happen(MessageEdited, room, target=NativeId(target), author=who, text=Text(text), **more)

    async def accepted(self) -> None:
        """Return when all that happened so far is durable."""
        for emit in list(self.network.listeners.values()):
            await emit.accepted()

    def posts(self, room: RoomId) -> list[Post]:
        """What the bot posted in a room."""
        return list(self.network.room(room.partition("/")[2]).posts.values())

    async def post(self, room: RoomId, text: str) -> Post:
        """Wait for a post that holds ``text``; returns it."""
        await self.shows(room, text)
        return next(post for post in self.posts(room)[::-1] if text in post.text.plain)

    async def asks(self, room: RoomId, who: str | Author, text: str) -> str:
        """Type something that the bot answers; returns the answer."""
        before = len(self.posts(room))
        self.say(room, who, text)
        try:
            await self.until(lambda: len(self.posts(room)) > before)
        except TimeoutError:
            raise AssertionError(f"no answer to {text!r} in {room}") from None
        return self.posts(room)[before].text.plain

    async def settled(self, *rooms: RoomId) -> None:
        """Return when what was answered in ``rooms`` is stored as well (an answer may come a moment earlier)."""
        for room in rooms:
            await Directory(self.deps).act(room, "", "", "help")

    async def log(self, room: RoomId) -> list[SecurityRecord]:
        """The security log of a room, oldest first."""
        await self.settled(room)
        found = [record async for record in Directory(self.deps).security_log(room)]
        return found[::-1]

    def add_bot(self, room: RoomId, title: str) -> None:
        """The bot is invited."""
        self.network.room(room.partition("/")[2], title)
        self.emit(BotAdded(room=room, native=NativeId(f"add{next(self.ids)}"), at_ms=self.deps.now_ms(), title=title))

    def lines(self, room: RoomId) -> list[str]:
        """What stands in a room."""
        return self.network.room(room.partition("/")[2]).lines()

    async def until(self, condition: Callable[[], bool], timeout_s: float = 10.0) -> None:
        """Wait for something to happen on the network."""
        await self.network.until(condition, timeout_s)

    async def shows(self, room: RoomId, text: str, timeout_s: float = 10.0) -> str:
        """Wait until a line of a room holds ``text``; returns that line."""

        def found() -> list[str]:
            return [line for line in self.lines(room) if text in line]

        try:
            await self.until(lambda: bool(found()), timeout_s)
        except TimeoutError:
            raise AssertionError(f"{text!r} is not in {room}: {self.lines(room)}") from None
        return found()[-1]

    async def code(self, room: RoomId, who: str = "Opener") -> str:
        """Type ``-sameroom open``; returns the code."""
        before = len(self.lines(room))
        self.say(room, who, "-sameroom open")
        await self.until(lambda: any("Your code is" in line for line in self.lines(room)[before:]))
        line = next(line for line in self.lines(room)[before:] if "Your code is" in line)
        return line.split("Your code is ")[1].split(".")[0]

    async def connect(self, a: RoomId, b: RoomId) -> None:
        """Pair two rooms by typed commands alone."""
        code = await self.code(a)
        before = len(self.lines(b)), len(self.lines(a))
        self.say(b, "Joiner", f"-sameroom connect {code}")
        for room, start in ((b, before[0]), (a, before[1])):
            await self.until(lambda room=room, start=start: any("now connected" in x for x in self.lines(room)[start:]))


def account(name: str, *, plain: bool = False) -> StoredAccount:
    """An account on the network."""
    return StoredAccount(AccountId(name), PlatformId("loopback"), LoopbackConfig(plain=plain))


@asynccontextmanager
async def running_world(
    store: Redis,
    *accounts: StoredAccount,
    network: LoopbackNetwork | None = None,
    process: str = "test",
    settings: dict[str, Any] | None = None,
    platforms: dict[str, Platform] | None = None,
    roles: str = "relay bots",
    now_ms: Callable[[], int] | None = None,
    public_url: str = "http://127.0.0.1:8080",
    before: Callable[[Deps], Awaitable[None]] | None = None,
) -> AsyncIterator[World]:
    """Start it; stop it in order at the end. ``before`` is called before the accounts start."""
    chosen = Settings(**({"secret_key": SECRET, "shards": 4, "lease_ms": 2_000} | (settings or {})))
    clock = {"now_ms": now_ms} if now_ms else {}
    deps = make_deps(store, chosen, chosen.shards, process, public_url, **clock)
    network = network or LoopbackNetwork()
    found = {"loopback": make_platform(network)} | (platforms or {})
    stored = list(accounts) or [account("lo")]

    async def list_accounts() -> list[StoredAccount]:
        return stored

    adapters = Adapters(deps, list_accounts, lambda name: found[name])
    host = BotHost(deps, list_accounts, adapters)
    relay = Relay(deps)
    running = [deps.journals.keep(), deps.ingest.run()]
    tasks = [asyncio.create_task(work) for work in running]
    parts = []
    if "relay" in roles:
        parts.append(asyncio.create_task(relay.run()))
        await asyncio.wait_for(relay.ready.wait(), 10)
    if before:
        await before(deps)
    if "bots" in roles:
        parts.append(asyncio.create_task(host.run()))
        async with asyncio.timeout(10):
            while any(a.platform == "loopback" and a.id not in network.listeners for a in stored):
                await asyncio.sleep(0.005)
    try:
        yield World(deps, network, host, relay, count(1))
    finally:
        for task in parts[::-1] + tasks:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

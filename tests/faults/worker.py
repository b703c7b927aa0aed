"""A process of the installation, to be killed: relay, bots or both, on accounts of tests/faults/service.py.

    python -m tests.faults.worker '{"roles": "relay bots", "process": "w1", "store": url, "service": path, …}'

``die_at`` (``complete:after:37``) ends it by SIGKILL at the 37th call of that script, before or after the store did it.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import signal
import sys
import time
from collections.abc import Sequence
from importlib.resources import files
from typing import Any

import msgspec
import structlog

import core.queues
import core.settling
from bots.host import Adapters, BotHost
from core import scripts
from core.contract import (
    AdapterError,
    AuthLost,
    Capabilities,
    Emit,
    Offline,
    Outbound,
    Platform,
    Receipt,
    Retry,
    RoomInfo,
    Services,
    Uncertain,
)
from core.deps import make_deps
from core.model import AccountId, Author, MessageNew, NativeId, PlatformId, RoomId, Text
from core.relay import Relay
from core.settings import Settings
from core.store import StoreDown, open_store
from tests.support.world import SECRET, StoredAccount

IDEMPOTENT = Capabilities(idempotent=True)
AUTH_RETRY_S = 1.0
SLOW = Capabilities(idempotent=True, rate_per_s=10.0, rate_burst=5)
PLAIN = Capabilities()


class Config:
    """No configuration: only its path to the service."""


class Line:
    """An account's connection to the service, made again whenever it breaks."""

    def __init__(self, account: AccountId, path: str, redelivers: bool, is_dated: bool) -> None:
        self.account = account
        self._is_dated = is_dated
        self._path = path
        self._redelivers = redelivers
        self._writer: asyncio.StreamWriter | None = None
        self._asked: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._count = 0
        self._batch = 0
        self._task: asyncio.Task[None] | None = None

    async def start(self, emit: Emit) -> None:
        self._task = asyncio.create_task(self._run(emit))

    async def stop(self) -> None:
        if self._task:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    def capabilities(self, room: RoomId) -> Capabilities:
        return PLAIN

    def room_info(self, room: RoomId) -> RoomInfo:
        return RoomInfo(room, room)

    async def _run(self, emit: Emit) -> None:
        while True:
            try:
                reader, self._writer = await asyncio.open_unix_connection(self._path, limit=1 << 20)
                self._write({"hello": self.account})
                emit.online()
                await self._listen(reader, emit)
            except OSError:
                await asyncio.sleep(0.05)
            except StoreDown:
                await asyncio.sleep(0.5)  # as any service that was told to come again
            finally:
                self._broken()

    def _broken(self) -> None:
        writer, self._writer = self._writer, None
        if writer:
            writer.close()
        for asked in self._asked.values():
            if not asked.done():
                asked.set_exception(Uncertain("the connection broke"))
        self._asked.clear()

    async def _listen(self, reader: asyncio.StreamReader, emit: Emit) -> None:
        acknowledging = asyncio.create_task(self._acknowledge(emit))
        self._newest, self._news = -1, asyncio.Event()
        try:
            while line := await reader.readline():
                message = msgspec.json.decode(line)
                if "event" in message:
                    emit(self._said(message))
                    self._newest = message["event"]
                    self._news.set()
                elif (asked := self._asked.pop(message["answer"], None)) and not asked.done():
                    asked.set_result(message)
                if acknowledging.done():
                    break
        finally:
            acknowledging.cancel()
            await asyncio.gather(acknowledging, return_exceptions=True)

    async def _acknowledge(self, emit: Emit) -> None:
        while True:
            await self._news.wait()
            self._news.clear()
            newest = self._newest
            while True:
                try:
                    await emit.accepted()
                    break
                except StoreDown:
                    if self._redelivers:
                        raise  # the line is made anew, and the service hands over again
            self._write({"ack": newest})

    def _said(self, message: dict[str, Any]) -> MessageNew:
        return MessageNew(
            room=RoomId(message["room"]),
            native=NativeId(f"m{message['event']}"),
            at_ms=time.time_ns() // 1_000_000 if self._is_dated else 0,
            author=Author("alice", "Alice"),
            text=Text(message["text"]),
        )

    def _write(self, message: dict[str, Any]) -> None:
        if self._writer is None or self._writer.is_closing():
            raise Offline(0.2, "no connection")
        self._writer.write(msgspec.json.encode(message) + b"\n")

    def _ask(self, what: str, outbound: Outbound) -> asyncio.Future[dict[str, Any]]:
        self._count += 1
        place = {"room": outbound.room, "batch": self._batch, "key": outbound.key}
        self._write({what: self._count, **place, "text": outbound.text.plain})
        asked = self._asked[self._count] = asyncio.get_running_loop().create_future()
        return asked

    async def send(self, outbound: Outbound) -> Receipt:
        self._batch += 1
        message = await self._ask("send", outbound)
        if refusal := _refusal(message):
            raise refusal
        return Receipt((NativeId(message["native"]),))


class KeyedLine(Line):
    """The service drops repeats."""

    def capabilities(self, room: RoomId) -> Capabilities:
        return IDEMPOTENT


class FindingLine(Line):
    """The service can be asked for a post."""

    async def find_sent(self, outbound: Outbound) -> Receipt | None:
        message = await self._ask("find", outbound)
        return Receipt((NativeId(message["native"]),)) if message["native"] else None


class StreamLine(Line):
    """Many posts under way; a busy room takes none of a batch that comes after a refused one."""

    async def send_stream(self, posts: Sequence[Outbound]) -> Sequence[Receipt | AdapterError]:
        self._batch += 1
        asked = [self._ask("send", post) for post in posts]
        results: list[Receipt | AdapterError] = []
        for future in asked:
            message = await future
            results.append(_refusal(message) or Receipt((NativeId(message["native"]),)))
        return results


class SlowLine(KeyedLine):
    """The service takes few posts: several messages become one."""

    def capabilities(self, room: RoomId) -> Capabilities:
        return SLOW


def _refusal(answer: dict[str, Any]) -> AdapterError | None:
    if "revoked" in answer:
        return AuthLost("the token was revoked")
    if "retry" not in answer:
        return None
    return Retry(answer["retry"], whole_account=answer.get("whole_account", False))


LINES = {"keyed": KeyedLine, "slow": SlowLine, "plain": Line, "finds": FindingLine, "stream": StreamLine}


def make_platform(kind: str, path: str, is_dated: bool) -> Platform:
    """The service as a platform of one kind."""

    def create(account: AccountId, config: Any, services: Services) -> Line:
        return LINES[kind](account, path, kind != "stream", is_dated)

    return Platform(
        id=PlatformId(kind),
        title=kind,
        config=Config,  # type: ignore[arg-type]
        create=create,
        from_target=lambda target: (target, None),
        redelivers=kind != "stream",
    )


def die_at(point: str) -> None:
    """End by SIGKILL at a named point."""
    name, when, count = point.split(":")
    left = int(count)
    call = scripts.Script.__call__
    sources = [file for file in files("core").iterdir() if file.name.endswith(".lua")]
    names = {
        hashlib.sha1(file.read_bytes(), usedforsecurity=False).hexdigest(): file.name.removesuffix(".lua")
        for file in sources
    }

    async def wrapped(self: Any, keys: list[str], args: list[Any]) -> Any:
        nonlocal left
        if names[self._sha] == name:
            left -= 1
            if left == 0 and when == "before":
                os.kill(os.getpid(), signal.SIGKILL)
        result = await call(self, keys, args)
        if names[self._sha] == name and left <= 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    scripts.Script.__call__ = wrapped  # type: ignore[method-assign]


async def main(order: dict[str, Any]) -> None:
    """Run until ended."""
    if order.get("die_at"):
        die_at(order["die_at"])
    core.queues.IN_MEMORY = order["in_memory"]
    core.queues.KEPT_PER_ROOM = max(1, order["in_memory"] // 20)
    store = open_store(order["store"])
    core.settling.AUTH_RETRY_S = AUTH_RETRY_S
    settings = Settings(
        secret_key=SECRET,
        shards=order["shards"],
        lease_ms=order["lease_ms"],
        send_timeout_s=5.0,
        notice_after_s=order["notice_after_s"],
    )
    deps = make_deps(store, settings, order["shards"], order["process"], "http://127.0.0.1:8080")
    accounts = [StoredAccount(AccountId(name), PlatformId(kind), None) for name, kind in order["accounts"].items()]
    platforms = {kind: make_platform(kind, order["service"], order["is_dated"]) for kind in LINES}

    async def list_accounts() -> list[StoredAccount]:
        return accounts

    adapters = Adapters(deps, list_accounts, lambda name: platforms[name])
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(deps.journals.keep())
        tasks.create_task(deps.ingest.run())
        if "relay" in order["roles"]:
            tasks.create_task(Relay(deps).run())
        if "bots" in order["roles"]:
            tasks.create_task(BotHost(deps, list_accounts, adapters).run())
        sys.stdout.write("up\n")
        sys.stdout.flush()


if __name__ == "__main__":
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    import uvloop

    uvloop.run(main(json.loads(sys.argv[1])))

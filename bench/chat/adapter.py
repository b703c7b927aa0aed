"""The service as a platform of bridgebot, with every feature there is.

Events come on one connection, which is not read while the store has not taken what came; posts go out on another.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Sequence
from typing import Any, cast

import msgspec

from bench.chat.frames import Frame, Unpacker, pack
from core.contract import (
    AdapterError,
    Capabilities,
    Emit,
    Hears,
    Offline,
    Outbound,
    Platform,
    Receipt,
    RoomInfo,
    Services,
    Uncertain,
)
from core.model import (
    AccountId,
    Author,
    FileRef,
    MessageDeleted,
    MessageEdited,
    MessageNew,
    NativeId,
    PlatformEvent,
    PlatformId,
    Reaction,
    RoomId,
    Text,
    native_room,
    room_id,
)
from core.store import StoreDown

CHUNK_BYTES = 65_536
RETRY_S = 0.05
SOMEBODY = Author("p1", "Person")
CAPABILITIES = Capabilities(
    edit="full",
    delete="full",
    reaction="full",
    file="full",
    names="full",
    text_limit=4_000,
    file_limit_bytes=100_000_000,
    idempotent=True,
)


class ChatConfig(msgspec.Struct, frozen=True):
    """Where the service listens, and who we are there."""

    path: str
    name: str
    stream: bool = False
    """Many posts under way at once, as on IRC and XMPP; otherwise one per room, as with a service over HTTP."""


class Chat:
    """One account on the service."""

    def __init__(self, account: AccountId, config: ChatConfig, services: Services) -> None:
        self.account = account
        self._path = config.path
        self._rooms: dict[str, RoomId] = {}
        self._asked: dict[int, asyncio.Future[Sequence[str]]] = {}
        self._count = 0
        self._out: list[bytes] = []
        self._writer: asyncio.StreamWriter | None = None
        self._task: asyncio.Task[None] | None = None

    async def start(self, emit: Emit) -> None:
        """Connect, and stay connected."""
        self._task = asyncio.create_task(self._stay(emit))

    async def stop(self) -> None:
        """Disconnect."""
        if self._task:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    def capabilities(self, room: RoomId) -> Capabilities:
        """Everything, in every room."""
        return CAPABILITIES

    def room_info(self, room: RoomId) -> RoomInfo:
        """The room under its id."""
        return RoomInfo(room, native_room(room), "Bench")

    # --- posting

    async def send(self, outbound: Outbound) -> Receipt:
        """Post it; a file goes on a connection of its own."""
        for file in outbound.files:
            return Receipt(_natives(await self._put(outbound.room, file.name, file.open())))
        return await self._ask("send", native_room(outbound.room), outbound.text.plain, outbound.key)

    async def edit(self, natives: Sequence[NativeId], outbound: Outbound) -> Receipt:
        """Give a post another text."""
        return await self._ask("edit", native_room(outbound.room), natives[0], outbound.text.plain)

    async def delete(self, room: RoomId, natives: Sequence[NativeId]) -> None:
        """Take posts away."""
        await self._ask("delete", native_room(room), list(natives))

    async def react(self, room: RoomId, native: NativeId, emoji: str, added: bool, author: Author) -> None:
        """React."""
        await self._ask("react", native_room(room), native, emoji)

    async def open_file(self, ref: str) -> AsyncIterator[bytes]:
        """Stream ``ref`` bytes."""
        reader, writer = await asyncio.open_unix_connection(self._path)
        try:
            writer.write(pack(["get", int(ref)]))
            left = int(ref)
            while left and (chunk := await reader.read(min(CHUNK_BYTES, left))):
                left -= len(chunk)
                yield chunk
        finally:
            writer.close()

    async def _put(self, room: RoomId, name: str, chunks: AsyncIterator[bytes]) -> Sequence[str]:
        reader, writer = await asyncio.open_unix_connection(self._path)
        try:
            writer.write(pack(["put", native_room(room), name]))
            async for chunk in chunks:
                writer.write(chunk)
                await writer.drain()
            writer.write_eof()
            frames = Unpacker().feed(await reader.read())
        finally:
            writer.close()
        if not frames:
            raise Uncertain("the connection broke in the middle of a file")
        natives: Sequence[str] = frames[0][2]
        return natives

    async def _ask(self, kind: str, *what: Any) -> Receipt:
        if self._writer is None:
            raise Offline(RETRY_S, "not connected")
        self._count += 1
        future = self._asked[self._count] = asyncio.get_running_loop().create_future()
        if not self._out:
            asyncio.get_running_loop().call_soon(self._flush)
        self._out.append(pack([kind, self._count, *what]))
        return Receipt(_natives(await future))

    def _flush(self) -> None:
        data, self._out = b"".join(self._out), []
        if self._writer is not None:
            self._writer.write(data)

    # --- listening

    async def _stay(self, emit: Emit) -> None:
        while True:
            with contextlib.suppress(OSError, StoreDown):
                events, out = await asyncio.open_unix_connection(self._path, limit=CHUNK_BYTES)
                answers, self._writer = await asyncio.open_unix_connection(self._path, limit=CHUNK_BYTES)
                try:
                    out.write(pack(["hello", self.account]))
                    emit.online()
                    async with asyncio.TaskGroup() as tasks:
                        tasks.create_task(self._answers(answers))
                        await self._events(events, out, emit)
                        raise OSError("closed")
                except* (OSError, StoreDown):
                    pass
                finally:
                    self._broken(out)
            await asyncio.sleep(RETRY_S)

    def _broken(self, out: asyncio.StreamWriter) -> None:
        writer, self._writer = self._writer, None
        for closing in filter(None, (out, writer)):
            closing.close()
        for future in self._asked.values():
            if not future.done():
                future.set_exception(Uncertain("the connection broke"))
        self._asked.clear()

    async def _answers(self, reader: asyncio.StreamReader) -> None:
        unpacker = Unpacker()
        while data := await reader.read(CHUNK_BYTES):
            for _, number, natives in unpacker.feed(data):
                future = self._asked.pop(number, None)
                if future and not future.done():
                    future.set_result(natives)
        raise OSError("closed")

    async def _events(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, emit: Emit) -> None:
        unpacker = Unpacker()
        while data := await reader.read(CHUNK_BYTES):
            now_ms = time.time_ns() // 1_000_000
            frames = unpacker.feed(data)
            for frame in frames:
                emit(self._event(frame, now_ms))
            await emit.accepted()
            writer.write(pack(["ack", len(frames)]))

    def _event(self, frame: Frame, now_ms: int) -> PlatformEvent:
        kind, native_room_id, native, *rest = frame
        room = self._rooms.get(native_room_id)
        if room is None:
            room = self._rooms[native_room_id] = room_id(self.account, native_room_id)
        where: dict[str, Any] = {"room": room, "native": NativeId(native), "at_ms": now_ms}
        if kind == "new":
            return MessageNew(author=SOMEBODY, text=Text(rest[0]), **where)
        if kind == "file":
            file = FileRef(self.account, str(rest[0]), "file.bin", size_bytes=rest[0])
            return MessageNew(author=SOMEBODY, text=Text(""), files=(file,), **where)
        target = NativeId(rest[0])
        if kind == "edit":
            return MessageEdited(target=target, author=SOMEBODY, text=Text(rest[1]), **where)
        if kind == "delete":
            return MessageDeleted(target=target, author=SOMEBODY, **where)
        return Reaction(target=target, author=SOMEBODY, emoji=rest[1], **where)


class StreamChat(Chat):
    """The same, as one ordered stream."""

    async def send_stream(self, posts: Sequence[Outbound]) -> Sequence[Receipt | AdapterError]:
        """Post all of them in order; they are confirmed together."""
        results = await asyncio.gather(*map(self.send, posts), return_exceptions=True)
        for result in results:
            if isinstance(result, BaseException) and not isinstance(result, AdapterError):
                raise result
        return cast("list[Receipt | AdapterError]", results)


def create(account: AccountId, config: ChatConfig, services: Services) -> Chat:
    """An account of the kind that its configuration asks for."""
    return (StreamChat if config.stream else Chat)(account, config, services)


def _natives(natives: Sequence[str]) -> tuple[NativeId, ...]:
    return tuple(map(NativeId, natives))


def from_target(target: str) -> tuple[str, ChatConfig]:
    """``PATH#NAME``: the account NAME on the service that listens at PATH; ``PATH#NAME+stream``: as a stream."""
    path, _, name = target.rpartition("#")
    name, _, stream = name.partition("+")
    return name, ChatConfig(path, name, bool(stream))


PLATFORM = Platform(
    id=PlatformId("bench"),
    title="Bench",
    config=ChatConfig,
    create=create,
    from_target=from_target,
    target_help="PATH#NAME[+stream]",
    hears=Hears(edit="full", delete="full", reaction="full", file="full"),
)

"""The floor: hands what it hears in room ``a<N>`` to room ``b<N>``, and the other way round. It keeps nothing.

    python -m bench.chat.bare PATH FANOUT ACCOUNT…

FANOUT 1: pairs. More: what is said in ``a0`` goes to ``b0`` … ``b<FANOUT-1>``.
"""

from __future__ import annotations

import asyncio
import sys

import uvloop

from bench.chat.frames import Frame, Unpacker, pack

CHUNK_BYTES = 65_536
OTHER = {"a": "b", "b": "a"}


class Bare:
    """All accounts; one connection to post on."""

    def __init__(self, path: str, fanout: int) -> None:
        self._path = path
        self._fanout = fanout
        self._natives: dict[tuple[str, str], str] = {}
        """What a message became: enough for edits, deletions and reactions."""
        self._asked: dict[int, tuple[str, str]] = {}
        self._count = 0

    async def run(self, accounts: list[str]) -> None:
        """Relay until ended."""
        reader, self._writer = await asyncio.open_unix_connection(self._path)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._answers(reader))
            for account in accounts:
                tasks.create_task(self._events(account))

    async def _answers(self, reader: asyncio.StreamReader) -> None:
        unpacker = Unpacker()
        while data := await reader.read(CHUNK_BYTES):
            for _, number, natives in unpacker.feed(data):
                if asked := self._asked.pop(number, None):
                    self._natives[asked] = natives[0]

    async def _events(self, account: str) -> None:
        reader, writer = await asyncio.open_unix_connection(self._path)
        writer.write(pack(["hello", account]))
        unpacker = Unpacker()
        while data := await reader.read(CHUNK_BYTES):
            out = []
            for frame in unpacker.feed(data):
                if frame[0] == "file":
                    await self._file(*frame[1:])
                else:
                    out += self._relay(frame)
            self._writer.write(b"".join(out))
            await self._writer.drain()

    def _relay(self, frame: Frame) -> list[bytes]:
        kind, room, native, *rest = frame
        side, number = OTHER[room[0]], room[1:]
        if kind == "new":
            targets = [side + number] if self._fanout == 1 else [f"{side}{at}" for at in range(self._fanout)]
            return [self._ask("send", target, rest[0], native, about=(target, native)) for target in targets]
        target, post = side + number, self._natives.get((side + number, rest[0]), "")
        if kind == "edit":
            return [self._ask("edit", target, post, rest[1])]
        if kind == "delete":
            return [self._ask("delete", target, [post])]
        return [self._ask("react", target, post, rest[1])]

    def _ask(self, kind: str, *what: object, about: tuple[str, str] | None = None) -> bytes:
        self._count += 1
        if about:
            self._asked[self._count] = about
        return pack([kind, self._count, *what])

    async def _file(self, room: str, native: str, size: int) -> None:
        source, asking = await asyncio.open_unix_connection(self._path)
        asking.write(pack(["get", size]))
        reader, writer = await asyncio.open_unix_connection(self._path)
        writer.write(pack(["put", OTHER[room[0]] + room[1:], "file.bin"]))
        while size and (chunk := await source.read(min(CHUNK_BYTES, size))):
            size -= len(chunk)
            writer.write(chunk)
            await writer.drain()
        writer.write_eof()
        await reader.read()
        writer.close()
        asking.close()


if __name__ == "__main__":
    uvloop.run(Bare(sys.argv[1], int(sys.argv[2])).run(sys.argv[3:]))

"""The chat service, in the harness's process: says what people say, and counts what arrives."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from time import perf_counter_ns
from typing import NamedTuple

from bench.chat.frames import Frame, Unpacker, pack
from bench.tally import Tally, Tube

CHUNK_BYTES = 65_536
CHUNK = bytes(CHUNK_BYTES)
MARK = re.compile(r"~(\w+),(\d+),(\d+)~").finditer

OnPost = Callable[[str, str, str, str, int], None]
"""Takes what was done (``send``, ``edit`` …), the room, the post's id, its text, and when it came
(``perf_counter_ns``)."""


class Layout(NamedTuple):
    """Which rooms there are: ``a<N>`` on the accounts ``left…``, ``b<N>`` on the accounts ``right…``."""

    pairs: int = 0
    """Tubes ``a<N>`` – ``b<N>``."""
    star: int = 0
    """One sameroom of so many rooms: ``a0``, and ``b<N>`` around it."""
    idle_rooms: int = 0
    """Rooms that the relay knows and that have no tube."""
    accounts: int = 1
    """On each side; the rooms are shared out among them."""
    stream: bool = False
    """Accounts may have many posts under way at once; otherwise one per room."""
    redelivers: bool = False
    """What was not acknowledged is handed over again, and a post with a key that was there is not made twice."""

    def links(self) -> list[tuple[str, str]]:
        """The two rooms of every tube."""
        star = [("a0", f"b{number}") for number in range(self.star - 1)] if self.star else []
        return [(f"a{number}", f"b{number}") for number in range(self.pairs)] + star

    def tubes(self) -> list[Tube]:
        """Where is said what, and where it is to be heard: from left to right."""
        if self.star:
            return [Tube("a0", tuple(f"b{number}" for number in range(self.star - 1)))]
        return [Tube(a, (b,)) for a, b in self.links()]

    def account(self, room: str) -> str:
        """The account that a room is on."""
        return f"{'left' if room[0] == 'a' else 'right'}{int(room[1:]) % self.accounts}"

    def names(self) -> list[str]:
        """All accounts."""
        return [f"{side}{number}" for side in ("left", "right") for number in range(self.accounts)]


class Service:
    """Listens on a Unix socket; every account that is to be heard has said hello on a connection of its own."""

    def __init__(self, path: Path, layout: Layout) -> None:
        self.path = path
        self.layout = layout
        self._kept: dict[str, deque[bytes]] = {name: deque() for name in layout.names()}
        """Account → events that are handed over again to whoever connects next."""
        self._keys: dict[str, str] = {}
        """Key → the post that was made with it."""
        self.tallies: dict[str, Tally] = {}
        """By their tags: whose marks arrive here is counted there."""
        self.on_post: list[OnPost] = []
        self.file_bytes = 0
        """Bytes of files that have arrived."""
        self.files = 0
        """Files that have arrived."""
        self.changed = asyncio.Event()
        self._lines: dict[str, asyncio.StreamWriter] = {}
        self._posts = 0
        self._serving: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Listen."""
        self._server = await asyncio.start_unix_server(self._serve, self.path, limit=CHUNK_BYTES)

    async def stop(self) -> None:
        """Close everything."""
        self._server.close()
        for task in self._serving:
            task.cancel()
        await asyncio.gather(*self._serving, return_exceptions=True)
        self.path.unlink(missing_ok=True)

    async def all_here(self) -> None:
        """Wait until every account is connected."""
        while not self._lines.keys() >= set(self.layout.names()):
            self.changed.clear()
            await self.changed.wait()

    # --- what people do

    def do(self, frames: Sequence[Frame]) -> None:
        """People do things: each frame has its room in second place. What nobody listens to is gone."""
        per_account: dict[str, list[bytes]] = {}
        for frame in frames:
            per_account.setdefault(self.layout.account(frame[1]), []).append(pack(frame))
        for account, packed in per_account.items():
            if self.layout.redelivers:
                self._kept[account].extend(packed)
            if line := self._lines.get(account):
                line.write(b"".join(packed))

    async def drained(self) -> None:
        """Wait while those who listen take no more."""
        for line in list(self._lines.values()):
            with contextlib.suppress(OSError):
                await line.drain()

    # --- what the bridge does

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task
        self._serving.add(task)
        unpacker = Unpacker()
        account = ""
        try:
            while data := await reader.read(CHUNK_BYTES):
                answers, now_ns = [], perf_counter_ns()
                for frame in unpacker.feed(data):
                    if frame[0] == "hello":
                        account = frame[1]
                        self._lines[account] = writer
                        writer.write(b"".join(self._kept[account]))
                        self.changed.set()
                    elif frame[0] == "ack":
                        self._acked(account, frame[1])
                    elif frame[0] == "get":
                        await _give(writer, frame[1])
                    elif frame[0] == "put":
                        answers.append(await self._take(reader, unpacker.rest()))
                    else:
                        answers.append(self._post(frame, now_ns))
                if answers:
                    writer.write(b"".join(answers))
                    await writer.drain()
        except OSError:
            pass
        finally:
            self._serving.discard(task)
            if self._lines.get(account) is writer:
                del self._lines[account]
            writer.close()

    def _acked(self, account: str, count: int) -> None:
        kept = self._kept[account]
        for _ in range(min(count, len(kept))):
            kept.popleft()

    def _post(self, frame: Frame, now_ns: int) -> bytes:
        kind, number, room = frame[:3]
        if kind == "send":
            if self.layout.redelivers and (before := self._keys.get(frame[4])):
                return pack(["ok", number, [before]])
            self._posts += 1
            native, text = f"p{self._posts}", frame[3]
            if self.layout.redelivers:
                self._keys[frame[4]] = native
        else:
            native, text = (frame[3][0] if kind == "delete" else frame[3]), frame[4] if kind == "edit" else ""
        for tag, line, sent_ns in (mark.groups() for mark in MARK(text)):
            if tally := self.tallies.get(tag):
                tally.note(room.encode(), int(line), int(sent_ns), now_ns)
        for listener in self.on_post:
            listener(kind, room, native, text, now_ns)
        return pack(["ok", number, [native]])

    async def _take(self, reader: asyncio.StreamReader, first: bytes) -> bytes:
        self.file_bytes += len(first)
        while chunk := await reader.read(CHUNK_BYTES):
            self.file_bytes += len(chunk)
        self.files += 1
        self._posts += 1
        self.changed.set()
        return pack(["ok", 0, [f"p{self._posts}"]])


async def _give(writer: asyncio.StreamWriter, size: int) -> None:
    while size:
        writer.write(CHUNK[:size])
        size -= min(size, CHUNK_BYTES)
        await writer.drain()

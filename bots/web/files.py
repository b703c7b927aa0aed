"""Files that guests share: pieces in the store, with an expiry, under names nobody can guess."""

from __future__ import annotations

import mimetypes
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any, cast

import msgspec

from bots.web.names import clean_file_name
from bots.web.wire import FileView

if TYPE_CHECKING:
    from bots.web import WebConfig
    from bots.web.rooms import Rooms
    from core.contract import Services

PIECE_BYTES = 256 * 1024
MAGIC = (
    (b"\x89PNG\r\n\x1a\n", 0, "image/png"),
    (b"\xff\xd8\xff", 0, "image/jpeg"),
    (b"GIF87a", 0, "image/gif"),
    (b"GIF89a", 0, "image/gif"),
    (b"WEBP", 8, "image/webp"),
)
PICTURES = frozenset(mime for _, _, mime in MAGIC)


class TooBig(Exception):
    """More bytes than a guest may share; the message says how many are allowed."""


class Shared(msgspec.Struct, frozen=True, kw_only=True):
    """A shared file. ``mime`` is by the bytes for pictures, by the name otherwise."""

    id: str
    room: str
    by: str
    name: str
    mime: str
    size_bytes: int
    pieces: int

    @property
    def picture(self) -> bool:
        """May a browser show it in the page?"""
        return self.mime in PICTURES

    def view(self) -> FileView:
        """How pages know it."""
        from urllib.parse import quote

        return FileView(f"f/{self.id}/{quote(self.name, safe='')}", self.name, self.size_bytes, self.picture)


class SharedFiles:
    """The shared files of one account. Every method may raise a redis error."""

    def __init__(self, services: Services, config: WebConfig, rooms: Rooms) -> None:
        self._store = services.store
        self._key = services.key
        self._random_id = services.random_id
        self._config = config
        self._rooms = rooms
        self._life_s = config.file_days * 86_400

    async def add(self, room: str, by: str, name: str, source: AsyncIterator[bytes]) -> Shared:
        """Keep a file of any size up to the limit; never more than a piece is in memory.

        Raises TooBig, TooFast. What was kept of a file that failed is taken away again.
        """
        file = self._random_id()
        size = pieces = 0
        head = b""
        try:
            async for piece in _pieces(source):
                size += len(piece)
                if size > self._config.max_file_bytes:
                    raise TooBig(f"Files may have at most {self._config.max_file_bytes // 1024} KiB.")
                await self._charge(room, len(piece))
                head = head or piece[:16]
                await self._store.set(self._key("piece", file, str(pieces)), piece, ex=self._life_s)
                pieces += 1
            name = clean_file_name(name)
            mime = kind_of(head, name)
            shared = Shared(id=file, room=room, by=by, name=name, mime=mime, size_bytes=size, pieces=pieces)
            await self._store.set(self._key("file", file), msgspec.json.encode(shared), ex=self._life_s)
        except BaseException:
            await self._remove(file, pieces)
            raise
        return shared

    async def _charge(self, room: str, size: int) -> None:
        day = self._config.upload_bytes_per_day
        await self._rooms.take("upload", room, per_minute=day / 1440, burst=day / 4, cost=size)
        await self._rooms.take("upload", per_minute=day / 1440, burst=day, cost=size)

    async def remove(self, file: str) -> None:
        """Take a file away; one that is gone already is no error."""
        shared = await self.get(file)
        if shared is not None:
            await self._remove(file, shared.pieces)

    async def _remove(self, file: str, pieces: int) -> None:
        keys = [self._key("file", file), *(self._key("piece", file, str(i)) for i in range(pieces + 1))]
        await self._store.delete(*keys)

    async def get(self, file: str) -> Shared | None:
        """What is known of a file; None when it is gone."""
        raw = await self._store.get(self._key("file", file))
        return None if raw is None else msgspec.json.decode(raw, type=Shared)

    async def read(self, shared: Shared) -> AsyncIterator[bytes]:
        """The bytes, piece by piece. Raises KeyError when a piece is gone."""
        for index in range(shared.pieces):
            piece = await cast("Any", self._store.get(self._key("piece", shared.id, str(index))))
            if piece is None:
                raise KeyError(shared.id)
            yield piece


async def _pieces(source: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    held = bytearray()
    async for chunk in source:
        held += chunk
        while len(held) >= PIECE_BYTES:
            yield bytes(held[:PIECE_BYTES])
            del held[:PIECE_BYTES]
    if held:
        yield bytes(held)


def kind_of(head: bytes, name: str) -> str:
    """A picture's type is what its bytes say, never its name; other types are only a hint for other rooms."""
    for magic, at, mime in MAGIC:
        if head[at : at + len(magic)] == magic:
            return mime
    guessed = mimetypes.guess_type(name)[0] or "application/octet-stream"
    return "application/octet-stream" if guessed.startswith("image/") else guessed

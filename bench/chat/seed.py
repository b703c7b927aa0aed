"""Puts rooms, tubes and accounts into a store, as they would be after people had made them one by one."""

from __future__ import annotations

import secrets
import zlib
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from bench.chat.adapter import ChatConfig
from bench.chat.service import Layout
from core import keys
from core.accounts import Accounts
from core.deps import wall_clock_ms
from core.embedded import EmbeddedStore, prepare_folder
from core.model import AccountId, PlatformId, RoomId, room_id
from core.settings import Settings
from core.store import Redis, open_store
from core.wire import RoomState, Tube, encode

AT_ONCE = 2_000
CREATED_AT_MS = 1_700_000_000_000


class Sizes(NamedTuple):
    """What was put in, in bytes of the records and their names: no store can hold it in less."""

    rooms_bytes: int = 0
    tubes_bytes: int = 0


async def seed_folder(folder: Path, layout: Layout) -> Sizes:
    """Seed the embedded store of a data folder that nobody uses yet."""
    prepare_folder(folder)
    embedded = EmbeddedStore(folder)
    await embedded.start()
    try:
        return await seed(embedded.url, layout)
    finally:
        await embedded.stop()


async def seed(url: str, layout: Layout) -> Sizes:
    """Seed a store."""
    store = open_store(url, max_connections=2)
    try:
        rooms_bytes = tubes_bytes = 0
        rows = _rows(layout, Settings().shards)
        while batch := list(islice(rows, AT_ONCE)):
            pipeline = store.pipeline(transaction=False)
            for kind, key, name, record in batch:
                pipeline.hset(key, name, record)
                size_bytes = len(name) + len(record)
                rooms_bytes += size_bytes if kind == "room" else 0
                tubes_bytes += size_bytes if kind == "tube" else 0
            await pipeline.execute()
        return Sizes(rooms_bytes, tubes_bytes)
    finally:
        await store.aclose()


async def add_accounts(url: str, layout: Layout, path: Path) -> None:
    """The accounts of a layout, as ``bridgebot accounts add`` would store them. They have no secrets."""
    store: Redis = open_store(url, max_connections=2)
    try:
        accounts = Accounts(store, secrets.token_hex(32), wall_clock_ms)
        for name in layout.names():
            await accounts.add(name, PlatformId("bench"), ChatConfig(str(path), name, layout.stream))
    finally:
        await store.aclose()


def _rows(layout: Layout, shards: int) -> Iterator[tuple[str, str, str, bytes]]:
    """Kind, key, field and value of everything that is stored."""

    def home(room: RoomId) -> int:
        return zlib.crc32(room.encode()) % shards

    def full(name: str) -> RoomId:
        return room_id(AccountId(layout.account(name)), name)

    def stored(name: str, shard: int) -> Iterator[tuple[str, str, str, bytes]]:
        room = full(name)
        yield "room", keys.rooms(keys.shard_tag(shard)), room, encode(RoomState(room, f"#{name}", "Bench"))
        if home(room) != shard:
            yield "room", keys.moved(keys.shard_tag(home(room))), room, str(shard).encode()

    seen: set[str] = set()
    for number, (a, b) in enumerate(layout.links()):
        shard = home(full(a))
        for name in (a, b):
            if name not in seen:
                seen.add(name)
                yield from stored(name, shard)
        tube = Tube(f"t{number:06d}", full(a), full(b), created_by="Person", created_at_ms=CREATED_AT_MS)
        yield "tube", keys.tubes(keys.shard_tag(shard)), tube.id, encode(tube)
    for number in range(layout.idle_rooms):
        name = f"a{number + layout.pairs}"
        yield from stored(name, home(full(name)))

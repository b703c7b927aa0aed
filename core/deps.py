"""What the relay's parts share in one process: the store and what is built on it. Passed in, never global."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from codes.links import Links
from codes.pairing import GuessLimits, PairingCodes
from core import keys
from core.idmap import IdMap
from core.ingest import Ingest
from core.journal import Journals
from core.model import RoomId
from core.settings import Settings
from core.store import Redis


def wall_clock_ms() -> int:
    """Unix time in milliseconds."""
    return time.time_ns() // 1_000_000


def random_id() -> str:
    """A new unguessable id: 128 bits in hexadecimal."""
    return secrets.token_hex(16)


@dataclass(frozen=True)
class Deps:
    """One process's view of the installation."""

    store: Redis
    settings: Settings
    shards: int
    journals: Journals
    ingest: Ingest
    codes: PairingCodes
    links: Links
    ids: IdMap
    public_url: str
    now_ms: Callable[[], int] = field(default=wall_clock_ms)
    random_id: Callable[[], str] = field(default=random_id)

    async def locate(self, room: RoomId) -> int | None:
        """The shard that has ``room`` now; None while it is on its way (or seems to go in a circle: it is on its way
        back, and its pointers are not all set yet).
        """
        shard = self.ingest.home(room)
        for _ in range(self.shards + 1):
            where = await self.store.hget(keys.moved(keys.shard_tag(shard)), room)
            if where is None:
                return shard
            if where == b"*":
                return None
            shard = int(where)
        return None


def make_deps(
    store: Redis,
    settings: Settings,
    shards: int,
    process: str,
    public_url: str,
    now_ms: Callable[[], int] = wall_clock_ms,
) -> Deps:
    """Build everything on one store. ``settings.secret_key`` must be set."""
    journals = Journals(store, settings, process)
    limits = GuessLimits(
        per_person=settings.code_guesses_per_person,
        per_room=settings.code_guesses_per_room,
        overall=settings.code_guesses_overall,
        window_s=settings.guess_window_s,
    )
    return Deps(
        store=store,
        settings=settings,
        shards=shards,
        journals=journals,
        ingest=Ingest(journals, shards),
        codes=PairingCodes(store, settings.secret_key, now_ms=now_ms, ttl_s=settings.code_ttl_s, limits=limits),
        links=Links(store, settings.secret_key, now_ms=now_ms),
        ids=IdMap(store, settings.id_map_days),
        public_url=public_url,
        now_ms=now_ms,
    )

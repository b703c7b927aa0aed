"""The id map: what a message became in each room, so that edits, deletions, replies and reactions find it.

It lives in the store, in one hash per room and week, with a life of ``id_map_days``; nothing is kept in memory.
A lookup goes back from this week to the last one that is still alive, in one round trip.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Iterable
from typing import Any

from msgspec.structs import replace

from core import keys
from core.model import AccountId, MessageId, NativeId, RoomId, account_of, message_id
from core.scripts import Script
from core.store import Redis
from core.wire import Folded, Posted, decode_folded, decode_posted, encode

BUCKET_MS = 7 * 86_400_000
EVERY_ROOM = "*"
"""Stands for a room in the name of the hash that rooms of an account share."""


class IdMap:
    """Reads the id map of any account; writing is part of completing a post (see :meth:`fields`)."""

    def __init__(self, store: Redis, days: int) -> None:
        self._store = store
        self._buckets = math.ceil(days / 7) + 1
        self.life_s = (days + 7) * 86_400
        self._find = Script(store, "find")

    def key(self, room: RoomId, now_ms: int) -> str:
        """The hash that a post made now goes into."""
        return self.key_of_week(room, now_ms // BUCKET_MS)

    @staticmethod
    def key_of_week(room: RoomId, week: int) -> str:
        """The hash of the posts of a week."""
        return keys.ids(keys.account_tag(account_of(room)), room, week)

    @staticmethod
    def fold_id(now_ms: int, key: str) -> str:
        """The id of a post of several messages made now. It says where its record is, which stays there: a change
        leaves nothing of what was before.
        """
        return f"{now_ms // BUCKET_MS}:{key}"

    @staticmethod
    def week_of(fold: str) -> int:
        """The week whose hash has the record of a post of several."""
        return int(fold.partition(":")[0])

    def shared_key(self, account: AccountId, now_ms: int) -> str:
        """The hash for a message that went to several rooms of an account and has no ids there."""
        return keys.ids(keys.account_tag(account), RoomId(EVERY_ROOM), now_ms // BUCKET_MS)

    @staticmethod
    def fields(message: MessageId, posted: Posted) -> list[Any]:
        """Fields and values that record a post: both ways."""
        values: list[Any] = ["m" + message, encode(posted)]
        for native in posted.natives:
            values += ("n" + native, message)
        return values

    @staticmethod
    def folded_fields(fold: str, folded: Folded) -> list[Any]:
        """Fields and values that record a post of several messages. An answer to it is taken for one to its last."""
        values: list[Any] = ["f" + fold, encode(folded)]
        if folded.lines:
            for native in folded.natives:
                values += ("n" + native, folded.lines[-1].message)
        return values

    async def _newest(self, asked: Iterable[tuple[RoomId, str, RoomId]], now_ms: int) -> list[bytes | None]:
        """The newest value of each (room of the account, field, room that names the hash)."""
        by_tag: dict[str, list[int]] = {}
        questions = [(keys.account_tag(account_of(room)), field, named) for room, field, named in asked]
        for place, (tag, _, _) in enumerate(questions):
            by_tag.setdefault(tag, []).append(place)
        week = now_ms // BUCKET_MS
        found: list[bytes | None] = [None] * len(questions)
        weeks = range(week, week - self._buckets, -1)

        async def look(tag: str, places: list[int]) -> None:
            names, args = [], []
            for place in places:
                _, field, named = questions[place]
                names += [keys.ids(tag, named, each) for each in weeks]
                args += [field, self._buckets]
            for place, value in zip(places, await self._find(names, args), strict=True):
                found[place] = value

        await asyncio.gather(*(look(tag, places) for tag, places in by_tag.items()))
        return found

    async def posted(self, asked: Iterable[tuple[RoomId, MessageId]], now_ms: int) -> list[Posted | None]:
        """What each message became in each room."""
        asked = list(asked)
        own = [(room, "m" + message, room) for room, message in asked]
        shared = [(room, "m" + message, RoomId(EVERY_ROOM)) for room, message in asked]
        found = await self._newest(own + shared, now_ms)
        records = [decode_posted(value) if value else None for value in found]
        answers = zip(asked, records[: len(asked)], records[len(asked) :], strict=True)
        posted = [alone or (all_ if all_ and room in all_.rooms else None) for (room, _), alone, all_ in answers]
        folds = [(room, each.fold) for (room, _), each in zip(asked, posted, strict=True) if each and each.fold]
        if not folds:
            return posted
        known = dict(zip(folds, await self.folded(folds), strict=True))
        return [
            replace(each, natives=fold.natives) if each and (fold := known.get((room, each.fold))) else each
            for (room, _), each in zip(asked, posted, strict=True)
        ]

    async def folded(self, asked: Iterable[tuple[RoomId, str]]) -> list[Folded | None]:
        """The posts of several messages, by room and fold."""
        pipeline = self._store.pipeline(transaction=False)
        for room, fold in asked:
            pipeline.hget(self.key_of_week(room, self.week_of(fold)), "f" + fold)
        return [decode_folded(value) if value else None for value in await pipeline.execute()]

    async def messages(self, asked: Iterable[tuple[RoomId, NativeId]], now_ms: int) -> list[tuple[MessageId, bool]]:
        """The message behind each native id in each room, and whether it is one that we posted there."""
        asked = list(asked)
        found = await self._newest(((room, "n" + native, room) for room, native in asked), now_ms)
        return [
            (MessageId(value.decode()), True) if value else (message_id(room, native), False)
            for (room, native), value in zip(asked, found, strict=True)
        ]

"""Journals: durable queues with one owner, the only way from one part of the relay to the next.

A journal's entries are numbered 1, 2, 3 … by the script that appends them. Its owner holds a lease with an
epoch, reads the entries in order, and takes them out when they are done; a new owner finds all that is left.
Because the numbers have no gaps, an appender in the owner's own process may hand entries over in memory after
the append is confirmed: whatever does not follow on directly is read from the store instead.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Generic, Literal, TypeVar

import msgspec
import structlog

from core import keys
from core.model import RoomId
from core.scripts import Script
from core.settings import Settings
from core.store import TRANSIENT, Redis, StoreDown, entries, insist, is_one_slot
from core.wire import DeadLetter, encode

log = structlog.get_logger()
Record = TypeVar("Record")

HAND_OVER_MAX = 2_000
"""Entries kept in memory per journal; what comes beyond is read from the store when its turn comes."""


class LeaseLost(Exception):
    """Somebody else owns the journal now, or may soon: stop at once, finish nothing."""


class Tail(Generic[Record]):
    """The owner's view of one journal."""

    def __init__(self, tag: str, decode: Callable[[bytes], Record]) -> None:
        self.tag = tag
        self.decode = decode
        self.epoch = 0
        self.inherited = 0
        """Newest entry when the lease was taken: an owner before us can have begun nothing that is newer."""
        self.marked = 0
        """Entries up to this id were appended by this process, which marked them as under way in the same step."""
        self.newest = 0
        """Newest id known to be in the store."""
        self.broken: list[tuple[int, bytes]] = []
        """Entries that could not be decoded; :meth:`Journals.bury_broken` takes them out."""
        self._end = 0
        """Every entry up to this id was handed to the reader or lies in ``_items``."""
        self._items: deque[tuple[int, Record]] = deque()
        self._behind = True
        self._reading = False
        self._poked = False
        """Somebody appended who does not say how far."""
        self._wake = asyncio.Event()
        self.taker: Callable[[], None] | None = None
        """Takes what is handed over at once, while the reader waits for something to read."""
        self._valid_until = 0.0
        self._renewed = asyncio.Event()
        self.lost = False

    def held(self) -> bool:
        """Whether the lease is certainly ours now, by the monotonic clock."""
        return not self.lost and time.monotonic() < self._valid_until

    async def sure(self) -> None:
        """Return when the lease is certainly ours: at once, or (the store was away) when it was renewed.

        Raises LeaseLost when somebody else has it.
        """
        while not self.held():
            if self.lost:
                raise LeaseLost(self.tag)
            self._renewed.clear()
            await self._renewed.wait()

    def offer(self, before: int, records: Sequence[tuple[int, Record]]) -> None:
        """Hand over entries that were appended after the entry ``before``."""
        if not records:
            return
        self.newest = max(self.newest, records[-1][0])
        if before == self._end and not self._reading and not self._behind and len(self._items) < HAND_OVER_MAX:
            self._items.extend(records)
            self._end = records[-1][0]
            if self.taker is not None:
                self.taker()
        elif records[-1][0] > self._end:
            self._behind = True
        if self._items or self._behind:
            self._wake.set()

    def passed(self, before: int, newest: int) -> None:
        """The numbers after ``before`` up to ``newest`` were used up by entries that need not be read."""
        self.newest = max(self.newest, newest)
        if before == self._end and not self._reading and not self._behind:
            self._end = newest

    def poke(self, newest: int = 0) -> None:
        """Somebody else appended, or may have."""
        self.newest = max(self.newest, newest)
        if newest == 0 or newest > self._end:
            self._behind = True
            self._poked = self._poked or newest == 0
            self._wake.set()

    def leased(self, epoch: int, newest: int, valid_until: float) -> None:
        """The lease was taken or renewed."""
        if not self.epoch:
            self.inherited = newest
        self.epoch = epoch
        self._valid_until = valid_until
        self._renewed.set()
        if newest > self._end:
            self.poke(newest)

    def end(self) -> int:
        """Every entry up to this id was handed over. The store never had fewer, unless it lost some."""
        return self._end

    def lose(self) -> None:
        """The lease is gone; the reader is told."""
        self.lost = True
        self._wake.set()
        self._renewed.set()

    def ready(self) -> bool:
        """Whether :meth:`read` would return without waiting for an append."""
        return bool(self._items) or self._behind

    def handed_over(self) -> Sequence[tuple[int, Record]]:
        """What :meth:`take_handed_over` would take."""
        return self._items

    def take_handed_over(self) -> list[tuple[int, Record]]:
        """All that was handed over and not read yet."""
        taken = list(self._items)
        self._items.clear()
        return taken

    async def wait(self) -> None:
        """Return when there may be something to read. Raises LeaseLost."""
        while not self.ready():
            self._wake.clear()
            if self.lost:
                raise LeaseLost(self.tag)
            await self._wake.wait()

    async def read(self, store: Redis, count: int) -> list[tuple[int, Record]]:
        """The next ``count`` entries at most, oldest first; none if there are none yet. Raises LeaseLost."""
        await self.sure()
        items = self._items
        if items:
            return [items.popleft() for _ in range(min(count, len(items)))]
        if not self._behind:
            return []
        self._behind, self._poked, self._reading = False, False, True
        known = self.newest
        try:
            rows = await insist(entries, store, keys.stream(self.tag), self._end, count)
        except BaseException:
            self._behind = self._poked = True
            raise
        finally:
            self._reading = False
        if rows:
            self._end = rows[-1][0]
        if len(rows) == count:
            self._behind = True
        else:
            self._end = max(self._end, known)
            if self._end >= self.newest and not self._poked:
                self._behind = False  # what was offered meanwhile was read as well
        return self._decoded(rows)

    def _decoded(self, rows: list[tuple[int, bytes]]) -> list[tuple[int, Record]]:
        found = []
        for entry, record in rows:
            try:
                found.append((entry, self.decode(record)))
            except msgspec.MsgspecError:
                self.broken.append((entry, record))
        return found


def _leased(tail: Tail[Any], end: int, lease: tuple[int, int], valid_until: float) -> bool:
    epoch, newest = lease
    if not epoch:
        return False
    if newest < end:
        # A replica without the newest entries took over: what we know of the journal is no longer so.
        log.error("the store lost entries of a journal", journal=tail.tag, had=end, has=newest)
        return False
    tail.leased(epoch, newest, valid_until)
    return True


class Journals:
    """All journals as one process sees them: appends to any, owns some."""

    def __init__(self, store: Redis, settings: Settings, process: str) -> None:
        self.store = store
        self.settings = settings
        self.process = process
        self._tails: dict[str, Tail[Any]] = {}
        self._append = Script(store, "append")
        self._lease = Script(store, "lease")
        self._release = Script(store, "release")

    def tail(self, tag: str) -> Tail[Any] | None:
        """The tail of a journal that this process owns."""
        return self._tails.get(tag)

    async def take(self, tag: str, decode: Callable[[bytes], Record]) -> Tail[Record] | None:
        """Take a journal's lease; None if another process has it."""
        tail: Tail[Record] = Tail(tag, decode)
        if not (await self._hold([tail], [""]))[0]:
            return None
        self._tails[tag] = tail
        return tail

    async def _hold(self, tails: Sequence[Tail[Any]], epochs: Sequence[int | str]) -> list[bool]:
        """Take the leases of journals (epoch '') or renew them; whether each is ours. Raises what the store raises."""
        life_ms = self.settings.lease_ms
        valid_until = time.monotonic() + life_ms * 0.8 / 1000
        ends = [tail.end() for tail in tails]
        names = [name for tail in tails for name in (keys.lease(tail.tag), keys.epoch(tail.tag), keys.seq(tail.tag))]
        leases = await self._lease(names, [self.process, life_ms, *epochs])
        return [_leased(*each, valid_until) for each in zip(tails, ends, leases, strict=True)]

    async def release(self, tail: Tail[Any]) -> None:
        """Give a lease back, so that the next owner need not wait for its end."""
        if self._tails.get(tail.tag) is tail:
            del self._tails[tail.tag]
        if not tail.lost:
            tail.lose()
            await self._release([keys.lease(tail.tag), keys.epoch(tail.tag)], [self.process, tail.epoch])

    async def keep(self) -> None:
        """Renew every lease and follow wake-ups, for as long as the process lives."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._renew())
            tasks.create_task(self._follow_wakeups())

    async def _renew(self) -> None:
        while True:
            await asyncio.sleep(self.settings.lease_ms / 4000)
            tails = [t for t in self._tails.values() if not t.lost]
            at_once = len(tails) if is_one_slot(self.store) else 1
            parts = [tails[at : at + at_once] for at in range(0, len(tails), max(1, at_once))]
            await asyncio.gather(*map(self._renew_some, parts))

    async def _renew_some(self, tails: Sequence[Tail[Any]]) -> None:
        try:
            kept = await self._hold(tails, [tail.epoch for tail in tails])
        except (*TRANSIENT, StoreDown):
            return  # what is not renewed in time is not held any more
        except Exception:
            log.exception("leases cannot be renewed", journals=[tail.tag for tail in tails])
            return
        for tail, is_ours in zip(tails, kept, strict=True):
            if not is_ours:
                tail.lose()

    async def _follow_wakeups(self) -> None:
        while True:
            try:
                async with self.store.pubsub() as channel:
                    await channel.subscribe(keys.wake_channel(self.process))
                    for tail in self._tails.values():
                        tail.poke()
                    async for message in channel.listen():
                        if message["type"] == "message" and (woken := self._tails.get(message["data"].decode())):
                            woken.poke()
            except TRANSIENT:
                await asyncio.sleep(0.2)

    async def bury_broken(self, tail: Tail[Any], kind: Literal["event", "delivery"], now_ms: int) -> None:
        """Put entries that cannot be decoded on the dead-letter list: what follows them goes on."""
        while tail.broken:
            entry, record = tail.broken[-1]
            log.error("an entry cannot be read and was set aside", journal=tail.tag, entry=entry)
            letter = DeadLetter(now_ms, RoomId(""), "it was written by another version", kind, record)
            pipeline = self.store.pipeline(transaction=True)
            pipeline.xadd(keys.dead(tail.tag), {"e": encode(letter)})
            pipeline.xdel(keys.stream(tail.tag), f"{entry}-0")
            await pipeline.execute()
            tail.broken.pop()

    async def append(self, tag: str, source: str, source_epoch: int, records: Sequence[tuple[int, bytes, Any]]) -> None:
        """Append ``(ordinal in the source, encoded, decoded)`` records to a journal, each once.

        Ordinals grow within a source. Tries until the store has answered. Raises LeaseLost when the source
        changed hands.
        """
        owner = self.own(tag)
        args: list[Any] = [
            self.process,
            source,
            source_epoch,
            owner.epoch if owner else "",
            keys.wake_channel(""),
            tag,
        ]
        for ordinal, encoded, _ in records:
            args += (ordinal, encoded)
        result = await insist(self._append, keys.appended_to(tag), args)
        if result == -1:
            raise LeaseLost(source)
        self.hand_over(tag, owner, result, records)

    def own(self, tag: str) -> Tail[Any] | None:
        """The tail of a journal that is certainly not somebody else's yet."""
        tail = self._tails.get(tag)
        return tail if tail and not tail.lost else None

    def hand_over(
        self, tag: str, owner: Tail[Any] | None, result: Sequence[int], records: Sequence[tuple[int, bytes, Any]]
    ) -> None:
        """Give records that were appended to the journal's reader, if that is in this process. ``owner``: its tail when
        they were; ``result``: the id before the first of them, and the id of each, or 0.
        """
        tail = self._tails.get(tag)
        if tail is None:
            return
        if tail is owner:
            tail.marked = max(tail.marked, *result[1:])
        new = [(entry, record[2]) for entry, record in zip(result[1:], records, strict=True) if entry]
        tail.offer(result[0], new)
        if len(new) < len(records):
            tail.poke()

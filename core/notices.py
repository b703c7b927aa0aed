"""What people and operators see of an account's deliveries: how much waits, a word to the rooms it came from when that
takes long or something was set aside, and a line of it in the log. One notice for an incident, never one for a message.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping
from itertools import chain

import msgspec

from core import replies
from core.contract import Adapter
from core.gate import Gate
from core.jobs import Job, RoomQueue
from core.model import RoomId, said_in
from core.outbox import WHOLE_ACCOUNT, Left, Outbox
from core.settings import Settings
from core.store import insist
from core.wire import Tell

PUBLISH_S = 1.0
SET_ASIDE_S = 60.0
SET_ASIDE_MOST_S = 3_600.0
"""How long what is set aside after a first message is only counted: ten times as long each time, up to this."""
DETAIL_CHARS = 300
FOLDED_S = 600.0
"""A room's log has no more than one line in so long about what was folded."""


class Incident(msgspec.Struct, array_like=True):
    """Rooms that messages from one room have waited long for; that room was told."""

    entry: int
    """The oldest message that waited when it was told."""
    rooms: list[RoomId]


class Burst:
    """Messages from one room to another that were set aside after one of which people were told."""

    __slots__ = ("count", "name", "plain", "reason", "until_s", "window_s")

    def __init__(self, now_s: float) -> None:
        self.count = 0
        self.name = self.plain = self.reason = ""
        """Of the newest one: who said what, and why it was set aside."""
        self.window_s = SET_ASIDE_S
        self.until_s = now_s + self.window_s


class Notices:
    """Speaks for one account's deliverer."""

    def __init__(self, adapter: Adapter, outbox: Outbox, gate: Gate, settings: Settings) -> None:
        self._adapter = adapter
        self._outbox = outbox
        self._gate = gate
        self._settings = settings
        self._published: dict[RoomId, int] = {}
        self._incidents: dict[RoomId, Incident] = {}
        """By the room that was told."""
        self._busy_s: dict[RoomId, float] = {}
        """Room → since when something waits for it, whenever we look."""
        self._bursts: dict[tuple[RoomId, RoomId], Burst] = {}
        self._folds: dict[RoomId, RoomQueue] = {}
        """Rooms that got several messages in one post, of which the log does not know yet."""
        self._folds_told_s: dict[RoomId, float] = {}
        self.shut = False
        """The platform does not let the account in."""

    def restore(self, left: Left) -> None:
        """Go on from what an owner before us told."""
        self.shut = self.shut or WHOLE_ACCOUNT in left.incidents
        for room, record in left.incidents.items():
            if room != WHOLE_ACCOUNT:
                self._incidents[room] = msgspec.json.decode(record, type=Incident)

    async def publish(self, active: Mapping[RoomId, RoomQueue], is_full: Callable[[], bool]) -> None:
        """Say how much waits for each room, and tell the rooms it came from when that takes long; until cancelled."""
        while True:
            await asyncio.sleep(PUBLISH_S)
            queues = {room: queue for room, queue in active.items() if queue.jobs or queue.in_hand or queue.backlog}
            waiting = {room: len(queue.jobs) + len(queue.in_hand) for room, queue in queues.items()}
            for room, queue in queues.items():
                if queue.backlog:
                    waiting[room] = await insist(self._outbox.backlog_size, room)
            if len(waiting) == 1 and is_full():
                waiting = {room: await insist(self._outbox.size) for room in waiting}
            gone = [room for room in self._published if room not in waiting]
            if waiting != self._published:
                await insist(self._outbox.save_waiting, waiting, gone)
                self._published = waiting
            await self._look(queues, waiting, unread=is_full() or self._outbox.tail.ready())

    async def _look(self, queues: Mapping[RoomId, RoomQueue], waiting: Mapping[RoomId, int], *, unread: bool) -> None:
        """Find what begins and ends. ``unread``: more waits than is known of."""
        now_s = time.monotonic()
        self._busy_s = {room: self._busy_s.get(room, now_s) for room in queues}
        begun: dict[RoomId, list[RoomQueue]] = {}
        for queue in queues.values():
            if self._is_late(queue, now_s):
                for origin in _origins(queue):
                    known = self._incidents.get(origin)
                    if known is None or queue.room not in known.rooms:
                        begun.setdefault(origin, []).append(queue)
        for origin, late in begun.items():
            await self._begin(origin, late, waiting, now_s)
        if not unread:
            for origin, incident in list(self._incidents.items()):
                if not any(room in queues for room in incident.rooms):
                    await self._end(origin, incident)
            self._log_folds(queues, now_s)
        self._count_bursts(now_s)

    # --- what takes long

    def _is_late(self, queue: RoomQueue, now_s: float) -> bool:
        after_s = self._settings.notice_after_s
        return self._is_stuck(queue, now_s) or bool(
            (queue.jobs and now_s - queue.jobs[0].shared.read_s >= after_s)
            or (queue.backlog and now_s - self._busy_s[queue.room] >= after_s)
        )

    def _is_stuck(self, queue: RoomQueue, now_s: float) -> bool:
        """Whether nothing gets through at all."""
        return queue.since_s > 0 and now_s - queue.since_s >= self._settings.notice_after_s

    async def _begin(self, origin: RoomId, late: list[RoomQueue], waiting: Mapping[RoomId, int], now_s: float) -> None:
        incident = self._incidents.get(origin)
        if incident is None:
            entry = min(job.entry for queue in late for job in _first(queue))
            incident = self._incidents[origin] = Incident(entry, [])
            stuck = [queue for queue in late if self._is_stuck(queue, now_s)]
            text = replies.waiting_long(
                self._settings.prefix,
                self.label(late[0].room),
                max(waiting.get(queue.room, 0) for queue in late),
                max((now_s - queue.since_s for queue in stuck), default=0.0),
                others=len(late) - 1,
                shut_out=self.shut,
            )
            why = "; the bot was shut out there" if self.shut else ""
            self._put(origin, text, "waits", f"for {self._labels(late)}{why}", f"waits {entry} {origin}")
            await insist(self._gate.accepted)
        incident.rooms += [queue.room for queue in late]
        await insist(self._outbox.save_incident, origin, msgspec.json.encode(incident))

    async def _end(self, origin: RoomId, incident: Incident) -> None:
        """All that waited is there."""
        queues = [self._folds[room] for room in incident.rooms if room in self._folds]
        folded, posts = sum(queue.folded for queue in queues), sum(queue.folds for queue in queues)
        first, *others = incident.rooms
        text = replies.caught_up(self.label(first), others=len(others), folded=folded, posts=posts)
        more = f" and {len(others)} more" if others else ""
        self._put(origin, text, "caught up", f"{self.label(first)}{more}", f"caught up {incident.entry} {origin}")
        await insist(self._gate.accepted)
        await insist(self._outbox.save_incident, origin, None)
        del self._incidents[origin]

    # --- several messages in one post

    def folded(self, queue: RoomQueue, messages: int) -> None:
        """So many messages were posted as one."""
        queue.folded += messages
        queue.folds += 1
        self._folds[queue.room] = queue

    def _log_folds(self, queues: Mapping[RoomId, RoomQueue], now_s: float) -> None:
        for room, queue in list(self._folds.items()):
            if room not in queues and now_s - self._folds_told_s.get(room, -FOLDED_S) >= FOLDED_S:
                self._put(room, "", "folded", f"messages: {queue.folded}, posts: {queue.folds}")
                self._folds_told_s[room] = now_s
                queue.folded = queue.folds = 0
                del self._folds[room]

    # --- what is set aside

    async def given_up(self, job: Job, reason: str) -> None:
        """Tell the room it came from that a post was set aside; returns when that is durable. What is set aside soon
        after it is counted, and told together.
        """
        delivery = job.delivery
        if delivery.kind not in ("new", "edit") or not delivery.author or not delivery.message:
            return
        origin, _ = said_in(delivery.message)
        if burst := self._bursts.get((origin, job.room)):
            burst.count += 1
            burst.name, burst.plain, burst.reason = delivery.author.name, delivery.text.plain, reason
            return
        self._bursts[origin, job.room] = Burst(time.monotonic())
        label = self.label(job.room)
        text = replies.dead_letter(label, delivery.author.name, delivery.text.plain, reason)
        self._put(origin, text, "set aside", f"1 for {label}: {reason}", f"dead {job.entry} {job.room}")
        await insist(self._gate.accepted)

    def _count_bursts(self, now_s: float) -> None:
        for key, burst in list(self._bursts.items()):
            if now_s < burst.until_s:
                continue
            if burst.count:
                self._tell_burst(*key, burst)
                burst.window_s = min(10 * burst.window_s, SET_ASIDE_MOST_S)
                burst.until_s = now_s + burst.window_s
            else:
                del self._bursts[key]

    def _tell_burst(self, origin: RoomId, room: RoomId, burst: Burst) -> None:
        label = self.label(room)
        if burst.count == 1:
            text = replies.dead_letter(label, burst.name, burst.plain, burst.reason)
        else:
            text = replies.dead_letters(label, burst.count, burst.reason)
        self._put(origin, text, "set aside", f"{burst.count} more for {label}: {burst.reason}")
        burst.count = 0

    def flush(self) -> None:
        """Tell what was only counted: nobody here will count on."""
        for key, burst in self._bursts.items():
            if burst.count:
                self._tell_burst(*key, burst)

    # --- the account

    async def shut_out(self) -> None:
        """The platform does not let the account in any more."""
        if not self.shut:
            self.shut = True
            self._put(self._account(), "", "shut out", "its credentials work no longer; what is for it waits")
            await insist(self._outbox.save_incident, WHOLE_ACCOUNT, b"shut out")

    async def let_in(self) -> None:
        """It took a post again."""
        self.shut = False
        self._put(self._account(), "", "let in", "its credentials work again")
        await insist(self._outbox.save_incident, WHOLE_ACCOUNT, None)

    def _account(self) -> RoomId:
        return RoomId(f"{self._outbox.account}/")

    # --- pieces

    def _put(self, room: RoomId, text: str, act: str, detail: str, once: str = "") -> None:
        """Tell a room, and write it down. ``once``: what tells it from everything else this account tells."""
        dedup = f"{once} {self._outbox.account}" if once else ""
        # Names and reasons come from outside: none of them may look like a line of its own.
        line = "".join(char if char.isprintable() else " " for char in detail[:DETAIL_CHARS])
        self._gate.put(Tell(room, text, act, line), dedup=dedup)

    def _labels(self, queues: list[RoomQueue]) -> str:
        more = f" and {len(queues) - 1} more" if len(queues) > 1 else ""
        return self.label(queues[0].room) + more

    def label(self, room: RoomId) -> str:
        """A room for people."""
        info = self._adapter.room_info(room)
        return f"{info.title} ({info.detail})" if info.detail else info.title


def _first(queue: RoomQueue) -> Iterable[Job]:
    """What comes next in a room."""
    return (*list(queue.in_hand.values())[:1], *list(queue.jobs)[:1])


def _origins(queue: RoomQueue) -> set[RoomId]:
    """Where what waits in memory was said."""
    jobs = chain(queue.in_hand.values(), queue.jobs)
    return {said_in(message)[0] for job in jobs if (message := job.delivery.message)}

"""What people and operators see of an account's deliveries: how much waits, and a word to the rooms it came from."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping

from core import replies
from core.contract import Adapter
from core.ingest import Gate
from core.jobs import Job, RoomQueue
from core.model import RoomId, said_in
from core.outbox import Outbox
from core.settings import Settings
from core.store import insist
from core.wire import Tell

PUBLISH_S = 1.0


class Notices:
    """Speaks for one account's deliverer."""

    def __init__(self, adapter: Adapter, outbox: Outbox, gate: Gate, settings: Settings) -> None:
        self._adapter = adapter
        self._outbox = outbox
        self._gate = gate
        self._settings = settings
        self._published: dict[RoomId, int] = {}

    async def publish(self, active: Mapping[RoomId, RoomQueue], is_full: Callable[[], bool]) -> None:
        """Say how much waits for each room, and tell the rooms it came from when that takes long; until cancelled."""
        while True:
            await asyncio.sleep(PUBLISH_S)
            queues = {room: queue for room, queue in active.items() if queue.jobs or queue.in_hand}
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
            for room, count in waiting.items():
                self._notice_delay(queues[room], count)

    def _notice_delay(self, queue: RoomQueue, count: int) -> None:
        waited_s = time.monotonic() - queue.since_s
        if queue.told or not queue.since_s or waited_s < self._settings.notice_after_s or not queue.jobs:
            return
        job = queue.jobs[0]
        if job.delivery.message:
            queue.told, _ = said_in(job.delivery.message)
            text = replies.waiting_long(self._settings.prefix, self.label(queue.room), count, waited_s)
            self.tell_origin(job, text, "waits")

    def caught_up(self, queue: RoomQueue, entry: int) -> None:
        """All that waited for a room is there; ``entry`` was the last."""
        if queue.told:
            key = f"caught up {self._outbox.account} {entry} {queue.room}"
            self._gate.put(Tell(queue.told, replies.caught_up(self.label(queue.room))), dedup=key)
            queue.told = RoomId("")

    def tell_origin(self, job: Job, text: str, why: str) -> None:
        """Say something where the message of ``job`` came from, once for each ``why``."""
        if job.delivery.message:
            origin, _ = said_in(job.delivery.message)
            self._gate.put(Tell(origin, text), dedup=f"{why} {self._outbox.account} {job.entry} {job.room}")

    async def given_up(self, job: Job, reason: str) -> None:
        """Tell the room it came from that a post was set aside; returns when that is durable."""
        delivery = job.delivery
        if delivery.kind in ("new", "edit") and delivery.author:
            text = replies.dead_letter(self.label(job.room), delivery.author.name, delivery.text.plain, reason)
            self.tell_origin(job, text, "dead")
            await insist(self._gate.accepted)

    def label(self, room: RoomId) -> str:
        """A room for people."""
        info = self._adapter.room_info(room)
        return f"{info.title} ({info.detail})" if info.detail else info.title

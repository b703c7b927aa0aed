"""What waits in an account's outbox, as its deliverer sees it: one job per entry and room, in one queue per room."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Sequence
from typing import Any, NamedTuple

from msgspec.structs import replace

from core.model import RoomId
from core.rendering import ago_label
from core.wire import Delivery, Posted

POSTS = ("new", "tell")
"""Kinds that are posts of their own; the others are about a post, or no post at all."""


class Shared:
    """What the jobs of one entry have in common."""

    __slots__ = ("birth", "delivery", "entry", "left", "noted", "read_s", "stream")

    def __init__(self, entry: int, delivery: Delivery, stream: str, birth: str, read_s: float) -> None:
        self.entry = entry
        self.delivery = delivery
        self.left = len(delivery.rooms)
        """Rooms that do not have it yet."""
        self.stream = stream
        """The stream that it lies in: the outbox, or a room's backlog."""
        self.birth = birth
        self.noted = False
        """The store has fields about some of its rooms, to be deleted with the entry."""
        self.read_s = read_s
        """Monotonic time at which it came into memory."""


class Job:
    """One delivery for one room."""

    __slots__ = ("ago", "delivery", "doubtful", "ended", "entry", "index", "room", "shared", "single", "style", "tries")

    def __init__(self, index: int, shared: Shared) -> None:
        delivery = self.delivery = shared.delivery
        self.entry = shared.entry
        self.room = delivery.rooms[index]
        self.index = index
        self.style = delivery.styles[index]
        self.shared = shared
        self.doubtful = False
        """It may have been sent already, by an owner before us or by a try whose answer was lost."""
        self.ended = False
        """The store knows what became of it."""
        self.tries = 0
        """How often it, or the batch that it was in, crashed."""
        self.single = False
        """It was refused together with others: it is posted by itself now."""
        self.ago: str | None = None
        """How long ago it was said, if the post is to show that; None: not decided yet. It stays over all tries."""

    def key(self) -> str:
        """The idempotency key: the same for the same job whoever does it and wherever it lies; no other job's."""
        return f"{self.shared.birth}-{self.entry:x}-{self.delivery.place + self.index:x}"

    def field(self) -> str:
        """The job's field in the store's hashes about shared entries."""
        return f"{self.entry} {self.room}"

    def alone(self) -> Delivery:
        """The delivery for this job's room only."""
        place = self.delivery.place + self.index
        return replace(self.delivery, rooms=(self.room,), styles=(self.style,), place=place)


class Done(NamedTuple):
    """How a job ended."""

    job: Job
    posted: Posted | None = None
    """What the id map is to know of it."""
    letter: bytes | None = None
    """The dead letter, if it was given up."""
    kept: Sequence[Any] = ()
    """Further fields and values that the id map is to have for its room."""
    ends_fold: bool = False
    """The room's messages that were to be posted as one are done."""
    week: int | None = None
    """The week of the id map that ``kept`` belongs to; None: this one."""


class Extent(NamedTuple):
    """Messages of a room that are posted as one: all that wait from entry ``first`` to entry ``last``."""

    first: int
    last: int


class RoomQueue:
    """The jobs of one room, in order, and whether the room may get one now."""

    __slots__ = (
        "ago",
        "backlog",
        "backlog_read",
        "begun",
        "catches_up",
        "fold",
        "folded",
        "folds",
        "freed",
        "hold_until_s",
        "in_hand",
        "jobs",
        "room",
        "since_s",
        "waits_for_account",
        "worker",
    )

    def __init__(self, room: RoomId) -> None:
        self.room = room
        self.jobs: deque[Job] = deque()
        self.in_hand: dict[int, Job] = {}
        """Entry → job that is being done."""
        self.worker = False
        """A task looks after it."""
        self.hold_until_s = 0.0
        """Monotonic time before which nothing is to be posted."""
        self.waits_for_account = False
        """The hold ends when the account is back."""
        self.freed = asyncio.Event()
        self.backlog = False
        """All its entries lie in the room's backlog, so new ones must go there as well."""
        self.backlog_read = 0
        self.begun = 0
        """Jobs that an owner before us may have begun."""
        self.since_s = 0.0
        """Since when jobs wait without one getting through; 0: they do not."""
        self.fold: Extent | None = None
        """What is to be posted as one, and in the store as such: whoever posts it posts exactly these together."""
        self.folded = 0
        self.folds = 0
        """So many messages were posted together, in so many posts, since that was last written down."""
        self.catches_up = False
        """It was far behind, and has not caught up yet: what waits is posted together, however little."""
        self.ago = ""
        """How long ago the newest post was said, as far as posts show that."""

    def hold(self, seconds: float, *, for_account: bool = False) -> None:
        """Let it wait. ``for_account``: until the account is back, if that is earlier."""
        self.hold_until_s = max(self.hold_until_s, time.monotonic() + seconds)
        self.waits_for_account = for_account

    def free(self) -> None:
        """Let it go on."""
        self.hold_until_s = 0.0
        self.waits_for_account = False
        self.freed.set()

    async def until_free(self, seconds: float) -> None:
        """Return after so long, or when the hold was lifted."""
        self.freed.clear()
        try:
            async with asyncio.timeout(seconds + 0.001):
                await self.freed.wait()
        except TimeoutError:
            return

    def date(self, job: Job, now_ms: int, old_after_ms: int) -> None:
        """Decide whether its post shows how long ago it was said: where that is long, and another than the post before
        it showed.
        """
        delivery = job.delivery
        if job.ago is not None or delivery.kind != "new":
            return
        age_ms = now_ms - delivery.at_ms
        old = 0 < old_after_ms < age_ms and delivery.at_ms > 0
        ago = ago_label(age_ms / 1000) if old else ""
        job.ago, self.ago = "" if ago == self.ago else ago, ago

    def take(self) -> Job:
        """The next job; it is in hand until it has ended or was put back."""
        job = self.jobs.popleft()
        self.in_hand[job.entry] = job
        return job

    def take_up_to(self, entry: int) -> list[Job]:
        """The next jobs up to and with an entry, in hand like one."""
        taken = []
        while self.jobs and self.jobs[0].entry <= entry:
            taken.append(self.take())
        return taken

    def put_back(self, jobs: Sequence[Job]) -> None:
        """These come next after all."""
        for job in reversed(jobs):
            self.in_hand.pop(job.entry, None)
            self.jobs.appendleft(job)

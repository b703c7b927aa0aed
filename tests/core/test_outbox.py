"""The outbox's bookkeeping on a real store: whatever happens in whatever order, each room ends each entry once."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Sequence
from random import Random

import pytest

from core import keys
from core.deps import Deps, make_deps
from core.folded import recorded
from core.idmap import BUCKET_MS, IdMap
from core.jobs import Done, Job, RoomQueue
from core.journal import LeaseLost
from core.model import Author, NativeId, RoomId, Text, message_id
from core.outbox import Outbox
from core.scripts import Script
from core.settings import Settings
from core.store import Redis
from core.wire import Delivery, Folded, FoldedLine, Posted, decode_dead, decode_delivery, encode
from tests.core.sink import ACCOUNT, ORIGIN, TAG, rooms
from tests.support.world import SECRET

A, B, C = rooms("a", "b", "c")


@pytest.fixture
def deps(store: Redis) -> Deps:
    """One process."""
    return make_deps(store, Settings(secret_key=SECRET, lease_ms=60_000), 4, "p1", "http://127.0.0.1")


async def opened(deps: Deps, under_way_max: int = 1) -> Outbox:
    """The outbox of a new owner."""
    tail = await deps.journals.take(TAG, decode_delivery)
    assert tail is not None
    outbox = Outbox(ACCOUNT, tail, deps, under_way_max)
    await outbox.load()
    return outbox


async def append(deps: Deps, first: int, entries: Sequence[Sequence[RoomId]]) -> None:
    """Append entries for some rooms each; their texts are their numbers."""
    records = []
    for number, there in enumerate(entries, first):
        message = message_id(ORIGIN, NativeId(f"m{number}"))
        author = Author("alice", "Alice")
        delivery = Delivery("new", tuple(there), ("name",) * len(there), message, author=author, text=Text(f"{number}"))
        records.append((number, encode(delivery), delivery))
    await deps.journals.append(TAG, "test", 1, records)


async def jobs_of(outbox: Outbox, count: int = 1_000) -> list[Job]:
    """All that can be read now."""
    return await outbox.read(count)


async def left_over(store: Redis) -> list[str]:
    """Keys with something in them although nothing waits."""
    found = []
    for name in (keys.partly(TAG), keys.behind(TAG), keys.attempts(TAG), keys.folds(TAG)):
        if await store.hlen(name):
            found.append(name)
    async for key in store.scan_iter(match=TAG.replace("{", "[{]") + "*log*"):
        if await store.type(key) == b"stream" and await store.xlen(key):
            found.append(key.decode())
    return found


async def test_crashes_are_forgotten_with_their_entry(store: Redis, deps: Deps) -> None:
    """What an owner wrote down about crashes goes with the entry, whoever ends it and wherever it lies by then."""
    first = await opened(deps)
    await append(deps, 1, [(A,), (A, B), (B,)])
    for job in await jobs_of(first):
        await first.crashed(job)
    second = await opened(deps)
    jobs = await jobs_of(second)
    queue = RoomQueue(A)
    queue.jobs.extend(job for job in jobs if job.room == A)
    await second.set_aside(queue, 2)
    await second.complete([Done(job) for job in jobs])
    assert await left_over(store) == [keys.behind(TAG)]


async def test_an_entry_goes_with_its_last_room(store: Redis, deps: Deps) -> None:
    """Rooms that end side by side, in separate steps at once, take their entry out with them; none is left behind."""
    outbox = await opened(deps)
    await append(deps, 1, [(A, B, C)] * 50)
    jobs = await jobs_of(outbox)
    await asyncio.gather(*(outbox.complete([Done(job)]) for job in jobs))
    assert await left_over(store) == []


async def test_what_ends_is_in_the_id_map(store: Redis, deps: Deps) -> None:
    """A post's ids are found from both sides, whether its room ended alone, with others, or from a backlog."""
    outbox = await opened(deps)
    await append(deps, 1, [(A, B), (A,), (B,)])
    jobs = await jobs_of(outbox)
    queue = RoomQueue(B)
    queue.jobs.extend(job for job in jobs if job.room == B)
    await outbox.set_aside(queue, 5)
    posted = [Done(job, Posted("alice", "Alice", (NativeId(f"{job.entry}{job.room}"),))) for job in jobs]
    await outbox.complete(posted[:1])
    await outbox.complete(posted[1:])
    for job in jobs:
        message = message_id(ORIGIN, NativeId(f"m{job.entry}"))
        (known,) = await deps.ids.posted([(job.room, message)], deps.now_ms())
        assert known is not None
        ((said, ours),) = await deps.ids.messages([(job.room, known.natives[0])], deps.now_ms())
        assert (said, ours) == (message, True)
    queue.jobs.clear()
    assert await outbox.read_backlog(queue, 5) == []
    assert await left_over(store) == []


async def test_what_is_in_hand_is_not_read_again(store: Redis, deps: Deps) -> None:
    """A room that goes to its backlog while all that is in memory of it is being posted has none of that twice."""
    outbox = await opened(deps)
    await append(deps, 1, [(A,)] * 3)
    queue = RoomQueue(A)
    queue.jobs.extend(await jobs_of(outbox))
    jobs = [queue.take() for _ in range(3)]
    assert await outbox.set_aside(queue, 2) == 0
    assert await outbox.read_backlog(queue, 10) == []
    await append(deps, 4, [(A,)])
    later = await jobs_of(outbox)
    assert await outbox.spill(queue, later)
    assert [job.entry for job in await outbox.read_backlog(queue, 10)] == [4]
    await outbox.complete([Done(job) for job in jobs])


async def test_what_ended_in_a_backlog_does_not_come_back(store: Redis, deps: Deps) -> None:
    """While another room still waits for an entry, the next owner knows that a room ended it in its backlog."""
    first = await opened(deps)
    await append(deps, 1, [(A, B)] * 3)
    jobs = await jobs_of(first)
    queue = RoomQueue(A)
    queue.jobs.extend(job for job in jobs if job.room == A)
    await first.set_aside(queue, 3)
    await first.complete([Done(job) for job in queue.jobs])
    second = await opened(deps)
    left = await jobs_of(second)
    assert [job.room for job in left] == [B] * 3
    await second.complete([Done(job) for job in left])
    assert await left_over(store) == [keys.behind(TAG)]


async def test_a_letter_from_a_backlog(store: Redis, deps: Deps) -> None:
    """What is given up in a room's backlog is on the dead-letter list, though another room still waits for it."""
    outbox = await opened(deps)
    await append(deps, 1, [(A, B)])
    jobs = await jobs_of(outbox)
    queue = RoomQueue(A)
    queue.jobs.extend(job for job in jobs if job.room == A)
    await outbox.set_aside(queue, 1)
    (job,) = queue.jobs
    await outbox.complete([Done(job, letter=outbox.letter(job, "no"))])
    ((_, fields),) = await store.xrange(keys.dead(TAG))
    assert decode_dead(fields[b"e"]).room == A


async def test_what_came_after_the_lease_is_not_doubtful(store: Redis, deps: Deps) -> None:
    """Only what an owner before us may have sent is in doubt, and not what comes while we begin."""
    before = await opened(deps)
    await append(deps, 1, [(A,)])
    await jobs_of(before)
    tail = await deps.journals.take(TAG, decode_delivery)
    assert tail is not None
    await append(deps, 2, [(B,), (A,)])
    outbox = Outbox(ACCOUNT, tail, deps)
    await outbox.load()
    queues = {room: RoomQueue(room) for room in (A, B)}
    jobs = await jobs_of(outbox)
    for job in jobs:
        outbox.doubt(queues[job.room], job)
    assert [job.doubtful for job in jobs] == [True, False, False]


async def test_messages_of_one_post_are_found_in_each_room(store: Redis, deps: Deps) -> None:
    """Messages that stand together in two rooms at once have their own post in each; a change of such a post weeks
    later replaces its record, so that nothing of what was before is left.
    """
    outbox = await opened(deps)
    await append(deps, 1, [(A, B), (A, B)])
    folds = {room: IdMap.fold_id(deps.now_ms() - 2 * BUCKET_MS, f"key {room}") for room in (A, B)}
    done = []
    for job in await jobs_of(outbox):
        line = FoldedLine(job.delivery.message, "alice", words=Text("secret"))
        end = Done(job, Posted("alice", "Alice", (), fold=folds[job.room]))
        done.append(recorded(end, folds[job.room], Folded((NativeId(f"n {job.room}"),), (line,))))
    await outbox.complete(done)
    message = done[0].job.delivery.message
    found = await deps.ids.posted([(A, message), (B, message)], deps.now_ms())
    assert [known and known.natives for known in found] == [(f"n {A}",), (f"n {B}",)]
    await append(deps, 3, [(A,)])
    (change,) = await jobs_of(outbox)
    await outbox.complete([recorded(Done(change), folds[A], Folded((NativeId("other"),), ()))])
    (known,) = await deps.ids.posted([(A, message)], deps.now_ms())
    assert known is not None
    assert known.natives == ("other",)
    hashes = [key async for key in store.scan_iter(match="*ids:*") if key.endswith(A.encode())]
    values = [value for key in hashes for value in (await store.hgetall(key)).values()]
    assert values
    assert not any(b"secret" in value for value in values)
    assert await left_over(store) == []


async def test_a_dead_letter_is_written_once(store: Redis, deps: Deps) -> None:
    """A dead letter and the end of its job are one step, and repeating it adds nothing; older ones may follow newer."""
    outbox = await opened(deps)
    await append(deps, 1, [(A, B), (A,)])
    one_a, one_b, two = await jobs_of(outbox)
    for job in (two, one_a, one_b):
        field = f"{job.entry}-0", job.field(), outbox.letter(job, "because")
        await outbox.complete([Done(job, letter=field[2])])
        names = [
            keys.epoch(TAG), keys.stream(TAG), keys.partly(TAG), keys.attempts(TAG), keys.dead(TAG), keys.folds(TAG),
        ]  # fmt: skip
        await Script(store, "complete")(names, [outbox.tail.epoch, 3, *field, 0, 0, 0, 0, 0])
    letters = [decode_dead(fields[b"e"]) for _, fields in await store.xrange(keys.dead(TAG))]
    assert [(letter.room, decode_delivery(letter.record).text.plain) for letter in letters] == [
        (A, "2"),
        (A, "1"),
        (B, "1"),
    ]
    assert await left_over(store) == []


async def test_spilling_twice_is_spilling_once(store: Redis, deps: Deps) -> None:
    """A spill whose answer was lost is repeated without effect, with other rooms waiting for the entry or not."""
    outbox = await opened(deps)
    await append(deps, 1, [(A, B), (A,)])
    jobs = await jobs_of(outbox)
    queue = RoomQueue(A)
    queue.jobs.extend(job for job in jobs if job.room == A)
    call, repeated = outbox._spill, 0

    async def twice(names: list[str], args: list[object]) -> object:
        nonlocal repeated
        repeated += 1
        assert await call(names, args) == 1
        return await call(names, args)

    outbox._spill = twice  # type: ignore[assignment]
    assert await outbox.set_aside(queue, 0) == 2
    assert repeated == 1
    assert await store.xlen(keys.backlog(TAG, A)) == 2
    assert await store.xlen(keys.stream(TAG)) == 1
    await outbox.complete([Done(job) for job in jobs if job.room == B])
    assert await store.xlen(keys.stream(TAG)) == 0
    again = await outbox.read_backlog(queue, 10)
    assert [(job.entry, job.room) for job in again] == [(1, A), (2, A)]
    assert [job.key() for job in again] == [job.key() for job in jobs if job.room == A]
    await outbox.complete([Done(job) for job in again])
    assert await outbox.read_backlog(queue, 10) == []
    assert not queue.backlog
    assert await left_over(store) == []


async def test_a_post_under_way_goes_to_the_backlog_with_the_rest(store: Redis, deps: Deps) -> None:
    """When a room's jobs are spilled the one in hand is as well, so that its end takes it out of the backlog."""
    outbox = await opened(deps)
    await append(deps, 1, [(A,)] * 5)
    queue = RoomQueue(A)
    queue.jobs.extend(await jobs_of(outbox))
    job = queue.take()
    assert await outbox.set_aside(queue, 1) == 3
    assert await store.xlen(keys.stream(TAG)) == 0
    await outbox.complete([Done(job)])
    queue.in_hand.clear()
    rows = await store.xrange(keys.backlog(TAG, A))
    assert [row[0] for row in rows] == [b"2-0", b"3-0", b"4-0", b"5-0"]
    assert [job.entry for job in (*queue.jobs, *await outbox.read_backlog(queue, 10))] == [2, 3, 4, 5]


async def test_a_job_that_has_just_ended_is_not_spilled(store: Redis, deps: Deps) -> None:
    """A job whose end is written while its room is spilled stays ended, and its entry waits for its other rooms."""
    outbox = await opened(deps)
    await append(deps, 1, [(A, B)] * 3)
    jobs = await jobs_of(outbox)
    queue = RoomQueue(A)
    queue.jobs.extend(job for job in jobs if job.room == A)
    first = queue.take()
    await asyncio.gather(outbox.complete([Done(first)]), outbox.set_aside(queue, 0))
    assert await store.xlen(keys.backlog(TAG, A)) == 2
    await outbox.complete([Done(job) for job in jobs if job.room == B])
    assert await store.xlen(keys.stream(TAG)) == 0
    assert [job.entry for job in await outbox.read_backlog(queue, 10)] == [2, 3]


async def test_only_the_first_is_doubtful(store: Redis, deps: Deps) -> None:
    """A new owner doubts as many posts of each room as can have been under way, and none that came after the mark."""
    outbox = await opened(deps)
    await append(deps, 1, [(A, B)] * 4)
    await jobs_of(outbox)
    for under_way_max in (1, 3):
        again = await opened(deps, under_way_max)
        queues = {A: RoomQueue(A), B: RoomQueue(B)}
        for job in await jobs_of(again):
            again.doubt(queues[job.room], job)
            assert job.doubtful == (job.entry <= under_way_max)
    await append(deps, 5, [(C,)])
    queue = RoomQueue(C)
    (job,) = await jobs_of(again)
    again.doubt(queue, job)
    assert not job.doubtful


async def test_whoever_lost_the_account_writes_nothing(store: Redis, deps: Deps) -> None:
    """The old owner's ends, spills and reads are refused once there is a new one."""
    old = await opened(deps)
    await append(deps, 1, [(A,), (B,)])
    jobs = await jobs_of(old)
    await opened(deps)
    queue = RoomQueue(A)
    queue.jobs.append(jobs[0])
    with pytest.raises(LeaseLost):
        await old.set_aside(queue, 0)
    with pytest.raises(LeaseLost):
        await old.complete([Done(jobs[1])])
    assert await store.xlen(keys.stream(TAG)) == 2


class Simulation:
    """A deliverer without a service: takes, ends, spills and reads on at random, and dies now and then."""

    def __init__(self, deps: Deps, random: Random) -> None:
        self.deps = deps
        self.random = random
        self.ended: dict[RoomId, list[int]] = defaultdict(list)
        self.queues: dict[RoomId, RoomQueue] = {}
        self.outbox: Outbox

    async def live(self) -> None:
        """Begin as a new owner."""
        tail = await self.deps.journals.take(TAG, decode_delivery)
        assert tail is not None
        self.outbox = Outbox(ACCOUNT, tail, self.deps)
        behind = (await self.outbox.load()).behind
        self.queues = {room: RoomQueue(room) for room in (A, B, C)}
        for room in behind:
            self.queues[room].backlog = True

    async def read(self) -> None:
        """As the deliverer does."""
        late: dict[RoomId, list[Job]] = {}
        for job in await self.outbox.read(self.random.randrange(1, 20)):
            queue = self.queues[job.room]
            late.setdefault(job.room, []).append(job) if queue.backlog else queue.jobs.append(job)
        for room, jobs in late.items():
            if not await self.outbox.spill(self.queues[room], jobs):
                self.queues[room].jobs.extend(jobs)

    async def serve(self, room: RoomId) -> None:
        """Take a few jobs and end them, or read on in the backlog."""
        queue = self.queues[room]
        if not queue.jobs and queue.backlog:
            queue.jobs.extend(await self.outbox.read_backlog(queue, 7))
        jobs = [queue.take() for _ in range(min(len(queue.jobs), self.random.randrange(1, 5)))]
        await asyncio.sleep(self.random.random() / 300)
        await self.outbox.complete([Done(job) for job in jobs])
        for job in jobs:
            self.ended[room].append(job.entry)
            queue.in_hand.pop(job.entry)


@pytest.mark.parametrize("seed", range(8))
async def test_every_room_ends_every_entry_once_and_in_order(store: Redis, deps: Deps, seed: int) -> None:
    """Reading, ending, spilling and reading on side by side, with new owners in between: nothing is skipped, doubled
    or left over.
    """
    random = Random(seed)
    wanted: dict[RoomId, list[int]] = defaultdict(list)
    total = 0
    simulation = Simulation(deps, random)
    for _ in range(5):
        await simulation.live()
        for _ in range(25):
            entries = [random.sample((A, B, C), random.randrange(1, 4)) for _ in range(random.randrange(6))]
            if entries:
                await append(deps, total + 1, entries)
            for number, there in enumerate(entries, total + 1):
                for room in there:
                    wanted[room].append(number)
            total += len(entries)
            spilled = random.choice((A, B, C))
            work = [simulation.serve(room) for room in (A, B, C) if random.random() < 0.4]

            async def read_and_spill(room: RoomId = spilled) -> None:
                await simulation.read()
                if random.random() < 0.4:
                    await simulation.outbox.set_aside(simulation.queues[room], random.randrange(3))

            await asyncio.gather(*work, read_and_spill())
    await simulation.live()
    while simulation.ended != wanted:
        before = {room: len(found) for room, found in simulation.ended.items()}
        await simulation.read()
        for room in (A, B, C):
            await simulation.serve(room)
            await simulation.serve(room)
        assert before != {room: len(found) for room, found in simulation.ended.items()}, "nothing moves any more"
    for queue in simulation.queues.values():
        assert await simulation.outbox.read_backlog(queue, 10) == []
    assert await left_over(store) == []


async def test_what_cannot_be_read_is_set_aside(store: Redis, deps: Deps) -> None:
    """An entry of another version becomes a dead letter, and its neighbours are delivered."""
    await append(deps, 1, [(A,)])
    await deps.journals.append(TAG, "test", 1, [(2, b"\xc1", None)])
    await append(deps, 3, [(A,)])
    outbox = await opened(deps)
    assert [job.entry for job in await jobs_of(outbox)] == [1, 3]
    ((_, fields),) = await store.xrange(keys.dead(TAG))
    assert decode_dead(fields[b"e"]).record == b"\xc1"

"""Journals on a real store: no gaps, nothing twice, one owner; and every script in one cluster slot."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.resources import files
from pathlib import Path
from random import Random

import msgspec
import pytest
from redis.crc import key_slot

from core import keys
from core.journal import HAND_OVER_MAX, Journals, LeaseLost, Tail
from core.model import AccountId, RoomId
from core.scripts import Script
from core.settings import Settings
from core.store import Redis, StoreDown, open_store
from core.wire import decode_dead
from tests.servers.store import ValkeyServer

TAG = keys.account_tag(AccountId("acc"))
SOURCE = keys.shard_tag(3)


def decode(record: bytes) -> str:
    """Records of these tests are words."""
    return record.decode()


def journals(store: Redis, process: str = "p1", lease_ms: int = 60_000) -> Journals:
    """One process's view."""
    return Journals(store, Settings(lease_ms=lease_ms), process)


def records(first: int, count: int) -> list[tuple[int, bytes, str]]:
    """Records to append, each with its ordinal as its text."""
    return [(n, str(n).encode(), str(n)) for n in range(first, first + count)]


async def taken(owner: Journals, tag: str = TAG) -> Tail[str]:
    """The tail of a journal that must be free."""
    tail = await owner.take(tag, decode)
    assert tail is not None
    return tail


async def read_all(tail: Tail[str], store: Redis, count: int, batch: int = 7) -> list[str]:
    """Read until ``count`` records are there."""
    found: list[str] = []
    async with asyncio.timeout(10):
        while len(found) < count:
            found += [record for _, record in await tail.read(store, batch)]
            if not tail.ready() and len(found) < count:
                await tail.wait()
    return found


@asynccontextmanager
async def kept(*owners: Journals) -> AsyncIterator[None]:
    """Leases are renewed and wake-ups followed in this block."""
    tasks = [asyncio.create_task(owner.keep()) for owner in owners]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def test_entries_come_in_order_once(store: Redis) -> None:
    """What the owner's own process appends is handed over in memory, in order, without gaps or repeats."""
    own = journals(store)
    tail = await taken(own)
    for n in range(0, 300, 3):
        await own.append(TAG, SOURCE, 1, records(n + 1, 3))
    assert await read_all(tail, store, 300) == [str(n) for n in range(1, 301)]
    assert await tail.read(store, 10) == []
    assert not tail.ready()


async def test_several_appenders_leave_no_gap(store: Redis) -> None:
    """Own and foreign appenders at once, answers in any order, a reader that now lags and now waits: nothing is
    skipped, nothing comes twice, and each source's records keep their order.
    """
    own, other = journals(store, "p1"), journals(store, "p2")
    tail = await taken(own)
    random = Random(7)

    async def append(who: Journals, source: str, total: int) -> None:
        n = 1
        while n <= total:
            count = random.randrange(1, 40)
            batch = [(i, f"{source} {i}".encode(), f"{source} {i}") for i in range(n, min(n + count, total + 1))]
            await who.append(TAG, source, 1, batch)
            n += count
            if random.random() < 0.3:
                await asyncio.sleep(random.random() / 200)

    async with kept(own):
        await asyncio.gather(
            *(append(own, f"own{i}", 800) for i in range(3)), append(other, "other", 800), asyncio.sleep(0)
        )
        found = await read_all(tail, store, 3_200, batch=50)
    assert len(found) == len(set(found)) == 3_200
    for source in ("own0", "own1", "own2", "other"):
        assert [f for f in found if f.startswith(source + " ")] == [f"{source} {i}" for i in range(1, 801)]


async def test_reading_while_others_append(store: Redis) -> None:
    """A reader that reads all the time while records are appended gets each once, in order."""
    own = journals(store)
    tail = await taken(own)
    reading = asyncio.create_task(read_all(tail, store, 3_000, batch=11))
    for n in range(1, 3_000, 10):
        await own.append(TAG, SOURCE, 1, records(n, 10))
        if n % 7 == 0:
            tail.poke()
    assert await reading == [str(n) for n in range(1, 3_001)]


async def test_a_long_queue_is_not_kept_in_memory(store: Redis) -> None:
    """A reader that does not keep up finds the rest in the store."""
    own = journals(store)
    tail = await taken(own)
    await tail.read(store, 1)
    for n in range(1, 3 * HAND_OVER_MAX, 500):
        await own.append(TAG, SOURCE, 1, records(n, 500))
    assert len(tail._items) <= HAND_OVER_MAX + 500
    assert await read_all(tail, store, 3 * HAND_OVER_MAX, 500) == [str(n) for n in range(1, 3 * HAND_OVER_MAX + 1)]


async def test_an_append_is_done_once(store: Redis) -> None:
    """The same ordinals again append nothing; a mixture appends what is new."""
    own = journals(store)
    tail = await taken(own)
    await own.append(TAG, SOURCE, 1, records(1, 5))
    await own.append(TAG, SOURCE, 1, records(1, 5))
    await own.append(TAG, SOURCE, 2, records(4, 4))
    assert await read_all(tail, store, 7) == [str(n) for n in range(1, 8)]
    assert await store.xlen(keys.stream(TAG)) == 7


async def test_a_stale_source_appends_nothing(store: Redis) -> None:
    """Once the new owner of a source has appended, the old one is refused."""
    own = journals(store)
    await own.append(TAG, SOURCE, 2, records(1, 1))
    with pytest.raises(LeaseLost):
        await own.append(TAG, SOURCE, 1, records(2, 1))
    assert await store.xlen(keys.stream(TAG)) == 1


async def test_one_owner(store: Redis) -> None:
    """A lease is one process's; the same process takes it again at once, with a new epoch; given back it is free."""
    one, two = journals(store, "p1"), journals(store, "p2")
    first = await taken(one)
    assert await two.take(TAG, decode) is None
    again = await taken(one)
    assert again.epoch == first.epoch + 1
    await one.release(again)
    assert (await taken(two)).epoch == first.epoch + 2


async def test_the_old_owner_is_fenced(store: Redis) -> None:
    """Every script of an owner is refused once the journal changed hands."""
    one, two = journals(store, "p1", lease_ms=500), journals(store, "p2")
    old = await taken(one)
    async with asyncio.timeout(5):
        while (new := await two.take(TAG, decode)) is None:
            await asyncio.sleep(0.02)
    assert new.epoch > old.epoch
    epoch, stream, partly, behind = keys.epoch(TAG), keys.stream(TAG), keys.partly(TAG), keys.behind(TAG)
    backlog = keys.backlog(TAG, RoomId("acc/r"))
    refused: dict[str, tuple[list[str], list[str | int]]] = {
        "mark": ([epoch, keys.under_way(TAG)], [old.epoch, 9]),
        "complete": (
            [epoch, stream, partly, keys.attempts(TAG), keys.dead(TAG), keys.folds(TAG)],
            [
                old.epoch,
                3,
                "1-0",
                "1 acc/r",
                "letter",
                1,
                "1-0",
                0,
                0,
                0,
                keys.ids(TAG, RoomId("acc/r"), 1),
                9,
                2,
                "m",
                "x",
            ],
        ),
        "spill": ([epoch, stream, backlog, behind, partly], [old.epoch, "acc/r", 1, "record", "1", 0]),
        "fold": ([epoch, keys.folds(TAG)], [old.epoch, "acc/r", "1 2"]),
        "caught_up": ([epoch, backlog, behind], [old.epoch, "acc/r"]),
        "trim": ([stream, epoch], [old.epoch, "9-0"]),
        "apply": ([epoch, *[f"{TAG}{n}" for n in range(9)]], [old.epoch, 1, "log", "record"]),
    }
    before = await store.dbsize()
    for name, (names, args) in refused.items():
        assert await Script(store, name)(names, args) == -1, name
    assert await store.dbsize() == before
    assert await one._hold([old], [old.epoch]) == [False]


async def test_an_owner_learns_that_it_lost(store: Redis) -> None:
    """Whoever waits or reads is told when somebody else has the lease."""
    one, two = journals(store, "p1", lease_ms=500), journals(store, "p2")
    tail = await taken(one)
    await tail.read(store, 1)
    await asyncio.sleep(0.55)
    await taken(two)
    async with kept(one):
        with pytest.raises(LeaseLost):
            await read_all(tail, store, 1)
    with pytest.raises(LeaseLost):
        await tail.sure()
    assert not tail.held()


async def test_a_lease_is_renewed(store: Redis) -> None:
    """An owner that lives keeps its lease far longer than its life, and is sure of it."""
    one, two = journals(store, "p1", lease_ms=500), journals(store, "p2")
    tail = await taken(one)
    async with kept(one):
        for _ in range(6):
            await asyncio.sleep(0.2)
            await tail.sure()
            assert await two.take(TAG, decode) is None


async def test_a_foreign_append_wakes_the_owner(store: Redis) -> None:
    """The owner hears at once of what another process appended, without waiting for its next renewal."""
    own, other = journals(store, "p1"), journals(store, "p2")
    tail = await taken(own)
    async with kept(own):
        async with asyncio.timeout(5):
            while not (await store.pubsub_numsub(keys.wake_channel("p1")))[0][1]:
                await asyncio.sleep(0.01)
        while tail.ready():
            await tail.read(store, 1)
        await other.append(TAG, SOURCE, 1, records(1, 1))
        async with asyncio.timeout(2):
            assert await read_all(tail, store, 1) == ["1"]


async def test_a_lost_answer_appends_once(tmp_path: Path) -> None:
    """The store dies in the middle of appends and comes back: each record is there once."""
    with ValkeyServer(tmp_path) as server:
        store = open_store(server.url)
        own = journals(store)
        appending = [
            asyncio.create_task(own.append(TAG, f"s{i}", 1, records(n, 1))) for n in range(1, 2) for i in range(200)
        ]
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        server.kill()
        await asyncio.to_thread(server.start)
        await asyncio.gather(*appending)
        assert await store.xlen(keys.stream(TAG)) == 200
        assert int(await store.get(keys.seq(TAG)) or 0) == 200
        await store.aclose()


async def test_scripts_survive_a_flush_of_scripts(store: Redis) -> None:
    """A store that has forgotten the scripts gets them again."""
    own = journals(store)
    await own.append(TAG, SOURCE, 1, records(1, 1))
    await store.script_flush()
    await own.append(TAG, SOURCE, 1, records(2, 1))
    assert await store.xlen(keys.stream(TAG)) == 2


async def test_a_store_that_lost_entries_is_noticed(store: Redis) -> None:
    """After a failover to a replica that was behind, the owner starts anew: new entries get numbers it has seen."""
    own = journals(store, lease_ms=500)
    tail = await taken(own)
    await own.append(TAG, SOURCE, 1, records(1, 10))
    assert len(await read_all(tail, store, 10)) == 10
    await store.set(keys.seq(TAG), 5)
    async with kept(own):
        with pytest.raises(LeaseLost):
            await read_all(tail, store, 1)


async def test_what_cannot_be_decoded_is_set_aside(store: Redis) -> None:
    """An entry of another version stops nobody: it becomes a dead letter, its neighbours are read."""
    own = journals(store)

    def picky(record: bytes) -> str:
        if record == b"2":
            raise msgspec.ValidationError("what is this")
        return record.decode()

    await own.append(TAG, SOURCE, 1, records(1, 3))
    tail = await own.take(TAG, picky)
    assert tail is not None
    assert [record for _, record in await tail.read(store, 10)] == ["1", "3"]
    await own.bury_broken(tail, "event", 5)
    assert not tail.broken
    ((_, fields),) = await store.xrange(keys.dead(TAG))
    assert decode_dead(fields[b"e"]).record == b"2"
    assert await store.xlen(keys.stream(TAG)) == 2


async def test_a_full_store_refuses_and_recovers(tmp_path: Path) -> None:
    """With no memory left scripts raise StoreDown and change nothing; leases outlive it; later all is appended."""
    with ValkeyServer(tmp_path, appendonly=False) as server:
        store = open_store(server.url)
        own = journals(store, lease_ms=500)
        tail = await taken(own)
        async with kept(own):
            await store.config_set("maxmemory", "1")
            with pytest.raises(StoreDown):
                await Script(store, "mark")([keys.epoch(TAG), keys.under_way(TAG)], [tail.epoch, 1])
            appending = asyncio.create_task(own.append(TAG, SOURCE, 1, records(1, 3)))
            await asyncio.sleep(1.0)
            assert not appending.done()
            assert not tail.lost
            await store.config_set("maxmemory", "0")
            await asyncio.wait_for(appending, 5)
            await asyncio.wait_for(tail.sure(), 5)
        assert await store.xlen(keys.stream(TAG)) == 3
        await store.aclose()


def test_every_script_stays_in_one_slot() -> None:
    """All keys that one script gets have the same cluster slot, whatever room, process and account are called."""

    def check(names: list[str]) -> None:
        assert len({key_slot(name.encode()) for name in names}) == 1, names

    account = keys.account_tag(AccountId("odd {name} }x{"))
    room = RoomId("odd {name} }x{/#room{y}")
    shard = keys.shard_tag(7)
    for tag in (account, shard):
        check(
            [keys.stream(tag), keys.seq(tag), keys.sources(tag), keys.lease(tag), keys.epoch(tag), keys.under_way(tag)]
        )
    check([
        keys.stream(shard), keys.seq(shard), keys.moved(shard), keys.lease(shard), keys.batch(shard, "p{1}"),
        keys.dedup(shard) + "x{y}z", keys.epoch(shard), keys.applied(shard), keys.rooms(shard), keys.tubes(shard),
        keys.security_log(shard), keys.dead(shard), keys.attempts(shard),
    ])  # fmt: skip
    check([
        keys.stream(account), keys.epoch(account), keys.under_way(account), keys.partly(account),
        keys.attempts(account), keys.dead(account), keys.backlog(account, room), keys.behind(account),
        keys.ids(account, room, 3), keys.birth(account), keys.holds(account), keys.waiting(account),
        keys.folds(account), keys.paces(account),
    ])  # fmt: skip


def test_every_script_is_called_with_declared_keys() -> None:
    """A script names no store key of its own: each comes in as KEYS, or as an argument that the caller made."""
    for script in files("core").iterdir():
        if script.name.endswith(".lua"):
            source = re.sub(r"--.*", "", script.read_text("utf-8"))
            for first in re.findall(r"redis\.p?call\('[A-Z]+', ([^,)]+)", source):
                assert re.match(r"KEYS\[(\d+|\w+( \+ \d)?)\]|key\b|ARGV\[4\] \.\.|ARGV\[5\] \.\.|hashes\[", first), (
                    script.name,
                    first,
                )

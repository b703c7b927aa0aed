"""What the store can do by itself, with nothing of ours: the floor under every durable relay on this machine."""

from __future__ import annotations

from time import perf_counter_ns

from bench.cases.case import Case
from bench.report import Figures, Row
from bench.tally import NS_PER_S, percentile
from bench.world import World
from core.embedded import EmbeddedStore, prepare_folder
from core.store import Redis, open_store

ROUND_TRIPS = 2_000
ENTRIES, BATCH = 20_000, 200
RECORD = b"x" * 200
NS_PER_US = 1_000


async def _round_trips(store: Redis, count: int) -> list[int]:
    took_ns = []
    for number in range(count):
        began_ns = perf_counter_ns()
        await store.xadd("trips", {"e": RECORD}, id=f"{number + 1}-0")
        took_ns.append(perf_counter_ns() - began_ns)
    return took_ns


async def _through_a_stream(store: Redis, count: int) -> float:
    """Append, read and delete in batches, as a queue does; entries per second."""
    began_ns = perf_counter_ns()
    for start in range(1, count + 1, BATCH):
        pipeline = store.pipeline(transaction=True)
        ids = [f"{number}-0" for number in range(start, start + BATCH)]
        for entry in ids:
            pipeline.xadd("queue", {"e": RECORD}, id=entry)
        await pipeline.execute()
        assert await store.xread({"queue": f"{start - 1}-0"}, count=BATCH)
        await store.xdel("queue", *ids)
    return count / ((perf_counter_ns() - began_ns) / NS_PER_S)


async def floor(world: World) -> Figures:
    """The embedded store with its append-only file, one client, a Unix socket."""
    folder = world.folder / world.unique("store")
    prepare_folder(folder)
    embedded = EmbeddedStore(folder)
    await embedded.start()
    store = open_store(embedded.url, max_connections=2)
    try:
        trips_ns = await _round_trips(store, world.scaled(ROUND_TRIPS))
        rate = await _through_a_stream(store, world.scaled(ENTRIES))
    finally:
        await store.aclose()
        await embedded.stop()
    return {
        "store.p50": percentile(trips_ns, 0.50) / NS_PER_US,
        "store.p99": percentile(trips_ns, 0.99) / NS_PER_US,
        "store.rate": rate,
    }


CASE = Case(
    "store",
    (
        Row("store.p50", "the store alone: one XADD, there and back, p50", "µs"),
        Row("store.p99", "… p99", "µs"),
        Row("store.rate", "… XADD, XREAD and XDEL in batches of 200: entries/s", "/s", better="more"),
    ),
    None,
    floor,
    short=True,
    irc=False,
)

"""What a room, a tube, an account and a kept message take in memory: slopes over several sizes."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import linear_regression

from bench import load, procfs
from bench.cases.case import MIB, Case, rest, rss_mib
from bench.chat.bridges import Whole
from bench.chat.service import Layout
from bench.chat.stage import Stage, staged
from bench.report import Figures, Row
from bench.world import MakeBridge, World
from core.embedded import socket_path
from core.store import open_store

SIZES = (0, 1_000, 5_000, 10_000)
ACCOUNTS = (2, 20, 60)
MESSAGES = 20_000
KIB = 1024


def _layout(kind: str, size: int) -> Layout:
    # One tube is always there: through it the bridge shows that it relays.
    if kind == "rooms":
        return Layout(pairs=1, idle_rooms=size)
    return Layout(pairs=1 + size) if kind == "tubes" else Layout(pairs=size // 2, accounts=size // 2)


def slope_kib(sizes: Sequence[int], sums_mib: Sequence[float]) -> float:
    """KiB per thing, by least squares."""
    return linear_regression(sizes, sums_mib).slope * KIB


async def _kind(world: World, kind: str, sizes: Sequence[int]) -> tuple[Figures, Figures]:
    """Ours, and the floor: the records themselves with their names."""
    sums_mib, stores_mib, least_bytes = [], [], 0.0
    for size in sizes:
        async with staged(world, _layout(kind, size)) as stage:
            await rest(stage.bridge)
            sums_mib.append(rss_mib(stage.bridge))
            stores_mib.append(procfs.named(stage.bridge.pids, "server").rss_bytes / MIB)
            if size:
                least_bytes = (stage.sizes.rooms_bytes + stage.sizes.tubes_bytes) / size
    figures = {f"memory.{kind}.{size}": mib for size, mib in zip(sizes, sums_mib, strict=True)}
    figures[f"memory.{kind}.each"] = slope_kib(sizes, sums_mib)
    figures[f"memory.{kind}.store"] = slope_kib(sizes, stores_mib)
    return figures, {f"memory.{kind}.each": least_bytes / KIB, f"memory.{kind}.store": least_bytes / KIB}


async def _store_bytes(stage: Stage) -> tuple[int, int]:
    """What the store uses, and how much of it is the id map."""
    bridge = stage.bridge
    assert isinstance(bridge, Whole)
    store = open_store(f"unix://{socket_path(bridge.data)}", max_connections=2)
    try:
        info = await store.info("memory")
        ids = [await store.memory_usage(key, samples=0) or 0 async for key in store.scan_iter("*}:ids:*", count=1_000)]
        return int(info["used_memory"]), sum(ids)
    finally:
        await store.aclose()


async def _messages(world: World) -> Figures:
    """What the store keeps of a message when it is delivered: who may edit it and where, and that it was taken in."""
    async with staged(world, Layout(pairs=64)) as stage:
        await rest(stage.bridge)
        before_bytes, before_ids_bytes = await _store_bytes(stage)
        tally, mouth = stage.tally(world.scaled(MESSAGES))
        await load.burst(mouth, tally)
        await tally.settled()
        await rest(stage.bridge)
        bytes_, ids_bytes = await _store_bytes(stage)
        kept, ids = bytes_ - before_bytes, ids_bytes - before_ids_bytes
        return {
            "memory.message.ids": ids / max(1, tally.delivered),
            "memory.message.rest": (kept - ids) / max(1, tally.delivered),
        }


async def measure(world: World, make: MakeBridge) -> Figures:
    """bridgebot, started anew for each size, idle."""
    kinds = {"rooms": SIZES, "tubes": SIZES, "accounts": ACCOUNTS}
    figures: Figures = {}
    for kind, sizes in ({"tubes": SIZES[:2]} if world.quick else kinds).items():
        ours, least = await _kind(world, kind, sizes)
        figures |= ours
        if kind != "accounts":
            figures |= {f"{key}_least": value for key, value in least.items()}
    return figures | await _messages(world)


def _rows(kind: str, title: str) -> tuple[Row, ...]:
    return (
        Row(f"memory.{kind}.each", f"memory per idle {title}", "KiB"),
        Row(f"memory.{kind}.store", "… of that in the store", "KiB"),
        Row(f"memory.{kind}.each_least", "… the records alone, which is the least", "KiB"),
    )


CASE = Case(
    "memory",
    (
        *_rows("rooms", "room without a tube"),
        *_rows("tubes", "tube, its two rooms included"),
        *_rows("accounts", "account, with one tube")[:2],
        Row("memory.message.ids", "the store keeps of a delivered message for 30 days (id map)", "B"),
        Row("memory.message.rest", "… for 26 hours (so that it is not taken in twice)", "B"),
    ),
    measure,
    ours_only=True,
    irc=False,
    limit_s=600.0,
)

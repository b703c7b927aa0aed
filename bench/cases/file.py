"""Files of 5 MB from one account to another: they are streamed, so memory stays where it was."""

from __future__ import annotations

import asyncio
from time import perf_counter_ns

from bench import procfs
from bench.cases.case import MIB, Case, rest
from bench.chat.service import Layout
from bench.chat.stage import MakeChatBridge, Stage, bare, staged, whole
from bench.report import Figures, Row
from bench.tally import NS_PER_S
from bench.world import MakeBridge, World

SIZE_BYTES = 5_000_000
MB = 1_000_000
AT_ONCE = 8
TIMEOUT_S = 30.0


async def _send(world: World, stage: Stage, files: int) -> tuple[float, float]:
    """Post files in as many rooms at once; seconds, and by how many MiB the memory of all processes grew at most."""
    await rest(stage.bridge)
    service = stage.service
    goal = service.files + files
    before_bytes = procfs.usage(stage.bridge.pids).rss_bytes
    procfs.forget_peaks(stage.bridge.pids)
    began_ns = perf_counter_ns()
    service.do([["file", f"a{number}", world.unique("f"), SIZE_BYTES] for number in range(files)])
    async with asyncio.timeout(TIMEOUT_S):
        while service.files < goal:
            service.changed.clear()
            await service.changed.wait()
    took_s = (perf_counter_ns() - began_ns) / NS_PER_S
    return took_s, max(0, procfs.peak_bytes(stage.bridge.pids) - before_bytes) / MIB


async def _all(world: World, make: MakeChatBridge) -> Figures:
    async with staged(world, Layout(pairs=AT_ONCE), make) as stage:
        await _send(world, stage, AT_ONCE)  # the first loads what is loaded once
        one_s, one_mib = await _send(world, stage, 1)
        before = stage.service.file_bytes
        all_s, all_mib = await _send(world, stage, AT_ONCE)
        missing_bytes = AT_ONCE * SIZE_BYTES - (stage.service.file_bytes - before)
    return {
        "file.one": SIZE_BYTES / MB / one_s,
        "file.one_growth": one_mib,
        "file.many": AT_ONCE * SIZE_BYTES / MB / all_s,
        "file.many_growth": all_mib,
        "file.missing": missing_bytes,
    }


async def floor(world: World) -> Figures:
    """A process that only hands on, 64 KiB at a time."""
    return await _all(world, bare)


async def measure(world: World, make: MakeBridge) -> Figures:
    """bridgebot."""
    return await _all(world, whole)


CASE = Case(
    "file",
    (
        Row("file.one", "a file of 5 MB from one account to another: MB/s", "MB/s", better="more"),
        Row("file.one_growth", "… largest growth of memory meanwhile, all processes", "MiB"),
        Row("file.many", "8 files of 5 MB at once: MB/s together", "MB/s", better="more"),
        Row("file.many_growth", "… largest growth of memory meanwhile, all processes", "MiB"),
        Row("file.missing", "… bytes missing", "", 0),
    ),
    measure,
    floor,
    ours_only=True,
    irc=False,
)

"""One trial: a store, processes, a service, load, faults, and then the count. A seed replays it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from random import Random
from typing import Literal, NamedTuple

from core import keys
from core.deliverer import STREAM_BATCH
from core.model import AccountId
from core.store import open_store
from tests.faults import nemesis
from tests.faults.checker import PROBLEMS, Report, count
from tests.faults.measure import Figures, measure
from tests.faults.proxy import Proxy
from tests.faults.service import KEYED, Service
from tests.servers.store import ValkeyServer

ROOT = Path(__file__).parents[2]
LEASE_MS = 1_000
SHARDS = 4
PREFIX = "say "
WAITING_MAX = 20_000
BEHIND_MAX = 1_500
"""People fall silent while so much waits to be taken in, or for one room: a trial is not to end in hours of posting."""
CHUNK_S = 0.02
"""People talk in small bursts of so long."""
BURST_EVERY_S = 5.0

ACCOUNTS = {"a": "keyed", "b": "plain", "c": "stream", "d": "finds", "e": "slow"}
SAMEROOMS = (
    ("a/1", "b/1", "c/1", "d/1", "a/2", "c/2"),
    ("a/3", "b/3"),
    ("c/4", "c/5", "d/4"),
    ("a/6", "a/7", "a/8"),
    ("d/9", "a/10"),
    ("d/11", "c/11"),
    ("a/12", "e/12", "e/13"),
)


@dataclass
class Process:
    """A process of the installation."""

    name: str
    roles: str
    running: asyncio.subprocess.Process | None = None
    point: str = ""
    """Where it is to end by itself."""


@dataclass
class Plan:
    """What a trial is like."""

    seed: int
    seconds: float
    processes: tuple[tuple[str, str], ...] = (("all", "relay bots"),)
    rate: float = 300.0
    burst: int = 1_500
    pause_s: tuple[float, float] = (0.3, 1.5)
    """Between two faults."""
    faults: tuple[str, ...] = nemesis.LOCAL
    in_memory: int = 200
    lease_ms: int = LEASE_MS
    store: Literal["", "redis"] = ""
    fsync: str = "everysec"
    network: bool = False
    """Every process reaches the store by a proxy of its own."""
    notice_after_s: int = 60
    is_dated: bool = False
    """The service says when a message was said: what waited long is folded."""
    measures: bool = False
    """Take times before the faults begin."""


class Outcome(NamedTuple):
    """What a trial brought."""

    report: Report
    figures: Figures
    log: Sequence[str]
    """What was done."""
    seconds: Sequence[float]
    """How long it took to connect, to measure, to break things, until all was quiet, to count and end."""


@dataclass
class Trial:
    """A trial under way."""

    plan: Plan
    folder: Path
    random: Random
    service: Service
    store: ValkeyServer
    processes: list[Process]
    proxies: dict[str, Proxy] = field(default_factory=dict)
    faults: Counter[str] = field(default_factory=Counter)
    kills: Counter[str] = field(default_factory=Counter)
    """What was killed → how often."""
    crashes: list[str] = field(default_factory=list)
    log: list[str] = field(default_factory=list)
    numbers: dict[str, int] = field(default_factory=dict)
    said_s: dict[str, float] = field(default_factory=dict)
    rooms: tuple[str, ...] = tuple(room for rooms in SAMEROOMS for room in rooms)
    _starting: asyncio.Lock = field(default_factory=asyncio.Lock)

    def note(self, what: str) -> None:
        """Write down what was done, for the report of a failure."""
        self.log.append(f"{time.monotonic():.2f} {what}")

    # --- processes

    async def start(self, process: Process, die_at: str = "") -> None:
        """Start a process; return when it is up (or has ended at its point already)."""
        async with self._starting:
            if process.running is None:
                await self._start(process, die_at)

    async def _start(self, process: Process, die_at: str = "") -> None:
        proxy = self.proxies.get(process.name)
        order = {
            "roles": process.roles,
            "process": process.name,
            "store": proxy.url if proxy else self.store.url,
            "service": str(self.folder / "s"),
            "accounts": ACCOUNTS,
            "shards": SHARDS,
            "lease_ms": self.plan.lease_ms,
            "in_memory": self.plan.in_memory,
            "die_at": die_at,
            "notice_after_s": self.plan.notice_after_s,
            "is_dated": self.plan.is_dated,
        }
        process.point = die_at
        with open(self.folder / f"{process.name}.log", "ab") as log:
            process.running = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "tests.faults.worker", json.dumps(order),
                cwd=ROOT, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=log,
                env=os.environ | {"PYTHONWARNINGS": "ignore"},
            )  # fmt: skip
        assert process.running.stdout
        await process.running.stdout.readline()

    async def kill(self, process: Process, what: str = "") -> None:
        """SIGKILL, counted as ``what``. Harmless when it has ended."""
        running, process.running = process.running, None
        if running is None:
            return
        if running.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                running.kill()
            if what:
                self.kills[what] += 1
            await running.wait()
        else:
            self._ended(process, running.returncode)

    def _ended(self, process: Process, code: int) -> None:
        """It ended before anybody killed it."""
        if process.point and code == -signal.SIGKILL:
            self.kills[process.point.rpartition(":")[0]] += 1
            self.note(f"{process.name} ended at {process.point}")
        else:
            self.crashes.append(f"{process.name} ended by itself with {code}: see its log")

    def signal(self, process: Process, number: signal.Signals) -> None:
        """Send a signal."""
        if process.running:
            with contextlib.suppress(ProcessLookupError):
                process.running.send_signal(number)

    async def revive(self) -> None:
        """Start again whatever has ended by itself."""
        async with self._starting:
            for process in self.processes:
                if process.running and process.running.returncode is not None:
                    await self.kill(process)
                    await self._start(process)

    # --- load

    def say(self, room: str) -> None:
        """Somebody says the next number in a room."""
        number = self.numbers[room] = self.numbers.get(room, 0) + 1
        text = f"{PREFIX}{room} {number}"
        self.said_s[text] = self.service.say(room, text).at_s

    async def talk(self, until_s: float, rate: float = 0.0, *, bursts: bool = True) -> None:
        """Say things everywhere, with a burst now and then."""
        mean = (rate or self.plan.rate) * CHUNK_S
        while time.monotonic() < until_s:
            await asyncio.sleep(CHUNK_S)
            if self._is_behind():
                continue
            if bursts and self.random.random() < CHUNK_S / BURST_EVERY_S:
                talkers = self.random.sample(self.rooms, 3)
                for _ in range(self.random.randrange(self.plan.burst)):
                    self.say(self.random.choice(talkers))
            for _ in range(int(self.random.expovariate(1 / mean) + 0.5)):
                self.say(self.random.choice(self.rooms))

    def _is_behind(self) -> bool:
        accounts, accepted = self.service.accounts.values(), self.service.accepted
        if sum(len(account.waiting) for account in accounts) > WAITING_MAX:
            return True
        return any(
            sum(accepted[other] for other in rooms if other != room) - len(self.service.posts[room]) > BEHIND_MAX
            for rooms in SAMEROOMS
            for room in rooms
            if self.service.kind(room) != "slow"
        )

    # --- the end

    async def quiet(self) -> None:
        """Everything runs again: wait until every message is where it should be, or nothing moves for long."""
        seen, since_s, counted_s = -1, time.monotonic(), 0.0
        while (still_s := time.monotonic() - since_s) < 8.0:
            for process in self.processes:
                await self.start(process)
            await self.revive()
            waiting = sum(len(account.waiting) for account in self.service.accounts.values())
            if self.service.posted != seen:
                seen, since_s = self.service.posted, time.monotonic()
            elif still_s > 0.3 and not waiting and counted_s != since_s:
                counted_s = since_s
                if not count(self.service, SAMEROOMS, PREFIX).lost:
                    return
            await asyncio.sleep(0.05)

    async def report(self) -> Report:
        """The count."""
        report = count(self.service, SAMEROOMS, PREFIX)
        report.faults, report.kills, report.crashes = self.faults, self.kills, self.crashes
        report.leftovers = await self._leftovers()
        return report

    async def _leftovers(self) -> list[str]:
        """What still lies in the store when all is delivered: nothing may, for long."""
        store = open_store(self.store.url)
        left: list[str] = []
        try:
            for _ in range(25):
                left = []
                for account in map(AccountId, ACCOUNTS):
                    tag = keys.account_tag(account)
                    sizes = [
                        ("log", await store.xlen(keys.stream(tag))),
                        ("partly", await store.hlen(keys.partly(tag))),
                        ("behind", await store.hlen(keys.behind(tag))),
                        ("attempts", await store.hlen(keys.attempts(tag))),
                        ("dead", await store.xlen(keys.dead(tag))),
                    ]
                    left += [f"{size} in {tag}{name}" for name, size in sizes if size]
                for shard in range(SHARDS):
                    if size := await store.xlen(keys.stream(keys.shard_tag(shard))):
                        left.append(f"{size} in the inbox of shard {shard}")
                if not left:
                    break
                await asyncio.sleep(0.1)
        finally:
            await store.aclose()
        return left


def bounds(report: Report) -> list[str]:
    """Which promises were broken, in words."""
    problems = [f"{len(found)} {name}" for name in PROBLEMS if (found := getattr(report, name))]
    faults = report.faults.total() + report.kills.total()
    for room, times in report.duplicates.items():
        kind = ACCOUNTS[room.partition("/")[0]]
        # A stream may have two batches out, and each fault may hit them.
        most = 0 if kind in KEYED else faults * 2 * STREAM_BATCH if kind == "stream" else faults
        if times > most:
            problems.append(f"{times} twice in {room}, of a {kind} kind: at most {most} are allowed")
    return problems


async def connect_rooms(trial: Trial) -> None:
    """Make the samerooms by typed commands."""
    service = trial.service
    for rooms in SAMEROOMS:
        for other in rooms[1:]:
            before = len(service.texts(rooms[0]))
            service.say(rooms[0], "-sameroom open")
            await service.until(lambda r=rooms[0], n=before: len(service.texts(r)) > n, 10, f"a code in {rooms[0]}")
            code = service.texts(rooms[0])[-1].split("Your code is ")[1].split(".")[0]
            service.say(other, f"-sameroom connect {code}")
            for room in (rooms[0], other):
                told = lambda r=room, o=other: any("now connected" in t for t in service.texts(r)[-1:])  # noqa: E731
                await service.until(told, 10, f"{room} is connected")


@asynccontextmanager
async def running_trial(plan: Plan, folder: Path) -> AsyncIterator[Trial]:
    """A trial with its rooms connected and its processes up."""
    random = Random(plan.seed)
    service = Service(ACCOUNTS, random)
    store = ValkeyServer(folder / "store", fsync=plan.fsync, kind=plan.store)
    processes = [Process(name, roles) for name, roles in plan.processes]
    trial = Trial(plan, folder, random, service, store, processes)
    async with AsyncExitStack() as stack:
        await asyncio.to_thread(store.start)
        stack.callback(store.stop)
        await service.start(folder / "s")
        stack.push_async_callback(service.stop)
        if plan.network:
            for process in processes:
                trial.proxies[process.name] = await stack.enter_async_context(Proxy(store.socket))
        stack.push_async_callback(_end, trial)
        for process in processes:
            await trial.start(process)
        await connect_rooms(trial)
        yield trial


async def _end(trial: Trial) -> None:
    for process in trial.processes:
        trial.signal(process, signal.SIGCONT)
        await trial.kill(process)


async def run(plan: Plan, folder: Path) -> Outcome:
    """A whole trial."""
    began_s = time.monotonic()
    async with running_trial(plan, folder) as trial:
        times_s = [began_s, time.monotonic()]
        figures = await measure(trial) if plan.measures else Figures()
        times_s.append(time.monotonic())
        end_s = times_s[-1] + plan.seconds
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(trial.talk(end_s))
            tasks.create_task(nemesis.Nemesis(trial).run(end_s))
        trial.note("the faults are over")
        times_s.append(time.monotonic())
        await trial.quiet()
        times_s.append(time.monotonic())
        report = await trial.report()
    return Outcome(report, figures, trial.log, [b - a for a, b in pairwise((*times_s, time.monotonic()))])

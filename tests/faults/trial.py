"""One trial: a store, processes, a service, load, faults, and then the count. A seed replays it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from core import keys
from core.deliverer import STREAM_BATCH
from core.model import AccountId
from core.store import open_store
from tests.faults.checker import Report, count
from tests.faults.service import Service
from tests.servers.store import ValkeyServer

ROOT = Path(__file__).parents[2]
LEASE_MS = 1_000
SHARDS = 4
PREFIX = "say "

ACCOUNTS = {"a": "keyed", "b": "plain", "c": "stream", "d": "finds"}
SAMEROOMS = (
    ("a/1", "b/1", "c/1", "d/1", "a/2", "c/2"),
    ("a/3", "b/3"),
    ("c/4", "c/5", "d/4"),
    ("a/6", "a/7", "a/8"),
    ("b/9", "b/10"),
    ("d/11", "c/11"),
)

POINTS = (
    "through:before", "through:after", "ingest:before", "ingest:after", "append:before", "append:after",
    "complete:before", "complete:after", "mark:after", "spill:before", "spill:after", "trim:after", "caught_up:after",
)  # fmt: skip


@dataclass
class Process:
    """A process of the installation."""

    name: str
    roles: str
    running: asyncio.subprocess.Process | None = None


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
    faults: tuple[str, ...] = ("kill", "point", "stop", "store kill", "store stop", "busy")
    in_memory: int = 200


@dataclass
class Trial:
    """A trial under way."""

    plan: Plan
    folder: Path
    random: Random
    service: Service
    store: ValkeyServer
    processes: list[Process]
    faults: int = 0
    log: list[str] = field(default_factory=list)
    numbers: dict[str, int] = field(default_factory=dict)

    def note(self, what: str) -> None:
        """Write down what was done, for the report of a failure."""
        self.log.append(f"{time.monotonic():.2f} {what}")

    # --- processes

    async def start(self, process: Process, die_at: str = "") -> None:
        """Start a process; return when it is up (or has ended at its point already)."""
        order = {
            "roles": process.roles,
            "process": process.name,
            "store": self.store.url,
            "service": str(self.folder / "s"),
            "accounts": ACCOUNTS,
            "shards": SHARDS,
            "lease_ms": LEASE_MS,
            "in_memory": self.plan.in_memory,
            "die_at": die_at,
        }
        with open(self.folder / f"{process.name}.log", "ab") as log:
            process.running = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "tests.faults.worker", json.dumps(order),
                cwd=ROOT, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=log,
                env=os.environ | {"PYTHONWARNINGS": "ignore"},
            )  # fmt: skip
        assert process.running.stdout
        await process.running.stdout.readline()

    async def kill(self, process: Process) -> None:
        """SIGKILL. Harmless when it has ended."""
        running, process.running = process.running, None
        if running:
            with contextlib.suppress(ProcessLookupError):
                running.kill()
            await running.wait()

    def signal(self, process: Process, number: signal.Signals) -> None:
        """Send a signal."""
        if process.running:
            with contextlib.suppress(ProcessLookupError):
                process.running.send_signal(number)

    async def revive(self) -> None:
        """Start again whatever has ended by itself."""
        for process in self.processes:
            if process.running is None or process.running.returncode is not None:
                await self.kill(process)
                await self.start(process)

    # --- load

    def say(self, room: str) -> None:
        """Somebody says the next number in a room."""
        number = self.numbers[room] = self.numbers.get(room, 0) + 1
        self.service.say(room, f"{PREFIX}{room} {number}")

    async def talk(self, until_s: float) -> None:
        """Say things everywhere, with a burst now and then."""
        rooms = [room for rooms in SAMEROOMS for room in rooms]
        while time.monotonic() < until_s:
            if self.random.random() < 0.005:
                burst = self.random.randrange(self.plan.burst)
                talkers = self.random.sample(rooms, 3)
                for _ in range(burst):
                    self.say(self.random.choice(talkers))
            self.say(self.random.choice(rooms))
            await asyncio.sleep(self.random.expovariate(self.plan.rate))

    # --- faults

    async def nemesis(self, until_s: float) -> None:
        """One fault after another."""
        while time.monotonic() < until_s:
            await asyncio.sleep(self.random.uniform(*self.plan.pause_s))
            fault = self.random.choice(self.plan.faults)
            await self.do(fault)
            await self.revive()

    async def do(self, fault: str) -> None:
        """One fault."""
        self.faults += 1
        process = self.random.choice(self.processes)
        longer_than_lease_s = LEASE_MS / 1000 * self.random.uniform(1.1, 1.6)
        if fault == "kill":
            self.note(f"kill {process.name}")
            await self.kill(process)
            await asyncio.sleep(self.random.choice((0.0, 0.5, longer_than_lease_s)))
            await self.start(process)
        elif fault == "point":
            point = f"{self.random.choice(POINTS)}:{self.random.randrange(1, 60)}"
            self.note(f"{process.name} ends at {point}")
            await self.kill(process)
            await self.start(process, point)
        elif fault == "stop":
            self.note(f"stop {process.name} for {longer_than_lease_s:.2f} s")
            self.signal(process, signal.SIGSTOP)
            await asyncio.sleep(longer_than_lease_s)
            self.signal(process, signal.SIGCONT)
        elif fault == "store kill":
            self.note("kill the store")
            self.store.kill()
            await asyncio.sleep(self.random.choice((0.0, 0.3, longer_than_lease_s)))
            await asyncio.to_thread(self.store.start)
        elif fault == "store stop":
            self.note(f"freeze the store for {longer_than_lease_s:.2f} s")
            self.store.freeze()
            await asyncio.sleep(longer_than_lease_s)
            self.store.thaw()
        else:
            room = self.random.choice([room for rooms in SAMEROOMS for room in rooms])
            self.note(f"{room} is busy")
            self.service.busy_until_s[room] = time.monotonic() + self.random.uniform(0.2, 2.5)

    # --- the end

    async def quiet(self) -> None:
        """Everything runs again: wait until every message is where it should be, or nothing moves for long."""
        seen, since_s = -1, time.monotonic()
        while time.monotonic() - since_s < 8.0:
            await self.revive()
            report = count(self.service, SAMEROOMS, PREFIX)
            waiting = sum(len(account.waiting) for account in self.service.accounts.values())
            if not report.lost and not waiting:
                return
            if report.delivered != seen:
                seen, since_s = report.delivered, time.monotonic()
            await asyncio.sleep(0.2)

    async def report(self) -> Report:
        """The count."""
        report = count(self.service, SAMEROOMS, PREFIX)
        report.faults = self.faults
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
    problems = [
        f"{len(found)} {name}"
        for name in ("lost", "out_of_order", "phantom", "leftovers")
        if (found := getattr(report, name))
    ]
    for room, times in report.duplicates.items():
        kind = ACCOUNTS[room.partition("/")[0]]
        # A stream may have two batches out, and each fault may hit them.
        most = {"keyed": 0, "stream": report.faults * 2 * STREAM_BATCH}.get(kind, report.faults)
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
    socket_folder = ValkeyServer(folder / "store")
    service = Service(ACCOUNTS, random)
    processes = [Process(name, roles) for name, roles in plan.processes]
    trial = Trial(plan, folder, random, service, socket_folder, processes)
    await asyncio.to_thread(trial.store.start)
    await service.start(folder / "s")
    try:
        for process in processes:
            await trial.start(process)
        await connect_rooms(trial)
        yield trial
    finally:
        for process in processes:
            trial.signal(process, signal.SIGCONT)
            await trial.kill(process)
        await service.stop()
        trial.store.stop()


async def run(plan: Plan, folder: Path, say: Callable[[str], None] = lambda line: None) -> tuple[Report, Sequence[str]]:
    """A whole trial; returns the count and what was done."""
    async with running_trial(plan, folder) as trial:
        end_s = time.monotonic() + plan.seconds
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(trial.talk(end_s))
            tasks.create_task(trial.nemesis(end_s))
        say("faults are over; waiting until all is quiet")
        await trial.quiet()
        return await trial.report(), trial.log

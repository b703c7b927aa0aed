"""What goes wrong in a trial: one thing after another for the processes, and beside it for store and service."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Awaitable, Callable
from importlib.resources import files
from random import Random
from typing import TYPE_CHECKING

from core.store import open_store
from tests.faults.proxy import Proxy

if TYPE_CHECKING:
    from tests.faults.trial import Trial

KILLS = ("kill", "point")
NETWORK = ("partition", "cut", "latency")
"""Between a process and the store; they need ``Plan.network``."""
FOR_PROCESSES = (*KILLS, "stop", *NETWORK)
FOR_STORE = ("store kill", "store stop", "pause", "disk", "busy", "storm", "down")
ALL = (*FOR_PROCESSES, *FOR_STORE)
LOCAL = tuple(fault for fault in ALL if fault not in NETWORK)
OFTEN = {"kill": 6, "point": 6, "store kill": 8}
"""Kills are what a trial is for: so many for each fault of another kind."""
AFTER_KILL_S = (0.0, 0.0, 0.0, 0.0, 0.3, 0.3)

SCRIPTS = sorted(file.name.removesuffix(".lua") for file in files("core").iterdir() if file.name.endswith(".lua"))
POINTS = tuple(f"{script}:{when}" for script in SCRIPTS if script != "release" for when in ("before", "after"))
"""Before the store does a script, and after it has done it and nobody knows. (``release`` ends a process anyway.)"""


class Nemesis:
    """Does the faults of a trial."""

    def __init__(self, trial: Trial) -> None:
        self._trial = trial
        self._plan = trial.plan
        self._do: dict[str, Callable[[Random], Awaitable[None]]] = {
            "kill": self._kill,
            "point": self._point,
            "stop": self._stop,
            "partition": self._partition,
            "cut": self._cut,
            "latency": self._latency,
            "store kill": self._store_kill,
            "store stop": self._store_stop,
            "pause": self._pause,
            "disk": self._disk,
            "busy": self._busy,
            "storm": self._storm,
            "down": self._down,
        }

    async def run(self, until_s: float) -> None:
        """Faults until that time; everything runs again afterwards."""
        async with asyncio.TaskGroup() as tasks:
            for number, those in enumerate((FOR_PROCESSES, FOR_STORE)):
                if faults := [fault for fault in self._plan.faults if fault in those]:
                    tasks.create_task(self._one_after_another(faults, Random(self._plan.seed * 2 + number), until_s))

    async def _one_after_another(self, faults: list[str], random: Random, until_s: float) -> None:
        weights = [OFTEN.get(fault, 1) for fault in faults]
        while time.monotonic() < until_s:
            await asyncio.sleep(random.uniform(*self._plan.pause_s))
            (fault,) = random.choices(faults, weights)
            self._trial.faults[fault] += 1
            await self._do[fault](random)
            await self._trial.revive()

    def _longer_than_lease_s(self, random: Random) -> float:
        return self._plan.lease_ms / 1000 * random.uniform(1.1, 1.6)

    # --- processes

    async def _kill(self, random: Random) -> None:
        process = random.choice(self._trial.processes)
        self._trial.note(f"kill {process.name}")
        await self._trial.kill(process, "process")
        await asyncio.sleep(random.choice((*AFTER_KILL_S, self._longer_than_lease_s(random))))
        await self._trial.start(process)

    async def _point(self, random: Random) -> None:
        process = random.choice(self._trial.processes)
        point = f"{random.choice(POINTS)}:{random.choice((1, 2, random.randrange(1, 60)))}"
        self._trial.note(f"kill {process.name}; the next one ends at {point}")
        await self._trial.kill(process, "process")
        await self._trial.start(process, point)

    async def _stop(self, random: Random) -> None:
        process, seconds = random.choice(self._trial.processes), self._longer_than_lease_s(random)
        self._trial.note(f"stop {process.name} for {seconds:.2f} s")
        self._trial.signal(process, signal.SIGSTOP)
        await asyncio.sleep(seconds)
        self._trial.signal(process, signal.SIGCONT)

    # --- the way to the store

    def _proxy(self, random: Random) -> tuple[str, Proxy]:
        process = random.choice(self._trial.processes)
        return process.name, self._trial.proxies[process.name]

    async def _partition(self, random: Random) -> None:
        name, proxy = self._proxy(random)
        seconds, heals = self._longer_than_lease_s(random), random.random() < 0.5
        self._trial.note(f"{name} is cut off from the store for {seconds:.2f} s; {'late' if heals else 'lost'} words")
        proxy.blackhole(True)
        await asyncio.sleep(seconds)
        if not heals:
            proxy.drop()
        proxy.blackhole(False)

    async def _cut(self, random: Random) -> None:
        name, proxy = self._proxy(random)
        before, after = random.choice(((0, 1), (1, 0), (0, 3), (3, 0), (2, 2)))
        self._trial.note(f"{name} loses {before} requests and {after} answers of the store")
        proxy.cuts_before, proxy.cuts = before, after
        await asyncio.sleep(random.uniform(0.1, 1.0))
        proxy.cuts_before = proxy.cuts = 0

    async def _latency(self, random: Random) -> None:
        name, proxy = self._proxy(random)
        proxy.latency_s, proxy.slice_bytes = random.uniform(0.005, 0.05), random.choice((100, 65_536))
        self._trial.note(f"the store is {proxy.latency_s * 1000:.0f} ms away from {name}")
        await asyncio.sleep(random.uniform(0.5, 2.0))
        proxy.latency_s, proxy.slice_bytes = 0.0, 65_536

    # --- the store

    async def _store_kill(self, random: Random) -> None:
        self._trial.note("kill the store")
        self._trial.store.kill()
        self._trial.kills["store"] += 1
        await asyncio.sleep(random.choice((*AFTER_KILL_S, self._longer_than_lease_s(random))))
        await asyncio.to_thread(self._trial.store.start)

    async def _store_stop(self, random: Random) -> None:
        seconds = self._longer_than_lease_s(random)
        self._trial.note(f"freeze the store for {seconds:.2f} s")
        self._trial.store.freeze()
        await asyncio.sleep(seconds)
        self._trial.store.thaw()

    async def _pause(self, random: Random) -> None:
        seconds = self._longer_than_lease_s(random)
        self._trial.note(f"the store lets everybody wait for {seconds:.2f} s")
        client = open_store(self._trial.store.url)
        await client.execute_command("CLIENT", "PAUSE", int(seconds * 1000), "ALL")
        await client.aclose()
        await asyncio.sleep(seconds)

    async def _disk(self, random: Random) -> None:
        seconds = random.uniform(0.5, 2.0)
        self._trial.note(f"the store's disk is full for {seconds:.2f} s")
        store = self._trial.store
        store.fill_disk(full=True)
        await asyncio.sleep(seconds)
        if store.ended():  # with appendfsync always it ends itself rather than answer for what it cannot keep
            self._trial.note("the store has ended for want of space")
            store.kill()
            await asyncio.to_thread(store.start)
        else:
            store.fill_disk(full=False)

    # --- the service

    async def _busy(self, random: Random) -> None:
        room = random.choice(self._trial.rooms)
        self._trial.note(f"{room} is busy")
        self._trial.service.busy_until_s[room] = time.monotonic() + random.uniform(0.2, 2.5)

    async def _storm(self, random: Random) -> None:
        account, seconds = random.choice([*self._trial.service.accounts]), random.uniform(0.5, 3.0)
        self._trial.note(f"{account} may post nothing for {seconds:.2f} s")
        self._trial.service.busy_until_s[account] = time.monotonic() + seconds

    async def _down(self, random: Random) -> None:
        account, seconds = random.choice([*self._trial.service.accounts]), random.uniform(0.5, 3.0)
        self._trial.note(f"the service of {account} is down for {seconds:.2f} s")
        self._trial.service.go_away(account, seconds)

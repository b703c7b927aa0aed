"""Away and back: each part of the installation, and the service, goes away for long while people talk, and returns.

    python -m tests.faults --away                                  10 minutes, 100,000 messages that wait
    python -m tests.faults --away --minutes 1 --messages 5000

All must arrive in order; the rooms that wait are told once that they do and once that it is over, whoever is killed
meanwhile; and the log has each of it.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

from core.deps import make_deps
from core.directory import Directory
from core.settings import Settings
from core.store import open_store
from tests.faults.trial import SAMEROOMS, SHARDS, Plan, Trial, bounds, running_trial
from tests.support.world import SECRET

SHORTER = 10
"""Everything but the first episode is so much shorter."""
TOLD_S = 20.0
LAYOUT = (("relay1", "relay"), ("bots1", "bots"), ("bots2", "bots"))
BEGUN = ("not been reached for", "fewer messages than come in")
OVER = "All that waited for"


@dataclass
class Away:
    """A run of all episodes."""

    trial: Trial
    seconds: float
    messages: int
    problems: list[str] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)
    """What happened, for people."""

    async def run(self, *, short: bool) -> None:
        """One episode after another; ``short``: only those that people are told of."""
        await self._episode("the service of a is down", self._service_down, self.seconds, self.messages)
        shorter_s, fewer = self.seconds / SHORTER, self.messages // SHORTER
        told_s = max(shorter_s, 3.0 * self.trial.plan.notice_after_s)
        await self._episode("the token of d is revoked", self._revoked, told_s, fewer)
        others = (
            ("all processes are down", self._processes_down),
            ("the store is down", self._store_down),
            ("the store's disk is full", self._disk_full),
        )
        for name, do in () if short else others:
            await self._episode(name, do, shorter_s, fewer)
        self.problems += bounds(await self.trial.report())

    async def _episode(
        self, name: str, do: Callable[[float, int], Awaitable[None]], seconds: float, messages: int
    ) -> None:
        self.trial.note(name)
        self.trial.faults["away"] += 1
        await do(seconds, messages)
        back_s = time.monotonic()
        await self.trial.quiet()
        took_s = time.monotonic() - back_s
        self.lines.append(f"{name} for {seconds:.0f} s: {messages:,} messages said; all quiet {took_s:.1f} s later")

    # --- what goes away

    async def _service_down(self, seconds: float, messages: int) -> None:
        """Whoever serves the account is killed meanwhile, and so is the store."""
        origins, before = self._origins("a"), self._told("a")
        ends_s = time.monotonic() + seconds
        self.trial.service.go_away("a", seconds)
        talking = asyncio.create_task(self._talk(origins, seconds, messages))
        for share, kill in ((0.6, self._kill_bots), (0.8, self._kill_store)):
            await asyncio.sleep(max(0.0, ends_s - time.monotonic() - seconds * (1 - share)))
            await kill()
        await talking
        await asyncio.sleep(max(0.0, ends_s - time.monotonic()))
        await self._must_be_told("a", before)

    async def _revoked(self, seconds: float, messages: int) -> None:
        before = self._told("d")
        self.trial.service.revoked.add("d")
        await self._talk(self._origins("d"), seconds, messages)
        self.trial.service.revoked.clear()
        await self._must_be_told("d", before)
        await self._must_be_logged("shut out", "let in")

    async def _processes_down(self, seconds: float, messages: int) -> None:
        for process in self.trial.processes:
            await self.trial.kill(process, "process")
        await self._talk(self.trial.rooms, seconds, messages)
        for process in self.trial.processes:
            await self.trial.start(process)

    async def _store_down(self, seconds: float, messages: int) -> None:
        self.trial.store.kill()
        self.trial.kills["store"] += 1
        await self._talk(self.trial.rooms, seconds, messages)
        await asyncio.to_thread(self.trial.store.start)

    async def _disk_full(self, seconds: float, messages: int) -> None:
        self.trial.store.fill_disk(full=True)
        await self._talk(self.trial.rooms, seconds, messages)
        self.trial.store.fill_disk(full=False)

    async def _kill_bots(self) -> None:
        for process in self.trial.processes:
            if "bots" in process.roles:
                self.trial.note(f"kill {process.name}")
                await self.trial.kill(process, "process")
                await self.trial.start(process)

    async def _kill_store(self) -> None:
        self.trial.note("kill the store")
        self.trial.store.kill()
        self.trial.kills["store"] += 1
        await asyncio.to_thread(self.trial.store.start)

    # --- load

    def _origins(self, account: str) -> list[str]:
        """Rooms of other accounts whose messages go to rooms of this one."""
        ours = [rooms for rooms in SAMEROOMS if any(room.startswith(f"{account}/") for room in rooms)]
        return [room for rooms in ours for room in rooms if not room.startswith(f"{account}/")]

    async def _talk(self, rooms: list[str] | tuple[str, ...], seconds: float, messages: int) -> None:
        """Say so many messages in that time, the same number in each room."""
        began_s, said = time.monotonic(), 0
        while said < messages:
            due = min(messages, int(messages * (time.monotonic() - began_s) / seconds) + 1)
            for number in range(said, due):
                self.trial.say(rooms[number % len(rooms)])
            said = due
            await asyncio.sleep(0.02)
        await asyncio.sleep(max(0.0, began_s + seconds - time.monotonic()))

    # --- what people and operators are told

    def _told(self, account: str) -> Counter[tuple[str, str]]:
        """(room, what) → how often a room was told that others of this account wait, and that it is over."""
        found: Counter[tuple[str, str]] = Counter()
        for room in self._origins(account):
            for text in self.trial.service.texts(room):
                if text.startswith(f"{account}/") and any(words in text for words in BEGUN):
                    found[room, "begun"] += 1
                elif text.startswith(f"{OVER} {account}/"):
                    found[room, "over"] += 1
        return found

    async def _must_be_told(self, account: str, before: Counter[tuple[str, str]]) -> None:
        """Wait until it is over; each room must have been told once of the beginning and once of the end."""
        await self.trial.quiet()
        everywhere = [(room, what) for room in self._origins(account) for what in ("begun", "over")]
        until_s = time.monotonic() + TOLD_S
        while time.monotonic() < until_s and any((self._told(account) - before)[key] < 1 for key in everywhere):
            await asyncio.sleep(0.1)
        told = self._told(account) - before
        self.problems += [
            f"{room} was told {told[room, what]} times: {what}" for room, what in everywhere if told[room, what] != 1
        ]
        self.lines.append(f"{len(everywhere) // 2} rooms that waited for {account} were told of it and of its end")

    async def _must_be_logged(self, *acts: str) -> None:
        deps = make_deps(open_store(self.trial.store.url), Settings(secret_key=SECRET), SHARDS, "looks on", "")
        try:
            logged = Counter([record.act async for record in Directory(deps).security_log()])
        finally:
            await deps.store.aclose()
        self.problems += [f"the log has {logged[act]} lines of {act!r}" for act in acts if logged[act] != 1]
        self.lines.append(f"the log: {dict(logged)}")


async def away(
    folder: Path, seed: int, seconds: float, messages: int, notice_after_s: int, *, short: bool = False
) -> Away:
    """All episodes, on a new installation."""
    plan = Plan(seed, seconds, LAYOUT, notice_after_s=notice_after_s, is_dated=True)
    async with running_trial(plan, folder) as trial:
        found = Away(trial, seconds, messages)
        await found.run(short=short)
        return found

"""The two kinds of load: a burst as fast as the server takes it, and a steady stream by the clock."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from time import perf_counter_ns
from typing import Protocol

from bench.client import Client
from bench.tally import NS_PER_S, Tally

BURST_LINES = 100
"""Lines per write in a burst."""
PADDING = b" " + b"x" * 39


class Mouth(Protocol):
    """Whoever says the lines of a tally."""

    def say(self, tally: Tally, start: int, end: int) -> None:
        """Say the lines from ``start`` up to ``end``."""

    async def drained(self) -> None:
        """Wait while the server takes no more."""


class IrcMouth:
    """Says line ``i`` into ``channels[i % len(channels)]``."""

    def __init__(self, speaker: Client, channels: Sequence[str]) -> None:
        self._speaker = speaker
        self._starts = [f"PRIVMSG {channel} :".encode() for channel in channels]

    def say(self, tally: Tally, start: int, end: int) -> None:
        """Send them."""
        self._speaker.send(b"".join([self._line(tally, number) for number in range(start, end)]))

    async def drained(self) -> None:
        """Wait while the server takes no more."""
        await self._speaker.drained()

    def _line(self, tally: Tally, number: int) -> bytes:
        start = self._starts[number % len(self._starts)]
        return start + tally.line(number, perf_counter_ns()) + PADDING + b"\r\n"


async def burst(mouth: Mouth, tally: Tally) -> None:
    """Say all lines as fast as the server takes them."""
    tally.begin()
    while tally.sent < tally.count:
        end = min(tally.count, tally.sent + BURST_LINES)
        mouth.say(tally, tally.sent, end)
        tally.sent = end
        await asyncio.sleep(0)
        await mouth.drained()
    tally.sent_all_ns = perf_counter_ns()


async def steady(mouth: Mouth, tally: Tally, rate_per_s: float) -> None:
    """Say all lines by the clock, whatever comes out (an open loop); note how late each one was said."""
    tally.begin()
    while tally.sent < tally.count:
        due_ns = tally.began_ns + int(tally.sent * NS_PER_S / rate_per_s)
        wait_s = (due_ns - perf_counter_ns()) / NS_PER_S
        if wait_s > 0:
            await asyncio.sleep(wait_s)
        tally.late_ns.append(max(0, perf_counter_ns() - due_ns))
        mouth.say(tally, tally.sent, tally.sent + 1)
        tally.sent += 1
    tally.sent_all_ns = perf_counter_ns()

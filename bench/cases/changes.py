"""What an edit, a reaction and a deletion cost: 64 pairs of rooms, 5,000 messages, each changed once in every way."""

from __future__ import annotations

from time import perf_counter_ns
from typing import Any

from bench import load
from bench.cases.case import Case, Meter, rest
from bench.chat.service import MARK, Layout
from bench.chat.stage import TAIL, MakeChatBridge, Stage, bare, staged, whole
from bench.report import Figures, Row
from bench.tally import Tally
from bench.world import MakeBridge, World

PAIRS, COUNT = 64, 5_000
KINDS = {"edit": "edits", "react": "reactions", "delete": "deletions"}


class _ChangeMouth:
    """Somebody changes message ``i`` of an earlier tally."""

    def __init__(self, stage: Stage, said: Tally, kind: str) -> None:
        self._stage, self._said, self._kind = stage, said, kind
        self.done_ns: dict[int, int] = {}

    def say(self, tally: Tally, start: int, end: int) -> None:
        """Change them."""
        now_ns = perf_counter_ns()
        self.done_ns.update(dict.fromkeys(range(start, end), now_ns))
        self._stage.service.do([self._frame(tally, number, now_ns) for number in range(start, end)])

    async def drained(self) -> None:
        """Wait while nobody takes more."""
        await self._stage.service.drained()

    def _frame(self, tally: Tally, number: int, now_ns: int) -> list[Any]:
        about = [self._kind, f"a{number % PAIRS}", f"{tally.tag}.{number}", f"{self._said.tag}.{number}"]
        if self._kind == "edit":
            return [*about, tally.line(number, now_ns).decode() + TAIL]
        return [*about, "👍"] if self._kind == "react" else about


async def _change(stage: Stage, said: Tally, posts: dict[str, int], kind: str) -> Figures:
    """Change everything in one way; what is changed here, the bridge has to change in the other room."""
    await rest(stage.bridge)
    tally, _ = stage.tally(said.count)
    mouth = _ChangeMouth(stage, said, kind)

    def changed(done: str, room: str, native: str, text: str, now_ns: int) -> None:
        if done == kind and kind != "edit" and native in posts:
            tally.note(room.encode(), posts[native], mouth.done_ns[posts[native]], now_ns)

    stage.service.on_post.append(changed)
    meter = Meter(stage.bridge)
    await load.burst(mouth, tally)
    await tally.settled()
    stage.service.on_post.remove(changed)
    return {
        f"changes.{kind}.rate": tally.per_s,
        f"changes.{kind}.cpu": meter.us_per(tally),
        f"changes.{kind}.faults": tally.lost + tally.twice,
    }


async def _all(world: World, make: MakeChatBridge) -> Figures:
    async with staged(world, Layout(pairs=PAIRS), make) as stage:
        posts: dict[str, int] = {}

        def posted(done: str, room: str, native: str, text: str, now_ns: int) -> None:
            if done == "send":
                posts.update((native, int(mark[2])) for mark in MARK(text) if mark[1] == said.tag)

        await rest(stage.bridge)
        said, mouth = stage.tally(world.scaled(COUNT))
        stage.service.on_post.append(posted)
        meter = Meter(stage.bridge)
        await load.burst(mouth, said)
        await said.settled()
        figures = {"changes.new.rate": said.per_s, "changes.new.cpu": meter.us_per(said)}
        for kind in KINDS:
            figures |= await _change(stage, said, posts, kind)
        return figures


async def floor(world: World) -> Figures:
    """A process that only hands on, and remembers in memory what became what."""
    return await _all(world, bare)


async def measure(world: World, make: MakeBridge) -> Figures:
    """bridgebot."""
    return await _all(world, whole)


def _rows(kind: str, title: str) -> tuple[Row, ...]:
    return (
        Row(f"changes.{kind}.rate", f"{title} of 5,000 messages in 64 pairs of rooms, at once: per second", "/s"),
        Row(f"changes.{kind}.cpu", "… CPU each", "µs"),
        Row(f"changes.{kind}.faults", "… lost or twice", "", 0),
    )


CASE = Case(
    "changes",
    (
        Row("changes.new.rate", "5,000 new messages in 64 pairs of rooms, at once: per second", "/s"),
        Row("changes.new.cpu", "… CPU each", "µs"),
        *(row for kind, title in KINDS.items() for row in _rows(kind, title)),
    ),
    measure,
    floor,
    ours_only=True,
    irc=False,
)

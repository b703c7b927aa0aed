"""Messages that arrive long after they were said tell so, shortly."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from core.contract import Capabilities, Offline, Retry
from core.rendering import Renderer, ago_label
from core.store import Redis
from tests.core.sink import ACCOUNT, Sink, delivering, rooms
from tests.core.test_rendering import FULL, PLAIN, said

(A,) = rooms("a")
HOUR_MS = 3_600_000


@pytest.mark.parametrize(
    ("seconds", "label"),
    [
        (0, "1 min ago"),
        (125, "2 min ago"),
        (599, "9 min ago"),
        (600, "10 min ago"),
        (1_799, "20 min ago"),
        (3_600, "1 h ago"),
        (7_300, "2 h ago"),
        (47 * 3_600 + 1, "47 h ago"),
        (48 * 3_600, "2 days ago"),
        (15 * 86_400, "15 days ago"),
    ],
)
def test_labels_are_short_and_coarse(seconds: float, label: str) -> None:
    """How long ago something was said, never more than it was."""
    assert ago_label(seconds) == label


@pytest.mark.parametrize(
    ("style", "more", "expected"),
    [
        ("name", {}, "Alice (2 h ago): hi"),
        ("name+platform", {}, "Alice (Slack, 2 h ago): hi"),
        ("name+room", {}, "Alice (#garden, 2 h ago): hi"),
        ("plain", {}, "(2 h ago) hi"),
        ("name", {"emote": True}, "* Alice (2 h ago) hi"),
        ("plain", {"emote": True}, "* Alice (2 h ago) hi"),
        ("name", {"reply_to": "m", "reply_author": "Bob"}, "Alice (2 h ago) ↩ Bob: hi"),
        ("plain", {"reply_to": "m", "reply_author": "Bob"}, "(2 h ago) ↩ Bob: hi"),
    ],
)
def test_where_it_stands(style: Any, more: dict[str, Any], expected: str) -> None:
    """It is beside the name where there is one, else in front."""
    shown = Renderer(64).message(said("hi", **more), style, PLAIN, replies_natively=False, ago="2 h ago")
    assert shown.plain == expected


def test_under_the_authors_own_name() -> None:
    """A room that shows the name itself has it in front of the words."""
    assert Renderer(64).message(said("hi"), "name", FULL, replies_natively=True, ago="2 h ago").plain == "(2 h ago) hi"


@pytest.mark.parametrize("kind", ["plain", "stream"])
async def test_the_first_of_a_run_shows_it(store: Redis, kind: str) -> None:
    """Of messages that are equally late the first one shows it, and again when it changes; also when it is sent twice
    because it was refused at first; what comes in time shows nothing.
    """
    sink = Sink(kind)
    sink.next[A].append(Retry(0.05))
    async with delivering(store, sink, fold_from=0) as desk:
        now_ms = desk.deps.now_ms()
        for text, hours in (("one", 3), ("two", 3), ("three", 2), ("four", 2), ("five", 0), ("six", 2)):
            await desk.say(A, ("Alice", text), at_ms=now_ms - hours * HOUR_MS - 60_000)
        await desk.say(A, ("Alice", "undated"))
        await sink.until(lambda: len(sink.reads(A)) == 7)
        assert sink.reads(A) == [
            "Alice (3 h ago): one",
            "Alice: two",
            "Alice (2 h ago): three",
            "Alice: four",
            "Alice: five",
            "Alice (2 h ago): six",
            "Alice: undated",
        ]


async def test_in_a_fold_and_after_an_edit(store: Redis) -> None:
    """A post of several shows it where it changes, and keeps it when another line is edited."""
    sink = Sink("board", Capabilities(edit="full", rate_per_s=50))
    async with delivering(store, sink, fold_from=4) as desk:
        now_ms = desk.deps.now_ms()
        await desk.say(A, ("Alice", "zero"), at_ms=now_ms)
        await sink.until(lambda: sink.reads(A) == ["Alice: zero"])
        sink.next[A].append(Offline(60.0))
        messages = []
        for text, hours in (("one", 3), ("two", 3), ("three", 2), ("four", 0)):
            messages += await desk.say(A, ("Alice", text), at_ms=now_ms - hours * HOUR_MS - 60_000)
        async with asyncio.timeout(10):
            while desk.host.hosts[ACCOUNT].waiting() < 4:
                await asyncio.sleep(0)
            while len(sink.reads(A)) < 5:
                assert sink.emit
                sink.emit.online()
                await asyncio.sleep(0.01)
        await desk.say(A, ("Alice", "TWO"), kind="edit", message=messages[1], at_ms=now_ms)
        await desk.say(A, ("Alice", "THREE"), kind="edit", message=messages[2], at_ms=now_ms - 5 * HOUR_MS)
        await desk.until_empty()
        assert sink.reads(A) == [
            "Alice: zero", "Alice (3 h ago): one", "Alice: TWO", "Alice (2 h ago): THREE", "Alice: four",
        ]  # fmt: skip
        assert len(sink.stands[A]) == 2


async def test_never_if_the_operator_says_so(store: Redis) -> None:
    """``old_after_s: 0`` turns it off."""
    sink = Sink()
    async with delivering(store, sink, old_after_s=0) as desk:
        await desk.say(A, ("Alice", "one"), at_ms=desk.deps.now_ms() - 30 * HOUR_MS)
        await sink.until(lambda: sink.reads(A) == ["Alice: one"])

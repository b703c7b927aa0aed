"""The count itself: each thing that may go wrong is found, and what is allowed is not taken for it."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from random import Random

import pytest

from tests.faults.checker import Report, count
from tests.faults.measure import Figures
from tests.faults.service import Post, Service
from tests.faults.totals import Totals, load, save
from tests.faults.trial import Outcome, bounds

SAMEROOMS = (("a/1", "b/1", "e/1"),)
SAID = [f"say a/1 {number}" for number in (1, 2, 3)]


def service(b: list[str], e: list[str]) -> Service:
    """A service where three messages were said in a/1, with what stands in the other rooms then."""
    made = Service({"a": "keyed", "b": "plain", "e": "slow"}, Random(1))
    for text in SAID:
        made.say("a/1", text).acked_s = 1.0
    for room, texts in (("b/1", b), ("e/1", e)):
        made.posts[room] = [Post(2.0, "key", text) for text in texts]
    return made


def posts(*numbers: int) -> list[str]:
    """Posts of these messages, one each."""
    return [f"Alice (Service): {SAID[number - 1]}" for number in numbers]


def test_what_is_right_is_right() -> None:
    """Messages in their order, several in one post, and one more post of a room without keys after a kill."""
    report = count(service(posts(1, 2, 2, 3), ["\n".join(posts(1, 2, 3))]), SAMEROOMS, "say ")
    report.kills["process"] = 1
    assert (report.accepted, report.delivered, bounds(report)) == (3, 7, [])
    assert report.duplicates == Counter({"b/1": 1})


@pytest.mark.parametrize(
    ("b", "problem"),
    [
        (posts(1, 3), "1 lost"),
        (posts(2, 1, 3), "2 out_of_order"),
        ([*posts(1, 2, 3), "Alice (Service): say b/1 7"], "1 phantom"),
        (posts(1, 1, 1, 2, 3), "2 twice in b/1, of a plain kind: at most 1 are allowed"),
    ],
)
def test_each_broken_promise_is_found(b: list[str], problem: str) -> None:
    """Lost, out of order (within the room, and other than in the rooms beside it), never said, too often."""
    report = count(service(b, posts(1, 2, 3)), SAMEROOMS, "say ")
    report.kills["process"] = 1
    assert bounds(report) == [problem]


def test_a_keyed_service_never_has_a_post_twice() -> None:
    """Where there is a key, one post too many is a broken promise, whatever was killed."""
    report = count(service(posts(1, 2, 3), posts(1, 2, 2, 3)), SAMEROOMS, "say ")
    report.kills["process"] = 100
    assert bounds(report) == ["1 twice in e/1, of a slow kind: at most 0 are allowed"]


def test_a_post_of_several_is_one_post() -> None:
    """Several messages in one post that was under way at a kill are there twice: once too often. One that stands in two
    different posts counts as well.
    """
    together = "\n".join(posts(1, 2))
    report = count(service([together, together, *posts(3)], posts(1, 2, 3)), SAMEROOMS, "say ")
    assert report.duplicates == Counter({"b/1": 1})
    report = count(service([*posts(1), together, *posts(3)], posts(1, 2, 3)), SAMEROOMS, "say ")
    assert report.duplicates == Counter({"b/1": 1})


def test_a_process_that_ends_by_itself_is_found() -> None:
    """Nothing may end unless it was killed."""
    assert bounds(Report(crashes=["all ended by itself with 1"])) == ["1 crashes"]


def test_totals_add_up_and_go_on(tmp_path: Path) -> None:
    """Two trials, the second after a pause: sums, the worst times, and what is met and what is not."""
    report = Report(accepted=600_000, delivered=1, kills=Counter({"process": 400, "store": 200}))
    report.duplicates["b/1"] = 3
    figures = Figures([0.01] * 99 + [0.2], [0.01] * 100, [0.05] * 100, [1.7], [0.7])
    kept = tmp_path / "kept.json"
    for seed in (7, 8):
        totals = load(kept)
        totals.add(seed, Outcome(report, figures, [], []), 60.0)
        save(kept, totals)
    totals = load(kept)
    assert (totals.first_seed, totals.next_seed, totals.accepted, totals.killed()) == (7, 9, 1_200_000, 1_200)
    table = totals.table()
    assert "| kills | 1,200 | ≥ 1,000 | yes |" in table
    assert "| lost | 0 | 0 | yes |" in table
    assert "lease + 0.70 s, at most 1.70 s | ≤ lease + 1 s | yes |" in table
    assert "| hand-over to acknowledgement, p99 | 10.0 ms | ≤ 100 ms | yes |" in table
    assert "50 ms (10 ms) | ≤ 2× | NO |" in table
    assert isinstance(totals, Totals)

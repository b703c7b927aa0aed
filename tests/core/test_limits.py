"""Token buckets, on a clock turned by hand."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from core.limits import KEPT, TokenBuckets


def test_a_burst_then_the_rate() -> None:
    """So many at once, then one per interval, and the time to wait is what it says."""
    buckets = TokenBuckets(2.0, burst=3)
    allowed = [buckets.take("room", 1000) for _ in range(12)]
    assert allowed == [True] * 3 + [False] * 9
    wait_ms = buckets.wait_s("room", 1000) * 1000
    assert not buckets.take("room", 1000 + wait_ms - 1)
    assert buckets.take("room", 1000 + wait_ms + 1)


def test_no_rate_is_no_limit() -> None:
    """A rate of 0 lets everything pass and remembers nobody."""
    buckets = TokenBuckets(0.0)
    assert all(buckets.take(n, 0) for n in range(100_000))
    assert buckets.wait_s(1, 0) == 0.0


def test_one_key_does_not_use_up_another() -> None:
    """Each room has a bucket of its own."""
    buckets = TokenBuckets(1.0, burst=1)
    while buckets.take("loud", 0):
        pass
    assert buckets.take("quiet", 0)


def test_memory_is_bounded() -> None:
    """However many keys come, so many are remembered, the newest."""
    buckets = TokenBuckets(1.0, burst=1)
    for n in range(3 * KEPT):
        buckets.take(n, 0)
    assert len(buckets._full_at_ms) == KEPT
    while buckets.take(3 * KEPT - 1, 0):
        pass
    assert not buckets.take(3 * KEPT - 1, 0)


@given(st.lists(st.integers(0, 5_000), min_size=1, max_size=200), st.floats(0.1, 50), st.integers(1, 20))
def test_never_more_than_promised(steps: list[int], rate_per_s: float, burst: int) -> None:
    """Over any stretch of time no more passes than the burst and the rate allow, also when the clock stands still."""
    buckets = TokenBuckets(rate_per_s, burst)
    now_ms, passed = 0, 0
    for step in steps:
        now_ms += step
        passed += buckets.take("room", now_ms)
    allowed = burst + now_ms / 1000 * rate_per_s
    assert passed <= allowed + 1e-6


def test_a_clock_that_goes_back_gives_nothing_away() -> None:
    """A clock that is set back neither fills a bucket nor empties it."""
    buckets = TokenBuckets(1.0, burst=1)
    while buckets.take("room", 10_000):
        pass
    assert not buckets.take("room", 1_000)
    assert not buckets.take("room", 1_500)
    assert buckets.take("room", 2_500)


@given(st.floats(0.1, 50), st.integers(1, 20), st.lists(st.integers(0, 3_000), max_size=60))
def test_a_bucket_is_one_number(rate_per_s: float, burst: int, steps: list[int]) -> None:
    """A bucket that begins with when another one will be full goes on exactly like that one."""
    one, now_ms = TokenBuckets(rate_per_s, burst), 0
    for step in steps:
        now_ms += step
        one.take("room", now_ms)
    other = TokenBuckets(rate_per_s, burst)
    other.fill_at("room", one.full_at_ms("room", now_ms))
    assert abs(one.level("room", now_ms) - other.level("room", now_ms)) < 1e-6
    later_ms = now_ms + 1000 * burst / rate_per_s + 1
    assert other.level("room", later_ms) == burst
    assert other.all(later_ms) == {}
    assert set(other.all(now_ms)) <= {"room"}

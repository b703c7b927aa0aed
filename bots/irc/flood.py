"""How fast a server lets us speak: a token bucket, as its flood control counts."""

from __future__ import annotations

from collections.abc import Callable


class Bucket:
    """``burst`` lines at once, ``rate_per_s`` in the long run; a rate of 0 limits nothing."""

    def __init__(self, rate_per_s: float, burst: int, now_s: Callable[[], float]) -> None:
        self.rate_per_s = rate_per_s
        self._burst = float(burst)
        self._now_s = now_s
        self._tokens = float(burst)
        self._at_s = now_s()

    def wait_s(self, lines: float) -> float:
        """How long until ``lines`` may be sent; more than the burst waits until the bucket is full."""
        if not self.rate_per_s:
            return 0.0
        self._refill()
        return max(0.0, (min(lines, self._burst) - self._tokens) / self.rate_per_s)

    def spend(self, lines: float) -> None:
        """These lines are being sent. What could not wait (a PONG, a JOIN) may leave a debt."""
        if self.rate_per_s:
            self._refill()
            self._tokens -= lines

    def _refill(self) -> None:
        now_s = self._now_s()
        self._tokens = min(self._burst, self._tokens + (now_s - self._at_s) * self.rate_per_s)
        self._at_s = now_s

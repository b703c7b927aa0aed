"""Token buckets, on the caller's clock."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable

KEPT = 10_000
ALMOST = 1e-9
"""What rounding may have taken off a token."""


class TokenBuckets:
    """One bucket per key: ``burst`` at once (at least one), ``rate_per_s`` in the long run. A rate of 0 is no limit.

    A bucket is one number: when it will be full again.
    """

    def __init__(self, rate_per_s: float, burst: int = 1) -> None:
        self._rate_per_ms = rate_per_s / 1000
        self._burst = max(burst, 1)
        self._full_at_ms: OrderedDict[Hashable, float] = OrderedDict()

    def __contains__(self, key: Hashable) -> bool:
        return key in self._full_at_ms

    def take(self, key: Hashable, now_ms: float) -> bool:
        """Take a token; False if there is none."""
        if not self._rate_per_ms:
            return True
        taken = self._taken(key, now_ms)
        enough = taken + 1 <= self._burst + ALMOST
        self.fill_at(key, now_ms + (taken + enough) / self._rate_per_ms)
        return enough

    def give_back(self, key: Hashable) -> None:
        """Put a token back that was not used after all."""
        if self._rate_per_ms and key in self._full_at_ms:
            self._full_at_ms[key] -= 1 / self._rate_per_ms

    def wait_s(self, key: Hashable, now_ms: float) -> float:
        """How long until a token is there; 0 now."""
        if not self._rate_per_ms:
            return 0.0
        return max(0.0, (self._taken(key, now_ms) + 1 - self._burst) / self._rate_per_ms / 1000)

    def level(self, key: Hashable, now_ms: float) -> float:
        """How many tokens are there."""
        return self._burst - self._taken(key, now_ms) if self._rate_per_ms else float("inf")

    def full_at_ms(self, key: Hashable, now_ms: float) -> float:
        """When the bucket will be full again."""
        return now_ms + (self._taken(key, now_ms) / self._rate_per_ms if self._rate_per_ms else 0)

    def fill_at(self, key: Hashable, at_ms: float) -> None:
        """Let the bucket be full at that time and not before."""
        self._full_at_ms.pop(key, None)
        self._full_at_ms[key] = at_ms
        if len(self._full_at_ms) > KEPT:
            self._full_at_ms.popitem(last=False)

    def all(self, now_ms: float) -> dict[Hashable, float]:
        """Key → when it will be full again, of all buckets that are not full."""
        return {key: self.full_at_ms(key, now_ms) for key, at_ms in self._full_at_ms.items() if at_ms > now_ms}

    def _taken(self, key: Hashable, now_ms: float) -> float:
        """Tokens that are missing. A clock that was set back cannot make them more than there ever were."""
        full_at_ms = self._full_at_ms.get(key, now_ms)
        return min(self._burst, max(0.0, full_at_ms - now_ms) * self._rate_per_ms)

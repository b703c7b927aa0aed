"""Token buckets, on the caller's clock."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable

KEPT = 10_000


class TokenBuckets:
    """One bucket per key: ``rate_per_s`` in the long run, ``burst`` at once. A rate of 0 is no limit."""

    def __init__(self, rate_per_s: float, burst: int = 0) -> None:
        self._rate_per_ms = rate_per_s / 1000
        self._burst = max(burst, 1, int(rate_per_s * 5))
        self._levels: OrderedDict[Hashable, tuple[float, float]] = OrderedDict()

    def take(self, key: Hashable, now_ms: float) -> bool:
        """Take a token; False if there is none."""
        if not self._rate_per_ms:
            return True
        level, since = self._levels.pop(key, (float(self._burst), now_ms))
        level = min(self._burst, level + max(0.0, now_ms - since) * self._rate_per_ms)
        enough = level >= 1
        self._levels[key] = (level - 1 if enough else level, now_ms)
        if len(self._levels) > KEPT:
            self._levels.popitem(last=False)
        return enough

    def wait_s(self, key: Hashable, now_ms: float) -> float:
        """How long until a token is there; 0 now."""
        if not self._rate_per_ms or key not in self._levels:
            return 0.0
        level, since = self._levels[key]
        level += max(0.0, now_ms - since) * self._rate_per_ms
        return max(0.0, (1 - level) / self._rate_per_ms / 1000)

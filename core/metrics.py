"""Figures for the operator, in Prometheus' format. Counting is adding to plain numbers; all else happens on a scrape.

prometheus-client's own counters take a lock and a look-up per message; here a whole batch is one addition, and
the library is not even loaded before somebody asks.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry
    from prometheus_client.metrics_core import Metric

LATENCY_BOUNDS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0, 600.0)

_COUNTERS = {
    "accepted": "Events taken in from the account's rooms",
    "delivered": "Messages posted into the account's rooms",
    "dead": "Messages set aside because the account's platform refused them or handling them kept failing",
    "duplicates": "Events that the platform handed over again",
}
_GAUGES = {
    "waiting": "Messages that wait to be posted by the account",
    "under_way": "Posts sent to the platform whose confirmation is awaited",
    "online": "1 while the account is connected",
}


class _Latencies:
    """A histogram of one account."""

    __slots__ = ("buckets", "sum_s")

    def __init__(self) -> None:
        self.buckets = [0] * (len(LATENCY_BOUNDS_S) + 1)
        self.sum_s = 0.0


class Metrics:
    """The figures of one process. Labels are accounts; nothing here knows a platform."""

    def __init__(self) -> None:
        self._counters: dict[str, defaultdict[str, int]] = {name: defaultdict(int) for name in _COUNTERS}
        self._gauges: dict[str, dict[str, float]] = {name: {} for name in _GAUGES}
        self._latencies: defaultdict[str, _Latencies] = defaultdict(_Latencies)
        self._store_errors = 0

    def accepted(self, account: str, count: int = 1) -> None:
        """``count`` events of ``account`` are durable."""
        self._counters["accepted"][account] += count

    def duplicates(self, account: str, count: int = 1) -> None:
        """``count`` events of ``account`` were there already."""
        self._counters["duplicates"][account] += count

    def delivered(self, account: str, took_ms: Iterable[int]) -> None:
        """Messages were posted by ``account``; ``took_ms``: for each, the time since it was accepted."""
        latencies = self._latencies[account]
        count = 0
        for ms in took_ms:
            seconds = ms / 1000
            latencies.buckets[bisect_left(LATENCY_BOUNDS_S, seconds)] += 1
            latencies.sum_s += seconds
            count += 1
        self._counters["delivered"][account] += count

    def dead(self, account: str, count: int = 1) -> None:
        """``count`` messages for ``account`` were set aside."""
        self._counters["dead"][account] += count

    def store_error(self, count: int = 1) -> None:
        """The store did not take or give what it was asked to."""
        self._store_errors += count

    def waiting(self, account: str, messages: int) -> None:
        """So many messages wait for ``account`` now."""
        self._gauges["waiting"][account] = messages

    def under_way(self, account: str, posts: int) -> None:
        """So many posts of ``account`` are unconfirmed now."""
        self._gauges["under_way"][account] = posts

    def online(self, account: str, is_online: bool) -> None:
        """Whether ``account`` can post now."""
        self._gauges["online"][account] = float(is_online)

    def forget(self, account: str) -> None:
        """``account`` is no longer run here: its gauges go, its counts stay."""
        for values in self._gauges.values():
            values.pop(account, None)

    def collect(self) -> Iterator[Metric]:
        """What prometheus-client asks a collector for."""
        from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily

        for name, counts in self._counters.items():
            counter = CounterMetricFamily(f"bridgebot_{name}", _COUNTERS[name], labels=["account"])
            for account, count in sorted(counts.items()):
                counter.add_metric([account], count)
            yield counter
        for name, values in self._gauges.items():
            gauge = GaugeMetricFamily(f"bridgebot_{name}", _GAUGES[name], labels=["account"])
            for account, value in sorted(values.items()):
                gauge.add_metric([account], value)
            yield gauge
        yield CounterMetricFamily("bridgebot_store_errors", "Requests that the store failed", value=self._store_errors)
        yield self._histogram()

    def _histogram(self) -> Metric:
        from prometheus_client.metrics_core import HistogramMetricFamily

        family = HistogramMetricFamily(
            "bridgebot_latency_seconds", "From accepted to posted, by the posting account", labels=["account"]
        )
        for account, latencies in sorted(self._latencies.items()):
            total = 0
            buckets: list[tuple[str, float]] = []
            for bound, count in zip((*LATENCY_BOUNDS_S, "+Inf"), latencies.buckets, strict=True):
                total += count
                buckets.append((str(bound), total))
            family.add_metric([account], buckets, sum_value=latencies.sum_s)
        return family

    def registry(self) -> CollectorRegistry:
        """A registry of its own with these figures and nothing else."""
        from prometheus_client import CollectorRegistry

        registry = CollectorRegistry(auto_describe=False)
        registry.register(self)
        return registry

    def text(self) -> bytes:
        """The figures in Prometheus' text format."""
        from prometheus_client import generate_latest

        return generate_latest(self.registry())

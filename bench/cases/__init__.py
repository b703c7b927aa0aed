"""The cases, in the order in which they run."""

from __future__ import annotations

from bench.cases import backlog, burst, fanout, kill, latency, outage, relay, scale, start, tubes
from bench.cases.case import Case

CASES: tuple[Case, ...] = (
    burst.CASE,
    fanout.CASE,
    latency.CASE,
    tubes.CASE,
    start.CASE,
    kill.CASE,
    relay.CASE,
    outage.CASE,
    backlog.CASE,
    scale.CASE,
)

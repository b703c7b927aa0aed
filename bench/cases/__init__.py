"""The cases, in the order in which they run."""

from __future__ import annotations

from bench.cases import (
    backlog,
    bigstart,
    burst,
    changes,
    crowd,
    fanout,
    file,
    kill,
    latency,
    memory,
    outage,
    pressure,
    redelivery,
    relay,
    sameroom,
    scale,
    spread,
    start,
    store,
    tubes,
)
from bench.cases.case import Case

CASES: tuple[Case, ...] = (
    store.CASE,
    burst.CASE,
    fanout.CASE,
    latency.CASE,
    pressure.CASE,
    tubes.CASE,
    crowd.CASE,
    spread.CASE,
    sameroom.CASE,
    changes.CASE,
    file.CASE,
    start.CASE,
    bigstart.CASE,
    memory.CASE,
    kill.CASE,
    relay.CASE,
    redelivery.CASE,
    outage.CASE,
    backlog.CASE,
    scale.CASE,
)

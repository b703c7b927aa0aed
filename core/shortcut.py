"""The short cut from a shard's door into the outboxes, where one process takes a message in and routes it.

On the long way a message is written into its shard's inbox, and, when that is confirmed, what it becomes into the
outboxes. While the inbox is empty and a message needs nothing but routing, both are one step of the store: a plan is
made with the numbers that the inbox would give next, and the script does all of it, or nothing if somebody else's entry
got one of those numbers first. Then it goes the long way (ADR 14).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from core import keys
from core.journal import Journals, Tail
from core.model import MessageNew
from core.outgoing import Outgoing
from core.scripts import Script
from core.store import is_one_slot
from core.wire import ORDINALS_PER_ENTRY, Incoming


class Arrival(NamedTuple):
    """A message at the door."""

    event: Incoming
    dedup: str


class Plan(NamedTuple):
    """What messages become, if the first of them gets the number after ``before``."""

    before: int
    arrivals: Sequence[Arrival]
    records: dict[str, list[tuple[int, bytes, Any]]]
    """Outbox → records, as Outgoing has them."""


class Shortcut:
    """Of one shard, for as long as this process owns it."""

    def __init__(
        self,
        tail: Tail[Incoming],
        journals: Journals,
        is_plain: Callable[[Incoming], bool],
        route: Callable[[Sequence[MessageNew], int, Outgoing], None],
        take_back: Callable[[Sequence[MessageNew]], None],
    ) -> None:
        self._tail = tail
        self._journals = journals
        self._is_plain = is_plain
        self._route = route
        self._take_back = take_back
        self._script = Script(journals.store, "through")
        self._possible = is_one_slot(journals.store)
        self.open = False
        """The shard has done everything, and waits for more."""

    def plan(self, arrivals: Sequence[Arrival]) -> Plan | None:
        """What they become, or None if they have to go the long way."""
        tail = self._tail
        if not (self.open and self._possible and tail.held()) or tail.ready():
            return None
        if not all(self._is_plain(arrival.event) for arrival in arrivals):
            return None
        before, out = tail.end(), Outgoing()
        self._route([arrival.event for arrival in arrivals], before, out)  # type: ignore[misc]  # they are plain
        return Plan(before, arrivals, out.by_tag)

    async def take(self, plan: Plan, process: str, batch: str, dedup_ttl_s: int) -> list[int] | None:
        """Do as planned, once however often this is repeated with the same ``batch``. The number of each message, 0 if
        it was taken in before; None if they have to go the long way. Raises what the store raises.
        """
        tail, journals = self._tail, self._journals
        tag = tail.tag
        owners = {outbox: journals.own(outbox) for outbox in plan.records}
        args: list[Any] = [
            process, batch, dedup_ttl_s, keys.dedup(tag), keys.wake_channel(""), tag, tail.epoch, plan.before,
            len(plan.arrivals),
        ]  # fmt: skip
        for arrival in plan.arrivals:
            args += (arrival.event.room, arrival.dedup)
        names = [keys.seq(tag), keys.moved(tag), keys.epoch(tag), keys.batch(tag, process)]
        for outbox, records in plan.records.items():
            owner = owners[outbox]
            args += (outbox, owner.epoch if owner else "", len(records))
            for ordinal, record, _ in records:
                args += (ordinal // ORDINALS_PER_ENTRY - plan.before, record)
            names += keys.appended_to(outbox)
        result = await self._script(names, args)
        if result == -1:
            self._take_back([arrival.event for arrival in plan.arrivals])  # type: ignore[misc]
            return None
        before, ids, appended = result
        tail.passed(before, before + len(ids))
        for (outbox, records), numbers in zip(plan.records.items(), appended, strict=True):
            journals.hand_over(outbox, owners[outbox], numbers, records)
        return list(ids)

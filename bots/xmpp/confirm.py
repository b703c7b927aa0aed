"""What is under way: each post is confirmed when the room reflects it, with the id that it has there."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import NamedTuple
from xml.etree.ElementTree import Element

from bots.xmpp.stream import Stream
from core.contract import AdapterError, Receipt, Uncertain
from core.model import NativeId

Result = Receipt | AdapterError
TAKEN = Receipt()


class Unit(NamedTuple):
    """One stanza. ``post``: the number of the post that it is a part of."""

    room: str
    id: str
    stanza: Element
    post: int
    reflected: Callable[[str], None]
    """Called with the room's id of it."""


class _Batch:
    __slots__ = ("done", "left", "natives", "results")

    def __init__(self, results: list[Result | None], units: Sequence[Unit]) -> None:
        self.results = results
        self.natives: list[list[NativeId]] = [[] for _ in results]
        self.left = len(units)
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def settled(self, index: int, error: AdapterError | None = None) -> None:
        """A stanza of post ``index`` was reflected or refused."""
        self.left -= 1
        if error is not None and self.results[index] is None:
            # What stands there in part is not to be sent again as if it did not.
            self.results[index] = Uncertain(str(error)) if self.natives[index] else error
        if not self.left and not self.done.done():
            self.done.set_result(None)


class Confirmations:
    """Stanzas that no room has reflected yet, over reconnects of one stream."""

    def __init__(self, timeout_s: float) -> None:
        self._timeout_s = timeout_s
        self._waiting: dict[str, tuple[Unit, _Batch]] = {}
        self._progress_at_s = 0.0
        self.gave_up: Callable[[], None] = lambda: None
        """Something is given up for uncertain: it must not be sent once more by itself."""

    async def send(self, stream: Stream, units: Sequence[Unit], results: list[Result | None]) -> list[Result]:
        """Write all; return one result for each post when all are known. ``results`` has those known before."""
        batch = _Batch(results, units)
        for unit in units:
            self._waiting[unit.id] = (unit, batch)
        for position, unit in enumerate(units):
            try:
                stream.send(unit.stanza)
            except AdapterError as error:
                for unsent in units[position:]:
                    self._settle(unsent.id, error)
                break
        return await self._confirmed(batch, units)

    async def _confirmed(self, batch: _Batch, units: Sequence[Unit]) -> list[Result]:
        loop = asyncio.get_running_loop()
        since_s = loop.time()
        try:
            while batch.left:
                quiet_s = loop.time() - max(since_s, self._progress_at_s)
                if quiet_s >= self._timeout_s:
                    self._give_up(batch, units, "The room did not reflect the message in time.")
                    break
                await asyncio.wait((batch.done,), timeout=self._timeout_s - quiet_s)
        finally:
            if batch.left:
                self._give_up(batch, units, "nobody waits for it any more")
        return [
            Receipt(tuple(natives)) if result is None else result
            for result, natives in zip(batch.results, batch.natives, strict=True)
        ]

    def _give_up(self, batch: _Batch, units: Sequence[Unit], why: str) -> None:
        for unit in units:
            if self._waiting.get(unit.id, (None, None))[1] is batch:
                self._settle(unit.id, Uncertain(why))
        self.gave_up()

    def _settle(self, id_: str, error: AdapterError | None = None) -> None:
        found = self._waiting.pop(id_, None)
        if found is not None:
            found[1].settled(found[0].post, error)

    def reflected(self, room: str, id_: str, native: str) -> bool:
        """The room shows a stanza of ours. False if it is none that is under way."""
        unit, batch = self._waiting.get(id_, (None, None))
        if unit is None or batch is None or unit.room != room:
            return False
        self._progress_at_s = asyncio.get_running_loop().time()
        batch.natives[unit.post].append(NativeId(native))
        unit.reflected(native)
        self._settle(id_)
        return True

    def reflected_without_id(self, room: str, native: str) -> bool:
        """A room that gives stanzas ids of its own making (XEP-0045 before 1.31) reflects them in their order."""
        for id_, (unit, _) in self._waiting.items():
            if unit.room == room:
                return self.reflected(room, id_, native)
        return False

    def refused(self, id_: str, error: AdapterError) -> None:
        """The room does not take a stanza."""
        self._settle(id_, error)

    def lost(self, why: str) -> None:
        """The stream is gone for good: what was under way may have arrived."""
        for id_ in list(self._waiting):
            self._settle(id_, Uncertain(f"The connection broke before the room reflected the message ({why})."))

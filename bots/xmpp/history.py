"""What stands in a room's archive (XEP-0313): what was said while we were away, and whether a post of ours arrived."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final, NamedTuple
from xml.etree.ElementTree import Element

from bots.xmpp import xml as x
from bots.xmpp.hearing import Hearing
from bots.xmpp.memory import Memory
from bots.xmpp.receive import hear, stamp_ms
from bots.xmpp.rooms import Room
from bots.xmpp.stream import Refused, Stream
from core.contract import Rejected, Remembered, Since
from core.model import MessageNew, NativeId, PlatformEvent

PAGE: Final = 100
SEARCH_PAGES: Final = 10
"""How far back a post of ours is looked for."""


class Entry(NamedTuple):
    """A message of the archive."""

    id: str
    at_ms: int
    message: Element


class Page(NamedTuple):
    """Entries, oldest first. ``is_last``: there is nothing beyond them in the direction that was asked for."""

    entries: list[Entry]
    is_last: bool


class Archive:
    """Questions to the archives of rooms, over the stream of one account."""

    def __init__(self, memory: Memory, hearing: Hearing) -> None:
        self._memory = memory
        self._hearing = hearing
        self._results: dict[str, tuple[str, list[Entry]]] = {}
        """Question's id → room, entries so far."""
        self._asked = 0
        self.prefix = ""
        """How the ids of our own stanzas begin."""

    def takes(self, stanza: Element) -> bool:
        """Is this a part of an answer? It comes before the answer itself."""
        result = x.child(stanza, x.MAM, "result")
        if result is None:
            return False
        room, entries = self._results.get(result.get("queryid", ""), ("", []))
        forwarded = x.child(result, x.FORWARD, "forwarded")
        if room and x.bare(stanza.get("from", "")) == room and forwarded is not None:
            delay = x.child(forwarded, x.DELAY, "delay")
            message = x.child(forwarded, x.CLIENT, "message")
            if message is not None:
                at_ms = stamp_ms(delay.get("stamp", "")) if delay is not None else 0
                entries.append(Entry(result.get("id", ""), at_ms, message))
        return True

    async def page(
        self, stream: Stream, room: Room, *, after: str = "", start_ms: int = 0, before: str | None = None
    ) -> Page:
        """Entries after ``after``, or since ``start_ms``, or (``before`` is not None) the last ones before it.
        Raises AdapterError; Refused with ``item-not-found`` where an id is not in the archive."""
        self._asked += 1
        question = f"q{self._asked}"
        query = x.element(x.MAM, "query", queryid=question)
        form = x.add(query, x.DATA, "x", type="submit")
        _field(form, "FORM_TYPE", x.MAM, type_="hidden")
        if start_ms:
            # Whole seconds: archives may keep no more.
            start = datetime.fromtimestamp(start_ms // 1000, UTC)
            _field(form, "start", start.strftime("%Y-%m-%dT%H:%M:%SZ"))
        paging = x.add(query, x.RSM, "set")
        x.add(paging, x.RSM, "max", str(PAGE))
        if before is not None:
            x.add(paging, x.RSM, "before", before)
        elif after:
            x.add(paging, x.RSM, "after", after)
        entries: list[Entry] = []
        self._results[question] = room.jid, entries
        try:
            answer = await stream.ask("set", room.jid, query)
        finally:
            del self._results[question]
        fin = x.child(answer, x.MAM, "fin")
        return Page(entries, fin is None or fin.get("complete") == "true" or not entries)

    # --- what was said

    async def since(self, stream: Stream, room: Room, since: Since) -> Remembered:
        """What people said and did after ``since``. Raises AdapterError."""
        if not room.archives:
            raise Rejected(f"The room {room.jid} keeps no archive (XEP-0313).")
        start_ms, after, complete = 0, str(since.native), True
        events: list[PlatformEvent] = []
        while True:
            try:
                page = await self.page(stream, room, after=after, start_ms=start_ms)
            except Refused as error:
                if error.condition != "item-not-found" or not after:
                    raise
                # The archive has forgotten the message, or it came without an id: go by the clock.
                start_ms, after = max(1000, since.at_ms), ""
                complete = await self._reaches_back(stream, room, since.at_ms)
                continue
            events += await self._heard(room, page.entries)
            if page.is_last or any(isinstance(event, MessageNew) for event in events):
                return Remembered(tuple(events), more=not page.is_last, complete=complete)
            after = page.entries[-1].id

    async def _reaches_back(self, stream: Stream, room: Room, at_ms: int) -> bool:
        """Does the archive begin before ``at_ms``? Then nothing since is missing from it."""
        first = await self.page(stream, room)
        return bool(first.entries) and first.entries[0].at_ms <= at_ms

    async def _heard(self, room: Room, entries: list[Entry]) -> list[PlatformEvent]:
        own = await self._memory.find_own(room.jid, [entry.id for entry in entries]) if entries else []
        events: list[PlatformEvent] = []
        for entry, ours in zip(entries, own, strict=True):
            heard = hear(entry.message, room.jid, stable_ids=False, archive_id=entry.id, at_ms=entry.at_ms)
            if heard is not None and ours is None and not heard.origin.startswith(self.prefix):
                events += await self._hearing.events(room, heard, entry.at_ms)
        return events

    # --- what we said

    async def find(self, stream: Stream, room: Room, ids: str) -> list[NativeId]:
        """The room's ids of our stanzas whose ids begin with ``ids``, oldest first. Raises AdapterError."""
        found: list[NativeId] = []
        before = ""
        for _ in range(SEARCH_PAGES):
            page = await self.page(stream, room, before=before)
            natives = [entry.id for entry in page.entries if _origin(entry.message).startswith(ids)]
            found[:0] = map(NativeId, natives)
            if page.is_last or (found and not natives):
                break
            before = page.entries[0].id
        return found


def _origin(message: Element) -> str:
    return message.get("id", "")


def _field(form: Element, name: str, value: str, type_: str = "") -> None:
    x.add(x.add(form, x.DATA, "field", var=name, type=type_), x.DATA, "value", value)

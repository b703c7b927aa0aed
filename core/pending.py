"""What waits at the door: events that are not in the store yet, each room's in the order in which they were emitted.

Rooms take turns, so a flood in one of them holds up nobody else.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Awaitable, Iterable
from typing import TYPE_CHECKING

from core.model import RoomId
from core.wire import Incoming

if TYPE_CHECKING:
    from core.gate import Gate


class Detour:
    """What is special about the way of an event that cannot go straight in."""

    __slots__ = ("at", "holding", "ready", "rooms")

    def __init__(self, rooms: tuple[RoomId, ...], ready: Awaitable[Incoming] | None = None) -> None:
        self.rooms = rooms
        """What is said in them later waits for it."""
        self.ready = ready
        """Completes the event."""
        self.holding: tuple[RoomId, ...] = ()
        """Rooms that it holds up while it waits itself."""
        self.at: int | None = None
        """The shard that it was sent on to."""


class Item:
    """An event on its way in."""

    __slots__ = ("dedup", "detour", "event", "gate", "index", "record")

    def __init__(
        self, index: int, event: Incoming, record: bytes, dedup: str, gate: Gate, detour: Detour | None
    ) -> None:
        self.index = index
        self.event = event
        self.record = record
        self.dedup = dedup
        self.gate = gate
        self.detour = detour

    def on_detour(self) -> Detour:
        """Its detour, made if it has none."""
        if self.detour is None:
            self.detour = Detour((self.event.room,))
        return self.detour


class Stop:
    """Why the events of a room wait, and which."""

    __slots__ = ("items", "reasons")

    def __init__(self) -> None:
        self.reasons = 0
        self.items: list[Item] = []
        """In the order they were emitted."""


def by_index(item: Item) -> int:
    """Where it stands among all that were emitted."""
    return item.index


class Pending:
    """Items by room. Few at a time are the rule; thousands, of one room, the exception that this is for."""

    def __init__(self, turn: int) -> None:
        self._turn = turn
        """Events of a room that go in before it is the next room's turn, where there are others."""
        self._rooms: OrderedDict[RoomId, deque[Item]] = OrderedDict()
        self._count = 0
        self._taken: dict[RoomId, int] = {}
        """Room → how many of its events went in, in this round."""
        self._spanning = 0
        """Items that concern several rooms: until they are through, everything goes in as it was emitted."""

    def __len__(self) -> int:
        return self._count

    def append(self, item: Item) -> None:
        """It comes last in its room."""
        waiting = self._rooms.get(item.event.room)
        if waiting is None:
            waiting = self._rooms[item.event.room] = deque()
        waiting.append(item)
        self._count += 1
        self._spanning += _spans(item)

    def put_back(self, items: Iterable[Item]) -> None:
        """These go in after all, each where it belongs among those of its room."""
        by_room: dict[RoomId, list[Item]] = {}
        for item in items:
            by_room.setdefault(item.event.room, []).append(item)
            self._count += 1
            self._spanning += _spans(item)
        for room, back in by_room.items():
            waiting = self._rooms.setdefault(room, deque())
            self._rooms[room] = deque(sorted([*back, *waiting], key=by_index))

    def begin_round(self) -> None:
        """Every room has a turn again."""
        self._taken.clear()

    def round_is_over(self) -> bool:
        """Whether every room has had its turn, or nothing waits. A room that is alone need not stop."""
        if not self._count:
            return True
        return len(self._taken) > 1 and self._taken.get(next(iter(self._rooms)), 0) >= self._turn

    def pop(self) -> Item:
        """The next one; there must be one."""
        if self._spanning:
            room = min(self._rooms, key=lambda each: self._rooms[each][0].index)
        else:
            room = next(iter(self._rooms))
        waiting = self._rooms[room]
        item = waiting.popleft()
        self._count -= 1
        self._spanning -= _spans(item)
        taken = self._taken[room] = self._taken.get(room, 0) + 1
        if not waiting:
            del self._rooms[room]
        elif taken % self._turn == 0:
            self._rooms.move_to_end(room)
        return item


def _spans(item: Item) -> bool:
    return item.detour is not None and len(item.detour.rooms) > 1


class Open:
    """Which events of one gate are not durable yet."""

    def __init__(self) -> None:
        self._waiting: deque[int] = deque()
        """Indices, oldest first; some of them may have ended."""
        self._ended: set[int] = set()

    def begin(self, index: int) -> None:
        """One more; indices only grow."""
        self._waiting.append(index)

    def end(self, index: int) -> None:
        """It is durable, or was before."""
        waiting = self._waiting
        if waiting[0] != index:
            self._ended.add(index)
            return
        waiting.popleft()
        while waiting and waiting[0] in self._ended:
            self._ended.discard(waiting.popleft())

    def has(self, up_to: int) -> bool:
        """Whether any up to and with this index is not durable yet."""
        return bool(self._waiting) and self._waiting[0] <= up_to

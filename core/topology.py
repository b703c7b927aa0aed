"""Rooms, tubes and samerooms of one shard: a graph, and who hears whom. Pure: no store, no clock."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import msgspec

from core.model import AccountId, AuthorStyle, RoomId, SameroomId, account_of
from core.wire import RoomState, Tube


class Reach(NamedTuple):
    """Where a message said in a room goes: per account, its rooms and how each shows authors."""

    account: AccountId
    rooms: tuple[RoomId, ...]
    styles: tuple[AuthorStyle, ...]


class Topology:
    """The rooms and tubes of a shard. Answers are cached until the graph changes."""

    def __init__(self, rooms: Iterable[RoomState] = (), tubes: Iterable[Tube] = ()) -> None:
        self.rooms: dict[RoomId, RoomState] = {state.room: state for state in rooms}
        self.tubes: dict[str, Tube] = {tube.id: tube for tube in tubes}
        self._at: dict[RoomId, dict[str, Tube]] = {}
        for tube in self.tubes.values():
            self._link(tube)
        self._reach: dict[RoomId, tuple[Reach, ...]] = {}
        self._any_bans: bool | None = None

    def _link(self, tube: Tube) -> None:
        self._at.setdefault(tube.a, {})[tube.id] = tube
        self._at.setdefault(tube.b, {})[tube.id] = tube

    def put_room(self, state: RoomState) -> None:
        """Add a room or change it."""
        self.rooms[state.room] = state
        self._any_bans = None
        self._reach.clear()

    def put_tube(self, tube: Tube) -> None:
        """Add a tube or change it."""
        self.tubes[tube.id] = tube
        self._link(tube)
        self._reach.clear()

    def drop_tube(self, tube_id: str) -> None:
        """Take a tube away."""
        tube = self.tubes.pop(tube_id)
        for room in (tube.a, tube.b):
            self._at[room].pop(tube_id, None)
            if not self._at[room]:
                del self._at[room]
        self._reach.clear()

    def drop_room(self, room: RoomId) -> None:
        """Take a room away, with its tubes."""
        for tube in self.tubes_of(room):
            self.drop_tube(tube.id)
        self.rooms.pop(room, None)
        self._reach.clear()

    def tubes_of(self, room: RoomId) -> list[Tube]:
        """The tubes that end in a room, oldest first."""
        return sorted(self._at.get(room, {}).values(), key=lambda tube: (tube.created_at_ms, tube.id))

    def component(self, room: RoomId) -> list[RoomId]:
        """Every room of the sameroom that ``room`` is in, itself first, then by distance."""
        seen = {room: None}
        queue = [room]
        for here in queue:
            for tube in self._at.get(here, {}).values():
                there = tube.other(here)
                if there not in seen:
                    seen[there] = None
                    queue.append(there)
        return queue

    def sameroom(self, room: RoomId) -> SameroomId:
        """The name of the sameroom that ``room`` is in."""
        return SameroomId(min(self.component(room)))

    def reach(self, room: RoomId) -> tuple[Reach, ...]:
        """Where a message said in ``room`` goes, each room once, whatever the shape of the graph."""
        found = self._reach.get(room)
        if found is None:
            found = self._reach[room] = self._find_reach(room)
        return found

    def _find_reach(self, origin: RoomId) -> tuple[Reach, ...]:
        state = self.rooms.get(origin)
        if state is None or state.paused:
            return ()
        per_account: dict[AccountId, list[RoomState]] = {}
        for room in self._downstream(origin):
            target = self.rooms.get(room)
            if target and not target.paused and not target.away:
                per_account.setdefault(account_of(room), []).append(target)
        return tuple(
            Reach(account, tuple(t.room for t in targets), tuple(t.style for t in targets))
            for account, targets in per_account.items()
        )

    def _downstream(self, origin: RoomId) -> list[RoomId]:
        seen = {origin}
        queue = [origin]
        for here in queue:
            for tube in self._at.get(here, {}).values():
                there = tube.other(here)
                closed = tube.paused or tube.direction == ("b>a" if here == tube.a else "a>b")
                if there not in seen and not closed:
                    seen.add(there)
                    queue.append(there)
        return queue[1:]

    def bans_in_reach(self, room: RoomId) -> bool:
        """Whether any room that hears ``room`` has bans, so that routing must look at the author."""
        if self._any_bans is None:
            self._any_bans = any(state.bans for state in self.rooms.values())
        return self._any_bans and any(self.rooms[there].bans for reach in self.reach(room) for there in reach.rooms)

    def rename(self, old: RoomId, new: RoomId) -> tuple[RoomState | None, list[Tube]]:
        """Give a room another id; its tubes follow. Returns its new state and tubes, to be stored."""
        replace = msgspec.structs.replace
        state = self.rooms.get(old)
        moved = [
            replace(tube, a=new if tube.a == old else tube.a, b=new if tube.b == old else tube.b)
            for tube in self.tubes_of(old)
        ]
        self.drop_room(old)
        if state:
            state = replace(state, room=new)
            self.put_room(state)
        for tube in moved:
            self.put_tube(tube)
        return state, moved

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


class Renamed(NamedTuple):
    """A room under its new id, other rooms that name it, its tubes, and the ids of tubes that end."""

    state: RoomState
    others: list[RoomState]
    tubes: list[Tube]
    gone: list[str]


class Topology:
    """The rooms and tubes of a shard. Answers are cached until the graph changes."""

    def __init__(self, rooms: Iterable[RoomState] = (), tubes: Iterable[Tube] = ()) -> None:
        self.rooms: dict[RoomId, RoomState] = {state.room: state for state in rooms}
        self.tubes: dict[str, Tube] = {tube.id: tube for tube in tubes}
        self._at: dict[RoomId, dict[str, Tube]] = {}
        for tube in self.tubes.values():
            self._link(tube)
        self._reach: dict[RoomId, tuple[Reach, ...]] = {}
        self._names: dict[RoomId, SameroomId] = {}
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
        """Add a tube or change it; its ends stay where they are."""
        self.tubes[tube.id] = tube
        self._link(tube)
        self._forget()

    def drop_tube(self, tube_id: str) -> None:
        """Take a tube away."""
        tube = self.tubes.pop(tube_id)
        for room in (tube.a, tube.b):
            self._at[room].pop(tube_id)
            if not self._at[room]:
                del self._at[room]
        self._forget()

    def _forget(self) -> None:
        """The graph has changed."""
        self._reach.clear()
        self._names.clear()

    def drop_room(self, room: RoomId) -> None:
        """Take a room away, with its tubes."""
        for tube in self.tubes_of(room):
            self.drop_tube(tube.id)
        self.rooms.pop(room, None)
        self._any_bans = None
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
        found = self._names.get(room)
        if found is None:
            component = self.component(room)
            found = SameroomId(min(component))
            self._names.update(dict.fromkeys(component, found))
        return found

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

    def renamed(self, old: RoomId, new: RoomId) -> Renamed:
        """What becomes of a room that gets another id: its tubes follow, but for those to ``new`` itself and to
        rooms that ``new`` has a tube with already; a ban of the room is a ban of the new one. Changes nothing.
        """
        replace = msgspec.structs.replace
        tubes: list[Tube] = []
        gone: list[str] = []
        taken = {new} | {tube.other(new) for tube in self.tubes_of(new)}
        for tube in self.tubes_of(old):
            if tube.other(old) in taken:
                gone.append(tube.id)
            else:
                tubes.append(replace(tube, a=new) if tube.a == old else replace(tube, b=new))
        states = [after for room in self.rooms.values() if (after := _with_renamed(room, old, new)) is not room]
        mine = [state for state in states if state.room == old] or [self.rooms[old]]
        return Renamed(replace(mine[0], room=new), [s for s in states if s.room != old], tubes, gone)


def _with_renamed(state: RoomState, old: RoomId, new: RoomId) -> RoomState:
    """``state`` as it is when the room ``old`` that it may speak of is called ``new``."""
    replace = msgspec.structs.replace
    was, asking = f"room {old}", state.asking
    if was in state.bans:
        bans = {f"room {new}" if key == was else key: name for key, name in state.bans.items()}
        state = replace(state, bans=bans)
    if asking and old in (asking.room, asking.other):
        names = {name: new for name in ("room", "other", "asked_in") if getattr(asking, name) == old}
        state = replace(state, asking=replace(asking, **names))
    return state

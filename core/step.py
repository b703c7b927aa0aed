"""Handling one inbox entry: what it appends, what it changes, what it answers."""

from __future__ import annotations

from core.model import RoomId
from core.outgoing import Change, Outgoing
from core.topology import Topology
from core.wire import RoomState, SecurityRecord, Tube


class Step:
    """Collects the effects of one entry. The topology changes at once, the store when the step is committed;
    if that fails the shard is loaded anew, so the two never differ for long.
    """

    def __init__(self, entry: int, topology: Topology, now_ms: int) -> None:
        self.entry = entry
        self.now_ms = now_ms
        self.out = Outgoing()
        self.out.begin(entry)
        self.change = Change()
        self.replies: list[tuple[str, str]] = []
        """(id of an Act, reply to it)"""
        self._topology = topology

    def put_room(self, state: RoomState) -> None:
        """Add a room or change it."""
        self._topology.put_room(state)
        self.change.rooms[state.room] = state

    def drop_room(self, room: RoomId) -> None:
        """Take a room away, with its tubes."""
        for tube in self._topology.tubes_of(room):
            self.drop_tube(tube.id)
        self._topology.drop_room(room)
        self.change.rooms[room] = None

    def put_tube(self, tube: Tube) -> None:
        """Add a tube or change it."""
        self._topology.put_tube(tube)
        self.change.tubes[tube.id] = tube

    def drop_tube(self, tube_id: str) -> None:
        """Take a tube away."""
        self._topology.drop_tube(tube_id)
        self.change.tubes[tube_id] = None

    def log(self, act: str, room: RoomId, actor: str, detail: str = "") -> None:
        """Add a line to the security log."""
        self.change.log.append(SecurityRecord(self.now_ms, act, room, actor, detail))

    def reply(self, act_id: str, text: str) -> None:
        """Answer an Act, if it was one."""
        if act_id:
            self.replies.append((act_id, text))

    def answer(self, room: RoomId, text: str, act_id: str = "") -> None:
        """Answer whoever asked: in the portal if it was an Act, else in the room."""
        if act_id:
            self.reply(act_id, text)
        else:
            self.out.tell(text, room)

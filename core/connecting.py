"""How two rooms become one sameroom, also when different shards have them.

A sameroom has one shard. To connect rooms of two shards, the sameroom in the higher shard moves to the lower one
(one direction only, so two connections can never chase each other):

1. its rooms are marked as on their way: no event of theirs is taken in anywhere for a moment;
2. a barrier (HandOver) in the old shard's inbox comes after everything they said before, which is done in order;
3. at the barrier their state goes to the new shard's inbox (Adopt), and the old shard points to it from then on.

Each step may be repeated after a crash and happens once.
"""

from __future__ import annotations

from msgspec.structs import replace

from core import keys, replies
from core.deps import Deps
from core.model import RoomId, RoomMoved
from core.settings import Settings
from core.step import Step
from core.store import as_awaitable
from core.topology import Topology
from core.wire import Adopt, ConnectAsked, HandOver, RoomState, Tube

CONFIRM_S = 600
"""How long a room may take to confirm."""


class Connector:
    """Connects rooms for one shard."""

    def __init__(self, index: int, topology: Topology, deps: Deps, leaving: set[RoomId]) -> None:
        self.index = index
        self._topology = topology
        self._deps = deps
        self._settings: Settings = deps.settings
        self._leaving = leaving
        """Rooms of this shard that are on their way to another one."""
        self._looked: set[tuple[RoomId, RoomId]] = set()
        """Connections that were put behind all that is in the inbox, for a room that must come from there."""

    async def connect(self, asked: ConnectAsked, step: Step) -> None:
        """Make the tube here, or pass the wish on to the shard where that can be done."""
        rooms = self._topology.rooms
        if asked.room in self._leaving or asked.other in self._leaving:
            step.out.forward(self.index, asked)
        elif asked.room not in rooms:
            await self._pass_on(asked, step)
        elif asked.other in rooms:
            self._connect_here(asked, step)
        else:
            await self._bring_together(asked, step)

    async def _pass_on(self, asked: ConnectAsked, step: Step) -> None:
        where = await self._deps.locate(asked.room)
        if where is None:
            step.out.forward(self.index, asked)
        elif where == self.index:
            self._look_again(asked, step)
        else:
            step.out.forward(where, asked)

    async def _bring_together(self, asked: ConnectAsked, step: Step) -> None:
        where = await self._deps.locate(asked.other)
        if where is None:
            step.out.forward(self.index, asked)
        elif where == self.index:
            self._look_again(asked, step)
        elif where > self.index:
            step.out.forward(where, asked.turned())
        else:
            self._send_off(asked, where, step)

    def _look_again(self, asked: ConnectAsked, step: Step) -> None:
        """A room that should be here is not: it is in the inbox already, or else it exists no more."""
        pair = (asked.room, asked.other)
        if pair in self._looked:
            self._looked.discard(pair)
            step.answer(asked.asked_in, replies.wrong_code(self._settings.prefix), asked.reply_to)
        else:
            self._looked.add(pair)
            step.out.forward(self.index, asked)

    def _send_off(self, asked: ConnectAsked, where: int, step: Step) -> None:
        rooms = self._topology.component(asked.room)
        for room in rooms:
            step.change.moved[room] = "*"
            self._leaving.add(room)
        step.change.barrier = HandOver(asked.room, tuple(rooms), where, asked)

    def hand_over(self, barrier: HandOver, step: Step) -> None:
        """Everything that the rooms said here is done: give them to the other shard."""
        topology = self._topology
        states = tuple(topology.rooms[room] for room in barrier.rooms if room in topology.rooms)
        tubes = {tube.id: tube for room in barrier.rooms for tube in topology.tubes_of(room)}
        step.out.forward(barrier.shard, Adopt(barrier.room, states, tuple(tubes.values()), barrier.then))
        for room in barrier.rooms:
            step.drop_room(room)
            step.change.moved[room] = str(barrier.shard)
            self._leaving.discard(room)

    async def adopt(self, adopted: Adopt, step: Step) -> None:
        """Take rooms over from another shard, then make the connection that they came for."""
        for state in adopted.rooms:
            step.put_room(state)
            step.change.moved[state.room] = None
        for tube in adopted.tubes:
            step.put_tube(tube)
        await self.connect(adopted.then, step)

    async def move(self, moved: RoomMoved, step: Step) -> None:
        """A room got another id: all that is known of it follows, also when it is on its way to another shard."""
        old, new = moved.room, moved.to
        if old in self._leaving:
            step.change.moved[new] = "*"
            self._leaving.add(new)
            step.out.forward(self.index, moved)
        elif old in self._topology.rooms:
            await self._rename(old, new, step)
        else:
            where = await self._deps.locate(old)
            if where is not None and where != self.index:
                step.out.forward(where, moved)
                step.change.moved[new] = str(where)
                self._leaving.discard(new)

    async def _rename(self, old: RoomId, new: RoomId, step: Step) -> None:
        renamed = self._topology.renamed(old, new)
        step.drop_room(old)
        for state in (renamed.state, *renamed.others):
            step.put_room(state)
        for tube in renamed.tubes:
            step.put_tube(tube)
        step.log("moved", new, "", f"was {old}")
        where = await self._deps.locate(new)
        if where is not None and where != self.index:
            step.change.moved[new] = None
            await as_awaitable(self._deps.store.hset(keys.moved(keys.shard_tag(where)), new, str(self.index)))

    def _connect_here(self, asked: ConnectAsked, step: Step) -> None:
        topology = self._topology
        self._looked.discard((asked.room, asked.other))
        opener, joiner = topology.rooms[asked.opener()], topology.rooms[asked.asked_in]
        if opener.room in topology.component(joiner.room):
            step.answer(joiner.room, replies.already_connected(self._settings.prefix, opener.label()), asked.reply_to)
            return
        if not asked.confirmed:
            self._ask_opener(asked, opener, joiner, step)
            return
        tube = Tube(
            f"{self.index}.{step.entry}",
            asked.room,
            asked.other,
            asked.direction,
            created_by=asked.by,
            created_at_ms=step.now_ms,
        )
        step.put_tube(tube)
        prefix = self._settings.prefix
        for here, there in ((opener, joiner), (joiner, opener)):
            step.log("connect", here.room, asked.by, f"with {there.label()}")
            step.out.tell(replies.connected(prefix, there.label(), asked.by), here.room)
        step.reply(asked.reply_to, replies.connected(prefix, opener.label(), asked.by))

    def _ask_opener(self, asked: ConnectAsked, opener: RoomState, joiner: RoomState, step: Step) -> None:
        waits = opener.asking
        if waits and step.now_ms < opener.asking_until_ms and waits.asked_in != joiner.room:
            # Whoever types "confirm" means the room that they were told of: nobody may take its place.
            step.answer(joiner.room, replies.confirm_busy(opener.label(), CONFIRM_S), asked.reply_to)
            return
        step.put_room(replace(opener, asking=asked, asking_until_ms=step.now_ms + CONFIRM_S * 1000))
        step.out.tell(replies.confirm_asked(self._settings.prefix, joiner.label(), asked.by, CONFIRM_S), opener.room)
        step.answer(joiner.room, replies.confirm_waits(opener.label(), CONFIRM_S), asked.reply_to)

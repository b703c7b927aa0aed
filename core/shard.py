"""One shard of the relay: reads its inbox in order, answers commands, and appends to the outboxes.

A batch's deliveries are appended before the batch is taken out of the inbox, and every append is done once however
often it is repeated, so a crash anywhere only means that some of the work is done again without effect. A change of
rooms and tubes is stored after everything before it was appended: a new owner skips all up to the last change.
"""

from __future__ import annotations

import asyncio
import traceback
from collections.abc import Sequence
from typing import Any

import structlog
from msgspec.structs import replace

from core import keys, replies
from core.command_language import looks_like_command, parse_command
from core.commander import Asked, Commander
from core.connecting import Connector
from core.deps import Deps
from core.gate import Gate
from core.journal import LeaseLost, Tail
from core.model import (
    BotAdded,
    BotRemoved,
    Event,
    MessageDeleted,
    MessageEdited,
    MessageNew,
    NativeId,
    Reaction,
    RoomId,
    RoomMoved,
    RoomRenamed,
)
from core.outgoing import Change, Outgoing
from core.pinging import Pinger
from core.router import Known, KnownIds, Router
from core.scripts import Script, refused, write
from core.shortcut import Shortcut
from core.step import Step
from core.store import TRANSIENT, StoreDown, insist
from core.topology import Topology
from core.wire import (
    ORDINALS_PER_ENTRY,
    Act,
    Adopt,
    ConnectAsked,
    DeadLetter,
    HandOver,
    Incoming,
    Pong,
    RoomState,
    Tell,
    decode_room,
    decode_tube,
    encode,
)

log = structlog.get_logger()

ACT_REPLY_LIFE_S = 60
TRIM_AFTER_S = 0.25
TRIM_EVERY = 1_000
"""Done entries that may lie in the inbox while there is more to do."""


class Shard:
    """The owner of one shard; lives until its lease or its process ends, or something goes wrong."""

    def __init__(self, index: int, tail: Tail[Incoming], deps: Deps, gate: Gate) -> None:
        self.index = index
        self.tail = tail
        self._deps = deps
        self._store = deps.store
        self._tag = keys.shard_tag(index)
        self._prefix = deps.settings.prefix
        self._apply = Script(deps.store, "apply")
        self._trim = Script(deps.store, "trim")
        self._pinger = Pinger(gate)
        self._shortcut = Shortcut(tail, deps.journals, self._is_plain, self._route_all, self._take_back)
        self._done = 0
        self._trimmed = 0
        self._trim_timer: asyncio.TimerHandle | None = None
        self._trim_task: asyncio.Task[None] | None = None

    async def run(self) -> None:
        """Work until cancelled. Raises LeaseLost, StoreDown and what the store raises: load the shard anew."""
        shortcuts = self._deps.ingest.shortcuts
        try:
            await self._load()
            shortcuts[self.index] = self._shortcut
            while True:
                entries = await self.tail.read(self._store, self._deps.settings.batch)
                if self.tail.broken:
                    await insist(self._deps.journals.bury_broken, self.tail, "event", self._deps.now_ms())
                if entries and entries[0][0] <= self._done:
                    entries = [(entry, event) for entry, event in entries if entry > self._done]
                if entries:
                    await self._handle(entries)
                if self._done - self._trimmed >= TRIM_EVERY:
                    await self._trim_done()
                if not self.tail.ready():
                    self._trim_soon()
                    self._shortcut.open = True
                    await self.tail.wait()
                    self._shortcut.open = False
        finally:
            self._shortcut.open = False
            if shortcuts.get(self.index) is self._shortcut:
                del shortcuts[self.index]
            self._pinger.stop()
            if self._trim_timer:
                self._trim_timer.cancel()
            if self._trim_task:
                self._trim_task.cancel()

    async def _load(self) -> None:
        tag, store = self._tag, self._store
        pipeline = store.pipeline(transaction=False)
        pipeline.hvals(keys.rooms(tag))
        pipeline.hvals(keys.tubes(tag))
        pipeline.hgetall(keys.moved(tag))
        pipeline.get(keys.applied(tag))
        rooms, tubes, moved, applied = await pipeline.execute()
        self._done = int(applied or 0)
        self.topology = Topology(map(decode_room, rooms), map(decode_tube, tubes))
        leaving = {RoomId(room.decode()) for room, where in moved.items() if where == b"*"}
        self._router = Router(self.topology, self._deps.settings)
        self._connector = Connector(self.index, self.topology, self._deps, leaving)
        self._commander = Commander(self.topology, self._router, self._connector, self._pinger, self._deps)

    # --- a batch

    async def _handle(self, entries: list[tuple[int, Incoming]]) -> None:
        now_ms = self._deps.now_ms()
        known = await self._look_up(entries, now_ms)
        out = Outgoing()
        for entry, event in entries:
            try:
                if isinstance(event, MessageNew) and not self._is_command(event):
                    self._relay(entry, event, known, out, now_ms)
                elif isinstance(event, Event) and not isinstance(
                    event, (MessageNew, BotAdded, BotRemoved, RoomMoved, RoomRenamed)
                ):
                    out.begin(entry)
                    self._router.route(event, known, out, now_ms)
                else:
                    await self._append(out)
                    out = Outgoing()
                    step = Step(entry, self.topology, now_ms)
                    await self._special(event, step)
                    await self._commit(step)
            except (LeaseLost, StoreDown, *TRANSIENT):
                raise
            except Exception as error:
                if refused(error):
                    raise StoreDown(str(error)) from error
                await self._crashed(entry, event, out)
        await self._append(out)
        self._done = entries[-1][0]

    def _relay(self, entry: int, event: MessageNew, known: KnownIds, out: Outgoing, now_ms: int) -> None:
        out.begin(entry)
        if refusal := self._router.route(event, known, out, now_ms):
            self._refuse(event, refusal, out)

    # --- the short cut

    def _is_plain(self, event: Incoming) -> bool:
        """Whether an event needs nothing but routing."""
        return isinstance(event, MessageNew) and not (event.reply_to or event.thread or self._is_command(event))

    def _route_all(self, events: Sequence[MessageNew], before: int, out: Outgoing) -> None:
        now_ms = self._deps.now_ms()
        for entry, event in enumerate(events, before + 1):
            self._relay(entry, event, {}, out, now_ms)

    def _take_back(self, events: Sequence[MessageNew]) -> None:
        for event in events:
            self._router.take_back(event)

    # --- parts of the long way

    def _is_command(self, event: MessageNew) -> bool:
        return looks_like_command(event.text.plain, self._prefix, slash=_has_slash(event)) and not event.bridged

    async def _look_up(self, entries: list[tuple[int, Incoming]], now_ms: int) -> KnownIds:
        """What the native ids that a batch refers to stand for, in one round trip."""
        asked: list[tuple[RoomId, NativeId]] = []
        for _, event in entries:
            if isinstance(event, MessageNew):
                if event.reply_to:
                    asked.append((event.room, event.reply_to.native))
                if event.thread:
                    asked.append((event.room, event.thread))
            elif isinstance(event, (MessageEdited, MessageDeleted, Reaction)):
                asked.append((event.room, event.target))
        if not asked:
            return {}
        found = await insist(self._deps.ids.messages, asked, now_ms)
        return {ids: Known(*known) for ids, known in zip(asked, found, strict=True)}

    async def _append(self, out: Outgoing) -> None:
        if not out.by_tag:
            return
        await self.tail.sure()
        epoch = self.tail.epoch
        if len(out.by_tag) == 1:
            for tag, records in out.by_tag.items():
                await self._deps.journals.append(tag, self._tag, epoch, records)
            return
        await asyncio.gather(
            *(self._deps.journals.append(tag, self._tag, epoch, records) for tag, records in out.by_tag.items())
        )

    def _trim_soon(self) -> None:
        """Trim once for everything that is done in the next moment, and off the messages' way."""
        if self._trim_timer is None and self._done > self._trimmed:
            self._trim_timer = asyncio.get_running_loop().call_later(TRIM_AFTER_S, self._trim_now)

    def _trim_now(self) -> None:
        self._trim_timer = None
        self._trim_task = asyncio.create_task(self._trim_done())

    async def _trim_done(self) -> None:
        if self._done > self._trimmed:
            names = [keys.stream(self._tag), keys.epoch(self._tag)]
            args = [self.tail.epoch, f"{self._done + 1}-0"]
            done = self._done
            if await insist(self._trim, names, args) == -1:
                self.tail.lose()
            self._trimmed = done

    def _refuse(self, event: MessageNew, refusal: str, out: Outgoing) -> None:
        key = (event.room, event.author.id, refusal)
        if self._router.first_refusal(key, self._deps.now_ms()):
            name = event.author.name
            settings = self._deps.settings
            if refusal == "echo":
                out.tell(replies.echo_stopped(self._prefix, name, settings.echo_window_s), event.room)
            else:
                out.tell(replies.too_fast(name), event.room)

    # --- what changes rooms and tubes

    async def _special(self, event: Incoming, step: Step) -> None:
        """Commands, and everything else that is not simply relayed."""
        if isinstance(event, MessageNew):
            await self._command(event, step)
        elif isinstance(event, Act):
            await self._act(event, step)
        elif isinstance(event, ConnectAsked):
            await self._connector.connect(event, step)
        elif isinstance(event, HandOver):
            self._connector.hand_over(event, step)
        elif isinstance(event, Adopt):
            await self._connector.adopt(event, step)
        elif isinstance(event, RoomMoved):
            await self._connector.move(event, step)
        elif isinstance(event, Tell):
            if event.text:
                step.out.tell(event.text, event.room)
            if event.act:
                step.log(event.act, event.room, "", event.detail)
        elif isinstance(event, Pong):
            self._pinger.answered(event)
        else:
            self._room_event(event, step)

    async def _command(self, event: MessageNew, step: Step) -> None:
        command = parse_command(event.text.plain, self._prefix, slash=_has_slash(event))
        if command is None:
            known = await self._look_up([(step.entry, event)], step.now_ms)
            self._router.route(event, known, step.out, step.now_ms)
            return
        self._know(event.room, event.room_title, event.platform_title, step)
        await self._commander.message(step, event.room, event.author, command)

    async def _act(self, act: Act, step: Step) -> None:
        self._know(act.room, act.title, act.platform_title, step)
        asked = Asked(step, act.room, act.name, act.argument, act.actor, act.person, act.is_admin, act.id)
        await self._commander.carry_out(asked)

    def _know(self, room: RoomId, title: str, platform_title: str, step: Step) -> None:
        """Remember a room under its present name."""
        state = self.topology.rooms.get(room)
        if state is None:
            step.put_room(RoomState(room, title or room.partition("/")[2], platform_title))
        elif title and (state.title, state.platform_title) != (title, platform_title or state.platform_title):
            step.put_room(replace(state, title=title, platform_title=platform_title or state.platform_title))

    def _room_event(self, event: Incoming, step: Step) -> None:
        room = event.room
        state = self.topology.rooms.get(room)
        if isinstance(event, BotAdded):
            self._know(room, event.title, event.platform_title, step)
            if state and state.away:
                step.put_room(replace(self.topology.rooms[room], away=""))
                step.out.tell(replies.bot_back(state.label()), *self._neighbours(room))
            if event.greet:
                step.out.tell(replies.hello(self._prefix), room)
        elif isinstance(event, BotRemoved) and state and not state.away:
            reason = event.reason or "the bot is not there"
            step.put_room(replace(state, away=reason))
            step.log("removed", room, "", reason)
            step.out.tell(replies.bot_removed(self._prefix, state.label(), event.reason), *self._neighbours(room))
        elif isinstance(event, RoomRenamed) and state:
            step.put_room(replace(state, title=event.title))

    def _neighbours(self, room: RoomId) -> list[RoomId]:
        return [tube.other(room) for tube in self.topology.tubes_of(room)]

    async def _commit(self, step: Step) -> None:
        await self._append(step.out)
        if step.change:
            await self._store_change(step.entry, step.change)
        for act_id, text in step.replies:
            pipeline = self._store.pipeline(transaction=True)
            pipeline.rpush(keys.act_reply(act_id), text)
            pipeline.expire(keys.act_reply(act_id), ACT_REPLY_LIFE_S)
            await pipeline.execute()

    async def _store_change(self, entry: int, change: Change) -> None:
        tag = self._tag
        names = [
            keys.epoch(tag),
            keys.applied(tag),
            keys.rooms(tag),
            keys.tubes(tag),
            keys.moved(tag),
            keys.security_log(tag),
            keys.stream(tag),
            keys.seq(tag),
            keys.dead(tag),
            keys.attempts(tag),
        ]
        args: list[Any] = [self.tail.epoch, entry, *change.operations()]
        if await insist(self._apply, names, args) == -1:
            raise LeaseLost(tag)
        if change.barrier:
            self.tail.poke()

    # --- entries that cannot be handled

    async def _crashed(self, entry: int, event: Incoming, out: Outgoing) -> None:
        """Count it; give the shard up to be loaded anew, or set the entry aside when that did not help."""
        attempts = await write(self._store, "HINCRBY", keys.attempts(self._tag), entry, 1)
        reason = traceback.format_exc(limit=-3)
        log.error("an entry of the inbox crashed its handler", shard=self.index, entry=entry, attempts=attempts)
        log.debug("crash", reason=reason)
        if attempts < self._deps.settings.max_attempts:
            raise StoreDown(f"entry {entry} of shard {self.index} crashed its handler")
        await self._set_aside(entry, event, reason.splitlines()[-1], out)
        raise StoreDown(f"entry {entry} of shard {self.index} was set aside")

    async def _set_aside(self, entry: int, event: Incoming, reason: str, out: Outgoing) -> None:
        """Put an entry on the dead-letter list and past the shard, after all that came before it."""
        out.forget(entry)
        # Past whatever the entry itself may have had appended before it crashed.
        out.begin(entry, ORDINALS_PER_ENTRY // 2)
        author = event.author.name if isinstance(event, MessageNew) else "somebody"
        out.tell(replies.dead_letter("the other rooms", author, "", "an error of the bot"), event.room)
        await self._append(out)
        change = Change()
        change.letter = DeadLetter(self._deps.now_ms(), event.room, reason, "event", encode(event))
        await self._store_change(entry, change)


def _has_slash(event: MessageNew) -> bool:
    """Whether ``/sameroom`` is a command where this was said: there the host has filled in the platform's title."""
    return bool(event.platform_title)

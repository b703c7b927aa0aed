"""Takes in what the homeserver tells of rooms, in its order: from pushed transactions, from /sync, from history."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from bots.matrix.client import Refused, at, at_state
from bots.matrix.desk import Desk
from bots.matrix.ghosts import Ghosts
from bots.matrix.memory import Person, Reacted, Room
from bots.matrix.receive import SAID, Told, answers, reaction, relation, said, told
from bots.matrix.rooms import ENCRYPTED, Rooming, localpart
from bots.matrix.text import from_content
from core.contract import Emit, Retry
from core.model import (
    Author,
    Joined,
    Left,
    MessageDeleted,
    MessageEdited,
    NativeId,
    PlatformEvent,
    Reaction,
    ReplyTo,
    Typing,
)

LOOK_S = 3.0
EXCERPT_CHARS = 200
MOST_TYPING = 5
Put = Callable[[PlatformEvent], None]


class Intake:
    """The way in of one account."""

    def __init__(self, desk: Desk, rooming: Rooming, ghosts: Ghosts) -> None:
        self._desk = desk
        self.rooming = rooming
        self.ghosts = ghosts

    async def take(self, emit: Emit, events: Sequence[Told]) -> None:
        """Take events in; returns when they are durable, and remembers only then what they changed.

        Raises StoreDown and what a homeserver's silence raises; the same events may then come again.
        """
        async with self._desk.memory.taking:
            await self._take(emit, events)

    async def _take(self, emit: Emit, events: Sequence[Told]) -> None:
        memory = self._desk.memory
        await memory.read_rooms(event.room for event in events)
        batch = _Batch(self._desk, self, emit)
        try:
            await batch.look_up(events)
            for event in events:
                await batch.take(emit, event)
            await emit.accepted()
        except BaseException:
            memory.undo_changed()
            raise
        await memory.save_changed()
        for room in batch.entered:
            await memory.arrived(room)

    async def read(self, room: str, events: Sequence[Told]) -> list[PlatformEvent]:
        """What events of the past say; nothing is done about them."""
        found: list[PlatformEvent] = []
        batch = _Batch(self._desk, self, found.append)
        await batch.look_up(events)
        for event in events:
            if not self._desk.is_ours(event.sender):
                await batch.say(event)
        return found

    async def typing(self, emit: Emit, room: str, users: object) -> None:
        """Who is typing in a room, as m.typing lists them."""
        known = self._desk.memory.rooms.get(room)
        if known is None or not known.joined or not isinstance(users, list):
            return
        people = [user for user in users if isinstance(user, str) and not self._desk.is_ours(user)][:MOST_TYPING]
        names = await self._desk.memory.people(room, people)
        now_ms = self._desk.services.now_ms()
        for user in people:
            author = Author(user, names[user].name if user in names else localpart(user))
            native = NativeId(f"typing-{user}-{now_ms}")
            emit(Typing(room=self._desk.room(room), native=native, at_ms=now_ms, author=author))


class _Batch:
    """Some events that came together."""

    def __init__(self, desk: Desk, intake: Intake, put: Put) -> None:
        self._desk = desk
        self._rooming = intake.rooming
        self._ghosts = intake.ghosts
        self._put = put
        self._people: dict[tuple[str, str], Person] = {}
        self.entered: set[str] = set()

    async def look_up(self, events: Iterable[Told]) -> None:
        """Read who the senders are, as far as the store knows."""
        senders: dict[str, set[str]] = {}
        for event in events:
            if not self._desk.is_ours(event.sender):
                senders.setdefault(event.room, set()).add(event.sender)
        for room, users in senders.items():
            for user, person in (await self._desk.memory.people(room, users)).items():
                self._people[room, user] = person

    async def take(self, emit: Emit, event: Told) -> None:
        """One event, and all that follows from it."""
        desk = self._desk
        if event.kind == "m.room.member" and event.state_key == desk.me:
            await self._about_us(emit, event)
            return
        room = await self._known(emit, event)
        if event.kind == "m.room.member" and desk.is_ghost(event.state_key or ""):
            await self._about_a_ghost(event)
        if not room.joined or desk.is_ours(event.sender):
            return
        if event.kind == "m.room.member" and event.state_key:
            await self._member(event, event.state_key)
        elif event.state_key is not None:
            await self._state(emit, event, room)
        elif event.kind == "m.room.encrypted":
            await self._rooming.tell_encrypted(event.room)
        else:
            await self.say(event)

    # --- we

    async def _about_us(self, emit: Emit, event: Told) -> None:
        membership, memory = event.content.get("membership"), self._desk.memory
        known = memory.rooms.get(event.room)
        if membership == "invite" and event.sender != self._desk.me:
            await self._rooming.invited(event.room, event.sender)
        elif membership == "join" and not (known and known.joined):
            await self._rooming.enter(emit, event.room, event.id, event.at_ms, greet=True)
            self.entered.add(event.room)
        elif membership in ("leave", "ban"):
            self._rooming.left(emit, event)

    async def _known(self, emit: Emit, event: Told) -> Room:
        """The event's room. One that we never heard of may be ours all the same, where a store was lost."""
        memory = self._desk.memory
        known = memory.rooms.get(event.room)
        if known is None:
            if await self._rooming.is_member(event.room):
                known = await self._rooming.enter(emit, event.room, f"found-{event.id}", event.at_ms, greet=False)
                self.entered.add(event.room)
            else:
                known = memory.rooms[event.room] = Room()
                memory.changed.add(event.room)
        return known

    async def _about_a_ghost(self, event: Told) -> None:
        """Somebody put a ghost out, or asks one into a room of theirs, where it has nothing to say."""
        ghost, membership = event.state_key or "", event.content.get("membership")
        if membership in ("leave", "ban"):
            await self._desk.memory.forget_present(event.room, ghost)
        elif membership == "invite" and event.sender != self._desk.me:
            self._desk.spawn(self._ghosts.go(event.room, ghost))

    # --- the room

    async def _state(self, emit: Emit, event: Told, room: Room) -> None:
        if event.kind in ("m.room.name", "m.room.canonical_alias"):
            self._rooming.renamed(emit, event)
        elif event.kind == "m.room.tombstone":
            await self._rooming.tombstone(emit, event)
        elif event.kind == "m.room.encryption" and not room.encrypted:
            room.encrypted = True
            await self._rooming.tell_encrypted(event.room)
            self._rooming.removed(emit, event, ENCRYPTED)
        elif event.kind in ("m.room.power_levels", "m.room.join_rules"):
            room.ghosts = True
        else:
            return
        self._desk.memory.changed.add(event.room)

    async def _member(self, event: Told, user: str) -> None:
        membership = event.content.get("membership")
        before = event.before or {}
        was_in = before.get("membership") == "join"
        room, native = self._desk.room(event.room), NativeId(event.id)
        if membership == "join":
            person = _person(event.content, user)
            self._people[event.room, user] = person
            await self._desk.memory.save_person(event.room, user, person)
            if not was_in:
                self._put(Joined(room=room, native=native, at_ms=event.at_ms, author=self._author(user, person)))
        elif membership in ("leave", "ban") and was_in:
            author = self._author(user, _person(before, user))
            self._put(Left(room=room, native=native, at_ms=event.at_ms, author=author))

    # --- what people say

    async def say(self, event: Told) -> None:
        """What somebody said, changed, took back, or thinks of it."""
        room = self._desk.room(event.room)
        if event.kind in SAID:
            author = await self._author_of(event)
            found = said(event, room, self._desk.account, author, None)
            if found is not None and not isinstance(found, MessageEdited) and (to := answers(event)):
                found = said(event, room, self._desk.account, author, await self._answered(event.room, to))
            if found is not None:
                self._put(found)
        elif event.kind == "m.reaction":
            reacted = reaction(event, room, await self._author_of(event))
            if reacted is not None:
                about = Reacted(str(reacted.target), reacted.emoji, event.sender)
                await self._desk.memory.save_reaction(event.id, about)
                self._put(reacted)
        elif event.kind == "m.room.redaction" and event.redacts:
            await self._redacted(event)

    async def _redacted(self, event: Told) -> None:
        room, native = self._desk.room(event.room), NativeId(event.id)
        reacted = await self._desk.memory.reaction(event.redacts)
        if reacted is None:
            # The homeserver lets only the author and moderators take a message back ("m.room.redaction").
            target = NativeId(event.redacts)
            self._put(MessageDeleted(room=room, native=native, at_ms=event.at_ms, target=target))
            return
        author = self._author(reacted.sender, await self._person(event.room, reacted.sender))
        self._put(
            Reaction(
                room=room,
                native=native,
                at_ms=event.at_ms,
                target=NativeId(reacted.target),
                author=author,
                emoji=reacted.emoji,
                added=False,
            )
        )

    async def _answered(self, room: str, native: str) -> ReplyTo:
        """Who said what is answered, and how it begins; asked for in this very room."""
        try:
            raw = await self._desk.client.get(at("rooms", room, "event", native), timeout_s=LOOK_S)
        except (Refused, Retry):
            return ReplyTo(NativeId(native))
        event = told(raw, room)
        if event is None:
            return ReplyTo(NativeId(native))
        changed = event.content.get("m.new_content") if relation(event.content, "m.replace") else None
        words = from_content(changed if isinstance(changed, dict) else event.content).plain
        person = await self._person(room, event.sender)
        return ReplyTo(NativeId(native), person.name, words[:EXCERPT_CHARS])

    # --- people

    async def _author_of(self, event: Told) -> Author:
        return self._author(event.sender, await self._person(event.room, event.sender))

    def _author(self, user: str, person: Person) -> Author:
        return Author(user, person.name, self._desk.avatar_url(person.mxc) if person.mxc else "")

    async def _person(self, room: str, user: str) -> Person:
        """A member by the room's own word; asked for once, then remembered."""
        found = self._people.get((room, user))
        if found is None:
            try:
                found = await self._asked(room, user)
            except Retry:
                # The name is not worth a wait; next time it is asked for again.
                return Person(localpart(user))
            self._people[room, user] = found
        return found

    async def _asked(self, room: str, user: str) -> Person:
        try:
            content = await self._desk.client.get(at_state(room, "m.room.member", user), timeout_s=LOOK_S)
        except Refused:
            content = {}
        person = _person(content, user)
        await self._desk.memory.save_person(room, user, person)
        return person


def _person(content: dict[str, object], user: str) -> Person:
    name, mxc = content.get("displayname"), content.get("avatar_url")
    shown = name.strip()[:200] if isinstance(name, str) else ""
    return Person(shown or localpart(user), mxc if isinstance(mxc, str) and len(mxc) < 256 else "")

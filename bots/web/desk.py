"""What a guest may do in a room, whichever way the wish came: a socket's message or a plain form.

Everything is emitted first and kept in the room only once the relay has it: nothing shows as said that was not
accepted. All ids are made of the browser's own id of the wish, so a wish that comes twice is done once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import msgspec

from bots.web import names
from bots.web.body import excerpt, nodes
from bots.web.rooms import Room, Rooms, guest_in
from bots.web.typed import parse
from bots.web.wire import Record, ReplyView, decode_record, digest
from core.model import (
    AccountId,
    Author,
    BotAdded,
    Event,
    FileRef,
    MessageDeleted,
    MessageEdited,
    MessageNew,
    NativeId,
    Reaction,
    ReplyTo,
    RoomId,
    RoomRenamed,
    Typing,
    room_id,
)

if TYPE_CHECKING:
    from bots.web import WebConfig
    from bots.web.files import Shared, SharedFiles
    from core.contract import Emit, Services

MAX_EMOJI = 20
MAX_REACTORS = 200


class Refused(Exception):
    """It will not be done; the message says why and what to do."""


class Guest(msgspec.Struct, frozen=True):
    """Somebody who joined a room."""

    room: Room
    id: str
    """Within this room."""
    name: str
    joined: int

    @property
    def owner(self) -> bool:
        """Did this guest make the room?"""
        return self.id == self.room.owner

    def author(self) -> Author:
        """As the relay knows this guest."""
        return Author(author_id(self.id), self.name, role="admin" if self.owner else "member")


def author_id(guest: str) -> str:
    """``Author.id`` of a guest."""
    return f"guest:{guest}"


class Desk:
    """Carries out guests' wishes. Raises Refused, TooFast, Gone, StoreDown and redis errors."""

    def __init__(
        self,
        account: AccountId,
        config: WebConfig,
        services: Services,
        rooms: Rooms,
        files: SharedFiles,
        emit: Emit,
        titles: dict[str, str],
    ) -> None:
        self._account = account
        self._config = config
        self._now_ms = services.now_ms
        self._rooms = rooms
        self._files = files
        self._emit = emit
        self._titles = titles

    async def guest(self, room: Room, session: str) -> Guest | None:
        """The session's guest in the room; None for who has not joined."""
        id = guest_in(room.id, session)
        known = await self._rooms.member(room.id, id) if session else None
        return None if known is None else Guest(room, id, known.name, known.joined)

    async def open(self, room: str, title: str, session: str) -> Room:
        """Make a room; the relay greets it. Raises TooFast, Full too."""
        owner = guest_in(room, session)
        await self._rooms.create(room, title, owner)
        self._titles[room] = title
        by = Author(author_id(owner), "Guest", role="admin")
        native = NativeId("added")
        await self._accept(
            BotAdded(room=self._room(room), native=native, at_ms=self._now_ms(), title=title, by=by, greet=True)
        )
        return Room(room, title, owner, 0)

    async def say(self, guest: Guest, cid: str, text: str, reply: str | None = None, files: Sequence[str] = ()) -> str:
        """Say something; returns the message's id."""
        native = digest("said", guest.id, cid)
        text = self._typed(text, needed=not files)
        if await self._rooms.raw(guest.room.id, native):
            return native
        await self._slow_down(guest)
        shared = [await self._own_file(guest, file) for file in files]
        answered = await self._seen(guest, reply) if reply else None
        quote = None if answered is None else ReplyView(answered.id, answered.name, excerpt(answered.body))
        now = self._now_ms()
        model = parse(text)
        await self._accept(
            MessageNew(
                room=self._room(guest.room.id),
                native=NativeId(native),
                at_ms=now,
                author=guest.author(),
                text=model,
                files=tuple(FileRef(self._account, f.id, f.name, f.mime, f.size_bytes) for f in shared),
                reply_to=ReplyTo(NativeId(quote.id), quote.name, quote.excerpt) if quote else None,
                room_title=guest.room.name,
            )
        )
        record = Record(
            id=native,
            at=now,
            kind="guest",
            by=guest.id,
            name=guest.name,
            body=nodes(model),
            src=text,
            cid=cid,
            reply=quote,
            files=tuple(f.view() for f in shared),
            refs=tuple(f.id for f in shared),
        )
        await self._rooms.put(guest.room.id, record, b"", visited=True)
        return native

    async def edit(self, guest: Guest, op: str, target: str, text: str) -> None:
        """Give one's own message another text."""
        record = await self._seen(guest, target)
        text = self._typed(text, needed=not record.files)
        native = digest("edited", guest.id, op)
        if record.by != guest.id:
            raise Refused("Only who wrote a message can edit it.")
        if record.edit == native:
            return
        await self._slow_down(guest)
        model = parse(text)
        await self._accept(
            MessageEdited(
                room=self._room(guest.room.id),
                native=NativeId(native),
                at_ms=self._now_ms(),
                target=NativeId(target),
                author=guest.author(),
                text=model,
                files=await self._refs(record),
            )
        )
        fields = {"body": nodes(model), "src": text, "edit": native}
        await self._change(guest, target, lambda r: msgspec.structs.replace(r, **fields))

    async def delete(self, guest: Guest, target: str) -> None:
        """Take a message away: one's own, or anybody's for who made the room."""
        raw = await self._rooms.raw(guest.room.id, target)
        record = decode_record(raw) if raw else None
        if record is None or record.deleted:
            return
        if record.by != guest.id and not guest.owner:
            raise Refused("Only who wrote a message, or who made the room, can delete it.")
        await self._slow_down(guest)
        event = MessageDeleted(
            room=self._room(guest.room.id),
            native=NativeId(digest("deleted", target)),
            at_ms=self._now_ms(),
            target=NativeId(target),
        )
        await self._accept(event)
        await self._change(guest, target, tombstone)
        for file in record.refs:
            await self._files.remove(file)

    async def react(self, guest: Guest, op: str, target: str, emoji: str, on: bool) -> None:
        """Put an emoji on a message, or take it away."""
        record = await self._seen(guest, target)
        if not names.is_emoji(emoji):
            raise Refused("A reaction is one emoji.")
        if (guest.id in record.reactions.get(emoji, {})) == on:
            return
        await self._slow_down(guest)
        if on and not _has_place(record, emoji):
            raise Refused("This message has as many reactions as it can hold.")
        await self._accept(
            Reaction(
                room=self._room(guest.room.id),
                native=NativeId(digest("reacted", guest.id, op)),
                at_ms=self._now_ms(),
                target=NativeId(target),
                author=guest.author(),
                emoji=emoji,
                added=on,
            )
        )
        await self._change(guest, target, lambda r: reacted(r, emoji, guest.id, guest.name, on))

    async def rename(self, guest: Guest, op: str, name: str) -> None:
        """Give the room another name; only for who made it."""
        title = names.clean_title(name)
        if not guest.owner:
            raise Refused("Only who made the room can rename it.")
        if not title:
            raise Refused("Give the room a name with letters in it.")
        await self._slow_down(guest)
        native = NativeId(digest("renamed", guest.id, op))
        event = RoomRenamed(room=self._room(guest.room.id), native=native, at_ms=self._now_ms(), title=title)
        await self._accept(event)
        await self._rooms.rename(guest.room.id, title)
        self._titles[guest.room.id] = title

    async def typing(self, guest: Guest) -> None:
        """Show the others that the guest is typing. May get lost."""
        room = self._room(guest.room.id)
        self._emit(Typing(room=room, native=NativeId("typing"), at_ms=self._now_ms(), author=guest.author()))
        await self._rooms.publish(guest.room.id, typing_line(guest.id, guest.name))

    # --- helpers ---

    def _room(self, room: str) -> RoomId:
        return room_id(self._account, room)

    async def _accept(self, event: Event) -> None:
        self._emit(event)  # type: ignore[arg-type]  # every subclass of Event is one of the union
        await self._emit.accepted()

    async def _slow_down(self, guest: Guest) -> None:
        per_minute = self._config.says_per_s * 60
        await self._rooms.take("say", guest.room.id, guest.id, per_minute=per_minute, burst=self._config.says_burst)

    def _typed(self, text: str, *, needed: bool) -> str:
        if len(text) > self._config.max_text_chars:
            raise Refused(f"A message may have at most {self._config.max_text_chars} characters. Share it as a file.")
        text = names.clean_text(text)
        if needed and not text:
            raise Refused("The message is empty.")
        return text

    async def _seen(self, guest: Guest, target: str) -> Record:
        raw = await self._rooms.raw(guest.room.id, target)
        record = decode_record(raw) if raw else None
        if record is None or record.deleted:
            raise Refused("This message is gone.")
        return record

    async def _own_file(self, guest: Guest, file: str) -> Shared:
        shared = await self._files.get(file)
        if shared is None or shared.by != guest.id:  # The id is good for one room only.
            raise Refused("The file is gone. Choose it again.")
        return shared

    async def _refs(self, record: Record) -> tuple[FileRef, ...]:
        found = await asyncio.gather(*(self._files.get(ref) for ref in record.refs))
        return tuple(FileRef(self._account, f.id, f.name, f.mime, f.size_bytes) for f in found if f is not None)

    async def _change(self, guest: Guest, target: str, change: Callable[[Record], Record]) -> None:
        await change_record(self._rooms, guest.room.id, target, change, visited=True)


async def change_record(
    rooms: Rooms, room: str, target: str, change: Callable[[Record], Record], *, visited: bool
) -> bool:
    """Replace a record by what ``change`` makes of it, whoever else changes it meanwhile. Deleted ones stay so.

    False where there is no such message. Raises Gone.
    """
    raw = await rooms.raw(room, target)
    while raw:
        record = decode_record(raw)
        done, raw = await rooms.put(room, record if record.deleted else change(record), raw, visited=visited)
        if done != "stale":
            return True
    return False


def tombstone(record: Record) -> Record:
    """What is left of a deleted message."""
    return Record(id=record.id, at=record.at, kind=record.kind, by=record.by, name=record.name, deleted=True)


def reacted(record: Record, emoji: str, who: str, name: str, on: bool) -> Record:
    """``record`` with or without somebody's reaction."""
    people = dict(record.reactions.get(emoji, {}))
    if on:
        people[who] = name
    else:
        people.pop(who, None)
    reactions = {**record.reactions, emoji: people}
    return msgspec.structs.replace(record, reactions={e: p for e, p in reactions.items() if p})


def _has_place(record: Record, emoji: str) -> bool:
    people = record.reactions.get(emoji)
    return len(record.reactions) < MAX_EMOJI if people is None else len(people) < MAX_REACTORS


def typing_line(by: str, name: str) -> bytes:
    """What pages are told when somebody types."""
    return msgspec.json.encode({"t": "typing", "by": by, "name": name})

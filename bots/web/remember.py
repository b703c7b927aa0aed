"""A room's past for the relay: what its guests said, edited and deleted, as the events that told of it then."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bots.web.desk import author_id
from bots.web.rooms import Room, Rooms
from bots.web.typed import parse
from bots.web.wire import Record, decode_record, digest
from core.contract import Remembered
from core.model import (
    AccountId,
    Author,
    FileRef,
    MessageDeleted,
    MessageEdited,
    MessageNew,
    NativeId,
    PlatformEvent,
    ReplyTo,
    RoomId,
    native_room,
)

if TYPE_CHECKING:
    from bots.web.files import SharedFiles


async def remembered(account: AccountId, rooms: Rooms, files: SharedFiles, room: RoomId, cursor: str) -> Remembered:
    """Events after ``cursor``, a change number. A message that was said and deleted since is left out; of several
    edits the last one counts. Ids are those of the first time. Raises Gone and redis errors.
    """
    name = native_room(room)
    known = await rooms.get(name)
    if not cursor or known is None:
        return Remembered((), str(known.seq if known else 0), complete=known is not None)
    after = int(cursor)
    snapshot = await rooms.since(name, after, 0)
    events: list[PlatformEvent] = []
    for _, born, raw in snapshot.messages:
        record = decode_record(raw)
        if record.kind == "guest":
            refs = await _refs(account, files, record)
            events += _events(room, known, record, refs, is_new=born > after)
    return Remembered(tuple(events), str(snapshot.seq), complete=known.trimmed <= after)


async def _refs(account: AccountId, files: SharedFiles, record: Record) -> tuple[FileRef, ...]:
    found = [await files.get(ref) for ref in record.refs]
    return tuple(FileRef(account, f.id, f.name, f.mime, f.size_bytes) for f in found if f is not None)


def _events(
    room: RoomId, known: Room, record: Record, refs: tuple[FileRef, ...], *, is_new: bool
) -> list[PlatformEvent]:
    target = NativeId(record.id)
    if record.deleted:
        gone = MessageDeleted(room=room, native=NativeId(digest("deleted", record.id)), at_ms=record.at, target=target)
        return [] if is_new else [gone]
    author = Author(author_id(record.by), record.name, role="admin" if record.by == known.owner else "member")
    text = parse(record.src)
    if is_new:
        quote = record.reply
        answered = ReplyTo(NativeId(quote.id), quote.name, quote.excerpt) if quote else None
        return [
            MessageNew(
                room=room,
                native=target,
                at_ms=record.at,
                author=author,
                text=text,
                files=refs,
                reply_to=answered,
                room_title=known.name,
            )
        ]
    if not record.edit:
        return []
    return [
        MessageEdited(
            room=room,
            native=NativeId(record.edit),
            at_ms=record.at,
            target=target,
            author=author,
            text=text,
            files=refs,
        )
    ]

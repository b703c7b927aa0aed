"""From what was heard in a room to events: ids as the relay knows them, who it was, what changed."""

from __future__ import annotations

from collections.abc import Iterable

from bots.xmpp.memory import Memory
from bots.xmpp.receive import Heard, Link
from bots.xmpp.rooms import Room
from bots.xmpp.text import EMOTE, read
from core.model import (
    AccountId,
    Author,
    FileRef,
    MessageDeleted,
    MessageEdited,
    MessageNew,
    NativeId,
    PlatformEvent,
    Reaction,
    ReplyTo,
    Text,
    Typing,
)
from core.text.ops import slice_text


class Hearing:
    """What people do in rooms, as events. It changes only what is remembered."""

    def __init__(self, account: AccountId, memory: Memory) -> None:
        self._account = account
        self._memory = memory
        self._numbered = 0

    async def events(self, room: Room, heard: Heard, now_ms: int) -> list[PlatformEvent]:
        """The events of a message; none for our own."""
        at_ms = heard.at_ms or now_ms
        if heard.retracts and heard.moderated:
            return [await self._deleted(room, heard, at_ms, None)]
        if not heard.nick or room.is_ours(heard.nick):
            return []
        author = room.author(heard.nick, heard.occupant_id, heard.jid)
        if heard.retracts:
            return [await self._deleted(room, heard, at_ms, author)]
        if heard.reacts_to:
            return await self._reactions(room, heard, at_ms, author)
        if heard.body or heard.links:
            return [await self._message(room, heard, at_ms, author)]
        if heard.composing and not heard.at_ms:
            return [Typing(room=room.room, native=NativeId(heard.native), at_ms=at_ms, author=author)]
        return []

    async def _native(self, room: Room, author_id: str, written: str) -> NativeId:
        """The room's id of a message, where somebody may have used the sender's id."""
        if written in room.seen:
            return NativeId(written)
        return NativeId(await self._memory.find_said(room.jid, author_id, written) or written)

    # --- new and changed messages ---

    async def _message(self, room: Room, heard: Heard, at_ms: int, author: Author) -> PlatformEvent:
        text = read(heard.body, heard.html, unstyled=heard.unstyled)
        files = tuple([await self._file(link) for link in heard.links])
        native = await self._id(room, heard, at_ms, author)
        if heard.replaces:
            target = await self._memory.find_said(room.jid, author.id, heard.replaces)
            if target:
                return self._edited(room, heard, native, at_ms, author, text, files, target)
        self._memory.said(room.jid, author.id, heard.origin, native)
        room.saw(native, heard.nick, text.plain)
        emote = text.plain.startswith(EMOTE)
        return MessageNew(
            room=room.room,
            native=native,
            at_ms=at_ms,
            author=author,
            text=slice_text(text, len(EMOTE), len(text.plain)) if emote else text,
            files=files,
            reply_to=await self._reply(room, heard),
            emote=emote,
            bridged=heard.marked or author.is_bot,
        )

    async def _id(self, room: Room, heard: Heard, at_ms: int, author: Author) -> NativeId:
        """The room's id of a message, else the sender's. Old clients give none, or count from 1 whenever they start:
        one that another message has is no id, and neither message is to be taken for the other come again."""
        if heard.native and heard.native != heard.origin:
            return NativeId(heard.native)
        used = heard.native in room.seen or await self._memory.find_said(room.jid, author.id, heard.native)
        if heard.native and not used:
            return NativeId(heard.native)
        self._numbered += 1
        return NativeId(f"{heard.native} {at_ms}.{self._numbered}".strip())

    def _edited(
        self,
        room: Room,
        heard: Heard,
        native: NativeId,
        at_ms: int,
        author: Author,
        text: Text,
        files: tuple[FileRef, ...],
        target: str,
    ) -> PlatformEvent:
        # Some clients name the last correction when they correct once more.
        self._memory.said(room.jid, author.id, heard.origin, target)
        if target in room.seen:
            room.saw(target, heard.nick, text.plain)
        return MessageEdited(
            room=room.room,
            native=native,
            at_ms=at_ms,
            target=NativeId(target),
            author=author,
            text=text,
            files=files,
        )

    async def _reply(self, room: Room, heard: Heard) -> ReplyTo | None:
        answer = heard.answers
        if answer is None:
            return None
        answered = room.author(answer.nick).id if answer.nick else ""
        native = await self._native(room, answered, answer.native)
        seen = room.seen.get(native)
        nick = answer.nick or (seen.nick if seen else "")
        return ReplyTo(native, nick, answer.excerpt or (seen.excerpt if seen else ""))

    async def _file(self, link: Link) -> FileRef:
        ref = await self._memory.keep_file(link)
        return FileRef(self._account, ref, link.name, link.mime, link.size_bytes)

    # --- the rest ---

    async def _deleted(self, room: Room, heard: Heard, at_ms: int, author: Author | None) -> PlatformEvent:
        target = await self._native(room, author.id if author else "", heard.retracts)
        room.seen.pop(target, None)
        return MessageDeleted(
            room=room.room, native=NativeId(heard.native or f"{target} gone"), at_ms=at_ms, target=target, author=author
        )

    async def _reactions(self, room: Room, heard: Heard, at_ms: int, author: Author) -> list[PlatformEvent]:
        """XEP-0444 tells all reactions of a person every time: what is new, what is gone?"""
        target = await self._native(room, author.id, heard.reacts_to)
        before = await self._memory.reacted(room.jid, target, author.id)
        self._memory.set_reacted(room.jid, target, author.id, heard.emoji)

        def reactions(changed: Iterable[str], *, added: bool) -> list[PlatformEvent]:
            return [
                Reaction(
                    room=room.room,
                    native=NativeId(f"{heard.native or f'{target} {at_ms}'} {'+' if added else '-'}{emoji}"),
                    at_ms=at_ms,
                    target=target,
                    author=author,
                    emoji=emoji,
                    added=added,
                )
                for emoji in changed
            ]

        now = set(heard.emoji)
        gone = reactions(sorted(before - now), added=False)
        return gone + reactions([emoji for emoji in heard.emoji if emoji not in before], added=True)

"""Posting: where a message goes, in how many parts, and what of it is there already."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from bots.teams.activity import ROOT_MARK
from bots.teams.compose import (
    CARD_LIMIT,
    PICTURE_BYTES,
    card,
    card_size,
    is_picture,
    message,
    picture,
    reaction_type,
)
from bots.teams.config import TeamsConfig
from bots.teams.connector import Connector, Gone, Unsupported, activities
from bots.teams.rooms import CHANNEL, Room, Rooms
from bots.teams.text import cut
from core.composer import file_line
from core.contract import AdapterError, Outbound, OutFile, Receipt, Rejected
from core.model import Author, NativeId, Text, native_room
from core.text.ops import concat

UNKNOWN_ROOM: Final = "The bot has not heard from this Teams conversation yet. Mention it there once."
Parts = list[dict[str, Any] | OutFile]


class Sender:
    """Posts for one account."""

    def __init__(self, config: TeamsConfig, connector: Connector, rooms: Rooms) -> None:
        self._config = config
        self._connector = connector
        self._rooms = rooms

    async def room(self, native: str) -> Room:
        """The room, with its service. Raises Rejected where it is not known."""
        room = await self._rooms.get(native)
        if room is None or not room.service_url:
            raise Rejected(UNKNOWN_ROOM)
        return room

    async def send(self, outbound: Outbound) -> Receipt:
        """Post it: its text, then its pictures. A try that broke off goes on where it was."""
        room = await self.room(native_room(outbound.room))
        root, quoted = await self._place(room, outbound)
        parts, texts = self._parts(outbound, quoted)
        natives = await self._rooms.progress(outbound.key) if len(parts) > 1 else []
        for part in parts[len(natives) :]:
            below = root or (natives[0] if natives and room.kind == CHANNEL else "")
            native = await self._post(room, below, part)
            natives.append(native)
            if len(parts) > 1:
                await self._rooms.add_part(outbound.key, native)
        if texts < len(parts) and natives[0]:
            await self._rooms.put_shape(room.id, natives[0], texts)
        return Receipt(tuple(native for native in natives if native))

    async def edit(self, natives: Sequence[NativeId], outbound: Outbound) -> Receipt:
        """Text is changed in place, what is too many goes, what lacks is posted. Pictures stay as they are."""
        room = await self.room(native_room(outbound.room))
        texts = await self._rooms.shape(room.id, natives[0])
        ours, pictures = (natives, natives[:0]) if texts is None else (natives[:texts], natives[texts:])
        root, quoted = await self._place(room, outbound)
        parts, wanted = self._parts(outbound, quoted)
        standing: list[NativeId] = []
        for number, part in enumerate(parts[:wanted]):
            below = root or (standing[0] if standing and room.kind == CHANNEL else "")
            if number < len(ours) and await self._change(room, ours[number], part):
                standing.append(ours[number])
            else:
                standing.append(await self._post(room, below, part))
        await self.delete(room, ours[wanted:])
        if pictures and standing:
            await self._rooms.put_shape(room.id, standing[0], len(standing))
        return Receipt((*standing, *pictures))

    async def _change(self, room: Room, native: NativeId, part: Any) -> bool:
        """Put ``part`` in the place of a post. False where that is gone."""
        path = activities(await self.conversation(room, native), native)
        try:
            await self._connector.ask("PUT", room.service_url, path, part | {"id": native})
        except Gone:
            return False
        return True

    async def delete(self, room: Room, natives: Sequence[NativeId]) -> None:
        """Take posts away; what is gone is gone."""
        for native in natives:
            path = activities(await self.conversation(room, native), native)
            try:
                await self._connector.ask("DELETE", room.service_url, path)
            except Gone:
                continue

    async def react(self, room: Room, native: NativeId, emoji: str, added: bool, author: Author) -> None:
        """Put the bot's reaction there when the first author wants it, and take it away with the last one's wish.
        An emoji that Teams has no name for becomes a line of text.
        """
        kind = reaction_type(emoji)
        if not kind:
            await self._say_reaction(room, native, emoji, added, author)
            return
        if not await self._rooms.wish(room.id, native, emoji, author.id, added=added):
            return
        conversation = await self.conversation(room, native)
        path = activities(conversation, native, f"/reactions/{kind}")
        try:
            await self._connector.ask("PUT" if added else "DELETE", room.service_url, path)
        except Gone:
            if added:
                raise
        except Unsupported:
            await self._say_reaction(room, native, emoji, added, author)
        except AdapterError:
            await self._rooms.wish(room.id, native, emoji, author.id, added=not added)
            raise

    async def _say_reaction(self, room: Room, native: NativeId, emoji: str, added: bool, author: Author) -> None:
        words = f"({author.name} {'reacted' if added else 'took back'} {emoji})"
        root = await self._rooms.root(room.id, native) or native if room.kind == CHANNEL else ""
        await self._post(room, root, message(Text(words), "" if root == native else native))

    # --- where and what ---

    async def conversation(self, room: Room, native: str) -> str:
        """The conversation that a message is in: in a channel, the thread where that is known."""
        root = await self._rooms.root(room.id, native) if room.kind == CHANNEL else ""
        return f"{room.id}{ROOT_MARK}{root}" if root else room.id

    async def _place(self, room: Room, outbound: Outbound) -> tuple[str, str]:
        """The thread's first message, and the message to quote. In a channel an answer goes below what it answers,
        and quotes it unless that is the first message itself.
        """
        reply, thread = outbound.reply_to or "", outbound.thread or ""
        if room.kind != CHANNEL:
            return "", reply
        root = thread or reply
        if root:
            root = await self._rooms.root(room.id, root) or root
        return root, "" if reply == root else reply

    def _parts(self, outbound: Outbound, quoted: str) -> tuple[Parts, int]:
        """All posts, and how many of them are text."""
        pictures = [file for file in outbound.files if is_picture(file)]
        lines = [file_line(file) for file in outbound.files if not is_picture(file)]
        text = outbound.text
        if lines:
            text = concat(text, Text("\n" * bool(text.plain) + "\n".join(lines)))
        parts: Parts = []
        if self._config.cards and outbound.author is not None:
            if text.plain or not pictures:
                for words in cut(text, outbound.max_parts, CARD_LIMIT, card_size):
                    parts.append(card(words, outbound.author))
        elif text.plain.strip() or not pictures:
            for number, words in enumerate(cut(text, outbound.max_parts)):
                parts.append(message(words, "" if number else quoted))
        return [*parts, *pictures], len(parts)

    async def _post(self, room: Room, root: str, part: dict[str, Any] | OutFile) -> NativeId:
        if isinstance(part, OutFile):
            part = await _drawn(part)
        conversation = f"{room.id}{ROOT_MARK}{root}" if root else room.id
        native = await self._connector.post(room.service_url, conversation, part)
        if native and root and native != root:
            await self._rooms.set_root(room.id, native, root)
        return NativeId(native)


async def _drawn(file: OutFile) -> dict[str, Any]:
    """A picture's post; a line with its link where it turns out to be larger than its origin said."""
    data = bytearray()
    async for chunk in file.open():
        data += chunk
        if len(data) > PICTURE_BYTES:
            return message(Text(file_line(file)))
    return picture(file, bytes(data))

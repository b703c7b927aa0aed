"""Posting: words, files, edits, deletions, reactions, typing; as the author's ghost, or as the bot."""

from __future__ import annotations

import tempfile
from collections.abc import Awaitable, Callable, Sequence
from hashlib import sha256
from typing import Any, TypeVar

import structlog

from bots.matrix.client import Refused, at
from bots.matrix.desk import Desk
from bots.matrix.ghosts import Ghosts
from bots.matrix.receive import MARK, told
from bots.matrix.text import parts, to_content
from core.composer import file_line
from core.contract import Outbound, OutFile, Receipt, Rejected
from core.model import Author, NativeId, RoomId, Text, native_room

log = structlog.get_logger()

TYPING_MS = 6_000
OUTER_CHARS = 300
"""Of an edit, this much stands where old clients look."""
IN_MEMORY_BYTES = 262_144
Done = TypeVar("Done")


class Sender:
    """Posts of one account."""

    def __init__(self, desk: Desk, ghosts: Ghosts) -> None:
        self._desk = desk
        self._ghosts = ghosts
        self.file_limit_bytes = 50 * 1024 * 1024
        """Largest upload; the homeserver says its own (Synapse's default is this)."""

    # --- words and files

    async def send(self, outbound: Outbound) -> Receipt:
        """Post it. Raises any AdapterError."""
        await self._check(outbound.room)
        return await self._as(outbound.room, outbound.author, lambda user: self._send(outbound, user))

    async def _send(self, outbound: Outbound, user: str) -> Receipt:
        room = native_room(outbound.room)
        words = parts(outbound.text, outbound.max_parts) if outbound.text.plain else []
        natives: list[NativeId] = []
        for number, part in enumerate(words):
            content = self._words(part, outbound) | _relation(outbound, first=number == 0)
            natives.append(await self._post(room, content, f"{outbound.key}-{number}", user))
        for number, file in enumerate(outbound.files):
            content = await self._file(file, outbound, user) | _relation(outbound, first=not natives)
            natives.append(await self._post(room, content, f"{outbound.key}-f{number}", user))
        if outbound.files and natives:
            await self._desk.memory.save_text_parts(natives[0], len(words))
        return Receipt(tuple(natives))

    def _words(self, text: Text, outbound: Outbound) -> dict[str, Any]:
        # Bots speak in notices, which no other bot answers; people's words are no bot's.
        msgtype = "m.notice" if outbound.author is None else "m.text"
        return {"msgtype": msgtype, **to_content(text), "m.mentions": {}, MARK: True}

    async def _post(self, room: str, content: dict[str, Any], txn: str, user: str) -> NativeId:
        path = at("rooms", room, "send", "m.room.message", txn)
        answer = await self._desk.client.call("PUT", path, content, user=user, posts=True)
        return NativeId(str(answer.get("event_id", "")))

    async def _file(self, file: OutFile, outbound: Outbound, user: str) -> dict[str, Any]:
        """The content of a file's event; a line with a link where it is too large, or cannot be had."""
        uploaded = None
        try:
            uploaded = await self._upload(file, user) if file.size_bytes <= self.file_limit_bytes else None
        except Rejected as error:
            log.info("matrix: a file is posted as a link", account=self._desk.account, reason=error.reason)
        if uploaded is None:
            return self._words(Text(file_line(file)), outbound)
        mxc, size_bytes = uploaded
        kind = file.mime.partition("/")[0]
        return {
            "msgtype": f"m.{kind}" if kind in ("image", "video", "audio") else "m.file",
            "body": file.name,
            "filename": file.name,
            "url": mxc,
            "info": {"mimetype": file.mime, "size": size_bytes},
            "m.mentions": {},
            MARK: True,
        }

    async def _upload(self, file: OutFile, user: str) -> tuple[str, int] | None:
        """Upload a file; its address and size. None where it is too large.

        Through a file on disk, because homeservers want to know the length first, and not every origin knows it.
        """
        with tempfile.SpooledTemporaryFile(max_size=IN_MEMORY_BYTES) as spool:
            async for chunk in file.open():
                spool.write(chunk)
                if spool.tell() > self.file_limit_bytes:
                    return None
            size_bytes = spool.tell()
            try:
                return await self._desk.client.upload(spool, size_bytes, file.name, file.mime, user=user), size_bytes
            except Refused as error:
                if error.status != 413:
                    raise
                return None

    # --- changes

    async def edit(self, natives: Sequence[NativeId], outbound: Outbound) -> Receipt:
        """Change the words of posts; files stay. Surplus parts go, missing ones are posted."""
        await self._check(outbound.room)
        count = await self._desk.memory.text_parts(natives[0])
        old = list(natives if count is None else natives[:count])
        words = parts(outbound.text, outbound.max_parts) if outbound.text.plain else []

        async def work(user: str) -> list[NativeId]:
            room = native_room(outbound.room)
            standing = old[: len(words)]
            for number, part in enumerate(words):
                content = self._words(part, outbound)
                txn = f"{outbound.key}-{number}"
                if number < len(old):
                    await self._post(room, _replacing(content, old[number]), txn, user)
                else:
                    standing.append(await self._post(room, content | _relation(outbound, first=False), txn, user))
            return standing

        standing = await self._as(outbound.room, outbound.author, work)
        await self.delete(outbound.room, old[len(words) :])
        left = [*standing, *natives[len(old) :]]
        if count is not None and left:
            await self._desk.memory.save_text_parts(left[0], len(standing))
        return Receipt(tuple(left))

    async def delete(self, room: RoomId, natives: Sequence[NativeId]) -> None:
        """Redact our posts, each as who posted it."""
        for native in natives:
            await self._redact(native_room(room), native)

    async def _redact(self, room: str, native: str) -> None:
        try:
            event = told(await self._desk.client.get(at("rooms", room, "event", native)), room)
        except Refused as error:
            if error.status == 404:
                return
            raise
        if event is None or not event.content:
            return
        user = event.sender if self._desk.is_ghost(event.sender) else ""
        path = at("rooms", room, "redact", native, "d" + sha256(native.encode()).hexdigest()[:32])
        try:
            await self._desk.client.call("PUT", path, {}, user=user, posts=True)
        except Refused as error:
            if not user or error.status != 403:
                raise
            # The ghost is not in the room any more; the bot can do it where it is a moderator.
            await self._desk.client.call("PUT", path + "b", {}, posts=True)

    # --- reactions, typing

    async def react(self, room: RoomId, native: NativeId, emoji: str, added: bool, author: Author) -> None:
        """Put an emoji on a message or take it away. A plain account has one reaction of a kind for all authors: it
        stands while any of them wants it.
        """
        if not added:
            await self._react(room, native, emoji, author, "", added=False)
            return
        await self._as(room, author, lambda user: self._react(room, native, emoji, author, user, added=True))

    async def _react(
        self, room: RoomId, native: NativeId, emoji: str, author: Author, user: str, *, added: bool
    ) -> None:
        memory, own = self._desk.memory, self._ghosts.user_of(author) if self._speaks_as_ghosts(room) else ""
        about = f"{native_room(room)} {native} {emoji} {own}"
        wanted = await memory.wish(about, author.id, added)
        standing = await memory.annotation(about)
        if wanted and not standing:
            relates = {"rel_type": "m.annotation", "event_id": native, "key": emoji}
            path = at("rooms", native_room(room), "send", "m.reaction", self._desk.services.random_id())
            try:
                answer = await self._desk.client.call("PUT", path, {"m.relates_to": relates, MARK: True}, user=user)
            except Refused as error:
                if error.errcode != "M_DUPLICATE_ANNOTATION":
                    raise
                answer = {"event_id": await self._standing(native_room(room), native, emoji, user or self._desk.me)}
            await memory.save_annotation(about, str(answer.get("event_id", "")))
        elif standing and not wanted:
            await self._redact(native_room(room), standing)
            await memory.save_annotation(about, "")

    async def _standing(self, room: str, native: str, emoji: str, user: str) -> str:
        """The reaction of ``user`` that the homeserver has although we do not know it: an answer was lost."""
        path = at("rooms", room, "relations", native, "m.annotation", "m.reaction", version="v1")
        found = (await self._desk.client.get(path, {"limit": 100})).get("chunk")
        for event in (told(raw, room) for raw in (found if isinstance(found, list) else ())):
            key = event.content.get("m.relates_to", {}).get("key") if event and event.sender == user else None
            if event and key == emoji:
                return event.id
        return ""

    async def typing(self, room: RoomId, author: Author) -> None:
        """Show that the author's ghost (or the bot) is typing."""
        body = {"typing": True, "timeout": TYPING_MS}

        async def work(user: str) -> None:
            who = user or self._desk.me
            await self._desk.client.call("PUT", at("rooms", native_room(room), "typing", who), body, user=user)

        await self._as(room, author, work)

    # --- as whom

    async def _check(self, room: RoomId) -> None:
        """Raises Rejected where nothing can be posted."""
        native = native_room(room)
        known = self._desk.memory.rooms.get(native)
        if known and known.joined and known.ghosts and not known.encrypted:
            return
        # Pushes may be taken in by another process: the room may be new, or what hinders us may be over.
        fresh = await self._desk.memory.peek(native)
        if fresh is None:
            return
        known = self._desk.memory.rooms.setdefault(native, fresh)
        if fresh.encrypted:
            raise Rejected(
                "The Matrix room is end-to-end encrypted and cannot be bridged. Make one without encryption and "
                f"invite {self._desk.me} there."
            )
        if not fresh.joined:
            raise Rejected(f"The bot is no longer in the Matrix room. To bring it back, invite {self._desk.me}.")
        known.ghosts = fresh.ghosts

    def _speaks_as_ghosts(self, room: RoomId) -> bool:
        known = self._desk.memory.rooms.get(native_room(room))
        return self._desk.config.is_appservice and (known is None or known.ghosts)

    async def _as(self, room: RoomId, author: Author | None, work: Callable[[str], Awaitable[Done]]) -> Done:
        """Do something as the author's ghost, which is brought into the room if need be; else as the bot."""
        if author is None or not self._speaks_as_ghosts(room):
            return await work("")
        native = native_room(room)
        ghost = await self._ghosts.ready(native, author)
        try:
            return await work(ghost)
        except Refused as error:
            if error.errcode != "M_FORBIDDEN":
                raise
        # It may have been put out without our knowing: bring it back once.
        await self._desk.memory.forget_present(native, ghost)
        return await work(await self._ghosts.ready(native, author))


def _relation(outbound: Outbound, *, first: bool) -> dict[str, Any]:
    """What the post answers and which thread it is in. ("Rich replies", "Threading": a client without threads shows
    the answered message of ``m.in_reply_to``.)
    """
    answers = outbound.reply_to if first else None
    if outbound.thread:
        to = {"event_id": answers or outbound.thread}
        relation = {"rel_type": "m.thread", "event_id": outbound.thread, "m.in_reply_to": to}
        return {"m.relates_to": relation | {"is_falling_back": not answers}}
    return {"m.relates_to": {"m.in_reply_to": {"event_id": answers}}} if answers else {}


def _replacing(content: dict[str, Any], native: NativeId) -> dict[str, Any]:
    """An event by which a message has ``content`` from now on ("Event replacements")."""
    outer = {"msgtype": content["msgtype"], "body": f"* {content['body'][:OUTER_CHARS]}", "m.mentions": {}, MARK: True}
    relation = {"rel_type": "m.replace", "event_id": native}
    return outer | {"m.new_content": content, "m.relates_to": relation}

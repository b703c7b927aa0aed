"""A room of the reference platform."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import count
from typing import Any

from bots.loopback import make_platform
from bots.loopback.adapter import LoopbackConfig
from bots.loopback.network import LoopbackNetwork, Post, person
from core.model import (
    AccountId,
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
    room_id,
)
from tests.contract.scene import ANN, File, Line
from tests.contract.stage import Session

ROOM = "garden"


class LoopbackScene:
    """One room of a network in memory."""

    where = "itself"

    def __init__(self, account: AccountId) -> None:
        self._network = LoopbackNetwork()
        self._account = account
        self._ids = count(1)
        self.platform = make_platform(self._network)
        self.config = LoopbackConfig()

    async def enter(self) -> str:
        """The room is there as soon as somebody looks for it."""
        self._network.room(ROOM, "Garden")
        return ROOM

    def _emit(self, event: PlatformEvent) -> None:
        if listener := self._network.listeners.get(self._account):
            listener(event)

    def _happen(self, kind: type[PlatformEvent], **fields: Any) -> None:
        native = fields.pop("native", None) or NativeId(f"e{next(self._ids)}")
        self._emit(kind(room=room_id(self._account, ROOM), native=native, at_ms=next(self._ids), **fields))

    async def _said(self, text: str | Text, who: str, *, reply_to: str = "", thread: str = "", **more: Any) -> str:
        words = text if isinstance(text, Text) else Text(text)
        room, native = self._network.room(ROOM), NativeId(self._network.next_id())
        files = tuple((ref.name, self._network.files[ref.ref]) for ref in more.get("files", ()))
        room.said[native] = Post(native, who, words, reply_to=reply_to, thread=thread, files=files)
        answers = ReplyTo(NativeId(reply_to)) if reply_to else None
        self._happen(
            MessageNew,
            native=native,
            author=person(who),
            text=words,
            reply_to=answers,
            thread=NativeId(thread),
            **more,
        )
        await self._network.tell()
        return native

    async def say(self, text: str | Text, who: str = ANN) -> str:
        """Somebody says it."""
        return await self._said(text, who)

    async def reply(self, to: str, text: str, who: str = ANN) -> str:
        """Somebody answers."""
        return await self._said(text, who, reply_to=to)

    async def say_in_thread(self, root: str, text: str, who: str = ANN) -> str:
        """Somebody says it in a thread."""
        return await self._said(text, who, thread=root)

    async def edit(self, native: str, text: str, who: str = ANN) -> None:
        """Somebody changes what they said."""
        self._network.room(ROOM).said[native].text = Text(text)
        self._happen(MessageEdited, target=NativeId(native), author=person(who), text=Text(text))

    async def delete(self, native: str, who: str = ANN) -> None:
        """Somebody takes it back."""
        self._network.room(ROOM).said[native].deleted = True
        self._happen(MessageDeleted, target=NativeId(native))

    async def react(self, native: str, emoji: str, added: bool = True, who: str = ANN) -> None:
        """Somebody reacts."""
        self._happen(Reaction, target=NativeId(native), author=person(who), emoji=emoji, added=added)

    async def post_file(self, file: File, text: str = "", who: str = ANN) -> str:
        """Somebody shares a file."""
        self._network.files[ref := f"f{next(self._ids)}"] = file.data
        shared = FileRef(self._account, ref, file.name, file.mime, len(file.data))
        return await self._said(text, who, files=(shared,))

    async def type(self, who: str = ANN) -> None:
        """Somebody is typing."""
        self._happen(Typing, author=person(who))

    async def away(self, say: list[str], who: str = ANN) -> None:
        """The network is down for the adapter, not for people."""
        emit = self._network.listeners.pop(self._account)
        for text in say:
            await self._said(text, who)
        self._network.listeners[self._account] = emit
        emit.online()  # type: ignore[attr-defined]

    async def lines(self) -> list[Line]:
        """Posts and words of the room, in the order of their ids."""
        room = self._network.room(ROOM)
        posts = [*room.said.values(), *room.posts.values()]
        return [
            Line(
                post.author,
                post.text.plain,
                post.id,
                post.text.entities,
                post.reply_to,
                post.thread,
                tuple(File(name, data) for name, data in post.files),
                reactions=tuple(sorted(emoji for emoji, by in post.reactions.items() if by)),
            )
            for post in sorted(posts, key=lambda post: int(post.id[1:]))
            if not post.deleted
        ]

    async def typing(self) -> list[str]:
        """Who types."""
        return self._network.room(ROOM).typing

    async def changed(self) -> None:
        """Wait for the network."""
        async with self._network.changed:
            await self._network.changed.wait()


@asynccontextmanager
async def scene(session: Session, account: AccountId, url: str) -> AsyncIterator[LoopbackScene]:
    """A network with one room."""
    yield LoopbackScene(account)

"""The adapter: every protocol of the contract over the network in memory."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

import msgspec

from bots.loopback.network import LoopbackNetwork, Post, person
from core.contract import (
    Capabilities,
    Emit,
    Invite,
    Offline,
    Outbound,
    Receipt,
    Rejected,
    Remembered,
    RoomInfo,
    Services,
    Since,
)
from core.model import AccountId, Author, MessageNew, NativeId, RoomId, native_room, room_id

FULL = Capabilities(
    edit="full",
    delete="full",
    reply="full",
    thread="full",
    reaction="full",
    file="full",
    typing="full",
    names="full",
    avatars="drop",
    entities=frozenset(
        {
            "bold",
            "italic",
            "underline",
            "strike",
            "spoiler",
            "code",
            "pre",
            "quote",
            "link",
            "mention",
            "emoji",
            "timestamp",
        }
    ),
    text_limit=100_000,
    file_limit_bytes=100_000_000,
    idempotent=True,
)
PLAIN = Capabilities(text_limit=400, text_unit="bytes", multiline=False)


class LoopbackConfig(msgspec.Struct, frozen=True):
    """An account on the network. ``plain``: its rooms can show nothing but text."""

    plain: bool = False


class Loopback:
    """One account on a LoopbackNetwork."""

    def __init__(
        self, account: AccountId, config: LoopbackConfig, services: Services, network: LoopbackNetwork
    ) -> None:
        self.account = account
        self.network = network
        self._services = services
        self._caps = PLAIN if config.plain else FULL

    async def start(self, emit: Emit) -> None:
        """Listen."""
        self.network.listeners[self.account] = emit
        emit.online()

    async def stop(self) -> None:
        """Listen no more."""
        self.network.listeners.pop(self.account, None)

    def capabilities(self, room: RoomId) -> Capabilities:
        """All, or text alone."""
        return self._caps

    def room_info(self, room: RoomId) -> RoomInfo:
        """The room under its title."""
        found = self.network.rooms.get(native_room(room))
        return RoomInfo(room, found.title if found else native_room(room), "Loopback")

    async def send(self, outbound: Outbound) -> Receipt:
        """Post."""
        if not self.network.up:
            raise Offline(1.0, "the network is down")
        files = [(file.name, b"".join([chunk async for chunk in file.open()])) for file in outbound.files]
        post = Post(
            id=self.network.next_id(),
            author=outbound.author.name if outbound.author and self._caps.names == "full" else "bot",
            text=outbound.text,
            key=outbound.key if self._caps.idempotent else "",
            reply_to=outbound.reply_to or "",
            thread=outbound.thread or "",
            files=tuple(files),
        )
        return Receipt((NativeId((await self.network.post(native_room(outbound.room), post)).id),))

    async def edit(self, natives: Sequence[NativeId], outbound: Outbound) -> Receipt:
        """Replace the text of a post."""
        post = self._post(outbound.room, natives[0])
        post.text, post.edited = outbound.text, True
        await self.network.tell()
        return Receipt(tuple(natives))

    async def delete(self, room: RoomId, natives: Sequence[NativeId]) -> None:
        """Take posts away."""
        posts = self.network.room(native_room(room)).posts
        for native in natives:
            if native in posts:
                posts[native].deleted = True
        await self.network.tell()

    async def react(self, room: RoomId, native: NativeId, emoji: str, added: bool, author: Author) -> None:
        """React in the author's name."""
        who = self._post(room, native).reactions.setdefault(emoji, set())
        who.add(author.name) if added else who.discard(author.name)
        await self.network.tell()

    async def typing(self, room: RoomId, author: Author) -> None:
        """Note that somebody types."""
        self.network.room(native_room(room)).typing.append(author.name)
        await self.network.tell()

    async def open_file(self, ref: str) -> AsyncIterator[bytes]:
        """Stream a file that was put on the network."""
        if ref not in self.network.files:
            raise Rejected("there is no such file")
        data = self.network.files[ref]
        for start in range(0, len(data), 65_536):
            yield data[start : start + 65_536]

    async def is_admin(self, room: RoomId, author_id: str) -> bool:
        """Whether the network says so."""
        return author_id in self.network.room(native_room(room)).admins

    async def history(self, room: RoomId, since: Since) -> Remembered:
        """What was said after ``since``."""
        said = list(self.network.room(native_room(room)).said.values())
        ids = [post.id for post in said]
        known = since.native in ids
        events = tuple(
            MessageNew(
                room=room,
                native=NativeId(post.id),
                at_ms=self._services.now_ms(),
                author=person(post.author),
                text=post.text,
            )
            for post in (said[ids.index(since.native) + 1 :] if known else said)
        )
        return Remembered(events, complete=known)

    async def find_sent(self, outbound: Outbound) -> Receipt | None:
        """Look for a post by its key."""
        post = self.network.room(native_room(outbound.room)).by_key.get(outbound.key)
        return Receipt((NativeId(post.id),)) if post else None

    async def ping(self, room: RoomId) -> None:
        """Answer, if the network is up."""
        if not self.network.up:
            raise Offline(1.0, "the network is down")

    async def rooms(self) -> Sequence[RoomInfo]:
        """All rooms of the network."""
        return [self.room_info(room_id(self.account, native)) for native in self.network.rooms]

    def invite(self, code: str) -> Invite:
        """How to come here."""
        return Invite("Loopback", (f"Say in a room: -sameroom connect {code}",))

    def _post(self, room: RoomId, native: NativeId) -> Post:
        here = self.network.room(native_room(room))
        post = here.posts.get(native) or here.said.get(native)
        if post is None or post.deleted:
            raise Rejected("that post is gone")
        return post

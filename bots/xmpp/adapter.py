"""An XMPP account or component: kept connected, its rooms, and what is said in them."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Sequence
from typing import TYPE_CHECKING

from bots.xmpp import xml as x
from bots.xmpp.config import XmppConfig
from bots.xmpp.memory import Memory
from bots.xmpp.rooms import RUNNERS, Room, Rooms
from bots.xmpp.text import ENTITIES
from core.contract import (
    AdapterError,
    AuthLost,
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
from core.model import AccountId, Author, NativeId, RoomId, native_room

if TYPE_CHECKING:
    from bots.xmpp.link import Link
    from bots.xmpp.stream import Stream


class XmppAdapter:
    """One stream to one server, all its rooms."""

    def __init__(self, account: AccountId, config: XmppConfig, services: Services) -> None:
        self.account = account
        self._config = config
        self._services = services
        self._memory = Memory(services)
        self._rooms = Rooms(account, config.nick)
        for entry in config.rooms:
            jid, _, password = entry.partition(" ")
            room = self._rooms.add(jid.lower())
            room.password, room.configured = password.strip(), True
        self._caps = _capabilities(config)
        self._link: Link | None = None

    # --- life ---

    async def start(self, emit: Emit) -> None:
        """Begin to connect; return at once. Raises AuthLost where there is no password."""
        if not self._config.password:
            raise AuthLost(f"{self._config.jid} has no password. Add the account again, with its password.")
        from bots.xmpp.link import Link

        self._link = Link(self.account, self._config, self._services, self._rooms, self._memory, emit)

    async def stop(self) -> None:
        """Say goodbye and disconnect."""
        if self._link is not None:
            await self._link.stop()

    def _ready(self) -> tuple[Link, Stream]:
        """The link and its stream, when posts can go out. Raises AuthLost and Offline."""
        if self._link is None:
            raise Offline(0.5, "not started")
        return self._link, self._link.ready()

    # --- what rooms can show ---

    def capabilities(self, room: RoomId) -> Capabilities:
        """The same for every room: what a room's server lacks, its members' clients do without."""
        return self._caps

    def room_info(self, room: RoomId) -> RoomInfo:
        """The room's name and its address."""
        found = self._rooms.by_room.get(room)
        jid = native_room(room)
        return RoomInfo(room, found.title if found else jid.partition("@")[0], jid)

    async def rooms(self) -> Sequence[RoomInfo]:
        """The rooms we are in."""
        return [self.room_info(room.room) for room in self._rooms if room.is_joined]

    def invite(self, code: str) -> Invite:
        """How to bring the bot into a room."""
        address = self._config.address
        return Invite(
            title=f"XMPP room (Jabber), {self._config.domain}",
            steps=(
                f"In your room, invite {address} (in most clients: the room's menu, Invite).",
                f"When {self._config.nick} has come, say in the room: -{self._services.prefix} connect {code}",
            ),
        )

    # --- posting ---

    async def send(self, outbound: Outbound) -> Receipt:
        """Post it and wait until the room shows it."""
        result = (await self.send_stream((outbound,)))[0]
        if isinstance(result, AdapterError):
            raise result
        return result

    async def send_stream(self, posts: Sequence[Outbound]) -> Sequence[Receipt | AdapterError]:
        """Post all of them in order; each is confirmed when the room reflects it."""
        try:
            link, stream = self._ready()
        except AdapterError as error:
            return [error] * len(posts)
        return await link.sender.send_stream(stream, posts)

    async def edit(self, natives: Sequence[NativeId], outbound: Outbound) -> Receipt:
        """Correct posts of ours in their place."""
        link, stream = self._ready()
        return await link.sender.edit(stream, natives, outbound)

    async def delete(self, room: RoomId, natives: Sequence[NativeId]) -> None:
        """Take posts of ours back."""
        link, stream = self._ready()
        await link.sender.delete(stream, room, natives)

    async def react(self, room: RoomId, native: NativeId, emoji: str, added: bool, author: Author) -> None:
        """Put a reaction on a message or take it away."""
        link, stream = self._ready()
        await link.sender.react(stream, room, native, emoji, added, author)

    async def typing(self, room: RoomId, author: Author) -> None:
        """Show that somebody types."""
        found = self._rooms.by_room.get(room)
        if self._link is not None and found is not None and found.is_joined:
            with contextlib.suppress(Offline, AuthLost):
                self._link.sender.typing(self._link.ready(), found, author)

    async def find_sent(self, outbound: Outbound) -> Receipt | None:
        """Look for a post in the room's archive. A room without one cannot tell: there it is posted again."""
        link, stream = self._ready()
        room = link.sender.room(outbound.room)
        if not room.archives:
            return None
        natives = await link.archive.find(stream, room, f"{link.sender.prefix}{outbound.key}.")
        return Receipt(tuple(natives)) if natives else None

    # --- questions ---

    async def history(self, room: RoomId, since: Since) -> Remembered:
        """What was said since, from the room's archive."""
        link, stream = self._ready()
        return await link.archive.since(stream, link.sender.room(room), since)

    async def ping(self, room: RoomId) -> None:
        """A round trip to the room."""
        link, _ = self._ready()
        await link.membership.ping(link.sender.room(room))

    async def is_admin(self, room: RoomId, author_id: str) -> bool:
        """Is this person an owner or admin of the room, by its word as of now?"""
        _, stream = self._ready()
        found = self._rooms.by_room.get(room)
        if found is None or not found.is_joined:
            return False
        if found.runs_it(author_id):
            return True
        kind, _, jid = author_id.partition(":")
        return kind == "jid" and jid in await self._runners(stream, found)

    async def _runners(self, stream: Stream, room: Room) -> frozenset[str]:
        """Addresses of those who run the room, present or not. Rooms tell that to their admins only."""
        from bots.xmpp.stream import Refused

        found: set[str] = set()
        for affiliation in sorted(RUNNERS):
            query = x.element(x.MUC_ADMIN, "query")
            x.add(query, x.MUC_ADMIN, "item", affiliation=affiliation)
            try:
                answer = await stream.ask("get", room.jid, query)
            except Refused:
                continue
            found |= {item.get("jid", "").lower() for item in answer.iter(f"{{{x.MUC_ADMIN}}}item")}
        return frozenset(found)

    async def open_file(self, ref: str) -> AsyncIterator[bytes]:
        """Stream a file that a message pointed to."""
        from bots.xmpp.files import opened

        url = await self._memory.file(ref)
        if not url:
            raise Rejected("the file is no longer there")
        async for chunk in opened(self._config, url):
            yield chunk


def _capabilities(config: XmppConfig) -> Capabilities:
    return Capabilities(
        edit="full",
        delete="full",
        reply="full",
        reaction="full" if config.is_component else "partial",
        file="full",
        typing="full" if config.is_component else "partial",
        names="full" if config.is_component else "fallback",
        entities=ENTITIES,
        text_limit=config.text_limit,
        text_unit="characters",
        rate_per_s=config.rate_per_s,
        rate_burst=config.rate_burst,
    )

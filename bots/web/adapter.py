"""The adapter: the relay's posts go into the rooms' series of changes, from where every open page takes them."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, TypeVar, cast
from urllib.parse import quote, urlsplit

import msgspec
from redis.exceptions import RedisError

from bots.web.body import cut, excerpt, nodes
from bots.web.desk import author_id, change_record, reacted, tombstone, typing_line
from bots.web.files import PICTURES, SharedFiles
from bots.web.guard import Guard
from bots.web.hub import Hub
from bots.web.names import clean_line
from bots.web.rooms import DAY_S, Full, Gone, Rooms, TooFast, id_of_link
from bots.web.typed import to_copy, with_links
from bots.web.wire import FileView, Record, ReplyView, decode_record, digest
from core.contract import (
    Capabilities,
    Emit,
    Invite,
    Outbound,
    OutFile,
    Receipt,
    Rejected,
    Retry,
    RoomInfo,
    Route,
    Services,
)
from core.model import (
    AccountId,
    Author,
    BotRemoved,
    EntityType,
    NativeId,
    RoomId,
    Text,
    native_room,
    room_id,
)
from core.store import StoreDown

if TYPE_CHECKING:
    from aiohttp import web

    from bots.web import WebConfig
    from bots.web.site import Site

T = TypeVar("T")
TEXT_LIMIT = 32_000
SWEEP_S = 3600.0
STORE_RETRY_S = 1.0
MAX_AUTHOR_CHARS = 80
MAX_EMOJI_CHARS = 48
SHOWN: frozenset[EntityType] = frozenset(
    (
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
        "timestamp",
    )
)
CAPABILITIES = Capabilities(
    edit="full",
    delete="full",
    reply="full",
    thread="partial",
    reaction="full",
    file="full",
    typing="full",
    names="full",
    avatars="fallback",
    entities=cast("frozenset[str]", SHOWN),
    text_limit=TEXT_LIMIT,
    file_limit_bytes=1 << 40,
    idempotent=True,
)
"""A thread's messages show as answers to its root. Avatars are initials. Files are links, so any size goes."""


class WebAdapter:
    """Guest rooms of one account. State is in the store; titles are remembered for :meth:`room_info` only."""

    def __init__(self, account: AccountId, config: WebConfig, services: Services) -> None:
        self.account = account
        self.config = config
        self.services = services
        self.rooms_store = Rooms(services, config)
        self.files = SharedFiles(services, config, self.rooms_store)
        self.hub = Hub(services.store, self.rooms_store.channel)
        self.titles: dict[str, str] = {}
        """Room → its name, as far as this process has heard."""
        path = urlsplit(services.public_url).path.rstrip("/")
        self.base = f"{path}/bots/{quote(account, safe='')}/"
        self.guard = Guard(services, config.room_idle_days * DAY_S)
        self._site: Site | None = None
        self._sweeper: asyncio.Task[None] | None = None

    async def start(self, emit: Emit) -> None:
        """There is nothing to connect to; rooms nobody visits are cleared away from now on."""
        self._sweeper = asyncio.create_task(self._sweep(emit))
        emit.online()

    async def stop(self) -> None:
        """Send the open pages away and end the sweep. Also ends an instance that only served pages."""
        sweeper, self._sweeper = self._sweeper, None
        if sweeper is not None:
            sweeper.cancel()
            await asyncio.gather(sweeper, return_exceptions=True)
        await self.hub.close()

    async def _sweep(self, emit: Emit) -> None:
        while True:
            with contextlib.suppress(RedisError, OSError, StoreDown):
                self.titles.update(await self.rooms_store.names())
                await self.clear_away(emit)
            await asyncio.sleep(SWEEP_S)

    async def clear_away(self, emit: Emit) -> None:
        """Forget the rooms nobody visited for ``room_idle_days``; the relay is told of each."""
        for room in await self.rooms_store.expired():
            reason = f"nobody came for {self.config.room_idle_days} days"
            emit(
                BotRemoved(
                    room=room_id(self.account, room),
                    native=NativeId("removed"),
                    at_ms=self.services.now_ms(),
                    reason=reason,
                )
            )
            await emit.accepted()
            await self.rooms_store.forget(room)
            self.titles.pop(room, None)

    def capabilities(self, room: RoomId) -> Capabilities:
        """The same for every room."""
        return CAPABILITIES

    def room_info(self, room: RoomId) -> RoomInfo:
        """Titles are known for rooms that existed at the start, or were made or renamed in this process."""
        return RoomInfo(room, self.titles.get(native_room(room), "a guest room"), "Browser")

    # --- posts ---

    async def send(self, outbound: Outbound) -> Receipt:
        """Post it; the same key again changes nothing."""
        return await self._guarded(self._post(outbound, ()))

    async def edit(self, natives: Sequence[NativeId], outbound: Outbound) -> Receipt:
        """Parts that are no longer needed are taken away, new ones are posted."""
        return await self._guarded(self._post(outbound, natives))

    async def delete(self, room: RoomId, natives: Sequence[NativeId]) -> None:
        """Leaves a mark that a message was removed; the words are gone."""
        for native in natives:
            change = change_record(self.rooms_store, native_room(room), native, tombstone, visited=False)
            await self._guarded(change)

    async def react(self, room: RoomId, native: NativeId, emoji: str, added: bool, author: Author) -> None:
        """Shown with the author's name."""
        who, name = digest("remote", author.id), clean_line(author.name, MAX_AUTHOR_CHARS)
        emoji = clean_line(emoji, MAX_EMOJI_CHARS) or "?"
        change = change_record(
            self.rooms_store,
            native_room(room),
            native,
            lambda r: reacted(r, emoji, who, name, added),
            visited=False,
        )
        if not await self._guarded(change):
            raise Rejected("the message is no longer in the guest room")

    async def typing(self, room: RoomId, author: Author) -> None:
        """Told to the pages that are open now."""
        line = typing_line("", clean_line(author.name, MAX_AUTHOR_CHARS))
        await self._guarded(self.rooms_store.publish(native_room(room), line))

    async def find_sent(self, outbound: Outbound) -> Receipt | None:
        """Looks for the posts that :meth:`send` would have made."""
        natives = _part_ids(outbound, len(_parts(outbound)))
        for native in natives:
            if not await self._guarded(self.rooms_store.raw(native_room(outbound.room), native)):
                return None
        return Receipt(natives)

    async def _post(self, outbound: Outbound, standing: Sequence[NativeId]) -> Receipt:
        room = native_room(outbound.room)
        records = await self._records(outbound, standing)
        for record in records:
            if record.id in standing and await change_record(
                self.rooms_store, room, record.id, _words_of(record), visited=False
            ):
                continue
            await self.rooms_store.put(room, record, b"", visited=False)
        for native in standing[len(records) :]:
            await change_record(self.rooms_store, room, native, tombstone, visited=False)
        return Receipt(tuple(NativeId(record.id) for record in records))

    async def _records(self, outbound: Outbound, standing: Sequence[NativeId]) -> list[Record]:
        parts = _parts(outbound)
        fresh = _part_ids(outbound, len(parts))
        natives = [*standing[: len(parts)], *fresh[len(standing) :]]
        reply = await self._quote(native_room(outbound.room), outbound.reply_to or outbound.thread)
        author = outbound.author
        return [
            Record(
                id=native,
                at=self.services.now_ms(),
                kind="bot" if author is None else "relayed",
                name="Sameroom" if author is None else clean_line(author.name, MAX_AUTHOR_CHARS),
                body=nodes(to_copy(part, self.services.prefix) if author is None else with_links(part)),
                edit=outbound.key if standing else "",
                reply=reply if index == 0 else None,
                files=tuple(self._view(file) for file in outbound.files) if index == 0 else (),
            )
            for index, (native, part) in enumerate(zip(natives, parts, strict=True))
        ]

    async def _quote(self, room: str, native: NativeId | None) -> ReplyView | None:
        raw = await self.rooms_store.raw(room, native) if native else b""
        if not raw:
            return None
        record = decode_record(raw)
        return ReplyView(record.id, record.name, excerpt(record.body))

    def _view(self, file: OutFile) -> FileView:
        # Below our own origin the page may show a picture whatever name of ours the browser came by.
        link = file.link.removeprefix(self.services.public_url)
        return FileView(link, file.name, file.size_bytes, file.mime in PICTURES)

    async def _guarded(self, work: Awaitable[T]) -> T:
        try:
            return await work
        except Gone as error:
            raise Rejected(str(error)) from None
        except (RedisError, OSError):
            # Safe although nobody knows what happened: the same key again changes nothing.
            raise Retry(STORE_RETRY_S, "the store does not answer") from None

    # --- what the account can tell ---

    async def is_admin(self, room: RoomId, author_id_: str) -> bool:
        """Who made the room runs it."""
        found = await self._guarded(self.rooms_store.get(native_room(room)))
        return found is not None and author_id_ == author_id(found.owner)

    async def open_file(self, ref: str) -> AsyncIterator[bytes]:
        """Stream a file that a guest shared."""
        shared = await self._guarded(self.files.get(ref))
        try:
            if shared is None:
                raise KeyError(ref)
            async for piece in self.files.read(shared):
                yield piece
        except KeyError:
            raise Rejected("the file is no longer there") from None
        except (RedisError, OSError):
            raise Retry(STORE_RETRY_S, "the store does not answer") from None

    async def ping(self, room: RoomId) -> None:
        """Asks the store for the room."""
        if await self._guarded(self.rooms_store.get(native_room(room))) is None:
            raise Rejected(str(Gone()))

    async def rooms(self) -> Sequence[RoomInfo]:
        """Every guest room there is."""
        names = await self._guarded(self.rooms_store.names())
        self.titles.update(names)
        return [self.room_info(room_id(self.account, room)) for room in names]

    def invite(self, code: str) -> Invite:
        """A page that opens a guest room and connects it."""
        url = f"{self.services.public_url}/bots/{quote(self.account, safe='')}/rooms?connect={quote(code, safe='')}"
        steps = ("Open the link.", "Choose a name and press the button: you are in and connected.")
        return Invite("Join as a guest in the browser", steps, url)

    def routes(self, emit: Emit) -> Sequence[Route]:
        """Pages, forms, sockets and files of the guest rooms."""
        from bots.web.site import Site

        self._site = Site(self, emit)
        return self._site.routes()

    # --- for the portal: rooms made from its own pages

    @property
    def new_room_path(self) -> str:
        """Where a form makes a room."""
        return f"{self.base}rooms"

    def visitor(self, request: web.Request, response: web.StreamResponse) -> str:
        """The browser's session; ``response`` gives it the cookie, also where there was none."""
        session = self.guard.session(request) or self.services.random_id()
        self.guard.remember(response, session)
        return session

    async def create_room(self, title: str, visitor: str) -> str:
        """An empty room that the session ``visitor`` runs; returns its link's secret word. Raises Retry, Rejected.

        Only after :meth:`routes`: the relay is told of the room by the same way as of all that is said there.
        """
        if self._site is None:
            raise Rejected("guest rooms are not served by this process")
        link = self.services.random_id()
        try:
            await self._site.desk.open(id_of_link(link), title, visitor)
        except TooFast as error:
            raise Retry(error.after_ms / 1000, str(error)) from None
        except Full as error:
            raise Rejected(str(error)) from None
        except (RedisError, OSError, StoreDown):
            raise Retry(STORE_RETRY_S, "the store does not answer") from None
        return link

    def room_path(self, key: str, *, embed: bool = False) -> str:
        """The page of the room behind a link's secret word."""
        return f"{self.base}r/{quote(key, safe='')}{'?embed=1' if embed else ''}"


def _parts(outbound: Outbound) -> list[Text]:
    return cut(outbound.text, TEXT_LIMIT, outbound.max_parts)


def _part_ids(outbound: Outbound, count: int) -> tuple[NativeId, ...]:
    return tuple(NativeId(digest("sent", outbound.key, str(index))) for index in range(count))


def _words_of(new: Record) -> Callable[[Record], Record]:
    def change(old: Record) -> Record:
        return msgspec.structs.replace(
            old, body=new.body, edit=new.edit, files=new.files or old.files, reply=old.reply or new.reply
        )

    return change

"""A Matrix account."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import TypeVar

import structlog

from bots.matrix.client import CHUNK_BYTES, Refused, at, at_state
from bots.matrix.config import MatrixConfig
from bots.matrix.desk import Desk
from bots.matrix.ghosts import Ghosts, register, set_profile
from bots.matrix.intake import Intake
from bots.matrix.memory import Person
from bots.matrix.past import history
from bots.matrix.push import Push
from bots.matrix.rooms import Rooming
from bots.matrix.send import Sender
from bots.matrix.sync import AUTH_RETRY_S, Sync
from bots.matrix.text import ENTITIES, TEXT_LIMIT_BYTES
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
    Retry,
    RoomInfo,
    Route,
    Services,
    Since,
)
from core.model import AccountId, Author, NativeId, RoomId, native_room
from core.store import StoreDown

log = structlog.get_logger()

LOOK_EVERY_S = 60.0
STORE_RETRY_S = 1.0
SWEEP_S = 6 * 3600.0
MOST_PAUSE_S = 15.0
TYPING_EVERY_MS = 4_000
_MXC = re.compile(r"([A-Za-z0-9.:\[\]-]{1,255})/([A-Za-z0-9_=-]{1,255})")
Done = TypeVar("Done")


class MatrixAdapter:
    """An application service with ghosts, or a plain account. The rooms are those that it is joined to."""

    def __init__(self, account: AccountId, config: MatrixConfig, services: Services) -> None:
        self.account = account
        self._config = config
        self._desk = Desk(account, config, services)
        self._ghosts = Ghosts(self._desk)
        self._rooming = Rooming(self._desk, self._ghosts)
        self._intake = Intake(self._desk, self._rooming, self._ghosts)
        self._sender = Sender(self._desk, self._ghosts)
        self._sync: Sync | None = None
        self._work: list[asyncio.Task[None]] = []
        self._look = asyncio.Event()
        self._typed: dict[tuple[RoomId, str], int] = {}
        self._full = self._plain = Capabilities()
        self._measure()

    # --- life

    async def start(self, emit: Emit) -> None:
        """Begin; return at once."""
        self._desk.client.open()
        run = self._run_pushed(emit) if self._config.is_appservice else self._run_synced(emit)
        self._work = [asyncio.create_task(run, name=f"matrix {self.account}")]

    async def stop(self) -> None:
        """Disconnect."""
        for task in self._work:
            task.cancel()
        await asyncio.gather(*self._work, return_exceptions=True)
        await self._desk.close()

    async def _run_synced(self, emit: Emit) -> None:
        self._sync = Sync(self._desk, self._intake, emit)
        await self._begin(emit)
        self._desk.spawn(self._rooming.join_configured())
        await self._sync.run()

    async def _run_pushed(self, emit: Emit) -> None:
        """The homeserver comes to us; all there is to do is to see whether we reach it, and to make it come soon."""
        await self._begin(emit)
        await self._settle(emit)
        self._work.append(asyncio.create_task(self._sweep()))
        self._desk.spawn(self._rooming.join_configured())
        while True:
            self._look.clear()
            try:
                async with asyncio.timeout(LOOK_EVERY_S):
                    await self._look.wait()
            except TimeoutError:
                pass
            await self._until_reached(emit)
            await self._insist(emit, self._desk.memory.load_rooms)

    async def _begin(self, emit: Emit) -> None:
        """What has to be known first. The homeserver and the store may both be away for a while."""
        await self._insist(emit, self._desk.memory.load_rooms)
        await self._insist(emit, self._prepare)

    async def _settle(self, emit: Emit) -> None:
        async def compare() -> None:
            await self._rooming.reconcile(emit)
            await self._rooming.resume()

        await self._insist(emit, compare)
        self._online(emit)

    async def _prepare(self) -> None:
        if not self._desk.me:
            self._desk.me = str((await self._desk.client.get(at("account", "whoami"))).get("user_id", ""))
        limit = (await self._media_config()).get("m.upload.size")
        if isinstance(limit, int) and limit > 0:
            self._sender.file_limit_bytes = limit
            self._measure()
        if self._config.is_appservice and await self._desk.memory.profile(self._desk.me) is None:
            shown = Person(self._config.display_name)
            await register(self._desk, self._desk.me)
            await set_profile(self._desk, self._desk.me, shown)
            await self._desk.memory.save_profile(self._desk.me, shown)

    async def _media_config(self) -> dict[str, object]:
        try:
            return await self._desk.client.get(at("media", "config", version="v1"))
        except Refused:
            return {}

    async def _insist(self, emit: Emit, step: Callable[[], Awaitable[None]]) -> None:
        """Do a step until it is done."""
        failures = 0
        while True:
            try:
                await step()
                return
            except AuthLost as error:
                emit.offline(str(error))
                await asyncio.sleep(AUTH_RETRY_S)
            except Exception as error:  # noqa: BLE001 - whatever it is, it is tried again and the operator is told
                failures += 1
                emit.offline(str(error) or repr(error))
                after_s = error.after_s if isinstance(error, Retry) and not isinstance(error, Offline) else 0.0
                await asyncio.sleep(max(after_s, min(0.25 * 2.0**failures, MOST_PAUSE_S)))

    async def _until_reached(self, emit: Emit) -> None:
        """Return when the homeserver answers; say so if it was away."""
        failures = 0
        while True:
            try:
                await self._desk.client.get(at("account", "whoami"), {"user_id": self._desk.me})
                break
            except AdapterError as error:
                failures += 1
                emit.offline(str(error))
                pause_s = AUTH_RETRY_S if isinstance(error, AuthLost) else min(0.25 * 2.0**failures, MOST_PAUSE_S)
                await asyncio.sleep(pause_s)
        if failures:
            self._online(emit)

    def _online(self, emit: Emit) -> None:
        emit.online()
        self._desk.spawn(self._call_in())

    async def _call_in(self) -> None:
        """A homeserver that could not reach us for long waits long before it tries again; being asked for a ping, it
        comes at once.
        """
        path = at("appservice", self._config.appservice_id, "ping", version="v1")
        try:
            await self._desk.client.call("POST", path, {"transaction_id": self._desk.services.random_id()})
        except AdapterError as error:
            log.warning(
                "matrix: the homeserver does not reach us; see bridgebot doctor",
                account=self.account,
                error=str(error),
            )

    async def _sweep(self) -> None:
        while True:
            try:
                await self._ghosts.sweep()
            except (AdapterError, StoreDown) as error:
                log.info("matrix: idle ghosts stay for now", account=self.account, error=str(error))
            await asyncio.sleep(SWEEP_S)

    # --- what rooms can show

    def _measure(self) -> None:
        """What ghosts can show, and what the bot can show by itself."""
        limit = self._sender.file_limit_bytes
        self._full = Capabilities(
            edit="full",
            delete="full",
            reply="full",
            thread="full",
            reaction="full",
            file="full",
            typing="full",
            names="full",
            avatars="full",
            entities=ENTITIES,
            text_limit=TEXT_LIMIT_BYTES,
            text_unit="bytes",
            file_limit_bytes=limit,
            idempotent=True,
        )
        rate = 0.0 if self._config.is_appservice else self._config.posts_per_s
        self._plain = Capabilities(
            edit="full",
            delete="full",
            reply="full",
            thread="full",
            reaction="partial",
            file="full",
            typing="partial",
            names="fallback",
            avatars="drop",
            entities=ENTITIES,
            text_limit=TEXT_LIMIT_BYTES,
            text_unit="bytes",
            file_limit_bytes=limit,
            account_rate_per_s=rate,
            account_rate_burst=self._config.posts_burst,
            bold_names=True,
            idempotent=True,
        )

    def capabilities(self, room: RoomId) -> Capabilities:
        """Ghosts have names and pictures of their own; the bot alone says who it speaks for."""
        if not self._config.is_appservice:
            return self._plain
        known = self._desk.memory.rooms.get(native_room(room))
        return self._full if known is None or known.ghosts else self._plain

    def room_info(self, room: RoomId) -> RoomInfo:
        """The room's name or alias, and our homeserver."""
        known = self._desk.memory.rooms.get(native_room(room))
        title = known.title if known else ""
        return RoomInfo(room, title or native_room(room), self._desk.me.partition(":")[2])

    async def rooms(self) -> Sequence[RoomInfo]:
        """The rooms that we are joined to."""
        found = (await self._guarded(self._desk.client.get(at("joined_rooms")))).get("joined_rooms")
        await self._guarded(self._desk.memory.load_rooms())
        names = [room for room in found if isinstance(room, str)] if isinstance(found, list) else []
        return [self.room_info(self._desk.room(room)) for room in names]

    def invite(self, code: str) -> Invite:
        """How to bring the bot into a room."""
        me = self._desk.me
        steps = (
            f"In your Matrix room, without encryption, type: /invite {me}",
            f"When it has come, say in the room: -{self._desk.services.prefix} connect {code}",
        )
        return Invite("Matrix room", steps, f"https://matrix.to/#/{me}" if me else "")

    # --- posting

    async def _guarded(self, work: Awaitable[Done]) -> Done:
        try:
            return await work
        except StoreDown as error:
            # Safe although something may have been posted: the same key again changes nothing.
            raise Retry(STORE_RETRY_S, str(error)) from None
        except Offline:
            self._look.set()
            raise
        except Retry as error:
            if not self._config.is_appservice and str(error) == "rate limit":
                # A plain account has one limit for all that it posts.
                raise Retry(error.after_s, str(error), whole_account=True) from None
            raise
        except AuthLost:
            self._look.set()
            raise

    def _ready(self) -> None:
        """Raises AuthLost and Offline where it is known already that nothing can go out."""
        sync = self._sync
        if sync is not None and sync.auth_lost:
            raise AuthLost(f"{sync.why_offline} Add the account again: bridgebot accounts add matrix")
        if sync is not None and sync.why_offline:
            raise Offline(STORE_RETRY_S, sync.why_offline)

    async def send(self, outbound: Outbound) -> Receipt:
        """Post it, with the key as transaction id: the homeserver drops a second one."""
        self._ready()
        return await self._guarded(self._sender.send(outbound))

    async def edit(self, natives: Sequence[NativeId], outbound: Outbound) -> Receipt:
        """Replace the words of posts (m.replace)."""
        self._ready()
        return await self._guarded(self._sender.edit(natives, outbound))

    async def delete(self, room: RoomId, natives: Sequence[NativeId]) -> None:
        """Redact posts."""
        self._ready()
        await self._guarded(self._sender.delete(room, natives))

    async def react(self, room: RoomId, native: NativeId, emoji: str, added: bool, author: Author) -> None:
        """Put a reaction on a message (m.annotation), or redact it."""
        self._ready()
        await self._guarded(self._sender.react(room, native, emoji, added, author))

    async def typing(self, room: RoomId, author: Author) -> None:
        """Show that somebody is typing; told anew every few seconds only."""
        now_ms = asyncio.get_running_loop().time() * 1000
        if now_ms - self._typed.get((room, author.id), -TYPING_EVERY_MS) < TYPING_EVERY_MS:
            return
        if len(self._typed) > 1000:
            self._typed.clear()
        self._typed[room, author.id] = int(now_ms)
        await self._guarded(self._sender.typing(room, author))

    async def ping(self, room: RoomId) -> None:
        """Ask the homeserver for something of the room."""
        await self._guarded(self._desk.client.get(at_state(native_room(room), "m.room.create")))

    # --- reading

    async def history(self, room: RoomId, since: Since) -> Remembered:
        """What was said in the room after ``since``."""
        return await self._guarded(history(self._desk.client, self._intake, native_room(room), since))

    async def is_admin(self, room: RoomId, author_id: str) -> bool:
        """By the room's power levels, as of now."""
        return await self._guarded(self._rooming.is_admin(native_room(room), author_id))

    async def open_file(self, ref: str) -> AsyncIterator[bytes]:
        """Stream a file of the homeserver, at most ``max_file_bytes``. Raises Rejected when it is gone, Retry."""
        place = _MXC.fullmatch(ref)
        if place is None:
            raise Rejected("the file is no longer there")
        total = 0
        async with self._desk.client.download(place[1], place[2]) as response:
            async for chunk in response.content.iter_chunked(CHUNK_BYTES):
                total += len(chunk)
                if total > self._config.max_file_bytes:
                    raise Rejected(f"the file is larger than {self._config.max_file_bytes} bytes")
                yield chunk

    def routes(self, emit: Emit) -> Sequence[Route]:
        """Where the homeserver pushes to, and pictures of members."""
        return Push(self._desk, self._intake, emit).routes()

"""An adapter's way into the relay: completes what the core needs to know, and passes it on."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import structlog
from msgspec.structs import replace

from bots.catch_up import CatchUp, Positions
from bots.held import Held
from core.command_language import looks_like_command
from core.contract import Adapter, AdapterError, History, Members, Platform
from core.deps import Deps
from core.model import BotAdded, MessageEdited, MessageNew, PlatformEvent, RoomId, RoomMoved, Text, account_of
from core.store import TRANSIENT, StoreDown

log = structlog.get_logger()

MEMBER_PATIENCE_S = 5.0
MOVE_RETRY_S = 0.1
CUT = " … (cut)"


class AccountEmit:
    """Implements :class:`core.contract.Emit` for one account."""

    def __init__(self, adapter: Adapter, platform: Platform, deps: Deps, *, for_routes: bool = False) -> None:
        """``for_routes``: of a process that serves the account's routes and need not hold the account."""
        self._adapter = adapter
        self._platform = platform
        self._deps = deps
        self._prefix = deps.settings.prefix
        self._max_chars = deps.settings.max_text_chars
        self.gate = deps.ingest.gate(redelivers=platform.redelivers)
        self.on_online: Callable[[], None] = lambda: None
        self.positions: Positions | None = None
        """Of a platform that has history."""
        if isinstance(adapter, History):
            self.positions = Positions(deps.store, adapter.account, self.gate, seldom=for_routes)
        self.catch_up: CatchUp | None = None
        """In the process that holds the account, if its platform has history."""
        self.why_offline = "connecting"
        """Empty while the account can post."""

    @property
    def is_open(self) -> bool:
        """Whether what must wait for a history does."""
        return self.positions is None or self.catch_up is not None

    def __call__(self, event: PlatformEvent) -> None:
        """Take an event in (see the contract)."""
        if self.catch_up is None or not self.catch_up.holds(event):
            self._pass(event)

    def _pass(self, event: PlatformEvent) -> None:
        is_taken = self._put(event)
        if self.positions is not None:
            self.positions.note(event) if is_taken else self.positions.refused(event.room)

    def _put(self, event: PlatformEvent) -> bool:
        kind = type(event)
        if kind is MessageNew:
            return self._message(event)  # type: ignore[arg-type]
        if isinstance(event, MessageEdited) and len(event.text.plain) > self._max_chars:
            return self.gate.put(replace(event, text=self._cut(event.text)))
        if isinstance(event, BotAdded):
            return self.gate.put(replace(event, platform_title=self._platform.title))
        if isinstance(event, RoomMoved):
            return self._moved(event)
        return self.gate.put(event)

    async def open(self) -> None:
        """Be the way in of the process that holds the account: what was missed is read before what comes."""
        if self.positions is not None and isinstance(self._adapter, History):
            held = Held(self._deps.store, self._adapter.account)
            catch_up = CatchUp(self._adapter, self.positions, held, self.gate, self._pass)
            await catch_up.prepare()
            self.catch_up = catch_up

    async def close(self) -> None:
        """Write down how far everything was heard."""
        if self.catch_up is not None:
            await self.catch_up.close()
        elif self.positions is not None:
            await self.positions.close()

    def _moved(self, event: RoomMoved) -> bool:
        account = self._adapter.account
        if account_of(event.to) != account or account_of(event.room) != account:
            # No platform moves a room of somebody else's, so this can only be a mistake or a trick.
            log.error("a room cannot move to another account", account=account, room=event.room, to=event.to)
            return True
        if event.to == event.room:
            return True
        return self.gate.put(event, ready=self._point(event), rooms=(event.room, event.to))

    def _message(self, event: MessageNew) -> bool:
        plain = event.text.plain
        if len(plain) > self._max_chars:
            event = replace(event, text=self._cut(event.text))
        if not looks_like_command(plain, self._prefix, slash=self._platform.slash):
            # Without the platform's title: by that the relay knows that `/sameroom` is no command here.
            return self.gate.put(replace(event, platform_title="") if event.platform_title else event)
        title = event.room_title or self._title(event.room)
        event = replace(event, room_title=title, platform_title=self._platform.title)
        if isinstance(self._adapter, Members) and not event.author.role:
            return self.gate.put(event, ready=self._with_role(event, self._adapter))
        return self.gate.put(event)

    def _cut(self, text: Text) -> Text:
        from core.text.split import truncate

        return truncate(text, self._max_chars, CUT)

    def _title(self, room: RoomId) -> str:
        return self._adapter.room_info(room).title

    async def _with_role(self, event: MessageNew, members: Members) -> MessageNew:
        """Ask the platform whether the author of a command runs the room, as of now."""
        try:
            async with asyncio.timeout(MEMBER_PATIENCE_S):
                is_admin = await members.is_admin(event.room, event.author.id)
        except (AdapterError, TimeoutError) as error:
            log.info("the platform does not say who runs the room", account=self._adapter.account, error=str(error))
            return event
        except Exception:  # the command goes on without rights; its room must not wait for it for ever
            log.exception("asking who runs the room failed", account=self._adapter.account)
            return event
        return replace(event, author=replace(event.author, role="admin" if is_admin else "member"))

    async def _point(self, event: RoomMoved) -> RoomMoved:
        while True:
            try:
                await self._deps.ingest.point(event.to, event.room)
            except (*TRANSIENT, StoreDown):
                await asyncio.sleep(MOVE_RETRY_S)
            else:
                return event

    async def accepted(self) -> None:
        """Return when all that was emitted is durable, what waits for a history too. Raises StoreDown."""
        if self.catch_up is not None:
            await self.catch_up.accepted()
        first = self.positions.first() if self.positions is not None else {}
        await self.gate.accepted()
        if self.positions is not None and first:
            await self.positions.begin(first)

    def online(self) -> None:
        """The account can post."""
        if self.why_offline:
            log.info("account is online", account=self._adapter.account)
        self.why_offline = ""
        if self.catch_up is not None:
            self.catch_up.online()
        self.on_online()

    def offline(self, reason: str) -> None:
        """The account cannot post for now."""
        if not self.why_offline or self.why_offline == "connecting":
            log.warning("account is offline", account=self._adapter.account, reason=reason)
        self.why_offline = reason or "offline"


class RoutesEmit:
    """The way in of an account's routes: through the account itself where this process holds it, so that what comes by
    them waits for the history as well."""

    def __init__(self, own: AccountEmit, holder: Callable[[], AccountEmit | None]) -> None:
        self._own = own
        self._holder = holder

    def __call__(self, event: PlatformEvent) -> None:
        """Take an event in (see the contract)."""
        holder = self._holder()
        (holder or self._own)(event)

    async def accepted(self) -> None:
        """Return when all that was emitted is durable. Raises StoreDown."""
        await self._own.accepted()
        if holder := self._holder():
            await holder.accepted()

    def online(self) -> None:
        """Routes are always there."""
        self._own.online()

    def offline(self, reason: str) -> None:
        """Routes are always there."""
        self._own.offline(reason)

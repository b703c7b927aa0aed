"""Looking after accounts from the portal: how they are, which rooms they see, what ends when one is removed."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, cast

import msgspec

from bots import registry
from bridgebot.commands.checks import address
from bridgebot.revoking import at_once, revoked
from core import keys
from core.accounts import Account, AccountError
from core.contract import Adapter, AdapterError, Finding, Invites, Rooms
from core.directory import NoAnswer
from core.giving import Handout
from core.logs import Redactor
from core.model import account_of
from core.owners import Owner, Owners
from core.store import StoreDown
from core.wire import RoomState, Tube
from portal.desk import AccountView, Connections, Guide, LookedAt, RoomChoice, RoomsSeen, State
from portal.errors import Oops
from portal.sessions import Session

if TYPE_CHECKING:
    from bridgebot.fence import Fence
    from bridgebot.roles import Node

LOOK_S: Final = 25.0
ROOMS_S: Final = 10.0
FILE_S: Final = 3600
"""How long after an account was added its file is handed out in the portal."""
KEPT_S: Final = 3600
"""How long what was found is kept."""


class Tending:
    """What the desk does with accounts that are there."""

    def __init__(self, node: Node, fence: Fence) -> None:
        self.node = node
        self.fence = fence
        self.owners = Owners(node.deps.store)

    async def accounts(self) -> Sequence[AccountView]:
        """See Desk.accounts."""
        found = [account for account in await self.node.accounts.list() if account.platform not in registry.AT_HAND]
        owners = await self.owners.of_all(found)
        return [await self._view(account, owners.get(account.id)) for account in found]

    async def account(self, account_id: str) -> AccountView | None:
        """See Desk.account."""
        found = await self.node.accounts.get(account_id)
        if found is None or found.platform in registry.AT_HAND:
            return None
        return await self._view(found, await self.owners.of(found))

    async def _view(self, account: Account, owner: Owner | None) -> AccountView:
        state, why = await self._state(account)
        return AccountView(
            account.id,
            _title(account),
            account.added_at_ms,
            owner.person if owner else "",
            owner.name if owner else "",
            state,
            self._redactor(account)(why) if why else "",
        )

    async def _state(self, account: Account) -> tuple[State, str]:
        host = self.node.host.hosts.get(account.id) if self.node.host else None
        if host and host.emit:
            return ("offline", host.emit.why_offline) if host.emit.why_offline else ("online", "")
        lease = keys.lease(keys.account_tag(account.id))
        return ("elsewhere", "") if await self.node.deps.store.exists(lease) else ("waiting", "")

    # --- how it is

    async def look(self, account: AccountView) -> LookedAt:
        """See Desk.look."""
        from bridgebot.commands.checks import look_at
        from bridgebot.process import Visit

        stored = await self._stored(account)
        visit = Visit(self.node.settings, self.node.deps.store, self.node.accounts, self.node.apps)
        try:
            if account.owner and not self._is_by_app(stored):
                found = await self.fence.run(lambda: look_at(stored, visit), LOOK_S)
            else:
                found = await look_at(stored, visit)
        except (AdapterError, TimeoutError) as error:
            found = (Finding(False, f"nobody could look: {error or 'no answer'}", "Try again in a moment."),)
        hide = self._redactor(stored)
        head = f"account {account.id}: "
        shown = [Finding(one.ok, hide(one.what.removeprefix(head)), hide(one.mend)) for one in found]
        looked = LookedAt(self.node.deps.now_ms(), tuple(shown))
        await self.node.deps.store.set(_looked_key(account), msgspec.json.encode(looked), ex=KEPT_S)
        return looked

    async def looked(self, account: AccountView) -> LookedAt | None:
        """See Desk.looked."""
        row = cast("bytes | None", await self.node.deps.store.get(_looked_key(account)))
        return msgspec.json.decode(row, type=LookedAt) if row else None

    async def guide(self, account: AccountView, code: str) -> Guide:
        """See Desk.guide."""
        stored = await self._stored(account)
        try:
            platform = registry.platform(stored.platform)
            config = self.node.accounts.open(stored, platform.config)
        except (AccountError, registry.UnknownPlatform) as error:
            return Guide((str(error),))
        hide = self._redactor(stored)
        steps = platform.next_steps(stored.id, config, address(self.node.settings, stored.id))
        adapter = await self._adapter(account)
        invite = adapter.invite(code) if isinstance(adapter, Invites) else None
        file = await self.file(account)
        return Guide(tuple(map(hide, steps)), invite, file.name if file else "")

    async def file(self, account: AccountView) -> Handout | None:
        """See Desk.file."""
        if self.node.deps.now_ms() - account.added_at_ms > FILE_S * 1000:
            return None
        stored = await self._stored(account)
        try:
            platform = registry.platform(stored.platform)
            config = self.node.accounts.open(stored, platform.config)
        except (AccountError, registry.UnknownPlatform):
            return None
        return platform.handout(stored.id, config, address(self.node.settings, stored.id))

    # --- its rooms

    async def rooms(self, account: AccountView) -> RoomsSeen:
        """See Desk.rooms. What the relay knows is added to what the service says."""
        states, tubes = await self._everything()
        connected = {end for tube in tubes for end in (tube.a, tube.b)}
        found = {
            state.room: RoomChoice(state.room, state.title, "", state.room in connected)
            for state in states.values()
            if account_of(state.room) == account.id and not state.away
        }
        adapter = await self._adapter(account)
        trouble = ""
        if adapter is not None and isinstance(adapter, Rooms):
            try:
                for info in await asyncio.wait_for(adapter.rooms(), ROOMS_S):
                    found[info.room] = RoomChoice(info.room, info.title, info.detail, info.room in connected)
            except AdapterError as error:
                trouble = self._redactor(await self._stored(account))(str(error))
            except TimeoutError:
                trouble = f"{account.platform_title} takes long to answer"
        # Whatever an adapter says, only rooms of its own account are its to connect.
        own = [choice for choice in found.values() if account_of(choice.room) == account.id]
        return RoomsSeen(tuple(sorted(own, key=lambda choice: (choice.title.casefold(), choice.room))), trouble)

    async def connect(self, choice: RoomChoice, account: AccountView, by: Session, argument: str) -> str:
        """See Desk.connect."""
        is_admin = await self.node.is_admin(choice.room, by.person)
        titles = (choice.title, account.platform_title)
        try:
            return await self.node.directory.act(
                choice.room, by.person, by.name, "connect", argument, is_admin, titles=titles
            )
        except (NoAnswer, StoreDown) as error:
            return str(error)

    async def connections(self, account: AccountView) -> Connections:
        """See Desk.connections."""
        from bridgebot.commands.look import ends

        states, tubes = await self._everything()
        own = [tube for tube in tubes if account.id in (account_of(tube.a), account_of(tube.b))]
        rooms = {end for tube in own for end in (tube.a, tube.b) if account_of(end) == account.id}
        return Connections(tuple(ends(tube, states) for tube in own), tuple(sorted(rooms)))

    async def remove(self, account: AccountView, by: Session, *, end: bool) -> str:
        """See Desk.remove."""
        if end:
            for room in (await self.connections(account)).rooms:
                # The account is theirs, and so is the end of what it does.
                with suppress(NoAnswer):  # it is noted, and done before anything that comes later
                    await self.node.directory.act(room, by.person, by.name, "disable", "", True)
        words = await self._revoked(account)
        await self.node.accounts.remove(account.id)
        await self.node.deps.store.delete(_looked_key(account))
        return words

    async def _revoked(self, account: AccountView) -> str:
        stored = await self._stored(account)
        url = address(self.node.settings, stored.id)
        run = self.fence.run if account.owner and not self._is_by_app(stored) else at_once
        return self._redactor(stored)(await revoked(self.node.accounts, self.node.apps, stored, url, run))

    def _is_by_app(self, account: Account) -> bool:
        """Is it spoken to where the operator's app says, and not where its owner typed?"""
        try:
            platform = registry.platform(account.platform)
            config = self.node.accounts.open(account, platform.config)
        except (AccountError, registry.UnknownPlatform):
            return False
        return platform.sign_in is not None and platform.sign_in.gave(config)

    # --- parts

    async def _everything(self) -> tuple[dict[str, RoomState], list[Tube]]:
        from bridgebot.commands.look import everything

        return await everything(self.node)

    async def _stored(self, account: AccountView) -> Account:
        found = await self.node.accounts.get(account.id)
        if found is None:
            raise Oops(404, "The account is gone", "It was removed meanwhile. Look at the list of your accounts.")
        return found

    async def _adapter(self, account: AccountView) -> Adapter | None:
        """The one that is connected if it is in this process, else one that never is."""
        return next((one for one, _ in await self.node.adapters.all() if one.account == account.id), None)

    def _redactor(self, account: Account) -> Redactor:
        hide = Redactor()
        try:
            config = self.node.accounts.open(account, registry.platform(account.platform).config)
        except (AccountError, registry.UnknownPlatform):
            return hide
        for secret in _sealed(account.config, msgspec.to_builtins(config)):
            hide.add(secret)
        return hide


def _sealed(record: Any, opened: Any) -> list[str]:
    """The secrets of an opened configuration: what is sealed in its record."""
    if isinstance(record, dict) and record.keys() == {"$sealed"}:
        return [opened] if isinstance(opened, str) else []
    if isinstance(record, dict) and isinstance(opened, dict):
        return [secret for name in record for secret in _sealed(record[name], opened.get(name))]
    if isinstance(record, list) and isinstance(opened, list | tuple):
        return [secret for one, other in zip(record, opened, strict=False) for secret in _sealed(one, other)]
    return []


def _title(account: Account) -> str:
    try:
        return registry.platform(account.platform).title
    except registry.UnknownPlatform:
        return account.platform


def _looked_key(account: AccountView) -> str:
    return f"{keys.PREFIX}portal:looked:{account.id}:{account.added_at_ms}"

"""Fits the portal to the rest: its protocols over the directory, the codes and the adapters."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

import structlog

from bots.emit import AccountEmit, RoutesEmit
from bots.host import Account as StoredAccount
from bots.host import Adapters
from bots.registry import UnknownPlatform
from bots.registry import platform as find_platform
from core.accounts import AccountError
from core.contract import Adapter, Platform, Route, Webhooks
from core.deps import Deps
from core.directory import NoAnswer
from core.model import AccountId, PlatformId, RoomId
from core.owners import Owners
from core.store import TRANSIENT, StoreDown
from portal.deps import Account, Actor, PortalDeps
from portal.mounts import APPS_PREFIX, router

if TYPE_CHECKING:
    from aiohttp.web import UrlDispatcher

    from bridgebot.roles import Node

log = structlog.get_logger()

RETRY_S = 1.0
LOOK_ANYWAY_S = 30.0


class _Pairing:
    def __init__(self, node: Node) -> None:
        self._node = node

    async def issue_code(self, room_id: RoomId, by: str) -> str:
        """A fresh code for the room."""
        issued = await self._node.deps.codes.issue(room_id, by=by)
        return issued.code


class _Act:
    def __init__(self, node: Node) -> None:
        self._node = node

    async def __call__(self, room_id: RoomId, by: Actor, name: str, argument: str) -> str:
        """Give a command and return its reply."""
        is_admin = await self._node.is_admin(room_id, by.person)
        try:
            return await self._node.directory.act(room_id, by.person, by.name, name, argument, is_admin)
        except (NoAnswer, StoreDown) as error:
            return str(error)


def routes_of(
    adapter: Adapter, platform: Platform, deps: Deps, holder: Callable[[], AccountEmit | None] = lambda: None
) -> Sequence[Route]:
    """The HTTP routes of an adapter in this process; none where it has no use for them. ``holder``: the account's own
    way in, where this process holds it."""
    if not isinstance(adapter, Webhooks):
        return ()
    return adapter.routes(RoutesEmit(AccountEmit(adapter, platform, deps, for_routes=True), holder))


class LiveAccounts:
    """The portal's own adapters, never started: one for each account there is now. Those that the host runs come and
    go with their leases."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._adapters = Adapters(node.deps, node.source, find_platform)
        self._now: tuple[Account, ...] = ()
        self._platforms: dict[AccountId, PlatformId] = {}
        self._complained: set[str] = set()
        self._apps: dict[str, tuple[Any, UrlDispatcher]] = {}
        self._changed = asyncio.Event()

    def __call__(self) -> Sequence[Account]:
        """The accounts, as of the last look."""
        return self._now

    def apps(self) -> Mapping[str, UrlDispatcher]:
        """The routes of the operator's apps, as of the last look."""
        return {platform: routes for platform, (_, routes) in self._apps.items()}

    def changed(self) -> None:
        """An account was added, changed or removed: look again."""
        self._changed.set()

    async def look(self) -> None:
        """Make the adapters of new accounts, and stop those of accounts that are gone or changed."""
        before = {account.id: account for account in self._now}
        owners = Owners(self._node.deps.store)
        private = await owners.private(await self._node.accounts.list())
        there = await self._node.source()
        self._platforms = {stored.id: stored.platform for stored in there}
        found = [self._made(stored, before.get(stored.id), is_public=stored.id not in private) for stored in there]
        self._now = tuple(account for account in found if account)
        await self._look_at_apps()
        kept = {account.id: account for account in self._now}
        for account in before.values():
            if account.id not in kept:
                self._adapters.forget(account.id)
            if account.id not in kept or kept[account.id].adapter is not account.adapter:
                await self._stop(account)

    async def _look_at_apps(self) -> None:
        before, self._apps = self._apps, {}
        for name in await self._node.apps.names():
            try:
                platform = find_platform(name)
                app = await self._node.apps.get(platform)
            except (AccountError, UnknownPlatform) as error:
                if name not in self._complained:
                    self._complained.add(name)
                    log.error("an app cannot be used", platform=name, why=str(error))
                continue
            self._complained.discard(name)
            if app is None or platform.sign_in is None:
                continue
            known = before.get(name)
            if known is None or known[0] != app:
                routes = platform.sign_in.routes(app, partial(self._of, platform.id), self._node.deps.now_ms)
                known = app, router(platform.id, routes, APPS_PREFIX)
            self._apps[name] = known

    def _of(self, platform: PlatformId) -> Sequence[Adapter]:
        return [account.adapter for account in self._now if self._platforms.get(account.id) == platform]

    async def follow(self) -> None:
        """Look after every change, until cancelled."""
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(LOOK_ANYWAY_S):
                    await self._changed.wait()
            self._changed.clear()
            try:
                await self.look()
            except TRANSIENT as error:
                log.warning("the portal waits for the store", error=str(error))
                await asyncio.sleep(RETRY_S)
                self._changed.set()

    async def stop(self) -> None:
        """Stop all adapters: what they have open in this process is sent away."""
        for account in self._now:
            await self._stop(account)

    def _made(self, stored: StoredAccount, before: Account | None, *, is_public: bool) -> Account | None:
        try:
            adapter, platform = self._adapters.make(stored)
            if before and before.adapter is adapter and before.is_public == is_public:
                return before
            routes = routes_of(adapter, platform, self._node.deps, partial(self._node.emit_of, stored.id))
            return Account(stored.id, platform.title, adapter, router(stored.id, routes), is_public)
        except Exception:  # one account must not take the pages of all others with it
            log.exception("the portal cannot serve an account", account=stored.id)
            return None

    async def _stop(self, account: Account) -> None:
        try:
            await account.adapter.stop()
        except Exception:  # it is gone all the same
            log.exception("an adapter of the portal did not stop", account=account.id)


def portal_deps(node: Node, accounts: LiveAccounts) -> PortalDeps:
    """What the portal works with."""
    from bridgebot.fence import Fence
    from bridgebot.onboarding import Onboarding

    return PortalDeps(
        settings=node.settings,
        store=node.deps.store,
        links=node.deps.links,
        directory=node.directory,  # type: ignore[arg-type]  # narrower: frozen structs with these fields
        act=_Act(node),
        pairing=_Pairing(node),
        may_manage=node.may_manage,
        accounts=accounts,
        health=node.health,
        metrics=node.metrics_text,
        now_ms=node.deps.now_ms,
        random_id=node.deps.random_id,
        apps=accounts.apps,
        metrics_token=node.settings.metrics_token,
        desk=Onboarding(node, Fence()) if node.settings.add_accounts != "nobody" else None,
    )

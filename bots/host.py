"""Runs the accounts of one process: each account's adapter, its way into the relay, and its deliveries.

An account has one connection, so one process holds its lease; the accounts are shared out evenly among the hosts
that are alive, and move when one comes or goes.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from typing import Any, Protocol

import structlog

from bots.emit import AccountEmit
from core import keys
from core.composer import Composer
from core.contract import Adapter, AuthLost, Files, Platform, Rejected, Services, Streams
from core.deliverer import STREAM_BATCH, Deliverer, Watch
from core.deps import Deps
from core.journal import LeaseLost
from core.membership import BEAT_MAX_S, Membership
from core.model import AccountId, FileRef, PlatformId
from core.outbox import Outbox
from core.store import TRANSIENT, StoreDown, insist
from core.wire import decode_delivery

log = structlog.get_logger()

RESTART_S = 0.5
START_RETRY_S = 30.0
STOP_PATIENCE_S = 10.0
LIST_ANYWAY_S = 5.0
"""How often the accounts are listed although nobody announced a change: opening them all costs more than a beat."""


class Account(Protocol):
    """An account as it is stored."""

    @property
    def id(self) -> AccountId:
        """Its id."""

    @property
    def platform(self) -> PlatformId:
        """The platform it is on."""

    @property
    def config(self) -> Any:
        """Its configuration, of the platform's type."""


ListAccounts = Callable[[], Awaitable[Sequence[Account]]]
FindPlatform = Callable[[str], Platform]


class NoWatch:
    """Counts nothing."""

    def delivered(self, account: str, took_ms: Iterable[int]) -> None:
        """Nothing."""

    def dead(self, account: str, count: int = 1) -> None:
        """Nothing."""


NO_WATCH = NoWatch()


def make_services(account: AccountId, deps: Deps) -> Services:
    """What an adapter of ``account`` is lent."""
    tag = keys.account_tag(account)
    links = deps.links

    def verify(purpose: str, token: str, max_age_s: int) -> str:
        return str(links.verify(f"adapter:{account}:{purpose}", token, max_age_s))

    return Services(
        store=deps.store,
        key=lambda *parts: keys.adapter(tag, *parts),
        now_ms=deps.now_ms,
        random_id=deps.random_id,
        public_url=deps.public_url,
        prefix=deps.settings.prefix,
        sign=lambda purpose, payload: links.sign(f"adapter:{account}:{purpose}", payload),
        verify=verify,
    )


class Adapters:
    """Adapters of all accounts, started or not: for their HTTP routes, invitations and files."""

    def __init__(self, deps: Deps, accounts: ListAccounts, find: FindPlatform) -> None:
        self._deps = deps
        self._accounts = accounts
        self._find = find
        self._made: dict[AccountId, tuple[Any, Adapter, Platform]] = {}

    def make(self, account: Account) -> tuple[Adapter, Platform]:
        """The adapter of an account; a new one when its configuration changed."""
        made = self._made.get(account.id)
        if made is None or made[0] != account.config:
            platform = self._find(account.platform)
            adapter = platform.create(account.id, account.config, make_services(account.id, self._deps))
            made = self._made[account.id] = (account.config, adapter, platform)
        return made[1], made[2]

    def forget(self, account: AccountId) -> None:
        """The next :meth:`make` makes a new one."""
        self._made.pop(account, None)

    async def all(self) -> list[tuple[Adapter, Platform]]:
        """The adapters of all accounts."""
        return [self.make(account) for account in await self._accounts()]

    async def open_file(self, ref: FileRef) -> AsyncIterator[bytes]:
        """Stream a file from the account that it was posted to. Raises Rejected when it is gone."""
        for account in await self._accounts():
            if account.id == ref.account:
                adapter, _ = self.make(account)
                if isinstance(adapter, Files):
                    async for chunk in adapter.open_file(ref.ref):
                        yield chunk
                    return
        raise Rejected("the file is no longer there")


class AccountHost:
    """One account in this process."""

    def __init__(self, account: Account, adapters: Adapters, deps: Deps, watch: Watch) -> None:
        self.account = account
        self._adapters = adapters
        self._deps = deps
        self._watch = watch
        self._tag = keys.account_tag(account.id)
        self._task: asyncio.Task[None] | None = None
        self.emit: AccountEmit | None = None
        self._deliverer: Deliverer | None = None

    def start(self) -> None:
        """Begin to wait for the lease, then to work."""
        self._task = asyncio.create_task(self._run(), name=f"account {self.account.id}")

    def waiting(self) -> int:
        """Posts that wait in memory."""
        return self._deliverer.waiting() if self._deliverer else 0

    async def stop(self) -> None:
        """Finish what is under way, disconnect, give the lease back."""
        if self._deliverer:
            await self._deliverer.drain(STOP_PATIENCE_S)
        if self._task:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        while True:
            try:
                await self._hold_account()
            except (*TRANSIENT, StoreDown) as error:
                log.warning("account waits for the store", account=self.account.id, error=str(error))
            except Exception:  # one account must not be gone for good, whatever its adapter does
                log.exception("account starts again", account=self.account.id)
            await asyncio.sleep(RESTART_S)

    async def _hold_account(self) -> None:
        """Take the lease; work until it is lost."""
        tail = await self._deps.journals.take(self._tag, decode_delivery)
        if tail is None:
            return
        self._adapters.forget(self.account.id)
        adapter, platform = self._adapters.make(self.account)
        emit = self.emit = AccountEmit(adapter, platform, self._deps)
        gate = self._deps.ingest.gate(redelivers=False)
        starting = asyncio.create_task(self._start(adapter, emit))
        try:
            lost = False
            while tail is not None and not lost:
                # A stream may have two batches of a room out: one under way, one not yet written down.
                outbox = Outbox(
                    self.account.id, tail, self._deps, 2 * STREAM_BATCH if isinstance(adapter, Streams) else 1
                )
                composer = Composer(adapter, self._deps, self._adapters.open_file)
                deliverer = Deliverer(adapter, outbox, composer, gate, self._deps, self._watch)
                self._deliverer = deliverer
                emit.on_online = deliverer.online
                try:
                    await deliverer.run()
                except* LeaseLost:
                    log.info("account changed hands", account=self.account.id)
                    lost = True
                except* Exception as errors:
                    log.error("delivery starts again", account=self.account.id, exc_info=errors)
                    await asyncio.sleep(RESTART_S)
                if not lost:
                    tail = await insist(self._deps.journals.take, self._tag, decode_delivery)
        finally:
            starting.cancel()
            await self._let_go(adapter, emit, tail)

    async def _start(self, adapter: Adapter, emit: AccountEmit) -> None:
        while True:
            try:
                if emit.catch_up is None:
                    await emit.open()
                await adapter.start(emit)
            except Exception as error:  # noqa: BLE001 - whatever it is, it is tried again
                emit.offline(str(error) or repr(error))
                if isinstance(error, AuthLost) and self._deliverer:
                    await self._deliverer.shut_out()
                await asyncio.sleep(START_RETRY_S)
            else:
                return

    async def _let_go(self, adapter: Adapter, emit: AccountEmit, tail: Any) -> None:
        try:
            async with asyncio.timeout(STOP_PATIENCE_S):
                await adapter.stop()
                await emit.close()
        except Exception as error:  # noqa: BLE001 - the lease is given back all the same
            log.warning("account did not stop cleanly", account=self.account.id, error=repr(error))
        if tail is not None:
            try:
                await self._deps.journals.release(tail)
            except (*TRANSIENT, StoreDown) as error:
                log.debug("lease runs out by itself", error=str(error))


class BotHost:
    """All accounts of one process."""

    def __init__(
        self, deps: Deps, accounts: ListAccounts, adapters: Adapters, only: Iterable[str] = (), watch: Watch = NO_WATCH
    ) -> None:
        self._deps = deps
        self._accounts = accounts
        self._adapters = adapters
        self._only = frozenset(only)
        self._watch = watch
        kind = f"{keys.HOSTS}:{','.join(sorted(self._only))}" if self._only else keys.HOSTS
        self._members = Membership(deps.store, kind, deps.journals.process, deps.settings.lease_ms)
        self._hosts: dict[AccountId, AccountHost] = {}
        self._changed = asyncio.Event()
        self._listed: list[Account] = []
        self._list_again_s = 0.0
        """Monotonic time at which the accounts are listed although nobody said that they changed."""

    @property
    def hosts(self) -> dict[AccountId, AccountHost]:
        """The accounts that this process serves, or waits to serve."""
        return self._hosts

    def accounts_changed(self) -> None:
        """An account was added, changed or removed: look now and not at the next beat."""
        self._changed.set()

    async def run(self) -> None:
        """Serve until cancelled, then stop every account in order."""
        try:
            while True:
                if self._changed.is_set():
                    self._list_again_s = 0.0
                    self._changed.clear()
                try:
                    await self._balance()
                except (*TRANSIENT, StoreDown) as error:
                    log.warning("bots wait for the store", error=str(error))
                except Exception:  # the accounts that run go on
                    log.exception("bots cannot share out the accounts")
                try:
                    async with asyncio.timeout(min(BEAT_MAX_S, self._deps.settings.lease_ms / 4000)):
                        await self._changed.wait()
                except TimeoutError:
                    continue
        finally:
            await asyncio.shield(self._stop())

    async def _balance(self) -> None:
        if time.monotonic() >= self._list_again_s:
            found = [a for a in await self._accounts() if not self._only or a.platform in self._only]
            self._listed = sorted(found, key=lambda a: a.id)
            self._list_again_s = time.monotonic() + LIST_ANYWAY_S
        members = await self._members.beat(self._deps.now_ms())
        mine = {a.id: a for a in self._members.share(self._listed, members)}
        for account_id, host in list(self._hosts.items()):
            if account_id not in mine or mine[account_id].config != host.account.config:
                del self._hosts[account_id]
                await host.stop()
        for account_id, account in mine.items():
            if account_id not in self._hosts:
                host = self._hosts[account_id] = AccountHost(account, self._adapters, self._deps, self._watch)
                host.start()

    async def _stop(self) -> None:
        await asyncio.gather(*(host.stop() for host in self._hosts.values()))
        self._hosts.clear()
        try:
            await self._members.leave()
        except (*TRANSIENT, StoreDown) as error:
            log.debug("membership runs out by itself", error=str(error))

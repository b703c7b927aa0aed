"""Puts the parts together: one process, with the roles that it was asked for.

Start: store, then what reads it, then what lets people in. Stop: the other way round, so that nothing is accepted
that could not be finished, and what is under way is finished.
"""

from __future__ import annotations

import asyncio
import gc
import os
import secrets
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any

import click
import msgspec
import structlog

from bots.emit import AccountEmit
from bots.host import Adapters, BotHost
from bots.registry import UnknownPlatform
from bots.registry import platform as find_platform
from core import keys
from core.accounts import AccountError, Accounts
from core.apps import Apps
from core.deps import Deps, make_deps
from core.directory import Directory
from core.ingest import Ingest
from core.metrics import Metrics
from core.model import AccountId, PlatformId, RoomId, account_of
from core.relay import Relay
from core.secrets import check_key
from core.settings import Settings, SettingsError
from core.store import TRANSIENT, Redis, open_store

if TYPE_CHECKING:
    from aiohttp import web

    from bridgebot.site import LiveAccounts

log = structlog.get_logger()

ALL_ROLES = frozenset({"web", "relay", "bots"})
STORE_RETRY_S = 1.0
DRAIN_PATIENCE_S = 10.0


class OpenAccount(msgspec.Struct, frozen=True):
    """An account with its secrets opened."""

    id: AccountId
    platform: PlatformId
    config: Any


class AccountSource:
    """The accounts that can be run; says once what is wrong with the others."""

    def __init__(self, accounts: Accounts) -> None:
        self._accounts = accounts
        self._complained: set[str] = set()

    async def __call__(self) -> Sequence[OpenAccount]:
        """All accounts that can be opened."""
        found = []
        for stored in await self._accounts.list():
            try:
                config = self._accounts.open(stored, find_platform(stored.platform).config)
            except (AccountError, UnknownPlatform) as error:
                if stored.id not in self._complained:
                    self._complained.add(stored.id)
                    log.error("an account cannot be used", account=stored.id, why=str(error))
                continue
            self._complained.discard(stored.id)
            found.append(OpenAccount(stored.id, stored.platform, config))
        return found


@dataclass
class Node:
    """One process of the installation."""

    settings: Settings
    deps: Deps
    accounts: Accounts
    apps: Apps
    source: AccountSource
    adapters: Adapters
    directory: Directory
    metrics: Metrics
    relay: Relay | None = None
    host: BotHost | None = None
    store_trouble: Callable[[], str] = lambda: ""
    on_secret: Callable[[str], None] = lambda secret: None
    """Told the secrets of accounts, so that logs can hide them."""

    def emit_of(self, account: AccountId) -> AccountEmit | None:
        """The account's way in, where this process holds it and that is open."""
        host = self.host.hosts.get(account) if self.host else None
        return host.emit if host and host.emit and host.emit.is_open else None

    async def may_manage(self, room: RoomId, person: str) -> bool:
        """Whether this person may change this room, as of now."""
        if await self.directory.room(room) is None:
            return False
        if self.settings.connect != "admins":
            return True
        return await self.is_admin(room, person) is True

    async def is_admin(self, room: RoomId, person: str) -> bool | None:
        """Whether the platform says that this person runs the room; None where it has no answer."""
        from core.contract import AdapterError, Members

        account, _, author = person.partition("/")
        if account != account_of(room):
            return None
        for adapter, _ in await self.adapters.all():
            if adapter.account == account and isinstance(adapter, Members):
                try:
                    return await adapter.is_admin(room, author)
                except AdapterError as error:
                    log.info("the platform does not say who runs the room", account=account, error=str(error))
        return None

    async def health(self) -> tuple[bool, dict[str, Any]]:
        """Whether this process does its work, and what it sees."""
        try:
            async with asyncio.timeout(2):
                await self.deps.store.ping()
            store = self.store_trouble() or self.deps.ingest.down or "ok"
        except (*TRANSIENT, TimeoutError) as error:
            store = str(error) or "no answer"
        details: dict[str, Any] = {"store": store}
        if self.host:
            details["accounts"] = {
                account: (host.emit.why_offline or "online") if host.emit else "another process"
                for account, host in self.host.hosts.items()
            }
        return store == "ok", details

    def metrics_text(self) -> bytes:
        """The figures, as of now."""
        if self.host:
            for account, host in self.host.hosts.items():
                if host.emit:
                    self.metrics.online(account, not host.emit.why_offline)
                self.metrics.waiting(account, host.waiting())
        return self.metrics.text()


async def wait_for_store(store: Redis) -> None:
    """Return when the store answers; says so while it does not."""
    told = False
    while True:
        try:
            await store.ping()
        except TRANSIENT as error:
            if not told:
                log.warning("the store does not answer; trying again until it does", error=str(error))
                told = True
            await asyncio.sleep(STORE_RETRY_S)
        else:
            return


async def fix_shards(store: Redis, settings: Settings) -> int:
    """The number of shards of this store: the setting, when it is first used. Raises SettingsError."""
    await store.hsetnx(keys.META, "shards", str(settings.shards))
    shards = int(await store.hget(keys.META, "shards") or settings.shards)
    if shards != settings.shards and settings.shards != Settings().shards:
        raise SettingsError(
            f"BRIDGEBOT_SHARDS is {settings.shards}, and this store was first used with {shards}, which cannot be "
            "changed. Take the setting away."
        )
    return shards


def process_name(embedded: bool) -> str:
    """Who we are among the processes. The owner of an embedded store is always the same, and takes its leases back
    at once after a crash: nobody else can have them."""
    return "run" if embedded else f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(3)}"


async def open_node(
    settings: Settings, *, embedded: bool = False, on_secret: Callable[[str], None] = lambda secret: None
) -> Node:
    """Everything that reads and writes the store, nothing running yet. ``settings.redis_url`` must be set.
    ``on_secret`` is told the secrets of accounts, so that logs can hide them.

    Raises core.secrets.SecretKeyError, SettingsError, core.store.StoreUrlError.
    """
    store = open_store(settings.redis_url)
    try:
        await wait_for_store(store)
        await check_key(store, settings.secret_key)
        shards = await fix_shards(store, settings)
    except BaseException:
        await store.aclose()
        raise
    deps = make_deps(store, settings, shards, process_name(embedded), settings.site_url)
    accounts = Accounts(store, settings.secret_key, deps.now_ms, on_secret)
    source = AccountSource(accounts)
    adapters = Adapters(deps, source, find_platform)
    metrics = Metrics()
    deps.ingest.on_accepted = metrics.accepted
    apps = Apps(store, settings.secret_key, on_secret)
    return Node(settings, deps, accounts, apps, source, adapters, Directory(deps), metrics, on_secret=on_secret)


class PartFailed(click.ClickException):
    """A part of the process ended by itself, which it never should; the process ends with it, to be started anew."""

    def __init__(self) -> None:
        super().__init__(
            "A part of bridgebot ended with an error, see above. Nothing accepted is lost: start it again."
        )


@asynccontextmanager
async def running(
    node: Node, roles: Iterable[str], only: Iterable[str] = (), watch: tuple[str, int] | None = None
) -> AsyncIterator[Awaitable[None]]:
    """Run the roles for as long as the block lasts; then stop them in order. ``watch``: host and port where a
    process without the web server serves ``/healthz`` and ``/metrics``.

    Yields what the block waits for besides being asked to stop: it raises PartFailed when a part has ended.
    """
    roles = frozenset(roles)
    deps = node.deps
    base = [asyncio.create_task(deps.journals.keep()), asyncio.create_task(deps.ingest.run())]
    parts: list[asyncio.Task[None]] = []
    followers: list[asyncio.Task[None]] = []
    runner = None
    try:
        if "relay" in roles:
            node.relay = Relay(deps)
            parts.append(asyncio.create_task(node.relay.run()))
        if "bots" in roles:
            node.host = BotHost(deps, node.source, node.adapters, only, node.metrics)
            parts.append(asyncio.create_task(node.host.run()))
            followers.append(asyncio.create_task(_follow_accounts(deps.store, node.host.accounts_changed)))
        if "web" in roles:
            # It takes a while to load, and the other parts need not wait for it.
            await asyncio.to_thread(import_module, "portal.app")
            from bridgebot.site import LiveAccounts

            accounts = LiveAccounts(node)
            runner = await _start_web(node, accounts)
            followers.append(asyncio.create_task(accounts.follow()))
            followers.append(asyncio.create_task(_follow_accounts(deps.store, accounts.changed)))
        elif watch:
            runner = await _start_watch(node, *watch)
        # What is loaded by now stays: the collector need not look at it again and again.
        gc.collect()
        gc.freeze()
        failing = asyncio.create_task(_first_to_fail(base + parts + followers))
        try:
            yield failing
        finally:
            failing.cancel()
            await asyncio.gather(failing, return_exceptions=True)
    finally:
        for task in followers:
            await _end(task)
        if runner:
            await runner.cleanup()
        # Bots before the relay: what they took in is still routed and what is under way still finished.
        for task in reversed(parts):
            await _end(task)
        await _drain(deps.ingest)
        for task in base:
            await _end(task)
        await deps.store.aclose()


async def _first_to_fail(tasks: Sequence[asyncio.Task[None]]) -> None:
    ended, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in ended:
        log.error("a part of the process ended", part=task.get_coro().__qualname__)  # type: ignore[union-attr]
    raise PartFailed


async def _end(task: asyncio.Task[None]) -> None:
    task.cancel()
    results = await asyncio.gather(task, return_exceptions=True)
    for result in results:
        if isinstance(result, Exception):
            log.error("a part of the process ended with an error", exc_info=result)


async def _drain(ingest: Ingest) -> None:
    try:
        async with asyncio.timeout(DRAIN_PATIENCE_S):
            await ingest.drain()
    except (TimeoutError, *TRANSIENT) as error:
        log.error("events that were not acknowledged are given up", error=str(error))


async def _follow_accounts(store: Redis, changed: Callable[[], None]) -> None:
    while True:
        try:
            async with store.pubsub() as channel:
                await channel.subscribe(keys.ACCOUNTS)
                async for message in channel.listen():
                    # Also when it has just begun to listen: nobody knows what happened before.
                    if message["type"] in ("message", "subscribe"):
                        changed()
        except TRANSIENT:
            await asyncio.sleep(STORE_RETRY_S)


async def _start_web(node: Node, accounts: LiveAccounts) -> web.AppRunner:
    from aiohttp import web

    from bridgebot.site import portal_deps
    from portal.app import make_app, make_runner

    await accounts.look()
    app = make_app(portal_deps(node, accounts))

    async def send_pages_away(app: web.Application) -> None:
        await accounts.stop()

    app.on_shutdown.append(send_pages_away)
    runner = make_runner(app)
    await runner.setup()
    await web.TCPSite(runner, node.settings.host, node.settings.port).start()
    return runner


async def _start_watch(node: Node, host: str, port: int) -> web.AppRunner:
    from aiohttp import web

    from portal.pages import service

    app = web.Application()
    service.add_pages(app, service.Watched(node.health, node.metrics_text, node.settings.metrics_token))
    runner = web.AppRunner(app, access_log=None, handle_signals=False)
    await runner.setup()
    await web.TCPSite(runner, host, port).start()
    return runner


async def until(asked: Awaitable[None], failed: Awaitable[None]) -> None:
    """Return when asked to stop. Raises PartFailed."""
    waiting = [asyncio.ensure_future(asked), asyncio.ensure_future(failed)]
    ended, _ = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    waiting[1].cancel()
    for one in ended:
        one.result()


def until_asked_to_stop() -> Awaitable[None]:
    """Return at the first SIGINT or SIGTERM; the second one ends the process at once."""
    import signal

    loop = asyncio.get_running_loop()
    asked: asyncio.Future[None] = loop.create_future()

    def on_signal(number: int) -> None:
        if asked.done():
            os._exit(128 + number)
        log.info("stopping; once more to quit at once")
        asked.set_result(None)

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, on_signal, number)
    return asked

"""``run``, and its roles apart: ``web``, ``relay``, ``bots``."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from typing import Any

import click
from msgspec.structs import replace

from bots import registry
from bridgebot import process
from bridgebot.commands import adding
from bridgebot.commands import targets as targets_of
from core.contract import Platform
from core.logs import Redactor
from core.model import PlatformId
from core.settings import Settings

Targets = list[tuple[Platform, str, Any]]


def _platform_options(command: Callable[..., None]) -> Callable[..., None]:
    """``--<platform> TARGET`` for every platform there is; other names are taken and not shown."""
    for name in registry.aliases():
        command = click.option(f"--{name}", f"on_{name}", multiple=True, hidden=True)(command)
    for name in reversed(registry.names()):
        text = f"Add the account {name} TARGET if it is not there yet. May be given more than once."
        command = click.option(f"--{name}", f"on_{name}", metavar="TARGET", multiple=True, help=text)(command)
    return command


host_option = click.option("--host", metavar="ADDRESS", help="Address the web server listens on [default: 127.0.0.1].")
port_option = click.option("--port", type=click.IntRange(0, 65535), help="Port the web server listens on.")


@click.command()
@process.data_option
@host_option
@port_option
@_platform_options
def run(data_dir: str | None, host: str | None, port: int | None, **on: tuple[str, ...]) -> None:
    """Run everything in one process, on a store of its own.

    Needs no configuration: the store and the secret key are made in the data folder at the first start, and guest
    rooms in the browser are there. With REDIS_URL set, that store is used instead.
    """
    redactor = Redactor()
    settings = process.load(redactor, data_dir=data_dir, host=host, port=port)
    wanted = targets_of.parse({name.removeprefix("on_"): given for name, given in on.items()})
    exactly = port is not None or any(name in os.environ for name in ("PORT", "BRIDGEBOT_PORT"))
    settings = replace(settings, port=process.find_port(settings.host, settings.port, exactly=exactly))
    process.run_async(_run(settings, redactor, wanted))


async def _run(settings: Settings, redactor: Redactor, wanted: Targets) -> None:
    from bridgebot import roles

    asked = roles.until_asked_to_stop()
    async with process.owned_store(settings) as (opened, embedded):
        redactor.add(opened.secret_key)
        node = await roles.open_node(opened, embedded=embedded is not None, on_secret=redactor.add)
        if embedded is not None:
            node.store_trouble = lambda: embedded.trouble
        try:
            await _add_accounts(node, wanted, redactor)
        except BaseException:
            await node.deps.store.aclose()
            raise
        async with roles.running(node, roles.ALL_ROLES) as failed:
            if node.relay:
                await node.relay.ready.wait()
            process.say(f"bridgebot is running: {node.deps.public_url}  (Ctrl+C stops it)")
            await roles.until(asked, failed)


async def _add_accounts(node: Any, wanted: Targets, redactor: Redactor) -> None:
    for platform, suggested, config in wanted:
        order = adding.Order(platform, suggested, config)
        await adding.added_or_explained(node.accounts, order, node.settings.site_url, redactor)
    there = {account.platform for account in await node.accounts.list()}
    for name in registry.AT_HAND:
        if PlatformId(name) not in there:
            platform = registry.platform(name)
            await node.accounts.ensure(name, platform.id, targets_of.from_target(platform, "")[1])


@click.command()
@host_option
@port_option
def web(host: str | None, port: int | None) -> None:
    """Run only the web server: the portal, guest rooms and webhooks."""
    redactor = Redactor()
    settings = process.shared(process.load(redactor, host=host, port=port))
    settings = replace(settings, port=process.find_port(settings.host, settings.port, exactly=True))
    process.run_async(_role(settings, redactor, "web"))


watch_host_option = click.option(
    "--host", metavar="ADDRESS", help="Address /healthz and /metrics are served on [default: 127.0.0.1]."
)
watch_port_option = click.option(
    "--port", type=click.IntRange(0, 65535), help="Port /healthz and /metrics are served on [default: none]."
)


@click.command()
@watch_host_option
@watch_port_option
def relay(host: str | None, port: int | None) -> None:
    """Run only the relay. Several may run; they share the work."""
    redactor = Redactor()
    settings = process.shared(process.load(redactor))
    process.run_async(_role(settings, redactor, "relay", watch=_watch(settings, host, port)))


@click.command()
@click.option("--only", metavar="A,B", default="", help="Only accounts on these platforms.")
@watch_host_option
@watch_port_option
def bots(only: str, host: str | None, port: int | None) -> None:
    """Run only the bots: the connections to the chat services. Several may run; they share the accounts."""
    redactor = Redactor()
    settings = process.shared(process.load(redactor))
    platforms = [registry.platform(name.strip()).id for name in only.split(",") if name.strip()]
    process.run_async(_role(settings, redactor, "bots", platforms, _watch(settings, host, port)))


def _watch(settings: Settings, host: str | None, port: int | None) -> tuple[str, int] | None:
    # Only where it is asked for on the command line: a PORT in the environment is the web server's, and the roles may
    # well share their environment.
    if port is None:
        return None
    host = host or settings.host
    return host, process.find_port(host, port, exactly=True)


async def _role(
    settings: Settings, redactor: Redactor, role: str, only: Iterable[str] = (), watch: tuple[str, int] | None = None
) -> None:
    import asyncio

    from bridgebot import roles

    asked = asyncio.ensure_future(roles.until_asked_to_stop())
    opening = asyncio.ensure_future(roles.open_node(settings, on_secret=redactor.add))
    await asyncio.wait([asked, opening], return_when=asyncio.FIRST_COMPLETED)
    if not opening.done():
        opening.cancel()
        await asyncio.gather(opening, return_exceptions=True)
        return
    node = await opening
    async with roles.running(node, {role}, only, watch) as failed:
        where = f": {node.deps.public_url}" if role == "web" else ""
        where = f": http://{watch[0]}:{watch[1]}/healthz" if watch else where
        process.say(f"bridgebot {role} is running{where}  (Ctrl+C stops it)")
        await roles.until(asked, failed)

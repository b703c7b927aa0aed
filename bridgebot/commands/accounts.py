"""``bridgebot accounts``."""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

import click
import msgspec

from bots import registry
from bridgebot import process
from bridgebot.commands import targets as targets_of
from core.accounts import Account, Accounts
from core.deps import wall_clock_ms
from core.logs import Redactor
from core.secrets import check_key
from core.settings import Settings
from core.store import open_store


@click.group()
def accounts() -> None:
    """Add, list and remove accounts. Running processes take up the change at once."""


@accounts.command()
@click.argument("platform")
@click.argument("target")
@click.option("--id", "account_id", metavar="NAME", help="Name of the account [default: made from the target].")
@process.data_option
def add(platform: str, target: str, account_id: str | None, data_dir: str | None) -> None:
    """Add an account on PLATFORM. What TARGET looks like depends on the platform.

    With - as TARGET the configuration is read from standard input as JSON. That is the way for passwords and tokens,
    which anybody on this machine could otherwise read from the command line.
    """
    settings = process.load(Redactor(), data_dir=data_dir)
    found = registry.platform(platform)
    read = targets_of.from_json(found, sys.stdin.read()) if target == "-" else targets_of.from_target(found, target)
    suggested, config = read

    async def work(opened: Accounts) -> None:
        if account_id:
            process.say(f"Added {await opened.add(account_id, found.id, config)}.")
            return
        added, is_new = await opened.ensure(suggested, found.id, config)
        process.say(f"Added {added}." if is_new else f"It is there already: {added}.")

    process.run_async(_with_accounts(settings, work))


@accounts.command("list")
@process.data_option
def list_(data_dir: str | None) -> None:
    """List all accounts, without their secrets."""
    settings = process.load(Redactor(), data_dir=data_dir)

    async def work(opened: Accounts) -> None:
        found = await opened.list()
        for account in found:
            process.say(line(account))
        if not found:
            process.say("There are no accounts yet. Add one: bridgebot accounts add PLATFORM TARGET")

    process.run_async(_with_accounts(settings, work))


@accounts.command()
@click.argument("account_id", metavar="NAME")
@process.data_option
def remove(account_id: str, data_dir: str | None) -> None:
    """Remove the account NAME. Its rooms stay connected and wait, in case it comes back."""
    settings = process.load(Redactor(), data_dir=data_dir)

    async def work(opened: Accounts) -> None:
        if not await opened.remove(account_id):
            names = ", ".join(account.id for account in await opened.list()) or "none"
            raise click.ClickException(f"There is no account {account_id!r}. There are: {names}.")
        process.say(f"Removed {account_id}.")

    process.run_async(_with_accounts(settings, work))


def line(account: Account) -> str:
    """An account for people: what differs from the defaults, and no secret."""
    added = datetime.fromtimestamp(account.added_at_ms / 1000, UTC).strftime("%Y-%m-%d")
    try:
        known = msgspec.structs.fields(registry.platform(account.platform).config)
        defaults = {field.encode_name: msgspec.to_builtins(_default(field)) for field in known}
    except registry.UnknownPlatform as error:
        return f"{account.id}  {account.platform}  added {added}  cannot be used: {error}"
    chosen = {name: value for name, value in account.config.items() if value != defaults.get(name)}
    return f"{account.id}  {account.platform}  added {added}  " + "  ".join(
        f"{name}={_shown(value)}" for name, value in chosen.items()
    )


def _default(field: Any) -> Any:
    if field.default_factory is not msgspec.NODEFAULT:
        return field.default_factory()
    return None if field.default is msgspec.NODEFAULT else field.default


def _shown(value: object) -> str:
    if isinstance(value, dict) and value.keys() == {"$sealed"}:
        return "[hidden]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{name}={_shown(item)}" for name, item in value.items()) + "}"
    if isinstance(value, list):
        return ",".join(map(_shown, value))
    return str(value)


async def _with_accounts(settings: Settings, work: Callable[[Accounts], Awaitable[None]]) -> None:
    async with process.visited_store(settings) as opened:
        store = open_store(opened.redis_url, max_connections=4)
        try:
            await check_key(store, opened.secret_key)
            await work(Accounts(store, opened.secret_key, wall_clock_ms))
        finally:
            await store.aclose()

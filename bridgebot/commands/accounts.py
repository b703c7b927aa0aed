"""``bridgebot accounts``."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from typing import Any

import click
import msgspec

from bots import registry
from bridgebot import process
from bridgebot.commands import adding, checks
from bridgebot.commands import targets as targets_of
from bridgebot.commands.apps import app
from bridgebot.commands.questions import Lines, Terminal, configuration, questions
from core.accounts import Account, AccountError, Accounts
from core.contract import Platform
from core.logs import Redactor
from core.model import account_of
from core.settings import Settings


@click.group()
def accounts() -> None:
    """Add, list, check and remove accounts. Running processes take up the change at once."""


@accounts.command()
@click.argument("name", metavar="[PLATFORM]", required=False)
@click.argument("target", required=False)
@click.option("--id", "account_id", metavar="NAME", help="Name of the account [default: as the service calls it].")
@click.option("--unchecked", is_flag=True, help="Add it although the service does not answer.")
@process.data_option
def add(name: str | None, target: str | None, account_id: str | None, unchecked: bool, data_dir: str | None) -> None:
    """Add an account on PLATFORM; without PLATFORM, list all there are.

    Without TARGET you are asked for what it needs. From a pipe, each line is an answer, in the same order. A secret
    written as @FILE is the content of that file.

    What TARGET looks like depends on the platform. With - as TARGET the whole configuration is read from standard
    input as JSON. Passwords and tokens do not belong into TARGET: everybody on this machine can read it there.
    """
    if name is None:
        _list_platforms()
        return
    redactor = Redactor()
    settings = process.load(redactor, data_dir=data_dir)
    platform = registry.platform(name)
    if note := registry.became(name):
        click.echo(note, err=True)
    suggested, config = _wanted(platform, target)
    order = adding.Order(platform, suggested, config, account_id or "", unchecked, is_answered=target is None)
    process.run_async(_add(settings, order, redactor, asks=target is None and sys.stdin.isatty()))


def _wanted(platform: Platform, target: str | None) -> tuple[str, Any]:
    """A suggested id and the configuration. Raises AccountError."""
    if target == "-":
        return targets_of.from_json(platform, sys.stdin.read())
    if target is not None:
        return targets_of.from_target(platform, target)
    if questions(platform.config):
        return str(platform.id), configuration(platform, Terminal() if sys.stdin.isatty() else Lines())
    try:
        return platform.from_target("")
    except ValueError:
        raise AccountError(
            f"Which one? Type: bridgebot accounts add {platform.id} TARGET, where TARGET is {platform.target_help}"
        ) from None


async def _add(settings: Settings, order: adding.Order, redactor: Redactor, *, asks: bool) -> None:
    async with process.visit(settings, redactor) as visit:
        if asks and questions(order.platform.config):
            ordered = adding.added_with_questions(visit.accounts, order, settings.site_url, redactor)
        else:
            ordered = adding.added_or_explained(visit.accounts, order, settings.site_url, redactor)
        account_id, is_new = await ordered
        if not is_new:
            process.say(f"It is there already: {account_id}.")
            return
        process.say(f"Added {account_id}.")
        account = await visit.accounts.get(account_id)
        if account:
            await _show_findings(visit, account, redactor)
            _show_steps(visit, account, order.platform)


async def _show_findings(visit: process.Visit, account: Account, redactor: Redactor) -> bool:
    """Print what is found; returns whether all is well."""
    found = await checks.look_at(account, visit)
    for finding in found:
        checks.show(finding, redactor)
    return all(finding.ok for finding in found)


def _show_steps(visit: process.Visit, account: Account, platform: Platform) -> None:
    config = visit.accounts.open(account, platform.config)
    steps = platform.next_steps(account.id, config, checks.address(visit.settings, account.id))
    if steps:
        process.say("What is left to do:")
    for number, step in enumerate(steps, 1):
        process.say(f"  {number}. {step}")


def _list_platforms() -> None:
    for name in registry.names():
        try:
            platform = registry.platform(name)
        except registry.UnknownPlatform as error:
            process.say(f"{name:12} {error}")
            continue
        asked = ", ".join(question.title for question in questions(platform.config))
        process.say(f"{name:12} {platform.title:16} {f'asks for: {asked}' if asked else platform.target_help}")
    process.say("Add an account on one of them: bridgebot accounts add PLATFORM [TARGET]")


@accounts.command("list")
@process.data_option
def list_(data_dir: str | None) -> None:
    """List all accounts, without their secrets."""
    redactor = Redactor()
    process.run_async(_list(process.load(redactor, data_dir=data_dir), redactor))


async def _list(settings: Settings, redactor: Redactor) -> None:
    async with process.visit(settings, redactor) as visit:
        found = await visit.accounts.list()
    for account in found:
        process.say(line(account))
    if not found:
        process.say("There are no accounts yet. Add one: bridgebot accounts add")


@accounts.command()
@click.argument("account_id", metavar="NAME")
@process.data_option
def check(account_id: str, data_dir: str | None) -> None:
    """Say how the account NAME is, as `bridgebot doctor` does. Exit code 1 when something is wrong."""
    redactor = Redactor()
    if not process.run_async(_check(process.load(redactor, data_dir=data_dir), account_id, redactor)):
        raise click.exceptions.Exit(1)


async def _check(settings: Settings, account_id: str, redactor: Redactor) -> bool:
    async with process.visit(settings, redactor) as visit:
        return await _show_findings(visit, await _known(visit.accounts, account_id), redactor)


@accounts.command()
@click.argument("account_id", metavar="NAME")
@process.data_option
def file(account_id: str, data_dir: str | None) -> None:
    """Print the file that the service of the account NAME has to be given. It holds secrets."""
    redactor = Redactor()
    click.echo(process.run_async(_file(process.load(redactor, data_dir=data_dir), account_id, redactor)), nl=False)


async def _file(settings: Settings, account_id: str, redactor: Redactor) -> str:
    async with process.visit(settings, redactor) as visit:
        account = await _known(visit.accounts, account_id)
        platform = registry.platform(account.platform)
        config = visit.accounts.open(account, platform.config)
        found = platform.handout(account.id, config, checks.address(visit.settings, account.id))
    if found is None:
        raise AccountError(f"{platform.title} is given no file for {account_id}.")
    return found.text


@accounts.command()
@click.argument("account_id", metavar="NAME")
@click.option("--yes", is_flag=True, help="Do not ask.")
@process.data_option
def remove(account_id: str, yes: bool, data_dir: str | None) -> None:
    """Remove the account NAME, and revoke its tokens where the service lets us.

    Its rooms stay connected and wait, in case it comes back. At a terminal you are asked first.
    """
    redactor = Redactor()
    process.run_async(_remove(process.load(redactor, data_dir=data_dir), account_id, redactor, asks=not yes))


async def _remove(settings: Settings, account_id: str, redactor: Redactor, *, asks: bool) -> None:
    from bridgebot.commands import look
    from bridgebot.revoking import revoked

    async with look.opened(settings, on_secret=redactor.add) as node:
        account = await _known(node.accounts, account_id)
        rooms, tubes = await look.everything(node)
        waiting = [
            f"  {look.ends(tube, rooms)}" for tube in tubes if account_id in (account_of(tube.a), account_of(tube.b))
        ]
        if asks and sys.stdin.isatty():
            process.say(
                "\n".join(
                    ["These connections will wait:", *waiting] if waiting else ["None of its rooms is connected."]
                )
            )
            click.confirm(f"Remove {account_id}, and revoke what it was given?", abort=True)
        words = await revoked(node.accounts, node.apps, account, checks.address(node.settings, account.id))
        await node.accounts.remove(account.id)
    process.say("\n".join([f"Removed {account_id}.", *([redactor(words)] if words else [])]))
    if waiting:
        process.say(
            "These connections wait now. They go on when an account of this name is added again; -"
            f"{settings.prefix} disable, typed in the other room, ends them:"
        )
        process.say("\n".join(waiting))


accounts.add_command(app)


async def _known(accounts: Accounts, account_id: str) -> Account:
    found = await accounts.get(account_id)
    if found is None:
        names = ", ".join(account.id for account in await accounts.list()) or "none"
        raise AccountError(f"There is no account {account_id!r}. There are: {names}.")
    return found


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

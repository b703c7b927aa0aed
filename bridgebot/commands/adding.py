"""Adding an account: is it there already, does the service take it, what is it called, what is left to do."""

from __future__ import annotations

import asyncio
from typing import Any

import click
import msgspec
from msgspec import inspect

from bridgebot import process
from bridgebot.commands.questions import Terminal, configuration, questions
from core.accounts import AccountError, Accounts
from core.contract import AuthLost, Platform, Rejected, Retry
from core.logs import Redactor
from core.model import AccountId

PREPARE_TIMEOUT_S = 60.0


class Order(msgspec.Struct, frozen=True):
    """An account to add. ``account_id``: its name, if the operator chose one; ``suggested``: else one like this.
    ``is_answered``: somebody was asked for it."""

    platform: Platform
    suggested: str
    config: Any
    account_id: str = ""
    unchecked: bool = False
    is_answered: bool = False


async def same_answers(accounts: Accounts, platform: Platform, config: Any) -> AccountId | None:
    """The account that was given the same answers, or else the same whole configuration."""
    names = [question.name for question in questions(platform.config)]
    return await _found(accounts, platform, config, [*names, *platform.identity])


async def same_credentials(accounts: Accounts, platform: Platform, config: Any) -> AccountId | None:
    """The account that is the same one on the service, going by a configuration that the service has confirmed.

    Where a secret must be given, it and all else that must be given say who it is; where none must, all that is given
    and no secret, and what the service told of it (there may be many bots on one server).
    """
    given = questions(platform.config)
    needed = [question.name for question in given if question.needed]
    if not any(question.secret and question.needed for question in given):
        needed = [question.name for question in given if not question.secret]
        needed += _told(config, {question.name for question in given}) if needed else []
    return await _found(accounts, platform, config, [*needed, *platform.identity])


def _told(config: Any, asked: set[str]) -> list[str]:
    """The texts of a configuration that were empty and not asked for, and are no secrets: the service told them."""
    described = inspect.type_info(type(config))
    assert isinstance(described, inspect.StructType)  # noqa: S101 - configurations are structs
    return [
        field.name
        for field in described.fields
        if field.default == ""
        and field.name not in asked
        and not _is_secret(field.type)
        and getattr(config, field.name)
    ]


def _is_secret(kind: inspect.Type) -> bool:
    return isinstance(kind, inspect.Metadata) and bool((kind.extra or {}).get("secret"))


async def _found(accounts: Accounts, platform: Platform, config: Any, names: list[str]) -> AccountId | None:
    wanted = _values(config, names)
    for account in await accounts.list():
        if account.platform != platform.id:
            continue
        try:
            there = accounts.open(account, platform.config)
        except AccountError:  # `doctor` says what is wrong with that one
            continue
        if _values(there, names) == wanted:
            return account.id
    return None


def _values(config: Any, names: list[str]) -> Any:
    return [getattr(config, name) for name in names] if names else config


async def added(accounts: Accounts, order: Order, public_url: str) -> tuple[AccountId, bool]:
    """The account that was ordered, added if it is not there. Returns its id and whether it is new. Raises Rejected
    and Retry as Platform.prepare does, AccountError when the id cannot be used.
    """
    platform, config, suggested = order.platform, order.config, order.suggested
    if not (order.is_answered or platform.prepares_targets):
        if there := await _found(accounts, platform, config, []):
            return there, False
        return await put(accounts, order)
    if there := await same_answers(accounts, platform, config):
        return there, False
    try:
        async with asyncio.timeout(PREPARE_TIMEOUT_S):
            name, config = await platform.prepare(config, public_url)
    except AuthLost as error:
        raise Rejected(str(error)) from error
    except TimeoutError:
        raise Retry(0, f"no answer in {PREPARE_TIMEOUT_S:.0f} s") from None
    if there := await same_credentials(accounts, platform, config):
        return there, False
    return await put(accounts, msgspec.structs.replace(order, suggested=name or suggested, config=config))


async def put(accounts: Accounts, order: Order) -> tuple[AccountId, bool]:
    """Store it as it is. Returns its id and whether it is new. Raises AccountError when the id cannot be used."""
    if order.account_id:
        return await accounts.add(order.account_id, order.platform.id, order.config), True
    return await accounts.ensure(order.suggested, order.platform.id, order.config)


async def added_or_explained(
    accounts: Accounts, order: Order, public_url: str, redactor: Redactor
) -> tuple[AccountId, bool]:
    """:func:`added`, where nobody can be asked. Raises AccountError that says what to do."""
    platform = order.platform
    _hide_secrets(order.config, redactor)
    try:
        return await added(accounts, order, public_url)
    except Rejected as error:
        raise AccountError(redactor(f"{platform.title} does not take it: {error.reason}")) from error
    except Retry as error:
        if order.unchecked:
            return await put(accounts, order)
        told = f"{platform.title} does not answer: {sentence(error)} Try again later; or add it all the same, with: "
        raise AccountError(redactor(f"{told}bridgebot accounts add {platform.id} --unchecked")) from error


async def added_with_questions(
    accounts: Accounts, order: Order, public_url: str, redactor: Redactor
) -> tuple[AccountId, bool]:
    """:func:`added`, asking again until the service takes it. Raises click.Abort when the operator has enough."""
    while True:
        _hide_secrets(order.config, redactor)
        try:
            return await added(accounts, order, public_url)
        except Rejected as error:
            process.say(redactor(f"{order.platform.title} does not take it: {error.reason}"))
            before = _answers(order.config)
            order = msgspec.structs.replace(order, config=configuration(order.platform, Terminal(), before))
        except Retry as error:
            process.say(redactor(f"{order.platform.title} does not answer: {error}"))
            if order.unchecked or click.confirm("Add it all the same?"):
                return await put(accounts, order)
            raise click.Abort from None


def sentence(error: Exception) -> str:
    """An error's words, with a full stop."""
    text = str(error).strip()
    return text if text.endswith((".", "?", "!")) else f"{text}."


def _hide_secrets(config: Any, redactor: Redactor) -> None:
    for question in questions(type(config)):
        if question.secret and isinstance(value := getattr(config, question.name), str) and value:
            redactor.add(value)


def _answers(config: Any) -> dict[str, Any]:
    return {question.name: getattr(config, question.name) for question in questions(type(config))}

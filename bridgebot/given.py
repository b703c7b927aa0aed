"""Accounts that teams give by signing in at their service, through the operator's app."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from typing import Any, Final

import msgspec

from bots import registry
from core.accounts import Account, AccountError, Accounts
from core.apps import Apps
from core.contract import Platform, Retry
from core.giving import SignIn
from core.settings import Settings

REDEEM_S: Final = 30.0


def redirect_url(settings: Settings, platform: str) -> str:
    """Where services lead the browser back to."""
    return f"{settings.site_url}/add/{platform}/done"


def app_url(settings: Settings, platform: str) -> str:
    """Where a service calls the operator's app; no slash at the end."""
    return f"{settings.site_url}/apps/{platform}"


async def app_on(apps: Apps, name: str) -> tuple[Platform, SignIn, Any] | None:
    """The platform, how accounts are given there, and the operator's app; None where there is no such way."""
    platform = registry.platform(name)
    if platform.sign_in is None:
        return None
    app = await apps.get(platform)
    return None if app is None else (platform, platform.sign_in, app)


def platforms() -> Iterator[tuple[Platform, SignIn]]:
    """Those where accounts can be given so."""
    for name in registry.names():
        try:
            platform = registry.platform(name)
        except registry.UnknownPlatform:  # its library is not installed
            continue
        if platform.sign_in:
            yield platform, platform.sign_in


async def prepared(sign_in: SignIn, app: Any, url: str) -> Any:
    """As SignIn.prepare, within REDEEM_S."""
    try:
        async with asyncio.timeout(REDEEM_S):
            return await sign_in.prepare(app, url)
    except TimeoutError:
        raise Retry(0, f"no answer in {REDEEM_S:.0f} s") from None


async def redeemed(sign_in: SignIn, app: Any, answer: Mapping[str, str], url: str) -> tuple[str, Any]:
    """As SignIn.redeem, within REDEEM_S."""
    try:
        async with asyncio.timeout(REDEEM_S):
            return await sign_in.redeem(app, answer, url)
    except TimeoutError:
        raise Retry(0, f"no answer in {REDEEM_S:.0f} s") from None


def same(sign_in: SignIn, one: Any, other: Any) -> bool:
    """Are both the same account at the service?"""
    return all(getattr(one, name) and getattr(one, name) == getattr(other, name) for name in sign_in.identity)


def renewed(before: Any, given: Any) -> Any:
    """The configuration of before, with all that was given now."""
    changes = {
        field.name: getattr(given, field.name)
        for field in msgspec.structs.fields(given)
        if field.required or getattr(given, field.name) != field.default
    }
    return msgspec.structs.replace(before, **changes)


def there(accounts: Accounts, found: Iterable[Account], platform: Platform, given: Any) -> tuple[Account, Any] | None:
    """The account that was given before, and its configuration."""
    assert platform.sign_in is not None  # noqa: S101 - or nothing could have been given
    for account in found:
        if account.platform == platform.id:
            with suppress(AccountError):  # `doctor` says what is wrong with that one
                config = accounts.open(account, platform.config)
                if same(platform.sign_in, config, given):
                    return account, config
    return None

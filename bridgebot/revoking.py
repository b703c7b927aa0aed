"""Before an account's secrets are erased, they are made worthless at the service: bounded in time, told in words, and
never a reason to keep the account.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Final

import structlog

from bots import registry
from core.accounts import Account, AccountError, Accounts
from core.apps import Apps
from core.contract import AdapterError, Platform

log = structlog.get_logger()

REVOKE_S: Final = 10.0
Run = Callable[[Callable[[], Coroutine[Any, Any, str]], float], Awaitable[str]]
"""``run(work, patience_s)``: what the work returns. Raises TimeoutError."""


async def at_once(work: Callable[[], Coroutine[Any, Any, str]], patience_s: float) -> str:
    """The work, here."""
    async with asyncio.timeout(patience_s):
        return await work()


async def revoked(accounts: Accounts, apps: Apps, account: Account, url: str, run: Run = at_once) -> str:
    """What became of the account's tokens and passwords at the service, in words; empty where there is nothing to say.
    ``url``: where the account's routes are. Raises nothing but what the store raises.
    """
    try:
        platform = registry.platform(account.platform)
        config = accounts.open(account, platform.config)
        app = await app_of(apps, platform, config)
    except (AccountError, registry.UnknownPlatform) as error:
        return f"What it was given at the service was not revoked: {error}"
    try:
        words = await run(lambda: _revoke(platform, config, url, app), REVOKE_S)
    except TimeoutError:
        words = _failed(platform, f"no answer in {REVOKE_S:.0f} s")
    except AdapterError as error:
        words = _failed(platform, str(error))
    except Exception:  # it is removed all the same, and the operator reads what it was
        log.exception("an account could not be revoked", account=account.id)
        words = _failed(platform, "something went wrong, see the log")
    return f"{platform.title}: {words[0].lower()}{words[1:]}" if words else ""


async def app_of(apps: Apps, platform: Platform, config: Any) -> Any:
    """The operator's app that the account was given through; None where it has tokens of its own."""
    if platform.sign_in is None or not platform.sign_in.gave(config):
        return None
    return await apps.get(platform)


async def _revoke(platform: Platform, config: Any, url: str, app: Any) -> str:
    return await platform.revoke(config, url, app)


def _failed(platform: Platform, why: str) -> str:
    return f"could not be revoked: {why.rstrip('.')}. {platform.revoke_by_hand}".rstrip()

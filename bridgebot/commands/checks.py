"""Looking at accounts: what their platform finds, and whether the service can reach us."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from ipaddress import ip_address
from urllib.parse import urlsplit

import msgspec

from bots import registry
from bridgebot import process
from core.accounts import Account, AccountError
from core.contract import AdapterError, Finding
from core.deps import make_deps
from core.logs import Redactor
from core.settings import Settings

CHECK_TIMEOUT_S = 20.0


def address(settings: Settings, account: str) -> str:
    """Where an account's routes are reached; no slash at the end."""
    return f"{settings.site_url}/bots/{account}"


def show(finding: Finding, redactor: Redactor) -> None:
    """Print a finding, and below it how to mend it."""
    process.say(redactor(f"  {'ok ' if finding.ok else 'BAD'}  {finding.what}"))
    if finding.mend:
        process.say(redactor(f"       {finding.mend}"))


async def look_at(account: Account, visit: process.Visit) -> Sequence[Finding]:
    """All findings of one account; raises nothing for what is wrong with it."""
    name = f"account {account.id}"
    try:
        platform = registry.platform(account.platform)
        config = visit.accounts.open(account, platform.config)
        async with asyncio.timeout(CHECK_TIMEOUT_S):
            found = list(await platform.check(config, address(visit.settings, account.id)))
        found += _unreachable(account, config, visit, found)
    except (AccountError, AdapterError, registry.UnknownPlatform) as error:
        return (Finding(False, f"{name}: {error}"),)
    except TimeoutError:
        return (Finding(False, f"{name}: no answer in {CHECK_TIMEOUT_S:.0f} s", "Is the server up?"),)
    except Exception as error:  # noqa: BLE001 - the other accounts are looked at all the same
        return (Finding(False, f"{name}: cannot be looked at: {error!r}"),)
    return [
        msgspec.structs.replace(finding, what=f"{name}: {finding.what}")
        for finding in found or (Finding(True, f"on {platform.title}"),)
    ]


def _unreachable(account: Account, config: object, visit: process.Visit, found: Sequence[Finding]) -> Sequence[Finding]:
    """Says so when the service is to call us and cannot, unless the platform has said it itself."""
    settings = visit.settings
    is_told = any("PUBLIC_URL" in finding.mend for finding in found if not finding.ok)
    if is_told or not is_loopback(settings.site_url) or account.platform in registry.AT_HAND:
        return ()
    from bots.host import make_services
    from bridgebot.site import routes_of

    deps = make_deps(visit.store, settings, settings.shards, "doctor", settings.site_url)
    platform = registry.platform(account.platform)
    adapter = platform.create(account.id, config, make_services(account.id, deps))
    if not routes_of(adapter, platform, deps):
        return ()
    return (
        Finding(
            False,
            f"{platform.title} calls us, and {settings.site_url} is not reached from outside this machine",
            "Set BRIDGEBOT_PUBLIC_URL to the address that the internet reaches, like https://bridge.example.org.",
        ),
    )


def is_loopback(url: str) -> bool:
    """Is it an address that only this machine reaches?"""
    host = urlsplit(url).hostname or ""
    try:
        found = ip_address(host)
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")
    return found.is_loopback or found.is_unspecified

"""What ``bridgebot doctor`` finds about the company's sign-in to the portal."""

from __future__ import annotations

import time
from collections.abc import Iterator

from bridgebot.commands.checks import is_loopback
from core.contract import Finding
from core.settings import Settings, SettingsError
from portal.company import Rules, rules_of
from portal.id_token import is_usable
from portal.oidc import CALLBACK, Provider, ProviderTrouble

_NO_ISSUER = Finding(
    False,
    "company sign-in: BRIDGEBOT_ADD_ACCOUNTS is company, and no provider is set",
    "Set BRIDGEBOT_OIDC_ISSUER, or BRIDGEBOT_ADD_ACCOUNTS to operator.",
)


async def findings(settings: Settings) -> list[Finding]:
    """What is set, and whether the provider answers; nothing where there is no such sign-in. Only a person who signs
    in can tell whether the client's id and secret are right.
    """
    try:
        rules = rules_of(settings)
    except SettingsError as error:
        return [Finding(False, f"company sign-in: {error}")]
    if rules is None:
        return [_NO_ISSUER] if settings.add_accounts == "company" else []
    return [await _answers(settings, rules), _redirect(settings), *_who(settings, rules)]


async def _answers(settings: Settings, rules: Rules) -> Finding:
    provider = Provider(settings, rules, time.time)
    try:
        keys = [key for key in await provider.keys() if is_usable(key)]
    except ProviderTrouble as error:
        return Finding(
            False,
            f"company sign-in: {settings.oidc_issuer} cannot be used: {error}",
            "Look at BRIDGEBOT_OIDC_ISSUER, and whether this machine reaches that address.",
        )
    finally:
        await provider.close()
    if not keys:
        return Finding(False, "company sign-in: the provider has no key that we take (RSA, EC or Ed25519)")
    return Finding(True, f"company sign-in: {settings.oidc_issuer} answers")


def _redirect(settings: Settings) -> Finding:
    address = settings.site_url + CALLBACK
    if is_loopback(settings.site_url) and not is_loopback(settings.oidc_issuer):
        return Finding(
            False,
            f"company sign-in: people are sent back to {address}, which is only on this machine",
            "Set BRIDGEBOT_PUBLIC_URL to the address that browsers use, like https://bridge.example.org.",
        )
    return Finding(True, f"company sign-in: the redirect address to register with the provider is {address}")


def _who(settings: Settings, rules: Rules) -> Iterator[Finding]:
    if settings.add_accounts == "nobody":
        yield Finding(
            False,
            "company sign-in: BRIDGEBOT_ADD_ACCOUNTS is nobody, so there is nothing to sign in to",
            "Set it to company.",
        )
    elif settings.add_accounts == "operator" and not rules.operator:
        yield Finding(
            False,
            "company sign-in: whoever signs in may add no account",
            "Set BRIDGEBOT_ADD_ACCOUNTS to company, or BRIDGEBOT_OIDC_OPERATOR to the claim of the operators.",
        )
    elif not rules.domains and not rules.require:
        yield Finding(
            True,
            "company sign-in: everybody whom the provider signs in is let in",
            "If others than your people have accounts there, set BRIDGEBOT_OIDC_DOMAINS or BRIDGEBOT_OIDC_REQUIRE.",
        )

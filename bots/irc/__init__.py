"""IRC: Libera.Chat, OFTC and every other network, by the protocol itself."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from bots.irc.config import TARGET_HELP, IrcConfig, apart, from_target
from core.contract import Finding, Hears, Platform, Services
from core.model import AccountId, PlatformId

if TYPE_CHECKING:
    from bots.irc.adapter import IrcAdapter


def create(account: AccountId, config: IrcConfig, services: Services) -> IrcAdapter:
    """The adapter of one account. Does no I/O."""
    from bots.irc.adapter import IrcAdapter

    return IrcAdapter(account, apart(config), services)


async def check(config: IrcConfig, url: str) -> Sequence[Finding]:
    """What ``bridgebot doctor`` says of an account: does its server answer, is what it is told protected?"""
    from bots.irc.check import findings

    return await findings(apart(config))


async def prepare(config: IrcConfig, public_url: str) -> tuple[str, IrcConfig]:
    """Register with the server once, and leave. Raises Rejected and Retry."""
    from bots.irc.setup import prepared

    return await prepared(apart(config))


def next_steps(account: AccountId, config: IrcConfig, url: str) -> Sequence[str]:
    """What is left to do once the account is there."""
    from bots.irc.setup import steps

    return steps(config)


async def revoke(config: IrcConfig, url: str, app: None) -> str:
    """Passwords of IRC are the person's own, and changed with the network's services."""
    if config.password or config.sasl_password or config.nickserv_password:
        return "There is nothing to revoke: the password still works until you change it with the network's services."
    return ""


PLATFORM = Platform(
    id=PlatformId("irc"),
    title="IRC",
    config=IrcConfig,
    create=create,
    from_target=from_target,
    target_help=TARGET_HELP,
    check=check,
    prepare=prepare,
    prepares_targets=False,
    identity=("port", "tls"),
    next_steps=next_steps,
    redelivers=False,
    revoke=revoke,
    hears=Hears(
        reply="full",
        reaction="full",
        typing="full",
        entities=frozenset({"bold", "italic", "underline", "strike", "code", "spoiler"}),
    ),
)

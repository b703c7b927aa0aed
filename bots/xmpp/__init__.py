"""XMPP (Jabber): rooms of any server, as one account, or as a server component with an occupant for every author."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from bots.xmpp.config import TARGET_HELP, XmppConfig, from_target
from core.contract import Finding, Hears, Platform, Services
from core.giving import only_by_hand
from core.model import AccountId, PlatformId

if TYPE_CHECKING:
    from bots.xmpp.adapter import XmppAdapter


def create(account: AccountId, config: XmppConfig, services: Services) -> XmppAdapter:
    """The adapter of one account. Does no I/O."""
    from bots.xmpp.adapter import XmppAdapter

    return XmppAdapter(account, config, services)


async def check(config: XmppConfig, url: str) -> Sequence[Finding]:
    """What ``bridgebot doctor`` says of an account."""
    from bots.xmpp.check import findings

    return await findings(config)


async def prepare(config: XmppConfig, public_url: str) -> tuple[str, XmppConfig]:
    """Sign in once."""
    from bots.xmpp.check import prepared

    return await prepared(config)


def next_steps(account: AccountId, config: XmppConfig, url: str) -> Sequence[str]:
    """What the operator does after adding the account."""
    from bots.xmpp.check import steps

    return steps(config)


LEFT = (
    "There is nothing to revoke: the password still works until it is changed on the server (of a component: its "
    "shared secret, in the server's configuration)."
)

PLATFORM = Platform(
    id=PlatformId("xmpp"),
    title="XMPP",
    config=XmppConfig,
    create=create,
    from_target=from_target,
    target_help=TARGET_HELP,
    check=check,
    prepare=prepare,
    next_steps=next_steps,
    revoke=only_by_hand(LEFT),
    hears=Hears(
        edit="full",
        delete="full",
        reply="full",
        reaction="full",
        file="full",
        typing="full",
        names="full",
        history="full",
        entities=frozenset(("bold", "italic", "underline", "strike", "code", "pre", "quote", "link")),
    ),
)

"""Microsoft Teams, and whatever else Azure AI Bot Service connects, by the Bot Framework protocol itself."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from bots.teams.config import TARGET_HELP, TeamsConfig, from_target
from core.contract import Finding, Hears, Platform, Services
from core.giving import only_by_hand
from core.model import AccountId, PlatformId

if TYPE_CHECKING:
    from bots.teams.adapter import TeamsAdapter


def create(account: AccountId, config: TeamsConfig, services: Services) -> TeamsAdapter:
    """The adapter of one account. Does no I/O."""
    from bots.teams.adapter import TeamsAdapter

    return TeamsAdapter(account, config, services)


async def check(config: TeamsConfig, url: str) -> Sequence[Finding]:
    """Does Microsoft take the credentials, are its keys there, can it reach us?"""
    from bots.teams.check import findings

    return await findings(config, url)


async def prepare(config: TeamsConfig, public_url: str) -> tuple[str, TeamsConfig]:
    """Try the credentials before the account is added."""
    from bots.teams.check import try_out

    return await try_out(config)


def next_steps(account: AccountId, config: TeamsConfig, url: str) -> Sequence[str]:
    """What is left to do in the Azure portal and in Teams."""
    from bots.teams.check import steps

    return steps(config, url)


LEFT = (
    "The client secret still works: Azure portal, App registrations, your bot, Certificates & secrets, delete it. In "
    "Teams, remove the app from its teams and chats."
)

PLATFORM = Platform(
    id=PlatformId("teams"),
    title="Teams",
    config=TeamsConfig,
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
        thread="full",
        reaction="partial",
        file="partial",
        entities=frozenset({"bold", "italic", "underline", "strike", "code", "pre", "quote", "link", "mention"}),
    ),
)

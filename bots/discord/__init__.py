"""Discord: text channels, threads, forum posts and direct messages, through the gateway and the REST API."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from bots.discord.config import DiscordConfig, from_target
from core.contract import Finding, Hears, Platform, Services
from core.giving import only_by_hand
from core.model import AccountId, PlatformId

if TYPE_CHECKING:
    from bots.discord.adapter import DiscordAdapter


def create(account: AccountId, config: DiscordConfig, services: Services) -> DiscordAdapter:
    """The adapter of one account. Does no I/O."""
    from bots.discord.adapter import DiscordAdapter

    return DiscordAdapter(account, config, services)


async def check(config: DiscordConfig, url: str) -> Sequence[Finding]:
    """What ``bridgebot doctor`` says: is the token good, the intent on, and what may the bot do in each server?"""
    from bots.discord.check import findings

    return await findings(config)


async def prepare(config: DiscordConfig, public_url: str) -> tuple[str, DiscordConfig]:
    """Ask Discord whose token it is, and whether it may read messages. Raises Rejected and Retry."""
    from bots.discord.check import prepared

    return await prepared(config)


def next_steps(account: AccountId, config: DiscordConfig, url: str) -> Sequence[str]:
    """What the operator does once the account is there."""
    from bots.discord.check import steps

    return steps(config)


LEFT = (
    "The token still works: discord.com/developers/applications, your application, Bot, Reset Token, makes it "
    "worthless. The bot stays in its servers until it is kicked there."
)

PLATFORM = Platform(
    id=PlatformId("discord"),
    title="Discord",
    config=DiscordConfig,
    create=create,
    from_target=from_target,
    target_help="no target: `bridgebot accounts add discord` asks for the bot's token",
    check=check,
    prepare=prepare,
    next_steps=next_steps,
    revoke=only_by_hand(LEFT),
    hears=Hears(
        edit="full",
        delete="full",
        reply="full",
        thread="full",
        reaction="full",
        file="full",
        typing="full",
        avatars="full",
        history="partial",
        entities=frozenset(
            {
                *("bold", "italic", "underline", "strike", "spoiler", "code", "pre", "quote", "link", "mention"),
                "timestamp",
            }
        ),
    ),
)

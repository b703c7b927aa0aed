"""Telegram: groups, forum topics, channels and private chats, through the Bot API."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from bots.telegram.config import BY_HAND, TelegramConfig, from_target
from core.contract import Finding, Hears, Platform, Services
from core.model import AccountId, PlatformId

if TYPE_CHECKING:
    from bots.telegram.adapter import TelegramAdapter


def create(account: AccountId, config: TelegramConfig, services: Services) -> TelegramAdapter:
    """The adapter of one account. Does no I/O."""
    from bots.telegram.adapter import TelegramAdapter

    return TelegramAdapter(account, config, services)


async def check(config: TelegramConfig, url: str) -> Sequence[Finding]:
    """What ``bridgebot doctor`` says: is the token good, does the bot hear everything, is the webhook reached?"""
    from bots.telegram.check import findings

    return await findings(config, url)


async def prepare(config: TelegramConfig, public_url: str) -> tuple[str, TelegramConfig]:
    """Ask Telegram whose token it is, and make up the webhook's secrets. Raises Rejected and Retry."""
    from bots.telegram.check import prepared

    return await prepared(config, public_url)


def next_steps(account: AccountId, config: TelegramConfig, url: str) -> Sequence[str]:
    """What the operator does once the account is there."""
    from bots.telegram.check import steps

    return steps(config)


async def revoke(config: TelegramConfig, url: str, app: None) -> str:
    """What can be made worthless from here, and what is left to do. Raises any AdapterError."""
    from bots.telegram.leaving import revoked

    return await revoked(config)


PLATFORM = Platform(
    id=PlatformId("telegram"),
    title="Telegram",
    config=TelegramConfig,
    create=create,
    from_target=from_target,
    target_help="no target: `bridgebot accounts add telegram` asks for the bot's token",
    check=check,
    prepare=prepare,
    next_steps=next_steps,
    revoke=revoke,
    revoke_by_hand=BY_HAND,
    hears=Hears(
        edit="full",
        reply="full",
        reaction="partial",
        file="full",
        entities=frozenset(
            {
                *("bold", "italic", "underline", "strike", "spoiler", "code", "pre", "quote", "link", "mention"),
                "timestamp",
            }
        ),
    ),
    slash=True,
)

"""Slack: channels, private channels, group and direct messages, through the Web API and the Events API."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from bots.slack.config import SlackConfig, from_target
from core.contract import Finding, Hears, Platform, Services
from core.model import AccountId, PlatformId

if TYPE_CHECKING:
    from bots.slack.adapter import SlackAdapter


def create(account: AccountId, config: SlackConfig, services: Services) -> SlackAdapter:
    """The adapter of one account. Does no I/O."""
    from bots.slack.adapter import SlackAdapter

    return SlackAdapter(account, config, services)


async def check(config: SlackConfig, url: str) -> Sequence[Finding]:
    """What ``bridgebot doctor`` says: are the tokens good, may the bot do what it needs, does Slack reach us?"""
    from bots.slack.check import findings

    return await findings(config, url)


async def prepare(config: SlackConfig, public_url: str) -> tuple[str, SlackConfig]:
    """Ask Slack whose token it is and what it may do. Raises Rejected and Retry."""
    from bots.slack.check import prepared

    return await prepared(config, public_url)


def next_steps(account: AccountId, config: SlackConfig, url: str) -> Sequence[str]:
    """What the operator does once the account is there."""
    from bots.slack.check import steps

    return steps(config, url)


PLATFORM = Platform(
    id=PlatformId("slack"),
    title="Slack",
    config=SlackConfig,
    create=create,
    from_target=from_target,
    target_help="no target: `bridgebot accounts add slack` asks for the tokens",
    check=check,
    prepare=prepare,
    next_steps=next_steps,
    hears=Hears(
        edit="full",
        delete="full",
        reply="full",
        thread="full",
        reaction="full",
        file="full",
        avatars="full",
        history="partial",
        entities=frozenset(
            {
                *("bold", "italic", "underline", "strike", "code", "pre", "quote", "link", "mention", "emoji"),
                "timestamp",
            }
        ),
    ),
    slash=True,
)

"""Google Chat: spaces, group chats and direct messages of a Google Workspace, by a Chat app with a service account."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from bots.googlechat.config import TARGET_HELP, GoogleChatConfig, from_target
from core.contract import Finding, Hears, Platform, Services
from core.giving import only_by_hand
from core.model import AccountId, PlatformId

if TYPE_CHECKING:
    from bots.googlechat.adapter import GoogleChatAdapter


def create(account: AccountId, config: GoogleChatConfig, services: Services) -> GoogleChatAdapter:
    """The adapter of one account. Does no I/O."""
    from bots.googlechat.adapter import GoogleChatAdapter

    return GoogleChatAdapter(account, config, services)


async def check(config: GoogleChatConfig, url: str) -> Sequence[Finding]:
    """What ``bridgebot doctor`` says of an account."""
    from bots.googlechat.check import findings

    return await findings(config, url)


async def prepare(config: GoogleChatConfig, public_url: str) -> tuple[str, GoogleChatConfig]:
    """Ask Google whether the key works, and take the key's content and the topic's name into the configuration."""
    from bots.googlechat.check import prepared

    return await prepared(config)


def next_steps(account: AccountId, config: GoogleChatConfig, url: str) -> Sequence[str]:
    """The clicks in Google's consoles that are left."""
    from bots.googlechat.steps import steps

    return steps(config, url)


LEFT = (
    "The service account's key still works: Google Cloud console, IAM & Admin, Service Accounts, Keys, delete it. The "
    "app stays in its spaces until somebody removes it there."
)

PLATFORM = Platform(
    id=PlatformId("googlechat"),
    title="Google Chat",
    config=GoogleChatConfig,
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
        reaction="full",
        file="full",
        history="full",
        entities=frozenset({"bold", "italic", "strike", "code", "pre", "quote", "link", "mention"}),
    ),
    slash=True,
)
"""The claims hold where a Pub/Sub subscription is configured. Without one, Google tells the app only of messages that
mention it, of direct messages and of commands: no edits, deletions and reactions."""

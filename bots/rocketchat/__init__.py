"""Rocket.Chat: channels, private groups, discussions and direct rooms of one server, as one of its users."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from bots.rocketchat.config import BY_HAND, RocketChatConfig, from_target
from core.contract import Finding, Hears, Platform, Services
from core.model import AccountId, PlatformId

if TYPE_CHECKING:
    from bots.rocketchat.adapter import RocketChatAdapter


def create(account: AccountId, config: RocketChatConfig, services: Services) -> RocketChatAdapter:
    """The adapter of one account. Does no I/O."""
    from bots.rocketchat.adapter import RocketChatAdapter

    return RocketChatAdapter(account, config, services)


async def check(config: RocketChatConfig, url: str) -> Sequence[Finding]:
    """What ``bridgebot doctor`` says: server, login, live stream, permissions, rooms."""
    from bots.rocketchat.check import findings

    return await findings(config)


async def prepare(config: RocketChatConfig, public_url: str) -> tuple[str, RocketChatConfig]:
    """Ask the server whether the login works and who it is. Raises Rejected and Retry."""
    from bots.rocketchat.check import prepared

    return await prepared(config)


def next_steps(account: AccountId, config: RocketChatConfig, url: str) -> Sequence[str]:
    """What the operator does once the account is there."""
    from bots.rocketchat.check import steps

    return steps(config)


async def revoke(config: RocketChatConfig, url: str, app: None) -> str:
    """What can be made worthless from here, and what is left to do. Raises any AdapterError."""
    from bots.rocketchat.leaving import revoked

    return await revoked(config)


PLATFORM = Platform(
    id=PlatformId("rocketchat"),
    title="Rocket.Chat",
    config=RocketChatConfig,
    create=create,
    from_target=from_target,
    target_help="no target: `bridgebot accounts add rocketchat` asks for the server and the login",
    check=check,
    prepare=prepare,
    next_steps=next_steps,
    revoke=revoke,
    revoke_by_hand=BY_HAND,
    hears=Hears(
        edit="full",
        delete="full",
        reply="full",
        thread="full",
        reaction="full",
        file="full",
        typing="full",
        avatars="full",
        history="full",
        entities=frozenset({"bold", "italic", "strike", "spoiler", "code", "pre", "quote", "link", "mention"}),
    ),
)

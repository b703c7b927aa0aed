"""Mattermost: channels and direct messages of one server, through its websocket and REST API."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from bots.mattermost.config import BY_HAND, MattermostConfig, from_target
from core.contract import Finding, Hears, Platform, Services
from core.model import AccountId, PlatformId

if TYPE_CHECKING:
    from bots.mattermost.adapter import MattermostAdapter


def create(account: AccountId, config: MattermostConfig, services: Services) -> MattermostAdapter:
    """The adapter of one account. Does no I/O."""
    from bots.mattermost.adapter import MattermostAdapter

    return MattermostAdapter(account, config, services)


async def check(config: MattermostConfig, url: str) -> Sequence[Finding]:
    """What ``bridgebot doctor`` says: server, token, websocket, channels, names."""
    from bots.mattermost.check import findings

    return await findings(config)


async def prepare(config: MattermostConfig, public_url: str) -> tuple[str, MattermostConfig]:
    """Sign in where there is a password, and ask the server whose token it is. Raises Rejected and Retry."""
    from bots.mattermost.check import prepared

    return await prepared(config)


def next_steps(account: AccountId, config: MattermostConfig, url: str) -> Sequence[str]:
    """What the operator does once the account is there."""
    from bots.mattermost.check import steps

    return steps(config)


async def revoke(config: MattermostConfig, url: str, app: None) -> str:
    """What can be made worthless from here, and what is left to do. Raises any AdapterError."""
    from bots.mattermost.leaving import revoked

    return await revoked(config)


PLATFORM = Platform(
    id=PlatformId("mattermost"),
    title="Mattermost",
    config=MattermostConfig,
    create=create,
    from_target=from_target,
    target_help="no target: `bridgebot accounts add mattermost` asks for the server and the token",
    check=check,
    prepare=prepare,
    next_steps=next_steps,
    revoke=revoke,
    revoke_by_hand=BY_HAND,
    hears=Hears(
        edit="full",
        delete="full",
        reply="partial",
        thread="full",
        reaction="full",
        file="full",
        typing="full",
        history="full",
        entities=frozenset({"bold", "italic", "strike", "code", "pre", "quote", "link", "emoji"}),
    ),
)

"""GroupMe: as one member of many groups (a user's access token), or as one bot in each group."""

from __future__ import annotations

from collections.abc import Sequence

from bots.groupme.config import BY_HAND, GroupMeConfig, from_target
from core.contract import Adapter, Finding, Hears, Platform, Services
from core.model import AccountId, PlatformId


def create(account: AccountId, config: GroupMeConfig, services: Services) -> Adapter:
    """The adapter of one account, by what its configuration names. Does no I/O."""
    if not config.bots:
        from bots.groupme.user import UserAdapter

        return UserAdapter(account, config, services)
    from bots.groupme.bots import BotsAdapter, ReadingBotsAdapter

    return (ReadingBotsAdapter if config.token else BotsAdapter)(account, config, services)


async def check(config: GroupMeConfig, url: str) -> Sequence[Finding]:
    """What ``bridgebot doctor`` says of an account."""
    from bots.groupme.check import findings

    return await findings(config, url)


async def prepare(config: GroupMeConfig, public_url: str) -> tuple[str, GroupMeConfig]:
    """Ask GroupMe who we are, find the groups, make up the secret of the callback paths."""
    from bots.groupme.check import prepared

    return await prepared(config)


def next_steps(account: AccountId, config: GroupMeConfig, url: str) -> Sequence[str]:
    """What the operator does after adding the account."""
    from bots.groupme.check import steps

    return steps(config, url)


async def revoke(config: GroupMeConfig, url: str, app: None) -> str:
    """What can be made worthless from here, and what is left to do. Raises any AdapterError."""
    from bots.groupme.leaving import revoked

    return await revoked(config, url)


PLATFORM = Platform(
    id=PlatformId("groupme"),
    title="GroupMe",
    config=GroupMeConfig,
    create=create,
    from_target=from_target,
    target_help="use: bridgebot accounts add groupme",
    check=check,
    prepare=prepare,
    next_steps=next_steps,
    revoke=revoke,
    revoke_by_hand=BY_HAND,
    hears=Hears(
        edit="full",
        delete="full",
        reply="full",
        reaction="partial",
        file="full",
        typing="full",
        avatars="full",
        history="full",
        entities=frozenset({"mention"}),
    ),
)

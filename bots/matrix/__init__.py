"""Matrix: rooms of any homeserver, with a ghost for every author as an application service, or by a plain account."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from bots.matrix.config import BY_HAND, TARGET_HELP, MatrixConfig, from_target
from core.contract import Finding, Hears, Platform, Services
from core.giving import Handout
from core.model import AccountId, PlatformId

if TYPE_CHECKING:
    from bots.matrix.adapter import MatrixAdapter


def create(account: AccountId, config: MatrixConfig, services: Services) -> MatrixAdapter:
    """The adapter of one account. Does no I/O."""
    from bots.matrix.adapter import MatrixAdapter

    return MatrixAdapter(account, config, services)


async def check(config: MatrixConfig, url: str) -> Sequence[Finding]:
    """What ``bridgebot doctor`` says of an account."""
    from bots.matrix.check import findings

    return await findings(config, url)


async def prepare(config: MatrixConfig, public_url: str) -> tuple[str, MatrixConfig]:
    """Sign in, and see that the homeserver knows us."""
    from bots.matrix.check import prepared

    return await prepared(config)


def next_steps(account: AccountId, config: MatrixConfig, url: str) -> Sequence[str]:
    """What the operator does after adding the account."""
    from bots.matrix.check import steps

    return steps(account, config, url)


def handout(account: AccountId, config: MatrixConfig, url: str) -> Handout | None:
    """The registration file of an application service."""
    if not config.is_appservice:
        return None
    from bots.matrix.registration import registration

    return Handout("matrix-registration.yaml", registration(config, url))


async def revoke(config: MatrixConfig, url: str, app: None) -> str:
    """What can be made worthless from here, and what is left to do. Raises any AdapterError."""
    from bots.matrix.leaving import revoked

    return await revoked(config)


PLATFORM = Platform(
    id=PlatformId("matrix"),
    title="Matrix",
    config=MatrixConfig,
    create=create,
    from_target=from_target,
    target_help=TARGET_HELP,
    check=check,
    prepare=prepare,
    next_steps=next_steps,
    handout=handout,
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
        names="full",
        avatars="full",
        history="full",
        entities=frozenset(
            ("bold", "italic", "underline", "strike", "spoiler", "code", "pre", "quote", "link", "mention")
        ),
    ),
)

"""Slack: channels, private channels, group and direct messages, through the Web API and the Events API."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from bots.slack.config import BY_HAND, SlackApp, SlackConfig, from_target
from core.contract import Adapter, Finding, Hears, Platform, Route, Services
from core.giving import SignIn
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


async def revoke(config: SlackConfig, url: str, app: SlackApp | None) -> str:
    """Make the token worthless. Raises any AdapterError."""
    from bots.slack.leaving import revoked

    return await revoked(config, app)


async def prepare_app(app: SlackApp, public_url: str) -> SlackApp:
    """Ask Slack whether it knows the app. Raises Rejected and Retry."""
    from bots.slack.sign_in import prepared

    return await prepared(app, public_url)


def app_steps(redirect_url: str, url: str) -> Sequence[str]:
    """What the operator does at Slack."""
    from bots.slack.sign_in import steps

    return steps(redirect_url, url)


def address(app: SlackApp, state: str, redirect_url: str) -> str:
    """Where people agree."""
    from bots.slack.sign_in import address

    return address(app, state, redirect_url)


def destinations(app: SlackApp) -> Sequence[str]:
    """Origins on the way there."""
    from bots.slack.sign_in import destinations

    return destinations(app)


async def redeem(app: SlackApp, answer: Mapping[str, str], redirect_url: str) -> tuple[str, SlackConfig]:
    """The account of the workspace that agreed. Raises Rejected and Retry."""
    from bots.slack.sign_in import redeemed

    return await redeemed(app, answer, redirect_url)


def app_routes(app: SlackApp, adapters: Callable[[], Sequence[Adapter]], now_ms: Callable[[], int]) -> Sequence[Route]:
    """Where Slack calls for all workspaces."""
    from bots.slack.door import Door

    return Door(app, adapters, now_ms).routes()


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
    sign_in=SignIn(
        button="Add to Slack",
        app=SlackApp,
        prepare=prepare_app,
        steps=app_steps,
        address=address,
        destinations=destinations,
        redeem=redeem,
        gave=lambda config: config.by_app,
        identity=("app_id", "team_id"),
        routes=app_routes,
    ),
    revoke=revoke,
    revoke_by_hand=BY_HAND,
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

"""The part of :mod:`core.contract` that is about how accounts begin and end, where there is more to it than a token
that somebody copies.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from core.model import AccountId

if TYPE_CHECKING:
    from core.contract import Adapter, Route


class Handout(msgspec.Struct, frozen=True):
    """A file that the operator gives to the service, once; whoever reads it may be the bridge there."""

    name: str
    text: str


def no_handout(account: AccountId, config: Any, url: str) -> Handout | None:
    """A platform whose service is given nothing."""
    return None


async def nothing_to_revoke(config: Any, url: str, app: Any) -> str:
    """The revocation of a platform whose accounts have nothing that outlives them."""
    return ""


def only_by_hand(words: str) -> Callable[[Any, str, Any], Awaitable[str]]:
    """The revocation of a platform that lets nobody revoke from outside: ``words`` say where people do it."""

    async def revoke(config: Any, url: str, app: Any) -> str:
        return words

    return revoke


def no_routes(app: Any, adapters: Callable[[], Sequence[Adapter]], now_ms: Callable[[], int]) -> Sequence[Route]:
    """An app that its service does not call."""
    return ()


class SignIn(msgspec.Struct, frozen=True):
    """A service where a team gives its account by signing in and agreeing there (OAuth), through an app that the
    operator registered once and whose credentials are kept as those of accounts are.
    """

    button: str
    """What the button in the portal says: ``Add to …``."""
    app: type[msgspec.Struct]
    """What the operator is asked for, like :attr:`Platform.config`."""
    prepare: Callable[[Any, str], Awaitable[Any]]
    """``prepare(app, public_url)``: the app, completed. Raises Rejected with how to mend it, and Retry."""
    steps: Callable[[str, str], Sequence[str]]
    """``steps(redirect_url, url)``: what the app needs at the service. ``url`` is where the routes are."""
    address: Callable[[Any, str, str], str]
    """``address(app, state, redirect_url)``: where the browser is sent."""
    destinations: Callable[[Any], Sequence[str]]
    """``destinations(app)``: all origins on the way there, as in a Content-Security-Policy."""
    redeem: Callable[[Any, Mapping[str, str], str], Awaitable[tuple[str, Any]]]
    """``redeem(app, answer, redirect_url)``: a suggested account id and the configuration, for the query with which the
    browser came back. Raises Rejected (also when somebody said no) and Retry."""
    gave: Callable[[Any], bool]
    """``gave(config)``: was this account given by signing in?"""
    identity: tuple[str, ...]
    """The configuration's fields that say which account it is at the service: with the same ones it is renewed."""
    routes: Callable[[Any, Callable[[], Sequence[Adapter]], Callable[[], int]], Sequence[Route]] = no_routes
    """``routes(app, adapters, now_ms)``: mounted below ``/apps/<platform>/``, where the service calls for the accounts
    of all teams. ``adapters()``: those of the platform, each asked for its own routes before. Handlers are as those
    of :class:`Webhooks`."""

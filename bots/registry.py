"""Which platforms there are. A platform is imported when an account of it is used, and not before."""

from __future__ import annotations

import importlib

from core.contract import Platform

PLATFORMS: dict[str, str] = {
    "irc": "bots.irc:PLATFORM",
    "loopback": "bots.loopback:PLATFORM",
    "web": "bots.web:PLATFORM",
}
"""Name → where its :class:`core.contract.Platform` is."""

AT_HAND = ("web",)
"""Platforms that need no account anywhere: ``bridgebot run`` adds one of each by itself."""


class UnknownPlatform(LookupError):
    """There is no such platform, or what it needs is not installed; the message says what to do."""


def names() -> list[str]:
    """Names of all platforms, sorted."""
    return sorted(PLATFORMS)


def platform(name: str) -> Platform:
    """The platform called ``name``. Raises UnknownPlatform."""
    if name not in PLATFORMS:
        raise UnknownPlatform(f"There is no platform {name!r}. There are: {', '.join(names())}.")
    module_name, _, attribute = PLATFORMS[name].partition(":")
    try:
        found = getattr(importlib.import_module(module_name), attribute)
    except ModuleNotFoundError as error:
        raise UnknownPlatform(
            f"The platform {name} needs {error.name}, which is not installed. "
            f"Install it with: pip install 'bridgebot-swarm[{name}]'"
        ) from error
    assert isinstance(found, Platform)  # noqa: S101 - a registry row that points elsewhere is our own mistake
    return found

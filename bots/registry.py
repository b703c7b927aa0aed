"""Which platforms there are. A platform is imported when an account of it is used, and not before."""

from __future__ import annotations

import importlib
import re

from core.contract import Platform

PLATFORMS: dict[str, str] = {
    "discord": "bots.discord:PLATFORM",
    "googlechat": "bots.googlechat:PLATFORM",
    "groupme": "bots.groupme:PLATFORM",
    "irc": "bots.irc:PLATFORM",
    "loopback": "bots.loopback:PLATFORM",
    "slack": "bots.slack:PLATFORM",
    "rocketchat": "bots.rocketchat:PLATFORM",
    "telegram": "bots.telegram:PLATFORM",
    "teams": "bots.teams:PLATFORM",
    "matrix": "bots.matrix:PLATFORM",
    "mattermost": "bots.mattermost:PLATFORM",
    "web": "bots.web:PLATFORM",
    "xmpp": "bots.xmpp:PLATFORM",
}
"""Name → where its :class:`core.contract.Platform` is."""

AT_HAND = ("web",)
"""Platforms that need no account anywhere: ``bridgebot run`` adds one of each by itself."""


ALIASES: dict[str, str] = {
    "browser": "web",
    "ciscojabber": "xmpp",
    "element": "matrix",
    "gchat": "googlechat",
    "hangouts": "googlechat",
    "hangoutschat": "googlechat",
    "jabber": "xmpp",
    "microsoftteams": "teams",
    "msteams": "teams",
    "riot": "matrix",
    "skype": "teams",
    "tg": "telegram",
}
"""Other names of platforms, in small letters and digits: what they were called, or what people say."""

RETIRED: dict[str, tuple[str, str]] = {
    "flowdock": (
        "Flowdock is closed and has no successor; for rooms of your own instead, Matrix is the nearest.",
        "matrix",
    ),
    "freenode": (
        "Freenode was left by its staff and its projects in May 2021, most of them for Libera.Chat.",
        "irc libera/#channel",
    ),
    "gitter": (
        "Gitter moved to Matrix on 13 February 2023, where its room org/name is #org_name:gitter.im.",
        "matrix",
    ),
    "hangouts": ("Classic Hangouts ended on 1 November 2022, and Google Chat took its place.", "googlechat"),
    "hipchat": (
        "HipChat ended on 15 February 2019 and sent its people to Slack; a HipChat Server that still runs somewhere "
        "speaks XMPP, and is reached by xmpp instead.",
        "slack",
    ),
    "imeet": (
        "iMeet became a part of GlobalMeet and never let bots in; bring the bot to where its people chat now.",
        "",
    ),
    "lync": (
        "Lync became Skype for Business, whose online service ended on 31 July 2021 in favour of Microsoft Teams.",
        "teams",
    ),
    "skype": (
        "Skype ended on 5 May 2025 and its people moved to Microsoft Teams, which lets bots into the accounts of "
        "companies and schools only.",
        "teams",
    ),
    "skypeforbusiness": (
        "Skype for Business Online ended on 31 July 2021 in favour of Microsoft Teams, and its server lets no bot of "
        "this kind in.",
        "teams",
    ),
    "stride": ("Stride ended on 15 February 2019 and sent its people to Slack.", "slack"),
}
"""Services that are gone, in small letters and digits → what became of them, and what follows ``accounts add`` to reach
their people. Those with a row in ALIASES, too, stand for the platform that took their place."""

TOOLS: dict[str, tuple[str, str]] = {
    "matrix-registration": ("bots.matrix.registration:command", "Make the registration file for a Matrix homeserver."),
    "slack-manifest": ("bots.slack.manifest:command", "Print the manifest that a Slack app is made from."),
    "teams-manifest": ("bots.teams.manifest:command", "Make the app package that is uploaded to Microsoft Teams."),
}
"""Command lines of platforms: name of the command → ``module:click command``, and its line in the overview."""


class UnknownPlatform(LookupError):
    """There is no such platform, or what it needs is not installed; the message says what to do."""


class RetiredPlatform(UnknownPlatform):
    """The service is gone; the message says what became of it."""


def names() -> list[str]:
    """Names of all platforms, sorted."""
    return sorted(PLATFORMS)


def aliases() -> list[str]:
    """Other names that stand for a platform there is, and names of services that are gone; sorted."""
    return sorted({name for name, target in ALIASES.items() if target in PLATFORMS} | RETIRED.keys())


def became(name: str) -> str:
    """What became of the service called ``name``; empty for those that are alive."""
    return RETIRED.get(_plain(name), ("", ""))[0]


def canonical(name: str) -> str:
    """The platform that ``name`` stands for: ``MS-Teams`` → ``teams``. Raises UnknownPlatform."""
    plain = _plain(name)
    found = next((known for known in PLATFORMS if _plain(known) == plain), None) or ALIASES.get(plain)
    if found in PLATFORMS:
        return str(found)
    if plain in RETIRED:
        story, instead = RETIRED[plain]
        raise RetiredPlatform(f"{story} Type: bridgebot accounts add {instead}".rstrip())
    from difflib import get_close_matches

    near = get_close_matches(plain, [*PLATFORMS, *aliases()], n=1)
    meant = f" Did you mean {near[0]}?" if near else ""
    raise UnknownPlatform(f"There is no platform {name!r}.{meant} There are: {', '.join(names())}.")


def platform(name: str) -> Platform:
    """The platform called ``name``, or that it stands for. Raises UnknownPlatform."""
    name = canonical(name)
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


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())

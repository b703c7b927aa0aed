"""What ``bridgebot doctor`` says of an account, and what is asked of Discord before one is added."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Final

from msgspec.structs import replace

from bots.discord.adapter import invitation
from bots.discord.api import Api
from bots.discord.cache import ADMINISTRATOR, NEEDED
from bots.discord.config import DiscordConfig
from core.contract import AdapterError, AuthLost, Finding, Rejected, Retry

MESSAGE_CONTENT: Final = (1 << 18) | (1 << 19)
"""Of an application's flags: the intent is on, with and without verification (Application, Application Flags)."""
RETRY_S: Final = 10.0
GUILDS_MAX: Final = 25
_TOKEN = re.compile(r"[\w-]{20,}\.[\w-]{4,}\.[\w-]{20,}")
_PAGE: Final = "discord.com/developers/applications"


async def _asked(config: DiscordConfig, *paths: str) -> list[Any]:
    api = Api(config)
    try:
        return [await api.call("GET", path) for path in paths]
    finally:
        await api.close()


def _page(application: str) -> str:
    return f"{_PAGE}/{application}/bot" if application else _PAGE


async def prepared(config: DiscordConfig) -> tuple[str, DiscordConfig]:
    """The bot's name as the account's, and the configuration with what Discord says of it."""
    config = replace(
        config, token=config.token.strip().removeprefix("Bot ").strip(), api_url=config.api_url.rstrip("/")
    )
    if not _TOKEN.fullmatch(config.token):
        raise Rejected(f"That is no bot token: it has two dots in it. {_PAGE}: your application, Bot, Reset Token.")
    try:
        user, application = await _asked(config, "/users/@me", "/applications/@me")
    except AuthLost:
        raise Rejected(
            f"Discord does not know this token. Make a new one: {_PAGE}, your application, Bot, Reset Token."
        ) from None
    except Rejected:
        raise
    except AdapterError as error:
        raise Retry(RETRY_S, f"{error}. Is {config.api_url} the right address, and reachable from here?") from None
    native = str(application["id"])
    if not int(application.get("flags") or 0) & MESSAGE_CONTENT:
        raise Rejected(
            f"The bot may not read messages yet. Open {_page(native)}, switch on Message Content Intent, save, and add "
            "the account again."
        )
    username = str(user.get("username") or "")
    name = re.sub(r"[^a-z0-9]+", "-", username.lower()).strip("-")
    return name, replace(config, application_id=native, username=username)


def steps(config: DiscordConfig) -> Sequence[str]:
    """From the account to the first relayed message."""
    return (
        f"Add the bot to a server (you need Manage Server there): {invitation(config, config.application_id)}",
        "It says hello in the server's system channel, and hears every channel that it can view. To keep it out of "
        "one, take away its View Channel there.",
        "Keep Manage Webhooks: by it, what people elsewhere say stands under their own names and pictures.",
    )


async def findings(config: DiscordConfig) -> Sequence[Finding]:
    """Token, intent, and the permissions in each server."""
    try:
        user, application, guilds = await _asked(config, "/users/@me", "/applications/@me", "/users/@me/guilds")
    except AuthLost as error:
        return (Finding(False, "Discord refuses the bot's token", str(error)),)
    except AdapterError as error:
        return (Finding(False, f"{config.api_url} does not answer", f"{error}. Look at the network and at api_url."),)
    native = str(application.get("id") or "")
    found = [Finding(True, f"Discord knows the bot as {user.get('username')}"), _intent(application, native)]
    if not guilds:
        found.append(Finding(False, "the bot is in no server", f"Add it to one: {invitation(config, native)}"))
    found += [_guild(guild, config, native) for guild in guilds[:GUILDS_MAX]]
    if len(guilds) > GUILDS_MAX:
        found.append(Finding(True, f"and in {len(guilds) - GUILDS_MAX} servers more, which were not looked at"))
    return found


def _intent(application: dict[str, Any], native: str) -> Finding:
    if int(application.get("flags") or 0) & MESSAGE_CONTENT:
        return Finding(True, "the Message Content Intent is on: the bot hears what is said")
    mend = f"Open {_page(native)}, switch on Message Content Intent, and save."
    return Finding(False, "the Message Content Intent is off: Discord refuses the connection", mend)


def _guild(guild: dict[str, Any], config: DiscordConfig, native: str) -> Finding:
    name, may = guild.get("name"), int(guild.get("permissions") or 0)
    lacks = [] if may & ADMINISTRATOR else [words for words, bit in NEEDED.items() if not may & bit]
    if not lacks:
        return Finding(True, f"in {name} the bot may do all that it needs (single channels may say otherwise)")
    mend = f"Server Settings → Roles → the bot's role; or add it anew: {invitation(config, native)}"
    return Finding(False, f"in {name} the bot lacks {', '.join(lacks)}", mend)

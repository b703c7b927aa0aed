"""What ``bridgebot doctor`` says of an account, and what is asked of Slack before one is added."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final
from urllib.parse import urlsplit

from msgspec.structs import replace

from bots.slack.api import Api
from bots.slack.config import SlackConfig
from bots.slack.manifest import NEEDED
from core.contract import AdapterError, AuthLost, Finding, Rejected, Retry

_BOT_TOKEN: Final = re.compile(r"xoxb-[A-Za-z0-9-]{10,}")
_APP_TOKEN: Final = re.compile(r"xapp-[A-Za-z0-9-]{10,}")
VENDOR: Final = "slack.com"
RETRY_S: Final = 10.0
_REINSTALL: Final = "api.slack.com/apps, your app, OAuth & Permissions, Bot Token Scopes; then Reinstall to Workspace."
_MISSED: Final = {
    "chat:write.customize": "people from elsewhere have no names and pictures of their own",
    "commands": "there is no slash command",
    "channels:join": "the slash command works in a public channel only after /invite",
    "im:history": "direct messages are not heard",
    "mpim:history": "group messages are not heard",
}


async def prepared(config: SlackConfig, public_url: str) -> tuple[str, SlackConfig]:
    """The workspace's name as the account's, and the configuration with who the app is."""
    config = replace(
        config,
        bot_token=config.bot_token.strip(),
        app_token=config.app_token.strip(),
        signing_secret=config.signing_secret.strip(),
        api_url=config.api_url.rstrip("/"),
    )
    if problem := _malformed(config, public_url):
        raise Rejected(problem)
    return await recognised(config)


async def recognised(config: SlackConfig) -> tuple[str, SlackConfig]:
    """The same, for tokens that look as they should. Raises Rejected and Retry."""
    api = Api(config)
    try:
        config = await _asked(api, config)
        require(api.scopes)
        if config.app_token:
            await _socket_mode(api, config.app_token)
    except (Rejected, AuthLost) as error:
        raise Rejected(str(error)) from None
    except AdapterError as error:
        raise Retry(RETRY_S, f"{error}. Is {config.api_url} the right address, and reachable from here?") from None
    finally:
        await api.close()
    customize = config.customize and (not api.scopes or "chat:write.customize" in api.scopes)
    name = re.sub(r"[^a-z0-9]+", "-", config.team_name.lower()).strip("-")
    return f"slack-{name}" if name else "", replace(config, customize=customize)


def _malformed(config: SlackConfig, url: str) -> str:
    if not _BOT_TOKEN.fullmatch(config.bot_token):
        return "That is no bot token. It begins with xoxb-; OAuth & Permissions shows it, Bot User OAuth Token."
    if config.app_token:
        if not _APP_TOKEN.fullmatch(config.app_token):
            return "That is no app-level token. It begins with xapp-; Basic Information, App-Level Tokens, makes one."
        return ""
    if not config.signing_secret:
        return (
            "Give an app-level token (Socket Mode, needs no public address) or the signing secret (Slack calls us): "
            "without either nothing can be heard."
        )
    return unreachable(config.api_url, url)


def unreachable(api_url: str, url: str) -> str:
    """Why Slack's own servers could not call us there; empty where they could, or where it is not their server."""
    if urlsplit(api_url).hostname != VENDOR or url.startswith("https://"):
        return ""
    return f"Slack calls https addresses only, not {url}. Set BRIDGEBOT_PUBLIC_URL, or use an app-level token instead."


async def _asked(api: Api, config: SlackConfig) -> SlackConfig:
    told = await api.ask("auth.test")
    bot = (await api.ask("bots.info", bot=str(told.get("bot_id") or ""))).get("bot")
    bot = bot if isinstance(bot, dict) else {}
    return replace(
        config,
        team_id=str(told.get("team_id") or ""),
        team_name=str(told.get("team") or ""),
        user_id=str(told.get("user_id") or ""),
        bot_id=str(told.get("bot_id") or ""),
        app_id=str(bot.get("app_id") or ""),
        bot_name=str(told.get("user") or ""),
    )


def require(scopes: frozenset[str]) -> None:
    """Raises Rejected where something needed is not among the scopes; none at all: Slack did not say."""
    missing = sorted(set(NEEDED) - scopes)
    if scopes and missing:
        raise Rejected(f"The app lacks these scopes: {', '.join(missing)}. Add them: {_REINSTALL}")


async def _socket_mode(api: Api, token: str) -> None:
    try:
        await api.ask("apps.connections.open", token=token)
    except (AuthLost, Rejected) as error:
        raise Rejected(
            f"Slack does not take the app-level token ({error}). It needs the scope connections:write, and Socket Mode "
            "must be on."
        ) from None


def steps(config: SlackConfig, url: str) -> Sequence[str]:
    """From the account to the first relayed message."""
    name = config.bot_name or "your app"
    called = (
        ()
        if config.app_token or config.by_app
        else (
            f"At api.slack.com/apps, your app, Event Subscriptions: turn them on, with the request URL {url}/events. "
            "(`bridgebot slack-manifest --url` prints a manifest that has this and the next already.)",
            f"Slash Commands: give the command the request URL {url}/commands.",
        )
    )
    return (*called, f"In Slack, open a channel and type: /invite @{name}", "Type there: /sameroom open")


async def findings(config: SlackConfig, url: str) -> Sequence[Finding]:
    """Token, scopes, way in."""
    api = Api(config)
    try:
        try:
            told = await api.ask("auth.test")
        except (AuthLost, Rejected) as error:
            return (Finding(False, "Slack refuses the app's token", str(error)),)
        except AdapterError as error:
            mend = f"{error}. Look at the network and at api_url."
            return (Finding(False, f"{config.api_url} does not answer", mend),)
        found = [Finding(True, f"Slack knows the app as @{told.get('user')} in {told.get('team')}")]
        if config.team_id and told.get("team_id") != config.team_id:
            mend = "Add the account anew: bridgebot accounts add slack"
            found.append(Finding(False, "the token is of another workspace than the account", mend))
        return [*found, *_scopes(api.scopes), await _way_in(api, config, url)]
    finally:
        await api.close()


def _scopes(scopes: frozenset[str]) -> list[Finding]:
    if not scopes:
        return []
    missing = sorted(set(NEEDED) - scopes)
    found = [Finding(False, f"the app lacks {', '.join(missing)}", _REINSTALL)] if missing else []
    for scope in sorted(_MISSED.keys() - scopes):
        found.append(Finding(False, f"the app lacks {scope}: {_MISSED.get(scope, 'not everything works')}", _REINSTALL))
    return found or [Finding(True, "the app has all the scopes it needs")]


async def _way_in(api: Api, config: SlackConfig, url: str) -> Finding:
    if config.by_app:
        return Finding(True, "Slack calls the operator's app for this workspace")
    if not config.app_token:
        if not config.signing_secret:
            mend = "Add the account anew: bridgebot accounts add slack"
            return Finding(False, "there is neither an app-level token nor a signing secret", mend)
        problem = unreachable(config.api_url, url)
        return Finding(not problem, f"Slack is to call {url}/events", problem)
    try:
        await _socket_mode(api, config.app_token)
    except AdapterError as error:
        return Finding(False, "Socket Mode does not work", str(error))
    return Finding(True, "Socket Mode works")

"""What the operator is told: do the credentials work, and what is left to do in the Azure portal and in Teams."""

from __future__ import annotations

import time
from collections.abc import Sequence
from urllib.parse import urlsplit

from bots.teams.config import TeamsConfig
from bots.teams.http import Http
from bots.teams.login import Login
from bots.teams.verify import KeyRing, NoKeys
from core.contract import AdapterError, AuthLost, Finding, Rejected, Retry


async def try_out(config: TeamsConfig) -> tuple[str, TeamsConfig]:
    """Ask for a token. Raises Rejected where the credentials are wrong, Retry where nobody answers."""
    http = Http()
    try:
        await Login(config, http, time.monotonic).token()
    except AuthLost as error:
        raise Rejected(str(error)) from None
    finally:
        await http.close()
    return "teams", config


async def findings(config: TeamsConfig, url: str) -> Sequence[Finding]:
    """Credentials, the service's keys, and the address that Teams calls."""
    http = Http()
    try:
        return [await _signs_in(config, http), await _has_keys(config, http), _reachable(url), *_hosts(config)]
    finally:
        await http.close()


async def _signs_in(config: TeamsConfig, http: Http) -> Finding:
    try:
        await Login(config, http, time.monotonic).token()
    except AuthLost as error:
        return Finding(False, "Microsoft does not take the bot's credentials", str(error))
    except (Retry, AdapterError) as error:
        return Finding(False, f"nobody could be asked for the bot's token: {error}", "Check login_url and the network.")
    return Finding(True, "Microsoft takes the bot's credentials")


async def _has_keys(config: TeamsConfig, http: Http) -> Finding:
    try:
        await KeyRing(config, http, time.monotonic).get("")
    except NoKeys as error:
        return Finding(False, f"the service's keys cannot be read: {error}", "Check openid_url and the network.")
    return Finding(True, "the service's keys can be read")


def _reachable(url: str) -> Finding:
    parts = urlsplit(url)
    if parts.scheme != "https":
        mend = "Put a reverse proxy with a certificate before it, and set public_url to its https address."
        return Finding(False, f"Teams calls https addresses only, and the endpoint is {url}/messages", mend)
    if parts.port not in (None, 443):
        mend = "Serve it on port 443."
        return Finding(False, f"Teams calls port 443 only, and the endpoint is {url}/messages", mend)
    return Finding(True, f"the messaging endpoint is {url}/messages; it must be entered in the Azure portal")


def _hosts(config: TeamsConfig) -> Sequence[Finding]:
    if not config.allow_http_loopback:
        return ()
    mend = "Take allow_http_loopback away; it is meant for a double of the service."
    return (Finding(False, "the service is spoken with unencrypted on this machine", mend),)


def steps(config: TeamsConfig, url: str) -> Sequence[str]:
    """From the account to the first message."""
    host = urlsplit(url).hostname or "bridge.example.org"
    return (
        f"Azure portal, your Azure Bot, Configuration: set the messaging endpoint to {url}/messages and apply.",
        "Azure portal, your Azure Bot, Channels: add Microsoft Teams and agree to its terms.",
        f"Make the app for Teams: bridgebot teams-manifest --app-id {config.app_id} --name {config.bot_name} "
        f"--website https://{host} --out bridgebot-teams.zip",
        "Teams, Apps, Manage your apps, Upload an app: choose bridgebot-teams.zip, and add it to a team or a chat. "
        "Say yes to what it may read: without it the bot hears only messages that mention it.",
        "In the channel or chat, write: -sameroom open",
    )

"""What ``bridgebot doctor`` says of an account, and what is asked of Telegram before one is added."""

from __future__ import annotations

import re
import secrets
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import urlsplit

import msgspec

from bots.telegram.api import Api
from bots.telegram.config import TelegramConfig
from core.contract import AdapterError, AuthLost, Finding, Rejected, Retry

_TOKEN: Final = re.compile(r"\d{3,}:[A-Za-z0-9_-]{20,}")
_PORTS: Final = (443, 80, 88, 8443)
"""Where Telegram calls webhooks (core.telegram.org/bots/api#setwebhook)."""
VENDOR: Final = "https://api.telegram.org"
RETRY_S: Final = 10.0


async def prepared(config: TelegramConfig, public_url: str) -> tuple[str, TelegramConfig]:
    """The bot's name as the account's, and the configuration with it and with made-up secrets."""
    config = msgspec.structs.replace(config, token=config.token.strip(), api_url=config.api_url.rstrip("/"))
    if not _TOKEN.fullmatch(config.token):
        raise Rejected(
            "That is no bot token. It looks like 123456789:AAE…; @BotFather shows it under /mybots, API Token."
        )
    if config.webhook and (problem := _unreachable(config, public_url)):
        raise Rejected(problem)
    api = Api(config)
    try:
        user = await api.call("getMe")
    except AuthLost:
        raise Rejected(
            "Telegram does not know this token. Copy it from @BotFather: /mybots, your bot, API Token."
        ) from None
    except Rejected:
        raise
    except AdapterError as error:
        raise Retry(RETRY_S, f"{error}. Is {config.api_url} the right address, and reachable from here?") from None
    finally:
        await api.close()
    username = str(user.get("username") or "") if isinstance(user, dict) else ""
    config = msgspec.structs.replace(
        config,
        username=username,
        webhook_path=config.webhook_path or secrets.token_urlsafe(24),
        webhook_secret=config.webhook_secret or secrets.token_urlsafe(32),
    )
    return username.lower(), config


def _unreachable(config: TelegramConfig, url: str) -> str:
    """Why Telegram's own servers could not call us there; empty where they could, or where it is not their server."""
    if config.api_url.rstrip("/") != VENDOR:
        return ""
    parts = urlsplit(url)
    if parts.scheme != "https":
        return f"Telegram calls https addresses only, not {url}. Set BRIDGEBOT_PUBLIC_URL, or leave webhook off."
    if (parts.port or 443) not in _PORTS:
        return f"Telegram calls the ports 443, 80, 88 and 8443 only, not {parts.port}. Leave webhook off, or change it."
    return ""


def steps(config: TelegramConfig) -> Sequence[str]:
    """From the account to the first relayed message."""
    name = config.username or "your_bot"
    return (
        f"In Telegram, open @BotFather and send /setprivacy, choose @{name}, then Disable: else the bot hears commands "
        "only. (Groups where it is an admin need this not.)",
        f"Add the bot to a group: https://t.me/{name}?startgroup=",
        "Make it an admin there if reactions shall be relayed too.",
        "In a channel, add it as an admin that may post messages.",
    )


async def findings(config: TelegramConfig, url: str) -> Sequence[Finding]:
    """Token, privacy mode, webhook."""
    api = Api(config)
    try:
        user = await api.call("getMe")
        hook = await api.call("getWebhookInfo")
    except AuthLost as error:
        return (Finding(False, "Telegram refuses the bot's token", str(error)),)
    except AdapterError as error:
        return (Finding(False, f"{config.api_url} does not answer", f"{error}. Look at the network and at api_url."),)
    finally:
        await api.close()
    user, hook = (value if isinstance(value, dict) else {} for value in (user, hook))
    found = [Finding(True, f"Telegram knows the bot as @{user.get('username')}"), _privacy(user), *_groups(user)]
    found += _webhook(config, url, hook) if config.webhook else _polling(hook)
    return found


def _privacy(user: dict[str, Any]) -> Finding:
    if user.get("can_read_all_group_messages"):
        return Finding(True, "privacy mode is off: the bot hears everything in groups; reactions where it is an admin")
    return Finding(
        False,
        "privacy mode is on: in groups where it is no admin, the bot hears commands only",
        f"@BotFather, /setprivacy, @{user.get('username')}, Disable; then remove the bot from its groups and add it "
        "again.",
    )


def _groups(user: dict[str, Any]) -> list[Finding]:
    if user.get("can_join_groups", True):
        return []
    mend = f"@BotFather, /setjoingroups, @{user.get('username')}, Enable."
    return [Finding(False, "nobody can add the bot to a group", mend)]


def _polling(hook: dict[str, Any]) -> list[Finding]:
    if not hook.get("url"):
        return [Finding(True, "updates are polled")]
    mend = "It is taken away when the account starts. If it comes back, another program uses this token."
    return [Finding(False, "a webhook is set, though this account polls", mend)]


def _webhook(config: TelegramConfig, url: str, hook: dict[str, Any]) -> list[Finding]:
    if not (config.webhook_path and config.webhook_secret):
        return [Finding(False, "the webhook has no secrets", "Add the account anew: bridgebot accounts add telegram")]
    if problem := _unreachable(config, url):
        return [Finding(False, "Telegram cannot call the webhook", problem)]
    if hook.get("url") != f"{url}/hook/{config.webhook_path}":
        mend = (
            "Start bridgebot, which sets it. If it stays so, BRIDGEBOT_PUBLIC_URL has changed, or another program uses "
            "this token."
        )
        return [Finding(False, "Telegram does not call this installation", mend)]
    waiting = int(hook.get("pending_update_count") or 0)
    if message := hook.get("last_error_message"):
        at = datetime.fromtimestamp(int(hook.get("last_error_date") or 0), UTC).strftime("%Y-%m-%d %H:%M UTC")
        mend = (
            f"Is {urlsplit(url).netloc} reachable from the internet, with a valid certificate? {waiting} updates wait."
        )
        return [Finding(waiting == 0, f"Telegram's last failed call, {at}: {message}", mend)]
    return [Finding(True, f"the webhook is set; {waiting} updates wait")]

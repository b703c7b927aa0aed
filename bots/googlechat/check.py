"""The looks that ``bridgebot accounts add`` and ``bridgebot doctor`` take at an account."""

from __future__ import annotations

import re
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final

from msgspec.structs import replace

from bots.googlechat.api import APPROVAL, Api, Json
from bots.googlechat.config import GoogleChatConfig, endpoint
from bots.googlechat.tokens import key_content, parse_key
from core.contract import AdapterError, AuthLost, Finding, Rejected

SUBSCRIPTION: Final = re.compile(r"projects/[a-z0-9.:-]{1,64}/subscriptions/[\w.~+%-]{1,255}")
LOCAL: Final = ("http://127.", "http://localhost", "http://[::1]")


def now_ms() -> int:
    """The time of this machine."""
    return time.time_ns() // 1_000_000


async def prepared(config: GoogleChatConfig) -> tuple[str, GoogleChatConfig]:
    """See Platform.prepare. Raises Rejected, Retry."""
    try:
        config = replace(config, service_account=key_content(config.service_account))
        parse_key(config.service_account)
    except ValueError as error:
        raise Rejected(str(error)) from None
    if config.audience == "project" and not config.project_number.strip().isdigit():
        raise Rejected("Write the project number (Google Cloud console → Dashboard → Project info), digits only.")
    if config.pubsub_subscription and not SUBSCRIPTION.fullmatch(config.pubsub_subscription):
        raise Rejected("Write the Pub/Sub subscription as projects/PROJECT/subscriptions/NAME.")
    config = replace(config, project_number=config.project_number.strip())
    api = Api(config, now_ms)
    try:
        await _spaces(api)
        if config.pubsub_subscription and not config.pubsub_topic:
            config = replace(config, pubsub_topic=str((await _subscription(api)).get("topic", "")))
    except AuthLost as error:
        raise Rejected(str(error)) from None
    finally:
        await api.close()
    return "", config


async def findings(config: GoogleChatConfig, url: str) -> Sequence[Finding]:
    """See Platform.check."""
    try:
        key = parse_key(config.service_account)
    except ValueError as error:
        return (Finding(False, f"the service account's key: {error}", "Download a new JSON key and add it."),)
    found = [Finding(True, f"the key of {key.client_email} can be read")]
    if config.audience == "project" and not config.project_number:
        mend = "Give the account its project_number; until then every event is refused."
        found.append(Finding(False, "no project number is configured", mend))
    api = Api(config, now_ms)
    try:
        found.append(await _look("Google Chat gives a token and a list of spaces", lambda: _spaces(api), SPACES_MEND))
        if config.pubsub_subscription:
            found += await _hearing(api)
        else:
            found.append(Finding(True, MENTIONS_ONLY))
        found.append(await _endpoint(api, endpoint(config, url)))
    finally:
        await api.close()
    return found


SPACES_MEND: Final = (
    "Google Cloud console → APIs & Services: is the Google Chat API enabled in the key's project, and its "
    "Configuration page filled in and saved?"
)
SUBSCRIPTION_MEND: Final = (
    "Google Cloud console → Pub/Sub → Subscriptions: is it there, of type Pull, and does the service account have the "
    "roles Pub/Sub Subscriber and Pub/Sub Viewer on it?"
)
READ_MEND: Final = (
    f"{APPROVAL} Its scopes are chat.app.messages.readonly, chat.app.memberships.readonly, chat.app.spaces.readonly."
)
MENTIONS_ONLY: Final = (
    "no Pub/Sub subscription: the bot hears direct messages, commands and messages that mention it, and nothing else; "
    "no edits, deletions and reactions. To hear everything, set pubsub_subscription (docs/platforms/googlechat.md)"
)


async def _spaces(api: Api) -> Json:
    return await api.chat("GET", "spaces", params={"pageSize": "1"})


async def _subscription(api: Api) -> Json:
    config = api.config
    return await api.call("GET", f"{config.pubsub_url}/v1/{config.pubsub_subscription}", config.pubsub_scopes)


async def _look(what: str, ask: Callable[[], Awaitable[Any]], mend: str) -> Finding:
    try:
        await ask()
    except AuthLost as error:
        return Finding(False, f"{what}: {error}", mend)
    except AdapterError as error:
        return Finding(False, f"{what}: it does not ({error})", mend)
    return Finding(True, what)


async def _hearing(api: Api) -> list[Finding]:
    """Pub/Sub, and the right to read spaces."""
    looked = [await _look("the Pub/Sub subscription can be read", lambda: _subscription(api), SUBSCRIPTION_MEND)]
    what = "the app may read its spaces' messages"
    spaces = (await _spaces(api)).get("spaces") if looked[0].ok else None
    if not spaces:
        return [*looked, await _look("a token to read spaces is given", lambda: _read_token(api), READ_MEND)]
    name = str(spaces[0].get("name", ""))
    looked.append(await _look(what, lambda: api.read(f"{name}/messages", {"pageSize": "1"}), READ_MEND))
    return looked


async def _read_token(api: Api) -> str:
    return await api.tokens.get(api.session, api.config.read_scopes)


async def _endpoint(api: Api, where: str) -> Finding:
    """Ask ourselves, without a token: the right answer is 401."""
    import aiohttp

    what = f"events reach {where}"
    mend = "Set public_url to the HTTPS address at which the internet reaches this server, and start it."
    try:
        async with api.session.post(where, json={}, allow_redirects=False) as response:
            if response.status != 401:
                return Finding(False, f"{what}: something else answers there ({response.status})", mend)
    except (aiohttp.ClientError, TimeoutError, ValueError) as error:
        return Finding(False, f"{what}: nobody answers ({type(error).__name__})", mend)
    if where.startswith("http://") and not where.startswith(LOCAL):
        return Finding(False, f"{what}, but Google posts to HTTPS only", mend)
    if where.startswith(LOCAL):
        return Finding(False, f"{where} is this machine; Google cannot reach it", mend)
    return Finding(True, what)

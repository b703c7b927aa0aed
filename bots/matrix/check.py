"""What is asked of a homeserver before an account is added, and when ``bridgebot doctor`` looks at it."""

from __future__ import annotations

import re
import secrets
from collections.abc import Sequence
from typing import Any

from msgspec.structs import replace

from bots.matrix.client import Client, Refused, at
from bots.matrix.config import USER_ID, MatrixConfig
from core.contract import AdapterError, AuthLost, Finding, Rejected, Retry
from core.model import AccountId

LOOK_S = 10.0


async def prepared(config: MatrixConfig) -> tuple[str, MatrixConfig]:
    """The configuration with address, user id and token as the homeserver has them. Raises Rejected, Retry."""
    config = replace(config, homeserver=await _address(config.homeserver))
    try:
        await _versions(config)
    except (Refused, Retry) as error:
        raise _unreached(config, error) from None
    if config.as_service and not config.hs_token:
        return _new_service(config)
    if not config.token:
        config = await _signed_in(config)
    user_id = await _whoami(config)
    if config.is_appservice:
        return "", replace(config, user_id=user_id, password="")
    name = "".join(char if char.isascii() and char.isalnum() else "-" for char in user_id.strip("@").lower())
    return f"matrix-{name}", replace(config, user_id=user_id, password="")


async def _versions(config: MatrixConfig) -> None:
    """Is there a homeserver? Asked without a token, for a wrong one is a matter of its own."""
    await Client(MatrixConfig(homeserver=config.homeserver)).get("/_matrix/client/versions", timeout_s=LOOK_S)


async def _address(given: str) -> str:
    """``example.org`` → where its clients go ("Server discovery", .well-known/matrix/client)."""
    if given.startswith(("https://", "http://")):
        return given.rstrip("/")
    given = given.strip("/")
    probe = Client(MatrixConfig(homeserver=f"https://{given}"))
    try:
        found: Any = (await probe.get("/.well-known/matrix/client", timeout_s=LOOK_S)).get("m.homeserver")
    except AdapterError:
        found = None
    url = found.get("base_url") if isinstance(found, dict) else None
    return url.rstrip("/") if isinstance(url, str) and url.startswith(("https://", "http://")) else f"https://{given}"


def _unreached(config: MatrixConfig, error: Exception) -> AdapterError:
    words = f"No Matrix homeserver answers at {config.base_url} ({error}). Write the address that clients use, like "
    words += "https://matrix.example.org; Element shows it under Settings, Help & About."
    return Rejected(words) if isinstance(error, Refused) else Retry(LOOK_S, words)


def _new_service(config: MatrixConfig) -> tuple[str, MatrixConfig]:
    """With tokens made up, which the homeserver is yet to hear of. Raises Rejected."""
    if config.token or config.password:
        raise Rejected("An application service has tokens of its own making: leave password and token empty.")
    if not USER_ID.fullmatch(config.user_id):
        raise Rejected("Write the name that the bot shall have on the homeserver, like @bridgebot:example.org.")
    token, hs_token = secrets.token_hex(32), secrets.token_hex(32)
    # The homeserver tells its application services apart by it.
    unique = f"bridgebot-{secrets.token_hex(4)}"
    name = re.sub(r"[^a-z0-9]+", "-", config.server_name.lower()).strip("-")
    return f"matrix-{name}", replace(config, token=token, hs_token=hs_token, appservice_id=unique)


async def _signed_in(config: MatrixConfig) -> MatrixConfig:
    if not (config.user_id and config.password):
        raise Rejected("Give the bot's user name and password, or an access token.")
    body = {
        "type": "m.login.password",
        "identifier": {"type": "m.id.user", "user": config.user_id},
        "password": config.password,
        "initial_device_display_name": "bridgebot",
    }
    try:
        token = (await Client(config).call("POST", at("login"), body, timeout_s=LOOK_S)).get("access_token")
    except (Refused, AuthLost) as error:
        raise Rejected(
            f"The homeserver does not take this user name and password ({error}). If it wants a sign-in in the "
            "browser, sign in with Element as the bot and give the access token from Settings, Help & About."
        ) from None
    return replace(config, token=str(token), own_session=True)


async def _whoami(config: MatrixConfig) -> str:
    query = {"user_id": config.user_id} if config.is_appservice else None
    try:
        return str((await Client(config).get(at("account", "whoami"), query, timeout_s=LOOK_S)).get("user_id", ""))
    except (Refused, AuthLost) as error:
        if config.is_appservice:
            raise Rejected(
                f"The homeserver does not know this application service ({error}). Name the registration file in its "
                "configuration (Synapse: app_service_config_files), restart it, and try again."
            ) from None
        raise Rejected(f"The homeserver does not take this access token ({error}). Sign in anew for one.") from None


def _hand_over(account: AccountId) -> tuple[str, ...]:
    return (
        "Get the registration file: on this account's page in the portal, or with "
        f"bridgebot accounts file {account} > matrix-registration.yaml. Keep it secret.",
        "Put it where the homeserver can read it, name it in the homeserver's configuration (Synapse, in "
        "homeserver.yaml: app_service_config_files), and restart the homeserver.",
    )


async def findings(config: MatrixConfig, url: str) -> Sequence[Finding]:
    """Does the homeserver answer, does it take our token, and does it reach us?"""
    client = Client(config)
    try:
        await _versions(config)
    except AdapterError as error:
        mend = "Is it running, and is homeserver the address that clients use?"
        return (Finding(False, f"{config.base_url} does not answer: {error}", mend),)
    found = [Finding(True, f"{config.base_url} answers"), await _token(client, config)]
    if found[-1].ok and config.is_appservice:
        found.append(await _reached(client, config, url))
    elif found[-1].ok:
        found.append(Finding(True, "a plain account: authors' names stand in the text, not above it"))
    return found


async def _token(client: Client, config: MatrixConfig) -> Finding:
    query = {"user_id": config.user_id} if config.is_appservice else None
    try:
        user = (await client.get(at("account", "whoami"), query, timeout_s=LOOK_S)).get("user_id")
    except AdapterError as error:
        mend = "Add the account again with a new token: bridgebot accounts add matrix"
        if config.is_appservice:
            mend = "Is the registration file named in the homeserver's configuration, and was it restarted since?"
        return Finding(False, f"the homeserver does not take the token: {error}", mend)
    if config.user_id and user != config.user_id:
        return Finding(False, f"the token is {user}'s, not {config.user_id}'s", "Add the account again.")
    return Finding(True, f"signed in as {user}")


async def _reached(client: Client, config: MatrixConfig, url: str) -> Finding:
    """Application Service API, "Pinging"; in the specification since version 1.7."""
    path = at("appservice", config.appservice_id, "ping", version="v1")
    try:
        took_ms = (await client.call("POST", path, {"transaction_id": "doctor"}, timeout_s=LOOK_S)).get("duration_ms")
    except Refused as error:
        if error.errcode == "M_UNRECOGNIZED":
            return Finding(True, "the homeserver is too old to be asked whether it reaches us")
        if error.errcode == "M_FORBIDDEN":
            mend = "appservice_id must be the id of the registration file."
            return Finding(False, f"the homeserver does not know {config.appservice_id}: {error.error}", mend)
        return _not_reached(error, url)
    except AdapterError as error:
        return _not_reached(error, url)
    return Finding(True, f"the homeserver reaches us at {url} in {took_ms} ms")


def _not_reached(error: AdapterError, url: str) -> Finding:
    mend = (
        f"url in the registration file must be an address under which the homeserver reaches {url}, and its hs_token "
        "the account's. After a change restart the homeserver."
    )
    return Finding(False, f"the homeserver does not reach us: {error}", mend)


def steps(account: AccountId, config: MatrixConfig, url: str) -> Sequence[str]:
    """What the operator does next."""
    me = config.user_id
    start: tuple[str, ...] = ()
    if config.is_appservice:
        start = (
            *(_hand_over(account) if config.as_service else ()),
            f"Make sure that url in the registration file leads to {url}; bridgebot doctor looks whether it does.",
        )
    return (*start, f"In a room without encryption, type: /invite {me}", "When it has come, type: -sameroom open")

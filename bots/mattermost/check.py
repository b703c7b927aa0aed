"""What ``bridgebot doctor`` says of an account, and what is asked of the server before one is added."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import msgspec

from bots.mattermost.api import Api, Refused, SignedOut
from bots.mattermost.config import MattermostConfig, base_url
from bots.mattermost.send import LAST_WITH_NAMES, Server, server_of
from bots.mattermost.stream import Lost, Stream
from core.contract import AdapterError, AuthLost, Finding, Rejected, Retry

RETRY_S: Final = 10.0
_REFUSED: Final = (
    "Mattermost does not take this token. In Mattermost, a system admin finds it at the top left under Integrations, "
    "Bot Accounts: choose Create New Token there, and copy the token itself, not its ID."
)


async def prepared(config: MattermostConfig) -> tuple[str, MattermostConfig]:
    """The bot's name as the account's, and the configuration with its token. Raises Rejected and Retry."""
    try:
        base = base_url(config.server_url)
    except ValueError as error:
        raise Rejected(str(error)) from None
    config = msgspec.structs.replace(config, server_url=base, token=config.token.strip())
    if not config.token and not (config.login and config.password):
        raise Rejected("Give a token (of a bot account, best), or a user name and a password.")
    api = Api(config, base)
    try:
        server = server_of(await api.call("GET", "config/client", format="old"))
        if not server.version:
            raise Rejected(f"At {base} is no Mattermost server.")
        if not api.token:
            api.token = await _signed_in(api, config)
        me = await api.call("GET", "users/me")
    except AuthLost:
        raise Rejected(_REFUSED) from None
    except Refused as refused:
        raise Rejected(f"{base} answers {refused.code}: is that a Mattermost server? {refused.reason}") from None
    except Rejected:
        raise
    except AdapterError as error:
        raise Retry(RETRY_S, f"{error}. Is {base} the right address, and reachable from here?") from None
    finally:
        await api.close()
    username = str(me.get("username") or "") if isinstance(me, dict) else ""
    own = not config.token
    made = {"token": api.token, "own_session": own, "login": "", "password": "", "username": username}
    return username, msgspec.structs.replace(config, **made)


async def _signed_in(api: Api, config: MattermostConfig) -> str:
    """The token of a new session: in the header ``Token`` of the answer."""
    try:
        _, headers = await api.ask("POST", "users/login", {"login_id": config.login, "password": config.password})
    except (SignedOut, Refused) as error:
        if "mfa" in error.id:
            raise Rejected(
                "This user signs in with a second factor, which a bot cannot. Use a personal access token."
            ) from None
        raise Rejected("Mattermost does not take this user name and password.") from None
    if not headers.get("Token"):
        raise Rejected("Mattermost gave no session for this user name and password. Use a token.")
    return headers["Token"]


def steps(config: MattermostConfig) -> Sequence[str]:
    """From the account to the first relayed message."""
    name = config.username or "your-bot"
    return (
        f"Add @{name} to a team, once: in that team, click the team's name at the top left, Invite People, type "
        f"{name}, Invite.",
        f"In each channel that is to be connected, type: /invite @{name}",
        "Type there: -sameroom open",
        f"For people's own names and pictures (servers up to version {LAST_WITH_NAMES}): System Console, Integrations, "
        "Integration Management, switch on both “Enable integrations to override …”. Else names stand in the text.",
    )


async def findings(config: MattermostConfig) -> Sequence[Finding]:
    """Server, token, websocket, teams and channels, names."""
    api = Api(config, base_url(config.server_url))
    found: list[Finding] = []
    try:
        server = server_of(await api.call("GET", "config/client", format="old"))
        found.append(Finding(True, f"Mattermost {server.version} answers at {config.server_url}"))
        me = await api.call("GET", "users/me")
        found.append(Finding(True, f"it knows the bot as @{me.get('username')}"))
        found.append(await _websocket(api, config))
        found += await _places(api, me)
        found.append(_names(server))
    except AuthLost as error:
        found.append(Finding(False, "the server refuses the bot's token", str(error)))
    except AdapterError as error:
        mend = f"{error}. Look at the server, the network and server_url."
        found.append(Finding(False, f"{config.server_url} does not answer as it should", mend))
    finally:
        await api.close()
    return found


async def _websocket(api: Api, config: MattermostConfig) -> Finding:
    stream = Stream(api, config.ping_s)
    try:
        await stream.connect()
    except Lost as error:
        return Finding(
            False,
            f"nothing is heard: {error}",
            "The proxy in front of Mattermost has to pass /api/v4/websocket on, with the headers Upgrade and "
            "Connection.",
        )
    finally:
        await stream.close()
    return Finding(True, "the websocket works")


async def _places(api: Api, me: Any) -> list[Finding]:
    teams = await api.call("GET", "users/me/teams")
    channels = await api.call("GET", "users/me/channels")
    name = me.get("username")
    if not teams:
        mend = f"In the team, click its name, Invite People, type {name}, Invite."
        return [Finding(False, "the bot is in no team", mend)]
    if not channels:
        return [Finding(False, "the bot is in no channel", f"Type in a channel: /invite @{name}")]
    return [Finding(True, f"it is in {len(teams)} teams and {len(channels)} channels")]


def _names(server: Server) -> Finding:
    if server.names:
        return Finding(True, "people's own names stand over their messages")
    if server.version.partition(".")[0].isdigit() and int(server.version.partition(".")[0]) > LAST_WITH_NAMES:
        return Finding(True, "names stand in the text: this version lets no bot post under other names")
    return Finding(
        True,
        "names stand in the text",
        "To have them over the messages: System Console, Integrations, Integration Management, Enable integrations to "
        "override usernames.",
    )

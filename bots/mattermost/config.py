"""A Mattermost account's configuration."""

from __future__ import annotations

from typing import Annotated, Final
from urllib.parse import urlsplit

import msgspec

from core.contract import asked

MEBIBYTE = 1024 * 1024
Doc = msgspec.Meta


BY_HAND: Final = (
    "A system admin does it in Mattermost: Integrations, Bot Accounts, the bot, the token, Delete. Of a person's "
    "account: Profile, Security, Personal Access Tokens, or View and Log Out of Active Sessions."
)


class MattermostConfig(msgspec.Struct, frozen=True, kw_only=True):
    """One user of one server: a bot account, best; or a person's account."""

    server_url: Annotated[str, asked("Server address", "As in the browser: https://chat.example.org")]
    token: Annotated[
        str, asked("Token", "Of a bot account, or a personal access token; empty: sign in with a password", secret=True)
    ] = ""
    login: Annotated[str, asked("User name or e-mail", "Only without a token")] = ""
    password: Annotated[str, asked("Password", "Only without a token; not kept", secret=True)] = ""
    own_session: Annotated[bool, Doc(description="The token is of a session that we signed in ourselves")] = False
    username: Annotated[str, Doc(description="The bot's name without @; asked of the server when it is added")] = ""
    mentions: Annotated[bool, Doc(description="A relayed @name notifies that person, if they have written here")] = True
    account_rate_per_s: Annotated[float, Doc(description="Posts per second in the long run", gt=0)] = 8.0
    account_burst: Annotated[int, Doc(description="Posts at once", ge=1)] = 40
    request_timeout_s: Annotated[float, Doc(description="Longest wait for an answer of the server", gt=0)] = 20.0
    ping_s: Annotated[float, Doc(description="How often the websocket is tried", gt=0)] = 30.0
    reconnect_min_s: Annotated[float, Doc(description="First pause before connecting again", gt=0)] = 0.5
    reconnect_max_s: Annotated[float, Doc(description="Longest pause before connecting again", gt=0)] = 60.0
    download_limit_bytes: Annotated[int, Doc(description="Largest file that is fetched", ge=1)] = 100 * MEBIBYTE


def from_target(target: str) -> tuple[str, MattermostConfig]:
    """A token has no place on a command line. Raises ValueError that says what to do instead."""
    raise ValueError(
        "A Mattermost bot is added with its token, which others could read on the command line. "
        "Use: bridgebot accounts add mattermost"
    )


def base_url(raw: str) -> str:
    """The address of a server without a slash at its end. Raises ValueError for what is none."""
    url = raw.strip()
    url = url if "://" in url else f"https://{url}"
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.username or parts.query or parts.fragment:
        raise ValueError(f"{raw!r} is no address of a server; it looks like https://chat.example.org")
    return url.rstrip("/").removesuffix("/api/v4")

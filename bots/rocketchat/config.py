"""A Rocket.Chat account's configuration."""

from __future__ import annotations

from typing import Annotated, Final
from urllib.parse import urlsplit

import msgspec

from core.contract import asked

BY_HAND: Final = (
    "In Rocket.Chat, as the bot's user: Profile, Personal Access Tokens, delete the token; or My Account, Log out from "
    "other locations, and change the password."
)


class RocketChatConfig(msgspec.Struct, frozen=True, kw_only=True):
    """One user of one server: by a personal access token (``user_id`` and ``token``), or by ``user`` and ``password``.

    The server's address is the operator's own choice, so it may lie in a private network.
    """

    url: Annotated[str, asked("Server", "Its address as in the browser: https://chat.example.org")]
    user_id: Annotated[
        str,
        asked("User id", "Shown together with a new personal access token. Leave it empty to sign in by password."),
    ] = ""
    token: Annotated[
        str,
        asked(
            "Personal access token",
            "As the bot's user: Profile, Personal Access Tokens, tick Ignore Two Factor Authentication, Add. Leave it "
            "empty to sign in by password.",
            secret=True,
        ),
    ] = ""
    user: Annotated[str, asked("User name", "Only to sign in by password.")] = ""
    password: Annotated[
        str,
        asked("Password", "Only to sign in by password; not for users with two factor authentication.", secret=True),
    ] = ""
    username: str = ""
    """The user's name for mentions, as found when the account was added."""
    websocket_url: str = ""
    """Where the live stream is; empty: ``/websocket`` of the server."""
    file_addresses: tuple[str, ...] = ()
    """Addresses in private networks that the server's file storage may redirect to (an object store of your own)."""
    reconnect_min_s: Annotated[float, msgspec.Meta(gt=0)] = 0.5
    reconnect_max_s: Annotated[float, msgspec.Meta(gt=0)] = 60.0

    def __post_init__(self) -> None:
        """Raises ValueError that says what to write."""
        if not self.url.startswith(("https://", "http://")) or not urlsplit(self.url).hostname:
            raise ValueError("The server is no address. Write https:// and its name, as in the browser.")
        if not (self.user_id and self.token) and not (self.user and self.password):
            raise ValueError("Write a user id and a personal access token, or a user name and a password.")

    @property
    def base(self) -> str:
        """The server's address without a slash at the end."""
        return self.url.rstrip("/")

    @property
    def stream(self) -> str:
        """The address of the live stream."""
        return self.websocket_url or "ws" + self.base.removeprefix("http") + "/websocket"


def from_target(target: str) -> tuple[str, RocketChatConfig]:
    """Rocket.Chat needs a secret, which has no place on a command line. Raises ValueError that says what to do."""
    raise ValueError("Rocket.Chat needs a login. Write: bridgebot accounts add rocketchat")

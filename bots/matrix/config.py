"""A Matrix account's configuration: an application service with a ghost for every author, or a plain account."""

from __future__ import annotations

import re
from typing import Annotated, Final

import msgspec

from core.contract import Secret, asked

SECRET_CHARS: Final = 16
"""Shortest ``hs_token``: whoever knows it can put words into everybody's mouth."""
USER_ID: Final = re.compile(r"@[^:\s/]+:\S+")
TARGET_HELP: Final = "nothing: use bridgebot accounts add matrix"


BY_HAND: Final = (
    "In Element, as the bot's user: Settings, Sessions, choose the session of the token, Sign out. Or change the "
    "password there, and let all devices be signed out."
)


class MatrixConfig(msgspec.Struct, frozen=True, kw_only=True):
    """One account on one homeserver. With ``hs_token`` it is an application service, else a plain account."""

    homeserver: Annotated[
        str, asked("Homeserver", "Its address as clients use it: https://matrix.example.org, or just example.org")
    ]
    user_id: Annotated[str, asked("Bot's user name", "@mybridge:example.org; may stay empty if you give a token")] = ""
    password: Annotated[str, asked("Password", "Exchanged for a token and not kept", secret=True)] = ""
    token: Annotated[str, asked("Access token", "Instead of a password", secret=True)] = ""
    as_service: Annotated[
        bool,
        asked(
            "Application service",
            "yes, if you may edit the homeserver's configuration: people from elsewhere then have names and pictures "
            "of their own there. Leave password and token empty; you get a file for the homeserver",
        ),
    ] = False
    own_session: bool = False
    """The token is of a session that we signed in ourselves, with the password."""
    hs_token: Annotated[str, Secret] = ""
    """From the registration file: with it the homeserver proves to us who it is."""
    appservice_id: str = "bridgebot"
    """``id`` of the registration file."""
    ghost_prefix: str = "_bridge_"
    """How the user names of ghosts begin; the registration file keeps them for us."""
    ghost_idle_days: Annotated[int, msgspec.Meta(ge=0)] = 30
    """A ghost that said nothing for so long leaves the room; 0: never."""
    display_name: str = "BridgeBot"
    """The name of an application service's own user."""
    join: tuple[str, ...] = ()
    """Public rooms to be in: ``#room:example.org``; ``gitter:org/room`` for rooms that were on Gitter."""
    posts_per_s: Annotated[float, msgspec.Meta(ge=0)] = 0.2
    """Posts per second that the homeserver takes from a plain account; 0: no limit."""
    posts_burst: Annotated[int, msgspec.Meta(ge=1)] = 10
    max_file_bytes: Annotated[int, msgspec.Meta(ge=1)] = 100 * 1024 * 1024
    """Largest file that is passed on from Matrix."""
    trusted_addresses: tuple[str, ...] = ()
    """Addresses in private networks (``10.0.0.7``) from which authors' pictures may be fetched all the same."""

    def __post_init__(self) -> None:
        """Raises ValueError that says what to write."""
        if not self.homeserver or re.search(r"\s", self.homeserver):
            raise ValueError("homeserver is empty or has a blank in it. Write https://matrix.example.org.")
        if self.hs_token and len(self.hs_token) < SECRET_CHARS:
            raise ValueError(
                f"hs_token has fewer than {SECRET_CHARS} characters: anybody could guess it. "
                "Make a registration file with: bridgebot matrix-registration"
            )
        if self.hs_token and not (self.token and USER_ID.fullmatch(self.user_id)):
            raise ValueError(
                "An application service needs token (its as_token) and user_id, like @bridgebot:example.org."
            )
        if not re.fullmatch(r"[a-z0-9._=/-]{3,64}", self.ghost_prefix):
            raise ValueError(f"ghost_prefix is {self.ghost_prefix!r}. Write small letters and _, like _bridge_.")

    @property
    def is_appservice(self) -> bool:
        """Does the homeserver push to us, and may we speak as ghosts?"""
        return bool(self.hs_token)

    @property
    def base_url(self) -> str:
        """The homeserver's address without a slash at its end."""
        return self.homeserver.rstrip("/")

    @property
    def server_name(self) -> str:
        """What stands behind the colon of our own user ids."""
        return self.user_id.partition(":")[2]


def room_alias(entry: str) -> str:
    """The alias or id that an entry of ``join`` means: ``gitter:Org/room`` is ``#org_room:gitter.im``, where the
    rooms of Gitter went in February 2023.
    """
    if entry.startswith("gitter:"):
        return "#" + entry.removeprefix("gitter:").strip("/").replace("/", "_").lower() + ":gitter.im"
    return entry


def from_target(target: str) -> tuple[str, MatrixConfig]:
    """There is none: a token does not belong on a command line. Raises ValueError that says what to do."""
    raise ValueError("A Matrix account needs a password or a token. Use: bridgebot accounts add matrix")

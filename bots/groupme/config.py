"""A GroupMe account's configuration."""

from __future__ import annotations

import hashlib
import hmac
import re
from typing import Annotated, Final

import msgspec

from core.contract import Secret, asked

PATH_KEY_CHARS = 64
"""256 bits in hexadecimal."""
_ENTRY = re.compile(r"(?P<group>[0-9]{1,24})(?::(?P<bot>[0-9A-Za-z]{1,64}))?")


BY_HAND: Final = (
    "GroupMe lets nobody revoke an access token from outside: sign in at https://dev.groupme.com and look after your "
    "bots there; a changed password of the user is the surest end of the token."
)


class GroupBot(msgspec.Struct, frozen=True):
    """Our bot in one group. ``bot`` is empty where the bot is found or made with the access token."""

    group: str
    bot: str = ""


class GroupMeConfig(msgspec.Struct, frozen=True, kw_only=True):
    """One GroupMe account: a member of groups (``bots`` is empty), or the bots of the groups that ``bots`` names."""

    token: Annotated[
        str,
        asked(
            "Access token",
            "Sign in at https://dev.groupme.com, then click Access Token at the top right. Leave it empty only if you "
            "name bots that you made by hand.",
            secret=True,
        ),
    ] = ""
    bots: Annotated[
        str,
        asked(
            "Bots",
            "Leave empty to speak as the token's own user in all its groups. To speak as a bot of each group, write "
            "GROUP or GROUP:BOT, separated by blanks; with a token GROUP (its id or name) is enough.",
            secret=True,
        ),
    ] = ""
    bot_name: str = "BridgeBot"
    """Name of the bots that are made with the token."""
    path_key: Annotated[str, Secret] = ""
    """What the secret callback paths are made from; made up when the account is added."""
    user_name: str = ""
    """The token's user, as found when the account was added."""
    titles: dict[str, str] = msgspec.field(default_factory=dict)
    """Group id → name, of ``bots``, as found when the account was added."""
    rate_per_s: Annotated[float, msgspec.Meta(ge=0)] = 1.0
    """Posts per second of one group in the long run; 0: no limit. GroupMe publishes none and answers 420 or 429."""
    rate_burst: Annotated[int, msgspec.Meta(ge=1)] = 8
    """Posts of one group that may be sent at once."""
    echo_s: Annotated[float, msgspec.Meta(ge=0, le=5)] = 1.0
    """How long a bot's post waits for its callback, which is where its id comes from; 0: not at all."""
    api_url: str = "https://api.groupme.com/v3"
    api4_url: str = "https://api.groupme.com/v4"
    """Where messages are edited and looked at one by one."""
    push_url: str = "https://push.groupme.com/faye"
    image_url: str = "https://image.groupme.com"
    file_url: str = "https://file.groupme.com/v1"
    media_hosts: tuple[str, ...] = ("i.groupme.com", "v.groupme.com", "image.groupme.com")
    """Hosts that pictures and videos of messages are fetched from; whatever else a message names is not."""
    media_addresses: tuple[str, ...] = ()
    """Addresses in private networks that may be fetched from all the same (a proxy of your own)."""
    reconnect_min_s: Annotated[float, msgspec.Meta(gt=0)] = 0.5
    reconnect_max_s: Annotated[float, msgspec.Meta(gt=0)] = 60.0

    def __post_init__(self) -> None:
        """Raises ValueError that says what to write."""
        for field in ("api_url", "api4_url", "push_url", "image_url", "file_url"):
            if not getattr(self, field).startswith(("https://", "http://")):
                raise ValueError(f"{field} is no address. Write https:// and a host.")
        if re.search(r"\s", self.token):
            raise ValueError("The access token has a blank in it. Copy it again.")
        if self.path_key and not re.fullmatch(r"[0-9a-f]{64,}", self.path_key):
            raise ValueError("path_key is not 64 hexadecimal digits. Add the account again, or leave it empty there.")

    def group_bots(self) -> tuple[GroupBot, ...]:
        """The bots, once ``prepare`` has replaced names by ids. Entries that are none are left out."""
        found = (_ENTRY.fullmatch(entry) for entry in re.split(r"[\s,]+", self.bots.strip()))
        return tuple(GroupBot(match["group"], match["bot"] or "") for match in found if match)

    def path(self, group: str) -> str:
        """The secret last part of a group's callback URL: 256 bits that tell nothing of another group's."""
        return hmac.new(bytes.fromhex(self.path_key), group.encode(), hashlib.sha256).hexdigest()


def from_target(target: str) -> tuple[str, GroupMeConfig]:
    """GroupMe needs a secret, which has no place on a command line. Raises ValueError that says what to do."""
    raise ValueError("GroupMe needs an access token. Write: bridgebot accounts add groupme")

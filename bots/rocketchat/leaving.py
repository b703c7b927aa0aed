"""The end of an account: its personal access token is removed (API: users.getPersonalAccessTokens,
users.removePersonalAccessToken). A session that was signed in by password ends with the process that did it.
"""

from __future__ import annotations

import time
from typing import Final

from bots.rocketchat.api import Api, new_session
from bots.rocketchat.config import BY_HAND, RocketChatConfig
from core.contract import AdapterError, AuthLost, Offline, Rejected

TAIL_CHARS: Final = 6
"""How much of a token the server shows of it (``lastTokenPart``)."""


async def revoked(config: RocketChatConfig) -> str:
    """What was done, and what is left to do. Raises any AdapterError."""
    if not config.token:
        return f"Its sessions are signed out, and the password still works until you change it. {BY_HAND}"
    session = new_session()
    api = Api(config, session, lambda: time.time_ns() // 1_000_000)
    try:
        listed = (await api.call("GET", "users.getPersonalAccessTokens")).get("tokens") or []
        names = [one["name"] for one in listed if one.get("lastTokenPart") == config.token[-TAIL_CHARS:]]
        if len(names) != 1:
            return f"The token still works. {BY_HAND}"
        await api.call("POST", "users.removePersonalAccessToken", json={"tokenName": names[0]})
    except AuthLost:
        return f"The server does not take the token, or wants a second factor to remove it. {BY_HAND}"
    except Offline:
        raise
    except Rejected as error:
        raise AdapterError(error.reason) from None
    finally:
        await session.close()
    return "The personal access token is removed."

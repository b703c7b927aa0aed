"""The end of an account: what we signed in is signed out (Client-Server API, "POST /_matrix/client/v3/logout")."""

from __future__ import annotations

from typing import Final

from bots.matrix.client import Client, at
from bots.matrix.config import BY_HAND, MatrixConfig
from core.contract import AuthLost

LEAVE_S: Final = 8.0


async def revoked(config: MatrixConfig) -> str:
    """What was done, and what is left to do. Raises any AdapterError."""
    if config.is_appservice:
        return (
            f"The homeserver knows the application service {config.appservice_id} by its registration file, and its "
            "two tokens are good until you take the file out of the homeserver's configuration and restart it."
        )
    if not config.own_session:
        # A token that was given is some session of that user's own: it is not ours to end.
        return f"The access token that you gave still works. {BY_HAND}"
    try:
        await Client(config).call("POST", at("logout"), {}, timeout_s=LEAVE_S)
    except AuthLost:
        return "The session was over already."
    return "The session that was signed in for it is signed out. The user's password was never kept, and is still good."

"""The end of an account: its session is signed out, or its token revoked where the server lets its user do that (API
reference: POST /users/logout, POST /users/tokens/revoke, GET /users/{user_id}/sessions; model.Session of the server).
"""

from __future__ import annotations

from typing import Any

from bots.mattermost.api import Api, Refused
from bots.mattermost.config import BY_HAND, MattermostConfig, base_url
from core.contract import AuthLost


async def revoked(config: MattermostConfig) -> str:
    """What was done, and what is left to do. Raises any AdapterError."""
    api = Api(config, base_url(config.server_url))
    try:
        if config.own_session:
            await api.call("POST", "users/logout", {})
            return "The session that was signed in for it is signed out. The user's password was never kept."
        token = _token_of(await api.call("GET", "users/me/sessions"))
        if not token:
            return f"The token still works. {BY_HAND}"
        await api.call("POST", "users/tokens/revoke", {"token_id": token})
    except AuthLost:
        return "The token was worthless already."
    except Refused:  # bots may not, and persons only where they may make tokens
        return f"The server does not let the bot revoke its own token, which still works. {BY_HAND}"
    finally:
        await api.close()
    return "The token is revoked."


def _token_of(sessions: Any) -> str:
    """The id of the user's only token in use: a session of one names it, and nothing says which of several is ours."""
    listed = sessions if isinstance(sessions, list) else []
    found = {str((one.get("props") or {}).get("user_access_token_id") or "") for one in listed if isinstance(one, dict)}
    found.discard("")
    return found.pop() if len(found) == 1 else ""

"""The end of an account: its token is made worthless at Slack (docs.slack.dev/reference/methods/apps.uninstall,
docs.slack.dev/reference/methods/auth.revoke).
"""

from __future__ import annotations

from typing import Final

from bots.slack.api import Api, Refused
from bots.slack.config import SlackApp, SlackConfig
from core.contract import AuthLost

_OTHER: Final = " The app-level token cannot be revoked from here: api.slack.com/apps, your app, Basic Information."


async def revoked(config: SlackConfig, app: SlackApp | None) -> str:
    """Take the operator's app out of the workspace, or revoke the token of an app that is the team's own. Raises any
    AdapterError."""
    api = Api(config)
    try:
        if config.by_app and app is not None:
            try:
                await api.call("apps.uninstall", client_id=app.client_id, client_secret=app.client_secret)
            except Refused:  # some tokens may not; then at least this one ends
                await api.call("auth.revoke")
                return "The token is revoked. The app is still listed in the workspace, and can do nothing there."
            return "The app is removed from the workspace, and its token is revoked."
        await api.call("auth.revoke")
    except AuthLost:
        return "The token was worthless already."
    finally:
        await api.close()
    return "The bot token is revoked." + (_OTHER if config.app_token else "")

"""Add to Slack: a team gives its workspace to the operator's app by agreeing in the browser
(docs.slack.dev/authentication/installing-with-oauth).
"""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final
from urllib.parse import quote, urlencode, urlsplit

from msgspec.structs import replace

from bots.slack.api import Api, Refused
from bots.slack.check import recognised, require, unreachable
from bots.slack.config import SlackApp, SlackConfig
from bots.slack.manifest import NEEDED, WANTED
from core.contract import AdapterError, AuthLost, Rejected, Retry

RETRY_S: Final = 10.0
NO_CODE: Final = "bridgebot-asks-whether-the-app-is-known"
_CLIENT: Final = re.compile(r"[0-9]+\.[0-9]+")
_SECRET: Final = re.compile(r"[0-9A-Za-z]{16,}")
_DENIED: Final = "Nothing was added: on Slack, nobody agreed. Begin again whenever you like."
_ROTATES: Final = (
    "The app gives out tokens that end (token rotation), which is not supported. Once it is on, Slack does not let it "
    "be switched off: whoever runs this bridge has to make the app anew, from the manifest."
)
_WHOLE: Final = (
    "The app was added to a whole Enterprise organisation. Add it to one workspace: choose it at the top right of "
    "Slack's page."
)
_OVER: Final = "Slack's answer was used already, or came too late. Begin again."
_WRONG: Final[Mapping[str, str]] = {
    "invalid_client_id": "Slack does not know this client ID. Copy it again: Basic Information, App Credentials.",
    "bad_client_secret": "Slack does not take this client secret. Copy it again: Basic Information, App Credentials.",
    "bad_redirect_uri": "The app does not have our redirect URL: OAuth & Permissions, Redirect URLs.",
    "invalid_code": _OVER,
    "code_already_used": _OVER,
    "invalid_team_for_non_distributed_app": "The app is not distributed yet: Manage Distribution.",
}


async def prepared(app: SlackApp, public_url: str) -> SlackApp:
    """The app without blanks around its parts, if Slack knows it. Raises Rejected, Retry."""
    app = replace(
        app,
        client_id=app.client_id.strip(),
        client_secret=app.client_secret.strip(),
        signing_secret=app.signing_secret.strip(),
        api_url=app.api_url.rstrip("/"),
    )
    if not _CLIENT.fullmatch(app.client_id):
        raise Rejected("That is no client ID: it is two numbers with a dot between them.")
    for title, secret in (("client secret", app.client_secret), ("signing secret", app.signing_secret)):
        if not _SECRET.fullmatch(secret):
            raise Rejected(f"That is no {title}: it is letters and digits. Basic Information, App Credentials: Show.")
    if problem := unreachable(app.api_url, public_url):
        raise Rejected(problem)
    try:
        await _exchanged(app, NO_CODE, "")
    except Refused as error:
        if error.error not in ("invalid_code", "bad_redirect_uri"):
            raise
    return app


def steps(redirect_url: str, url: str) -> Sequence[str]:
    """What makes an app of Slack's one that teams can add. With the manifest, the first three are done."""
    return (
        f"At api.slack.com/apps, your app, OAuth & Permissions, Redirect URLs: {redirect_url}",
        f"Event Subscriptions: on, with the request URL {url}/events (press Retry beside it).",
        f"Slash Commands: give the command the request URL {url}/commands.",
        "Manage Distribution: tick what it lists, then Activate Public Distribution. Until then only your own "
        "workspace can add it.",
    )


def address(app: SlackApp, state: str, redirect_url: str) -> str:
    """Where people agree."""
    query = {"client_id": app.client_id, "scope": ",".join(sorted((*NEEDED, *WANTED)))}
    return f"{app.authorize_url}?{urlencode(query | {'redirect_uri': redirect_url, 'state': state}, quote_via=quote)}"


def destinations(app: SlackApp) -> Sequence[str]:
    """Slack leads on to the workspace's own address."""
    parts = urlsplit(app.authorize_url)
    own = f"{parts.scheme}://{parts.netloc}"
    return (own, f"https://*.{parts.hostname}") if parts.scheme == "https" else (own,)


async def redeemed(app: SlackApp, answer: Mapping[str, str], redirect_url: str) -> tuple[str, SlackConfig]:
    """The workspace's account. Raises Rejected, Retry."""
    if error := answer.get("error"):
        raise Rejected(_DENIED if error == "access_denied" else _WRONG.get(error, f"Slack answers: {error[:100]}."))
    if not answer.get("code"):
        raise Rejected("Slack's answer is not complete. Begin again.")
    told = await _exchanged(app, answer["code"], redirect_url)
    if told.get("is_enterprise_install") is True:
        raise Rejected(_WHOLE)
    if told.get("expires_in") or told.get("refresh_token"):
        raise Rejected(_ROTATES)
    token = str(told.get("access_token") or "")
    if told.get("token_type") != "bot" or not token.startswith("xoxb-"):
        raise Rejected("Slack gave no bot token. Does the app have a bot user? Make it from the manifest.")
    require(frozenset(str(told.get("scope") or "").replace(" ", "").split(",")))
    return await recognised(SlackConfig(bot_token=token, by_app=True, api_url=app.api_url))


async def _exchanged(app: SlackApp, code: str, redirect_url: str) -> dict[str, Any]:
    """docs.slack.dev/reference/methods/oauth.v2.access: who the app is goes into the header, not into the form."""
    api = Api(SlackConfig(bot_token="", api_url=app.api_url))
    basic = base64.b64encode(f"{app.client_id}:{app.client_secret}".encode()).decode()
    try:
        return await api.ask(
            "oauth.v2.access", authorization=f"Basic {basic}", code=code, redirect_uri=redirect_url or None
        )
    except Refused as error:
        raise Refused(error.error, _WRONG.get(error.error, "")) from None
    except AuthLost as error:
        raise Rejected(str(error)) from None
    except AdapterError as error:
        raise Retry(RETRY_S, f"{error}. Is {app.api_url} reachable from here?") from None
    finally:
        await api.close()

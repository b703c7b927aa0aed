"""How a workspace adds an app: Slack's page, the exchange of its code, and the end of tokens (docs.slack.dev/
authentication/installing-with-oauth, reference/methods/oauth.v2.access, auth.revoke, apps.uninstall)."""

from __future__ import annotations

import base64
from html import escape
from typing import Any
from urllib.parse import urlencode

from aiohttp import web

from tests.fakes.slack_methods import Raw, SlackError
from tests.fakes.slack_world import TEAM, World

CLIENT_ID = "2141029472.691202649728"
CLIENT_SECRET = "e1b9e11dfcd19c1982d5de12921e17e8"
FIRST_TOKEN = "xoxb-0000000001-double-of-slack"


class Installing(World):
    """The app's life in the workspace. ``redirect_urls``: those of its settings; an address below one is as good."""

    def __init__(self) -> None:
        super().__init__()
        self.redirect_urls: list[str] = []
        self.tokens = {FIRST_TOKEN}
        self.ended: set[str] = set()
        self.granted = ""
        """Scopes that people leave the app, if not those it asks for."""
        self.told: Raw = {}
        """What oauth.v2.access says besides, or instead."""
        self.may_uninstall = True
        self._codes: dict[str, Raw] = {}
        self._used: set[str] = set()

    def add_pages(self, app: web.Application) -> None:
        """The pages that browsers see."""
        app.router.add_get("/oauth/v2/authorize", self._authorize)
        app.router.add_get("/oauth", self._ask)
        app.router.add_get("/oauth/answer", self._answered)

    def _check(self, query: Any) -> str:
        """What is wrong with a request, by Slack's name."""
        if query.get("client_id") != CLIENT_ID:
            return "invalid_client_id"
        where = query.get("redirect_uri", "")
        if not any(where == known or where.startswith(f"{known.rstrip('/')}/") for known in self.redirect_urls):
            return "bad_redirect_uri"
        if not query.get("scope") or not query.get("state"):
            return "invalid_scope"
        return ""

    async def _authorize(self, request: web.Request) -> web.Response:
        """On to the workspace's own page, as from slack.com."""
        if error := self._check(request.query):
            return web.Response(status=400, text=f"Something went wrong: {error}")
        raise web.HTTPFound(f"/oauth?{request.query_string}")

    async def _ask(self, request: web.Request) -> web.Response:
        if error := self._check(request.query):
            return web.Response(status=400, text=f"Something went wrong: {error}")
        links = "".join(
            f'<p><a href="{escape("/oauth/answer?" + urlencode({**request.query, "say": say}))}">{say}</a></p>'
            for say in ("Allow", "Cancel")
        )
        page = (
            f"<!doctype html><html lang=en><link rel=icon href=data:,><title>Slack</title><h1>Garden Club</h1>{links}"
        )
        return web.Response(text=page, content_type="text/html")

    async def _answered(self, request: web.Request) -> web.Response:
        query = dict(request.query)
        if error := self._check(query):
            return web.Response(status=400, text=f"Something went wrong: {error}")
        if query["say"] == "Allow":
            answer = {"code": self.code(query["redirect_uri"], query["scope"])}
        else:
            answer = {"error": "access_denied"}
        raise web.HTTPFound(f"{query['redirect_uri']}?{urlencode(answer | {'state': query['state']})}")

    def code(self, redirect_uri: str, scope: str) -> str:
        """Somebody agreed."""
        made = f"4724469134.4644010092847.{self.number()}"
        self._codes[made] = {"redirect_uri": redirect_uri, "scope": self.granted or scope}
        return made

    def exchange(self, authorization: str, params: Raw) -> Raw:
        """oauth.v2.access."""
        given = base64.b64decode(authorization.removeprefix("Basic ")).decode() if authorization else ":"
        client, _, secret = given.partition(":")
        if "client_secret" in params:
            raise SlackError("invalid_arguments_of_the_double")
        if client != CLIENT_ID:
            raise SlackError("invalid_client_id")
        if secret != CLIENT_SECRET:
            raise SlackError("bad_client_secret")
        if params.get("code") in self._used:
            raise SlackError("code_already_used")
        known = self._codes.get(params.get("code", ""))
        if known is None:
            raise SlackError("invalid_code")
        if params.get("redirect_uri") != known["redirect_uri"]:
            raise SlackError("bad_redirect_uri")
        self._used.add(params["code"])
        token = next(iter(self.tokens), f"xoxb-0000000001-again-{self.number()}")
        self.tokens.add(token)
        found = {"ok": True, "access_token": token, "token_type": "bot", "scope": known["scope"]}
        found |= {"bot_user_id": self.bot.id, "app_id": self.app_id, "team": {"id": TEAM, "name": "Garden Club"}}
        return found | {"enterprise": None, "is_enterprise_install": False, "authed_user": {"id": "U0ANN"}} | self.told

    def _do_auth_revoke(self, params: Raw) -> Raw:
        """The bot's memberships end with its token; the app stays listed."""
        self.ended |= self.tokens
        self.tokens.clear()
        for channel in self.channels.values():
            channel.members.discard(self.bot.id)
        self.tell({"type": "tokens_revoked", "tokens": {"oauth": [], "bot": [self.bot.id]}})
        return {"revoked": True}

    def _do_apps_uninstall(self, params: Raw) -> Raw:
        if (params["client_id"], params["client_secret"]) != (CLIENT_ID, CLIENT_SECRET):
            raise SlackError("bad_client_secret")
        if not self.may_uninstall:
            raise SlackError("not_allowed_token_type")
        self._do_auth_revoke({})
        self.tell({"type": "app_uninstalled"})
        return {}

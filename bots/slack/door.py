"""Slack calls one app for all workspaces that it is in (docs.slack.dev/apis/events-api, docs.slack.dev/app-management/
distribution): the app's signing secret tells its calls from others, and each goes to the accounts whose workspace it is
for.

Of an event in a channel that workspaces share, Slack names one of them at most and calls once
(docs.slack.dev/changelog/2020-09-15-events-api-truncate-authed-users): it is for every account that is in the channel.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Final

import structlog
from aiohttp import web

from bots.slack.adapter import SlackAdapter
from bots.slack.blocks import Json
from bots.slack.config import SlackApp
from bots.slack.receive import ID
from bots.slack.webhook import called_back, checked, command_of
from core.contract import Adapter, Route

log = structlog.get_logger()
NOBODY: Final = "Nobody has added this workspace here. Whoever runs the bridge says how."


class Door:
    """The routes of the operator's app."""

    def __init__(self, app: SlackApp, adapters: Callable[[], Sequence[Adapter]], now_ms: Callable[[], int]) -> None:
        self._app = app
        self._adapters = adapters
        self._now_ms = now_ms

    def routes(self) -> Sequence[Route]:
        """None without a signing secret: then nobody could tell Slack's calls from others."""
        if not self._app.signing_secret:
            return ()
        return (Route("POST", "events", self.events), Route("POST", "commands", self.commands))

    async def events(self, request: web.Request) -> web.Response:
        """POST /apps/slack/events. 200: durable, or for nobody here. 401: not from Slack. 503: try again."""
        return await checked(request, self._app.signing_secret, self._now_ms, self._callback)

    async def commands(self, request: web.Request) -> web.Response:
        """POST /apps/slack/commands: somebody typed a slash command."""
        return await checked(request, self._app.signing_secret, self._now_ms, self._command)

    async def _callback(self, body: bytes) -> web.Response:
        return await called_back(body, self._take)

    async def _take(self, envelope: Json) -> None:
        heard = await self._heard_by(envelope)
        if not heard:
            log.debug("slack calls for a workspace that is not here", team=str(envelope.get("team_id")))
        takes = [one.webhook.take(envelope["event"]) for one in heard if one.webhook]
        for result in await asyncio.gather(*takes, return_exceptions=True):
            if isinstance(result, BaseException):
                raise result

    async def _command(self, body: bytes) -> web.Response:
        form = command_of(body)
        if form is None or form.get("ssl_check"):
            return web.Response(status=400 if form is None else 200)
        for one in self._of(form.get("api_app_id"), {form.get("team_id")}):
            if one.webhook:
                return await one.webhook.command(form)
        return web.json_response({"response_type": "ephemeral", "text": NOBODY})

    def _of(self, app: object, teams: set[object]) -> list[SlackAdapter]:
        found = [one for one in self._adapters() if isinstance(one, SlackAdapter)]
        return [one for one in found if one.team[0] and one.team[0] == app and one.team[1] in teams]

    async def _heard_by(self, envelope: Json) -> list[SlackAdapter]:
        listed = envelope.get("authorizations")
        named = [each.get("team_id") for each in listed if isinstance(each, dict)] if isinstance(listed, list) else []
        app = envelope.get("api_app_id")
        heard = self._of(app, set(named) or {envelope.get("team_id")})
        channel = _channel(envelope["event"])
        if envelope.get("is_ext_shared_channel") is True and channel:
            everybody = self._of(app, {one.team[1] for one in self._adapters() if isinstance(one, SlackAdapter)})
            heard += [one for one in everybody if one not in heard and await one.is_in(channel)]
        return heard


def _channel(event: Json) -> str:
    item, found = event.get("item"), event.get("channel")
    found = found or (item.get("channel") if isinstance(item, dict) else "")
    found = found.get("id") if isinstance(found, dict) else found
    return found if isinstance(found, str) and ID.fullmatch(found) else ""

"""The double is strict: what the real Slack refuses, it refuses."""

from __future__ import annotations

import json
from typing import Any

import aiohttp
import pytest

from tests.bots.slack.support import Bench
from tests.fakes.slack import APP_TOKEN, BOT_TOKEN, Fault


async def call(slack: Bench, method: str, token: str = BOT_TOKEN, **params: Any) -> dict[str, Any]:
    """The answer to a plain call."""
    form = {name: value if isinstance(value, str) else json.dumps(value) for name, value in params.items()}
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    url = f"{slack.double.url}/api/{method}"
    async with aiohttp.ClientSession() as session, session.post(url, data=form, headers=headers) as response:
        return dict(await response.json())


def line(*elements: Any, kind: str = "rich_text_section") -> list[Any]:
    """Blocks of one line."""
    return [{"type": "rich_text", "elements": [{"type": kind, "elements": list(elements)}]}]


@pytest.mark.parametrize(
    ("method", "params", "error"),
    [
        ("auth.test", {"token_": "xoxb-wrong"}, "invalid_auth"),
        ("auth.test", {"token_": ""}, "not_authed"),
        ("apps.connections.open", {}, "not_allowed_token_type"),
        ("chat.postEverything", {}, "unknown_method"),
        ("chat.postMessage", {}, "invalid_arguments"),
        ("chat.postMessage", {"colour": "red"}, "invalid_arguments"),
        ("chat.postMessage", {"text": ""}, "no_text"),
        ("chat.postMessage", {"text": "x" * 40_001}, "msg_too_long"),
        ("chat.postMessage", {"text": "x", "blocks": line({"type": "text", "text": ""})}, "invalid_blocks"),
        ("chat.postMessage", {"text": "x", "blocks": line()}, "invalid_blocks"),
        (
            "chat.postMessage",
            {"text": "x", "blocks": line({"type": "text", "text": "y", "bold": True})},
            "invalid_blocks",
        ),
        ("chat.postMessage", {"text": "x", "blocks": "{"}, "invalid_blocks_format"),
        ("chat.postMessage", {"text": "x", "channel": "C0NOWHERE"}, "channel_not_found"),
        ("chat.update", {"ts": "1.1", "text": "x"}, "message_not_found"),
        ("reactions.add", {"timestamp": "1.1", "name": "👍"}, "invalid_name"),
        ("users.info", {"user": "U0NOBODY"}, "user_not_found"),
        ("files.getUploadURLExternal", {"filename": "a", "length": 0}, "file_upload_size_zero"),
    ],
)
async def test_refusals(slack: Bench, method: str, params: dict[str, Any], error: str) -> None:
    """Wrong tokens, methods, arguments and blocks are refused by the name that Slack has for it."""
    given = dict(params)
    token = given.pop("token_", BOT_TOKEN)
    if given and method.startswith(("chat.", "reactions.")):
        given = {"channel": slack.garden.id} | given
    assert (await call(slack, method, token, **given))["error"] == error


async def test_scopes_and_rates(slack: Bench) -> None:
    """A method without its scope names the scope; a second post within a second waits."""
    slack.double.scopes.discard("chat:write")
    answer = await call(slack, "chat.postMessage", channel=slack.garden.id, text="x")
    assert (answer["error"], answer["needed"]) == ("missing_scope", "chat:write")
    slack.double.scopes.add("chat:write")
    slack.double.posts_per_s = 1
    assert (await call(slack, "chat.postMessage", channel=slack.garden.id, text="x"))["ok"]
    assert (await call(slack, "chat.postMessage", channel=slack.garden.id, text="x"))["error"] == "ratelimited"


async def test_socket_needs_its_token(slack: Bench) -> None:
    """Only the app-level token opens a socket, and the ticket only once given."""
    assert (await call(slack, "apps.connections.open", APP_TOKEN))["url"].startswith("ws://")
    async with aiohttp.ClientSession() as session, session.get(f"{slack.double.url}/link") as response:
        assert response.status == 403


async def test_faults(slack: Bench) -> None:
    """A fault is for one call; a cut after it has done its work."""
    slack.double.faults.append(Fault("chat.postMessage", cut="after"))
    with pytest.raises(aiohttp.ClientError):
        await call(slack, "chat.postMessage", channel=slack.garden.id, text="x")
    assert [raw["text"] for raw in slack.posts()] == ["x"]

"""Adding an account, what the doctor says of it, and the manifest that an app is made from."""

from __future__ import annotations

import json
from typing import Any

import pytest
from click.testing import CliRunner
from msgspec.structs import replace

from bots.slack import PLATFORM
from bots.slack.config import SlackConfig
from bots.slack.manifest import ENDED, EVENTS, NEEDED, WANTED, command, manifest
from core.contract import Rejected, Retry
from core.model import AccountId
from tests.bots.slack.support import Bench
from tests.fakes.slack import APP_TOKEN, BOT_TOKEN, SECRET, Fault
from tests.fakes.slack_world import TEAM

URL = "https://bridge.example.org/bots/slack"


def given(slack: Bench, **more: Any) -> SlackConfig:
    """What an operator types."""
    return SlackConfig(bot_token=BOT_TOKEN, api_url=f"{slack.double.url}/api", **more)


async def test_an_account_is_prepared(slack: Bench) -> None:
    """Slack is asked who the app is and where; the account is called after the workspace."""
    typed = replace(given(slack, app_token=f" {APP_TOKEN}\n"), bot_token=f" {BOT_TOKEN} ")
    name, config = await PLATFORM.prepare(typed, "http://127.0.0.1:8080")
    assert name == "slack-garden-club"
    assert (config.bot_token, config.app_token) == (BOT_TOKEN, APP_TOKEN)
    assert (config.team_id, config.team_name, config.bot_name) == (TEAM, "Garden Club", "sameroom")
    assert (config.user_id, config.bot_id) == (slack.double.bot.id, slack.double.bot_id)
    assert config.app_id == slack.double.app_id
    assert config.customize


async def test_names_need_a_scope(slack: Bench) -> None:
    """Without chat:write.customize an account works, with names in the text."""
    slack.double.scopes.discard("chat:write.customize")
    _, config = await PLATFORM.prepare(given(slack, app_token=APP_TOKEN), URL)
    assert not config.customize
    found = await PLATFORM.check(config, URL)
    assert [f.what for f in found if not f.ok] == [
        "the app lacks chat:write.customize: people from elsewhere have no names and pictures of their own"
    ]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"bot_token": "xoxp-a-persons-token"}, "xoxb-"),
        ({"bot_token": "xoxb-not-this-app-at-all"}, "invalid_auth"),
        ({"app_token": ""}, "app-level token"),
        ({"app_token": "xoxb-the-wrong-field"}, "xapp-"),
        ({"app_token": "xapp-1-not-this-one-at-all"}, "connections:write"),
        ({"app_token": "", "signing_secret": SECRET, "api_url": "https://slack.com/api"}, "https addresses only"),
    ],
)
async def test_what_cannot_work_is_refused(slack: Bench, change: dict[str, Any], words: str) -> None:
    """Each mistake is named, with how to mend it."""
    with pytest.raises(Rejected, match=words):
        await PLATFORM.prepare(replace(given(slack, app_token=APP_TOKEN), **change), "http://127.0.0.1:8080")


async def test_missing_scopes_are_named(slack: Bench) -> None:
    """An app that may not do what it must is not added; the scopes that it lacks are named."""
    slack.double.scopes -= {"files:read", "reactions:write"}
    with pytest.raises(Rejected, match="files:read, reactions:write") as caught:
        await PLATFORM.prepare(given(slack, app_token=APP_TOKEN), URL)
    assert "Reinstall" in caught.value.reason


async def test_slack_does_not_answer(slack: Bench) -> None:
    """An address where nothing answers, or something else, is worth a look and another try."""
    with pytest.raises(Retry, match="right address"):
        await PLATFORM.prepare(replace(given(slack, app_token=APP_TOKEN), api_url="http://127.0.0.1:9"), URL)
    slack.double.faults.append(Fault("auth.test", 502, "<html>"))
    with pytest.raises(Retry, match="right address"):
        await PLATFORM.prepare(given(slack, app_token=APP_TOKEN), URL)


async def test_the_doctor_of_a_healthy_account(slack: Bench) -> None:
    """Token, scopes and way in are well, through the socket or by calls."""
    for change in ({}, {"app_token": ""}):
        found = await PLATFORM.check(replace(slack.config, **change), URL)
        assert [finding.what for finding in found if not finding.ok] == []
        assert "Garden Club" in found[0].what


@pytest.mark.parametrize(
    ("change", "what", "mend"),
    [
        ({"bot_token": "xoxb-wrong"}, "refuses the app's token", "OAuth & Permissions"),
        ({"app_token": "xapp-wrong"}, "Socket Mode does not work", "connections:write"),
        ({"app_token": "", "signing_secret": ""}, "neither", "accounts add slack"),
        ({"team_id": "T0OTHER01"}, "another workspace", "accounts add slack"),
        ({"api_url": "http://127.0.0.1:9/api"}, "does not answer", "network"),
    ],
)
async def test_the_doctor_finds(slack: Bench, change: dict[str, str], what: str, mend: str) -> None:
    """Each illness is named with its cure."""
    found = [finding for finding in await PLATFORM.check(replace(slack.config, **change), URL) if not finding.ok]
    assert len(found) == 1
    assert what in found[0].what
    assert mend in found[0].mend


async def test_the_doctor_counts_scopes(slack: Bench) -> None:
    """What the app may not do is said, with what is missing by that."""
    slack.double.scopes -= {"commands", "files:write"}
    found = [finding.what for finding in await PLATFORM.check(slack.config, URL) if not finding.ok]
    assert found == ["the app lacks files:write", "the app lacks commands: there is no slash command"]


async def test_a_plain_address_is_found(slack: Bench) -> None:
    """Slack calls https only."""
    from bots.slack.check import unreachable

    assert "https" in unreachable("https://slack.com/api", "http://10.0.0.5/bots/slack")
    assert not unreachable("https://slack.com/api", URL)
    assert not unreachable(slack.config.api_url, "http://10.0.0.5/bots/slack")


def test_next_steps(slack: Bench) -> None:
    """What is left to do depends on the way in."""
    by_socket = PLATFORM.next_steps(AccountId("slack"), slack.config, URL)
    assert "/invite @sameroom" in by_socket[0]
    by_calls = PLATFORM.next_steps(AccountId("slack"), replace(slack.config, app_token=""), URL)
    assert f"{URL}/events" in by_calls[0]
    assert f"{URL}/commands" in by_calls[1]


def test_a_token_has_no_place_on_a_command_line() -> None:
    """The way to add an account is named."""
    with pytest.raises(ValueError, match="bridgebot accounts add slack"):
        PLATFORM.from_target("xoxb-1")


# --- the manifest -------------------------------------------------------------------------------------------


def test_the_manifest_for_socket_mode() -> None:
    """Without an address the app uses Socket Mode; scopes, events and the command are all there."""
    result = CliRunner().invoke(command, ["--name", "Garden Bridge", "--prefix", "garden"])
    made = json.loads(result.output)
    assert made["settings"]["socket_mode_enabled"] is True
    assert "request_url" not in made["settings"]["event_subscriptions"]
    assert set(made["oauth_config"]["scopes"]["bot"]) == {*NEEDED, *WANTED}
    assert set(made["settings"]["event_subscriptions"]["bot_events"]) == set(EVENTS)
    assert made["features"]["slash_commands"][0]["command"] == "/garden"
    assert made["display_information"]["name"] == "Garden Bridge"


def test_the_manifest_for_calls() -> None:
    """With an address, events and commands go there."""
    made = manifest("Bridge", url=URL + "/")
    assert made["settings"]["event_subscriptions"]["request_url"] == f"{URL}/events"
    assert made["features"]["slash_commands"][0]["url"] == f"{URL}/commands"
    assert made["settings"]["socket_mode_enabled"] is False


def test_the_manifest_for_many_workspaces() -> None:
    """With the portal's address people are led back there, and Slack calls one place for all workspaces; the app hears
    when one of them takes it out."""
    result = CliRunner().invoke(command, ["--site", "https://bridge.example.org/"])
    made = json.loads(result.output)
    assert made["oauth_config"]["redirect_urls"] == ["https://bridge.example.org/add/slack/done"]
    events = made["settings"]["event_subscriptions"]
    assert events["request_url"] == "https://bridge.example.org/apps/slack/events"
    assert set(events["bot_events"]) == {*EVENTS, *ENDED}
    assert made["features"]["slash_commands"][0]["url"] == "https://bridge.example.org/apps/slack/commands"
    assert (made["settings"]["socket_mode_enabled"], made["settings"]["token_rotation_enabled"]) == (False, False)


@pytest.mark.parametrize(
    "arguments",
    [
        ["--site", "https://x.example", "--url", "https://x.example"],
        ["--url", "http://x.example"],
        ["--name", "x" * 36],
        ["--name", " "],
    ],
)
def test_manifests_that_slack_would_refuse(arguments: list[str]) -> None:
    """Slack's own limits are said in words."""
    result = CliRunner().invoke(command, arguments)
    assert result.exit_code == 1
    assert "Error: " in result.output


async def test_the_manifest_asks_for_what_is_used(slack: Bench) -> None:
    """Every scope that the double asks of a method is in the manifest."""
    from tests.fakes.slack_methods import METHODS

    assert {scope for scope, _, _ in METHODS.values() if scope} <= {*NEEDED, *WANTED}

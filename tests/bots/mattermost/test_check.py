"""Adding an account, and what the doctor says of it."""

from __future__ import annotations

import json
from collections.abc import Sequence

import pytest
from msgspec.structs import replace

from bots.mattermost import PLATFORM
from bots.mattermost.config import MattermostConfig, base_url, from_target
from core.contract import Finding, Rejected, Retry
from core.model import AccountId
from tests.bots.mattermost.conftest import Garden
from tests.fakes.mattermost import Fault

URL = "http://portal.example/bots/mm"


def bad(findings: Sequence[Finding]) -> list[str]:
    """What is wrong, and how to mend it."""
    return [f"{finding.what}: {finding.mend}" for finding in findings if not finding.ok]


async def test_a_token_is_looked_at(quiet: Garden) -> None:
    """The account is called like the bot, and the address is tidied."""
    asked = MattermostConfig(server_url=f" {quiet.double.url}/ ", token=f" {quiet.double.bot.token}\n")
    name, config = await PLATFORM.prepare(asked, "http://portal.example")
    assert name == "bridge"
    assert (config.server_url, config.token, config.username) == (quiet.double.url, quiet.double.bot.token, "bridge")


async def test_a_password_becomes_a_session(quiet: Garden) -> None:
    """The password is used once and not kept; the session's token is."""
    quiet.ann.password = "correct horse"
    asked = MattermostConfig(server_url=quiet.double.url, login="ann", password="correct horse")
    _, config = await PLATFORM.prepare(asked, "")
    assert (config.token, config.login, config.password) == (quiet.ann.token, "", "")
    with pytest.raises(Rejected, match="user name and password"):
        await PLATFORM.prepare(replace(asked, password="wrong"), "")
    quiet.ann.mfa = True
    with pytest.raises(Rejected, match="second factor"):
        await PLATFORM.prepare(asked, "")


async def test_a_session_is_signed_out(quiet: Garden) -> None:
    """What we signed in ends with the account."""
    quiet.ann.password = "correct horse"
    asked = MattermostConfig(server_url=quiet.double.url, login="ann", password="correct horse")
    _, config = await PLATFORM.prepare(asked, "")
    assert config.own_session
    assert "is signed out" in await PLATFORM.revoke(config, URL, None)
    assert "refuses the bot's token" in bad(await PLATFORM.check(config, URL))[0]
    assert "worthless already" in await PLATFORM.revoke(config, URL, None)


async def test_a_token_is_revoked_where_the_server_lets_us(quiet: Garden) -> None:
    """Else, and where nobody can tell which token it is, people are told where to do it; the token still works then."""
    config, double = quiet.config, quiet.double
    assert "does not let the bot revoke" in await PLATFORM.revoke(config, URL, None)
    double.may_revoke = True
    double.more_sessions = [{"id": "s2", "props": {"user_access_token_id": "another"}}]
    assert "Bot Accounts" in await PLATFORM.revoke(config, URL, None)
    assert (await PLATFORM.prepare(config, ""))[1].token == config.token
    double.more_sessions = []
    assert await PLATFORM.revoke(config, URL, None) == "The token is revoked."
    with pytest.raises(Rejected, match="does not take this token"):
        await PLATFORM.prepare(config, "")
    with pytest.raises(Retry):
        await PLATFORM.revoke(replace(config, server_url="http://127.0.0.1:9"), URL, None)


async def test_what_is_wrong_is_said(quiet: Garden) -> None:
    """A wrong token, no token, no server, another server: each in words that say what to do."""
    good = quiet.config
    with pytest.raises(Rejected, match="Create New Token"):
        await PLATFORM.prepare(replace(good, token="x" * 26), "")
    with pytest.raises(Rejected, match="Give a token"):
        await PLATFORM.prepare(replace(good, token=""), "")
    with pytest.raises(Retry, match="right address"):
        await PLATFORM.prepare(replace(good, server_url="http://127.0.0.1:9"), "")
    with pytest.raises(Rejected, match="looks like"):
        await PLATFORM.prepare(replace(good, server_url="ftp://chat.example.org"), "")
    quiet.double.faults.append(Fault("GET config/client", 404, "<html>not found</html>"))
    with pytest.raises(Rejected, match="Mattermost server"):
        await PLATFORM.prepare(good, "")
    quiet.double.faults.append(Fault("GET config/client", 200, json.loads('{"hello": "world"}')))
    with pytest.raises(Rejected, match="no Mattermost server"):
        await PLATFORM.prepare(good, "")


@pytest.mark.parametrize(
    ("raw", "base"),
    [
        ("chat.example.org", "https://chat.example.org"),
        ("http://10.0.0.7:8065/", "http://10.0.0.7:8065"),
        ("https://example.org/mattermost/api/v4", "https://example.org/mattermost"),
    ],
)
def test_addresses(raw: str, base: str) -> None:
    """What people type leads to the server, also in a private network or below a path."""
    assert base_url(raw) == base


@pytest.mark.parametrize("raw", ["", "https://", "https://a:b@c.example", "https://c.example/?x=1", "javascript://x"])
def test_no_addresses(raw: str) -> None:
    """What cannot be a server is refused."""
    with pytest.raises(ValueError, match="address"):
        base_url(raw)


def test_a_target_is_refused_in_words() -> None:
    """A token does not belong on a command line."""
    with pytest.raises(ValueError, match="accounts add mattermost"):
        from_target("chat.example.org")


async def test_a_healthy_account(quiet: Garden) -> None:
    """Everything is looked at, and everything is fine."""
    found = await PLATFORM.check(quiet.config, URL)
    assert not bad(found)
    said = " ".join(finding.what for finding in found)
    for words in ("11.4.0", "@bridge", "websocket works", "1 teams and 1 channels", "names stand in the text"):
        assert words in said
    quiet.double.config["EnablePostUsernameOverride"] = "true"
    assert "own names" in (await PLATFORM.check(quiet.config, URL))[-1].what
    quiet.double.config["Version"] = "12.1.0"
    assert "this version" in (await PLATFORM.check(quiet.config, URL))[-1].what


async def test_each_fault_is_found(quiet: Garden) -> None:
    """A wrong token, no server, no websocket, no channel, no team: each has its mending."""
    (wrong,) = bad(await PLATFORM.check(replace(quiet.config, token="x" * 26), URL))
    assert "token" in wrong
    (gone,) = bad(await PLATFORM.check(replace(quiet.config, server_url="http://127.0.0.1:9"), URL))
    assert "reached" in gone
    quiet.double.faults.append(Fault("GET websocket", 400, "Bad Request"))
    (deaf,) = bad(await PLATFORM.check(quiet.config, URL))
    assert "Upgrade" in deaf
    quiet.double.faults.append(Fault("GET users/me/channels", 200, "[]"))
    (alone,) = bad(await PLATFORM.check(quiet.config, URL))
    assert "/invite @bridge" in alone
    del quiet.channel.members[quiet.double.bot.id]
    (homeless,) = bad(await PLATFORM.check(quiet.config, URL))
    assert "Invite People" in homeless


def test_the_next_steps_name_the_bot() -> None:
    """From the account to the first message in exact words."""
    config = MattermostConfig(server_url="https://chat.example.org", token="t", username="bridge")
    steps = PLATFORM.next_steps(AccountId("mm"), config, URL)
    assert "/invite @bridge" in " ".join(steps)


async def test_the_invitation_names_the_bot_and_the_code(garden: Garden) -> None:
    """A stranger needs no more than that."""
    invite = garden.adapter.invite("HLDMU-42K7")
    assert invite.steps[0] == "In the channel, type: /invite @bridge"
    assert "HLDMU-42K7" in invite.steps[1]

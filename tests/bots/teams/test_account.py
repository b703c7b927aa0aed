"""An account's life: signing in, settings, what the operator is told, the app package, the configuration's rules."""

from __future__ import annotations

import asyncio
import io
import json
import re
import struct
import sys
import zipfile
import zlib
from pathlib import Path
from typing import Any

import msgspec
import pytest
from click.testing import CliRunner

from bots.teams import PLATFORM
from bots.teams.config import TeamsConfig
from bots.teams.http import Http
from bots.teams.login import Login
from bots.teams.manifest import command, manifest, package
from core.contract import AuthLost, Rejected, Retry
from core.model import AccountId
from core.store import Redis
from tests.bots.teams.conftest import running
from tests.fakes.teams import BotService, Fault

APP = "11111111-2222-3333-4444-555555555555"


# --- signing in ---------------------------------------------------------------------------------------------


async def test_one_token_for_many(store: Redis) -> None:
    """Fifty ask at once; one request is made. It is renewed before it runs out."""
    async with BotService() as service:
        http, now = Http(), [1000.0]
        login = Login(TeamsConfig(**service.settings()), http, lambda: now[0])
        tokens = await asyncio.gather(*(login.token() for _ in range(50)))
        assert len(set(tokens)) == 1
        now[0] += 3600 - 301
        assert await login.token() == tokens[0]
        now[0] += 2
        assert await login.token() != tokens[0]
        assert len(service.transcript) == 2
        await http.close()


async def test_an_account_comes_online_and_says_why_not(store: Redis) -> None:
    """Wrong credentials are said in words; a login service that is away is asked again."""
    async with running(store) as world:
        world.service.faults.append(Fault("oauth2", 503, times=1))
        await world.adapter.start(world.inbox)
        await world.inbox.state("online")
        assert "503" in world.inbox.states[0]
    async with running(store, app_secret="wrong") as world:
        await world.adapter.start(world.inbox)
        await world.inbox.state("client secret is wrong")


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        (Fault("oauth2"), Retry),
        (Fault("oauth2", 500), Retry),
        (Fault("oauth2", 200), Retry),
        (Fault("oauth2", 302, headers={"Location": "https://evil.example/"}), Retry),
        (Fault("oauth2", 400, body={"error": "unauthorized_client"}), AuthLost),
        (Fault("oauth2", 401, body={"error_description": "AADSTS7000222: expired"}), AuthLost),
    ],
)
async def test_what_the_login_service_answers(fault: Fault, kind: type[Exception]) -> None:
    """A refusal is final until somebody mends it; everything else may pass."""
    async with BotService() as service:
        http = Http()
        service.faults.append(Fault(fault.fits, fault.status, headers=fault.headers, body=fault.body))
        with pytest.raises(kind):
            await Login(TeamsConfig(**service.settings()), http, lambda: 0.0).token()
        await http.close()


# --- what the operator is told ------------------------------------------------------------------------------


async def test_adding_an_account(store: Redis) -> None:
    """Good credentials pass; wrong ones are refused with what to do; silence is to be tried again."""
    async with BotService() as service:
        config = TeamsConfig(**service.settings())
        assert await PLATFORM.prepare(config, "https://b.example") == ("teams", config)
        for change, words in (
            ({"app_secret": "x"}, "copy its Value"),
            ({"app_id": APP.replace("1", "2")}, "does not know the application ID"),
        ):
            with pytest.raises(Rejected, match=words):
                await PLATFORM.prepare(msgspec.structs.replace(config, **change), "https://b.example")
        with pytest.raises(Retry):
            await PLATFORM.prepare(
                msgspec.structs.replace(config, login_url="http://127.0.0.1:1/login"), "https://b.example"
            )


async def test_the_doctor(store: Redis) -> None:
    """Each thing that can be wrong is seen, and says how to mend it."""
    async with BotService() as service:
        config = TeamsConfig(**service.settings())
        good = await PLATFORM.check(config, "https://b.example/bots/teams")
        assert [finding.ok for finding in good] == [True, True, True, False]
        assert "https://b.example/bots/teams/messages" in good[2].what
        broken = msgspec.structs.replace(config, app_secret="x", openid_url="http://127.0.0.1:1/x")
        for url in ("http://b.example/bots/teams", "https://b.example:8443/bots/teams"):
            found = await PLATFORM.check(broken, url)
            assert not any(finding.ok for finding in found)
            assert all(finding.mend for finding in found)
        assert not any(service.secret in finding.what + finding.mend for finding in good)


def test_next_steps() -> None:
    """The endpoint, the channel, the package, the upload, the first words."""
    steps = "\n".join(PLATFORM.next_steps(AccountId("teams"), a_config(), "https://b.example/bots/teams"))
    for words in (
        "https://b.example/bots/teams/messages",
        f"teams-manifest --app-id {APP}",
        "Upload",
        "-sameroom open",
    ):
        assert words in steps


def a_config(**more: Any) -> TeamsConfig:
    """As an operator would have it."""
    return TeamsConfig(**({"app_id": APP, "app_secret": "s", "tenant_id": "club.onmicrosoft.com"} | more))


BROKEN: list[tuple[dict[str, Any], str]] = [
    ({"app_id": ""}, "app_id"),
    ({"app_secret": " s"}, "blanks"),
    ({"app_secret": "s\n"}, "blanks"),
    ({"tenant_id": "../common"}, "tenant"),
    ({"login_url": "http://login.example"}, "https"),
    ({"login_url": "http://10.0.0.1/login", "allow_http_loopback": True}, "https"),
    ({"openid_url": "ftp://x"}, "https"),
    ({"service_hosts": ()}, "service_hosts"),
    ({"app_rate_per_s": 0}, "app_rate_per_s"),
]


@pytest.mark.parametrize("number", range(len(BROKEN)))
def test_settings_that_cannot_be(number: int) -> None:
    """They say what to write."""
    change, words = BROKEN[number]
    with pytest.raises(ValueError, match=words):
        a_config(**change)


def test_the_clocks_may_not_be_far_apart() -> None:
    """A leeway of more than five minutes is refused when the account is read."""
    raw = msgspec.to_builtins(a_config()) | {"leeway_s": 301}
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(raw, TeamsConfig)


def test_sovereign_clouds_by_settings() -> None:
    """Their hosts, login and issuer are fields like the others."""
    config = a_config(
        login_url="https://login.microsoftonline.us",
        openid_url="https://login.botframework.azure.us/v1/.well-known/openidconfiguration",
        issuer="https://api.botframework.us",
        scope="https://api.botframework.us/.default",
        service_hosts=("smba.infra.gov.teams.microsoft.us",),
    )
    assert config.token_url == "https://login.microsoftonline.us/club.onmicrosoft.com/oauth2/v2.0/token"
    assert config.is_service("https://smba.infra.gov.teams.microsoft.us/teams/")
    assert not config.is_service("https://smba.trafficmanager.net/teams/")


def test_secrets_do_not_go_on_command_lines() -> None:
    """``run --teams`` says how to do it."""
    with pytest.raises(ValueError, match="accounts add teams"):
        PLATFORM.from_target("x")


def test_the_platform_imports_lightly() -> None:
    """Looking a platform up loads neither a client nor cryptography."""
    import subprocess

    code = "import sys, bots.teams; print([m for m in ('aiohttp', 'jwt', 'cryptography') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_inviting() -> None:
    """Words for people, with the code, and the app's link where there is one."""
    from tests.bots.teams.conftest import services

    adapter = PLATFORM.create(
        AccountId("teams"), a_config(app_link="https://teams.microsoft.com/l/app/1"), services(None, "")
    )  # type: ignore[arg-type]
    invite = adapter.invite("HLDMU-42K7")  # type: ignore[attr-defined]
    assert "-sameroom connect HLDMU-42K7" in invite.steps[-1]
    assert invite.url == "https://teams.microsoft.com/l/app/1"


# --- the app package ----------------------------------------------------------------------------------------

LENGTHS = {
    ("name", "short"): 30,
    ("name", "full"): 100,
    ("description", "short"): 80,
    ("description", "full"): 4000,
    ("developer", "name"): 32,
}
"""Longest values by the schema of version 1.24."""
GUID = r"[0-9a-fA-F]{8}-([0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}"
KNOWN = {
    "$schema", "manifestVersion", "version", "id", "developer", "name", "description", "icons", "accentColor", "bots",
    "defaultInstallScope", "defaultGroupCapability", "webApplicationInfo", "authorization",
}  # fmt: skip


@pytest.mark.parametrize("name", ["BridgeBot", "A name of thirty characters...", "ü"])
def test_the_manifest_keeps_the_rules(name: str) -> None:
    """Required fields, lengths, forms and numbers as the schema has them, and nothing that it does not know."""
    made = manifest(APP, name, "https://b.example", version="1.2.3")
    assert set(made) == KNOWN
    assert made["manifestVersion"] == "1.24"
    assert "/v1.24/" in made["$schema"]
    for (part, field), most in LENGTHS.items():
        assert 1 <= len(made[part][field]) <= most
    for field in ("websiteUrl", "privacyUrl", "termsOfUseUrl"):
        assert re.match("https://", made["developer"][field])
    assert re.fullmatch(r"#[0-9a-fA-F]{6}", made["accentColor"])
    assert re.fullmatch(GUID, made["id"])
    assert made["id"] != APP
    (bot,) = made["bots"]
    assert bot["botId"] == made["webApplicationInfo"]["id"] == APP
    assert set(bot["scopes"]) <= {"team", "personal", "groupChat", "copilot"}
    assert len(bot["commandLists"]) <= 3
    for commands in bot["commandLists"]:
        assert len(commands["commands"]) <= 12
        assert all(len(one["title"]) <= 128 and one["description"] for one in commands["commands"])
        assert all(one["title"].startswith("-sameroom ") for one in commands["commands"])
    permissions = made["authorization"]["permissions"]["resourceSpecific"]
    assert {one["name"] for one in permissions} == {"ChannelMessage.Read.Group", "ChatMessage.Read.Chat"}
    assert {one["type"] for one in permissions} == {"Application"}


def pixels(png: bytes) -> tuple[int, int, set[bytes]]:
    """Width, height and colours of an uncompressed RGBA picture."""
    assert png.startswith(b"\x89PNG\r\n\x1a\n")
    width, height, depth, colour = struct.unpack(">IIBB", png[16:26])
    assert (depth, colour) == (8, 6)
    at, raw = 8, b""
    while at < len(png):
        (size,) = struct.unpack(">I", png[at : at + 4])
        kind, data = png[at + 4 : at + 8], png[at + 8 : at + 8 + size]
        assert struct.unpack(">I", png[at + 8 + size : at + 12 + size])[0] == zlib.crc32(kind + data)
        raw += data if kind == b"IDAT" else b""
        at += 12 + size
    rows = zlib.decompress(raw)
    return (
        width,
        height,
        {rows[i : i + 4] for y in range(height) for i in range(y * (4 * width + 1) + 1, (y + 1) * (4 * width + 1), 4)},
    )


def test_the_package(tmp_path: Path) -> None:
    """A zip with the manifest and both icons in their sizes, the outline white on nothing; the same each time."""
    out = tmp_path / "app.zip"
    result = CliRunner().invoke(command, ["--app-id", APP, "--name", "Bridge", "--out", str(out)])
    assert result.exit_code == 0, result.output
    with zipfile.ZipFile(io.BytesIO(out.read_bytes())) as archive:
        described = json.loads(archive.read("manifest.json"))
        assert sorted(archive.namelist()) == ["color.png", "manifest.json", "outline.png"]
        assert pixels(archive.read(described["icons"]["color"]))[:2] == (192, 192)
        width, height, colours = pixels(archive.read(described["icons"]["outline"]))
    assert (width, height, colours) == (32, 32, {b"\xff\xff\xff\xff", b"\0\0\0\0"})
    assert described["name"]["short"] == "Bridge"
    assert package(described) == package(described)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--app-id", "x"], "no application ID"),
        (["--app-id", APP, "--name", "x" * 31], "30 characters"),
        (["--app-id", APP, "--website", "http://x"], "https"),
        (["--app-id", APP, "--version", "1"], "1.0.0"),
    ],
)
def test_what_a_package_cannot_be_made_of(options: list[str], words: str) -> None:
    """It is said what to write."""
    result = CliRunner().invoke(command, options)
    assert result.exit_code == 1
    assert words in result.output

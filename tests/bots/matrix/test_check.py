"""Adding an account, looking at it, and the registration file, on a real homeserver."""

from __future__ import annotations

import json
from pathlib import Path

import aiohttp
import pytest
from click.testing import CliRunner
from msgspec.structs import replace

from bots.matrix import PLATFORM, MatrixConfig, next_steps, prepare
from bots.matrix.config import from_target, room_alias
from bots.matrix.registration import command, registration
from core.contract import Rejected, Retry
from core.model import AccountId, BotAdded
from core.store import Redis
from tests.bots.matrix.scene import config_of
from tests.bots.matrix.support import ACCOUNT, on_stage, post
from tests.contract.harness import Site
from tests.fakes.matrix_proxy import matrix_proxy
from tests.servers.matrix import Person, Synapse, free_port


async def sign_up(synapse: Synapse, suffix: str) -> Person:
    """A new account."""
    bot = Person(synapse, "Robot", suffix)
    async with aiohttp.ClientSession() as bot.session:
        await bot.sign_up()
    return bot


async def test_a_password_becomes_a_token(synapse: Synapse) -> None:
    """User and password are exchanged; a token is looked at; both give the account its name."""
    bot = await sign_up(synapse, "pw1")
    name, config = await prepare(
        MatrixConfig(homeserver=synapse.url + "/", user_id=bot.id, password=bot.password), "http://x"
    )
    assert name == "matrix-robot-pw1-localhost"
    assert config == MatrixConfig(homeserver=synapse.url, user_id=bot.id, token=config.token, own_session=True)
    by_token = await prepare(MatrixConfig(homeserver=synapse.url, token=config.token), "http://x")
    assert by_token == (name, replace(config, own_session=False))


async def test_what_we_signed_in_is_signed_out(synapse: Synapse) -> None:
    """A session of ours ends with the account; one that was given stays, and so does an application service, and where
    to end them is said."""
    bot = await sign_up(synapse, "bye")
    asked = MatrixConfig(homeserver=synapse.url, user_id=bot.id, password=bot.password)
    _, config = await prepare(asked, "http://x")
    given = replace(config, own_session=False)
    assert "Settings, Sessions" in await PLATFORM.revoke(given, "http://x", None)
    assert "signed in as" in (await PLATFORM.check(given, "http://x"))[1].what
    assert "is signed out" in await PLATFORM.revoke(config, "http://x", None)
    assert "does not take the token" in (await PLATFORM.check(config, "http://x"))[1].what
    assert "over already" in await PLATFORM.revoke(config, "http://x", None)
    service = config_of(synapse)
    assert "registration file" in await PLATFORM.revoke(service, "http://x", None)
    assert all(finding.ok for finding in (await PLATFORM.check(service, synapse.door.url))[:2])
    with pytest.raises(Retry):
        await PLATFORM.revoke(replace(config, homeserver=f"http://127.0.0.1:{free_port()}"), "http://x", None)


async def test_what_is_wrong_is_said(synapse: Synapse) -> None:
    """A wrong password, token, address, and an unknown application service each say how to mend it."""
    bot = await sign_up(synapse, "pw2")
    wrong = MatrixConfig(homeserver=synapse.url, user_id=bot.id, password="wrong")
    for config, words in (
        (wrong, "user name and password"),
        (MatrixConfig(homeserver=synapse.url), "Give the bot's user name"),
        (replace(wrong, token="wrong"), "access token"),
        (replace(config_of(synapse), token="wrong-token"), "app_service_config_files"),
    ):
        with pytest.raises(Rejected, match=words):
            await prepare(config, "http://x")
    with pytest.raises(Retry, match=r"https://matrix\.example\.org"):
        await prepare(replace(wrong, homeserver=f"http://127.0.0.1:{free_port()}"), "http://x")
    async with matrix_proxy() as other:
        with pytest.raises(Rejected, match="No Matrix homeserver"):
            await prepare(replace(wrong, homeserver=other.url), "http://x")


async def test_the_doctor(synapse: Synapse, store: Redis) -> None:
    """A good account is all well; each thing that is not, is seen and says how to mend it."""
    site = Site()
    url = site.account_url(ACCOUNT)
    config = config_of(synapse)
    adapter = PLATFORM.create(ACCOUNT, config, _services(store, site))
    from tests.contract.stage import Recorder

    site.add(adapter, Recorder())
    await site.start()
    synapse.door.lead_to(url)
    try:
        found = await PLATFORM.check(config, url)
        assert [finding.ok for finding in found] == [True, True, True], found
        assert "reaches us" in found[-1].what
        synapse.door.lead_to(f"http://127.0.0.1:{free_port()}")
        assert "registration file" in (await PLATFORM.check(config, url))[-1].mend
        assert "appservice_id" in (await PLATFORM.check(replace(config, appservice_id="other"), url))[-1].mend
        gone = await PLATFORM.check(replace(config, homeserver=f"http://127.0.0.1:{free_port()}"), url)
        assert [finding.ok for finding in gone] == [False]
        unknown = await PLATFORM.check(replace(config, token="unknown-token"), url)
        assert not unknown[-1].ok
        assert "restarted" in unknown[-1].mend
    finally:
        synapse.door.lead_to("")
        await site.stop()
    bot = await sign_up(synapse, "doc")
    plain = MatrixConfig(homeserver=synapse.url, user_id=bot.id, token=bot.token)
    assert [finding.ok for finding in await PLATFORM.check(plain, url)] == [True, True, True]
    other = await PLATFORM.check(replace(plain, user_id="@else:localhost"), url)
    assert "not @else:localhost's" in other[-1].what


def _services(store: Redis, site: Site):  # type: ignore[no-untyped-def]
    from tests.contract.harness import services

    return services(store, ACCOUNT, site.url)


def test_next_steps(synapse: Synapse) -> None:
    """What to do next names the bot, and the address that the homeserver must reach."""
    steps = next_steps(AccountId("matrix"), config_of(synapse), "https://bridge.example.org/bots/matrix")
    assert "https://bridge.example.org/bots/matrix" in steps[0]
    assert synapse.bot in steps[1]
    assert len(next_steps(AccountId("m"), MatrixConfig(homeserver="https://x", user_id="@a:b", token="t"), "")) == 2


def test_there_is_no_target() -> None:
    """A token on a command line would be everybody's to read."""
    with pytest.raises(ValueError, match="accounts add matrix"):
        from_target("https://example.org")


@pytest.mark.parametrize(
    ("entry", "alias"),
    [
        ("#room:example.org", "#room:example.org"),
        ("!room", "!room"),
        ("gitter:Garden/Tools", "#garden_tools:gitter.im"),
        ("gitter:/garden/tools/", "#garden_tools:gitter.im"),
    ],
)
def test_rooms_that_were_on_gitter(entry: str, alias: str) -> None:
    """``gitter:org/room`` is the alias where the room went."""
    assert room_alias(entry) == alias


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"homeserver": ""}, "homeserver"),
        ({"homeserver": "a b"}, "homeserver"),
        ({"ghost_prefix": "A B"}, "ghost_prefix"),
    ],
)
def test_settings_that_cannot_be(given: dict[str, str], words: str) -> None:
    """Each says what to write."""
    with pytest.raises(ValueError, match=words):
        MatrixConfig(**{"homeserver": "https://x"} | given)  # type: ignore[arg-type]


def test_the_command(tmp_path: Path) -> None:
    """It writes both files for their owner only, never twice, and says what to do with them."""
    args = ["--homeserver", "http://localhost:8008", "--server-name", "example.org"]
    args += ["--url", "https://bridge.example.org/", "--out", str(tmp_path)]
    result = CliRunner().invoke(command, args)
    assert result.exit_code == 0, result.output
    yaml, account = tmp_path / "matrix-registration.yaml", tmp_path / "matrix-account.json"
    assert {oct(file.stat().st_mode)[-3:] for file in (yaml, account)} == {"600"}
    config = MatrixConfig(**json.loads(account.read_text()))
    assert config.is_appservice
    text = yaml.read_text()
    assert 'url: "https://bridge.example.org/bots/matrix"' in text
    assert config.token in text
    assert config.hs_token in text
    assert config.token not in result.output
    assert "accounts add matrix" in result.output
    again = CliRunner().invoke(command, args)
    assert again.exit_code == 1
    assert "there already" in again.output
    bad = CliRunner().invoke(command, [*args[:-1], str(tmp_path / "x"), "--prefix", "A B"])
    assert bad.exit_code == 1
    assert "ghost_prefix" in bad.output


async def test_an_application_service_without_a_command(tmp_path: Path, store: Redis) -> None:
    """Asked for in the form, it gets tokens of its own and a file for the homeserver; with the file there it works."""
    server = Synapse(tmp_path / "synapse")
    server.registration = registration(config_of(server), server.door.url)
    asked = MatrixConfig(homeserver=server.url, user_id=server.bot, as_service=True)
    with server:
        for wrong, words in (
            (replace(asked, password="secret"), "leave password and token empty"),
            (replace(asked, user_id="bridgebot"), "@bridgebot:example.org"),
        ):
            with pytest.raises(Rejected, match=words):
                await prepare(wrong, "http://x")
        name, config = await prepare(asked, "http://x")
        assert name == "matrix-localhost"
        assert len({config.token, config.hs_token, config.appservice_id, "", "bridgebot"}) == 5
        steps = next_steps(ACCOUNT, config, server.door.url)
        assert f"bridgebot accounts file {ACCOUNT}" in steps[0]
        assert "app_service_config_files" in steps[1]
        assert not (await PLATFORM.check(config, server.door.url))[1].ok
    assert PLATFORM.handout(ACCOUNT, replace(config, hs_token=""), server.door.url) is None
    fresh = Synapse(tmp_path / "again")
    file = PLATFORM.handout(ACCOUNT, config, fresh.door.url)
    assert file
    assert file.name == "matrix-registration.yaml"
    fresh.registration = file.text
    with fresh:
        async with on_stage(fresh, store, replace(config, homeserver=fresh.url)) as stage:
            await stage.heard(BotAdded)
            await stage.adapter.send(post(stage.room, "it works"))
            assert (await stage.line("it works")).author == "Alice"


async def test_a_homeserver_takes_the_file(tmp_path: Path, store: Redis) -> None:
    """A homeserver with the registration file as it is written takes a message from a ghost, and brings one back."""
    server = Synapse(tmp_path / "synapse")
    config = replace(config_of(server), appservice_id="matrix")
    server.registration = registration(config, server.door.url)
    with server:
        async with on_stage(server, store, config) as stage:
            await stage.heard(BotAdded)
            await stage.adapter.send(post(stage.room, "it works"))
            assert (await stage.line("it works")).author == "Alice"

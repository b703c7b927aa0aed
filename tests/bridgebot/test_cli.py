"""The command line: help everywhere, quick, and what `accounts`, `tubes`, `log`, `replay`, `export` print."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from bots import registry
from bridgebot.cli import cli
from core import keys
from core.model import AccountId, RoomId
from core.store import Redis
from core.wire import DeadLetter, RoomState, SecurityRecord, Tube, encode
from tests.bridgebot.support import KEY, ROOT, call

A, B = RoomId("irc/#garden"), RoomId("web/kitchen")


def every_command() -> list[tuple[str, ...]]:
    """All commands, and those within them."""
    found: list[tuple[str, ...]] = [()]
    for name in cli.list_commands(click.Context(cli)):
        found.append((name,))
        command = cli.get_command(click.Context(cli), name)
        if isinstance(command, click.Group):
            found += [(name, inner) for inner in command.commands]
    return found


@pytest.mark.parametrize("words", every_command(), ids=" ".join)
def test_help_of_every_command(words: tuple[str, ...]) -> None:
    """Each says what it does and what it takes."""
    shown = CliRunner().invoke(cli, [*words, "--help"], prog_name="bridgebot")
    assert shown.exit_code == 0
    assert shown.output.startswith("Usage: " + " ".join(["bridgebot", *words]))


def test_run_has_an_option_for_every_platform() -> None:
    """A row in the registry is all it takes."""
    command = cli.get_command(click.Context(cli), "run")
    assert command is not None
    assert {f"--{name}" for name in registry.names()} <= {word for option in command.params for word in option.opts}


def test_help_loads_nothing_heavy() -> None:
    """The overview is there at once: no server, no store client, no platform is imported for it."""
    code = (
        "import sys; from bridgebot.cli import cli\n"
        "try: cli(['--help'])\n"
        "except SystemExit: pass\n"
        "heavy = {'aiohttp', 'redis', 'structlog', 'uvloop', 'bots.irc', 'bots.teams', 'cryptography', 'rich'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)


def test_the_version_is_told() -> None:
    """Also from a folder that was never installed."""
    shown = CliRunner().invoke(cli, ["--version"])
    assert (shown.exit_code, shown.output.startswith("bridgebot")) == (0, True)


def test_every_platform_of_the_registry_is_there() -> None:
    """Each row leads to a platform of that name."""
    assert [registry.platform(name).id for name in registry.names()] == registry.names()


def test_a_platform_that_is_not_installed_says_how(monkeypatch: pytest.MonkeyPatch) -> None:
    """A missing library is not a traceback but a line to type."""
    monkeypatch.setitem(registry.PLATFORMS, "demo", "a_library_that_is_not_there:PLATFORM")
    with pytest.raises(registry.UnknownPlatform, match=r"pip install 'bridgebot-swarm\[demo\]'"):
        registry.platform("demo")


def test_accounts_are_added_listed_and_removed(tmp_path: Path) -> None:
    """The whole life of an account, on a data folder that nobody runs."""
    data = ("--data", str(tmp_path / "data"))
    add = ("accounts", "add", "irc")
    assert call(tmp_path, "accounts", "list", *data).stdout.startswith("There are no accounts yet.")
    added = call(tmp_path, *add, "127.0.0.1:1/#a?nick=two&tls=0", *data).stdout.splitlines()
    assert added[0] == "Added irc-127-0-0-1-1."
    assert added[1].startswith("  BAD  account irc-127-0-0-1-1: 127.0.0.1:1 does not answer: ")
    assert added[3:5] == ["What is left to do:", "  1. The bot joins #a by itself, and says hello."]
    again = call(tmp_path, *add, "127.0.0.1:1/#a?nick=two&tls=0", *data)
    assert again.stdout == "It is there already: irc-127-0-0-1-1.\n"
    assert "Choose another name" in call(tmp_path, *add, "x/#b", "--id", "irc-127-0-0-1-1", *data).stderr
    wrong = call(tmp_path, *add, "-", *data, text='{"hst": 1}')
    assert (wrong.returncode, "Its fields are: host, port" in wrong.stderr) == (1, True)
    listed = call(tmp_path, "accounts", "list", *data).stdout
    assert "host=127.0.0.1  port=1  tls=False  channels=#a  nick=two" in listed
    assert call(tmp_path, "accounts", "remove", "irc-127-0-0-1-1", *data).stdout == "Removed irc-127-0-0-1-1.\n"
    gone = call(tmp_path, "accounts", "remove", "irc-127-0-0-1-1", *data)
    assert gone.stderr == "Error: There is no account 'irc-127-0-0-1-1'. There are: none.\n"


async def test_what_the_relay_keeps_is_shown(tmp_path: Path, store: Redis, store_url: str) -> None:
    """Tubes with their rooms and states, the security log, dead letters, and all of it as JSON."""
    env = {"REDIS_URL": store_url, "SECRET_KEY": KEY}
    assert "No rooms are connected yet." in call(tmp_path, "tubes", env=env).stdout
    assert call(tmp_path, "replay", env=env).stdout == "Nothing is set aside.\n"
    tag = keys.shard_tag(3)
    await store.hset(keys.rooms(tag), A, encode(RoomState(A, "#garden", "IRC", paused=True)))
    await store.hset(keys.rooms(tag), B, encode(RoomState(B, "kitchen", "Browser")))
    await store.hset(keys.tubes(tag), "t", encode(Tube("t", A, B, "a>b", False, "Ann", 1_800_000_000_000)))
    for second, act in enumerate(("opened", "connected")):
        await store.xadd(keys.security_log(tag), {"e": encode(SecurityRecord(second * 1000, act, A, "Ann", "x"))})
    letter = DeadLetter(0, B, "the room is gone", "delivery", b"")
    await store.hset(keys.ACCOUNTS, "web", b'{"id":"web","platform":"web","config":{}}')
    await store.xadd(keys.dead(keys.account_tag(AccountId("web"))), {"e": encode(letter)}, id="5-0")

    shown = call(tmp_path, "tubes", env=env).stdout
    assert "#garden (IRC)  -->  kitchen (Browser)  since 2027-01-15 08:00:00  by Ann" in shown
    assert "irc/#garden is paused" in shown
    assert call(tmp_path, "log", env=env).stdout.splitlines() == [
        "1970-01-01 00:00:00  opened  irc/#garden  by Ann  x",
        "1970-01-01 00:00:01  connected  irc/#garden  by Ann  x",
    ]
    assert call(tmp_path, "replay", env=env).stdout.splitlines() == [
        "a:web/5-0  1970-01-01 00:00:00  web/kitchen  the room is gone",
        "1 messages are set aside.",
    ]
    assert "There is no message 'nix'" in call(tmp_path, "replay", "nix", env=env).stderr
    whole = json.loads(call(tmp_path, "export", env=env).stdout)
    assert [room["title"] for room in whole["rooms"]] == ["#garden", "kitchen"]
    assert (whole["tubes"][0]["a"], whole["accounts"][0]["id"]) == (A, "web")
    assert [record["act"] for record in whole["security_log"]] == ["opened", "connected"]
    removed = call(tmp_path, "accounts", "remove", "web", env=env).stdout.splitlines()
    assert removed[0] == "Removed web."
    assert "wait now" in removed[1]
    assert removed[2:] == ["  #garden (IRC)  -->  kitchen (Browser)"]

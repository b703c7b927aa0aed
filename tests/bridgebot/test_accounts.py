"""Adding accounts: asked at a terminal, from a pipe, refused, unanswered, there already; and looking after them."""

from __future__ import annotations

import asyncio
import json
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import msgspec
import pytest

from bridgebot.commands.adding import Order, added
from bridgebot.commands.checks import is_loopback
from bridgebot.commands.questions import questions, read
from core.accounts import ACCOUNTS, Accounts
from core.contract import Platform, asked
from core.model import AccountId, PlatformId
from core.store import Redis, open_store
from tests.bridgebot import demo
from tests.bridgebot.support import KEY, at_terminal, call, free_port
from tests.fakes.slack import SECRET, SlackDouble
from tests.fakes.slack_oauth import CLIENT_ID, CLIENT_SECRET
from tests.servers.store import dump_of

ADD = ("accounts", "add", "demo")


@dataclass
class Operator:
    """Somebody with a shell on an installation."""

    home: Path
    env: dict[str, str]

    def call(self, *words: str, text: str = "", url: str = "") -> subprocess.CompletedProcess[str]:
        """Run ``bridgebot`` to its end, with BRIDGEBOT_PUBLIC_URL as given."""
        env = self.env | ({"BRIDGEBOT_PUBLIC_URL": url} if url else {})
        return call(self.home, *words, env=env, text=text, module=demo.HERE)

    def shown(self, account: str) -> str:
        """The account's line in the list."""
        listed = self.call("accounts", "list").stdout.splitlines()
        return next(line for line in listed if line.startswith(f"{account}  "))


@pytest.fixture
def operator(tmp_path: Path, store: Redis, store_url: str) -> Operator:
    """On the session's store, which is empty."""
    return Operator(tmp_path, {"REDIS_URL": store_url, "SECRET_KEY": KEY, "PORT": str(free_port())})


def test_the_operator_is_asked(operator: Operator) -> None:
    """Every field in turn; what is wrong is asked again, what is refused as a whole, with the answers of before."""
    key = operator.home / "key.json"
    port = operator.env["PORT"]
    key.write_text('{\n  "private": "line-canary"\n}\n')
    with at_terminal(operator.home, *ADD, env=operator.env, module=demo.HERE) as person:
        person.sees("From the service: good-NAME; not shown; @FILE is the content of a file")
        person.type("Bot token: ", "")
        person.sees("Bot token is needed. From the service: good-NAME")
        person.type("Bot token: ", "wrong-canary")
        person.type("Rooms: ", "garden, shed")
        person.type("Limit: ", "many")
        person.sees("Write a whole number.")
        person.type("Limit: ", "0")
        person.sees(">= 1")
        person.type("Limit: ", "3")
        person.type("Loud: ", "perhaps")
        person.sees("Write yes or no.")
        person.type("Loud: ", "yes")
        person.type("Key: ", "@/nowhere/at/all")
        person.sees("The file /nowhere/at/all cannot be read")
        person.type("Key: ", f"@{key}")
        person.sees("Demo does not take it: Copy the whole token from the service, not [hidden].")
        person.type("Bot token: ", "good-alice")
        for prompt in ("Rooms: ", "Limit: ", "Loud: ", "Key: "):
            person.sees("empty: as before")
            person.type(prompt, "")
        person.sees("Added alice.")
        person.sees(f"  ok   account alice: alice is called at http://127.0.0.1:{port}/bots/alice")
        person.sees(f"  1. Tell the service to call http://127.0.0.1:{port}/bots/alice/up.")
        person.sees("  2. Invite @alice.")
        assert person.end() == 0
    assert "canary" not in person.screen
    assert "good-alice" not in person.screen
    words = operator.shown("alice").split("  ")
    assert {"token=[hidden]", "rooms=garden,shed", "limit=3", "loud=True", "key=[hidden]", "name=alice"} <= set(words)


def test_a_silent_service_is_the_operators_choice(operator: Operator) -> None:
    """Without an answer the account is added only when the operator wants it."""
    for choice, code in (("n", 1), ("y", 0)):
        with at_terminal(operator.home, *ADD, env=operator.env, module=demo.HERE) as person:
            person.type("Bot token: ", "silent")
            for prompt in ("Rooms: ", "Limit: ", "Loud: ", "Key: "):
                person.type(prompt, "")
            person.sees("Demo does not answer: no route to demo.example")
            person.type("Add it all the same? [y/N]: ", choice)
            assert person.end() == code
            assert ("Added demo." in person.screen) is (choice == "y")


def test_answers_come_from_a_pipe(operator: Operator) -> None:
    """A line each; missing ones are defaults, a needed one is an error; the same token again is recognised."""
    done = operator.call(*ADD, text="good-bob\n\n7\n")
    assert (done.returncode, done.stdout.splitlines()[0], done.stderr) == (0, "Added bob.", "")
    assert "limit=7" in operator.shown("bob")
    for again in ("good-bob\n\n7\n", "good-bob\nelsewhere\n"):
        assert operator.call(*ADD, text=again).stdout == "It is there already: bob.\n"
    assert operator.call(*ADD, "--id", "bob-2", text="good-bob\n").stdout == "It is there already: bob.\n"
    chosen = operator.call(*ADD, "--id", "team-2", text="good-carol\n")
    assert chosen.stdout.startswith("Added team-2.\n")
    listed = operator.call("accounts", "list").stdout
    assert [line.split()[0] for line in listed.splitlines()] == ["bob", "team-2"]


@pytest.mark.parametrize(
    ("words", "text", "says"),
    [
        (ADD, "", "Bot token is needed. From the service: good-NAME"),
        (ADD, "good-x\n\nmany\n", "Limit cannot be that: Expected `int`, got `str`. Write a whole number."),
        (ADD, "@nowhere\n", "The file nowhere cannot be read: No such file or directory."),
        (ADD, "bad-canary\n", "Demo does not take it: Copy the whole token from the service, not [hidden]."),
        (ADD, "silent\n", "Demo does not answer: no route to demo.example. Try again later; or add it all the same"),
        (
            (*ADD, "--unchecked"),
            "bad-canary\n",
            "Demo does not take it: Copy the whole token from the service, not [hidden].",
        ),
        (
            (*ADD, "-"),
            '{"token": "bad-canary"}',
            "Demo does not take it: Copy the whole token from the service, not [hidden].",
        ),
        (
            ("run", "--demo", "bad-canary"),
            "",
            "Demo does not take it: Copy the whole token from the service, not [hidden].",
        ),
        (("accounts", "add", "irc"), "", "Server is needed. libera, oftc, irc.example.org"),
        (("accounts", "check", "nobody"), "", "There is no account 'nobody'. There are: none."),
    ],
)
async def test_what_cannot_be_added_is_said_in_one_line(
    operator: Operator, store: Redis, words: tuple[str, ...], text: str, says: str
) -> None:
    """Nobody can be asked again, so it ends with what to do, and nothing is added."""
    done = operator.call(*words, text=text)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"Error: {says}")
    assert len(done.stderr.splitlines()) == 1
    assert not await store.exists(ACCOUNTS)


def test_unchecked_adds_what_nobody_confirms(operator: Operator) -> None:
    """With --unchecked a service that does not answer is no obstacle, once."""
    assert operator.call(*ADD, "--unchecked", text="silent\n").stdout.startswith("Added demo.\n")
    assert operator.call(*ADD, "--unchecked", text="silent\n").stdout == "It is there already: demo.\n"


def test_json_and_targets_are_prepared_too(operator: Operator) -> None:
    """Whichever way an account is given, the service is asked, and made-up secrets are there and hidden."""
    document = json.dumps({"token": "good-dora", "rooms": ["garden"]})
    assert operator.call(*ADD, "-", text=document).stdout.startswith("Added dora.\n")
    assert operator.call(*ADD, "good-emil").stdout.startswith("Added emil.\n")
    for account in ("dora", "emil"):
        assert "hook_secret=[hidden]" in operator.shown(account)


def test_one_account_is_looked_at(operator: Operator) -> None:
    """`accounts check` prints its findings; its exit code says whether all is well."""
    operator.call(*ADD, text="good-sick\n")
    sick = operator.call("accounts", "check", "sick", url="https://bridge.example.org")
    line = "  BAD  account sick: sick is called at https://bridge.example.org/bots/sick\n"
    assert (sick.returncode, sick.stdout) == (1, line)


async def test_doctor_looks_at_all_accounts_at_once(operator: Operator, store: Redis) -> None:
    """The check of one waits for that of another, which is listed later; a platform's mistake is told, too."""
    accounts = Accounts(store, KEY, lambda: 0)
    for name in ("first", "second", "broken"):
        await accounts.add(name, demo.PLATFORM.id, demo.DemoConfig(token=f"good-{name}", name=name))
    done = operator.call("doctor", url="https://bridge.example.org")
    lines = [line.strip() for line in done.stdout.splitlines() if " account " in line]
    assert lines == [
        'BAD  account broken: cannot be looked at: RuntimeError("a mistake of the platform\'s")',
        "ok   account first: first is called at https://bridge.example.org/bots/first",
        "ok   account second: second is called at https://bridge.example.org/bots/second",
    ]


def test_doctor_says_when_the_service_cannot_call_us(operator: Operator) -> None:
    """An address of this machine alone is wrong for an account whose service calls us, and for no other."""
    quiet = json.dumps({"token": "good-quiet", "calls_us": False})
    added = [operator.call(*ADD, "-", text=text).stdout for text in ('{"token": "good-alice"}', quiet)]
    told = f"alice: Demo calls us, and http://127.0.0.1:{operator.env['PORT']} is not reached from outside this machine"
    assert [told in shown for shown in added] == [True, False]
    done = operator.call("doctor")
    assert told in done.stdout
    assert "Set BRIDGEBOT_PUBLIC_URL to the address that the internet reaches" in done.stdout
    assert "quiet: Demo calls us" not in done.stdout
    assert "Demo calls us" not in operator.call("doctor", url="https://bridge.example.org").stdout


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://127.0.0.1:8080", True),
        ("https://localhost", True),
        ("http://bridge.localhost:80/x", True),
        ("http://[::1]:8080", True),
        ("http://0.0.0.0:8080", True),
        ("https://bridge.example.org", False),
        ("http://192.0.2.7", False),
        ("https://localhost.example.org", False),
    ],
)
def test_addresses_of_this_machine_alone(url: str, expected: bool) -> None:
    """By name and by number."""
    assert is_loopback(url) is expected


class Named(msgspec.Struct, frozen=True, kw_only=True):
    """Credentials of two kinds, as Matrix has them: neither must be given."""

    server: Annotated[str, asked("Server")]
    user: Annotated[str, asked("User")] = ""
    password: Annotated[str, asked("Password", secret=True)] = ""
    token: Annotated[str, asked("Token", secret=True)] = ""


async def test_an_account_is_recognised_by_who_it_is(store: Redis) -> None:
    """Where no secret must be given, the same user with another password is the same account, another user is not."""
    logins: list[str] = []

    async def prepare(config: Named, url: str) -> tuple[str, Named]:
        logins.append(config.user)
        return "", msgspec.structs.replace(config, password="", token=f"made-up-{len(logins)}")

    def nothing(*_: object) -> tuple[str, Named]:
        raise AssertionError("is not asked")

    platform = Platform(PlatformId("named"), "Named", Named, nothing, nothing, prepare=prepare)  # type: ignore[arg-type]
    accounts = Accounts(store, KEY, lambda: 0)

    async def add(user: str, password: str) -> tuple[AccountId, bool]:
        config = Named(server="x", user=user, password=password)
        return await added(accounts, Order(platform, "named", config), "http://localhost")

    assert await add("ann", "one") == ("named", True)
    assert await add("ann", "two") == ("named", False)
    assert await add("ben", "one") == ("named-2", True)
    assert logins == ["ann", "ann", "ben"]


def test_secrets_from_files(tmp_path: Path) -> None:
    """``@`` reads a file, ``@@`` is an at sign; pictures, novels and folders are no secrets; others have no files."""
    token, rooms = questions(demo.DemoConfig)[:2]
    (tmp_path / "key").write_text("  two\nlines \n")
    assert read(token, f" @{tmp_path}/key ") == "two\nlines"
    assert read(token, "@@home") == "@home"
    assert read(rooms, "@key") == ("@key",)
    (tmp_path / "picture").write_bytes(b"\xff\xd8\xff")
    (tmp_path / "novel").write_text("x" * 1_000_001)
    for name, says in (("picture", "not a text file"), ("novel", "too long"), ("", "cannot be read")):
        with pytest.raises(ValueError, match=says):
            read(token, f"@{tmp_path}/{name}")


def test_what_becomes_of_secrets_is_told(operator: Operator) -> None:
    """Removing revokes at the service; what it says, or where to do it by hand, is told, and no secret with it."""
    for name in ("polite", "stubborn-canary", "mute"):
        assert operator.call(*ADD, text=f"good-{name}\n").stdout.startswith(f"Added {name}.")
    url = "https://bridge.example.org"
    told = operator.call("accounts", "remove", "polite", url=url).stdout
    assert told == f"Removed polite.\nDemo: told {url}/bots/polite farewell.\n"
    assert operator.call("accounts", "remove", "mute").stdout == "Removed mute.\n"
    # A platform that is no longer there is no reason to keep an account.
    gone = call(operator.home, "accounts", "remove", "stubborn-canary", env=operator.env)
    assert gone.stdout.startswith("Removed stubborn-canary.\nWhat it was given at the service was not revoked: ")


def test_a_service_that_revokes_nothing(operator: Operator) -> None:
    """The account goes all the same, and it is said where people revoke themselves."""
    assert operator.call(*ADD, text="good-stubborn\n").returncode == 0
    told = operator.call("accounts", "remove", "stubborn")
    assert told.stdout == (
        "Removed stubborn.\nDemo: could not be revoked: the service keeps [hidden]. Do it at demo.example.\n"
    )
    assert operator.call("accounts", "list").stdout.startswith("There are no accounts yet.")


def test_at_a_terminal_removal_is_asked_for(operator: Operator) -> None:
    """What waits then is shown first; no keeps the account, --yes asks nothing."""
    for name in ("polite", "mute"):
        assert operator.call(*ADD, text=f"good-{name}\n").returncode == 0
    remove = ("accounts", "remove", "polite")
    with at_terminal(operator.home, *remove, env=operator.env, module=demo.HERE) as person:
        person.sees("None of its rooms is connected.")
        person.type("Remove polite, and revoke what it was given? [y/N]: ", "n")
        person.sees("Aborted!")
    assert operator.shown("polite")
    with at_terminal(operator.home, *remove, env=operator.env, module=demo.HERE) as person:
        person.type("Remove polite, and revoke what it was given? [y/N]: ", "y")
        person.sees("Removed polite.")
    with at_terminal(
        operator.home, "accounts", "remove", "mute", "--yes", env=operator.env, module=demo.HERE
    ) as person:
        person.sees("Removed mute.")


def test_the_file_for_a_service(operator: Operator) -> None:
    """It is printed as it is, so that it can be saved; where there is none, that is said."""
    config = {
        "homeserver": "http://127.0.0.1:9",
        "user_id": "@bot:example.org",
        "token": "a" * 64,
        "hs_token": "h" * 64,
    }
    given = json.dumps(config)
    assert operator.call("accounts", "add", "matrix", "-", "--id", "mx", "--unchecked", text=given).returncode == 0
    file = operator.call("accounts", "file", "mx", url="https://bridge.example.org").stdout
    assert file.startswith("# How this homeserver talks to bridgebot.")
    assert 'url: "https://bridge.example.org/bots/mx"' in file
    assert f'as_token: "{"a" * 64}"' in file
    assert operator.call(*ADD, text="good-mute\n").returncode == 0
    assert "Demo is given no file for mute." in operator.call("accounts", "file", "mute").stderr


async def test_an_app_is_registered(operator: Operator) -> None:
    """Its credentials are asked for, tried at the service, sealed, and what is left to do there is said; it is listed,
    and forgotten again."""
    url = "https://bridge.example.org"

    async def told(*words: str, text: str = "") -> subprocess.CompletedProcess[str]:
        return await asyncio.to_thread(operator.call, "accounts", "app", *words, text=text, url=url)

    assert "not registered: bridgebot accounts app slack" in (await told()).stdout
    assert "accounts add irc" in (await told("irc")).stderr
    assert "do not belong on the command line" in (await told("slack", CLIENT_SECRET)).stderr
    assert "That is no client ID" in (await told("slack", text="12345\nx\ny\n")).stderr
    async with SlackDouble() as double:
        app = {"client_id": CLIENT_ID, "client_secret": CLIENT_SECRET, "signing_secret": SECRET}
        app |= {"api_url": f"{double.url}/api"}
        wrong = await told("slack", "-", text=json.dumps(app | {"client_secret": "canary" * 5}))
        assert (wrong.returncode, "does not take this client secret" in wrong.stderr) == (1, True)
        assert "canary" not in wrong.stderr + wrong.stdout
        good = (await told("slack", "-", text=json.dumps(app))).stdout
        assert "ok   app on slack: the service knows it" in (await asyncio.to_thread(operator.call, "doctor")).stdout
    assert "BAD  app on slack: " in (await asyncio.to_thread(operator.call, "doctor")).stdout
    assert "shows the button “Add to Slack” from now on" in good
    for step in (f"Redirect URLs: {url}/add/slack/done", f"{url}/apps/slack/events", "Activate Public Distribution"):
        assert step in good
    assert (await told()).stdout.endswith("registered\n")
    await asyncio.to_thread(_no_secret_is_stored, operator, CLIENT_SECRET)
    assert "is forgotten here" in (await told("slack", "--remove")).stdout
    assert "No app is registered" in (await told("slack", "--remove")).stderr


def _no_secret_is_stored(operator: Operator, secret: str) -> None:
    async def whole() -> bytes:
        store = open_store(operator.env["REDIS_URL"])
        found = await dump_of(store)
        await store.aclose()
        return found

    kept = asyncio.run(whole())
    assert CLIENT_ID.encode() in kept
    assert secret.encode() not in kept

"""``bridgebot`` with a company's sign-in: what doctor finds, what keeps it from starting, what is hidden."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from bridgebot.commands.company import findings
from core.settings import Settings
from tests.bridgebot.support import call, free_port
from tests.fakes.oidc import CLIENT_SECRET, OidcDouble


@pytest.fixture
async def provider() -> AsyncIterator[OidcDouble]:
    """The company's provider."""
    async with OidcDouble() as found:
        yield found


async def told(**settings: str) -> dict[bool, str]:
    """What is found, by whether it is well."""
    found = await findings(Settings(**settings))  # type: ignore[arg-type]
    return {ok: " ".join(f"{one.what} {one.mend}" for one in found if one.ok is ok) for ok in (True, False)}


async def test_nothing_is_said_without_one() -> None:
    """Who does not use it does not read of it."""
    assert await findings(Settings()) == []


async def test_all_is_well(provider: OidcDouble) -> None:
    """The provider answers, and the address to register with it is told."""
    found = await told(**provider.settings, add_accounts="company", oidc_domains="example.org")
    assert found[False] == ""
    assert f"{provider.issuer} answers" in found[True]
    assert "http://127.0.0.1:8080/sign-in/callback" in found[True]
    assert "everybody" not in found[True]
    assert "everybody" in (await told(**provider.settings, add_accounts="company"))[True]


async def test_what_is_wrong_with_the_provider(provider: OidcDouble) -> None:
    """Another name, no key that we take, no answer: each is told with what to do."""
    provider.document = {"issuer": provider.issuer + "/"}
    assert "write it just so" in (await told(**provider.settings))[False]
    provider.document, provider.published = {}, [{"kty": "oct", "k": "x"}, {}]
    assert "no key that we take" in (await told(**provider.settings))[False]
    provider.faults = {"/keys": 503}
    assert "answers 503" in (await told(**provider.settings))[False]


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"add_accounts": "nobody"}, "nothing to sign in to"),
        ({"add_accounts": "operator"}, "may add no account"),
        ({"oidc_issuer": ""}, "no provider is set"),
        ({"oidc_client_id": ""}, "BRIDGEBOT_OIDC_CLIENT_ID"),
        ({"oidc_issuer": "https://localhost.invalid"}, "only on this machine"),
    ],
)
async def test_what_is_wrong_with_the_settings(provider: OidcDouble, settings: dict[str, str], words: str) -> None:
    """Settings that lead nowhere are named."""
    assert words in (await told(**{**provider.settings, "add_accounts": "company", **settings}))[False]


def test_on_the_command_line(tmp_path: Path) -> None:
    """Doctor shows the finding and hides the secret; nothing starts with an issuer that cannot be one."""
    env = {
        "BRIDGEBOT_OIDC_ISSUER": f"http://localhost:{free_port()}",
        "BRIDGEBOT_OIDC_CLIENT_ID": "bridge",
        "BRIDGEBOT_OIDC_CLIENT_SECRET": CLIENT_SECRET,
        "BRIDGEBOT_ADD_ACCOUNTS": "company",
        "PORT": str(free_port()),
    }
    done = call(tmp_path, "doctor", env=env)
    assert done.returncode == 1
    assert "cannot be reached" in done.stdout
    assert "1 thing to mend" in done.stdout
    wrong = call(tmp_path, "run", env=env | {"BRIDGEBOT_OIDC_ISSUER": "login.example.org"})
    assert (wrong.returncode, wrong.stdout) == (1, "")
    assert "BRIDGEBOT_OIDC_ISSUER: 'login.example.org' is no issuer" in wrong.stderr
    for text in (done.stdout, done.stderr, wrong.stderr):
        assert CLIENT_SECRET not in text
        assert "Traceback" not in text

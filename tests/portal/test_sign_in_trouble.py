"""A provider that says no, or nonsense, or nothing; its keys and documents over time; settings that cannot be."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import web
from yarl import URL

from core.settings import Settings, SettingsError
from core.store import Redis
from portal.company import rules_of
from portal.id_token import ASK_AGAIN_S, KEYS_LIFE_S, BadToken
from portal.oidc import AFTER_FAILURE_S, DOCUMENT_LIFE_S, Declined, Flow, Provider, ProviderTrouble
from tests.conftest import FakeClock
from tests.fakes.oidc import OidcDouble, jwk
from tests.portal.company import at_provider, is_signed_in, open_company, sign_in
from tests.portal.conftest import post
from tests.portal.house import House


@pytest.fixture
async def provider() -> AsyncIterator[OidcDouble]:
    """A provider that can be told to be hostile."""
    async with OidcDouble() as found:
        yield found


@pytest.fixture
async def house(store: Redis, store_url: str, provider: OidcDouble) -> AsyncIterator[House]:
    """An installation that believes it."""
    async with open_company(store_url, provider) as found:
        yield found


@pytest.mark.parametrize(
    ("error", "status", "words"),
    [
        ("access_denied", 403, "You were not signed in"),
        ("temporarily_unavailable", 503, "Try again in a minute"),
        ("invalid_scope", 502, "It answers “invalid_scope”"),
        ("<script>alert(1)</script>", 502, "something that is no code"),
    ],
)
async def test_the_provider_says_no(
    house: House, provider: OidcDouble, caplog: pytest.LogCaptureFixture, error: str, status: int, words: str
) -> None:
    """A refusal is told in plain words with a way to try again, and never in the words of the address."""
    caplog.set_level(logging.INFO)
    provider.answer = {"code": None, "error": error, "error_description": "canary"}
    client = house.browser()
    found, text = await sign_in(client)
    assert (found, words in text) == (status, True)
    assert "canary" not in text
    assert "<script>alert" not in text + caplog.text
    assert 'href="/sign-in"' in text
    assert not await is_signed_in(client)


BROKEN: dict[str, dict[str, Any]] = {
    "no such page": {"faults": {"/.well-known/openid-configuration": 404}},
    "out of order": {"faults": {"/.well-known/openid-configuration": 500}},
    "elsewhere": {
        "faults": {"/.well-known/openid-configuration": web.Response(status=302, headers={"Location": "/moved"})}
    },
    "no JSON": {"faults": {"/.well-known/openid-configuration": web.Response(text="<html>")}},
    "deep JSON": {"faults": {"/.well-known/openid-configuration": web.Response(text="[" * 100_000)}},
    "endless": {"faults": {"/.well-known/openid-configuration": web.Response(body=b"[" + b" " * 1_100_000 + b"]")}},
    "another issuer": {"document": {"issuer": "https://evil.example"}},
    "nearly the issuer": {},
    "incomplete": {"document": {"token_endpoint": None}},
    "unencrypted": {"document": {"token_endpoint": "http://login.example.org/token"}},
    "no address": {"document": {"jwks_uri": "file:///etc/passwd"}},
    "address with blanks": {"document": {"authorization_endpoint": "https://x.example/ ;url=evil"}},
}


@pytest.mark.parametrize("what", BROKEN)
async def test_a_provider_that_cannot_be_used(
    store: Redis, store_url: str, provider: OidcDouble, caplog: pytest.LogCaptureFixture, what: str
) -> None:
    """Whatever its document is like, people read that the sign-in does not answer, and the operator why."""
    for name, value in BROKEN[what].items():
        setattr(provider, name, value)
    if what == "nearly the issuer":
        provider.document = {"issuer": provider.issuer + "/"}
    async with open_company(store_url, provider) as house:
        client = house.browser()
        token = await house.form_token(client)
        response = await post(client, "/sign-in", form_token=token)
        assert response.status == 503
        assert "does not answer" in await response.text()
        assert not provider.hits["/moved"]
    assert "company sign-in: it " in caplog.text or "company sign-in: 127.0.0.1" in caplog.text
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


ANSWERS: dict[str, tuple[dict[str, Any], int]] = {
    "out of order": ({"/token": 500}, 503),
    "no JSON": ({"/token": web.Response(text="<html>")}, 503),
    "no token": ({"/token": web.Response(text='{"access_token": "x"}')}, 503),
    "token of another kind": ({"/token": web.Response(text='{"id_token": 7}')}, 503),
    "rubbish as a token": ({"/token": web.Response(text='{"id_token": "a.b.c"}')}, 502),
    "endless token": ({"/token": web.Response(text='{"id_token": "%s"}' % ("a" * 40_000))}, 502),
    "elsewhere": ({"/token": web.Response(status=307, headers={"Location": "/moved"})}, 503),
    "unknown client": ({"/token": web.Response(status=401, text='{"error": "invalid_client"}')}, 502),
    "strange error": ({"/token": web.Response(status=400, text='{"error": "<b>"}')}, 502),
    "late": ({"/token": web.Response(status=400, text='{"error": "invalid_grant"}')}, 403),
    "no keys": ({"/keys": 500}, 503),
    "keys of another kind": ({"/keys": web.Response(text='{"keys": [7]}')}, 503),
}


@pytest.mark.parametrize("what", ANSWERS)
async def test_a_provider_that_breaks_half_way(
    house: House, provider: OidcDouble, caplog: pytest.LogCaptureFixture, what: str
) -> None:
    """Trouble after the visitor came back is no error of ours, and signs nobody in."""
    provider.faults, status = ANSWERS[what]
    client = house.browser()
    found, text = await sign_in(client)
    assert found == status
    assert "<b>" not in text
    assert not await is_signed_in(client)
    assert not provider.hits["/moved"]
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]
    provider.faults = {}
    assert (await sign_in(client))[0] == 200


async def test_a_provider_that_is_not_there(store: Redis, store_url: str, provider: OidcDouble) -> None:
    """Nobody listens there: a page in plain words. Once it is back, so is the sign-in, without a restart."""
    async with open_company(store_url, provider) as house:
        client = house.browser()
        token = await house.form_token(client)
        await provider.__aexit__()
        assert (await post(client, "/sign-in", form_token=token)).status == 503
        await provider.__aenter__()
        async with asyncio.timeout(20):
            while (await post(client, "/sign-in", form_token=token)).status != 200:
                await asyncio.sleep(0.2)
        assert (await sign_in(client))[0] == 200


async def test_a_provider_that_says_nothing(
    store: Redis, store_url: str, provider: OidcDouble, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A provider that takes the question and never answers holds nobody up for long."""
    monkeypatch.setattr("portal.oidc.ANSWER_S", 0.2)
    done = asyncio.Event()

    async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await done.wait()
        writer.close()
        await writer.wait_closed()

    async with await asyncio.start_server(take, "127.0.0.1", 0) as server:
        provider.issuer = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        async with open_company(store_url, provider) as house:
            client = house.browser()
            token = await house.form_token(client)
            assert (await post(client, "/sign-in", form_token=token)).status == 503
        done.set()


# --- keys and documents over time


@pytest.fixture
async def asking(provider: OidcDouble, clock: FakeClock) -> AsyncIterator[Provider]:
    """What asks the provider, by a clock of ours."""
    provider.redirect_uri = "http://127.0.0.1/sign-in/callback"
    settings = Settings(public_url="http://127.0.0.1", **provider.settings)
    rules = rules_of(settings)
    assert rules
    clock.at_ms = int(time.time() * 1000)
    found = Provider(settings, rules, lambda: clock.now_ms() / 1000)
    yield found
    await found.close()


async def claims_at(asking: Provider, clock: FakeClock, provider: OidcDouble) -> dict[str, Any]:
    """What the provider says, by a token that is good at the clock's time."""
    now_s = clock.now_ms() // 1000
    provider.claims = {"iat": now_s, "exp": now_s + 300}
    flow = Flow("s" * 64, "n" * 64, "v" * 64)
    back = URL(await at_provider(await asking.authorization_url(flow)))
    return await asking.claims(back.query["code"], flow)


async def test_new_keys_are_found_and_old_ones_forgotten(
    asking: Provider, provider: OidcDouble, clock: FakeClock
) -> None:
    """A key that is not known is looked up, and one that was withdrawn is good for an hour at most (threat 9)."""
    assert (await claims_at(asking, clock, provider))["sub"] == "ada-1"
    provider.key, provider.published = "two", [jwk("two")]
    clock.advance(int(ASK_AGAIN_S * 1000))
    assert (await claims_at(asking, clock, provider))["sub"] == "ada-1"
    provider.key = "one"
    with pytest.raises(BadToken):
        await claims_at(asking, clock, provider)
    provider.published = []
    provider.key = "two"
    assert await claims_at(asking, clock, provider), "what was fetched is still good"
    clock.advance(int(KEYS_LIFE_S * 1000))
    with pytest.raises(BadToken):
        await claims_at(asking, clock, provider)


async def test_unknown_keys_are_not_asked_for_without_end(
    asking: Provider, provider: OidcDouble, clock: FakeClock
) -> None:
    """Tokens that name keys that are not there make us ask once in a while."""
    provider.key = "two"
    for _ in range(5):
        with pytest.raises(BadToken):
            await claims_at(asking, clock, provider)
    assert provider.hits["/keys"] == 1
    clock.advance(int(ASK_AGAIN_S * 1000))
    with pytest.raises(BadToken):
        await claims_at(asking, clock, provider)
    assert provider.hits["/keys"] == 2


async def test_the_document_is_read_again(asking: Provider, provider: OidcDouble, clock: FakeClock) -> None:
    """Its word holds for an hour; when it is silent, it is asked again after a few seconds, not each time."""
    flow = Flow("s", "n", "v")
    for _ in range(3):
        await asking.authorization_url(flow)
    path = "/.well-known/openid-configuration"
    assert provider.hits[path] == 1
    provider.faults = {path: 500}
    clock.advance(int(DOCUMENT_LIFE_S * 1000))
    for _ in range(3):
        with pytest.raises(ProviderTrouble):
            await asking.authorization_url(flow)
    assert provider.hits[path] == 2
    provider.faults = {}
    clock.advance(int(AFTER_FAILURE_S * 1000))
    await asking.authorization_url(flow)
    assert provider.hits[path] == 3


async def test_the_secret_goes_as_the_provider_wants_it(provider: OidcDouble, asking: Provider) -> None:
    """In the form where the provider does not take it in the header; the double takes only the header."""
    provider.document = {"token_endpoint_auth_methods_supported": ["client_secret_post"]}
    flow = Flow("s" * 64, "n" * 64, "v" * 64)
    back = URL(await at_provider(await asking.authorization_url(flow)))
    with pytest.raises(Declined):
        await asking.claims(back.query["code"], flow)


# --- settings

GOOD = {"oidc_issuer": "https://login.example.org/realms/x", "oidc_client_id": "bridge"}
WRONG: list[tuple[dict[str, str], str]] = [
    ({"oidc_issuer": "login.example.org"}, "BRIDGEBOT_OIDC_ISSUER"),
    ({"oidc_issuer": "http://login.example.org"}, "BRIDGEBOT_OIDC_ISSUER"),
    ({"oidc_issuer": "https://login.example.org/?x=1"}, "BRIDGEBOT_OIDC_ISSUER"),
    ({"oidc_issuer": "https://u:p@login.example.org"}, "BRIDGEBOT_OIDC_ISSUER"),
    ({"oidc_issuer": "https://[login"}, "BRIDGEBOT_OIDC_ISSUER"),
    ({"oidc_client_id": ""}, "BRIDGEBOT_OIDC_CLIENT_ID"),
    ({"oidc_scopes": "email profile"}, "BRIDGEBOT_OIDC_SCOPES"),
    ({"oidc_domains": "@example.org"}, "BRIDGEBOT_OIDC_DOMAINS"),
    ({"oidc_domains": "example"}, "BRIDGEBOT_OIDC_DOMAINS"),
    ({"oidc_require": "groups"}, "BRIDGEBOT_OIDC_REQUIRE"),
    ({"oidc_operator": "=admins"}, "BRIDGEBOT_OIDC_OPERATOR"),
]


@pytest.mark.parametrize(("wrong", "name"), WRONG)
def test_settings_that_cannot_be(wrong: dict[str, str], name: str) -> None:
    """A wrong setting is named before anything starts, with what to write instead."""
    assert rules_of(Settings(**GOOD))
    with pytest.raises(SettingsError, match=name):
        rules_of(Settings(**{**GOOD, **wrong}))


def test_without_its_library(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the extra is not installed, the sentence says how to install it."""
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(SettingsError, match=r"pip install 'bridgebot-swarm\[oidc\]'"):
        rules_of(Settings(**GOOD))

"""Signing in with the company's account: the way there and back, who is let in, and what they may do."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest

from bots import registry
from core.owners import OWNERS
from core.store import Redis
from tests.fakes.oidc import CLIENT_SECRET, OidcDouble, jwk
from tests.portal import teahouse
from tests.portal.company import at_provider, begin, come_back, is_signed_in, open_company, sign_in
from tests.portal.conftest import submit
from tests.portal.house import OFFICE, House, open_house, open_web


@pytest.fixture(autouse=True)
def tea_row(monkeypatch: pytest.MonkeyPatch) -> None:
    """The teahouse is in the registry."""
    monkeypatch.setitem(registry.PLATFORMS, "tea", teahouse.ROW)


@pytest.fixture
async def provider() -> AsyncIterator[OidcDouble]:
    """The company's provider."""
    async with OidcDouble() as found:
        yield found


@pytest.fixture
async def house(store: Redis, store_url: str, provider: OidcDouble) -> AsyncIterator[House]:
    """An installation where people of the company add accounts."""
    async with open_company(store_url, provider) as found:
        yield found


async def test_there_and_back(house: House, provider: OidcDouble) -> None:
    """A button, the provider, and the visitor is signed in as who the provider says they are."""
    client = house.browser()
    assert not await is_signed_in(client)
    status, text = await sign_in(client)
    assert (status, "You are signed in" in text) == (200, True)
    text = await house.page(client, "/accounts")
    assert "Signed in as <bdi>Ada</bdi>" in text
    assert "/add/tea" in text
    assert 'href="/room"' not in text
    assert "your page is /accounts" in await house.page(client, "/room", 404)


async def test_from_a_portal_to_a_connected_room(house: House, provider: OidcDouble) -> None:
    """Who comes through a portal signs in, adds an account and connects its room, without any room of their own."""
    portal = await house.node.deps.links.issue_revocable("portal", OFFICE)
    client = house.browser()
    assert f"/p/{portal}/account" in await house.page(client, f"/p/{portal}")
    before = await house.page(client, f"/p/{portal}/account")
    assert f"/p/{portal}/sign-in" in before
    assert "manage" not in before, "who comes by chat may not add here"
    await sign_in(client, f"/p/{portal}/sign-in")
    assert "You came to connect with" in await house.page(client, "/accounts")
    account = await house.add(client, "good-jade")
    await house.until(client, f"/account/{account}", lambda text: "Online" in text)
    assert await house.act(client, account, "connect", room=f"{account}/green", **{"with": "portal"}) == 303
    assert "now connected to Office (Inn), by Ada" in await house.page(client, f"/account/{account}")
    await house.hears(OFFICE, "now connected to Green tea (Teahouse), by Ada")
    owner = msgspec.json.decode(await house.node.deps.store.hget(OWNERS, account))  # type: ignore[misc]
    assert owner["person"] == f"oidc:{provider.issuer}#ada-1"


async def test_without_a_portal_nothing_is_left_of_an_old_one(house: House) -> None:
    """Who signs in from the front door connects with nothing that somebody else came through before."""
    portal = await house.node.deps.links.issue_revocable("portal", OFFICE)
    client = house.browser()
    await sign_in(client, f"/p/{portal}/sign-in")
    await sign_in(client)
    assert "You came to connect with" not in await house.page(client, "/accounts")


async def test_rules_of_rooms_hold(store: Redis, store_url: str, provider: OidcDouble) -> None:
    """Where only admins connect, the company's account makes nobody an admin (threat 7)."""
    async with open_company(store_url, provider, connect="admins") as house:
        portal = await house.node.deps.links.issue_revocable("portal", OFFICE)
        client = house.browser()
        await sign_in(client, f"/p/{portal}/sign-in")
        account = await house.add(client, "good-jade")
        await house.until(client, f"/account/{account}", lambda text: "Online" in text)
        await house.act(client, account, "connect", room=f"{account}/green", **{"with": "portal"})
        assert "Only people who run this room may use" in await house.page(client, f"/account/{account}")
        assert not (await house.node.directory.sameroom(OFFICE)).tubes


@pytest.mark.parametrize(
    ("choice", "chat", "company", "operator"),
    [
        ("operator", False, False, True),
        ("company", False, True, True),
        ("members", True, True, True),
    ],
)
async def test_who_adds_accounts(
    store: Redis, store_url: str, provider: OidcDouble, choice: str, chat: bool, company: bool, operator: bool
) -> None:
    """The setting says whether people of rooms and people of the company add accounts; the operator always does."""
    async with open_company(store_url, provider, add_accounts=choice, oidc_operator="groups=admins") as house:
        by_chat, by_company, by_claim = await house.sign_in(), house.browser(), house.browser()
        await sign_in(by_company)
        provider.user = {"sub": "root-1", "name": "Root", "groups": ["users", "admins"]}
        await sign_in(by_claim)
        for client, may in ((by_chat, chat), (by_company, company), (by_claim, operator)):
            assert ("/add/tea" in await house.page(client, "/accounts")) is may
            text = await house.page(client, "/add/tea", 200 if may else 403)
            asked_for = "Use my company account" in text
            assert asked_for is (choice == "company" and client is by_chat)
        assert "Signed in as the operator" in await house.page(by_claim, "/accounts")


async def test_people_see_their_own_accounts_only(house: House, provider: OidcDouble) -> None:
    """The person is the issuer's subject: the same name and e-mail with another subject is somebody else."""
    provider.user = {"sub": "ada-1", "name": "Ada", "email": "ada@example.org", "email_verified": True}
    ada, other, again = house.browser(), house.browser(), house.browser()
    await sign_in(ada)
    account = await house.add(ada, "good-jade")
    await sign_in(again)
    provider.user = {**provider.user, "sub": "ada-2"}
    await sign_in(other)
    await house.page(again, f"/account/{account}")
    await house.page(other, f"/account/{account}", 404)
    assert account not in await house.page(other, "/accounts")


async def test_signing_in_ends_what_was(house: House) -> None:
    """The browser's earlier session is deleted although its cookie does not come back with the provider's answer, and
    forms from before are refused (threat 27).
    """
    client = await house.sign_in()
    before = {cookie.key: cookie.value for cookie in client.cookie_jar}
    url = await at_provider(await begin(client))
    client.cookie_jar.clear(lambda cookie: cookie.key == "sameroom_session")  # SameSite=Strict, as browsers do it
    assert (await come_back(client, url))[0] == 200
    old = house.browser()
    old.cookie_jar.update_cookies(before)
    assert not await is_signed_in(old)
    after = {cookie.key: cookie.value for cookie in client.cookie_jar}
    assert after["sameroom_session"] != before["sameroom_session"]
    assert after["sameroom_form"] != before["sameroom_form"]


async def test_signing_out(house: House) -> None:
    """The session is over everywhere; the next one takes the provider's word again."""
    client = house.browser()
    await sign_in(client)
    assert (await submit(client, "/accounts", "/room/leave")).status == 303
    assert not await is_signed_in(client)
    page = await house.page(client, "/accounts", 401)
    assert 'href="/sign-in"' in page


@pytest.mark.parametrize(
    ("said", "is_in"),
    [
        ({"email": "ada@example.org", "email_verified": True}, True),
        ({"email": "ada@EXAMPLE.org", "email_verified": True}, True),
        ({"email": "ada@other.example", "email_verified": True}, True),
        ({"email": "ada@example.org"}, False),
        ({"email": "ada@example.org", "email_verified": False}, False),
        ({"email": "ada@example.org", "email_verified": "true"}, False),
        ({"email": "ada@example.org.evil.example", "email_verified": True}, False),
        ({"email": "ada@sub.example.org", "email_verified": True}, False),
        ({"email": "ada@evil.example@example.org.", "email_verified": True}, False),
        ({"email": ["ada@example.org"], "email_verified": True}, False),
        ({"preferred_username": "ada@example.org"}, False),
        ({}, False),
    ],
)
async def test_domains(store: Redis, store_url: str, provider: OidcDouble, said: dict[str, Any], is_in: bool) -> None:
    """Only a verified address of just that domain counts."""
    async with open_company(store_url, provider, oidc_domains="example.org, Other.example") as house:
        provider.user |= said
        client = house.browser()
        status, text = await sign_in(client)
        assert (status, await is_signed_in(client)) == ((200, True) if is_in else (403, False))
        assert ("lets only some people in" in text) is not is_in


@pytest.mark.parametrize(
    ("said", "is_in"),
    [
        ({"groups": ["x", "bridge"]}, True),
        ({"groups": "bridge"}, True),
        ({"groups": ["bridges"]}, False),
        ({"groups": "bridge-not"}, False),
        ({"groups": {"bridge": True}}, False),
        ({"group": "bridge"}, False),
        ({}, False),
    ],
)
async def test_a_required_claim(
    store: Redis, store_url: str, provider: OidcDouble, said: dict[str, Any], is_in: bool
) -> None:
    """Who has not the claim's very value is not let in."""
    async with open_company(store_url, provider, oidc_require="groups = bridge") as house:
        provider.user |= said
        client = house.browser()
        assert (await sign_in(client))[0] == (200 if is_in else 403)
        assert await is_signed_in(client) is is_in


async def test_an_unverified_address_makes_no_operator(store: Redis, store_url: str, provider: OidcDouble) -> None:
    """Anybody can write the operator's address into their profile (threat 19)."""
    async with open_company(store_url, provider, oidc_operator="email=root@example.org") as house:
        client = house.browser()
        for verified in (False, True):
            provider.user = {"sub": "ada-1", "email": "root@example.org", "email_verified": verified}
            await sign_in(client)
            text = await house.page(client, "/accounts")
            assert ("Signed in as the operator" in text) is verified


async def test_what_the_token_does_not_say(store: Redis, store_url: str, provider: OidcDouble) -> None:
    """Claims that are only in the user information count; what the token says goes first; nobody else's count."""
    async with open_company(store_url, provider, oidc_require="groups=bridge") as house:
        provider.info = {"name": "Somebody", "groups": ["bridge"]}
        client = house.browser()
        assert (await sign_in(client))[0] == 200
        assert "Signed in as <bdi>Ada</bdi>" in await house.page(client, "/accounts")
        provider.info = {"sub": "root-1", "groups": ["bridge"]}
        other = house.browser()
        assert (await sign_in(other))[0] == 503
        assert not await is_signed_in(other)
        provider.info = {"groups": ["bridge"], "email_verified": True}
        provider.user = {"sub": "x", "groups": ["bridge"], "email": "root@example.org"}
        third = house.browser()
        await sign_in(third)
        assert "root@example.org" not in await house.page(third, "/accounts")


async def test_keys_of_curves(house: House, provider: OidcDouble) -> None:
    """A provider may sign with elliptic curves."""
    provider.published, provider.key, provider.algorithm = [jwk("one"), jwk("ec")], "ec", "ES256"
    assert (await sign_in(house.browser()))[0] == 200


async def test_names_are_harmless(house: House, provider: OidcDouble) -> None:
    """A name is one visible line of bounded length, and text (threats 20, 21)."""
    provider.user["name"] = "<b>\u202eAda\r\n" + "x" * 500
    client = house.browser()
    await sign_in(client)
    text = await house.page(client, "/accounts")
    assert "&lt;b&gt;" in text
    assert "x" * 65 not in text
    assert "\u202e" not in text


async def test_other_rules_end_sessions(house: House, provider: OidcDouble, store_url: str) -> None:
    """When the operator changes who is let in, whoever came in by the old rules signs in again (threat 28)."""
    client = house.browser()
    await sign_in(client)
    cookies = {cookie.key: cookie.value for cookie in client.cookie_jar}
    same = {"add_accounts": "company", **provider.settings}
    for settings, holds in ((same, True), ({**same, "oidc_require": "groups=bridge"}, False), ({}, False)):
        async with open_web(store_url, **settings) as other:
            visitor = other.browser()
            visitor.cookie_jar.update_cookies(cookies)
            assert await is_signed_in(visitor) is holds


@pytest.mark.parametrize(
    "settings", [{"add_accounts": "company"}, {"add_accounts": "nobody", "oidc_issuer": "http://localhost:1"}]
)
async def test_where_there_is_none(store: Redis, store_url: str, settings: dict[str, str]) -> None:
    """Without an issuer, or without anything to sign in to, there are no such pages, and nothing leads there."""
    known = {"oidc_client_id": "bridge", **settings}
    async with open_house(store_url, **known) as house:
        for path in ("/sign-in", "/sign-in/callback?state=x&code=y"):
            await house.page(house.browser(), path, 404)
        portal = await house.node.deps.links.issue_revocable("portal", OFFICE)
        for path in ("/", f"/p/{portal}"):
            text = await house.page(house.browser(), path)
            assert "/sign-in" not in text
            assert "/account" not in text


async def test_secrets_are_nowhere(house: House, provider: OidcDouble, caplog: pytest.LogCaptureFixture) -> None:
    """Neither code, token, verifier nor the client's secret is in a page, the log or, afterwards, the store."""
    caplog.set_level(logging.DEBUG)
    store, client = house.node.deps.store, house.browser()
    url = await begin(client)
    (key,) = [key async for key in store.scan_iter(match="*sign-in*") if b"rate" not in key]
    assert 0 < await store.ttl(key) <= 600
    back = await at_provider(url)
    status, text = await come_back(client, back)
    assert status == 200
    assert provider.used
    kept = [text, caplog.text, await house.page(client, "/accounts")]
    async for key in store.scan_iter():
        kind = await store.type(key)
        value = await store.get(key) if kind == b"string" else b""
        kept.append(f"{key!r}{value!r}")
    for secret in [*provider.used, CLIENT_SECRET, url.partition("state=")[2][:32]]:
        assert not [where for where in kept if secret in where]

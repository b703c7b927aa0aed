"""What attackers do to the company's sign-in, and that it does not work. The numbers:
docs/threat-model.md.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
from yarl import URL

from core.store import Redis
from tests.fakes.oidc import CLIENT_ID, CLIENT_SECRET, OidcDouble, jwk, public_pem
from tests.portal.company import at_provider, begin, come_back, is_signed_in, open_company, sign_in
from tests.portal.conftest import post
from tests.portal.house import House

NOW_S = int(time.time())
OCT = {"kty": "oct", "kid": "one", "k": "Y2FuYXJ5LWNhbmFyeS1jYW5hcnktY2FuYXJ5LWNhbmFyeQ"}


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


FORGED: dict[str, dict[str, Any]] = {
    "other issuer": {"claims": {"iss": "https://evil.example"}},
    "no issuer": {"claims": {"iss": None}},
    "issuers": {"claims": {"iss": ["https://evil.example"]}},
    "other audience": {"claims": {"aud": "somebody-else"}},
    "no audience": {"claims": {"aud": None}},
    "audience of another kind": {"claims": {"aud": {CLIENT_ID: True}}},
    "several audiences": {"claims": {"aud": [CLIENT_ID, "somebody-else"]}},
    "several audiences, given to another": {"claims": {"aud": [CLIENT_ID, "else"], "azp": "else"}},
    "given to another": {"claims": {"azp": "somebody-else"}},
    "other nonce": {"claims": {"nonce": "0" * 64}},
    "no nonce": {"claims": {"nonce": None}},
    "nonce of another kind": {"claims": {"nonce": 7}},
    "nobody": {"claims": {"sub": None}},
    "empty subject": {"claims": {"sub": ""}},
    "subject of another kind": {"claims": {"sub": 7}},
    "endless subject": {"claims": {"sub": "x" * 256}},
    "subject with a line break": {"claims": {"sub": "ada\n1"}},
    "over": {"claims": {"exp": NOW_S - 600}},
    "no end": {"claims": {"exp": None}},
    "end of another kind": {"claims": {"exp": "4000000000"}},
    "from the future": {"claims": {"iat": NOW_S + 7200, "exp": NOW_S + 9000}},
    "no beginning": {"claims": {"iat": None}},
    "not yet": {"claims": {"nbf": NOW_S + 7200}},
    "no algorithm": {"algorithm": "none"},
    "public key as a shared secret": {"algorithm": "HS256", "secret": public_pem("one")},
    "client's secret as a key": {"algorithm": "HS256", "secret": CLIENT_SECRET.encode()},
    "published shared secret": {"algorithm": "HS256", "secret": b"canary-" * 5, "published": [OCT, jwk("one")]},
    "foreign key": {"key": "two", "head": {"kid": "one"}},
    "unknown key": {"key": "two"},
    "no key named": {"head": {"kid": None}},
    "key named by a number": {"head": {"kid": 7}},
    "key brought along": {"key": "two", "head": {"jwk": jwk("two")}},
    "two keys of one name": {"published": [jwk("one"), {**jwk("two"), "kid": "one"}]},
    "key for other uses": {"published": [{**jwk("one"), "use": "enc"}]},
    "key of another algorithm": {"published": [{**jwk("one"), "alg": "PS256"}]},
    "key of another kind": {"published": [{**jwk("ec"), "kid": "one"}]},
    "broken key": {"published": [{**jwk("one"), "n": "!"}]},
    "unknown extension": {"head": {"crit": ["canary"], "canary": 1}},
}


@pytest.mark.parametrize("what", FORGED)
async def test_a_forged_id_token_signs_nobody_in(
    house: House, provider: OidcDouble, caplog: pytest.LogCaptureFixture, what: str
) -> None:
    """Every field, key and algorithm that is not as it must be is a page in plain words and no session (threat 9)."""
    for name, value in FORGED[what].items():
        setattr(provider, name, value)
    client = house.browser()
    status, text = await sign_in(client)
    assert status == 502
    assert "Nobody was signed in" in text or "The clocks" in text
    assert not await is_signed_in(client)
    assert "company sign-in: the ID token" in caplog.text
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


async def test_clocks_may_differ_a_little(house: House, provider: OidcDouble) -> None:
    """A minute either way is no attack; more is told in words that say whose clock to look at."""
    now_s = int(time.time())
    for claims in ({"exp": now_s - 60}, {"iat": now_s + 60, "nbf": now_s + 60}):
        provider.claims = claims
        assert (await sign_in(house.browser()))[0] == 200
    provider.claims = {"iat": now_s + 600}
    status, text = await sign_in(house.browser())
    assert (status, "The clocks do not agree" in text) == (502, True)


async def test_several_audiences_that_are_ours(house: House, provider: OidcDouble) -> None:
    """Others may hear of it, too, as long as it was given to us."""
    provider.claims = {"aud": ["else", CLIENT_ID], "azp": CLIENT_ID}
    assert (await sign_in(house.browser()))[0] == 200


# --- the way back


async def test_an_answer_works_once(house: House) -> None:
    """The same address opened again, in the same browser or another one, signs nobody in (threat 24)."""
    client, other = house.browser(), house.browser()
    back = await at_provider(await begin(client))
    assert (await come_back(client, back))[0] == 200
    for again in (client, other):
        status, text = await come_back(again, back)
        assert (status, "This sign-in is over" in text) == (403, True)
    assert not await is_signed_in(other)


async def test_of_many_at_once_one_is_signed_in(house: House, provider: OidcDouble) -> None:
    """A state is taken out of the store in one step, so the code goes to the provider once (threat 24)."""
    client = house.browser()
    back = await at_provider(await begin(client))
    found = await asyncio.gather(*(come_back(client, back) for _ in range(8)))
    assert sorted(status for status, _ in found) == [200] + [403] * 7
    assert provider.hits["/token"] == 1


async def test_another_browsers_answer_signs_nobody_in(house: House) -> None:
    """Who lures others to the end of their own sign-in does not get them into their account (threat 26)."""
    attacker, victim = house.browser(), house.browser()
    back = await at_provider(await begin(attacker))
    await house.page(victim, "/sign-in")  # has a form cookie of its own
    assert (await come_back(victim, back))[0] == 403
    assert not await is_signed_in(victim)
    assert (await come_back(attacker, back))[0] == 403, "and it is used up"


async def test_no_cookie_no_session(house: House) -> None:
    """A browser that keeps no cookies is told so in words, whatever the state."""
    client = house.browser()
    back = await at_provider(await begin(client))
    assert (await come_back(house.browser(), back))[0] == 403


@pytest.mark.parametrize("state", ["", "x", "0" * 64, "\0", "é" * 500])
async def test_a_made_up_state(house: House, provider: OidcDouble, state: str) -> None:
    """Nothing is asked of the provider for an answer that nobody waits for."""
    client = house.browser()
    await begin(client)
    before = dict(provider.hits)
    url = URL("/sign-in/callback").with_query(state=state, code="x")
    status, text = await come_back(client, str(url))
    assert (status, "This sign-in is over" in text) == (403, True)
    assert dict(provider.hits) == before


async def test_an_answer_of_another_provider(house: House, provider: OidcDouble) -> None:
    """Where it says whose it is, that must be ours, and must not be left out once it is promised (RFC 9207)."""
    provider.answer = {"iss": "https://evil.example"}
    assert (await sign_in(house.browser()))[0] == 502
    provider.answer = {"iss": provider.issuer}
    assert (await sign_in(house.browser()))[0] == 200
    assert provider.hits["/token"] == 1


async def test_an_issuer_that_was_promised(store: Redis, store_url: str, provider: OidcDouble) -> None:
    """A provider that always says whose an answer is does not leave it out (RFC 9207)."""
    provider.document = {"authorization_response_iss_parameter_supported": True}
    async with open_company(store_url, provider) as house:
        assert (await sign_in(house.browser()))[0] == 502
        assert provider.hits["/token"] == 0


async def test_a_look_at_the_head_uses_nothing_up(house: House) -> None:
    """Only a GET takes the answer; neither HEAD nor POST does (threat 23)."""
    client = house.browser()
    back = await at_provider(await begin(client))
    for method in ("HEAD", "POST"):
        async with client.request(method, back) as response:
            assert response.status == 405
    assert (await come_back(client, back))[0] == 200


async def test_looking_begins_nothing(house: House, provider: OidcDouble, store: Redis) -> None:
    """The page with the button asks neither the provider nor the store to remember anything (threat 23)."""
    keys = {key async for key in store.scan_iter(match="*sign-in*")}
    await house.page(house.browser(), "/sign-in")
    assert not provider.hits
    assert {key async for key in store.scan_iter(match="*sign-in*")} == keys


async def test_only_our_own_page_begins(house: House, provider: OidcDouble) -> None:
    """A form of another site, and one without its token, are refused (threat 26)."""
    client = house.browser()
    await house.page(client, "/sign-in")
    assert (await post(client, "/sign-in")).status == 403
    token = await house.form_token(client)
    for headers in ({"Origin": "https://evil.example"}, {"Sec-Fetch-Site": "cross-site"}):
        async with client.post("/sign-in", data={"form_token": token}, headers=headers) as response:
            assert response.status == 403
    assert not provider.hits


async def test_beginning_has_an_end(house: House) -> None:
    """Nobody fills the store with sign-ins (threat 33)."""
    client = house.browser()
    token = await house.form_token(client)
    found = [(await post(client, "/sign-in", form_token=token)).status for _ in range(61)]
    assert found == [200] * 60 + [429]


@pytest.mark.parametrize("path", ["/sign-in", "/p/{portal}/sign-in"])
async def test_nothing_leads_elsewhere(house: House, provider: OidcDouble, path: str) -> None:
    """Where it goes on to is the provider of the settings and our own accounts, whatever is asked for (threat 37)."""
    portal = await house.node.deps.links.issue_revocable("portal", "inn/office")  # type: ignore[arg-type]
    client = house.browser()
    token = await house.form_token(client)
    evil = {"next": "https://evil.example", "redirect_uri": "https://evil.example", "url": "//evil.example"}
    async with client.post(path.format(portal=portal), params=evil, data={"form_token": token, **evil}) as response:
        assert response.headers["Refresh"].startswith(f"0; url={provider.issuer}/authorize?")
        assert "evil" not in await response.text()
    back = URL(await at_provider(response.headers["Refresh"].partition("url=")[2]))
    async with client.get(back.update_query(evil)) as response:
        assert (response.status, response.headers["Refresh"]) == (200, "0; url=/accounts")
        assert "evil" not in await response.text()


async def test_the_policy_stays_strict(house: House) -> None:
    """No page of the way needs another site in its policy (threat 21)."""
    client = house.browser()
    token = await house.form_token(client)
    async with client.get("/sign-in") as page, client.post("/sign-in", data={"form_token": token}) as on:
        for response in (page, on):
            assert "form-action 'self'" in response.headers["Content-Security-Policy"]
            assert response.headers["Cache-Control"] == "no-store"

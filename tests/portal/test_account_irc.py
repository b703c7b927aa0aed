"""A team adds an IRC network in the portal, on a real server with TLS, and connects a channel of it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import aiohttp
import pytest

from bots import registry
from core.egress import is_public
from core.store import Redis
from tests.portal import teahouse
from tests.portal.conftest import submit
from tests.portal.house import OFFICE, House, open_house, text_of
from tests.servers.irc import HermeticIrcClient, InspIrcd
from tests.servers.store import dump_of

OURS = "127.0.0.1"


@pytest.fixture(autouse=True)
def tea_row(monkeypatch: pytest.MonkeyPatch) -> None:
    """The teahouse is in the registry."""
    monkeypatch.setitem(registry.PLATFORMS, "tea", teahouse.ROW)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[InspIrcd]:
    """A server with TLS."""
    with InspIrcd(tmp_path_factory.mktemp("portal-inspircd"), tls=True) as found:
        yield found


@pytest.fixture
def outside(server: InspIrcd, monkeypatch: pytest.MonkeyPatch) -> str:
    """The server's address, as if it were in the internet and an authority had signed its certificate."""
    monkeypatch.setattr("bridgebot.fence.is_public", lambda address: address == OURS or is_public(address))
    monkeypatch.setenv("SSL_CERT_FILE", str(server.ca_file))
    return f"{OURS}:{server.tls_port}"


@pytest.fixture
async def house(store: Redis, store_url: str) -> AsyncIterator[House]:
    """An installation where members add accounts."""
    async with open_house(store_url) as found:
        yield found


async def add(house: House, client: aiohttp.ClientSession, **fields: str) -> aiohttp.ClientResponse:
    """Send the form."""
    return await submit(client, "/add/irc", "/add/irc", **fields)


async def refused(house: House, client: aiohttp.ClientSession, **fields: str) -> str:
    """Send the form with something that is not taken; the page's text."""
    response = await add(house, client, **fields)
    assert response.status == 422
    return await text_of(response)


async def test_from_the_form_to_a_connected_channel(house: House, outside: str, server: InspIrcd) -> None:
    """A member who came through a portal adds a network, sees its channels, and makes a tube with the portal's room."""
    token = await house.node.deps.links.issue_revocable("portal", OFFICE)
    client = await house.sign_in()
    await submit(client, f"/p/{token}/account", f"/p/{token}/account")
    assert 'href="/add/irc"' in await house.page(client, "/accounts")
    response = await add(house, client, host=outside, channels="#garden, #shed", nick="teabridge")
    assert response.status == 303, await text_of(response)
    path = response.headers["Location"]
    account = path.removeprefix("/account/")
    text = await house.until(client, path, lambda page: "Online" in page and "#shed" in page)
    for words in ("#garden", "TestNet", "/invite teabridge #channel", f"{outside} answers"):
        assert words in text
    response = await submit(client, path, f"{path}/connect", room=f"{account}/#garden", **{"with": "portal"})
    assert response.status == 303
    await house.hears(OFFICE, "now connected to #garden (IRC), by Ada")
    ann = HermeticIrcClient("ann")
    try:
        await ann.connect(server.port)
        await ann.join("#garden", "#attic")
        ann.say("#garden", "is the kettle on?")
        await house.hears(OFFICE, "is the kettle on?")
        ann.send("INVITE teabridge #attic")
        await ann.sees("teabridge!")
        await house.until(client, path, lambda page: "#attic" in page)
    finally:
        await ann.close()


async def test_what_is_wrong_is_said(house: House, outside: str, store: Redis) -> None:
    """In plain words, with what was typed in the form again, but passwords; nothing is added and no secret is kept."""
    client = await house.sign_in()
    text = await refused(house, client, host=outside, sasl_user="tea", sasl_password="canary-1", channels="#garden")
    assert "offers no SASL, so the bot cannot sign in there" in text
    assert f'value="{outside}"' in text
    assert "canary" not in text
    assert "is no server. Write libera" in await refused(house, client, host="https://irc.example.org")
    assert "begins with ircs://, not irc://" in await refused(house, client, host=f"irc://{outside}")
    assert "nothing listens at 127.0.0.1:1." in await refused(house, client, host="127.0.0.1:1")
    assert "is no channel. Write #name" in await refused(house, client, host=outside, channels="garden")
    assert "Server is needed." in await refused(house, client, nick="tea")
    assert [account.id for account in await house.node.accounts.list()] == ["inn"]
    assert b"canary" not in await dump_of(store)


async def test_a_network_inside_is_not_asked(house: House, server: InspIrcd) -> None:
    """A member is refused; the operator may add it, and its passwords are sealed and shown nowhere (threats 13, 25)."""
    place = f"{OURS}:{server.port}"
    member = await house.sign_in()
    assert "is in a private network" in await refused(house, member, host=place)
    operator = await house.sign_in(await house.operator_path())
    response = await add(house, operator, host=f"irc://{place}", nick="opbridge", password="canary-2")
    assert response.status == 303, await text_of(response)
    path = response.headers["Location"]
    text = await house.until(operator, path, lambda page: "Online" in page)
    assert "canary" not in text
    assert b"canary" not in await dump_of(house.node.deps.store)

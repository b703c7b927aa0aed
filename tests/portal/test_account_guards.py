"""What attackers do to the pages of accounts, and that it does not work. The numbers: docs/threat-model.md."""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

import aiohttp
import msgspec
import pytest

from bots import registry
from bridgebot.commands.questions import questions
from bridgebot.fence import Fence, Typed, leads_outside, refuse_private
from core.contract import AuthLost, Platform, Rejected, Retry
from core.egress import Forbidden
from core.keys import ACCOUNTS
from core.owners import OWNERS
from core.store import Redis
from tests.portal import teahouse
from tests.portal.conftest import post, submit
from tests.portal.house import LOBBY, OFFICE, OLGA, House, open_house


@pytest.fixture(autouse=True)
def tea_row(monkeypatch: pytest.MonkeyPatch) -> None:
    """The teahouse is in the registry."""
    monkeypatch.setitem(registry.PLATFORMS, "tea", teahouse.ROW)


@pytest.fixture
async def house(store: Redis, store_url: str) -> AsyncIterator[House]:
    """An installation where members add accounts."""
    async with open_house(store_url) as found:
        yield found


class Inside:
    """A server in the operator's own network, which nobody from outside may reach."""

    def __init__(self) -> None:
        self.hits = 0
        self.port = 0

    async def _on_connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.hits += 1
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\nConnection: close\r\n\r\nsecret")
        await writer.drain()
        writer.close()
        await writer.wait_closed()

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[Inside]:
        """As long as the block lasts."""
        server = await asyncio.start_server(self._on_connection, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        async with server:
            yield self


@pytest.fixture
async def inside() -> AsyncIterator[Inside]:
    """A server on this machine's loopback."""
    async with Inside().listening() as server:
        yield server


HOSTILE = [
    "https://127.0.0.1:{port}/",
    "https://127.1:{port}",
    "https://2130706433:{port}",
    "https://0x7f000001:{port}",
    "https://[::1]:{port}",
    "https://[::ffff:127.0.0.1]:{port}",
    "https://[64:ff9b::7f00:1]:{port}",
    "https://100.64.0.1",
    "https://169.254.169.254/latest/meta-data",
    "https://10.0.0.1",
    "https://0.0.0.0:{port}",
    "https://localhost:{port}",
    "https://tea.example@127.0.0.1:{port}",
    "http://tea.example.org",
    "HTTP://127.0.0.1:{port}",
    "gopher://127.0.0.1:{port}",
    "127.0.0.1:{port}",
    "localhost",
    "2130706433",
    "bot@127.0.0.1",
    "[::1]:{port}",
    "192.168.0.1/x",
]


@pytest.mark.parametrize("address", HOSTILE)
async def test_an_address_in_our_own_network_is_not_asked(house: House, inside: Inside, address: str) -> None:
    """Every way to write a private address, and every way without TLS, is refused before anybody asks (threat 13)."""
    client = await house.sign_in()
    text = await house.refused(client, token="calls", server=address.format(port=inside.port))
    assert "is in a private network" in text or "begins with https://" in text
    assert inside.hits == 0


@pytest.mark.parametrize(
    "key",
    [
        '{{"token_uri": "http://127.0.0.1:{port}/t"}}',
        '{{"token_uri": "https:\\/\\/127.0.0.1:{port}/t"}}',
        '{{"a": [{{"b": "\\u0068ttps://127.0.0.1:{port}"}}]}}',
        '{{"a": "https://169.254.169.254/"}}, "broken',
    ],
)
async def test_an_address_within_a_secret_is_looked_at(house: House, inside: Inside, key: str) -> None:
    """A key's file names servers as well, in whatever way JSON lets it write them (threat 13)."""
    text = await house.refused(await house.sign_in(), token="good-x", key=key.format(port=inside.port))
    assert "Key: " in text
    assert inside.hits == 0


async def test_what_a_service_says_of_its_address_is_looked_at(house: House) -> None:
    """A server that names a private one as its real address is not added (threat 13)."""
    text = await house.refused(await house.sign_in(), token="moved", server="https://198.51.100.1")
    assert "198.51.100.1 is in a private network" in text
    text = await house.refused(await house.sign_in(), token="moved")
    assert "127.0.0.1 is in a private network" in text


async def test_behind_the_fence_no_name_leads_inside(inside: Inside) -> None:
    """What resolves to a private address only when it is used, or leads there, gets no connection (threat 13)."""

    async def fetch(url: str) -> int:
        async with aiohttp.ClientSession() as session, session.get(url) as answer:
            return answer.status

    async def stream() -> None:
        await asyncio.open_connection("localhost", inside.port)

    url = f"http://localhost:{inside.port}/"
    fence = Fence()
    works: list[Callable[[], Awaitable[object]]] = [lambda: fetch(url), stream]
    for work in works:
        with pytest.raises(OSError) as caught:
            await fence.run(work, 5)  # type: ignore[arg-type]
        assert isinstance(getattr(caught.value, "os_error", caught.value), Forbidden)
    assert inside.hits == 0
    assert await fetch(url) == 200


@pytest.mark.parametrize("name", [name for name in registry.names() if questions(registry.platform(name).config)])
async def test_no_platform_gets_over_the_fence(inside: Inside, name: str) -> None:
    """Whatever library a platform uses to prepare an account, it ends at the fence, in words for people (threat 13)."""
    platform = registry.platform(name)
    every = questions(platform.config)
    needed = [one for one in every if one.secret or one.needed]
    addresses = (f"https://localhost:{inside.port}", "bot@localhost", "localhost")
    tried = 0
    for address, given in itertools.product(addresses, (every, needed)):
        with suppress(msgspec.ValidationError):  # it takes no address of this kind
            values = {one.name: "x" if one.secret else address for one in given}
            config = msgspec.convert(values, platform.config)
            with pytest.raises((Rejected, Retry, AuthLost)):
                await Fence().run(lambda config=config: _prepared(platform, config), 15)  # type: ignore[misc]
            tried += 1
    assert tried
    assert inside.hits == 0


async def _prepared(platform: Platform, config: object) -> tuple[str, object]:
    return await platform.prepare(config, "https://bridge.example.org")


async def test_the_fence_is_not_stormed() -> None:
    """A few at a time, each with an end; whoever comes when it is full is told so."""
    fence = Fence(most=1)

    async def long() -> None:
        await asyncio.sleep(60)

    first = asyncio.create_task(fence.run(long, 0.2))
    await asyncio.sleep(0)
    with pytest.raises(Retry):
        await fence.run(long, 0.2)
    with pytest.raises(TimeoutError):
        await first

    async def quick() -> str:
        return "done"

    assert await fence.run(quick, 5) == "done"


@pytest.mark.parametrize(
    ("typed", "is_fine"),
    [
        (Typed("Server", "https://8.8.8.8/x", is_address=True), True),
        (Typed("Server", "8.8.8.8", is_address=True), True),
        (Typed("Server", "[2606:4700::1111]:443", is_address=True), True),
        (Typed("Project number", "2130706433"), True),
        (Typed("Login", "bob@127.0.0.1"), True),
        (Typed("Server", "bob@127.0.0.1", is_address=True), False),
        (Typed("Token", "127.0.0.1", is_secret=True), True),
        (Typed("Token", "wss://127.0.0.1", is_secret=True), False),
        (Typed("Anything", "8.8.8.8, 127.0.0.1"), False),
        (Typed("Server", "https://[::1", is_address=True), True),
    ],
)
async def test_what_counts_as_an_address(typed: Typed, is_fine: bool) -> None:
    """Addresses are found wherever they stand; names, numbers and passwords of other kinds are left alone."""
    if is_fine:
        await refuse_private([typed])
    else:
        with pytest.raises(Rejected):
            await refuse_private([typed])


async def test_what_has_no_address_leads_nowhere() -> None:
    """A name that nobody knows, or that is none, is left to the service's own answer."""
    for host in ("nobody.invalid", "a" * 300, "..", "ex\u00e4mple..org"):
        assert await leads_outside(host)


async def test_the_operator_may_add_what_is_private(house: House, inside: Inside) -> None:
    """Who has a shell here needs no fence: a server in the own network is theirs."""
    operator = await house.sign_in(await house.operator_path())
    assert await house.add(operator, "calls", server=f"http://127.0.0.1:{inside.port}/") == "secret"
    assert inside.hits == 1


async def test_passwords_cannot_be_tried_without_end(house: House) -> None:
    """Ten tries by a person, wherever they come from; another person is not held back (threat 6)."""
    first, second = await house.sign_in(), await house.sign_in()
    for client in (first, second) * 5:
        await house.refused(client, token="guess")
    for client in (first, second):
        response = await submit(client, "/add/tea", "/add/tea", token="good-jade")
        assert response.status == 429
    await house.refused(await house.sign_in(person=OLGA, room=OFFICE), token="guess")


async def test_two_tenants_and_every_account(house: House) -> None:
    """Another person's account is as good as none, in every page and form, and so are its rooms (threat 29)."""
    ada, olga = await house.sign_in(), await house.sign_in(person=OLGA, room=OFFICE)
    assert await house.add(ada, "good-jade") == "jade"
    assert await house.add(olga, "good-oolong") == "oolong"
    tea = await house.tea("jade")
    assert "jade" not in await house.page(olga, "/accounts")
    for account in ("jade", "inn", "nothing"):
        await house.page(olga, f"/account/{account}", 404)
        for what in ("look", "connect", "remove"):
            fields = {"room": "jade/green", "with": "room", "end": "yes", "person": "inn/ada", "owner": "inn/olga"}
            assert await house.act(olga, account, what, **fields) == 404, (account, what)
    # Through an account of one's own, too.
    for room in ("jade/green", "inn/lobby", "oolong/nothing", ""):
        assert await house.act(olga, "oolong", "connect", room=room, **{"with": "room"}) == 404
    assert tea.said == {}
    assert await house.node.accounts.get("jade")


async def test_a_session_of_the_same_person_elsewhere(house: House) -> None:
    """The account is the person's, from whichever room they sign in; somebody of the same room has no part in it."""
    await house.add(await house.sign_in(), "good-jade")
    assert "jade" in await house.page(await house.sign_in(room=OFFICE), "/accounts")
    assert "jade" not in await house.page(await house.sign_in(person=OLGA, room=LOBBY), "/accounts")


PAGES = ["/accounts", "/add/tea", "/account/jade"]
FORMS = ["/add/tea", "/account/jade/look", "/account/jade/connect", "/account/jade/remove", "/p/{portal}/account"]


async def test_without_a_session_there_is_nothing(house: House) -> None:
    """Every page and form wants to know who it is (threats 24, 29)."""
    await house.add(await house.sign_in(), "good-jade")
    stranger = house.browser()
    portal = await house.node.deps.links.issue_revocable("portal", OFFICE)
    for path in PAGES:
        await house.page(stranger, path, 401)
    for path in FORMS:
        token = await house.form_token(stranger)
        response = await post(stranger, path.format(portal=portal), form_token=token, token="good-x")
        assert response.status == 401, path
    assert [account.id for account in await house.node.accounts.list()] == ["inn", "jade"]


FOREIGN = [{"Origin": "https://evil.example"}, {"Sec-Fetch-Site": "cross-site"}, {}]


@pytest.mark.parametrize("headers", FOREIGN, ids=["origin", "site", "no token"])
async def test_a_form_of_another_site_is_refused(house: House, headers: dict[str, str]) -> None:
    """A POST from elsewhere, and one without the browser's own token, is a 403 and changes nothing (threat 26)."""
    client = await house.sign_in()
    await house.add(client, "good-jade")
    portal = await house.node.deps.links.issue_revocable("portal", OFFICE)
    for path in FORMS:
        token = await house.form_token(client if headers else house.browser())
        data = {"form_token": token, "token": "good-x", "room": "jade/green", "with": "room"}
        async with client.post(path.format(portal=portal), data=data, headers=headers) as response:
            assert response.status == 403, path
    assert [account.id for account in await house.node.accounts.list()] == ["inn", "jade"]


async def test_the_operators_link(house: House) -> None:
    """It works once, no other link is as good as it, and it replaces any session (threats 24, 27)."""
    client = await house.sign_in()
    before = {cookie.value for cookie in client.cookie_jar}
    path = await house.operator_path()
    for _ in range(2):
        assert "Sign in as the operator" in await house.page(house.browser(), path)
    assert (await submit(client, path, path)).headers["Location"] == "/accounts"
    assert not before & {cookie.value for cookie in client.cookie_jar}
    await house.page(house.browser(), path, 410)
    links = house.node.deps.links
    forged = await links.issue_once("manage", {"name": "root"}, 900)
    plain = links.sign("operator", {"name": "root"})
    for token in (forged, plain, await links.issue_revocable("operator", "root")):
        await house.page(house.browser(), f"/manage/{token}", 401)
    # A member's link cannot say that it is the operator's.
    member = await links.issue_once("manage", {"room": LOBBY, "person": "operator", "name": "x", "operator": True}, 900)
    await house.page(await house.sign_in(f"/manage/{member}"), "/account/inn", 404)


async def test_who_was_demoted_loses_the_pages(store: Redis, store_url: str) -> None:
    """Whether the person still runs the room that they came from is asked at every page and form (threat 28)."""
    async with open_house(store_url, connect="admins") as house:
        inn = await house.tea("inn")
        for path in (*PAGES, *FORMS[:4]):
            inn.admins.add("ada")
            client = await house.sign_in()
            if await house.node.accounts.get("jade") is None:
                await house.add(client, "good-jade")
            token = await house.form_token(client)
            inn.admins.clear()
            if path in PAGES:
                await house.page(client, path, 403)
            if path in FORMS:
                inn.admins.add("ada")
                client = await house.sign_in()
                token = await house.form_token(client)
                inn.admins.clear()
                assert (await post(client, path, form_token=token, token="good-x")).status == 403
        assert await house.node.accounts.get("jade")


async def test_a_preview_changes_nothing(house: House, store: Redis) -> None:
    """Looking at any page, as often as one likes, leaves the store as it is (threat 23)."""
    client = await house.sign_in()
    await house.add(client, "good-jade")
    await house.until(client, "/account/jade", lambda page: "Online" in page)
    portal = await house.node.deps.links.issue_revocable("portal", OFFICE)

    async def records() -> list[dict[bytes, bytes]]:
        return [await store.hgetall(name) for name in (ACCOUNTS, OWNERS)]

    before = await records()
    for path in (*PAGES, f"/p/{portal}/account", "/account/jade?q=x"):
        for _ in range(2):
            await house.page(client, path)
    assert await records() == before
    assert not (await house.node.directory.sameroom(LOBBY)).tubes


async def test_nothing_redirects_elsewhere(house: House) -> None:
    """Targets are written in the code, whatever fields and headers say (threat 37)."""
    client = await house.sign_in()
    await house.add(client, "good-jade")
    portal = await house.node.deps.links.issue_revocable("portal", OFFICE)
    fields = {"next": "//evil.example", "token": "good-jade", "room": "jade/green", "with": "room"}
    targets = []
    for path in FORMS[:3] + FORMS[4:] + FORMS[3:4]:
        token = await house.form_token(client)
        url = path.format(portal=portal) + "?next=//evil.example"
        headers = {"X-Forwarded-Host": "evil.example", "Referer": "https://evil.example"}
        async with client.post(
            url, data={"form_token": token, **fields}, headers=headers, allow_redirects=False
        ) as response:
            targets.append(response.headers["Location"])
    assert targets == ["/account/jade"] * 3 + ["/accounts"] * 2


async def test_secrets_are_in_no_page_log_or_store(
    house: House, store: Redis, caplog: pytest.LogCaptureFixture
) -> None:
    """Neither in a page nor in the store nor in the access log stands what was typed as a secret (threats 25, 38)."""
    caplog.set_level(logging.DEBUG)
    client = await house.sign_in()
    seen = [await house.refused(client, token="bad-canary", key='{"x": "canary"}')]
    await house.add(client, "good-jade-canary", key='{"x": "canary"}')
    await house.act(client, "jade", "look")
    seen += [await house.page(client, path) for path in PAGES]
    assert "canary" not in "".join(seen)
    lines = [record.getMessage() for record in caplog.records if record.name == "bridgebot.access"]
    assert any(line.startswith("POST /account/{id}/look 303") for line in lines)
    assert "canary" not in "".join(lines)
    for key in [key async for key in store.scan_iter()]:
        assert b"canary" not in (await store.dump(key) or b""), key

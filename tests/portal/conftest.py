"""A portal on a free port, over the real store, links and codes, with two tenants in it."""

from __future__ import annotations

import re
import secrets
import socket
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from codes.links import Links
from codes.pairing import GuessLimits, PairingCodes
from core.model import AccountId, RoomId
from core.settings import Settings
from core.store import Redis
from portal.app import make_app, make_runner
from portal.deps import Account, PortalDeps
from portal.mounts import router
from tests.conftest import FakeClock
from tests.portal.doubles import Ban, Entry, GuestHouse, Shed, Silent, Town

SECRET = "0123456789abcdef0123456789abcdef"
GARDEN, OFFICE, HALL = RoomId("irc/#garden"), RoomId("irc/#office"), RoomId("irc/#hall")


@dataclass
class Codes:
    """Pairing, on the real codes."""

    codes: PairingCodes

    async def issue_code(self, room_id: RoomId, by: str) -> str:
        """Pairing.issue_code."""
        return (await self.codes.issue(room_id, by=by)).code


@dataclass
class Site:
    """A running portal and what a test turns on it."""

    url: str
    deps: PortalDeps
    town: Town
    shed: Shed
    guests: GuestHouse
    clock: FakeClock
    accounts: list[Account] = field(default_factory=list)
    clients: list[aiohttp.ClientSession] = field(default_factory=list)

    def add_shed(self, name: str, platform_title: str) -> Shed:
        """One more account that can be invited."""
        shed = Shed(self.town, AccountId(name), step=f"Find {name} in {platform_title}")
        self.accounts.append(made(name, platform_title, shed))
        return shed

    def browser(self) -> aiohttp.ClientSession:
        """A new visitor with cookies of their own; follows no redirects by itself."""
        client = aiohttp.ClientSession(self.url, cookie_jar=aiohttp.CookieJar(unsafe=True))
        self.clients.append(client)
        return client

    async def manage_token(self, room: RoomId = GARDEN, actor: str = "ada") -> str:
        """What ``-sameroom manage`` puts into its link."""
        return await self.deps.links.issue_once("manage", {"room": room, "person": actor, "name": actor.title()}, 900)

    async def portal_token(self, room: RoomId = GARDEN, **options: Any) -> str:
        """What ``-sameroom portal`` puts into its link."""
        return await self.deps.links.issue_revocable("portal", room, **options)

    async def sign_in(self, room: RoomId = GARDEN, actor: str = "ada") -> aiohttp.ClientSession:
        """A visitor who is signed in to a room's page."""
        client = self.browser()
        path = f"/manage/{await self.manage_token(room, actor)}"
        response = await submit(client, path, path)
        assert response.status == 303
        return client


async def submit(client: aiohttp.ClientSession, page: str, action: str, **fields: str) -> aiohttp.ClientResponse:
    """Open ``page`` and send one of its forms to ``action``, as a browser does; redirects are not followed."""
    async with client.get(page) as response:
        html = await response.text()
    assert f'action="{action}"' in html, f"{page} has no form for {action}"
    return await post(client, action, form_token=token_in(html), **fields)


async def post(client: aiohttp.ClientSession, action: str, **fields: str) -> aiohttp.ClientResponse:
    """Send a form; the body is read, so that the connection is free again."""
    response = await client.post(action, data=fields, allow_redirects=False)
    await response.read()
    return response


def token_in(html: str) -> str:
    """The hidden field of the page's forms."""
    found = re.search(r'name="form_token" value="([^"]+)"', html)
    assert found
    return found[1]


def town_of_two_tenants() -> Town:
    """#garden is connected with #hall; #office belongs to somebody else and is connected with #lobby."""
    town = Town()
    entry = Entry(1_800_000_000_000, "ada opened a portal")
    town.add(GARDEN, "#garden", bans=(Ban("u1", "Spammy"),), log=(entry,))
    town.add(HALL, "#hall")
    town.add(OFFICE, "#office", bans=(Ban("u2", "Pest"),))
    town.add("irc/#lobby", "#lobby")
    town.join(GARDEN, HALL)
    town.join(OFFICE, "irc/#lobby")
    town.waiting[HALL] = 12
    town.managers = {(GARDEN, "ada"), (OFFICE, "olga")}
    return town


def made(name: str, platform_title: str, adapter: GuestHouse | Shed) -> Account:
    """An account as the portal is given it."""
    return Account(AccountId(name), platform_title, adapter, router(AccountId(name), adapter.routes(Silent())))


MakeSite = Callable[..., Any]


@pytest.fixture
async def make_site(store: Redis, clock: FakeClock) -> AsyncIterator[MakeSite]:
    """Starts portals; ``settings`` and ``changes`` of PortalDeps as given."""
    sites: list[tuple[Site, web.AppRunner]] = []

    async def start(settings: dict[str, Any] | None = None, **changes: Any) -> Site:
        sock = socket.create_server(("127.0.0.1", 0))
        port = sock.getsockname()[1]
        town = town_of_two_tenants()
        guests, shed = GuestHouse(town), Shed(town)
        known = {"secret_key": SECRET, "port": port, "public_url": f"http://127.0.0.1:{port}"}
        chosen = Settings(**(known | (settings or {})))
        limits = GuessLimits(per_person=5, per_room=15, overall=1000, window_s=600)
        codes = PairingCodes(store, SECRET, now_ms=clock.now_ms, ttl_s=120, limits=limits)

        async def health() -> tuple[bool, dict[str, Any]]:
            return True, {"relays": 1}

        values: dict[str, Any] = {
            "settings": chosen,
            "store": store,
            "links": Links(store, SECRET, now_ms=clock.now_ms),
            "directory": town,
            "act": town.act,
            "pairing": Codes(codes),
            "may_manage": town.may_manage,
            "accounts": lambda: site.accounts,
            "health": health,
            "metrics": lambda: b"bridgebot_up 1\n",
            "now_ms": clock.now_ms,
            "random_id": lambda: secrets.token_hex(16),
        }
        deps = PortalDeps(**(values | changes))
        runner = make_runner(make_app(deps))
        await runner.setup()
        await web.SockSite(runner, sock).start()
        site = Site(f"http://127.0.0.1:{port}", deps, town, shed, guests, clock)
        site.accounts = [made("web", "Browser", guests), made("shed", "Shed", shed)]
        sites.append((site, runner))
        return site

    yield start
    for site, runner in sites:
        for client in site.clients:
            await client.close()
        await runner.cleanup()


@pytest.fixture
async def site(make_site: MakeSite) -> Site:
    """A portal with two tenants."""
    return await make_site()

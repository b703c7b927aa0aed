"""A whole installation in one process, on the session's store, where teams add accounts of the teahouse."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp

from bridgebot import roles
from core.model import RoomId
from core.settings import Settings
from tests.bridgebot.support import KEY, free_port
from tests.portal import teahouse
from tests.portal.conftest import post, submit, token_in

LOBBY, OFFICE = RoomId("inn/lobby"), RoomId("inn/office")
ADA, OLGA = "inn/ada", "inn/olga"
PATIENCE_S = 10.0


@dataclass
class House:
    """The installation, and its visitors. The rooms that they come from are of the operator's account ``inn``."""

    node: roles.Node
    clients: list[aiohttp.ClientSession] = field(default_factory=list)

    @property
    def url(self) -> str:
        """Where its portal is."""
        return self.node.settings.site_url

    def browser(self) -> aiohttp.ClientSession:
        """A new visitor."""
        client = aiohttp.ClientSession(self.url, cookie_jar=aiohttp.CookieJar(unsafe=True))
        self.clients.append(client)
        return client

    async def manage_path(self, person: str = ADA, room: RoomId = LOBBY) -> str:
        """What ``-sameroom manage`` links to."""
        name = person.partition("/")[2].title()
        payload = {"room": room, "person": person, "name": name}
        return f"/manage/{await self.node.deps.links.issue_once('manage', payload, 900)}"

    async def operator_path(self) -> str:
        """What ``bridgebot portal-link`` links to."""
        return f"/manage/{await self.node.deps.links.issue_once('operator', {'name': 'root'}, 900)}"

    async def sign_in(self, path: str | None = None, **who: Any) -> aiohttp.ClientSession:
        """A visitor with a session."""
        client = self.browser()
        path = path or await self.manage_path(**who)
        assert (await submit(client, path, path)).status == 303
        return client

    async def add(self, client: aiohttp.ClientSession, token: str, **fields: str) -> str:
        """Add an account; returns its id."""
        response = await submit(client, "/add/tea", "/add/tea", token=token, **fields)
        assert response.status == 303, await text_of(response)
        return response.headers["Location"].removeprefix("/account/")

    async def refused(self, client: aiohttp.ClientSession, **fields: str) -> str:
        """Try to add an account that is not taken; returns the page's text."""
        response = await submit(client, "/add/tea", "/add/tea", **fields)
        assert response.status == 422
        return await text_of(response)

    async def page(self, client: aiohttp.ClientSession, path: str, status: int = 200) -> str:
        """The text of a page."""
        async with client.get(path, allow_redirects=False) as response:
            assert response.status == status, (path, response.status)
            return await text_of(response)

    async def until(self, client: aiohttp.ClientSession, path: str, found: Callable[[str], bool]) -> str:
        """The text of a page once it is as wanted."""
        async with asyncio.timeout(PATIENCE_S):
            while not found(text := await self.page(client, path)):
                await asyncio.sleep(0.02)
        return text

    async def form_token(self, client: aiohttp.ClientSession) -> str:
        """A form token that is good for this visitor, signed in or not."""
        portal = await self.node.deps.links.issue_revocable("portal", LOBBY)
        async with client.get(f"/p/{portal}") as page:
            return token_in(await page.text())

    async def act(self, client: aiohttp.ClientSession, account: str, what: str, **fields: str) -> int:
        """Send one of the account's forms, with a token of another page; returns the status."""
        token = await self.form_token(client)
        return (await post(client, f"/account/{account}/{what}", form_token=token, **fields)).status

    async def tea(self, account: str) -> teahouse.Tea:
        """The account's adapter."""
        async with asyncio.timeout(PATIENCE_S):
            while True:
                for adapter, _ in await self.node.adapters.all():
                    if adapter.account == account and isinstance(adapter, teahouse.Tea):
                        return adapter
                await asyncio.sleep(0.02)

    async def hears(self, room: str, words: str) -> str:
        """Wait until the bot has said ``words`` in a room."""
        async with asyncio.timeout(PATIENCE_S):
            while True:
                said = (await self.tea(room.partition("/")[0])).said.get(RoomId(room), [])
                for line in said:
                    if words in line:
                        return line
                await asyncio.sleep(0.02)


async def text_of(response: aiohttp.ClientResponse) -> str:
    """What a page says, as its source."""
    return re.sub(r"\s+", " ", await response.text())


@asynccontextmanager
async def open_house(store_url: str, only: frozenset[str] = roles.ALL_ROLES, **settings: Any) -> AsyncIterator[House]:
    """A running installation with the rooms of ``inn``; the teahouse must be in the registry."""
    known: dict[str, Any] = {"redis_url": store_url, "secret_key": KEY, "port": free_port(), "add_accounts": "members"}
    node = await roles.open_node(Settings(**(known | settings)))
    await node.accounts.add("inn", teahouse.PLATFORM.id, teahouse.TeaConfig(token="good-inn", name="inn"))
    async with roles.running(node, only):
        house = House(node)
        try:
            if node.relay:
                await node.relay.ready.wait()
                for room in (LOBBY, OFFICE):
                    title = room.partition("/")[2].title()
                    await node.directory.act(room, "", "", "help", titles=(title, "Inn"))
            yield house
        finally:
            for client in house.clients:
                await client.close()


@asynccontextmanager
async def open_web(store_url: str, **settings: Any) -> AsyncIterator[House]:
    """One more web process, on the store of another installation."""
    known: dict[str, Any] = {"redis_url": store_url, "secret_key": KEY, "port": free_port(), "add_accounts": "members"}
    node = await roles.open_node(Settings(**(known | settings)))
    async with roles.running(node, {"web"}):
        house = House(node)
        try:
            yield house
        finally:
            for client in house.clients:
                await client.close()

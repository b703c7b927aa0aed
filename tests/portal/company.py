"""An installation with a company's sign-in, and its visitors on their way there and back."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp

from tests.bridgebot.support import free_port
from tests.fakes.oidc import OidcDouble
from tests.portal.conftest import submit
from tests.portal.house import House, open_house, text_of


@asynccontextmanager
async def open_company(store_url: str, provider: OidcDouble, **settings: Any) -> AsyncIterator[House]:
    """An installation that sends people to ``provider``, which knows it."""
    port = free_port()
    provider.redirect_uri = f"http://127.0.0.1:{port}/sign-in/callback"
    known: dict[str, Any] = {"port": port, "add_accounts": "company", **provider.settings}
    async with open_house(store_url, **(known | settings)) as house:
        yield house


async def begin(client: aiohttp.ClientSession, path: str = "/sign-in") -> str:
    """Press the button; returns the provider's address that the page leads to."""
    response = await submit(client, path, path)
    assert response.status == 200, await response.text()
    found = re.fullmatch(r"0; url=(\S+)", response.headers["Refresh"])
    assert found
    return found[1]


async def at_provider(url: str) -> str:
    """What the provider's page leads back to."""
    async with aiohttp.ClientSession() as other, other.get(url, allow_redirects=False) as response:
        assert response.status == 302, await response.text()
        return response.headers["Location"]


async def come_back(client: aiohttp.ClientSession, url: str) -> tuple[int, str]:
    """Follow the provider's answer; returns status and text of our page."""
    async with client.get(url, allow_redirects=False) as response:
        return response.status, await text_of(response)


async def sign_in(client: aiohttp.ClientSession, path: str = "/sign-in") -> tuple[int, str]:
    """The whole way; returns status and text of the last page."""
    return await come_back(client, await at_provider(await begin(client, path)))


async def is_signed_in(client: aiohttp.ClientSession) -> bool:
    """Has this visitor a session?"""
    async with client.get("/accounts") as response:
        assert response.status in (200, 401)
        return response.status == 200

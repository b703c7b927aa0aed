"""What a message points to never leads into our own network."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from aiohttp import web

from core.contract import Rejected, Retry
from core.egress import fetch, guarded_session, is_public

PRIVATE = (
    "127.0.0.1",
    "127.8.9.1",
    "10.0.0.1",
    "172.16.0.1",
    "192.168.1.1",
    "169.254.169.254",
    "100.64.0.1",
    "0.0.0.0",  # noqa: S104 - looked at, not listened on
    "255.255.255.255",
    "224.0.0.1",
    "192.0.2.1",
    "240.0.0.1",
    "::",
    "::1",
    "::ffff:127.0.0.1",
    "::ffff:10.0.0.1",
    "::127.0.0.1",
    "64:ff9b::7f00:1",
    "64:ff9b:1::a00:1",
    "2002:7f00:1::",
    "2001:0:7f00:1::",
    "fe80::1%eth0",
    "fc00::1",
    "ff02::1",
)
PUBLIC = ("1.1.1.1", "93.184.216.34", "2606:4700:4700::1111", "::ffff:1.1.1.1")


@pytest.mark.parametrize("address", PRIVATE)
def test_private_addresses_are_seen(address: str) -> None:
    """Loopback, private, link-local, carrier and reserved ranges, however they are wrapped."""
    assert not is_public(address)


@pytest.mark.parametrize("address", PUBLIC)
def test_public_addresses_pass(address: str) -> None:
    """The rest of the internet is reached."""
    assert is_public(address)


class Site:
    """A server on loopback that counts who comes."""

    def __init__(self) -> None:
        self.hits = 0
        self.port = 0

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """Bytes, a redirect to here, or an error."""
        self.hits += 1
        match request.path:
            case "/loop":
                raise web.HTTPFound("/loop")
            case "/busy":
                raise web.HTTPServiceUnavailable
            case "/gone":
                raise web.HTTPNotFound
            case "/endless":
                response = web.StreamResponse()
                await response.prepare(request)
                while True:
                    await response.write(b"x" * 10_000)
        return web.Response(body=b"a picture")


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    """Started on a free port."""
    made = Site()
    app = web.Application()
    app.router.add_get("/{path:.*}", made.answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    made.port = runner.addresses[0][1]
    yield made
    await runner.cleanup()


async def _all(url: str, allowed: tuple[str, ...] = (), max_bytes: int = 50_000) -> bytes:
    async with guarded_session(allowed) as session:
        return b"".join([chunk async for chunk in fetch(session, url, max_bytes)])


HOSTS = ("127.0.0.1", "localhost", "[::ffff:127.0.0.1]", "2130706433", "0x7f.1", "127.1", "0")


@pytest.mark.parametrize("host", HOSTS)
async def test_our_own_machine_is_not_fetched_from(site: Site, host: str) -> None:
    """By name, as one number, in hexadecimal, mapped: no request arrives."""
    with pytest.raises(Rejected if host in ("127.0.0.1", "localhost") else (Rejected, Retry)):
        await _all(f"http://{host}:{site.port}/picture")
    assert site.hits == 0


async def test_what_the_operator_trusts_is_fetched(site: Site) -> None:
    """An allowed address gives its bytes; that a file is gone, busy, too large or nowhere is told apart."""
    at = f"http://127.0.0.1:{site.port}"
    trusted = ("127.0.0.1",)
    assert await _all(f"{at}/picture", trusted) == b"a picture"
    for path in ("/gone", "/loop", "/endless"):
        with pytest.raises(Rejected):
            await _all(at + path, trusted)
    with pytest.raises(Retry):
        await _all(f"{at}/busy", trusted)
    with pytest.raises(Rejected):
        await _all("not a link", trusted)


async def test_a_redirect_is_looked_at_again(site: Site) -> None:
    """A trusted server that sends us to another private address gets nothing fetched."""

    async def away(request: web.Request) -> web.StreamResponse:
        raise web.HTTPFound(f"http://127.0.0.2:{site.port}/picture")

    app = web.Application()
    app.router.add_get("/", away)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        with pytest.raises(Rejected, match="not a public address"):
            await _all(f"http://127.0.0.1:{runner.addresses[0][1]}/", ("127.0.0.1",))
    finally:
        await runner.cleanup()
    assert site.hits == 0

"""Files both ways: only from the server itself or where it sends us on to, never endlessly, the token nowhere else."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from aiohttp import web

from core.contract import Rejected, Retry, Uncertain
from core.store import Redis
from tests.bots.rocketchat.scene import TOKEN
from tests.bots.rocketchat.support import out, post, running


async def read(adapter: object, ref: str) -> bytes:
    """All of a file."""
    return b"".join([chunk async for chunk in adapter.open_file(ref)])  # type: ignore[attr-defined]


@asynccontextmanager
async def serving(handler: object) -> AsyncIterator[str]:
    """A web server with one handler."""
    app = web.Application()
    app.router.add_get("/{path:.*}", handler)  # type: ignore[arg-type]
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield f"http://127.0.0.1:{site._server.sockets[0].getsockname()[1]}"  # type: ignore[union-attr]
    finally:
        await runner.cleanup()


@pytest.mark.parametrize("new", [True, False])
async def test_files_go_up(store: Redis, new: bool) -> None:
    """In two steps, or one where the server is older; the first bears the words, all the author's name."""
    async with running(store) as account:
        account.double.has_media = new
        files = (out("a.png", b"png" * 999, size=0), out("plan.pdf", b"%PDF" * 500, "application/pdf"))
        receipt = await account.adapter.send(post("two files", files=files))
        first, second = account.lines()
        assert receipt.natives == (first["_id"], second["_id"])
        assert (first["msg"], second["msg"], second["alias"]) == ("two files", "", "Alice")
        assert account.double.files[first["file"]["_id"]] == ("a.png", "image/png", b"png" * 999)
        assert account.double.files[second["file"]["_id"]][2] == b"%PDF" * 500


async def test_what_the_server_does_not_take_becomes_a_link(store: Redis) -> None:
    """Too large, or refused: the words and a link."""
    async with running(store) as account:
        account.double.fail("POST rooms.media", status=400, body={"success": False, "error": "error-invalid-file-type"})
        files = (out("odd.png", b"x"), out("huge.bin", b"x", size=10**12))
        await account.adapter.send(post("look", files=files))
        first, second = account.lines()
        assert first["msg"].startswith("look\n📎 odd.png")
        assert "https://bridge.example.org/f/huge.bin" in second["msg"]


async def test_a_file_is_posted_once(store: Redis) -> None:
    """A failed upload was no post; after a lost answer the file that is there is found."""
    async with running(store) as account:
        for fault in ({"status": 500}, {"drop": "after"}, {"status": 429}):
            account.double.fail("POST rooms.media", **fault)
            with pytest.raises(Retry):
                await account.adapter.send(post("pic", files=(out("a.png", b"png"),)))
        for drop in ("before", "after"):
            account.double.fail("POST rooms.mediaConfirm", drop=drop)
            with pytest.raises(Uncertain):
                await account.adapter.send(post("pic", files=(out("a.png", b"png"),)))
        receipt = await account.adapter.send(post("pic", files=(out("a.png", b"png"),)))
        assert [line["_id"] for line in account.lines()] == list(receipt.natives)


@pytest.mark.parametrize(
    "ref",
    ["", "x", "../api/v1/me", "../../etc/passwd", "a/../b", "a/b?c", "a/b#c", "http://127.0.0.1/x", "//evil/x", ".."],
)
async def test_only_the_servers_files_are_asked_for(store: Redis, ref: str) -> None:
    """Threat 13: a reference that is no file of the server is refused before a connection is made."""
    async with running(store, start=False) as account:
        with pytest.raises(Rejected):
            await read(account.adapter, ref)
        assert account.double.seen_headers == []


async def test_redirects_go_without_the_token_and_not_into_our_network(store: Redis) -> None:
    """Threat 13: the server may send us on to its object store; to a private address only if the operator says so."""
    seen: list[dict[str, str]] = []

    async def stored(request: web.Request) -> web.Response:
        seen.append(dict(request.headers))
        return web.Response(body=b"from the store")

    async with serving(stored) as url:
        for trusted in ((), ("127.0.0.1",)):
            async with running(store, start=False, file_addresses=trusted) as account:
                account.double.redirect_files = f"{url}/bucket/x?signature=1"
                if trusted:
                    assert await read(account.adapter, "f1/a.png") == b"from the store"
                else:
                    with pytest.raises(Rejected, match="not a public address"):
                        await read(account.adapter, "f1/a.png")
        assert len(seen) == 1
        assert TOKEN not in str(seen)


async def test_endless_files_end(store: Redis) -> None:
    """Threats 17 and 18: a download ends at its limit, and nothing compressed is blown up."""
    kind = ["endless"]

    async def answer(request: web.Request) -> web.StreamResponse:
        assert request.headers["Accept-Encoding"] == "identity"
        if kind[0] == "bomb":
            packer = zlib.compressobj(9, wbits=31)
            packed = b"".join([packer.compress(bytes(1 << 20)) for _ in range(64)]) + packer.flush()
            return web.Response(body=packed, headers={"Content-Encoding": "gzip", "Content-Type": "application/json"})
        response = web.StreamResponse()
        await response.prepare(request)
        while True:
            await response.write(bytes(65_536))

    async with serving(answer) as url, running(store, start=False, url=url) as account:
        account.adapter._caps = type(account.adapter._caps)(file_limit_bytes=1 << 20)
        with pytest.raises(Rejected, match="larger"):
            async with asyncio.timeout(10):
                await read(account.adapter, "f1/a.png")
        kind[0] = "bomb"
        assert len(await read(account.adapter, "f1/a.png")) < 1 << 20
        assert await account.adapter._api.me() == {}

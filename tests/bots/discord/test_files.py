"""Files that people share: fetched by their message, from Discord's own addresses only, and never without an end."""

from __future__ import annotations

import gzip
import resource

import pytest
from aiohttp import web

from core.contract import Rejected, Retry
from core.model import FileRef
from tests.bots.discord.support import Bench


async def shared(dc: Bench, data: bytes = b"the plan") -> FileRef:
    """A file that somebody shares."""
    dc.double.share(dc.garden, dc.ann, "plan.bin", data, "application/octet-stream", "look")
    return (await dc.said("look")).files[0]


async def read(dc: Bench, ref: FileRef) -> bytes:
    """All of it."""
    return b"".join([chunk async for chunk in dc.adapter.open_file(ref.ref)])


async def test_an_expired_address_is_asked_for_again(dc: Bench) -> None:
    """The reference holds ids only; the address of the day is asked for each time, also where nothing is started."""
    await dc.start()
    ref = await shared(dc)
    assert "http" not in ref.ref
    attachment = next(iter(dc.garden.messages.values()))["attachments"][0]
    assert await read(dc, ref) == b"the plan"
    new = dc.double.attachment(dc.garden.id, "plan.bin", b"the plan", "x/y") | {"id": attachment["id"]}
    attachment.update(new)
    assert await read(dc, ref) == b"the plan"
    await dc.stop()
    dc.adapter = dc.make()
    assert await read(dc, ref) == b"the plan"


async def test_a_file_whose_message_is_gone(dc: Bench) -> None:
    """It is refused in words."""
    await dc.start()
    ref = await shared(dc)
    dc.double.delete(next(iter(dc.garden.messages.values())))
    with pytest.raises(Rejected, match="no longer"):
        await read(dc, ref)


@pytest.mark.parametrize(
    "url",
    [
        "http://169.254.169.254/latest",
        "http://127.0.0.1:9/x",
        "https://cdn.discordapp.com.evil.example/x",
        "https://cdn.discordapp.com@evil.example/x",
        "file:///etc/passwd",
        "",
    ],
)
async def test_addresses_that_are_not_discords(dc: Bench, url: str) -> None:
    """Whatever a message says, only Discord's own hosts are asked."""
    await dc.start()
    ref = await shared(dc)
    next(iter(dc.garden.messages.values()))["attachments"][0]["url"] = url
    before = len(dc.double.downloads)
    with pytest.raises(Rejected):
        await read(dc, ref)
    assert len(dc.double.downloads) == before


async def test_private_addresses_are_not_asked(dc: Bench) -> None:
    """Even where the name is right, an address in the own network is not connected to."""
    await dc.start(trusted_addresses=())
    ref = await shared(dc)
    with pytest.raises(Rejected, match="not a public address"):
        await read(dc, ref)
    assert dc.double.downloads == []


async def test_redirects_are_not_followed(dc: Bench) -> None:
    """Discord's files do not move."""
    await dc.start()
    ref = await shared(dc)

    async def elsewhere(request: web.Request) -> web.StreamResponse:
        raise web.HTTPFound(f"{dc.double.cdn}/attachments/elsewhere")

    dc.double.cdn_answer = elsewhere
    with pytest.raises(Rejected):
        await read(dc, ref)
    assert len(dc.double.downloads) == 1


@pytest.mark.parametrize("bomb", [False, True])
async def test_an_endless_download_ends(dc: Bench, bomb: bool) -> None:
    """A file that says it is small is cut off at the limit, packed or not, and memory stays as it was."""
    await dc.start(download_limit_bytes=2_000_000)
    ref = await shared(dc)
    packed = gzip.compress(b"\0" * 30_000_000)

    async def endless(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Encoding": "gzip"} if bomb else {})
        await response.prepare(request)
        for _ in range(300):
            await response.write(packed if bomb else b"x" * 100_000)
        return response

    dc.double.cdn_answer = endless
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    total = 0

    async def count() -> None:
        nonlocal total
        async for chunk in dc.adapter.open_file(ref.ref):
            total += len(chunk)

    with pytest.raises((Rejected, Retry)):
        await count()
    assert total <= 2_000_000
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 20_000


@pytest.mark.parametrize("ref", ["", "1", "1/2", "1/2/3/4", "a/b/c", "1/../2", "../1/2"])
async def test_references_that_are_none(dc: Bench, ref: str) -> None:
    """They lead nowhere."""
    await dc.start()
    before = len(dc.double.transcript)
    with pytest.raises(Rejected):
        await read(dc, FileRef(dc.adapter.account, ref, "x"))
    assert len(dc.double.transcript) == before

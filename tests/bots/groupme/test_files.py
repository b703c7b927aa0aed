"""Files both ways: only from GroupMe's own hosts, never endlessly, and the token goes nowhere else."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from aiohttp import web

from core.contract import OutFile, Rejected, Retry
from core.store import Redis
from tests.bots.groupme.scene import TOKEN
from tests.bots.groupme.support import GROUP, group_bot, member, post


def out(name: str, mime: str, data: bytes, size: int | None = None) -> OutFile:
    """A file to post."""

    async def chunks() -> AsyncIterator[bytes]:
        for start in range(0, len(data), 1000):
            yield data[start : start + 1000]

    return OutFile(name, mime, len(data) if size is None else size, f"https://bridge.example.org/f/{name}", chunks)


async def read(adapter: object, ref: str) -> bytes:
    """All of a file."""
    return b"".join([chunk async for chunk in adapter.open_file(ref)])  # type: ignore[attr-defined]


async def count(adapter: object, ref: str) -> int:
    """How much of a file there is, without keeping it."""
    return sum([len(chunk) async for chunk in adapter.open_file(ref)])  # type: ignore[attr-defined]


async def test_pictures_and_files_go_up(store: Redis) -> None:
    """Pictures go to the image service, other files to the file service, in one post with the words."""
    async with member(store) as account:
        files = (out("a.png", "image/png", b"png" * 999, 0), out("plan.pdf", "application/pdf", b"%PDF" * 500))
        await account.adapter.send(post("two files", files=files))
        (line,) = account.double.lines(GROUP)
        picture, file = line["attachments"]
        assert account.double.pictures[picture["url"].rpartition("/")[2]][1] == b"png" * 999
        assert account.double.groups[GROUP].files[file["file_id"]] == ("plan.pdf", b"%PDF" * 500)


async def test_what_groupme_does_not_take_becomes_a_link(store: Redis) -> None:
    """Too large or refused: the words and a link."""
    async with member(store) as account:
        account.double.fail("POST /image/pictures", status=400)
        files = (out("huge.bin", "application/zip", b"x", 60_000_000), out("odd.png", "image/png", b"x"))
        await account.adapter.send(post("look", files=files))
        (line,) = account.double.lines(GROUP)
        assert line["attachments"] == []
        assert "https://bridge.example.org/f/huge.bin" in line["text"]
        assert "https://bridge.example.org/f/odd.png" in line["text"]


async def test_an_upload_that_breaks_was_not_a_post(store: Redis) -> None:
    """Nothing was posted when an upload fails, so it may be tried again; then it is there once."""
    async with member(store) as account:
        for fault in ({"status": 500}, {"drop": "after"}, {"status": 429}):
            account.double.fail("POST /image/pictures", **fault)
            with pytest.raises(Retry):
                await account.adapter.send(post("pic", files=(out("a.png", "image/png", b"png"),)))
        await account.adapter.send(post("pic", files=(out("a.png", "image/png", b"png"),)))
        assert len(account.double.lines(GROUP)) == 1


async def test_files_of_bots(store: Redis) -> None:
    """With a token a bot posts pictures, and links to the rest; without one it posts links."""
    files = (out("a.png", "image/png", b"png"), out("plan.pdf", "application/pdf", b"%PDF"))
    async with group_bot(store, token=TOKEN) as account:
        assert (await account.adapter.send(post("see", files=files))).natives
        (line,) = account.double.lines(GROUP)
        assert [item["type"] for item in line["attachments"]] == ["image"]
        assert "f/plan.pdf" in line["text"]
    async with group_bot(store) as account:
        await account.adapter.send(post("see", files=files))
        assert account.double.lines(GROUP)[-1]["attachments"] == []


async def test_shared_files_come_in(store: Redis) -> None:
    """A file has its name, type and size from the file service; a picture is read from the image service."""
    async with member(store) as account:
        file_id = account.double.file(GROUP, "plan.pdf", b"%PDF-1.7")
        account.say("the plan", attachments=[{"type": "file", "file_id": file_id}])
        account.say("a pic", attachments=[{"type": "image", "url": account.double.picture(b"png bytes")}])
        await account.until(lambda: "a pic" in account.texts())
        plan, picture = (event.files[0] for event in account.events.seen if getattr(event, "files", ()))
        assert (plan.name, plan.mime, plan.size_bytes) == ("plan.pdf", "application/pdf", 8)
        assert (picture.name, picture.mime) == ("picture.png", "image/png")
        assert await read(account.adapter, plan.ref) == b"%PDF-1.7"
        assert await read(account.adapter, picture.ref) == b"png bytes"
        assert not account.double.token_in_address
        assert TOKEN not in plan.ref + picture.ref


@pytest.mark.parametrize(
    "address",
    [
        "http://127.0.0.1:1/x.png",
        "https://i.groupme.com.evil.example/x.png",
        "https://i.groupme.com@127.0.0.1/x.png",
        "https://127.0.0.1/x.png",
        "https://[::ffff:127.0.0.1]/x.png",
        "http://2130706433/x.png",
        "http://i.groupme.com/x.png",
        "file:///etc/passwd",
        "ftp://i.groupme.com/x",
        "//i.groupme.com/x",
        "https://[/x",
        "",
    ],
)
async def test_only_groupmes_hosts_are_asked(store: Redis, address: str) -> None:
    """Threat 13: any other address in a message is refused before a connection is made."""
    async with group_bot(store, image_url="https://image.groupme.com", media_hosts=("i.groupme.com",)) as account:
        with pytest.raises(Rejected):
            await read(account.adapter, f"url {address}")


async def test_a_groupme_host_in_our_own_network_is_not_asked(store: Redis) -> None:
    """Threat 13: a name on the list that leads into our network is refused, and so is a redirect."""
    async with member(store, media_addresses=()) as account:
        with pytest.raises(Rejected, match="not a public address"):
            await read(account.adapter, f"url {account.double.picture(b'png')}")


async def test_endless_and_moving_files(store: Redis) -> None:
    """Threats 13 and 17: a download ends at its limit, and no redirect is followed with the token or without."""
    asked: list[str] = []

    async def endless(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        for _ in range(20_000):
            await response.write(bytes(65_536))
        return response

    async def moved(request: web.Request) -> web.Response:
        return web.Response(status=302, headers={"Location": "/elsewhere"})

    async def elsewhere(request: web.Request) -> web.Response:
        asked.append(request.path)
        return web.Response(body=b"secret")

    app = web.Application()
    app.add_routes([web.get("/endless", endless), web.get("/moved", moved), web.get("/elsewhere", elsewhere)])
    app.add_routes([web.get("/v1/{group}/files/{file}", moved)])
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = site._server.sockets[0].getsockname()[1]  # type: ignore[union-attr]
    try:
        hosts = (f"127.0.0.1:{port}",)
        async with member(store, start=False, media_hosts=hosts, file_url=f"http://{hosts[0]}/v1") as account:
            with pytest.raises(Rejected, match="larger"):
                await count(account.adapter, f"url http://{hosts[0]}/endless")
            for ref in (f"url http://{hosts[0]}/moved", f"file {GROUP} f1"):
                with pytest.raises(Rejected):
                    await read(account.adapter, ref)
        assert asked == []
    finally:
        await runner.cleanup()

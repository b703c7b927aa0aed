"""Who is kept out: other sites, strangers, floods, garbage, and files that would run."""

from __future__ import annotations

import asyncio
import io
import json

import aiohttp
import pytest

from core.model import MessageNew
from tests.bots.web.conftest import Pair

PNG = b"\x89PNG\r\n\x1a\n" + b"\0" * 64
FOREIGN = [
    {"Origin": "https://evil.example"},
    {},
    {"Origin": "null"},
    {"Origin": "https://evil.example", "Sec-Fetch-Site": "cross-site"},
]
UPGRADE = {
    "Connection": "Upgrade",
    "Upgrade": "websocket",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
}


def multipart(token: str, name: str, data: bytes) -> aiohttp.BytesIOPayload:
    """An upload as browsers send it: the name as it is, in UTF-8."""
    field = b'--b0undary\r\nContent-Disposition: form-data; name="'
    body = field + b'token"\r\n\r\n' + token.encode() + b"\r\n"
    body += field + b'file"; filename="' + name.encode() + b'"\r\nContent-Type: image/png\r\n\r\n' + data
    whole = io.BytesIO(body + b"\r\n--b0undary--\r\n")
    return aiohttp.BytesIOPayload(whole, content_type="multipart/form-data; boundary=b0undary")


async def upload(pair: Pair, name: str, data: bytes) -> tuple[int, dict]:
    """Ann shares a file; the answer."""
    await pair.ann.page()
    url = f"{pair.server.base}r/{pair.ann.link}/files"
    headers = pair.ann.own | {"Accept": "application/json"}
    async with pair.ann.http.post(url, data=multipart(pair.ann.token, name, data), headers=headers) as answer:
        return answer.status, await answer.json()


@pytest.mark.parametrize("headers", FOREIGN)
async def test_forms_of_other_sites_are_refused(pair: Pair, headers, inbox):
    """Neither making a room, nor joining, saying, sharing works from a foreign or silent origin."""
    await pair.ann.page()
    before = len(inbox.events)
    for path in ("rooms", f"r/{pair.ann.link}/join", f"r/{pair.ann.link}/say", f"r/{pair.ann.link}/files"):
        fields = {"name": "x", "text": "x", "id": "x", "token": pair.ann.token}
        async with pair.ann.http.post(pair.server.base + path, data=fields, headers=headers) as answer:
            assert answer.status == 403, path
    assert len(inbox.events) == before


@pytest.mark.parametrize("headers", FOREIGN)
async def test_sockets_of_other_sites_are_refused(pair: Pair, headers):
    """The handshake fails although the cookie is there."""
    async with pair.ann.http.get(f"{pair.server.base}ws/{pair.ann.link}", headers=UPGRADE | headers) as answer:
        assert answer.status == 403


async def test_fetch_metadata_vouches_for_a_null_origin(server, browsers):
    """A form of our own page under no-referrer has no origin, but the browser says it is ours."""
    headers = {"Origin": "null", "Sec-Fetch-Site": "same-origin"}
    async with browsers(server).http.post(
        server.base + "rooms", data={"name": "x"}, headers=headers, allow_redirects=False
    ) as answer:
        assert answer.status == 303


async def test_the_form_token_belongs_to_the_cookie(pair: Pair):
    """Another guest's token, a wrong one and none are refused."""
    await pair.ann.page()
    await pair.ben.page()
    pair.ben.token, own = pair.ann.token, pair.ben.token
    assert (await pair.ben.post("say", id="a", text="hi"))[0] == 403
    for wrong in ("", "x", own + "x"):
        pair.ben.token = wrong
        assert (await pair.ben.post("say", id="a", text="hi"))[0] == 403
    pair.ben.token = own
    assert (await pair.ben.post("say", id="a", text="hi"))[0] == 303


async def test_a_planted_cookie_is_replaced(server, browsers):
    """A session that we did not make is not taken over."""
    ann = browsers(server)
    ann.http.cookie_jar.update_cookies({"guest": "planted"}, aiohttp.client.URL(server.url))
    await ann.open_room(guest="Ann")
    async with ann.http.get(f"{server.base}r/{ann.link}") as answer:
        cookie = answer.cookies["guest"]
    assert cookie.value != "planted"
    assert (cookie["httponly"], cookie["samesite"], cookie["path"]) == (True, "Lax", "/")


async def test_strangers_get_nothing(pair: Pair, browsers, inbox):
    """Without joining there is no socket, no saying, no sharing, no file; without the link there is no room."""
    _, body = await upload(pair, "a.png", PNG)
    eve = browsers(pair.server)
    await eve.page(pair.ann.link)
    assert (await eve.post("say", id="a", text="hi"))[0] == 403
    async with eve.http.get(f"{pair.server.base}ws/{eve.link}", headers=UPGRADE | eve.own) as answer:
        assert answer.status == 403
    async with eve.http.get(pair.server.base + body["view"]["url"]) as answer:
        assert answer.status == 404
    room = str(pair.room).partition("/")[2]
    for link in ("nowhere", room):
        async with eve.http.get(f"{pair.server.base}r/{link}") as answer:
            assert answer.status == 404
    assert inbox.of(MessageNew) == []


async def test_looking_changes_nothing(pair: Pair, browsers, store):
    """A link preview of the room or of the form for a new one leaves the store as it was."""
    before = {key: await store.dump(key) for key in await store.keys()}
    eve = browsers(pair.server)
    await eve.page(pair.ann.link)
    async with eve.http.get(pair.server.base + "rooms?connect=ABC-DEF") as answer:
        assert "ABC-DEF" in await answer.text()
    assert {key: await store.dump(key) for key in await store.keys()} == before


async def test_pages_have_strict_headers(pair: Pair):
    """No inline script or style, no framing by others, no referrer to others, on every kind of page."""
    for path in (f"r/{pair.ann.link}", f"r/{pair.ann.link}?embed=1", "rooms", "r/nowhere"):
        async with pair.ann.http.get(pair.server.base + path) as answer:
            page, headers = await answer.text(), answer.headers
        policy = headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "frame-ancestors 'self'" in policy
        assert "unsafe" not in policy
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Referrer-Policy"] == "same-origin"
        assert " style=" not in page
        assert "<style" not in page
        assert " onclick" not in page
        assert page.count("<script") == page.count('<script type="module" src=')


@pytest.mark.parametrize(
    "garbage", ["", "{", "[]", "null", '{"t":"say"}', '{"t":"say","id":"a b","text":"x"}', '{"t":"nothing"}',
                '{"t":"say","id":"a","text":"x","more":1}', '{"t":"say","id":"a","text":"\\ud800"}', "[" * 5000]
)  # fmt: skip
async def test_garbage_is_refused_politely(pair: Pair, garbage, inbox):
    """A malformed wish gets a no, the socket goes on; after several it is closed."""
    await pair.a.ws.send_str(garbage)
    assert (await pair.a.until(lambda n: n["t"] == "no"))["retry"] is False
    await pair.a.say("still here")
    for _ in range(5):
        await pair.a.ws.send_str(garbage)
    assert await pair.a.closed() == 1008
    assert len(inbox.of(MessageNew)) == 1


async def test_a_megabyte_of_text(pair: Pair, inbox):
    """A text over the limit is refused; a megabyte in one frame closes the socket; neighbours go on."""
    over = await pair.a.answer(t="say", id="long", text="x" * 8001)
    assert (over["t"], over["retry"]) == ("no", False)
    await pair.a.ws.send_str(json.dumps({"t": "say", "id": "huge", "text": "x" * 1_000_000}))
    assert await pair.a.closed() == 1009
    await pair.b.say("fine")
    assert len(inbox.of(MessageNew)) == 1


async def test_a_flood_is_slowed_per_guest(make_server, browsers, inbox):
    """After the burst a guest is told how long to wait; another guest is not held back."""
    server = await make_server(says_burst=5, says_per_s=0.1)
    ann, ben = browsers(server), browsers(server)
    link = await ann.open_room(guest="Ann")
    await ben.join(link, "Ben")
    a, b = await ann.connect(), await ben.connect()
    answers = [await a.answer(t="say", id=f"n{n}", text="x") for n in range(8)]
    assert [x["t"] for x in answers] == ["ok"] * 5 + ["no"] * 3
    assert answers[-1]["retry"]
    assert 5_000 < answers[-1]["after_ms"] <= 10_000
    assert (await b.answer(t="say", id="n", text="x"))["t"] == "ok"


async def test_rooms_and_joins_are_limited(make_server, browsers):
    """Making rooms and joining them is slowed down with a 429 that says when."""
    server = await make_server(rooms_per_minute=2, joins_per_minute=2)
    ann = browsers(server)
    link = await ann.open_room(guest="Ann")
    await browsers(server).join(link, "Ben")
    eve = browsers(server)
    await eve.page(link)
    assert (await eve.post("join", name="Eve"))[0] == 429
    await ann.open_room()
    async with ann.http.post(server.base + "rooms", data={"name": "x"}, headers=ann.own) as answer:
        assert answer.status == 429
        assert int(answer.headers["Retry-After"]) > 0


@pytest.mark.parametrize(
    ("given", "kept"),
    [("../../etc/passwd", "passwd"), ("C:/Users/b.txt", "b.txt"), (".htaccess", "htaccess"), ("x\u0085y.png", "xy.png"),
     ("..", "file"), ("\u202egnp.exe", "gnp.exe"), ("a" * 300 + ".tar", "a" * 89 + ".tar")],
)  # fmt: skip
async def test_file_names_are_harmless(pair: Pair, given, kept):
    """No folder, dot, control or override survives in a name."""
    status, body = await upload(pair, given, b"data")
    assert (status, body["view"]["name"]) == (200, kept)
    async with pair.ann.http.get(pair.server.base + body["view"]["url"]) as answer:
        assert await answer.read() == b"data"


@pytest.mark.parametrize(
    ("name", "data", "inline"),
    [("a.png", PNG, True), ("a.svg", b"<svg onload=alert(1)>", False), ("a.html", b"<script>alert(1)</script>", False),
     ("fake.png", b"<script>alert(1)</script>", False), ("real.html", PNG, True)],
)  # fmt: skip
async def test_only_real_pictures_show_inline(pair: Pair, name, data, inline):
    """By their bytes, not their name; everything else is an attachment that no browser runs."""
    _, body = await upload(pair, name, data)
    assert body["view"]["image"] is inline
    async with pair.ben.http.get(pair.server.base + body["view"]["url"]) as answer:
        assert answer.headers["Content-Disposition"].startswith("inline" if inline else "attachment")
        assert answer.headers["Content-Type"] == ("image/png" if inline else "application/octet-stream")
        assert answer.headers["Content-Security-Policy"].startswith("sandbox")
        assert answer.headers["X-Content-Type-Options"] == "nosniff"


async def test_a_file_is_said_and_opened_by_the_relay(pair: Pair, inbox):
    """A shared file travels as a reference whose bytes the adapter streams."""
    data = bytes(range(256)) * 4096
    _, body = await upload(pair, "big.bin", data)
    await pair.a.say("", files=[body["id"]])
    (ref,) = inbox.of(MessageNew)[-1].files
    assert (ref.name, ref.size_bytes) == ("big.bin", len(data))
    pieces = [piece async for piece in pair.server.adapter.open_file(ref.ref)]
    assert (b"".join(pieces), max(map(len, pieces))) == (data, 256 * 1024)
    assert (await pair.b.answer(t="say", id="steal", text="", files=[body["id"]]))["t"] == "no"
    said = inbox.of(MessageNew)[-1].native
    assert (await pair.a.answer(t="delete", id="gone", target=said))["t"] == "ok"
    assert await pair.server.adapter.files.get(ref.ref) is None


@pytest.mark.parametrize("path", ["files", "say", "join"])
async def test_garbled_forms_are_refused(pair: Pair, path):
    """A part with a control in its header, and a body that is no form at all, get a 400."""
    await pair.ann.page()
    url = f"{pair.server.base}r/{pair.ann.link}/{path}"
    for body in (multipart(pair.ann.token, "x\x7fy", b""), b"garbage"):
        headers = pair.ann.own | {"Content-Type": "multipart/form-data; boundary=b0undary"}
        async with pair.ann.http.post(url, data=body, headers=headers) as answer:
            assert answer.status in (400, 403)


async def test_a_file_too_big_leaves_nothing(make_server, browsers, store):
    """The upload is cut at the limit with a 413, and no piece of it stays in the store."""
    server = await make_server(max_file_bytes=600 * 1024)
    ann = browsers(server)
    await ann.open_room(guest="Ann")
    await ann.page()
    url = f"{server.base}r/{ann.link}/files"
    async with ann.http.post(url, data=multipart(ann.token, "a", b"x" * 700 * 1024), headers=ann.own) as answer:
        assert answer.status == 413
    assert not [key for key in await store.keys() if b"piece" in key or b"file" in key]


async def test_uploads_have_a_daily_budget(make_server, browsers):
    """Who fills the store is slowed down."""
    server = await make_server(upload_bytes_per_day=400_000)
    ann = browsers(server)
    await ann.open_room(guest="Ann")
    await ann.page()
    url = f"{server.base}r/{ann.link}/files"
    async with ann.http.post(url, data=multipart(ann.token, "a", b"x" * 150_000), headers=ann.own) as answer:
        assert answer.status == 429


async def test_an_upload_that_breaks_off_leaves_nothing(pair: Pair, store):
    """A connection cut in the middle of a file leaves no pieces behind."""
    await pair.ann.page()
    cookie = "; ".join(f"{c.key}={c.value}" for c in pair.ann.http.cookie_jar)
    _, writer = await asyncio.open_connection("127.0.0.1", pair.server.port)
    head = (
        f"POST /bots/web/r/{pair.ann.link}/files HTTP/1.1\r\nHost: 127.0.0.1:{pair.server.port}\r\n"
        f"Origin: {pair.server.url}\r\nCookie: {cookie}\r\nContent-Length: 9000000\r\n"
        "Content-Type: multipart/form-data; boundary=B\r\n\r\n"
        f'--B\r\nContent-Disposition: form-data; name="token"\r\n\r\n{pair.ann.token}\r\n'
        '--B\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n'
    )
    writer.write(head.encode() + b"x" * 600_000)
    await writer.drain()
    async with asyncio.timeout(5):
        while not [key for key in await store.keys() if b":piece:" in key]:
            await asyncio.sleep(0.01)
        writer.close()
        while [key for key in await store.keys() if b":piece:" in key]:
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("name", ["..%2f__init__.py", "%2e%2e", "room.py", "Room.js", "nothing.js"])
async def test_static_serves_only_its_own(server, browsers, name):
    """No way out of the folder."""
    async with browsers(server).http.get(server.base + "static/" + name) as answer:
        assert answer.status == 404


async def test_without_javascript(pair: Pair, inbox):
    """Saying and sharing by plain forms works, and the page holds what was said."""
    await pair.ben.page()
    status, _ = await pair.ben.post("say", id="plain1", text="by form\nhttps://example.org/x?a=1&b=2.")
    assert status == 303
    assert (await pair.ben.post("say", id="plain1", text="by form"))[0] == 303
    url = f"{pair.server.base}r/{pair.ben.link}/files"
    data = multipart(pair.ben.token, "a.png", PNG)
    async with pair.ben.http.post(url, data=data, headers=pair.ben.own, allow_redirects=False) as answer:
        assert answer.status == 303
    page = await pair.ben.page()
    assert page.count("by form") == 1
    assert 'href="https://example.org/x?a=1&amp;b=2"' in page
    assert "a.png" in page
    assert len(inbox.of(MessageNew)) == 2

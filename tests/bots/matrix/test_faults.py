"""A homeserver in trouble: what each trouble means to the relay."""

from __future__ import annotations

import asyncio
import resource
import secrets
from collections.abc import AsyncIterator
from typing import Any

import pytest
from msgspec.structs import replace

from bots.matrix.client import Client, at
from bots.matrix.config import MatrixConfig
from core.contract import AdapterError, AuthLost, Offline, Rejected, Retry, Uncertain
from core.model import Author, BotAdded, MessageNew
from core.store import Redis
from tests.bots.matrix.scene import config_of
from tests.bots.matrix.support import dead_config, make, on_stage, post, pushed
from tests.bots.matrix.test_appservice import scene_of
from tests.contract.harness import Stage
from tests.fakes.matrix_proxy import MatrixProxy, matrix_proxy
from tests.servers.matrix import Synapse, free_port

SEND = "/send/m.room.message/"


@pytest.fixture
async def proxy() -> AsyncIterator[MatrixProxy]:
    """A proxy with no homeserver behind it."""
    async with matrix_proxy() as made:
        yield made


def plain(proxy: MatrixProxy) -> MatrixConfig:
    """A plain account behind the proxy."""
    return MatrixConfig(homeserver=proxy.url, user_id="@robot:localhost", token="t0")


@pytest.mark.parametrize(
    ("body", "headers", "after_s"),
    [
        ({"retry_after_ms": 1500}, {}, 1.5),
        ({}, {"Retry-After": "7"}, 7.0),
        ({"retry_after_ms": "soon"}, {"Retry-After": "Wed, 21 Oct 2015 07:28:00 GMT"}, 5.0),
        ({}, {}, 5.0),
    ],
)
async def test_a_rate_limit(
    store: Redis, proxy: MatrixProxy, body: dict[str, Any], headers: dict[str, str], after_s: float
) -> None:
    """A 429 was certainly not sent, and says when to come again: a plain account as a whole, a ghost for itself."""
    for config, whole in ((plain(proxy), True), (dead_config(homeserver=proxy.url), False)):
        proxy.limit(SEND, **body).headers = headers
        with pytest.raises(Retry) as caught:
            await make(store, config).send(post("matrix/!r", "hello", author=None))
        assert (caught.value.after_s, caught.value.whole_account) == (after_s, whole)


MEANINGS = [
    (400, "M_BAD_JSON", Rejected),
    (401, "M_UNKNOWN_TOKEN", AuthLost),
    (401, "M_MISSING_TOKEN", AuthLost),
    (403, "M_FORBIDDEN", Rejected),
    (403, "M_USER_DEACTIVATED", AuthLost),
    (404, "M_NOT_FOUND", Rejected),
    (413, "M_TOO_LARGE", Rejected),
    (429, "M_LIMIT_EXCEEDED", Retry),
    (500, "M_UNKNOWN", Uncertain),
    (502, "", Uncertain),
    (504, "", Uncertain),
]


@pytest.mark.parametrize(("status", "errcode", "meaning"), MEANINGS)
async def test_what_an_answer_means(
    store: Redis, proxy: MatrixProxy, status: int, errcode: str, meaning: type[AdapterError]
) -> None:
    """Every refusal has its meaning, and says something to people."""
    proxy.trouble(SEND, "answer", status=status, body={"errcode": errcode, "error": "because"})
    with pytest.raises(meaning) as caught:
        await make(store, plain(proxy)).send(post("matrix/!r", "hello"))
    assert type(caught.value) in (meaning, *meaning.__subclasses__())
    assert str(caught.value)


async def test_no_answer_is_unknown(store: Redis, proxy: MatrixProxy) -> None:
    """Whatever a homeserver or what stands before it answers, it is one of the contract's errors."""
    adapter = make(store, plain(proxy))
    for status in (*range(400, 430), *range(500, 512), 599):
        for body in (b"<html>no</html>", b"", b"[1]", b"\xff"):
            trouble = proxy.trouble("/", "answer", times=10, status=status, body=body)
            with pytest.raises(AdapterError):
                await adapter.send(post("matrix/!r", "hello"))
            assert trouble.times < 10
            trouble.times = 0


async def test_nobody_is_there(store: Redis) -> None:
    """No connection: certainly not sent."""
    config = MatrixConfig(homeserver=f"http://127.0.0.1:{free_port()}", token="t0")
    with pytest.raises(Offline):
        await make(store, config).send(post("matrix/!r", "hello"))


async def test_something_else_is_there(store: Redis, proxy: MatrixProxy) -> None:
    """An answer that is no homeserver's is not taken for success."""
    proxy.trouble(SEND, "answer", body=b"<html>hello</html>")
    with pytest.raises(Uncertain, match="is the address right"):
        await make(store, plain(proxy)).send(post("matrix/!r", "hello"))


async def test_no_answer_in_time(proxy: MatrixProxy) -> None:
    """A request that hangs was perhaps done where it posts, and is asked again where it only asks."""
    client = Client(plain(proxy))
    proxy.trouble("hang", "hang", times=2)
    with pytest.raises(Uncertain):
        await client.call("PUT", at("hang"), {}, posts=True, timeout_s=0.2)
    with pytest.raises(Retry):
        await client.get(at("hang"), timeout_s=0.2)


@pytest.fixture
async def stage(synapse: Synapse, store: Redis) -> AsyncIterator[tuple[Stage, MatrixProxy]]:
    """A started adapter that reaches its homeserver through a proxy."""
    async with matrix_proxy(synapse.url) as proxy:
        config = replace(config_of(synapse), homeserver=proxy.url)
        async with on_stage(synapse, store, config) as made:
            await made.heard(BotAdded)
            yield made, proxy


@pytest.mark.parametrize("kind", ["cut before", "cut after"])
async def test_a_dropped_answer(stage: tuple[Stage, MatrixProxy], kind: str) -> None:
    """Nobody knows whether the post was taken; sent again with its key it stands there once."""
    on, proxy = stage
    scene, adapter, _, _ = scene_of(on)
    await adapter.send(post(on.room, "first"))
    outbound = post(on.room, "once only")
    proxy.trouble(SEND, kind, times=5)
    with pytest.raises(Uncertain):
        await adapter.send(outbound)
    proxy.troubles.clear()
    await adapter.send(outbound)
    assert [line.plain for line in await scene.lines()] == ["first", "once only"]


async def test_trouble_before_a_post_is_certain(stage: tuple[Stage, MatrixProxy]) -> None:
    """What fails while a ghost is brought in was not sent, and goes on where it was."""
    on, proxy = stage
    scene, adapter, _, _ = scene_of(on)
    outbound = post(on.room, "in the end")
    for path in ("/register", "/profile/", "/join", "/join"):
        proxy.trouble(path, "answer", status=502, body=b"bad gateway")
        with pytest.raises(Retry):
            await adapter.send(outbound)
    proxy.limit("/join", retry_after_ms=10)
    with pytest.raises(Retry):
        await adapter.send(outbound)
    await adapter.send(outbound)
    assert [(line.author, line.plain) for line in await scene.lines()] == [("Alice", "in the end")]


async def test_a_storm_of_rate_limits(stage: tuple[Stage, MatrixProxy]) -> None:
    """Posts that are refused again and again arrive once each, in order, with their ghosts."""
    on, proxy = stage
    scene, adapter, _, _ = scene_of(on)
    for number in range(5):
        proxy.limit("/_matrix/client", times=3, retry_after_ms=5)
        outbound = post(on.room, f"post {number}")
        async with asyncio.timeout(10):
            while True:
                try:
                    await adapter.send(outbound)
                    break
                except Retry as error:
                    await asyncio.sleep(error.after_s)
    assert [line.plain for line in await scene.lines()] == [f"post {number}" for number in range(5)]


async def test_many_authors_are_few_connections(stage: tuple[Stage, MatrixProxy]) -> None:
    """Ghosts have no connections of their own, and one that is in the room already costs one request for a message."""
    on, proxy = stage
    _, adapter, _, _ = scene_of(on)
    authors = [Author(f"u{number}", f"Author {number}") for number in range(40)]
    proxy.connections.clear()
    for author in authors:
        await adapter.send(post(on.room, f"I am {author.name}", author=author))
    proxy.seen.clear()
    for author in reversed(authors):
        await adapter.send(post(on.room, f"again {author.name}", author=author))
    assert [path for _, path in proxy.seen if SEND not in path and "/account/whoami" not in path] == []
    assert sum(SEND in path for _, path in proxy.seen) == len(authors)
    assert len(proxy.connections) < len(authors) / 4


async def test_a_name_that_cannot_be_asked_for(stage: tuple[Stage, MatrixProxy]) -> None:
    """A message does not wait for its author's name; the next one has it."""
    on, proxy = stage
    scene, adapter, ann, _ = scene_of(on)
    await adapter._desk.services.store.delete(adapter._desk.services.key("people", scene.room))
    proxy.trouble("m.room.member", "answer", status=502, body=b"")
    await scene.say("one")
    first = await on.heard(MessageNew)
    await scene.say("two")
    second = await on.heard(MessageNew, lambda e: e.text.plain == "two")
    assert (first.author.name, second.author.name) == (ann.id[1:].partition(":")[0], ann.name)
    assert first.author.id == second.author.id == ann.id


async def test_a_file_without_end(store: Redis, proxy: MatrixProxy) -> None:
    """An endless file is cut off at the limit, and never held as a whole (threat 17)."""
    limit = 64 * 1024 * 1024
    adapter = make(store, replace(plain(proxy), max_file_bytes=limit))
    proxy.trouble("/media/download/", "endless")
    before_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    sizes: list[int] = []

    async def read() -> None:
        async for chunk in adapter.open_file("localhost/abc"):
            sizes.append(len(chunk))

    with pytest.raises(Rejected, match="larger"):
        await read()
    assert sum(sizes) <= limit
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kib < 20 * 1024


async def test_a_picture_without_end(store: Redis, proxy: MatrixProxy) -> None:
    """A member's picture that does not end is not passed on (threat 17)."""
    async with pushed(store, dead_config(homeserver=proxy.url)) as there:
        proxy.trouble("/media/download/", "endless")
        url = there.adapter._desk.avatar_url("mxc://localhost/abc")
        assert (await there.ask("GET", url.partition("/bots/matrix/")[2]))[0] == 404


@pytest.mark.parametrize("ref", ["", "localhost", "../x/y", "localhost/..", "localhost/a/b", "a b/c", "localhost/%2e"])
async def test_only_files_can_be_opened(store: Redis, proxy: MatrixProxy, ref: str) -> None:
    """A reference leads to a file of the homeserver and nowhere else."""
    with pytest.raises(Rejected):
        await anext(make(store, plain(proxy)).open_file(ref))
    assert proxy.seen == []


async def test_an_old_homeserver_has_files_too(store: Redis, proxy: MatrixProxy) -> None:
    """Where there is no download for members, the old one is asked."""
    proxy.trouble("/_matrix/media/v3/download/", "answer", body=b"bytes")
    assert [chunk async for chunk in make(store, plain(proxy)).open_file("localhost/abc")] == [b"bytes"]
    assert [path for _, path in proxy.seen] == [
        "/_matrix/client/v1/media/download/localhost/abc",
        "/_matrix/media/v3/download/localhost/abc",
    ]


async def test_no_token_in_an_address(store: Redis, proxy: MatrixProxy) -> None:
    """Tokens go in headers, never into anybody's logs."""
    token = secrets.token_hex(16)
    seen: list[str] = []
    handle = proxy._pass_on

    async def watched(request: Any) -> Any:
        seen.append(request.raw_path)
        return await handle(request)

    proxy._pass_on = watched  # type: ignore[method-assign]
    with pytest.raises(AdapterError):
        await make(store, replace(plain(proxy), token=token)).send(post("matrix/!r", "hello"))
    assert seen
    assert token not in " ".join(seen)

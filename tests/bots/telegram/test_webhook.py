"""Updates by webhook: who may call, what is answered, and that nothing is lost, doubled or overtaken."""

from __future__ import annotations

import asyncio
import gzip
import io
import json
from typing import Any

import aiohttp
import pytest

from bots.telegram.hook import BODY_MAX_BYTES, SECRET_HEADER
from core.contract import Rejected
from core.model import MessageNew
from core.store import open_store
from tests.bots.telegram.support import TG, Bench, bench
from tests.servers.store import dump_of


@pytest.fixture
async def hooked(tg: Bench) -> Bench:
    """An adapter that Telegram calls."""
    tg.config = tg.make(webhook=True)._config
    tg.site.add(tg.make(), tg.relay)
    await tg.site.start()
    return tg


def update(tg: Bench, number: int, text: str) -> dict[str, Any]:
    """An update as it would be sent."""
    message = {"message_id": number, "date": 1, "chat": tg.group.raw(), "from": tg.ann.raw(), "text": text}
    return {"update_id": number, "message": message}


async def call(tg: Bench, body: bytes, path: str = "", **headers: str) -> int:
    """Somebody calls the webhook."""
    url = f"{tg.site.account_url(TG)}/hook/{path or tg.config.webhook_path}"
    async with (
        aiohttp.ClientSession() as session,
        session.post(url, data=io.BytesIO(body), headers=headers) as response,
    ):
        return response.status


def signed(tg: Bench) -> dict[str, str]:
    """The header that Telegram sends."""
    return {SECRET_HEADER: tg.config.webhook_secret}


async def test_telegram_calls(hooked: Bench) -> None:
    """The webhook is set at the start, with its secret, and what people say is heard through it."""
    await hooked.start()
    hooked.double.say(hooked.group, hooked.ann, "by webhook")
    await hooked.said("by webhook")
    await hooked.double.until(lambda: not hooked.double.updates)
    assert hooked.double.calls("setWebhook")[0]["secret_token"] == hooked.config.webhook_secret
    assert "message_reaction" in hooked.double.calls("setWebhook")[0]["allowed_updates"]
    assert not hooked.double.calls("getUpdates")


@pytest.mark.parametrize("missing", ["webhook_secret", "webhook_path"])
async def test_without_a_secret_nothing_starts(tg: Bench, missing: str) -> None:
    """An account whose webhook anybody could call does not start, and has no route."""
    adapter = tg.make(webhook=True, **{missing: ""})
    assert list(adapter.routes(tg.relay)) == []
    with pytest.raises(Rejected, match="bridgebot accounts add telegram"):
        await adapter.start(tg.relay)
    await adapter.stop()


async def test_polling_has_no_route(tg: Bench) -> None:
    """An account that polls takes no calls."""
    assert list(tg.make().routes(tg.relay)) == []


async def test_forged_calls_touch_nothing(hooked: Bench) -> None:
    """A missing, wrong, empty or odd secret is 401, a wrong path 404, and the store stays as it was."""
    body = json.dumps(update(hooked, 1, "forged")).encode()
    before = await dump_of(hooked.store)
    secret = hooked.config.webhook_secret
    assert await call(hooked, body) == 401
    for wrong in ("", "wrong", secret[:-1], secret + "x", secret.upper(), "ü"):
        assert await call(hooked, body, **{SECRET_HEADER: wrong}) == 401
    assert await call(hooked, body, "wrong-path", **signed(hooked)) == 404
    assert await call(hooked, b"not json", **{SECRET_HEADER: "wrong"}) == 401
    assert await dump_of(hooked.store) == before


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 400),
        (b"not json", 400),
        (b"\xff\xfe", 400),
        (b"[]", 400),
        (b"{}", 400),
        (b'{"update_id": "7"}', 400),
        (b"[" * 100_000, 400),
        (b" " * (BODY_MAX_BYTES + 1), 413),
        (b'{"update_id": 7}', 200),
    ],
    ids=["empty", "words", "no text", "list", "no id", "id of words", "deep", "large", "unknown kind"],
)
async def test_odd_bodies(hooked: Bench, body: bytes, status: int) -> None:
    """What is no update is refused, and never with a 500."""
    assert await call(hooked, body, **signed(hooked)) == status


async def test_compressed_bodies_are_refused(hooked: Bench) -> None:
    """Telegram does not compress, and what others pack could unpack to anything."""
    body = gzip.compress(json.dumps(update(hooked, 1, "packed")).encode())
    assert await call(hooked, body, **signed(hooked), **{"Content-Encoding": "gzip"}) == 415


async def test_a_replayed_call_has_the_same_ids(hooked: Bench) -> None:
    """The same update twice is the same event twice, which the way in tells apart by its id."""
    await hooked.start()
    body = json.dumps(update(hooked, 5, "again")).encode()
    assert [await call(hooked, body, **signed(hooked)) for _ in range(2)] == [200, 200]
    hooked.double.say(hooked.group, hooked.ann, "the end")
    await hooked.said("the end")
    assert len({event.native for event in hooked.relay.seen if event.text.plain == "again"}) == 1  # type: ignore[union-attr]


async def test_calls_that_overtake_are_put_in_order(hooked: Bench) -> None:
    """Calls come at the same time and in any order; what they say comes in Telegram's order."""
    await hooked.start()
    await call(hooked, json.dumps(update(hooked, 100, "word 0")).encode(), **signed(hooked))
    await hooked.said("word 0")
    bodies = [json.dumps(update(hooked, 100 + n, f"word {n}")).encode() for n in (3, 2, 4, 1)]
    for body in bodies:
        await call(hooked, body, **signed(hooked))
    await hooked.said("word 4")
    assert hooked.texts() == [f"word {n}" for n in range(5)]


async def test_an_update_that_never_comes_holds_nothing_up(hooked: Bench) -> None:
    """A gap in the ids is waited for only for a moment, and what comes late is heard all the same."""
    await hooked.start()
    for number in (10, 12, 11):
        await call(hooked, json.dumps(update(hooked, number, f"word {number}")).encode(), **signed(hooked))
        await hooked.said(f"word {number}")
    assert hooked.texts() == ["word 10", "word 12", "word 11"]


async def test_an_album_by_webhook(hooked: Bench) -> None:
    """Parts of an album are answered one by one, and heard as one message."""
    await hooked.start()
    hooked.double.album(hooked.group, hooked.ann, [b"one", b"two", b"three"], "plans")
    assert len((await hooked.said("plans")).files) == 3
    await hooked.double.until(lambda: not hooked.double.updates)
    while await hooked.store.xlen(f"bb:{{a:{TG}}}:x:updates"):
        await asyncio.sleep(0.01)


async def test_what_came_while_no_adapter_ran_is_heard_later(hooked: Bench) -> None:
    """A call is taken in by any process; the adapter reads it when it starts, also after it died half way."""
    for number in (1, 2):
        body = json.dumps(update(hooked, number, f"word {number}")).encode()
        assert await call(hooked, body, **signed(hooked)) == 200
    hooked.relay.down = True
    await hooked.start()
    await hooked.said("word 2")
    await hooked.stop()
    hooked.relay.seen.clear()
    hooked.relay.down = False
    await hooked.start()
    await hooked.said("word 2")
    assert list(dict.fromkeys(hooked.texts())) == ["word 1", "word 2"]


async def test_switching_between_polling_and_webhook(hooked: Bench) -> None:
    """Updates that were not confirmed by polling come by webhook, with the same ids, and the other way round."""
    await hooked.start(webhook=False)
    hooked.relay.down = True
    hooked.double.say(hooked.group, hooked.ann, "on the way")
    first = await hooked.said("on the way")
    await hooked.stop()
    hooked.relay.seen.clear()
    hooked.relay.down = False
    await hooked.start(webhook=True)
    assert (await hooked.said("on the way")).native == first.native
    await hooked.double.until(lambda: not hooked.double.updates)
    await hooked.stop()
    await hooked.start(webhook=False)
    hooked.double.say(hooked.group, hooked.ann, "polled again")
    await hooked.said("polled again")


async def test_a_stalled_store_is_503_and_delivered_later(store_url: str) -> None:
    """While the store does not answer, Telegram is told so within a second, and the message comes when it does."""
    own = open_store(store_url)
    await own.flushall()
    other = open_store(store_url)
    try:
        async with bench(own) as tg:
            tg.config = tg.make(webhook=True)._config
            tg.site.add(tg.make(), tg.relay)
            await tg.site.start()
            await tg.start()
            await other.execute_command("CLIENT", "PAUSE", "1500", "WRITE")
            started_s = asyncio.get_running_loop().time()
            tg.double.say(tg.group, tg.ann, "while it stands")
            await tg.double.until(lambda: "503" in tg.double.webhook.get("last_error_message", ""))
            assert asyncio.get_running_loop().time() - started_s < 1.3
            assert tg.texts() == []
            assert len(tg.double.updates) == 1
            await tg.heard(MessageNew, lambda event: event.text.plain == "while it stands")
            await tg.double.until(lambda: not tg.double.updates)
    finally:
        await other.aclose()
        await own.aclose()

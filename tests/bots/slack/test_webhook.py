"""Slack calls us: who may, what is answered, and that nothing is lost, doubled or overtaken."""

from __future__ import annotations

import asyncio
import gzip
import io
import json
import time
from typing import Any
from urllib.parse import urlencode

import aiohttp
import pytest
from msgspec.structs import replace

from bots.slack.webhook import MAX_BODY_BYTES
from core.contract import Rejected
from core.model import MessageNew, Reaction, RoomMoved
from core.store import open_store
from tests.bots.slack.support import SLACK, Bench
from tests.fakes.slack import Fault
from tests.servers.store import dump_of


@pytest.fixture
async def called(slack: Bench) -> Bench:
    """An account that Slack calls."""
    await slack.listen()
    return slack


def body_of(slack: Bench, text: str = "hello", **more: Any) -> bytes:
    """A callback as it would be sent."""
    ts = slack.double.ts()
    event = {
        "type": "message",
        "channel": slack.garden.id,
        "user": slack.ann.id,
        "text": text,
        "ts": ts,
        "event_ts": ts,
    }
    return json.dumps(slack.double.envelope(event | more)).encode()


async def call(slack: Bench, body: bytes, headers: dict[str, str], path: str = "events") -> tuple[int, str]:
    """Somebody calls."""
    url = f"{slack.site.account_url(SLACK)}/{path}"
    async with (
        aiohttp.ClientSession() as session,
        session.post(url, data=io.BytesIO(body), headers=headers) as response,
    ):
        return response.status, await response.text()


async def test_slack_calls(called: Bench) -> None:
    """What people say is heard by an adapter that is not started, and answered with 200 when it is durable."""
    called.double.say(called.garden, called.ann, "by webhook")
    event = await called.said("by webhook")
    assert event.author.name == "Ann"
    await called.double.until(lambda: called.double.answers)
    assert called.double.answers == [{"status": 200, "attempt": 0}]
    assert called.relay.accepts == 1


async def test_the_address_is_confirmed(called: Bench) -> None:
    """Slack asks once whether the address is ours, and is answered with what it says; signed like everything."""
    body = json.dumps({"type": "url_verification", "challenge": "3eZbrw1a", "token": "x"}).encode()
    status, answer = await call(called, body, called.double.signed(body))
    assert (status, json.loads(answer)) == (200, {"challenge": "3eZbrw1a"})
    assert (await call(called, body, {}))[0] == 401


async def test_without_a_secret_nothing_starts(slack: Bench) -> None:
    """An account that anybody could call does not start, and has no route."""
    adapter = slack.make(app_token="", signing_secret="")
    assert list(adapter.routes(slack.relay)) == []
    with pytest.raises(Rejected, match="bridgebot accounts add slack"):
        await adapter.start(slack.relay)
    await adapter.stop()


async def test_forged_calls_touch_nothing(called: Bench) -> None:
    """A missing, wrong, empty, odd or old signature is 401, whatever the body, and the store stays as it was."""
    body = body_of(called, "forged")
    good = called.double.signed(body)
    before = await dump_of(called.store)
    at, signature = good["X-Slack-Request-Timestamp"], good["X-Slack-Signature"]
    for name, values in {
        "X-Slack-Signature": (
            "",
            "wrong",
            signature[:-1],
            signature + "0",
            signature.upper(),
            "v1=" + signature[3:],
            "ü",
        ),
        "X-Slack-Request-Timestamp": ("", "0", "x", "-5", "1e9", "١٢٣", "9" * 40, str(int(at) + 1), str(int(at) - 400)),
    }.items():
        for value in values:
            assert (await call(called, body, good | {name: value}))[0] == 401, (name, value)
        assert (await call(called, body, {key: kept for key, kept in good.items() if key != name}))[0] == 401
    assert (await call(called, body + b" ", good))[0] == 401
    assert (await call(called, b"not json", good))[0] == 401
    assert (await call(called, body, {}, "commands"))[0] == 401
    assert await dump_of(called.store) == before
    assert not called.relay.seen


async def test_a_header_that_is_no_text_is_refused(called: Bench) -> None:
    """Bytes that are no UTF-8 in a signature are 401 and not an error of ours."""
    host, port = called.site.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    head = f"POST /bots/slack/events HTTP/1.1\r\nHost: x\r\nX-Slack-Request-Timestamp: {int(time.time())}\r\n"
    writer.write(head.encode() + b"X-Slack-Signature: v0=\xff\xfe\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}")
    assert b" 401 " in await reader.readline()
    writer.close()
    await writer.wait_closed()


async def test_a_replay_is_refused_later_and_the_same_before(called: Bench) -> None:
    """The same call within five minutes has the same ids; later it is 401."""
    body = body_of(called)
    headers = called.double.signed(body)
    for _ in range(2):
        assert (await call(called, body, headers))[0] == 200
    first, second = (event for event in called.relay.seen if isinstance(event, MessageNew))
    assert first == second
    called.double.clock_s = lambda: time.time() - 301
    assert (await call(called, body, called.double.signed(body)))[0] == 401
    called.double.clock_s = lambda: time.time() + 320
    assert (await call(called, body, called.double.signed(body)))[0] == 401


async def test_calls_for_others_are_not_ours(called: Bench) -> None:
    """A callback of another app, or for another workspace of the same app, says nothing here; it claims nothing."""
    envelope = json.loads(body_of(called))
    for change in (
        {"api_app_id": "A0OTHER01"},
        {"team_id": "T0OTHER01", "authorizations": [{"team_id": "T0OTHER01"}]},
        {"team_id": "T0OTHER01", "authorizations": []},
    ):
        body = json.dumps(envelope | change).encode()
        assert (await call(called, body, called.double.signed(body)))[0] == 200
    assert not called.relay.seen
    # In a channel that is shared, the event's own workspace may be another one.
    shared = json.dumps(envelope | {"team_id": "T0OTHER01"}).encode()
    assert (await call(called, shared, called.double.signed(shared)))[0] == 200
    assert called.texts() == ["hello"]


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 400),
        (b"not json", 400),
        (b"\xff\xfe", 400),
        (b"[]", 400),
        (b"{}", 400),
        (b"[" * 100_000, 400),
        (b" " * (MAX_BODY_BYTES + 1), 413),
        (b'{"type": "event_callback"}', 200),
        (b'{"type": "app_rate_limited", "minute_rate_limited": 1}', 200),
        (
            b'{"type": "event_callback", "team_id": "T0GARDEN1", "event": {"type": "message", "channel": 7, "ts": {}}}',
            200,
        ),
        (b'{"type": "event_callback", "team_id": "T0GARDEN1", "event": {"type": "reaction_added", "item": "x"}}', 200),
    ],
    ids=["empty", "words", "no text", "list", "no type", "deep", "large", "no event", "limited", "odd", "odder"],
)
async def test_odd_bodies(called: Bench, body: bytes, status: int) -> None:
    """What makes no sense is refused or left alone, and never with a 500."""
    assert (await call(called, body, called.double.signed(body)))[0] == status
    assert not called.relay.seen


async def test_compressed_bodies_are_refused(called: Bench) -> None:
    """Slack does not compress, and what others pack could unpack to anything."""
    body = gzip.compress(body_of(called))
    headers = called.double.signed(body) | {"Content-Encoding": "gzip"}
    assert (await call(called, body, headers))[0] == 415


async def test_a_store_that_is_down_is_said(called: Bench) -> None:
    """What cannot be made durable is answered with 503; Slack tells again, with the same ids."""
    called.relay.down = True
    called.double.say(called.garden, called.ann, "kept")
    await called.double.until(lambda: called.double.answers)
    assert called.double.answers[0]["status"] == 503
    called.relay.down = False
    await called.double.until(lambda: called.double.answers[-1]["status"] == 200)
    assert len({event.native for event in called.relay.seen}) == 1


async def test_a_dead_store_is_said_in_time(slack: Bench) -> None:
    """A store that does not answer is a 503 within Slack's three seconds."""
    dead = open_store("redis://127.0.0.1:9/0")
    slack.make(app_token="")
    from bots.slack.adapter import SlackAdapter

    slack.adapter = SlackAdapter(SLACK, slack.config, replace(slack.services(), store=dead))
    slack.site.add(slack.adapter, slack.relay)
    await slack.site.start()
    body = body_of(slack)
    async with asyncio.timeout(3):
        assert (await call(slack, body, slack.double.signed(body)))[0] == 503
    await dead.aclose()


async def test_slack_slow_to_say_who_somebody_is(called: Bench) -> None:
    """A name that cannot be had holds nothing up: the words come under a stand-in."""
    called.double.faults.append(Fault("users.info", 500, {}))
    called.double.say(called.garden, called.ann, "who am I")
    assert (await called.said("who am I")).author.name == "Somebody"


async def test_events_side_by_side_keep_their_order(called: Bench) -> None:
    """Slack calls for several events at once; what happened first is heard first."""
    called.double.faults.append(Fault("users.info", delay_s=0.03, cut="after"))
    bodies = [body_of(called, f"line {number}") for number in range(6)]
    await asyncio.gather(*(call(called, body, called.double.signed(body)) for body in reversed(bodies)))
    assert called.texts() == [f"line {number}" for number in range(6)]


async def test_a_move_is_slacks_own_word_only(called: Bench) -> None:
    """A room moves when Slack signs that it did, and not when a message or an unsigned call says so."""
    event = {"type": "channel_id_changed", "old_channel_id": called.garden.id, "new_channel_id": "C0NEW0001"}
    event["event_ts"] = called.double.ts()
    body = json.dumps(called.double.envelope(event)).encode()
    assert (await call(called, body, {}))[0] == 401
    said = body_of(called, "moved", subtype="channel_id_changed", **{k: v for k, v in event.items() if "id" in k})
    await call(called, said, called.double.signed(said))
    assert not called.relay.seen
    await call(called, body, called.double.signed(body))
    moved = await called.heard(RoomMoved)
    assert (moved.room, moved.to) == (called.room, "slack/C0NEW0001")


async def test_slash_commands(called: Bench) -> None:
    """/sameroom in a channel is a command of ours, whatever it is called in Slack."""
    form = called.double.command(called.garden, called.ann.id, "connect HLDMU-42K7") | {"command": "/bridge"}
    body = urlencode(form).encode()
    assert await call(called, body, called.double.signed(body), "commands") == (200, "")
    event = await called.said("/sameroom connect HLDMU-42K7")
    assert event.room == called.room
    assert event.author.id == called.ann.id
    for odd in (b"", b"text=open", b"\xff", b"command=%2Fsameroom&channel_id=x&user_id=y"):
        assert (await call(called, odd, called.double.signed(odd), "commands"))[0] in (200, 400, 401)
    foreign = urlencode(form | {"team_id": "T0OTHER01"}).encode()
    assert (await call(called, foreign, called.double.signed(foreign), "commands"))[0] == 401
    assert len(called.relay.seen) == 1


async def test_slash_commands_where_we_are_not(called: Bench) -> None:
    """In a public channel the app comes in by itself; in a private one it says what to do, to the one who typed."""
    shed = called.double.channel("shed", called.ann)
    body = urlencode(called.double.command(shed, called.ann.id, "open")).encode()
    assert await call(called, body, called.double.signed(body), "commands") == (200, "")
    assert called.double.bot.id in shed.members
    den = called.double.channel("den", called.ann, is_private=True)
    body = urlencode(called.double.command(den, called.ann.id, "open")).encode()
    status, answer = await call(called, body, called.double.signed(body), "commands")
    assert status == 200
    assert "/invite" in json.loads(answer)["text"]
    assert json.loads(answer)["response_type"] == "ephemeral"


async def test_reactions_of_others_only(called: Bench) -> None:
    """Our own reaction does not come back."""
    raw = called.double.say(called.garden, called.ann, "nice")
    called.double.react(called.garden, called.double.bot.id, raw["ts"], "eyes")
    called.double.react(called.garden, called.bob.id, raw["ts"], "tada")
    assert (await called.heard(Reaction)).emoji == "🎉"
    assert len([event for event in called.relay.seen if isinstance(event, Reaction)]) == 1

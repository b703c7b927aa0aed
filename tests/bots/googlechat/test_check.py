"""What the operator is told: before an account is added, after it, and by the doctor."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import aiohttp
import jwt
import pytest

from bots.googlechat import PLATFORM
from bots.googlechat.config import GoogleChatConfig
from bots.googlechat.verify import KeySet, KeysUnavailable
from core.contract import Rejected
from core.model import AccountId
from core.store import Redis
from tests.bots.googlechat.support import world
from tests.fakes.googlechat import GoogleChatDouble


def config(double: GoogleChatDouble, **more: Any) -> GoogleChatConfig:
    """An account on the double."""
    given = {"service_account": double.key_file(), "project_number": double.project_number, **double.urls(), **more}
    return GoogleChatConfig(**given)


async def test_prepare_takes_the_key_and_the_topic_in(tmp_path: Path) -> None:
    """A path becomes the key's content, and the topic is found by the subscription."""
    async with GoogleChatDouble() as double:
        path = tmp_path / "key.json"
        path.write_text(double.key_file())
        given = config(double, service_account=str(path), pubsub_subscription=double.subscription)
        name, made = await PLATFORM.prepare(given, "https://bridge.example.org")
        assert name == ""
        assert made.service_account == double.key_file()
        assert made.pubsub_topic == double.topic


BAD: list[tuple[dict[str, Any], str]] = [
    ({"service_account": "/no/such/file.json"}, "cannot be read"),
    ({"service_account": '{"type": "service_account"}'}, "no service account's key"),
    ({"service_account": "{}{"}, "no service account's key"),
    ({"project_number": "my-project"}, "project number"),
    ({"project_number": ""}, "project number"),
    ({"pubsub_subscription": "bridge"}, "projects/PROJECT/subscriptions/NAME"),
    ({"pubsub_subscription": "projects/garden/subscriptions/other"}, "does not know"),
]


@pytest.mark.parametrize(("more", "words"), BAD)
async def test_prepare_says_what_is_wrong(more: dict[str, Any], words: str) -> None:
    """Each mistake is named in words that help, and the words hold no key."""
    async with GoogleChatDouble() as double:
        with pytest.raises(Rejected, match=words) as caught:
            await PLATFORM.prepare(config(double, **more), "https://bridge.example.org")
        assert "PRIVATE" not in str(caught.value)


async def test_prepare_with_a_deleted_key() -> None:
    """A key that Google no longer takes is a mistake of the operator's, and is said so."""
    async with GoogleChatDouble() as double:
        given = config(double)
        double.key_name = "another-service-account"
        with pytest.raises(Rejected, match="invalid_grant"):
            await PLATFORM.prepare(given, "https://bridge.example.org")


async def test_the_doctor_finds_nothing(store: Redis) -> None:
    """A good account: each look is good, but that Google cannot reach a local address."""
    async with world(store, started=False) as made:
        made.double._clock = time.time
        url = made.people.endpoint.removesuffix("/events")
        found = await PLATFORM.check(made.adapter._config, url)
        assert [one.what for one in found if not one.ok] == [
            f"{made.people.endpoint} is this machine; Google cannot reach it"
        ]
        assert len(found) == 5


async def test_the_doctor_sees_what_is_wrong(store: Redis) -> None:
    """A missing approval, a missing subscription, a switched-off API, nobody at the endpoint: each is seen, with what
    to do."""
    async with GoogleChatDouble() as double:
        double.approved = False
        given = config(double, pubsub_subscription="projects/garden/subscriptions/other")
        found = await PLATFORM.check(given, "http://127.0.0.1:1/bots/x")
        bad = {one.what: one.mend for one in found if not one.ok}
        assert any("Pub/Sub subscription" in what for what in bad)
        assert any("nobody answers" in what for what in bad)
        assert all(bad.values())
    found = await PLATFORM.check(config(double, pubsub_subscription=""), "http://127.0.0.1:1/bots/x")
    assert any("not reachable" in one.what for one in found if not one.ok)
    assert any("hears direct messages" in one.what for one in found if one.ok)


async def test_the_doctor_sees_a_missing_approval(store: Redis) -> None:
    """Reading a space's messages is tried, and the administrator is named."""
    async with world(store, started=False) as made:
        made.double._clock = time.time
        made.double.approved = False
        found = await PLATFORM.check(made.adapter._config, "http://127.0.0.1:1/bots/x")
        assert any("administrator" in one.mend for one in found if not one.ok)


async def test_the_doctor_reads_a_key_that_is_none() -> None:
    """A broken key is a finding and not a crash."""
    found = await PLATFORM.check(GoogleChatConfig(service_account="{"), "http://127.0.0.1:1/bots/x")
    assert [one.ok for one in found] == [False]


def test_the_steps_name_every_place() -> None:
    """The endpoint, the audience, the topic and its publisher are in the steps."""
    given = GoogleChatConfig(
        service_account="{}", pubsub_subscription="projects/p/subscriptions/s", pubsub_topic="projects/p/topics/t"
    )
    url = "https://bridge.example.org/bots/googlechat"
    steps = " ".join(PLATFORM.next_steps(AccountId("googlechat"), given, url))
    for words in (f"{url}/events", "Project Number", "projects/p/topics/t", "chat-api-push@system", "/sameroom"):
        assert words in steps
    short = PLATFORM.next_steps(AccountId("googlechat"), GoogleChatConfig(service_account="{}", audience="url"), url)
    assert "HTTP endpoint URL" in " ".join(short)
    assert "only messages that mention it" in short[-1]


def test_a_target_is_refused_in_words() -> None:
    """There is no target for it; the words say what to type."""
    with pytest.raises(ValueError, match="accounts add googlechat"):
        PLATFORM.from_target("anything")


async def test_a_key_that_is_none_does_not_start(store: Redis) -> None:
    """The adapter refuses to start, and its routes let nobody in."""
    async with world(store, started=False, service_account="{}") as made:
        with pytest.raises(Rejected, match="no service account's key"):
            await made.adapter.start(made.events)


async def test_keys_rotate() -> None:
    """Google's keys change: a token with a new one makes us read again, at most every ten seconds; while they cannot be
    read, those that we know still count."""
    now = {"ms": 1_000_000}
    async with GoogleChatDouble() as double, aiohttp.ClientSession() as session:
        keys = KeySet(double.urls()["oidc_keys_url"], lambda: now["ms"])
        assert await keys.key(session, "google-key-1") is not None
        double.oidc_key = "google-key-2"
        assert await keys.key(session, "google-key-2") is None
        now["ms"] += 10_000
        assert await keys.key(session, "google-key-2") is not None
        assert await keys.key(session, "google-key-1") is None
        assert double.key_reads == 2
        now["ms"] += 30_000_000
        double.is_down = True
        assert await keys.key(session, "google-key-2") is not None
        empty = KeySet(double.urls()["chat_keys_url"], lambda: now["ms"])
        with pytest.raises(KeysUnavailable):
            await empty.key(session, "chat-key-1")


async def test_no_secret_is_logged_or_stored(store: Redis, capsys: pytest.CaptureFixture[str]) -> None:
    """Neither the key nor a token nor what people say is in the log or in the store."""
    async with world(store) as made:
        await made.people.say(made.space, made.ann, "the words of Ann")
        await made.adapter.send(made.post("the words of Alice"))
        await made.until(lambda: bool(made.events.seen))
        tokens = [*made.double.tokens, made.people.token()]
        assert jwt.get_unverified_header(tokens[-1])
    written = "".join(capsys.readouterr())
    stored = b""
    for key in await store.keys("*"):
        kind = await store.type(key)
        values = {b"hash": store.hgetall, b"string": store.get, b"set": store.smembers}[kind]
        stored += key + str(await values(key)).encode()
    secrets = [*tokens, "PRIVATE KEY", "the words of"]
    for secret in secrets:
        assert secret not in written
        assert secret.encode() not in stored

"""Who may speak for Teams: every check of the token and of what it came with (threats 1, 9, 12, 18, 30, 31)."""

from __future__ import annotations

import base64
import gzip
import json
import time
from typing import Any

import msgspec
import pytest

from bots.teams import PLATFORM
from bots.teams.config import TeamsConfig
from core.contract import Rejected
from core.model import MessageNew
from core.store import Redis
from tests.bots.teams.conftest import ACCOUNT, World, running, services
from tests.fakes.teams_people import People


def payload(people: People) -> dict[str, Any]:
    """A message of Ann's."""
    return people.message("Ann", "<p>hello</p>", "1700000000001")


async def emptied(world: World) -> set[str]:
    """The keys of the store, after the events of the beginning were forgotten."""
    world.inbox.events.clear()
    world.service.transcript.clear()
    return {str(key) for key in await world.store.keys("*")}


FORGED: dict[str, dict[str, Any]] = {
    "foreign issuer": {"iss": "https://sts.windows.net/somebody/"},
    "no issuer": {"iss": None},
    "other audience": {"aud": "22222222-2222-3333-4444-555555555555"},
    "no audience": {"aud": None},
    "run out": {"exp": 1_700_000_000},
    "no end": {"exp": None},
    "not yet": {"nbf": 4_000_000_000},
    "other service": {"serviceurl": "https://evil.example/"},
    "no service": {"serviceurl": None},
    "service of another kind": {"serviceurl": 7},
    "foreign key": {"key": "somebody else's"},
    "no algorithm": {"algorithm": "none"},
    "shared secret": {"algorithm": "HS256"},
    "unknown key": {"head": {"kid": "key-9"}},
    "key id of another kind": {"head": {"kid": ""}},
}


@pytest.mark.parametrize("what", FORGED)
async def test_a_forged_token_is_refused(world: World, what: str) -> None:
    """401, and neither the relay nor the store nor anybody else hears of it."""
    people = await world.chat("Ann")
    keys = await emptied(world)
    assert await world.service.deliver(payload(people), world.service.sign(**FORGED[what])) == 401
    assert not world.inbox.events
    assert not world.inbox.waiting
    assert {str(key) for key in await world.store.keys("*")} == keys
    assert not world.service.transcript


HEADERS = (
    None,
    "",
    "Bearer",
    "Bearer ",
    "Bearer x",
    "Bearer a.b.c",
    "Bearer ..",
    "Basic dXNlcjpwYXNz",
    "Bearer " + "A" * 100_000,
    "Bearer \udcff\udcfe",
    "Bearer eyJhbGciOiJSUzI1NiJ9.e30.AA",
    "Bearer " + base64.urlsafe_b64encode(b'{"alg":"RS256","kid":["key-1"]}').decode().rstrip("=") + ".e30.AA",
)


@pytest.mark.parametrize("header", HEADERS, ids=range(len(HEADERS)))
async def test_a_missing_or_broken_header_is_refused(world: World, header: str | None) -> None:
    """Never 500; the same as for a wrong token."""
    people = await world.chat("Ann")
    keys = await emptied(world)
    raw = json.dumps(payload(people)).encode()
    status = await world.service.deliver_raw(raw, header) if not header or len(header) < 8000 else 401
    assert status in (400, 401)
    assert not world.inbox.events
    assert {str(key) for key in await world.store.keys("*")} == keys


async def test_a_good_token_is_taken(world: World) -> None:
    """The same request with a good token is a message, so the refusals above mean something."""
    people = await world.chat("Ann")
    assert await world.service.deliver(payload(people)) == 200
    assert [event.text.plain for event in world.inbox.of(MessageNew)] == ["hello"]


async def test_an_old_token_is_refused_after_the_leeway(world: World) -> None:
    """Five minutes for clocks that are apart, and no more (threat 30)."""
    people = await world.chat("Ann")
    now = int(time.time())
    assert await world.service.deliver(payload(people), world.service.sign(exp=now - 290)) == 200
    assert await world.service.deliver(payload(people), world.service.sign(exp=now - 310)) == 401


HOSTILE = (
    "https://evil.example/amer/",
    "http://smba.trafficmanager.net/amer/",
    "https://smba.trafficmanager.net.evil.example/",
    "https://smba.trafficmanager.net@evil.example/",
    "https://evil.example\\@smba.trafficmanager.net/",
    "https://smba.trafficmanager.net:8443/",
    "http://127.0.0.1:1/",
    "http://169.254.169.254/latest/",
    "file:///etc/passwd",
    "//smba.trafficmanager.net/",
    "https://[::1/",
    "https://smba.trafficmanager.net /",
    "",
)


@pytest.mark.parametrize("url", HOSTILE)
async def test_a_hostile_service_gets_nothing(world: World, url: str) -> None:
    """Even with a signature of the service: no host outside of the list is believed, no token goes there (12)."""
    people = await world.chat("Ann")
    await emptied(world)
    body = payload(people) | {"serviceUrl": url}
    assert await world.service.deliver(body, world.service.sign(serviceurl=url)) == 401
    assert not world.inbox.events
    assert not world.service.transcript
    await world.adapter.send(world.post(people, "still there"))
    assert people.room.order()[-1].plain == "still there"


async def test_a_service_in_the_store_is_checked_again(world: World) -> None:
    """Whatever stands in the store: the token goes to hosts of the list only."""
    people = await world.chat("Ann")
    key = "bb:{a:teams}:x:rooms"
    raw = await world.store.hget(key, people.room.id)
    assert raw
    await world.store.hset(key, people.room.id, bytes(raw).replace(b"/amer/", b"@evil.example/"))
    world.service.transcript.clear()
    async with running(world.store, **world.service.settings()) as other:
        with pytest.raises(Rejected):
            await other.adapter.send(world.post(people, "not there"))
    assert not world.service.transcript


async def test_a_key_speaks_for_its_channels_only(world: World) -> None:
    """Its endorsements must name the channel of the activity; whatever channel that is."""
    people = await world.chat("Ann")
    await emptied(world)
    assert await world.service.deliver(payload(people) | {"channelId": "skype"}) == 401
    assert await world.service.deliver(payload(people) | {"channelId": ""}) == 401
    assert not world.inbox.events


async def test_other_channels_of_the_service_work(store: Redis) -> None:
    """Nothing depends on the channel being Teams: the keys say which channels there are."""
    async with running(store) as world:
        world.service.endorsements = ["msteams", "skype"]
        people = await world.chat("Ann")
        assert await world.service.deliver(payload(people) | {"channelId": "skype"}) == 200
        assert len(world.inbox.of(MessageNew)) == 1


async def test_new_keys_are_found_but_not_hunted_for(world: World) -> None:
    """Unknown keys lead to no request each: at most one look in five minutes."""
    people = await world.chat("Ann")
    await emptied(world)
    for number in range(20):
        token = world.service.sign(head={"kid": f"guess-{number}"})
        assert await world.service.deliver(payload(people), token) == 401
    assert not world.asked("/keys")


async def test_without_keys_nobody_is_believed(store: Redis) -> None:
    """503, so that the service may try again, and not 200 or 401."""
    async with running(store, openid_url="http://127.0.0.1:1/openid") as world:
        people = People(world.service, world.service.chat(world.service.person("Ann")))
        assert await world.service.deliver(payload(people)) == 503
        assert not world.inbox.waiting


async def test_bodies_that_are_none(world: World) -> None:
    """Broken ones are 400, never 500; large and compressed ones are refused unread (threat 18)."""
    people = await world.chat("Ann")
    await emptied(world)
    bearer = f"Bearer {world.service.sign()}"
    broken = (b"", b"{", b"[]", b"null", b"7", b'{"type":7}', b"\xff\xfe", b'{"type":"message","conversation":3}')
    for raw in (*broken, b"[" * 100_000, b'{"type":"message","text":' + b"[" * 90_000):
        assert await world.service.deliver_raw(raw, bearer) == 400
    bomb = gzip.compress(json.dumps(payload(people)).encode() + b" " * 1_000_000)
    assert await world.service.deliver_raw(bomb, bearer, **{"Content-Encoding": "gzip"}) == 415
    large = json.dumps(payload(people) | {"text": "x" * 1_100_000}).encode()
    assert await world.service.deliver_raw(large, bearer) == 413
    assert not world.inbox.events


async def test_an_account_without_secret_does_not_start(store: Redis) -> None:
    """It cannot be configured so, and if it were, it would not start (threat 1)."""
    with pytest.raises(ValueError, match="app_secret"):
        TeamsConfig(app_id="a", app_secret="", tenant_id="t")
    with pytest.raises(ValueError, match="app_id"):
        TeamsConfig(app_id="", app_secret="s", tenant_id="t")
    async with running(store) as world:
        people = await world.chat("Ann")
        await emptied(world)
        for name in ("app_id", "app_secret"):
            broken = TeamsConfig(**world.service.settings())
            msgspec.structs.force_setattr(broken, name, "")
            adapter = PLATFORM.create(ACCOUNT, broken, services(store, "https://b.example"))
            with pytest.raises(Rejected, match="accounts add teams"):
                await adapter.start(world.inbox)
        msgspec.structs.force_setattr(world.config, "app_id", "")
        assert await world.service.deliver(payload(people), world.service.sign(aud="")) == 401
        assert not world.inbox.waiting

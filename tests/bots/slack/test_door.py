"""One app in many workspaces: Slack calls one address, and each account hears what is its own."""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

import aiohttp
import pytest
from aiohttp import web
from msgspec.structs import replace

from bots.slack.adapter import GONE, SlackAdapter
from bots.slack.config import SlackApp
from bots.slack.door import Door
from core.contract import Route
from core.model import AccountId, MessageNew, room_id
from core.store import Redis
from tests.bots.slack.support import Bench, Relay, bench
from tests.contract.harness import services
from tests.fakes.slack import SECRET, Fault
from tests.fakes.slack_oauth import CLIENT_ID, CLIENT_SECRET

OTHER = "T0ORCHARD"


@dataclass
class Yard:
    """The door of an app, and the accounts behind it."""

    slack: Bench
    url: str = ""
    adapters: list[Any] = field(default_factory=list)
    relays: dict[str, Relay] = field(default_factory=dict)

    def add(self, name: str, **changes: Any) -> SlackAdapter:
        """An account that was given by signing in; its adapter is not started."""
        mine = AccountId(name)
        config = replace(self.slack.config, app_token="", signing_secret="", by_app=True, **changes)
        lent = services(self.slack.store, mine, self.slack.site.url)
        made = SlackAdapter(mine, config, replace(lent, now_ms=self.slack.services().now_ms))
        self.relays[name] = Relay()
        assert list(made.routes(self.relays[name])) == []
        self.adapters.append(made)
        return made

    async def call(self, body: bytes, headers: dict[str, str] | None = None, path: str = "events") -> tuple[int, str]:
        """Somebody calls; as Slack does, where nothing else is said."""
        headers = self.slack.double.signed(body) if headers is None else headers
        async with (
            aiohttp.ClientSession() as session,
            session.post(f"{self.url}/{path}", data=io.BytesIO(body), headers=headers) as response,
        ):
            return response.status, await response.text()

    async def say(self, text: str, **envelope: Any) -> int:
        """Slack tells that Ann said it in the garden."""
        ts = self.slack.double.ts()
        event = {"type": "message", "channel": self.slack.garden.id, "user": self.slack.ann.id, "text": text}
        whole = self.slack.double.envelope(event | {"ts": ts, "event_ts": ts}) | envelope
        return (await self.call(json.dumps(whole).encode()))[0]

    def texts(self, name: str) -> list[str]:
        """What an account heard."""
        return [event.text.plain for event in self.relays[name].seen if isinstance(event, MessageNew)]


@pytest.fixture
async def yard(store: Redis) -> AsyncIterator[Yard]:
    """Two workspaces that have added the app."""
    async with bench(store) as slack:
        made = Yard(slack)
        made.add("garden")
        made.add("orchard", team_id=OTHER)
        app = SlackApp(client_id=CLIENT_ID, client_secret=CLIENT_SECRET, signing_secret=SECRET)
        server = web.Application()
        routes: list[Route] = [*Door(app, lambda: made.adapters, slack.services().now_ms).routes()]
        for route in routes:
            server.router.add_route(route.method, f"/apps/slack/{route.path}", route.handler)
        runner = web.AppRunner(server, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        made.url = f"http://127.0.0.1:{runner.addresses[0][1]}/apps/slack"
        yield made
        await runner.cleanup()
        for adapter in made.adapters:
            await adapter.stop()


async def test_each_workspace_hears_its_own(yard: Yard) -> None:
    """Events go to the account whose workspace they are authorised for, or else come from; to no other."""
    authorized = [{"team_id": OTHER, "user_id": "U0", "is_bot": True, "enterprise_id": None}]
    assert await yard.say("in the garden") == 200
    assert await yard.say("in the orchard", team_id=OTHER, authorizations=authorized) == 200
    assert await yard.say("by a stranger in the orchard", team_id="T0STRANGE", authorizations=authorized) == 200
    assert await yard.say("of old", team_id=OTHER, authorizations=None) == 200
    assert yard.texts("garden") == ["in the garden"]
    assert yard.texts("orchard") == ["in the orchard", "by a stranger in the orchard", "of old"]


async def test_another_workspace_or_app_is_nobody_here(yard: Yard) -> None:
    """What is for nobody is answered, so that Slack does not come again, and heard by nobody."""
    own = yard.slack.make(app_token="")
    own.routes(yard.slack.relay)
    yard.adapters.append(own)
    assert await yard.say("elsewhere", team_id="T0NOWHERE", authorizations=[]) == 200
    assert await yard.say("another app", api_app_id="A0OTHER") == 200
    assert await yard.say("no app", api_app_id=None) == 200
    assert [name for name in yard.relays if yard.relays[name].seen] == []
    # An account with an app of its own has a secret of its own, whatever this app's is.
    assert await yard.say("in the garden") == 200
    assert not yard.slack.relay.seen


async def test_forged_calls_are_refused(yard: Yard) -> None:
    """Unsigned, signed with another secret, old or changed: 401, and nothing is heard (threats 1, 30, 31)."""
    whole = json.dumps(yard.slack.double.envelope({"type": "message", "text": "forged"})).encode()
    good = yard.slack.double.signed(whole)
    old = {"X-Slack-Request-Timestamp": str(int(good["X-Slack-Request-Timestamp"]) - 301)}
    for headers in ({}, good | {"X-Slack-Signature": "v0=" + "0" * 64}, good | old, good | {"X-Slack-Signature": "ü"}):
        assert (await yard.call(whole, headers))[0] == 401
        assert (await yard.call(whole, headers, "commands"))[0] == 401
    assert (await yard.call(whole + b" ", good))[0] == 401
    for odd in (b"", b"[]", b"{", b'{"type":7}', b'{"type":"event_callback"}'):
        assert (await yard.call(odd))[0] in (200, 400)
    assert [name for name in yard.relays if yard.relays[name].seen] == []
    unset = SlackApp(client_id=CLIENT_ID, client_secret=CLIENT_SECRET, signing_secret="")
    assert list(Door(unset, lambda: yard.adapters, yard.slack.services().now_ms).routes()) == []


async def test_the_address_is_confirmed(yard: Yard) -> None:
    """Slack asks once whether the address is ours, before any workspace is here."""
    yard.adapters.clear()
    body = json.dumps({"type": "url_verification", "challenge": "3eZbrw1a", "token": "x"}).encode()
    status, answer = await yard.call(body)
    assert (status, json.loads(answer)) == (200, {"challenge": "3eZbrw1a"})


async def test_a_channel_of_two_workspaces_is_heard_by_both(yard: Yard) -> None:
    """Slack calls once and names one workspace: every account that is in the channel hears it, and no other one."""
    yard.add("shed", team_id="T0SHED001")
    await yard.adapters[1]._directory.room(yard.slack.garden.id)
    assert await yard.say("shared", is_ext_shared_channel=True) == 200
    assert (yard.texts("garden"), yard.texts("orchard"), yard.texts("shed")) == (["shared"], ["shared"], [])
    assert await yard.say("not shared") == 200
    assert yard.texts("orchard") == ["shared"]


async def test_the_store_is_down_for_one_of_them(yard: Yard) -> None:
    """Slack is told to come again as long as one account has not got it; the others know it by its id."""
    await yard.adapters[1]._directory.room(yard.slack.garden.id)
    yard.relays["orchard"].down = True
    assert await yard.say("shared", is_ext_shared_channel=True) == 503


async def test_slash_commands(yard: Yard) -> None:
    """A command goes to the workspace that it was typed in; where that is not here, the person is told."""
    form = yard.slack.double.command(yard.slack.garden, yard.slack.ann.id, "open")
    assert await yard.call(urlencode(form).encode(), None, "commands") == (200, "")
    assert yard.texts("garden") == ["/sameroom open"]
    assert yard.relays["garden"].seen[0].room == room_id(AccountId("garden"), yard.slack.garden.id)
    status, answer = await yard.call(urlencode(form | {"team_id": "T0NOWHERE"}).encode(), None, "commands")
    assert (status, json.loads(answer)["response_type"]) == (200, "ephemeral")
    assert "Nobody has added this workspace" in json.loads(answer)["text"]
    assert (await yard.call(b"ssl_check=1&token=x", None, "commands"))[0] == 200
    assert (await yard.call(b"\xff", None, "commands"))[0] == 400
    assert not yard.relays["orchard"].seen


async def test_the_token_is_revoked(yard: Yard, monkeypatch: pytest.MonkeyPatch) -> None:
    """The process that posts hears of it from the one that Slack calls, and says why; a late or false word about
    tokens that still work changes nothing."""
    monkeypatch.setattr("bots.slack.adapter.LOOK_S", 0.01)
    poster, relay = yard.adapters[0], yard.relays["garden"]
    await poster.start(relay)
    await until(relay, online=True)
    gone = json.dumps(yard.slack.double.envelope({"type": "app_uninstalled"})).encode()
    assert (await yard.call(gone))[0] == 200
    assert relay.is_online
    yard.slack.double.ended, yard.slack.double.tokens = yard.slack.double.tokens, set()
    assert (await yard.call(gone))[0] == 200
    await until(relay, online=False)
    assert relay.reasons[-1] == GONE


async def until(relay: Relay, *, online: bool) -> None:
    """Wait until the account is online, or offline."""
    async with asyncio.timeout(10):
        while relay.is_online != online:
            relay.news.clear()
            await relay.news.wait()


async def test_slack_does_not_say_whether_the_token_is_good(yard: Yard) -> None:
    """Then it is asked to come again."""
    yard.slack.double.faults.append(Fault("auth.test", 500))
    gone = json.dumps(yard.slack.double.envelope({"type": "tokens_revoked"})).encode()
    assert (await yard.call(gone))[0] == 503

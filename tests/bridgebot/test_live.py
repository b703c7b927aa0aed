"""Accounts that come, change and go while everything runs: routes, sockets, pages and figures follow at once."""

from __future__ import annotations

import asyncio
import io
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import pytest
from msgspec.structs import replace

from bots import registry
from bots.loopback import make_platform
from bots.loopback.network import LoopbackNetwork
from bridgebot import roles
from bridgebot.site import LiveAccounts
from core.model import PlatformId
from core.settings import Settings
from core.store import Redis
from tests.bridgebot import demo
from tests.bridgebot.support import KEY, call, free_port, running
from tests.support.world import account, running_world

PATIENCE_S = 5.0


@dataclass
class Web:
    """A web process, a browser, and the means to change accounts."""

    node: roles.Node
    browser: aiohttp.ClientSession

    async def add(self, name: str, **config: object) -> None:
        """An account on the demo's platform, under its own name."""
        found = demo.DemoConfig(token=f"good-{name}", name=name, **config)  # type: ignore[arg-type]
        await self.node.accounts.add(name, demo.PLATFORM.id, found)

    async def get(self, path: str) -> tuple[int, str]:
        """Status and text of a page."""
        async with self.browser.get(path) as answer:
            return answer.status, await answer.text()

    async def until(self, path: str, status: int, words: str = "") -> None:
        """Return when a page answers so. Raises TimeoutError."""
        async with asyncio.timeout(PATIENCE_S):
            while True:
                found, text = await self.get(path)
                if found == status and words in text:
                    return
                await asyncio.sleep(0.01)


@pytest.fixture
def demo_row(monkeypatch: pytest.MonkeyPatch) -> None:
    """The demo's platform in the registry."""
    monkeypatch.setitem(registry.PLATFORMS, "demo", demo.ROW)


@asynccontextmanager
async def web_process(store_url: str) -> AsyncIterator[Web]:
    """The web role, in this process."""
    settings = Settings(redis_url=store_url, secret_key=KEY, port=free_port())
    node = await roles.open_node(settings)
    cookies = aiohttp.CookieJar(unsafe=True)
    async with roles.running(node, {"web"}), aiohttp.ClientSession(settings.site_url, cookie_jar=cookies) as browser:
        yield Web(node, browser)


@pytest.fixture
async def web(store: Redis, store_url: str, demo_row: None) -> AsyncIterator[Web]:
    """A web process without accounts."""
    async with web_process(store_url) as found:
        yield found


async def test_routes_follow_the_accounts(web: Web) -> None:
    """Added: its routes answer, with their patterns, methods and uploads. Removed: 404. The rest is undisturbed."""
    assert (await web.get("/bots/alice/hello/x"))[0] == 404
    await web.add("alice")
    await web.until("/bots/alice/hello/ada", 200, "alice 5 ada")
    await web.add("bob")
    await web.until("/bots/bob/hello/x", 200)
    async with web.browser.post("/bots/bob/up", data=io.BytesIO(bytes(3_000_000))) as answer:
        assert await answer.text() == "3000000"
    async with web.browser.get("/bots/bob/up") as answer:
        assert (answer.status, answer.headers["Allow"]) == (405, "POST")
    for path in ("/bots", "/bots/", "/bots/bob", "/bots/bob/", "/bots//hello/x", "/bots/bob/hello/x/y", "/bots/bo/up"):
        assert (await web.get(path))[0] == 404
    await web.node.accounts.remove("alice")
    await web.until("/bots/alice/hello/ada", 404)
    assert await web.get("/bots/bob/hello/x") == (200, "bob 5 x")


async def test_pages_show_the_accounts_there_are(web: Web) -> None:
    """Invitations are on the front page as long as their account is there."""
    await web.add("alice")
    await web.until("/", 200, "Add @alice to your room.")
    await web.node.accounts.remove("alice")
    await web.until("/", 200)
    await web.until("/bots/alice/hello/x", 404)
    assert "@alice" not in (await web.get("/"))[1]


async def test_what_is_replaced_is_stopped(web: Web) -> None:
    """A changed account answers as it is now; sockets of the adapter of before are sent away, others stay."""
    await web.add("alice")
    await web.add("bob")
    await web.until("/bots/alice/hello/x", 200)
    await web.until("/bots/bob/hello/x", 200)
    async with web.browser.ws_connect("/bots/alice/ws/ada") as ours, web.browser.ws_connect("/bots/bob/ws/b") as other:
        await ours.send_str("hello")
        assert await ours.receive_str(timeout=PATIENCE_S) == "ada 5 hello"
        await web.node.accounts.remove("alice")
        await web.add("alice", limit=9)
        ended = await ours.receive(timeout=PATIENCE_S)
        assert (ended.type, ended.extra) == (aiohttp.WSMsgType.CLOSE, "stopped")
        await web.until("/bots/alice/hello/x", 200, "alice 9 x")
        async with web.browser.ws_connect("/bots/alice/ws/ada") as again:
            await again.send_str("hello")
            assert await again.receive_str(timeout=PATIENCE_S) == "ada 9 hello"
        await other.send_str("still")
        assert await other.receive_str(timeout=PATIENCE_S) == "b 5 still"


async def test_an_account_that_comes_back_is_made_anew(web: Web) -> None:
    """The same configuration under the same name gets an adapter that was not stopped."""
    live = LiveAccounts(web.node)
    await web.add("alice")
    await live.look()
    (first,) = live()
    await live.look()
    assert live() == (first,)
    assert live()[0] is first
    await web.node.accounts.remove("alice")
    await live.look()
    await web.add("alice")
    await live.look()
    assert live()[0].adapter is not first.adapter


async def test_a_broken_account_takes_nobody_with_it(web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    """An adapter that cannot be made has no routes; all others have theirs."""

    def broken(*_: object) -> demo.Demo:
        raise RuntimeError("a mistake of the platform's")

    broken_platform = replace(demo.PLATFORM, id=PlatformId("broken"), create=broken)
    monkeypatch.setattr(demo, "BROKEN", broken_platform, raising=False)
    monkeypatch.setitem(registry.PLATFORMS, "broken", f"{demo.HERE}:BROKEN")
    await web.node.accounts.add("alas", broken_platform.id, demo.DemoConfig(token="good-alas"))
    await web.add("bob")
    await web.until("/bots/bob/hello/x", 200)
    assert (await web.get("/bots/alas/hello/x"))[0] == 404
    assert (await web.get("/"))[0] == 200


async def test_guest_rooms_can_come_later(web: Web) -> None:
    """Their account is added while the portal runs: the front page's button makes two rooms."""
    assert "Make two rooms" not in (await web.get("/"))[1]
    platform = registry.platform("web")
    await web.node.accounts.add("web", platform.id, platform.from_target("")[1])
    await web.until("/", 200, "Make two rooms and try it")
    token = re.search(r'name="form_token" value="([^"]+)"', (await web.get("/"))[1])
    assert token
    async with web.browser.post("/try", data={"form_token": token[1]}) as answer:
        assert (answer.status, answer.url.path[:5]) == (200, "/try/")
        frame = re.search(r'iframe src="([^"]+)"', await answer.text())
    assert frame
    assert (await web.get(frame[1]))[0] == 200


def test_a_running_bridge_takes_up_an_account(tmp_path: Path) -> None:
    """`accounts add` and `accounts remove` beside `run`, as two processes on one folder."""
    with running(tmp_path, "run", "--port", "0", module=demo.HERE) as bridge:
        added = call(tmp_path, "accounts", "add", "demo", text="good-alice\n", module=demo.HERE)
        assert added.stdout.startswith("Added alice.\n")
        asyncio.run(_until(bridge.url, 200))
        assert call(tmp_path, "accounts", "remove", "alice", module=demo.HERE).stdout == "Removed alice.\n"
        asyncio.run(_until(bridge.url, 404))
    assert "Traceback" not in bridge.log


async def _until(url: str, status: int) -> None:
    async with aiohttp.ClientSession(url) as browser:
        found = Web(None, browser)  # type: ignore[arg-type]
        await found.until("/bots/alice/hello/x", status)


@pytest.mark.parametrize("role", ["relay", "bots"])
async def test_roles_without_pages_can_be_watched(tmp_path: Path, store: Redis, store_url: str, role: str) -> None:
    """With --port they serve health and figures, and nothing else."""
    env = {"REDIS_URL": store_url, "SECRET_KEY": KEY, "PORT": "1", "BRIDGEBOT_METRICS_TOKEN": "letmein"}
    port = str(free_port())
    with running(tmp_path, role, "--port", port, env=env) as process:
        assert process.url == f"http://127.0.0.1:{port}/healthz"
        async with aiohttp.ClientSession(f"http://127.0.0.1:{port}") as client:
            async with client.get("/healthz") as answer:
                assert (await answer.json())["ok"] is True
            async with client.get("/metrics") as answer:
                assert "bridgebot_" in await answer.text()
            async with client.get("/metrics", headers={"X-Forwarded-For": "203.0.113.9"}) as answer:
                assert answer.status == 403
            async with client.get("/") as answer:
                assert answer.status == 404


async def test_a_slash_is_talk_where_the_platform_has_no_slash_commands(store: Redis) -> None:
    """``/sameroom`` is relayed as it was said; a dash is a command there, too."""
    network = LoopbackNetwork()
    platforms = {"loopback": replace(make_platform(network), slash=False)}
    async with running_world(store, account("one"), account("two"), network=network, platforms=platforms) as world:
        a, b = world.room("one", "garden"), world.room("two", "kitchen")
        await world.connect(a, b)
        for typed in ("/sameroom help", " \u200e/sameroom disable", "/sameroom"):
            world.say(a, "Alice", typed)
            await world.shows(b, typed.strip(" \u200e"))
        assert "-sameroom help" in await world.asks(a, "Alice", "-sameroom help")

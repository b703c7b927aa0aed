"""A team gives its workspace by one click: the whole installation against a strict Slack."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs, urlsplit

import aiohttp
import msgspec
import pytest
from msgspec.structs import replace
from playwright.async_api import Browser
from yarl import URL

from bots import registry
from bots.slack import PLATFORM as SLACK
from bots.slack.config import SlackApp
from core.contract import Rejected
from core.store import Redis
from tests.fakes.slack import SCOPES, SECRET, Fault, SlackDouble
from tests.fakes.slack_oauth import CLIENT_ID, CLIENT_SECRET
from tests.fakes.slack_world import Channel, Person
from tests.portal import teahouse
from tests.portal.conftest import post, submit
from tests.portal.house import LOBBY, OFFICE, OLGA, House, open_house, open_web, text_of
from tests.portal.test_account_browser import chromium as chromium
from tests.portal.test_browser import PHONE, open_page
from tests.servers.store import dump_of

BUTTON = "/add/slack/sign-in"


@dataclass
class Street:
    """An installation, and a Slack with a workspace."""

    house: House
    slack: SlackDouble
    ann: Person
    garden: Channel

    @property
    def app(self) -> SlackApp:
        """The operator's app, as it would be for the real one; browsers know Slack as another site than the portal."""
        site = self.slack.url.replace("127.0.0.1", "localhost")
        return SlackApp(
            client_id=CLIENT_ID,
            client_secret=CLIENT_SECRET,
            signing_secret=SECRET,
            authorize_url=f"{site}/oauth/v2/authorize",
            api_url=f"{self.slack.url}/api",
        )

    async def register(self) -> None:
        """The operator gives the app, and sets it up at Slack."""
        self.slack.redirect_urls = [f"{self.house.url}/add/slack/done"]
        self.slack.events_url = f"{self.house.url}/apps/slack/events"
        await self.house.node.apps.put(SLACK, self.app)

    async def agree(self, client: aiohttp.ClientSession, say: str = "Allow") -> str:
        """From the button to Slack's answer; returns where it leads the browser."""
        response = await submit(client, "/add/slack", BUTTON)
        assert response.status == 303, await text_of(response)
        return await self.answer(response.headers["Location"], say)

    async def answer(self, address: str, say: str = "Allow") -> str:
        """What people press on Slack's page."""
        async with aiohttp.ClientSession() as person:
            async with person.get(address) as page:
                link = re.search(rf'href="([^"]+say={say})"', await page.text())
                assert link, await page.text()
            url = f"{self.slack.url}{link[1].replace('&amp;', '&')}"
            async with person.get(url, allow_redirects=False) as left:
                return left.headers["Location"].removeprefix(self.house.url)

    async def add(self, client: aiohttp.ClientSession) -> str:
        """The whole way; returns the account's id."""
        back = await self.agree(client)
        async with client.get(back, allow_redirects=False) as page:
            assert page.status == 200, await page.text()
            return page.headers["Refresh"].removeprefix("0; url=/account/")

    async def accounts(self) -> set[str]:
        """Those that were added."""
        return {account.id for account in await self.house.node.accounts.list()} - {"inn"}

    async def config(self, account: str) -> Any:
        """An account's configuration."""
        found = await self.house.node.accounts.get(account)
        assert found
        return self.house.node.accounts.open(found, SLACK.config)


@pytest.fixture
async def street(store: Redis, store_url: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Street]:
    """Members may add accounts, and the operator's app is registered."""
    monkeypatch.setitem(registry.PLATFORMS, "tea", teahouse.ROW)
    monkeypatch.setattr("bots.slack.adapter.LOOK_S", 0.02)
    async with SlackDouble() as slack:
        ann = slack.person("Ann", is_admin=True)
        garden = slack.channel("garden", ann)
        garden.members.add(slack.bot.id)
        slack.tokens.clear()
        async with open_house(store_url) as house:
            found = Street(house, slack, ann, garden)
            await found.register()
            yield found


async def test_from_the_button_to_a_relayed_message(street: Street) -> None:
    """A member agrees on Slack, comes back to the workspace's rooms and connects one: what is said there is heard,
    through the one address that the app has for all workspaces."""
    house, slack = street.house, street.slack
    client = await house.sign_in()
    assert "Add to Slack" in await house.page(client, "/add/slack")
    account = await street.add(client)
    assert account == "slack-garden-club"
    config = await street.config(account)
    assert (config.by_app, config.team_id, config.app_token, config.signing_secret) == (True, "T0GARDEN1", "", "")
    await house.until(client, f"/account/{account}", lambda page: "Online" in page and "#garden" in page)
    form = {"room": f"{account}/{street.garden.id}", "with": "room"}
    assert (await submit(client, f"/account/{account}", f"/account/{account}/connect", **form)).status == 303
    await slack.until(lambda: [raw for raw in street.garden.messages.values() if "now connected" in raw["text"]])
    slack.say(street.garden, street.ann, "over the fence")
    assert "Ann" in await house.hears(LOBBY, "over the fence")
    text = await house.page(client, f"/account/{account}")
    assert "Slack calls the operator&#39;s app for this workspace" in text
    assert "Event Subscriptions" not in text


async def test_without_an_app_there_is_no_button(street: Street) -> None:
    """Where the operator registered none, and on other platforms, only tokens are asked for."""
    house = street.house
    client = await house.sign_in()
    assert "sign-in" not in await house.page(client, "/add/tea")
    assert await house.node.apps.remove(SLACK)
    text = await house.page(client, "/add/slack")
    assert "sign-in" not in text
    assert "Bot token" in text
    token = await house.form_token(client)
    for platform in ("slack", "tea"):
        response = await post(client, f"/add/{platform}/sign-in", form_token=token)
        assert (response.status, "registered no app" in await text_of(response)) == (409, True)
    async with house.browser() as other, other.post("/apps/slack/events", data=b"{}") as called:
        assert called.status in (401, 404)  # 404 as soon as the portal has looked


async def test_the_operator_registers_the_app(street: Street, store: Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the portal as on the command line: asked for, tried at Slack, sealed, and forgotten again; for nobody else."""
    house = street.house
    member, operator = await house.sign_in(), await house.sign_in(await house.operator_path())
    assert "/app/slack" not in await house.page(member, "/accounts")
    await house.page(member, "/app/slack", 403)
    token = await house.form_token(member)
    for path in ("/app/slack", "/app/slack/forget"):
        assert (await post(member, path, form_token=token)).status == 403
    await house.page(operator, "/app/tea", 404)
    assert "/app/slack" in await house.page(operator, "/accounts")
    text = await house.page(operator, "/app/slack")
    assert f"Redirect URLs: {house.url}/add/slack/done" in text
    assert "It is registered." in text
    given = {"client_id": "12345", "client_secret": "canary" * 4, "signing_secret": SECRET}
    response = await submit(operator, "/app/slack", "/app/slack", **given)
    text = await text_of(response)
    assert response.status == 422
    assert "That is no client ID" in text
    assert 'value="12345"' in text
    assert "canary" not in text
    assert (await submit(operator, "/app/slack", "/app/slack/forget")).headers["Location"] == "/accounts"
    assert "is forgotten here" in await house.page(operator, "/accounts")
    assert await house.node.apps.names() == []
    # Slack itself cannot be asked here: where its API is, is the one thing of an app that nobody is asked for.
    assert SLACK.sign_in
    api = [("api_url", str, street.app.api_url)]
    local = msgspec.defstruct("SlackApp", api, bases=(SlackApp,), frozen=True, kw_only=True)
    monkeypatch.setattr("bots.slack.PLATFORM", replace(SLACK, sign_in=replace(SLACK.sign_in, app=local)))
    wrong = {"client_id": CLIENT_ID, "client_secret": "canary" * 4, "signing_secret": SECRET}
    text = await text_of(await submit(operator, "/app/slack", "/app/slack", **wrong))
    assert "Slack does not take it: Slack does not take this client secret." in text
    assert "canary" not in text
    good = wrong | {"client_secret": CLIENT_SECRET}
    assert (await submit(operator, "/app/slack", "/app/slack", **good)).headers["Location"] == "/app/slack"
    assert "“Add to Slack” is there from now on" in await house.page(operator, "/app/slack")
    assert "Add to Slack" in await house.page(member, "/add/slack")
    assert CLIENT_SECRET.encode() not in await dump_of(store)


async def test_only_its_own_page_leads_to_slack(street: Street) -> None:
    """The form's page allows the way to Slack, and no other page does; everything else of the policy stays."""
    client = await street.house.sign_in()
    policies = {}
    for path in ("/add/slack", "/add/tea", "/accounts"):
        async with client.get(path) as page:
            assert page.headers["X-Frame-Options"] == "DENY"
            policies[path] = page.headers["Content-Security-Policy"]
    origin = "http://localhost:" + street.slack.url.rpartition(":")[2]
    assert policies["/add/slack"] == policies["/add/tea"].replace("form-action 'self'", f"form-action 'self' {origin}")
    assert policies["/accounts"] == policies["/add/tea"]
    assert SLACK.sign_in
    real = SlackApp(client_id=CLIENT_ID, client_secret=CLIENT_SECRET, signing_secret=SECRET)
    assert SLACK.sign_in.destinations(real) == ("https://slack.com", "https://*.slack.com")


async def test_who_says_no_is_told_so(street: Street) -> None:
    """Cancel on Slack's page adds nothing, and the page says it in plain words."""
    client = await street.house.sign_in()
    text = await street.house.page(client, await street.agree(client, "Cancel"), 409)
    assert "nobody agreed" in text
    assert not await street.accounts()


async def test_a_state_is_good_once_in_one_browser(street: Street) -> None:
    """Another visitor, a preview bot and a second time get nothing, and use nothing up (threats 23, 24, 26, 27)."""
    house = street.house
    ada, olga = await house.sign_in(), await house.sign_in(person=OLGA, room=OFFICE)
    back = await street.agree(ada)
    olgas = await street.agree(olga)
    for stranger in (house.browser(), olga):
        await house.page(stranger, back, 410)
    await house.page(ada, back.replace("/slack/", "/tea/"), 410)
    await house.page(ada, back.replace("state=", "state=x"), 410)
    await house.page(ada, "/add/slack/done", 410)
    assert not await street.accounts()
    [cookie] = [cookie.value for cookie in ada.cookie_jar if cookie.key == "sameroom_away"]
    assert "takes it" in await house.page(ada, back)
    await house.page(ada, back, 410)
    ada.cookie_jar.update_cookies({"sameroom_away": cookie}, URL(f"{house.url}/add/slack/done"))
    await house.page(ada, back, 410)
    # What somebody else has begun does not become the account of who follows the link.
    ada.cookie_jar.clear(lambda cookie: cookie.key == "sameroom_away")
    await house.page(ada, olgas, 410)
    assert await street.accounts() == {"slack-garden-club"}


async def test_another_site_cannot_begin_it(street: Street) -> None:
    """Only a form of ours leads to Slack: not a link, another site's form, or one without the visitor's token (26)."""
    client = await street.house.sign_in()
    token = await street.house.form_token(client)
    for fields, headers in (
        ({}, {}),
        ({"form_token": token}, {"Origin": "https://evil.example"}),
        ({"form_token": token}, {"Sec-Fetch-Site": "cross-site"}),
    ):
        async with client.post(BUTTON, data=fields, headers=headers, allow_redirects=False) as response:
            assert response.status in (403, 415)
            assert "Location" not in response.headers
    async with client.get(BUTTON, allow_redirects=False) as response:
        assert response.status == 405
    async with street.house.browser().post(BUTTON, data={"form_token": token}, allow_redirects=False) as response:
        assert response.status == 403


async def test_a_state_ends(street: Street, store: Redis) -> None:
    """After ten minutes, and with the session that it was made in; neither it nor the code is in the store (38)."""
    house = street.house
    client = await house.sign_in()
    back = await street.agree(client)
    query = parse_qs(urlsplit(back).query)
    whole = await dump_of(store)
    for secret in (query["state"][0], query["code"][0], CLIENT_SECRET, SECRET):
        assert secret.encode() not in whole
    [key] = [key async for key in store.scan_iter("bb:portal:away:*")]
    assert 0 < await store.ttl(key) <= 600
    assert (await submit(client, "/room", "/room/leave")).status == 303
    await house.page(client, back, 401)
    client = await house.sign_in()
    back = await street.agree(client)
    for key in [key async for key in store.scan_iter("bb:portal:away:*")]:
        await store.delete(key)
    await house.page(client, back, 410)
    assert not await street.accounts()


async def test_who_was_demoted_adds_nothing(street: Street) -> None:
    """What a person may is asked again on the way back (threat 28)."""
    house = street.house
    client = await house.sign_in()
    back = await street.agree(client)
    house.node.settings = replace(house.node.settings, connect="admins")
    await house.page(client, back, 403)
    assert not await street.accounts()


@pytest.mark.parametrize(
    ("told", "granted", "words"),
    [
        ({}, SCOPES.replace("users:read", "").strip().replace(" ", ","), "lacks these scopes: users:read"),
        ({"refresh_token": "xoxe-1-r", "expires_in": 43_200}, "", "token rotation"),
        ({"is_enterprise_install": True, "team": None}, "", "Add it to one workspace"),
        ({"token_type": "user", "access_token": "xoxp-1"}, "", "no bot token"),
        ({"ok": False, "error": "invalid_team_for_non_distributed_app"}, "", "Manage Distribution"),
    ],
)
async def test_what_cannot_be_used_is_not_added(street: Street, told: Any, granted: str, words: str) -> None:
    """Missing scopes, tokens that end, a whole organisation: said in words that tell what to do."""
    street.slack.told, street.slack.granted = told, granted
    client = await street.house.sign_in()
    assert words in await street.house.page(client, await street.agree(client), 409)
    assert not await street.accounts()


async def test_a_wrong_secret_and_a_wrong_address(street: Street) -> None:
    """What is wrong with the operator's app is said, and its secret is not shown."""
    house = street.house
    client = await house.sign_in()
    back = await street.agree(client)
    wrong = replace(street.app, client_secret="wrong" * 6)
    await house.node.apps.put(SLACK, wrong)
    text = await house.page(client, back, 409)
    assert "Slack does not take this client secret" in text
    assert "wrongwrong" not in text
    assert SLACK.sign_in
    with pytest.raises(Rejected, match="client secret"):
        await SLACK.sign_in.prepare(wrong, house.url)
    assert await SLACK.sign_in.prepare(street.app, house.url) == street.app


async def test_a_teams_workspace_is_its_owners(street: Street) -> None:
    """Added again by who added it, it is renewed; by anybody else it is refused, and nothing of it changes (29)."""
    house = street.house
    ada, olga = await house.sign_in(), await house.sign_in(person=OLGA, room=OFFICE)
    account = await street.add(ada)
    before = await house.node.accounts.get(account)
    token = (await street.config(account)).bot_token
    text = await house.page(olga, await street.agree(olga), 409)
    assert "somebody else added it" in text
    assert account not in text
    assert before == await house.node.accounts.get(account)
    street.slack.ended, street.slack.tokens = {token}, set()
    assert await street.add(ada) == account
    after = await house.node.accounts.get(account)
    assert before
    assert after
    assert after.added_at_ms == before.added_at_ms
    assert (await street.config(account)).bot_token != token
    await house.page(olga, f"/account/{account}", 404)
    assert await street.accounts() == {account}
    operator = await house.sign_in(await house.operator_path())
    assert await street.add(operator) == account


async def test_removed_here_is_removed_there(street: Street) -> None:
    """Removing the account takes the app out of the workspace: its token works no more, and the page says so."""
    house = street.house
    client = await house.sign_in()
    account = await street.add(client)
    token = (await street.config(account)).bot_token
    text = await house.page(client, f"/account/{account}")
    assert "revoked at <bdi>Slack</bdi> as far as that lets us" in text
    assert await house.act(client, account, "remove") == 303
    assert "Slack: the app is removed from the workspace, and its token is revoked." in await house.page(
        client, "/accounts"
    )
    assert token in street.slack.ended
    assert not await street.accounts()


async def test_removed_where_the_app_cannot_be_taken_out(street: Street) -> None:
    """Then the token is revoked; where Slack does nothing, the account goes all the same, and the page says where."""
    house, slack = street.house, street.slack
    client = await house.sign_in()
    slack.may_uninstall = False
    account = await street.add(client)
    token = (await street.config(account)).bot_token
    assert await house.act(client, account, "remove") == 303
    assert "The app is still listed in the workspace" in await house.page(client, "/accounts")
    assert token in slack.ended
    account = await street.add(client)
    slack.faults.append(Fault("apps.uninstall", 500))
    assert await house.act(client, account, "remove") == 303
    text = await house.page(client, "/accounts")
    assert "Slack: could not be revoked: Slack answers 500" in text
    assert "Manage apps, the app, Remove app" in text
    account = await street.add(client)
    slack.tokens.clear()
    assert await house.act(client, account, "remove") == 303
    assert "Slack: the token was worthless already." in await house.page(client, "/accounts")
    assert not await street.accounts()


async def test_the_app_is_removed_on_slack(street: Street) -> None:
    """The account is offline, and says why; added again, it goes on in its rooms."""
    house, slack = street.house, street.slack
    client = await house.sign_in()
    account = await street.add(client)
    await house.until(client, f"/account/{account}", lambda page: "Online" in page)
    slack._do_auth_revoke({})
    slack.tell({"type": "app_uninstalled"})
    text = await house.until(client, f"/account/{account}", lambda page: "Offline" in page)
    assert "The app was removed from the workspace on Slack" in text
    assert await street.add(client) == account
    await house.until(client, f"/account/{account}", lambda page: "Online" in page)
    # A late word about the old token does not concern the new one.
    told = len(slack.answers)
    slack.tell({"type": "tokens_revoked", "tokens": {"oauth": [], "bot": [slack.bot.id]}})
    await slack.until(lambda: len(slack.answers) > told)
    assert "Online" in await house.page(client, f"/account/{account}")


async def test_where_roles_run_apart(store: Redis, store_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Slack calls the web process, which takes events in; the one that posts hears from it that the app was removed."""
    monkeypatch.setitem(registry.PLATFORMS, "tea", teahouse.ROW)
    monkeypatch.setattr("bots.slack.adapter.LOOK_S", 0.02)
    async with (
        SlackDouble() as slack,
        open_house(store_url, frozenset({"relay", "bots"})) as bots,
        open_web(store_url) as web,
    ):
        ann = slack.person("Ann", is_admin=True)
        garden = slack.channel("garden", ann)
        garden.members.add(slack.bot.id)
        slack.tokens.clear()
        street = Street(web, slack, ann, garden)
        await street.register()
        client = await web.sign_in()
        account = await street.add(client)
        await web.until(client, f"/account/{account}", lambda page: "Another process of this bridge has it" in page)
        form = {"room": f"{account}/{garden.id}", "with": "room"}
        assert (await submit(client, f"/account/{account}", f"/account/{account}/connect", **form)).status == 303
        await slack.until(lambda: [raw for raw in garden.messages.values() if "now connected" in raw["text"]])
        slack.say(garden, ann, "over the fence")
        await bots.hears(LOBBY, "over the fence")
        slack._do_auth_revoke({})
        assert bots.node.host
        async with asyncio.timeout(10):
            while not (await bots.node.health())[1]["accounts"][account].startswith("The app was removed"):
                await asyncio.sleep(0.02)


async def test_whole_way_in_a_browser(street: Street, chromium: Browser) -> None:
    """Chromium goes from the button to Slack on another site and back under our policy, without scripts, and is signed
    in when it arrives; one click on Slack's page, and none on the way back."""
    house = street.house
    context = await chromium.new_context(base_url=house.url, viewport=PHONE, java_script_enabled=False)
    page, complaints = await open_page(context)
    await page.goto(await house.manage_path())
    await page.get_by_role("button", name="Open the room's page").click()
    await page.goto("/add/slack")
    assert await page.locator("html").evaluate("e => e.scrollWidth") <= PHONE["width"]
    await page.get_by_role("button", name="Add to Slack").click()
    await page.get_by_role("link", name="Allow").click()
    await page.wait_for_url("**/account/slack-garden-club")
    await page.get_by_role("heading", name="slack-garden-club").wait_for()
    await page.goto(await house.operator_path())
    await page.get_by_role("button", name="Sign in").click()
    await page.get_by_role("link", name="Look Slack").click()
    await page.get_by_role("heading", name="Slack for all teams").wait_for()
    assert await page.locator("html").evaluate("e => e.scrollWidth") <= PHONE["width"]
    assert complaints == []
    await context.close()


async def test_a_page_without_leave_does_not_lead_there(street: Street, chromium: Browser) -> None:
    """The browser holds the redirect against the page's policy: without the destinations it goes nowhere."""
    house = street.house
    context = await chromium.new_context(base_url=house.url, viewport=PHONE)
    page, _ = await open_page(context)
    await page.goto(await house.manage_path())
    await page.get_by_role("button", name="Open the room's page").click()
    await page.goto("/add/tea")
    async with page.expect_console_message(lambda message: "form-action" in message.text):
        await page.evaluate(
            f"""() => {{ const form = document.querySelector('form.fields');
            form.action = '{BUTTON}'; form.noValidate = true; form.submit(); }}"""
        )
    assert street.slack.url.rpartition(":")[2] not in page.url
    await context.close()

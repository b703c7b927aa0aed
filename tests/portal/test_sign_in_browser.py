"""Signing in with a company's account in a real browser, at a real identity provider (Canaille) on another site: on a
phone, without scripts, by keyboard; from a portal to connected rooms.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from playwright.async_api import Browser, BrowserContext, ConsoleMessage, Page, async_playwright
from yarl import URL

from bots import registry
from core.store import Redis
from tests.bridgebot.support import free_port
from tests.portal import teahouse
from tests.portal.house import OFFICE, House, open_house
from tests.portal.test_browser import ARGS, DESK, PHONE, open_page
from tests.servers.identity import CLIENT_ID, CLIENT_SECRET, PASSWORD, Identity, Somebody

ADA, EVE, ROOT = Somebody("ada", "Ada L.", ("bridge",)), Somebody("eve", "Eve"), Somebody("root", "Root", ("admins",))


@pytest.fixture
def identity(tmp_path: Path) -> Iterator[Identity]:
    """The company's identity provider."""
    redirect_uri = f"http://127.0.0.1:{free_port()}/sign-in/callback"
    with Identity(tmp_path / "identity", redirect_uri, [ADA, EVE, ROOT]) as found:
        yield found


@pytest.fixture
async def house(
    store: Redis, store_url: str, identity: Identity, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[House]:
    """An installation where the company's people add accounts, those of one group."""
    monkeypatch.setitem(registry.PLATFORMS, "tea", teahouse.ROW)
    async with open_house(
        store_url,
        port=URL(identity.redirect_uri).port,
        add_accounts="company",
        oidc_issuer=identity.issuer,
        oidc_client_id=CLIENT_ID,
        oidc_client_secret=CLIENT_SECRET,
        oidc_scopes="openid email profile groups",
        oidc_require="groups=bridge",
        oidc_operator="groups=admins",
    ) as found:
        yield found


@pytest.fixture
async def chromium() -> AsyncIterator[Browser]:
    """A real browser."""
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path="/usr/bin/chromium", args=ARGS)
        yield browser
        await browser.close()


async def open_ours(context: BrowserContext, house: House) -> tuple[Page, list[str]]:
    """A page, and all that it complains about on pages of ours: Canaille's may do what they like."""
    page = await context.new_page()
    complaints: list[str] = []

    def hear(line: ConsoleMessage) -> None:
        if line.type in ("error", "warning") and not line.location["url"].startswith(house.node.settings.oidc_issuer):
            complaints.append(f"{line.location['url']}: {line.text}")

    page.on("console", hear)
    return page, complaints


async def at_canaille(page: Page, who: Somebody, answer: str = "accept") -> None:
    """What people do at the provider: name, password, consent."""
    await page.locator("input[name=login]").fill(who.login)
    await page.locator("button[name=answer], button[type=submit]").last.click()
    await page.locator("input[name=password]").fill(PASSWORD)
    await page.locator("button[name=answer], button[type=submit]").last.click()
    await page.locator(f"button[value={answer}]").click()


@pytest.mark.parametrize("scripts", [True, False], ids=["scripts", "no scripts"])
async def test_from_a_portal_to_connected_rooms(house: House, chromium: Browser, tmp_path: Path, scripts: bool) -> None:
    """The whole way of a colleague who has no room: the portal's page, the company's sign-in, an account, its room.
    Every page of ours fits the phone, and none breaks its policy.
    """
    context = await chromium.new_context(base_url=house.url, viewport=PHONE, java_script_enabled=scripts)
    page, complaints = await open_ours(context, house)
    portal = await house.node.deps.links.issue_revocable("portal", OFFICE)

    async def fits(name: str) -> None:
        assert await page.locator("h1").count() == 1
        assert await page.locator("html").evaluate("e => e.scrollWidth") <= PHONE["width"], name
        await page.screenshot(path=tmp_path / f"{name}.png", full_page=True)

    await page.goto(f"/p/{portal}")
    await page.get_by_role("link", name="Add my team's account").click()
    await fits("from-portal")
    await page.get_by_role("link", name="Use my company account").click()
    button = page.get_by_role("button", name="Use my company account")
    box = await button.bounding_box()
    assert box
    assert box["height"] >= 44
    await fits("sign-in")
    await button.click()
    await page.wait_for_url(f"{house.node.settings.oidc_issuer}/**")
    await page.screenshot(path=tmp_path / "provider.png", full_page=True)
    await at_canaille(page, ADA)
    await page.wait_for_url("**/accounts")
    await page.get_by_text("You came to connect with").wait_for()
    await page.get_by_text("Signed in as Ada L.").wait_for()
    await fits("accounts")
    await page.get_by_role("link", name="Teahouse").click()
    await page.get_by_label("Bot token").fill("good-jade")
    await page.get_by_role("button", name="Add the account").click()
    await page.wait_for_url("**/account/jade")
    await house.tea("jade")
    await page.goto("/account/jade")
    await page.get_by_label("White tea").check()
    await page.get_by_role("button", name="Connect with Office").click()
    await page.get_by_text("now connected to Office (Inn), by Ada L.").wait_for()
    await house.hears(OFFICE, "now connected to White tea (Teahouse), by Ada L.")
    assert complaints == []
    await context.close()


async def test_by_keyboard_and_not_allowed(house: House, chromium: Browser) -> None:
    """Tab and Enter are enough; who is not of the group reads so, and is not signed in."""
    context = await chromium.new_context(base_url=house.url, viewport=DESK)
    page, _ = await open_page(context)
    await page.goto("/accounts")
    await page.get_by_role("link", name="Sign in").focus()
    await page.keyboard.press("Enter")
    await page.wait_for_url("**/sign-in")
    for _ in range(10):
        await page.keyboard.press("Tab")
        if await page.locator(":focus").inner_text() == "Use my company account":
            break
    assert await page.locator(":focus").evaluate("e => getComputedStyle(e).outlineWidth") == "3px"
    await page.keyboard.press("Enter")
    await page.wait_for_url(f"{house.node.settings.oidc_issuer}/**")
    await at_canaille(page, EVE)
    await page.get_by_role("heading", name="You may not sign in here").wait_for()
    await page.goto("/accounts")
    await page.get_by_text("You are not signed in").wait_for()
    await context.close()


async def test_the_operator_and_saying_no(house: House, chromium: Browser) -> None:
    """Who says no at the provider is not signed in and may try again; the group of the operators sees all accounts."""
    context = await chromium.new_context(base_url=house.url, viewport=PHONE)
    page, _ = await open_page(context)
    await page.goto("/sign-in")
    await page.get_by_role("button", name="Use my company account").click()
    await at_canaille(page, ROOT, answer="deny")
    await page.get_by_role("heading", name="You were not signed in").wait_for()
    await page.get_by_role("link", name="Sign in again").click()
    await page.get_by_role("button", name="Use my company account").click()
    await page.locator("button[value=accept]").click()
    await page.get_by_text("Signed in as the operator").wait_for()
    await page.get_by_role("link", name="Open inn").wait_for()
    await context.close()

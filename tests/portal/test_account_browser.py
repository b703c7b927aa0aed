"""The pages of accounts in a real browser: on a phone and on a desk, without scripts, by keyboard, under attack; and
the whole way as people go it, beside a real process.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from playwright.async_api import Browser, BrowserContext, Page, async_playwright

from bots import registry
from core.store import Redis
from tests.bridgebot.support import call, running
from tests.portal import teahouse
from tests.portal.house import LOBBY, OFFICE, House, open_house
from tests.portal.test_browser import ARGS, DESK, NAUGHTY, PHONE, open_page


@pytest.fixture
async def chromium() -> AsyncIterator[Browser]:
    """A real browser."""
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path="/usr/bin/chromium", args=ARGS)
        yield browser
        await browser.close()


@pytest.fixture
async def house(store: Redis, store_url: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[House]:
    """An installation where members add accounts."""
    monkeypatch.setitem(registry.PLATFORMS, "tea", teahouse.ROW)
    async with open_house(store_url) as found:
        yield found


async def signed_in(house: House, context: BrowserContext) -> tuple[Page, list[str]]:
    """A page of a member who came through the office's portal."""
    page, complaints = await open_page(context)
    await page.goto(await house.manage_path())
    await page.get_by_role("button", name="Open the room's page").click()
    await page.wait_for_url("**/room")
    return page, complaints


@pytest.mark.parametrize("size", [PHONE, DESK], ids=["phone", "desk"])
@pytest.mark.parametrize("scripts", [True, False], ids=["scripts", "no scripts"])
async def test_every_page_fits_and_nothing_complains(
    house: House, chromium: Browser, size: dict[str, int], scripts: bool, tmp_path: Path
) -> None:
    """From the portal to connected rooms and to the end: nothing is wider than the screen, needs a script or breaks the
    policy; every control is large enough for a thumb and has a name.
    """
    context = await chromium.new_context(base_url=house.url, viewport=size, java_script_enabled=scripts)
    page, complaints = await signed_in(house, context)

    async def fits(name: str) -> None:
        assert await page.locator("h1").count() == 1
        assert await page.locator("html").evaluate("e => e.scrollWidth") <= size["width"], name
        for control in await page.locator("main button:visible, main select:visible, main input:visible").all():
            box = await control.bounding_box()
            assert box
            is_choice = await control.get_attribute("type") in ("radio", "hidden")
            assert is_choice or box["height"] >= 40, name
            assert await control.evaluate("e => e.labels === null || e.labels.length > 0 || e.tagName === 'BUTTON'")
        await page.screenshot(path=tmp_path / f"{name}.png", full_page=True)

    portal = await house.node.deps.links.issue_revocable("portal", OFFICE)
    await page.goto(f"/p/{portal}")
    await fits("portal")
    await page.get_by_role("link", name="Add my team's account").click()
    await fits("from-portal")
    await page.get_by_role("button", name="Go on").click()
    await page.get_by_text("You came to connect with").wait_for()
    await fits("accounts")
    await page.get_by_role("link", name="Teahouse").click()
    await fits("form")
    await page.get_by_label("Bot token").fill("bad-token")
    await page.get_by_label("Rooms").fill("oolong " * 20)
    await page.get_by_label("Key", exact=False).last.fill("/etc/passwd")
    await page.get_by_role("button", name="Add the account").click()
    await page.get_by_role("alert").wait_for()
    await fits("problems")
    assert await page.get_by_label("Bot token").input_value() == ""
    assert await page.get_by_label("Rooms").input_value() == ("oolong " * 20)
    await page.get_by_label("Bot token").fill("good-jade")
    await page.get_by_role("button", name="Add the account").click()
    await page.wait_for_url("**/account/jade")
    await house.until(await house.sign_in(), "/account/jade", lambda text: "Online" in text)
    await page.goto("/account/jade")
    await fits("account")
    await page.get_by_label("White tea").check()
    await page.get_by_label("Office on Inn").check()
    await page.get_by_role("button", name="Connect", exact=True).click()
    await page.get_by_text("now connected to Office (Inn), by Ada").wait_for()
    await house.hears(OFFICE, "now connected to White tea (Teahouse), by Ada")
    await page.get_by_text("Remove jade").click()
    await fits("remove")
    await page.get_by_role("button", name="Yes, remove it").click()
    await page.get_by_text("jade is removed").wait_for()
    assert await house.node.accounts.get("jade") is None
    assert [words for words in complaints if "422" not in words] == []
    await context.close()


async def test_by_keyboard_alone(house: House, chromium: Browser) -> None:
    """Tab, arrows, Space and Enter add an account and connect a room; the focus can be seen, and a problem has it."""
    context = await chromium.new_context(base_url=house.url, viewport=DESK)
    page, _ = await signed_in(house, context)

    async def tab_to(wanted: str) -> None:
        for _ in range(60):
            await page.keyboard.press("Tab")
            focused = page.locator(":focus")
            name = await focused.evaluate("e => e.labels && e.labels.length ? e.labels[0].innerText : e.innerText")
            if wanted in (name or ""):
                assert await focused.evaluate("e => getComputedStyle(e).outlineWidth") == "3px", wanted
                return
        raise AssertionError(f"the keyboard does not reach {wanted!r}")

    await tab_to("Accounts")
    await page.keyboard.press("Enter")
    await page.wait_for_url("**/accounts")
    await tab_to("Teahouse")
    await page.keyboard.press("Enter")
    await page.wait_for_url("**/add/tea")
    await tab_to("Bot token")
    await page.keyboard.type("good-jade")
    await tab_to("Limit")
    await page.keyboard.type("many")
    await page.keyboard.press("Enter")
    await page.get_by_role("alert").wait_for()
    assert await page.locator(":focus").get_attribute("name") == "limit"
    await page.keyboard.press("Control+A")
    await page.keyboard.type("9")
    while await page.locator(":focus").get_attribute("name") != "token":
        await page.keyboard.press("Shift+Tab")
    await page.keyboard.type("good-jade")
    await page.keyboard.press("Enter")
    await page.wait_for_url("**/account/jade")
    await house.until(await house.sign_in(), "/account/jade", lambda text: "Online" in text)
    await page.goto("/account/jade")
    await tab_to("Black tea")
    await page.keyboard.press("Space")
    await page.keyboard.press("ArrowDown")
    await tab_to("Connect with Lobby")
    await page.keyboard.press("Enter")
    await page.get_by_text("now connected to Lobby").wait_for()
    await house.hears(LOBBY, "now connected to Green tea")
    await context.close()


async def test_naughty_strings_in_every_field(house: House, chromium: Browser) -> None:
    """Whatever is typed, and whatever a service calls its rooms, is shown as text (threats 20, 21)."""
    context = await chromium.new_context(base_url=house.url, viewport=PHONE)
    page, complaints = await signed_in(house, context)
    for words in NAUGHTY:
        await page.goto("/add/tea")
        for label in ("Bot token", "Server's address", "Rooms", "Limit"):
            await page.get_by_label(label).fill(words)
        await page.locator("textarea").fill(words)
        await page.get_by_role("button", name="Add the account").click()
        await page.get_by_role("alert").wait_for()
        assert await page.get_by_label("Rooms").input_value() == words
        assert await page.evaluate("window.pwned") is None
        assert await page.locator("[onerror], [onload], [onfocus]").count() == 0
    config = teahouse.TeaConfig(token="good-tea", name="tea", rooms=tuple(words.replace("/", "|") for words in NAUGHTY))
    await house.node.accounts.add("naughty", teahouse.PLATFORM.id, config)
    await page.goto(await house.operator_path())
    await page.get_by_role("button", name="Sign in").click()
    await page.wait_for_url("**/accounts")
    await house.tea("naughty")
    for path in ("/account/naughty", "/account/naughty?q=%3Cscript%3Ewindow.pwned%3D1"):
        await page.goto(path)
        assert await page.evaluate("window.pwned") is None
        assert await page.locator("[onerror], [onload], [onfocus]").count() == 0
        assert await page.locator("html").evaluate("e => e.scrollWidth") <= PHONE["width"]
    assert [words for words in complaints if "422" not in words and "429" not in words] == []
    await context.close()


async def test_the_whole_way_beside_a_real_process(tmp_path: Path, chromium: Browser) -> None:
    """One command, a guest room, a typed command, its link, an account of the teahouse, its room: connected, as both
    rooms are told. And the operator's link from the command line shows the account; no secret is in the log.
    """
    env = {"BRIDGEBOT_ADD_ACCOUNTS": "members"}
    with running(tmp_path, "run", "--port", "0", env=env, module=teahouse.HERE) as bridge:
        context = await chromium.new_context(base_url=bridge.url, viewport=PHONE)
        page, complaints = await open_page(context)
        await page.goto("/")
        await page.get_by_role("button", name="Make a single guest room").click()
        await page.wait_for_url("**/bots/web/r/**")
        await page.locator("input[name=name]").fill("Ada")
        await page.locator("input[name=name]").press("Enter")
        # The log is there once the page listens; before that nobody sends what is typed.
        await page.locator("#log[aria-busy=false]").wait_for()
        await page.locator("textarea").fill("-sameroom manage")
        await page.locator("textarea").press("Enter")
        link = page.get_by_role("link", name=re.compile("manage"))
        await link.wait_for()
        office = await context.new_page()
        await office.goto(str(await link.get_attribute("href")))
        await office.get_by_role("button", name="Open the room's page").click()
        await office.get_by_role("link", name="Accounts").click()
        await office.get_by_role("link", name="Teahouse").click()
        await office.get_by_label("Bot token").fill("good-jade-canary")
        await office.get_by_role("button", name="Add the account").click()
        await office.wait_for_url("**/account/jade")
        await office.get_by_label("Green tea").check()
        await office.get_by_role("button", name="Connect with Guest room").click()
        await office.get_by_text("now connected to Guest room (Browser), by Ada").wait_for()
        await page.get_by_text("now connected to Green tea (Teahouse), by Ada").wait_for()
        printed = call(tmp_path, "portal-link", env={"BRIDGEBOT_PORT": "1"})
        assert printed.stderr == "It works once, for 15 minutes.\n"
        assert printed.stdout.startswith(f"{bridge.url}/manage/")
        other = await chromium.new_context(viewport=DESK)
        root = await other.new_page()
        await root.goto(printed.stdout.strip())
        await root.get_by_role("button", name="Sign in").click()
        await root.get_by_text("by Ada").wait_for()
        assert complaints == []
        await other.close()
        await context.close()
    assert "canary" not in bridge.log
    assert "Traceback" not in bridge.log
    refused = call(tmp_path, "portal-link", env={"BRIDGEBOT_ADD_ACCOUNTS": "nobody"})
    assert (refused.returncode, refused.stdout) == (1, "")
    assert "Set it to operator" in refused.stderr

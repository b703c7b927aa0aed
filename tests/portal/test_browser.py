"""The pages in a real browser: on a phone and on a desk, with and without scripts, by keyboard, under attack."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator

import pytest
from playwright.async_api import Browser, BrowserContext, Page, async_playwright

from tests.portal.conftest import GARDEN, HALL, OFFICE, Site
from tests.portal.doubles import Ban, Entry

ARGS = ["--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu"]
PHONE, DESK = {"width": 390, "height": 844}, {"width": 1280, "height": 800}
NAUGHTY = [
    "<script>window.pwned=1</script>",
    "\"><img src=x onerror='window.pwned=1'>",
    "' autofocus onfocus=window.pwned=1 x='",
    "javascript:window.pwned=1",
    "{{ 7 * 7 }} {% raw %} ${7*7}",
    "</title></svg></textarea><svg onload=window.pwned=1>",
    "\u202eevil\u2066 Z\u0351\u036b\u0343a\u0329l\u0333g\u0322o \u200b\ufeff",
    "&lt;b&gt;&amp;amp; &#x3C;",
]


@pytest.fixture
async def chromium() -> AsyncIterator[Browser]:
    """A real browser."""
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path="/usr/bin/chromium", args=ARGS)
        yield browser
        await browser.close()


async def open_page(context: BrowserContext) -> tuple[Page, list[str]]:
    """A page, and all that it complains about: errors of scripts, of the policy, of missing files."""
    page = await context.new_page()
    complaints: list[str] = []
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("console", lambda line: complaints.append(line.text) if line.type in ("error", "warning") else None)
    return page, complaints


async def paths(site: Site) -> list[str]:
    """One of every page."""
    a, b = [await site.guests.create_room(title, "ada") for title in ("A", "B")]
    terms = await site.portal_token(data={"direction": "in", "approval": True}, max_uses=1)
    chart = site.deps.links.sign("map", GARDEN)
    portal, manage = await site.portal_token(), await site.manage_token()
    return ["/", f"/try/{a}/{b}", f"/p/{portal}", f"/p/{terms}", f"/manage/{manage}", "/room", f"/map/{chart}"]


@pytest.mark.parametrize("size", [PHONE, DESK], ids=["phone", "desk"])
@pytest.mark.parametrize("scripts", [True, False], ids=["scripts", "no scripts"])
async def test_every_page_fits_and_nothing_complains(
    site: Site, chromium: Browser, size: dict[str, int], scripts: bool
) -> None:
    """No page is wider than the screen, breaks its own policy or needs a script; each has one heading."""
    context = await chromium.new_context(base_url=site.url, viewport=size, java_script_enabled=scripts)
    page, complaints = await open_page(context)
    path = f"/manage/{await site.manage_token()}"
    await page.goto(path)
    await page.get_by_role("button", name="Open the room's page").click()
    await page.wait_for_url("**/room")
    for path in await paths(site):
        answer = await page.goto(path)
        assert answer
        assert answer.status == 200
        assert await page.locator("h1").count() == 1
        content = await page.locator("html").evaluate("e => e.scrollWidth")
        assert content <= size["width"], path
        hidden = await page.locator("button[data-copy][hidden]").count()
        assert hidden == (0 if scripts else await page.locator("button[data-copy]").count())
    assert complaints == []
    await context.close()


async def test_trying_it_takes_one_tap(site: Site, chromium: Browser) -> None:
    """The big button leads to two rooms side by side, without scripts too, and both show."""
    context = await chromium.new_context(base_url=site.url, viewport=PHONE, java_script_enabled=False)
    page, complaints = await open_page(context)
    await page.goto("/")
    await page.get_by_role("button", name="Make two rooms and try it").click()
    await page.wait_for_url("**/try/**")
    for title in ("Amber room", "Teal room"):
        await page.frame_locator(f"iframe[title='{title}']").get_by_text(title).wait_for()
    assert complaints == []
    await context.close()


async def test_from_the_link_to_a_code_and_to_a_guest_room(site: Site, chromium: Browser) -> None:
    """A stranger with a portal link gets a code by one button, and a guest room by a name and one button."""
    context = await chromium.new_context(base_url=site.url, viewport=PHONE)
    page, complaints = await open_page(context)
    path = f"/p/{await site.portal_token()}"
    await page.goto(path)
    await page.get_by_role("button", name="Get a code").click()
    link = page.get_by_role("link", name="Open Shed")
    code = (await page.locator(".code-box code").inner_text()).strip()
    assert await link.get_attribute("href") == f"https://chat.example/invite?code={code}"
    await page.get_by_role("button", name=f"Copy {code}", exact=True).click()
    await page.get_by_label("Your name").fill(NAUGHTY[0])
    await page.get_by_role("button", name="Join as a guest").click()
    await page.wait_for_url("**/bots/web/r/**")
    sent = site.guests.opened[-1]
    assert (sent["guest"], sent["connect"]) == (NAUGHTY[0], site.url + path)
    assert complaints == []
    await context.close()


async def test_a_platform_is_chosen_on_a_phone(site: Site, chromium: Browser) -> None:
    """Among many platforms only the chosen one shows its steps and its button, without scripts too."""
    for title in ("Attic", "Barn", "Cellar"):
        site.add_shed(title.lower(), title)
    context = await chromium.new_context(base_url=site.url, viewport=PHONE, java_script_enabled=False, has_touch=True)
    page, complaints = await open_page(context)
    await page.goto(f"/p/{await site.portal_token()}")
    await page.get_by_role("button", name="Get a code").tap()
    barn = page.get_by_role("link", name="Open Barn")
    assert await page.get_by_role("link", name=re.compile("^Open ")).count() == 0
    await page.get_by_role("heading", name="Barn").tap()
    await barn.wait_for()
    box = await barn.bounding_box()
    assert box
    assert box["height"] >= 44
    assert box["x"] + box["width"] <= PHONE["width"]
    assert await page.get_by_text("Find barn in Barn").is_visible()
    assert not await page.get_by_text("Find attic in Attic").is_visible()
    assert await page.locator("html").evaluate("e => e.scrollWidth") <= PHONE["width"]
    assert complaints == []
    await context.close()


async def test_the_room_page_by_keyboard_alone(site: Site, chromium: Browser) -> None:
    """From the link to a disconnected tube with Tab, Enter and Space; the focus can be seen all the way."""
    context = await chromium.new_context(base_url=site.url, viewport=DESK)
    page, complaints = await open_page(context)

    async def tab_to(text: str) -> None:
        for _ in range(40):
            await page.keyboard.press("Tab")
            focused = page.locator(":focus")
            if text in await focused.inner_text():
                width = await focused.evaluate("e => getComputedStyle(e).outlineWidth")
                assert width == "3px", text
                return
        raise AssertionError(f"the keyboard does not reach {text!r}")

    await page.goto(f"/manage/{await site.manage_token()}")
    await tab_to("Skip to the content")
    await tab_to("Open the room's page")
    await page.keyboard.press("Enter")
    await page.wait_for_url("**/room")
    await tab_to("Disconnect")
    await page.keyboard.press("Enter")
    await tab_to("Yes, disconnect")
    await page.keyboard.press("Space")
    await page.get_by_role("status").get_by_text(f"Done: disconnect {HALL}").wait_for()
    await tab_to("Save")
    await page.keyboard.press("Shift+Tab")
    await page.keyboard.press("End")
    await tab_to("Save")
    await page.keyboard.press("Enter")
    await page.get_by_role("status").get_by_text("Done: format plain").wait_for()
    assert [act[2] for act in site.town.acts] == ["disconnect", "format"]
    assert complaints == []
    await context.close()


async def test_naughty_strings_everywhere(site: Site, chromium: Browser) -> None:
    """Whatever rooms, people, bans, invitations and replies are called, it is shown as text (threat 21)."""
    town = site.town
    for number, words in enumerate(NAUGHTY):
        room = town.add(f"irc/{number}", words, platform_title=words)
        town.join(GARDEN, room, created_by=words)
    bans = tuple(Ban(words, words) for words in NAUGHTY)
    log = tuple(Entry(1_800_000_000_000, words) for words in NAUGHTY)
    town.add(GARDEN, " ".join(NAUGHTY), platform_title=NAUGHTY[0], bans=bans, log=log)
    site.shed.step, site.shed.invite_url = NAUGHTY[1], "javascript:window.pwned=1//{code}"
    context = await chromium.new_context(base_url=site.url, viewport=PHONE)
    page, complaints = await open_page(context)
    await page.goto(f"/manage/{await site.manage_token()}")
    await page.get_by_role("button", name="Open the room's page").click()
    for words in NAUGHTY:
        await page.get_by_label("Name of a person or room").fill(words)
        await page.get_by_role("button", name="Ban", exact=True).click()
        await page.get_by_role("status").wait_for()
        assert town.acts[-1][3] == " ".join(words.split())
    for path in await paths(site):
        await page.goto(path)
        assert await page.evaluate("window.pwned") is None, path
        assert await page.locator("a[href^=javascript], [onerror], [onload], [onfocus]").count() == 0
        text = await page.locator("body").text_content()
        if path.startswith(("/p/", "/room", "/map")):
            assert text
            assert all(words in text for words in NAUGHTY[:5]), path
    await page.goto(f"/p/{await site.portal_token()}")
    await page.get_by_role("button", name="Get a code").click()
    assert await page.get_by_role("link", name="Open Shed").count() == 0
    assert complaints == []
    await context.close()


async def test_another_sites_page_cannot_act_or_frame(site: Site, chromium: Browser) -> None:
    """A signed-in visitor's browser on a page of another origin: its form gets 403, its frame stays empty
    (threat 26).
    """
    context = await chromium.new_context(viewport=DESK)
    page, _ = await open_page(context)
    await page.goto(f"{site.url}/manage/{await site.manage_token()}")
    await page.get_by_role("button", name="Open the room's page").click()
    await page.wait_for_url("**/room")
    evil = site.url.replace("127.0.0.1", "localhost")
    html = (
        f"<iframe src='{site.url}/room'></iframe><form method=post action='{site.url}/room/disable'><button>x</button>"
    )
    await page.route(f"{evil}/evil", lambda route: route.fulfill(body=html, content_type="text/html"))
    await page.goto(f"{evil}/evil")
    frame = page.frames[1]
    assert "Connected rooms" not in await frame.content()
    async with page.expect_navigation() as navigation:
        await page.get_by_role("button").click()
    answer = await navigation.value
    assert answer
    assert answer.status == 403
    assert site.town.acts == []
    await context.close()


async def test_who_is_signed_in_follows_a_link_of_another_site(site: Site, chromium: Browser) -> None:
    """From a chat in the browser to a second room's page, and to a code of a portal: the browser keeps the session's
    cookie back on the way there, and the forms work all the same.
    """
    context = await chromium.new_context(viewport=DESK)
    page, complaints = await open_page(context)
    site.town.managers.add((OFFICE, "ada"))
    chat = site.url.replace("127.0.0.1", "localhost") + "/chat"
    links: list[str] = []
    await page.route(
        chat, lambda route: route.fulfill(body=f"<a href='{site.url}{links[-1]}'>go</a>", content_type="text/html")
    )
    for room, title in ((GARDEN, "#garden"), (OFFICE, "#office")):
        links.append(f"/manage/{await site.manage_token(room)}")
        await page.goto(chat)
        await page.get_by_role("link").click()
        await page.get_by_role("button", name="Open the room's page").click()
        await page.get_by_role("heading", name=title).wait_for()
        await page.wait_for_url("**/room")
    links.append(f"/p/{await site.portal_token()}")
    await page.goto(chat)
    await page.get_by_role("link").click()
    await page.get_by_role("button", name="Get a code").click()
    await page.locator(".code-box code").wait_for()
    assert complaints == []
    await context.close()


async def test_a_large_map_opens_at_the_own_room(site: Site, chromium: Browser) -> None:
    """On a phone a map of 60 rooms scrolls inside its frame, and starts where the visitor's room is."""
    for number in range(58):
        room = site.town.add(f"x/{number}", f"Room {number}")
        site.town.join(GARDEN if number < 20 else f"x/{number // 3}", room)
    site.town.join(OFFICE, GARDEN)
    context = await chromium.new_context(base_url=site.url, viewport=PHONE)
    page, complaints = await open_page(context)
    await page.goto(f"/map/{site.deps.links.sign('map', GARDEN)}")
    frame, here = page.locator(".map"), page.locator(".is-here rect")
    outer, inner = await frame.bounding_box(), await here.bounding_box()
    assert outer
    assert inner
    assert outer["x"] <= inner["x"] <= outer["x"] + outer["width"]
    assert outer["y"] <= inner["y"] <= outer["y"] + outer["height"]
    assert complaints == []
    await context.close()

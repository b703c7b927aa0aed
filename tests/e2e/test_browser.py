"""The newcomer: one command, one address, two rooms side by side that become one. In a real browser."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from playwright.async_api import FrameLocator, Page, async_playwright

from tests.bridgebot.support import running
from tests.e2e.people import join, open_code
from tests.servers.irc import InspIrcd

FLAGS = ["--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu"]
SIZES = {"phone": (390, 844), "desk": (1280, 900)}


@asynccontextmanager
async def browsing(size: str) -> AsyncIterator[tuple[Page, list[str]]]:
    """A page of a real browser, and what it complained about."""
    width, height = SIZES[size]
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path="/usr/bin/chromium", args=FLAGS)
        page = await browser.new_page(viewport={"width": width, "height": height})
        complaints: list[str] = []
        page.on("console", lambda m: complaints.append(m.text) if m.type in ("error", "warning") else None)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        try:
            yield page, complaints
        finally:
            await browser.close()


async def enter(room: FrameLocator | Page, name: str) -> None:
    """Join a guest room under a name."""
    await room.locator("input[name=name]").fill(name)
    await room.locator("input[name=name]").press("Enter")
    await room.locator("textarea").wait_for()


async def type_in(room: FrameLocator | Page, text: str) -> None:
    """Say something, by keyboard alone."""
    await room.locator("textarea").fill(text)
    await room.locator("textarea").press("Enter")


async def code_in(room: FrameLocator | Page) -> str:
    """Open, and read the code in the answer."""
    await type_in(room, "-sameroom open")
    answer = room.get_by_text("Your code is").last
    await answer.wait_for()
    found = re.search(r"[A-Z0-9]{5}-[A-Z0-9]{4}", await answer.inner_text())
    assert found
    return found[0]


@pytest.mark.parametrize("size", SIZES)
async def test_the_newcomer(tmp_path: Path, size: str) -> None:
    """From the landing page to the first relayed message with nothing but what the page says; nothing complains."""
    with running(tmp_path, "run", "--data", str(tmp_path / "data"), "--port", "0") as product:
        async with browsing(size) as (page, complaints):
            await page.goto(product.url)
            await page.get_by_role("button", name="Make two rooms and try it").click()
            left, right = (page.frame_locator("iframe").nth(n) for n in (0, 1))
            await enter(left, "Ada")
            await enter(right, "Ben")
            code = await code_in(left)
            await type_in(right, f"\u2013sameroom connect {code.lower()}.")
            await asyncio.gather(*(room.get_by_text("now connected").wait_for() for room in (left, right)))
            await type_in(left, "Is the greenhouse open today?")
            await right.get_by_text("Is the greenhouse open today?").wait_for()
            await type_in(right, "Yes, until six!")
            await left.get_by_text("Yes, until six!").wait_for()
            assert await left.get_by_text("Is the greenhouse open today?").count() == 1
            assert complaints == []


async def test_a_browser_room_and_an_irc_channel(tmp_path: Path) -> None:
    """A guest in the browser and people on IRC share a room: text, reply, edit, reaction, deletion, picture."""
    with InspIrcd(tmp_path / "inspircd") as server:
        target = f"irc://127.0.0.1:{server.port}/#garden?flood=off"
        data = str(tmp_path / "data")
        with running(tmp_path, "run", "--data", data, "--port", "0", "--irc", target) as product:
            async with browsing("desk") as (page, _):
                ann = await join(server.port, "ann", "#garden")
                await page.goto(product.url)
                await page.get_by_role("button", name="Make a single guest room").click()
                await enter(page, "Cleo")
                await type_in(page, f"-sameroom connect {await open_code(ann, '#garden')}")
                await page.get_by_text("now connected").wait_for()
                await type_in(page, "Hello **garden**")
                await ann.sees("Cleo (Browser): Hello \x02garden\x02")
                ann.say("#garden", "hello Cleo")
                await page.get_by_text("hello Cleo").wait_for()
                await page.locator("input[type=file]").set_input_files(
                    {"name": "plan.txt", "mimeType": "text/plain", "buffer": b"the plan"}
                )
                await type_in(page, "here is the plan")
                line = await ann.sees("plan.txt")
                link = re.search(r"http://\S+", line)
                assert link
                answer = await page.request.get(link[0])
                assert await answer.body() == b"the plan"
                await ann.close()


async def test_the_room_page_by_a_typed_command(tmp_path: Path) -> None:
    """``-sameroom manage`` leads to the room's page, where pausing works and is told in chat's own words."""
    with running(tmp_path, "run", "--data", str(tmp_path / "data"), "--port", "0") as product:
        async with browsing("phone") as (page, complaints):
            await page.goto(product.url)
            await page.get_by_role("button", name="Make a single guest room").click()
            await enter(page, "Dora")
            await type_in(page, "-sameroom manage")
            answer = page.get_by_text("This room's settings")
            await answer.wait_for()
            link = re.search(r"http://\S+", await answer.inner_text())
            assert link
            await page.goto(link[0])
            await page.get_by_role("button").first.click()
            await page.wait_for_url("**/room")
            await page.get_by_role("button", name="Pause").click()
            await page.get_by_text("Paused.").first.wait_for()
            assert complaints == []

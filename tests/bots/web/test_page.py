"""The page in a real browser: phones and desktops, mouse and keyboard, and what an attacker types."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from playwright.async_api import BrowserContext, Page, async_playwright, expect

from bots.web.wire import FileView, Record
from core.contract import Outbound
from core.model import Entity, MessageEdited, MessageNew, Reaction, RoomId, Text, native_room
from tests.bots.web.conftest import REMOTE, Inbox, Server

PHONE = {"width": 390, "height": 844}
DESKTOP = {"width": 1280, "height": 800}
SHOTS = os.environ.get("BRIDGEBOT_SCREENSHOTS", "")
"""A folder to leave pictures in, for people."""
expect.set_options(timeout=5_000)


class Window:
    """Somebody's browser; remembers everything that went wrong in it."""

    def __init__(self, context: BrowserContext, page: Page) -> None:
        self.context, self.page = context, page
        self.wrong: list[str] = []
        page.on("console", lambda m: self.wrong.append(m.text) if m.type in ("error", "warning") else None)
        page.on("pageerror", lambda e: self.wrong.append(str(e)))
        page.on("dialog", lambda d: self.wrong.append(d.message))

    async def join(self, url: str, name: str) -> Window:
        """Open the link, give a name, be in."""
        await self.page.goto(url)
        await self.page.get_by_label("Your name").fill(name)
        await self.page.get_by_role("button", name="Join").click()
        await expect(self.page.locator("#log")).to_have_attribute("aria-busy", "false")
        return self

    async def say(self, text: str) -> None:
        """Type and press Enter; wait until the server has it."""
        await self.page.get_by_label("Message", exact=True).fill(text)
        await self.page.keyboard.press("Enter")
        await expect(self.page.locator(".message.mine:not(.pending)").last).to_contain_text(text.split("\n")[0])

    async def shot(self, name: str) -> None:
        """A picture for people, where one is wanted."""
        if SHOTS:
            await self.page.screenshot(path=str(Path(SHOTS) / f"web-{name}.png"))


@pytest.fixture
async def windows() -> AsyncIterator:
    """New browsers with nothing in them, of a size and colour scheme."""
    async with async_playwright() as playwright:
        flags = ["--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu"]
        browser = await playwright.chromium.launch(executable_path="/usr/bin/chromium", args=flags)

        async def new(size: dict[str, int] = DESKTOP, dark: bool = False, **more) -> Window:
            scheme = "dark" if dark else "light"
            context = await browser.new_context(viewport=size, color_scheme=scheme, **more)
            return Window(context, await context.new_page())

        yield new
        await browser.close()


async def open_room(server: Server, window: Window, guest: str = "Ann", name: str = "Garden") -> str:
    """Make a room through the form; its link."""
    await window.page.goto(server.base + "rooms")
    await window.page.get_by_label("Your name").fill(guest)
    await window.page.get_by_label("Name of the room").fill(name)
    await window.page.get_by_role("button", name="Open the room").click()
    await expect(window.page.locator("#log")).to_have_attribute("aria-busy", "false")
    return window.page.url


def room_of(inbox: Inbox) -> RoomId:
    """The room that was made first."""
    return inbox.events[0].room


async def test_a_conversation_on_phone_and_desktop(server, windows, inbox):
    """Join, talk, answer, react, edit, delete, share a picture: everybody sees it, and nothing goes wrong."""
    ann, ben = await windows(), await windows(PHONE, has_touch=True, is_mobile=True)
    url = await open_room(server, ann, name="Garden party")
    await ann.shot("empty-desktop")
    await ben.page.goto(url)
    await ben.shot("join-phone")
    await ben.join(url, "Ben")
    await ann.say("Hello Ben, see https://example.org/plans")
    code = Text(
        "Your code is HLDMU-42K7. In the other room, type: -sameroom connect HLDMU-42K7",
        (Entity("code", 13, 10), Entity("code", 50, 29)),
    )
    await server.adapter.send(Outbound(room=room_of(inbox), key="c", text=code))
    await ben.say("Nice 🎉")
    rich = Text(
        "Bold, quiet, hidden and\nprint('hi')",
        (Entity("bold", 0, 4), Entity("italic", 6, 5), Entity("spoiler", 13, 6), Entity("pre", 24, 11, "py")),
    )
    await server.adapter.send(Outbound(room=room_of(inbox), key="r", text=rich, author=REMOTE))
    await expect(ben.page.locator(".message.relayed .tag")).to_have_text("Slack")

    hers = ben.page.locator(".message", has_text="Hello Ben")
    await hers.get_by_role("button", name="Actions").tap()
    await ben.shot("menu-phone")
    await ben.page.get_by_role("button", name="Reply").tap()
    await ben.say("I will bring cake")
    await expect(ann.page.locator(".answered")).to_contain_text("Hello Ben")
    bens = ann.page.locator(".message", has_text="I will bring cake")
    await bens.hover()
    await bens.get_by_role("button", name="Actions").click()
    await ann.shot("menu-desktop")
    await ann.page.get_by_role("button", name="React with 👍").click()
    await expect(ben.page.locator(".chip")).to_have_text("👍1")
    await ben.page.locator(".chip").tap()
    await expect(ann.page.locator(".chip")).to_have_text("👍2")

    await ann.page.set_input_files("#file", {"name": "green.png", "mimeType": "image/png", "buffer": picture()})
    await expect(ann.page.locator("#chosen li")).to_have_text("green.png")
    await ann.say("the lawn")
    await expect(ben.page.locator(".picture img")).to_be_visible()
    assert await ben.page.locator(".picture img").evaluate("i => i.decode().then(() => i.naturalWidth)") == 120

    await ann.page.get_by_label("Message", exact=True).press("ArrowUp")
    await expect(ann.page.locator("#context-text")).to_have_text("Edit your message")
    await ann.page.get_by_label("Message", exact=True).fill("the lawn, mown")
    await ann.page.keyboard.press("Enter")
    await expect(ben.page.locator(".message", has_text="the lawn, mown")).to_contain_text("edited")
    await ann.page.get_by_label("Message", exact=True).type("x")
    await expect(ben.page.locator("#typing")).to_have_text("Ann is typing…")
    await ann.shot("talk-desktop")
    await ben.shot("talk-phone")
    cake = ben.page.locator(".message", has_text="I will bring cake")
    await cake.get_by_role("button", name="Actions").tap()
    await ben.page.get_by_role("button", name="Delete").tap()
    await expect(ann.page.locator(".message", has_text="Message removed")).to_be_visible()
    assert [len(inbox.of(kind)) for kind in (MessageNew, MessageEdited, Reaction)] == [4, 1, 2]
    assert ann.wrong + ben.wrong == []


async def test_dark_and_narrow(server, windows, inbox):
    """In a 320-pixel frame, dark, nothing is wider than the page, and everything can be reached."""
    host = await windows()
    url = await open_room(server, host, guest="Ann", name="A room with a rather long name for a phone")
    link = url.rpartition("/")[2]
    frame = await windows({"width": 320, "height": 560}, dark=True)
    await frame.page.goto(f"{server.base}r/{link}?embed=1")
    await frame.shot("join-embed")
    await frame.page.get_by_label("Your name").fill("Bo")
    await frame.page.get_by_role("button", name="Join").click()
    await expect(frame.page.locator("body.embed #log")).to_have_attribute("aria-busy", "false")
    await frame.say("https://example.org/" + "very-long-" * 30)
    await frame.say("x" * 200)
    await server.adapter.send(
        Outbound(
            room=room_of(inbox),
            key="1",
            text=Text(
                "Connected with #garden on Libera.Chat. To undo: -sameroom disconnect", (Entity("code", 48, 20),)
            ),
        )
    )
    await expect(frame.page.locator(".bot")).to_be_visible()
    await frame.shot("talk-embed-dark")
    assert await frame.page.evaluate("document.documentElement.scrollWidth") <= 320
    assert await frame.page.evaluate("document.querySelector('#scroll').scrollWidth") <= 320
    sizes = await frame.page.locator("button:visible").evaluate_all(
        "all => all.map(b => b.getBoundingClientRect().height)"
    )
    assert min(sizes) >= 30
    assert frame.wrong == []


async def test_by_keyboard_alone(server, windows, inbox):
    """Join, say, react, answer, edit, delete, reveal a spoiler without a pointer; focus is never lost."""
    ann = await windows()
    page = ann.page
    await page.goto(server.base + "rooms")
    await expect(page.get_by_label("Your name")).to_be_focused()
    await page.keyboard.press("Enter")
    await expect(page.locator("#log")).to_have_attribute("aria-busy", "false")
    await expect(page.get_by_label("Message", exact=True)).to_be_focused()
    await page.keyboard.type("one")
    await page.keyboard.press("Shift+Enter")
    await page.keyboard.type("two")
    await page.keyboard.press("Enter")
    await expect(page.locator(".message.mine:not(.pending)")).to_contain_text("one\ntwo")
    await page.keyboard.press("Shift+Tab")
    await page.keyboard.press("Shift+Tab")
    await expect(page.locator(".act")).to_be_focused()
    await page.keyboard.press("Enter")
    await page.keyboard.press("Enter")
    await expect(page.locator(".chip")).to_have_text("👍1")
    await expect(page.locator(".act")).to_be_focused()
    await page.keyboard.press("Enter")
    await page.keyboard.press("ArrowUp")
    await page.keyboard.press("ArrowUp")
    await page.keyboard.press("Enter")
    await expect(page.locator("#context-text")).to_have_text("Edit your message")
    await page.keyboard.press("Escape")
    await expect(page.locator("#context")).to_be_hidden()
    await expect(page.get_by_label("Message", exact=True)).to_be_focused()
    await page.keyboard.press("Shift+Tab")
    await page.keyboard.press("Shift+Tab")
    await expect(page.locator(".act")).to_be_focused()
    await page.keyboard.press("Enter")
    await page.keyboard.press("Escape")
    await expect(page.locator(".act")).to_be_focused()
    await page.keyboard.press("Enter")
    await page.keyboard.press("ArrowUp")
    await page.keyboard.press("Enter")
    await expect(page.locator(".message")).to_contain_text("Message removed")
    await expect(page.get_by_label("Message", exact=True)).to_be_focused()
    spoiler = Text("he dies", (Entity("spoiler", 3, 4),))
    await server.adapter.send(Outbound(room=room_of(inbox), key="s", text=spoiler, author=REMOTE))
    await page.locator(".spoiler").focus()
    await page.keyboard.press("Enter")
    await expect(page.locator(".spoiler")).to_have_attribute("aria-expanded", "true")
    assert ann.wrong == []


async def test_it_comes_back_after_the_server_did(server, windows, inbox):
    """What is said while the server is away waits, is said once when it is back, and the page tells so."""
    ann, ben = await windows(PHONE), await windows()
    url = await open_room(server, ann)
    await ben.join(url, "Ben")
    await ann.say("before")
    await server.stop()
    await expect(ann.page.locator("#status")).to_contain_text("Reconnecting")
    for text in ("first", "second"):
        await ann.page.get_by_label("Message", exact=True).fill(text)
        await ann.page.keyboard.press("Enter")
    await expect(ann.page.locator("#status")).to_contain_text("your message will be sent")
    await expect(ann.page.locator(".pending")).to_have_count(2)
    await ann.shot("reconnecting-phone")
    await server.start()
    await expect(ben.page.locator(".message")).to_have_count(3, timeout=15_000)
    await expect(ann.page.locator(".pending")).to_have_count(0, timeout=15_000)
    await expect(ann.page.locator("#status")).to_be_hidden()
    shown = await ben.page.locator(".message .words").all_text_contents()
    assert shown == ["before", "first", "second"]
    assert [e.text.plain for e in inbox.of(MessageNew)] == shown
    await ann.page.reload()
    await expect(ann.page.locator(".message")).to_have_count(3)


async def test_a_reload_keeps_what_was_not_sent(server, windows, inbox):
    """While the relay takes nothing, a message survives a reload and goes out when it takes again."""
    ann = await windows()
    await open_room(server, ann)
    inbox.down = True
    await ann.page.get_by_label("Message", exact=True).fill("patience")
    await ann.page.keyboard.press("Enter")
    await expect(ann.page.locator("#status")).to_contain_text("tried again")
    await ann.page.reload()
    await expect(ann.page.locator(".pending")).to_contain_text("patience")
    inbox.down = False
    await expect(ann.page.locator(".mine:not(.pending)")).to_contain_text("patience")
    await expect(ann.page.locator(".message")).to_have_count(1)


NAUGHTY = [
    "<script>window.hit=1</script>",
    "<img src=x onerror='window.hit=1'>",
    '"><svg onload=window.hit=1>',
    "javascript:window.hit=1",
    "[x](javascript:window.hit=1)",
    "</noscript></textarea></li><script>window.hit=1</script>",
    "{{constructor.constructor('window.hit=1')()}}",
    "\u202ereversed\u2066 Z\u0335\u0321\u0327 👨‍👩‍👧‍👦 \ufdfd",
]


async def test_naughty_strings_stay_text(server, windows, inbox):
    """As room name, guest name, message, remote author and text, link, file name, reaction and quote."""
    ann = await windows()
    await open_room(server, ann, guest=NAUGHTY[0], name=NAUGHTY[2])
    room = room_of(inbox)
    for index, text in enumerate(NAUGHTY):
        await ann.page.get_by_label("Message", exact=True).fill(text)
        await ann.page.keyboard.press("Enter")
        author = type(REMOTE)("x", text)
        link = Text(text, (Entity("link", 0, len(text), "javascript:window.hit=1"), Entity("mention", 0, 5, text)))
        receipt = await server.adapter.send(Outbound(room=room, key=f"n{index}", text=link, author=author))
        await server.adapter.react(room, receipt.natives[0], text, True, author)
        reply = Outbound(room=room, key=f"q{index}", text=Text("re"), author=author, reply_to=receipt.natives[0])
        await server.adapter.send(reply)
    await expect(ann.page.locator(".message:not(.pending)")).to_have_count(3 * len(NAUGHTY))
    # A record that should never be: the page does not trust the store either.
    body = (["link", "javascript:window.hit=1", ["bad"]],)
    bad = Record(id="bad", at=1, kind="relayed", name="x", body=body, files=(FileView("javascript:hit", "b", 1, True),))
    await server.adapter.rooms_store.put(native_room(room), bad, b"", visited=False)
    await expect(ann.page.locator("#m-bad")).to_contain_text("bad")
    for link in await ann.page.locator("#log a").all():
        assert not (await link.get_attribute("href") or "").startswith("javascript")
    await ann.shot("naughty-desktop")
    await ann.page.reload()
    await expect(ann.page.locator(".message:not(.pending)")).to_have_count(3 * len(NAUGHTY) + 1)
    assert await ann.page.evaluate("window.hit") is None
    assert ann.wrong == []


async def test_without_javascript(server, windows):
    """Join, say, and see it with plain forms."""
    ann = await windows(PHONE, java_script_enabled=False)
    page = ann.page
    await page.goto(server.base + "rooms")
    await page.get_by_role("button", name="Open the room").click()
    await page.get_by_label("Message", exact=True).fill("plain and **simple**")
    await page.get_by_role("button", name="Send").click()
    await expect(page.locator(".message")).to_contain_text("plain and")
    await (
        page.get_by_label("File", exact=True)
        .locator("visible=true")
        .set_input_files({"name": "a.png", "mimeType": "image/png", "buffer": picture()})
    )
    await page.get_by_role("button", name="Share the file").click()
    await expect(page.locator(".message").last).to_contain_text("a.png")
    await ann.shot("plain-phone")


async def test_the_link_can_be_copied_and_codes_too(server, windows, inbox):
    """One press copies the room's link or a code, and says so."""
    ann = await windows(permissions=["clipboard-read", "clipboard-write"])
    url = await open_room(server, ann)
    await ann.page.get_by_role("button", name="Copy link").click()
    assert await ann.page.evaluate("navigator.clipboard.readText()") == url
    code = Text("Your code is HLDMU-42K7", (Entity("code", 13, 10),))
    await server.adapter.send(Outbound(room=room_of(inbox), key="c", text=code))
    await ann.page.get_by_role("button", name="Copy HLDMU-42K7").click()
    await expect(ann.page.locator("#status")).to_have_text("Copied.")
    assert await ann.page.evaluate("navigator.clipboard.readText()") == "HLDMU-42K7"


@pytest.mark.parametrize("own", [True, False])
async def test_only_own_pages_frame_it(server, windows, own):
    """In a frame of our own origin the form shows; in a page of another origin the frame stays empty."""
    ann = await windows()
    host = f"{server.url if own else 'http://127.0.0.1:9'}/landing"
    body = f"<iframe src='{server.base}rooms' width=320 height=600></iframe>"
    await ann.page.route(host, lambda route: route.fulfill(body=body, content_type="text/html"))
    await ann.page.goto(host)
    await expect(ann.page.frame_locator("iframe").get_by_label("Your name")).to_have_count(1 if own else 0)
    assert ("chrome-error" in ann.page.frames[1].url) is not own


async def test_reading_up_is_not_disturbed(server, windows, inbox):
    """Whoever scrolled up stays there and gets a button; whoever is at the end follows."""
    ann, ben = await windows(PHONE), await windows(PHONE)
    url = await open_room(server, ann)
    await ben.join(url, "Ben")
    for number in range(30):
        await server.adapter.send(
            Outbound(room=room_of(inbox), key=str(number), text=Text(f"line {number}"), author=REMOTE)
        )
    await expect(ann.page.get_by_text("line 29")).to_be_in_viewport()
    await ann.page.locator("#scroll").evaluate("s => { s.scrollTop = 0; }")
    await ann.page.evaluate("new Promise(requestAnimationFrame)")
    await ben.say("news")
    await expect(ann.page.locator("#newer")).to_be_visible()
    await expect(ann.page.get_by_text("line 0", exact=True)).to_be_in_viewport()
    await ann.page.locator("#newer").click()
    await expect(ann.page.get_by_text("news", exact=True)).to_be_in_viewport()
    await expect(ann.page.locator("#newer")).to_be_hidden()


def picture() -> bytes:
    """A green PNG, 120 by 80."""
    import struct
    import zlib

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = b"".join(b"\0" + b"\x3c\xa0\x5a" * 120 for _ in range(80))
    head = struct.pack(">IIBBBBB", 120, 80, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")

"""What each page shows, and what its forms do, as plain HTTP."""

from __future__ import annotations

import re

import pytest

from tests.portal.conftest import GARDEN, HALL, MakeSite, Site, made, post, submit, token_in
from tests.portal.test_files import link

MANY_SECONDS_MS = 100_000_000


async def text_of(site: Site, path: str, status: int = 200) -> str:
    """The page at ``path`` for a new visitor."""
    async with site.browser().get(path, allow_redirects=False) as response:
        assert response.status == status, path
        return await response.text()


async def test_the_front_page_says_how_to_invite_the_bot(site: Site) -> None:
    """Each account that can be invited has its steps on the front page, without a link that needs a code."""
    html = await text_of(site, "/")
    assert "Type /invite shedbot in your room" in html
    assert "chat.example" not in html
    assert "Make two rooms and try it" in html


async def test_without_guest_rooms_nothing_offers_them(site: Site) -> None:
    """An installation without guest rooms shows no button that could not work."""
    site.accounts = [made("shed", "Shed", site.shed)]
    assert "/try" not in await text_of(site, "/")
    assert "Join as a guest" not in await text_of(site, f"/p/{await site.portal_token()}")
    await text_of(site, "/try/a/b", status=404)


async def test_two_rooms_are_one_tap_away(site: Site) -> None:
    """The big button makes two guest rooms and shows both in one page."""
    client = site.browser()
    response = await submit(client, "/", "/try")
    assert response.status == 303
    html = await text_of(site, response.headers["Location"])
    frames = re.findall(r'iframe src="([^"]+)"', html)
    assert len(frames) == 2
    for frame in frames:
        assert await text_of(site, frame)
    assert {"Amber room", "Teal room"} <= {room.title for room in site.town.rooms.values()}


async def test_both_rooms_meet_the_same_guest(site: Site) -> None:
    """The page gives a new browser its guest cookie before its two rooms load, and leaves a known one alone."""
    keys = [await site.guests.create_room(title, "ada") for title in ("A", "B")]
    client = site.browser()
    seen = []
    for _ in range(2):
        async with client.get(f"/try/{keys[0]}/{keys[1]}") as response:
            seen.append(response.cookies["guest"].value)
    assert seen[0] == seen[1]


async def test_no_room_is_free(site: Site) -> None:
    """When there can be no more guest rooms the visitor is told so."""
    site.guests.full = True
    response = await submit(site.browser(), "/", "/try")
    assert response.status == 503
    assert "as many guest rooms as this server allows" in await response.text()


async def test_a_preview_and_a_second_visit_use_nothing_up(site: Site) -> None:
    """Fetching a portal or a manage link any number of times changes nothing (threat 23)."""
    portal, manage = await site.portal_token(max_uses=1), await site.manage_token()
    before = {key async for key in site.deps.store.scan_iter()}
    for _ in range(3):
        await text_of(site, f"/p/{portal}")
        await text_of(site, f"/manage/{manage}")
    assert {key async for key in site.deps.store.scan_iter()} == before
    assert site.town.acts == []
    assert (await submit(site.browser(), f"/manage/{manage}", f"/manage/{manage}")).status == 303


async def test_a_portal_gives_a_code_that_works(site: Site) -> None:
    """The button gives a fresh code for the portal's room, with tap-to-invite links."""
    path = f"/p/{await site.portal_token()}"
    assert "chat.example" not in await text_of(site, path)
    response = await submit(site.browser(), path, f"{path}/code")
    html = await response.text()
    code = re.search(r"connect ([0-9A-Z]{5}-[0-9A-Z]{4})", html)
    assert code
    assert f"https://chat.example/invite?code={code[1]}" in html
    redeemed = await site.deps.pairing.codes.redeem(code[1], claim="c", person="p", room="irc/#other")
    assert redeemed.subject == GARDEN


async def test_a_portal_with_terms_gives_no_codes(site: Site) -> None:
    """A read-only or limited portal is entered with its own link, so that its terms hold."""
    path = f"/p/{await site.portal_token(data={'direction': 'out', 'approval': True}, max_uses=3)}"
    html = await text_of(site, path)
    for words in ("Read-only", "confirms before you are connected", "3 connections in all"):
        assert words in html
    assert f"connect {site.url}{path}" in html
    assert f"{path}/code" not in html
    client = site.browser()
    async with client.get("/") as page:
        token = token_in(await page.text())
    assert (await post(client, f"{path}/code", form_token=token)).status == 403


async def test_invitations_are_grouped_by_platform(site: Site) -> None:
    """Each platform once, by name, with all of its accounts; guest rooms are none of them."""
    for name, title in (("two", "Shed"), ("den", "attic"), ("loft", "Barn")):
        site.add_shed(name, title)
    path = f"/p/{await site.portal_token()}"
    html = await text_of(site, path)
    assert re.findall(r"<li><bdi>(\w+)</bdi></li>", html) == ["attic", "Barn", "Shed"]
    html = await (await submit(site.browser(), path, f"{path}/code")).text()
    assert re.findall(r"<summary><h3><bdi>(\w+)</bdi></h3></summary>", html) == ["attic", "Barn", "Shed"]
    assert (html.count(">Open Shed</a>"), html.count(">Open Barn</a>")) == (2, 1)
    assert html.index("Type /invite shedbot in your room") < html.index("Find two in Shed")
    front = await text_of(site, "/")
    assert re.findall(r"<summary><h3><bdi>(\w+)</bdi></h3></summary>", front) == ["attic", "Barn", "Shed"]


async def test_a_portal_with_terms_says_how_to_bring_the_bot_in(site: Site) -> None:
    """The steps hold the portal's own link, and there is no link for one tap, which could only hold a code."""
    path = f"/p/{await site.portal_token(data={'direction': 'out'})}"
    html = await text_of(site, path)
    assert "Type /invite shedbot in your room" in html
    assert f"<bdi>Type -sameroom connect {site.url}{path}</bdi>" in html
    assert "chat.example" not in html


async def test_pages_and_routes_follow_the_accounts(site: Site) -> None:
    """What comes and goes while the portal runs comes and goes on its pages and below /bots/."""
    shed = site.add_shed("den", "Attic")
    client = site.browser()
    assert (await post(client, "/bots/den/hook/x", a="1")).status == 200
    assert shed.bodies == [b"a=1"]
    assert "Find den in Attic" in await text_of(site, "/")
    path = link(site, account="den")
    shed.files["r"] = (b"abc",)
    assert await text_of(site, path) == "abc"
    site.accounts.pop()
    assert (await post(client, "/bots/den/hook/x", a="2")).status == 404
    assert shed.bodies == [b"a=1"]
    assert "Find den in Attic" not in await text_of(site, "/")
    await text_of(site, path, status=410)


async def test_a_guest_joins_through_a_portal(site: Site) -> None:
    """A visitor with nothing but a name gets a form that makes a guest room and connects it by the link."""
    path = f"/p/{await site.portal_token()}"
    html = await text_of(site, path)
    assert 'action="/bots/web/rooms"' in html
    assert f'name="connect" value="{site.url}{path}"' in html


async def test_the_qr_code_is_a_picture_of_the_link(site: Site) -> None:
    """The QR code is an SVG of its own, for working links only."""
    token = await site.portal_token()
    async with site.browser().get(f"/p/{token}/qr.svg") as response:
        assert response.content_type == "image/svg+xml"
        assert "<svg" in await response.text()
    await text_of(site, "/p/nonsense/qr.svg", status=401)


async def test_links_that_do_not_work_say_what_to_do(site: Site) -> None:
    """Wrong, expired, revoked, used: each has its page with a way out."""
    links = site.deps.links
    assert "Copy the whole link" in await text_of(site, "/p/wrong", status=401)
    old = await site.portal_token(expires_ms=site.clock.at_ms + 1000)
    map_link, file_link = links.sign("map", GARDEN), links.sign("file", {"account": "shed"})
    closed = await site.portal_token(HALL)
    manage = await site.manage_token()
    await links.revoke("portal", HALL)
    assert "closed by the people" in await text_of(site, f"/p/{closed}", status=410)
    site.clock.advance(MANY_SECONDS_MS)
    assert "too old" in await text_of(site, f"/p/{old}", status=410)
    assert "-sameroom map" in await text_of(site, f"/map/{map_link}", status=410)
    assert "-sameroom manage" in await text_of(site, f"/manage/{manage}", status=410)
    await text_of(site, f"/f/{file_link}", status=410)


async def test_a_room_that_is_gone(site: Site) -> None:
    """A good link to a room that the bot is no longer in says so."""
    token, chart = await site.portal_token(), site.deps.links.sign("map", GARDEN)
    del site.town.rooms[GARDEN]
    site.town.tubes.clear()
    assert "This room is gone" in await text_of(site, f"/p/{token}", status=410)
    assert "This room is gone" in await text_of(site, f"/map/{chart}", status=410)


ACTS = [
    ("pause", {}, "pause", ""),
    ("disconnect", {"tube": "t0"}, "disconnect", HALL),
    ("format", {"value": "plain"}, "format", "plain"),
    ("ban", {"value": " Bob  B "}, "ban", "Bob B"),
    ("unban", {"value": "u1"}, "unban", "u1"),
    ("close", {}, "close", ""),
    ("disable", {}, "disable", ""),
]


@pytest.mark.parametrize(("form", "fields", "name", "argument"), ACTS)
async def test_every_form_of_the_room_page(
    site: Site, form: str, fields: dict[str, str], name: str, argument: str
) -> None:
    """Each form submits its command for the session's room and person, and shows the reply once."""
    client = await site.sign_in()
    response = await submit(client, "/room", f"/room/{form}", **fields)
    assert (response.status, response.headers["Location"]) == (303, "/room")
    assert site.town.acts == [(GARDEN, "ada", name, argument)]
    async with client.get("/room") as page:
        assert f"Done: {name} {argument}".strip() in await page.text()
    async with client.get("/room") as page:
        assert "Done:" not in await page.text()


async def test_the_room_page_shows_how_it_stands(site: Site) -> None:
    """Tubes with what waits, bans, the chosen format and the log are on the page; other tenants are not."""
    client = await site.sign_in()
    async with client.get("/room") as page:
        html = await page.text()
    site.town.waiting[GARDEN] = 1
    async with client.get("/room") as page:
        assert "1 message waits for this room" in await page.text()
    for words in ("#hall", "12 waiting", "Spammy", "ada opened a portal", '"name+platform" selected'):
        assert words in html
    assert "#office" not in html
    assert "Pest" not in html
    assert (await submit(client, "/room", "/room/pause")).status == 303
    assert (await submit(client, "/room", "/room/resume")).status == 303


@pytest.mark.parametrize(("form", "value"), [("format", "shouting"), ("ban", "  "), ("dance", "")])
async def test_the_room_page_refuses_nonsense(site: Site, form: str, value: str) -> None:
    """What no form of the page would send is refused before it becomes a command."""
    client = await site.sign_in()
    async with client.get("/room") as page:
        token = token_in(await page.text())
    response = await post(client, f"/room/{form}", form_token=token, value=value)
    assert response.status in (400, 404)
    assert site.town.acts == []


async def test_signing_out_ends_the_session(site: Site) -> None:
    """After signing out the page asks to sign in, also for a copy of the old cookie."""
    client, copy = await site.sign_in(), site.browser()
    copy.cookie_jar.update_cookies({cookie.key: cookie.value for cookie in client.cookie_jar})
    assert (await submit(client, "/room", "/room/leave")).headers["Location"] == "/"
    for visitor in (client, copy):
        async with visitor.get("/room") as page:
            assert page.status == 401


async def test_health_and_metrics(site: Site, make_site: MakeSite) -> None:
    """This machine and the holder of the token see inside; a visitor who comes through a proxy does not."""
    client = site.browser()
    async with client.get("/healthz") as response:
        assert await response.json() == {"ok": True, "relays": 1}
    async with client.get("/metrics") as response:
        assert await response.text() == "bridgebot_up 1\n"
    outside = {"X-Forwarded-For": "203.0.113.9"}
    async with client.get("/healthz", headers=outside) as response:
        assert await response.json() == {"ok": True}
    async with client.get("/metrics", headers=outside) as response:
        assert response.status == 403
    guarded = await make_site(metrics_token="letmein")
    for given, status in (("letmein", 200), ("letmeinn", 403), ("", 403), ("é", 403)):
        headers = outside | {"Authorization": f"Bearer {given}"}
        async with guarded.browser().get("/metrics", headers=headers) as response:
            assert response.status == status


async def test_trouble_is_a_503_for_whoever_looks_after_us(make_site: MakeSite) -> None:
    """An unhealthy process says so with its status."""

    async def health() -> tuple[bool, dict[str, object]]:
        return False, {}

    site = await make_site(health=health)
    await text_of(site, "/healthz", status=503)

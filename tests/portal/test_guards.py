"""What attackers do to the portal, and that it does not work. The numbers are those of docs/threat-model.md."""

from __future__ import annotations

import gzip
import io
import logging
import re
from urllib.parse import urlsplit

import pytest
import redis.exceptions

from core.store import StoreDown
from tests.portal.conftest import GARDEN, HALL, OFFICE, MakeSite, Site, post, submit, token_in

PAGES = ["/", "/try/a/b", "/nothing", "/room", "/healthz", "/static/sameroom.css", "/static/", "/static/../app.py"]


async def fresh_token(client: object) -> str:
    """A form token that is good for this client."""
    async with client.get("/") as page:  # type: ignore[attr-defined]
        return token_in(await page.text())


@pytest.mark.parametrize("path", PAGES)
async def test_every_answer_is_locked_down(site: Site, path: str) -> None:
    """The strict headers are on every kind of answer, errors and static files too."""
    async with site.browser().get(path) as response:
        headers = response.headers
    policy = headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self'")
    assert "unsafe" not in policy
    assert "frame-ancestors 'none'" in policy
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Referrer-Policy"] == "same-origin"
    assert "Server" not in headers


async def test_over_https_nothing_is_referred_and_cookies_are_secure(make_site: MakeSite) -> None:
    """With TLS the referrer is off, HSTS is on and cookies are Secure (threat 25)."""
    site = await make_site({"public_url": "https://rooms.example"})
    async with site.browser().get("/") as response:
        assert response.headers["Referrer-Policy"] == "no-referrer"
        assert response.headers["Strict-Transport-Security"] == "max-age=31536000"
        cookie = response.headers["Set-Cookie"]
    assert "Secure" in cookie
    assert "HttpOnly" in cookie


async def test_pages_are_kept_by_nobody(site: Site) -> None:
    """Pages are never cached; static files are, under an address that changes with their content."""
    client = site.browser()
    async with client.get("/") as response:
        assert response.headers["Cache-Control"] == "no-store"
        style = re.search(r'href="(/static/sameroom.css\?v=[0-9a-f]+)"', await response.text())
    assert style
    for path, kept in ((style[1], True), ("/static/sameroom.css", False), ("/static/none.css?v=1", False)):
        async with client.get(path) as response:
            assert ("immutable" in response.headers["Cache-Control"]) is kept


def test_no_page_has_script_or_style_of_its_own() -> None:
    """Templates hold no inline script, style or handler, which the policy would have to allow (threat 21)."""
    from portal.render import HERE

    for path in (HERE / "templates").iterdir():
        text = path.read_text()
        assert not re.search(r"<style|\sstyle=|\son\w+=|<script(?! src=)|\|\s*safe|autoescape", text), path.name


async def test_a_one_time_link_works_once(site: Site) -> None:
    """The second browser gets 410, and so does the first one once it has signed out (threat 24)."""
    token = await site.manage_token()
    path = f"/manage/{token}"
    first, second = site.browser(), site.browser()
    second_form = await fresh_token(second)
    first_form = await fresh_token(first)
    assert (await post(first, path, form_token=first_form)).status == 303
    assert (await post(second, path, form_token=second_form)).status == 410
    assert (await post(first, path, form_token=await fresh_token(first))).status == 410
    async with second.get(path) as response:
        assert response.status == 410


async def test_a_link_of_another_purpose_is_worthless(site: Site) -> None:
    """A token signed for one purpose opens nothing of another (threat 24)."""
    plain = site.deps.links.sign("map", GARDEN)
    tokens = {"p": await site.portal_token(), "manage": await site.manage_token(), "map": plain}
    client = site.browser()
    for page in ("p", "manage", "map", "f"):
        for purpose, token in tokens.items():
            async with client.get(f"/{page}/{token}") as response:
                assert response.status == (200 if page == purpose else 401), (page, purpose)


async def test_a_link_we_signed_in_another_shape_is_refused(site: Site) -> None:
    """A payload with missing fields is a 401, not a crash."""
    manage = await site.deps.links.issue_once("manage", {"room": GARDEN}, 900)
    file = site.deps.links.sign("file", "just text")
    for path in (f"/manage/{manage}", f"/f/{file}"):
        async with site.browser().get(path) as response:
            assert response.status == 401


async def test_the_log_knows_no_secret(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    """Neither a token nor a query, a cookie or a hook's secret path is in any log line (threat 25)."""
    caplog.set_level(logging.DEBUG)
    portal, manage = await site.portal_token(), await site.manage_token()
    chart, file = site.deps.links.sign("map", GARDEN), site.deps.links.sign("file", "x")
    client = await site.sign_in()
    for path in (
        f"/p/{portal}",
        f"/p/{portal}/qr.svg",
        f"/manage/{manage}",
        f"/map/{chart}",
        f"/f/{file}",
        "/q?t=s3cret",
    ):
        async with client.get(path) as response:
            await response.read()
    await post(client, "/bots/shed/hook/s3cret")
    lines = [record.getMessage() for record in caplog.records if record.name == "bridgebot.access"]
    assert any(line.startswith("GET /p/{token} 200") for line in lines)
    assert any(line.startswith("POST /bots/shed/… 200") for line in lines)
    cookies = [cookie.value for cookie in client.cookie_jar]
    assert len(cookies) == 2
    ours = [record for record in caplog.records if record.name.partition(".")[0] not in ("asyncio", "hpack")]
    everything = "\n".join(record.getMessage() + str(record.exc_text) for record in ours)
    for secret in (portal, manage, chart, file, "s3cret", *cookies):
        assert secret not in everything


FORMS = ["/try", "/p/{portal}/code", "/manage/{manage}", "/room/pause", "/room/leave", "/room/disable"]
FOREIGN = [
    {"Origin": "https://evil.example"},
    {"Origin": "http://127.0.0.1:1"},
    {"Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "same-site", "Origin": "null"},
]


@pytest.mark.parametrize("path", FORMS)
async def test_a_form_of_another_site_is_refused(site: Site, path: str) -> None:
    """A POST from elsewhere is a 403, even with cookies and a good token (threat 26)."""
    client = await site.sign_in()
    path = path.format(portal=await site.portal_token(), manage=await site.manage_token())
    token = await fresh_token(client)
    for headers in FOREIGN:
        async with client.post(path, data={"form_token": token}, headers=headers) as response:
            assert response.status == 403, headers
    assert site.town.acts == []


@pytest.mark.parametrize("path", FORMS)
async def test_a_form_needs_a_token_of_this_browser(site: Site, path: str) -> None:
    """No token, a made-up one, and one of another visitor are refused, though the origin is ours (threat 26)."""
    client, other = await site.sign_in(), site.browser()
    path = path.format(portal=await site.portal_token(), manage=await site.manage_token())
    for token in ("", "made.up", await fresh_token(other)):
        async with client.post(path, data={"form_token": token}, headers={"Origin": site.url}) as response:
            assert response.status == 403
    assert site.town.acts == []


async def test_a_token_from_before_signing_in_is_refused(site: Site) -> None:
    """Forms are bound to the session too: a page from before it cannot act in it (threats 26, 27)."""
    client = site.browser()
    early = await fresh_token(client)
    path = f"/manage/{await site.manage_token()}"
    await submit(client, path, path)
    assert (await post(client, "/room/pause", form_token=early)).status == 403


async def test_our_own_forms_pass_under_every_referrer_policy(site: Site) -> None:
    """A browser that says "null" for our own form, because of no-referrer, is let in with its token."""
    client = await site.sign_in()
    for headers in ({"Origin": "null", "Sec-Fetch-Site": "same-origin"}, {"Origin": site.url}):
        token = await fresh_token(client)
        async with client.post(
            "/room/pause", data={"form_token": token}, headers=headers, allow_redirects=False
        ) as response:
            assert response.status == 303


async def test_a_session_that_was_planted_is_worth_nothing(site: Site) -> None:
    """Signing in changes the session's name, whatever was in the cookie before (threat 27)."""
    victim, attacker = site.browser(), site.browser()
    planted = {"sameroom_session": "planted", "sameroom_form": "planted"}
    victim.cookie_jar.update_cookies(planted)
    attacker.cookie_jar.update_cookies(planted)
    path = f"/manage/{await site.manage_token()}"
    assert (await submit(victim, path, path)).status == 303
    now = {cookie.key: cookie.value for cookie in victim.cookie_jar}
    assert "planted" not in now.values()
    async with attacker.get("/room") as response:
        assert response.status == 401


async def test_a_new_session_ends_the_old_one(site: Site) -> None:
    """Signing in again in the same browser leaves no second way in (threat 27)."""
    client, copy = await site.sign_in(), site.browser()
    copy.cookie_jar.update_cookies({cookie.key: cookie.value for cookie in client.cookie_jar})
    path = f"/manage/{await site.manage_token()}"
    assert (await submit(client, path, path)).status == 303
    async with copy.get("/room") as response:
        assert response.status == 401


ROOM_FORMS = ["pause", "resume", "disconnect", "format", "ban", "unban", "close", "disable"]


@pytest.mark.parametrize("form", ROOM_FORMS)
async def test_who_was_demoted_changes_nothing_more(site: Site, form: str) -> None:
    """Whether the person may change the room is asked at every change, and the session ends (threat 28)."""
    client = await site.sign_in()
    token = await fresh_token(client)
    site.town.managers.clear()
    fields = {"value": "u1", "tube": "t0"}
    assert (await post(client, f"/room/{form}", form_token=token, **fields)).status == 403
    assert site.town.acts == []
    async with client.get("/room") as response:
        assert response.status == 401


async def test_a_link_for_who_was_demoted_meanwhile(site: Site) -> None:
    """A manage link of somebody who runs the room no more signs nobody in (threat 28)."""
    path = f"/manage/{await site.manage_token()}"
    site.town.managers.clear()
    client = site.browser()
    assert (await submit(client, path, path)).status == 403
    async with client.get("/room") as response:
        assert response.status == 401


TENANTS = [(GARDEN, "ada", "#office", "t1", "u2"), (OFFICE, "olga", "#garden", "t0", "u1")]


@pytest.mark.parametrize(("room", "actor", "foreign", "tube", "ban"), TENANTS)
async def test_two_tenants_and_every_route(
    site: Site, room: str, actor: str, foreign: str, tube: str, ban: str
) -> None:
    """Whatever ids a tenant sends, only their own room is read and changed (threat 29)."""
    client = await site.sign_in(room, actor)
    async with client.get("/room") as page:
        assert foreign not in await page.text()
    other = OFFICE if room == GARDEN else GARDEN
    for form in ROOM_FORMS:
        token = await fresh_token(client)
        fields = {"tube": tube, "value": ban, "room": other, "room_id": other, "actor": "olga"}
        if form == "format":
            fields["value"] = "name"
        response = await post(client, f"/room/{form}", form_token=token, **fields)
        assert response.status == (404 if form in ("disconnect", "unban") else 303), form
    assert site.town.acts
    assert {(act[0], act[1]) for act in site.town.acts} == {(room, actor)}
    for page, purpose in (("map", "map"), ("p", "portal")):
        made = site.deps.links.sign(purpose, room) if page == "map" else await site.portal_token(room)
        async with client.get(f"/{page}/{made}") as response:
            assert foreign not in await response.text()


EVIL = ["//evil.example", "/\\evil.example", "https://evil.example", "/%2f%2fevil.example"]


@pytest.mark.parametrize("evil", EVIL)
async def test_nothing_redirects_elsewhere(site: Site, evil: str) -> None:
    """Targets of redirects are fixed, whatever a path, field or header asks for (threat 37)."""
    client = await site.sign_in()
    fields = {"next": evil, "redirect": evil, "return_to": evil, "value": evil}
    headers = {"X-Forwarded-Host": "evil.example", "Referer": evil}
    seen = 0
    for action in ("/room/pause", "/try", "/room/leave"):
        token = await fresh_token(client)
        data = {"form_token": token, **fields}
        async with client.post(f"{action}?next={evil}", data=data, headers=headers, allow_redirects=False) as response:
            target = response.headers["Location"]
        assert urlsplit(target).netloc == ""
        assert re.fullmatch(r"/(room|try/[\w-]+/[\w-]+)?", target)
        seen += 1
    assert seen == 3
    async with client.get(f"/try/{evil}/b", allow_redirects=False) as response:
        assert response.status == 404


async def test_a_compressed_body_is_refused_unread(site: Site) -> None:
    """A bomb is neither inflated nor read; the sender is told to send plain bytes (threat 18)."""
    bomb = gzip.compress(bytes(50_000_000))
    for path in ("/bots/shed/hook/x", "/try"):
        async with site.browser().post(path, data=bomb, headers={"Content-Encoding": "gzip"}) as response:
            assert response.status == 415
    assert site.shed.bodies == []


async def test_a_request_that_cannot_be_read(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    """An endless address is a 400, and the access log, which has no route to name then, lives on."""
    caplog.set_level(logging.DEBUG, "bridgebot.access")
    async with site.browser().get("/" + "x" * 9000) as response:
        assert response.status == 400
    assert "Unhandled exception" not in caplog.text
    assert " - 400 " in caplog.text


async def test_a_big_body_is_refused(site: Site) -> None:
    """Bodies have a cap, for forms and webhooks (threat 18)."""
    big = b"x" * (1024 * 1024 + 1)
    async with site.browser().post("/bots/shed/hook/x", data=io.BytesIO(big)) as response:
        assert response.status == 413
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    async with site.browser().post("/try", data=io.BytesIO(big), headers=form) as response:
        assert response.status == 413
    assert site.shed.bodies == []


async def test_webhooks_reach_their_adapter_only(site: Site) -> None:
    """A hook is below its account; the portal's errors there are plain text for machines."""
    client = site.browser()
    assert (await post(client, "/bots/shed/hook/x", a="1")).status == 200
    assert site.shed.bodies == [b"a=1"]
    missing = await post(client, "/bots/web/hook/x", a="1")
    assert missing.status == 404
    assert missing.content_type == "text/plain"


@pytest.mark.parametrize("error", [StoreDown("down"), redis.exceptions.ConnectionError("down")])
async def test_store_trouble_asks_the_platform_to_send_again(site: Site, error: Exception) -> None:
    """While the store is down a webhook is a 503 with Retry-After, never a 200 (threat 41)."""
    site.shed.fail = error
    response = await post(site.browser(), "/bots/shed/hook/x")
    assert response.status == 503
    assert "Retry-After" in response.headers


async def test_a_crash_tells_nothing(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    """What broke is in the operator's log and not on the page."""
    site.shed.fail = RuntimeError("the password is swordfish")
    response = await post(site.browser(), "/bots/shed/hook/x")
    assert response.status == 500
    assert "swordfish" not in await response.text()
    assert "a page failed" in caplog.text


async def test_a_visitor_cannot_make_rooms_without_end(site: Site) -> None:
    """Trying is limited per address; another address is not held back, and time heals."""
    client = site.browser()

    async def try_it(address: str) -> int:
        data = {"form_token": await fresh_token(client)}
        headers = {"X-Forwarded-For": f"203.0.113.1, {address}"}
        async with client.post("/try", data=data, headers=headers, allow_redirects=False) as response:
            return response.status

    answers = [await try_it("198.51.100.1") for _ in range(11)]
    assert answers == [303] * 10 + [429]
    assert await try_it("198.51.100.2") == 303
    site.clock.advance(601_000)
    assert await try_it("198.51.100.1") == 303


@pytest.mark.parametrize(("method", "path"), [("PUT", "/"), ("GET", "/try"), ("DELETE", "/room")])
async def test_a_wrong_method_has_a_page(site: Site, method: str, path: str) -> None:
    """405 names the allowed methods and looks like the rest."""
    async with site.browser().request(method, path) as response:
        assert response.status == 405
        assert response.headers["Allow"]
        assert "does not work here" in await response.text()


async def test_the_store_holds_no_session_name(site: Site) -> None:
    """A dump of the store opens no session: only a hash of the cookie is in it (threat 38)."""
    client = await site.sign_in()
    name = next(cookie.value for cookie in client.cookie_jar if cookie.key == "sameroom_session")
    store = site.deps.store
    dump = b"".join([key + (await store.dump(key) or b"") async for key in store.scan_iter()])
    assert name.encode() not in dump
    assert b"portal:session:" in dump
    assert HALL.encode() not in dump

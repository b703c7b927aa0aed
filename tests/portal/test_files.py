"""File links: what reaches the browser, under which name, and how much of it."""

from __future__ import annotations

import aiohttp
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.contract import AuthLost, Retry
from portal.pages.files import disposition, safe_name
from tests.portal.conftest import MakeSite, Site

NAMES = [
    ("../../etc/passwd", "passwd"),
    ("..\\..\\boot.ini", "boot.ini"),
    ("a\0b.png", "ab.png"),
    ("...", "file"),
    ("", "file"),
    ('x".html', "x.html"),
    ("line\r\nSet-Cookie: a=b", "lineSet-Cookie a=b"),
    ("\u202egnp.exe", "gnp.exe"),
]


def link(site: Site, ref: str = "r", name: str = "photo.png", mime: str = "image/png", account: str = "shed") -> str:
    """What stands in for a file in a room that cannot show it."""
    payload = {"a": account, "r": ref, "n": name, "m": mime}
    return f"/f/{site.deps.links.sign('file', payload)}"


@pytest.mark.parametrize(("name", "kept"), NAMES)
def test_a_file_name_is_only_a_name(name: str, kept: str) -> None:
    """No folder, control or direction mark of a stranger's file name survives (threat 35)."""
    assert safe_name(name) == kept


@given(st.text(max_size=300))
def test_any_name_makes_one_harmless_header(name: str) -> None:
    """Whatever the name, the header is one line of ASCII that says attachment (threats 11, 35)."""
    header = disposition(name)
    assert header.isascii()
    assert header.isprintable()
    assert header.startswith('attachment; filename="')
    assert header.count('"') == 2


@pytest.mark.parametrize(
    ("mime", "sent"),
    [
        ("image/png", "image/png"),
        ("video/mp4", "video/mp4"),
        ("image/svg+xml", "application/octet-stream"),
        ("text/html", "application/octet-stream"),
        ("x\r\ny", "application/octet-stream"),
    ],
)
async def test_a_file_is_saved_and_never_run(site: Site, mime: str, sent: str) -> None:
    """Every file is an attachment in a sandbox; types that can run are sent as plain bytes (threat 35)."""
    site.shed.files["r"] = (b"abc", b"def")
    async with site.browser().get(link(site, name="../é.html", mime=mime)) as response:
        assert await response.read() == b"abcdef"
        assert response.content_type == sent
        assert response.headers["Content-Disposition"].startswith('attachment; filename="_.html"')
        assert "sandbox" in response.headers["Content-Security-Policy"]
        assert response.headers["X-Content-Type-Options"] == "nosniff"


async def test_an_empty_file_is_a_file(site: Site) -> None:
    """A file of no bytes is no error."""
    site.shed.files["r"] = ()
    async with site.browser().get(link(site)) as response:
        assert (response.status, await response.read()) == (200, b"")


async def test_a_file_longer_than_allowed_is_cut_off(make_site: MakeSite) -> None:
    """The download fails at the cap instead of going on for ever (threat 17)."""
    site = await make_site({"max_file_bytes": 100_000})
    site.shed.files["r"] = (b"x" * 60_000,) * 1000
    async with site.browser().get(link(site)) as response:
        with pytest.raises((aiohttp.ClientPayloadError, aiohttp.ClientConnectionError)):
            await response.read()


@pytest.mark.parametrize(("error", "status"), [(Retry(5), 503), (AuthLost("key"), 502), (None, 410)])
async def test_a_file_that_cannot_be_had(site: Site, error: Exception | None, status: int) -> None:
    """Gone, busy and broken each have a page in plain words, without the origin's own message."""
    site.shed.open_error = error
    async with site.browser().get(link(site)) as response:
        assert response.status == status
        html = await response.text()
    assert "Ask in the room" in html or "Try again in a minute" in html
    assert "key" not in html


async def test_a_file_of_an_account_that_is_gone(site: Site) -> None:
    """A link to an unknown account, or one without files, is a 410."""
    for account in ("gone", "web"):
        async with site.browser().get(link(site, account=account)) as response:
            assert response.status == 410


async def test_looking_at_a_file_link_fetches_nothing(site: Site) -> None:
    """HEAD is not offered: a preview bot does not make us fetch the file."""
    site.shed.files["r"] = (b"abc",)
    async with site.browser().head(link(site)) as response:
        assert response.status == 405

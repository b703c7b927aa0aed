"""Links on a real store: signed for one purpose, revocable, limited, once; looking at them is inert."""

import asyncio
import base64
import re

import pytest

from codes.links import BadLink, ExpiredLink, LinkError, Links, Revocable, RevokedLink, UsedLink
from core.store import Redis
from tests.conftest import FakeClock
from tests.servers.store import dump_of

SECRET = "a secret of quite enough characters"


@pytest.fixture
def links(store: Redis, clock: FakeClock) -> Links:
    """Links on the test's store and clock."""
    return Links(store, SECRET, now_ms=clock.now_ms)


def respelt(token: str) -> str:
    """The same signed token in another spelling: base64 ignores the last bits of the last character."""
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    other = token[:-1] + alphabet[alphabet.index(token[-1]) ^ 1]
    pad = "=" * (-len(token.rpartition(".")[2]) % 4)
    decoded = [base64.urlsafe_b64decode(t.rpartition(".")[2] + pad) for t in (token, other)]
    assert decoded[0] == decoded[1]
    return other


@pytest.mark.parametrize("payload", ["r1", "", {"room": "irc/#gärten", "n": 3}, "x" * 2000])
async def test_a_signed_link_brings_its_payload(links: Links, payload: str | dict[str, object]) -> None:
    """What was signed comes back, and the token needs no escaping in a URL."""
    token = links.sign("map", payload)
    assert links.verify("map", token, 60) == payload
    assert re.fullmatch(r"[A-Za-z0-9_.\-]+", token)


async def test_a_link_is_good_for_its_purpose_and_kind_only(links: Links, store: Redis, clock: FakeClock) -> None:
    """Another purpose, another kind of link and another key are all refused (threat 24)."""
    plain = links.sign("map", "r1")
    revocable = await links.issue_revocable("map", "r1")
    once = await links.issue_once("map", "r1", 60)
    foreign = Links(store, "another secret", now_ms=clock.now_ms)
    for other in (links.sign("manage", "r1"), foreign.sign("map", "r1"), revocable, once):
        with pytest.raises(BadLink):
            links.verify("map", other, 60)
    for other in (plain, once, await links.issue_revocable("manage", "r1")):
        with pytest.raises(BadLink):
            await links.verify_revocable("map", other)
        with pytest.raises(BadLink):
            await links.use("map", other, "c1")
    for other in (plain, revocable, await links.issue_once("manage", "r1", 60)):
        with pytest.raises(BadLink):
            await links.peek_once("map", other)
        with pytest.raises(BadLink):
            await links.redeem_once("map", other, "c1")


async def test_a_changed_link_is_refused(links: Links) -> None:
    """No character before the signature's last can be changed, and rubbish is refused, never a crash."""
    token = links.sign("map", "r1")
    changed = [token[:i] + ("A" if token[i] != "A" else "B") + token[i + 1 :] for i in range(len(token) - 1)]
    rubbish = ["", ".", "..", "a.b.c", token + "x", token[1:], "\0", "é", "\ud800", "." * 4000, "a" * 10**6]
    for text in changed + rubbish:
        with pytest.raises(BadLink):
            links.verify("map", text, 60)
        with pytest.raises(BadLink):
            await links.verify_revocable("map", text)
        with pytest.raises(BadLink):
            await links.redeem_once("map", text, "c1")


async def test_a_signed_link_ends(links: Links, clock: FakeClock) -> None:
    """Whoever checks says how old it may be; a clock that is a little behind does no harm."""
    token = links.sign("map", "r1")
    clock.advance(60_000)
    assert links.verify("map", token, 60) == "r1"
    clock.advance(1_000)
    with pytest.raises(ExpiredLink):
        links.verify("map", token, 60)
    clock.advance(-90_000)
    assert links.verify("map", token, 60) == "r1"


async def test_a_revocable_link_stays_the_same(links: Links) -> None:
    """Asking again gives the same link; another subject or other options give another one."""
    first = await links.issue_revocable("portal", "r1", {"approval": True, "direction": "in"}, max_uses=3)
    again = await links.issue_revocable("portal", "r1", {"direction": "in", "approval": True}, max_uses=3)
    assert first == again
    assert await links.issue_revocable("portal", "r1") == await links.issue_revocable("portal", "r1") != first
    assert await links.issue_revocable("portal", "r2") != await links.issue_revocable("portal", "r1")
    assert await links.verify_revocable("portal", first) == Revocable("r1", {"approval": True, "direction": "in"}, 0, 3)


async def test_two_at_once_get_the_same_link(links: Links) -> None:
    """The first two requests for a link race and still agree."""
    tokens = await asyncio.gather(*(links.issue_revocable("portal", "r1") for _ in range(20)))
    assert len(set(tokens)) == 1
    assert (await links.verify_revocable("portal", tokens[0])).subject == "r1"


async def test_revoking_ends_all_links_of_a_subject(links: Links) -> None:
    """All links of the subject and purpose end, no other does, and the next link is a new one."""
    mine = [await links.issue_revocable("portal", "r1"), await links.issue_revocable("portal", "r1", max_uses=2)]
    others = [("portal", await links.issue_revocable("portal", "r2")), ("x", await links.issue_revocable("x", "r1"))]
    assert await links.revoke("portal", "r1")
    assert not await links.revoke("portal", "r1")
    fresh = await links.issue_revocable("portal", "r1")
    assert fresh not in mine
    for token in mine:
        with pytest.raises(RevokedLink):
            await links.verify_revocable("portal", token)
        with pytest.raises(RevokedLink):
            await links.use("portal", token, "c1")
    for purpose, token in [*others, ("portal", fresh)]:
        assert await links.use(purpose, token, "c1")


async def test_a_lost_store_revives_no_link(links: Links, store: Redis) -> None:
    """A link of a store that is gone is not good on an empty one, nor after a new link was made there."""
    old = await links.issue_revocable("portal", "r1")
    once = await links.issue_once("manage", "r1", 60)
    await store.flushall()
    with pytest.raises(RevokedLink):
        await links.verify_revocable("portal", old)
    await links.issue_revocable("portal", "r1")
    with pytest.raises(RevokedLink):
        await links.verify_revocable("portal", old)
    with pytest.raises(ExpiredLink):
        await links.redeem_once("manage", once, "c1")


async def test_uses_are_counted_once_for_each_claim(links: Links) -> None:
    """Two uses are two claims, however often each comes, and however the token is spelt."""
    token = await links.issue_revocable("portal", "r1", max_uses=2)
    for claim in ("c1", "c1", "c2", "c1", "c2"):
        assert (await links.use("portal", token, claim)).subject == "r1"
    for spelling in (token, respelt(token)):
        with pytest.raises(UsedLink):
            await links.use("portal", spelling, "c3")
        with pytest.raises(UsedLink):
            await links.verify_revocable("portal", spelling)
    assert await links.use("portal", token, "c1")


async def test_many_at_once_do_not_exceed_the_uses(links: Links) -> None:
    """Fifty claims at the same moment on a link for seven: seven are let in."""
    token = await links.issue_revocable("portal", "r1", max_uses=7)
    answers = await asyncio.gather(*(links.use("portal", token, f"c{n}") for n in range(50)), return_exceptions=True)
    assert sum(isinstance(a, Revocable) for a in answers) == 7
    assert sum(isinstance(a, UsedLink) for a in answers) == 43


async def test_a_revocable_link_can_end(links: Links, clock: FakeClock) -> None:
    """A link with an end is expired from that moment on."""
    token = await links.issue_revocable("portal", "r1", expires_ms=clock.now_ms() + 1000)
    clock.advance(999)
    assert await links.use("portal", token, "c1")
    clock.advance(1)
    for attempt in (links.verify_revocable("portal", token), links.use("portal", token, "c1")):
        with pytest.raises(ExpiredLink):
            await attempt


async def test_looking_at_a_link_uses_nothing_up(links: Links, store: Redis) -> None:
    """A preview fetcher may come a hundred times; the store does not change and the person gets in (threat 23)."""
    once = await links.issue_once("manage", {"room": "r1"}, 60)
    portal = await links.issue_revocable("portal", "r1", max_uses=1)
    before = await dump_of(store)
    for _ in range(100):
        assert await links.peek_once("manage", once) == {"room": "r1"}
        assert (await links.verify_revocable("portal", portal)).subject == "r1"
    assert await dump_of(store) == before
    assert await links.redeem_once("manage", once, "person") == {"room": "r1"}
    assert (await links.use("portal", portal, "person")).subject == "r1"


async def test_a_one_time_link_works_once(links: Links) -> None:
    """The first claim gets it, as often as it asks; a replay by anybody else is told that it is used (threat 24)."""
    token = await links.issue_once("manage", "r1", 60)
    assert await links.redeem_once("manage", token, "c1") == "r1"
    assert await links.redeem_once("manage", token, "c1") == "r1"
    for spelling in (token, respelt(token)):
        with pytest.raises(UsedLink):
            await links.redeem_once("manage", spelling, "c2")
        with pytest.raises(UsedLink):
            await links.peek_once("manage", spelling)


async def test_of_many_at_once_one_redeems(links: Links) -> None:
    """Twenty claims at the same moment: one gets the one-time link."""
    token = await links.issue_once("manage", "r1", 60)
    answers = await asyncio.gather(
        *(links.redeem_once("manage", token, f"c{n}") for n in range(20)), return_exceptions=True
    )
    assert sorted(type(a).__name__ for a in answers) == ["UsedLink"] * 19 + ["str"]


async def test_a_one_time_link_ends(links: Links, store: Redis, clock: FakeClock) -> None:
    """Used or not, it is expired after its time, and the store does not keep it for ever."""
    used, unused = [await links.issue_once("manage", "r1", 60) for _ in range(2)]
    await links.redeem_once("manage", used, "c1")
    assert all([0 < await store.pttl(k) <= 120_000 async for k in store.scan_iter()])
    clock.advance(60_000)
    for token in (used, unused):
        with pytest.raises(ExpiredLink):
            await links.redeem_once("manage", token, "c1")
        with pytest.raises(ExpiredLink):
            await links.peek_once("manage", token)


async def test_the_store_holds_no_link(links: Links, store: Redis) -> None:
    """Nobody can make a working link of what a dump shows."""
    tokens = [await links.issue_once("manage", "r1", 60), await links.issue_revocable("portal", "r1", max_uses=5)]
    await links.use("portal", tokens[1], "c1")
    await links.redeem_once("manage", tokens[0], "c1")
    held = await dump_of(store)
    assert b"r1" in held
    for token in tokens:
        for part in token.split("."):
            assert part.encode() not in held


async def test_links_are_refused_before_they_are_made(links: Links, store: Redis) -> None:
    """A link too long to be read again, an empty claim and an empty key are errors of the caller."""
    noise = "".join(chr(0x4E00 + n * 7919 % 20000) for n in range(3000))
    with pytest.raises(ValueError, match="characters"):
        links.sign("map", noise)
    with pytest.raises(ValueError, match="claim"):
        await links.redeem_once("manage", await links.issue_once("manage", "r1", 60), "")
    with pytest.raises(ValueError, match="SECRET_KEY"):
        Links(store, "", now_ms=lambda: 0)


@pytest.mark.parametrize("error", [BadLink, ExpiredLink, UsedLink, RevokedLink])
def test_every_refusal_says_what_to_do(error: type[LinkError]) -> None:
    """The message is for people: it says that it is the link, and what to do next."""
    assert re.match(r"This link .*\. (Copy|Ask) .*\.$", str(error()))

"""Posting: what Teams' answers mean, long texts, pictures, cards, answers, reactions, typing."""

from __future__ import annotations

import asyncio
import base64
import json
from typing import Any

import pytest

from bots.teams import connector, http
from core.contract import AdapterError, AuthLost, Rejected, Retry, Uncertain
from core.model import Author, Entity, NativeId, Text
from core.store import Redis
from core.text.mass import MASS_MENTIONS
from tests.bots.teams.conftest import ALICE, World, file, running
from tests.fakes.teams import Fault

PNG = b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 100


# --- what answers mean --------------------------------------------------------------------------------------

ANSWERS: list[tuple[Fault, type[AdapterError], str]] = [
    (Fault("POST", 429, headers={"Retry-After": "7"}), Retry, "busy"),
    (Fault("POST", 429), Retry, "busy"),
    (Fault("POST", 429, headers={"Retry-After": "soon"}), Retry, "busy"),
    (Fault("POST", 412), Retry, "busy"),
    (Fault("POST", 503), Retry, "busy"),
    (Fault("POST", 500), Uncertain, "500"),
    (Fault("POST", 502), Uncertain, "502"),
    (Fault("POST", 504, taken=True), Uncertain, "504"),
    (Fault("POST"), Uncertain, "did not answer"),
    (Fault("POST", taken=True), Uncertain, "did not answer"),
    (Fault("POST", 400, body={"error": {"code": "BadArgument"}}), Rejected, "BadArgument"),
    (Fault("POST", 403, body={"error": {"code": "BotNotInConversationRoster"}}), Rejected, "Add its app again"),
    (Fault("POST", 403, body={"error": {"code": "BotDisabledByAdmin"}}), Rejected, "administrator"),
    (Fault("POST", 403, body={"error": {"code": "Novelty"}}), Rejected, "Novelty"),
    (Fault("POST", 404), Rejected, "no longer there"),
    (Fault("POST", 413), Rejected, "too long"),
    (Fault("POST", 302, headers={"Location": "https://evil.example/"}), Rejected, "302"),
    (Fault("POST", 401, times=2), AuthLost, "token"),
]


@pytest.mark.parametrize("number", range(len(ANSWERS)))
async def test_what_an_answer_means(world: World, number: int) -> None:
    """Every refusal and every silence as what the core knows; sent again afterwards it works."""
    fault, kind, words = ANSWERS[number]
    people = await world.chat("Ann")
    await world.adapter.send(world.post(people, "before"))
    world.service.faults.append(
        Fault(f"{fault.fits} .*/activities$", fault.status, fault.taken, fault.headers, fault.body)
    )
    world.service.faults[0].times = fault.times
    with pytest.raises(kind, match=words):
        await world.adapter.send(world.post(people, "during"))
    assert not world.service.faults
    await world.adapter.send(world.post(people, "after"))
    assert [one.plain for one in people.room.order()][-1] == "after"


async def test_waiting_as_long_as_teams_says(world: World) -> None:
    """Retry-After is heeded; without one the pauses grow, and are never zero or endless."""
    people = await world.chat("Ann")
    world.service.faults.append(Fault("activities$", 429, headers={"Retry-After": "7"}))
    with pytest.raises(Retry) as told:
        await world.adapter.send(world.post(people, "x"))
    assert told.value.after_s == 7
    assert not told.value.whole_account
    pauses = []
    world.service.faults.append(Fault("activities$", 429, times=10))
    for _ in range(10):
        with pytest.raises(Retry) as grown:
            await world.adapter.send(world.post(people, "x"))
        pauses.append(grown.value.after_s)
    assert all(0 < pause <= connector.MOST_BUSY_S for pause in pauses)
    assert max(pauses[-3:]) > pauses[0]


async def test_nobody_listens(store: Redis) -> None:
    """A connection that was never made is certainly not sent."""
    async with running(store) as world:
        people = await world.chat("Ann")
        await world.adapter.send(world.post(people, "before"))
        await world.service.silence()
        await world.adapter.stop()  # a connection that was kept would break when it is used, and leave it open
        with pytest.raises(Retry, match="reached"):
            await world.adapter.send(world.post(people, "x"))


async def test_an_answer_that_does_not_come(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The request left; what became of it nobody knows."""
    monkeypatch.setattr(http, "WHOLE_S", 0.3)
    people = await world.chat("Ann")
    world.service.faults.append(Fault("activities$", 200, taken=True, delay_s=1.0))
    with pytest.raises(Uncertain):
        await world.adapter.send(world.post(people, "x"))


async def test_an_edit_may_be_repeated(world: World) -> None:
    """Doing the same edit or deletion twice changes nothing, so an open outcome is simply tried again."""
    people = await world.chat("Ann")
    receipt = await world.adapter.send(world.post(people, "x"))
    for fits, work in (
        ("PUT", lambda: world.adapter.edit(receipt.natives, world.post(people, "y"))),
        ("DELETE", lambda: world.adapter.delete(world.room(people), receipt.natives)),
    ):
        world.service.faults.append(Fault(fits, 502, taken=True))
        with pytest.raises(Retry):
            await work()


async def test_a_token_that_ended_is_renewed_without_a_word(world: World) -> None:
    """A 401 leads to one new token and one more try."""
    people = await world.chat("Ann")
    await world.adapter.send(world.post(people, "x"))
    world.service.tokens.clear()
    await world.adapter.send(world.post(people, "y"))
    assert len(world.asked("/oauth2/")) == 2


async def test_the_token_never_leaves_in_a_url_or_body(world: World) -> None:
    """Neither the token nor the secret is in any address, and the secret goes to the login service alone."""
    people = await world.chat("Ann")
    await world.adapter.send(world.post(people, "x"))
    for _, path, body in world.service.transcript:
        assert not any(token in path or token in body for token in world.service.tokens)
        assert world.service.secret not in path
        assert "/oauth2/" in path or world.service.secret not in body.replace("%7E", "~")


async def test_a_room_that_nobody_knows(world: World) -> None:
    """Without its service's address nothing can be sent; it is said what to do."""
    people = await world.chat("Ann")
    other = world.service.chat(world.service.person("Bob"))
    people.room = other
    with pytest.raises(Rejected, match="Mention it there once"):
        await world.adapter.send(world.post(people, "x"))


# --- texts --------------------------------------------------------------------------------------------------


async def test_a_long_text_goes_on_where_it_broke_off(world: World) -> None:
    """Parts that are there already are not posted again when the post is tried again."""
    people = await world.channel("Ann")
    outbound = world.post(people, "word " * 12_000)
    world.service.faults.append(Fault("POST .*messageid", 429))
    with pytest.raises(Retry):
        await world.adapter.send(outbound)
    receipt = await world.adapter.send(outbound)
    shown = people.room.order()
    assert [one.id for one in shown] == list(receipt.natives)
    assert " ".join(one.plain for one in shown).split() == ["word"] * 12_000
    assert {one.root for one in shown[1:]} == {receipt.natives[0]}, "one post with answers, not several posts"


async def test_a_post_of_the_worst_kind_fits(world: World) -> None:
    """Markup, emoji, line breaks, and signs that are escaped twice stay below the size that Teams takes."""
    people = await world.chat("Ann")
    for text in ("<&>\"'" * 9_000, "👩🏽‍🌾" * 8_000, "\n\\" * 20_000, "é" * 50_000):
        await world.adapter.send(world.post(people, Text(text, (Entity("pre", 0, len(text)),))))
        await world.adapter.send(world.post(people, text))


async def test_an_edit_that_gets_shorter_and_longer(world: World) -> None:
    """Parts are changed in place, taken away, and added."""
    people = await world.chat("Ann")
    long = "word " * 9_000
    first = await world.adapter.send(world.post(people, long))
    assert len(first.natives) == 2
    second = await world.adapter.edit(first.natives, world.post(people, "short"))
    assert second.natives == first.natives[:1]
    assert [one.plain for one in people.room.order()] == ["short"]
    third = await world.adapter.edit(second.natives, world.post(people, long))
    assert third.natives[0] == first.natives[0]
    assert len(people.room.order()) == 2


async def test_an_edit_of_what_is_gone(world: World) -> None:
    """A post that somebody deleted is posted anew."""
    people = await world.chat("Ann")
    receipt = await world.adapter.send(world.post(people, "x"))
    people.room.messages[receipt.natives[0]].deleted = True
    again = await world.adapter.edit(receipt.natives, world.post(people, "y"))
    assert [(one.id, one.plain) for one in people.room.order()] == [(again.natives[0], "y")]


@pytest.mark.parametrize("start", range(0, len(MASS_MENTIONS), 8))
async def test_nobody_is_called(world: World, start: int) -> None:
    """A mention takes an entity, and posts have none (threat 10)."""
    people = await world.channel("Ann")
    for words in (*MASS_MENTIONS[start : start + 8], "<at>Ann</at>", "<at id='0'>everyone</at>"):
        await world.adapter.send(world.post(people, words))
        assert people.room.order()[-1].plain == words
    assert not [one for one in world.asked("/activities") if "mention" in one[2]]


# --- pictures and files -------------------------------------------------------------------------------------


async def test_a_picture_is_a_post_of_its_own(world: World) -> None:
    """Text and picture in one activity would come back without an id; in a channel the picture lies below."""
    people = await world.channel("Ann")
    receipt = await world.adapter.send(world.post(people, "look", files=(file(PNG),)))
    text, picture = people.room.order()
    assert (text.id, picture.id) == receipt.natives
    assert (picture.files[0][2], picture.root) == (PNG, text.id)
    edited = await world.adapter.edit(receipt.natives, world.post(people, "look here", files=(file(PNG),)))
    assert edited.natives == receipt.natives
    assert [one.plain for one in people.room.order()] == ["look here", ""]
    await world.adapter.delete(world.room(people), receipt.natives)
    assert not people.room.order()


async def test_a_picture_of_a_megabyte(world: World) -> None:
    """The largest that is sent as such."""
    people = await world.chat("Ann")
    data = PNG + b"x" * (1_000_000 - len(PNG))
    await world.adapter.send(world.post(people, "", files=(file(data),)))
    assert people.room.order()[-1].files[0][2] == data


OTHERS = (
    file(b"%PDF", "plan.pdf", "application/pdf"),
    file(PNG, "big.png", size=2_000_000),
    file(PNG, "unknown.png", size=0),
    file(b"<svg/>", "x.svg", "image/svg+xml"),
)


@pytest.mark.parametrize("number", range(len(OTHERS)))
async def test_other_files_are_links(world: World, number: int) -> None:
    """With name and size, below the text."""
    people = await world.chat("Ann")
    sent = OTHERS[number]
    await world.adapter.send(world.post(people, "look", files=(sent,)))
    shown = people.room.order()[-1]
    assert shown.plain.startswith(f"look\n📎 {sent.name}")
    assert sent.link in shown.plain


async def test_a_picture_that_is_larger_than_its_origin_said(world: World) -> None:
    """It is read no further than it must be, and a link stands instead (threat 17)."""
    people = await world.chat("Ann")
    read = 0

    async def endless() -> Any:
        nonlocal read
        while True:
            read += 65_536
            yield b"x" * 65_536

    lied = file(PNG)
    sent = type(lied)(lied.name, lied.mime, 1000, lied.link, endless)
    await world.adapter.send(world.post(people, "look", files=(sent,)))
    assert lied.link in people.room.order()[-1].plain
    assert read < 1_200_000


# --- cards --------------------------------------------------------------------------------------------------


async def test_a_card_shows_the_author(store: Redis) -> None:
    """Name and picture are the author's own; formatted words are runs, and nothing of them is markup."""
    async with running(store, cards=True) as world:
        people = await world.chat("Ann")
        caps = world.adapter.capabilities(world.room(people))
        assert (caps.names, caps.avatars) == ("full", "full")
        alice = Author("u1", "Alice *the* <b>", "https://pictures.example/a.png")
        text = Text("**no** bold\nlink [x](y)", (Entity("bold", 7, 4), Entity("link", 12, 4, "https://example.org/")))
        receipt = await world.adapter.send(world.post(people, text, author=alice))
        shown = people.room.order()[-1]
        assert shown.id == receipt.natives[0]
        assert shown.summary.startswith("Alice *the* <b>: **no** bold")
        assert shown.card
        head, *lines = shown.card["body"]
        assert head["columns"][0]["items"][0]["url"] == alice.avatar_url
        assert head["columns"][1]["items"][0]["inlines"][0]["text"] == alice.name
        runs = [[run["text"] for run in line["inlines"]] for line in lines]
        assert runs == [["**no** ", "bold"], ["link", " [x](y)"]]
        assert lines[0]["inlines"][1]["weight"] == "Bolder"
        assert lines[1]["inlines"][0]["selectAction"]["url"] == "https://example.org/"
        await world.adapter.edit(receipt.natives, world.post(people, "changed"))
        assert people.room.order()[-1].card["body"][1]["inlines"][0]["text"] == "changed"  # type: ignore[index]
        await world.adapter.send(world.post(people, "the bot's own words", author=None))
        assert people.room.order()[-1].plain == "the bot's own words"
        await world.adapter.send(world.post(people, "<&\"'\\" * 30_000, max_parts=8))
        await world.adapter.send(world.post(people, "x", author=Author("u2", "Bo", "http://10.0.0.1/x.png")))
        assert len(people.room.order()[-1].card["body"][0]["columns"]) == 1  # type: ignore[index]


# --- answers, reactions, typing -----------------------------------------------------------------------------


async def test_an_answer_in_a_chat_quotes(world: World) -> None:
    """By Teams' own means, and only in the first part."""
    people = await world.chat("Ann")
    native = await people.say("Ann", "<p>a question</p>")
    await world.adapter.send(world.post(people, "an answer", reply_to=NativeId(native), thread=NativeId("1")))
    shown = people.room.order()[-1]
    assert (shown.plain, shown.quotes, shown.root) == ("an answer", native, "")


async def test_threads_of_a_channel(world: World) -> None:
    """New posts, answers below a post, answers to answers with a quote."""
    people = await world.channel("Ann")
    root = NativeId(await people.say("Ann", "<p>root</p>"))
    ours = await world.adapter.send(world.post(people, "below", thread=root))
    await world.adapter.send(world.post(people, "to the one below", reply_to=ours.natives[0]))
    await world.adapter.send(world.post(people, "to the root", reply_to=root))
    await world.adapter.send(world.post(people, "new"))
    shown = [(one.plain, one.root, one.quotes) for one in people.room.order()[1:]]
    assert shown == [
        ("below", root, ""),
        ("to the one below", root, ours.natives[0]),
        ("to the root", root, ""),
        ("new", "", ""),
    ]
    await world.adapter.edit(ours.natives, world.post(people, "below, changed"))
    assert f"messageid%3D{root}" in world.service.transcript[-1][1]


async def test_the_same_wish_of_several_people(world: World) -> None:
    """The bot has one reaction of a kind: it stays until nobody wants it any more."""
    people = await world.chat("Ann")
    native = NativeId(await people.say("Ann", "<p>x</p>"))
    room = world.room(people)
    bob = Author("u2", "Bob")
    standing = people.room.messages[native].reactions
    await world.adapter.react(room, native, "👍", True, ALICE)
    await world.adapter.react(room, native, "👍", True, bob)
    await world.adapter.react(room, native, "👍", False, ALICE)
    assert standing["like"]
    await world.adapter.react(room, native, "👍", False, bob)
    assert not standing["like"]
    for emoji, kind in (("✅", "2705_whiteheavycheckmark"), ("👋🏽", "1f44b_wavinghandsign"), ("❤️", "heart")):
        await world.adapter.react(room, native, emoji, True, bob)
        assert standing[kind]
    assert len(world.asked("/reactions/")) == 5


async def test_a_reaction_that_failed_is_wished_again(world: World) -> None:
    """What Teams did not take is not noted as standing."""
    people = await world.chat("Ann")
    native = NativeId(await people.say("Ann", "<p>x</p>"))
    world.service.faults.append(Fault("PUT", 429))
    with pytest.raises(Retry):
        await world.adapter.react(world.room(people), native, "👍", True, ALICE)
    await world.adapter.react(world.room(people), native, "👍", True, ALICE)
    assert people.room.messages[native].reactions["like"]


@pytest.mark.parametrize("emoji", ["🇫🇷", "👩‍👩‍👧", ":party:", "x"])
async def test_an_emoji_that_teams_has_no_name_for(world: World, emoji: str) -> None:
    """A line says it."""
    people = await world.chat("Ann")
    native = NativeId(await people.say("Ann", "<p>x</p>"))
    await world.adapter.react(world.room(people), native, emoji, True, ALICE)
    assert people.room.order()[-1].plain == f"(Alice reacted {emoji})"


async def test_where_bots_may_not_react(store: Redis) -> None:
    """A line says it when Teams refuses; with the setting off the core does."""
    async with running(store, reactions=False) as world:
        people = await world.channel("Ann")
        native = NativeId(await people.say("Ann", "<p>x</p>"))
        await world.adapter.react(world.room(people), native, "👍", True, ALICE)
        shown = people.room.order()[-1]
        assert (shown.plain, shown.root) == ("(Alice reacted 👍)", native)


async def test_typing_in_chats_only(world: World) -> None:
    """Once in a while; channels show nothing of the kind."""
    chat, channel = await world.chat("Ann"), await world.channel("Ann")
    for _ in range(3):
        await world.adapter.typing(world.room(chat), ALICE)
        await world.adapter.typing(world.room(channel), ALICE)
    assert chat.room.typing == ["BridgeBot"]
    assert not channel.room.typing
    assert world.adapter.capabilities(world.room(channel)).typing == "drop"


@pytest.mark.parametrize("personal", [False, True])
async def test_the_claimed_rate_is_taken(store: Redis, personal: bool) -> None:
    """A bucket with the claimed rate never meets a limit of Teams' in half a minute."""
    async with running(store) as world:
        people = await world.chat("Ann", personal=personal)
        if personal:
            await people.say("Ann", "<p>hi</p>")
        caps = world.adapter.capabilities(world.room(people))
        for window_s, most in ((1, 7), (2, 8), (30, 60)):
            assert caps.rate_burst + caps.rate_per_s * window_s <= most
        if personal:
            assert caps.rate_burst + caps.rate_per_s * 3600 <= 1800


async def test_the_double_has_the_rates_of_teams(store: Redis) -> None:
    """Eight posts at once are too many, with a word when to go on."""
    async with running(store, rates=True) as world:
        people = await world.chat("Ann")
        results = await asyncio.gather(
            *(world.adapter.send(world.post(people, f"{n}")) for n in range(8)), return_exceptions=True
        )
        assert sum(isinstance(result, Retry) for result in results) == 1


async def test_a_room_in_a_started_adapter(store: Redis) -> None:
    """Another process took the room in; this one knows it as soon as it posts there."""
    async with running(store) as world:
        people = await world.channel("Ann")
        async with running(store, **world.service.settings()) as other:
            await other.adapter.start(other.inbox)
            await other.inbox.state("online")
            assert other.adapter.room_info(world.room(people)).title == "Garden Club / Seeds"
            late = await world.channel("Ann", name="Late")
            assert other.adapter.capabilities(world.room(late)).thread == "full"
            await other.adapter.send(world.post(late, "hello"))
            assert other.adapter.room_info(world.room(late)).title == "Garden Club / Late"
            await other.adapter.ping(world.room(late))


def test_pictures_are_sent_whole() -> None:
    """The data URL decodes to the bytes."""
    from bots.teams.compose import picture

    url = picture(file(PNG), PNG)["attachments"][0]["contentUrl"]
    assert base64.b64decode(url.partition(",")[2]) == PNG
    assert json.dumps(url)

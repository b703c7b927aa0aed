"""What holds for every adapter in the registry, on the real service where there is one to be had."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Iterator

import pytest

from bots import registry
from core.contract import (
    Adapter,
    Capabilities,
    Deletes,
    Edits,
    Files,
    Finds,
    History,
    Invites,
    Members,
    Outbound,
    Pings,
    Reacts,
    Receipt,
    Rejected,
    Rooms,
    Streams,
    Types,
)
from core.model import Author, Entity, MessageNew, NativeId, Text
from core.store import Redis
from tests.contract.harness import Stage, staged
from tests.contract.scene import ANN, Line
from tests.contract.stage import Session

ALICE = Author("u1", "Alice")
CLAIMS: dict[str, type] = {"edit": Edits, "delete": Deletes, "reaction": Reacts, "typing": Types}


@pytest.fixture(scope="session")
def session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Session]:
    """Servers that the stages share."""
    made = Session(tmp_path_factory.mktemp("stages"))
    yield made
    made.close()


@pytest.fixture(params=registry.names())
async def stage(request: pytest.FixtureRequest, store: Redis, session: Session) -> AsyncIterator[Stage]:
    """Each platform in turn; every one has a scene."""
    async with staged(request.param, store, session) as made:
        yield made


def post(stage: Stage, text: str | Text, **more: object) -> Outbound:
    """A post of Alice's."""
    words = text if isinstance(text, Text) else Text(text)
    return Outbound(stage.room, secrets.token_hex(8), words, **({"author": ALICE} | more))  # type: ignore[arg-type]


async def heard(stage: Stage, text: str) -> MessageNew:
    """Wait for the message that says ``text``."""
    return await stage.heard(MessageNew, lambda event: text in event.text.plain)


async def test_it_is_an_adapter(stage: Stage) -> None:
    """It has the required methods, and the platform's own name and account."""
    assert isinstance(stage.adapter, Adapter)
    assert stage.room.startswith(f"{stage.adapter.account}/")
    assert stage.adapter.room_info(stage.room).title


async def test_what_is_said_is_heard_once(stage: Stage) -> None:
    """A person's words become one event, with an id and an author, in order."""
    for number in range(5):
        await stage.scene.say(f"line {number}")
    last = await heard(stage, "line 4")
    said = [e for e in stage.events.seen if isinstance(e, MessageNew)]
    assert [e.text.plain for e in said] == [f"line {n}" for n in range(5)]
    assert len({e.native for e in said}) == 5
    assert last.author.id
    assert last.room == stage.room
    if stage.platform.hears.names == "full":
        assert last.author.name == ANN


async def test_a_post_is_seen_with_its_text(stage: Stage) -> None:
    """What is sent is seen, with other scripts and emoji as they were."""
    text = "Grüße, 日本語, שלום, 👩🏽‍🌾 3:100:7"
    receipt = await stage.adapter.send(post(stage, text))
    shown = await stage.line("Grüße")
    assert shown.plain == text
    assert isinstance(receipt, Receipt)
    if shown.native and receipt.natives:
        assert receipt.natives == (NativeId(shown.native),)
    if stage.adapter.capabilities(stage.room).names == "full":
        assert shown.author == "Alice"


async def test_posts_keep_their_order(stage: Stage) -> None:
    """Thirty posts one after the other are seen in that order."""
    for number in range(30):
        await stage.adapter.send(post(stage, f"ordered {number:03}"))
    shown = await stage.lines("ordered", 30)
    assert [line.plain for line in shown] == [f"ordered {number:03}" for number in range(30)]


async def test_a_stream_takes_many_at_once(stage: Stage) -> None:
    """A batch on a stream gives one result for each post, and keeps the order."""
    if not isinstance(stage.adapter, Streams):
        assert not hasattr(stage.adapter, "send_stream")
        return
    results = await stage.adapter.send_stream([post(stage, f"batch {n:03}") for n in range(100)])
    assert all(isinstance(result, Receipt) for result in results)
    assert len(results) == 100
    assert [line.plain for line in await stage.lines("batch", 100)] == [f"batch {n:03}" for n in range(100)]


async def test_our_own_posts_do_not_come_back(stage: Stage) -> None:
    """What we post is never taken for something that was said."""
    await stage.adapter.send(post(stage, "said by us"))
    await stage.line("said by us")
    await stage.scene.say("said by a person")
    await heard(stage, "said by a person")
    assert [e.text.plain for e in stage.events.seen if isinstance(e, MessageNew)] == ["said by a person"]


async def test_long_text_is_split_and_nothing_is_lost(stage: Stage) -> None:
    """A text of several limits arrives in parts that together have all its words, up to the number of parts."""
    words = [f"word{number:04}" for number in range(150)]
    await stage.adapter.send(post(stage, " ".join(words), max_parts=8))
    await stage.line("word0149")
    shown = await stage.lines("word", 1)
    assert " ".join(line.plain for line in shown).split() == words


async def test_a_huge_text_is_cut(stage: Stage) -> None:
    """A megabyte becomes a few posts at most, and the adapter goes on working."""
    await stage.adapter.send(post(stage, "huge " * 200_000, max_parts=3))
    await stage.adapter.send(post(stage, "after it"))
    await stage.line("after it")
    assert 1 <= len(await stage.lines("huge", 1)) <= 3


async def test_controls_in_text_do_no_harm(stage: Stage) -> None:
    """Control characters, line breaks and protocol words stay text."""
    await stage.adapter.send(post(stage, "one\r\nQUIT :gone\x00\x01\nJOIN #other\u202e end"))
    await stage.adapter.send(post(stage, "still here"))
    await stage.line("still here")
    assert "QUIT :gone" in "".join(line.plain for line in await stage.lines("QUIT", 1))


LITERAL = (
    "*stars* _lines_ ~waves~ `ticks` **two** __two__ ~~two~~ ||bars||",
    "<b>tag</b> &amp; <@U1> <users/all> <at>x</at> [a](https://b.example) {x} #h",
    "> not a quote",
    "1. not a list",
    "@everyone @here @channel @all @room",
)


@pytest.mark.parametrize("text", LITERAL)
async def test_literal_text_stays_literal(stage: Stage, text: str) -> None:
    """What looks like some platform's markup is read as it was typed, and formats and calls nothing."""
    await stage.adapter.send(post(stage, f"begin {text} end"))
    shown = await stage.line("begin")
    invisible = dict.fromkeys(map(ord, "\u200b\u200c\u200d\u2060\ufeff"))
    assert shown.plain.translate(invisible) == f"begin {text} end"
    assert not [entity for entity in shown.entities if entity.type not in ("link", "mention", "emoji")]
    assert not [entity for entity in shown.entities if entity.type == "mention"]


async def test_capabilities_are_steady_and_true(stage: Stage) -> None:
    """The same object while nothing changes; whatever is claimed has its method."""
    caps = stage.adapter.capabilities(stage.room)
    assert caps is stage.adapter.capabilities(stage.room)
    assert isinstance(caps, Capabilities)
    assert caps.text_limit > 0
    for feature, protocol in CLAIMS.items():
        if getattr(caps, feature) in ("full", "partial"):
            assert isinstance(stage.adapter, protocol), feature
    drops = {name for name in CLAIMS if getattr(caps, name) == "drop"} - {"typing"}
    assert not drops, f"only typing may be dropped, not {drops}"


async def test_the_same_key_again_posts_nothing(stage: Stage) -> None:
    """Where the platform has a key, a repeated post is seen once."""
    outbound = post(stage, "once only")
    if stage.adapter.capabilities(stage.room).idempotent:
        first = await stage.adapter.send(outbound)
        assert await stage.adapter.send(outbound) == first
        await stage.adapter.send(post(stage, "after that"))
        await stage.line("after that")
        assert len(await stage.lines("once only", 1)) == 1
    elif isinstance(stage.adapter, Finds):
        first = await stage.adapter.send(outbound)
        await stage.line("once only")
    if isinstance(stage.adapter, Finds):
        assert await stage.adapter.find_sent(outbound) == first
        assert await stage.adapter.find_sent(post(stage, "never sent")) is None


async def test_the_other_protocols_answer(stage: Stage) -> None:
    """Pings, rooms, invitations and members answer for a room that is there."""
    adapter = stage.adapter
    if isinstance(adapter, Pings):
        await adapter.ping(stage.room)
    if isinstance(adapter, Rooms):
        assert stage.room in [info.room for info in await adapter.rooms()]
    if isinstance(adapter, Invites):
        invite = adapter.invite("HLDMU-42K7")
        assert invite.title
        assert "HLDMU-42K7" in invite.url + " ".join(invite.steps)
    if isinstance(adapter, Members):
        assert await adapter.is_admin(stage.room, "nobody at all") is False
    assert isinstance(adapter, History) == (stage.platform.hears.history != "drop")


async def test_a_file_that_is_gone_is_said_so(stage: Stage) -> None:
    """An unknown file reference is refused in words."""
    if isinstance(stage.adapter, Files):
        chunks = stage.adapter.open_file("no-such-file")
        with pytest.raises(Rejected):
            await anext(chunks)


def spans(line: Line | Text, kind: str) -> list[tuple[str, str]]:
    """The words and values of all entities of one kind."""
    found: tuple[Entity, ...] = line.entities
    return [(line.plain[e.start : e.start + e.length].strip(), e.value) for e in found if e.type == kind]

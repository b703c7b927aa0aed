"""What holds for every adapter in the registry, on the real service where there is one to be had."""

from __future__ import annotations

import asyncio
import importlib
import secrets
from collections.abc import AsyncIterator, Callable, Iterator

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
    Services,
    Streams,
    Types,
)
from core.model import Author, Entity, MessageNew, NativeId, Text
from core.store import Redis
from tests.contract.stage import Session, Stage

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
    """Each platform in turn; every one has a stage."""
    maker = importlib.import_module(f"tests.bots.{request.param}.stage").stage
    services = Services(
        store=store,
        key=lambda *parts: "bb:{a:contract}:x:" + ":".join(parts),
        now_ms=lambda: 1_800_000_000_000,
        random_id=lambda: secrets.token_hex(16),
        public_url="http://127.0.0.1:8080",
        prefix="sameroom",
        sign=lambda purpose, payload: f"{purpose}~{payload}",
        verify=_verify,
    )
    async with maker(store, services, session) as made:
        await _until(made, lambda: made.events.is_online)
        yield made


def _verify(purpose: str, token: str, max_age_s: int) -> str:
    if not token.startswith(f"{purpose}~"):
        raise ValueError("not ours")
    return token.partition("~")[2]


async def _until(stage: Stage, condition: Callable[[], bool]) -> None:
    """Wait for something that the adapter emits."""
    changed = asyncio.Event()
    stage.events.changed = changed.set
    async with asyncio.timeout(10):
        while not condition():
            await changed.wait()
            changed.clear()


def _post(stage: Stage, text: str | Text, **more: object) -> Outbound:
    words = text if isinstance(text, Text) else Text(text)
    return Outbound(stage.room, secrets.token_hex(8), words, **({"author": ALICE} | more))  # type: ignore[arg-type]


async def _heard(stage: Stage, text: str) -> MessageNew:
    def found() -> list[MessageNew]:
        return [e for e in stage.events.seen if isinstance(e, MessageNew) and e.text.plain == text]

    await _until(stage, lambda: bool(found()))
    return found()[0]


async def test_it_is_an_adapter(stage: Stage) -> None:
    """It has the required methods, and the platform's own name and account."""
    assert isinstance(stage.adapter, Adapter)
    assert stage.room.startswith(f"{stage.adapter.account}/")
    assert stage.adapter.room_info(stage.room).title


async def test_what_is_said_is_heard_once(stage: Stage) -> None:
    """A person's words become one event, with an id and an author, in order."""
    for number in range(5):
        await stage.say(f"line {number}")
    last = await _heard(stage, "line 4")
    said = [e for e in stage.events.seen if isinstance(e, MessageNew)]
    assert [e.text.plain for e in said] == [f"line {n}" for n in range(5)]
    assert len({e.native for e in said}) == 5
    assert last.author.id
    assert last.author.name
    assert last.room == stage.room


async def test_a_post_is_seen_with_its_text(stage: Stage) -> None:
    """What is sent is seen, with other scripts and emoji as they were."""
    text = "Grüße, 日本語, שלום, 👩🏽‍🌾 3:100:7"
    receipt = await stage.adapter.send(_post(stage, text))
    shown = await stage.shown("Grüße")
    assert shown.text == text
    assert isinstance(receipt, Receipt)
    if shown.native:
        assert receipt.natives == (NativeId(shown.native),)
    if stage.adapter.capabilities(stage.room).names == "full":
        assert shown.author == "Alice"


async def test_posts_keep_their_order(stage: Stage) -> None:
    """Fifty posts one after the other are seen in that order."""
    for number in range(50):
        await stage.adapter.send(_post(stage, f"ordered {number:03}"))
    shown = await stage.all_shown("ordered", 50)
    assert [post.text for post in shown] == [f"ordered {number:03}" for number in range(50)]


async def test_a_stream_takes_many_at_once(stage: Stage) -> None:
    """A batch on a stream gives one result for each post, and keeps the order."""
    if not isinstance(stage.adapter, Streams):
        assert not hasattr(stage.adapter, "send_stream")
        return
    results = await stage.adapter.send_stream([_post(stage, f"batch {n:03}") for n in range(100)])
    assert all(isinstance(result, Receipt) for result in results)
    assert len(results) == 100
    assert [p.text for p in await stage.all_shown("batch", 100)] == [f"batch {n:03}" for n in range(100)]


async def test_our_own_posts_do_not_come_back(stage: Stage) -> None:
    """What we post is never taken for something that was said."""
    await stage.adapter.send(_post(stage, "said by us"))
    await stage.shown("said by us")
    await stage.say("said by a person")
    await _heard(stage, "said by a person")
    assert [e.text.plain for e in stage.events.seen if isinstance(e, MessageNew)] == ["said by a person"]


async def test_long_text_is_split_and_nothing_is_lost(stage: Stage) -> None:
    """A text of several limits arrives in parts that together have all its words, up to the number of parts."""
    words = [f"word{number:04}" for number in range(150)]
    await stage.adapter.send(_post(stage, " ".join(words), max_parts=8))
    await stage.shown("word0149")
    shown = await stage.all_shown("word", 1)
    assert " ".join(post.text for post in shown).split() == words


async def test_a_huge_text_is_cut(stage: Stage) -> None:
    """A megabyte becomes a few posts at most, and the adapter goes on working."""
    await stage.adapter.send(_post(stage, "huge " * 200_000, max_parts=3))
    await stage.adapter.send(_post(stage, "after it"))
    await stage.shown("after it")
    assert 1 <= len(await stage.all_shown("huge", 1)) <= 3


async def test_controls_in_text_do_no_harm(stage: Stage) -> None:
    """Control characters, line breaks and protocol words stay text."""
    await stage.adapter.send(_post(stage, "one\r\nQUIT :gone\x00\x01\nJOIN #other\u202e end"))
    await stage.adapter.send(_post(stage, "still here"))
    await stage.shown("still here")
    assert "QUIT :gone" in "".join(post.text for post in await stage.all_shown("QUIT", 1))


async def test_formatting_is_shown_or_read(stage: Stage) -> None:
    """The words of formatted text arrive whatever the room can show of it."""
    text = Text("bold and a link", (Entity("bold", 0, 4), Entity("link", 11, 4, "https://example.org/")))
    await stage.adapter.send(_post(stage, text))
    assert "bold and a link" in (await stage.shown("bold and")).text


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
    if not stage.adapter.capabilities(stage.room).idempotent:
        assert not isinstance(stage.adapter, Finds)
        return
    outbound = _post(stage, "once only")
    first = await stage.adapter.send(outbound)
    assert await stage.adapter.send(outbound) == first
    await stage.adapter.send(_post(stage, "after that"))
    await stage.shown("after that")
    assert len(await stage.all_shown("once only", 1)) == 1
    if isinstance(stage.adapter, Finds):
        assert await stage.adapter.find_sent(outbound) == first
        assert await stage.adapter.find_sent(_post(stage, "never sent")) is None


async def test_edits_and_deletions(stage: Stage) -> None:
    """Where they are claimed, a post changes and goes."""
    caps = stage.adapter.capabilities(stage.room)
    receipt = await stage.adapter.send(_post(stage, "first version"))
    if isinstance(stage.adapter, Edits) and caps.edit == "full":
        await stage.adapter.edit(receipt.natives, _post(stage, "second version"))
        await stage.shown("second version")
    if isinstance(stage.adapter, Deletes) and caps.delete == "full":
        await stage.adapter.delete(stage.room, receipt.natives)
        await stage.adapter.delete(stage.room, receipt.natives)


async def test_reactions_and_typing(stage: Stage) -> None:
    """Where they are claimed, they are taken, on and off."""
    caps = stage.adapter.capabilities(stage.room)
    receipt = await stage.adapter.send(_post(stage, "react to this"))
    if isinstance(stage.adapter, Reacts) and caps.reaction == "full":
        await stage.adapter.react(stage.room, receipt.natives[0], "👍", True, ALICE)
        await stage.adapter.react(stage.room, receipt.natives[0], "👍", False, ALICE)
    if isinstance(stage.adapter, Types):
        await stage.adapter.typing(stage.room, ALICE)


async def test_the_other_protocols_answer(stage: Stage) -> None:
    """Pings, rooms, invitations, members and history answer for a room that is there."""
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
    if isinstance(adapter, History):
        remembered = await adapter.history(stage.room, "")
        assert remembered.complete


async def test_a_file_that_is_gone_is_said_so(stage: Stage) -> None:
    """An unknown file reference is refused in words."""
    if isinstance(stage.adapter, Files):
        chunks = stage.adapter.open_file("no-such-file")
        with pytest.raises(Rejected):
            await anext(chunks)

"""Feature by feature, in and out: a platform's claims and what really happens are the same."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import get_args

from bots import registry
from core.contract import Deletes, Edits, Files, History, OutFile, Reacts, Since, Types
from core.model import (
    Author,
    Entity,
    EntityType,
    MessageDeleted,
    MessageEdited,
    MessageNew,
    NativeId,
    Reaction,
    Text,
    Typing,
)
from core.store import Redis
from tests.contract.fidelity import page
from tests.contract.harness import Stage, staged
from tests.contract.scene import ANN, BOB, File, Line
from tests.contract.stage import Session
from tests.contract.test_contract import ALICE, heard, post, session, spans, stage

__all__ = ["session", "stage"]

PAGE = Path(__file__).parents[2] / "docs" / "fidelity.md"
BYTES = b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 40
VALUES = {
    "link": "https://example.org/x",
    "pre": "python",
    "mention": BOB,
    "emoji": "wave",
    "timestamp": "1800000000",
}
WORDS = {"mention": BOB, "emoji": "👋", "timestamp": "2027-01-15 08:00"}
BLOCKS = ("pre", "quote")


def sample(kind: EntityType, *, multiline: bool) -> tuple[Text, str]:
    """A text with one entity, and the words that it covers."""
    word = WORDS.get(kind, "special")
    start, end = ("before\n", "\nafter") if kind in BLOCKS and multiline else ("before ", " after")
    return Text(f"{start}{word}{end} {kind}", (Entity(kind, len(start), len(word), VALUES.get(kind, "")),)), word


def is_claimed(level: str) -> bool:
    """Is it there by the platform's own means?"""
    return level in ("full", "partial")


async def test_formatting_out(stage: Stage) -> None:
    """Every kind of formatting that is claimed is shown as such; the words of the others are read."""
    caps = stage.adapter.capabilities(stage.room)
    for kind in get_args(EntityType):
        text, word = sample(kind, multiline=caps.multiline)
        if kind in caps.entities or kind not in ("mention", "emoji", "timestamp"):
            await stage.adapter.send(post(stage, text))
            shown = await stage.line(f"after {kind}")
            if kind in caps.entities:
                assert word in [words for words, _ in spans(shown, kind)], (kind, shown)
                if kind == "link":
                    assert VALUES["link"] in [value for _, value in spans(shown, kind)]
            else:
                assert word in shown.plain


async def test_formatting_in(stage: Stage) -> None:
    """Every kind of formatting that people use and that is claimed arrives as such."""
    multiline = stage.adapter.capabilities(stage.room).multiline
    for kind in sorted(stage.platform.hears.entities):
        text, word = sample(kind, multiline=multiline)  # type: ignore[arg-type]
        await stage.scene.say(text)
        event = await heard(stage, f"after {kind}")
        found = [words.lstrip("@") for words, _ in spans(event.text, kind)]
        assert word in found, (kind, event.text)
        if kind == "link":
            assert VALUES["link"] in [value for _, value in spans(event.text, kind)]


async def test_edits_out(stage: Stage) -> None:
    """A post that is edited changes in its place."""
    if not is_claimed(stage.adapter.capabilities(stage.room).edit):
        assert stage.adapter.capabilities(stage.room).edit == "fallback"
        return
    assert isinstance(stage.adapter, Edits)
    receipt = await stage.adapter.send(post(stage, "first version"))
    await stage.adapter.send(post(stage, "between"))
    again = await stage.adapter.edit(receipt.natives, post(stage, "second version"))
    await stage.line("second version")
    shown = [line.plain for line in await stage.scene.lines()]
    assert "first version" not in shown
    assert shown.index("second version") < shown.index("between")
    assert again.natives


async def test_edits_in(stage: Stage) -> None:
    """What somebody changes is heard, with the message it is about."""
    if is_claimed(stage.platform.hears.edit):
        native = await stage.scene.say("teh first")
        said = await heard(stage, "teh first")
        await stage.scene.edit(native, "the first")
        event = await stage.heard(MessageEdited)
        assert (event.target, event.text.plain) == (said.native, "the first")
        assert event.author.id == said.author.id
        await stage.scene.edit(native, "the very first")
        again = await stage.heard(MessageEdited, lambda e: e.text.plain == "the very first")
        assert again.native != event.native


async def test_deletions_out(stage: Stage) -> None:
    """A post that is deleted is gone, and deleting it again is no error."""
    if not is_claimed(stage.adapter.capabilities(stage.room).delete):
        return
    assert isinstance(stage.adapter, Deletes)
    receipt = await stage.adapter.send(post(stage, "to be deleted"))
    await stage.adapter.send(post(stage, "to stay"))
    await stage.line("to stay")
    await stage.adapter.delete(stage.room, receipt.natives)
    await stage.sees(lambda lines: not [line for line in lines if line.plain == "to be deleted"])
    await stage.adapter.delete(stage.room, receipt.natives)


async def test_deletions_in(stage: Stage) -> None:
    """What somebody takes back is heard."""
    if is_claimed(stage.platform.hears.delete):
        native = await stage.scene.say("said in haste")
        said = await heard(stage, "said in haste")
        await stage.scene.delete(native)
        event = await stage.heard(MessageDeleted)
        assert event.target == said.native


async def test_replies_out(stage: Stage) -> None:
    """A post answers a message by the platform's own means: a person's, and our own."""
    if not is_claimed(stage.adapter.capabilities(stage.room).reply):
        return
    native = await stage.scene.say("a question")
    said = await heard(stage, "a question")
    ours = await stage.adapter.send(post(stage, "our own question"))
    for number, target in enumerate((said.native, ours.natives[0])):
        await stage.adapter.send(post(stage, f"an answer {number}", reply_to=target))
        shown = await stage.line(f"an answer {number}")
        assert shown.plain == f"an answer {number}"
        assert shown.reply_to == (target if number else native or target)


async def test_replies_in(stage: Stage) -> None:
    """An answer says what it answers: a person's message, and a post of ours; its text holds no quote."""
    if not is_claimed(stage.platform.hears.reply):
        return
    native = await stage.scene.say("a question")
    said = await heard(stage, "a question")
    await stage.scene.reply(native, "an answer", who=BOB)
    event = await heard(stage, "an answer")
    assert event.text.plain == "an answer"
    assert event.reply_to
    assert event.reply_to.native == said.native
    receipt = await stage.adapter.send(post(stage, "a remote question"))
    shown = await stage.line("a remote question")
    await stage.scene.reply(shown.native, "a near answer")
    event = await heard(stage, "a near answer")
    assert event.reply_to
    if receipt.natives:
        assert event.reply_to.native == receipt.natives[0]


async def test_threads(stage: Stage) -> None:
    """What is said in a thread is heard and posted there, where the platform has threads."""
    hears, caps = stage.platform.hears, stage.adapter.capabilities(stage.room)
    if not is_claimed(hears.thread) and not is_claimed(caps.thread):
        return
    root = await stage.scene.say("the root")
    said = await heard(stage, "the root")
    if is_claimed(hears.thread):
        await stage.scene.say_in_thread(root, "below it")
        assert (await heard(stage, "below it")).thread == said.native
    if is_claimed(caps.thread):
        await stage.adapter.send(post(stage, "posted below it", thread=said.native))
        assert (await stage.line("posted below it")).thread == root


async def test_reactions_out(stage: Stage) -> None:
    """A reaction is put on a message and taken away again."""
    if not is_claimed(stage.adapter.capabilities(stage.room).reaction):
        return
    assert isinstance(stage.adapter, Reacts)
    receipt = await stage.adapter.send(post(stage, "react to this"))
    native = receipt.natives[0]
    await stage.line("react to this")
    await stage.adapter.react(stage.room, native, "👍", True, ALICE)

    def reactions(lines: list[Line]) -> list[str]:
        return [emoji for line in lines for emoji in line.reactions if line.plain == "react to this"]

    await stage.sees(lambda lines: "👍" in reactions(lines))
    await stage.adapter.react(stage.room, native, "👍", False, ALICE)
    await stage.sees(lambda lines: not reactions(lines))


async def test_reactions_in(stage: Stage) -> None:
    """A reaction to a post of ours is heard, on and off; ``full``: to anybody's message."""
    level = stage.platform.hears.reaction
    if not is_claimed(level):
        return
    receipt = await stage.adapter.send(post(stage, "our post"))
    shown = await stage.line("our post")
    targets = [(shown.native, receipt.natives[0] if receipt.natives else NativeId(shown.native))]
    if level == "full":
        native = await stage.scene.say("a person's words")
        targets.append((native, (await heard(stage, "a person's words")).native))
    for native, target in targets:
        for added in (True, False):
            await stage.scene.react(native, "👍", added, who=BOB)
            event = await stage.heard(Reaction, lambda e, t=target, a=added: e.target == t and e.added == a)  # type: ignore[misc]
            assert event.emoji == "👍"
            assert event.author.id


async def test_files_out(stage: Stage) -> None:
    """A file arrives with its bytes and its text."""
    if not is_claimed(stage.adapter.capabilities(stage.room).file):
        return

    async def chunks() -> AsyncIterator[bytes]:
        for start in range(0, len(BYTES), 1000):
            yield BYTES[start : start + 1000]

    stage.site.files["plan"] = BYTES
    file = OutFile("plan.png", "image/png", len(BYTES), stage.site.file_url("plan"), chunks)
    await stage.adapter.send(post(stage, "see the plan", files=(file,)))
    shown = await stage.sees(lambda lines: [file for line in lines for file in line.files])
    assert shown[0].data == BYTES
    await stage.line("see the plan")


async def test_files_in(stage: Stage) -> None:
    """A file that somebody shares can be opened, as often as needed."""
    if not is_claimed(stage.platform.hears.file):
        return
    assert isinstance(stage.adapter, Files)
    await stage.scene.post_file(File("plan.png", BYTES, "image/png"), "look")
    event = await stage.heard(MessageNew, lambda e: bool(e.files))
    assert event.files[0].account == stage.adapter.account
    for _ in range(2):
        assert b"".join([chunk async for chunk in stage.adapter.open_file(event.files[0].ref)]) == BYTES


async def test_typing(stage: Stage) -> None:
    """That somebody types is heard and shown."""
    if is_claimed(stage.platform.hears.typing):
        await stage.scene.type()
        assert (await stage.heard(Typing)).author.id
    if stage.adapter.capabilities(stage.room).typing != "drop":
        assert isinstance(stage.adapter, Types)
        await stage.adapter.typing(stage.room, ALICE)

        async def typing() -> bool:
            return bool(await stage.scene.typing())

        while not await typing():
            await stage.scene.changed()


async def test_names_and_pictures(stage: Stage) -> None:
    """People are known by name and picture, and shown so where that is claimed."""
    await stage.scene.say("who am I", who=BOB)
    event = await heard(stage, "who am I")
    if stage.platform.hears.names == "full":
        assert event.author.name == BOB
    if is_claimed(stage.platform.hears.avatars):
        assert event.author.avatar_url.startswith("http")
    caps = stage.adapter.capabilities(stage.room)
    if caps.names == "full":
        for name in ("Alice", "Zoë 🦊"):
            author = Author(f"id-{name}", name, "")
            await stage.adapter.send(post(stage, f"I am {name}", author=author))
            shown = await stage.line(f"I am {name}")
            if name.isascii():
                assert shown.author == name


async def test_history(stage: Stage) -> None:
    """What was said while we were away is there to be read: in order, once, with the ids it had live."""
    if not is_claimed(stage.platform.hears.history):
        return
    assert isinstance(stage.adapter, History)
    await stage.scene.say("before")
    last = await heard(stage, "before")
    await stage.adapter.send(post(stage, "a post of ours"))
    await stage.line("a post of ours")
    live = await stage.scene.say("live")
    said = await heard(stage, "live")
    await stage.scene.away([f"missed {number}" for number in range(5)])
    await stage.until(lambda: stage.events.is_online)
    texts: list[str] = []
    natives: list[str] = []
    since, more = Since(last.native, last.at_ms), True
    while more:
        found = await stage.adapter.history(stage.room, since)
        events = [event for event in found.events if isinstance(event, MessageNew)]
        texts += [event.text.plain for event in events]
        natives += [event.native for event in events]
        more = found.more
        if more:
            since = Since(events[-1].native, events[-1].at_ms)
        assert found.complete
    assert texts == ["live", *(f"missed {number}" for number in range(5))]
    assert natives[0] == said.native
    assert live is not None
    assert events[0].author.name == ANN


async def test_the_page_tells_the_truth(store: Redis, session: Session) -> None:
    """docs/fidelity.md is what all platforms claim, and these tests check the claims."""
    found = []
    for name in registry.names():
        if name != "loopback":
            async with staged(name, store, session) as made:
                caps = made.adapter.capabilities(made.room)
                found.append((made.platform.title, made.scene.where, made.platform.hears, caps))
    text = page(found)
    if os.environ.get("BRIDGEBOT_WRITE_FIDELITY"):
        PAGE.write_text(text)
    assert PAGE.read_text() == text, "Write it again: make fidelity"

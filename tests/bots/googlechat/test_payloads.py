"""Payloads as Google sends them, in by the real ways, and the exact events that come of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from core.model import (
    AccountId,
    Author,
    BotAdded,
    BotRemoved,
    Entity,
    FileRef,
    Joined,
    Left,
    MessageDeleted,
    MessageEdited,
    MessageNew,
    NativeId,
    Reaction,
    ReplyTo,
    RoomId,
    RoomRenamed,
    Text,
)
from core.store import Redis
from tests.bots.googlechat.support import ACCOUNT, world

FOLDER = Path(__file__).parent / "payloads"
ROOM = RoomId(f"{ACCOUNT}/AAQAgarden")
ANN = Author("users/101", "Ann Meadow", "https://lh3.example.com/a/ann")
BOB = Author("users/102", "Bob")
SAID_MS = 1_793_611_800_123
TOLD_MS = 1_793_611_800_500


def said(text: str | Text, native: str = "kRt1.kRt1", author: Author = ANN, **more: Any) -> MessageNew:
    """A message of the payloads."""
    words = text if isinstance(text, Text) else Text(text)
    fields = {"room": ROOM, "native": native, "at_ms": SAID_MS, "author": author, "text": words} | more
    return MessageNew(**fields)


def spans(plain: str, *entities: tuple[str, int, int, str]) -> Text:
    """A text with entities."""
    return Text(plain, tuple(Entity(*entity) for entity in entities))  # type: ignore[arg-type]


GARDEN: dict[str, Any] = {"room": ROOM, "at_ms": TOLD_MS}
STAMP = "2026-11-02T09:30:00.500000Z"
EXPECTED: dict[str, list[Any]] = {
    "mention": [said(spans("good morning", ("italic", 5, 7, "")))],
    "direct": [said("hello you", "d1.d1", room=RoomId(f"{ACCOUNT}/DMann"))],
    "added_group": [
        BotAdded(
            room=RoomId(f"{ACCOUNT}/GRP1"),
            native=NativeId(f"added-{STAMP}"),
            at_ms=TOLD_MS,
            title="a group chat",
            by=ANN,
        )
    ],
    "removed": [BotRemoved(**GARDEN, native=NativeId(f"removed-{STAMP}"), reason="the app was removed from the space")],
    "slash": [said("/sameroom open")],
    "card_clicked": [],
    "quick_command": [],
    "created": [said(spans("see you at noon", ("bold", 11, 4, "")), author=BOB)],
    "created_name_only": [],
    "batch_created": [said("one", "b1.b1"), said("two", "b1.b2", thread=NativeId("b1.b1"))],
    "by_us": [],
    "other_app": [
        said("Build 7 – failed\nTwo tests broke", author=Author("users/777", "Builds", "", True), bridged=True)
    ],
    "quoted": [said("yes", "q2.q2", reply_to=ReplyTo(NativeId("q1.q1"), "Bob", "tea?"))],
    "forwarded": [said(spans("fyi\n↪ Cem: the shed is open", ("quote", 4, 23, "")), "f2.f2")],
    "files": [
        said(
            "📎 Plan https://drive.google.com/open?id=1aBc",
            files=(FileRef(AccountId(ACCOUNT), "ClxzcGFjZXMvQUFRQQ==", "bed.jpg", "image/jpeg"),),
        )
    ],
    "gif_and_chip": [said("look\nGIF: https://media.example.com/cat.gif\nhttps://meet.google.com/abc-defg-hij")],
    "mass_and_emoji": [
        said(
            spans(
                "@all tea :teapot: @Bob",
                ("mention", 0, 4, "users/all"),
                ("emoji", 9, 8, "teapot"),
                ("mention", 18, 4, "users/102"),
            )
        )
    ],
    "edited": [
        MessageEdited(
            room=ROOM,
            native=NativeId("kRt1.kRt1@2026-11-02T09:40:00.000009Z"),
            at_ms=1_793_612_400_000,
            target=NativeId("kRt1.kRt1"),
            author=ANN,
            text=Text("see you at one"),
        )
    ],
    "preview_added": [],
    "deleted": [
        MessageDeleted(room=ROOM, native=NativeId("kRt1.kRt1-"), at_ms=1_793_613_000_000, target=NativeId("kRt1.kRt1"))
    ],
    "reaction": [("reaction", "🌱", True)],
    "reaction_custom_off": [("reaction", ":teapot:", False)],
    "joined": [(Joined, "users/102", "Bob")],
    "left": [(Left, "users/101", "Ann")],
    "renamed": [(RoomRenamed, "Orchard")],
    "foreign_space": [],
    "new_kind": [],
    "broken": [],
}


def digest(event: Any) -> Any:
    """Events whose ids hold the time of a delivery, without it."""
    if isinstance(event, Reaction):
        assert (event.room, event.target, event.author) == (ROOM, "kRt1.kRt1", BOB)
        assert event.native.startswith(("r1+", "r2-"))
        return ("reaction", event.emoji, event.added)
    if isinstance(event, Joined | Left):
        return (type(event), event.author.id, event.author.name)
    if isinstance(event, RoomRenamed):
        return (RoomRenamed, event.title)
    return event


def test_every_payload_has_an_expectation() -> None:
    """No payload lies there unused."""
    assert {path.stem for path in FOLDER.glob("*.json")} == set(EXPECTED)


@pytest.mark.parametrize("name", sorted(EXPECTED))
async def test_payload(store: Redis, name: str) -> None:
    """The payload in, exactly these events out; whatever it is, the next message is heard."""
    given = json.loads((FOLDER / f"{name}.json").read_text("utf-8"))
    interaction = given["way"] == "interaction"
    async with world(store, pubsub=not interaction, started=not interaction) as made:
        if interaction:
            assert await made.people.post(given["payload"]) == 200
        else:
            made.double.publish(given["type"], given["subject"], given["data"])
            last = made.people.said(made.space, made.bob, "after it")
            made.double.happened(made.space, "message.v1.created", "message", last)
            await made.until(
                lambda: any(isinstance(e, MessageNew) and e.text.plain == "after it" for e in made.events.seen)
            )
            made.events.seen.pop()
        assert [digest(event) for event in made.events.seen] == EXPECTED[name]

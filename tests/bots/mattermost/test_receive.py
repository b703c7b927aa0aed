"""Frames of the websocket, as the server sends them: each becomes exactly this event, or none."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from bots.mattermost.receive import Frame, Here, Person, translate
from core.model import (
    AccountId,
    Author,
    Entity,
    FileRef,
    Joined,
    Left,
    MessageDeleted,
    MessageEdited,
    MessageNew,
    NativeId,
    PlatformEvent,
    Reaction,
    ReplyTo,
    RoomId,
    Text,
    Typing,
)

PAYLOADS = Path(__file__).parent / "payloads"
ACCOUNT = AccountId("mm")
ROOM = RoomId("mm/gardengardengardengardena1")
ANN = Author("annannannannannannannanna1", "Ann")
HELPER = Author("helperhelperhelperhelpera1", "helper", is_bot=True)
POST, ROOT = NativeId("postpostpostpostpostpost11"), NativeId("rootrootrootrootrootroot11")
FILE = "filefilefilefilefilefile11"
AT_MS = 1_800_000_000_000
NOW_MS = 1_800_000_009_000
HERE = Here(
    ACCOUNT,
    "mebotmebotmebotmebotmebot1",
    {ANN.id: Person(ANN.id, "Ann", "ann"), HELPER.id: Person(HELPER.id, "helper", "helper", True)},
    "connection:7",
    NOW_MS,
)


def new(text: str | Text, author: Author = ANN, **more: Any) -> MessageNew:
    """A message in the garden."""
    words = text if isinstance(text, Text) else Text(text)
    return MessageNew(room=ROOM, native=POST, at_ms=AT_MS, author=author, text=words, **more)


def hook(name: str) -> Author:
    """Whoever posts through a webhook of Ann's."""
    return Author(f"hook:{ANN.id}", name, is_bot=True)


NOW: dict[str, Any] = {"room": ROOM, "native": NativeId("connection:7"), "at_ms": NOW_MS}
FORMATTED = Text("see this and that 👋", (Entity("bold", 4, 4), Entity("code", 13, 4), Entity("emoji", 18, 1, "wave")))
ATTACHED = Text("Today\nRain\nall day", (Entity("bold", 15, 3),))
EXPECTED: dict[str, PlatformEvent | None] = {
    "posted": new("hello"),
    "posted_formatted": new(FORMATTED),
    "posted_in_thread": new("below", reply_to=ReplyTo(ROOT), thread=ROOT),
    "posted_with_file": new("", files=(FileRef(ACCOUNT, FILE, "seeds.png", "image/png", 1234),)),
    "posted_file_without_metadata": new("look", files=(FileRef(ACCOUNT, FILE, "file"),)),
    "posted_me": new("waves", emote=True),
    "posted_by_us": None,
    "posted_by_bot": new("beep", HELPER, bridged=True),
    "posted_by_webhook": new(ATTACHED, hook("Weather"), bridged=True),
    "posted_attachment_fallback": new("news\nonly this", hook("hook"), bridged=True),
    "posted_system_join": None,
    "posted_burn_on_read": None,
    "posted_by_plugin": new("A call has begun", bridged=True),
    "posted_null_props": new("hello"),
    "posted_broken": None,
    "post_edited": MessageEdited(
        room=ROOM,
        native=NativeId(f"{POST}:edit:{AT_MS + 500}"),
        at_ms=AT_MS + 500,
        target=POST,
        author=ANN,
        text=Text("hello you"),
    ),
    "post_edited_only_pinned": None,
    "post_deleted": MessageDeleted(room=ROOM, native=NativeId(f"{POST}:delete"), at_ms=AT_MS + 700, target=POST),
    "reaction_added": Reaction(target=POST, author=ANN, emoji="🎉", added=True, **NOW),
    "reaction_removed_custom": Reaction(target=POST, author=ANN, emoji=":partyparrot:", added=False, **NOW),
    "reaction_by_us": None,
    "typing": Typing(author=ANN, **NOW),
    "user_added": Joined(author=ANN, **NOW),
    "user_removed": Left(author=ANN, **NOW),
    "status_change": None,
    "ephemeral_message": None,
}


@pytest.mark.parametrize("name", sorted(path.stem for path in PAYLOADS.glob("*.json")))
def test_payload(name: str) -> None:
    """The payload becomes exactly this event."""
    frame = msgspec.json.decode((PAYLOADS / f"{name}.json").read_bytes(), type=Frame)
    assert translate(frame, HERE) == EXPECTED[name]


def test_names_of_webhooks_only_where_the_server_shows_them() -> None:
    """Where the server does not let webhooks choose a name, its people do not see it either."""
    frame = msgspec.json.decode((PAYLOADS / "posted_by_webhook.json").read_bytes(), type=Frame)
    event = translate(frame, msgspec.structs.replace(HERE, overrides=False))
    assert isinstance(event, MessageNew)
    assert event.author.name == "hook"

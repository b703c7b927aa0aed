"""Payloads as GroupMe sends them, and the exact events they become."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bots.groupme import receive
from bots.groupme.payload import Malformed, Message, parse
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
    ReplyTo,
    RoomId,
    RoomRenamed,
    Text,
)

PAYLOADS = Path(__file__).parent / "payloads"
ME = AccountId("gm")
ROOM = RoomId("gm/104123456")
ID = NativeId("176732304512345678")
AT_MS = 1_767_323_045_000
FACE = "https://i.groupme.com/200x200.jpeg.0123456789abcdef0123456789abcdef"
ANN = Author("70000001", "Ann", FACE)
FILES = {"abcdabcd-0000-4000-8000-111122223333": ("plan.pdf", "application/pdf", 12_345)}


def new(text: str | Text, **more: Any) -> MessageNew:
    """Ann's message."""
    words = text if isinstance(text, Text) else Text(text)
    return MessageNew(**({"room": ROOM, "native": ID, "at_ms": AT_MS, "author": ANN, "text": words} | more))


def mentioned(text: str, start: int, length: int) -> Text:
    """A text in which Bob is mentioned."""
    return Text(text, (Entity("mention", start, length, "70000002"),))


def went(kind: type[PlatformEvent], user: str, name: str) -> PlatformEvent:
    """Somebody came or went."""
    return kind(room=ROOM, native=NativeId(f"{ID}:{user}"), at_ms=AT_MS, author=Author(user, name))  # type: ignore[call-arg]


PICTURE = "https://i.groupme.com/480x325.jpeg.9e20b71dd6af4b58bbd132d4a7dec009"
VIDEO = "https://v.groupme.com/104123456/2026-01-02T03:04:05Z/0a1b2c3d.1280x720r90.mp4"
SAID: dict[str, MessageNew] = {
    "callback_text": new("hello there"),
    "push_text": new("from the push channel"),
    "callback_numeric_ids": new("hello there"),
    "callback_nulls": new(
        "",
        author=Author("70000001", "Ann"),
        files=(FileRef(ME, f"url {PICTURE}", "picture.jpeg", "image/jpeg"),),
    ),
    "callback_reply": new("yes", reply_to=ReplyTo(NativeId("176732300000000001"))),
    "callback_reply_base_only": new("old client", reply_to=ReplyTo(NativeId("176732300000000002"))),
    "callback_mention": new(mentioned("🦊 ask @Bob now", 6, 4)),
    "callback_mention_all": new("@all come"),
    "callback_mention_nonsense": new("short"),
    "callback_powerup": new("nice [powerup][powerup]"),
    "callback_location": new("here\n📍 The pond https://maps.google.com/?q=40.500000,-73.250000"),
    "callback_video": new("", files=(FileRef(ME, f"url {VIDEO}", "video.mp4", "video/mp4"),)),
    "callback_file": new(
        "Shared a document: plan.pdf",
        files=(
            FileRef(
                ME,
                "file 104123456 abcdabcd-0000-4000-8000-111122223333",
                "plan.pdf",
                "application/pdf",
                12_345,
            ),
        ),
    ),
    "callback_other_bot": new("score 3:1", author=Author("871618", "Referee", FACE, is_bot=True), bridged=True),
}
HAPPENED: dict[str, list[PlatformEvent]] = {
    "system_added": [went(Joined, "70000003", "Cid"), went(Joined, "70000004", "Dee")],
    "system_joined": [went(Joined, "70000003", "Cid")],
    "system_left": [went(Left, "70000003", "Cid")],
    "system_renamed": [RoomRenamed(room=ROOM, native=ID, at_ms=AT_MS, title="Orchard")],
    "system_message_deleted": [
        MessageDeleted(room=ROOM, native=NativeId(f"deleted:{ID}"), at_ms=AT_MS, target=NativeId(ID))
    ],
    "system_poll": [],
    "system_old_without_event": [],
    "service_calendar": [],
}


def payload(name: str) -> Message:
    """A captured message."""
    return parse((PAYLOADS / f"{name}.json").read_bytes(), Message)


@pytest.mark.parametrize("name", SAID)
def test_what_people_say(name: str) -> None:
    """A message becomes exactly this event."""
    message = payload(name)
    assert not receive.is_system(message)
    assert receive.said(ME, message, FILES) == SAID[name]


@pytest.mark.parametrize("name", HAPPENED)
def test_what_groupme_says(name: str) -> None:
    """A system message becomes what it means, and never text."""
    message = payload(name)
    assert receive.is_system(message)
    assert receive.happened(ME, message) == HAPPENED[name]


def test_an_edit() -> None:
    """An edit names its message, and two edits in one second are two."""
    event = receive.edited(ME, payload("push_edited"), {})
    assert (event.target, event.text, event.author, event.at_ms) == (ID, Text("hello again"), ANN, 1_767_323_100_000)
    assert isinstance(event, MessageEdited)
    assert event.native.startswith(f"edit:{ID}:1767323100000:")


@pytest.mark.parametrize(("name", "emoji"), [("favorite", "👍"), ("favorite_powerup", ":powerup:"), ("like_old", "❤️")])
def test_reactions(name: str, emoji: str) -> None:
    """The reaction that stands is read in every form; another one in its place is one gone and one come."""
    subject = json.loads((PAYLOADS / f"{name}.json").read_text())["subject"]
    assert receive.standing(subject, "70000002") == emoji
    assert receive.standing(subject, "70000001") == ""
    bob = Author("70000002", "Bob")
    gone, come = receive.reacted(ROOM, ID, bob, ("🔥", emoji), 5)
    assert (gone.emoji, gone.added, come.emoji, come.added) == ("🔥", False, emoji, True)
    assert gone.native != come.native
    assert receive.reacted(ROOM, ID, bob, (emoji, emoji), 5) == []


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b'"x"', b"\xff\xfe", b'{"attachments": [1]}', b'{"text": 5}', b"[" * 9999]
)
def test_malformed_bodies(body: bytes) -> None:
    """What is no message is said to be none, never an error of ours."""
    with pytest.raises(Malformed):
        parse(body, Message)


@pytest.mark.parametrize("field", ["id", "group_id"])
def test_messages_without_ids(field: str) -> None:
    """A message that names no place or no id is malformed."""
    raw = json.loads((PAYLOADS / "callback_text.json").read_text())
    with pytest.raises(Malformed):
        receive.said(ME, parse(json.dumps(raw | {field: None}).encode(), Message), {})


LEAVES = st.none() | st.booleans() | st.integers(-5, 1 << 60) | st.text(max_size=8)
JSON = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=6,
)
KINDS = st.sampled_from(["image", "video", "file", "reply", "mentions", "emoji", "location", "poll"])
FIELDS = ["url", "user_ids", "loci", "file_id", "reply_id", "placeholder", "charmap", "lat", "lng", "name"]
PARTS = st.lists(st.fixed_dictionaries({"type": KINDS}, optional=dict.fromkeys(FIELDS, JSON)), max_size=3)


@given(text=st.text(max_size=40), parts=PARTS, kind=st.sampled_from([*HAPPENED, ""]), data=JSON)
def test_nothing_breaks_the_reader(text: str, parts: list[dict[str, Any]], kind: str, data: Any) -> None:
    """Whatever stands in attachments and events: an event, or Malformed."""
    raw = {"id": "1", "group_id": "2", "sender_id": "3", "text": text, "attachments": parts, "name": "N"}
    message = parse(json.dumps(raw | {"event": {"type": f"membership.{kind}", "data": data}}).encode(), Message)
    said = receive.said(ME, message, {})
    assert all(0 <= e.start < e.start + e.length <= len(said.text.plain) for e in said.text.entities)
    for event in ("membership.announce.added", "membership.announce.joined", "group.name_change", "message.deleted"):
        odd = parse(json.dumps(raw | {"event": {"type": event, "data": data}}).encode(), Message)
        try:
            receive.happened(ME, odd)
        except Malformed:
            continue

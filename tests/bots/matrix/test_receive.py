"""Every payload, and the event that is made of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bots.matrix.receive import answers, reaction, said, told
from core.model import AccountId, Author, Entity, FileRef, MessageEdited, MessageNew, NativeId, Reaction, Text, room_id

PAYLOADS = Path(__file__).parent / "payloads"
ACCOUNT = AccountId("matrix")
ROOM = room_id(ACCOUNT, "!gQhrTb0aX9")
ANN = Author("@ann:example.org", "Ann")
BED = FileRef(ACCOUNT, "example.org/bEdJpG", "bed.jpg", "image/jpeg", 31037)
VOICE = FileRef(ACCOUNT, "example.org/vOiCe", "Voice message.ogg", "audio/ogg", 9000)
PLACE = "📍 The shed https://www.openstreetmap.org/?mlat=51.50080&mlon=0.12470"


def load(name: str) -> dict[str, Any]:
    """A captured payload."""
    return dict(json.loads((PAYLOADS / f"{name}.json").read_text()))


NEW: dict[str, dict[str, Any]] = {
    "text": {"text": Text("The tomatoes are ripe")},
    "html": {
        "text": Text(
            "Water the beds Bob",
            (Entity("bold", 0, 5), Entity("italic", 10, 4), Entity("mention", 15, 3, "@bob:example.org")),
        )
    },
    "code": {"text": Text("print(1)", (Entity("pre", 0, 8, "python"),))},
    "spoiler": {"text": Text("It was the gardener", (Entity("spoiler", 7, 12),))},
    "emote": {"text": Text("waters the beds"), "emote": True},
    "notice": {
        "text": Text("Rain at 4 pm"),
        "author": Author("@ann:example.org", "Ann", is_bot=True),
        "bridged": True,
    },
    "reply_with_fallback": {"text": Text("I have it")},
    "reply_plain_fallback": {"text": Text("Me")},
    "thread": {"text": Text("About the hose"), "thread": NativeId("$root")},
    "thread_reply": {"text": Text("Yes, that one"), "thread": NativeId("$root")},
    "image": {"text": Text("the north bed"), "files": (BED,)},
    "file_old_style": {
        "text": Text(),
        "files": (FileRef(ACCOUNT, "example.org/pLaN", "plan.pdf", "application/pdf", 1000),),
    },
    "file_odd": {"text": Text(), "files": (FileRef(ACCOUNT, "example.org/oDd", "data"),)},
    "file_encrypted": {"text": Text("[encrypted file, which cannot be passed on: secret.txt]")},
    "voice": {"text": Text("🎤 Voice message (1:07)"), "files": (VOICE,)},
    "location": {"text": Text(PLACE)},
    "sticker": {
        "text": Text("[sticker: Happy beet]"),
        "files": (FileRef(ACCOUNT, "example.org/bEeT", "Happy beet", "image/png", 512),),
    },
    "poll": {"text": Text("📊 When do we dig?\n1. Monday\n2. Friday")},
    "poll_stable": {"text": Text("📊 Which seed?\n1. Kale\n2. Leek")},
    "custom_emoji": {"text": Text("Well done :trowel:", (Entity("emoji", 10, 8, "trowel"),))},
    "unknown_msgtype": {"text": Text("A packet of seed")},
    "relayed_by_us": {"text": Text("Hello from afar"), "bridged": True},
    "relation_is_no_object": {"text": Text("still readable")},
}


@pytest.mark.parametrize("name", NEW)
def test_a_message(name: str) -> None:
    """A payload of something said becomes exactly this event."""
    raw = load(name)
    event = told(raw)
    assert event is not None
    given = {"author": ANN} | NEW[name]
    wanted = MessageNew(room=ROOM, native=NativeId(raw["event_id"]), at_ms=raw["origin_server_ts"], **given)
    assert said(event, ROOM, ACCOUNT, ANN, None) == wanted


@pytest.mark.parametrize("name", ["redacted", "body_is_no_text", "edit_without_content"])
def test_nothing_to_read(name: str) -> None:
    """What was taken back, or holds no words, is no message."""
    event = told(load(name))
    assert event is not None
    assert said(event, ROOM, ACCOUNT, ANN, None) is None


def test_an_edit() -> None:
    """An edit has an id of its own and names the message."""
    event = told(load("edit"))
    assert event is not None
    assert said(event, ROOM, ACCOUNT, ANN, None) == MessageEdited(
        room=ROOM,
        native=NativeId("$ev11_edit"),
        at_ms=event.at_ms,
        target=NativeId("$ev01_text"),
        author=ANN,
        text=Text("The tomatoes are red"),
    )


@pytest.mark.parametrize(("name", "emoji"), [("reaction", "🍅"), ("reaction_custom", ":sunflower:")])
def test_a_reaction(name: str, emoji: str) -> None:
    """A reaction's key is its emoji; a picture of somebody's own goes by its shortcode."""
    event = told(load(name))
    assert event is not None
    assert reaction(event, ROOM, ANN) == Reaction(
        room=ROOM,
        native=NativeId(event.id),
        at_ms=event.at_ms,
        target=NativeId("$ev01_text"),
        author=ANN,
        emoji=emoji,
    )


@pytest.mark.parametrize(
    ("name", "to"),
    [
        ("reply_with_fallback", "$question"),
        ("thread", ""),
        ("thread_reply", "$asked"),
        ("text", ""),
        ("relation_is_no_object", ""),
    ],
)
def test_what_is_answered(name: str, to: str) -> None:
    """An answer names its question; what only stands in a thread answers nobody."""
    event = told(load(name))
    assert event is not None
    assert answers(event) == to


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
FIELDS = ("body", "formatted_body", "format", "msgtype", "url", "info", "file", "filename", "m.relates_to", "geo_uri")
ODD = ("m.new_content", "m.poll", "m.text", "org.matrix.msc3381.poll.start")
CONTENT = st.dictionaries(st.sampled_from((*FIELDS, *ODD)), JSON | st.just("org.matrix.custom.html"), max_size=6)
KINDS = st.sampled_from(("m.room.message", "m.sticker", "m.poll.start", "m.poll.end", "m.reaction"))
MSGTYPES = st.sampled_from(("m.text", "m.image", "m.location", "m.audio", "m.emote"))


@given(CONTENT, KINDS, MSGTYPES)
def test_odd_content_breaks_nothing(content: dict[str, Any], kind: str, msgtype: str) -> None:
    """Whatever somebody puts into an event, it is read or passed over, and never an error."""
    content = {"msgtype": msgtype} | content
    event = told({"event_id": "$x", "type": kind, "sender": "@a:b", "room_id": "!r", "content": content})
    assert event is not None
    said(event, ROOM, ACCOUNT, ANN, None)
    reaction(event, ROOM, ANN)
    answers(event)


@given(JSON)
def test_what_is_no_event_is_passed_over(raw: object) -> None:
    """An event has an id, a type, a sender, a room and a content."""
    assert told(raw) is None

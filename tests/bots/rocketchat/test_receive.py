"""Payloads as Rocket.Chat sends them, and the exact events they become."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bots.rocketchat import receive
from core.model import AccountId, Author, Entity, FileRef, MessageNew, NativeId, ReplyTo, RoomId, Text

PAYLOADS = Path(__file__).parent / "payloads"
RC = AccountId("rc")
ROOM = RoomId("rc/rrRoom00000000001")
BASE = "https://chat.example.org"
SITES = frozenset({"chat.example.org"})
ANN = Author("aaUser00000000001", "Ann", f"{BASE}/avatar/ann")
AT_MS = 1_767_323_045_678


def load(name: str) -> Any:
    """A payload."""
    return json.loads((PAYLOADS / f"{name}.json").read_text())


def new(plain: str, *entities: tuple[Any, ...], **more: Any) -> MessageNew:
    """Ann's message."""
    given = {
        "room": ROOM,
        "native": NativeId("mmMessage00000001"),
        "at_ms": AT_MS,
        "author": ANN,
        "text": Text(plain, tuple(Entity(*entity) for entity in entities)),
    }
    return MessageNew(**(given | more))


def file(name: str, ref: str, mime: str, size: int) -> tuple[FileRef, ...]:
    """One file."""
    return (FileRef(RC, ref, name, mime, size),)


EXPECTED = {
    "text": new(
        "see this and that, not x = 1",
        ("bold", 4, 4),
        ("italic", 13, 4),
        ("strike", 19, 3),
        ("code", 23, 5),
    ),
    "text_without_md": new("as *typed* on an old server"),
    "answer_with_iso_dates": new("from history"),
    "blocks": new("Plan\n- one\n- two\n3. three\n- [x] done\n- [ ] open", ("bold", 0, 4)),
    "quote_and_code": new("said\nlet a\n\nlet b\nafter", ("quote", 0, 4), ("pre", 5, 12, "js")),
    "blank_lines": new("one\n\n\ntwo"),
    "links": new("docs and example.org bad", ("link", 0, 4, "https://example.org/d")),
    "mention": new("hi @Bob and @ghost", ("mention", 3, 4, "bbUser00000000002")),
    "mention_all": new("@all come in #pond"),
    "emoji": new("😄:party_parrot::)"),
    "unicode_emoji": new("🚀 up"),
    "spoiler_and_timestamp": new("x 2027-01-15 08:00 UTC", ("spoiler", 0, 1), ("timestamp", 2, 20, "1800000000")),
    "reply": new("yes", reply_to=ReplyTo(NativeId("qqMessage00000009"), "bob", "shall we?")),
    "reply_to_another_server": new("yes"),
    "thread": new("below", thread=NativeId("ttMessage00000005")),
    "image": new("look", files=file("tree house.png", "ffFile00000000001/tree%20house.png", "image/png", 4321)),
    "file_with_description": new(
        "the plan", files=file("plan.pdf", "ffFile00000000002/plan.pdf", "application/pdf", 77)
    ),
    "file_elsewhere": new("see"),
    "integration": new(
        "Build 7\nfailed", author=Author(ANN.id, "CI", "https://ci.example.org/a.png", is_bot=True), bridged=True
    ),
    "alias_without_bot": new("from elsewhere", author=Author(ANN.id, "Zed (Slack)", ANN.avatar_url), bridged=True),
    "nulls": new("", author=Author(ANN.id, "ann", ANN.avatar_url)),
    "unknown_nodes": new("ab\nx^2 y"),
    "encrypted": new("(an encrypted message, which the bridge cannot read)"),
}


@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_a_message_is_exactly_this_event(name: str) -> None:
    """Payload in, event out."""
    assert receive.said(RC, receive.read(load(name)), BASE, SITES) == EXPECTED[name]


def test_an_edit_is_exactly_this_event() -> None:
    """Its own id is made of the message's and of when it was changed."""
    event = receive.edited(RC, receive.read(load("edited")), BASE)
    assert (event.target, event.native) == ("mmMessage00000001", "mmMessage00000001/edit/1767323099000")
    assert (event.text, event.author, event.at_ms) == (Text("better"), ANN, 1_767_323_099_000)


def test_reactions_are_what_changed() -> None:
    """The message says what stands; events are the difference."""
    now = receive.standing(receive.read(load("reacted")))
    assert now == {"+1": ["bob", "ann"], "tada": ["bob"]}
    assert receive.changes({"+1": ["bob"], "x": ["ann"]}, now) == [
        ("x", "ann", False),
        ("+1", "ann", True),
        ("tada", "bob", True),
    ]
    event = receive.reacted(ROOM, "m1", ANN, "+1", True, 5)
    assert (event.emoji, event.target, event.added) == ("👍", "m1", True)


def test_every_payload_is_used() -> None:
    """No payload lies about without a test."""
    assert {path.stem for path in PAYLOADS.glob("*.json")} == EXPECTED.keys() | {"edited", "reacted"}


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)
KINDS = ["PARAGRAPH", "BOLD", "LINK", "QUOTE", "CODE", "EMOJI", "TASKS", "TIMESTAMP", "MENTION_USER", "LINE_BREAK"]


@given(st.sampled_from(sorted(EXPECTED)), st.sampled_from([*load("text"), "alias", "files", "file"]), ANYTHING)
def test_odd_fields_do_no_harm(name: str, field: str, value: Any) -> None:
    """Whatever stands in a field: an event, or Malformed, and nothing else."""
    try:
        message = receive.read({**load(name), field: value})
    except receive.Malformed:
        return
    receive.said(RC, message, BASE, SITES)
    receive.edited(RC, message, BASE)
    receive.standing(message)


@given(st.lists(st.fixed_dictionaries({"type": st.sampled_from(KINDS), "value": ANYTHING}), max_size=4))
def test_odd_trees_do_no_harm(md: list[Any]) -> None:
    """Whatever the tree is, there is a sound text."""
    text = receive.said(RC, receive.read({**load("text"), "md": md}), BASE, SITES).text
    for entity in text.entities:
        assert 0 <= entity.start < entity.start + entity.length <= len(text.plain)


def test_a_deep_tree_ends() -> None:
    """A thousand levels are no trouble."""
    tree: Any = {"type": "PLAIN_TEXT", "value": "x"}
    for _ in range(900):
        tree = {"type": "BOLD", "value": [tree]}
    receive.said(RC, receive.read({**load("text"), "md": [{"type": "PARAGRAPH", "value": [tree]}]}), BASE, SITES)

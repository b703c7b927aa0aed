"""A payload in, exact events out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bots.teams.activity import decode
from bots.teams.intake import UPDATES
from bots.teams.receive import changes, events
from bots.teams.rooms import Room, merged
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
    PlatformEvent,
    Reaction,
    ReplyTo,
    RoomRenamed,
    Text,
    Typing,
    room_id,
)

PAYLOADS = Path(__file__).parent / "payloads"
ACCOUNT = AccountId("teams")
NOW_MS = 1_800_000_000_000
AT_MS = 1_795_168_800_500
"""2026-11-20 10:00:00.5 UTC."""
CHANNEL = room_id(ACCOUNT, "19:seeds000000000000000000000000000@thread.tacv2")
TEAM = room_id(ACCOUNT, "19:team0000000000000000000000000000@thread.tacv2")
CHAT = room_id(ACCOUNT, "19:chat00000000000000000000000000000@thread.v2")
ALONE = room_id(ACCOUNT, "a:1personal-chat_with-Ann")
ANN, BOB = Author("29:1aNn", "Ann Archer"), Author("29:1bOb", "Bob Baker")
WEATHER = Author("28:another-bot", "Weather", is_bot=True)


def new(room: str, native: str, text: Text | str, author: Author = ANN, **more: Any) -> MessageNew:
    """A message."""
    words = text if isinstance(text, Text) else Text(text)
    fields: dict[str, Any] = {"room": room, "native": native, "at_ms": AT_MS, "author": author, "text": words} | more
    return MessageNew(**fields)


def happened(kind: type[Any], room: str, native: str, after_ms: int = 0, **more: Any) -> Any:
    """Something else."""
    return kind(room=room, native=native, at_ms=AT_MS + after_ms, **more)


WANTED: dict[str, list[PlatformEvent]] = {
    "message_personal": [new(ALONE, "1700000000001", Text("Hello there", (Entity("bold", 6, 5),)))],
    "message_channel_root": [new(CHANNEL, "1700000000002", "-sameroom open")],
    "message_channel_reply": [
        new(
            CHANNEL,
            "1700000000003",
            Text("I can help", (Entity("italic", 2, 3),)),
            BOB,
            thread="1700000000002",
            reply_to=ReplyTo("1700000000002"),  # type: ignore[arg-type]
        )
    ],
    "message_chat_quote": [
        new(CHAT, "1700000000004", "me", BOB, reply_to=ReplyTo("1700000000001", "Ann Archer", "who waters?"))  # type: ignore[arg-type]
    ],
    "message_chat_quote_entity": [
        new(CHAT, "1700000000005", "me", BOB, reply_to=ReplyTo("1700000000001", "Ann Archer", "who waters?"))  # type: ignore[arg-type]
    ],
    "message_plain_only": [new(ALONE, "1700000000006", "a < b & c\nd")],
    "message_nulls": [new(CHAT, "1700000000007", "nothing but text", Author("29:1aNn", "somebody"))],
    "message_odd": [new(CHAT, "1700000000008", "odd", at_ms=NOW_MS)],
    "message_picture": [
        new(
            CHAT,
            "1700000000009",
            "seedlings",
            files=(FileRef(ACCOUNT, "51ce8caa0e8b1d4e", "picture.png", "image/png"),),
        )
    ],
    "message_file": [
        new(ALONE, "1700000000010", "the plan", files=(FileRef(ACCOUNT, "x", "plan.pdf", "application/pdf"),))
    ],
    "message_card": [],
    "message_other_bot": [new(CHAT, "1700000000012", "Rain", WEATHER, bridged=True)],
    "message_own": [],
    "message_emoji_code": [new(CHAT, "1700000000014", Text("ok 🙂\nprint(1)", (Entity("pre", 5, 8, "python"),)))],
    "edit": [
        happened(
            MessageEdited,
            ALONE,
            "1700000000001:edited:2026-11-20T10:01:00.25Z",
            59_750,
            target="1700000000001",
            author=ANN,
            text=Text("Hello all"),
        )
    ],
    "undelete": [
        happened(
            MessageEdited,
            CHANNEL,
            "1700000000003:edited:2026-11-20T10:02:00Z",
            119_500,
            target="1700000000003",
            author=BOB,
            text=Text("I can help"),
        )
    ],
    "delete": [
        happened(MessageDeleted, CHANNEL, "1700000000003:deleted:2026-11-20T10:03:00Z", 179_500, target="1700000000003")
    ],
    "reaction_added": [
        happened(Reaction, CHAT, "f:5f85c2ad:+like", target="1700000000099", author=ANN, emoji="👍"),
        happened(Reaction, CHAT, "f:5f85c2ad:+1f440_eyes", target="1700000000099", author=ANN, emoji="👀"),
    ],
    "reaction_removed": [
        happened(Reaction, CHANNEL, "f:5f85c2ae:-heart", target="1700000000099", author=ANN, emoji="❤️", added=False)
    ],
    "bot_added_to_team": [happened(BotAdded, CHANNEL, "f:0b9079f4:added", title="Garden Club / Seeds")],
    "bot_added_to_person": [
        happened(BotAdded, ALONE, "f:0b9079f5:added", title="Ann Archer", by=ANN),
        happened(Joined, ALONE, "f:0b9079f5:joined:29:1aNn", author=Author("29:1aNn", "somebody")),
    ],
    "member_removed": [happened(Left, TEAM, "f:d8a6a4aa:left:29:1bOb", author=Author("29:1bOb", "somebody"))],
    "bot_removed_from_team": [
        happened(BotRemoved, CHANNEL, "f:d8a6a4ab:removed", reason="the bot was removed"),
        happened(BotRemoved, TEAM, "f:d8a6a4ab:removed", reason="the bot was removed"),
    ],
    "channel_renamed": [happened(RoomRenamed, CHANNEL, "f:dd6ec311:renamed", title="Garden Club / Seeds")],
    "channel_deleted": [happened(BotRemoved, CHANNEL, "f:dd6ec312:removed", reason="the channel was deleted")],
    "team_renamed": [
        happened(RoomRenamed, CHANNEL, "f:1406033e:renamed", title="Garden Club / Seeds"),
        happened(RoomRenamed, TEAM, "f:1406033e:renamed", title="Greens"),
    ],
    "team_deleted": [
        happened(BotRemoved, CHANNEL, "f:1406033f:removed", reason="the team was deleted"),
        happened(BotRemoved, TEAM, "f:1406033f:removed", reason="the team was deleted"),
    ],
    "chat_renamed": [happened(RoomRenamed, CHAT, "f:14060340:renamed", title="Allotment")],
    "app_removed": [happened(BotRemoved, ALONE, "f:3fda6cb2:removed", reason="the app was removed")],
    "app_added": [happened(BotAdded, ALONE, "f:3fda6cb3:added", title="Ann Archer", by=ANN)],
    "app_upgraded": [],
    "read_receipt": [],
    "invoke": [],
    "typing": [happened(Typing, ALONE, "f:b4783e74", author=ANN)],
    "skype_message": [
        new(
            room_id(ACCOUNT, "19:skypegroup@thread.skype"),
            "1486429873123",
            Text("hi :)", (Entity("bold", 0, 2),)),
            Author("29:skypeann", "Ann"),
        )
    ],
}
SEEDS = Room(
    CHANNEL.partition("/")[2], kind="channel", name="Seeds", team=TEAM.partition("/")[2], team_name="Garden Club"
)


def test_every_payload_is_looked_at() -> None:
    """The table and the folder have the same names."""
    assert {path.stem for path in PAYLOADS.glob("*.json")} == set(WANTED)
    assert len(WANTED) >= 15


def nameless(event: PlatformEvent) -> PlatformEvent:
    """Without the references of files, which say nothing."""
    import msgspec

    if isinstance(event, MessageNew) and event.files:
        files = tuple(msgspec.structs.replace(one, ref="") for one in event.files)
        return msgspec.structs.replace(event, files=files)
    return event


@pytest.mark.parametrize("name", sorted(WANTED))
def test_payload(name: str) -> None:
    """Exactly these events, whatever else is in it; each with a reference of its own for each file."""
    activity = decode((PAYLOADS / f"{name}.json").read_bytes())
    room = merged(None, activity)
    assert activity.recipient
    own = frozenset({activity.recipient.id})
    if activity.type in UPDATES:
        team = [SEEDS] if activity.data().team else []
        team = [one for one in team if one.id != room.id]
        found = changes(activity, ACCOUNT, room, team, own, NOW_MS)
    else:
        found, files = events(activity, ACCOUNT, room, own, NOW_MS)
        refs = [file.ref for event in found if isinstance(event, MessageNew) for file in event.files]
        assert set(files) == set(refs)
        assert len(refs) == len(set(refs))
        assert all("/" not in ref and "tempauth" not in ref for ref in refs)
    assert [nameless(event) for event in found] == [nameless(event) for event in WANTED[name]]

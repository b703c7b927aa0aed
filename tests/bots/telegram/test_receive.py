"""Captured updates, each with exactly the events that it means."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from bots.telegram.receive import Me, events, merged
from core import model
from core.model import AccountId, Author, Entity, FileRef, ReplyTo, Text

ME = Me(AccountId("tg"), 700, "bridge_bot", "sameroom", 20_000_000)
PAYLOADS = sorted((Path(__file__).parent / "payloads").glob("*.json"))


def built(raw: dict[str, Any], number: int) -> Any:
    """The event that a payload's file describes; ``{}`` in an id stands for the update's number."""
    fields = dict(raw)
    kind = getattr(model, fields.pop("type"))
    fields["native"] = fields["native"].replace("{}", str(number))
    if "text" in fields:
        entities = tuple(Entity(*entity) for entity in fields["text"]["entities"])
        fields["text"] = Text(fields["text"]["plain"], entities)
    for name in ("author", "by"):
        if name in fields:
            fields[name] = Author(**fields[name])
    if "files" in fields:
        fields["files"] = tuple(FileRef(**file) for file in fields["files"])
    if "reply_to" in fields:
        fields["reply_to"] = ReplyTo(**fields["reply_to"])
    return kind(**fields)


@pytest.mark.parametrize("path", PAYLOADS, ids=lambda path: path.stem)
def test_payload(path: Path) -> None:
    """The update becomes these events and no others."""
    captured = json.loads(path.read_text())
    update = captured["update"]
    assert events(update, ME) == [built(raw, update["update_id"]) for raw in captured["events"]]


def test_an_album_is_one_message() -> None:
    """The parts of an album become one message: the first one's id, all files, all captions."""

    def part(number: int, caption: str) -> dict[str, Any]:
        chat = {"id": -1000000001500, "type": "supergroup", "title": "Garden"}
        document = {"file_id": f"f{number}", "file_unique_id": "u", "file_name": f"{number}.pdf"}
        message = {"message_id": number, "date": 1, "chat": chat, "from": {"id": 5, "first_name": "Ann"}}
        return {"update_id": number, "message": message | {"document": document, "caption": caption}}

    parts = [
        event
        for number, caption in ((7, "plans"), (8, ""), (9, "and more"))
        for event in events(part(number, caption), ME)
    ]
    album = merged(parts)  # type: ignore[arg-type]
    assert album.native == "7"
    assert album.text == Text("plans\nand more")
    assert [file.ref for file in album.files] == ["f7", "f8", "f9"]


@pytest.mark.parametrize(
    "update",
    [
        {},
        {"update_id": 1},
        {"update_id": 1, "message": None},
        {"update_id": 1, "message": []},
        {"update_id": 1, "message": {"text": "no chat"}},
        {"update_id": 1, "message": {"chat": "no object", "text": "x"}},
    ],
)
def test_updates_without_a_message_mean_nothing(update: dict[str, Any]) -> None:
    """What has no message in it is ignored."""
    assert events(update, ME) == []

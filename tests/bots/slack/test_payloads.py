"""Captured events, each with exactly what it means."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from bots.slack.api import Api
from bots.slack.config import SlackConfig
from bots.slack.directory import Directory
from bots.slack.intake import Intake
from bots.slack.memory import Memory, Person, Room
from core import model
from core.model import AccountId, Author, Entity, FileRef, ReplyTo, Text
from core.store import Redis
from tests.contract.harness import services

PAYLOADS = sorted((Path(__file__).parent / "payloads").glob("*.json"))
SLACK = AccountId("slack")
CONFIG = SlackConfig(
    bot_token="xoxb-nobody-asks",
    team_id="T0GARDEN1",
    user_id="U0BRIDGE1",
    bot_id="B0BRIDGE1",
    app_id="A0BRIDGE1",
    bot_name="bridge",
    api_url="http://127.0.0.1:9/api",
)


@pytest.fixture
async def intake(store: Redis) -> AsyncIterator[Intake]:
    """An account that knows two people and two channels, and asks nobody."""
    lent = services(store, SLACK, "")
    memory, api = Memory(SLACK, lent, ""), Api(CONFIG)
    await memory.keep_person("U0ANN0001", Person("Ann", "https://avatars.example.org/ann.png"))
    await memory.keep_person("U0BOB0001", Person("Bob"))
    await memory.keep_room("C0GARDEN1", Room("#garden"))
    await memory.keep_room("C0SHED001", Room("#shed"))
    yield Intake(Directory(SLACK, api, CONFIG, memory, "sameroom"), memory)
    await api.close()


def built(raw: dict[str, Any]) -> Any:
    """The event that a payload's file describes."""
    fields = dict(raw)
    kind = getattr(model, fields.pop("type"))
    if "text" in fields:
        entities = tuple(Entity(*entity) for entity in fields["text"].get("entities", ()))
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
async def test_payload(intake: Intake, path: Path) -> None:
    """The event becomes these events and no others; a second time the same."""
    captured = json.loads(path.read_text())
    wanted = [built(raw) for raw in captured["events"]]
    assert await intake.events(captured["event"]) == wanted
    if not any(isinstance(event, model.BotRemoved | model.BotAdded | model.RoomMoved) for event in wanted):
        assert await intake.events(captured["event"]) == wanted

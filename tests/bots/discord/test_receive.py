"""Captured gateway events, each with exactly the events that it means."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from bots.discord.api import Api
from bots.discord.cache import Cache
from bots.discord.config import DiscordConfig
from bots.discord.intake import Intake
from bots.discord.receive import Me
from core import model
from core.contract import Services
from core.model import AccountId, Author, Entity, FileRef, ReplyTo, Text
from core.store import Redis
from tests.contract.harness import services
from tests.contract.stage import Recorder

DC = AccountId("dc")
HERE = Path(__file__).parent
PAYLOADS = sorted((HERE / "payloads").glob("*.json"))
READY = {"user": {"id": "170000000000000700"}, "application": {"id": "170000000000000701"}}


def lent(store: Redis) -> Services:
    """What a host lends; it is a little after the payloads' messages."""
    return replace(services(store, DC, "http://portal.example"), now_ms=lambda: 1_767_323_200_000)


async def intake_in_club(store: Redis, events: Recorder) -> Intake:
    """An account that has been told of one server."""
    me = Me(DC, "", "", "sameroom", "https://cdn.example")
    api = Api(DiscordConfig(token="t", api_url="http://127.0.0.1:9"))
    intake = Intake(me, Cache(), api, lent(store), events)
    guild = json.loads((HERE / "guild.json").read_text())
    await intake.take_in("READY", READY | {"guilds": [{"id": guild["id"], "unavailable": True}]}, "m:0")
    await intake.take_in("GUILD_CREATE", guild, "m:0")
    events.seen.clear()
    return intake


def built(raw: dict[str, Any]) -> Any:
    """The event that a payload's file describes."""
    fields = dict(raw)
    kind = getattr(model, fields.pop("type"))
    if "text" in fields:
        fields["text"] = Text(fields["text"]["plain"], tuple(Entity(*entity) for entity in fields["text"]["entities"]))
    if "author" in fields:
        fields["author"] = Author(**fields["author"])
    if "files" in fields:
        fields["files"] = tuple(FileRef(**file) for file in fields["files"])
    if "reply_to" in fields:
        fields["reply_to"] = ReplyTo(**fields["reply_to"])
    return kind(**fields)


@pytest.mark.parametrize("path", PAYLOADS, ids=lambda path: path.stem)
async def test_payload(store: Redis, path: Path) -> None:
    """The payload becomes these events and no others, and the same ones again when it is redelivered."""
    events = Recorder()
    intake = await intake_in_club(store, events)
    captured = json.loads(path.read_text())
    await intake.take_in(captured["event"], captured["data"], "m:1")
    intake.pause()
    assert events.seen == [built(raw) for raw in captured["events"]]


async def test_a_new_server_is_greeted_once(store: Redis) -> None:
    """A server that was not known before is greeted in its system channel; after a restart it is known."""
    for expected in (1, 0):
        events = Recorder()
        intake = Intake(
            Me(DC, "", "", "sameroom", ""),
            Cache(),
            Api(DiscordConfig(token="t")),
            lent(store),
            events,
        )
        await intake.load()
        guild = json.loads((HERE / "guild.json").read_text())
        await intake.take_in("READY", READY | {"guilds": [{"id": guild["id"], "unavailable": True}]}, "m:1")
        assert not events.is_online
        await intake.take_in("GUILD_CREATE", guild, "m:2")
        assert events.is_online
        assert len(events.seen) == expected
    assert not events.seen


async def test_a_server_that_was_lost_while_away(store: Redis) -> None:
    """A server that is no longer there at the start has removed the bot meanwhile."""
    events = Recorder()
    await intake_in_club(store, events)
    again = Intake(
        Me(DC, "", "", "sameroom", ""),
        Cache(),
        Api(DiscordConfig(token="t")),
        lent(store),
        events,
    )
    await again.load()
    await again.take_in("READY", READY | {"guilds": []}, "m:1")
    removed = [event for event in events.seen if isinstance(event, model.BotRemoved)]
    assert [event.room for event in removed] == ["dc/120000000000000001"]
    events.seen.clear()
    await again.load()
    await again.take_in("READY", READY | {"guilds": []}, "m:2")
    assert not events.seen

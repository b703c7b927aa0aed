"""Captured stanzas: payload in, exact events out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from bots.xmpp import xml as x
from bots.xmpp.hearing import Hearing
from bots.xmpp.memory import Memory
from bots.xmpp.receive import hear
from bots.xmpp.rooms import Occupant, Room
from core.model import PlatformEvent
from core.store import Redis
from tests.bots.xmpp.support import ACCOUNT
from tests.contract.harness import services
from tests.servers.xmpp import element

PAYLOADS = sorted((Path(__file__).parent / "payloads").glob("*.json"))
GARDEN = "garden@conference.example.org"
FEATURES = frozenset({x.SID, x.MAM, x.OCCUPANT})
NOW_MS = 1_800_000_000_000


def garden(about: dict[str, Any]) -> Room:
    """The room that a payload is said in."""
    room = Room(ACCOUNT, GARDEN, "bridgebot")
    room.state = "joined"
    room.features = frozenset() if about.get("plain") else FEATURES
    if about.get("open"):
        room.features |= {"muc_nonanonymous"}
    room.occupants = {nick: Occupant(jid=f"{nick.lower()}@example.org") for nick in ("Ann", "Bob")}
    return room


def shape(event: PlatformEvent) -> dict[str, Any]:
    """What an event says, without what all of them say."""
    fields = {"event": type(event).__name__}
    for field in msgspec.structs.fields(type(event)):
        value = getattr(event, field.name)
        if field.name not in ("room", "at_ms") and value != field.default:
            fields[field.name] = msgspec.json.decode(msgspec.json.encode(value))
    return fields


async def events(payload: dict[str, Any], memory: Memory) -> list[dict[str, Any]]:
    """What the payload's last stanza becomes."""
    room, hearing = garden(payload["room"]), Hearing(ACCOUNT, memory)
    found: list[PlatformEvent] = []
    for stanza in (*payload["before"], payload["stanza"]):
        heard = hear(element(stanza), GARDEN, stable_ids=room.stable_ids)
        assert (heard is not None and heard.at_ms > 0) == bool(payload["room"].get("delayed"))
        found = await hearing.events(room, heard, NOW_MS) if heard and not heard.at_ms else []
    return [shape(event) for event in found]


@pytest.mark.parametrize("path", PAYLOADS, ids=lambda path: path.stem)
async def test_payload(path: Path, store: Redis) -> None:
    """The stanza becomes exactly the events that the file says."""
    payload = json.loads(path.read_text())
    memory = Memory(services(store, ACCOUNT, ""))
    try:
        assert await events(payload, memory) == payload["events"]
    finally:
        await memory.stop()


@pytest.mark.parametrize(
    "path",
    [path for path in PAYLOADS if path.stem.startswith(("correction", "reaction", "retr"))],
    ids=lambda path: path.stem,
)
async def test_payload_after_a_restart(path: Path, store: Redis) -> None:
    """What came before was heard in an earlier life: the same events, by what is kept in the store."""
    payload = json.loads(path.read_text())
    earlier = Memory(services(store, ACCOUNT, ""))
    for number, stanza in enumerate(payload["before"]):
        await events(payload | {"before": payload["before"][:number], "stanza": stanza}, earlier)
    await earlier.stop()
    memory = Memory(services(store, ACCOUNT, ""))
    try:
        assert await events(payload | {"before": []}, memory) == payload["events"]
    finally:
        await memory.stop()


def test_there_are_enough() -> None:
    """The odd ones are among them."""
    assert len(PAYLOADS) >= 15

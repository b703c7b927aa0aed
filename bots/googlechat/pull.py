"""Workspace events, pulled from Pub/Sub: confirmed only when the relay has them."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Callable, Sequence
from typing import Any, Final

import msgspec
import structlog

from bots.googlechat import receive
from bots.googlechat.api import Api
from bots.googlechat.intake import Intake
from bots.googlechat.memory import Memory
from bots.googlechat.subscriptions import LIFECYCLE, Upkeep
from core.contract import AdapterError, AuthLost, Emit, Offline, Rejected
from core.store import TRANSIENT, StoreDown

log = structlog.get_logger()
BATCH: Final = 100
PAUSE_MIN_S: Final = 0.5
PAUSE_MAX_S: Final = 60.0
EMPTY_PAUSE_S: Final = 0.05


class Event(msgspec.Struct, frozen=True):
    """A CloudEvent as Pub/Sub carries it (Workspace events, structure of events)."""

    ack: str
    id: str
    kind: str
    subject: str
    time: str
    published: str
    data: Any


def event_of(received: Any) -> Event | None:
    """A received Pub/Sub message; None where it has no ackId to confirm it by."""
    if not isinstance(received, dict) or not isinstance(received.get("ackId"), str):
        return None
    message = received.get("message")
    message = message if isinstance(message, dict) else {}
    attributes = message.get("attributes")
    attributes = attributes if isinstance(attributes, dict) else {}
    try:
        data = msgspec.json.decode(base64.b64decode(str(message.get("data") or ""), validate=True))
    except (ValueError, RecursionError):
        data = None

    def attribute(name: str) -> str:
        return str(attributes.get(f"ce-{name}") or "")

    return Event(
        received["ackId"],
        attribute("id") or str(message.get("messageId") or ""),
        attribute("type"),
        attribute("subject"),
        attribute("time") or str(message.get("publishTime") or ""),
        str(message.get("publishTime") or ""),
        data,
    )


class Puller:
    """Pulls until it is cancelled."""

    def __init__(
        self, api: Api, intake: Intake, memory: Memory, upkeep: Upkeep, trouble: Callable[[str], None]
    ) -> None:
        self._api = api
        self._intake = intake
        self._memory = memory
        self._upkeep = upkeep
        self._trouble = trouble

    async def run(self, emit: Emit) -> None:
        """Pull, hand over, confirm."""
        pause_s = PAUSE_MIN_S
        while True:
            try:
                await self._once(emit)
                pause_s = PAUSE_MIN_S
            except (AdapterError, StoreDown, *TRANSIENT) as error:
                log.warning("events wait", reason=str(error) or type(error).__name__)
                if isinstance(error, (Offline, AuthLost)):
                    self._trouble(str(error))
                elif isinstance(error, Rejected):
                    log.error("the Pub/Sub subscription cannot be read", reason=error.reason)
                await asyncio.sleep(pause_s)
                pause_s = min(2 * pause_s, PAUSE_MAX_S)

    async def _once(self, emit: Emit) -> None:
        answer = await self._api.pubsub("pull", {"maxMessages": BATCH})
        await self._memory.pulling()
        received = answer.get("receivedMessages")
        events = [event for one in received or () if (event := event_of(one))] if isinstance(received, list) else []
        if not events:
            await asyncio.sleep(EMPTY_PAUSE_S)
            return
        events.sort(key=lambda event: (receive.at_ms(event.time), event.published))
        acks = [event.ack for event in events]
        try:
            for event in events:
                await self._take(event, emit)
            await emit.accepted()
        except (StoreDown, AdapterError, *TRANSIENT):
            await self._give_back(acks)
            raise
        await self._api.pubsub("acknowledge", {"ackIds": acks})

    async def _take(self, event: Event, emit: Emit) -> None:
        if event.kind.startswith(LIFECYCLE):
            await self._upkeep.lifecycle(event.kind.removeprefix(LIFECYCLE), event.data)
            return
        found = receive.changes(event.kind, event.data)
        if not found:
            log.debug("an event is of no use", kind=event.kind)
        for number, change in enumerate(found):
            if not belongs(change, event.subject):
                log.warning("an event names another space than its own", kind=event.kind)
                continue
            for one in await self._intake.change(change, f"{event.id}-{number}", event.time):
                emit(one)

    async def _give_back(self, acks: Sequence[str]) -> None:
        """Have them delivered again at once, rather than when their time is over."""
        try:
            await self._api.pubsub("modifyAckDeadline", {"ackIds": list(acks), "ackDeadlineSeconds": 0})
        except AdapterError as error:
            log.debug("events come again when their time is over", reason=str(error))


def belongs(change: receive.Change, subject: str) -> bool:
    """Is the changed resource in the space that the event is about (``//chat.googleapis.com/spaces/X``)?"""
    space = subject.removeprefix("//chat.googleapis.com/")
    name = str(change.resource.get("name", ""))
    return not space.startswith("spaces/") or name == space or name.startswith(f"{space}/")

"""What the Matrix tests share."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp

from bots.matrix import PLATFORM
from bots.matrix.adapter import MatrixAdapter
from bots.matrix.config import MatrixConfig
from core.contract import Outbound
from core.model import AccountId, Author, RoomId, Text
from core.store import Redis
from tests.contract.harness import Site, Stage, services
from tests.contract.stage import Recorder
from tests.servers.matrix import Synapse, free_port

ACCOUNT = AccountId("matrix")
HS_TOKEN = "the-homeservers-own-token"
ALICE = Author("u1", "Alice")
ROOM = "!garden"
FAR_AWAY_MS = 1_767_225_600_000


def dead_config(**more: Any) -> MatrixConfig:
    """An application service whose homeserver is not there."""
    given: dict[str, Any] = {
        "homeserver": f"http://127.0.0.1:{free_port()}",
        "user_id": "@bridgebot:localhost",
        "token": "as-token-0123456789",
        "hs_token": HS_TOKEN,
    }
    return MatrixConfig(**given | more)


def make(store: Redis, config: MatrixConfig, url: str = "http://127.0.0.1:1") -> MatrixAdapter:
    """An adapter that is not started."""
    return PLATFORM.create(ACCOUNT, config, services(store, ACCOUNT, url))  # type: ignore[return-value]


def post(room: RoomId | str, text: str | Text, **more: Any) -> Outbound:
    """A post of Alice's."""
    words = text if isinstance(text, Text) else Text(text)
    return Outbound(RoomId(room), secrets.token_hex(8), words, **({"author": ALICE} | more))


def event(body: str = "hello", number: int = 0, **more: Any) -> dict[str, Any]:
    """An event as it is pushed."""
    raw = {
        "event_id": f"$e{number}",
        "type": "m.room.message",
        "sender": "@ann:localhost",
        "room_id": ROOM,
        "origin_server_ts": FAR_AWAY_MS + number,
        "content": {"msgtype": "m.text", "body": body},
    }
    return raw | more


@dataclass
class Pushed:
    """An adapter's routes on a web server, and a homeserver that pushes to them."""

    site: Site
    adapter: MatrixAdapter
    events: Recorder
    session: aiohttp.ClientSession
    headers: dict[str, str] = field(default_factory=lambda: {"Authorization": f"Bearer {HS_TOKEN}"})

    async def ask(self, method: str, path: str, **options: Any) -> tuple[int, Any]:
        """A request to one of the account's routes."""
        url = f"{self.site.account_url(ACCOUNT)}/{path}"
        async with self.session.request(method, url, **options) as response:
            raw = await response.read()
            is_json = response.content_type == "application/json"
            return response.status, (await response.json()) if is_json and raw else raw

    async def push(self, txn: str, *events: Any, **more: Any) -> int:
        """A transaction, by the homeserver itself; the status."""
        path = f"_matrix/app/v1/transactions/{txn}"
        body = {"events": list(events), **more}
        return (await self.ask("PUT", path, json=body, headers=self.headers))[0]


@asynccontextmanager
async def pushed(store: Redis, config: MatrixConfig, emit: Any = None) -> AsyncIterator[Pushed]:
    """The routes of an unstarted adapter that is known to be in the room."""
    site, events = Site(), Recorder()
    adapter = make(store, config, site.url)
    site.add(adapter, emit or events)
    await site.start()
    await store.hset(adapter._desk.services.key("rooms"), ROOM, b'[true,"Garden"]')
    try:
        async with aiohttp.ClientSession() as session:
            yield Pushed(site, adapter, events, session)
    finally:
        await adapter.stop()
        await site.stop()


@asynccontextmanager
async def on_stage(
    server: Synapse, store: Redis, config: MatrixConfig, *, door: bool = True, enter: bool = True
) -> AsyncIterator[Stage]:
    """A started adapter on a real homeserver, in a room with Ann and Bob."""
    from tests.bots.matrix.scene import on_server

    site, events = Site(), Recorder()
    try:
        async with on_server(server, site.account_url(ACCOUNT) if door else "", config) as scene:
            adapter = make(store, config, site.url)
            site.add(adapter, events)
            await site.start()
            await adapter.start(events)
            try:
                stage = Stage(scene, adapter, RoomId(""), events, site)
                await stage.until(lambda: events.is_online)
                if enter:
                    stage.room = RoomId(f"{ACCOUNT}/{await scene.enter()}")
                yield stage
            finally:
                await adapter.stop()
    finally:
        await site.stop()


def of(stage: Stage, kind: type, where: Callable[[Any], bool] = lambda event: True) -> list[Any]:
    """The events of one kind so far."""
    return [event for event in stage.events.seen if isinstance(event, kind) and where(event)]

"""The same room, with the bot as a component of the server."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from msgspec.structs import replace

from core.model import AccountId
from tests.bots.xmpp.scene import XmppScene, server
from tests.bots.xmpp.support import component_config
from tests.contract.stage import Session
from tests.servers.xmpp import CONFERENCE, Door


@asynccontextmanager
async def scene(session: Session, account: AccountId, url: str) -> AsyncIterator[XmppScene]:
    """A room of its own on the shared server."""
    prosody = server(session)
    async with AsyncExitStack() as stack:
        door = await stack.enter_async_context(Door(prosody.component_port))
        room = f"room-{secrets.token_hex(4)}@{CONFERENCE}"
        config = replace(component_config(prosody, rooms=(room,)), port=door.port)
        yield XmppScene(config, prosody, door, room, stack)

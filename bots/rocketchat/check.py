"""Getting an account to work: what to ask the server before it is added, what doctor looks at, what to do by hand."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Sequence
from urllib.parse import urlsplit

from msgspec.structs import replace

from bots.rocketchat.api import Api, new_session
from bots.rocketchat.config import RocketChatConfig
from bots.rocketchat.ddp import Stream
from bots.rocketchat.send import IMPERSONATE, UNLIMITED
from core.contract import AdapterError, AuthLost, Finding, Rejected

LOOK_S = 8.0
BOT_ROLE = (
    "As an administrator of the server: Administration, Workspace, Users, click the bot's user, Edit, add the role bot."
)


async def prepared(config: RocketChatConfig) -> tuple[str, RocketChatConfig]:
    """A suggested account id and the completed configuration. Raises Rejected and Retry."""
    session = new_session()
    api = Api(config, session, _now_ms)
    try:
        await api.info()
        me = await api.me()
    except AuthLost as error:
        raise Rejected(str(error)) from None
    finally:
        await api.logout()
        await session.close()
    host = urlsplit(config.base).hostname or ""
    name = re.sub(r"[^a-z0-9-]", "-", host.lower()).strip("-")
    done = replace(config, url=config.base, user_id=str(me.get("_id") or ""), username=str(me.get("username") or ""))
    return f"rocketchat-{name}", done


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


async def findings(config: RocketChatConfig) -> Sequence[Finding]:
    """Server, login, live stream, permissions, rooms."""
    session = new_session()
    api = Api(config, session, _now_ms)
    try:
        found = []
        try:
            found.append(Finding(True, f"{config.base} is Rocket.Chat {await api.info()}"))
        except AdapterError as error:
            return [Finding(False, f"{config.base}: {error}", "Check the server's address, and that it is running.")]
        try:
            me = await api.me()
            rooms, may = await api.rooms(), await api.permissions(me.get("roles") or ())
        except AdapterError as error:
            return [*found, Finding(False, f"the login does not work: {error}", "Add the account again.")]
        name = str(me.get("username"))
        found.append(Finding(True, f"signed in as @{name}, who is in {len(rooms)} rooms"))
        found.append(await _stream(config, api))
        for permission, without in (
            (IMPERSONATE, "people's names stand in the text of posts"),
            (UNLIMITED, "the server takes ten posts a minute"),
        ):
            says = f"the permission {permission}"
            if permission in may:
                found.append(Finding(True, f"@{name} has {says}"))
            else:
                found.append(Finding(False, f"@{name} lacks {says}: {without}", BOT_ROLE))
        if not rooms:
            found.append(Finding(False, f"@{name} is in no room", f"In a channel, type: /invite @{name}"))
        return found
    finally:
        await api.logout()
        await session.close()


async def _stream(config: RocketChatConfig, api: Api) -> Finding:
    """Connect, sign in and subscribe once."""
    reasons: list[str] = []
    told = asyncio.Event()

    async def ready(user: str) -> None:
        told.set()

    async def hear(collection: str, event: str, args: object) -> None:
        """Nothing is taken in here."""

    def gone(reason: str) -> None:
        reasons.append(reason)
        told.set()

    session = new_session()
    stream = Stream(session, config.stream, (LOOK_S, LOOK_S), api.login, lambda: False, ready, hear, gone)
    tasks = {asyncio.create_task(stream.run()), asyncio.create_task(told.wait())}
    try:
        done, _ = await asyncio.wait(tasks, timeout=LOOK_S, return_when=asyncio.FIRST_COMPLETED)
        reasons += [str(error) for task in done if (error := task.exception())]
        if told.is_set() and not reasons:
            return Finding(True, "the live stream tells us what is said")
        why = reasons[-1] if reasons else "no answer in time"
        mend = f"Let this machine reach {config.stream}; a proxy before the server must pass websockets on."
        return Finding(False, f"the live stream does not work: {why}", mend)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await session.close()


def steps(config: RocketChatConfig) -> Sequence[str]:
    """What is left to do by hand."""
    return (
        f"{BOT_ROLE} With it posts bear the names and pictures of their authors, and come as fast as they are made.",
        f"In each channel or group to be connected, type: /invite @{config.username or 'the bot'}",
        "Then say there: -sameroom open",
    )

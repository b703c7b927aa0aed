"""What happened in a room while we were away: what was said, and what became of older messages."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

import structlog

from bots.rocketchat import receive
from bots.rocketchat.api import HISTORY_PAGES, PAGE, Api, TooLong
from bots.rocketchat.receive import Malformed, Message
from core.contract import Offline, Rejected, Retry, Since

log = structlog.get_logger()

WAITS: Final = 3
GONE: Final = "rm"
"""Kind of the placeholder that a deleted message leaves where the server is set to show that."""


class Past(NamedTuple):
    """``said``: newer messages, oldest first; ``edited``: older ones that somebody changed since; ``deleted``: ids of
    messages that went since, of whatever age; ``complete``: there was not more than is read."""

    said: list[Message]
    edited: list[Message]
    deleted: list[str]
    complete: bool


async def read(api: Api, kind: str, rid: str, since: Since) -> Past:
    """What happened in a room of ``kind`` after ``since``. Raises any AdapterError."""
    moment = datetime.fromtimestamp(since.at_ms / 1000, UTC)
    oldest = moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    raw: list[Any] = []
    complete = False
    for page in range(HISTORY_PAGES):
        found = await _page(api, kind, rid, oldest, page)
        raw += found
        if complete := len(found) < PAGE:
            break
    said = [one for one in _messages(reversed(raw)) if one.id != since.native]
    try:
        updated, deleted = await api.changes(rid, oldest)
    except (Rejected, TooLong) as error:
        log.info("rocketchat does not say what was changed", room=rid, reason=str(error))
        updated, deleted = [], []
    older = [one for one in _messages(updated) if one.at_ms <= since.at_ms]
    edited = [one for one in older if receive.moment_ms(one.editedAt) > since.at_ms and not one.notice]
    removed = [one.id for one in older if one.notice == GONE and receive.moment_ms(one.editedAt) > since.at_ms]
    edited.sort(key=lambda one: receive.moment_ms(one.editedAt))
    return Past(said, edited, [*removed, *deleted], complete)


async def _page(api: Api, kind: str, rid: str, oldest: str, page: int) -> list[Any]:
    """A page. After the first one a limit is waited for here, or all would be read anew, and never to the end: accounts
    without a permission of their own may ask ten times a minute."""
    for _ in range(WAITS if page else 0):
        try:
            return await api.history(kind, rid, oldest, page * PAGE)
        except Offline:
            raise
        except Retry as error:
            await asyncio.sleep(error.after_s)
    return await api.history(kind, rid, oldest, page * PAGE)


def _messages(raw: Iterable[Any]) -> list[Message]:
    """Those that have the shape of one."""
    found: list[Message] = []
    for one in raw:
        try:
            found.append(receive.read(one))
        except Malformed:
            continue
    return found

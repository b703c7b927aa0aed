"""What was said in a channel and in its threads while we were away (Message, Get Channel Messages)."""

from __future__ import annotations

from typing import Any, Final, NamedTuple

from bots.discord.api import Api, Refused
from bots.discord.cache import Cache, Place

PAGE: Final = 100
THREADS_MAX: Final = 20
"""Threads of a channel that are looked into: those with the newest messages."""


class Page(NamedTuple):
    """Messages with their places, oldest first. ``end``: there may be more behind this id; empty where there is not."""

    messages: list[tuple[dict[str, Any], Place]]
    end: str


async def page(api: Api, cache: Cache, room: str, after: str) -> Page:
    """The next messages behind ``after``; ids grow with time, whatever channel they are of. Raises any AdapterError."""
    found = [(raw, Place(room)) for raw in await _messages(api, room, after)]
    ends = [int(found[-1][0]["id"])] if len(found) == PAGE else []
    for thread in cache.threads_since(room, after)[:THREADS_MAX]:
        try:
            below = await _messages(api, thread, after)
        except Refused:
            # A private one, or one that is gone.
            continue
        found += [(raw, Place(room, thread)) for raw in below]
        ends += [int(below[-1]["id"])] if len(below) == PAGE else []
    end = min(ends, default=0)
    known = [each for each in found if not end or int(each[0]["id"]) <= end]
    return Page(sorted(known, key=lambda each: int(each[0]["id"])), str(end or ""))


async def _messages(api: Api, channel: str, after: str) -> list[dict[str, Any]]:
    query = {"after": after, "limit": str(PAGE)}
    raw = await api.call("GET", f"/channels/{channel}/messages", query=query)
    return sorted(raw or (), key=lambda each: int(each["id"]))

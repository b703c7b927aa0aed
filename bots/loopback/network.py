"""The service itself: rooms with posts, people who talk, and faults to order. It outlives the adapters on it."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count

from core.contract import AdapterError
from core.model import Author, PlatformEvent, Text


@dataclass
class Post:
    """A message in a room, as its members see it."""

    id: str
    author: str
    text: Text
    key: str = ""
    reply_to: str = ""
    thread: str = ""
    files: tuple[tuple[str, bytes], ...] = ()
    reactions: dict[str, set[str]] = field(default_factory=dict)
    edited: bool = False
    deleted: bool = False


@dataclass
class Room:
    """A room of the service."""

    id: str
    title: str
    posts: dict[str, Post] = field(default_factory=dict)
    """What the bot posted, by id."""
    by_key: dict[str, Post] = field(default_factory=dict)
    said: dict[str, Post] = field(default_factory=dict)
    """What people said, by id."""
    admins: set[str] = field(default_factory=set)
    typing: list[str] = field(default_factory=list)

    def lines(self) -> list[str]:
        """What the bot posted and still stands, in order, as ``author: text``."""
        return [f"{p.author}: {p.text.plain}" for p in self.posts.values() if not p.deleted]


class LoopbackNetwork:
    """Holds the rooms, tells adapters what people do there, and fails when asked to."""

    def __init__(self) -> None:
        self.rooms: dict[str, Room] = {}
        self.files: dict[str, bytes] = {}
        self.listeners: dict[str, Callable[[PlatformEvent], None]] = {}
        """Account → where its events go."""
        self.up = True
        self.changed = asyncio.Condition()
        self.faults: dict[str, deque[AdapterError | Exception]] = {}
        """Room → what its next posts fail with."""
        self.slow_s: dict[str, float] = {}
        self._ids = count(1)

    def room(self, room_id: str, title: str = "") -> Room:
        """The room, made if it is not there."""
        if room_id not in self.rooms:
            self.rooms[room_id] = Room(room_id, title or room_id)
        return self.rooms[room_id]

    def next_id(self) -> str:
        """A new id of the service's own."""
        return f"p{next(self._ids)}"

    async def post(self, room_id: str, post: Post) -> Post:
        """Put a post into a room: what was posted under the same key before is not posted again."""
        if delay_s := self.slow_s.get(room_id):
            await asyncio.sleep(delay_s)
        if self.faults.get(room_id):
            raise self.faults[room_id].popleft()
        room = self.room(room_id)
        if post.key and (before := room.by_key.setdefault(post.key, post)) is not post:
            return before
        room.posts[post.id] = post
        await self.tell()
        return post

    async def tell(self) -> None:
        """Something changed: whoever waits for it looks again."""
        async with self.changed:
            self.changed.notify_all()

    async def until(self, condition: Callable[[], bool], timeout_s: float = 10.0) -> None:
        """Return when ``condition`` holds. Raises TimeoutError."""
        async with asyncio.timeout(timeout_s), self.changed:
            await self.changed.wait_for(condition)


def person(name: str, *, id: str = "", role: str = "") -> Author:
    """Somebody who talks on the service."""
    return Author(id or name.lower(), name, role="admin" if role == "admin" else "")

"""What an account keeps in the store: its groups, its posts that are under way, the reactions it was asked for."""

from __future__ import annotations

import hashlib
from typing import Any, cast

from core.contract import Services

DAY_S = 86_400
ECHO_LIFE_S = 600
LIKES_LIFE_S = 30 * DAY_S
GROUPS_MAX = 2_000


def digest(text: str) -> str:
    """Short name of a text, the same whatever GroupMe does to its blanks."""
    return hashlib.sha256(" ".join(text.split()).encode("utf-8", "replace")).hexdigest()[:32]


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


class Memory:
    """Every method may raise a redis error."""

    def __init__(self, services: Services) -> None:
        self._store = cast("Any", services.store)
        self._key = services.key
        self._now_ms = services.now_ms

    # --- groups

    async def groups(self) -> dict[str, str]:
        """Group id → name of the groups that we know we are in."""
        rows = await self._store.hgetall(self._key("groups"))
        return {_text(group): _text(title) for group, title in rows.items()}

    async def keep_group(self, group: str, title: str) -> bool:
        """Remember that we are in a group; was it new?"""
        return bool(await self._store.hset(self._key("groups"), group, title))

    async def drop_group(self, group: str) -> bool:
        """Forget a group; was it known?"""
        return bool(await self._store.hdel(self._key("groups"), group))

    async def first_look(self) -> bool:
        """True once: the groups that we find now were there before us."""
        return bool(await self._store.set(self._key("looked"), "1", nx=True))

    # --- posts of the user

    async def begin(self, key: str) -> int:
        """Note that a post is tried. 0 for its first try, else the Unix time in s of that first try."""
        name = self._key("try", key)
        if await self._store.set(name, str(self._now_ms() // 1000), nx=True, ex=DAY_S):
            return 0
        return int(await self._store.get(name) or 1)

    async def done(self, key: str) -> None:
        """It was posted. Whoever takes over from us may still try it again, but that will be soon."""
        await self._store.expire(self._key("try", key), ECHO_LIFE_S)

    async def not_begun(self, key: str) -> None:
        """Nothing of it was sent after all."""
        await self._store.delete(self._key("try", key))

    # --- posts of bots

    async def will_say(self, group: str, text: str) -> None:
        """A bot of ours is about to say this: whoever the callback names as its author is that bot."""
        name = digest(text)
        await self._store.delete(self._key("echo", group, name))
        await self._store.set(self._key("said", group, name), "1", ex=ECHO_LIFE_S)

    async def heard_echo(self, group: str, text: str, native: str) -> None:
        """The callback for one of our posts came: whoever waits for its id gets it. Twice is once."""
        if not await self._store.set(self._key("heard", group, native), "1", nx=True, ex=ECHO_LIFE_S):
            return
        name = self._key("echo", group, digest(text))
        await self._store.rpush(name, native)
        await self._store.expire(name, 60)

    async def echo(self, group: str, text: str, patience_s: float) -> str:
        """The id of a post of ours, from its callback, which may come to another process; empty: not in time."""
        found = await self._store.blpop([self._key("echo", group, digest(text))], timeout=patience_s)
        return _text(found[1]) if found else ""

    async def is_ours(self, group: str, sender: str, text: str, *, named_like_us: bool) -> bool:
        """Is this bot's message our own? A bot's sender id is told nowhere, so it is learned from the first message
        that has the words and the name of a post of ours."""
        known = await self._store.hget(self._key("self"), group)
        if known is not None and _text(known) == sender:
            return True
        if not await self._store.exists(self._key("said", group, digest(text))):
            return False
        if known is None and named_like_us and sender:
            await self._store.hset(self._key("self"), group, sender)
        return True

    # --- reactions

    async def liked(self, message: str, person: str, emoji: str) -> str:
        """Note what somebody's one reaction on a message is now (empty: none); returns what it was."""
        name = self._key("likes", message)
        before = await self._store.hget(name, person)
        if emoji:
            await self._store.hset(name, person, emoji)
            await self._store.expire(name, LIKES_LIFE_S)
        elif before is not None:
            await self._store.hdel(name, person)
        return _text(before) if before is not None else ""

    async def wish(self, message: str, whose: str, emoji: str, *, added: bool) -> str:
        """Note that somebody elsewhere put ``emoji`` on a message or took it back; returns the newest that stands.
        ``whose``: the person, and the emoji as they chose it."""
        name, field = self._key("wish", message), f"{whose}\n{emoji}"
        if added:
            newest = await self._store.zrevrange(name, 0, 0, withscores=True)
            await self._store.zadd(name, {field: int(newest[0][1]) + 1 if newest else 1})
            await self._store.expire(name, LIKES_LIFE_S)
        else:
            await self._store.zrem(name, field)
        standing = await self._store.zrevrange(name, 0, 0)
        return _text(standing[0]).rpartition("\n")[2] if standing else ""

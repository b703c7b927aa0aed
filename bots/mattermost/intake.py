"""From the server's words to events: which channels the bot is in, and what happens there."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec
import structlog

from bots.mattermost.api import Api, Refused, is_id
from bots.mattermost.memory import DIRECT, People, Room, Rooms, Threads
from bots.mattermost.receive import Frame, Here, Person, Post, deleted, edited, post_of, relayed, said, translate, who
from core.contract import Emit, Remembered, RoomInfo, Services, Since, Uncertain
from core.model import AccountId, BotAdded, BotRemoved, NativeId, PlatformEvent, RoomId, RoomRenamed, native_room
from core.store import insist

log = structlog.get_logger()

PAGE: Final = 200
"""Most posts of one answer (api/v4/source/posts.yaml)."""
SINCE_MAX: Final = 1_000
"""Most posts that ``since=`` answers; it leaves out the oldest."""
_DEFAULT_CHANNELS: Final = ("town-square", "off-topic")
"""Everybody who joins a team is put there by the server, so nobody has called for us."""


class Intake:
    """Takes in what happens to one account."""

    def __init__(
        self, account: AccountId, api: Api, rooms: Rooms, people: People, threads: Threads, services: Services
    ) -> None:
        self._account = account
        self._api = api
        self._rooms = rooms
        self._people = people
        self._threads = threads
        self._services = services
        self._teams: dict[str, str] = {}
        self._greeted: set[str] = set()
        self.me = ""
        self.overrides = True

    # --- rooms

    async def sync(self, emit: Emit) -> None:
        """Compare what we know with the channels that the bot is in now, and tell the difference."""
        await self._rooms.load()
        is_first = await self._is_first()
        teams = await self._api.call("GET", "users/me/teams")
        self._teams = {str(team["id"]): str(team.get("display_name") or team.get("name")) for team in teams}
        channels = {str(raw["id"]): raw for raw in await self._api.call("GET", "users/me/channels")}
        for channel in set(self._rooms.all()) - channels.keys():
            await self._removed(channel, "The bot was removed while it was away.", emit)
        for channel, raw in channels.items():
            if not raw.get("delete_at"):
                await self._added(channel, raw, emit, greet=not is_first)
            else:
                await self._removed(channel, "The channel is archived.", emit)
        await insist(self._services.store.set, self._services.key("synced"), b"1")

    async def listed(self) -> list[RoomInfo]:
        """The channels that the bot is in, as the server has them. Raises any AdapterError."""
        found = []
        for raw in await self._api.call("GET", "users/me/channels"):
            room = await self._describe(raw)
            found.append(RoomInfo(self._rooms.room(str(raw["id"])), room.title, room.detail))
        return found

    async def _is_first(self) -> bool:
        return not await insist(self._services.store.get, self._services.key("synced"))

    async def _added(
        self, channel: str, raw: Mapping[str, Any], emit: Emit, *, greet: bool = True, is_called: bool = False
    ) -> None:
        """We are in a channel. ``is_called``: somebody brought us in just now, though it may be known already: listed
        while we were signing in, as one of those that we had been in before."""
        is_new = self._rooms.get(channel) is None
        greet = greet and raw.get("name") not in _DEFAULT_CHANNELS and channel not in self._greeted
        if await self._rooms.keep(channel, room := await self._describe(raw)):
            self._put_renamed(channel, room.title, int(raw.get("update_at") or 0), emit)
        if is_new or (is_called and greet):
            if greet:
                self._greeted.add(channel)
            emit(BotAdded(**self._base(channel, "added"), title=room.title, greet=greet))

    async def _removed(self, channel: str, reason: str, emit: Emit) -> None:
        self._greeted.discard(channel)
        if await self._rooms.forget(channel):
            emit(BotRemoved(**self._base(channel, "removed"), reason=reason))

    def _base(self, channel: str, what: str) -> dict[str, Any]:
        now_ms = self._services.now_ms()
        native = NativeId(f"{what}:{self._services.random_id()}")
        return {"room": self._rooms.room(channel), "native": native, "at_ms": now_ms}

    def _put_renamed(self, channel: str, title: str, at_ms: int, emit: Emit) -> None:
        native = NativeId(f"renamed:{at_ms}")
        emit(RoomRenamed(room=self._rooms.room(channel), native=native, at_ms=at_ms, title=title))

    async def _describe(self, raw: Mapping[str, Any]) -> Room:
        kind, team = str(raw.get("type") or "O"), str(raw.get("team_id") or "")
        title = str(raw.get("display_name") or raw.get("name") or raw["id"])
        if kind == DIRECT:
            other = next((user for user in str(raw.get("name")).split("__") if user != self.me), self.me)
            title = (await self._people.find(other)).name
        return Room(title, kind, team, self._teams.get(team, "direct messages" if kind in "DG" else ""))

    async def _learn(self, channel: str, emit: Emit, *, greet: bool = True, is_called: bool = False) -> bool:
        """Ask for a channel that we may have come into; are we in it?"""
        if not is_id(channel):
            return False
        try:
            raw = await self._api.call("GET", f"channels/{channel}")
            await self._api.call("GET", f"channels/{channel}/members/{self.me}")
        except Refused:
            return False
        await self._added(channel, raw, emit, greet=greet, is_called=is_called)
        return True

    # --- live

    async def take(self, frame: Frame, place: str, emit: Emit) -> None:
        """Emit what an event of the websocket means."""
        if await self._about_rooms(frame, emit):
            return
        if frame.event == "user_updated":
            user = (frame.data or {}).get("user")
            if isinstance(user, dict) and is_id(str(user.get("id"))):
                await self._people.keep(user)
            return
        user, channel = who(frame), self._channel(frame)
        if not user or not channel or (self._rooms.get(channel) is None and not await self._learn(channel, emit)):
            return
        if post := post_of(frame):
            self._threads.note(post.id, post.root_id)
        people = {} if user == self.me else {user: await self._person(user, frame)}
        if event := translate(frame, self._here(people, place)):
            emit(event)

    async def _person(self, user: str, frame: Frame) -> Person:
        return await self._people.find(user, frame.text("sender_name").removeprefix("@"))

    def _channel(self, frame: Frame) -> str:
        post = post_of(frame)
        return post.channel_id if post else frame.channel()

    def _here(self, people: Mapping[str, Person], place: str) -> Here:
        return Here(self._account, self.me, people, place, self._services.now_ms(), self.overrides)

    async def _about_rooms(self, frame: Frame, emit: Emit) -> bool:
        """Is it about which channels the bot is in, and what they are called?"""
        channel = frame.channel()
        if frame.event in ("channel_updated", "channel_converted", "channel_restored", "direct_added", "group_added"):
            await self._learn(channel, emit, greet=frame.event != "channel_restored")
        elif frame.event == "channel_deleted":
            await self._removed(channel, "The channel was archived.", emit)
        elif frame.event == "user_added" and frame.text("user_id") == self.me:
            await self._learn(channel, emit, is_called=True)
        elif frame.event == "user_removed" and self._is_us(frame):
            await self._removed(channel, "The bot was removed from the channel.", emit)
        elif frame.event == "leave_team" and frame.text("user_id") == self.me:
            team = frame.text("team_id")
            for each in self._rooms.all():
                if (room := self._rooms.get(each)) and room.team == team:
                    await self._removed(each, "The bot was removed from the team.", emit)
        else:
            return False
        return True

    def _is_us(self, frame: Frame) -> bool:
        """The one who is removed is told in an event of their own, without ``user_id``."""
        return frame.text("user_id") == self.me or bool(frame.broadcast and frame.broadcast.user_id == self.me)

    # --- history

    async def history(self, room: RoomId, since: Since) -> Remembered:
        """A page of what was said after ``since``, and what became of older posts. Raises any AdapterError."""
        path = f"channels/{native_room(room)}/posts"
        newer = await self._newer(path, since)
        events = await self._changes([post for post in newer if post.create_at <= since.at_ms], since)
        after, more, complete = str(since.native), True, True
        count = len(events)
        while more and len(events) == count:
            listed = await self._api.call("GET", path, after=after, per_page=PAGE)
            posts = _in_order(_posts(listed), since)
            more = len(listed.get("order") or ()) >= PAGE and bool(posts)
            if not posts and after == since.native and (posts := _in_order(newer, since)):
                # The post itself is gone for good, so the server does not know what comes after it.
                complete = len(newer) < SINCE_MAX
            for post in posts:
                after = post.id
                events += await self._said(post)
        return Remembered(tuple(events), more=more, complete=complete)

    async def _said(self, post: Post) -> list[PlatformEvent]:
        self._threads.note(post.id, post.root_id)
        if post.user_id == self.me or not relayed(post) or post.delete_at:
            return []
        event = said(post, await self._of(post))
        return [event] if event else []

    async def _of(self, post: Post) -> Here:
        return self._here({post.user_id: await self._people.find(post.user_id)}, post.id)

    async def _newer(self, path: str, since: Since) -> list[Post]:
        """What was said, changed or deleted since then; nothing where that is more than can be read at once."""
        try:
            return _posts(await self._api.call("GET", path, since=since.at_ms))
        except Uncertain:
            return []

    async def _changes(self, posts: list[Post], since: Since) -> list[PlatformEvent]:
        """Edits and deletions of what had been said by then."""
        found: list[PlatformEvent | None] = []
        for post in posts:
            if post.user_id == self.me or not relayed(post):
                continue
            if post.delete_at > since.at_ms:
                found.append(deleted(post, await self._of(post)))
            elif post.edit_at > since.at_ms:
                found.append(edited(post, await self._of(post)))
        return [event for event in found if event]


def _in_order(posts: list[Post], since: Since) -> list[Post]:
    posts = [post for post in posts if post.create_at >= since.at_ms and post.id != since.native]
    return sorted(posts, key=lambda post: (post.create_at, post.id))


def _posts(listed: Any) -> list[Post]:
    """The posts of a PostList: ``{"order": [...], "posts": {id: post}}``. Roots of threads may be among them."""
    raw = listed.get("posts") if isinstance(listed, dict) else None
    return [msgspec.convert(each, Post) for each in (raw or {}).values()]

"""What an account must remember: its rooms, the people in them, and whose reactions it shows."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Mapping
from typing import Any, Final

import msgspec

from bots.mattermost.api import Api, Refused, is_id
from bots.mattermost.receive import Person
from core.contract import AdapterError, RoomInfo, Services
from core.model import AccountId, NativeId, RoomId, room_id
from core.store import insist

PERSON_S: Final = 86_400
"""After a day, somebody's name is asked for again; a change that the server tells of is known at once."""
WISH_S: Final = 30 * 86_400
PEOPLE_MAX: Final = 2_000
ROOTS_MAX: Final = 5_000
DIRECT: Final = "D"


class Room(msgspec.Struct, frozen=True):
    """A channel as people know it."""

    title: str
    type: str = "O"
    """``O`` public, ``P`` private, ``D`` direct, ``G`` group message."""
    team: str = ""
    detail: str = ""


class Rooms:
    """The channels that the bot is in: a hash in the store, and a copy in memory."""

    def __init__(self, account: AccountId, services: Services) -> None:
        self._account = account
        self._store = services.store
        self._key = services.key("rooms")
        self._rooms: dict[str, Room] = {}

    async def load(self) -> None:
        """Read what the store holds; waits for it as long as it takes."""
        stored: dict[Any, Any] = await insist(self._store.hgetall, self._key)
        self._rooms = {name.decode(): msgspec.json.decode(raw, type=Room) for name, raw in stored.items()}

    def get(self, channel: str) -> Room | None:
        """What is known of a channel."""
        return self._rooms.get(channel)

    def all(self) -> list[str]:
        """Ids of all channels."""
        return list(self._rooms)

    def room(self, channel: str) -> RoomId:
        """The RoomId of a channel."""
        return room_id(self._account, channel)

    def info(self, channel: str) -> RoomInfo:
        """A channel for people."""
        room = self._rooms.get(channel)
        return RoomInfo(self.room(channel), room.title if room else channel, room.detail if room else "")

    async def keep(self, channel: str, room: Room) -> bool:
        """Remember a channel; does it have a new title?"""
        known = self._rooms.get(channel)
        if room != known:
            self._rooms[channel] = room
            await insist(self._store.hset, self._key, channel, msgspec.json.encode(room))
        return known is not None and known.title != room.title

    async def forget(self, channel: str) -> bool:
        """The bot is no longer there; was it?"""
        if self._rooms.pop(channel, None) is None:
            return False
        await insist(self._store.hdel, self._key, channel)
        return True


class People:
    """Users by their ids: in memory, in the store for a day, or asked of the server."""

    def __init__(self, api: Api, services: Services) -> None:
        self._api = api
        self._store = services.store
        self._key = services.key
        self._known: OrderedDict[str, Person] = OrderedDict()
        self.display = "username"
        """The server's TeammateNameDisplay: how people's names are shown there."""

    async def find(self, user: str, guess: str = "") -> Person:
        """Somebody. ``guess``: their name where the server does not tell."""
        if person := self._known.get(user):
            self._known.move_to_end(user)
            return person
        raw: Any = await insist(self._store.get, self._key("user", user))
        if raw:
            return self._learn(msgspec.json.decode(raw, type=Person))
        if is_id(user):
            try:
                return await self.keep(await self._api.call("GET", f"users/{user}"))
            except AdapterError:
                # A name is not worth a lost message.
                pass
        return Person(user, guess or user)

    async def keep(self, raw: Any) -> Person:
        """Remember a user as the server describes them."""
        person = Person(str(raw["id"]), self._name(raw), str(raw.get("username") or ""), bool(raw.get("is_bot")))
        encoded = msgspec.json.encode(person)
        await insist(self._set, self._key("user", person.id), encoded)
        if person.username:
            await insist(self._set, self._key("name", person.username), person.id.encode())
        return self._learn(person)

    async def _set(self, name: str, value: bytes) -> None:
        await self._store.set(name, value, ex=PERSON_S)

    def _learn(self, person: Person) -> Person:
        self._known[person.id] = person
        while len(self._known) > PEOPLE_MAX:
            self._known.popitem(last=False)
        return person

    def _name(self, raw: Mapping[str, Any]) -> str:
        username, nickname = str(raw.get("username") or ""), str(raw.get("nickname") or "")
        full = f"{raw.get('first_name') or ''} {raw.get('last_name') or ''}".strip()
        if self.display == "full_name":
            return full or username
        return (nickname or full or username) if self.display == "nickname_full_name" else username

    async def among(self, usernames: Iterable[str]) -> set[str]:
        """Those of ``usernames`` that belong to people who were heard here lately."""
        asked = sorted(set(usernames))
        if not asked:
            return set()
        found: Any = await insist(self._store.mget, [self._key("name", name) for name in asked])
        return {name for name, known in zip(asked, found, strict=True) if known}


class Threads:
    """Which post is the root of the thread that another one is in."""

    def __init__(self, api: Api) -> None:
        self._api = api
        self._roots: OrderedDict[str, str] = OrderedDict()

    def note(self, post: str, root: str) -> None:
        """A post was seen; ``root`` is empty where it is in no thread."""
        self._roots[post] = root or post
        while len(self._roots) > ROOTS_MAX:
            self._roots.popitem(last=False)

    async def root(self, post: str) -> str:
        """The post that a reply to ``post`` belongs under; empty where it is gone."""
        if post not in self._roots:
            if not is_id(post):
                return ""
            try:
                found = await self._api.call("GET", f"posts/{post}")
            except Refused:
                return ""
            self.note(post, str(found.get("root_id") or ""))
        return self._roots[post]


class Wishes:
    """Who elsewhere put which emoji on a post: a bot has one reaction of each kind, for all of them."""

    def __init__(self, services: Services) -> None:
        self._store = services.store
        self._key = services.key

    async def change(self, post: NativeId, emoji: str, author: str, added: bool) -> bool:
        """Note it. Does anybody want the emoji there now?"""
        return await insist(self._change, self._key("wish", post, emoji), author, added)

    async def _change(self, name: str, author: str, added: bool) -> bool:
        # The key expires by itself, so a crash between the two leaves at most one wish too many for a month.
        await (self._store.sadd(name, author) if added else self._store.srem(name, author))
        await self._store.expire(name, WISH_S)
        return bool(await self._store.scard(name))

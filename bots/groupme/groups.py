"""The groups of an account: their names, and who is in them, as far as somebody asked."""

from __future__ import annotations

import time
from collections.abc import Callable

from bots.groupme.api import Api, NotThere
from bots.groupme.memory import Memory
from bots.groupme.payload import Message, id_of
from core.contract import AdapterError, RoomInfo
from core.model import Author, RoomId, native_room
from core.store import TRANSIENT

FRESH_S = 300.0
"""How long a list of members is believed for names. Rights are asked for anew each time."""
NAMES_MAX = 5_000
ADMINS = frozenset({"admin", "owner"})


class Groups:
    """Titles are in the store, too; names of people are not."""

    def __init__(self, memory: Memory, titles: dict[str, str], clock: Callable[[], float] = time.monotonic) -> None:
        self._memory = memory
        self._clock = clock
        self.titles = dict(titles)
        self._names: dict[str, dict[str, str]] = {}
        self._asked_s: dict[str, float] = {}
        self._loaded = False

    async def load(self) -> None:
        """Fill the names of groups from the store, once. Raises a redis error."""
        if not self._loaded:
            self.titles |= {group: title for group, title in (await self._memory.groups()).items() if title}
            self._loaded = True

    def info(self, room: RoomId) -> RoomInfo:
        """A room for people."""
        group = native_room(room)
        return RoomInfo(room, self.titles.get(group) or f"group {group}", "GroupMe")

    async def came(self, group: str, title: str) -> bool:
        """We are in a group; is that new? Raises a redis error."""
        self.titles[group] = title or self.titles.get(group, "")
        return await self._memory.keep_group(group, self.titles[group])

    async def went(self, group: str) -> bool:
        """We are not in a group any more; were we? Raises a redis error."""
        self._names.pop(group, None)
        return await self._memory.drop_group(group)

    async def renamed(self, group: str, title: str) -> None:
        """A group has a new name."""
        self.titles[group] = title
        try:
            await self._memory.keep_group(group, title)
        except TRANSIENT:
            return  # the next list of groups brings the name again

    def heard(self, message: Message) -> None:
        """Learn the name of whoever spoke."""
        names = self._names.setdefault(id_of(message.group_id), {})
        if message.sender and message.name and len(names) < NAMES_MAX:
            names[message.sender] = message.name

    def names(self, group: str) -> dict[str, str]:
        """Id → name of the members that we know of."""
        return self._names.get(group, {})

    async def author(self, api: Api, group: str, person: str) -> Author:
        """Somebody of whom only the id is told; asks for the members where the name is not known."""
        if person not in self.names(group):
            await self.look(api, group)
        return Author(person, self.names(group).get(person, ""))

    async def look(self, api: Api, group: str) -> None:
        """Read the members of a group, unless that was done just now. Names are no reason to fail."""
        now_s = self._clock()
        if now_s - self._asked_s.get(group, -FRESH_S) < FRESH_S:
            return
        self._asked_s[group] = now_s
        try:
            found = await api.group(group)
        except AdapterError:
            return
        names = {id_of(m.user_id): m.nickname or m.name or "" for m in (found.members or ())[:NAMES_MAX]}
        self._names[group] = self._names.get(group, {}) | names

    async def is_admin(self, api: Api, group: str, person: str) -> bool:
        """Does this member run the group, as of now?"""
        try:
            members = (await api.group(group)).members or ()
        except NotThere:
            return False
        return any(id_of(m.user_id) == person and not ADMINS.isdisjoint(m.roles or ()) for m in members)

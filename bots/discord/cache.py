"""What the gateway has told of servers, channels and roles, and what may be done there (Topics, Permissions)."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

Json = Mapping[str, Any]

ADD_REACTIONS: Final = 1 << 6
ADMINISTRATOR: Final = 1 << 3
MANAGE_CHANNELS: Final = 1 << 4
VIEW_CHANNEL: Final = 1 << 10
SEND_MESSAGES: Final = 1 << 11
EMBED_LINKS: Final = 1 << 14
ATTACH_FILES: Final = 1 << 15
READ_HISTORY: Final = 1 << 16
MANAGE_WEBHOOKS: Final = 1 << 29
CREATE_THREADS: Final = 1 << 35
SEND_IN_THREADS: Final = 1 << 38
NEEDED: Final[Mapping[str, int]] = {
    "View Channels": VIEW_CHANNEL,
    "Send Messages": SEND_MESSAGES,
    "Send Messages in Threads": SEND_IN_THREADS,
    "Create Public Threads": CREATE_THREADS,
    "Manage Webhooks": MANAGE_WEBHOOKS,
    "Embed Links": EMBED_LINKS,
    "Attach Files": ATTACH_FILES,
    "Read Message History": READ_HISTORY,
    "Add Reactions": ADD_REACTIONS,
}
EVERYTHING: Final = (1 << 53) - 1
_CHATS: Final = frozenset({0, 2, 5, 13})
"""Text, voice, announcement, stage: channels in which messages are."""
_WITH_THREADS: Final = frozenset({0, 5})
_FORUMS: Final = frozenset({15, 16})
_THREADS: Final = frozenset({10, 11, 12})
NAMES_MAX: Final = 5_000


class Place(NamedTuple):
    """Where a message is: the room, and the thread in it."""

    room: str
    thread: str = ""

    def native(self, message: str) -> str:
        """A message's id in its room."""
        return f"{self.thread}/{message}" if self.thread else message


class Channel(NamedTuple):
    """A channel or a thread."""

    id: str
    kind: int
    name: str
    guild: str
    parent: str
    overwrites: tuple[tuple[str, int, int], ...]
    """Id of a role or member, what is allowed, what is denied."""
    last: str = ""
    """Id of its newest message when we last heard of the channel."""


@dataclass
class Guild:
    """A server."""

    id: str
    name: str = ""
    owner: str = ""
    system_channel: str = ""
    joined_at: str = ""
    my_roles: frozenset[str] = frozenset()
    roles: dict[str, tuple[str, int]] = field(default_factory=dict)
    """Id → name, permissions."""
    emoji: dict[str, str] = field(default_factory=dict)
    """Name → id."""
    channels: set[str] = field(default_factory=set)


def channel_of(raw: Json, guild: str) -> Channel:
    """A channel object's."""
    overwrites = tuple(
        (str(found["id"]), int(found["allow"]), int(found["deny"])) for found in raw.get("permission_overwrites") or ()
    )
    parent = str(raw.get("parent_id") or "")
    kind, name, last = int(raw.get("type", 0)), str(raw.get("name") or ""), str(raw.get("last_message_id") or "")
    return Channel(str(raw["id"]), kind, name, guild, parent, overwrites, last)


class Cache:
    """Everything, in memory; the gateway tells all of it again at every new session."""

    def __init__(self) -> None:
        self.me = ""
        self.guilds: dict[str, Guild] = {}
        self.channels: dict[str, Channel] = {}
        self._names: OrderedDict[str, str] = OrderedDict()

    # --- what the gateway says

    def put_guild(self, raw: Json) -> Guild:
        """A server as a whole."""
        guild = self.guilds.get(str(raw["id"])) or Guild(str(raw["id"]))
        self.guilds[guild.id] = guild
        self.change_guild(guild, raw)
        guild.joined_at = str(raw.get("joined_at") or "")
        for member in raw.get("members") or ():
            if str(member.get("user", {}).get("id")) == self.me:
                guild.my_roles = frozenset(map(str, member.get("roles") or ()))
        for channel in list(guild.channels):
            self.drop_channel(channel)
        for found in (*(raw.get("channels") or ()), *(raw.get("threads") or ())):
            self.put_channel(found, guild.id)
        return guild

    def change_guild(self, guild: Guild, raw: Json) -> None:
        """What GUILD_UPDATE tells."""
        guild.name, guild.owner = str(raw.get("name") or guild.name), str(raw.get("owner_id") or guild.owner)
        guild.system_channel = str(raw.get("system_channel_id") or "")
        if "roles" in raw:
            guild.roles = {}
            for role in raw["roles"]:
                self.put_role(guild, role)
        if "emojis" in raw:
            self.put_emoji(guild, raw["emojis"])

    def put_role(self, guild: Guild, role: Json) -> None:
        """A role, new or changed."""
        guild.roles[str(role["id"])] = str(role.get("name") or ""), int(role.get("permissions") or 0)

    def put_emoji(self, guild: Guild, emojis: Iterable[Json]) -> None:
        """All custom emoji of a server."""
        usable = (emoji for emoji in emojis if emoji.get("available", True) and emoji.get("name"))
        guild.emoji = {str(emoji["name"]): str(emoji["id"]) for emoji in usable}

    def put_channel(self, raw: Json, guild: str) -> Channel:
        """A channel or thread, new or changed."""
        channel = self.channels[str(raw["id"])] = channel_of(raw, guild)
        if guild in self.guilds:
            self.guilds[guild].channels.add(channel.id)
        return channel

    def drop_channel(self, channel: str) -> None:
        """It is gone."""
        found = self.channels.pop(channel, None)
        if found and found.guild in self.guilds:
            self.guilds[found.guild].channels.discard(channel)

    def drop_guild(self, guild: str) -> None:
        """We are no longer there."""
        for channel in list(self.guilds[guild].channels) if guild in self.guilds else ():
            self.channels.pop(channel, None)
        self.guilds.pop(guild, None)

    def name(self, user: str, name: str = "") -> str:
        """A person's name as last heard, which ``name`` now is; their id where it was not."""
        if name:
            self._names[user] = name
            self._names.move_to_end(user)
            if len(self._names) > NAMES_MAX:
                self._names.popitem(last=False)
        return self._names.get(user, user)

    # --- what follows

    def place(self, channel: str) -> Place | None:
        """Where messages of a channel or thread belong; None where it is not known. A thread belongs to its channel's
        room; a post of a forum is a room of its own."""
        found = self.channels.get(channel)
        if found is None:
            return None
        if found.kind not in _THREADS or self.in_forum(found):
            return Place(channel)
        return Place(found.parent, channel)

    def in_forum(self, channel: Channel) -> bool:
        """Is it a post of a forum?"""
        parent = self.channels.get(channel.parent)
        return channel.kind in _THREADS and (parent is None or parent.kind in _FORUMS)

    def is_room(self, channel: Channel) -> bool:
        """Can people talk there, and can we read it?"""
        talks = channel.kind in _CHATS or self.in_forum(channel)
        return talks and self.may(channel.id, VIEW_CHANNEL)

    def rooms(self, guild: str) -> list[str]:
        """The rooms of a server."""
        found = (self.channels[channel] for channel in self.guilds[guild].channels)
        return sorted((channel.id for channel in found if self.is_room(channel)), key=int)

    def threads_since(self, channel: str, message: str) -> list[str]:
        """The threads of a channel that have messages newer than ``message``, the newest first."""
        below = (found for found in self.channels.values() if found.parent == channel and found.kind in _THREADS)
        newer = [(int(found.last), found.id) for found in below if found.last.isdecimal()]
        return [native for last, native in sorted(newer, reverse=True) if last > int(message)]

    def has_threads(self, channel: str) -> bool:
        """Can a message there have a thread?"""
        found = self.channels.get(channel)
        return found is not None and found.kind in _WITH_THREADS

    def title(self, channel: str) -> str:
        """The channel's name as members know it."""
        found = self.channels.get(channel)
        if found is None:
            return channel
        return found.name if found.kind in _THREADS or not found.guild else f"#{found.name}"

    def may(self, channel: str, permissions: int) -> bool:
        """May we do all of it there?"""
        found = self.channels.get(channel)
        guild = self.guilds.get(found.guild) if found else None
        if guild is None:
            return False
        return self.permissions(channel, self.me, guild.my_roles) & permissions == permissions

    def permissions(self, channel: str, user: str, roles: Iterable[str]) -> int:
        """What a member with ``roles`` may do in a channel; in a thread, what they may in its channel."""
        found = self.channels[channel]
        guild = self.guilds[found.guild]
        if found.kind in _THREADS:
            found = self.channels.get(found.parent, found)
        if user == guild.owner:
            return EVERYTHING
        mine = {role for role in roles if role in guild.roles}
        allowed = guild.roles.get(guild.id, ("", 0))[1]
        for role in mine:
            allowed |= guild.roles[role][1]
        if allowed & ADMINISTRATOR:
            return EVERYTHING
        of_roles = [(allow, deny) for who, allow, deny in found.overwrites if who in mine and who != guild.id]
        for group in (
            [(allow, deny) for who, allow, deny in found.overwrites if who == guild.id],
            of_roles,
            [(allow, deny) for who, allow, deny in found.overwrites if who == user],
        ):
            for _, deny in group:
                allowed &= ~deny
            for allow, _ in group:
                allowed |= allow
        return allowed if allowed & VIEW_CHANNEL else 0

    def greeted(self, guild: Guild) -> str:
        """The channel in which to say hello: the system channel, else the first one; empty where there is none."""
        rooms = [room for room in self.rooms(guild.id) if self.may(room, SEND_MESSAGES)]
        text = [room for room in rooms if self.channels[room].kind in _WITH_THREADS]
        return guild.system_channel if guild.system_channel in text else next(iter(text or rooms), "")

"""Servers, channels and people of a double of Discord, and the gateway events that their doings make."""

from __future__ import annotations

import asyncio
import copy
import itertools
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

Raw = dict[str, Any]
EPOCH_MS = 1_420_070_400_000
ALL = (1 << 50) - 1
MEMBERS = (1 << 6) | (1 << 10) | (1 << 11) | (1 << 14) | (1 << 15) | (1 << 16) | (1 << 35) | (1 << 38)
"""What @everyone may do by default, as far as it matters here."""
WEBHOOKS = 1 << 29
THREADS = (10, 11, 12)


@dataclass
class Channel:
    """A channel or thread, and what stands in it."""

    raw: Raw
    messages: dict[str, Raw] = field(default_factory=dict)
    webhooks: dict[str, Raw] = field(default_factory=dict)

    @property
    def id(self) -> str:
        """Its id."""
        return str(self.raw["id"])


@dataclass
class Guild:
    """A server."""

    raw: Raw
    channels: dict[str, Channel] = field(default_factory=dict)
    members: dict[str, Raw] = field(default_factory=dict)

    @property
    def id(self) -> str:
        """Its id."""
        return str(self.raw["id"])


class World:
    """Everything that is there. ``dispatch`` is told of every event."""

    def __init__(self) -> None:
        self._numbers = itertools.count(1)
        self.news = asyncio.Event()
        self.bot: Raw = {"id": self.snowflake(), "username": "Bridge", "global_name": None, "avatar": None, "bot": True}
        self.application = self.snowflake()
        self.guilds: dict[str, Guild] = {}
        self.dms: dict[str, Channel] = {}
        self.files: dict[str, bytes] = {}
        self.reactions: dict[tuple[str, str], list[str]] = {}
        """Message, emoji → who."""
        self.typing: list[str] = []
        self.called: list[str] = []
        """Everybody whom a post of the bot's has notified."""
        self.dispatch: Callable[[str, Raw], None] = lambda name, data: None
        self.cdn = ""

    def snowflake(self) -> str:
        """A new id; later ones are larger."""
        return str(((int(time.time() * 1000) - EPOCH_MS) << 22) + next(self._numbers))

    def changed(self) -> None:
        """Wake up who waits."""
        self.news.set()
        self.news = asyncio.Event()

    async def wait(self) -> None:
        """Return when something has changed."""
        await self.news.wait()

    async def until(self, condition: Callable[[], Any], timeout_s: float = 10.0) -> Any:
        """Wait until it is so."""
        async with asyncio.timeout(timeout_s):
            while not (found := condition()):
                await self.wait()
            return found

    def tell(self, name: str, data: Raw) -> None:
        """Something happened."""
        self.dispatch(name, copy.deepcopy(data))
        self.changed()

    # --- servers

    def person(self, name: str, **more: Any) -> Raw:
        """Somebody."""
        return {
            "id": self.snowflake(),
            "username": name.lower(),
            "global_name": name,
            "avatar": "a1b2c3",
            "discriminator": "0",
        } | more

    def guild(self, name: str, *people: Raw, owner: Raw | None = None) -> Guild:
        """A server; the first of ``people`` owns it unless ``owner`` is given."""
        native = self.snowflake()
        everyone = {"id": native, "name": "@everyone", "permissions": str(MEMBERS), "position": 0}
        owned_by = (owner or people[0])["id"]
        raw: Raw = {"id": native, "name": name, "owner_id": owned_by, "roles": [everyone], "emojis": [], "features": []}
        raw |= {"system_channel_id": None, "premium_tier": 0}
        guild = self.guilds[native] = Guild(raw)
        for person in people:
            guild.members[person["id"]] = {"user": person, "nick": None, "roles": [], "avatar": None}
        return guild

    def channel(self, guild: Guild, name: str, kind: int = 0, parent: Channel | None = None, **more: Any) -> Channel:
        """A channel in a server, or a thread below ``parent``."""
        raw: Raw = {"id": more.pop("id", None) or self.snowflake(), "type": kind, "name": name, "guild_id": guild.id}
        raw |= {"parent_id": parent.id if parent else None, "permission_overwrites": [], "position": 1} | more
        made = guild.channels[raw["id"]] = Channel(raw)
        self.tell("THREAD_CREATE" if kind in THREADS else "CHANNEL_CREATE", raw)
        return made

    def dm(self, person: Raw) -> Channel:
        """A direct message channel."""
        channel = Channel({"id": self.snowflake(), "type": 1, "recipients": [person]})
        self.dms[channel.id] = channel
        return channel

    def role(self, guild: Guild, name: str, permissions: int) -> str:
        """A new role's id."""
        role = {"id": self.snowflake(), "name": name, "permissions": str(permissions), "position": 1}
        guild.raw["roles"].append(role)
        self.tell("GUILD_ROLE_CREATE", {"guild_id": guild.id, "role": role})
        return str(role["id"])

    def add_bot(self, guild: Guild, permissions: int = MEMBERS | WEBHOOKS) -> None:
        """Somebody adds the bot."""
        role = self.role(guild, "Bridge", permissions)
        joined = datetime.now(UTC).isoformat()
        member = {"user": self.bot, "nick": None, "roles": [role], "avatar": None, "joined_at": joined}
        guild.members[self.bot["id"]] = member
        self.tell("GUILD_CREATE", self.guild_raw(guild))

    def guild_raw(self, guild: Guild) -> Raw:
        """The object of GUILD_CREATE: of the members, only the bot."""
        channels = [channel.raw for channel in guild.channels.values()]
        me = guild.members[self.bot["id"]]
        return guild.raw | {
            "joined_at": me["joined_at"],
            "unavailable": False,
            "members": [me],
            "channels": [raw for raw in channels if raw["type"] not in THREADS],
            "threads": [raw for raw in channels if raw["type"] in THREADS and not raw.get("archived")],
        }

    def remove_bot(self, guild: Guild) -> None:
        """Somebody removes it."""
        del guild.members[self.bot["id"]]
        self.tell("GUILD_DELETE", {"id": guild.id})

    def overwrite(self, guild: Guild, channel: Channel, who: str, allow: int = 0, deny: int = 0) -> None:
        """Change what a role or member may do in a channel."""
        rest = [found for found in channel.raw["permission_overwrites"] if found["id"] != who]
        kind = 1 if who in guild.members else 0
        channel.raw["permission_overwrites"] = [
            *rest,
            {"id": who, "type": kind, "allow": str(allow), "deny": str(deny)},
        ]
        self.tell("CHANNEL_UPDATE", channel.raw)

    def rename(self, channel: Channel, name: str) -> None:
        """Give a channel or thread another name."""
        channel.raw["name"] = name
        self.tell("THREAD_UPDATE" if channel.raw["type"] in THREADS else "CHANNEL_UPDATE", channel.raw)

    def drop_channel(self, guild: Guild, channel: Channel) -> None:
        """Delete a channel or thread."""
        del guild.channels[channel.id]
        self.tell("THREAD_DELETE" if channel.raw["type"] in THREADS else "CHANNEL_DELETE", channel.raw)

    def find(self, channel: str) -> Channel | None:
        """A channel, wherever it is."""
        for guild in self.guilds.values():
            if channel in guild.channels:
                return guild.channels[channel]
        return self.dms.get(channel)

    # --- what people do

    def say(self, channel: Channel, author: Raw, content: str, **more: Any) -> Raw:
        """Somebody (or a webhook, with ``webhook_id``) says it. ``more`` are further fields of the message."""
        guild = self.guilds.get(channel.raw.get("guild_id", ""))
        raw: Raw = {"id": self.snowflake(), "channel_id": channel.id, "author": author, "content": content, "type": 0}
        raw |= {"timestamp": datetime.now(UTC).isoformat(), "edited_timestamp": None, "tts": False, "pinned": False}
        raw |= {"mention_everyone": False, "mentions": self._mentions(guild, content), "mention_roles": []}
        raw |= {"attachments": [], "embeds": [], "flags": 0} | more
        channel.messages[raw["id"]] = raw
        channel.raw["last_message_id"] = raw["id"]
        self.tell("MESSAGE_CREATE", self._sent(raw, guild))
        return raw

    def _sent(self, raw: Raw, guild: Guild | None) -> Raw:
        """As the gateway has it: with the server and the member."""
        if guild is None:
            return raw
        member = guild.members.get(raw["author"]["id"])
        shown = {name: value for name, value in member.items() if name != "user"} if member else None
        return raw | {"guild_id": guild.id} | ({"member": shown} if shown and "webhook_id" not in raw else {})

    def _mentions(self, guild: Guild | None, content: str) -> list[Raw]:
        members = guild.members.values() if guild else ()
        return [member["user"] for member in members if f"<@{member['user']['id']}>" in content]

    def reply(self, channel: Channel, author: Raw, to: str, content: str) -> Raw:
        """Somebody answers a message."""
        reference = {"type": 0, "channel_id": channel.id, "message_id": to, "guild_id": channel.raw.get("guild_id")}
        answered = channel.messages.get(to)
        return self.say(channel, author, content, type=19, message_reference=reference, referenced_message=answered)

    def share(self, channel: Channel, author: Raw, name: str, data: bytes, mime: str, content: str = "") -> Raw:
        """Somebody shares a file."""
        return self.say(channel, author, content, attachments=[self.attachment(channel.id, name, data, mime)])

    def attachment(self, channel: str, name: str, data: bytes, mime: str) -> Raw:
        """A file on the CDN."""
        native = self.snowflake()
        self.files[native] = data
        url = f"{self.cdn}/attachments/{channel}/{native}/{name}?ex=6f&is=6e&hm={native[-6:]}"
        return {"id": native, "filename": name, "size": len(data), "content_type": mime, "url": url, "proxy_url": url}

    def edit(self, raw: Raw, content: str) -> None:
        """Its author changes it."""
        raw |= {"content": content, "edited_timestamp": datetime.now(UTC).isoformat()}
        self.updated(raw)

    def updated(self, raw: Raw) -> None:
        """Something about a message has changed."""
        channel = self.find(raw["channel_id"])
        assert channel is not None
        guild = self.guilds.get(channel.raw.get("guild_id", ""))
        self.tell("MESSAGE_UPDATE", self._sent(raw, guild))

    def unfurl(self, raw: Raw) -> None:
        """The preview of a link has come."""
        raw["embeds"] = [{"type": "article", "title": "A page", "url": "https://example.org"}]
        self.updated(raw)

    def _at(self, raw: Raw) -> Raw:
        channel = self.find(raw["channel_id"])
        guild = channel.raw.get("guild_id") if channel else None
        return {"channel_id": raw["channel_id"]} | ({"guild_id": guild} if guild else {})

    def delete(self, *messages: Raw) -> None:
        """Somebody deletes one message, or a moderator several at once."""
        at = self._at(messages[0])
        channel = self.find(messages[0]["channel_id"])
        assert channel is not None
        for raw in messages:
            del channel.messages[raw["id"]]
        ids = [raw["id"] for raw in messages]
        self.tell(
            *(("MESSAGE_DELETE", at | {"id": ids[0]}) if len(ids) == 1 else ("MESSAGE_DELETE_BULK", at | {"ids": ids}))
        )

    def react(self, raw: Raw, user: Raw, emoji: str, added: bool = True) -> None:
        """Somebody puts an emoji (``👍`` or ``name:id``) on a message, or takes it away."""
        who = self.reactions.setdefault((raw["id"], emoji), [])
        if (user["id"] in who) == added:
            return
        who.append(user["id"]) if added else who.remove(user["id"])
        name, _, native = emoji.partition(":")
        data = self._at(raw) | {
            "user_id": user["id"],
            "message_id": raw["id"],
            "emoji": {"id": native or None, "name": name},
        }
        guild = self.guilds.get(data.get("guild_id", ""))
        if added and guild:
            data["member"] = guild.members[user["id"]]
        self.tell(f"MESSAGE_REACTION_{'ADD' if added else 'REMOVE'}", data | {"burst": False, "type": 0})

    def types(self, channel: Channel, user: Raw) -> None:
        """Somebody is typing."""
        guild = self.guilds.get(channel.raw.get("guild_id", ""))
        data = {"channel_id": channel.id, "user_id": user["id"], "timestamp": int(time.time())}
        self.tell("TYPING_START", data | ({"guild_id": guild.id, "member": guild.members[user["id"]]} if guild else {}))

    def thread(self, guild: Guild, channel: Channel, root: str, name: str = "A thread") -> Channel:
        """The thread below a message; begun if there is none yet."""
        return guild.channels.get(root) or self.channel(guild, name, 11, channel, id=root)

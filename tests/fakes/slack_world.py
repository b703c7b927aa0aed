"""A Slack workspace: its channels, the people in them, and what they do, as the events that an app gets of it."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

Raw = dict[str, Any]
TEAM = "T0GARDEN1"
EMOJI = {
    "+1": "👍",
    "-1": "👎",
    "heart": "❤️",
    "tada": "🎉",
    "eyes": "👀",
    "wave": "👋",
    "flag-de": "🇩🇪",
    "man-shrugging": "🤷‍♂️",
    "male-farmer": "👨‍🌾",
    "slightly_smiling_face": "🙂",
    "white_check_mark": "✅",
}
"""Some of Slack's standard emoji, by its own names."""
CUSTOM = ("party-leek",)


@dataclass
class Person:
    """A member, a bot, or somebody of another workspace."""

    id: str
    name: str
    team: str = TEAM
    is_admin: bool = False
    is_bot: bool = False

    def raw(self) -> Raw:
        """As a user object."""
        picture = f"https://avatars.example.org/{self.id}_192.png"
        profile = {"display_name": self.name, "real_name": f"{self.name} Example", "image_192": picture}
        found: Raw = {"id": self.id, "team_id": self.team, "name": self.name.lower(), "profile": profile}
        found |= {"is_bot": self.is_bot, "deleted": False, "is_admin": self.is_admin, "is_owner": False}
        return found | ({"is_stranger": True} if self.team != TEAM else {})


@dataclass
class Channel:
    """A conversation: who is in it and what was said."""

    id: str
    name: str
    creator: str = ""
    is_private: bool = False
    im_with: str = ""
    is_archived: bool = False
    members: set[str] = field(default_factory=set)
    messages: dict[str, Raw] = field(default_factory=dict)
    """By ts, with ``reactions`` as name → users."""
    posted_at_s: list[float] = field(default_factory=list)

    def raw(self, bot: str) -> Raw:
        """As a conversation object."""
        found: Raw = {"id": self.id, "created": 1, "is_archived": self.is_archived, "is_im": bool(self.im_with)}
        if self.im_with:
            return found | {"user": self.im_with}
        found |= {"name": self.name, "creator": self.creator, "is_channel": True, "is_private": self.is_private}
        return found | {"is_member": bot in self.members, "is_mpim": False}


def rich(*elements: Raw) -> list[Raw]:
    """The blocks of one line."""
    return [
        {"type": "rich_text", "block_id": "b1", "elements": [{"type": "rich_text_section", "elements": [*elements]}]}
    ]


def escaped(words: str) -> str:
    """As in a message's ``text``."""
    return words.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


class World:
    """One workspace with one app in it."""

    def __init__(self) -> None:
        self.clock_s: Callable[[], float] = time.time
        self.bot = Person("U0BRIDGE1", "sameroom", is_bot=True)
        self.bot_id = "B0BRIDGE1"
        self.app_id = "A0BRIDGE1"
        self.people: dict[str, Person] = {self.bot.id: self.bot}
        self.channels: dict[str, Channel] = {}
        self.files: dict[str, Raw] = {}
        self.contents: dict[str, bytes] = {}
        self.on_event: Callable[[Raw], None] = lambda event: None
        self._count = 100
        self._news: set[asyncio.Event] = set()

    def changed(self) -> None:
        """Wake everybody who waits for something to happen."""
        for event in self._news:
            event.set()

    async def wait(self) -> None:
        """Until something happens."""
        event = asyncio.Event()
        self._news.add(event)
        try:
            await event.wait()
        finally:
            self._news.discard(event)

    async def until(self, condition: Callable[[], Any], patience_s: float = 10.0) -> Any:
        """Until ``condition`` is something."""
        async with asyncio.timeout(patience_s):
            while not (found := condition()):
                await self.wait()
            return found

    def number(self) -> int:
        """A new one."""
        self._count += 1
        return self._count

    def ts(self) -> str:
        """A new message's id."""
        return f"{int(self.clock_s())}.{self.number():06d}"

    # --- people and channels

    def person(self, name: str, **more: Any) -> Person:
        """Somebody new."""
        made = Person(f"U0{name.upper()}{self.number()}", name, **more)
        self.people[made.id] = made
        return made

    def channel(self, name: str, *people: Person, **more: Any) -> Channel:
        """A new channel with people in it; the first one made it."""
        letter = "D" if more.get("im_with") else "C"
        made = Channel(f"{letter}0{name.upper()}{self.number()}", name, people[0].id if people else "", **more)
        made.members = {person.id for person in people}
        self.channels[made.id] = made
        return made

    def add_bot(self, channel: Channel, by: Person) -> None:
        """Somebody types /invite."""
        channel.members.add(self.bot.id)
        event = {"type": "member_joined_channel", "user": self.bot.id, "channel": channel.id, "channel_type": "C"}
        self.tell(event | {"team": TEAM, "inviter": by.id})

    def tell(self, event: Raw) -> None:
        """The app hears of something."""
        self.on_event({"event_ts": self.ts()} | json.loads(json.dumps(event)))
        self.changed()

    # --- what is said

    def say(self, channel: Channel, by: Person, text: str, blocks: list[Raw] | None = None, **more: Any) -> Raw:
        """Somebody says it; without ``blocks`` as a line of plain words."""
        raw: Raw = {"type": "message", "user": by.id, "team": by.team, "client_msg_id": f"c{self.number()}"}
        raw |= {"text": escaped(text), "blocks": rich({"type": "text", "text": text}) if blocks is None else blocks}
        return self.post(channel, raw | more)

    def post(self, channel: Channel, raw: Raw) -> Raw:
        """A message comes to be, whoever made it."""
        raw = {"ts": self.ts()} | raw
        channel.messages[raw["ts"]] = raw | {"reactions": {}}
        root = channel.messages.get(raw.get("thread_ts", ""))
        if root is not None and root["ts"] != raw["ts"]:
            root["thread_ts"] = root["ts"]
            root["reply_count"] = root.get("reply_count", 0) + 1
            root["latest_reply"] = raw["ts"]
        if self.bot.id in channel.members:
            self.tell({key: value for key, value in raw.items() if key != "metadata"} | self._where(channel, raw["ts"]))
        self.changed()
        return channel.messages[raw["ts"]]

    def _where(self, channel: Channel, ts: str) -> Raw:
        kind = "im" if channel.im_with else "group" if channel.is_private else "channel"
        return {"channel": channel.id, "channel_type": kind, "event_ts": ts}

    def change(self, channel: Channel, ts: str, new: Raw, *, is_edit: bool = True) -> None:
        """A message is another now: edited, or with a preview of a link."""
        message = channel.messages[ts]
        old = self.plain(message)
        message |= new | ({"edited": {"user": message.get("user", ""), "ts": self.ts()}} if is_edit else {})
        where = self._where(channel, self.ts())
        event = {"type": "message", "subtype": "message_changed", "hidden": True, "ts": where["event_ts"]} | where
        if self.bot.id in channel.members:
            self.tell(event | {"message": self.plain(message), "previous_message": old})
        self.changed()

    def edit(self, channel: Channel, ts: str, text: str) -> None:
        """Somebody changes their words."""
        self.change(channel, ts, {"text": escaped(text), "blocks": rich({"type": "text", "text": text})})

    def unfurl(self, channel: Channel, ts: str, url: str) -> None:
        """Slack puts a preview below a message."""
        preview = {"from_url": url, "original_url": url, "title": "A page", "fallback": "A page", "id": 1}
        self.change(channel, ts, {"attachments": [preview]}, is_edit=False)

    def remove(self, channel: Channel, ts: str) -> None:
        """A message is deleted; if it has answers, a stone stays."""
        message = channel.messages[ts]
        old = self.plain(message)
        if message.get("reply_count"):
            stone = {"subtype": "tombstone", "text": "This message was deleted.", "blocks": [], "hidden": True}
            self.change(channel, ts, stone | {"user": "USLACKBOT"}, is_edit=False)
            return
        del channel.messages[ts]
        where = self._where(channel, self.ts())
        event = {"type": "message", "subtype": "message_deleted", "hidden": True, "ts": where["event_ts"]} | where
        if self.bot.id in channel.members:
            self.tell(event | {"deleted_ts": ts, "previous_message": old})
        self.changed()

    def plain(self, message: Raw, *, metadata: bool = False) -> Raw:
        """A message as Slack hands it out."""
        left_out = {"reactions"} if metadata else {"reactions", "metadata"}
        return {key: value for key, value in message.items() if key not in left_out}

    def react(self, channel: Channel, by: str, ts: str, name: str, added: bool = True) -> None:
        """Somebody puts an emoji on a message, or takes it away."""
        message = channel.messages[ts]
        users = message["reactions"].setdefault(name, [])
        users.append(by) if added else users.remove(by)
        if not users:
            del message["reactions"][name]
        item = {"type": "message", "channel": channel.id, "ts": ts}
        kind = "reaction_added" if added else "reaction_removed"
        if self.bot.id in channel.members:
            self.tell({"type": kind, "user": by, "reaction": name, "item_user": message.get("user"), "item": item})
        self.changed()

    # --- files

    def file(self, name: str, data: bytes, mime: str, url: str, by: str, **more: Any) -> Raw:
        """A file on Slack, not shared yet."""
        native = f"F0FILE{self.number()}"
        raw: Raw = {"id": native, "name": name, "title": name, "mimetype": mime, "size": len(data), "mode": "hosted"}
        private = f"{url}/files-pri/{TEAM}-{native}/{name}"
        raw |= {"user": by, "is_external": False, "url_private": private, "url_private_download": private, "shares": {}}
        self.files[native] = raw | more
        self.contents[native] = data
        return self.files[native]

    def share(self, channel: Channel, by: Raw, files: list[Raw], text: str = "", **more: Any) -> Raw:
        """Files as a message."""
        shown = [{key: value for key, value in file.items() if key != "shares"} for file in files]
        raw = {"type": "message", "subtype": "file_share", "text": escaped(text), "files": shown, "upload": True} | by
        message = self.post(channel, raw | ({"blocks": rich({"type": "text", "text": text})} if text else {}) | more)
        for file in files:
            kind = "private" if channel.is_private else "public"
            file["shares"].setdefault(kind, {}).setdefault(channel.id, []).append({"ts": message["ts"]})
        return message

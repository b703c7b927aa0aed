"""What a Rocket.Chat server keeps: users, rooms, messages, files, and who is told of what."""

from __future__ import annotations

import asyncio
import itertools
import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, urlsplit

from tests.fakes.rocketchat_text import parse

Message = dict[str, Any]
PERMISSIONS = {
    "message-impersonate": ["bot", "app"],
    "api-bypass-rate-limit": ["admin", "bot", "app"],
    "send-many-messages": ["admin", "bot", "app"],
    "force-delete-message": ["admin", "owner"],
}
EMOJI = {"thumbsup": "👍", "+1": "👍", "tada": "🎉", "joy": "😂", "heart": "❤️", "smile": "😄", "wave": "👋"}
"""What the server has, under one name or more. The first name of an emoji is the one that is kept."""


@dataclass
class User:
    """A user."""

    id: str
    username: str
    name: str
    roles: list[str] = field(default_factory=lambda: ["user"])
    password: str = ""
    tokens: set[str] = field(default_factory=set)
    totp: bool = False
    named_tokens: dict[str, str] = field(default_factory=dict)
    """Personal access tokens by name."""
    may_make_tokens: bool = True
    """The permission create-personal-access-tokens."""

    def short(self) -> dict[str, str]:
        """As messages name people."""
        return {"_id": self.id, "username": self.username, "name": self.name}


@dataclass
class Room:
    """A channel (``c``), group (``p``) or direct room (``d``)."""

    id: str
    t: str
    name: str
    members: dict[str, list[str]] = field(default_factory=dict)
    """User id → roles in the room."""
    messages: list[Message] = field(default_factory=list)
    trash: list[tuple[str, int]] = field(default_factory=list)
    """Deleted messages, and when."""
    ro: bool = False


class ServerError(Exception):
    """A Meteor.Error: reaches clients as ``reason [error]`` with ``errorType``."""

    def __init__(self, error: str, reason: str = "") -> None:
        super().__init__(f"{reason} [{error}]" if reason else error)
        self.error = error


class World:
    """Everything there is on one server. ``tell(stream, event, args, user)`` is called for every notice; a ``user``
    is the only one who hears it."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.users: dict[str, User] = {}
        self.rooms: dict[str, Room] = {}
        self.files: dict[str, tuple[str, str, bytes]] = {}
        self.permissions = {name: list(roles) for name, roles in PERMISSIONS.items()}
        self.settings: dict[str, Any] = {
            "Message_MaxAllowedSize": 5000,
            "FileUpload_MaxFileSize": 104857600,
            "FileUpload_Enabled": True,
            "Site_Url": url,
            "UI_Use_Real_Name": False,
        }
        self.changed = asyncio.Event()
        self.tell: Callable[[str, str, list[Any], str], None] = lambda *_: None
        self._ids = itertools.count(1)
        self._last_ms = 0

    def id(self, prefix: str = "m") -> str:
        """A new id, 17 characters as the server's own."""
        return f"{prefix}{next(self._ids):06}".ljust(17, "x")

    def now(self) -> int:
        """The time in ms, never twice the same, so that what is said has an order."""
        self._last_ms = max(time.time_ns() // 1_000_000, self._last_ms + 1)
        return self._last_ms

    # --- people and rooms

    def user(self, user_id: str, username: str, name: str = "", **more: Any) -> User:
        """Make a user."""
        self.users[user_id] = User(user_id, username, name or username, **more)
        return self.users[user_id]

    def named(self, username: str) -> User | None:
        """A user by user name."""
        return next((user for user in self.users.values() if user.username == username), None)

    def may(self, user: User, permission: str, room: Room | None = None) -> bool:
        """Does one of the user's roles, there or everywhere, have the permission?"""
        roles = {*user.roles, *(room.members.get(user.id, []) if room else [])}
        return bool(roles & set(self.permissions.get(permission, ())))

    def room(self, rid: str, t: str, name: str, *members: str) -> Room:
        """Make a room; the first member owns it."""
        self.rooms[rid] = Room(rid, t, name)
        for number, member in enumerate(members):
            self.rooms[rid].members[member] = ["owner"] if number == 0 and t != "d" else []
            self._subscription("inserted", self.rooms[rid], member)
        return self.rooms[rid]

    def described(self, room: Room) -> dict[str, Any]:
        """A room as clients get it."""
        found: dict[str, Any] = {"_id": room.id, "t": room.t, "usersCount": len(room.members), "ro": room.ro}
        if room.t == "d":
            found |= {"uids": list(room.members), "usernames": [self.users[uid].username for uid in room.members]}
        else:
            found |= {"name": room.name, "fname": room.name}
        return found

    def _subscription(self, action: str, room: Room, uid: str) -> None:
        sub: dict[str, Any] = {"_id": self.id("s"), "rid": room.id, "t": room.t, "u": self.users[uid].short()}
        if action != "removed":
            names = [self.users[member].username for member in room.members if member != uid]
            name = room.name if room.t != "d" else ",".join(names)
            sub |= {"name": name, "fname": name, "open": True}
        self.tell("stream-notify-user", f"{uid}/subscriptions-changed", [action, sub], uid)
        self.changed.set()

    def add(self, rid: str, uid: str, by: str) -> None:
        """Somebody adds somebody."""
        room = self.rooms[rid]
        room.members[uid] = []
        self.insert(rid, by, {"t": "au", "msg": self.users[uid].username, "groupable": False})
        self._subscription("inserted", room, uid)

    def join(self, rid: str, uid: str) -> None:
        """Somebody comes by themselves."""
        self.rooms[rid].members[uid] = []
        self.insert(rid, uid, {"t": "uj", "msg": self.users[uid].username, "groupable": False})
        self._subscription("inserted", self.rooms[rid], uid)

    def remove(self, rid: str, uid: str, by: str = "") -> None:
        """Somebody leaves, or is put out."""
        t = "ru" if by else "ul"
        self.insert(rid, by or uid, {"t": t, "msg": self.users[uid].username, "groupable": False})
        del self.rooms[rid].members[uid]
        self._subscription("removed", self.rooms[rid], uid)

    def rename(self, rid: str, name: str, by: str) -> None:
        """The room gets another name."""
        room = self.rooms[rid]
        room.name = name
        self.insert(rid, by, {"t": "r", "msg": name, "groupable": False})
        for uid in room.members:
            self._subscription("updated", room, uid)
            self.tell("stream-notify-user", f"{uid}/rooms-changed", ["updated", self.described(room)], uid)

    # --- messages

    def find(self, native: str) -> tuple[Room, Message] | None:
        """A message and its room."""
        for room in self.rooms.values():
            for message in room.messages:
                if message["_id"] == native:
                    return room, message
        return None

    def insert(self, rid: str, uid: str, message: Message) -> Message:
        """A new message, as the server completes it."""
        now = self.now()
        made = {"_id": self.id(), "rid": rid, "u": self.users[uid].short(), "ts": now, "_updatedAt": now, **message}
        self._complete(made, self.users[uid])
        self.rooms[rid].messages.append(made)
        self.publish(made)
        return made

    def _complete(self, message: Message, user: User) -> None:
        """What the hooks before saving add: the tree, mentions, addresses, quotes."""
        msg = message.get("msg", "")
        message["md"] = parse(msg) if msg and not message.get("t") else []
        message["urls"] = [
            {"url": url} for url in re.findall(r"[A-Za-z]{3,9}://[-\w.:/%~+=!@,]+(?:\?[-\w+=&!:;%@/.,]+)?", msg)
        ]
        called = _called(message["md"]) | set(re.findall(r"(?:^|\s|>)@([-_.\w]+)", msg))
        message["mentions"] = [{"_id": name, "username": name} for name in sorted(called & {"all", "here"})]
        people = [user for user in self.users.values() if user.username in called]
        message["mentions"] += [{**person.short(), "type": "user"} for person in people]
        kept = [part for part in message.get("attachments") or [] if "message_link" not in part]
        for entry in message["urls"]:
            if entry["url"].startswith(str(self.settings["Site_Url"])):
                native = parse_qs(urlsplit(entry["url"]).query).get("msg", [""])[0]
                found = self.find(native)
                if found and user.id in found[0].members:
                    quoted = found[1]
                    kept.append(
                        {
                            "text": quoted["msg"],
                            "author_name": quoted.get("alias") or quoted["u"]["username"],
                            "author_icon": f"/avatar/{quoted['u']['username']}",
                            "message_link": entry["url"],
                            "attachments": quoted.get("attachments", []),
                            "ts": quoted["ts"],
                        }
                    )
                    entry["ignoreParse"] = True
        message["attachments"] = kept

    def publish(self, message: Message) -> None:
        """Tell everybody who may read it; a channel is told to those as well who are not in it."""
        room = self.rooms[message["rid"]]
        for uid in self.users:
            if uid in room.members or room.t == "c":
                extra = {"roomParticipant": uid in room.members, "roomType": room.t, "roomName": room.name}
                self.tell("stream-room-messages", "__my_messages__", [message, extra], uid)
        self.changed.set()

    def update(self, native: str, uid: str, msg: str) -> Message:
        """Somebody changes a message."""
        found = self.find(native)
        assert found
        message = found[1]
        message |= {"msg": msg, "editedAt": self.now(), "editedBy": self.users[uid].short(), "_updatedAt": self.now()}
        self._complete(message, self.users[message["u"]["_id"]])
        self.publish(message)
        return message

    def unfurl(self, native: str, title: str) -> None:
        """The server has looked at an address in the message: no change of anybody's."""
        found = self.find(native)
        assert found
        found[1].update(
            {"_updatedAt": self.now(), "urls": [{"url": "https://example.org/x", "meta": {"pageTitle": title}}]}
        )
        self.publish(found[1])

    def delete(self, native: str) -> None:
        """A message is taken away."""
        found = self.find(native)
        assert found
        room, message = found
        room.messages.remove(message)
        room.trash.append((native, self.now()))
        for uid in room.members:
            self.tell("stream-notify-room", f"{room.id}/deleteMessage", [{"_id": native}], uid)
        self.changed.set()

    def react(self, native: str, uid: str, name: str, should: bool | None) -> None:
        """Somebody's reaction (setReaction)."""
        name = name.strip(":")
        if name not in EMOJI:
            raise ServerError("error-not-allowed", "Invalid emoji provided.")
        found = self.find(native)
        assert found
        message = found[1]
        reactions, key, who = message.setdefault("reactions", {}), f":{name}:", self.users[uid].username
        there = who in reactions.get(key, {}).get("usernames", [])
        should = not there if should is None else should
        if there == should:
            return
        users = reactions.setdefault(key, {"usernames": []})["usernames"]
        users.append(who) if should else users.remove(who)
        if not users:
            del reactions[key]
        if not reactions:
            del message["reactions"]
        message["_updatedAt"] = self.now()
        self.publish(message)

    def type(self, rid: str, uid: str) -> None:
        """Somebody types."""
        shown = self.users[uid].name if self.settings["UI_Use_Real_Name"] else self.users[uid].username
        for member in self.rooms[rid].members:
            self.tell("stream-notify-room", f"{rid}/user-activity", [shown, ["user-typing"], {}], member)

    # --- files

    def upload(self, name: str, mime: str, data: bytes) -> str:
        """Keep a file."""
        file = self.id("f")
        self.files[file] = (name, mime, data)
        return file

    def file_message(self, rid: str, uid: str, file: str, fields: Message) -> Message:
        """Post an uploaded file (sendFileMessage)."""
        name, mime, data = self.files[file]
        link = f"/file-upload/{file}/{name}"
        about = {"_id": file, "name": name, "type": mime, "size": len(data)}
        part: dict[str, Any] = {"title": name, "type": "file", "title_link": link, "title_link_download": True}
        part["description"] = fields.pop("description", None)
        if mime.startswith("image/"):
            part |= {"image_url": link, "image_type": mime, "image_size": len(data)}
        message = {"msg": "", "file": about, "files": [about], "attachments": [part], "groupable": False, **fields}
        return self.insert(rid, uid, message)


def _called(nodes: Any) -> set[str]:
    if isinstance(nodes, list):
        return set().union(*(_called(one) for one in nodes))
    if isinstance(nodes, dict):
        if nodes.get("type") == "MENTION_USER":
            return {nodes["value"]["value"]}
        return _called(list(nodes.values()))
    return set()

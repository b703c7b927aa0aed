"""The world of the GroupMe double: what people do in it becomes the payloads that GroupMe sends."""

from __future__ import annotations

import asyncio
import itertools
import json
import time
from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any

import aiohttp

from tests.fakes.groupme_push import PushService


class Refused(Exception):
    """An answer that is no success."""

    def __init__(self, status: int, *errors: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(status, errors)
        self.status = status
        self.errors = errors
        self.headers = headers or {}


@dataclass
class Group:
    """A group, its members and what was said in it."""

    id: str
    name: str
    members: dict[str, dict[str, Any]] = field(default_factory=dict)
    messages: list[dict[str, Any]] = field(default_factory=list)
    files: dict[str, tuple[str, bytes]] = field(default_factory=dict)


@dataclass
class Bot:
    """A bot in one group."""

    bot_id: str
    group_id: str
    name: str
    callback_url: str
    owner: str
    sender_id: str


@dataclass
class Fault:
    """What is to go wrong with the next requests that match."""

    match: str
    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    drop: str = ""
    """``before``: the request is not taken, ``after``: it is taken and the connection breaks."""
    times: int = 1
    until: asyncio.Event | None = None
    """The answer waits for it."""


class GroupMeWorld:
    """People, groups, bots and what is said; :class:`tests.fakes.groupme.GroupMeDouble` serves it."""

    def __init__(self) -> None:
        self.users: dict[str, str] = {}
        self.avatars: dict[str, str] = {}
        self.tokens: dict[str, str] = {}
        self.groups: dict[str, Group] = {}
        self.bots: dict[str, Bot] = {}
        self.faults: list[Fault] = []
        self.requests: list[tuple[str, str, Any]] = []
        """Transcript: method, path, body."""
        self.callbacks: list[tuple[str, dict[str, Any], int]] = []
        """Callbacks made: URL, payload, the status that was answered."""
        self.changed = asyncio.Event()
        self.hold_callbacks = False
        self.rate: tuple[int, float] = (10_000, 1.0)
        """Posts that a group takes in so many seconds."""
        self.token_in_address = False
        self.pending_job_looks = 1
        self.pictures: dict[str, tuple[str, bytes]] = {}
        self.url = ""
        self.push = PushService(self.user_of, lambda user, group: user in self.groups[group].members)
        self._numbers = itertools.count(1)
        self._posted_s: dict[str, list[float]] = defaultdict(list)
        self._guids: dict[tuple[str, str], float] = {}
        self._jobs: dict[str, tuple[str, int]] = {}
        self._queues: dict[str, asyncio.Queue[dict[str, Any]]] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self._client: aiohttp.ClientSession | None = None

    # --- people and groups, as a test arranges them

    def user(self, user_id: str, name: str, token: str = "") -> str:
        """A person."""
        self.users[user_id] = name
        self.avatars[user_id] = f"{self.url}/media/200x200.jpeg.{user_id}"
        if token:
            self.tokens[token] = user_id
        return user_id

    def user_of(self, token: object) -> str:
        """Whose token it is; empty for none."""
        return self.tokens.get(token, "") if isinstance(token, str) else ""

    def group(self, group_id: str, name: str, *members: str) -> Group:
        """A group; the first member is its owner."""
        made = self.groups[group_id] = Group(group_id, name)
        for user in members:
            roles = ["user"] if made.members else ["admin", "owner"]
            made.members[user] = self._member(user, roles)
        return made

    def _member(self, user: str, roles: list[str]) -> dict[str, Any]:
        return {"user_id": user, "nickname": self.users[user], "id": f"9{user}", "roles": roles, "muted": False}

    def bot(self, bot_id: str, group_id: str, name: str, callback_url: str, owner: str) -> Bot:
        """A bot that was made on the web page."""
        made = self.bots[bot_id] = Bot(bot_id, group_id, name, callback_url, owner, f"8{next(self._numbers):05}")
        return made

    def fail(self, match: str, **how: Any) -> None:
        """Let the next requests whose ``METHOD /path`` matches go wrong."""
        self.faults.append(Fault(match, **how))

    # --- what people do

    def say(
        self, group: str, user: str, text: str, attachments: list[dict[str, Any]] | None = None, **more: Any
    ) -> str:
        """A member says something in the app."""
        guid = more.pop("source_guid", f"android-{next(self._numbers)}")
        return str(self._new(group, user, text, attachments or [], source_guid=guid, **more)["id"])

    def edit(self, group: str, native: str, text: str) -> None:
        """A member edits a message."""
        message = self.find(group, native)
        message["text"], message["updated_at"] = text, int(time.time())
        self._to_group(group, "message.update", message)

    def delete(self, group: str, native: str, actor: str = "sender") -> None:
        """A member or an admin deletes a message."""
        message = self.find(group, native)
        message["deleted_at"], message["deletion_actor"] = "2026-01-02T03:04:05.0006Z", actor
        message["text"], message["attachments"] = "This message was deleted", []
        self._to_group(group, "message.deleted", message)
        event = {"deleted_at": int(time.time()), "deletion_actor": actor, "message_id": native}
        self.system(group, "A message was deleted", "message.deleted", event)

    def react(self, group: str, native: str, user: str, emoji: str) -> None:
        """A member puts a reaction on a message, instead of the one before; empty: takes it away."""
        message = self.find(group, native)
        reactions = message.setdefault("reactions", [])
        for entry in reactions:
            entry["user_ids"] = [person for person in entry["user_ids"] if person != user]
        if emoji:
            entry = next((e for e in reactions if e["code"] == emoji), None)
            if entry is None:
                reactions.append(entry := {"code": emoji, "type": "unicode", "user_ids": []})
            entry["user_ids"].append(user)
        reactions[:] = [entry for entry in reactions if entry["user_ids"]]
        message["favorited_by"] = [person for entry in reactions for person in entry["user_ids"]]
        line = {key: value for key, value in message.items() if key not in ("reactions", "sender_id", "sender_type")}
        subject = {"line": line, "reactions": json.loads(json.dumps(reactions)), "user_id": user}
        self._to_group(group, "favorite", subject)
        if message["user_id"] != user:
            self._publish(f"/user/{message['user_id']}", "favorite", subject)
        self.changed.set()

    def type(self, group: str, user: str) -> None:
        """A member types."""
        data = {"type": "typing", "user_id": user, "started": int(time.time() * 1000)}
        self.push.publish(f"/group/{group}", data)

    def rename(self, group: str, user: str, name: str) -> None:
        """A member gives the group a new name."""
        self.groups[group].name = name
        who = {"id": _number(user), "nickname": self.users[user]}
        self.system(
            group, f"{self.users[user]} changed the group's name", "group.name_change", {"user": who, "name": name}
        )

    def add(self, group: str, user: str, by: str) -> None:
        """A member adds somebody."""
        here = self.groups[group]
        here.members[user] = self._member(user, ["user"])
        added = {"id": _number(user), "nickname": self.users[user]}
        adder = {"id": _number(by), "nickname": self.users[by]}
        now = int(time.time())
        subject = {"id": group, "name": here.name, "type": "private", "creator_id": by, "updated_at": now}
        self._publish(f"/user/{user}", "membership.create", subject, alert="You've been added")
        event = {"added_users": [added], "adder_user": adder}
        self.system(group, "Somebody was added", "membership.announce.added", event)

    def remove(self, group: str, user: str, by: str) -> None:
        """A member takes somebody out."""
        removed = {"id": _number(user), "nickname": self.users[user]}
        remover = {"id": _number(by), "nickname": self.users[by]}
        event = {"removed_user": removed, "remover_user": remover}
        self.system(group, "Somebody was removed", "membership.notifications.removed", event)
        del self.groups[group].members[user]

    def system(self, group: str, text: str, kind: str, data: dict[str, Any]) -> str:
        """GroupMe itself says something in a group."""
        more = {"system": True, "sender_type": "system", "event": {"type": kind, "data": data}, "name": "GroupMe"}
        return str(self._new(group, "system", text, [], **more)["id"])

    def picture(self, data: bytes, ending: str = "png") -> str:
        """A picture on the image service; returns its address."""
        name = f"640x480.{ending}.{next(self._numbers):032x}"
        self.pictures[name] = (f"image/{ending}", data)
        return f"{self.url}/media/{name}"

    def file(self, group: str, name: str, data: bytes) -> str:
        """A file on the file service; returns its id."""
        file_id = f"00000000-dead-4eef-2222-{next(self._numbers):012}"
        self.groups[group].files[file_id] = (name, data)
        return file_id

    def find(self, group: str, native: str) -> dict[str, Any]:
        """A message that stands in a group."""
        for message in self.groups[group].messages:
            if message["id"] == native and not message["deleted_at"]:
                return message
        raise Refused(404, "message not found")

    def lines(self, group: str) -> list[dict[str, Any]]:
        """What a member sees, oldest first."""
        return [m for m in self.groups[group].messages if not m["system"] and not m["deleted_at"]]

    # --- messages

    def _new(self, group: str, user: str, text: str, attachments: list[dict[str, Any]], **more: Any) -> dict[str, Any]:
        at_s = more.pop("at_s", time.time())
        message: dict[str, Any] = {
            "attachments": attachments,
            "avatar_url": self.avatars.get(user),
            "created_at": int(at_s),
            "deleted_at": None,
            "deletion_actor": None,
            "favorited_by": [],
            "group_id": group,
            "id": f"{int(at_s * 1000)}{next(self._numbers):06}",
            "name": self.users.get(user, "GroupMe"),
            "sender_id": user,
            "sender_type": "user",
            "source_guid": f"guid-{next(self._numbers)}",
            "system": False,
            "text": text,
            "updated_at": None,
            "user_id": user,
        } | more
        here = self.groups[group]
        here.messages.append(message)
        for member in here.members:
            self._publish(f"/user/{member}", "line.create", message, alert=f"{message['name']}: {text}")
        for bot in self.bots.values():
            if bot.group_id == group and bot.callback_url:
                self.call_back(bot, message)
        self.changed.set()
        return message

    def _publish(self, channel: str, kind: str, subject: dict[str, Any], alert: str = "") -> None:
        subject = {k: v for k, v in subject.items() if k != "reactions" or kind == "favorite"}
        now = int(time.time() * 1000)
        self.push.publish(channel, {"type": kind, "alert": alert, "subject": subject, "received_at": now})

    def _to_group(self, group: str, kind: str, subject: dict[str, Any]) -> None:
        self._publish(f"/group/{group}", kind, subject)
        self.changed.set()

    # --- callbacks

    def call_back(self, bot: Bot, message: dict[str, Any]) -> None:
        """Tell a bot, in the order of its group."""
        fields = (
            "attachments avatar_url created_at group_id id name sender_id sender_type source_guid system text user_id"
        )
        payload = {key: message[key] for key in fields.split()}
        if "event" in message:
            payload["event"] = message["event"]
        if bot.bot_id not in self._queues:
            self._queues[bot.bot_id] = asyncio.Queue()
            self._tasks.append(asyncio.create_task(self._call(bot)))
        if not self.hold_callbacks:
            self._queues[bot.bot_id].put_nowait(json.loads(json.dumps(payload)))

    async def _call(self, bot: Bot) -> None:
        while True:
            payload = await self._queues[bot.bot_id].get()
            status = await self.deliver(bot.callback_url, payload)
            self.callbacks.append((bot.callback_url, payload, status))
            self.changed.set()

    async def deliver(self, url: str, payload: Any, **options: Any) -> int:
        """One callback request; the status that was answered, 0 for none."""
        assert self._client is not None
        try:
            async with self._client.post(url, json=payload, **options) as response:
                return response.status
        except aiohttp.ClientError:
            return 0


def _number(user: str) -> int | str:
    """In events, ids are numbers (Message Events, the warning at the top)."""
    return int(user) if user.isdigit() else user

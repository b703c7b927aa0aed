"""People, teams, channels and posts of a Mattermost server, and what its websocket tells of them."""

from __future__ import annotations

import asyncio
import json
import secrets
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from tests.fakes.mattermost_text import MASS, Shown

LETTERS = "ybndrfg8ejkmcpqxot1uwisza345h769"
Raw = dict[str, Any]


def new_id() -> str:
    """26 letters and digits, as all ids of Mattermost's."""
    return "".join(secrets.choice(LETTERS) for _ in range(26))


@dataclass
class User:
    """Somebody."""

    username: str
    nickname: str = ""
    is_bot: bool = False
    password: str = ""
    mfa: bool = False
    id: str = field(default_factory=new_id)
    token: str = field(default_factory=new_id)
    is_integration: bool = True

    def raw(self) -> Raw:
        """As GET /users/{id} tells."""
        found = {"id": self.id, "username": self.username, "nickname": self.nickname, "first_name": "", "last_name": ""}
        return found | ({"is_bot": True} if self.is_bot else {}) | {"roles": "system_user", "delete_at": 0}


@dataclass
class Channel:
    """A channel and its members."""

    name: str
    display_name: str
    team_id: str
    type: str = "O"
    id: str = field(default_factory=new_id)
    members: dict[str, bool] = field(default_factory=dict)
    """User → is an admin of it."""
    update_at: int = 0
    delete_at: int = 0

    def raw(self) -> Raw:
        """As GET /channels/{id} tells."""
        found = {name: getattr(self, name) for name in ("id", "name", "display_name", "team_id", "type", "update_at")}
        return found | {"delete_at": self.delete_at, "header": "", "purpose": ""}


class Connection:
    """A websocket of somebody's, with the events that it may be asked for again."""

    def __init__(self, user: User) -> None:
        self.user = user
        self.id = new_id()
        self.seq = 0
        self.log: deque[tuple[int, str]] = deque(maxlen=128)
        self.news = asyncio.Event()
        self.close: Any = None

    def put(self, event: str, data: Raw, broadcast: Raw) -> None:
        """Number an event and keep it."""
        frame = {"event": event, "data": data, "broadcast": broadcast, "seq": self.seq}
        self.log.append((self.seq, json.dumps(frame)))
        self.seq += 1
        self.news.set()


class World:
    """All that a server knows. People's doings are methods."""

    def __init__(self) -> None:
        self.users: dict[str, User] = {}
        self.teams: dict[str, Raw] = {}
        self.team_admins: set[tuple[str, str]] = set()
        self.channels: dict[str, Channel] = {}
        self.posts: dict[str, Raw] = {}
        self.reactions: dict[str, list[Raw]] = {}
        self.files: dict[str, tuple[Raw, bytes]] = {}
        self.connections: list[Connection] = []
        self.typing: list[tuple[str, str]] = []
        self.config: Raw = {
            "Version": "11.4.0",
            "BuildNumber": "11.4.0",
            "EnablePostUsernameOverride": "false",
            "EnablePostIconOverride": "false",
            "EnableFileAttachments": "true",
            "MaxFileSize": "104857600",
            "MaxPostSize": "16383",
            "TeammateNameDisplay": "nickname_full_name",
        }
        self._news = asyncio.Event()
        self._last_ms = 0

    @property
    def major(self) -> int:
        """Of the version."""
        return int(str(self.config["Version"]).partition(".")[0])

    def now(self) -> int:
        """Unix time in milliseconds, never the same twice."""
        self._last_ms = max(int(time.time() * 1000), self._last_ms + 1)
        return self._last_ms

    def changed(self) -> None:
        """Somebody may want to look again."""
        self._news.set()

    async def wait(self) -> None:
        """Return when something changed since the last look."""
        await self._news.wait()
        self._news.clear()

    async def until(self, condition: Callable[[], Any]) -> Any:
        """Wait until there is something; what it is. Raises TimeoutError."""
        async with asyncio.timeout(10):
            while not (found := condition()):
                await self.wait()
        return found

    # --- who and where

    def person(self, nickname: str, **more: Any) -> User:
        """A new user."""
        user = User(nickname.lower(), nickname, **more)
        self.users[user.id] = user
        return user

    def team(self, name: str) -> str:
        """A new team; its id."""
        team = {"id": new_id(), "name": name.lower(), "display_name": name, "type": "O", "delete_at": 0}
        self.teams[team["id"]] = team
        return str(team["id"])

    def channel(self, name: str, team: str, *members: User, kind: str = "O") -> Channel:
        """A new channel with people in it."""
        channel = Channel(name.lower().replace(" ", "-"), name, team, kind, update_at=self.now())
        channel.members = {user.id: False for user in members}
        self.channels[channel.id] = channel
        return channel

    def direct(self, one: User, other: User) -> Channel:
        """A direct message channel; both are told."""
        name = "__".join(sorted((one.id, other.id)))
        channel = self.channel("x", "", one, other, kind="D")
        channel.name, channel.display_name = name, ""
        self.tell("direct_added", {"creator_id": one.id, "teammate_id": other.id}, channel_id=channel.id)
        return channel

    def usernames(self) -> set[str]:
        """Of everybody."""
        return {user.username for user in self.users.values()}

    # --- telling

    def tell(self, event: str, data: Raw, channel_id: str = "", user_id: str = "", omit: str = "") -> None:
        """Tell the members of a channel, or one user, or everybody."""
        broadcast = {
            "omit_users": {omit: True} if omit else None,
            "user_id": user_id,
            "channel_id": channel_id,
            "team_id": "",
            "connection_id": "",
            "omit_connection_id": "",
        }
        for connection in self.connections:
            user = connection.user.id
            in_channel = not channel_id or user in self.channels[channel_id].members
            if user != omit and in_channel and user_id in ("", user):
                connection.put(event, data, broadcast)
        self.changed()

    def _tell_post(self, event: str, post: Raw, **more: Any) -> None:
        data = {"post": json.dumps(self.shown_post(post)), **more}
        self.tell(event, data, channel_id=post["channel_id"])

    def shown_post(self, post: Raw) -> Raw:
        """A post as the server gives it out."""
        metadata: Raw = {}
        if post["file_ids"]:
            metadata["files"] = [self.files[file][0] for file in post["file_ids"]]
        return post | {
            "metadata": metadata,
            "reply_count": 0,
            "hashtags": "",
            "is_pinned": post.get("is_pinned", False),
        }

    # --- doings

    def post(self, user: User, channel: Channel, message: str, **more: Any) -> Raw:
        """Somebody posts; everybody in the channel is told."""
        now = self.now()
        post: Raw = {
            "id": new_id(),
            "create_at": now,
            "update_at": now,
            "edit_at": 0,
            "delete_at": 0,
            "user_id": user.id,
            "channel_id": channel.id,
            "root_id": "",
            "original_id": "",
            "message": message,
            "type": "",
            "props": {},
            "file_ids": [],
            "pending_post_id": "",
        } | more
        self.posts[post["id"]] = post
        self._tell_post(
            "posted",
            post,
            channel_display_name=channel.display_name,
            channel_name=channel.name,
            channel_type=channel.type,
            sender_name=f"@{user.username}",
            set_online=True,
            team_id=channel.team_id,
        )
        return post

    def edit(self, post: Raw, message: str) -> None:
        """The author changes it."""
        now = self.now()
        post |= {"message": message, "edit_at": now, "update_at": now}
        self._tell_post("post_edited", post)

    def pin(self, post: Raw) -> None:
        """Somebody pins it, which comes as an edit."""
        post |= {"is_pinned": True, "update_at": self.now()}
        self._tell_post("post_edited", post)

    def delete(self, post: Raw, by: User) -> None:
        """It is deleted, and with it its thread."""
        post["delete_at"] = post["update_at"] = self.now()
        self._tell_post("post_deleted", post, delete_by=by.id)

    def react(self, user: User, post: Raw, name: str, added: bool = True) -> None:
        """Somebody puts an emoji on a post, or takes it away."""
        now = self.now()
        reaction = {"user_id": user.id, "post_id": post["id"], "emoji_name": name, "create_at": now, "update_at": now}
        reaction |= {"delete_at": 0, "remote_id": "", "channel_id": post["channel_id"]}
        standing = self.reactions.setdefault(post["id"], [])
        same = [r for r in standing if (r["user_id"], r["emoji_name"]) == (user.id, name)]
        if added == bool(same):
            return
        if added:
            standing.append(reaction)
        else:
            standing.remove(same[0])
        event = "reaction_added" if added else "reaction_removed"
        self.tell(event, {"reaction": json.dumps(reaction)}, channel_id=post["channel_id"])

    def types(self, user: User, channel: Channel) -> None:
        """Somebody types."""
        self.typing.append((channel.id, user.username))
        self.tell("typing", {"parent_id": "", "user_id": user.id}, channel_id=channel.id, omit=user.id)

    def upload(self, name: str, mime: str, data: bytes, user: User, channel: Channel) -> str:
        """A file; its id."""
        info = {"id": new_id(), "user_id": user.id, "post_id": "", "create_at": self.now(), "name": name}
        info |= {"extension": name.rpartition(".")[2], "size": len(data), "mime_type": mime, "channel_id": channel.id}
        self.files[info["id"]] = (info, data)
        return str(info["id"])

    def add(self, user: User, channel: Channel, by: User) -> None:
        """Somebody is brought into a channel: a system post, and an event."""
        channel.members[user.id] = False
        props = {"userId": by.id, "username": by.username, "addedUserId": user.id, "addedUsername": user.username}
        words = f"{user.username} added to the channel by {by.username}."
        self.post(by, channel, words, type="system_add_to_channel", props=props)
        self.tell("user_added", {"team_id": channel.team_id, "user_id": user.id}, channel_id=channel.id)

    def remove(self, user: User, channel: Channel, by: User) -> None:
        """Somebody is put out; they are told by an event of their own."""
        del channel.members[user.id]
        self.tell("user_removed", {"user_id": user.id, "remover_id": by.id}, channel_id=channel.id)
        self.tell("user_removed", {"channel_id": channel.id, "remover_id": by.id}, user_id=user.id)

    def rename(self, channel: Channel, title: str, by: User) -> None:
        """A channel gets another name."""
        old, channel.display_name, channel.update_at = channel.display_name, title, self.now()
        props = {"old_displayname": old, "new_displayname": title, "username": by.username}
        words = f"{by.username} updated the channel display name from: {old} to: {title}"
        self.post(by, channel, words, type="system_displayname_change", props=props)
        self.tell("channel_updated", {"channel": json.dumps(channel.raw())}, channel_id=channel.id)

    def archive(self, channel: Channel) -> None:
        """A channel is archived."""
        channel.delete_at = self.now()
        self.tell("channel_deleted", {"channel_id": channel.id, "delete_at": channel.delete_at}, channel_id=channel.id)

    # --- what a member sees

    def author(self, post: Raw) -> str:
        """The name that a post stands under, in the clients."""
        props = post["props"]
        if self.config["EnablePostUsernameOverride"] == "true" and props.get("from_webhook") == "true":
            return str(props.get("override_username") or props.get("webhook_display_name"))
        user = self.users[post["user_id"]]
        return user.nickname or user.username

    def shown(self, post: Raw) -> Shown:
        """The words and formatting of a post."""
        return Shown(post["message"], self.usernames())

    def calls(self, post: Raw) -> list[str]:
        """Whom a post calls."""
        return [name for name in self.shown(post).calls if name in MASS or name in self.usernames()]

    def standing(self, channel: Channel) -> list[Raw]:
        """The posts of a channel that people see, without what the system says."""
        found = [post for post in self.posts.values() if post["channel_id"] == channel.id and not post["delete_at"]]
        return [post for post in found if not post["type"].startswith("system_")]

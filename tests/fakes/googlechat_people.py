"""People in the Google Chat double's spaces: what they do becomes what Google sends, in both ways."""

from __future__ import annotations

import re
from typing import Any

import aiohttp

from tests.fakes import googlechat_keys as keys
from tests.fakes.googlechat import GoogleChatDouble
from tests.fakes.googlechat_keys import SYSTEM
from tests.fakes.googlechat_model import Space


class People:
    """They act in the spaces of a double. ``endpoint``: where the app's events are posted to; ``audience``: ``project``
    or ``url``, as on the app's Configuration page."""

    def __init__(self, double: GoogleChatDouble, endpoint: str, audience: str = "project") -> None:
        self.double = double
        self.endpoint = endpoint
        self.audience = audience
        self.statuses: list[int] = []
        self._numbers = iter(range(101, 10_000))

    def person(self, name: str) -> str:
        """Somebody with an account in the Workspace; returns ``users/…``."""
        user = f"users/{next(self._numbers)}"
        self.double.users[user] = {
            "name": user,
            "displayName": name,
            "avatarUrl": f"https://lh3.example.com/a/{user[6:]}",
            "email": f"{name.lower()}@garden.example",
            "type": "HUMAN",
        }
        return user

    def space(self, space_id: str, title: str, *members: str, **more: Any) -> Space:
        """A space that the first of ``members`` made."""
        made = self.double.spaces[space_id] = Space(space_id, title, **more)
        made.members = dict.fromkeys(members, "ROLE_MEMBER")
        if made.kind == "SPACE" and members:
            made.members[members[0]] = "ROLE_MANAGER"
        return made

    # --- interaction events ---

    def token(self, **more: Any) -> str:
        """The bearer token of an event; ``more`` replaces claims. None: left out."""
        now_s = int(self.double._clock())
        claims: dict[str, Any] = {"iat": now_s, "exp": now_s + 3600}
        if self.audience == "url":
            claims |= {"iss": "https://accounts.google.com", "aud": self.endpoint, "sub": "1", "azp": "1"}
            claims |= {"email": SYSTEM, "email_verified": True}
            key = self.double.oidc_key
        else:
            claims |= {"iss": SYSTEM, "aud": self.double.project_number}
            key = self.double.chat_key
        claims = {name: value for name, value in (claims | more).items() if value is not None}
        return keys.signed(key, claims)

    async def post(self, event: dict[str, Any], token: str | None = None) -> int:
        """Google posts an event to the app; returns the status of the answer."""
        headers = {"Authorization": f"Bearer {token or self.token()}", "User-Agent": "Google-Dynamite"}
        async with (
            aiohttp.ClientSession() as session,
            session.post(self.endpoint, json=event, headers=headers) as reply,
        ):
            body = await reply.read()
            assert reply.status != 200 or body == b"{}"
            self.statuses.append(reply.status)
            return reply.status

    def event(self, kind: str, space: Space, who: str, **more: Any) -> dict[str, Any]:
        """An interaction event."""
        return {
            "type": kind,
            "eventTime": self.double.stamp(),
            "space": space.resource(),
            "user": self.double.users[who],
            **more,
        }

    async def add_app(self, space: Space, who: str) -> int:
        """Somebody adds the app to a space."""
        space.has_app = True
        return await self.post(self.event("ADDED_TO_SPACE", space, who))

    async def remove_app(self, space: Space, who: str) -> int:
        """Somebody removes it."""
        space.has_app = False
        return await self.post(self.event("REMOVED_FROM_SPACE", space, who))

    # --- saying ---

    async def say(self, space: Space, who: str, formatted: str, plain: str = "", **more: Any) -> str:
        """Somebody says it; ``formatted``: as ``formattedText`` has it. Returns the message's id."""
        message = self.said(space, who, formatted, plain, **more)
        await self.tell(space, message)
        return str(message["name"]).rpartition("/")[2]

    def said(self, space: Space, who: str, formatted: str, plain: str = "", **more: Any) -> dict[str, Any]:
        """The message is there; nobody was told yet."""
        annotations = [self._mention(user) for user in re.findall(r"<(users/[\w-]+)>", formatted)]
        plain = plain or re.sub(r"<(users/[\w-]+)>", lambda m: f"@{self._name(m[1])}", formatted)
        content: dict[str, Any] = {"text": plain, "formattedText": formatted, "argumentText": f" {plain}"}
        if annotations:
            content["annotations"] = annotations
        thread = more.pop("thread", "")
        quoted = more.pop("quote", "")
        if quoted:
            root = self.double.find(space, quoted)
            content["quotedMessageMetadata"] = {
                "name": root["name"],
                "lastUpdateTime": root.get("lastUpdateTime", root["createTime"]),
                "quoteType": "REPLY",
                "quotedMessageSnapshot": {
                    "sender": self._name(root["sender"]),
                    "text": root.get("text", ""),
                },
            }
        return self.double.post(space, who, thread, {**content, **more})

    async def tell(self, space: Space, message: dict[str, Any]) -> None:
        """Google tells the app of a message: by Pub/Sub, and by an event where it is meant."""
        self.double.happened(space, "message.v1.created", "message", message)
        self.double.changed()
        mentioned = f"<{self.double.app}>" in message.get("formattedText", "")
        if space.has_app and (mentioned or space.kind == "DIRECT_MESSAGE"):
            shown = self.double.shown(space, message)
            await self.post(self.event("MESSAGE", space, message["sender"], message=shown))

    async def slash(self, space: Space, who: str, argument: str, command: str = "/sameroom") -> dict[str, Any]:
        """Somebody types a slash command; only they and the app see it. Returns the event that was posted."""
        message = self.double.post(space, who, "", {"text": f"{command} {argument}".rstrip()})
        del space.messages[message["name"].rpartition("/")[2]]
        bot = self.double.users[self.double.app]
        note = {"type": "SLASH_COMMAND", "startIndex": 0, "length": len(command)}
        note["slashCommand"] = {"bot": bot, "type": "INVOKE", "commandName": command, "commandId": "1"}
        shown = {
            **self.double.shown(space, message),
            "argumentText": f" {argument}",
            "slashCommand": {"commandId": "1"},
            "annotations": [note],
            "privateMessageViewer": {"name": who, "type": "HUMAN"},
        }
        metadata = {"appCommandId": 1, "appCommandType": "SLASH_COMMAND"}
        event = self.event("APP_COMMAND", space, who, message=shown, appCommandMetadata=metadata)
        await self.post(event)
        return event

    def _name(self, user: str) -> str:
        return str(self.double.users[user]["displayName"]) if user in self.double.users else "all"

    def _mention(self, user: str) -> dict[str, Any]:
        shown = {"name": user, "displayName": self._name(user), "type": self.double.users.get(user, {}).get("type")}
        return {
            "type": "USER_MENTION",
            "startIndex": 0,
            "length": len(self._name(user)) + 1,
            "userMention": {"user": shown, "type": "MENTION"},
        }

    # --- doing ---

    def edit(self, space: Space, native: str, formatted: str) -> None:
        """Somebody changes their message."""
        message = self.double.find(space, native)
        message |= {"text": formatted, "formattedText": formatted, "lastUpdateTime": self.double.stamp()}
        self.double.happened(space, "message.v1.updated", "message", message)
        self.double.changed()

    def delete(self, space: Space, native: str, how: str = "CREATOR") -> None:
        """Somebody takes a message away."""
        self.double.gone(space, self.double.find(space, native), how)

    def react(self, space: Space, native: str, who: str, emoji: str, added: bool = True) -> None:
        """Somebody puts an emoji on a message, or takes it away."""
        message = self.double.find(space, native)
        standing = message["reactions"].setdefault(emoji, set())
        (standing.add if added else standing.discard)(who)
        user = {key: self.double.users[who][key] for key in ("name", "type")}
        resource = {
            "name": f"{message['name']}/reactions/{who[6:]}.{emoji.encode().hex()}",
            "user": user,
            "emoji": {"unicode": emoji},
        }
        kind = f"reaction.v1.{'created' if added else 'deleted'}"
        self.double.happened(space, kind, "reaction", resource)
        self.double.changed()

    def rename(self, space: Space, title: str) -> None:
        """The space gets another name."""
        space.title = title
        self.double.happened(space, "space.v1.updated", "space", space.resource())

    def join(self, space: Space, who: str) -> None:
        """Somebody comes in."""
        space.members[who] = "ROLE_MEMBER"
        member = {key: self.double.users[who][key] for key in ("name", "type")}
        resource = {"name": f"spaces/{space.id}/members/{who[6:]}", "state": "JOINED", "member": member}
        self.double.happened(space, "membership.v1.created", "membership", resource)

    def leave(self, space: Space, who: str) -> None:
        """Somebody goes away."""
        del space.members[who]
        resource = {"name": f"spaces/{space.id}/members/{who[6:]}", "state": "NOT_A_MEMBER"}
        self.double.happened(space, "membership.v1.deleted", "membership", resource)

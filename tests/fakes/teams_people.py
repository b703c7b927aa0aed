"""What people do in the double of Teams, as the payloads that the bot gets of it."""

from __future__ import annotations

import asyncio
import html
import secrets
from datetime import UTC, datetime
from typing import Any

from tests.fakes.teams import BotService
from tests.fakes.teams_world import Conversation, Message, Person

DOWNLOAD = "application/vnd.microsoft.teams.file.download.info"


class People:
    """Everybody in one conversation."""

    def __init__(self, service: BotService, conversation: Conversation) -> None:
        self.service = service
        self.room = conversation

    # --- payloads ---

    def activity(self, kind: str, who: Person | None, root: str = "", **more: Any) -> dict[str, Any]:
        """What every activity has."""
        room = self.room
        conversation: dict[str, Any] = {"id": room.id + (f";messageid={root}" if root else "")}
        conversation |= {"conversationType": room.kind, "tenantId": self.service.tenant}
        if room.kind != "personal":
            conversation["isGroup"] = True
        data: dict[str, Any] = {"tenant": {"id": self.service.tenant}}
        if room.team:
            data |= {"teamsChannelId": room.id, "teamsTeamId": room.team}
            data |= {"channel": {"id": room.id}, "team": {"id": room.team}}
        activity = {
            "type": kind,
            "id": f"f:{secrets.token_hex(8)}",
            "timestamp": datetime.now(UTC).isoformat().replace("+00:00", "3Z"),
            "serviceUrl": self.service.service_url,
            "channelId": "msteams",
            "conversation": conversation,
            "recipient": {"id": self.service.bot.id, "name": self.service.bot.name},
            "channelData": data | more.pop("channelData", {}),
        }
        if who is not None:
            activity["from"] = {"id": who.id, "name": who.name, "aadObjectId": who.aad}
        return activity | more

    def message(
        self, who: str, source: str, native: str, root: str = "", mentions: tuple[Person, ...] = (), **more: Any
    ) -> dict[str, Any]:
        """A message; ``source`` is Teams' HTML."""
        marks: list[dict[str, Any]] = [
            {"type": "mention", "text": f"<at>{one.name}</at>", "mentioned": {"id": one.id, "name": one.name}}
            for one in mentions
        ]
        marks.append({"type": "clientInfo", "locale": "en-GB", "platform": "Web", "timezone": "Europe/London"})
        body = {
            "id": native,
            "textFormat": "plain",
            "text": source,
            "attachments": [*more.pop("files", ()), {"contentType": "text/html", "content": source}],
            "entities": [*marks, *more.pop("entities", ())],
            "locale": "en-GB",
        }
        if self.room.kind == "channel":
            root = root or native
        return self.activity(more.pop("type", "message"), self.room.members[who], root, **(body | more))

    # --- doings ---

    async def add_bot(self, who: str, *, twice: bool = True) -> None:
        """Somebody adds the app. Teams tells of it by two activities."""
        self.room.has_bot = True
        person = self.room.members[who]
        data: dict[str, Any] = {"settings": {"selectedChannel": {"id": self.room.id}}} if self.room.team else {}
        if self.room.team:
            data |= {"eventType": "teamMemberAdded", "team": {"id": self.room.team, "name": self.room.team_name}}
        update = self.activity("conversationUpdate", person, channelData=data)
        update["membersAdded"] = [{"id": self.service.bot.id}]
        if self.room.name:
            update["conversation"]["name"] = self.room.name
        await self._sent(update)
        if twice:
            await self._sent(self.activity("installationUpdate", person, action="add", channelData=data))

    async def remove_bot(self, who: str) -> None:
        """Somebody removes the app; of a team the activity names the team's own conversation."""
        person = self.room.members[who]
        update = self.activity("conversationUpdate", person, channelData={"eventType": "teamMemberRemoved"})
        update["conversation"]["id"] = self.room.team or self.room.id
        update["membersRemoved"] = [{"id": self.service.bot.id}]
        await self._sent(update)
        await self._sent(self.activity("installationUpdate", person, action="remove"))
        self.room.has_bot = False

    async def say(self, who: str, source: str, root: str = "", plain: str = "", **more: Any) -> str:
        """Somebody says it; ``source`` is HTML, ``plain`` what people read of it."""
        native = self.service.ids.message()
        self.room.messages[native] = Message(native, who, plain or source, root=root)
        self.service.changed.set()
        await self._sent(self.message(who, source, native, root, **more))
        return native

    async def reply(self, who: str, to: str, source: str, *, as_entity: bool = False) -> str:
        """In a channel below the message; in a chat with a quote of it."""
        answered = self.room.messages[to]
        if self.room.kind == "channel":
            return await self.say(who, source, answered.root or to)
        if as_entity:
            quoted = {"messageId": to, "senderName": answered.author, "preview": answered.plain}
            native = await self.say(
                who, f"<p>{source}</p>", plain=source, entities=[{"type": "quotedReply", "quotedReply": quoted}]
            )
        else:
            quote = (
                f'<blockquote itemscope="" itemtype="http://schema.skype.com/Reply" itemid="{to}">\r\n'
                f'<strong itemprop="mri" itemid="8:orgid:1">{html.escape(answered.author)}</strong>'
                f'<span itemprop="time" itemid="{to}"></span>\r\n'
                f'<p itemprop="preview">{html.escape(answered.plain)}</p>\r\n</blockquote>\r\n'
            )
            native = await self.say(who, f"{quote}<p>{source}</p>", plain=source)
        self.room.messages[native].quotes = to
        return native

    async def edit(self, who: str, native: str, source: str, event: str = "editMessage") -> None:
        """Somebody changes what they said, or brings back what they deleted."""
        message = self.room.messages[native]
        message.plain, message.deleted = source, False
        self.service.changed.set()
        payload = self.message(who, source, native, message.root, type="messageUpdate")
        payload["channelData"]["eventType"] = event
        await self._sent(payload)

    async def delete(self, who: str, native: str) -> None:
        """Somebody takes back what they said."""
        message = self.room.messages[native]
        message.deleted = True
        self.service.changed.set()
        root = (message.root or native) if self.room.kind == "channel" else ""
        payload = self.activity("messageDelete", self.room.members[who], root, id=native)
        payload["channelData"]["eventType"] = "softDeleteMessage"
        await self._sent(payload)

    async def react(self, who: str, native: str, kind: str, added: bool = True) -> None:
        """Somebody reacts; the bot hears of it when the message is its own."""
        message, person = self.room.messages[native], self.room.members[who]
        people = message.reactions.setdefault(kind, set())
        people.add(person.id) if added else people.discard(person.id)
        self.service.changed.set()
        if message.author != self.service.bot.name:
            return
        root = (message.root or native) if self.room.kind == "channel" else ""
        payload = self.activity("messageReaction", person, root, replyToId=native)
        payload["reactionsAdded" if added else "reactionsRemoved"] = [{"type": kind}]
        await self._sent(payload)

    async def share_picture(self, who: str, data: bytes, mime: str, text: str = "") -> str:
        """Somebody pastes a picture into a message."""
        ref = secrets.token_hex(8)
        self.service.files[ref] = mime, data
        file = {"contentType": mime, "contentUrl": f"{self.service.service_url}v3/attachments/{ref}/views/original"}
        source = (
            f'<p>{html.escape(text)}<img alt="image" src="https://smba.example/v1/objects/{ref}/views/imgo" '
            'itemscope="" itemtype="http://schema.skype.com/AMSImage"></p>'
        )
        return await self.say(who, source, plain=text, files=(file,))

    async def share_file(self, who: str, name: str, data: bytes, mime: str, text: str = "") -> str:
        """Somebody sends a file in the chat with the bot alone."""
        assert self.room.kind == "personal"
        ref = secrets.token_hex(8)
        self.service.files[ref] = mime, data
        content = {"downloadUrl": f"{self.service.url}/sharepoint/{ref}?tempauth=x", "uniqueId": ref, "fileType": "pdf"}
        file = {"contentType": DOWNLOAD, "contentUrl": f"https://x.example/{name}", "name": name, "content": content}
        return await self.say(who, f"<p>{html.escape(text)}</p>", plain=text, files=(file,))

    async def rename_channel(self, who: str, name: str) -> None:
        """The channel gets another name; the activity names the team's own conversation."""
        self.room.name = name
        data = {"eventType": "channelRenamed", "channel": {"id": self.room.id, "name": name}}
        await self._team_event(who, data)

    async def rename_team(self, who: str, name: str) -> None:
        """The team gets another name."""
        self.service.teams[self.room.team] = self.room.team_name = name
        data = {"eventType": "teamRenamed", "team": {"id": self.room.team, "name": name}, "channel": None}
        await self._team_event(who, data)

    async def delete_channel(self, who: str) -> None:
        """The channel goes."""
        data = {"eventType": "channelDeleted", "channel": {"id": self.room.id, "name": self.room.name}}
        await self._team_event(who, data)
        self.room.has_bot = False

    async def _team_event(self, who: str, data: dict[str, Any]) -> None:
        payload = self.activity("conversationUpdate", self.room.members[who], channelData=data)
        payload["conversation"]["id"] = self.room.team
        await self._sent(payload)

    async def _sent(self, payload: dict[str, Any]) -> None:
        async with asyncio.timeout(10):
            # 503: the bot cannot take it now, and asks for it once more.
            while (status := await self.service.deliver(payload)) == 503:
                continue
        assert status == 200, (status, payload["type"])

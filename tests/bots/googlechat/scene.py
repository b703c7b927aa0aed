"""A space of the double, and two people in it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from bots.googlechat import PLATFORM
from bots.googlechat.config import GoogleChatConfig
from core.model import AccountId, Text
from tests.contract.scene import ANN, BOB, File, Line
from tests.contract.stage import Session
from tests.fakes.googlechat import GoogleChatDouble
from tests.fakes.googlechat_people import People
from tests.fakes.googlechat_text import render_card, render_markdown

MARKS = {"bold": "**", "italic": "_", "strike": "~~", "code": "`"}


class GoogleChatScene:
    """One space that a Pub/Sub subscription tells everything of."""

    platform = PLATFORM
    where = "a double made from Google's documentation"

    def __init__(self, double: GoogleChatDouble, url: str) -> None:
        self.double = double
        self.config = GoogleChatConfig(
            service_account=double.key_file(),
            project_number=double.project_number,
            pubsub_subscription=double.subscription,
            writes_per_s=1000.0,
            project_writes_per_min=60_000.0,
            **double.urls(),
        )
        self.people = People(double, f"{url}/events")
        self.users = {name: self.people.person(name) for name in (ANN, BOB)}
        self.space = self.people.space("AAQAgarden", "Garden", *self.users.values())

    async def enter(self) -> str:
        """Ann adds the app; it subscribes to the space."""
        status = await self.people.add_app(self.space, self.users[ANN])
        assert status == 200
        while not self.double.subscriptions:
            await self.double.news.wait()
        return self.space.id

    async def say(self, text: str | Text, who: str = ANN) -> str:
        """Somebody says it in the app's own formatting."""
        if isinstance(text, str):
            return await self.people.say(self.space, self.users[who], _literal(text), text)
        return await self.people.say(self.space, self.users[who], self._drawn(text), text.plain)

    def _drawn(self, text: Text) -> str:
        drawn = text.plain
        for entity in sorted(text.entities, key=lambda one: -one.start):
            start, end = entity.start, entity.start + entity.length
            words = drawn[start:end]
            if entity.type == "pre":
                words = f"```{entity.value}\n{words}\n```"
            elif entity.type == "quote":
                words = f"> {words}\n"
            elif entity.type == "link":
                words = f"[{words}]({entity.value})"
            elif entity.type == "mention":
                words = f"<{self.users[words]}>"
            else:
                words = f"{MARKS[entity.type]}{words}{MARKS[entity.type]}"
            drawn = drawn[:start] + words + drawn[end:]
        return drawn

    async def reply(self, to: str, text: str, who: str = ANN) -> str:
        """Somebody quotes a message."""
        return await self.people.say(self.space, self.users[who], text, quote=to)

    async def say_in_thread(self, root: str, text: str, who: str = ANN) -> str:
        """Somebody says it in a thread."""
        return await self.people.say(self.space, self.users[who], text, thread=root.partition(".")[0])

    async def edit(self, native: str, text: str, who: str = ANN) -> None:
        """Somebody edits."""
        self.people.edit(self.space, native, text)

    async def delete(self, native: str, who: str = ANN) -> None:
        """Somebody deletes."""
        self.people.delete(self.space, native)

    async def react(self, native: str, emoji: str, added: bool = True, who: str = ANN) -> None:
        """Somebody reacts."""
        self.people.react(self.space, native, self.users[who], emoji, added)

    async def post_file(self, file: File, text: str = "", who: str = ANN) -> str:
        """Somebody uploads a file."""
        resource = f"ClxzcGFjZXMv{len(self.double.media)}="
        self.double.media[resource] = file.data
        attachment = {
            "name": f"spaces/{self.space.id}/messages/x/attachments/1",
            "contentName": file.name,
            "contentType": file.mime,
            "source": "UPLOADED_CONTENT",
            "attachmentDataRef": {"resourceName": resource},
        }
        return await self.people.say(self.space, self.users[who], text, attachment=[attachment])

    async def type(self, who: str = ANN) -> None:
        """Google tells nobody."""

    async def away(self, say: list[str], who: str = ANN) -> None:
        """Google is not reachable, and the space's subscription ends meanwhile."""
        self.double.is_down = True
        self.double.changed()
        self.double.subscriptions.clear()
        await asyncio.sleep(0)
        for text in say:
            message = self.people.said(self.space, self.users[who], text)
            await self.people.tell(self.space, message)
        self.double.is_down = False

    async def lines(self) -> list[Line]:
        """The space as Bob's client shows it."""
        return [self._line(message) for message in list(self.space.messages.values())]

    def _line(self, message: dict) -> Line:  # type: ignore[type-arg]
        user = self.double.users[message["sender"]]
        author, avatar = user["displayName"], ""
        if message["sender"] != self.double.app:
            plain, entities = message["text"], ()
        elif "cardsV2" in message:
            card = message["cardsV2"][0]["card"]
            author, avatar = card["header"]["title"], card["header"].get("imageUrl", "")
            plain, entities = render_card(card["sections"][0]["widgets"][0]["textParagraph"]["text"])
        else:
            assert message["markupSyntax"] == "MARKUP_SYNTAX_MARKDOWN"
            plain, entities = render_markdown(message["text"])
        thread = message["thread"]["name"].rpartition("/")[2]
        return Line(
            author=author,
            plain=plain,
            native=message["name"].rpartition("/")[2],
            entities=entities,
            reply_to=message.get("quotedMessageMetadata", {}).get("name", "").rpartition("/")[2],
            thread=f"{thread}.{thread}" if message["threadReply"] else "",
            avatar=avatar,
            reactions=tuple(sorted(emoji for emoji, who in message["reactions"].items() if who)),
        )

    async def typing(self) -> list[str]:
        """Nobody sees typing."""
        return []

    async def changed(self) -> None:
        """Until something happens in the double."""
        await self.double.news.wait()


def _literal(text: str) -> str:
    """How Google writes what somebody typed without formatting."""
    return "".join(f"\\{char}" if char in "\\*_`~[]<>" else char for char in text)


@asynccontextmanager
async def scene(session: Session, account: AccountId, url: str) -> AsyncIterator[GoogleChatScene]:
    """A double and a space of its own."""
    async with GoogleChatDouble(clock=time.time) as double:
        yield GoogleChatScene(double, url)

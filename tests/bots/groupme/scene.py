"""A group of the GroupMe double, with the account as a member among people."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlsplit

from bots.groupme import PLATFORM
from bots.groupme.config import GroupMeConfig
from core.model import AccountId, Entity, Text
from tests.contract.scene import ANN, BOB, File, Line
from tests.contract.stage import Session
from tests.fakes.groupme import GroupMeDouble, running_groupme

GROUP = "104123456"
PEOPLE = {ANN: "70000001", BOB: BOB}
"""Ids. The suite mentions Bob by the id ``Bob``; other tests have ids like GroupMe's own."""
ME = "70000009"
TOKEN = "tokenOfTheBridge0123456789abcdef"


def config_for(double: GroupMeDouble, **more: Any) -> GroupMeConfig:
    """A configuration that points to the double."""
    places = {
        "api_url": f"{double.url}/v3",
        "api4_url": f"{double.url}/v4",
        "push_url": f"{double.url}/faye",
        "image_url": f"{double.url}/image",
        "file_url": f"{double.url}/file/v1",
        "media_hosts": (urlsplit(double.url).netloc,),
        "media_addresses": ("127.0.0.1",),
        "reconnect_min_s": 0.05,
        "reconnect_max_s": 1.0,
        "rate_per_s": 0.0,
    }
    return GroupMeConfig(**({"token": TOKEN, "user_name": "BridgeBot"} | places | more))


def populate(double: GroupMeDouble, *, with_me: bool = False) -> None:
    """Ann runs the group, Bob is in it."""
    for name, user in PEOPLE.items():
        double.user(user, name)
    double.user(ME, "BridgeBot", TOKEN)
    double.group(GROUP, "Garden", *PEOPLE.values(), *([ME] if with_me else []))


def outgoing(text: str | Text) -> tuple[str, list[dict[str, Any]]]:
    """What the app sends for words with mentions in them."""
    if isinstance(text, str):
        return text, []
    people = [entity for entity in text.entities if entity.type == "mention"]
    units = [len(text.plain[: entity.start].encode("utf-16-le")) // 2 for entity in people]
    sizes = [len(text.plain[e.start : e.start + e.length].encode("utf-16-le")) // 2 for e in people]
    loci = [list(pair) for pair in zip(units, sizes, strict=True)]
    found = {"type": "mentions", "user_ids": [entity.value for entity in people], "loci": loci}
    return text.plain, [found] if people else []


def entities_of(message: dict[str, Any]) -> tuple[Entity, ...]:
    """The mentions of a message as the app shows them."""
    found = []
    units = message["text"].encode("utf-16-le")
    for item in message["attachments"]:
        if item["type"] == "mentions":
            for person, (start, length) in zip(item["user_ids"], item["loci"], strict=True):
                before = units[: start * 2].decode("utf-16-le")
                shown = units[start * 2 : (start + length) * 2].decode("utf-16-le")
                found.append(Entity("mention", len(before), len(shown), person))
    return tuple(found)


class GroupMeScene:
    """One group of the double."""

    platform = PLATFORM
    where = "a double of ours"

    def __init__(self, double: GroupMeDouble) -> None:
        self.double = double
        self.config = config_for(double)

    async def enter(self) -> str:
        """Ann adds the account, which then listens to the group's own channel."""
        self.double.add(GROUP, ME, PEOPLE[ANN])
        await self._listening()
        return GROUP

    async def _listening(self) -> None:
        push = self.double.push
        async with asyncio.timeout(10):
            while not (push.subscribers(f"/group/{GROUP}") and push.subscribers(f"/user/{ME}")):
                push.changed.clear()
                await push.changed.wait()

    async def say(self, text: str | Text, who: str = ANN) -> str:
        """In the app."""
        return self.double.say(GROUP, PEOPLE[who], *outgoing(text))

    async def reply(self, to: str, text: str, who: str = ANN) -> str:
        """By a reply attachment."""
        reply = {"type": "reply", "reply_id": to, "base_reply_id": to}
        return self.double.say(GROUP, PEOPLE[who], text, [reply])

    async def edit(self, native: str, text: str, who: str = ANN) -> None:
        """In the app."""
        self.double.edit(GROUP, native, text)

    async def delete(self, native: str, who: str = ANN) -> None:
        """In the app."""
        self.double.delete(GROUP, native)

    async def react(self, native: str, emoji: str, added: bool = True, who: str = ANN) -> None:
        """In the app."""
        self.double.react(GROUP, native, PEOPLE[who], emoji if added else "")

    async def post_file(self, file: File, text: str = "", who: str = ANN) -> str:
        """Pictures go through the image service, others through the file service."""
        if file.mime.startswith("image/"):
            item = {"type": "image", "url": self.double.picture(file.data, file.mime.partition("/")[2])}
        else:
            item = {"type": "file", "file_id": self.double.file(GROUP, file.name, file.data)}
        return self.double.say(GROUP, PEOPLE[who], text, [item])

    async def type(self, who: str = ANN) -> None:
        """In the app."""
        self.double.type(GROUP, PEOPLE[who])

    async def away(self, say: list[str], who: str = ANN) -> None:
        """The push service goes away and comes back."""
        self.double.push.cut()
        for text in say:
            self.double.say(GROUP, PEOPLE[who], text)
        self.double.push.back()
        await self._listening()

    async def lines(self) -> list[Line]:
        """The group as Bob sees it."""
        return [self._line(message) for message in self.double.lines(GROUP)]

    def _line(self, message: dict[str, Any]) -> Line:
        replies = [item["reply_id"] for item in message["attachments"] if item["type"] == "reply"]
        mine = message["user_id"] == ME
        return Line(
            message["name"],
            message["text"],
            message["id"],
            entities_of(message),
            replies[0] if replies else "",
            files=tuple(self._file(item) for item in message["attachments"] if item["type"] in ("image", "file")),
            avatar="" if mine else message["avatar_url"] or "",
            reactions=tuple(sorted(entry["code"] for entry in message.get("reactions", ()))),
        )

    def _file(self, item: dict[str, Any]) -> File:
        if item["type"] == "image":
            mime, data = self.double.pictures[item["url"].rpartition("/")[2]]
            return File("picture." + mime.partition("/")[2], data, mime)
        return File(*self.double.groups[GROUP].files[item["file_id"]])

    async def typing(self) -> list[str]:
        """Who is shown as typing: GroupMe shows the account itself."""
        return [self.double.users[user] for channel, user, _ in self.double.push.typed if channel == f"/group/{GROUP}"]

    async def changed(self) -> None:
        """Wait for the double."""
        waits = [asyncio.create_task(event.wait()) for event in (self.double.changed, self.double.push.changed)]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in waits:
                task.cancel()
            self.double.changed.clear()
            self.double.push.changed.clear()


@asynccontextmanager
async def scene(session: Session, account: AccountId, url: str) -> AsyncIterator[GroupMeScene]:
    """A double with one group."""
    async with running_groupme() as double:
        populate(double)
        yield GroupMeScene(double)

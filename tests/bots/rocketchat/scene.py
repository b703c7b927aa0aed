"""A channel of the Rocket.Chat double, with the account as a bot among people."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from bots.rocketchat import PLATFORM
from bots.rocketchat.config import RocketChatConfig
from core.model import AccountId, Entity, Text
from tests.contract.scene import ANN, BOB, File, Line
from tests.contract.stage import Session
from tests.fakes.rocketchat import RocketChatDouble, running_rocketchat
from tests.fakes.rocketchat_text import read
from tests.fakes.rocketchat_world import EMOJI, Message

ROOM = "GardenRoomId12345"
PEOPLE = {ANN: "annUserId12345678", BOB: BOB}
"""Ids. The suite mentions Bob by the id ``Bob``."""
ME = "bridgeUserId12345"
TOKEN = "tokenOfTheBridge0123456789abcdefghijklmnopq"
MARKS = {"bold": "*", "italic": "_", "strike": "~", "spoiler": "||", "code": "`"}


def config_for(double: RocketChatDouble, **more: Any) -> RocketChatConfig:
    """A configuration that points to the double."""
    given = {"url": double.url, "user_id": ME, "token": TOKEN, "reconnect_min_s": 0.05, "reconnect_max_s": 1.0}
    return RocketChatConfig(**(given | more))


def populate(double: RocketChatDouble, *, with_me: bool = False, roles: tuple[str, ...] = ("bot",)) -> None:
    """Ann owns the channel, Bob is in it."""
    double.user(PEOPLE[ANN], "ann", ANN)
    double.user(PEOPLE[BOB], "bob", BOB)
    double.user(ME, "bridge", "BridgeBot", roles=list(roles), tokens={TOKEN})
    double.room(ROOM, "c", "garden", *PEOPLE.values(), *([ME] if with_me else []))


def typed(text: str | Text) -> str:
    """What somebody types for it."""
    if isinstance(text, str):
        return text
    words = text.plain
    for entity in reversed(text.entities):
        start, end = entity.start, entity.start + entity.length
        said = words[start:end]
        mark = MARKS.get(entity.type, "")
        new = f"{mark}{said}{mark}"
        if entity.type == "link":
            new = f"[{said}]({entity.value})"
        elif entity.type == "mention":
            new = "@bob"
        elif entity.type == "quote":
            new = f"> {said}"
        elif entity.type == "pre":
            new = f"```{entity.value}\n{said}\n```"
        words = words[:start] + new + words[end:]
    return words


class RocketChatScene:
    """One channel of the double."""

    platform = PLATFORM
    where = "a double of ours"

    def __init__(self, double: RocketChatDouble) -> None:
        self.double = double
        self.config = config_for(double)

    async def enter(self) -> str:
        """Ann adds the bot, which then hears of deletions there."""
        self.double.add(ROOM, ME, PEOPLE[ANN])
        await self._listening()
        return ROOM

    async def _listening(self) -> None:
        async with asyncio.timeout(10):
            while not self.double.listening(ME, "stream-notify-room", f"{ROOM}/user-activity"):
                await self.changed()

    def _say(self, message: Message, who: str) -> str:
        return str(self.double.insert(ROOM, PEOPLE[who], message)["_id"])

    async def say(self, text: str | Text, who: str = ANN) -> str:
        """In the app."""
        return self._say({"msg": typed(text)}, who)

    async def reply(self, to: str, text: str, who: str = ANN) -> str:
        """By the button Reply, which makes a link."""
        return self._say({"msg": f"[ ]({self.double.url}/channel/garden?msg={to})\n{text}"}, who)

    async def say_in_thread(self, root: str, text: str, who: str = ANN) -> str:
        """In the thread."""
        return self._say({"msg": text, "tmid": root}, who)

    async def edit(self, native: str, text: str, who: str = ANN) -> None:
        """In the app."""
        self.double.update(native, PEOPLE[who], text)

    async def delete(self, native: str, who: str = ANN) -> None:
        """In the app."""
        self.double.delete(native)

    async def react(self, native: str, emoji: str, added: bool = True, who: str = ANN) -> None:
        """In the app."""
        name = next(name for name, shown in EMOJI.items() if shown == emoji)
        self.double.react(native, PEOPLE[who], name, added)

    async def post_file(self, file: File, text: str = "", who: str = ANN) -> str:
        """Uploaded and posted."""
        kept = self.double.upload(file.name, file.mime, file.data)
        return str(self.double.file_message(ROOM, PEOPLE[who], kept, {"msg": text})["_id"])

    async def type(self, who: str = ANN) -> None:
        """In the app."""
        self.double.type(ROOM, PEOPLE[who])

    async def away(self, say: list[str], who: str = ANN) -> None:
        """The websocket breaks and comes back."""
        await self.double.cut()
        for text in say:
            self._say({"msg": text}, who)
        self.double.back()
        await self._listening()

    async def lines(self) -> list[Line]:
        """The channel as Bob sees it."""
        return [self._line(message) for message in self.double.rooms[ROOM].messages if not message.get("t")]

    def _line(self, message: Message) -> Line:
        words, spans = read(message["md"]) if message["md"] else ("", [])
        quotes = [
            part["message_link"].rpartition("?msg=")[2] for part in message["attachments"] if "message_link" in part
        ]
        if quotes:
            words = words.partition("\n")[2] if words.startswith(" \n") else words.removeprefix(" ")
        user = self.double.users[message["u"]["_id"]]
        files = [self.double.files[file["_id"]] for file in message.get("files", ())]
        return Line(
            message.get("alias") or user.name,
            words,
            message["_id"],
            tuple(Entity(kind, start, length, value) for kind, start, length, value in spans),  # type: ignore[arg-type]
            quotes[0] if quotes else "",
            message.get("tmid", ""),
            tuple(File(name, data, mime) for name, mime, data in files),
            message.get("avatar", ""),
            tuple(sorted(EMOJI[name.strip(":")] for name in message.get("reactions", {}))),
        )

    async def typing(self) -> list[str]:
        """Who is shown as typing."""
        return [name for rid, name in self.double.typed if rid == ROOM]

    async def changed(self) -> None:
        """Wait for the double."""
        self.double.changed.clear()
        try:
            async with asyncio.timeout(0.5):
                await self.double.changed.wait()
        except TimeoutError:
            return


@asynccontextmanager
async def scene(session: Session, account: AccountId, url: str) -> AsyncIterator[RocketChatScene]:
    """A double with one channel."""
    async with running_rocketchat() as double:
        populate(double)
        yield RocketChatScene(double)

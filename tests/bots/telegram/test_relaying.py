"""Telegram in a whole installation: two groups of one bot, connected by what people type and tap."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest

from bots.telegram import PLATFORM
from bots.telegram.config import TelegramConfig
from core.model import AccountId, PlatformId
from core.store import Redis
from tests.fakes.telegram import TelegramDouble
from tests.fakes.telegram_world import Chat, Message, Person
from tests.support.world import StoredAccount, running_world


@dataclass
class Club:
    """The double, a person, and two groups that the relay is in."""

    double: TelegramDouble
    ann: Person
    garden: Chat
    orchard: Chat

    async def shows(self, chat: Chat, words: str) -> Message:
        """Wait until the bot has posted something that holds ``words``."""

        def found() -> Message | None:
            return next((m for m in chat.messages.values() if m.by_bot and words in m.plain), None)

        try:
            return await self.double.until(found)  # type: ignore[no-any-return]
        except TimeoutError:
            raise AssertionError(f"{words!r} is not in {[m.plain for m in chat.messages.values()]}") from None

    async def connect(self) -> None:
        """Open in one group; tap the invitation, which adds the bot to the other group with the code."""
        for chat in (self.garden, self.orchard):
            self.double.add_bot(chat, self.ann, "administrator")
            await self.shows(chat, "sameroom")
        self.double.say(self.garden, self.ann, "/sameroom@bridge_bot open")
        told = await self.shows(self.garden, "Your code is")
        match = re.search(r"Your code is ([\w-]+)\.", told.plain)
        assert match
        self.double.say(self.orchard, self.ann, f"/start@bridge_bot {match[1]}")
        for chat in (self.garden, self.orchard):
            await self.shows(chat, "now connected")


@pytest.fixture
async def club(store: Redis) -> AsyncIterator[Club]:
    """Everything runs; nothing is connected."""
    async with TelegramDouble() as double:
        ann = double.person("Ann")
        made = Club(double, ann, double.chat("Garden", ann), double.chat("Orchard", ann))
        config = TelegramConfig(
            token=double.token, username="bridge_bot", api_url=double.url, group_rate_per_s=50, album_wait_s=0.3
        )
        account = StoredAccount(AccountId("tg"), PlatformId("telegram"), config)
        async with running_world(store, account, platforms={"telegram": PLATFORM}):
            yield made


async def test_from_an_invitation_to_a_conversation(club: Club) -> None:
    """Two taps connect; words, edits, answers, reactions, albums and files go through in order."""
    await club.connect()
    said = club.double.say(club.garden, club.ann, "red roses", entities=[{"type": "italic", "offset": 4, "length": 5}])
    post = await club.shows(club.orchard, "red roses")
    bold, italic = post.raw["entities"]
    assert post.plain[: bold["length"]].startswith("Ann")
    assert post.plain[italic["offset"] :] == "roses"
    club.double.edit(club.garden, said.id, "white roses")
    await club.shows(club.orchard, "white roses")
    assert post.plain.endswith("white roses")
    club.double.say(club.orchard, club.ann, "lovely", reply_to=post.id)
    answer = await club.shows(club.garden, "lovely")
    assert answer.raw["reply_to_message"]["message_id"] == said.id
    club.double.react(club.orchard, club.ann, post.id, ["🔥"])
    await club.double.until(lambda: said.reactions.get(club.double.bot.id) == ["🔥"])
    club.double.album(club.garden, club.ann, [b"first", b"second"], "two plans")
    club.double.say(club.garden, club.ann, "what do you think")
    await club.shows(club.orchard, "what do you think")
    posts = [m for m in club.orchard.messages.values() if m.by_bot and "document" in m.raw]
    assert [club.double.files[m.raw["document"]["file_id"]] for m in posts] == [b"first", b"second"]
    last = [m.plain.partition(": ")[2] for m in club.orchard.messages.values() if m.by_bot][-3:]
    assert last == ["two plans", "", "what do you think"]


async def test_a_redelivered_update_is_relayed_once(club: Club) -> None:
    """Updates that Telegram hands over again, even much later, change nothing."""
    await club.connect()
    said = club.double.say(club.garden, club.ann, "only once")
    updates = [club.double.updates[-1]]
    await club.shows(club.orchard, "only once")
    club.double.edit(club.garden, said.id, "only once, better")
    updates.append(club.double.updates[-1])
    await club.shows(club.orchard, "better")
    club.double.edit(club.garden, said.id, "only once, best")
    await club.shows(club.orchard, "best")
    club.double.updates += updates
    club.double.say(club.garden, club.ann, "the end")
    await club.shows(club.orchard, "the end")
    posts = [m.plain.partition(": ")[2] for m in club.orchard.messages.values() if m.by_bot]
    assert posts[-2:] == ["only once, best", "the end"]

"""Discord in a whole installation: two channels of one bot, connected by what people type."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest
from msgspec.structs import replace

from bots.discord import PLATFORM
from core.model import AccountId, PlatformId
from core.store import Redis
from tests.bots.discord.scene import config_of
from tests.fakes.discord import DiscordDouble
from tests.fakes.discord_text import shown
from tests.fakes.discord_world import Channel, Guild, Raw
from tests.support.world import StoredAccount, running_world


@dataclass
class Club:
    """The double, a person, and two servers that the bot is in."""

    double: DiscordDouble
    ann: Raw
    garden: Channel
    orchard: Channel
    park: Guild

    async def shows(self, channel: Channel, words: str) -> Raw:
        """Wait until we have posted something that holds ``words``."""

        def found() -> Raw | None:
            posts = (raw for raw in channel.messages.values() if raw["author"].get("bot"))
            return next((raw for raw in posts if words in shown(raw["content"])[0]), None)

        try:
            return await self.double.until(found)  # type: ignore[no-any-return]
        except TimeoutError:
            raise AssertionError(f"{words!r} is not in {[m['content'] for m in channel.messages.values()]}") from None

    async def connect(self) -> None:
        """Both channels are greeted; what is typed there connects them."""
        for channel in (self.garden, self.orchard):
            await self.shows(channel, "sameroom")
        self.double.say(self.garden, self.ann, f"<@{self.double.bot['id']}> open")
        told = await self.shows(self.garden, "Your code is")
        match = re.search(r"Your code is ([\w-]+)\.", shown(told["content"])[0])
        assert match
        self.double.say(self.orchard, self.ann, f"-sameroom connect {match[1]}")
        for channel in (self.garden, self.orchard):
            await self.shows(channel, "now connected")


@pytest.fixture
async def club(store: Redis) -> AsyncIterator[Club]:
    """Everything runs; nothing is connected."""
    async with DiscordDouble() as double:
        ann = double.person("Ann")
        club, park = double.guild("Club", ann), double.guild("Park", ann)
        garden, orchard = double.channel(club, "garden"), double.channel(park, "orchard")
        for guild, channel in ((club, garden), (park, orchard)):
            guild.raw["system_channel_id"] = channel.id
            double.add_bot(guild)
        config = replace(config_of(double), webhook_rate_per_s=50.0, bot_rate_per_s=50.0)
        account = StoredAccount(AccountId("dc"), PlatformId("discord"), config)
        async with running_world(store, account, platforms={"discord": PLATFORM}):
            yield Club(double, ann, garden, orchard, park)


async def test_from_an_invitation_to_a_conversation(club: Club) -> None:
    """Two lines connect; words, edits, answers, threads, reactions, files and deletions go through."""
    await club.connect()
    said = club.double.say(club.garden, club.ann, "**red** roses @everyone")
    post = await club.shows(club.orchard, "red roses")
    assert post["author"]["username"].startswith("Ann")
    assert ("bold", 0, 3, "") in shown(post["content"])[1]
    club.double.edit(said, "white roses")
    await club.shows(club.orchard, "white roses")
    club.double.reply(club.orchard, club.ann, post["id"], "lovely")
    answer = await club.shows(club.garden, "lovely")
    assert said["id"] in answer["embeds"][0]["description"]
    club.double.react(post, club.ann, "🔥")
    await club.double.until(lambda: club.double.reactions.get((said["id"], "🔥")))
    thread = club.double.thread(club.park, club.orchard, post["id"])
    club.double.say(thread, club.ann, "in the thread")
    await club.double.until(lambda: club.double.find(said["id"]))
    copy = club.double.find(said["id"])
    assert copy
    await club.shows(copy, "in the thread")
    club.double.share(club.garden, club.ann, "plan.txt", b"the plan", "text/plain", "look")
    shared = await club.shows(club.orchard, "look")
    assert club.double.files[shared["attachments"][0]["id"]] == b"the plan"
    club.double.delete(said)
    await club.double.until(lambda: post["id"] not in club.orchard.messages)
    assert club.double.called == []


async def test_what_is_said_while_the_connection_is_broken(club: Club) -> None:
    """A session that Discord has forgotten: its history is read, in order and once."""
    await club.connect()
    club.double.say(club.garden, club.ann, "number 0")
    await club.shows(club.orchard, "number 0")
    await club.double.drop(4009)
    club.double.forget_sessions()
    for number in range(1, 4):
        club.double.say(club.garden, club.ann, f"number {number}")
    await club.shows(club.orchard, "number 3")
    club.double.redeliver(5)
    club.double.say(club.garden, club.ann, "the end")
    await club.shows(club.orchard, "the end")
    words = "\n".join(shown(raw["content"])[0] for raw in club.orchard.messages.values() if "webhook_id" in raw)
    assert re.findall(r"number \d|the end", words) == ["number 0", "number 1", "number 2", "number 3", "the end"]

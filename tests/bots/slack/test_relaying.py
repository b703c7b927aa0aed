"""Slack in a whole installation: two channels of one app, connected by what people type."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest

from bots.slack import PLATFORM
from bots.slack.config import SlackConfig
from core.model import AccountId, PlatformId
from core.store import Redis
from tests.fakes.slack import APP_TOKEN, BOT_TOKEN, SlackDouble
from tests.fakes.slack_world import Channel, Person, Raw, rich
from tests.support.world import StoredAccount, running_world


@dataclass
class Club:
    """The double, two people, and two channels that the app is in."""

    double: SlackDouble
    ann: Person
    bob: Person
    garden: Channel
    orchard: Channel

    async def shows(self, channel: Channel, words: str) -> Raw:
        """Wait until the app has posted something that holds ``words``."""

        def found() -> Raw | None:
            return next((m for m in channel.messages.values() if m.get("bot_id") and words in m["text"]), None)

        try:
            return await self.double.until(found)  # type: ignore[no-any-return]
        except TimeoutError:
            raise AssertionError(f"{words!r} is not in {[m['text'] for m in channel.messages.values()]}") from None

    async def connect(self) -> None:
        """Open by naming the app in one channel; connect by the slash command in the other."""
        for channel in (self.garden, self.orchard):
            self.double.add_bot(channel, self.ann)
            await self.shows(channel, "sameroom")
        mention = rich({"type": "user", "user_id": self.double.bot.id}, {"type": "text", "text": " open"})
        self.double.say(self.garden, self.ann, f"<@{self.double.bot.id}> open", mention)
        told = await self.shows(self.garden, "Your code is")
        match = re.search(r"Your code is ([\w-]+)\.", told["text"])
        assert match
        self.double.command(self.orchard, self.bob.id, f"connect {match[1]}")
        for channel in (self.garden, self.orchard):
            await self.shows(channel, "now connected")


@pytest.fixture
async def club(store: Redis) -> AsyncIterator[Club]:
    """Everything runs; nothing is connected."""
    async with SlackDouble() as double:
        ann, bob = double.person("Ann", is_admin=True), double.person("Bob")
        made = Club(double, ann, bob, double.channel("garden", ann, bob), double.channel("orchard", bob, ann))
        config = SlackConfig(
            bot_token=BOT_TOKEN,
            app_token=APP_TOKEN,
            bot_name="sameroom",
            api_url=f"{double.url}/api",
            file_hosts=("127.0.0.1",),
            rate_per_s=50,
            account_rate_per_s=50,
        )
        account = StoredAccount(AccountId("slack"), PlatformId("slack"), config)
        async with running_world(store, account, platforms={"slack": PLATFORM}):
            await double.until(lambda: double.sockets)
            yield made


async def test_from_commands_to_a_conversation(club: Club) -> None:
    """A mention and a slash command connect; words, edits, threads, reactions, files and deletions go through."""
    await club.connect()
    double, garden, orchard = club.double, club.garden, club.orchard
    red = rich({"type": "text", "text": "red "}, {"type": "text", "text": "roses", "style": {"italic": True}})
    said = double.say(garden, club.ann, "red _roses_", red)
    post = await club.shows(orchard, "red roses")
    assert post["username"].startswith("Ann")
    assert post["blocks"][0]["elements"][0]["elements"][1] == {
        "type": "text",
        "text": "roses",
        "style": {"italic": True},
    }
    double.edit(garden, said["ts"], "white roses")
    await club.shows(orchard, "white roses")
    assert "red" not in post["text"]
    double.say(orchard, club.bob, "lovely", thread_ts=post["ts"])
    answer = await club.shows(garden, "lovely")
    assert answer["thread_ts"] == said["ts"]
    assert answer["username"].startswith("Bob")
    double.react(garden, club.ann.id, said["ts"], "tada")
    await double.until(lambda: post["reactions"])
    made = double.file("plan.png", b"\x89PNG....", "image/png", double.url, club.ann.id)
    double.share(garden, {"user": club.ann.id}, [made], "the plan")
    await club.shows(orchard, "the plan")
    files = await double.until(lambda: [f for m in orchard.messages.values() for f in m.get("files", ())])
    assert double.contents[files[0]["id"]] == b"\x89PNG...."
    double.remove(garden, said["ts"])
    await double.until(lambda: orchard.messages.get(post["ts"], {}).get("subtype") == "tombstone")
    posted = [m["text"] for m in garden.messages.values() if m.get("bot_id")]
    assert len(posted) == len(set(posted)), "nothing comes back"

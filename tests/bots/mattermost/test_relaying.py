"""Mattermost in a whole installation: two channels of one bot, connected by what people type."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest

from bots.mattermost import PLATFORM
from bots.mattermost.config import MattermostConfig
from core.model import AccountId, PlatformId
from core.store import Redis
from tests.fakes.mattermost import MattermostDouble
from tests.fakes.mattermost_world import Channel, Raw, User
from tests.support.world import StoredAccount, running_world


@dataclass
class Club:
    """The double, a person, and two channels that the relay is brought into."""

    double: MattermostDouble
    ann: User
    garden: Channel
    orchard: Channel

    async def shows(self, channel: Channel, words: str) -> Raw:
        """Wait until the bot has posted something that holds ``words``."""

        def look() -> Raw | None:
            ours = [p for p in self.double.standing(channel) if p["user_id"] == self.double.bot.id]
            return next((post for post in ours if words in self.double.shown(post).plain), None)

        try:
            return await self.double.until(look)  # type: ignore[no-any-return]
        except TimeoutError:
            raise AssertionError(
                f"{words!r} is not in {[p['message'] for p in self.double.standing(channel)]}"
            ) from None

    async def connect(self) -> None:
        """Invite the bot twice; open in one channel, connect in the other."""
        await self.double.until(lambda: self.double.connections)
        for channel in (self.garden, self.orchard):
            self.double.add(self.double.bot, channel, self.ann)
            await self.shows(channel, "sameroom")
        self.double.post(self.ann, self.garden, "-sameroom open")
        match = re.search(r"Your code is ([\w-]+)\.", self.double.shown(await self.shows(self.garden, "code is")).plain)
        assert match
        self.double.post(self.ann, self.orchard, f"-sameroom connect {match[1]}")
        for channel in (self.garden, self.orchard):
            await self.shows(channel, "now connected")


@pytest.fixture
async def club(store: Redis) -> AsyncIterator[Club]:
    """Everything runs; nothing is connected."""
    async with MattermostDouble() as double:
        ann, team = double.person("Ann"), double.team("Village")
        made = Club(double, ann, double.channel("Garden", team, ann), double.channel("Orchard", team, ann))
        config = MattermostConfig(
            server_url=double.url,
            token=double.bot.token,
            username="bridge",
            account_rate_per_s=100,
            reconnect_min_s=0.05,
        )
        account = StoredAccount(AccountId("mm"), PlatformId("mattermost"), config)
        async with running_world(store, account, platforms={"mattermost": PLATFORM}):
            yield made


async def test_from_an_invitation_to_a_conversation(club: Club) -> None:
    """Words, edits, threads, reactions, files and deletions go through; what is said while away comes in order."""
    double = club.double
    await club.connect()
    said = double.post(club.ann, club.garden, "red *roses* @channel")
    post = await club.shows(club.orchard, "roses")
    assert post["message"].startswith("**Ann")
    assert "*roses*" in post["message"]
    assert double.calls(post) == []
    double.edit(said, "white roses")
    await club.shows(club.orchard, "white roses")
    double.post(club.ann, club.orchard, "lovely", root_id=post["id"])
    assert (await club.shows(club.garden, "lovely"))["root_id"] == said["id"]
    double.react(club.ann, post, "tada")
    await double.until(lambda: double.reactions.get(said["id"]))
    ref = double.upload("plan.pdf", "application/pdf", b"a plan", club.ann, club.garden)
    double.post(club.ann, club.garden, "see", file_ids=[ref])
    shared = await club.shows(club.orchard, "see")
    assert double.files[shared["file_ids"][0]][1] == b"a plan"
    double.cut(forget=True)
    for number in range(5):
        double.post(club.ann, club.garden, f"missed {number}")
    double.delete(said, club.ann)
    await club.shows(club.orchard, "missed 4")
    await double.until(lambda: post["delete_at"])
    shown = [double.shown(p).plain.partition(": ")[2] for p in double.standing(club.orchard)]
    assert [words for words in shown if "missed" in words] == [f"missed {number}" for number in range(5)]

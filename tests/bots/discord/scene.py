"""A channel on a double of Discord, and two people in it."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from msgspec.structs import replace

from bots.discord import PLATFORM
from bots.discord.config import DiscordConfig
from core.model import AccountId, Entity, Text
from tests.contract.scene import ANN, BOB, File, Line
from tests.contract.stage import Session
from tests.fakes.discord import DiscordDouble
from tests.fakes.discord_text import shown
from tests.fakes.discord_world import Channel, Raw

MARKS = {"bold": "**", "italic": "*", "underline": "__", "strike": "~~", "spoiler": "||", "code": "`"}


def config_of(double: DiscordDouble) -> DiscordConfig:
    """An account on the double."""
    return DiscordConfig(
        token=double.token,
        application_id=double.application,
        username="Bridge",
        api_url=double.url,
        cdn_url=double.cdn,
        site_url=double.cdn,
        file_urls=(double.cdn + "/",),
        trusted_addresses=("127.0.0.1",),
    )


class DiscordScene:
    """One server with one channel; Ann and Bob."""

    platform = PLATFORM
    where = "a double of Discord"

    def __init__(self, double: DiscordDouble) -> None:
        self.double = double
        fast = {f"{who}_{what}": 1000 for who in ("webhook", "bot") for what in ("rate_per_s", "burst")}
        self.config = replace(config_of(double), **fast, account_rate_per_s=1000.0)
        self._people = {ANN: double.person(ANN), BOB: double.person(BOB)}
        self._guild = double.guild("Club", *self._people.values(), owner=double.person("Owner"))
        self._channel = double.channel(self._guild, "garden")
        double.add_bot(self._guild)

    async def enter(self) -> str:
        """The bot is there: it was online only when it had been told of all its servers."""
        return self._channel.id

    def _markup(self, text: Text) -> str:
        """As a person types it; one entity at most."""
        words = text.plain
        for entity in text.entities:
            start, end = entity.start, entity.start + entity.length
            said = words[start:end]
            if entity.type in MARKS:
                said = MARKS[entity.type] + said + MARKS[entity.type]
            elif entity.type == "pre":
                said = f"```{entity.value}\n{said}\n```"
            elif entity.type == "quote":
                said = f"> {said}"
            elif entity.type == "link":
                said = f"[{said}]({entity.value})"
            elif entity.type == "mention":
                said = f"<@{self._people[entity.value]['id']}>"
            elif entity.type == "timestamp":
                said = f"<t:{entity.value}:f>"
            words = words[:start] + said + words[end:]
        return words

    def _raw(self, native: str) -> Raw:
        thread, _, message = native.rpartition("/")
        channel = self.double.find(thread) if thread else self._channel
        assert channel is not None
        return channel.messages[message]

    async def say(self, text: str | Text, who: str = ANN) -> str:
        """Somebody says it."""
        content = text if isinstance(text, str) else self._markup(text)
        return str(self.double.say(self._channel, self._people[who], content)["id"])

    async def reply(self, to: str, text: str, who: str = ANN) -> str:
        """Somebody answers."""
        return str(self.double.reply(self._channel, self._people[who], to, text)["id"])

    async def say_in_thread(self, root: str, text: str, who: str = ANN) -> str:
        """Somebody says it in a thread."""
        thread = self.double.thread(self._guild, self._channel, root)
        return f"{thread.id}/{self.double.say(thread, self._people[who], text)['id']}"

    async def edit(self, native: str, text: str, who: str = ANN) -> None:
        """Somebody changes it."""
        self.double.edit(self._raw(native), text)

    async def delete(self, native: str, who: str = ANN) -> None:
        """Somebody takes it back."""
        self.double.delete(self._raw(native))

    async def react(self, native: str, emoji: str, added: bool = True, who: str = ANN) -> None:
        """Somebody reacts."""
        self.double.react(self._raw(native), self._people[who], emoji, added)

    async def post_file(self, file: File, text: str = "", who: str = ANN) -> str:
        """Somebody shares a file."""
        return str(self.double.share(self._channel, self._people[who], file.name, file.data, file.mime, text)["id"])

    async def type(self, who: str = ANN) -> None:
        """Somebody is typing."""
        self.double.types(self._channel, self._people[who])

    async def away(self, say: list[str], who: str = ANN) -> None:
        """The session is lost; what is said meanwhile is told to nobody."""
        before = self.double.identified
        await self.double.drop(4009)
        self.double.forget_sessions()
        for text in say:
            self.double.say(self._channel, self._people[who], text)
        await self.double.until(lambda: self.double.identified > before)

    async def lines(self) -> list[Line]:
        """The channel and its threads, as they stand."""
        threads = [channel for channel in self._guild.channels.values() if channel.raw["parent_id"] == self._channel.id]
        return [self._line(channel, raw) for channel in (self._channel, *threads) for raw in channel.messages.values()]

    def _line(self, channel: Channel, raw: Raw) -> Line:
        names = {member["user"]["id"]: member["user"]["username"] for member in self._guild.members.values()}
        plain, spans = shown(raw["content"], lambda native: names.get(native, native))
        thread = "" if channel is self._channel else channel.id
        return Line(
            raw["author"].get("global_name") or raw["author"]["username"],
            plain,
            f"{thread}/{raw['id']}" if thread else raw["id"],
            tuple(Entity(*span) for span in spans),  # type: ignore[arg-type]
            self._answers(raw),
            thread,
            tuple(self._file(found) for found in raw["attachments"]),
            raw.get("picture", ""),
            tuple(sorted(emoji for (of, emoji), who in self.double.reactions.items() if of == raw["id"] and who)),
        )

    def _answers(self, raw: Raw) -> str:
        """What it answers: by a reference, or by the link in an embed."""
        if "message_reference" in raw:
            return str(raw["message_reference"]["message_id"])
        for embed in raw["embeds"]:
            if found := re.match(rf"↩ \[.*?\]\(\S*/{self._channel.id}/(\d+)\)", embed.get("description", "")):
                return found[1]
        return ""

    def _file(self, raw: Raw) -> File:
        return File(raw["filename"], self.double.files[raw["id"]], raw["content_type"])

    async def typing(self) -> list[str]:
        """The bot, where it types."""
        return ["Bridge"] if self._channel.id in self.double.typing else []

    async def changed(self) -> None:
        """The double tells."""
        await self.double.wait()


@asynccontextmanager
async def scene(session: Session, account: AccountId, url: str) -> AsyncIterator[DiscordScene]:
    """A double of its own."""
    async with DiscordDouble() as double:
        yield DiscordScene(double)

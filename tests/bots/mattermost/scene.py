"""A channel on a double of a Mattermost server, and two people in it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from bots.mattermost import PLATFORM
from bots.mattermost.config import MattermostConfig
from core.model import AccountId, Entity, Text
from tests.contract.scene import ANN, BOB, File, Line
from tests.contract.stage import Session
from tests.fakes.mattermost import MattermostDouble
from tests.fakes.mattermost_text import EMOJI
from tests.fakes.mattermost_world import Raw

MARKS = {"bold": "**", "italic": "*", "strike": "~~", "code": "`"}
NAMES = {"👍": "+1"} | {shown: name for name, shown in EMOJI.items() if name != "thumbsup"}


def typed(text: Text) -> str:
    """What a person types to get one span of formatting."""
    if not text.entities:
        return text.plain
    (entity,) = text.entities
    before, after = text.plain[: entity.start], text.plain[entity.start + entity.length :]
    word = text.plain[entity.start : entity.start + entity.length]
    if mark := MARKS.get(entity.type):
        return f"{before}{mark}{word}{mark}{after}"
    made = {
        "pre": f"```{entity.value}\n{word}\n```",
        "quote": f"> {word}\n",
        "link": f"[{word}]({entity.value})",
        "emoji": f":{entity.value}:",
    }
    return before + made[entity.type] + after


class MattermostScene:
    """One channel, Ann and Bob."""

    platform = PLATFORM
    where = "a double of its server"

    def __init__(self, double: MattermostDouble, config: MattermostConfig) -> None:
        self.config = config
        self.double = double
        self.people = {ANN: double.person(ANN), BOB: double.person(BOB)}
        self.team = double.team("Village")
        self.channel = double.channel("Garden", self.team, *self.people.values())

    async def enter(self) -> str:
        """Bob invites the bot."""
        self.double.add(self.double.bot, self.channel, self.people[BOB])
        return self.channel.id

    def _say(self, who: str, message: str, **more: object) -> str:
        return str(self.double.post(self.people[who], self.channel, message, **more)["id"])

    async def say(self, text: str | Text, who: str = ANN) -> str:
        """Somebody says it."""
        return self._say(who, text if isinstance(text, str) else typed(text))

    async def reply(self, to: str, text: str, who: str = ANN) -> str:
        """Somebody answers: in the thread of the message."""
        return self._say(who, text, root_id=self.double.posts[to]["root_id"] or to)

    async def say_in_thread(self, root: str, text: str, who: str = ANN) -> str:
        """Somebody says it in a thread."""
        return self._say(who, text, root_id=root)

    async def edit(self, native: str, text: str, who: str = ANN) -> None:
        """Somebody changes it."""
        self.double.edit(self.double.posts[native], text)

    async def delete(self, native: str, who: str = ANN) -> None:
        """Somebody takes it back."""
        self.double.delete(self.double.posts[native], self.people[who])

    async def react(self, native: str, emoji: str, added: bool = True, who: str = ANN) -> None:
        """Somebody reacts."""
        self.double.react(self.people[who], self.double.posts[native], NAMES[emoji], added)

    async def post_file(self, file: File, text: str = "", who: str = ANN) -> str:
        """Somebody shares a file."""
        ref = self.double.upload(file.name, file.mime, file.data, self.people[who], self.channel)
        return self._say(who, text, file_ids=[ref])

    async def type(self, who: str = ANN) -> None:
        """Somebody types."""
        self.double.types(self.people[who], self.channel)

    async def away(self, say: list[str], who: str = ANN) -> None:
        """The server restarts, and people talk meanwhile."""
        self.double.cut(forget=True)
        for text in say:
            await self.say(text, who)

    async def lines(self) -> list[Line]:
        """The channel, as it stands."""
        return [self._line(post) for post in self.double.standing(self.channel)]

    def _line(self, post: Raw) -> Line:
        shown = self.double.shown(post)
        files = [self.double.files[ref] for ref in post["file_ids"]]
        reactions = [EMOJI[each["emoji_name"]] for each in self.double.reactions.get(post["id"], [])]
        return Line(
            self.double.author(post),
            shown.plain,
            post["id"],
            tuple(Entity(*span) for span in shown.spans),  # type: ignore[arg-type]
            post["root_id"],
            post["root_id"],
            tuple(File(info["name"], data, info["mime_type"]) for info, data in files),
            post["props"].get("override_icon_url", ""),
            tuple(sorted(reactions)),
        )

    async def typing(self) -> list[str]:
        """Who typed."""
        return [name for channel, name in self.double.typing if channel == self.channel.id]

    async def changed(self) -> None:
        """The double tells."""
        await self.double.wait()


@asynccontextmanager
async def scene(session: Session, account: AccountId, url: str) -> AsyncIterator[MattermostScene]:
    """A double of its own."""
    async with MattermostDouble() as double:
        config = MattermostConfig(
            server_url=double.url,
            token=double.bot.token,
            username="bridge",
            reconnect_min_s=0.05,
            reconnect_max_s=0.2,
            account_rate_per_s=1000.0,
            account_burst=1000,
        )
        yield MattermostScene(double, config)

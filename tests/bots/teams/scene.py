"""A channel of a team in the double of Teams, and two people in it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from html import escape

from bots.teams import PLATFORM
from bots.teams.config import TeamsConfig
from core.model import AccountId, Entity, Text
from tests.contract.scene import ANN, BOB, File, Line
from tests.contract.stage import Session
from tests.fakes.teams import BotService
from tests.fakes.teams_people import People
from tests.fakes.teams_world import Message, Person

TYPES = {"👍": "like", "❤️": "heart"}
EMOJI = {kind: emoji for emoji, kind in TYPES.items()}
TAGS = {"bold": "strong", "italic": "em", "underline": "u", "strike": "s", "code": "code", "quote": "blockquote"}


def written(text: Text, mentions: tuple[Person, ...]) -> str:
    """What a Teams client makes of formatted text with entities that do not overlap."""
    out, at = [], 0
    for entity in text.entities:
        end = entity.start + entity.length
        words = _lines(text.plain[entity.start : end])
        match entity.type:
            case "link":
                words = f'<a href="{escape(entity.value)}" rel="noreferrer noopener" title="x">{words}</a>'
            case "pre":
                words = f'<codeblock class="{entity.value.title()}"><code>{words}</code></codeblock>'
            case "mention":
                kind_of = 'itemscope="" itemtype="http://schema.skype.com/Mention" itemid="0"'
                words = f"<span {kind_of}>{mentions[0].name}</span>"
            case kind:
                words = f"<{TAGS[kind]}>{words}</{TAGS[kind]}>"
        out += [_lines(text.plain[at : entity.start]), words]
        at = end
    return "".join([*out, _lines(text.plain[at:])])


def _lines(words: str) -> str:
    return escape(words).replace("\n", "<br>")


class TeamsScene:
    """One channel, Ann and Bob."""

    platform = PLATFORM
    where = "a double of ours"

    def __init__(self, service: BotService, url: str) -> None:
        self.service = service
        service.endpoint = f"{url}/messages"
        self.config = TeamsConfig(**service.settings(), room_rate_per_s=1000.0, room_burst=1000, app_rate_per_s=5000.0)
        self.room = service.channel("Garden Club", "Seeds", service.person(ANN), service.person(BOB))
        self.people = People(service, self.room)

    async def enter(self) -> str:
        """Ann adds the app to the channel."""
        await self.people.add_bot(ANN)
        return self.room.id

    async def say(self, text: str | Text, who: str = ANN) -> str:
        """Somebody says it in a new post."""
        words = Text(text) if isinstance(text, str) else text
        bob = (self.room.members[BOB],)
        mentions = bob if any(entity.type == "mention" for entity in words.entities) else ()
        return await self.people.say(who, f"<p>{written(words, bob)}</p>", plain=words.plain, mentions=mentions)

    async def reply(self, to: str, text: str, who: str = ANN) -> str:
        """Somebody answers below the post."""
        return await self.people.reply(who, to, escape(text))

    async def say_in_thread(self, root: str, text: str, who: str = ANN) -> str:
        """The same: threads are the answers to a post."""
        return await self.people.say(who, escape(text), root)

    async def edit(self, native: str, text: str, who: str = ANN) -> None:
        """Somebody changes a message."""
        await self.people.edit(who, native, escape(text))

    async def delete(self, native: str, who: str = ANN) -> None:
        """Somebody deletes a message."""
        await self.people.delete(who, native)

    async def react(self, native: str, emoji: str, added: bool = True, who: str = ANN) -> None:
        """Somebody reacts."""
        await self.people.react(who, native, TYPES[emoji], added)

    async def post_file(self, file: File, text: str = "", who: str = ANN) -> str:
        """Somebody pastes a picture."""
        return await self.people.share_picture(who, file.data, file.mime, text)

    async def lines(self) -> list[Line]:
        """The channel as Bob sees it."""
        return [line(message) for message in self.room.order()]

    async def typing(self) -> list[str]:
        """Channels show nobody typing."""
        return self.room.typing

    async def changed(self) -> None:
        """Something was posted, changed or deleted."""
        await self.service.changed.wait()
        self.service.changed.clear()


def line(message: Message) -> Line:
    """A message as it shows."""
    return Line(
        message.author,
        message.plain,
        message.id,
        tuple(Entity(kind, start, length, value) for kind, start, length, value in message.spans),  # type: ignore[arg-type]
        message.quotes or message.root,
        message.root,
        tuple(File(name, data, mime) for name, mime, data in message.files),
        reactions=tuple(sorted(EMOJI.get(kind, kind) for kind, who in message.reactions.items() if who)),
    )


@asynccontextmanager
async def scene(session: Session, account: AccountId, url: str) -> AsyncIterator[TeamsScene]:
    """A channel of its own."""
    async with BotService() as service:
        yield TeamsScene(service, url)

"""A group on a double of the Bot API, and two people in it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from bots.telegram import PLATFORM
from bots.telegram.config import TelegramConfig
from core.model import AccountId, Entity, Text
from tests.contract.scene import ANN, BOB, File, Line
from tests.contract.stage import Session
from tests.fakes.telegram import Fault, TelegramDouble
from tests.fakes.telegram_world import MEDIA, Chat, Message, Person

THEIRS = {
    "bold": "bold",
    "italic": "italic",
    "underline": "underline",
    "strike": "strikethrough",
    "spoiler": "spoiler",
    "code": "code",
    "pre": "pre",
    "quote": "blockquote",
    "link": "text_link",
    "timestamp": "date_time",
    "mention": "text_mention",
}
OURS = {theirs: ours for ours, theirs in THEIRS.items()}


def units(plain: str) -> int:
    """Length in UTF-16 code units."""
    return len(plain.encode("utf-16-le")) // 2


def point(plain: str, place: int) -> int:
    """The code point at a place in UTF-16."""
    return len(plain.encode("utf-16-le")[: 2 * place].decode("utf-16-le"))


def telegram_entities(text: Text, people: dict[str, Person]) -> list[dict[str, Any]]:
    """What a person's client makes of formatting."""
    found = []
    for entity in text.entities:
        start, end = entity.start, entity.start + entity.length
        raw: dict[str, Any] = {"type": THEIRS[entity.type], "offset": units(text.plain[:start])}
        raw["length"] = units(text.plain[start:end])
        if entity.type == "link":
            raw["url"] = entity.value
        elif entity.type == "pre":
            raw["language"] = entity.value
        elif entity.type == "timestamp":
            raw |= {"unix_time": int(entity.value), "date_time_format": "dt"}
        elif entity.type == "mention":
            raw["user"] = people[entity.value].raw()
        found.append(raw)
    return found


def shown_entities(plain: str, entities: list[dict[str, Any]]) -> tuple[Entity, ...]:
    """What a person sees of the formatting of a message."""
    found = []
    for raw in entities:
        start = point(plain, raw["offset"])
        value = str(raw.get("url") or raw.get("language") or raw.get("unix_time") or "")
        length = point(plain, raw["offset"] + raw["length"]) - start
        found.append(Entity(OURS[raw["type"]], start, length, value))  # type: ignore[arg-type]
    return tuple(found)


class Storm:
    """The service takes no post until it is over."""

    def __init__(self, double: TelegramDouble, retry_after_s: int) -> None:
        self._double = double
        words = {"ok": False, "error_code": 429, "description": f"Too Many Requests: retry after {retry_after_s}"}
        self._answer = words | {"parameters": {"retry_after": retry_after_s}}
        double.faults += [Fault("sendMessage", 429, self._answer) for _ in range(10_000)]

    @property
    def refused(self) -> int:
        """Posts that were tried."""
        return 10_000 - len(self._double.faults)

    def end(self) -> None:
        """It is over."""
        self._double.faults.clear()


class TelegramScene:
    """One group, Ann and Bob."""

    platform = PLATFORM
    where = "a double of the Bot API"

    def __init__(self, double: TelegramDouble, config: TelegramConfig) -> None:
        self.config = config
        self.double = double
        self._people = {ANN: double.person(ANN, "ann_writes"), BOB: double.person(BOB)}
        self._chat: Chat = double.chat("Garden", *self._people.values())

    async def enter(self) -> str:
        """Bob makes the bot an admin, so that it hears of reactions."""
        self.double.add_bot(self._chat, self._people[BOB], "administrator")
        return str(self._chat.id)

    async def say(self, text: str | Text, who: str = ANN) -> str:
        """Somebody says it."""
        words = Text(text) if isinstance(text, str) else text
        entities = telegram_entities(words, self._people)
        return str(self.double.say(self._chat, self._people[who], words.plain, entities=entities).id)

    async def reply(self, to: str, text: str, who: str = ANN) -> str:
        """Somebody answers."""
        return str(self.double.say(self._chat, self._people[who], text, reply_to=int(to)).id)

    async def edit(self, native: str, text: str, who: str = ANN) -> None:
        """Somebody changes it."""
        self.double.edit(self._chat, int(native), text)

    async def react(self, native: str, emoji: str, added: bool = True, who: str = ANN) -> None:
        """Somebody reacts."""
        self.double.react(self._chat, self._people[who], int(native), [emoji] if added else [])

    async def post_file(self, file: File, text: str = "", who: str = ANN) -> str:
        """Somebody shares a file as such: pictures that are sent as pictures are made smaller by Telegram."""
        document = self.double.upload(file.data, file_name=file.name, mime_type=file.mime)
        more = {"caption": text} if text else {}
        return str(self.double.post(self._chat, self._people[who], document=document, **more).id)

    async def lines(self) -> list[Line]:
        """The group, as it stands."""
        messages = [message for message in self._chat.messages.values() if message.plain or self._files(message)]
        return [self._line(message) for message in messages]

    def _line(self, message: Message) -> Line:
        raw = message.raw
        entities = raw.get("entities") or raw.get("caption_entities") or []
        return Line(
            raw["from"]["first_name"],
            message.plain,
            str(message.id),
            shown_entities(message.plain, entities),
            str(raw.get("reply_to_message", {}).get("message_id", "")),
            files=self._files(message),
            reactions=tuple(sorted(emoji for each in message.reactions.values() for emoji in each)),
        )

    def _files(self, message: Message) -> tuple[File, ...]:
        found = []
        for kind in MEDIA:
            if kind in message.raw:
                raw = message.raw[kind][-1] if kind == "photo" else message.raw[kind]
                data = self.double.files[raw["file_id"]]
                found.append(File(raw.get("file_name", "photo.jpg"), data, raw.get("mime_type", "")))
        return tuple(found)

    async def typing(self) -> list[str]:
        """The bot, where it types."""
        return [self.double.bot.first_name] if self._chat.id in self.double.typing else []

    def storm(self, retry_after_s: int) -> Storm:
        """From now on every post is refused."""
        return Storm(self.double, retry_after_s)

    async def changed(self) -> None:
        """The double tells."""
        await self.double.wait()


@asynccontextmanager
async def scene(session: Session, account: AccountId, url: str) -> AsyncIterator[TelegramScene]:
    """A double of its own."""
    async with TelegramDouble() as double:
        rates = {"group_rate_per_s": 1000.0, "group_burst": 1000, "account_rate_per_s": 1000.0}
        config = TelegramConfig(token=double.token, username="bridge_bot", api_url=double.url, poll_s=5, **rates)
        yield TelegramScene(double, config)

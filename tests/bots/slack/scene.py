"""A channel on a double of Slack, and two people in it."""

from __future__ import annotations

import html
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from bots.slack import PLATFORM
from bots.slack.config import SlackConfig
from core.model import AccountId, Entity, Text
from tests.contract.scene import ANN, BOB, File, Line
from tests.contract.stage import Session
from tests.fakes.slack import APP_TOKEN, BOT_TOKEN, SlackDouble
from tests.fakes.slack_world import EMOJI, TEAM, Person, Raw

STYLES = ("bold", "italic", "underline", "strike", "code")
LINES = {"pre": "rich_text_preformatted", "quote": "rich_text_quote"}


def typed(text: Text, people: dict[str, Person]) -> list[Raw]:
    """What the message field of Slack's own client makes of formatting (one entity, or none)."""
    if not text.entities:
        return [{"type": "rich_text", "elements": [section({"type": "text", "text": text.plain})]}]
    entity = text.entities[0]
    end = entity.start + entity.length
    before, words, after = text.plain[: entity.start], text.plain[entity.start : end], text.plain[end:]
    if entity.type in LINES:
        inner = {"type": LINES[entity.type], "elements": [{"type": "text", "text": words}]}
        lines = [section({"type": "text", "text": before}), inner, section({"type": "text", "text": after[1:]})]
        return [{"type": "rich_text", "elements": lines}]
    element: Raw = {"type": "text", "text": words}
    if entity.type in STYLES:
        element["style"] = {entity.type: True}
    elif entity.type == "link":
        element = {"type": "link", "url": entity.value, "text": words}
    elif entity.type == "mention":
        element = {"type": "user", "user_id": people[entity.value].id}
    elif entity.type == "emoji":
        code = "-".join(f"{ord(char):x}" for char in words)
        element = {"type": "emoji", "name": entity.value, "unicode": code}
    elif entity.type == "timestamp":
        element = {"type": "date", "timestamp": int(entity.value), "format": "{date_num} {time}", "fallback": words}
    parts = [{"type": "text", "text": before}, element, {"type": "text", "text": after}]
    return [{"type": "rich_text", "elements": [section(*(part for part in parts if part.get("text") != ""))]}]


def section(*elements: Raw) -> Raw:
    """A line."""
    return {"type": "rich_text_section", "elements": list(elements)}


def shown(raw: Raw) -> tuple[str, tuple[Entity, ...]]:
    """What a person sees of a message."""
    if not raw.get("blocks"):
        return html.unescape(raw.get("text", "")), ()
    plain, entities = "", []
    for line in raw["blocks"][0]["elements"]:
        if plain and not plain.endswith("\n"):
            plain += "\n"
        start = len(plain)
        for element in line["elements"]:
            words, found = element_shown(element)
            entities += [Entity(kind, len(plain), len(words), value) for kind, value in found]  # type: ignore[arg-type]
            plain += words
        kinds = [kind for kind, name in LINES.items() if name == line["type"]] + ["quote"] * bool(line.get("border"))
        entities += [Entity(kind, start, len(plain) - start) for kind in kinds]  # type: ignore[arg-type]
    return plain, tuple(entities)


def element_shown(element: Raw) -> tuple[str, list[tuple[str, str]]]:
    """The words of an element, and what they are."""
    found = [(style, "") for style in element.get("style", {})]
    if element["type"] == "link":
        named = [("link", element["url"])] if "text" in element else []
        return element.get("text") or element["url"], [*found, *named]
    if element["type"] == "date":
        return element["fallback"], [*found, ("timestamp", str(element["timestamp"]))]
    return element["text"], found


class SlackScene:
    """One channel, Ann and Bob."""

    platform = PLATFORM
    where = "a double of Slack"

    def __init__(self, double: SlackDouble, config: SlackConfig) -> None:
        self.config = config
        self.double = double
        self._people = {ANN: double.person(ANN), BOB: double.person(BOB)}
        self._channel = double.channel("garden", self._people[ANN], self._people[BOB])

    async def enter(self) -> str:
        """Bob types /invite."""
        self.double.add_bot(self._channel, self._people[BOB])
        return self._channel.id

    async def say(self, text: str | Text, who: str = ANN) -> str:
        """Somebody says it."""
        words = Text(text) if isinstance(text, str) else text
        blocks = typed(words, self._people)
        return str(self.double.say(self._channel, self._people[who], words.plain, blocks)["ts"])

    async def reply(self, to: str, text: str, who: str = ANN) -> str:
        """Somebody answers: in a thread, for Slack has nothing else."""
        return await self.say_in_thread(to, text, who)

    async def say_in_thread(self, root: str, text: str, who: str = ANN) -> str:
        """Somebody says it in a thread."""
        first = self._channel.messages[root].get("thread_ts", root)
        more = {"thread_ts": first, "parent_user_id": self._channel.messages[first].get("user", "")}
        return str(self.double.say(self._channel, self._people[who], text, **more)["ts"])

    async def edit(self, native: str, text: str, who: str = ANN) -> None:
        """Somebody changes it."""
        self.double.edit(self._channel, native, text)

    async def delete(self, native: str, who: str = ANN) -> None:
        """Somebody takes it back."""
        self.double.remove(self._channel, native)

    async def react(self, native: str, emoji: str, added: bool = True, who: str = ANN) -> None:
        """Somebody reacts."""
        name = next(name for name, shown_as in EMOJI.items() if shown_as == emoji)
        self.double.react(self._channel, self._people[who].id, native, name, added)

    async def post_file(self, file: File, text: str = "", who: str = ANN) -> str:
        """Somebody shares a file."""
        person = self._people[who]
        made = self.double.file(file.name, file.data, file.mime, self.double.url, person.id)
        return str(self.double.share(self._channel, {"user": person.id, "team": TEAM}, [made], text)["ts"])

    async def away(self, say: list[str], who: str = ANN) -> None:
        """The sockets break, and what is said meanwhile is told to nobody."""
        self.double.deaf = True
        await self.double.cut_sockets()
        for text in say:
            await self.say(text, who)
        self.double.deaf = False
        await self.double.until(lambda: self.double.sockets)

    async def lines(self) -> list[Line]:
        """The channel, as it stands."""
        hidden = ("tombstone",)
        return [self._line(raw) for raw in self._channel.messages.values() if raw.get("subtype") not in hidden]

    def _line(self, raw: Raw) -> Line:
        plain, entities = shown(raw)
        author = raw.get("username") or self.double.people[raw.get("user") or self.double.bot.id].name
        root = raw.get("thread_ts", "")
        root = root if root != raw["ts"] else ""
        icons: dict[str, Any] = raw.get("icons", {})
        files = tuple(File(f["name"], self.double.contents[f["id"]], f["mimetype"]) for f in raw.get("files", ()))
        reactions = tuple(sorted(EMOJI.get(name, f":{name}:") for name in raw["reactions"]))
        avatar = icons.get("image_48", "")
        return Line(author, plain, raw["ts"], entities, root, root, files, avatar, reactions)

    async def typing(self) -> list[str]:
        """Slack shows nothing of the kind for apps."""
        return []

    async def changed(self) -> None:
        """The double tells."""
        await self.double.wait()


@asynccontextmanager
async def scene(session: Session, account: AccountId, url: str) -> AsyncIterator[SlackScene]:
    """A double of its own."""
    async with SlackDouble() as double:
        config = SlackConfig(
            bot_token=BOT_TOKEN,
            app_token=APP_TOKEN,
            team_id=TEAM,
            team_name="Garden Club",
            user_id=double.bot.id,
            bot_id=double.bot_id,
            app_id=double.app_id,
            bot_name=double.bot.name,
            rate_per_s=1000.0,
            rate_burst=1000,
            account_rate_per_s=1000.0,
            api_url=f"{double.url}/api",
            file_hosts=("127.0.0.1",),
        )
        yield SlackScene(double, config)

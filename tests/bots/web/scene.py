"""A guest room with two guests who have its page open."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlsplit

import aiohttp

from bots.web import PLATFORM, WebConfig
from core.model import AccountId, Entity, Text
from tests.bots.web.conftest import Browser, Page, Socket
from tests.contract.scene import ANN, BOB, File, Line
from tests.contract.stage import Session

MARKS = {"bold": "**", "italic": "*", "strike": "~~", "code": "`", "spoiler": "||"}


class Place:
    """Where the account's pages are."""

    def __init__(self, url: str) -> None:
        self.url = "{0.scheme}://{0.netloc}".format(urlsplit(url))
        self.base = f"{url}/"


def typed(text: Text) -> str:
    """How a guest writes formatted text."""
    said = text.plain
    for entity in sorted(text.entities, key=lambda e: -e.start):
        start, end = entity.start, entity.start + entity.length
        words = said[start:end]
        match entity.type:
            case "link":
                words = f"[{words}]({entity.value})"
            case "pre":
                words = f"```{entity.value}\n{words}\n```"
            case "quote":
                words = f"> {words}\n"
            case kind:
                words = MARKS[kind] + words + MARKS[kind]
        said = said[:start] + words + said[end:]
    return said


def read(body: list[Any], start: int = 0) -> tuple[str, tuple[Entity, ...]]:
    """The words and the formatting of a page's nodes."""
    plain, found = "", []
    for node in body:
        if isinstance(node, str):
            plain += node
        else:
            kind, value, inside = node
            words, entities = read(inside, start + len(plain))
            found += [Entity(kind, start + len(plain), len(words), value), *entities]
            plain += words
    return plain, tuple(found)


class WebScene:
    """One room, Ann and Bob."""

    platform = PLATFORM
    where = "itself"

    def __init__(self, url: str) -> None:
        self.config = WebConfig(says_burst=1000)
        self._place = Place(url)
        self._browsers = {who: Browser(self._place) for who in (ANN, BOB)}  # type: ignore[arg-type]
        self._sockets: dict[str, Socket] = {}
        self._messages: dict[str, dict[str, Any]] = {}
        self._files: dict[str, File] = {}

    async def enter(self) -> str:
        """Ann makes the room, Bob joins by its link."""
        from bots.web.rooms import id_of_link

        link = await self._browsers[ANN].open_room(guest=ANN)
        await self._browsers[BOB].join(link, BOB)
        await self.back()
        return id_of_link(link)

    async def back(self) -> None:
        """Their pages connect (again), and are told what they missed."""
        for who, browser in self._browsers.items():
            before = self._sockets.get(who)
            self._sockets[who] = await browser.connect(before.last if before else 0, Page)
            if before:
                self._sockets[who].seen[:0] = before.seen

    async def say(self, text: str | Text, who: str = ANN) -> str:
        """Somebody says it."""
        said = typed(text) if isinstance(text, Text) else text
        return str((await self._sockets[who].say(said))["id"])

    async def reply(self, to: str, text: str, who: str = ANN) -> str:
        """Somebody answers."""
        return str((await self._sockets[who].say(text, reply=to))["id"])

    async def _wish(self, who: str, **wish: Any) -> None:
        answer = await self._sockets[who].answer(id=secrets.token_hex(8), **wish)
        assert answer["t"] == "ok", answer

    async def edit(self, native: str, text: str, who: str = ANN) -> None:
        """Somebody changes what they said."""
        await self._wish(who, t="edit", target=native, text=text)

    async def delete(self, native: str, who: str = ANN) -> None:
        """Somebody takes it back."""
        await self._wish(who, t="delete", target=native)

    async def react(self, native: str, emoji: str, added: bool = True, who: str = ANN) -> None:
        """Somebody reacts."""
        await self._wish(who, t="react", target=native, emoji=emoji, on=added)

    async def post_file(self, file: File, text: str = "", who: str = ANN) -> str:
        """Somebody shares a file."""
        browser = self._browsers[who]
        await browser.page()
        form = aiohttp.FormData({"token": browser.token})
        form.add_field("file", file.data, filename=file.name, content_type=file.mime)
        url = f"{self._place.base}r/{browser.link}/files"
        async with browser.http.post(url, data=form, headers=browser.own | {"Accept": "application/json"}) as answer:
            assert answer.status == 200, await answer.text()
            shared = await answer.json()
        return str((await self._sockets[who].say(text, files=[shared["id"]]))["id"])

    async def type(self, who: str = ANN) -> None:
        """Somebody types."""
        await self._sockets[who].send(t="typing")

    async def lines(self) -> list[Line]:
        """What Bob's page shows."""
        for news in self._sockets[BOB].seen:
            for shown in news["messages"] if news["t"] == "welcome" else [news] if news["t"] == "message" else ():
                self._messages[shown["m"]["id"]] = shown["m"]
        return [await self._line(m) for m in self._messages.values() if not m.get("deleted")]

    async def _line(self, message: dict[str, Any]) -> Line:
        plain, entities = read(message.get("body", []))
        answers = (message.get("reply") or {}).get("id", "")
        files = tuple([await self._file(file) for file in message.get("files", [])])
        reactions = tuple(sorted(message.get("reactions", {})))
        # A thread's messages show as answers to its root.
        return Line(
            message.get("name", ""), plain, message["id"], entities, answers, answers, files, reactions=reactions
        )

    async def _file(self, view: dict[str, Any]) -> File:
        url = view["url"]
        if not url.startswith("http"):
            url = self._place.url + url if url.startswith("/") else self._place.base + url
        if url not in self._files:
            async with self._browsers[BOB].http.get(url) as answer:
                assert answer.status == 200, await answer.text()
                self._files[url] = File(view["name"], await answer.read(), answer.content_type)
        return self._files[url]

    async def typing(self) -> list[str]:
        """Who types."""
        return [news["name"] for news in self._sockets[BOB].seen if news["t"] == "typing"]

    async def changed(self) -> None:
        """Wait for the next news of Bob's page."""
        await self._sockets[BOB].receive()

    async def close(self) -> None:
        """Both go."""
        for page in self._sockets.values():
            await page.ws.close()
        await asyncio.gather(*(browser.http.close() for browser in self._browsers.values()))


@asynccontextmanager
async def scene(session: Session, account: AccountId, url: str) -> AsyncIterator[WebScene]:
    """A room of its own."""
    made = WebScene(url)
    try:
        yield made
    finally:
        await made.close()

"""A room on a real Synapse with Ann and Bob in it, and a bridgebot that is its application service."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from html import escape
from html.parser import HTMLParser
from typing import Any

import aiohttp

from bots.matrix import PLATFORM
from bots.matrix.config import MatrixConfig
from core.model import AccountId, Entity, Text
from tests.contract.scene import ANN, BOB, File, Line
from tests.contract.stage import Session
from tests.servers.matrix import MatrixError, Person, Synapse

TAGS = {
    "bold": "strong",
    "italic": "em",
    "underline": "u",
    "strike": "del",
    "spoiler": "span data-mx-spoiler",
    "code": "code",
    "quote": "blockquote",
}
KINDS = {"strong": "bold", "b": "bold", "em": "italic", "u": "underline", "del": "strike", "blockquote": "quote"}
FORMAT = "org.matrix.custom.html"


class _Drawn(HTMLParser):
    """HTML as a client draws it: words, and what is special about them."""

    def __init__(self) -> None:
        super().__init__()
        self.plain = ""
        self.entities: list[Entity] = []
        self._open: list[tuple[str, str, str, int]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if tag == "br":
            self.plain += "\n"
            return
        if tag in ("pre", "blockquote") and self.plain and not self.plain.endswith("\n"):
            self.plain += "\n"
        kind, value = KINDS.get(tag, ""), ""
        if tag == "pre":
            kind = "pre"
        elif tag == "code":
            kind = "" if any(entry[0] == "pre" for entry in self._open) else "code"
        elif tag == "a":
            value = given.get("href") or ""
            kind = "mention" if value.startswith("https://matrix.to/#/@") else "link"
        elif tag == "span" and "data-mx-spoiler" in given:
            kind = "spoiler"
        self._open.append((tag, kind, value, len(self.plain)))

    def handle_endtag(self, tag: str) -> None:
        name, kind, value, start = self._open.pop()
        assert name == tag, f"{tag} closes {name}"
        if kind:
            self.entities.append(Entity(kind, start, len(self.plain) - start, value))  # type: ignore[arg-type]
        if tag in ("pre", "blockquote"):
            self.plain += "\n"

    def handle_data(self, data: str) -> None:
        self.plain += data


def drawn(content: dict[str, Any]) -> Text:
    """A message's words as a client shows them."""
    if content.get("format") != FORMAT:
        return Text(content.get("body", ""))
    page = _Drawn()
    page.feed(content["formatted_body"])
    page.close()
    return Text(page.plain.replace("\xa0", " "), tuple(page.entities))


def written(text: Text, people: dict[str, Person]) -> dict[str, Any]:
    """What a person's client sends for formatted text with one entity at most in a place."""
    html, at = "", 0
    for entity in sorted(text.entities, key=lambda e: e.start):
        html += escape(text.plain[at : entity.start]).replace("\n", "<br>")
        at = entity.start + entity.length
        words = escape(text.plain[entity.start : at])
        if entity.type == "pre":
            html += f'<pre><code class="language-{entity.value}">{words}\n</code></pre>'
        elif entity.type == "link":
            html += f'<a href="{escape(entity.value)}">{words}</a>'
        elif entity.type == "mention":
            html += f'<a href="https://matrix.to/#/{people[entity.value].id}">{words}</a>'
        else:
            tag = TAGS[entity.type]
            html += f"<{tag}>{words}</{tag.partition(' ')[0]}>"
    html += escape(text.plain[at:]).replace("\n", "<br>")
    return {"msgtype": "m.text", "body": text.plain, "format": FORMAT, "formatted_body": html}


class MatrixScene:
    """One room, Ann and Bob."""

    platform = PLATFORM
    where = "Synapse"

    def __init__(self, server: Synapse, people: dict[str, Person], config: MatrixConfig) -> None:
        self.server = server
        self.people = people
        self.config = config
        self.room = ""
        self._reactions: dict[tuple[str, str, str], str] = {}
        self._files: dict[str, bytes] = {}

    async def enter(self) -> str:
        """Ann makes a private room and invites Bob and the bot."""
        ann, bob = self.people[ANN], self.people[BOB]
        bot = self.config.user_id
        body = {"preset": "private_chat", "name": "Garden", "invite": [bob.id, bot]}
        self.room = (await ann.call("POST", "v3/createRoom", body))["room_id"]
        await bob.call("POST", f"v3/join/{self.room}", {})
        async with asyncio.timeout(15):
            while bot not in await ann.members(self.room):
                await self.changed()
        return self.room

    async def say(self, text: str | Text, who: str = ANN) -> str:
        """A message, formatted where the text is."""
        plain = text.plain if isinstance(text, Text) else text
        content = {"msgtype": "m.text", "body": plain}
        if isinstance(text, Text) and text.entities:
            content = written(text, self.people)
        return await self.people[who].send(self.room, content)

    async def reply(self, to: str, text: str, who: str = ANN) -> str:
        """An answer as clients of today send it."""
        relation = {"m.in_reply_to": {"event_id": to}}
        return await self.people[who].send(self.room, {"msgtype": "m.text", "body": text, "m.relates_to": relation})

    async def say_in_thread(self, root: str, text: str, who: str = ANN) -> str:
        """Below ``root``, with the answer for clients without threads."""
        relation = {"rel_type": "m.thread", "event_id": root, "is_falling_back": True}
        relation["m.in_reply_to"] = {"event_id": root}
        return await self.people[who].send(self.room, {"msgtype": "m.text", "body": text, "m.relates_to": relation})

    async def edit(self, native: str, text: str, who: str = ANN) -> None:
        """New words for a message."""
        new = {"msgtype": "m.text", "body": text}
        relation = {"rel_type": "m.replace", "event_id": native}
        content = {"msgtype": "m.text", "body": f"* {text}", "m.new_content": new, "m.relates_to": relation}
        await self.people[who].send(self.room, content)

    async def delete(self, native: str, who: str = ANN) -> None:
        """Redact it."""
        await self.people[who].call("PUT", f"v3/rooms/{self.room}/redact/{native}/d{native[1:9]}", {})

    async def react(self, native: str, emoji: str, added: bool = True, who: str = ANN) -> None:
        """A reaction is an event; taking it away redacts that."""
        key = (native, emoji, who)
        if not added:
            await self.delete(self._reactions.pop(key), who)
            return
        relation = {"rel_type": "m.annotation", "event_id": native, "key": emoji}
        self._reactions[key] = await self.people[who].send(self.room, {"m.relates_to": relation}, "m.reaction")

    async def post_file(self, file: File, text: str = "", who: str = ANN) -> str:
        """A file, with its caption."""
        mxc = await self.people[who].upload(file.name, file.data, file.mime)
        kind = "m.image" if file.mime.startswith("image/") else "m.file"
        content = {"msgtype": kind, "body": text or file.name, "filename": file.name, "url": mxc}
        content["info"] = {"mimetype": file.mime, "size": len(file.data)}
        return await self.people[who].send(self.room, content)

    async def type(self, who: str = ANN) -> None:
        """Ann's client says that she types."""
        person = self.people[who]
        path = f"v3/rooms/{self.room}/typing/{person.id}"
        await person.call("PUT", path, {"typing": False})
        await person.call("PUT", path, {"typing": True, "timeout": 10_000})

    async def away(self, say: list[str], who: str = ANN) -> None:
        """The homeserver reaches the application service no more, for a while."""
        door = self.server.door
        door.shut = True
        for text in say:
            await self.say(text, who)
        door.shut = False
        await self.as_bot("POST", f"v1/appservice/{self.config.appservice_id}/ping", {})

    async def as_bot(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        """A request of the application service's own."""
        bot = Person(self.server, "bot", "x")
        bot.session, bot.token = self.people[BOB].session, self.config.token
        return await bot.call(method, path, body)

    async def lines(self) -> list[Line]:
        """What a client of Bob's makes of the room's events."""
        bob = self.people[BOB]
        lines: dict[str, Line] = {}
        reactions: dict[str, list[tuple[str, str]]] = {}
        names: dict[str, tuple[str, str]] = {}
        for event in await bob.events(self.room):
            content, relation = event["content"], event["content"].get("m.relates_to", {})
            kind = event["type"]
            if kind == "m.room.member":
                shown = content.get("displayname"), content.get("avatar_url") or ""
                names[event["state_key"]] = (shown[0] or event["state_key"], shown[1])
            elif kind == "m.reaction" and relation:
                reactions.setdefault(relation["event_id"], []).append((event["event_id"], relation["key"]))
            elif kind == "m.room.message" and relation.get("rel_type") == "m.replace":
                old = lines.get(relation["event_id"])
                if old is not None:
                    text = drawn(content["m.new_content"])
                    lines[old.native] = replace(old, plain=text.plain, entities=text.entities)
            elif kind == "m.room.message" and content:
                lines[event["event_id"]] = await self._line(bob, event, names[event["sender"]])
        return [
            replace(line, reactions=tuple(sorted(key for _, key in reactions.get(native, ()))))
            for native, line in lines.items()
        ]

    async def _line(self, bob: Person, event: dict[str, Any], shown: tuple[str, str]) -> Line:
        content = event["content"]
        relation = content.get("m.relates_to", {})
        text, files = drawn(content), ()
        if "url" in content:
            if content["url"] not in self._files:
                self._files[content["url"]] = await bob.download(content["url"])
            name = content.get("filename", content["body"])
            files = (File(name, self._files[content["url"]], content["info"]["mimetype"]),)  # type: ignore[assignment]
            text = text if content["body"] != name else Text()
        answers = not relation.get("is_falling_back") and relation.get("m.in_reply_to", {}).get("event_id")
        return Line(
            author=shown[0],
            plain=text.plain,
            native=event["event_id"],
            entities=text.entities,
            reply_to=answers or "",
            thread=relation["event_id"] if relation.get("rel_type") == "m.thread" else "",
            files=files,
            avatar=shown[1],
        )

    async def typing(self) -> list[str]:
        """As Bob's client shows it."""
        found = await self.people[BOB].call("GET", "v3/sync", timeout="0", filter='{"room":{"timeline":{"limit":1}}}')
        events = found["rooms"]["join"][self.room]["ephemeral"]["events"]
        typing = {user for event in events if event["type"] == "m.typing" for user in event["content"]["user_ids"]}
        members = await self.people[BOB].members(self.room)
        return [
            str(members[user]["display_name"]) for user in typing if user not in {p.id for p in self.people.values()}
        ]

    async def changed(self) -> None:
        """Look again in a moment."""
        await asyncio.sleep(0.03)

    async def leave(self) -> None:
        """Nobody stays in the room, so that nothing more is told of it."""
        if self.room:
            with contextlib.suppress(MatrixError):
                for room in (await self.as_bot("GET", "v3/joined_rooms"))["joined_rooms"]:
                    await self.as_bot("POST", f"v3/rooms/{room}/leave", {})
            for person in self.people.values():
                with contextlib.suppress(MatrixError):
                    await person.call("POST", f"v3/rooms/{self.room}/leave", {})


def config_of(server: Synapse) -> MatrixConfig:
    """The application service that the server knows."""
    return MatrixConfig(homeserver=server.url, user_id=server.bot, token=server.as_token, hs_token=server.hs_token)


@asynccontextmanager
async def on_server(server: Synapse, url: str, config: MatrixConfig) -> AsyncIterator[MatrixScene]:
    """A scene on a server, whose pushes go to ``url``."""
    async with aiohttp.ClientSession() as session:
        people = {name: await server.person(name) for name in (ANN, BOB)}
        for person in people.values():
            person.session = session
        server.door.lead_to(url)
        made = MatrixScene(server, people, config)
        try:
            yield made
        finally:
            server.door.lead_to("")
            await made.leave()
            for person in people.values():
                person.session = None


@asynccontextmanager
async def scene(session: Session, account: AccountId, url: str) -> AsyncIterator[MatrixScene]:
    """A room of its own on a server that the session shares."""
    server = session.keep("synapse", Synapse)
    async with on_server(server, url, config_of(server)) as made:
        yield made

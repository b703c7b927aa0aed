"""A room on a real Prosody, with Ann and Bob in it."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any
from xml.etree.ElementTree import Element, tostring
from xml.sax.saxutils import escape

import aiohttp

from bots.xmpp import PLATFORM, styling
from bots.xmpp.config import XmppConfig
from core.model import AccountId, Text
from core.text import html
from tests.contract.scene import ANN, BOB, File, Line
from tests.contract.stage import Session
from tests.servers.xmpp import CONFERENCE, PASSWORD, Door, Person, Prosody, stanza_id

BODY = "{jabber:client}body"
STATES = "{http://jabber.org/protocol/chatstates}"
XHTML = "{http://www.w3.org/1999/xhtml}"
RETRACT = "{urn:xmpp:message-retract:1}retract"
REACTIONS = "{urn:xmpp:reactions:0}"
FALLBACK = "{urn:xmpp:fallback:0}"


def server(session: Session) -> Prosody:
    """The one that all scenes of a session share."""
    return session.keep("prosody", Prosody)


def account_config(prosody: Prosody, port: int = 0, **more: Any) -> XmppConfig:
    """An account on it."""
    return XmppConfig(
        jid="bridge@localhost",
        password=PASSWORD,
        host="127.0.0.1",
        port=port or prosody.port,
        tls_ca_file=str(prosody.ca_file),
        trusted_addresses=("127.0.0.1",),
        **more,
    )


@dataclass
class Said:
    """What Bob's client knows of a message."""

    line: Line
    origin: str
    nick: str
    gone: bool = False


class View:
    """A member's client: XEP-0308, 0424, 0444, 0461, 0071, 0393, 0066, 0085."""

    def __init__(self, person: Person, room: str) -> None:
        self._person = person
        self._room = room
        self._at = 0
        self.said: list[Said] = []
        self.reactions: dict[str, dict[str, tuple[str, ...]]] = {}
        self.typing: dict[str, bool] = {}
        self.links: dict[str, list[str]] = {}

    def follow(self, person: Person) -> None:
        """From now on by another connection."""
        self.look()
        self._person, self._at = person, 0

    def is_behind(self) -> bool:
        """Did something come since the last look?"""
        return self._at < len(self._person.heard)

    def look(self) -> None:
        """Take in what came since the last look."""
        while self._at < len(self._person.heard):
            stanza = self._person.heard[self._at]
            self._at += 1
            room, _, nick = stanza.get("from", "").partition("/")
            if room == self._room and stanza.get("type") == "groupchat" and nick:
                self._take(stanza, nick)

    def _take(self, stanza: Element, nick: str) -> None:
        for item in stanza:
            if item.tag.startswith(STATES):
                self.typing[nick] = item.tag == STATES + "composing"
        retracted, reacts = stanza.find(RETRACT), stanza.find(f"{REACTIONS}reactions")
        replaced = stanza.find("{urn:xmpp:message-correct:0}replace")
        if retracted is not None:
            for said in self.said:
                said.gone = said.gone or (said.line.native == retracted.get("id") and said.nick == nick)
        elif reacts is not None:
            emoji = tuple(item.text or "" for item in reacts.findall(f"{REACTIONS}reaction"))
            self.reactions.setdefault(reacts.get("id", ""), {})[nick] = emoji
        elif replaced is not None:
            for said in self.said:
                if said.origin == replaced.get("id") and said.nick == nick:
                    text = shown(stanza)
                    said.line = replace(said.line, plain=text.plain, entities=text.entities)
        elif stanza.find(BODY) is not None:
            self._new(stanza, nick)

    def _new(self, stanza: Element, nick: str) -> None:
        text = shown(stanza)
        native = stanza_id(stanza)
        answers = stanza.find("{urn:xmpp:reply:0}reply")
        urls = [item.text or "" for item in stanza.iter("{jabber:x:oob}url")]
        if urls:
            self.links[native] = urls
        line = Line(
            nick,
            "" if text.plain in urls else text.plain,
            native,
            text.entities,
            answers.get("id", "") if answers is not None else "",
        )
        self.said.append(Said(line, stanza.get("id", ""), nick))


def shown(stanza: Element) -> Text:
    """What a client that knows XHTML-IM, styling and replies shows."""
    rich = stanza.find(f"{{http://jabber.org/protocol/xhtml-im}}html/{XHTML}body")
    if rich is not None:
        for item in rich.iter():
            item.tag = item.tag.removeprefix(XHTML)
            style = item.get("style", "")
            item.tag = "u" if "underline" in style else "s" if "line-through" in style else item.tag
        return html.parse(tostring(rich, "unicode"))
    body = stanza.findtext(BODY) or ""
    for fallback in stanza.findall(f"{FALLBACK}fallback"):
        for part in fallback.findall(f"{FALLBACK}body"):
            body = body[: int(part.get("start", 0))] + body[int(part.get("end", len(body))) :]
    return Text(body) if stanza.find("{urn:xmpp:styling:0}unstyled") is not None else styling.parse(body)


class XmppScene:
    """One room. The bot comes by itself; people by their own clients."""

    platform = PLATFORM
    where = "Prosody 0.12"

    def __init__(self, config: XmppConfig, prosody: Prosody, door: Door, room: str, stack: AsyncExitStack) -> None:
        self.config = config
        self.prosody = prosody
        self.door = door
        self.room = room
        self._stack = stack
        self.people: dict[str, Person] = {}
        self._origins: dict[str, str] = {}
        self._files: dict[str, File] = {}

    async def enter(self) -> str:
        """Ann and Bob come in, and see the bot."""
        await self._people_enter()
        await self.people[BOB].sees(self.room, "bridgebot")
        self.view = View(self.people[BOB], self.room)
        return self.room

    async def _people_enter(self) -> None:
        for who in (ANN, BOB):
            person = await self._stack.enter_async_context(Person(self.prosody, who.lower()))
            self.people[who] = person
            await person.enter(self.room, who)

    async def server_dies(self) -> None:
        """The server is killed, for everybody."""
        self.door.close()
        self.prosody.kill()

    async def server_returns(self) -> None:
        """It starts again; Ann and Bob are back before the bot is, so that they see all it says."""
        await asyncio.to_thread(self.prosody.start)
        await self._people_enter()
        self.view.follow(self.people[BOB])
        self.door.open()

    async def _said(self, who: str, inside: str) -> str:
        message = await self.people[who].say(self.room, inside)
        native = stanza_id(message)
        self._origins[native] = message.get("id", "")
        return native

    async def say(self, text: str | Text, who: str = ANN) -> str:
        """Somebody says it; formatted with XHTML-IM."""
        if isinstance(text, str):
            return await self._said(who, f"<body>{escape(text)}</body>")
        rich = html.format(text).replace("<br>", "<br/>").replace("&nbsp;", "&#160;")
        rich = rich.replace("<u>", "<span style='text-decoration: underline'>").replace("</u>", "</span>")
        inside = f"<html xmlns='http://jabber.org/protocol/xhtml-im'><body xmlns='{XHTML[1:-1]}'>{rich}</body></html>"
        return await self._said(who, f"<body>{escape(text.plain)}</body>{inside}")

    async def reply(self, to: str, text: str, who: str = ANN) -> str:
        """Somebody answers, with a quote for older clients."""
        self.view.look()
        answered = next((said for said in self.view.said if said.line.native == to), None)
        nick = answered.nick if answered else ANN
        quoted = f"> {nick}:\n> {answered.line.plain if answered else 'something'}\n"
        return await self._said(
            who,
            f"<body>{escape(quoted + text)}</body>"
            f"<reply xmlns='urn:xmpp:reply:0' to='{self.room}/{nick}' id='{to}'/>"
            "<fallback xmlns='urn:xmpp:fallback:0' for='urn:xmpp:reply:0'>"
            f"<body start='0' end='{len(quoted)}'/></fallback>",
        )

    async def say_in_thread(self, root: str, text: str, who: str = ANN) -> str:
        """Rooms have no threads that anybody would see."""
        raise AssertionError

    async def edit(self, native: str, text: str, who: str = ANN) -> None:
        """Somebody corrects their message."""
        replaced = f"<replace xmlns='urn:xmpp:message-correct:0' id='{self._origins[native]}'/>"
        await self._said(who, f"<body>{escape(text)}</body>{replaced}")

    async def delete(self, native: str, who: str = ANN) -> None:
        """Somebody takes their message back."""
        fallback = "<fallback xmlns='urn:xmpp:fallback:0'/><body>Your client cannot take messages back.</body>"
        await self._said(who, f"<retract xmlns='urn:xmpp:message-retract:1' id='{native}'/>{fallback}")

    async def react(self, native: str, emoji: str, added: bool = True, who: str = ANN) -> None:
        """Somebody reacts: all their reactions to the message are told each time."""
        inside = f"<reaction>{emoji}</reaction>" if added else ""
        reactions = f"<reactions xmlns='urn:xmpp:reactions:0' id='{native}'>{inside}</reactions>"
        await self._said(who, reactions + "<store xmlns='urn:xmpp:hints'/>")

    async def post_file(self, file: File, text: str = "", who: str = ANN) -> str:
        """Somebody shares a file by HTTP upload."""
        if text:
            await self.say(text, who)
        url = await self.people[who].upload(file.name, file.mime, file.data)
        return await self._said(who, f"<body>{escape(url)}</body><x xmlns='jabber:x:oob'><url>{escape(url)}</url></x>")

    async def type(self, who: str = ANN) -> None:
        """Somebody is typing."""
        await self._said(who, f"<composing xmlns='{STATES[1:-1]}'/>")

    async def away(self, say: list[str], who: str = ANN) -> None:
        """The bot's connection breaks; it comes back later."""
        self.door.close()
        for text in say:
            await self.say(text, who)
        self.door.open()

    async def lines(self) -> list[Line]:
        """What Bob sees."""
        self.view.look()
        found = []
        for said in self.view.said:
            if not said.gone:
                stands = [emoji for their in self.view.reactions.get(said.line.native, {}).values() for emoji in their]
                files = [await self._file(url) for url in self.view.links.get(said.line.native, ())]
                found.append(replace(said.line, reactions=tuple(sorted(stands)), files=tuple(files)))
        return found

    async def _file(self, url: str) -> File:
        if url not in self._files:
            async with aiohttp.ClientSession() as session, session.get(url) as response:
                self._files[url] = File(url.rpartition("/")[2], await response.read(), response.content_type)
        return self._files[url]

    async def typing(self) -> list[str]:
        """Who is shown to Bob as typing."""
        self.view.look()
        return [nick for nick, is_typing in self.view.typing.items() if is_typing]

    async def changed(self) -> None:
        """Wait until Bob hears something; he may have, since the last look."""
        if self.view.is_behind():
            return
        self.people[BOB].news.clear()
        await self.people[BOB].news.wait()


@asynccontextmanager
async def scene(session: Session, account: AccountId, url: str) -> AsyncIterator[XmppScene]:
    """A room of its own on the shared server."""
    prosody = server(session)
    async with AsyncExitStack() as stack:
        door = await stack.enter_async_context(Door(prosody.port))
        room = f"room-{secrets.token_hex(4)}@{CONFERENCE}"
        config = account_config(prosody, door.port, rooms=(room,))
        yield XmppScene(config, prosody, door, room, stack)

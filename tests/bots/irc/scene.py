"""A channel on a real InspIRCd, and two people in it."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import count

from bots.irc import PLATFORM
from bots.irc.wire import parse_tags
from core.model import AccountId, Entity, Text
from tests.bots.irc.support import config
from tests.contract.scene import ANN, BOB, Line
from tests.contract.stage import Session
from tests.servers.irc import HermeticIrcClient, InspIrcd

_numbers = count()
CAPS = "message-tags echo-message server-time"
TOGGLES = {"\x02": "bold", "\x1d": "italic", "\x1f": "underline", "\x1e": "strike", "\x11": "code"}
CODES = {kind: code for code, kind in TOGGLES.items()}
MOST_CHARS = 300
HIDE = "\x0301,01"


def shown(raw: str) -> tuple[str, tuple[Entity, ...]]:
    """A line as a client draws it. Monospace may be meant as a block of code as well."""
    plain, found, since = "", [], dict[str, int]()
    raw = raw.replace(HIDE, "\x04").replace("\x03", "\x04")
    for char in raw:
        kind = "spoiler" if char == "\x04" else TOGGLES.get(char, "")
        if not kind:
            plain += char
        elif kind in since:
            start = since.pop(kind)
            kinds = ("code", "pre") if kind == "code" else (kind,)
            found += [Entity(one, start, len(plain) - start) for one in kinds if len(plain) > start]  # type: ignore[arg-type]
        else:
            since[kind] = len(plain)
    return plain, tuple(found)


def drawn(text: Text) -> str:
    """What a person's client sends for formatted text."""
    said = text.plain
    for entity in sorted(text.entities, key=lambda e: -e.start):
        start, end = entity.start, entity.start + entity.length
        before, after = (HIDE, "\x03") if entity.type == "spoiler" else (CODES[entity.type],) * 2
        said = said[:start] + before + said[start:end] + after + said[end:]
    return said


class IrcScene:
    """One channel, Ann and Bob."""

    platform = PLATFORM
    where = "InspIRCd 3"

    def __init__(self, port: int) -> None:
        number = next(_numbers)
        self._channel = f"#garden{number:04}"
        # Of one length: how long a line may be depends on it.
        self._nick = f"relay{number:04}"
        self._port = port
        self.config = config(port, nick=self._nick, channels=(self._channel,))
        self.people: dict[str, HermeticIrcClient] = {}

    async def enter(self) -> str:
        """Both connect at once: the server takes a second over each."""
        ann, bob = await asyncio.gather(
            *(HermeticIrcClient(name).connect(self._port, caps=CAPS) for name in (ANN, BOB))
        )
        self.people = {ANN: ann, BOB: bob}
        for person in (ann, bob):
            person.send(f"JOIN {self._channel}")
            await person.sees(f":{self._nick}!", self._nick)
            await person.settled()
        return self._channel

    async def _send(self, who: str, line: str, kind: str) -> str:
        """Send a line; the id that the server gives it, from its echo."""
        person = self.people[who]
        person.send(line)
        echo = await person.sees_where(lambda raw: f":{who}!" in raw and f" {kind} " in raw, line)
        return parse_tags(echo[1:].partition(" ")[0]).get("msgid", "")

    async def say(self, text: str | Text, who: str = ANN) -> str:
        """Somebody says it: a line of the chat for each line, and for what is too long for one."""
        said = drawn(text) if isinstance(text, Text) else text
        lines = [line[at : at + MOST_CHARS] for line in said.split("\n") for at in range(0, len(line), MOST_CHARS)]
        natives = [await self._send(who, f"PRIVMSG {self._channel} :{line}", "PRIVMSG") for line in lines]
        return natives[0]

    async def reply(self, to: str, text: str, who: str = ANN) -> str:
        """Somebody answers, by a client that has tags."""
        return await self._send(who, f"@+draft/reply={to} PRIVMSG {self._channel} :{text}", "PRIVMSG")

    async def react(self, native: str, emoji: str, added: bool = True, who: str = ANN) -> None:
        """Somebody reacts, by a client that has tags."""
        kind = "react" if added else "unreact"
        await self._send(who, f"@+draft/reply={native};+draft/{kind}={emoji} TAGMSG {self._channel}", "TAGMSG")

    async def type(self, who: str = ANN) -> None:
        """Somebody types."""
        await self._send(who, f"@+typing=active TAGMSG {self._channel}", "TAGMSG")

    async def lines(self) -> list[Line]:
        """All that Bob's client got."""
        await self.people[BOB].settled()
        found: dict[str, Line] = {}
        reactions: dict[str, set[str]] = {}
        for raw in self.people[BOB].lines:
            words = raw if raw[:1] == "@" else f"@ {raw}"
            tagged, source, command, rest = (*words.split(" ", 3), "", "")[:4]
            target, _, said = rest.removeprefix(":").partition(" :")
            if command not in ("PRIVMSG", "TAGMSG") or target != self._channel:
                continue
            tags = parse_tags(tagged[1:])
            native, answers = tags.get("msgid", ""), tags.get("+draft/reply", "")
            if command == "PRIVMSG":
                plain, entities = shown(said)
                nick = source[1:].partition("!")[0]
                author = "relay" if nick == self._nick else nick
                found[native or secrets.token_hex(4)] = Line(author, plain, native, entities, answers)
            elif emoji := tags.get("+draft/react"):
                reactions.setdefault(answers, set()).add(emoji)
            elif emoji := tags.get("+draft/unreact"):
                reactions.setdefault(answers, set()).discard(emoji)
        return [
            Line(x.author, x.plain, x.native, x.entities, x.reply_to, reactions=tuple(reactions.get(x.native, ())))
            for x in found.values()
        ]

    async def typing(self) -> list[str]:
        """Whoever typed lately."""
        return [raw for raw in self.people[BOB].lines if "+typing=active" in raw and f":{self._nick}!" in raw]

    async def changed(self) -> None:
        """Look again in a moment."""
        await asyncio.sleep(0.02)


@asynccontextmanager
async def scene(session: Session, account: AccountId, url: str) -> AsyncIterator[IrcScene]:
    """A channel of its own on a server that the session shares."""
    made = IrcScene(session.keep("inspircd", InspIrcd).port)
    try:
        yield made
    finally:
        for person in made.people.values():
            person.send("QUIT")
            await person.sees("ERROR", "the connection broke")
            await person.close()

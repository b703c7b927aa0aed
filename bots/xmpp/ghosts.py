"""Authors of other rooms as occupants of their own: an address below the component each, one stream for all."""

from __future__ import annotations

import asyncio
import contextlib
import unicodedata
from collections.abc import Iterator
from hashlib import sha256
from typing import Final
from xml.etree.ElementTree import Element

import structlog
from slixmpp.jid import JID, InvalidJID

from bots.xmpp import xml as x
from bots.xmpp.config import XmppConfig
from bots.xmpp.rooms import Room
from bots.xmpp.stream import Stream
from core.contract import Offline
from core.model import Author

log = structlog.get_logger()

NICK_CHARS: Final = 80
NICK_TRIES: Final = 3
ANSWER_S: Final = 10.0
REFUSED_FOR_S: Final = 60.0
"""A ghost that was not let in is not tried again before."""


class Ghost:
    """One author in one room."""

    __slots__ = ("answer", "entering", "jid", "joined", "nick", "refused_until_s", "used_at_s")

    def __init__(self, jid: str) -> None:
        self.jid = jid
        self.nick = ""
        self.joined = False
        self.used_at_s = 0.0
        self.refused_until_s = 0.0
        self.entering: asyncio.Task[bool] | None = None
        self.answer: asyncio.Future[Element] | None = None


class Ghosts:
    """All ghosts of a component."""

    def __init__(self, config: XmppConfig) -> None:
        self._config = config
        self._stream: Stream | None = None
        self._by_room: dict[str, dict[str, Ghost]] = {}
        """Room's address → ghost's bare address → ghost."""
        self._task: asyncio.Task[None] | None = None

    def begin(self, stream: Stream) -> None:
        """The component is connected; no ghost is anywhere yet."""
        self._stream = stream
        self._task = asyncio.get_running_loop().create_task(self._send_idle_away())

    def end(self) -> None:
        """The connection is gone, and with it every ghost."""
        self._stream = None
        if self._task is not None:
            self._task.cancel()
        for ghosts in self._by_room.values():
            for ghost in ghosts.values():
                if ghost.entering is not None:
                    ghost.entering.cancel()
        self._by_room.clear()

    def address(self, author_id: str, author_name: str) -> str:
        """The bare address of an author. The name is part of it: one id may be somebody else on another platform."""
        digest = sha256(f"{author_id}\n{author_name}".encode()).hexdigest()[:24]
        return f"{digest}@{self._config.domain}"

    async def ensure(self, room: Room, author: Author) -> Ghost | None:
        """The author's ghost in the room, entered if need be. None: the bot must speak in its stead."""
        ghosts = self._by_room.setdefault(room.jid, {})
        jid = self.address(author.id, author.name)
        ghost = ghosts.get(jid)
        now_s = asyncio.get_running_loop().time()
        if ghost is None:
            if sum(other.joined or other.entering is not None for other in ghosts.values()) >= self._limit:
                return None
            ghost = ghosts[jid] = Ghost(jid)
        ghost.used_at_s = now_s
        if ghost.joined:
            return ghost
        if ghost.refused_until_s > now_s or self._stream is None:
            return None
        if ghost.entering is None:
            work = self._enter(room, ghost, author.name, self._stream)
            ghost.entering = asyncio.get_running_loop().create_task(work)
        return ghost if await asyncio.shield(ghost.entering) else None

    def present(self, room: Room, author: Author) -> Ghost | None:
        """The author's ghost, if it is in the room already."""
        ghost = self._by_room.get(room.jid, {}).get(self.address(author.id, author.name))
        return ghost if ghost is not None and ghost.joined else None

    @property
    def _limit(self) -> int:
        return self._config.ghosts_per_room

    async def _enter(self, room: Room, ghost: Ghost, name: str, stream: Stream) -> bool:
        try:
            for nick in nicks(name):
                answer = await self._knock(room, ghost, nick, stream)
                if answer is not None and answer.get("type") != "error":
                    return True
                if answer is None or x.condition(answer)[0] not in ("conflict", "jid-malformed"):
                    break
        except Offline:
            return False
        finally:
            ghost.entering = None
        ghost.nick = ""
        ghost.refused_until_s = asyncio.get_running_loop().time() + REFUSED_FOR_S
        log.info("a ghost cannot enter", room=room.jid)
        return False

    async def _knock(self, room: Room, ghost: Ghost, nick: str, stream: Stream) -> Element | None:
        presence = stream.element("presence", f"{room.jid}/{nick}", from_=full(ghost.jid))
        muc = x.add(presence, x.MUC, "x")
        if room.password:
            x.add(muc, x.MUC, "password", room.password)
        x.add(muc, x.MUC, "history", maxstanzas="0")
        answer = ghost.answer = asyncio.get_running_loop().create_future()
        ghost.nick = nick
        stream.send(presence)
        try:
            async with asyncio.timeout(ANSWER_S):
                stanza: Element = await answer
                return stanza
        except TimeoutError:
            return None
        finally:
            ghost.answer = None

    def has(self, room: Room, nick: str) -> bool:
        """Is a ghost in the room under this nick, or just entering?"""
        return any(ghost.nick == nick for ghost in self._by_room.get(room.jid, {}).values())

    def presence(self, room: Room, jid: str, stanza: Element) -> None:
        """Presence that was sent to a ghost; only what is about itself counts."""
        ghost = self._by_room.get(room.jid, {}).get(jid)
        if ghost is None:
            return
        codes = x.statuses(x.child(stanza, x.MUC_USER, "x"))
        kind, nick = stanza.get("type", ""), x.resource(stanza.get("from", ""))
        if kind == "error":
            self._answered(ghost, stanza)
        elif "110" not in codes:
            return
        elif kind == "unavailable" and not ghost.joined:
            # It left and is entering again: this is the answer to the leaving.
            return
        elif kind == "unavailable":
            self.lost(room, jid, refused="307" in codes or "301" in codes)
        else:
            ghost.joined, ghost.nick = True, nick
            room.ghost_nicks.add(nick)
            self._answered(ghost, stanza)

    def _answered(self, ghost: Ghost, stanza: Element) -> None:
        if ghost.answer is not None and not ghost.answer.done():
            ghost.answer.set_result(stanza)

    def lost(self, room: Room, jid: str, *, refused: bool = False) -> None:
        """The ghost is not in the room any more."""
        ghost = self._by_room.get(room.jid, {}).get(jid)
        if ghost is None:
            return
        ghost.joined, ghost.nick = False, ""
        now_s = asyncio.get_running_loop().time()
        if refused:
            ghost.refused_until_s = now_s + REFUSED_FOR_S
        elif ghost.refused_until_s <= now_s:
            del self._by_room[room.jid][jid]

    def room_left(self, room: Room) -> None:
        """The bot is not in the room any more: nor is anybody else."""
        stream = self._stream
        for ghost in list(self._by_room.pop(room.jid, {}).values()):
            if ghost.joined and stream is not None:
                self._leave(room.jid, ghost, stream)

    async def _send_idle_away(self) -> None:
        while True:
            await asyncio.sleep(min(60.0, self._config.ghost_idle_s / 2))
            before_s = asyncio.get_running_loop().time() - self._config.ghost_idle_s
            for room, ghost in self._idle(before_s):
                del self._by_room[room][ghost.jid]
                if ghost.joined and self._stream is not None:
                    self._leave(room, ghost, self._stream)

    def _idle(self, before_s: float) -> Iterator[tuple[str, Ghost]]:
        for room, ghosts in list(self._by_room.items()):
            for ghost in list(ghosts.values()):
                if ghost.used_at_s < before_s and ghost.entering is None:
                    yield room, ghost

    def _leave(self, room: str, ghost: Ghost, stream: Stream) -> None:
        stream.send(stream.element("presence", f"{room}/{ghost.nick}", from_=full(ghost.jid), type="unavailable"))


def full(jid: str) -> str:
    """The one full address of a ghost."""
    return f"{jid}/bridge"


def nicks(name: str) -> Iterator[str]:
    """Nicks for somebody called ``name``, best first. Servers prepare them by Unicode 3.2 (RFC 3920 appendix B), and
    some do not even answer where there are newer characters, like most emoji: these are left out."""
    known = unicodedata.ucd_3_2_0.category
    kept = "".join(char for char in unicodedata.normalize("NFKC", name) if known(char)[0] != "C")
    nick = " ".join(kept[:NICK_CHARS].split())
    for candidate in (nick, *(f"{nick} ({number})" for number in range(2, NICK_TRIES + 1))):
        with contextlib.suppress(InvalidJID):
            if nick and JID(f"a@b/{candidate}").resource:
                yield candidate

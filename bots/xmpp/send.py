"""Posts, changes, reactions and typing: who speaks, which stanzas it takes, and that they arrived."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple
from xml.etree.ElementTree import Element

from bots.xmpp import compose
from bots.xmpp import xml as x
from bots.xmpp.config import XmppConfig
from bots.xmpp.confirm import Confirmations, Result, Unit
from bots.xmpp.files import Uploads
from bots.xmpp.ghosts import Ghost, Ghosts, full
from bots.xmpp.memory import Memory, Own
from bots.xmpp.rooms import Room, Rooms
from bots.xmpp.stream import Stream
from bots.xmpp.text import parts
from core.composer import file_line
from core.contract import AdapterError, Outbound, OutFile, Receipt, Rejected, Retry, Services, Uncertain
from core.model import Author, NativeId, RoomId, Text
from core.text.ops import concat

JOINING_RETRY_S: Final = 0.3
TYPING_S: Final = 6.0
"""Who was not heard to type for so long is shown to have paused."""
TOO_OLD: Final = "The message is too old to be changed here."


class Speaker(NamedTuple):
    """Who posts: the bot, or an author's ghost."""

    jid: str
    """Full address of the ghost; empty: the bot."""
    nick: str
    own: Own
    names_author: bool = False
    """The author's name goes into the text."""


class Sender:
    """What one account says. Stanzas are written in the order in which its methods are called."""

    def __init__(self, config: XmppConfig, rooms: Rooms, memory: Memory, services: Services, uploads: Uploads) -> None:
        self._config = config
        self._rooms = rooms
        self._memory = memory
        self._services = services
        self._uploads = uploads
        self.ghosts = Ghosts(config) if config.is_component else None
        self.confirmations = Confirmations(config.confirm_timeout_s)
        self.prefix = ""
        """How the ids of our stanzas begin."""
        self._turn = asyncio.Lock()
        self._typing: dict[tuple[str, str], asyncio.TimerHandle] = {}

    # --- who speaks

    def room(self, room_id: RoomId) -> Room:
        """A room that can be posted to. Raises Rejected and Retry."""
        room = self._rooms.by_room.get(room_id)
        if room is None:
            raise Rejected(f"The bot is not in this room any more. Invite {self._config.address} to it.")
        if not room.is_joined:
            raise room.problem or Retry(JOINING_RETRY_S, f"The bot is just entering {room.jid}.")
        return room

    async def _speaker(self, room: Room, author: Author | None) -> Speaker:
        if author is None or self.ghosts is None:
            return Speaker("", room.nick, Own(""))
        ghost = await self.ghosts.ensure(room, author)
        if ghost is None:
            return Speaker("", room.nick, Own(""), names_author=True)
        return _as_speaker(ghost, author)

    async def _same_speaker(self, room: Room, own: Own | None) -> Speaker:
        """Whoever posted something changes it. Raises Rejected where that cannot be."""
        if own is None or not own.author_id:
            return Speaker("", room.nick, Own(""))
        ghost = await self.ghosts.ensure(room, Author(own.author_id, own.author_name)) if self.ghosts else None
        if ghost is None:
            raise Rejected(f"{own.author_name} cannot enter {room.jid} to change the message.")
        return _as_speaker(ghost, Author(own.author_id, own.author_name))

    def _new(self, stream: Stream, room: Room, speaker: Speaker, id_: str) -> Element:
        sender = {"from_": speaker.jid} if speaker.jid else {}
        return stream.element("message", room.jid, type="groupchat", id=id_, **sender)

    # --- new posts

    async def send_stream(self, stream: Stream, posts: Sequence[Outbound]) -> list[Result]:
        """Post all of them in order; one result for each."""
        results: list[Result | None] = [None] * len(posts)
        units: list[Unit] = []
        async with self._turn:
            entering = {(p.room, p.author.id, p.author.name): p for p in posts if p.author} if self.ghosts else {}
            await asyncio.gather(*(self._bring_in(post) for post in entering.values()))
            for index, post in enumerate(posts):
                try:
                    room = self.room(post.room)
                    units += await self._units(stream, room, post, index)
                except AdapterError as error:
                    results[index] = error
            # The first step writes everything; what follows may overlap with what others write.
            waiting = asyncio.ensure_future(self.confirmations.send(stream, units, results))
            await asyncio.sleep(0)
        return await _finished(waiting)

    async def _bring_in(self, post: Outbound) -> None:
        """Let the author's ghost enter; all of a batch at once."""
        room = self._rooms.by_room.get(post.room)
        if room is not None and room.is_joined:
            await self._speaker(room, post.author)

    async def _units(self, stream: Stream, room: Room, post: Outbound, index: int) -> list[Unit]:
        speaker = await self._speaker(room, post.author)
        self._stop_typing(room.jid, speaker.jid)
        text = self._named(post, speaker)
        urls: list[str] = []
        for file in post.files:
            if url := await self._uploads.upload(stream, file):
                urls.append(url)
            else:
                text = _with_link(text, file)
        said = parts(text, self._config.text_limit, post.max_parts) if text.plain.strip() else []
        if not said and not urls:
            raise Rejected("The message has no text that could be shown.")
        units: list[Unit] = []
        for part in said:
            stanza = self._new(stream, room, speaker, f"{self.prefix}{post.key}.{len(units)}")
            answers = str(post.reply_to) if post.reply_to and not units else ""
            compose.message(stanza, part, room=room, answers=answers)
            units.append(self._unit(room, stanza, index, speaker, part.plain))
        for url in urls:
            stanza = self._new(stream, room, speaker, f"{self.prefix}{post.key}.{len(units)}")
            units.append(self._unit(room, compose.file(stanza, url), index, speaker, "", is_file=True))
        return units

    @staticmethod
    def _named(post: Outbound, speaker: Speaker) -> Text:
        if not speaker.names_author or post.author is None:
            return post.text
        separator = ": " if post.text.plain else ""
        return concat(Text(f"{post.author.name}{separator}"), post.text)

    def _unit(
        self, room: Room, stanza: Element, index: int, speaker: Speaker, plain: str, *, is_file: bool = False
    ) -> Unit:
        id_ = stanza.get("id", "")
        own = Own(id_, is_file, speaker.own.author_id, speaker.own.author_name)

        def reflected(native: str) -> None:
            self._memory.own(room.jid, native, own)
            room.saw(native, speaker.nick, plain)

        return Unit(room.jid, id_, stanza, index, reflected)

    # --- changes

    async def edit(self, stream: Stream, natives: Sequence[NativeId], outbound: Outbound) -> Receipt:
        """Correct the parts in place (XEP-0308), take surplus ones back, post missing ones. Files stay."""
        room = self.room(outbound.room)
        found = await self._memory.find_own(room.jid, natives)
        texts = [(native, own) for native, own in zip(natives, found, strict=True) if own and not own.is_file]
        files = [native for native, own in zip(natives, found, strict=True) if own and own.is_file]
        if not texts and not files:
            raise Rejected(TOO_OLD)
        async with self._turn:
            speaker = await self._same_speaker(room, next(own for own in found if own))
            if self.ghosts is not None and not speaker.jid:
                speaker = speaker._replace(names_author=outbound.author is not None)
            text = self._named(outbound, speaker)
            for file in () if files else outbound.files:
                text = _with_link(text, file)
            said = parts(text, self._config.text_limit, outbound.max_parts)
            units: list[Unit] = []
            for number, part in enumerate(said):
                stanza = self._new(stream, room, speaker, f"{self.prefix}{outbound.key}.{number}")
                if number < len(texts):
                    native, own = texts[number]
                    compose.message(stanza, part, replaces=own.origin)
                    units.append(Unit(room.jid, stanza.get("id", ""), stanza, 0, self._changed(room, native, part)))
                else:
                    units.append(self._unit(room, compose.message(stanza, part), 1, speaker, part.plain))
            for native, own in texts[len(said) :]:
                units.append(self._taken_back(stream, room, speaker, native, own))
            waiting = asyncio.ensure_future(self.confirmations.send(stream, units, [None, None]))
            await asyncio.sleep(0)
        _, added = _receipts(await _finished(waiting))
        return Receipt((*(native for native, _ in texts[: len(said)]), *added.natives, *files))

    def _changed(self, room: Room, native: str, part: Text) -> Callable[[str], None]:
        def reflected(_: str) -> None:
            if native in room.seen:
                room.saw(native, room.seen[native].nick, part.plain)

        return reflected

    def _taken_back(self, stream: Stream, room: Room, speaker: Speaker, native: str, own: Own | None) -> Unit:
        stanza = self._new(stream, room, speaker, self.prefix + self._services.random_id())
        compose.retraction(stanza, native, own.origin if own else "")

        def reflected(_: str) -> None:
            room.seen.pop(native, None)

        return Unit(room.jid, stanza.get("id", ""), stanza, 0, reflected)

    async def delete(self, stream: Stream, room_id: RoomId, natives: Sequence[NativeId]) -> None:
        """Take posts back (XEP-0424)."""
        room = self.room(room_id)
        found = await self._memory.find_own(room.jid, natives)
        async with self._turn:
            units = [
                self._taken_back(stream, room, await self._same_speaker(room, own), native, own)
                for native, own in zip(natives, found, strict=True)
            ]
            waiting = asyncio.ensure_future(self.confirmations.send(stream, units, [None]))
            await asyncio.sleep(0)
        _receipts(await _finished(waiting))

    async def react(
        self, stream: Stream, room_id: RoomId, native: NativeId, emoji: str, added: bool, author: Author
    ) -> None:
        """Put a reaction on a message: as the author's ghost, or among those that the bot puts there for everybody."""
        room = self.room(room_id)
        wishes = await self._memory.wish(room.jid, native, author.id, emoji, added=added)
        async with self._turn:
            speaker = await self._speaker(room, author)
            wanted = wishes.get(author.id, set()) if speaker.jid else set[str]().union(*wishes.values())
            stanza = self._new(stream, room, speaker, self.prefix + self._services.random_id())
            compose.reactions(stanza, native, sorted(wanted))
            unit = Unit(room.jid, stanza.get("id", ""), stanza, 0, lambda _: None)
            waiting = asyncio.ensure_future(self.confirmations.send(stream, [unit], [None]))
            await asyncio.sleep(0)
        _receipts(await _finished(waiting))

    # --- typing

    def typing(self, stream: Stream, room: Room, author: Author) -> None:
        """Show that somebody types: as their ghost if it is here, else as the bot."""
        ghost = self.ghosts.present(room, author) if self.ghosts else None
        if self.ghosts is not None and ghost is None:
            return
        speaker = _as_speaker(ghost, author) if ghost else Speaker("", room.nick, Own(""))
        where = (room.jid, speaker.jid)
        if (timer := self._typing.pop(where, None)) is not None:
            timer.cancel()
        else:
            self._tell_state(stream, room, speaker, "composing")
        loop = asyncio.get_running_loop()
        self._typing[where] = loop.call_later(TYPING_S, self._paused, stream, room, speaker)

    def _paused(self, stream: Stream, room: Room, speaker: Speaker) -> None:
        self._typing.pop((room.jid, speaker.jid), None)
        if room.is_joined and not stream.closed.done():
            self._tell_state(stream, room, speaker, "paused")

    def _tell_state(self, stream: Stream, room: Room, speaker: Speaker, name: str) -> None:
        id_ = self.prefix + self._services.random_id()
        stream.send(compose.state(self._new(stream, room, speaker, id_), name))

    def _stop_typing(self, room: str, jid: str) -> None:
        """The message itself says that they no longer type."""
        if (timer := self._typing.pop((room, jid), None)) is not None:
            timer.cancel()

    def stop(self) -> None:
        """No more timers."""
        for timer in self._typing.values():
            timer.cancel()
        self._typing.clear()


def _with_link(text: Text, file: OutFile) -> Text:
    """A file that is not in the room itself."""
    return concat(text, Text(("\n" if text.plain else "") + file_line(file)))


def _as_speaker(ghost: Ghost, author: Author) -> Speaker:
    return Speaker(full(ghost.jid), ghost.nick, Own("", False, author.id, author.name))


async def _finished(waiting: asyncio.Future[list[Result]]) -> list[Result]:
    """The results; whoever is cancelled while waiting does not leave the rest waiting."""
    try:
        return await waiting
    finally:
        if not waiting.done():
            waiting.cancel()


def _receipts(results: Sequence[Result]) -> list[Receipt]:
    """The receipts. Raises the first error."""
    found: list[Receipt] = []
    for result in results:
        if isinstance(result, AdapterError):
            raise result
        found.append(result)
    return found


def refusal(stanza: Element, room: str) -> AdapterError:
    """What a room's error for a message of ours means (XEP-0045 section 7.4; RFC 6120 section 8.3.3)."""
    condition, kind, said = x.condition(stanza)
    words = f": {said}" if said else ""
    if condition == "not-acceptable":
        return Retry(JOINING_RETRY_S, f"the bot fell out of {room} and goes in again")
    if condition == "forbidden":
        return Rejected(f"The room {room} is moderated, and the bot has no voice there. A moderator can give it.")
    if condition in ("remote-server-timeout", "undefined-condition") and kind == "wait":
        return Uncertain(f"The server of {room} did not answer in time{words}")
    if condition == "remote-server-not-found":
        return Retry(30.0, f"the server of {room} is not there")
    if kind == "wait" or (condition in ("resource-constraint", "policy-violation") and kind != "modify"):
        return Retry(5.0, f"{room} does not take messages that fast{words}")
    if condition in ("item-not-found", "gone", "recipient-unavailable"):
        return Rejected(f"The room {room} is gone.")
    return Rejected(f"The room {room} does not take the message ({condition}{words}).")

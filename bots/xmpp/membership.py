"""Being in rooms: joining, being invited, kicked or refused, and who else comes and goes (XEP-0045)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Final
from xml.etree.ElementTree import Element

import structlog

from bots.xmpp import xml as x
from bots.xmpp.config import XmppConfig
from bots.xmpp.invitations import invitation, inviter
from bots.xmpp.memory import Memory
from bots.xmpp.rooms import Room, Rooms, occupant
from bots.xmpp.stream import Refused, Stream
from core.contract import AdapterError, Emit, Rejected, Retry, Services, Uncertain
from core.model import BotAdded, BotRemoved, Joined, Left, NativeId, RoomRenamed

log = structlog.get_logger()

ANSWER_S: Final = 15.0
ALL_JOINED_WITHIN_S: Final = 5.0
NICK_TRIES: Final = 6
RETRY_S: Final = 10.0
RETRY_MAX_S: Final = 600.0
WORDS: Final = {
    "not-authorized": "the room {room} has a password, and the one that is configured does not fit",
    "forbidden": "the bot is banned from {room}",
    "registration-required": "only members may enter {room}: make {me} a member",
    "service-unavailable": "the room {room} is full",
    "item-not-found": "there is no room {room}",
    "gone": "the room {room} is gone",
    "not-allowed": "the bot may not create the room {room}: create it first",
    "not-acceptable": "the room {room} takes registered nicks only",
    "conflict": "the bot's nick is taken in {room}",
    "jid-malformed": "the room {room} does not take the bot's nick",
}
FOR_GOOD: Final = frozenset({"forbidden", "registration-required", "item-not-found", "gone"})
PUT_OUT: Final = {
    "301": "the bot was banned from the room",
    "307": "the bot was kicked out of the room",
    "321": "the bot is no member of the room any more",
    "322": "the room takes members only now",
}
GONE_FOR_NOW: Final = frozenset({"332", "333"})
"""The service is going down, or lost touch with us."""
NOT_IN_IT: Final = frozenset({"not-acceptable", "item-not-found"})
"""What a self-ping says when we are not in the room (XEP-0410)."""


class Membership:
    """The rooms of one stream. ``ready`` is called once all first joins are answered."""

    def __init__(
        self,
        config: XmppConfig,
        rooms: Rooms,
        memory: Memory,
        services: Services,
        emit: Emit,
    ) -> None:
        self._config = config
        self._rooms = rooms
        self._memory = memory
        self._services = services
        self._emit = emit
        self._stream: Stream | None = None
        self._answers: dict[str, asyncio.Future[Element]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._begun = False
        """The first joins are over."""
        self.expected: Callable[[Room, str], bool] = lambda room, nick: False
        """Is a ghost of ours here under this nick, or just entering?"""

    # --- life ---

    async def begin(self, stream: Stream) -> None:
        """We are signed in: enter all rooms that we want to be in; return when that is answered, or takes long."""
        self._stream = stream
        wanted = [room for room in self._rooms if room.wanted]
        joins = [self._spawn(self._enter(room)) for room in wanted]
        self._spawn(self._watch())
        if joins:
            await asyncio.wait(joins, timeout=ALL_JOINED_WITHIN_S)
        self._begun = True

    def resume(self, stream: Stream) -> None:
        """The stream goes on: we are still in our rooms. Those that were being entered are entered again."""
        self._stream = stream
        for room in self._rooms:
            if room.wanted and not room.is_joined:
                room.left()
                self._spawn(self._enter(room))
        self._spawn(self._watch())
        self._begun = True

    def pause(self) -> None:
        """The connection is gone; perhaps it is resumed."""
        for task in self._tasks:
            task.cancel()
        self._answers.clear()
        self._stream = None
        self._begun = False

    def end(self) -> None:
        """The server knows nothing of us any more."""
        for room in self._rooms:
            room.left()
            room.problem = None

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    # --- entering ---

    def join_again(self, room: Room) -> None:
        """The room says that we are not in it."""
        if room.is_joined:
            room.left()
            self._spawn(self._enter(room))

    async def _enter(self, room: Room, after_s: float = 0.0) -> None:
        await asyncio.sleep(after_s)
        stream = self._stream
        if stream is None or room.state != "out" or not room.wanted:
            return
        room.state = "joining"
        try:
            await self._learn(room, stream)
            condition = await self._knock(room, stream)
        except AdapterError as error:
            condition = error.condition if isinstance(error, Refused) else ""
            log.debug("a room cannot be entered", room=room.jid, error=str(error))
        except Exception:  # the room must not be forgotten for it
            log.exception("entering a room failed", room=room.jid)
            condition = ""
        if not room.is_joined:
            self._refused(room, condition)

    async def _knock(self, room: Room, stream: Stream) -> str:
        """Try the nick, and others when it is taken. Returns why we were not let in; empty when we are in it."""
        nick = self._config.nick
        condition = "conflict"
        for _ in range(NICK_TRIES):
            answer = await self._present(room, nick, stream)
            if answer.get("type") != "error":
                if "201" in x.statuses(x.child(answer, x.MUC_USER, "x")):
                    await self._open_up(room, stream)
                return ""
            condition = x.condition(answer)[0]
            if condition != "conflict":
                break
            nick += "_"
        return condition

    async def _present(self, room: Room, nick: str, stream: Stream) -> Element:
        presence = stream.element("presence", f"{room.jid}/{nick}")
        muc = x.add(presence, x.MUC, "x")
        if room.password:
            x.add(muc, x.MUC, "password", room.password)
        x.add(muc, x.MUC, "history", maxstanzas="0")
        answer = self._answers[room.jid] = asyncio.get_running_loop().create_future()
        room.nick = nick
        stream.send(presence)
        try:
            async with asyncio.timeout(ANSWER_S):
                stanza: Element = await answer
                return stanza
        except TimeoutError:
            raise Uncertain("the room does not answer") from None
        finally:
            if self._answers.get(room.jid) is answer:
                del self._answers[room.jid]

    async def _open_up(self, room: Room, stream: Stream) -> None:
        """A room that we just created is locked until somebody accepts how it is set up (XEP-0045 section 10.1.2)."""
        query = x.element(x.MUC_OWNER, "query")
        x.add(query, x.DATA, "x", type="submit")
        await stream.ask("set", room.jid, query)
        await self._learn(room, stream)

    async def _learn(self, room: Room, stream: Stream) -> None:
        """What the room can do, and its name (XEP-0045 section 6.4). A room that is not there yet can nothing."""
        try:
            answer = await stream.ask("get", room.jid, x.element(x.DISCO_INFO, "query"))
        except Refused:
            return
        query = x.child(answer, x.DISCO_INFO, "query")
        if query is None:
            return
        room.features = frozenset(item.get("var", "") for item in query.findall(f"{{{x.DISCO_INFO}}}feature"))
        identity = x.child(query, x.DISCO_INFO, "identity")
        before, room.named = room.title, (identity.get("name", "") if identity is not None else "").strip()
        if room.is_joined and room.known and room.title != before:
            self._emit(RoomRenamed(**self._about(room), title=room.title))

    def _refused(self, room: Room, condition: str) -> None:
        me = self._config.address
        words = WORDS.get(condition, "the room {room} does not answer").format(room=room.jid, me=me)
        room.left()
        if condition in FOR_GOOD and not room.configured:
            self._put_out(room, words)
            self._forget(room)
            return
        after_s = min(RETRY_S * 2.0**room.tries, RETRY_MAX_S)
        room.tries = min(room.tries + 1, 16)
        room.problem = Rejected(words + ".") if condition in FOR_GOOD else Retry(after_s, words)
        log.warning("not in the room", room=room.jid, reason=words, again_in_s=after_s)
        if condition in FOR_GOOD:
            self._put_out(room, words)
        self._spawn(self._enter(room, after_s))

    def _put_out(self, room: Room, reason: str) -> None:
        if room.known and not room.removed:
            room.removed = True
            self._emit(BotRemoved(**self._about(room), reason=reason))

    def _forget(self, room: Room) -> None:
        room.wanted = False
        self._memory.drop(room)
        self._rooms.forget(room)

    async def _watch(self) -> None:
        """See that the server still answers, and ask rooms that have been silent for long whether we are still there
        (XEP-0410)."""
        every_s = self._config.self_ping_s
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(every_s / 2)
            if self._stream is not None:
                await self._feel(self._stream)
            for room in self._rooms:
                if room.is_joined and loop.time() - room.changed_at_s > every_s:
                    room.changed_at_s = loop.time()
                    self._spawn(self._check(room))

    async def _feel(self, stream: Stream) -> None:
        """A connection on which nothing comes back is none."""
        ping, timeout_s = x.element(x.PING, "ping"), self._config.confirm_timeout_s
        try:
            await stream.ask("get", self._config.services_domain, ping, timeout_s=timeout_s)
        except Uncertain:
            log.warning("the server does not answer any more", server=self._config.services_domain)
            stream.cut()
        except AdapterError as error:
            log.debug("the server knows no pings", error=str(error))

    async def _check(self, room: Room) -> None:
        try:
            await self.ping(room)
        except AdapterError as error:
            log.debug("a room did not answer a ping", room=room.jid, error=str(error))

    async def ping(self, room: Room) -> None:
        """Ask ourselves through the room. Raises AdapterError; when we are not in it, it is entered again."""
        stream = self._stream
        if stream is None:
            return
        try:
            await stream.ask("get", f"{room.jid}/{room.nick}", x.element(x.PING, "ping"))
        except Refused as error:
            # Any other answer is one from a client of ours: we are there.
            if error.condition in NOT_IN_IT:
                self.join_again(room)
                raise Retry(1.0, f"the bot fell out of {room.jid} and goes in again") from None

    # --- what rooms say ---

    def _about(self, room: Room) -> dict[str, Any]:
        return {
            "room": room.room,
            "native": NativeId(self._services.random_id()),
            "at_ms": self._services.now_ms(),
        }

    def presence(self, stanza: Element) -> None:
        """Presence of somebody in a room, addressed to the bot."""
        sender = stanza.get("from", "")
        room, nick = self._rooms.by_jid.get(x.bare(sender)), x.resource(sender)
        if room is None:
            return
        kind = stanza.get("type", "")
        user = x.child(stanza, x.MUC_USER, "x")
        codes = x.statuses(user)
        if kind == "error":
            self._answer(room, stanza)
        elif not nick:
            if kind == "unavailable":
                self._gone(room, user, codes)
        elif "110" in codes or (nick == room.nick and (kind or room.state == "joining")):
            if kind == "unavailable":
                self._gone(room, user, codes)
            elif not kind:
                self._here(room, nick, stanza)
        else:
            self._other(room, nick, kind, codes, user, stanza)

    def _answer(self, room: Room, stanza: Element) -> None:
        answer = self._answers.get(room.jid)
        if answer is not None and not answer.done():
            answer.set_result(stanza)

    def _here(self, room: Room, nick: str, stanza: Element) -> None:
        room.occupants[nick] = occupant(stanza)
        room.nick = nick
        if not room.is_joined:
            room.state = "joined"
            room.problem = None
            room.tries = 0
            room.changed_at_s = asyncio.get_running_loop().time()
            greet = not room.known or bool(room.invited_by)
            if greet or room.removed:
                self._emit(BotAdded(**self._about(room), title=room.title, by=inviter(room), greet=greet))
            elif self._begun:
                # We were out of it for a while: what was said meanwhile is in its archive.
                self._emit.online()
            room.known, room.removed, room.invited_by = True, False, ""
            self._memory.keep(room)
        self._answer(room, stanza)

    def _gone(self, room: Room, user: Element | None, codes: frozenset[str]) -> None:
        """We are out of the room, or have another nick there."""
        if "303" in codes and (renamed := _new_nick(user)):
            room.occupants.pop(room.nick, None)
            room.nick = renamed
            return
        item = x.child(user, x.MUC_USER, "item") if user is not None else None
        was_joined = room.is_joined
        room.left()
        destroyed = x.child(user, x.MUC_USER, "destroy") if user is not None else None
        reason = next((words for code, words in PUT_OUT.items() if code in codes), "")
        if destroyed is not None:
            # XEP-0045 section 10.9: with a reason of its own, and perhaps a room where it goes on.
            item, elsewhere = destroyed, destroyed.get("jid", "")
            reason = "the room was destroyed" + (f" and goes on at {elsewhere}" if elsewhere else "")
        if not reason or codes & GONE_FOR_NOW:
            if was_joined:
                self._spawn(self._enter(room, 1.0))
            return
        said = (item.findtext(f"{{{x.MUC_USER}}}reason") or "").strip() if item is not None else ""
        self._put_out(room, f"{reason}: {said}" if said else reason)
        if not room.configured:
            self._forget(room)
            return
        again = "307" in codes and not room.kicked and self._config.rejoin_after_kick_s
        room.kicked = True
        room.problem = Rejected(f"The bot was put out of {room.jid}. Let it in again, and invite it.")
        room.wanted = bool(again)
        if again:
            self._spawn(self._enter(room, self._config.rejoin_after_kick_s))

    def _other(
        self, room: Room, nick: str, kind: str, codes: frozenset[str], user: Element | None, stanza: Element
    ) -> None:
        if kind == "unavailable":
            author, gone = room.author(nick), room.occupants.pop(nick, None)
            renamed = _new_nick(user) if "303" in codes else ""
            if renamed and gone is not None:
                room.occupants[renamed] = gone
            ours = nick in room.ghost_nicks
            if not self.expected(room, nick):
                # Else it is here again already, and what is told now is older.
                room.ghost_nicks.discard(nick)
            if not ours and not renamed and room.is_joined:
                self._emit(Left(**self._about(room), author=author))
        elif not kind:
            is_new = nick not in room.occupants
            room.occupants[nick] = occupant(stanza)
            ours = nick in room.ghost_nicks or self.expected(room, nick)
            if is_new and not ours and room.is_joined:
                self._emit(Joined(**self._about(room), author=room.author(nick)))

    def config_changed(self, room: Room) -> None:
        """The room says that it was set up anew: look again."""
        if self._stream is not None:
            self._spawn(self._look_again(room, self._stream))

    async def _look_again(self, room: Room, stream: Stream) -> None:
        try:
            await self._learn(room, stream)
        except AdapterError as error:
            log.debug("a room does not tell how it is set up", room=room.jid, error=str(error))

    # --- invitations ---

    def invited(self, stanza: Element) -> bool:
        """Follow an invitation; False if it is none."""
        found = invitation(stanza)
        if found is None:
            return False
        jid, by, password = found
        known = self._rooms.by_jid.get(jid)
        if not self._config.accept_invites or (known is None and len(self._rooms.by_jid) >= self._config.max_rooms):
            log.info("an invitation is not followed", room=jid, by=by)
            return True
        room = known or self._rooms.add(jid)
        if room.is_joined:
            return True
        room.password = password or room.password
        room.wanted, room.kicked, room.tries = True, False, 0
        room.invited_by = by
        if room.state == "out":
            self._spawn(self._enter(room))
        return True


def _new_nick(user: Element | None) -> str:
    item = x.child(user, x.MUC_USER, "item") if user is not None else None
    return item.get("nick", "") if item is not None else ""

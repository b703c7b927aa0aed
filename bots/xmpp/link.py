"""A running account: its stream kept connected, what comes in taken in its order, what is under way confirmed."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections import deque
from typing import Final
from xml.etree.ElementTree import Element

import structlog

from bots.xmpp import xml as x
from bots.xmpp.config import XmppConfig
from bots.xmpp.files import Uploads
from bots.xmpp.hearing import Hearing
from bots.xmpp.history import Archive
from bots.xmpp.membership import Membership
from bots.xmpp.memory import Memory
from bots.xmpp.receive import hear
from bots.xmpp.rooms import Room, Rooms
from bots.xmpp.send import Sender, refusal
from bots.xmpp.stream import Resumption, Stream
from core.contract import AdapterError, AuthLost, Emit, Offline, Services
from core.model import AccountId
from core.store import StoreDown

log = structlog.get_logger()

AUTH_RETRY_S: Final = 300.0
QUICK_FOR_S: Final = 60.0
QUICK_MOST_S: Final = 1.5
"""While a server that was there is gone for less than QUICK_FOR_S, knock at least this often."""
SHORT_S: Final = 5.0
"""A stream that lasts no longer counts as none."""
HOLD_AT: Final = 2_000
"""Stanzas that wait to be looked at above which reading stops."""
ASK_EVERY: Final = 200
"""Stanzas after which the relay is asked whether it has all of them."""
DOWN_RETRY_S: Final = 0.5
DRAIN_S: Final = 5.0
STABLE_ID: Final = "http://jabber.org/protocol/muc#stable_id"


class Link:
    """Everything of an account that lives only between start and stop."""

    def __init__(
        self, account: AccountId, config: XmppConfig, services: Services, rooms: Rooms, memory: Memory, emit: Emit
    ) -> None:
        self._account = account
        self._config = config
        self._services = services
        self._rooms = rooms
        self._memory = memory
        self._emit = emit
        self._hearing = Hearing(account, memory)
        self._uploads = Uploads(config)
        self.sender = Sender(config, rooms, memory, services, self._uploads)
        self.sender.confirmations.gave_up = self._forget_resumption
        self.membership = Membership(config, rooms, memory, services, emit)
        if self.sender.ghosts is not None:
            self.membership.expected = self.sender.ghosts.has
        self.archive = Archive(memory, self._hearing)
        self.stream: Stream | None = None
        """While posts can go out."""
        self._resumption: Resumption | None = None
        self._queue: deque[Element] = deque()
        self._news = asyncio.Event()
        self._drained = asyncio.Event()
        """Everything that came is looked at, and durable."""
        self._auth_lost = ""
        self._why_offline = "not connected yet"
        self._stopping = False
        loop = asyncio.get_running_loop()
        self._tasks = [loop.create_task(work, name=f"xmpp {account}") for work in (self._keep(), self._work())]

    async def stop(self) -> None:
        """Say goodbye and disconnect."""
        self._stopping = True
        if self.stream is not None:
            await self.stream.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self.membership.pause()
        self.sender.stop()
        self.sender.confirmations.lost("the bot goes off")
        if self.sender.ghosts is not None:
            self.sender.ghosts.end()
        await self._memory.stop()

    def ready(self) -> Stream:
        """The stream, when posts can go out. Raises AuthLost and Offline."""
        if self.stream is not None and not self.stream.closed.done():
            return self.stream
        if self._auth_lost:
            raise AuthLost(f"{self._why_offline}. Correct the account's jid and password.")
        raise Offline(0.5, self._why_offline)

    async def _keep(self) -> None:
        await self._memory.load(self._rooms)
        prefix = await self._memory.prefix(self._services.random_id()[:8])
        self.sender.prefix = self.archive.prefix = f"{prefix}-"
        tail = f"bridge-{self._services.random_id()[:8]}"
        loop = asyncio.get_running_loop()
        failures, gone_at_s = 0, loop.time()
        while True:
            began_s = loop.time()
            greeted = await self._one_stream(tail)
            if greeted and loop.time() - began_s > SHORT_S:
                failures, gone_at_s = 0, loop.time()
            else:
                # A server that sends us away at once is not to be pestered.
                failures += 1
            await asyncio.sleep(self._pause_s(failures, quick=loop.time() - gone_at_s < QUICK_FOR_S))

    def _pause_s(self, failures: int, *, quick: bool) -> float:
        if self._auth_lost:
            return AUTH_RETRY_S
        if failures == 0:
            return 0.0
        config = self._config
        grown_s = config.reconnect_min_s * 2.0 ** min(failures - 1, 16)
        pause_s = min(grown_s, config.reconnect_max_s, QUICK_MOST_S if quick else grown_s)
        return pause_s * random.uniform(0.7, 1.0)  # noqa: S311 - spreads reconnects, keeps no secret

    async def _one_stream(self, tail: str) -> bool:
        """Connect once, and stay until it ends. Were we signed in?"""
        greeted, reason = False, ""
        stream: Stream | None = None
        try:
            stream = Stream(self._config, self._take, self._resumption, tail)
            resumed = await stream.open()
            greeted, self._auth_lost = True, ""
            await self._begin(stream, resumed=resumed)
            log.info("xmpp connected", account=self._account, resumed=resumed)
            if not stream.closed.done():
                self._emit.online()
            reason = await asyncio.shield(stream.closed)
        except AuthLost as error:
            self._auth_lost = reason = str(error)
        except (AdapterError, OSError) as error:
            reason = str(error) or type(error).__name__
        except Exception as error:  # an account that died silently would be worse than one that tries again
            log.exception("xmpp stream failed", account=self._account)
            reason = f"an error of the bot ({error})"
        finally:
            self.stream = None
            self.membership.pause()
            if stream is not None:
                if greeted:
                    self._resumption = stream.resumption()
                await stream.close()
        self._lost(reason)
        if not self._stopping:
            log.warning("xmpp disconnected", account=self._account, reason=reason)
            self._emit.offline(self._why_offline)
        return greeted

    async def _begin(self, stream: Stream, *, resumed: bool) -> None:
        if resumed:
            self.stream = stream
            self.membership.resume(stream)
            return
        self._resumption = None
        await self._drain()
        self.sender.confirmations.lost("it is a new stream")
        self.membership.end()
        self._queue.clear()
        self.stream = stream
        if self.sender.ghosts is not None:
            self.sender.ghosts.begin(stream)
        else:
            stream.send(x.element(stream.namespace, "presence"))
        await asyncio.gather(self._uploads.begin(stream), self.membership.begin(stream))

    async def _drain(self) -> None:
        """What came before the break is looked at while we know who was in the rooms then. Not for ever: what is left
        over is read from the rooms' archives, where they have one."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(DRAIN_S):
                while self._queue:
                    await self._drained.wait()

    def _lost(self, reason: str) -> None:
        """The connection is gone: what is not going on with the next one ends here."""
        what = "does not accept the password" if self._auth_lost else "is not reachable"
        self._why_offline = f"{self._config.domain} {what}: {reason}"
        self.sender.stop()
        if self._resumption is None:
            self.sender.confirmations.lost(reason)
            if self.sender.ghosts is not None:
                self.sender.ghosts.end()

    def _forget_resumption(self) -> None:
        """Something under way was given up: going on with the stream would send it once more behind our back."""
        if self.stream is None:
            self._resumption = None

    # --- what comes in ---

    def _take(self, stanza: Element) -> None:
        """A stanza as it arrives: answers to what is under way at once, everything else in its turn."""
        is_message = x.local(stanza.tag) == "message"
        sender, to = stanza.get("from", ""), x.bare(stanza.get("to", ""))
        room = self._rooms.by_jid.get(x.bare(sender))
        if self._config.is_component and to != self._config.address:
            if room is not None:
                self._take_for_ghost(room, to, stanza, is_message=is_message)
            return
        if is_message and self.archive.takes(stanza):
            return
        if is_message and stanza.get("type") == "error":
            if room is not None:
                self._refused(room, "", stanza)
            return
        if is_message and room is not None and stanza.get("type") == "groupchat":
            nick = x.resource(sender)
            if nick and room.is_ours(nick) and room.is_joined:
                self._reflected(room, nick, stanza)
                return
        self._queue.append(stanza)
        self._drained.clear()
        self._news.set()
        if len(self._queue) > HOLD_AT and self.stream is not None:
            self.stream.hold()

    def _take_for_ghost(self, room: Room, jid: str, stanza: Element, *, is_message: bool) -> None:
        if not is_message and self.sender.ghosts is not None:
            self.sender.ghosts.presence(room, jid, stanza)
        elif is_message and stanza.get("type") == "error":
            self._refused(room, jid, stanza)

    def _reflected(self, room: Room, nick: str, stanza: Element) -> None:
        heard = hear(stanza, room.jid, stable_ids=room.stable_ids)
        if heard is None or heard.at_ms:
            return
        room.changed_at_s = asyncio.get_running_loop().time()
        confirmations = self.sender.confirmations
        if not confirmations.reflected(room.jid, heard.origin, heard.native) and (
            STABLE_ID not in room.features and (heard.body or heard.links)
        ):
            confirmations.reflected_without_id(room.jid, heard.native)

    def _refused(self, room: Room, ghost: str, stanza: Element) -> None:
        if x.condition(stanza)[0] == "not-acceptable":
            if ghost and self.sender.ghosts:
                self.sender.ghosts.lost(room, ghost)
            else:
                self.membership.join_again(room)
        self.sender.confirmations.refused(stanza.get("id", ""), refusal(stanza, room.jid))

    async def _work(self) -> None:
        """Look at stanzas in their order; read on only as fast as the relay takes them."""
        handled = 0
        while True:
            while not self._queue:
                self._drained.set()
                self._news.clear()
                await self._news.wait()
            stanza = self._queue.popleft()
            try:
                await self._handle(stanza)
            except Exception:  # one odd stanza must not silence the account
                log.exception("a stanza cannot be understood", account=self._account)
            handled += 1
            if not self._queue or handled >= ASK_EVERY:
                handled = 0
                await self._durable()
            if len(self._queue) < HOLD_AT // 2 and self.stream is not None:
                self.stream.release()

    async def _durable(self) -> None:
        missed = False
        while True:
            try:
                await self._emit.accepted()
                break
            except StoreDown:
                missed = True
                await asyncio.sleep(DOWN_RETRY_S)
        if missed and self.stream is not None:
            # Something may not have been taken: the rooms' archives have it.
            self._emit.online()

    async def _handle(self, stanza: Element) -> None:
        room = self._rooms.by_jid.get(x.bare(stanza.get("from", "")))
        if x.local(stanza.tag) == "presence":
            was = room.state if room is not None else "out"
            self.membership.presence(stanza)
            if room is not None and was == "joined" and not room.is_joined and self.sender.ghosts:
                self.sender.ghosts.room_left(room)
            return
        if self.membership.invited(stanza) or room is None or not room.is_joined:
            return
        room.changed_at_s = asyncio.get_running_loop().time()
        heard = hear(stanza, room.jid, stable_ids=room.stable_ids)
        if heard is None or heard.at_ms:
            # What was said before we came is for history to tell.
            return
        if heard.config_changed:
            self.membership.config_changed(room)
        for event in await self._hearing.events(room, heard, self._services.now_ms()):
            self._emit(event)

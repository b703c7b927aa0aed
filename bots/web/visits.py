"""An open page's socket: wishes in, changes out."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

import msgspec
from aiohttp import WSCloseCode, WSMsgType, web
from redis.exceptions import RedisError

from bots.web import wire
from bots.web.desk import Guest, Refused
from bots.web.hub import Page
from bots.web.rooms import Gone, TooFast
from core.store import StoreDown

if TYPE_CHECKING:
    from bots.web.site import Site

MAX_WISH_BYTES = 160 * 1024
HEARTBEAT_S = 25.0
HELLO_S = 10.0
WRITE_S = 20.0
TYPING_EVERY_S = 3.0
MAX_GARBLED = 5
STORE_RETRY_S = 2.0


class Sockets:
    """The handler."""

    def __init__(self, site: Site) -> None:
        self._site = site

    async def serve(self, request: web.Request) -> web.StreamResponse:
        """Refused for other sites' pages and for who has not joined."""
        from bots.web.site import Problem

        self._site.check_origin(request)
        _, guest = await self._site.guest_of(request)
        if self._site.hub.count(guest.room.id) >= self._site.config.max_sockets_per_room:
            raise Problem(503, "Too many people have this room open. Try again later.")
        ws = web.WebSocketResponse(heartbeat=HEARTBEAT_S, max_msg_size=MAX_WISH_BYTES, compress=False)
        await ws.prepare(request)
        await _Visit(self._site, guest, ws).run()
        return ws


class _Visit:
    """One socket from its hello to its end."""

    def __init__(self, site: Site, guest: Guest, ws: web.WebSocketResponse) -> None:
        self._site = site
        self._guest = guest
        self._ws = ws
        self._page = Page(guest.joined)
        self._garbled = 0
        self._typed_at = -TYPING_EVERY_S

    async def run(self) -> None:
        room = self._guest.room.id
        try:
            hello = await self._hello()
            if hello is None:
                return
            await self._site.hub.add(room, self._page)
            await self._welcome(hello.last)
            writer = asyncio.create_task(self._write())
            try:
                await self._read()
            finally:
                writer.cancel()
                await asyncio.gather(writer, return_exceptions=True)
        except (RedisError, OSError, StoreDown):
            await self._end(WSCloseCode.TRY_AGAIN_LATER)
        except Gone:
            await self._end(WSCloseCode.GOING_AWAY)
        finally:
            with contextlib.suppress(RedisError, OSError):
                await self._site.hub.remove(room, self._page)

    async def _end(self, code: int) -> None:
        if not self._ws.closed:
            await self._ws.close(code=code)

    async def _hello(self) -> wire.Hello | None:
        try:
            message = await self._ws.receive(timeout=HELLO_S)
            wish = wire.decode_wish(message.data) if message.type == WSMsgType.TEXT else None
        except (TimeoutError, msgspec.DecodeError, UnicodeError):
            wish = None
        if isinstance(wish, wire.Hello):
            return wish
        await self._end(WSCloseCode.POLICY_VIOLATION)
        return None

    async def _welcome(self, last: int) -> None:
        guest = self._guest
        await self._site.rooms.touch(guest.room.id)
        # A number from the future comes of a store that was set back: begin anew.
        snapshot = await self._site.rooms.since(guest.room.id, last, guest.joined)
        if last > snapshot.seq:
            last, snapshot = 0, await self._site.rooms.since(guest.room.id, 0, guest.joined)
        welcome = {
            "t": "welcome",
            "seq": snapshot.seq,
            "fresh": last == 0,
            "name": snapshot.name,
            "you": {"id": guest.id, "name": guest.name, "owner": guest.owner},
            "messages": [{"n": n, "m": msgspec.Raw(raw)} for _, n, raw in snapshot.messages],
        }
        await self._ws.send_str(wire.encode(welcome).decode())
        self._page.open(snapshot.seq)

    async def _write(self) -> None:
        try:
            while (payload := await self._page.queue.get()) is not None:
                await asyncio.wait_for(self._ws.send_str(payload), WRITE_S)
        except (ConnectionError, TimeoutError):
            # The browser is gone or stuck; the reader notices the closed connection.
            pass
        await self._end(WSCloseCode.SERVICE_RESTART)

    async def _read(self) -> None:
        async for message in self._ws:
            if message.type != WSMsgType.TEXT:
                await self._end(WSCloseCode.UNSUPPORTED_DATA)
                return
            try:
                wish = wire.decode_wish(message.data)
            except (msgspec.DecodeError, UnicodeError):
                self._garbled += 1
                if self._garbled >= MAX_GARBLED:
                    await self._end(WSCloseCode.POLICY_VIOLATION)
                    return
                self._tell("no", "", reason="The server did not understand the page. Reload it.", retry=False)
                continue
            await self._grant(wish)

    async def _grant(self, wish: wire.Wish) -> None:
        if isinstance(wish, wire.Ping):
            self._page.put('{"t":"pong"}')
            return
        id = "" if isinstance(wish, wire.Hello | wire.TypingNow) else wish.id
        try:
            await self._do(wish)
        except (Refused, Gone) as error:
            self._tell("no", id, reason=str(error), retry=False)
        except TooFast as error:
            self._tell("no", id, reason=str(error), retry=True, after_ms=error.after_ms)
        except (RedisError, OSError, StoreDown):
            reason = "The server cannot take it just now. It is kept and tried again."
            self._tell("no", id, reason=reason, retry=True, after_ms=int(STORE_RETRY_S * 1000))
        else:
            if id:
                self._tell("ok", id)

    async def _do(self, wish: wire.Wish) -> None:
        desk, guest = self._site.desk, self._guest
        match wish:
            case wire.Say():
                await desk.say(guest, wish.id, wish.text, wish.reply, wish.files)
                self._typed_at = -TYPING_EVERY_S
            case wire.Edit():
                await desk.edit(guest, wish.id, wish.target, wish.text)
                self._typed_at = -TYPING_EVERY_S
            case wire.Delete():
                await desk.delete(guest, wish.target)
            case wire.React():
                await desk.react(guest, wish.id, wish.target, wish.emoji, wish.on)
            case wire.Rename():
                await desk.rename(guest, wish.id, wish.name)
            case wire.TypingNow():
                now_s = asyncio.get_running_loop().time()
                if now_s - self._typed_at >= TYPING_EVERY_S:
                    self._typed_at = now_s
                    await desk.typing(guest)

    def _tell(self, t: str, id: str, **more: object) -> None:
        self._page.put(wire.encode({"t": t, "id": id, **more}).decode())

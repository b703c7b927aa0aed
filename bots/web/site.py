"""The HTTP side: pages, forms, sockets, files. Works in any process that has ``emit`` and the store."""

from __future__ import annotations

import functools
import mimetypes
import re
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aiohttp import web
from aiohttp.http_exceptions import BadHttpMessage
from redis.exceptions import RedisError

from bots.web import names
from bots.web.desk import Desk, Guest, Refused
from bots.web.guard import PAGE_HEADERS
from bots.web.rooms import Full, Gone, Room, TooFast, id_of_link
from bots.web.shares import Shares
from bots.web.visits import Sockets
from bots.web.wire import digest
from core.contract import Emit, Route
from core.store import StoreDown

if TYPE_CHECKING:
    from jinja2 import Environment

    from bots.web.adapter import WebAdapter

HERE = Path(__file__).parent
CONNECT = re.compile(r"^[\x21-\x7e]{4,500}$")
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Problem(Exception):
    """An answer that is an error page; the message says what to do."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


NOT_JOINED = "Join the room first: open its link and give a name."
FOREIGN = "This form did not come from our own page. Open the room's link and try again."
BUSY = "The server is busy for a moment and has not taken this. Go back and try again."


@functools.cache
def templates() -> Environment:
    """Loaded with the first page, not with the process."""
    import jinja2

    loader = jinja2.FileSystemLoader(HERE / "templates")
    return jinja2.Environment(autoescape=True, loader=loader, undefined=jinja2.StrictUndefined)


class Site:
    """Routes of one account."""

    def __init__(self, adapter: WebAdapter, emit: Emit) -> None:
        self._adapter = adapter
        self.config = adapter.config
        self.services = adapter.services
        self.rooms = adapter.rooms_store
        self.files = adapter.files
        self.hub = adapter.hub
        self.desk = Desk(adapter.account, self.config, self.services, self.rooms, self.files, emit, adapter.titles)
        self.base = adapter.base
        self.guard = adapter.guard

    def routes(self) -> Sequence[Route]:
        """All of them, paths below the account's."""
        shares, sockets = Shares(self), Sockets(self)
        return (
            Route("GET", "rooms", self.answer(self.new_room)),
            Route("POST", "rooms", self.answer(self.open_room)),
            Route("GET", "r/{link}", self.answer(self.room_page)),
            Route("POST", "r/{link}/join", self.answer(self.join)),
            Route("POST", "r/{link}/say", self.answer(self.say)),
            Route("POST", "r/{link}/files", self.answer(shares.upload)),
            Route("GET", "f/{file}/{name}", self.answer(shares.download)),
            Route("GET", "ws/{link}", self.answer(sockets.serve)),
            Route("GET", "static/{name}", self.answer(self.static)),
        )

    def answer(self, handler: Handler) -> Handler:
        """``handler`` with its errors as pages (or JSON, where that is asked for)."""

        @functools.wraps(handler)
        async def answered(request: web.Request) -> web.StreamResponse:
            try:
                return await handler(request)
            except Problem as error:
                return self._problem(request, error.status, str(error))
            except Gone as error:
                return self._problem(request, 404, str(error))
            except TooFast as error:
                return self._problem(request, 429, str(error), retry_s=error.after_ms // 1000 + 1)
            except (Full, Refused) as error:
                return self._problem(request, 400, str(error))
            except ConnectionResetError:
                raise  # The browser went away; nobody is left to tell.
            except (StoreDown, RedisError, OSError):
                return self._problem(request, 503, BUSY, retry_s=2)

        return answered

    def _problem(self, request: web.Request, status: int, message: str, retry_s: int = 0) -> web.Response:
        headers = {"Retry-After": str(retry_s)} if retry_s else {}
        if "application/json" in request.headers.get("Accept", ""):
            body = {"error": message, "retry": retry_s > 0, "after_s": retry_s}
            return web.json_response(body, status=status, headers=PAGE_HEADERS | headers)
        return self.page("problem.html", status=status, headers=headers, message=message)

    def page(
        self, template: str, *, status: int = 200, headers: dict[str, str] | None = None, **values: Any
    ) -> web.Response:
        """A page under the strict headers."""
        text = (
            templates()
            .get_template(template)
            .render(base=self.base, config=self.config, prefix=self.services.prefix, **values)
        )
        every = PAGE_HEADERS | (headers or {})
        return web.Response(text=text, content_type="text/html", status=status, headers=every)

    # --- making a room ---

    async def new_room(self, request: web.Request) -> web.StreamResponse:
        """The form for a new room. Changes nothing, so a link preview does no harm."""
        connect = request.query.get("connect", "")
        connect = connect if CONNECT.match(connect) else ""
        return self.page("new.html", connect=connect, suggested=self._suggested())

    async def open_room(self, request: web.Request) -> web.StreamResponse:
        """Fields: ``name`` of the room; optional ``guest`` (joins at once under this name), ``connect`` (a code
        or portal link, then said as a command by the guest), ``embed``.
        """
        form = await self._form(request)
        title = names.clean_title(form.get("name", "")) or "Guest room"
        session = self.guard.session(request) or self.services.random_id()
        link = self.services.random_id()
        room = await self.desk.open(id_of_link(link), title, session)
        name = names.clean_name(form.get("guest", ""))
        connect = form.get("connect", "").strip()
        if connect and not CONNECT.match(connect):
            raise Problem(400, "The code has letters, digits and dashes only. Look at it again.")
        if name or connect:
            guest = await self._let_in(room, session, name or self._suggested())
            if connect:
                await self.desk.say(guest, digest("connect", link), f"-{self.services.prefix} connect {connect}")
        response = self._see_other(self._adapter.room_path(link, embed=form.get("embed") == "1"))
        self.guard.remember(response, session)
        return response

    # --- a room ---

    async def room_page(self, request: web.Request) -> web.StreamResponse:
        """The conversation for who joined, the question for a name for who did not."""
        link, room = await self.room_of(request)
        session = self.guard.session(request) or self.services.random_id()
        guest = await self.desk.guest(room, session)
        values: dict[str, Any] = {
            "link": link,
            "room": room,
            "embed": request.query.get("embed") == "1",
            "token": self.guard.form_token(session),
        }
        if guest is None:
            response = self.page("join.html", suggested=self._suggested(), **values)
        else:
            snapshot = await self.rooms.since(room.id, 0, guest.joined)
            response = self.page(
                "room.html",
                guest=guest,
                records=_records(snapshot.messages),
                cid=self.services.random_id(),
                **values,
            )
        self.guard.remember(response, session)
        return response

    async def join(self, request: web.Request) -> web.StreamResponse:
        """Field ``name``: how the others see the guest."""
        link, room = await self.room_of(request)
        session = self.guard.session(request)
        form = await self._form(request, session)
        name = names.clean_name(form.get("name", ""))
        if not name:
            raise Problem(400, "Choose a name with at least one letter. Go back and try again.")
        await self._let_in(room, session, name)
        return self._see_other(self._adapter.room_path(link, embed=form.get("embed") == "1"))

    async def say(self, request: web.Request) -> web.StreamResponse:
        """The send box without JavaScript."""
        link, guest = await self.guest_of(request)
        form = await self._form(request, self.guard.session(request))
        cid = form.get("id", "")
        if not re.fullmatch(r"[A-Za-z0-9_-]{1,64}", cid):
            raise Problem(400, "The form is incomplete. Open the room's link and try again.")
        await self.desk.say(guest, cid, form.get("text", ""))
        return self._see_other(self._adapter.room_path(link, embed=form.get("embed") == "1") + "#end")

    async def static(self, request: web.Request) -> web.StreamResponse:
        """Our own style, scripts and icon; revalidated, so an upgrade shows at once."""
        name = request.match_info["name"]
        path = HERE / "static" / name
        if not re.fullmatch(r"[a-z]+\.(css|js|svg)", name) or not path.is_file():
            raise Problem(404, "There is nothing here.")
        kind = mimetypes.guess_type(name)[0] or "application/octet-stream"
        headers = {
            "Cache-Control": "no-cache",
            "X-Content-Type-Options": "nosniff",
            "Content-Type": f"{kind}; charset=utf-8",
            "Content-Security-Policy": "default-src 'none'",
        }
        return web.FileResponse(path, headers=headers)

    # --- helpers of all handlers ---

    async def room_of(self, request: web.Request) -> tuple[str, Room]:
        """The link of the path, and its room. Raises Gone."""
        link = request.match_info["link"]
        room = await self.rooms.get(id_of_link(link))
        if room is None:
            raise Gone
        return link, room

    async def guest_of(self, request: web.Request) -> tuple[str, Guest]:
        """The link, and who the browser is in its room. Raises Gone, Problem."""
        link, room = await self.room_of(request)
        guest = await self.desk.guest(room, self.guard.session(request))
        if guest is None:
            raise Problem(403, NOT_JOINED)
        return link, guest

    def check_origin(self, request: web.Request) -> None:
        """Raises Problem for a request of another site's page."""
        if not self.guard.same_origin(request):
            raise Problem(403, FOREIGN)

    async def _form(self, request: web.Request, session: str | None = None) -> dict[str, str]:
        """The form's text fields; with ``session`` its token must fit."""
        self.check_origin(request)
        try:
            form = {key: value for key, value in (await request.post()).items() if isinstance(value, str)}
        except (ValueError, BadHttpMessage):
            raise Problem(400, "The form arrived garbled. Go back and try again.") from None
        if session is not None and not self.guard.form_token_fits(form.get("token", ""), session):
            raise Problem(403, FOREIGN)
        return form

    async def _let_in(self, room: Room, session: str, name: str) -> Guest:
        from bots.web.rooms import guest_in

        await self.rooms.join(room, guest_in(room.id, session), name)
        guest = await self.desk.guest(room, session)
        if guest is None:
            raise Gone
        return guest

    def _suggested(self) -> str:
        return f"Guest {int(digest(self.services.random_id())[:6], 16) % 98 + 2}"

    def _see_other(self, url: str) -> web.Response:
        return web.Response(status=303, headers=PAGE_HEADERS | {"Location": url})


def _records(messages: Sequence[tuple[int, int, bytes]]) -> list[Any]:
    from bots.web.wire import decode_record

    return [decode_record(raw) for _, _, raw in messages]

"""Sharing files in a room: upload in a stream, download as a harmless attachment."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING
from urllib.parse import quote

from aiohttp import BodyPartReader, web
from aiohttp.http_exceptions import BadHttpMessage
from redis.exceptions import RedisError

from bots.web.desk import Guest
from bots.web.files import Shared, TooBig
from bots.web.guard import FILE_HEADERS, PAGE_HEADERS
from bots.web.wire import encode

if TYPE_CHECKING:
    from bots.web.site import Site

CHUNK_BYTES = 64 * 1024
MAX_PARTS = 4
MAX_FIELD_BYTES = 2048


class Shares:
    """The two handlers."""

    def __init__(self, site: Site) -> None:
        self._site = site

    async def upload(self, request: web.Request) -> web.StreamResponse:
        """A form with ``token`` (and ``id``, ``embed``) before ``file``. Answers JSON where that is asked for;
        otherwise the file is said at once and the browser goes back to the room.
        """
        from bots.web.site import Problem

        self._site.check_origin(request)
        link, guest = await self._site.guest_of(request)
        if not request.content_type.startswith("multipart/form-data"):
            raise Problem(400, "Choose a file first.")
        try:
            shared, form = await self._take(request, guest)
        except TooBig as error:
            raise Problem(413, str(error)) from None
        except (ValueError, BadHttpMessage):
            raise Problem(400, "The upload was cut off or garbled. Try again.") from None
        if "application/json" in request.headers.get("Accept", ""):
            body = encode({"id": shared.id, "view": shared.view()})
            return web.Response(body=body, content_type="application/json", headers=PAGE_HEADERS)
        await self._site.desk.say(guest, shared.id, "", files=[shared.id])
        where = f"{self._site.base}r/{quote(link, safe='')}{'?embed=1' if form.get('embed') == '1' else ''}#end"
        return web.Response(status=303, headers=PAGE_HEADERS | {"Location": where})

    async def _take(self, request: web.Request, guest: Guest) -> tuple[Shared, dict[str, str]]:
        from bots.web.site import FOREIGN, Problem

        form: dict[str, str] = {}
        reader = await request.multipart()
        for _ in range(MAX_PARTS):
            part = await reader.next()
            if not isinstance(part, BodyPartReader):
                break
            if part.name != "file":
                form[part.name or ""] = (await part.read_chunk(MAX_FIELD_BYTES)).decode()
                continue
            if not self._site.guard.form_token_fits(form.get("token", ""), self._site.guard.session(request)):
                raise Problem(403, FOREIGN)
            if not part.filename:
                break
            return await self._site.files.add(guest.room.id, guest.id, part.filename, _chunks(part)), form
        raise Problem(400, "Choose a file first.")

    async def download(self, request: web.Request) -> web.StreamResponse:
        """Only for guests of the file's room. Pictures may show in the page, all else is saved, nothing runs."""
        from bots.web.site import Problem

        shared = await self._site.files.get(request.match_info["file"])
        room = await self._site.rooms.get(shared.room) if shared is not None else None
        session = self._site.guard.session(request)
        if shared is None or room is None or await self._site.desk.guest(room, session) is None:
            raise Problem(404, "The file is gone, or you are not in its room.")
        kind, how = (shared.mime, "inline") if shared.picture else ("application/octet-stream", "attachment")
        headers = FILE_HEADERS | {
            "Content-Type": kind,
            "Content-Disposition": f"{how}; filename*=UTF-8''{quote(shared.name, safe='')}",
        }
        response = web.StreamResponse(headers=headers)
        response.content_length = shared.size_bytes
        await response.prepare(request)
        try:
            async for piece in self._site.files.read(shared):
                await response.write(piece)
        except (KeyError, RedisError):
            # It expired, or the store went, in the middle: cutting the connection is what tells the browser so.
            response.force_close()
            return response
        await response.write_eof()
        return response


async def _chunks(part: BodyPartReader) -> AsyncIterator[bytes]:
    while chunk := await part.read_chunk(CHUNK_BYTES):
        yield chunk

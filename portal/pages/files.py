"""Files of messages, for rooms that cannot show them: streamed from their origin, never kept, never run."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from urllib.parse import quote

from aiohttp import web

from codes.links import LinkError
from core.contract import AdapterError, Files, Rejected, Retry
from portal.errors import Oops
from portal.forms import DEPS
from portal.headers import SANDBOX
from portal.limits import allow
from portal.tokens import FILE, FileLink, explain, read

_LONGEST_S = 300
_MOST_FILES = 300
_MOST_NAME = 120
_PLAIN_MIME = re.compile(r"(image/(png|jpeg|gif|webp|avif|heic)|audio/[\w.+-]+|video/[\w.+-]+|application/pdf)")
_AGAIN = "Ask in the room for the file to be sent again."


def safe_name(name: str) -> str:
    """The file's name without folders, controls and characters that mean something to a file system."""
    base = re.split(r"[/\\]", name.replace("\0", ""))[-1]
    kept = "".join(c for c in base if c.isprintable() and c not in '<>:"|?*').strip(" .")
    return kept[:_MOST_NAME] or "file"


def disposition(name: str) -> str:
    """``Content-Disposition`` that saves under ``name`` and never shows it in the page (RFC 6266)."""
    ascii_name = safe_name(name).encode("ascii", "replace").decode().replace("?", "_")
    return f"attachment; filename=\"{ascii_name}\"; filename*=UTF-8''{quote(safe_name(name), safe='')}"


async def _start(chunks: AsyncIterator[bytes]) -> bytes:
    """The first bytes. Raises Oops while there is still time to answer with a page."""
    try:
        return await anext(chunks, b"")
    except Rejected as error:
        raise Oops(410, "This file is gone", f"{error.reason} {_AGAIN}") from error
    except Retry as error:
        raise Oops(503, "The file cannot be fetched just now", "Try again in a minute.") from error
    except AdapterError as error:
        raise Oops(502, "The file cannot be fetched", _AGAIN) from error


async def file(request: web.Request) -> web.StreamResponse:
    """``GET /f/<token>``: at most ``max_file_bytes``; a longer one is cut off as a failed download."""
    deps = request.app[DEPS]
    try:
        payload = deps.links.verify(FILE, request.match_info["token"], deps.settings.link_ttl_s)
        link = read(payload, FileLink)
    except LinkError as error:
        raise explain(error, _AGAIN) from None
    account = deps.account(link.account)
    if account is None or not isinstance(account.adapter, Files):
        raise Oops(410, "This file is gone", _AGAIN)
    await allow(request, "file", _MOST_FILES)
    chunks = account.adapter.open_file(link.ref)
    try:
        async with asyncio.timeout(_LONGEST_S):
            return await _stream(request, link, chunks, deps.settings.max_file_bytes)
    finally:
        if hasattr(chunks, "aclose"):
            await chunks.aclose()


async def _stream(
    request: web.Request, link: FileLink, chunks: AsyncIterator[bytes], most_bytes: int
) -> web.StreamResponse:
    first = await _start(chunks)
    response = web.StreamResponse()
    response.content_type = link.mime if _PLAIN_MIME.fullmatch(link.mime) else "application/octet-stream"
    response.headers["Content-Disposition"] = disposition(link.name)
    response.headers["Content-Security-Policy"] = SANDBOX
    response.headers["Cross-Origin-Resource-Policy"] = "same-origin"
    await response.prepare(request)
    sent_bytes = 0
    chunk = first
    while chunk:
        sent_bytes += len(chunk)
        if sent_bytes > most_bytes:
            _cut(request)
            break
        await response.write(chunk)
        chunk = await anext(chunks, b"")
    return response


def _cut(request: web.Request) -> None:
    """Close without the end of the body, so that the browser says that the download failed."""
    if request.transport is not None:
        request.transport.abort()

"""Reading what a service posts to us: as it was sent, and never more or longer than it may take."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from aiohttp import web

PATIENCE_S = 20.0
CHUNK_BYTES = 65_536


async def whole_body(request: web.Request, max_bytes: int) -> bytes | None:
    """The body as it was sent, to check a signature over it; None where it is too large or too slow."""
    if (request.content_length or 0) > max_bytes:
        return None
    body = bytearray()
    try:
        async with asyncio.timeout(PATIENCE_S):
            async for chunk in request.content.iter_chunked(CHUNK_BYTES):
                body += chunk
                if len(body) > max_bytes:
                    return None
    except TimeoutError:
        return None
    return bytes(body)

"""Files in: from the server itself with our token, from the store that it sends us on to without."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING
from urllib.parse import urljoin

from bots.rocketchat.api import Api, new_session
from bots.rocketchat.config import RocketChatConfig
from core.contract import Rejected, Retry

if TYPE_CHECKING:
    import aiohttp

DOWNLOAD_S = 300.0
CHUNK_BYTES = 65_536
_REF = re.compile(r"[\w.-]*\w[\w.-]*/[^/?#\s]+")


async def opened(
    config: RocketChatConfig, api: Api, sessions: dict[str, aiohttp.ClientSession], ref: str, most: int
) -> AsyncIterator[bytes]:
    """Stream the file ``ref`` (``id/name``), ``most`` bytes at most. Raises Rejected and Retry."""
    import aiohttp

    from core.egress import fetch, guarded_session

    if not _REF.fullmatch(ref):
        raise Rejected("There is no such file.")
    user, token = await api.login()
    url = f"{config.base}/file-upload/{ref}"
    headers = {"X-User-Id": user, "X-Auth-Token": token}
    timeout = aiohttp.ClientTimeout(total=DOWNLOAD_S, sock_connect=10, sock_read=20)
    if "api" not in sessions:
        sessions["api"] = new_session()
    try:
        async with sessions["api"].get(url, headers=headers, allow_redirects=False, timeout=timeout) as response:
            moved = response.headers.get("Location", "") if 300 <= response.status < 400 else ""
            if not moved:
                async for chunk in _taken(response, most):
                    yield chunk
                return
    except (aiohttp.ClientError, TimeoutError):
        raise Retry(2.0, "Rocket.Chat does not give the file") from None
    if "files" not in sessions:
        sessions["files"] = guarded_session(config.file_addresses, trust_env=False, auto_decompress=False)
    async for chunk in fetch(sessions["files"], urljoin(url, moved), most):
        yield chunk


async def _taken(response: aiohttp.ClientResponse, most: int) -> AsyncIterator[bytes]:
    if response.status == 429 or response.status >= 500:
        raise Retry(5.0, f"Rocket.Chat answers {response.status} for the file")
    if response.status != 200:
        raise Rejected("The file is no longer there, or the bot's user may not see it.")
    total = 0
    async for chunk in response.content.iter_chunked(CHUNK_BYTES):
        total += len(chunk)
        if total > most:
            raise Rejected(f"the file is larger than {most} bytes")
        yield chunk

"""One client session of an account, made when it is first needed."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import aiohttp

CONNECT_S = 10.0
WHOLE_S = 30.0


class Http:
    """Lends the session. It follows no redirect by itself: a token must not go where it was not meant to."""

    def __init__(self) -> None:
        self._session: aiohttp.ClientSession | None = None

    @property
    def session(self) -> aiohttp.ClientSession:
        """The session; a new one after :meth:`close`."""
        import aiohttp

        if self._session is None or self._session.closed:
            timeout = aiohttp.ClientTimeout(total=WHOLE_S, sock_connect=CONNECT_S)
            self._session = aiohttp.ClientSession(timeout=timeout, cookie_jar=aiohttp.DummyCookieJar())
        return self._session

    async def close(self) -> None:
        """Close it, if there is one."""
        if self._session is not None:
            await self._session.close()


async def body_of(response: aiohttp.ClientResponse, max_bytes: int) -> bytes:
    """The whole body. Raises aiohttp.ClientPayloadError when it is longer than ``max_bytes``."""
    import aiohttp

    raw = bytearray()
    async for chunk in response.content.iter_any():
        raw += chunk
        if len(raw) > max_bytes:
            raise aiohttp.ClientPayloadError(f"the answer is longer than {max_bytes} bytes")
    return bytes(raw)

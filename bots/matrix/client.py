"""Requests to a homeserver's Client-Server API, and what its answers mean to the relay."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import IO, TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

import msgspec

from bots.matrix.config import MatrixConfig
from core.contract import AuthLost, Offline, Rejected, Retry, Uncertain

if TYPE_CHECKING:
    import aiohttp

CONNECT_S = 10.0
CALL_S = 30.0
RETRY_S = 2.0
OFFLINE_S = 1.0
RATE_S = 5.0
"""How long to wait where a homeserver refuses for its rate limit and does not say for how long."""
MOST_ANSWER_BYTES = 64 * 1024 * 1024
CHUNK_BYTES = 65_536
_TOKEN_GONE = frozenset({"M_UNKNOWN_TOKEN", "M_MISSING_TOKEN", "M_USER_DEACTIVATED", "M_USER_LOCKED"})
_REASONS = {
    "M_FORBIDDEN": "The Matrix room does not allow it",
    "M_TOO_LARGE": "It is too large for Matrix",
    "M_NOT_FOUND": "Matrix does not find it",
}

Json = dict[str, Any]


class Refused(Rejected):
    """The homeserver says no: ``status`` and ``errcode`` as in the specification's standard error response."""

    def __init__(self, status: int, errcode: str, error: str) -> None:
        words = " ".join(error.split())[:200]
        start = _REASONS.get(errcode, "The Matrix server refuses it")
        super().__init__(f"{start}: {words}" if words else f"{start}.")
        self.status = status
        self.errcode = errcode
        self.error = words


def at(*parts: str, version: str = "v3") -> str:
    """The path of an endpoint, every part quoted."""
    return f"/_matrix/client/{version}/" + "/".join(quote(part, safe="") for part in parts)


def at_state(room: str, kind: str, key: str = "") -> str:
    """The path of a room's state event."""
    return at("rooms", room, "state", kind) + "/" + quote(key, safe="")


class Client:
    """One homeserver, by one token. Keeps connections between :meth:`open` and :meth:`close`; outside of that, every
    request has one of its own, so that a process that only serves HTTP routes leaves nothing open.
    """

    def __init__(self, config: MatrixConfig) -> None:
        self._config = config
        self._session: aiohttp.ClientSession | None = None

    def open(self) -> None:
        """Keep connections from now on."""
        self._session = self._session or _new_session()

    async def close(self) -> None:
        """Keep none any more."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def get(self, path: str, query: Mapping[str, str | int] | None = None, timeout_s: float = CALL_S) -> Json:
        """GET. Raises what :meth:`call` raises."""
        return await self.call("GET", path, query=query, timeout_s=timeout_s)

    async def call(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        user: str = "",
        query: Mapping[str, str | int] | None = None,
        posts: bool = False,
        timeout_s: float = CALL_S,
    ) -> Json:
        """One request with a JSON body; the answer's object. ``user``: whom of our ghosts it is for.

        Raises Refused, AuthLost, Retry, Offline; and Uncertain where ``posts`` says that it may have been done.
        """
        headers = {} if body is None else {"Content-Type": "application/json"}
        data = None if body is None else msgspec.json.encode(body)
        asked = dict(query or {}) | ({"user_id": user} if user else {})
        async with self._answer(method, path, asked, posts, timeout_s, data=data, headers=headers) as response:
            return await _object(response, posts)

    async def upload(self, file: IO[bytes], size_bytes: int, name: str, mime: str, *, user: str = "") -> str:
        """Upload a file; its ``mxc://`` address. Raises what :meth:`call` raises."""
        query: dict[str, str | int] = {"filename": name} if name else {}
        headers = {"Content-Type": mime, "Content-Length": str(size_bytes)}
        path = "/_matrix/media/v3/upload"
        asked = query | ({"user_id": user} if user else {})
        async with self._answer("POST", path, asked, False, None, data=_pieces(file), headers=headers) as response:
            mxc = (await _object(response, False)).get("content_uri")
        if not isinstance(mxc, str) or not mxc.startswith("mxc://"):
            raise Retry(RETRY_S, "the homeserver does not say where the uploaded file is")
        return mxc

    @asynccontextmanager
    async def download(self, server: str, media: str) -> AsyncIterator[aiohttp.ClientResponse]:
        """A successful answer to the request for a file. Raises Rejected where there is none, Retry."""
        try:
            async with self._answer("GET", at("media", "download", server, media, version="v1"), {}) as response:
                yield response
                return
        except Refused as error:
            if error.errcode != "M_UNRECOGNIZED":
                raise
        # Homeservers older than version 1.11 of the specification have the endpoint without authentication only.
        old = f"/_matrix/media/v3/download/{quote(server, safe='')}/{quote(media, safe='')}"
        async with self._answer("GET", old, {}) as response:
            yield response

    @asynccontextmanager
    async def _answer(
        self,
        method: str,
        path: str,
        query: Mapping[str, str | int],
        posts: bool = False,
        timeout_s: float | None = None,
        **options: Any,
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        import aiohttp
        from yarl import URL

        session = self._session or _new_session()
        if self._config.token:
            options["headers"] = options.get("headers", {}) | {"Authorization": f"Bearer {self._config.token}"}
        url = URL(self._config.base_url + path + (f"?{urlencode(query)}" if query else ""), encoded=True)
        if timeout_s is not None:
            options["timeout"] = aiohttp.ClientTimeout(total=timeout_s, sock_connect=CONNECT_S)
        try:
            async with session.request(method, url, max_redirects=4, **options) as response:
                if response.status != 200:
                    raise _refusal(response, await _read(response), posts)
                yield response
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError):
            raise Offline(OFFLINE_S, "the homeserver does not answer") from None
        except (aiohttp.ClientError, TimeoutError, ConnectionError) as error:
            why = f"the homeserver did not answer ({type(error).__name__})"
            raise (Uncertain(why) if posts else Retry(RETRY_S, why)) from None
        finally:
            if session is not self._session:
                await session.close()


def _new_session() -> aiohttp.ClientSession:
    import aiohttp

    timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_S, sock_read=CALL_S)
    return aiohttp.ClientSession(timeout=timeout, cookie_jar=aiohttp.DummyCookieJar())


async def _pieces(file: IO[bytes]) -> AsyncIterator[bytes]:
    file.seek(0)
    while piece := file.read(CHUNK_BYTES):
        yield piece


async def _read(response: aiohttp.ClientResponse) -> bytes:
    whole = bytearray()
    async for chunk in response.content.iter_chunked(CHUNK_BYTES):
        whole += chunk
        if len(whole) > MOST_ANSWER_BYTES:
            raise Retry(RETRY_S, "the homeserver's answer does not end")
    return bytes(whole)


async def _object(response: aiohttp.ClientResponse, posts: bool) -> Json:
    try:
        return msgspec.json.decode(await _read(response), type=Json)
    except (msgspec.DecodeError, UnicodeDecodeError):
        why = "the homeserver's answer makes no sense: is the address right?"
        raise (Uncertain(why) if posts else Retry(RETRY_S, why)) from None


def _refusal(response: aiohttp.ClientResponse, raw: bytes, posts: bool) -> Exception:
    try:
        said = msgspec.json.decode(raw, type=Json)
    except (msgspec.DecodeError, UnicodeDecodeError):
        said = {}
    errcode, error = str(said.get("errcode", "")), str(said.get("error", ""))
    status = response.status
    if status == 429 or errcode == "M_LIMIT_EXCEEDED":
        return Retry(_after_s(response.headers.get("Retry-After", ""), said.get("retry_after_ms")), "rate limit")
    if status == 401 or errcode in _TOKEN_GONE:
        return AuthLost(f"The homeserver no longer takes the bot's token: {error or status}")
    if status >= 500:
        why = f"the homeserver answers {status}"
        return Uncertain(why) if posts else Retry(RETRY_S, why)
    return Refused(status, errcode, error or f"HTTP {status}")


def _after_s(header: str, after_ms: object) -> float:
    """Client-Server API, "Rate limiting": the header counts seconds; the older field counts milliseconds."""
    if isinstance(after_ms, int | float) and 0 <= after_ms < 86_400_000:
        return max(after_ms / 1000, 0.05)
    return float(header) if header.isascii() and header.isdigit() and len(header) < 6 else RATE_S

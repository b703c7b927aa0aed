"""Calls of the REST API (version 4), and what its errors mean for a post.

The server is the operator's own, so it may be in a private network. Nothing else is ever called: redirects are not
followed, and no address in a message is opened.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Mapping
from typing import TYPE_CHECKING, Any, Final

import msgspec

from bots.mattermost.config import MattermostConfig
from core.contract import AdapterError, AuthLost, Offline, OutFile, Rejected, Retry, Uncertain

if TYPE_CHECKING:
    import aiohttp

CHUNK_BYTES: Final = 65_536
ANSWER_MAX_BYTES: Final = 16 * 1024 * 1024
UPLOAD_S: Final = 300.0
OFFLINE_S: Final = 5.0
DEFAULT_RETRY_S: Final = 5.0
LONGEST_RETRY_S: Final = 600.0
PENDING: Final = "api.post.deduplicate_create_post.pending"
_ID: Final = re.compile(r"[a-z0-9]{26}")
_REASONS: Final[Mapping[str, str]] = {
    "api.context.permissions.app_error": "The bot may not do that in the channel on Mattermost; a channel admin can "
    "add it, or a system admin can allow it.",
    "api.post.create_post.can_not_post_to_deleted.error": "The channel on Mattermost is archived.",
    "api.post.create_post.town_square_read_only": "Only admins may write in this channel on Mattermost.",
    "api.post.update_post.permissions_time_limit.app_error": "Mattermost no longer lets the bot change this message.",
    "api.post.update_post.permissions_denied.app_error": "Mattermost does not let the bot change this message.",
    "app.channel.get.existing.app_error": "The channel on Mattermost is gone.",
}


def is_id(raw: str) -> bool:
    """Is this an id of Mattermost's: 26 small letters and digits?"""
    return bool(_ID.fullmatch(raw))


class Refused(Rejected):
    """The server said no. ``code``: the HTTP status; ``id``: its name of the error."""

    def __init__(self, code: int, error_id: str, message: str) -> None:
        self.code = code
        self.id = error_id
        super().__init__(_REASONS.get(error_id, f"Mattermost refused it: {message or code}"))


class SignedOut(AuthLost):
    """The server does not know us. ``id``: its name of the error."""

    def __init__(self, error_id: str) -> None:
        self.id = error_id
        super().__init__("Mattermost no longer takes the bot's token. Make a new one and add the account again.")


def failure(code: int, answer: Any, headers: Mapping[str, str]) -> AdapterError:
    """The error that an answer means; its body is ``{"id", "message", "status_code", ...}``, or words of a proxy."""
    answer = answer if isinstance(answer, dict) else {}
    error_id, message = str(answer.get("id") or ""), str(answer.get("message") or "")
    if code == 429:
        return Retry(_retry_s(headers), "Mattermost asks to slow down", whole_account=True)
    if code == 401:
        return SignedOut(error_id)
    if error_id == PENDING:
        return Retry(1.0, "Mattermost is still busy with the same post")
    if code == 501 and error_id:
        return Refused(code, error_id, message)
    if 400 <= code < 500 and code != 408:
        return Refused(code, error_id, message)
    return Uncertain(f"Mattermost answers {code}")


def _retry_s(headers: Mapping[str, str]) -> float:
    for name in ("Retry-After", "X-Ratelimit-Reset"):
        try:
            return min(max(float(headers.get(name, "")), 0.1), LONGEST_RETRY_S)
        except ValueError:
            continue
    return DEFAULT_RETRY_S


class Api:
    """One account's connections. Made in the loop that it is used in; :meth:`close` it."""

    def __init__(self, config: MattermostConfig, base: str) -> None:
        self._config = config
        self._base = base
        self.token = config.token
        self._session: aiohttp.ClientSession | None = None

    def session(self) -> aiohttp.ClientSession:
        """The HTTP session, made when first asked for. It takes nothing compressed: see threat 18."""
        import aiohttp

        if self._session is None:
            self._session = aiohttp.ClientSession(
                cookie_jar=aiohttp.DummyCookieJar(), auto_decompress=False, headers={"Accept-Encoding": "identity"}
            )
        return self._session

    def headers(self) -> dict[str, str]:
        """Who we are."""
        return {"Authorization": f"Bearer {self.token}"} if self.token else {}

    def url(self, path: str) -> str:
        """The address of ``/api/v4/<path>``."""
        return f"{self._base}/api/v4/{path}"

    async def close(self) -> None:
        """Close all connections."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def call(self, method: str, path: str, body: Any = None, **params: str | int) -> Any:
        """The JSON that a call answers. Raises Refused, Retry, Offline, Uncertain, AuthLost."""
        return (await self.ask(method, path, body, **params))[0]

    async def ask(self, method: str, path: str, body: Any = None, **params: str | int) -> tuple[Any, Mapping[str, str]]:
        """The same, and the answer's headers."""
        data = None if body is None else msgspec.json.encode(body)
        return await self._request(method, path, data, "application/json", params, self._config.request_timeout_s)

    async def upload(self, channel: str, file: OutFile, limit_bytes: int) -> str:
        """Stream a file to the server; its id. Raises what :meth:`call` raises, and Rejected where it is too large."""
        import aiohttp

        async def content() -> AsyncIterator[bytes]:
            total = 0
            async for chunk in file.open():
                total += len(chunk)
                if total > limit_bytes:
                    raise Rejected("the file is too large for Mattermost")
                yield chunk

        form = aiohttp.FormData()
        form.add_field("channel_id", channel)
        form.add_field("files", content(), filename=file.name, content_type=file.mime or "application/octet-stream")
        answer, _ = await self._request("POST", "files", form, "", {"channel_id": channel}, UPLOAD_S)
        try:
            return str(answer["file_infos"][0]["id"])
        except (KeyError, IndexError, TypeError):
            raise Rejected("Mattermost did not take the file") from None

    async def _request(
        self, method: str, path: str, data: Any, mime: str, params: Mapping[str, str | int], timeout_s: float
    ) -> tuple[Any, Mapping[str, str]]:
        import aiohttp

        headers = self.headers() | ({"Content-Type": mime} if mime and data is not None else {})
        timeout = aiohttp.ClientTimeout(total=timeout_s, sock_connect=min(10.0, timeout_s))
        try:
            async with self.session().request(
                method,
                self.url(path),
                params=params,
                data=data,
                headers=headers,
                timeout=timeout,
                allow_redirects=False,
            ) as response:
                return _answer(response.status, await _capped(response), response.headers), response.headers
        except aiohttp.ClientConnectorError:
            raise Offline(OFFLINE_S, "the Mattermost server cannot be reached") from None
        except aiohttp.ConnectionTimeoutError:
            raise Offline(OFFLINE_S, "the Mattermost server cannot be reached") from None
        except (aiohttp.ClientError, TimeoutError, ConnectionError) as error:
            if isinstance(error.__cause__, AdapterError):
                raise error.__cause__ from None
            if method == "GET":
                raise Retry(DEFAULT_RETRY_S, "the Mattermost server does not answer") from None
            raise Uncertain(f"the Mattermost server did not answer ({type(error).__name__})") from None

    async def download(self, ref: str) -> AsyncIterator[bytes]:
        """Stream a file by its id, capped. Raises Rejected when it is gone or too large, Retry when it may come."""
        import aiohttp

        if not is_id(ref):
            raise Rejected("The file is no longer there on Mattermost.")
        limit_bytes = self._config.download_limit_bytes
        timeout = aiohttp.ClientTimeout(total=UPLOAD_S, sock_connect=10, sock_read=self._config.request_timeout_s)
        try:
            async with self.session().get(
                self.url(f"files/{ref}"), headers=self.headers(), timeout=timeout, allow_redirects=False
            ) as response:
                if response.status >= 500 or response.status == 429:
                    raise Retry(OFFLINE_S, "Mattermost does not hand over the file")
                if response.status != 200 or _is_packed(response.headers):
                    raise Rejected("The file is no longer there on Mattermost.")
                total = 0
                async for chunk in response.content.iter_chunked(CHUNK_BYTES):
                    total += len(chunk)
                    if total > limit_bytes:
                        raise Rejected(f"The file is larger than {limit_bytes} bytes.")
                    yield chunk
        except (aiohttp.ClientError, TimeoutError, ConnectionError):
            raise Retry(OFFLINE_S, "Mattermost does not hand over the file") from None


def _is_packed(headers: Mapping[str, str]) -> bool:
    return headers.get("Content-Encoding", "identity").strip().lower() not in ("", "identity")


async def _capped(response: aiohttp.ClientResponse) -> bytes:
    """The answer's body; nothing where it is too large or packed."""
    if _is_packed(response.headers):
        return b""
    parts: list[bytes] = []
    total = 0
    async for chunk in response.content.iter_chunked(CHUNK_BYTES):
        total += len(chunk)
        if total > ANSWER_MAX_BYTES:
            return b""
        parts.append(chunk)
    return b"".join(parts)


def _answer(status: int, payload: bytes, headers: Mapping[str, str]) -> Any:
    try:
        answer = msgspec.json.decode(payload)
    except (msgspec.DecodeError, UnicodeDecodeError):
        answer = None
    if status not in (200, 201):
        raise failure(status, answer, headers)
    if answer is None:
        raise Uncertain("Mattermost answers nothing that makes sense")
    return answer

"""Calls of the Bot API, and what its errors mean for a post.

The token is part of every address, so nothing of an error of the HTTP library goes on: errors are made anew.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Mapping
from types import SimpleNamespace
from typing import IO, TYPE_CHECKING, Any, cast
from urllib.parse import quote

import msgspec

from bots.telegram.config import TelegramConfig
from core.contract import AdapterError, AuthLost, Offline, Rejected, Retry, Uncertain

if TYPE_CHECKING:
    import aiohttp
    from telegram.request import HTTPXRequest, RequestData

Upload = tuple[str, IO[bytes], str]
"""File name, content, MIME type."""
CHUNK_BYTES = 65_536
POOL = 16
OFFLINE_S = 5.0
DEFAULT_RETRY_S = 5.0
CONFLICT_S = 2.0
SERVER_ERROR = 500

_REASONS: Mapping[str, str] = {
    "bot was kicked": "The bot was removed from the chat on Telegram.",
    "bot is not a member": "The bot is not in the chat on Telegram; add it again.",
    "bot was blocked by the user": "The person on Telegram has blocked the bot.",
    "bot can't initiate conversation": "The person on Telegram has to write to the bot first.",
    "group chat was deleted": "The group on Telegram was deleted.",
    "group chat was deactivated": "The group on Telegram is no longer in use.",
    "chat not found": "The chat on Telegram is gone, or the bot is no longer in it.",
    "message thread not found": "The topic on Telegram was deleted.",
    "topic_closed": "The topic on Telegram is closed; an admin can open it again.",
    "topic_deleted": "The topic on Telegram was deleted.",
    "not enough rights": "The bot may not write in the chat on Telegram; an admin has to allow it.",
    "have no rights to send": "The bot may not write in the chat on Telegram; an admin has to allow it.",
    "chat_write_forbidden": "The bot may not write in the chat on Telegram; an admin has to allow it.",
    "need administrator rights": "The bot may not write in the channel on Telegram; make it an admin.",
    "message to edit not found": "The message is no longer there on Telegram.",
    "message can't be edited": "Telegram does not let the bot change this message any more.",
    "message can't be deleted": (
        "Telegram lets a bot delete its posts for 48 hours only, unless it is an admin that may delete messages."
    ),
    "request entity too large": "The file is larger than Telegram takes from bots.",
    "file is too big": "The file is larger than Telegram gives to bots.",
}


_CLEAR: Mapping[int, str] = {401: "Unauthorized", 413: "Request Entity Too Large", 429: "Too Many Requests"}
"""What is clear even when a proxy in between has said it."""


class Refused(Rejected):
    """Telegram said no. ``description``: its own words, in small letters."""

    def __init__(self, code: int, description: str) -> None:
        self.code = code
        self.description = description.lower()
        known = (words for part, words in _REASONS.items() if part in self.description)
        super().__init__(next(known, f"Telegram refused it: {description}"))


class Conflict(Retry):
    """Somebody else reads this bot's updates, or a webhook is set."""


class ChatMoved(AdapterError):
    """The group is a supergroup now; ``to`` is its id (ResponseParameters.migrate_to_chat_id). Not sent."""

    def __init__(self, to: int) -> None:
        super().__init__("the group has a new id")
        self.to = to


def failure(code: int, answer: Mapping[str, Any]) -> AdapterError:
    """The error that an answer with ``ok: false`` means (core.telegram.org/bots/api#making-requests)."""
    description = str(answer.get("description") or _CLEAR.get(code) or f"error {code}")
    parameters = answer.get("parameters")
    parameters = parameters if isinstance(parameters, Mapping) else {}
    if isinstance(to := parameters.get("migrate_to_chat_id"), int):
        return ChatMoved(to)
    if code == 401 or (code == 404 and description.lower() == "not found"):
        return AuthLost("Telegram no longer knows the bot's token. Copy it anew from @BotFather (/mybots).")
    if code == 429:
        wait_s = parameters.get("retry_after")
        return Retry(
            float(wait_s) if isinstance(wait_s, (int, float)) else DEFAULT_RETRY_S, "Telegram asks to slow down"
        )
    if code == 409:
        return Conflict(CONFLICT_S, "Another program uses this bot's token, or a webhook is set for it.")
    if code >= SERVER_ERROR:
        return Uncertain(f"Telegram answers {code}")
    return Refused(code, description)


class Api:
    """One bot's connections. Made in the loop that it is used in; :meth:`close` it."""

    def __init__(self, config: TelegramConfig) -> None:
        self._config = config
        self._base = config.api_url.rstrip("/")
        self._request: HTTPXRequest | None = None
        self._files: aiohttp.ClientSession | None = None

    def _client(self) -> HTTPXRequest:
        if self._request is None:
            from telegram.request import HTTPXRequest

            for name in ("httpx", "httpcore", "telegram"):
                # They write down addresses, which hold the token, and texts.
                logging.getLogger(name).setLevel(logging.WARNING)
            timeout_s = self._config.request_timeout_s
            self._request = HTTPXRequest(
                connection_pool_size=POOL,
                read_timeout=timeout_s,
                write_timeout=timeout_s,
                connect_timeout=timeout_s,
                pool_timeout=timeout_s,
                httpx_kwargs={"trust_env": False, "follow_redirects": False},
            )
        return self._request

    async def close(self) -> None:
        """Close all connections."""
        if self._request is not None:
            await self._request.shutdown()
            self._request = None
        if self._files is not None:
            await self._files.close()
            self._files = None

    async def call(
        self, method: str, *, uploads: Mapping[str, Upload] | None = None, wait_s: float = 0.0, **params: Any
    ) -> Any:
        """The ``result`` of a method; parameters that are None are left out. ``wait_s``: how much longer than usual
        the answer may take. Raises Refused, ChatMoved, Conflict, Retry, Offline, Uncertain, AuthLost.
        """
        form = {
            name: value if isinstance(value, str) else msgspec.json.encode(value).decode()
            for name, value in params.items()
            if value is not None
        }
        code, payload = await self._post(method, form, uploads or {}, wait_s)
        try:
            answer = msgspec.json.decode(payload)
        except (msgspec.DecodeError, UnicodeDecodeError):
            answer = {}
        if not isinstance(answer, dict):
            answer = {}
        if code == 200 and answer.get("ok") is True:
            return answer.get("result")
        if answer.get("ok") is not False and code not in _CLEAR:
            raise Uncertain(f"Telegram answers {code} and nothing that makes sense")
        raise failure(code, answer)

    async def _post(
        self, method: str, form: dict[str, str], uploads: Mapping[str, Upload], wait_s: float
    ) -> tuple[int, bytes]:
        client = self._client()
        from telegram.error import TelegramError

        data = cast("RequestData", SimpleNamespace(json_parameters=form, multipart_data=dict(uploads)))
        url = f"{self._base}/bot{self._config.token}/{method}"
        failed: AdapterError
        try:
            return await client.do_request(url, "POST", data, read_timeout=self._config.request_timeout_s + wait_s)
        except (TelegramError, OSError) as error:
            failed = _unanswered(error)
        raise failed

    async def download(self, ref: str) -> AsyncIterator[bytes]:
        """Stream the file with a ``file_id``. Raises Rejected when it is gone or too large, Retry when it may come."""
        limit_bytes = self._config.download_limit_bytes
        try:
            found = await self.call("getFile", file_id=ref)
        except Refused as refused:
            raise Rejected(refused.reason) from None
        except Uncertain:
            raise Retry(OFFLINE_S, "Telegram does not answer") from None
        path = found.get("file_path") if isinstance(found, dict) else None
        if not isinstance(path, str) or ".." in path or path.startswith("/") or "://" in path:
            raise Rejected("Telegram does not say where the file is.")
        failed: AdapterError
        try:
            async for chunk in self._stream(path, limit_bytes):
                yield chunk
            return
        except _stream_errors() as error:
            # The library's error names the address, which holds the token.
            failed = Retry(OFFLINE_S, f"Telegram does not hand over the file ({type(error).__name__})")
        raise failed

    async def _stream(self, path: str, limit_bytes: int) -> AsyncIterator[bytes]:
        import aiohttp

        if self._files is None:
            timeout = aiohttp.ClientTimeout(total=300, sock_connect=10, sock_read=self._config.request_timeout_s)
            self._files = aiohttp.ClientSession(timeout=timeout, cookie_jar=aiohttp.DummyCookieJar())
        url = f"{self._base}/file/bot{self._config.token}/{quote(path)}"
        total = 0
        # A redirect would carry the token elsewhere.
        async with self._files.get(url, allow_redirects=False) as response:
            if response.status >= SERVER_ERROR or response.status == 429:
                raise Retry(OFFLINE_S, "Telegram does not hand over the file")
            if response.status != 200:
                raise Rejected("The file is no longer there on Telegram.")
            async for chunk in response.content.iter_chunked(CHUNK_BYTES):
                total += len(chunk)
                if total > limit_bytes:
                    raise Rejected(f"The file is larger than {limit_bytes} bytes.")
                yield chunk


def _stream_errors() -> tuple[type[Exception], ...]:
    import aiohttp

    return (aiohttp.ClientError, TimeoutError, OSError)


def _unanswered(error: Exception) -> AdapterError:
    """Was the request sent? What the HTTP library says of a connection that was never made is certain."""
    import httpx

    never_left = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.UnsupportedProtocol)
    cause = error.__cause__
    if isinstance(cause, never_left):
        return Offline(OFFLINE_S, "Telegram cannot be reached")
    return Uncertain(f"Telegram did not answer ({type(cause or error).__name__})")

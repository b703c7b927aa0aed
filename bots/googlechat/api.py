"""Requests to Google's APIs, and what their answers mean. All of them speak the same JSON (google.rpc.Status)."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

import msgspec

from bots.googlechat.config import GoogleChatConfig
from bots.googlechat.tokens import Tokens, parse_key
from core.contract import AuthLost, Offline, Rejected, Retry, Uncertain

if TYPE_CHECKING:
    import aiohttp

Json = dict[str, Any]
BUSY_S: Final = 2.0
"""Google names no time with a 429 as a rule; the space's quota is per second."""
CONNECT_S: Final = 10.0
POLL_S: Final = 120.0
"""A pull answers when there is something, or after a minute and a half."""
CHUNK_BYTES: Final = 65_536
MAX_ANSWER_BYTES: Final = 32 * 1024 * 1024
APPROVAL: Final = (
    "An administrator of the Workspace has not approved the app's scopes yet "
    "(Google Workspace Marketplace SDK → the app; Admin console → Apps → Marketplace apps)."
)
_SECONDS: Final = re.compile(r"(\d+(?:\.\d+)?)s?")


class Refused(Rejected):
    """Google answered no. ``status``: of HTTP; ``code``: Google's word, like ``NOT_FOUND``; ``facts``: what its details
    say."""

    def __init__(self, reason: str, status: int, code: str, facts: Mapping[str, str]) -> None:
        super().__init__(reason)
        self.status = status
        self.code = code
        self.facts = facts


class Api:
    """Google's APIs for one account. The session is made when it is first needed; close it."""

    def __init__(self, config: GoogleChatConfig, now_ms: Callable[[], int]) -> None:
        self.config = config
        self._now_ms = now_ms
        self._tokens: Tokens | None = None
        self._session: aiohttp.ClientSession | None = None

    @property
    def tokens(self) -> Tokens:
        """The account's tokens. Raises AuthLost where the key is none."""
        if self._tokens is None:
            try:
                account = parse_key(self.config.service_account)
            except ValueError as error:
                raise AuthLost(str(error)) from None
            self._tokens = Tokens(account, self.config.token_url, self._now_ms)
        return self._tokens

    @property
    def session(self) -> aiohttp.ClientSession:
        """The session; only in a running loop."""
        import aiohttp

        if self._session is None:
            timeout = aiohttp.ClientTimeout(
                total=None, sock_connect=CONNECT_S, connect=CONNECT_S, sock_read=self.config.timeout_s
            )
            self._session = aiohttp.ClientSession(timeout=timeout, cookie_jar=aiohttp.DummyCookieJar())
        return self._session

    async def close(self) -> None:
        """End all connections."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    # --- by API ---

    async def chat(
        self, method: str, path: str, *, params: Mapping[str, str] | None = None, body: Json | None = None
    ) -> Json:
        """A request to the Chat API as the app (``chat.bot``). Raises any AdapterError."""
        url = f"{self.config.chat_url}/v1/{path}"
        return await self.call(method, url, self.config.bot_scopes, params=params, body=body)

    async def read(self, path: str, params: Mapping[str, str] | None = None) -> Json:
        """Read what an administrator let the app read; without Pub/Sub, what is addressed to the app."""
        hears_all = bool(self.config.pubsub_subscription)
        scopes = self.config.read_scopes if hears_all else self.config.bot_scopes
        return await self.call("GET", f"{self.config.chat_url}/v1/{path}", scopes, params=params)

    async def events(
        self, method: str, path: str, *, params: Mapping[str, str] | None = None, body: Json | None = None
    ) -> Json:
        """A request to the Workspace Events API."""
        url = f"{self.config.events_url}/v1/{path}"
        return await self.call(method, url, self.config.read_scopes, params=params, body=body)

    async def pubsub(self, verb: str, body: Json) -> Json:
        """Do ``verb`` (``pull``, ``acknowledge`` …) with the subscription."""
        url = f"{self.config.pubsub_url}/v1/{self.config.pubsub_subscription}:{verb}"
        return await self.call("POST", url, self.config.pubsub_scopes, body=body, read_s=POLL_S)

    async def call(
        self,
        method: str,
        url: str,
        scopes: Sequence[str],
        *,
        params: Mapping[str, str] | None = None,
        body: Json | None = None,
        read_s: float = 0.0,
    ) -> Json:
        """One request, with a new token where the old one is no longer taken. Raises any AdapterError."""
        for attempt in (1, 2):
            token = await self.tokens.get(self.session, scopes)
            status, headers, raw = await self._exchange(method, url, token, params, body, read_s)
            if status == 401 and attempt == 1:
                self.tokens.forget(token)
                continue
            break
        answer = _decoded(raw)
        if 200 <= status < 300:
            return answer
        raise failure(method, status, headers, answer)

    async def _exchange(
        self,
        method: str,
        url: str,
        token: str,
        params: Mapping[str, str] | None,
        body: Json | None,
        read_s: float,
    ) -> tuple[int, Mapping[str, str], bytes]:
        import aiohttp

        headers = {"Authorization": f"Bearer {token}"}
        data = None
        if body is not None:
            data = msgspec.json.encode(body)
            headers["Content-Type"] = "application/json; charset=UTF-8"
        timeout = aiohttp.ClientTimeout(
            total=None, connect=CONNECT_S, sock_connect=CONNECT_S, sock_read=read_s or self.config.timeout_s
        )
        try:
            async with self.session.request(
                method, url, params=params, data=data, headers=headers, timeout=timeout, allow_redirects=False
            ) as response:
                return response.status, response.headers, await _limited(response)
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError):
            raise Offline(BUSY_S, "Google is not reachable") from None
        except (aiohttp.ClientError, TimeoutError):
            if method == "GET":
                raise Retry(BUSY_S, "Google does not answer") from None
            raise Uncertain("Google did not answer in time.") from None

    async def media(self, resource: str) -> AsyncIterator[bytes]:
        """Stream an attachment (``media.download``). Raises Rejected, Retry, Offline, AuthLost."""
        import aiohttp

        hears_all = bool(self.config.pubsub_subscription)
        scopes = self.config.read_scopes if hears_all else self.config.bot_scopes
        token = await self.tokens.get(self.session, scopes)
        url = f"{self.config.chat_url}/v1/media/{quote(resource, safe='/')}"
        total = 0
        try:
            async with self.session.get(
                url, params={"alt": "media"}, headers={"Authorization": f"Bearer {token}"}, allow_redirects=False
            ) as response:
                if response.status != 200:
                    raise _as_file(failure("GET", response.status, response.headers, {}))
                async for chunk in response.content.iter_chunked(CHUNK_BYTES):
                    total += len(chunk)
                    if total > self.config.max_file_bytes:
                        raise Rejected(f"the file is larger than {self.config.max_file_bytes} bytes")
                    yield chunk
        except aiohttp.ClientConnectorError:
            raise Offline(BUSY_S, "Google is not reachable") from None
        except (aiohttp.ClientError, TimeoutError):
            raise Retry(BUSY_S, "Google does not answer") from None


def _as_file(error: Exception) -> Exception:
    if isinstance(error, Refused):
        return Rejected("the file is no longer there")
    return error


async def _limited(response: aiohttp.ClientResponse) -> bytes:
    raw = bytearray()
    async for chunk in response.content.iter_chunked(CHUNK_BYTES):
        raw += chunk
        if len(raw) > MAX_ANSWER_BYTES:
            raise Rejected("Google's answer is too long")
    return bytes(raw)


def _decoded(raw: bytes) -> Json:
    try:
        answer = msgspec.json.decode(raw) if raw.strip() else {}
    except (msgspec.DecodeError, UnicodeDecodeError):
        return {}
    return answer if isinstance(answer, dict) else {}


# --- what an error means ------------------------------------------------------------------------------------


def failure(method: str, status: int, headers: Mapping[str, str], answer: Json) -> Exception:
    """The AdapterError that an answer stands for."""
    error = answer.get("error")
    error = error if isinstance(error, dict) else {}
    code, words = str(error.get("status", "")), str(error.get("message", ""))[:300]
    facts = _facts(error.get("details"))
    if status == 429:
        whole = "PerProject" in facts.get("quota_limit", "")
        return Retry(_after_s(headers, facts), "Google takes no more for the moment", whole_account=whole)
    if status == 401:
        return AuthLost("Google no longer takes the service account's tokens. Make a new JSON key for it.")
    if status >= 500:
        busy = f"Google answers {status}"
        return Retry(BUSY_S, busy) if method == "GET" else Uncertain(busy)
    if status == 403 and (lost := _account_trouble(facts, words)):
        return lost
    return Refused(_in_words(status, words), status, code, facts)


def _account_trouble(facts: Mapping[str, str], words: str) -> Exception | None:
    """A refusal that is about the whole project."""
    if facts.get("reason") == "SERVICE_DISABLED" or "has not been used in project" in words:
        service = facts.get("serviceTitle") or facts.get("service") or "an API"
        return AuthLost(f"{service} is not switched on: Google Cloud console → APIs & Services → Enable APIs.")
    if facts.get("reason") == "ACCESS_TOKEN_SCOPE_INSUFFICIENT":
        return Refused(APPROVAL, 403, "PERMISSION_DENIED", facts)
    return None


def _in_words(status: int, words: str) -> str:
    if status == 403:
        return f"Google Chat does not allow it: is the app still in the space? ({words or 'permission denied'})"
    if status == 404:
        return "Google Chat does not know the space or message (any more), or the app is not in the space."
    return f"Google Chat does not take it: {words or status}"


def _facts(details: Any) -> dict[str, str]:
    """``reason`` and metadata of an ErrorInfo, ``retryDelay`` of a RetryInfo."""
    facts: dict[str, str] = {}
    for detail in details if isinstance(details, list) else []:
        if not isinstance(detail, dict):
            continue
        metadata = detail.get("metadata")
        for source in (detail, metadata if isinstance(metadata, dict) else {}):
            facts |= {key: value for key, value in source.items() if isinstance(value, str)}
    return facts


def _after_s(headers: Mapping[str, str], facts: Mapping[str, str]) -> float:
    for given in (headers.get("Retry-After", ""), facts.get("retryDelay", "")):
        if found := _SECONDS.fullmatch(given.strip()):
            return min(max(float(found[1]), 0.1), 600.0)
    return BUSY_S

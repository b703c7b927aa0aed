"""Requests to the REST API, its rate limits, and what its answers mean for a post.

The bot's token is in a header, a webhook's in the address: no address and no error of the HTTP library goes on.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import IO, TYPE_CHECKING, Any, Final, NamedTuple

import msgspec

from bots.discord.config import DiscordConfig
from core.contract import AdapterError, AuthLost, Offline, Rejected, Retry, Uncertain

if TYPE_CHECKING:
    import aiohttp

USER_AGENT: Final = "DiscordBot (https://pypi.org/project/bridgebot-swarm, 1)"
"""Required in this form (Reference, User Agent)."""
OFFLINE_S: Final = 2.0
DEFAULT_RETRY_S: Final = 5.0
MARGIN_S: Final = 0.02
BUCKETS_MAX: Final = 2_000
UNKNOWN_CHANNEL: Final = 10003
UNKNOWN_MESSAGE: Final = 10008
UNKNOWN_WEBHOOK: Final = 10015
UNKNOWN_EMOJI: Final = 10014
INVALID_FORM: Final = 50035
DETAILS_MAX: Final = 3
_MAY_NOT = (
    "The bot may not do this in the channel on Discord. Somebody who manages the server has to give it View Channel, "
    "Send Messages, Send Messages in Threads, Attach Files and Add Reactions there."
)
_REASONS: Final[Mapping[int, str]] = {
    UNKNOWN_CHANNEL: "The channel on Discord is gone.",
    UNKNOWN_MESSAGE: "The message is no longer there on Discord.",
    UNKNOWN_EMOJI: "Discord does not have this emoji.",
    40005: "It is larger than Discord takes.",
    50001: "The bot cannot see the channel on Discord. Give it View Channel there.",
    50005: "The message on Discord is somebody else's.",
    50006: "There is nothing in it that Discord could show.",
    50007: "This person does not take direct messages from the bot on Discord.",
    50013: _MAY_NOT,
    50083: "The thread on Discord is archived.",
    160005: "The thread on Discord is locked.",
    200000: "Discord's AutoMod has blocked the message.",
    200001: "Discord's AutoMod has blocked the message's title.",
    240000: "Discord does not take the message: it holds a link that is known to be harmful.",
}


class Refused(Rejected):
    """Discord said no. ``status``: of HTTP; ``code``: Discord's own (Opcodes and Status Codes, JSON); ``fields``: those
    of the request that it does not take, and why (Reference, Error Messages)."""

    def __init__(self, status: int, code: int, message: str, errors: Any = None) -> None:
        self.status = status
        self.code = code
        self.fields = dict(islice(_details(errors, "", 8), DETAILS_MAX))
        details = "; ".join(f"{field}: {why}" for field, why in self.fields.items())
        words = " ".join(f"{message} ({details})".split() if details else message.split())[:200]
        super().__init__(
            _REASONS.get(code) or (_MAY_NOT if status == 403 else f"Discord refuses it: {words or status}")
        )


def _details(errors: Any, path: str, depth: int) -> Iterator[tuple[str, str]]:
    """``{"embeds": {"0": {"url": {"_errors": [{"code", "message"}]}}}}`` → ``embeds.0.url``, message."""
    if not isinstance(errors, Mapping) or depth < 0:
        return
    for name, found in errors.items():
        if name == "_errors" and isinstance(found, list):
            yield path, " ".join(str(one.get("message")) for one in found if isinstance(one, Mapping))
        else:
            yield from _details(found, f"{path}.{name}".lstrip("."), depth - 1)


class Upload(NamedTuple):
    """A file of a request."""

    name: str
    content: IO[bytes]
    mime: str


class Bucket:
    """What is left of a rate limit."""

    def __init__(self) -> None:
        self.remaining = 1
        self.free_at_s = 0.0
        self.turn = asyncio.Lock()


class Api:
    """One bot's requests. Made in the loop that it is used in; :meth:`close` it."""

    def __init__(self, config: DiscordConfig) -> None:
        self._config = config
        self._base = config.api_url.rstrip("/")
        self._session: aiohttp.ClientSession | None = None
        self._routes: OrderedDict[str, Bucket] = OrderedDict()

    def session(self) -> aiohttp.ClientSession:
        """The connections, made when first asked for."""
        if self._session is None:
            import aiohttp

            timeout = aiohttp.ClientTimeout(total=300, sock_connect=10, sock_read=self._config.request_timeout_s)
            self._session = aiohttp.ClientSession(
                timeout=timeout, headers={"User-Agent": USER_AGENT}, cookie_jar=aiohttp.DummyCookieJar()
            )
        return self._session

    async def close(self) -> None:
        """Close all connections."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def call(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        route: str = "",
        files: tuple[Upload, ...] = (),
        as_webhook: bool = False,
        again: bool = False,
        query: Mapping[str, str] | None = None,
    ) -> Any:
        """One request; the answer's JSON. ``route``: the path with its minor ids left out, whose rate limit it shares
        (Rate Limits: channel, guild and webhook are major). Waits where the limit is used up, and no longer than
        configured. ``again``: a POST that may be repeated without harm. Raises Refused, Retry, Offline, AuthLost; for
        other POSTs also Uncertain.
        """
        posts = method == "POST" and not again
        bucket = self._bucket(f"{method} {route or path}")
        async with bucket.turn:
            await self._wait(bucket)
            status, headers, answer = await self._once(method, path, body, files, as_webhook, posts, query)
            _learn(bucket, headers)
        if status < 300:
            return answer
        raise self._failure(posts, status, headers, answer, as_webhook)

    def _bucket(self, route: str) -> Bucket:
        bucket = self._routes.setdefault(route, Bucket())
        self._routes.move_to_end(route)
        if len(self._routes) > BUCKETS_MAX and not next(iter(self._routes.values())).turn.locked():
            self._routes.popitem(last=False)
        return bucket

    async def _wait(self, bucket: Bucket) -> None:
        wait_s = bucket.free_at_s - asyncio.get_running_loop().time()
        if bucket.remaining > 0 or wait_s <= 0:
            return
        if wait_s > self._config.longest_wait_s:
            raise Retry(wait_s, "Discord's rate limit of this channel is used up")
        await asyncio.sleep(wait_s)

    async def _once(
        self,
        method: str,
        path: str,
        body: Any,
        files: tuple[Upload, ...],
        as_webhook: bool,
        posts: bool,
        query: Mapping[str, str] | None,
    ) -> tuple[int, Mapping[str, str], Any]:
        import aiohttp

        headers = {} if as_webhook else {"Authorization": f"Bot {self._config.token}"}
        data: Any = None
        if files:
            data = _form(body, files)
        elif body is not None:
            data = msgspec.json.encode(body)
            headers["Content-Type"] = "application/json"
        failed: AdapterError
        try:
            async with self.session().request(
                method, _as_is(self._base + path), data=data, headers=headers, params=query, allow_redirects=False
            ) as response:
                return response.status, response.headers, _json(await response.read())
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError):
            failed = Offline(OFFLINE_S, "Discord cannot be reached")
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            failed = _unknown(posts, f"Discord did not answer ({type(error).__name__})")
        raise failed

    def _failure(
        self, posts: bool, status: int, headers: Mapping[str, str], answer: Any, as_webhook: bool
    ) -> AdapterError:
        """The error that an answer means (Rate Limits; Opcodes and Status Codes)."""
        said = answer if isinstance(answer, dict) else {}
        if status == 429:
            # Without Discord's own words it is Cloudflare's ban of the whole address.
            whole = bool(said.get("global")) or "retry_after" not in said
            return Retry(_retry_after_s(said, headers), "Discord asks to slow down", whole_account=whole)
        if status == 401 and not as_webhook:
            return AuthLost(
                "Discord no longer knows the bot's token. Make a new one: discord.com/developers/applications, the "
                "application, Bot, Reset Token."
            )
        if status >= 500:
            return _unknown(posts, f"Discord answers {status}")
        code = said.get("code")
        return Refused(status, code if isinstance(code, int) else 0, str(said.get("message") or ""), said.get("errors"))


def _learn(bucket: Bucket, headers: Mapping[str, str]) -> None:
    now_s = asyncio.get_running_loop().time()
    try:
        bucket.remaining = int(headers["X-RateLimit-Remaining"])
        bucket.free_at_s = now_s + float(headers["X-RateLimit-Reset-After"]) + MARGIN_S
    except (KeyError, ValueError):
        bucket.remaining = 1


def _retry_after_s(said: Mapping[str, Any], headers: Mapping[str, str]) -> float:
    for value in (said.get("retry_after"), headers.get("Retry-After")):
        try:
            return max(float(value), 0.05)  # type: ignore[arg-type]
        except (TypeError, ValueError):
            continue
    return DEFAULT_RETRY_S


def _unknown(posts: bool, reason: str) -> AdapterError:
    return Uncertain(reason) if posts else Retry(OFFLINE_S, reason)


def _as_is(url: str) -> Any:
    from yarl import URL

    return URL(url, encoded=True)


def _form(body: Any, files: tuple[Upload, ...]) -> Any:
    import aiohttp

    form = aiohttp.FormData()
    form.add_field("payload_json", msgspec.json.encode(body).decode(), content_type="application/json")
    for place, file in enumerate(files):
        form.add_field(f"files[{place}]", file.content, filename=file.name, content_type=file.mime)
    return form


def _json(raw: bytes) -> Any:
    try:
        return msgspec.json.decode(raw) if raw else None
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None

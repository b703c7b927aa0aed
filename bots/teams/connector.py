"""Requests to the Bot Connector, and what its answers mean.

Bot Connector REST API (conversations, activities, members, attachments); Teams docs, Optimize your bot: rate
limiting (429, and 412, 502, 504 besides); Teams SDK (reactions).
"""

from __future__ import annotations

import random
from io import BytesIO
from typing import TYPE_CHECKING, Any, Final, Literal
from urllib.parse import quote

import msgspec

from bots.teams.config import TeamsConfig
from bots.teams.http import Http, body_of
from bots.teams.login import Login
from core.contract import AuthLost, Rejected, Retry, Uncertain

if TYPE_CHECKING:
    import aiohttp

MAX_ANSWER_BYTES: Final = 2_000_000
BUSY_S: Final = 2.0
NO_ANSWER_S: Final = 5.0
MOST_BUSY_S: Final = 120.0
Method = Literal["GET", "POST", "PUT", "DELETE"]


class Gone(Rejected):
    """The message, or the whole conversation, is not there (any more)."""


class Unsupported(Rejected):
    """The service does not do this here."""


class _Problem(msgspec.Struct):
    code: str | None = None
    message: str | None = None


class _Problems(msgspec.Struct):
    error: _Problem | None = None


class Sent(msgspec.Struct):
    """A ResourceResponse."""

    id: str | None = None


def activities(conversation: str, native: str = "", tail: str = "") -> str:
    """The path of a conversation's activities, or of one of them."""
    path = f"/v3/conversations/{quote(conversation, safe='')}/activities"
    return f"{path}/{quote(native, safe='')}{tail}" if native else path


class Connector:
    """Speaks for the bot. The token goes to verified hosts only, and never along with a redirect."""

    def __init__(self, config: TeamsConfig, http: Http, login: Login) -> None:
        self._config = config
        self._http = http
        self._login = login
        self._refusals = 0

    async def ask(self, method: Method, service_url: str, path: str, body: Any = None) -> bytes:
        """Make a request. What may be repeated without harm (everything but POST) raises Retry where it is not known
        whether it arrived; POST raises Uncertain then.
        """
        token = await self._token_for(service_url)
        answer = await self._once(method, service_url, path, body, token)
        if answer is None:
            self._login.forget(token)
            answer = await self._once(method, service_url, path, body, await self._token_for(service_url))
        if answer is None:
            raise AuthLost("Teams does not take the bot's token. Check app_id and tenant_id, and that the bot exists.")
        return answer

    async def post(self, service_url: str, conversation: str, activity: dict[str, Any]) -> str:
        """Post an activity; its id (empty where the service gives none)."""
        return _id(await self.ask("POST", service_url, activities(conversation), activity))

    async def _token_for(self, service_url: str) -> str:
        if not self._config.is_service(service_url):
            raise Rejected("Nobody knows where this conversation's service is. Say something to the bot there.")
        return await self._login.token()

    async def _once(self, method: Method, service_url: str, path: str, body: Any, token: str) -> bytes | None:
        """The answer; None for 401."""
        import aiohttp

        headers = {"Authorization": f"Bearer {token}"}
        data = None
        if body is not None:
            data = BytesIO(msgspec.json.encode(body))
            headers["Content-Type"] = "application/json; charset=utf-8"
        url = service_url.rstrip("/") + path
        try:
            async with self._http.session.request(
                method, _as_is(url), data=data, headers=headers, allow_redirects=False
            ) as response:
                raw = await body_of(response, MAX_ANSWER_BYTES)
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError):
            raise Retry(NO_ANSWER_S, "Teams cannot be reached") from None
        except (aiohttp.ClientError, TimeoutError) as error:
            raise _unknown(method, f"Teams did not answer ({type(error).__name__})") from None
        if response.status == 401:
            return None
        self._judge(method, response, raw)
        return raw

    def _judge(self, method: Method, response: aiohttp.ClientResponse, raw: bytes) -> None:
        status = response.status
        if status < 300:
            self._refusals = 0
            return
        code = _code(raw)
        if status in (412, 429, 503):
            raise Retry(self._pause_s(response), f"Teams is busy ({status})")
        if status >= 500 and status != 501:
            raise _unknown(method, f"Teams answers {status}")
        raise _refusal(status, code)

    def _pause_s(self, response: aiohttp.ClientResponse) -> float:
        """As long as the service says, else longer each time, with some chance in it."""
        try:
            return min(max(float(response.headers["Retry-After"]), 0.1), MOST_BUSY_S)
        except (KeyError, ValueError):
            self._refusals = min(self._refusals + 1, 6)
            grown_s: float = BUSY_S * 2.0 ** (self._refusals - 1)
            return grown_s * random.uniform(0.5, 1.0)  # noqa: S311 - spreads retries, keeps no secret


def _as_is(url: str) -> Any:
    """A URL with its escapes as they are: ids of conversations have ``:`` ``;`` ``@`` in them."""
    from yarl import URL

    return URL(url, encoded=True)


def _id(raw: bytes) -> str:
    try:
        return msgspec.json.decode(raw, type=Sent).id or ""
    except msgspec.MsgspecError:
        return ""


def _code(raw: bytes) -> str:
    try:
        problem = msgspec.json.decode(raw, type=_Problems).error
    except msgspec.MsgspecError:
        return ""
    return (problem.code or "")[:60] if problem else ""


def _unknown(method: Method, reason: str) -> Retry | Uncertain:
    return Uncertain(reason) if method == "POST" else Retry(NO_ANSWER_S, reason)


_REASONS: Final = {
    "BotNotInConversationRoster": "The bot is no longer in this Teams conversation. Add its app again.",
    "ForbiddenOperationException": "Teams does not let the bot do this here.",
    "BotDisabledByAdmin": "An administrator has disabled the bot in Teams.",
    "MessageWritesBlocked": "The bot was blocked or removed in Teams.",
    "ConversationBlockedByUser": "This person has blocked the bot in Teams.",
    "NotEnoughPermissions": "The bot may not post in this Teams conversation.",
    "MessageSizeTooBig": "The message is too long for Teams.",
}
"""Teams docs, Status codes from bot conversational APIs."""


def _refusal(status: int, code: str) -> Rejected:
    if status in (404, 410):
        return Gone("The message or the conversation is no longer there in Teams.")
    if status in (405, 501):
        return Unsupported("Teams does not do this here.")
    if code in _REASONS:
        return Rejected(_REASONS[code])
    if status == 413:
        return Rejected(_REASONS["MessageSizeTooBig"])
    if status == 403:
        return Rejected(f"Teams does not let the bot into this conversation ({code or status}).")
    return Rejected(f"Teams refuses it ({code or status}).")

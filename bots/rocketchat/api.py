"""Rocket.Chat's REST interface (developer.rocket.chat/apidocs and the server's app/api/server/v1).

The token goes into a header, only to the server's own address, and no redirect is followed with it.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import msgspec

from bots.rocketchat.config import RocketChatConfig
from core.contract import AdapterError, AuthLost, Offline, Rejected, Retry, Uncertain

if TYPE_CHECKING:
    import aiohttp

CALL_S = 20.0
UPLOAD_S = 300.0
LOGOUT_S = 3.0
ANSWER_BYTES = 32 * 1024 * 1024
LONGEST_PAUSE_S = 600.0
PAUSE_S = 10.0
"""After a 429 that says nothing of when."""
PAGE = 100
HISTORY_PAGES = 20
KINDS = {"c": "channels", "p": "groups", "d": "im"}
"""Kind of a room → what its calls are named after."""
TOTP = (
    "This user signs in with two factors. Sign in as it in a browser, open Profile, Personal Access Tokens, tick "
    "Ignore Two Factor Authentication, and give the user id and the token that are shown."
)
_WAIT = re.compile(r"wait (\d{1,5}) seconds")
_PLAIN = (
    ("size-exceeded", "Rocket.Chat does not take a message this long."),
    ("readonly", "The room is read-only: its owner must let the bot's user write there."),
    ("muted", "The bot's user is muted in the room: a moderator can unmute it there."),
    ("un-encrypted", "The room is encrypted, so the bot can neither read nor write there."),
    ("room-not-found", "The room is gone, or the bot's user is not in it."),
    ("room-archived", "The room is archived."),
)


class NotThere(Rejected):
    """There is no such message, room, file or call on this server."""


class TooLong(Retry):
    """The answer is longer than we read."""


class NoImpersonation(Rejected):
    """The account may not post under other names (permission ``message-impersonate``)."""


def new_session() -> aiohttp.ClientSession:
    """A session for the server, whose address is the operator's choice."""
    import aiohttp

    timeout = aiohttp.ClientTimeout(total=CALL_S, sock_connect=10)
    # Nothing compressed comes in: what the limits see is what is there.
    return aiohttp.ClientSession(
        timeout=timeout,
        cookie_jar=aiohttp.DummyCookieJar(),
        trust_env=False,
        auto_decompress=False,
        headers={"Accept-Encoding": "identity"},
    )


def failure(status: int, body: Any, reset: str | None, now_ms: int, *, posts: bool) -> Exception:
    """What an answer that is no success means. ``reset``: Unix time in ms when the endpoint takes more (the header
    ``X-RateLimit-Reset``); ``posts``: it may have been done all the same."""
    said = body if isinstance(body, dict) else {}
    words = str(said.get("error") or said.get("message") or f"status {status}")[:300]
    if status == 429 or "too-many-requests" in words or said.get("errorType") == "error-too-many-requests":
        wait = _WAIT.search(words)
        pause_s = (int(reset) - now_ms) / 1000 if reset and reset.isdigit() else float(wait[1]) if wait else PAUSE_S
        return Retry(min(max(pause_s, 0.5), LONGEST_PAUSE_S), "Rocket.Chat wants fewer requests", whole_account=True)
    if "totp-" in f"{said.get('errorType')} {words}":
        return AuthLost(TOTP)
    if status == 401:
        return AuthLost("Rocket.Chat does not accept the login. Renew the personal access token or the password.")
    if status >= 500:
        return Uncertain(f"Rocket.Chat answers {words}") if posts else Retry(2.0, f"Rocket.Chat answers {words}")
    if status == 413:
        return Rejected("The file is too large for this Rocket.Chat server.")
    if status == 404 or "No message found" in words:
        return NotThere(f"Rocket.Chat does not have it: {words}")
    if "Not enough permission" in words:
        return NoImpersonation("The bot's user may not post under other names.")
    plain = next((plain for part, plain in _PLAIN if part in words), "")
    return Rejected(plain or f"Rocket.Chat does not take it: {words}")


class Api:
    """Calls of one account. Signs in by itself where the configuration has a password."""

    def __init__(self, config: RocketChatConfig, session: aiohttp.ClientSession, now_ms: Callable[[], int]) -> None:
        self._config = config
        self._session = session
        self._now_ms = now_ms
        self._login = (config.user_id, config.token) if config.user_id and config.token else None
        self._signing_in = asyncio.Lock()

    async def login(self) -> tuple[str, str]:
        """User id and token. Raises AuthLost, Retry."""
        async with self._signing_in:
            if self._login is None:
                wanted = {"user": self._config.user, "password": self._config.password}
                answer = await self._ask("POST", "/api/v1/login", {}, json=wanted)
                data = answer.get("data") if isinstance(answer, dict) else None
                if not isinstance(data, dict) or not data.get("authToken") or not data.get("userId"):
                    raise AuthLost("Rocket.Chat's answer to the login has no token. Check the server's address.")
                self._login = str(data["userId"]), str(data["authToken"])
            return self._login

    async def logout(self) -> None:
        """End the session that we signed in for, if there is one. Never raises, and takes no longer than LOGOUT_S."""
        login, self._login = self._login, None if self._config.password and not self._config.token else self._login
        if login is None or self._login is not None:
            return
        with suppress(AdapterError, TimeoutError):
            async with asyncio.timeout(LOGOUT_S):
                headers = {"X-User-Id": login[0], "X-Auth-Token": login[1]}
                await self._ask("POST", "/api/v1/logout", headers)

    def forget_login(self) -> bool:
        """The token is no longer accepted. Can we sign in anew?"""
        if self._config.password and not self._config.token:
            self._login = None
        return self._login is None

    async def call(self, method: str, path: str, *, posts: bool = False, **options: Any) -> dict[str, Any]:
        """The answer of ``/api/v1/<path>``. ``posts``: a lost answer is Uncertain. Raises every AdapterError."""
        for _ in range(2):
            user, token = await self.login()
            headers = {"X-User-Id": user, "X-Auth-Token": token}
            try:
                answer = await self._ask(method, f"/api/v1/{path}", headers, posts=posts, **options)
            except AuthLost:
                if options.get("data") is not None or not self.forget_login():
                    raise
            else:
                return answer if isinstance(answer, dict) else {}
        raise AuthLost("Rocket.Chat does not accept its own new token. Look at the server's settings for logins.")

    async def _ask(
        self, method: str, path: str, headers: Mapping[str, str], *, posts: bool = False, **options: Any
    ) -> Any:
        import aiohttp

        try:
            async with self._session.request(
                method, self._config.base + path, headers=headers, allow_redirects=False, **options
            ) as response:
                status, reset = response.status, response.headers.get("X-RateLimit-Reset")
                body = await _body(response)
        except aiohttp.ClientConnectorError:
            raise Offline(1.0, "Rocket.Chat cannot be reached") from None
        except (aiohttp.ClientError, TimeoutError) as error:
            said = f"Rocket.Chat gave no answer ({type(error).__name__})"
            raise Uncertain(said) if posts else Retry(1.0, said) from None
        if 300 <= status < 400:
            raise Rejected("The server's address leads elsewhere. Write the one that the browser ends up at.")
        if status >= 300 or (isinstance(body, dict) and body.get("success") is False):
            raise failure(status, body, reset, self._now_ms(), posts=posts)
        return body

    async def info(self) -> str:
        """The server's version; empty where it does not say all of it. Raises Rejected where it is none."""
        try:
            answer = await self._ask("GET", "/api/info", {})
        except NotThere:
            answer = None
        found = answer.get("version") or (answer.get("info") or {}).get("version") if isinstance(answer, dict) else None
        if not isinstance(found, str):
            raise Rejected("That does not answer like a Rocket.Chat server. Check its address.")
        return found

    async def me(self) -> dict[str, Any]:
        """Our own user: ``_id``, ``username``, ``name``, ``roles``."""
        return await self.call("GET", "me")

    async def settings(self) -> dict[str, Any]:
        """Public settings by their names."""
        wanted = "Message_MaxAllowedSize,FileUpload_MaxFileSize,FileUpload_Enabled,Site_Url,UI_Use_Real_Name"
        params = {"_id": wanted, "count": "0"}  # older servers look at the count alone, and give all
        rows = (await self.call("GET", "settings.public", params=params)).get("settings") or []
        return {row["_id"]: row.get("value") for row in rows if isinstance(row, dict) and "_id" in row}

    async def permissions(self, roles: Sequence[str]) -> frozenset[str]:
        """The permissions that users with ``roles`` have everywhere."""
        rows = (await self.call("GET", "permissions.listAll")).get("update") or []
        return frozenset(row["_id"] for row in rows if set(row.get("roles") or ()) & set(roles))

    async def rooms(self) -> list[dict[str, Any]]:
        """The rooms that our user is in."""
        found = (await self.call("GET", "rooms.get")).get("update") or []
        return [room for room in found if isinstance(room, dict) and room.get("t") in KINDS and room.get("_id")]

    async def room(self, rid: str) -> dict[str, Any]:
        """One room. Raises Rejected where it is none of ours."""
        return (await self.call("GET", "rooms.info", params={"roomId": rid})).get("room") or {}

    async def roles(self, kind: str, rid: str) -> dict[str, list[str]]:
        """User id → roles within a channel or group."""
        rows = (await self.call("GET", f"{KINDS[kind]}.roles", params={"roomId": rid})).get("roles") or []
        return {str((row.get("u") or {}).get("_id")): list(row.get("roles") or ()) for row in rows}

    async def user(self, **by: str) -> dict[str, Any]:
        """A user, by ``userId`` or ``username``. Raises Rejected where there is none."""
        return (await self.call("GET", "users.info", params=by)).get("user") or {}

    async def history(self, kind: str, rid: str, oldest: str, offset: int) -> list[dict[str, Any]]:
        """A page of what was said since ``oldest`` (ISO 8601), the newest first."""
        params = {"roomId": rid, "oldest": oldest, "inclusive": "true", "count": str(PAGE), "offset": str(offset)}
        answer = await self.call("GET", f"{KINDS[kind]}.history", params=params | {"showThreadMessages": "true"})
        return list(answer.get("messages") or [])

    async def changes(self, rid: str, since: str) -> tuple[list[Any], list[str]]:
        """Messages that were said or changed after ``since`` (ISO 8601), and ids of those that went
        (developer.rocket.chat/apidocs/sync-messages)."""
        answer = await self.call("GET", "chat.syncMessages", params={"roomId": rid, "lastUpdate": since})
        result = answer.get("result")
        result = result if isinstance(result, dict) else {}
        gone = [str(one["_id"]) for one in result.get("deleted") or () if isinstance(one, dict) and one.get("_id")]
        return list(result.get("updated") or ()), gone

    async def message(self, native: str) -> dict[str, Any]:
        """One message. Raises Rejected where there is none for us."""
        return (await self.call("GET", "chat.getMessage", params={"msgId": native})).get("message") or {}

    async def send(self, message: Mapping[str, Any]) -> bool:
        """Post a message with an id of our own; False where the answer does not say that it is there."""
        answer = await self.call("POST", "chat.sendMessage", json={"message": message}, posts=True)
        return bool(answer.get("message"))

    async def update(self, rid: str, native: str, msg: str) -> None:
        """Change a message. Doing it twice does no harm. Raises NotThere."""
        await self.call("POST", "chat.update", json={"roomId": rid, "msgId": native, "text": msg})

    async def delete(self, rid: str, native: str) -> None:
        """Take a message away. Raises NotThere."""
        await self.call("POST", "chat.delete", json={"roomId": rid, "msgId": native})

    async def react(self, native: str, name: str, added: bool) -> None:
        """Put our reaction on a message, or take it away."""
        body = {"messageId": native, "emoji": name, "shouldReact": added}
        await self.call("POST", "chat.react", json=body)

    async def upload(self, path: str, chunks: AsyncIterator[bytes], name: str, mime: str, **fields: str) -> Any:
        """Give a file to ``path``; the whole answer. Raises NotThere where the server has no such call."""
        import aiohttp

        form = aiohttp.FormData()
        for field, value in fields.items():
            form.add_field(field, value)
        form.add_field("file", chunks, filename=name, content_type=mime)
        timeout = aiohttp.ClientTimeout(total=UPLOAD_S, sock_connect=10)
        return await self.call("POST", path, data=form, timeout=timeout, posts=True)

    async def confirm(self, rid: str, file: str, fields: Mapping[str, str]) -> str:
        """Post an uploaded file; returns the message's id."""
        path = f"rooms.mediaConfirm/{quote(rid, safe='')}/{quote(file, safe='')}"
        answer = await self.call("POST", path, json=dict(fields), posts=True)
        return str((answer.get("message") or {}).get("_id") or "")


async def _body(response: aiohttp.ClientResponse) -> Any:
    """The answer as JSON; None where it is empty or something else (a proxy's page)."""
    data = bytearray()
    async for chunk in response.content.iter_chunked(65_536):
        data += chunk
        if len(data) > ANSWER_BYTES:
            raise TooLong(10.0, "Rocket.Chat's answer is too long")
    try:
        return msgspec.json.decode(data) if data.strip() else None
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None

"""GroupMe's HTTP interface (https://dev.groupme.com/docs/v3 and the community's notes on what it leaves out).

The token goes into a header, never into an address, and no redirect is followed with it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import msgspec

from bots.groupme.config import GroupMeConfig
from bots.groupme.payload import Bot, Group, Kind, Malformed, Me, Message, id_of, need_id, read
from core.contract import AuthLost, Offline, Rejected, Retry, Uncertain

if TYPE_CHECKING:
    import aiohttp

CALL_S = 20.0
UPLOAD_S = 120.0
ANSWER_BYTES = 8 * 1024 * 1024
SLOW_DOWN_S = 1.0
"""Pause after a 420 or 429 that names none."""
LONGEST_PAUSE_S = 600.0
PAGE = 100
GROUP_PAGES = 20
JOB_TRIES = 40
JOB_PAUSE_S = 0.25


class Conflict(Rejected):
    """A message with this ``source_guid`` was posted in the last minute."""


class NotThere(Rejected):
    """There is no such group, bot or message (any more), or it is not for us."""


def new_session(config: GroupMeConfig) -> aiohttp.ClientSession:
    """A session for GroupMe's own addresses, which are the operator's choice."""
    import aiohttp

    timeout = aiohttp.ClientTimeout(total=CALL_S, sock_connect=10)
    return aiohttp.ClientSession(timeout=timeout, cookie_jar=aiohttp.DummyCookieJar(), trust_env=False)


def failure(status: int, errors: Sequence[str], pause_s: float | None, *, posts: bool) -> Exception:
    """What an answer that is no success means. ``posts``: it may have been done all the same."""
    words = "; ".join(errors)[:300] or f"status {status}"
    if status == 401:
        return AuthLost(f"GroupMe does not accept the access token ({words}). Get a new one at dev.groupme.com.")
    if status in (420, 429):
        return Retry(min(pause_s or SLOW_DOWN_S, LONGEST_PAUSE_S), f"GroupMe wants fewer requests ({words})")
    if status == 503 and pause_s:
        return Retry(min(pause_s, LONGEST_PAUSE_S), f"GroupMe is busy ({words})")
    if status >= 500:
        said = f"GroupMe answers {words}"
        return Uncertain(said) if posts else Retry(2.0, said)
    if status in (403, 404, 410):
        return NotThere(f"GroupMe says: {words}. The bot may no longer be in the group.")
    return Rejected(f"GroupMe does not take it: {words}")


def _pause_s(value: str | None) -> float | None:
    try:
        return max(0.0, float(value)) if value else None
    except ValueError:
        return None


def _errors(body: Any) -> list[str]:
    meta = body.get("meta") if isinstance(body, dict) else None
    errors = meta.get("errors") if isinstance(meta, dict) else None
    return [str(error) for error in errors] if isinstance(errors, list) else []


class Api:
    """Calls of one account. ``session`` makes the connections; without a token only bots can post."""

    def __init__(self, config: GroupMeConfig, session: aiohttp.ClientSession) -> None:
        self._config = config
        self._session = session

    async def call(self, method: str, url: str, *, posts: bool = False, upload: bool = False, **options: Any) -> Any:
        """The ``response`` of an answer (or all of it, where it has no envelope); None for an empty one.

        ``posts``: what is asked for has effects, so a lost answer is Uncertain. Raises Conflict and AdapterErrors.
        """
        import aiohttp

        headers = dict(options.pop("headers", {}))
        if self._config.token:
            headers["X-Access-Token"] = self._config.token
        if upload:
            options["timeout"] = aiohttp.ClientTimeout(total=UPLOAD_S, sock_connect=10)
        try:
            async with self._session.request(
                method, url, headers=headers, allow_redirects=False, **options
            ) as response:
                status, pause_s = response.status, _pause_s(response.headers.get("Retry-After"))
                body = await _body(response)
        except aiohttp.ClientConnectorError:
            raise Offline(1.0, "GroupMe cannot be reached") from None
        except (aiohttp.ClientError, TimeoutError) as error:
            said = f"GroupMe gave no answer ({type(error).__name__})"
            raise Uncertain(said) if posts else Retry(1.0, said) from None
        if status == 409:
            raise Conflict("GroupMe has this already.")
        if status == 304:
            return None
        if not 200 <= status < 300:
            raise failure(status, _errors(body), pause_s, posts=posts)
        return body["response"] if isinstance(body, dict) and "response" in body and "meta" in body else body

    # --- who and where

    async def me(self) -> tuple[str, str]:
        """Id and name of the token's user."""
        me = _as(await self.call("GET", f"{self._config.api_url}/users/me"), Me)
        return need_id(me.user_id or me.id, "the user's id"), me.name or "GroupMe"

    async def groups(self) -> dict[str, str]:
        """Id → name of the groups that the user is in."""
        found: dict[str, str] = {}
        for page in range(1, GROUP_PAGES + 1):
            params = {"page": str(page), "per_page": str(PAGE), "omit": "memberships"}
            answer = await self.call("GET", f"{self._config.api_url}/groups", params=params)
            groups = _as(answer or [], list[Group])
            found |= {need_id(group.id, "a group's id"): group.name or "" for group in groups}
            if len(groups) < PAGE:
                break
        return found

    async def group(self, group: str) -> Group:
        """A group with its members. Raises NotThere."""
        return _as(await self.call("GET", f"{self._config.api_url}/groups/{quote(group, safe='')}"), Group)

    # --- messages

    async def messages(self, group: str, *, limit: int = PAGE, where: Mapping[str, str] | None = None) -> list[Message]:
        """Messages of a group, the newest first; with ``after_id`` in ``where`` the oldest first."""
        params = {"limit": str(limit), "acceptFiles": "1", **(where or {})}
        answer = await self.call("GET", self._messages(group), params=params)
        found = (answer or {}).get("messages") if isinstance(answer or {}, dict) else None
        return _as(found or [], list[Message])

    async def message(self, group: str, native: str) -> Message:
        """One message. Raises NotThere."""
        answer = await self.call("GET", self._one(group, native))
        return _as(answer.get("message") if isinstance(answer, dict) else None, Message)

    async def post(self, group: str, guid: str, text: str, attachments: Sequence[dict[str, Any]]) -> str:
        """Post as the user; returns the message's id. Raises Conflict."""
        message = {"source_guid": guid, "text": text, "attachments": list(attachments)}
        answer = await self.call("POST", self._messages(group), json={"message": message}, posts=True)
        made = answer.get("message") if isinstance(answer, dict) else None
        return id_of(made.get("id")) if isinstance(made, dict) else ""

    async def edit(self, group: str, native: str, text: str, attachments: Sequence[dict[str, Any]]) -> None:
        """Change one of the user's messages. Doing it twice does no harm."""
        await self.call("PUT", self._one(group, native), json={"text": text, "attachments": list(attachments)})

    async def delete(self, group: str, native: str) -> None:
        """Take one of the user's messages away; one that is gone is no error."""
        url = f"{self._config.api_url}/conversations/{quote(group, safe='')}/messages/{quote(native, safe='')}"
        try:
            await self.call("DELETE", url)
        except NotThere:
            return

    async def like(self, group: str, native: str, emoji: str) -> None:
        """Put the user's one reaction on a message; empty: take it away."""
        url = f"{self._config.api_url}/messages/{quote(group, safe='')}/{quote(native, safe='')}"
        if emoji:
            icon = {"like_icon": {"type": "unicode", "code": emoji}}
            await self.call("POST", f"{url}/like", json=icon)
        else:
            await self.call("POST", f"{url}/unlike")

    def _messages(self, group: str) -> str:
        return f"{self._config.api_url}/groups/{quote(group, safe='')}/messages"

    def _one(self, group: str, native: str) -> str:
        return f"{self._config.api4_url}/groups/{quote(group, safe='')}/messages/{quote(native, safe='')}"

    # --- bots

    async def bots(self) -> list[Bot]:
        """The bots that the token's user made."""
        return _as(await self.call("GET", f"{self._config.api_url}/bots") or [], list[Bot])

    async def make_bot(self, group: str, name: str, callback_url: str) -> Bot:
        """Make a bot in a group that the user is in."""
        wanted = {"name": name, "group_id": group, "callback_url": callback_url, "dm_notification": False}
        answer = await self.call("POST", f"{self._config.api_url}/bots", json={"bot": wanted}, posts=True)
        if isinstance(answer, dict) and isinstance(answer.get("bot"), dict):
            answer = answer["bot"]
        return _as(answer, Bot)

    async def destroy_bot(self, bot: str) -> None:
        """A bot of the user's is no more."""
        await self.call("POST", f"{self._config.api_url}/bots/destroy", json={"bot_id": bot})

    async def bot_post(self, bot: str, text: str, attachments: Sequence[dict[str, Any]]) -> None:
        """Post as a bot. The answer is empty: it names no message."""
        wanted: dict[str, Any] = {"bot_id": bot, "text": text}
        if attachments:
            wanted["attachments"] = list(attachments)
        await self.call("POST", f"{self._config.api_url}/bots/post", json=wanted, posts=True)

    # --- files

    async def upload_picture(self, data: AsyncIterator[bytes], mime: str, size_bytes: int) -> str:
        """Give a picture to the image service; returns its address there."""
        headers = {"Content-Type": mime} | ({"Content-Length": str(size_bytes)} if size_bytes else {})
        url = f"{self._config.image_url}/pictures"
        answer = await self.call("POST", url, data=data, headers=headers, upload=True)
        payload = answer.get("payload") if isinstance(answer, dict) else None
        made = payload.get("url") or payload.get("picture_url") if isinstance(payload, dict) else None
        if not isinstance(made, str):
            raise Rejected("GroupMe's image service gave no address for the picture.")
        return made

    async def upload_file(self, group: str, data: AsyncIterator[bytes], name: str, mime: str) -> str:
        """Give a file to the file service, and wait until it has looked at it; returns its id there."""
        base = f"{self._config.file_url}/{quote(group, safe='')}"
        headers = {"Content-Type": mime}
        url = f"{base}/files"
        answer = await self.call("POST", url, params={"name": name}, data=data, headers=headers, upload=True)
        status_url = answer.get("status_url") if isinstance(answer, dict) else None
        if not isinstance(status_url, str) or not status_url.startswith(f"{base}/"):
            raise Rejected("GroupMe's file service gave no place to ask how the upload goes.")
        for _ in range(JOB_TRIES):
            job = await self.call("GET", status_url)
            if isinstance(job, dict) and job.get("status") in ("complete", "completed") and id_of(job.get("file_id")):
                return id_of(job["file_id"])
            if isinstance(job, dict) and "fail" in str(job.get("status")):
                raise Rejected("GroupMe's file service could not use the file.")
            await asyncio.sleep(JOB_PAUSE_S)
        raise Retry(10.0, "GroupMe's file service is slow")

    async def file_data(self, group: str, files: Sequence[str]) -> dict[str, tuple[str, str, int]]:
        """File id → name, MIME type and size in bytes."""
        url = f"{self._config.file_url}/{quote(group, safe='')}/fileData"
        answer = await self.call("POST", url, json={"file_ids": list(files)})
        found: dict[str, tuple[str, str, int]] = {}
        for file, row in zip(files, answer if isinstance(answer, list) else (), strict=False):
            data = row.get("file_data") if isinstance(row, dict) else None
            if isinstance(data, dict):
                size = data.get("file_size")
                about = str(data.get("file_name") or "file"), str(data.get("mime_type") or "")
                found[id_of(row.get("file_id")) or file] = (*about, size if type(size) is int else 0)
        return found


async def _body(response: aiohttp.ClientResponse) -> Any:
    """The answer as JSON; None where it is empty or something else (a proxy's page)."""
    data = bytearray()
    async for chunk in response.content.iter_chunked(65_536):
        data += chunk
        if len(data) > ANSWER_BYTES:
            raise Retry(10.0, "GroupMe's answer is too long")
    try:
        return msgspec.json.decode(data) if data.strip() else None
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None


def _as(value: Any, kind: type[Kind]) -> Kind:
    try:
        return read(value, kind)
    except Malformed as error:
        raise Retry(5.0, f"GroupMe's answer cannot be read: {error}") from None

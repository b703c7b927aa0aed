"""Calls of the Web API, and what its errors mean for a post (docs.slack.dev/apis/web-api).

Arguments go as a form, which every method takes. Tokens travel in a header only, and only to the API and to the hosts
that the configuration names.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import IO, TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

import msgspec

from bots.slack.config import SlackConfig
from core.contract import AdapterError, AuthLost, Offline, Rejected, Retry, Uncertain

if TYPE_CHECKING:
    import aiohttp

OFFLINE_S: Final = 5.0
DEFAULT_RETRY_S: Final = 5.0
SERVER_ERROR: Final = 500
UPLOAD_S: Final = 300.0

_LOST: Final = frozenset({"invalid_auth", "not_authed", "account_inactive", "token_revoked", "token_expired"})
_OPEN: Final = frozenset({"fatal_error", "internal_error", "service_unavailable", "request_timeout"})
_SLOWER: Final = frozenset({"ratelimited", "rate_limited", "message_limit_exceeded"})
_MOVING: Final = frozenset({"org_login_required", "team_added_to_org"})
"""The workspace is just being moved into an Enterprise organisation; it is back when that is done."""
_REASONS: Final[Mapping[str, str]] = {
    "channel_not_found": "The channel on Slack is gone, or the app is not in it; add it with /invite.",
    "not_in_channel": "The app is not in the channel on Slack; add it with /invite.",
    "no_permission": "The app may not write in the channel on Slack; add it with /invite.",
    "is_archived": "The channel on Slack is archived.",
    "is_inactive": "The channel on Slack is frozen.",
    "restricted_action": "The workspace on Slack does not let the app write there; an admin has to allow it.",
    "restricted_action_read_only_channel": "The channel on Slack is read-only.",
    "restricted_action_thread_only_channel": "The channel on Slack takes answers in threads only.",
    "restricted_action_non_threadable_channel": "The channel on Slack has no threads.",
    "restricted_action_thread_locked": "The thread on Slack is locked.",
    "msg_too_long": "The message is longer than Slack takes.",
    "msg_blocks_too_long": "The message is longer than Slack takes.",
    "no_text": "There is nothing in it that Slack could show.",
    "message_not_found": "The message is no longer there on Slack.",
    "cant_update_message": "Slack does not let the app change this message.",
    "edit_window_closed": "Slack does not let the app change this message any more.",
    "cant_delete_message": "Slack does not let the app delete this message.",
    "too_many_reactions": "The message on Slack has as many reactions as it may.",
    "too_many_emoji": "The message on Slack has as many reactions as it may.",
    "file_not_found": "The file is no longer there on Slack.",
    "file_deleted": "The file is no longer there on Slack.",
    "storage_limit_reached": "The workspace on Slack has no room left for files.",
    "ekm_access_denied": "The workspace's admins on Slack have suspended writing there.",
    "user_not_found": "Slack does not know this person.",
}


class Refused(Rejected):
    """Slack said no. ``error``: its own word for it."""

    def __init__(self, error: str, reason: str = "") -> None:
        self.error = error
        super().__init__(reason or _REASONS.get(error) or f"Slack refused it: {error}")


def failure(answer: Mapping[str, Any]) -> AdapterError:
    """The error that an answer with ``ok: false`` means."""
    error = str(answer.get("error") or "no reason given")
    if error in _LOST:
        return AuthLost(
            f"Slack no longer takes the app's token ({error}). Install the app anew and copy it: OAuth & Permissions."
        )
    if error == "missing_scope":
        needed = str(answer.get("needed") or "one that it lacks")
        return Refused(error, f"The app on Slack needs the scope {needed}: OAuth & Permissions, then reinstall it.")
    if error in _SLOWER:
        return Retry(DEFAULT_RETRY_S, "Slack asks to slow down")
    if error in _MOVING:
        return Retry(DEFAULT_RETRY_S, "the workspace on Slack is being moved into an organisation", whole_account=True)
    if error in _OPEN:
        return Uncertain(f"Slack answers {error}")
    return Refused(error)


class Api:
    """One app's connections. Made in the loop that it is used in; :meth:`close` it."""

    def __init__(self, config: SlackConfig) -> None:
        self._config = config
        self._base = config.api_url.rstrip("/")
        self._session: aiohttp.ClientSession | None = None
        self._files: aiohttp.ClientSession | None = None
        self.scopes: frozenset[str] = frozenset()
        """What the token may do, by the header of the last answer that said it."""

    @property
    def is_secure(self) -> bool:
        """Is the API reached through TLS?"""
        return self._base.startswith("https:")

    @property
    def session(self) -> aiohttp.ClientSession:
        """Connections to Slack itself."""
        if self._session is None:
            import aiohttp

            timeout = aiohttp.ClientTimeout(total=self._config.request_timeout_s, sock_connect=10)
            self._session = aiohttp.ClientSession(timeout=timeout, cookie_jar=aiohttp.DummyCookieJar())
        return self._session

    async def close(self) -> None:
        """Close all connections."""
        for session in (self._session, self._files):
            if session is not None:
                await session.close()
        self._session = self._files = None

    async def call(self, method: str, *, token: str = "", authorization: str = "", **params: Any) -> dict[str, Any]:
        """The answer of a method; parameters that are None are left out. ``token``: another one than the bot's;
        ``authorization``: instead of any token. Raises Refused, Retry, Offline, Uncertain, AuthLost.
        """
        import aiohttp

        form = {name: _as_text(value) for name, value in params.items() if value is not None}
        headers = {"Authorization": authorization or f"Bearer {token or self._config.bot_token}"}
        try:
            async with self.session.post(
                f"{self._base}/{method}", data=form, headers=headers, allow_redirects=False
            ) as response:
                payload = await response.read()
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError):
            raise Offline(OFFLINE_S, "Slack cannot be reached") from None
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise Uncertain(f"Slack did not answer ({type(error).__name__})") from None
        if scopes := response.headers.get("X-OAuth-Scopes"):
            self.scopes = frozenset(scopes.replace(" ", "").split(","))
        if response.status == 429:
            raise Retry(_seconds(response.headers.get("Retry-After", "")), "Slack asks to slow down")
        answer = _decoded(payload)
        if answer.get("ok") is True and response.status == 200:
            return answer
        if answer.get("ok") is False and response.status < SERVER_ERROR:
            raise failure(answer)
        raise Uncertain(f"Slack answers {response.status} and nothing that makes sense")

    async def ask(self, method: str, **params: Any) -> dict[str, Any]:
        """Like :meth:`call`, for what only reads and may be asked again: never Uncertain."""
        try:
            return await self.call(method, **params)
        except Uncertain as error:
            raise Retry(OFFLINE_S, str(error)) from None

    # --- files ---

    def trusts(self, url: str) -> bool:
        """Is this an address of Slack's own files?"""
        try:
            parts = urlsplit(url)
            host = (parts.hostname or "").lower()
        except ValueError:
            return False
        schemes = {"https", urlsplit(self._base).scheme}
        return parts.scheme in schemes and host in self._config.file_hosts and not (parts.username or parts.password)

    def _file_session(self) -> aiohttp.ClientSession:
        if self._files is None:
            from core.egress import guarded_session

            self._files = guarded_session(self._config.file_hosts)
        return self._files

    async def download(self, url: str, mime: str) -> AsyncIterator[bytes]:
        """Stream a file of Slack's. Raises Rejected where it is none or gone, Retry where it may come."""
        from core.egress import opened

        if not self.trusts(url):
            raise Rejected("The file is not on a server of Slack's.")
        limit_bytes, total = self._config.file_limit_bytes, 0
        headers = {"Authorization": f"Bearer {self._config.bot_token}"}
        # A redirect would carry the token elsewhere.
        async with opened(self._file_session(), url, headers=headers, allow_redirects=False) as response:
            if response.content_type == "text/html" and not mime.startswith("text/html"):
                raise Rejected("Slack does not hand over the file: the app needs the scope files:read.")
            async for chunk in response.content.iter_chunked(65_536):
                total += len(chunk)
                if total > limit_bytes:
                    raise Rejected(f"The file is larger than {limit_bytes} bytes.")
                yield chunk

    async def upload(self, url: str, content: IO[bytes]) -> None:
        """Send a file's bytes to where Slack wants them. Raises Rejected and Retry: nothing is posted by this alone."""
        import aiohttp

        if not self.trusts(url):
            raise Rejected("Slack names a server for files that the account's file_hosts do not have.")
        timeout = aiohttp.ClientTimeout(total=UPLOAD_S, sock_connect=10)
        try:
            async with self._file_session().post(url, data=content, timeout=timeout, allow_redirects=False) as response:
                status = response.status
        except (aiohttp.ClientError, TimeoutError, OSError):
            raise Retry(OFFLINE_S, "Slack does not take the file") from None
        if status == 429 or status >= SERVER_ERROR:
            raise Retry(OFFLINE_S, "Slack does not take the file")
        if status != 200:
            raise Rejected(f"Slack does not take the file: {status}")


def _as_text(value: Any) -> str:
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


def _seconds(raw: str) -> float:
    try:
        return max(0.0, min(float(raw), 3600.0))
    except ValueError:
        return DEFAULT_RETRY_S


def _decoded(payload: bytes) -> dict[str, Any]:
    try:
        answer = msgspec.json.decode(payload)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return {}
    return answer if isinstance(answer, dict) else {}

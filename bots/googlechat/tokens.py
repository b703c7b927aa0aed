"""Access tokens for a service account: a signed JWT is exchanged for one (RFC 7523; Google's OAuth 2.0 for servers)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec

from core.contract import AuthLost, Offline, Retry

if TYPE_CHECKING:
    import aiohttp

GRANT: Final = "urn:ietf:params:oauth:grant-type:jwt-bearer"
LIFE_S: Final = 3600
EARLY_MS: Final = 120_000
"""A token is renewed so long before it ends."""
RETRY_S: Final = 2.0
MAX_KEY_BYTES: Final = 65_536


class ServiceAccount(msgspec.Struct, frozen=True):
    """What we need of a service account's key file."""

    client_email: str
    private_key: str
    token_uri: str = "https://oauth2.googleapis.com/token"  # noqa: S105 - an address
    private_key_id: str = ""
    project_id: str = ""


def key_content(given: str) -> str:
    """The JSON of a key that was given as such, or as a file's path. Raises ValueError in plain words."""
    if given.lstrip().startswith("{"):
        return given
    path = Path(given.strip()).expanduser()
    try:
        if path.stat().st_size > MAX_KEY_BYTES:
            raise ValueError(f"{path} is too large for a service account's key")
        return path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"the service account's key cannot be read from {path}: {error}") from None


def parse_key(given: str) -> ServiceAccount:
    """Read a key. Raises ValueError in plain words; the words never hold the key."""
    help_ = "Download it anew: Google Cloud console → IAM & Admin → Service Accounts → Keys → Add key → JSON"
    try:
        account = msgspec.json.decode(key_content(given), type=ServiceAccount)
    except msgspec.DecodeError as error:
        raise ValueError(f"this is no service account's key ({error}). {help_}") from None
    if "PRIVATE KEY" not in account.private_key or "@" not in account.client_email:
        raise ValueError(f"the service account's key has no private key or no e-mail address. {help_}")
    return account


class Tokens:
    """Tokens by scopes, kept until shortly before they end."""

    def __init__(self, account: ServiceAccount, token_url: str, now_ms: Callable[[], int]) -> None:
        self.account = account
        self._url = token_url or account.token_uri
        self._now_ms = now_ms
        self._kept: dict[tuple[str, ...], tuple[str, int]] = {}
        self._lock = asyncio.Lock()

    async def get(self, session: aiohttp.ClientSession, scopes: Sequence[str]) -> str:
        """A token for ``scopes``. Raises AuthLost, Offline, Retry."""
        wanted = tuple(scopes)
        async with self._lock:
            token, ends_ms = self._kept.get(wanted, ("", 0))
            if self._now_ms() >= ends_ms:
                token, life_s = await self._grant(session, wanted)
                self._kept[wanted] = token, self._now_ms() + life_s * 1000 - EARLY_MS
            return token

    def forget(self, token: str) -> None:
        """The token is no longer taken."""
        self._kept = {scopes: kept for scopes, kept in self._kept.items() if kept[0] != token}

    def _assertion(self, scopes: tuple[str, ...]) -> str:
        import jwt

        now_s = self._now_ms() // 1000
        claims = {
            "iss": self.account.client_email,
            "scope": " ".join(scopes),
            "aud": self._url,
            "iat": now_s,
            "exp": now_s + LIFE_S,
        }
        headers = {"kid": self.account.private_key_id} if self.account.private_key_id else None
        try:
            return jwt.encode(claims, self.account.private_key, algorithm="RS256", headers=headers)
        except (ValueError, TypeError, jwt.PyJWTError):
            raise AuthLost("The service account's private key cannot be used. Download a new JSON key.") from None

    async def _grant(self, session: aiohttp.ClientSession, scopes: tuple[str, ...]) -> tuple[str, int]:
        import aiohttp

        form = {"grant_type": GRANT, "assertion": self._assertion(scopes)}
        try:
            async with session.post(self._url, data=form, allow_redirects=False) as response:
                status, answer = response.status, await response.json(content_type=None)
        except aiohttp.ClientConnectorError:
            raise Offline(RETRY_S, "Google's token service is not reachable") from None
        except (aiohttp.ClientError, TimeoutError, ValueError):
            raise Retry(RETRY_S, "Google's token service does not answer") from None
        if status == 429 or status >= 500:
            raise Retry(RETRY_S, f"Google's token service answers {status}")
        token = answer.get("access_token") if isinstance(answer, dict) else None
        if status != 200 or not isinstance(token, str):
            raise AuthLost(_refusal(answer))
        life_s = answer.get("expires_in")
        return token, life_s if isinstance(life_s, int) else LIFE_S


def _refusal(answer: Any) -> str:
    error, words = "", ""
    if isinstance(answer, dict):
        error, words = str(answer.get("error", ""))[:100], str(answer.get("error_description", ""))[:300]
    return (
        f"Google grants no token for the service account ({error or 'no reason given'}{': ' if words else ''}{words}). "
        "Is the key deleted, the account disabled, or this machine's clock wrong? Make a new JSON key if need be."
    )

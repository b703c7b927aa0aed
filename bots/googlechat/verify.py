"""Is an event from Google? It comes with a signed token, of one of two kinds, by what the app's operator chose.

``url``: an OpenID Connect ID token of Google's for the endpoint, in the name of ``chat@system.gserviceaccount.com``.
``project``: a JWT of that account itself, for the project's number (Google Chat, verify-requests-from-chat).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from bots.googlechat.config import SYSTEM, GoogleChatConfig

if TYPE_CHECKING:
    import aiohttp

GOOGLE_ISSUERS: Final = frozenset({"https://accounts.google.com", "accounts.google.com"})
SKEW_S: Final = 30
AHEAD_S: Final = 300
LIFE_MIN_S: Final = 60
LIFE_MAX_S: Final = 86_400
REFRESH_EVERY_MS: Final = 10_000
"""A token with an unknown key makes us look again at most so often."""
MAX_TOKEN_CHARS: Final = 8_192
_MAX_AGE: Final = re.compile(r"max-age=(\d{1,9})")


class Unauthorized(Exception):
    """The request is not from Google, or not for us."""


class KeysUnavailable(Exception):
    """Google's keys cannot be had now, so nobody can say."""


class KeySet:
    """Public keys by their id, kept as long as Google says, and looked up anew for an unknown id."""

    def __init__(self, url: str, now_ms: Callable[[], int]) -> None:
        self._url = url
        self._now_ms = now_ms
        self._keys: dict[str, Any] = {}
        self._until_ms = 0
        self._looked_ms = -REFRESH_EVERY_MS

    async def key(self, session: aiohttp.ClientSession, kid: str) -> Any:
        """The key ``kid``; None where there is none. Raises KeysUnavailable."""
        now_ms = self._now_ms()
        stale = now_ms >= self._until_ms
        if (stale or kid not in self._keys) and now_ms - self._looked_ms >= REFRESH_EVERY_MS:
            self._looked_ms = now_ms
            await self._load(session)
        if not self._keys:
            raise KeysUnavailable(f"{self._url} cannot be read")
        return self._keys.get(kid)

    async def _load(self, session: aiohttp.ClientSession) -> None:
        import aiohttp

        try:
            async with session.get(self._url, allow_redirects=False) as response:
                if response.status != 200:
                    return
                found = _MAX_AGE.search(response.headers.get("Cache-Control", ""))
                document = await response.json(content_type=None)
        except (aiohttp.ClientError, TimeoutError, ValueError):
            return
        if keys := read_keys(document):
            self._keys = keys
            life_s = int(found[1]) if found else LIFE_MIN_S * 60
            self._until_ms = self._now_ms() + 1000 * min(max(life_s, LIFE_MIN_S), LIFE_MAX_S)


def read_keys(document: Any) -> dict[str, Any]:
    """RSA keys of a JWK set, or of a mapping from ids to X.509 certificates in PEM. Others are left out."""
    if not isinstance(document, Mapping):
        return {}
    if isinstance(document.get("keys"), list):
        return _jwks(document["keys"])
    return _certificates(document)


def _jwks(listed: Sequence[Any]) -> dict[str, Any]:
    import jwt

    keys: dict[str, Any] = {}
    for entry in listed:
        if isinstance(entry, dict) and entry.get("kty") == "RSA" and isinstance(entry.get("kid"), str):
            try:
                keys[entry["kid"]] = jwt.PyJWK(entry, algorithm="RS256").key
            except (jwt.PyJWTError, ValueError, TypeError, KeyError):
                continue
    return keys


def _certificates(document: Mapping[str, Any]) -> dict[str, Any]:
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
    from cryptography.x509 import load_pem_x509_certificate

    keys: dict[str, Any] = {}
    for kid, pem in document.items():
        if isinstance(pem, str):
            try:
                key = load_pem_x509_certificate(pem.encode()).public_key()
            except ValueError:
                continue
            if isinstance(key, RSAPublicKey):
                keys[kid] = key
    return keys


class Verifier:
    """Looks at the token of every event."""

    def __init__(self, config: GoogleChatConfig, endpoint: str, now_ms: Callable[[], int]) -> None:
        self._by_url = config.audience == "url"
        self._audience = endpoint if self._by_url else config.project_number
        self._email = config.sender_email
        self._now_ms = now_ms
        self._keys = KeySet(config.oidc_keys_url if self._by_url else config.chat_keys_url, now_ms)

    async def check(self, session: aiohttp.ClientSession, authorization: Sequence[str]) -> None:
        """Return if the request is Google's. ``authorization``: all such headers. Raises Unauthorized,
        KeysUnavailable."""
        if not self._audience:
            raise Unauthorized("no project number is configured")
        token = _bearer(authorization)
        kid = _kid(token)
        key = await self._keys.key(session, kid)
        if key is None:
            raise Unauthorized("unknown key")
        self._check_claims(_claims(token, key))

    def _check_claims(self, claims: Mapping[str, Any]) -> None:
        now_s = self._now_ms() // 1000
        if not _is_number(claims.get("exp")) or claims["exp"] < now_s - SKEW_S:
            raise Unauthorized("expired")
        if not _is_number(claims.get("iat")) or claims["iat"] > now_s + AHEAD_S:
            raise Unauthorized("from the future")
        if claims.get("aud") != self._audience:
            raise Unauthorized("wrong audience")
        if not self._by_url:
            if claims.get("iss") != SYSTEM:
                raise Unauthorized("wrong issuer")
        elif claims.get("iss") not in GOOGLE_ISSUERS:
            raise Unauthorized("wrong issuer")
        elif claims.get("email") != self._email or claims.get("email_verified") is not True:
            raise Unauthorized("wrong sender")


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _bearer(authorization: Sequence[str]) -> str:
    if len(authorization) != 1 or len(authorization[0]) > MAX_TOKEN_CHARS or not authorization[0].isascii():
        raise Unauthorized("no token")
    scheme, _, token = authorization[0].partition(" ")
    if scheme.lower() != "bearer" or not token:
        raise Unauthorized("no token")
    return token.strip()


def _kid(token: str) -> str:
    import jwt

    try:
        header = jwt.get_unverified_header(token)
    except (jwt.PyJWTError, ValueError, TypeError, RecursionError):
        raise Unauthorized("no JWT") from None
    kid = header.get("kid")
    if header.get("alg") != "RS256" or not isinstance(kid, str) or "crit" in header:
        raise Unauthorized("not signed by RS256")
    return kid


def _claims(token: str, key: Any) -> Mapping[str, Any]:
    """The claims of a token whose signature is good; their meaning is looked at elsewhere, by our own clock."""
    import jwt

    ours = dict.fromkeys(("verify_exp", "verify_iat", "verify_nbf", "verify_aud", "verify_iss"), False)
    try:
        claims: Mapping[str, Any] = jwt.decode(token, key, algorithms=["RS256"], options=ours)  # type: ignore[arg-type]
    except (jwt.PyJWTError, ValueError, TypeError, RecursionError):
        raise Unauthorized("bad signature") from None
    return claims

"""Whether an ID token is what it says: signed by the provider, made for us, now, and for this very sign-in.

The checks are those of OpenID Connect Core 1.0, section 3.1.3.7, read with RFC 8725 (JWT Best Current Practices),
sections 3.1 and 3.2: the algorithm is one of ours and fits the key, whatever the token's header says.
"""

from __future__ import annotations

import asyncio
import hmac
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

import msgspec

KEYS_LIFE_S: Final = 3600.0
ASK_AGAIN_S: Final = 30.0
"""Least time between two looks at the keys because of a key that is not known."""
LEEWAY_S: Final = 120.0
"""How far the provider's clock and ours may differ."""
MAX_TOKEN_CHARS: Final = 32_768
MAX_SUBJECT_CHARS: Final = 255
_KINDS: Final[Mapping[str, tuple[str, str]]] = {
    **dict.fromkeys(("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"), ("RSA", "")),
    "ES256": ("EC", "P-256"),
    "ES384": ("EC", "P-384"),
    "ES512": ("EC", "P-521"),
    "EdDSA": ("OKP", "Ed25519"),
}
"""Algorithm → the type and curve of its keys. All are asymmetric: a shared secret or none signs nothing here."""


class BadToken(Exception):
    """Nobody may be signed in by it. The message is for the log and holds nothing of the token."""


class WrongTime(BadToken):
    """It is over, or not yet good: most likely the clocks differ."""


class Expected(msgspec.Struct, frozen=True):
    """What the token must say."""

    issuer: str
    client_id: str
    nonce: str
    now_s: float


class KeyRing:
    """The provider's public keys: fetched once, again every hour, and when a token names one that is not known."""

    def __init__(self, fetch: Callable[[], Awaitable[list[dict[str, Any]]]], clock_s: Callable[[], float]) -> None:
        self._fetch = fetch
        self._clock_s = clock_s
        self._keys: list[dict[str, Any]] = []
        self._fetched_s = float("-inf")
        self._fetching = asyncio.Lock()

    async def find(self, key_id: str, algorithm: str) -> Any:
        """The key of that name, for that algorithm only; None where there is none. Raises what fetching raises."""
        if self._is_due(key_id):
            async with self._fetching:
                if self._is_due(key_id):
                    self._keys = await self._fetch()
                    self._fetched_s = self._clock_s()
        found = [raw for raw in self._keys if raw.get("kid", "") == key_id and _suits(raw, algorithm)]
        return _made(found[0], algorithm) if len(found) == 1 else None

    def _is_due(self, key_id: str) -> bool:
        age_s = self._clock_s() - self._fetched_s
        if age_s >= KEYS_LIFE_S:
            return True
        return age_s >= ASK_AGAIN_S and all(raw.get("kid", "") != key_id for raw in self._keys)


def _suits(raw: dict[str, Any], algorithm: str) -> bool:
    kind, curve = _KINDS[algorithm]
    if raw.get("kty") != kind or (curve and raw.get("crv") != curve):
        return False
    return bool(raw.get("use", "sig") == "sig" and raw.get("alg", algorithm) == algorithm)


def is_usable(raw: dict[str, Any]) -> bool:
    """Is there an algorithm that this key could have signed with?"""
    return any(_suits(raw, algorithm) and _made(raw, algorithm) for algorithm in _KINDS)


def _made(raw: dict[str, Any], algorithm: str) -> Any:
    import jwt

    try:
        return jwt.PyJWK(raw, algorithm=algorithm)
    except (jwt.PyJWTError, ValueError, TypeError, KeyError):
        return None


async def claims_of(token: str, expected: Expected, ring: KeyRing) -> dict[str, Any]:
    """What a good token says. Raises BadToken, WrongTime, and what fetching keys raises."""
    claims = await _signed(token, ring)
    if claims.get("iss") != expected.issuer:
        raise BadToken("the ID token is of another issuer")
    _check_audience(claims, expected.client_id)
    _check_time(claims, expected.now_s)
    nonce = claims.get("nonce")
    if not isinstance(nonce, str) or not hmac.compare_digest(nonce.encode(), expected.nonce.encode()):
        raise BadToken("the ID token was made for another sign-in")
    subject = claims.get("sub")
    if not isinstance(subject, str) or not 0 < len(subject) <= MAX_SUBJECT_CHARS or not subject.isprintable():
        raise BadToken("the ID token names nobody")
    return claims


async def _signed(token: str, ring: KeyRing) -> dict[str, Any]:
    """The claims, once the signature is known to be the provider's; nothing else of them is looked at yet."""
    import jwt

    if len(token) > MAX_TOKEN_CHARS:
        raise BadToken("the ID token is too long")
    try:
        head = jwt.get_unverified_header(token)
        algorithm, key_id = head.get("alg"), head.get("kid", "")
        if not isinstance(algorithm, str) or algorithm not in _KINDS or not isinstance(key_id, str):
            raise BadToken("the ID token is signed with an algorithm that we do not take")
        if "crit" in head:
            raise BadToken("the ID token asks for an extension that we do not know")
        key = await ring.find(key_id, algorithm)
        if key is None:
            raise BadToken("the ID token is signed with a key that is not the provider's")
        # The other claims are looked at by ourselves: by our clock, and with the rules of OpenID Connect.
        options: Any = dict.fromkeys(("verify_exp", "verify_iat", "verify_nbf", "verify_aud", "verify_iss"), False)
        options |= {"verify_sub": False, "verify_jti": False, "enforce_minimum_key_length": True}
        return dict(jwt.decode(token, key, algorithms=[algorithm], options=options))
    except (jwt.PyJWTError, ValueError, TypeError) as error:
        raise BadToken(f"the ID token is not good ({type(error).__name__})") from None


def _check_audience(claims: Mapping[str, Any], client_id: str) -> None:
    audience = claims.get("aud")
    everybody = audience if isinstance(audience, list) else [audience]
    if client_id not in everybody:
        raise BadToken("the ID token is for somebody else")
    if claims.get("azp", client_id if len(everybody) == 1 else None) != client_id:
        raise BadToken("the ID token was given to somebody else")


def _check_time(claims: Mapping[str, Any], now_s: float) -> None:
    ends, made, begins = (_seconds(claims, name) for name in ("exp", "iat", "nbf"))
    if ends is None or made is None:
        raise BadToken("the ID token does not say when it was made or when it ends")
    if now_s - LEEWAY_S >= ends:
        raise WrongTime("the ID token is over: does the clock of this machine go fast?")
    if max(made, begins or made) > now_s + LEEWAY_S:
        raise WrongTime("the ID token is from the future: does the clock of this machine go slow?")


def _seconds(claims: Mapping[str, Any], name: str) -> float | None:
    value = claims.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise BadToken(f"the ID token's {name} is no time")
    return value

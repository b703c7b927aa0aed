"""Who sent this? Checks the token that comes with everything the service sends to us.

Bot Framework docs, Authentication with the Bot Connector API, "Authenticate requests from the Bot Connector service
to your bot": a JWT signed with RS256 by a key of the OpenID document, issuer, audience, life, endorsement of the
channel, and the claim of the service's address.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import msgspec

from bots.teams.config import TeamsConfig
from bots.teams.http import Http, body_of

KEYS_LIFE_S = 24 * 3600.0
ASK_AGAIN_S = 300.0
"""Least time between two looks at the keys because of a key that is not known."""
AFTER_FAILURE_S = 10.0
MAX_KEYS_BYTES = 1_000_000
MAX_TOKEN_CHARS = 16_384


class NotThem(Exception):
    """It is not from the service, or not for us. The message is for the log and holds nothing of the request."""


class NoKeys(Exception):
    """The service's keys cannot be had at the moment, so nothing can be said of the sender."""


class _Document(msgspec.Struct):
    jwks_uri: str


class _Keys(msgspec.Struct):
    keys: list[dict[str, Any]]


class Key(msgspec.Struct, frozen=True):
    """A public key, and the channels (``msteams``) that it may speak for."""

    public: Any
    endorsements: frozenset[str]


class Claims(msgspec.Struct, frozen=True):
    """What a good token says."""

    service_url: str
    endorsements: frozenset[str]


class KeyRing:
    """The service's keys: fetched once, again every day, and when there is one that is not known."""

    def __init__(self, config: TeamsConfig, http: Http, clock_s: Callable[[], float]) -> None:
        self._config = config
        self._http = http
        self._clock_s = clock_s
        self._keys: dict[str, Key] = {}
        self._fetched_s = float("-inf")
        self._tried_s = float("-inf")
        self._fetching = asyncio.Lock()

    async def get(self, key_id: str) -> Key | None:
        """The key called ``key_id``; None where there is none. Raises NoKeys."""
        if not self._is_due(key_id):
            return self._found(key_id)
        async with self._fetching:
            if self._is_due(key_id):
                self._tried_s = self._clock_s()
                try:
                    self._keys = await self._fetch()
                except NoKeys:
                    if not self._keys:
                        raise
                else:
                    self._fetched_s = self._clock_s()
        return self._found(key_id)

    def _found(self, key_id: str) -> Key | None:
        if not self._keys:
            raise NoKeys("the keys of the service cannot be had")
        return self._keys.get(key_id)

    def _is_due(self, key_id: str) -> bool:
        now_s = self._clock_s()
        if now_s - self._tried_s < AFTER_FAILURE_S:
            return False
        if now_s - self._fetched_s >= KEYS_LIFE_S:
            return True
        return key_id not in self._keys and now_s - self._fetched_s >= ASK_AGAIN_S

    async def _fetch(self) -> dict[str, Key]:
        document = await self._read(self._config.openid_url, _Document)
        if not self._config.trusts(document.jwks_uri):
            raise NoKeys("the OpenID document names an address for keys that is not https")
        found = await self._read(document.jwks_uri, _Keys)
        return {str(raw["kid"]): key for raw in found.keys if "kid" in raw and (key := _key(raw)) is not None}

    async def _read(self, url: str, kind: type[Any]) -> Any:
        import aiohttp

        try:
            async with self._http.session.get(url, allow_redirects=False) as response:
                raw = await body_of(response, MAX_KEYS_BYTES)
                if response.status != 200:
                    raise NoKeys(f"the key service answers {response.status}")
            return msgspec.json.decode(raw, type=kind)
        except (aiohttp.ClientError, TimeoutError, msgspec.MsgspecError) as error:
            raise NoKeys(f"the key service does not answer as it should ({type(error).__name__})") from None


def _key(raw: dict[str, Any]) -> Key | None:
    """An RSA key of the document; other kinds are never used."""
    import jwt

    endorsements = raw.get("endorsements") or []
    if raw.get("kty") != "RSA" or not isinstance(endorsements, list):
        return None
    try:
        public = jwt.PyJWK(raw, algorithm="RS256").key
    except (jwt.PyJWTError, ValueError, TypeError, KeyError):
        return None
    return Key(public, frozenset(str(name) for name in endorsements))


async def claims_of(header: str, config: TeamsConfig, ring: KeyRing) -> Claims:
    """What the token in an Authorization header says. Raises NotThem, NoKeys."""
    scheme, _, token = header.partition(" ")
    if scheme.lower() != "bearer" or not token or len(token) > MAX_TOKEN_CHARS or not config.app_id:
        raise NotThem("there is no bearer token")
    import jwt

    try:
        head = jwt.get_unverified_header(token)
        key_id = head.get("kid")
        if head.get("alg") != "RS256" or not isinstance(key_id, str):
            raise NotThem("the token is not signed with RS256")
        key = await ring.get(key_id)
        if key is None:
            raise NotThem("the token is signed with a key that is not the service's")
        claims = jwt.decode(
            token,
            key.public,
            algorithms=["RS256"],
            audience=config.app_id,
            issuer=config.issuer,
            leeway=config.leeway_s,
            options={"require": ["exp", "iss", "aud"]},
        )
    except (jwt.PyJWTError, ValueError, TypeError) as error:
        raise NotThem(f"the token is not good ({type(error).__name__})") from None
    service_url = claims.get("serviceurl")
    if not isinstance(service_url, str):
        raise NotThem("the token does not name the service's address")
    return Claims(service_url, key.endorsements)


def check_body(claims: Claims, channel_id: str, service_url: str, config: TeamsConfig) -> None:
    """Is the body what the token was made for? Raises NotThem."""
    if claims.service_url.rstrip("/") != service_url.rstrip("/"):
        raise NotThem("the body names another service than the token")
    if channel_id not in claims.endorsements:
        raise NotThem("the key may not speak for this channel")
    if not config.is_service(service_url):
        raise NotThem("the service's host is not in service_hosts")

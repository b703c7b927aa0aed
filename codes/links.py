"""Signed links: plain ones, revocable ones, and ones that work once. Tokens are safe in a URL.

Every token is signed with a salt of its purpose, so that a token made for one purpose is worthless for any
other. Looking at a link never changes anything: only ``use`` and ``redeem_once`` do.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable
from typing import Any, cast

import msgspec
from itsdangerous import BadData, TimestampSigner, URLSafeSerializer, URLSafeTimedSerializer
from redis.asyncio import Redis

from codes import keys
from codes.scripts import script

Payload = str | dict[str, Any]
"""What a link carries: anything that JSON can say in a string or an object. Whoever has the link can read it."""

_SIGNER = {"key_derivation": "hmac", "digest_method": hashlib.sha256}
_MAX_TOKEN = 4096
_GRACE_MS = 60_000


class LinkError(ValueError):
    """A link does not work; the message is for people and says what to do next."""


class BadLink(LinkError):
    """Not signed by us, or for another purpose."""

    def __init__(self) -> None:
        super().__init__("This link is not valid. Copy the whole link again, or ask for a new one.")


class ExpiredLink(LinkError):
    """It was good, and its time is over."""

    def __init__(self) -> None:
        super().__init__("This link is too old. Ask for a new one.")


class UsedLink(LinkError):
    """It was good, and is used up."""

    def __init__(self) -> None:
        super().__init__("This link was used already. Ask for a new one.")


class RevokedLink(LinkError):
    """It was good, and whoever made it closed it."""

    def __init__(self) -> None:
        super().__init__("This link was closed by the people who made it. Ask them for a new one.")


class Revocable(msgspec.Struct, frozen=True):
    """What a revocable link says. ``expires_ms`` (Unix time) and ``max_uses``: 0 is without end."""

    subject: str
    data: dict[str, Any]
    expires_ms: int = 0
    max_uses: int = 0


class Links:
    """Makes and checks links. ``new_id`` makes an unguessable id of letters and digits."""

    def __init__(
        self,
        redis: Redis,
        secret_key: bytes | str,
        *,
        now_ms: Callable[[], int],
        new_id: Callable[[], str] = lambda: secrets.token_hex(16),
    ) -> None:
        if not secret_key:
            raise ValueError("Links need a secret key. Set SECRET_KEY to 32 or more random characters.")
        self._redis = redis
        self._secret_key = secret_key
        self._now_ms = now_ms
        self._new_id = new_id
        self._signer = _signer_by(now_ms)
        self._use = script(redis, "link_use")
        self._once = script(redis, "link_once")

    # --- plain: good for as long as whoever checks it says

    def sign(self, purpose: str, payload: Payload) -> str:
        """A token that carries ``payload`` and the time it was made."""
        return _dumped(self._timed(purpose), payload)

    def verify(self, purpose: str, token: str, max_age_s: int) -> Any:
        """The payload of ``token``. Raises BadLink, ExpiredLink."""
        payload, made_at = _loaded(self._timed(purpose), token, return_timestamp=True)
        if self._now_ms() // 1000 - int(made_at.timestamp()) > max_age_s:
            raise ExpiredLink
        return payload

    # --- revocable: the same link until it is revoked

    async def issue_revocable(
        self,
        purpose: str,
        subject: str,
        data: dict[str, Any] | None = None,
        *,
        expires_ms: int = 0,
        max_uses: int = 0,
    ) -> str:
        """A link for ``subject``: the same token each time it is asked for with the same options, until
        :meth:`revoke`. Links with different options exist side by side.
        """
        fresh = self._new_id()
        key = keys.link_generation(purpose, subject)
        standing = cast("bytes | None", await self._redis.set(key, fresh, nx=True, get=True))
        generation = standing.decode() if standing else fresh
        content = [subject, generation, dict(sorted((data or {}).items())), expires_ms, max_uses]
        return _dumped(self._untimed("revocable", purpose), content)

    async def verify_revocable(self, purpose: str, token: str) -> Revocable:
        """What the link says; nothing is used up. Raises BadLink, ExpiredLink, RevokedLink, UsedLink."""
        link, generation = self._read_revocable(purpose, token)
        alive = cast("bytes | None", await self._redis.get(keys.link_generation(purpose, link.subject)))
        if alive is None or alive.decode() != generation:
            raise RevokedLink
        if link.max_uses:
            used = cast("Any", self._redis.hget(keys.link_uses(purpose, link.subject), _name(link)))
            if int(await used or 0) >= link.max_uses:
                raise UsedLink
        return link

    async def use(self, purpose: str, token: str, claim: str) -> Revocable:
        """Count one use of the link; the same ``claim`` counts once, and gets the same answer again until
        the link expires or is revoked. Raises BadLink, ExpiredLink, RevokedLink, UsedLink.
        """
        link, generation = self._read_revocable(purpose, token)
        if not link.max_uses:
            return await self.verify_revocable(purpose, token)
        answer = await self._use(
            keys=[keys.link_generation(purpose, link.subject), keys.link_uses(purpose, link.subject)],
            args=[generation, _name(link), _named(claim), link.max_uses],
        )
        if answer == b"revoked":
            raise RevokedLink
        if answer == b"used":
            raise UsedLink
        return link

    async def revoke(self, purpose: str, subject: str) -> bool:
        """Make all revocable links of ``subject`` worthless. True if it may have had any."""
        gone = await self._redis.delete(keys.link_generation(purpose, subject), keys.link_uses(purpose, subject))
        return bool(gone)

    # --- once: good for one claim

    async def issue_once(self, purpose: str, payload: Payload, ttl_s: int) -> str:
        """A link that one claim can redeem within ``ttl_s``."""
        link = self._new_id()
        expires_ms = self._now_ms() + ttl_s * 1000
        await self._redis.set(keys.once(link), "", px=ttl_s * 1000 + _GRACE_MS)
        return _dumped(self._untimed("once", purpose), [link, expires_ms, payload])

    async def peek_once(self, purpose: str, token: str) -> Any:
        """The payload, and the link stays as it is. Raises BadLink, ExpiredLink, UsedLink."""
        link, payload = self._read_once(purpose, token)
        taken = await self._redis.get(keys.once(link))
        if taken is None:
            raise ExpiredLink
        if taken:
            raise UsedLink
        return payload

    async def redeem_once(self, purpose: str, token: str, claim: str) -> Any:
        """The payload, for the first ``claim``; the same claim gets it again until the link expires.
        Raises BadLink, ExpiredLink, UsedLink.
        """
        link, payload = self._read_once(purpose, token)
        answer = await self._once(keys=[keys.once(link)], args=[_named(claim)])
        if answer == b"gone":
            raise ExpiredLink
        if answer == b"used":
            raise UsedLink
        return payload

    # --- reading and signing

    def _read_revocable(self, purpose: str, token: str) -> tuple[Revocable, str]:
        subject, generation, data, expires_ms, max_uses = _loaded(self._untimed("revocable", purpose), token)
        if expires_ms and self._now_ms() >= expires_ms:
            raise ExpiredLink
        return Revocable(subject, data, expires_ms, max_uses), generation

    def _read_once(self, purpose: str, token: str) -> tuple[str, Any]:
        link, expires_ms, payload = _loaded(self._untimed("once", purpose), token)
        if self._now_ms() >= expires_ms:
            raise ExpiredLink
        return link, payload

    def _timed(self, purpose: str) -> URLSafeTimedSerializer:
        return URLSafeTimedSerializer(
            self._secret_key, f"link/plain/{purpose}", signer=self._signer, signer_kwargs=_SIGNER
        )

    def _untimed(self, kind: str, purpose: str) -> URLSafeSerializer:
        return URLSafeSerializer(self._secret_key, f"link/{kind}/{purpose}", signer_kwargs=_SIGNER)


def _signer_by(now_ms: Callable[[], int]) -> type[TimestampSigner]:
    class Signer(TimestampSigner):
        def get_timestamp(self) -> int:
            return now_ms() // 1000

    return Signer


def _dumped(serializer: URLSafeSerializer | URLSafeTimedSerializer, content: Any) -> str:
    token = cast("str | bytes", serializer.dumps(content))
    if len(token) > _MAX_TOKEN:
        raise ValueError(f"this link would have {len(token)} characters; the most is {_MAX_TOKEN}")
    return token if isinstance(token, str) else token.decode()


def _loaded(serializer: URLSafeSerializer | URLSafeTimedSerializer, token: str, **options: Any) -> Any:
    if len(token) > _MAX_TOKEN:
        raise BadLink
    try:
        return serializer.loads(token, **options)
    except (BadData, UnicodeError):
        raise BadLink from None


def _name(link: Revocable) -> str:
    # Of what it says and not of the token: base64 has several spellings of the same signed token.
    return hashlib.sha256(msgspec.json.encode(link, order="deterministic")).hexdigest()


def _named(claim: str) -> str:
    if not claim:
        raise ValueError("a claim needs a name")
    return claim

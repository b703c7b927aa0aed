"""One-time pairing codes: issued for a subject, redeemed by exactly one claim, hard to guess.

The store holds a keyed hash of each code, never the code. Whatever is wrong with a code, the answer and the
work are the same, so that guessing teaches nothing.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable
from typing import Any, cast

import msgspec
from redis.asyncio import Redis

from codes import keys
from codes.alphabet import new_code, normalise
from codes.scripts import script

CLAIM_KEPT_MS = 86_400_000
"""How long a claim that won gets its answer again."""
_GRACE_MS = 60_000
_TRIES = 8


class CodeError(ValueError):
    """A code was not redeemed; the message is for people and says what to do next."""


class WrongCode(CodeError):
    """There is no such code, it expired, or it was used: which of them is not told."""

    def __init__(self) -> None:
        super().__init__("That code is wrong, used or too old. Ask for a new one in the other room.")


class TooManyGuesses(CodeError):
    """Too many wrong codes, by this person, in this room or by everybody. No code is taken for now."""

    def __init__(self, retry_after_s: int) -> None:
        super().__init__(f"Too many wrong codes. Try again in {retry_after_s} s.")
        self.retry_after_s = retry_after_s


class GuessLimits(msgspec.Struct, frozen=True, kw_only=True):
    """Wrong codes allowed in ``window_s``, which starts with the first wrong one."""

    per_person: int
    per_room: int
    overall: int
    window_s: int


class Issued(msgspec.Struct, frozen=True):
    """A new code, and when it ends (Unix time in ms)."""

    code: str
    expires_ms: int


class Redeemed(msgspec.Struct, frozen=True):
    """What the code was issued for, and by whom."""

    subject: str
    by: str


class PairingCodes:
    """Issues, redeems and revokes codes. ``new_code`` makes a canonical code of at least 40 random bits."""

    def __init__(
        self,
        redis: Redis,
        secret_key: bytes | str,
        *,
        now_ms: Callable[[], int],
        ttl_s: int,
        limits: GuessLimits,
        new_code: Callable[[], str] = new_code,
    ) -> None:
        self._redis = redis
        self._key = _derived(secret_key)
        self._now_ms = now_ms
        self._ttl_ms = ttl_s * 1000
        self._limits = limits
        self._new_code = new_code
        self._issue = script(redis, "code_issue")
        self._redeem = script(redis, "code_redeem")
        self._revoke = script(redis, "code_revoke")

    async def issue(self, subject: str, *, by: str) -> Issued:
        """A new code for ``subject``. ``by`` is handed to whoever redeems it."""
        for _ in range(_TRIES):
            code, now_ms = self._new_code(), self._now_ms()
            digest, expires_ms = self._digest(code), now_ms + self._ttl_ms
            fresh = await self._issue(
                keys=[keys.code(digest), keys.codes_of(subject)],
                args=[digest, subject, by, now_ms, expires_ms, self._ttl_ms + _GRACE_MS],
            )
            if fresh:
                return Issued(code, expires_ms)
        raise RuntimeError("The source of codes repeats itself.")

    async def redeem(self, text: str, *, claim: str, person: str, room: str) -> Redeemed:
        """Redeem what ``person`` typed in ``room``.

        ``claim`` names this attempt, in the whole installation: the claim that won gets the same answer again
        for CLAIM_KEPT_MS. A code whose subject is ``room`` itself is answered but not used up. Raises
        WrongCode, TooManyGuesses.
        """
        if not claim:
            raise ValueError("a claim needs a name")
        limits = self._limits
        answer: list[Any] = await self._redeem(
            keys=[
                keys.code(self._digest(normalise(text) or "")),
                keys.person_guesses(person),
                keys.room_guesses(room),
                keys.OVERALL_GUESSES,
            ],
            args=[
                now_ms := self._now_ms(),
                claim,
                room,
                limits.window_s * 1000,
                limits.per_person,
                limits.per_room,
                limits.overall,
                CLAIM_KEPT_MS,
            ],
        )
        if answer[0] == b"ok":
            return Redeemed(answer[1].decode(), answer[2].decode())
        if answer[0] == b"locked":
            raise TooManyGuesses(max(1, -(-(answer[1] - now_ms) // 1000)))
        raise WrongCode

    async def revoke(self, subject: str) -> int:
        """Make all unused codes of ``subject`` worthless. Returns how many were still good."""
        index = keys.codes_of(subject)
        digests = cast("list[bytes]", await self._redis.zrange(index, 0, -1))
        codes = [keys.code(digest.decode()) for digest in digests]
        return int(await self._revoke(keys=[index, *codes], args=[self._now_ms()]))

    def _digest(self, code: str) -> str:
        return hmac.new(self._key, code.encode(), hashlib.sha256).hexdigest()


def _derived(secret_key: bytes | str) -> bytes:
    secret = secret_key.encode() if isinstance(secret_key, str) else secret_key
    if not secret:
        raise ValueError("Codes need a secret key. Set SECRET_KEY to 32 or more random characters.")
    return hmac.new(secret, b"bridgebot pairing codes", hashlib.sha256).digest()

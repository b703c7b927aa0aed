"""The accounts of this installation: one record each in the store, its secrets sealed.

A field of an account's configuration that is annotated as :data:`core.contract.Secret`, at any depth, is
encrypted at rest. Records written by a newer version, with fields that this one does not know, still open.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any, TypeVar, cast

import msgspec

from core import keys
from core.model import AccountId, PlatformId
from core.sealing import Sealing
from core.secrets import SealBroken
from core.store import Redis, as_awaitable

ACCOUNTS = keys.ACCOUNTS
CHANGED = b"changed"
"""What is published on the channel :data:`ACCOUNTS` after every change."""
MAX_ID_CHARS = 32
_ID = re.compile(r"[a-z0-9][a-z0-9-]{0,31}")
_MAX_TRIES = 1000
_RENEW = """
if redis.call("HEXISTS", KEYS[1], ARGV[1]) == 0 then return 0 end
redis.call("HSET", KEYS[1], ARGV[1], ARGV[2])
return 1
"""

Config = TypeVar("Config")


class AccountError(Exception):
    """Something about an account that the operator must mend; the message says how."""


class Account(msgspec.Struct, frozen=True):
    """An account as it is stored; :meth:`Accounts.open` gives its configuration."""

    id: AccountId
    platform: PlatformId
    config: dict[str, Any]
    """By field name; a secret is ``{"$sealed": "…"}``."""
    added_at_ms: int = 0


def check_id(account_id: str) -> AccountId:
    """``account_id`` when it can be one. Raises AccountError."""
    if not _ID.fullmatch(account_id):
        raise AccountError(
            f"{account_id!r} cannot be the name of an account. Use 1 to {MAX_ID_CHARS} small letters, digits and "
            "dashes, the first no dash: libera, team-2."
        )
    return AccountId(account_id)


def as_id(text: str) -> str:
    """The nearest valid id to ``text``: ``irc.libera.chat`` → ``irc-libera-chat``."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:MAX_ID_CHARS].rstrip("-") or "account"


def suggestions(wanted: str) -> Iterator[AccountId]:
    """Valid ids like ``wanted``, the best first: ``libera``, ``libera-2``, ``libera-3`` …"""
    base = as_id(wanted)
    yield AccountId(base)
    for number in range(2, _MAX_TRIES):
        tail = f"-{number}"
        yield AccountId(base[: MAX_ID_CHARS - len(tail)].rstrip("-") + tail)


class Accounts:
    """Adds, lists and removes accounts. Every method raises what the store raises."""

    def __init__(
        self,
        store: Redis,
        secret_key: str,
        now_ms: Callable[[], int],
        on_secret: Callable[[str], None] = lambda secret: None,
    ) -> None:
        """``on_secret`` is told every secret that is sealed or opened, so that logs can hide it."""
        self._store = store
        self._sealing = Sealing(secret_key, on_secret)
        self._now_ms = now_ms

    async def add(self, account_id: str, platform: PlatformId, config: msgspec.Struct) -> AccountId:
        """Store a new account. Raises AccountError when the id is not valid or taken."""
        checked = check_id(account_id)
        if not await self._put(checked, platform, config):
            raise AccountError(
                f"There is an account {account_id!r} already. Choose another name, for example "
                f"{await self._free(account_id)!r}, or remove the old one: bridgebot accounts remove {account_id}"
            )
        return checked

    async def ensure(self, wanted: str, platform: PlatformId, config: msgspec.Struct) -> tuple[AccountId, bool]:
        """The account with exactly this configuration, added under an id like ``wanted`` if there is none.

        Returns its id and whether it is new. Raises AccountError.
        """
        for account in await self.list():
            if account.platform == platform and self.open(account, type(config)) == config:
                return account.id, False
        for candidate in suggestions(wanted):
            if await self._put(candidate, platform, config):
                return candidate, True
        raise AccountError(f"There are too many accounts with names like {wanted!r}. Remove some of them.")

    async def list(self) -> list[Account]:
        """All accounts, sorted by id."""
        rows = cast("dict[bytes, bytes]", await self._store.hgetall(ACCOUNTS))
        return sorted((_decode(row) for row in rows.values()), key=lambda account: account.id)

    async def get(self, account_id: str) -> Account | None:
        """The account of that id, or None."""
        row = await self._store.hget(ACCOUNTS, account_id)
        return None if row is None else _decode(cast("bytes", row))

    async def remove(self, account_id: str) -> bool:
        """Forget the account; False when there is none. Its rooms stay known until they are disconnected."""
        if not await self._store.hdel(ACCOUNTS, account_id):
            return False
        await self._store.publish(ACCOUNTS, CHANGED)
        return True

    def open(self, account: Account, config_type: type[Config]) -> Config:
        """The account's configuration, its secrets opened. Raises AccountError."""
        again = f"Add it again: bridgebot accounts remove {account.id}, then bridgebot accounts add"
        try:
            return self._sealing.opened(account.config, f"{account.id}/", config_type)
        except SealBroken:
            raise AccountError(
                f"The secrets of the account {account.id} were sealed with another SECRET_KEY. Put the old key back; "
                f"if it is lost: {again[0].lower()}{again[1:]}"
            ) from None
        except msgspec.ValidationError as error:
            raise AccountError(
                f"The configuration of the account {account.id} does not fit: {error}. {again}"
            ) from None

    async def renew(self, account: Account, config: msgspec.Struct) -> None:
        """Give the account another configuration; all else of it stays. One that is gone meanwhile stays gone."""
        fields = self._sealing.closed(config, f"{account.id}/")
        record = msgspec.json.encode(Account(account.id, account.platform, fields, account.added_at_ms))
        if await as_awaitable(self._store.eval(_RENEW, 1, ACCOUNTS, account.id, record)):
            await self._store.publish(ACCOUNTS, CHANGED)

    async def _put(self, account_id: AccountId, platform: PlatformId, config: msgspec.Struct) -> bool:
        fields = self._sealing.closed(config, f"{account_id}/")
        record = msgspec.json.encode(Account(account_id, platform, fields, self._now_ms()))
        if not await self._store.hsetnx(ACCOUNTS, account_id, record):
            return False
        await self._store.publish(ACCOUNTS, CHANGED)
        return True

    async def _free(self, wanted: str) -> AccountId:
        taken = {account.id for account in await self.list()}
        return next(candidate for candidate in suggestions(wanted) if candidate not in taken)


def _decode(row: bytes) -> Account:
    return msgspec.json.decode(row, type=Account)

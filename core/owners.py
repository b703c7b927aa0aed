"""Whose an account is: who added it in the portal, as the platform that they came from (or the company) knows them.

The name of an account that was somebody's stays theirs when it is removed: rooms are known by it, so whoever got it
next would hear what waits for them. An account that the operator adds under such a name is the operator's alone.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import cast

import msgspec
from msgspec.structs import replace

from core import keys
from core.accounts import Account, suggestions
from core.model import AccountId, PlatformId, RoomId
from core.store import Redis

OWNERS = keys.PREFIX + "owners"
"""Hash: account id → its :class:`Owner`."""


class Owner(msgspec.Struct, frozen=True):
    """Somebody who added an account. ``person`` is ``account/author id``, or ``oidc:issuer#subject`` of somebody who
    signed in with the company's account; ``name`` is for people.
    """

    person: str
    name: str
    room: RoomId
    """The room that they came from; empty where they came from none."""
    platform: PlatformId
    """Of the account that they added."""
    added_at_ms: int = 0
    """When that account was added; 0 while it is not."""


class NoNameLeft(Exception):
    """All names like the wanted one are taken."""

    def __init__(self, wanted: str) -> None:
        super().__init__(f"There are too many accounts with names like {wanted!r}.")


class Owners:
    """Keeps the owners. Every method raises what the store raises."""

    def __init__(self, store: Redis) -> None:
        self._store = store

    async def reserve(self, wanted: str, owner: Owner) -> AccountId:
        """A name like ``wanted`` for an account that ``owner`` is about to add: one that nobody ever had, or one of
        their own that is free again. Raises NoNameLeft.
        """
        for candidate in suggestions(wanted):
            if await self._store.hexists(keys.ACCOUNTS, candidate):
                continue
            before = await self._read(candidate)
            if before is not None:
                if (before.person, before.platform) == (owner.person, owner.platform):
                    await self._store.hset(OWNERS, candidate, _encode(owner))
                    return candidate
            elif not await self._was_used(candidate) and await self._store.hsetnx(OWNERS, candidate, _encode(owner)):
                return candidate
        raise NoNameLeft(wanted)

    async def confirm(self, account: Account, owner: Owner) -> None:
        """It was added by ``owner``."""
        await self._store.hset(OWNERS, account.id, _encode(replace(owner, added_at_ms=account.added_at_ms)))

    async def of(self, account: Account) -> Owner | None:
        """The owner of an account; None where it is the operator's."""
        return _owns(await self._read(account.id), account)

    async def of_all(self, accounts: Iterable[Account]) -> dict[AccountId, Owner]:
        """The owners of those accounts that have one."""
        rows = await self._all()
        found = ((account.id, _owns(rows.get(account.id), account)) for account in accounts)
        return {account_id: owner for account_id, owner in found if owner}

    async def private(self, accounts: Iterable[Account]) -> set[AccountId]:
        """Those that are, or are about to be, somebody's own: not what the operator offers to everybody."""
        rows = await self._all()
        found = ((account, rows.get(account.id)) for account in accounts)
        return {account.id for account, owner in found if owner and owner.added_at_ms in (0, account.added_at_ms)}

    async def _all(self) -> dict[AccountId, Owner]:
        rows = cast("dict[bytes, bytes]", await self._store.hgetall(OWNERS))
        return {AccountId(name.decode()): msgspec.json.decode(row, type=Owner) for name, row in rows.items()}

    async def _read(self, account_id: AccountId) -> Owner | None:
        row = cast("bytes | None", await self._store.hget(OWNERS, account_id))
        return None if row is None else msgspec.json.decode(row, type=Owner)

    async def _was_used(self, account_id: AccountId) -> bool:
        """Was anything ever sent through an account of that name?"""
        return bool(await self._store.exists(keys.seq(keys.account_tag(account_id))))


def _owns(owner: Owner | None, account: Account) -> Owner | None:
    return owner if owner and owner.added_at_ms == account.added_at_ms else None


def _encode(owner: Owner) -> bytes:
    return msgspec.json.encode(owner)

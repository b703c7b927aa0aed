"""The operator's apps: what is registered once at a service, so that teams give their accounts by signing in there.

One record for each platform, its secrets sealed as those of accounts are.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import msgspec

from core import keys
from core.accounts import CHANGED, AccountError
from core.contract import Platform
from core.model import PlatformId
from core.sealing import Sealing
from core.secrets import SealBroken
from core.store import Redis

APPS = keys.PREFIX + "apps"
"""Hash: platform → its app."""


class Apps:
    """Keeps the apps. Every method raises what the store raises."""

    def __init__(self, store: Redis, secret_key: str, on_secret: Callable[[str], None] = lambda secret: None) -> None:
        self._store = store
        self._sealing = Sealing(secret_key, on_secret)

    async def names(self) -> list[PlatformId]:
        """The platforms whose app was given."""
        rows = cast("list[bytes]", await self._store.hkeys(APPS))
        return sorted(PlatformId(row.decode()) for row in rows)

    async def get(self, platform: Platform) -> Any:
        """The platform's app; None where there is none. Raises AccountError."""
        row = cast("bytes | None", await self._store.hget(APPS, platform.id))
        if row is None or platform.sign_in is None:
            return None
        again = f"Give it again: bridgebot accounts app {platform.id}"
        try:
            return self._sealing.opened(msgspec.json.decode(row), _where(platform), platform.sign_in.app)
        except SealBroken:
            raise AccountError(f"The app on {platform.title} was sealed with another SECRET_KEY. {again}") from None
        except msgspec.ValidationError as error:
            raise AccountError(f"The app on {platform.title} does not fit: {error}. {again}") from None

    async def put(self, platform: Platform, app: msgspec.Struct) -> None:
        """Keep it in place of the one before."""
        await self._store.hset(APPS, platform.id, msgspec.json.encode(self._sealing.closed(app, _where(platform))))
        await self._store.publish(keys.ACCOUNTS, CHANGED)

    async def remove(self, platform: Platform) -> bool:
        """Forget it; False when there is none."""
        if not await self._store.hdel(APPS, platform.id):
            return False
        await self._store.publish(keys.ACCOUNTS, CHANGED)
        return True


def _where(platform: Platform) -> str:
    # No account can have a colon in its name.
    return f"app:{platform.id}/"

"""The store's scripts: atomic steps in Lua, one file each beside this module."""

from __future__ import annotations

import hashlib
from importlib.resources import files
from typing import Any

from redis.exceptions import NoScriptError, OutOfMemoryError, ResponseError

from core.store import Redis, StoreDown, command

REFUSALS = ("OOM ", "MISCONF ", "NOREPLICAS ", "MASTERDOWN ", "TRYAGAIN ", "BUSY ")


def refused(error: BaseException) -> bool:
    """Whether the store answers but takes no writes for now: memory or disk full, too few replicas, a busy script."""
    return isinstance(error, OutOfMemoryError) or (
        isinstance(error, ResponseError) and any(word in str(error) for word in REFUSALS)
    )


async def write(store: Redis, *args: str | bytes | int | float) -> Any:
    """One command that writes. Raises StoreDown when the store refuses writes, and what the store raises."""
    try:
        return await command(store, *args)
    except ResponseError as error:
        if refused(error):
            raise StoreDown(str(error)) from error
        raise


class Script:
    """One script. Called by its digest; sent whole only to a server that does not know it yet."""

    def __init__(self, store: Redis, name: str) -> None:
        self._store = store
        self._source = files("core").joinpath(f"{name}.lua").read_text("utf-8")
        self._sha = hashlib.sha1(self._source.encode(), usedforsecurity=False).hexdigest()

    async def __call__(self, keys: list[str], args: list[Any]) -> Any:
        """Run it. Raises StoreDown when the store refuses writes, and what the store raises; nothing is retried."""
        try:
            return await write(self._store, "EVALSHA", self._sha, len(keys), *keys, *args)
        except NoScriptError:
            return await write(self._store, "EVAL", self._source, len(keys), *keys, *args)

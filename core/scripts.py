"""The store's scripts: atomic steps in Lua, one file each beside this module."""

from __future__ import annotations

import hashlib
from importlib.resources import files
from typing import Any

from redis.exceptions import NoScriptError

from core.store import Redis, command


class Script:
    """One script. Called by its digest; sent whole only to a server that does not know it yet."""

    def __init__(self, store: Redis, name: str) -> None:
        self._store = store
        self._source = files("core").joinpath(f"{name}.lua").read_text("utf-8")
        self._sha = hashlib.sha1(self._source.encode(), usedforsecurity=False).hexdigest()

    async def __call__(self, keys: list[str], args: list[Any]) -> Any:
        """Run it. Raises what the store raises; nothing is retried."""
        try:
            return await command(self._store, "EVALSHA", self._sha, len(keys), *keys, *args)
        except NoScriptError:
            return await command(self._store, "EVAL", self._source, len(keys), *keys, *args)

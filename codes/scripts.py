"""The atomic steps of codes and links, in Lua: one file each beside this module."""

from __future__ import annotations

from importlib.resources import files

from redis.asyncio import Redis
from redis.commands.core import AsyncScript


def script(redis: Redis, name: str) -> AsyncScript:
    """The script ``<name>.lua``, to be called with ``keys`` and ``args``."""
    return redis.register_script(files("codes").joinpath(f"{name}.lua").read_text("utf-8"))

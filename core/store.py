"""Opening the store: a Redis or Valkey server behind ``REDIS_URL``, or the embedded one's Unix socket.

redis-py's own retries are off: a retried command that is not idempotent may do its work twice, so whoever
may safely try again does it itself, in the open.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable
from functools import cached_property
from typing import Any, TypeVar, cast
from urllib.parse import parse_qs, urlsplit

import redis.asyncio as redis_asyncio
import structlog
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel
from redis.backoff import NoBackoff
from redis.exceptions import (
    BusyLoadingError,
    ClusterDownError,
    ConnectionError,
    ReadOnlyError,
    TimeoutError,
)

from core.lane import Lane

Redis = redis_asyncio.Redis
log = structlog.get_logger()
RETRY_S = 0.2
_KEEPALIVE = {"TCP_KEEPIDLE": 10, "TCP_KEEPINTVL": 5, "TCP_KEEPCNT": 3, "TCP_USER_TIMEOUT": 25_000}
KEEPALIVE = {getattr(socket, name): value for name, value in _KEEPALIVE.items() if hasattr(socket, name)}
"""A server whose machine vanished answers nothing and refuses nothing: the system finds that out within 25 s."""


class Store(redis_asyncio.Redis):
    """A client of one server (at a time), with a lane for scripts."""

    @cached_property
    def lane(self) -> Lane:
        """The connection for scripts."""
        return Lane(self.connection_pool)

    async def aclose(self, close_connection_pool: bool | None = None) -> None:
        """Close it, and what it asked for the master's address."""
        await super().aclose(close_connection_pool)
        manager = getattr(self.connection_pool, "sentinel_manager", None)
        for sentinel in manager.sentinels if manager else ():
            await sentinel.aclose()


TRANSIENT = (ConnectionError, TimeoutError, BusyLoadingError, ReadOnlyError, ClusterDownError, OSError)
"""What a store that is down, restarting, loading or failing over raises. Nothing is known to have happened."""


class StoreDown(Exception):
    """The store did not take it. Nothing that was to be stored may be acknowledged to anybody."""


class StoreUrlError(ValueError):
    """REDIS_URL cannot be used; the message says what to write."""


Result = TypeVar("Result")


async def insist(attempt: Callable[..., Awaitable[Result]], *args: Any) -> Result:
    """Do something that may safely be done twice, as often as it takes until the store has answered."""
    while True:
        try:
            return await attempt(*args)
        except (*TRANSIENT, StoreDown) as error:
            log.debug("the store does not answer; trying again", error=str(error))
            await asyncio.sleep(RETRY_S)


async def command(store: Redis, *args: str | bytes | int | float) -> Any:
    """Send one command by the shortest way; not one that blocks. Raises what the store raises; retries nothing."""
    if isinstance(store, Store):
        return await store.lane(*args)
    return await store.execute_command(*args)


def is_one_slot(store: Redis) -> bool:
    """Whether one script may touch any keys together: everywhere but on a cluster."""
    return isinstance(store, Store)


async def as_awaitable(command: Any) -> Any:
    """Await a command whose type says that it may not be awaitable."""
    return await command


async def entries(store: Redis, name: str, after: int, count: int) -> list[tuple[int, bytes]]:
    """Entries of a journal's stream after an id, oldest first: ``(id, record)``."""
    rows: Any = await store.xrange(name, min=f"{after + 1}-0", count=count)
    return [(int(row_id.partition(b"-")[0]), fields[b"e"]) for row_id, fields in rows]


def open_store(url: str, *, max_connections: int = 64) -> Redis:
    """A client for ``url``: ``redis://``, ``rediss://``, ``unix://``, ``redis+sentinel://host:26379[,host…]/name``
    or ``redis+cluster://host:port``. Connects on first use. Raises StoreUrlError.
    """
    scheme = urlsplit(url).scheme
    retry = Retry(NoBackoff(), 0)
    # With a socket_timeout, redis-py wraps every send in asyncio.wait_for, which on Python 3.11 swallows cancellations.
    options: dict[str, Any] = {"retry": retry, "health_check_interval": 0, "socket_timeout": None}
    if scheme != "unix":
        options |= {"socket_keepalive": True, "socket_keepalive_options": KEEPALIVE}
    if scheme in ("redis", "rediss", "unix"):
        pool = redis_asyncio.BlockingConnectionPool.from_url(
            url, max_connections=max_connections, timeout=30, **options
        )
        return Store.from_pool(pool)
    if scheme == "redis+sentinel":
        return _sentinel(url, options)
    if scheme in ("redis+cluster", "rediss+cluster"):
        plain = url.replace("+cluster", "", 1)
        return cast("Redis", redis_asyncio.RedisCluster.from_url(plain))
    raise StoreUrlError(
        f"REDIS_URL starts with {scheme or 'no scheme'!r}. Write redis://host:6379/0, rediss://…, unix:///path, "
        "redis+sentinel://host:26379/mymaster or redis+cluster://host:6379."
    )


def _sentinel(url: str, options: dict[str, Any]) -> Redis:
    parts = urlsplit(url)
    hosts: list[tuple[str, int]] = []
    for item in parts.netloc.rpartition("@")[2].split(","):
        host, _, port = item.partition(":")
        hosts.append((host, int(port or 26379)))
    name = parts.path.strip("/")
    if not name:
        raise StoreUrlError("A Sentinel URL ends in the name of its master: redis+sentinel://host:26379/mymaster")
    query = parse_qs(parts.query)
    if parts.password:
        options["password"] = parts.password
    if "db" in query:
        options["db"] = int(query["db"][0])
    return cast("Redis", Sentinel(hosts).master_for(name, redis_class=Store, **options))

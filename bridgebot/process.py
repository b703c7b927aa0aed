"""What every command needs around it: settings, logging, a store, an event loop."""

from __future__ import annotations

import asyncio
import os
import socket
import sys
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit, urlunsplit

import click
from msgspec.structs import replace

from core.accounts import Accounts
from core.apps import Apps
from core.deps import wall_clock_ms
from core.embedded import EmbeddedStore, prepare_folder, socket_path
from core.logs import Redactor, configure
from core.secrets import check_key, make_key, read_key, require_key
from core.settings import Settings, from_environment
from core.store import TRANSIENT, Redis, open_store

T = TypeVar("T")
NEXT_PORTS = 50
ANSWER_S = 5.0

data_option = click.option(
    "--data", "data_dir", metavar="DIR", help="Data folder of the embedded store [default: ~/.local/share/bridgebot]."
)


def load(redactor: Redactor, **overrides: Any) -> Settings:
    """Settings from the environment and the command line; logging configured by them, through ``redactor``.

    Raises SettingsError.
    """
    settings = from_environment(os.environ, **overrides)
    redactor.add(settings.secret_key)
    redactor.add(settings.metrics_token)
    redactor.add(settings.oidc_client_secret)
    redactor.add_url(settings.redis_url)
    configure(settings.log_level, settings.log_format, redactor)
    return settings


def run_async(main: Coroutine[Any, Any, T]) -> T:
    """Run ``main`` on the fastest event loop there is."""
    try:
        import uvloop
    except ImportError:
        return asyncio.run(main)
    return uvloop.run(main)


def hide_password(url: str) -> str:
    """``url`` as it may be shown."""
    parts = urlsplit(url)
    if parts.password is None:
        return url
    login = f"{parts.username or ''}:[hidden]@"
    return urlunsplit(parts._replace(netloc=login + parts.netloc.rpartition("@")[2]))


def shared(settings: Settings) -> Settings:
    """``settings`` of a role that shares its store with others. Raises SecretKeyError, click.ClickException."""
    if not settings.redis_url:
        raise click.ClickException(
            "REDIS_URL is not set. Roles that run apart share one store: set it to redis://host:6379/0, the same for "
            "all. To run everything in one process without a store of your own: bridgebot run"
        )
    require_key(settings.secret_key)
    return settings


@asynccontextmanager
async def owned_store(settings: Settings) -> AsyncIterator[tuple[Settings, EmbeddedStore | None]]:
    """The store of ``bridgebot run``: the shared one if REDIS_URL is set, else an embedded one for as long as the
    block lasts. Yields the settings with the store's URL and a secret key. Raises EmbeddedStoreError, SecretKeyError.
    """
    if settings.redis_url:
        yield shared(settings), None
        return
    folder = _data_folder(settings)
    prepare_folder(folder)
    key = require_key(settings.secret_key) if settings.secret_key else make_key(folder)
    embedded = EmbeddedStore(folder, settings.aof_fsync)
    await embedded.start()
    try:
        yield replace(settings, redis_url=embedded.url, secret_key=key), embedded
    finally:
        await embedded.stop()


@asynccontextmanager
async def visited_store(settings: Settings) -> AsyncIterator[Settings]:
    """The store for a command that looks or changes something and ends: the running one, or else the embedded one
    started for this moment. Yields the settings with its URL and the key. Raises click.ClickException when it is
    silent, EmbeddedStoreError, SecretKeyError.
    """
    if settings.redis_url:
        await _must_answer(settings.redis_url)
        yield shared(settings)
        return
    folder = _data_folder(settings)
    if folder.is_dir() and await _answers(url := f"unix://{socket_path(folder)}"):
        yield replace(settings, redis_url=url, secret_key=require_key(settings.secret_key or read_key(folder)))
        return
    async with owned_store(settings) as (opened, _):
        yield opened


@dataclass(frozen=True)
class Visit:
    """What a command that looks or changes something works with; ``settings`` have the store's URL and the key."""

    settings: Settings
    store: Redis
    accounts: Accounts
    apps: Apps


@asynccontextmanager
async def visit(settings: Settings, redactor: Redactor) -> AsyncIterator[Visit]:
    """The accounts on :func:`visited_store`. Raises what that raises, and SecretKeyError."""
    async with visited_store(settings) as opened:
        redactor.add(opened.secret_key)
        store = open_store(opened.redis_url, max_connections=4)
        try:
            await check_key(store, opened.secret_key)
            accounts = Accounts(store, opened.secret_key, wall_clock_ms, redactor.add)
            yield Visit(opened, store, accounts, Apps(store, opened.secret_key, redactor.add))
        finally:
            await store.aclose()


def _data_folder(settings: Settings) -> Path:
    return Path(settings.data_dir).expanduser()


async def _answers(url: str) -> bool:
    store = open_store(url, max_connections=1)
    try:
        async with asyncio.timeout(ANSWER_S):
            return bool(await store.ping())
    except (*TRANSIENT, TimeoutError):
        return False
    finally:
        await store.aclose()


async def _must_answer(url: str) -> None:
    if not await _answers(url):
        raise click.ClickException(f"The store at {hide_password(url)} does not answer. Start it, or mend REDIS_URL.")


def find_port(host: str, port: int, *, exactly: bool) -> int:
    """``port`` if it is free on ``host``, else the next free one; 0: any. Raises click.ClickException when
    ``exactly`` this one was wanted, or when ``host`` is no address of this machine.
    """
    for candidate in [port] if exactly or not port else range(port, min(port + NEXT_PORTS, 65536)):
        try:
            family, kind, protocol, _, address = socket.getaddrinfo(
                host or None, candidate, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
            )[0]
        except OSError as error:
            raise click.ClickException(f"{host!r} is no address of this machine: {error}") from None
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(address)
                probe.listen(1)
            except OSError as error:
                problem = error
                continue
            return int(probe.getsockname()[1])
    raise click.ClickException(
        f"The web server cannot listen on {host}:{port}: {problem.strerror}. Choose another port with --port."
    )


def say(line: str) -> None:
    """A line for people, at once also where standard output is a file or a pipe."""
    click.echo(line)
    sys.stdout.flush()

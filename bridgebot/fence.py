"""Asking services at addresses that strangers typed, without letting them lead into our own network.

Two fences, one behind the other. What was typed is looked at first, so that people get an answer in plain words. And
the service is asked in a thread of its own, on an event loop that connects to public addresses only: whatever a name
resolves to by then, wherever a redirect or a server's own word leads.
"""

from __future__ import annotations

import asyncio
import re
import socket
from collections.abc import Callable, Coroutine, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, TypeVar
from urllib.parse import urlsplit

import msgspec

from core.contract import Rejected, Retry
from core.egress import Forbidden, is_public

T = TypeVar("T")
MOST_AT_ONCE = 4
RESOLVE_S = 5.0
GRACE_S = 5.0
"""How much later than its patience a thread may end."""
BUSY_S = 5.0
_URL = re.compile(r"(?i)([a-z][a-z0-9+.-]*)://([^\s\"'<>]*)")
_HOST = re.compile(r"\[?[\w.:%-]+\]?")
_SAFE_SCHEMES = frozenset({"https", "wss", "ircs"})


class Typed(msgspec.Struct, frozen=True):
    """Something that was typed. ``is_address``: it is asked for as the address of a server."""

    title: str
    text: str
    is_secret: bool = False
    is_address: bool = False


async def refuse_private(typed: Iterable[Typed]) -> None:
    """Raises Rejected, in plain words, where something leads into a private network or goes unencrypted."""
    for one in typed:
        for text in _texts(one.text):
            for scheme, _ in _URL.findall(text):
                if scheme.lower() not in _SAFE_SCHEMES:
                    safe = f"{scheme.lower()}s" if f"{scheme.lower()}s" in _SAFE_SCHEMES else "https"
                    raise Rejected(f"{one.title}: write an address that begins with {safe}://, not {scheme}://.")
            for host in _hosts(msgspec.structs.replace(one, text=text)):
                if not await leads_outside(host):
                    raise Rejected(
                        f"{one.title}: {host} is in a private network. Only servers that the internet reaches can be "
                        "added here; the operator can add the others."
                    )


async def leads_outside(host: str) -> bool:
    """Whether all addresses of ``host`` are public; also True where it has none: then nobody gets there."""
    try:
        async with asyncio.timeout(RESOLVE_S):
            found = await asyncio.get_running_loop().getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError, TimeoutError):
        return True
    return all(is_public(str(where[0])) for *_, where in found)


def _texts(text: str) -> Iterator[str]:
    """The text; of JSON, the texts in it, where slashes and dots may be written in other ways."""
    yield text.replace("\\/", "/")
    if text.lstrip().startswith(("{", "[")):
        try:
            waiting = [msgspec.json.decode(text)]
        except msgspec.DecodeError:
            return
        while waiting:
            value = waiting.pop()
            if isinstance(value, str):
                yield value
            elif isinstance(value, dict):
                waiting += [*value, *value.values()]
            elif isinstance(value, list):
                waiting += value


def _hosts(one: Typed) -> Iterator[str]:
    for scheme, rest in _URL.findall(one.text):
        try:
            host = urlsplit(f"{scheme}://{rest}").hostname
        except ValueError:
            host = None
        if host:
            yield host
    if "://" in one.text or one.is_secret:
        return
    for word in one.text.replace(",", " ").split():
        if host := _bare_host(word, is_address=one.is_address):
            yield host


def _bare_host(word: str, *, is_address: bool) -> str:
    """``bot@example.org:5222/x`` → ``example.org``; empty where it is a name or number of another kind."""
    if not is_address and ("@" in word or "." not in word):
        return ""
    host = word.rpartition("@")[2].partition("/")[0]
    if host.startswith("["):
        host = host[1:].partition("]")[0]
    elif host.count(":") == 1:
        host = host.partition(":")[0]
    return host if _HOST.fullmatch(host) else ""


class FencedLoop(asyncio.SelectorEventLoop):
    """An event loop whose sockets connect to public addresses only."""

    async def sock_connect(self, sock: socket.socket, address: Any) -> None:
        """As usual, for a public address. Raises Forbidden."""
        try:
            may = sock.family in (socket.AF_INET, socket.AF_INET6) and is_public(str(address[0]))
        except ValueError:  # a name: every caller has resolved it by now
            may = False
        if not may:
            raise Forbidden("that address is not public")
        await super().sock_connect(sock, address)


class Fence:
    """Runs coroutines behind the second fence, a few at a time."""

    def __init__(self, most: int = MOST_AT_ONCE) -> None:
        self._most = most
        self._pool = ThreadPoolExecutor(most, thread_name_prefix="fence")
        self._under_way = 0

    async def run(self, work: Callable[[], Coroutine[Any, Any, T]], patience_s: float) -> T:
        """What ``work()`` returns. It must touch nothing of the loop outside. Raises what it raises; Retry when too
        much is under way; TimeoutError after ``patience_s``.
        """
        if self._under_way >= self._most:
            raise Retry(BUSY_S, "too many are at it just now")
        self._under_way += 1
        future = asyncio.get_running_loop().run_in_executor(self._pool, partial(_inside, work, patience_s))
        future.add_done_callback(self._done)
        async with asyncio.timeout(patience_s + GRACE_S):
            return await asyncio.shield(future)

    def _done(self, future: asyncio.Future[Any]) -> None:
        self._under_way -= 1
        if not future.cancelled():
            future.exception()  # whoever waited may be gone


def _inside(work: Callable[[], Coroutine[Any, Any, T]], patience_s: float) -> T:
    async def bounded() -> T:
        async with asyncio.timeout(patience_s):
            return await work()

    with asyncio.Runner(loop_factory=FencedLoop) as runner:
        return runner.run(bounded())

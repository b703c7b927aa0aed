"""Fetching what a message points to: an avatar, a picture, a file. The address came from somebody we do not know, so it
must not lead into our own network.
"""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from ipaddress import IPv6Address, ip_address, ip_network
from typing import TYPE_CHECKING, Any

from core.contract import Rejected, Retry

if TYPE_CHECKING:
    import aiohttp

CHUNK_BYTES = 65_536
CONNECT_S = 10.0
SILENCE_S = 20.0
"""Longest wait for the next bytes."""
WHOLE_S = 300.0
MAX_REDIRECTS = 4
RETRY_S = 5.0
NOT_PUBLIC = "is not a public address"
_IN_IPV4 = tuple(map(ip_network, ("64:ff9b::/96", "64:ff9b:1::/48", "2002::/16", "2001::/32")))
"""IPv6 networks whose addresses stand for IPv4 ones (NAT64, 6to4, Teredo)."""


class Forbidden(OSError):
    """The address is in a private network, or none that anybody serves."""


def is_public(address: str) -> bool:
    """Does ``address`` (as in a socket address) lie in the public internet, whatever it is wrapped in?"""
    ip = ip_address(address.partition("%")[0])
    if isinstance(ip, IPv6Address):
        if ip.ipv4_mapped is not None:
            ip = ip.ipv4_mapped
        elif any(ip in net for net in _IN_IPV4) or ip in ip_network("::/96"):
            return False
    return ip.is_global and not ip.is_multicast and not ip.is_reserved


def guarded_session(allowed: Iterable[str] = (), **options: Any) -> aiohttp.ClientSession:
    """A client session that connects to public addresses only: looked at when a socket is made, so whatever a name
    resolves to and wherever a redirect leads. ``allowed``: addresses (``10.0.0.7``) that the operator trusts besides.
    ``options`` go to aiohttp.ClientSession. Close it.
    """
    import aiohttp

    trusted = frozenset(allowed)

    def make_socket(info: Any) -> socket.socket:
        family, kind, proto, _, where = info
        if where[0] not in trusted and not is_public(where[0]):
            raise Forbidden(f"{where[0]} {NOT_PUBLIC}")
        return socket.socket(family, kind, proto)

    connector = aiohttp.TCPConnector(socket_factory=make_socket)
    timeout = aiohttp.ClientTimeout(total=WHOLE_S, sock_connect=CONNECT_S, sock_read=SILENCE_S)
    return aiohttp.ClientSession(connector=connector, timeout=timeout, cookie_jar=aiohttp.DummyCookieJar(), **options)


@asynccontextmanager
async def opened(session: aiohttp.ClientSession, url: str, **options: Any) -> AsyncIterator[aiohttp.ClientResponse]:
    """A successful answer to GET ``url``. Raises Rejected where there is none to be had, Retry where there may be."""
    import aiohttp

    try:
        async with session.get(url, max_redirects=MAX_REDIRECTS, **options) as response:
            if response.status == 429 or response.status >= 500:
                raise Retry(RETRY_S, f"the file's server answers {response.status}")
            if response.status != 200:
                raise Rejected(f"the file's server answers {response.status}")
            yield response
    except (aiohttp.InvalidURL, aiohttp.TooManyRedirects, Forbidden) as error:
        raise Rejected(f"the file cannot be fetched: {error}") from None
    except aiohttp.ClientConnectorError as error:
        # With several addresses the error is one made of all of theirs.
        if NOT_PUBLIC in str(error.os_error):
            raise Rejected(f"the file cannot be fetched: {error.os_error}") from None
        raise Retry(RETRY_S, "the file's server does not answer") from None
    except (aiohttp.ClientError, TimeoutError):
        raise Retry(RETRY_S, "the file's server does not answer") from None


async def fetch(session: aiohttp.ClientSession, url: str, max_bytes: int, **options: Any) -> AsyncIterator[bytes]:
    """Stream what GET ``url`` gives, ``max_bytes`` at most. Raises Rejected and Retry."""
    async with opened(session, url, **options) as response:
        if (response.content_length or 0) > max_bytes:
            raise Rejected(f"the file is larger than {max_bytes} bytes")
        total = 0
        async for chunk in response.content.iter_chunked(CHUNK_BYTES):
            total += len(chunk)
            if total > max_bytes:
                raise Rejected(f"the file is larger than {max_bytes} bytes")
            yield chunk

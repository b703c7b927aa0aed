"""How the store is opened."""

from __future__ import annotations

import socket
import sys
from pathlib import Path

import pytest

from core.store import Store, open_store
from tests.faults.proxy import Proxy
from tests.servers.store import ValkeyServer


@pytest.mark.skipif(sys.platform != "linux", reason="the options have these names on Linux")
async def test_a_server_that_vanished_is_noticed(tmp_path: Path) -> None:
    """The system gives a TCP connection up when nothing comes back: both the one for scripts and the others."""
    with ValkeyServer(tmp_path) as server:
        async with Proxy(server.socket) as proxy:
            client = open_store(proxy.url)
            assert isinstance(client, Store)
            await client.lane("PING")
            other = await client.connection_pool.get_connection()
            await other.connect()
            for connection in (client.lane._connection, other):
                tcp = connection._writer.get_extra_info("socket")
                assert tcp.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
                assert tcp.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 25_000
                assert tcp.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 10
            await client.connection_pool.release(other)
            await client.aclose()

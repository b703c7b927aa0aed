"""The store that tests run on is a real one, and can be broken and mended."""

from pathlib import Path

import pytest

from core.store import TRANSIENT, Redis, open_store
from tests.servers.store import ValkeyServer


async def test_the_store_is_empty_and_takes_what_it_is_given(store: Redis) -> None:
    """A test starts on an empty store that answers."""
    assert await store.dbsize() == 0
    await store.set("k", "v")
    assert await store.get("k") == b"v"


async def test_what_was_written_survives_a_kill(tmp_path: Path) -> None:
    """A killed store that keeps an append-only file has everything again after a start, at the same URL."""
    with ValkeyServer(tmp_path / "a rather long name for a folder" / ("x" * 120)) as server:
        client = open_store(server.url)
        await client.set("k", "v")
        server.kill()
        with pytest.raises(TRANSIENT):
            await client.get("k")
        server.start()
        assert await client.get("k") == b"v"
        await client.aclose()
    assert not server.socket.exists()

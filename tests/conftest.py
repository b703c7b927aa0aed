"""Fixtures for all tests: one real store per session, emptied before each test, and a clock to turn by hand."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterator
from functools import partial
from typing import Any

import hypothesis
import pytest

from core.store import Redis, open_store
from tests.servers.many import Cluster, Sentinels
from tests.servers.store import ValkeyServer

# Machines are noisy: a property either holds or it does not, however long an example takes.
hypothesis.settings.register_profile(
    "bridgebot", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("bridgebot")


class FakeClock:
    """Time that stands still until it is told to go on, in Unix milliseconds."""

    def __init__(self, at_ms: int = 1_800_000_000_000) -> None:
        self.at_ms = at_ms

    def now_ms(self) -> int:
        """The time it shows."""
        return self.at_ms

    def advance(self, by_ms: int) -> None:
        """Go on by ``by_ms``."""
        self.at_ms += by_ms


STORES: dict[str, Any] = {"": partial(ValkeyServer, appendonly=False), "cluster": Cluster, "sentinel": Sentinels}


@pytest.fixture(scope="session")
def store_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of the session's store; ``BRIDGEBOT_TEST_STORE=cluster`` or ``sentinel`` chooses another kind."""
    kind = STORES[os.environ.get("BRIDGEBOT_TEST_STORE", "")]
    with kind(tmp_path_factory.mktemp("store")) as server:
        yield server.url


@pytest.fixture
async def store(store_url: str) -> AsyncIterator[Redis]:
    """A client of the session's store, which is empty at first."""
    client = open_store(store_url)
    await client.flushall()
    yield client
    await client.aclose()


@pytest.fixture
def clock() -> FakeClock:
    """A clock to turn by hand."""
    return FakeClock()

"""Fixtures of Discord's tests."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from core.store import Redis
from tests.bots.discord.support import Bench, bench


@pytest.fixture
async def dc(store: Redis) -> AsyncIterator[Bench]:
    """A double with a server, and an adapter that is not started."""
    async with bench(store) as made:
        yield made

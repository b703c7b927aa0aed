"""Fixtures of Slack's tests."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from core.store import Redis
from tests.bots.slack.support import Bench, bench


@pytest.fixture
async def slack(store: Redis) -> AsyncIterator[Bench]:
    """A double with a channel, and an adapter that is not started."""
    async with bench(store) as made:
        yield made

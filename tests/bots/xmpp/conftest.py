"""Servers for the XMPP tests: started once and shared, with rooms of their own per test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.servers.xmpp import Prosody


@pytest.fixture(scope="session")
def prosody(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prosody]:
    """A server with everything."""
    with Prosody(tmp_path_factory.mktemp("prosody")) as server:
        yield server


@pytest.fixture(scope="session")
def plain_prosody(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prosody]:
    """A server without archives, uploads and stream management."""
    with Prosody(tmp_path_factory.mktemp("prosody0"), modern=False) as server:
        yield server

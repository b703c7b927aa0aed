"""One homeserver for all tests of this folder."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.servers.matrix import Synapse


@pytest.fixture(scope="session")
def synapse(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Synapse]:
    """A homeserver that knows the application service ``bridgebot``."""
    with Synapse(tmp_path_factory.mktemp("synapse")) as server:
        yield server

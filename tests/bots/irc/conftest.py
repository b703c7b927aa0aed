"""Servers for the IRC tests: each is started once and shared, with its own channels per test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.servers.irc import InspIrcd, NgIrcd


@pytest.fixture(scope="session")
def ngircd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NgIrcd]:
    """A plain server."""
    with NgIrcd(tmp_path_factory.mktemp("ngircd")) as server:
        yield server


@pytest.fixture(scope="session")
def inspircd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[InspIrcd]:
    """A server with IRCv3 and TLS."""
    with InspIrcd(tmp_path_factory.mktemp("inspircd"), tls=True) as server:
        yield server


@pytest.fixture(scope="session")
def plain_inspircd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[InspIrcd]:
    """InspIRCd without IRCv3."""
    with InspIrcd(tmp_path_factory.mktemp("inspircd0"), modern=False) as server:
        yield server


@pytest.fixture(params=["ngircd", "inspircd", "plain_inspircd"])
def server(request: pytest.FixtureRequest) -> NgIrcd | InspIrcd:
    """Each server in turn."""
    found: NgIrcd | InspIrcd = request.getfixturevalue(request.param)
    return found

"""The connection for scripts: answers to the right questions, and errors that tell the truth."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from redis.exceptions import ConnectionError, ResponseError

from core.store import Redis, Store, command, open_store
from tests.servers.store import ValkeyServer


@pytest.fixture
async def one(tmp_path: Path) -> AsyncIterator[Redis]:
    """A store of one server: only that has a lane."""
    with ValkeyServer(tmp_path, appendonly=False) as server:
        client = open_store(server.url)
        yield client
        await client.aclose()


async def test_answers_come_to_who_asked(one: Redis) -> None:
    """A thousand questions at once each get their own answer, errors in between included."""
    assert isinstance(one, Store)
    asked = [command(one, "ECHO", str(n)) if n % 10 else command(one, "NONSENSE") for n in range(1000)]
    answers = await asyncio.gather(*asked, return_exceptions=True)
    for number, answer in enumerate(answers):
        if number % 10:
            assert answer == str(number).encode()
        else:
            assert isinstance(answer, ResponseError)


async def test_a_question_given_up_does_not_shift_the_answers(one: Redis) -> None:
    """Whoever stops waiting leaves the others' answers in place."""
    given_up = asyncio.create_task(command(one, "ECHO", "lost"))
    await asyncio.sleep(0)
    given_up.cancel()
    assert await command(one, "ECHO", "kept") == b"kept"


async def test_a_lost_connection_is_said_and_mended(tmp_path: Path) -> None:
    """When the server dies, what was asked fails as transient; the next question after its return is answered."""
    server = ValkeyServer(tmp_path)
    server.start()
    client = open_store(server.url)
    try:
        assert await command(client, "SET", "a", "1") == b"OK"
        server.freeze()
        asked = asyncio.create_task(command(client, "GET", "a"))
        await asyncio.sleep(0)
        server.kill()
        with pytest.raises(ConnectionError):
            await asked
        with pytest.raises((ConnectionError, OSError)):
            await command(client, "GET", "a")
        server.start()
        assert await command(client, "GET", "a") == b"1"
    finally:
        await client.aclose()
        server.stop()

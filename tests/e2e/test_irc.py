"""The product as it is started, on real IRC servers: one plain, one modern."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.bridgebot.support import call, running
from tests.e2e.people import join, pair
from tests.servers.irc import InspIrcd, NgIrcd


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NgIrcd]:
    """An old server."""
    with NgIrcd(tmp_path_factory.mktemp("e2e-ngircd")) as server:
        yield server


@pytest.fixture(scope="module")
def modern(tmp_path_factory: pytest.TempPathFactory) -> Iterator[InspIrcd]:
    """A server with IRCv3."""
    with InspIrcd(tmp_path_factory.mktemp("e2e-inspircd")) as server:
        yield server


def _target(port: int, channel: str) -> str:
    return f"irc://127.0.0.1:{port}/{channel}?flood=off"


async def test_two_channels_become_one(tmp_path: Path, plain: NgIrcd, modern: InspIrcd) -> None:
    """Two typed commands connect a channel on an old server with one on a modern server; both ways, with names."""
    data = str(tmp_path / "data")
    words = ("run", "--data", data, "--port", "0", "--irc", _target(plain.port, "#old"))
    with running(tmp_path, *words, "--irc", _target(modern.port, "#new")):
        ann, ben = await asyncio.gather(join(plain.port, "ann", "#old"), join(modern.port, "ben", "#new"))
        await pair(ann, "#old", ben, "#new")
        ann.say("#old", "hello over there")
        await ben.sees("ann (IRC): hello over there")
        ben.say("#new", "\x02bold\x02 hello back")
        assert "bold" in await ann.sees("hello back")
        ann.say("#old", "^^^ only here", "-sameroom list", "and this is heard")
        assert "only here" not in await ben.sees("only here", "-sameroom", "and this is heard")
        await asyncio.gather(ann.close(), ben.close())


async def test_a_second_start_knows_everything(tmp_path: Path, plain: NgIrcd, modern: InspIrcd) -> None:
    """After an end and a new start without any option, accounts, rooms and tubes are there."""
    data = str(tmp_path / "data")
    words = ("run", "--data", data, "--port", "0", "--irc", _target(plain.port, "#again1"))
    with running(tmp_path, *words, "--irc", _target(modern.port, "#again2")):
        ann, ben = await asyncio.gather(join(plain.port, "ann1", "#again1"), join(modern.port, "ben1", "#again2"))
        await pair(ann, "#again1", ben, "#again2")
    with running(tmp_path, "run", "--data", data, "--port", "0"):
        await asyncio.gather(ann.sees(" JOIN "), ben.sees(" JOIN "))
        listed = call(tmp_path, "tubes", "--data", data)
        assert "#again1" in listed.stdout
        assert "#again2" in listed.stdout
        ann.say("#again1", "still connected")
        await ben.sees("ann1 (IRC): still connected")
        await asyncio.gather(ann.close(), ben.close())


async def test_a_kill_in_the_middle_loses_nothing_that_was_accepted(
    tmp_path: Path, plain: NgIrcd, modern: InspIrcd
) -> None:
    """SIGKILL while messages flow, a new start at once: what was said before and after arrives, in order.

    What the server hands to a dead socket is gone on plain IRC; so the people talk, the process is killed while
    it delivers, and they talk on when the bot is back.
    """
    data = str(tmp_path / "data")
    words = ("run", "--data", data, "--port", "0", "--irc", _target(plain.port, "#kill1"))
    with running(tmp_path, *words, "--irc", _target(modern.port, "#kill2")) as first:
        ann, ben = await asyncio.gather(join(plain.port, "ann2", "#kill1"), join(modern.port, "ben2", "#kill2"))
        await pair(ann, "#kill1", ben, "#kill2")
        ben.say("#kill2", *(f"count {n:04}" for n in range(2000)))
        await ben.settled()
        await ann.sees("count 0100")
        first.process.send_signal(signal.SIGKILL)
        first.process.wait()
    with running(tmp_path, "run", "--data", data, "--port", "0"):
        await ben.sees(":bridgebot!bridgebot@127.0.0.1 JOIN", " JOIN ")
        ben.say("#kill2", "count 9999")
        await ann.sees("count 9999", timeout_s=20)
        seen = [line.rpartition("count ")[2] for line in ann.said("#kill1") if "count " in line]
        numbers = [int(n) for n in seen]
        firsts = list(dict.fromkeys(numbers))
        assert firsts == sorted(firsts), "out of order"
        assert firsts[:-1] == list(range(len(firsts) - 1)), "a gap among what was accepted"
        await asyncio.gather(ann.close(), ben.close())

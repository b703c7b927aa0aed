"""People on IRC who type the product's commands."""

from __future__ import annotations

import asyncio
import re

from tests.servers.irc import HermeticIrcClient

CODE = re.compile(r"[A-Z0-9]{5}-[A-Z0-9]{4}")


async def join(port: int, nick: str, channel: str) -> HermeticIrcClient:
    """Somebody in a channel, who sees the bot there."""
    person = await HermeticIrcClient(nick).connect(port)
    person.send(f"JOIN {channel}")
    await person.sees(":bridgebot!", "bridgebot")
    return person


async def open_code(person: HermeticIrcClient, channel: str) -> str:
    """Type ``-sameroom open``; returns the code."""
    person.say(channel, "-sameroom open")
    line = await person.sees("Your code is")
    found = CODE.search(line)
    assert found, line
    return found[0]


async def pair(a: HermeticIrcClient, channel_a: str, b: HermeticIrcClient, channel_b: str) -> None:
    """Connect two channels by two typed commands."""
    code = await open_code(a, channel_a)
    b.say(channel_b, f"-sameroom connect {code}")
    await asyncio.gather(a.sees("now connected"), b.sees("now connected"))

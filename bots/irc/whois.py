"""Asking the server who is in a channel: WHO, with accounts where it knows WHOX."""

from __future__ import annotations

from bots.irc.connection import Connection
from bots.irc.people import People, author_id
from bots.irc.send import Sender
from bots.irc.wire import Line, build

WHOX_FIELDS = "%cuhna"


class _Answers:
    """Takes 352 (RPL_WHOREPLY) and 354 (RPL_WHOSPCRPL) lines while it is asked to."""

    def __init__(self, people: People) -> None:
        self._people = people

    def plain(self, line: Line) -> None:
        """``352 us #channel user host server nick flags :…``"""
        _, _, user, host, _, nick = line.params[:6]
        self._people.met(author_id(f"{nick}!{user}@{host}", ""), nick)

    def extended(self, line: Line) -> None:
        """``354 us #channel user host nick account``; an account of 0 is none."""
        _, _, user, host, nick, account = line.params[:6]
        self._people.met(author_id(f"{nick}!{user}@{host}", ""), nick)
        if account != "0":
            self._people.met(author_id("", account), nick)


async def look_up(connection: Connection, sender: Sender, people: People, channel: str) -> None:
    """Learn who everybody in ``channel`` is. Raises Offline or Uncertain."""
    answers = _Answers(people)
    connection.on(answers.plain, "352")
    connection.on(answers.extended, "354")
    fields = (WHOX_FIELDS,) if connection.features.whox else ()
    try:
        await sender.command(build("WHO", channel, *fields))
    finally:
        connection.off(answers.plain, "352")
        connection.off(answers.extended, "354")

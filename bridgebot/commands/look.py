"""Looking at what the relay keeps: ``tubes``, ``log``, ``replay``, ``export``."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click
import msgspec

from bridgebot import process
from core.directory import Letter
from core.logs import Redactor
from core.settings import Settings
from core.wire import RoomState, SecurityRecord, Tube

if TYPE_CHECKING:
    from bridgebot.roles import Node

FOLLOW_EVERY_S = 1.0
FOLLOW_LINES = 200
_ARROWS = {"both": "<->", "a>b": "-->", "b>a": "<--"}


@asynccontextmanager
async def opened(
    settings: Settings, *, writes: bool = False, on_secret: Callable[[str], None] = lambda secret: None
) -> AsyncIterator[Node]:
    """What reads the store; ``writes``: and appends to its journals. ``on_secret`` is told what is opened."""
    from bridgebot import roles

    async with process.visited_store(settings) as opened:
        node = await roles.open_node(opened, on_secret=on_secret)
        if writes:
            async with roles.running(node, ()):
                yield node
            return
        try:
            yield node
        finally:
            await node.deps.store.aclose()


def _time(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S")


@click.command()
@process.data_option
def tubes(data_dir: str | None) -> None:
    """List the connections of rooms."""
    process.run_async(_tubes(process.load(Redactor(), data_dir=data_dir)))


async def _tubes(settings: Settings) -> None:
    async with opened(settings) as node:
        rooms, found = await everything(node)
    for tube in found:
        notes = ["paused"] if tube.paused else []
        notes += [f"{end} is {what}" for end in (tube.a, tube.b) if (what := _state(rooms.get(end)))]
        by = f"  by {tube.created_by}" if tube.created_by else ""
        process.say(f"{ends(tube, rooms)}  since {_time(tube.created_at_ms)}{by}")
        process.say("    " + "  ".join([tube.a, tube.b, *notes]))
    if not found:
        process.say("No rooms are connected yet. Type -" + settings.prefix + " open in one of them.")


async def everything(node: Node) -> tuple[dict[str, RoomState], list[Tube]]:
    """All rooms by id, and all tubes, the oldest first."""
    rooms: dict[str, RoomState] = {}
    found: list[Tube] = []
    async for room, tube in node.directory.everything():
        if room:
            rooms[room.room] = room
        if tube:
            found.append(tube)
    return rooms, sorted(found, key=lambda tube: tube.created_at_ms)


def ends(tube: Tube, rooms: dict[str, RoomState]) -> str:
    """The two rooms of a tube by their names, and which way it relays."""
    a, b = (rooms[end].label() if end in rooms else end for end in (tube.a, tube.b))
    return f"{a}  {_ARROWS[tube.direction]}  {b}"


def _state(room: RoomState | None) -> str:
    if room is None:
        return ""
    return f"away ({room.away})" if room.away else "paused" if room.paused else ""


@click.command()
@click.option("--follow", "-f", is_flag=True, help="Wait for more, until Ctrl+C.")
@click.option("--lines", "-n", default=100, type=click.IntRange(1), show_default=True, help="How many of the newest.")
@process.data_option
def log(follow: bool, lines: int, data_dir: str | None) -> None:
    """Show the security log: who opened, connected, paused, disabled what, where and when."""
    process.run_async(_log(process.load(Redactor(), data_dir=data_dir), lines, follow))


async def _log(settings: Settings, lines: int, follow: bool) -> None:
    async with opened(settings) as node:
        shown: set[SecurityRecord] = set()
        while True:
            newest = [record async for record in node.directory.security_log(limit=lines)]
            for record in reversed(newest):
                if record not in shown:
                    by = f"  by {record.actor}" if record.actor else ""
                    detail = f"  {record.detail}" if record.detail else ""
                    process.say(f"{_time(record.at_ms)}  {record.act}  {record.room}{by}{detail}")
            if not follow:
                break
            shown, lines = set(newest), max(lines, FOLLOW_LINES)
            await asyncio.sleep(FOLLOW_EVERY_S)
    if not shown and not newest:
        process.say("The security log is empty.")


@click.command()
@click.argument("letter_id", metavar="[ID]", required=False)
@click.option("--all", "everything", is_flag=True, help="Send all of them again.")
@process.data_option
def replay(letter_id: str | None, everything: bool, data_dir: str | None) -> None:
    """List messages that were set aside, or send the one called ID, or all of them, again."""
    settings = process.load(Redactor(), data_dir=data_dir)
    process.run_async(_replay(settings, letter_id, everything))


async def _replay(settings: Settings, letter_id: str | None, everything: bool) -> None:
    async with opened(settings, writes=bool(letter_id or everything)) as node:
        account_ids = [account.id for account in await node.accounts.list()]
        letters = [letter async for letter in node.directory.dead_letters(account_ids)]
        if not letter_id and not everything:
            for letter in letters:
                process.say(
                    f"{_name(letter)}  {_time(letter.letter.at_ms)}  {letter.letter.room}  {letter.letter.reason}"
                )
            process.say(f"{len(letters)} messages are set aside." if letters else "Nothing is set aside.")
            return
        wanted = [letter for letter in letters if everything or _name(letter) == letter_id]
        if letter_id and not wanted:
            raise click.ClickException(f"There is no message {letter_id!r}. `bridgebot replay` lists them.")
        with click.progressbar(length=len(wanted), label="Sending again", file=sys.stderr) as progress:
            for letter in wanted:
                await node.directory.replay(letter)
                progress.update(1)
        process.say(f"{len(wanted)} messages are on their way again.")


def _name(letter: Letter) -> str:
    """What an operator types to mean this one: the journal's name and the id in it."""
    return f"{letter.tag.partition('{')[2].partition('}')[0]}/{letter.id}"


@click.command()
@process.data_option
def export(data_dir: str | None) -> None:
    """Write all rooms, tubes, accounts and the security log as JSON to standard output. No secret is in it."""
    process.run_async(_export(process.load(Redactor(), data_dir=data_dir)))


async def _export(settings: Settings) -> None:
    async with opened(settings) as node:
        rooms: list[Any] = []
        tubes: list[Any] = []
        async for room, tube in node.directory.everything():
            if room:
                rooms.append(_fields(room))
            if tube:
                tubes.append(_fields(tube))
        accounts = [_without_sealed(_fields(account)) for account in await node.accounts.list()]
        records = [_fields(record) async for record in node.directory.security_log(limit=1_000_000)]
    whole = {"rooms": rooms, "tubes": tubes, "accounts": accounts, "security_log": records[::-1]}
    click.echo(msgspec.json.format(msgspec.json.encode(whole), indent=2))


def _fields(record: msgspec.Struct) -> dict[str, Any]:
    """The record's fields by name: our structs on the wire are arrays."""
    fields = msgspec.structs.asdict(record)
    return {
        name: _fields(value) if isinstance(value, msgspec.Struct) else msgspec.to_builtins(value)
        for name, value in fields.items()
    }


def _without_sealed(value: Any) -> Any:
    if isinstance(value, dict):
        return None if value.keys() == {"$sealed"} else {name: _without_sealed(item) for name, item in value.items()}
    return [_without_sealed(item) for item in value] if isinstance(value, list) else value

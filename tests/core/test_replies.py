"""The bot's words: right, short, on one line where a name could fake another, and always with a next step."""

import inspect
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core import replies
from core.command_language import COMMANDS, Command, Unknown, parse_command
from core.replies import PingLine, RoomLine

P = "sameroom"
EVERY: list[str] = [
    replies.hello(P),
    replies.help_text(P),
    replies.unknown_command(P, Unknown("conect", "connect", "HLDMU-42K7")),
    replies.unknown_command(P, Unknown("opne", "open")),
    *(replies.missing_argument(P, name) for name, spec in COMMANDS.items() if spec.needs_argument),
    replies.admins_only("disable"),
    replies.code_issued(P, "HLDMU-42K7", 120),
    replies.connected(P, "#garden (IRC)", "Alice"),
    replies.same_room(P, "HLDMU-42K7"),
    replies.already_connected(P, "#garden (IRC)"),
    replies.wrong_code(P),
    replies.wrong_link(P),
    replies.too_many_guesses(600),
    replies.confirm_asked(P, "#garden (IRC)", "Alice", 120),
    replies.confirm_waits("#garden (IRC)", 120),
    replies.denied("#garden (IRC)"),
    replies.nothing_to_confirm(P),
    replies.portal_link(P, "https://x.example/p/abc", approval=True, ttl_s=86_400, max_uses=3),
    replies.portal_link(P, "https://x.example/p/abc", approval=False),
    replies.closed(P, 2, True),
    replies.closed(P, 0, False),
    replies.room_list(P, []),
    replies.room_list(P, [RoomLine("#garden (IRC)", "paused", 3), RoomLine("Garden", direct=False)]),
    replies.map_link("https://x.example/m/abc", 86_400),
    replies.ping_results([PingLine("#garden", error="offline"), PingLine("Garden", 12.3)]),
    replies.manage_link("https://x.example/r/abc", 900),
    replies.disabled(P, 2),
    replies.disconnected(P, "#garden (IRC)", "Alice"),
    replies.still_reached(P, "#garden (IRC)"),
    replies.no_such_room(P, "gardn", ["#garden (IRC)", "Garden"]),
    replies.no_such_room(P, "gardn", []),
    replies.which_room(P, "disconnect", ["#garden (IRC)", "Garden"]),
    replies.paused(P),
    replies.resumed(P),
    replies.format_shown(P, "name+room"),
    replies.format_set("plain"),
    replies.format_unknown(P, "names"),
    replies.banned(P, "Alice"),
    replies.unbanned("Alice"),
    replies.nobody_called("Alcie"),
    replies.not_banned(P, "Alcie", ["Alice"]),
    replies.not_banned(P, "Alcie", []),
    replies.waiting_long(P, "#garden (IRC)", 1234, 61.5),
    replies.waiting_long(P, "#garden (IRC)", 1, 61.5, others=1, shut_out=True),
    replies.waiting_long(P, "#garden (IRC)", 2, 0.0, others=2),
    replies.caught_up("#garden (IRC)"),
    replies.caught_up("#garden (IRC)", others=3, folded=40, posts=1),
    replies.dead_letter("#garden (IRC)", "Alice", "hello there", "the room takes no files"),
    replies.dead_letters("#garden (IRC)", 49, "the room takes no files"),
    replies.echo_stopped(P, "otherbridge", 60),
    replies.history_gap(),
    replies.bot_removed(P, "#garden (IRC)", "kicked by Bob"),
    replies.bot_back("#garden (IRC)"),
]
SUGGESTED = re.compile(rf"-{P} [^\n–;.?]*[^\n–;.? ]")


def test_the_code_reply_is_exact() -> None:
    """The reply of the product's first minute, word for word."""
    assert replies.code_issued(P, "HLDMU-42K7", 120) == (
        "Your code is HLDMU-42K7. In the other room, type: -sameroom connect HLDMU-42K7. It works once, for 2 minutes."
    )


@pytest.mark.parametrize("reply", EVERY)
def test_every_reply_is_short_plain_and_calm(reply: str) -> None:
    """No exclamation marks, no empty line, no leftover of a format, nothing longer than a chat message should be."""
    assert "!" not in reply
    assert "{" not in reply
    assert "None" not in reply
    assert all(line and line == line.strip() and len(line) <= 400 for line in reply.split("\n"))
    assert len(reply) < (1500 if reply == replies.help_text(P) else 450)


@pytest.mark.parametrize("reply", EVERY)
def test_every_command_in_a_reply_works(reply: str) -> None:
    """What a reply tells people to type is read as that command when they copy it."""
    for suggestion in SUGGESTED.findall(reply):
        command = parse_command(suggestion, P, slash=False)
        assert isinstance(command, Command), suggestion
        spec = COMMANDS[command.name]
        assert bool(command.argument) >= spec.needs_argument, suggestion
        assert bool(command.argument) <= spec.takes_argument, suggestion


@pytest.mark.parametrize(
    ("reply", "argument"),
    [
        (replies.connected(P, "#garden (Libera.Chat)", "A"), "#garden (Libera.Chat)"),
        (replies.bot_removed(P, "#garden (Libera.Chat)"), "#garden (Libera.Chat)"),
        (replies.banned(P, "Dr. J"), "Dr. J"),
        (replies.code_issued(P, "HLDMU-42K7", 120).partition(". It works")[0] + ".", "HLDMU-42K7"),
        (replies.same_room(P, "HLDMU-42K7"), "HLDMU-42K7"),
    ],
)
def test_an_undo_can_be_copied_to_the_end_of_the_line(reply: str, argument: str) -> None:
    """A command that ends a reply names exactly the room, person or code when the rest of the line is copied."""
    command = parse_command(reply[reply.rindex(f"-{P} ") :], P, slash=False)
    assert isinstance(command, Command)
    assert command.argument == argument


def test_the_prefix_is_the_operators() -> None:
    """Another prefix is used throughout: no reply has the usual one written into it."""
    for name, function in inspect.getmembers(replies, inspect.isfunction):
        if function.__module__ == replies.__name__ and not name.startswith("_") and name != "command":
            assert "sameroom" not in call_with("brücke", function), name


def call_with(prefix: str, function: Any, text: str = "x") -> str:
    """Call a reply function with plausible values; every name is ``text``."""
    values: dict[str, Any] = {"prefix": prefix, "name": "ban", "style": "name", "links": True, "approval": True}
    special: dict[str, dict[str, Any]] = {
        "room_list": {"rooms": [RoomLine(text)]},
        "disabled": {"rooms": 2},
        "ping_asked": {"rooms": 2},
        "unknown_command": {"unknown": Unknown(text, "connect", text)},
        "ping_results": {"lines": [PingLine(text, error=text)]},
        "missing_argument": {"name": "ban"},
        "unbanned": {"name": text},
        "banned": {"name": text},
        "admins_only": {"name": "ban"},
    }
    chosen = special.get(function.__name__, {})
    arguments: dict[str, Any] = {}
    for key, parameter in inspect.signature(function).parameters.items():
        if key in chosen or key in values:
            arguments[key] = chosen.get(key, values.get(key))
        elif key in ("rooms", "names"):
            arguments[key] = [text]
        elif parameter.annotation in ("int", "float"):
            arguments[key] = 3
        elif parameter.default is inspect.Parameter.empty or parameter.annotation == "str":
            arguments[key] = text
    return str(function(**arguments))


HOSTILE = [
    replies.connected,
    replies.already_connected,
    replies.confirm_asked,
    replies.unknown_command,
    replies.room_list,
    replies.ping_results,
    replies.disconnected,
    replies.no_such_room,
    replies.which_room,
    replies.format_unknown,
    replies.banned,
    replies.unbanned,
    replies.nobody_called,
    replies.not_banned,
    replies.waiting_long,
    replies.caught_up,
    replies.dead_letter,
    replies.dead_letters,
    replies.echo_stopped,
    replies.bot_removed,
    replies.same_room,
]


@pytest.mark.parametrize("function", HOSTILE)
@given(text=st.text(max_size=300) | st.just("a\nb\r\u2028c\x00\u202ed" * 30))
def test_a_name_cannot_fake_a_line(function: Any, text: str) -> None:
    """A name with line breaks, controls or direction marks, or of any length, stays a short piece of one line."""
    plain, hostile = call_with(P, function), call_with(P, function, text or "x")
    assert len(hostile.splitlines()) == len(plain.splitlines())
    assert len(hostile) < 900
    assert not re.search("[\x00-\x09\x0b-\x1f\u2028-\u202e\u2066-\u2069]", hostile)


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "1 second"),
        (1, "1 second"),
        (59.2, "1 minute"),
        (61, "61 seconds"),
        (90, "90 seconds"),
        (120, "2 minutes"),
        (121, "3 minutes"),
        (600, "10 minutes"),
        (3600, "1 hour"),
        (5400, "90 minutes"),
        (43_200, "12 hours"),
        (86_400, "1 day"),
        (604_800, "7 days"),
    ],
)
def test_durations_read_well(seconds: float, words: str) -> None:
    """The unit that people would use, never too short a time to wait."""
    assert replies.duration(seconds) == words


def test_the_list_tells_all_about_a_room() -> None:
    """State, way and what waits; a long list is cut with a count."""
    rooms = [RoomLine("#garden (IRC)", "away", 1), RoomLine("Garden (Web)", "on", 0, direct=False)]
    assert replies.room_list(P, rooms, paused_here=True).split("\n") == [
        "Connected to 2 rooms. This room is paused; to go on, type: -sameroom resume.",
        "• #garden (IRC): the bot is not there, 1 message waiting",
        "• Garden (Web): connected, by way of another room",
    ]
    many = replies.room_list(P, [RoomLine(f"r{n}") for n in range(100)]).split("\n")
    assert (len(many), many[-1]) == (42, "… and 60 more")


def test_pings_are_shown_quickest_first() -> None:
    """The silent ones come last, with the reason."""
    lines = [PingLine("c", error="offline"), PingLine("b", 1234.5), PingLine("a", 0.4), PingLine("d")]
    assert replies.ping_results(lines).split("\n") == [
        "Ping:",
        "• a: under 1 ms",
        "• b: 1,234 ms",
        "• c: no answer (offline)",
        "• d: no answer",
    ]


def test_help_has_every_command_once() -> None:
    """One line for each command, with its usage and what it does."""
    lines = replies.help_text(P).split("\n")
    assert len(lines) == len(COMMANDS) + 1
    for spec in COMMANDS.values():
        assert f"-sameroom {spec.usage} – {spec.summary}" in lines

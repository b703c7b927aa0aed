"""Commands are read however phones write them, and nothing else is taken for one."""

import sys

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from core.command_language import (
    COMMANDS,
    DASHES,
    Command,
    Unknown,
    is_hush,
    looks_like_command,
    nearest,
    parse_command,
)

PREFIX = "sameroom"


def parse(text: str, slash: bool = False, bot_names: tuple[str, ...] = ()) -> Command | Unknown | None:
    return parse_command(text, PREFIX, slash=slash, bot_names=bot_names)


@pytest.mark.parametrize("dash", [*DASHES, "--", "\u2014-", "\u2013\u2013"])
def test_every_dash_is_a_dash(dash: str) -> None:
    """Whatever a phone or a web page makes of the dash, the command is read."""
    assert parse(f"{dash}sameroom open") == Command("open")
    assert looks_like_command(f"{dash}sameroom open", PREFIX)


@pytest.mark.parametrize("name", COMMANDS)
@pytest.mark.parametrize("shape", ["{}", " {} ", "{}.", "\n{}\n", "\u200e{}", "\ufeff{}!"])
@pytest.mark.parametrize(
    "address", ["-sameroom", "@sameroom", "/sameroom", "-SAMEROOM", "@SameRoom:", "\uff20sameroom"]
)
def test_every_command_in_every_shape(name: str, shape: str, address: str) -> None:
    """Case, white space, invisible characters and a trailing full stop do not matter."""
    for spelling in (name, name.upper(), name.title()):
        text = shape.format(f"{address} {spelling}")
        assert parse(text, slash=True) == Command(name)
        assert looks_like_command(text, PREFIX)


@pytest.mark.parametrize("text", ["-sameroom", "@sameroom", " —Sameroom. ", "-sameroom ?", "@sameroom:"])
def test_the_bare_prefix_is_help(text: str) -> None:
    """Whoever types only the prefix gets help."""
    assert parse(text) == Command("help")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("-sameroom connect HLDMU-42K7", "HLDMU-42K7"),
        ("-sameroom connect hldmu-42k7.", "HLDMU-42K7"),
        ("-sameroom connect  “HLDMU—42K7”", "HLDMU-42K7"),
        ("-sameroom connect `HLDMU 42K7`.", "HLDMU-42K7"),
        ("-sameroom connect <HLDMU-42K7>", "HLDMU-42K7"),
        ("-sameroom connect\nHLDMU-42K7", "HLDMU-42K7"),
        ("-sameroom connect no code", "no code"),
        ("-sameroom connect https://x.example/p/aB.c_d-", "https://x.example/p/aB.c_d-"),
        ("-sameroom connect <https://x.example/p/aB.c_d->", "https://x.example/p/aB.c_d-"),
        ("-sameroom connect (https://x.example/p/aB.c_d-).", "https://x.example/p/aB.c_d-"),
        ("-sameroom connect “https://x.example/p/aB.c_d-”!", "https://x.example/p/aB.c_d-"),
        ("-sameroom disconnect #garden", "#garden"),
        ("-sameroom disconnect #garden (Libera.Chat).", "#garden (Libera.Chat)"),
        ("-sameroom ban “Dr. J.”.", "Dr. J."),
        ("-sameroom ban <Alice>", "Alice"),
        ("-sameroom ban O'Neill", "O'Neill"),
        ("-sameroom ban 'n'", "n"),
        ("-sameroom ban Anna  Berta", "Anna  Berta"),
        ("-sameroom format name+room", "name+room"),
        ("-sameroom format", ""),
    ],
)
def test_what_follows_a_command(text: str, expected: str) -> None:
    """Quotes, brackets and the sentence's punctuation are not part of what was meant."""
    command = parse(text)
    assert isinstance(command, Command)
    assert command.argument == expected


@pytest.mark.parametrize(
    ("text", "names", "expected"),
    [
        ("/sameroom open", (), Command("open")),
        ("/sameroom@BridgeBot open", ("bridgebot",), Command("open")),
        ("/sameroom@bridgebot", ("other", "BridgeBot"), Command("help")),
        ("/sameroom@anybody open", (), Command("open")),
        ("/sameroom@otherbot open", ("bridgebot",), None),
        ("/sameroom@ open", ("bridgebot",), None),
        ("/same open", (), None),
    ],
)
def test_slash_commands(text: str, names: tuple[str, ...], expected: Command | None) -> None:
    """A slash command is ours where the platform has them, unless it names another bot."""
    assert parse(text, slash=True, bot_names=names) == expected
    assert parse(text, slash=False, bot_names=names) is None


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("conect", "connect"),
        ("konnekt", "connect"),
        ("opne", "open"),
        ("lsit", "list"),
        ("hlep", "help"),
        ("disconect", "disconnect"),
        ("resum", "resume"),
        ("maps", "map"),
        ("--help", "help"),
        ("leave", "disconnect"),
        ("join", "connect"),
        ("помощь", "help"),
        ("x" * 5000, "help"),
    ],
)
def test_a_word_that_is_no_command_gets_the_nearest(typed: str, meant: str) -> None:
    """Never silence: the command that was most likely meant, with what followed."""
    unknown = parse(f"-sameroom {typed} the rest")
    assert isinstance(unknown, Unknown)
    assert (unknown.nearest, unknown.argument) == (meant, "the rest")
    assert typed.startswith(unknown.word)


@pytest.mark.parametrize("typed", ["hldmu-42k7.", "“HLDMU 42K7”", "HLDMU — 42K7"])
def test_a_code_without_its_command(typed: str) -> None:
    """Whoever types the code alone is shown how to connect with it."""
    unknown = parse(f"-sameroom {typed}")
    assert isinstance(unknown, Unknown)
    assert (unknown.nearest, unknown.argument) == ("connect", "HLDMU-42K7")


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "-",
        "@",
        "/",
        "sameroom open",
        "a -sameroom open",
        "> -sameroom open",
        "-sameroomy open",
        "- sameroom open",
        "-same room open",
        "---- sameroom",
        "-----sameroom open",
        "@sameroom2 hi",
        "@sameroom's bot is nice",
        "/sameroom open",
        "^^^ -sameroom open",
        "- a list\n-sameroom open",
        "/me waves",
        "-1",
    ],
)
def test_talk_is_not_a_command(text: str) -> None:
    """Only a message that starts with the prefix as a word of its own is a command."""
    assert parse(text) is None


@given(st.text(), st.booleans(), st.sampled_from([PREFIX, "ab", "Straße", "комната", "a.b+c"]))
@example("-sameroom " + "\u0130" * 9, False, PREFIX)
def test_reading_never_fails_and_talk_is_no_command(text: str, slash: bool, prefix: str) -> None:
    """Any text at all is read without an error, and is a command only if the prefix is in it."""
    result = parse_command(text, prefix, slash=slash)
    assert result is None or prefix.casefold() in text.casefold()


@given(
    st.text(alphabet=[*DASHES, "@", "/", " ", "\u200b", "\n", ".", ":", *"sameroSAMERO"], max_size=4),
    st.sampled_from([PREFIX, PREFIX.upper(), "sAmErOoM"]),
    st.text(max_size=30),
)
def test_the_quick_look_misses_no_command(before: str, word: str, after: str) -> None:
    """Whatever is read as a command passes the quick look that the relay takes at every message."""
    text = before + word + after
    if parse(text, slash=True) is not None:
        assert looks_like_command(text, PREFIX)


@given(st.sampled_from(sorted(COMMANDS)), st.text(max_size=50))
def test_what_follows_never_changes_the_command(name: str, rest: str) -> None:
    """A hostile argument stays an argument, without white space around it."""
    command = parse(f"-sameroom {name} {rest}")
    if rest.strip() and rest.strip()[0].isalnum():
        assert isinstance(command, Command)
        assert command.name == name
        assert command.argument == command.argument.strip()


@given(st.text(min_size=1, max_size=40))
def test_the_nearest_is_always_a_command(word: str) -> None:
    """There is always something to suggest."""
    assert nearest(word) in COMMANDS


def test_ordinary_talk_does_not_pass_the_quick_look() -> None:
    """Most messages need no second look, and the quick one stops at their first character."""
    for text in ("hello", "  hello", "- milk", "/me waves", "@alice hi", "-1", "sameroom", "", "\U0001f600"):
        assert not looks_like_command(text, PREFIX)


def test_reading_does_not_load_what_it_seldom_needs() -> None:
    """The module that finds near words is loaded for a mistyped command only."""
    had = sys.modules.pop("difflib", None)
    try:
        parse("-sameroom connect HLDMU-42K7")
        assert "difflib" not in sys.modules
    finally:
        if had:
            sys.modules["difflib"] = had


@pytest.mark.parametrize("text", ["^^^ secret", "^^^secret", "  ^^^ x", "\u200b^^^", " " * 500 + "^^^ x", "^^^^"])
def test_a_hush_is_a_hush(text: str) -> None:
    """Three carets at the start, after any white space, keep a message in the room."""
    assert is_hush(text)


@pytest.mark.parametrize("text", ["", "^", "^^ this", "^ ^^", "see ^^^ above", "-sameroom open"])
def test_what_is_no_hush(text: str) -> None:
    """Pointing at the message above is not a hush."""
    assert not is_hush(text)


def test_the_table_is_complete_and_consistent() -> None:
    """Every command of the product is there, and its usage says what it takes."""
    expected = (
        "help open connect portal close list map ping disable disconnect pause resume format ban unban manage "
        "confirm deny"
    )
    assert set(COMMANDS) == set(expected.split())
    for name, spec in COMMANDS.items():
        assert spec.usage.split()[0] == name
        assert spec.takes_argument == (spec.usage != name)
        assert spec.needs_argument <= spec.takes_argument
    needing = {name for name, spec in COMMANDS.items() if spec.needs_argument}
    assert needing == {"connect", "disconnect", "ban", "unban"}

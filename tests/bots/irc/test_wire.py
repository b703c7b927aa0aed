"""Lines taken apart and put together."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bots.irc.wire import Line, build, casefold, clean_nick, decode, parse, parse_tags, valid_channel, valid_nick

LINES = {
    "PING": Line({}, "", "PING", []),
    "ping :a b": Line({}, "", "PING", ["a b"]),
    ":s.org 001 me :Welcome": Line({}, "s.org", "001", ["me", "Welcome"]),
    ":a!b@c PRIVMSG #x :": Line({}, "a!b@c", "PRIVMSG", ["#x", ""]),
    ":a!b@c PRIVMSG #x ::)": Line({}, "a!b@c", "PRIVMSG", ["#x", ":)"]),
    ":a!b@c PRIVMSG #x : two  spaces ": Line({}, "a!b@c", "PRIVMSG", ["#x", " two  spaces "]),
    ":a!b@c PRIVMSG #x word": Line({}, "a!b@c", "PRIVMSG", ["#x", "word"]),
    ":a  JOIN   #x ": Line({}, "a", "JOIN", ["#x"]),
    ":a MODE #x +o-v b c:d :e f": Line({}, "a", "MODE", ["#x", "+o-v", "b", "c:d", "e f"]),
    "@a=1;b;c= :n CMD x": Line({"a": "1", "b": "", "c": ""}, "n", "CMD", ["x"]),
    "@a=\\:\\s\\\\\\r\\n\\x\\ CMD": Line({"a": "; \\\r\nx"}, "", "CMD", []),
    "@a=1;a=2 CMD": Line({"a": "2"}, "", "CMD", []),
    "@+draft/reply=x;vendor.org/y=z   :n   CMD": Line({"+draft/reply": "x", "vendor.org/y": "z"}, "n", "CMD", []),
    ":\x02n!u@h CMD \t": Line({}, "\x02n!u@h", "CMD", ["\t"]),
}
NO_LINES = [
    "",
    " ",
    ":",
    ":source",
    ":source ",
    "@tag",
    "@tag :source",
    " :trailing only",
    "@ ",
    "CÖMMAND x",
    "PRI,VMSG",
]


@pytest.mark.parametrize("raw", LINES)
def test_a_line_is_taken_apart(raw: str) -> None:
    """The known edge cases of the grammar come out as the specifications say."""
    assert parse(raw) == LINES[raw]


@pytest.mark.parametrize("raw", NO_LINES)
def test_what_is_no_line_is_none(raw: str) -> None:
    """A malformed line is recognised as such and does not raise."""
    assert parse(raw) is None


@given(st.text())
def test_any_text_can_be_taken_apart(raw: str) -> None:
    """No line whatever makes the parser fail."""
    line = parse(raw)
    assert line is None or line.command.isalnum()


@given(st.text(), st.text())
def test_a_built_line_is_one_line(target: str, words: str) -> None:
    """Whatever is said, one line with the intended verb and target is written, or none (threat 11)."""
    try:
        written = build("PRIVMSG", target, words, tags={"+draft/reply": words})
    except ValueError:
        assert not target or target[0] == ":" or set(target) & set(" \r\n\0")
        return
    assert written.endswith("\r\n")
    assert not set(written[:-2]) & set("\r\n\0")
    line = parse(written[:-2])
    assert line is not None
    assert (line.command, line.params[0], len(line.params)) == ("PRIVMSG", target, 2)
    assert line.tags["+draft/reply"] == words.replace("\0", "")


def test_long_rubbish_is_read_in_linear_time() -> None:
    """Half a megabyte of tags or spaces takes no noticeable time (threat 39)."""
    started = time.monotonic()
    for raw in ("@" + "\\" * 500_000, "@" + "a=b;" * 125_000 + " X", "X" + " " * 500_000, ":" + " :" * 250_000):
        parse(raw)
    parse_tags(";" * 500_000)
    assert time.monotonic() - started < 1


def test_names_are_compared_as_the_server_does() -> None:
    """Each case mapping folds its own characters, and none folds what lies beyond ASCII."""
    assert casefold("#A[]\\~É") == "#a{}|^É"
    assert casefold("#A[]\\~", "rfc1459-strict") == "#a{}|~"
    assert casefold("#A[]\\~", "ascii") == "#a[]\\~"
    assert casefold("\u212a", "ascii") == "\u212a"  # the Kelvin sign is no k


def test_other_encodings_are_read() -> None:
    """UTF-8 first, then the fallback, and never a failure."""
    assert decode("é".encode()) == "é"
    assert decode(b"caf\xe9 \x80") == "café €"
    assert decode(b"\x81\xff") == "\ufffdÿ"


def test_names_are_checked() -> None:
    """A channel or nick that would change the meaning of a line is refused."""
    assert valid_channel("#garden")
    assert not any(valid_channel(name) for name in ("", "#", "garden", "#a b", "#a,b", "#a\r\nQUIT", "#a\0", "#" * 999))
    assert valid_nick("alice[m]")
    assert not any(valid_nick(name) for name in ("", "a b", "a\nQUIT", "#a", "9a", "a!b", "a,b"))


@given(st.text())
def test_any_name_becomes_a_nick(name: str) -> None:
    """Whatever somebody is called elsewhere, RELAYMSG gets a nick without reserved characters."""
    nick = clean_nick(name)
    assert nick
    assert not set(nick) & set("!+%@&#$:'\"?*,.~/\\ \r\n\0\x02")

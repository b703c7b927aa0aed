"""What guests type, as text with formatting."""

from __future__ import annotations

import pytest

from bots.web.typed import parse, to_copy
from core.model import Entity, Text


@pytest.mark.parametrize(
    "typed",
    [
        "hello",
        "2*3*4",
        "snake_case_name",
        "3:100:7",
        "-sameroom open",
        "^^^ only here",
        "a < b > c & d",
        "1. first\n2. second",
    ],
)
def test_ordinary_words_stay_as_typed(typed: str) -> None:
    """Nothing that looks a little like Markdown is changed."""
    assert parse(typed) == Text(typed)


def test_marks_become_formatting() -> None:
    """The marks that people know work."""
    assert parse("**bold** and `code`") == Text("bold and code", (Entity("bold", 0, 4), Entity("code", 9, 4)))


def test_links_are_found_and_kept_whole() -> None:
    """An address with marks in it stays an address, also beside formatting."""
    url = "https://example.org/a_b_c*d"
    assert parse(f"see {url}").entities == (Entity("link", 4, len(url), url),)
    assert parse(f"*see* {url}") == Text(f"see {url}", (Entity("italic", 0, 3), Entity("link", 4, len(url), url)))


def test_a_link_in_code_is_code() -> None:
    """What stands in code is no link."""
    assert [e.type for e in parse("`https://example.org`").entities] == ["code"]


def test_codes_can_be_copied_with_a_tap() -> None:
    """The code and the whole command around it are marked in what the bot says."""
    said = "Your code is HLDMU-42K7. In the other room, type: -sameroom connect HLDMU-42K7. It works once."
    marked = to_copy(Text(said), "sameroom")
    assert [said[e.start : e.start + e.length] for e in marked.entities] == [
        "HLDMU-42K7",
        "-sameroom connect HLDMU-42K7",
    ]


def test_links_in_what_the_bot_says_can_be_followed() -> None:
    """A portal link is a link."""
    link = "http://127.0.0.1:8080/p/.eJw_x-y"
    assert to_copy(Text(f"Open {link}\nsoon"), "sameroom").entities == (Entity("link", 5, len(link), link),)

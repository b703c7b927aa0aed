"""Text to nodes and back, for whatever entities come."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bots.web.body import cut, excerpt, nodes
from bots.web.names import clean_file_name, clean_line, is_emoji
from core.model import Entity, Text

TYPES = ["bold", "italic", "code", "spoiler", "link", "emoji", "quote", "pre"]
ENTITIES = st.builds(
    Entity,
    st.sampled_from(TYPES),
    st.integers(-3, 40),
    st.integers(-3, 40),
    st.sampled_from(["", "https://example.org/", "javascript:alert(1)"]),
)
TEXTS = st.builds(Text, st.text(max_size=40), st.lists(ENTITIES, max_size=12).map(tuple))


def flat(body) -> str:
    """All words of nodes, covered or not."""
    return "".join(node if isinstance(node, str) else flat(node[2]) for node in body)


def spans(body, inside=()):
    """Every node with the types around it."""
    for node in body:
        if not isinstance(node, str):
            yield node, inside
            yield from spans(node[2], (*inside, node[0]))


@given(TEXTS)
def test_no_word_is_lost_and_nesting_is_bounded(text: Text):
    """Whatever the entities, the words stay, no type nests in itself, and only web links are links."""
    body = nodes(text)
    assert flat(body) == text.plain
    for node, inside in spans(body):
        assert node[0] not in inside
        assert node[0] != "link" or node[1].startswith("https://")


@given(TEXTS, st.integers(1, 20), st.integers(1, 5))
def test_parts_join_to_the_text(text: Text, limit: int, most: int):
    """Parts never exceed the limit or the number, and lose nothing but what the number forbids."""
    parts = cut(text, limit, most)
    assert 1 <= len(parts) <= most
    assert all(len(part.plain) <= limit for part in parts)
    joined = "".join(part.plain for part in parts)
    assert joined == text.plain or (joined.endswith("…") and len(parts) == most)


def test_crossing_entities_nest():
    """Bold and italic that cross become three nodes."""
    body = nodes(Text("abcdef", (Entity("bold", 0, 4), Entity("italic", 2, 4))))
    assert body == (["bold", "", ["ab", ["italic", "", ["cd"]]]], ["italic", "", ["ef"]])


def test_a_quote_keeps_spoilers_covered():
    """An excerpt is one short line that gives nothing away."""
    body = nodes(Text("he dies\nat the end", (Entity("spoiler", 3, 4),)))
    assert excerpt(body) == "he ▒▒▒ at the end"
    assert len(excerpt(("x" * 500,))) == 120


@given(st.text(max_size=300))
def test_cleaned_names_are_safe(text: str):
    """Never longer than allowed, in one line, without overrides; a file name never a path."""
    line = clean_line(text, 40)
    assert len(line) <= 40
    assert not set(line) & set("\n\r\t\0\u202e\u2028\u2066")
    name = clean_file_name(text)
    assert name
    assert len(name) <= 100
    assert not set(name) & set("/\\\0\n")
    assert not name.startswith(".")
    assert clean_file_name("a\\..\\b.txt\0") == "b.txt"


@pytest.mark.parametrize(
    ("text", "fits"), [("👍", True), ("👨‍👩‍👧", True), ("❤️", True), ("🇫🇷", True), ("1️⃣", True), (":tada:", True),
                       ("a", False), ("12", False), ("", False), ("<", False), (": :", False)]
)  # fmt: skip
def test_what_is_an_emoji(text: str, fits: bool):
    """Symbols and shortcodes are, words are not."""
    assert is_emoji(text) is fits

"""Markdown: read, written, and read again."""

from __future__ import annotations

import pytest
from hypothesis import example, given

from core.model import Entity, Text
from core.text.markdown import LONGEST_PARSED_CHARS, format, parse
from core.text.nesting import normalise
from core.text.ops import bold, code, concat, italic, link, plain, pre, quote, strike
from core.text.safety import clean_text
from tests.core.text.strategies import any_words, texts

EXPRESSIBLE = ("bold", "italic", "strike", "code", "pre", "quote", "link")


@given(texts())
@example(Text("a\n\nb", (Entity("quote", 0, 1),)))
def test_words_survive_with_every_entity(text: Text) -> None:
    """Whatever spans there are, the words come back as they were."""
    assert parse(format(text)).plain == normalise(text).plain


@given(texts(EXPRESSIBLE))
def test_only_spans_of_the_text_come_back(text: Text) -> None:
    """Where CommonMark cannot write a span it is smaller or missing, but no span is made up or moved, and what
    came back once comes back always.
    """
    text = normalise(text)
    again = parse(format(text))
    for entity in again.entities:
        covered = set(range(entity.start, entity.start + entity.length))
        meant: set[int] = set()
        for other in text.entities:
            if (other.type, other.value) == (entity.type, entity.value):
                meant |= set(range(other.start, other.start + other.length))
        assert covered <= meant
    assert parse(format(again)) == again


@given(texts(("quote", "pre", "link", "code")))
def test_blocks_always_come_back(text: Text) -> None:
    """Quotes and code blocks come back exactly."""
    text = normalise(text)
    blocks = [entity for entity in text.entities if entity.type in ("quote", "pre")]
    assert [entity for entity in parse(format(text)).entities if entity.type in ("quote", "pre")] == blocks


@given(any_words)
@example("- a\n- b\n1. c\n3) d\n# e\n> f\n---\n===\n    g\n\th\n```\ni\n```")
@example("  \n \n\t\n a ")
@example("3:100:7")
@example("[x]: http://y")
@example("<http://x> ![a](b) &copy; \\*")
def test_literal_text_survives(said: str) -> None:
    """Any words fit to be relayed mean themselves: no markup comes of them, and nothing is lost."""
    said = clean_text(Text(said)).plain
    assert parse(format(Text(said))) == Text(said)


@pytest.mark.parametrize(
    "text",
    [
        concat(plain("a "), bold("b"), plain(" c")),
        concat(plain("in"), bold("tra"), plain("word "), italic("it"), plain("alic")),
        bold(italic(strike("all"))),
        bold(concat(plain("a "), italic("b"), plain(" c "), code("d"))),
        concat(bold("Note:"), plain(" text")),
        concat(bold("one"), italic("two")),
        concat(italic("one"), bold("two")),
        link(bold("x"), "https://x.org/(y)"),
        bold(link("x", "https://x.org/?a_b=1&copy;=2")),
        code("`a` `` b"),
        code(" a "),
        concat(plain("see\n"), pre("x = `1`\n\n```\n", "py"), plain("\nend")),
        concat(quote(concat(plain("a\n\n"), bold("b"), plain("\n"), pre("c"))), plain("\nrest")),
        concat(quote("a"), plain("\n"), quote("b"), plain("\n\n\nc\n")),
        concat(plain("!"), link("a]b", "mailto:a@b.org")),
    ],
)
def test_what_markdown_can_say_comes_back(text: Text) -> None:
    """Ordinary formatting survives with every span."""
    assert parse(format(text)) == normalise(text)


def test_a_mark_between_words_and_brackets_is_moved() -> None:
    """A bold bracket next to a word cannot be marked; the words in it still are."""
    text = concat(bold("「好」"), plain("世界"))
    assert format(text) == "**「好**」世界"


@pytest.mark.parametrize(
    ("markdown", "expected"),
    [
        ("# Title", Text("Title", (Entity("bold", 0, 5),))),
        ("- a\n- b", Text("- a\n- b")),
        ("2. a\n1. b", Text("2. a\n1. b")),
        ("a  \nb\\\nc\n\n\nd", Text("a\nb\nc\n\n\nd")),
        ("![cat](https://x.org/c.png)", Text("cat", (Entity("link", 0, 3, "https://x.org/c.png"),))),
        ("[a](javascript:x)", Text("[a](javascript:x)")),
        ("<https://x.org/%20>", Text("https://x.org/%20", (Entity("link", 0, 17, "https://x.org/%20"),))),
        ("<b>x</b>", Text("<b>x</b>")),
        ("~~a~~ ~b~", Text("a ~b~", (Entity("strike", 0, 1),))),
        ("> a\n> > b\n\nc", Text("a\nb\nc", (Entity("quote", 0, 3),))),
        ("```rust\nfn x\n```\ny", Text("fn x\ny", (Entity("pre", 0, 4, "rust"),))),
        ("a_b_c 3:100:7", Text("a_b_c 3:100:7")),
        ("```", Text("```")),
        (">", Text(">")),
        ("> " * 30 + "a\nb", Text("> " * 30 + "a\nb")),
    ],
)
def test_markdown_is_read_as_people_mean_it(markdown: str, expected: Text) -> None:
    """Emphasis, code, quotes and links are understood; lists and HTML stay as typed."""
    assert parse(markdown) == expected


def test_an_address_stays_clickable() -> None:
    """No backslash gets into the underscores and tildes of a bare address."""
    url = "https://x.org/~al/a_b?c=1&d=2"
    assert format(Text(url)) == url


@pytest.mark.parametrize(
    "piece", ["[", "![", "*a ", "**a_", "`", "`a``", "> ", "&", "<", "[a](", "~~a", "*", "\\", ">a\n", "[`"]
)
def test_long_hostile_input_is_read(piece: str) -> None:
    """The longest input that is parsed, and one that is not, are both read to the end."""
    assert parse((piece * LONGEST_PARSED_CHARS)[:LONGEST_PARSED_CHARS]).plain
    assert parse(piece * (1_000_000 // len(piece))).plain


@pytest.mark.parametrize("piece", ["*", "_a", "`", "\n", " ", "> ", "\u0301", "http://", "1."])
def test_a_megabyte_is_written(piece: str) -> None:
    """Hostile words of 1 MB are written to the end."""
    assert format(Text(piece * (1_000_000 // len(piece))))

"""Formatting codes and our model, and how a text is cut into lines."""

from __future__ import annotations

from hypothesis import example, given
from hypothesis import strategies as st

from bots.irc.format import ENTITIES, format_text, insert, parse_text
from bots.irc.pieces import MORE, pieces
from core.model import Entity, Text

KINDS = sorted(ENTITIES - {"pre"})
PLAIN = st.text(st.characters(exclude_categories=("Cc", "Cs", "Zl", "Zp")), max_size=60)


@st.composite
def texts(draw: st.DrawFn) -> Text:
    """A text with entities of the kinds that IRC shows; those of one kind do not touch."""
    plain = draw(PLAIN)
    entities = []
    for kind in KINDS:
        at = 0
        while at < len(plain) and draw(st.booleans()):
            start = draw(st.integers(at, len(plain) - 1))
            length = draw(st.integers(1, len(plain) - start))
            entities.append(Entity(kind, start, length))
            at = start + length + 1
    return Text(plain, tuple(sorted(entities, key=lambda e: (e.start, -e.length))))


def spans(text: Text) -> set[tuple[str, int, int]]:
    """Entities without their order."""
    return {(e.type, e.start, e.length) for e in text.entities}


@given(texts())
@example(Text("000000", (Entity("spoiler", 0, 5), Entity("bold", 2, 4))))
def test_formatting_survives_the_round_trip(text: Text) -> None:
    """What is formatted and parsed again reads and looks the same."""
    again = parse_text(format_text(text))
    assert again.plain == text.plain
    assert spans(again) == spans(text)


@given(st.text())
def test_any_line_can_be_parsed(said: str) -> None:
    """Whatever arrives becomes a text without control characters, with its entities inside (threat 20)."""
    text = parse_text(said)
    assert not any(ord(c) < 32 or 0x7F <= ord(c) < 0xA0 for c in text.plain)
    assert all(0 <= e.start < e.start + e.length <= len(text.plain) for e in text.entities)


@given(st.text())
def test_literal_text_stays_literal(said: str) -> None:
    """Text from elsewhere cannot bring codes or line breaks of its own (threats 11 and 22)."""
    written = format_text(Text(said))
    assert not any(ord(c) < 32 or ord(c) == 127 for c in written)
    assert len(written) == len(said)


def test_codes_are_understood() -> None:
    """Toggles, colours, reset and a hidden text are read; what means nothing elsewhere is dropped."""
    assert parse_text("a\x02b\x1dc\x0fd") == Text("abcd", (Entity("bold", 1, 2), Entity("italic", 2, 1)))
    assert parse_text("\x0304,08red\x03 \x16x\x16 \x04ff0000y") == Text("red x y")
    assert parse_text("\x031,01secret\x03 told") == Text("secret told", (Entity("spoiler", 0, 6),))
    assert parse_text("\x11code\x11 \x1eold\x1e") == Text("code old", (Entity("code", 0, 4), Entity("strike", 5, 3)))
    assert parse_text("tab\tbed") == Text("tab bed")


def test_a_digit_after_a_colour_is_text() -> None:
    """The end of a spoiler does not swallow the digit that follows it."""
    text = Text("ab7", (Entity("spoiler", 0, 2),))
    assert parse_text(format_text(text)) == text


def test_an_insertion_moves_what_follows() -> None:
    """Entities keep their words when something is put in before or inside them."""
    text = Text("Alice: hi", (Entity("bold", 0, 5), Entity("italic", 7, 2)))
    assert insert(text, 1, "\u200b") == Text("A\u200blice: hi", (Entity("bold", 0, 6), Entity("italic", 8, 2)))


@given(texts(), st.integers(80, 120))
def test_every_piece_fits(text: Text, limit: int) -> None:
    """No piece is longer than the limit, and nothing but white space is lost between them."""
    lines = pieces(text, limit, 1000)
    assert all(len(line.encode()) <= limit for line in lines)
    together = "".join(parse_text(line).plain for line in lines)
    assert together.replace(" ", "") == "".join(text.plain.split(" ")) or text.plain.isspace()


@given(st.text(st.characters(exclude_categories=("Cs",)), max_size=400), st.integers(64, 100), st.integers(1, 4))
def test_pieces_are_single_lines(plain: str, limit: int, parts: int) -> None:
    """Line breaks part lines, empty ones vanish, and there are never more than allowed (threat 36)."""
    lines = pieces(Text(plain), limit, parts)
    assert len(lines) <= parts
    assert all(line and not set(line) & set("\r\n\0") and len(line.encode()) <= limit for line in lines)


def test_cuts_are_at_words_and_graphemes() -> None:
    """A cut falls between words, and never inside an emoji of several code points."""
    assert pieces(Text("the quick brown fox"), 10, 9) == ["the quick", "brown fox"]
    family = "👨\u200d👩\u200d👧"
    assert pieces(Text("x" * 60 + family + "y"), 64, 9) == ["x" * 60, family + "y"]
    assert pieces(Text("🇩🇪" * 9), 64, 9)[0] == "🇩🇪" * 8


def test_too_much_is_cut_with_a_mark() -> None:
    """The last allowed line says that there was more."""
    lines = pieces(Text("one two three\n" * 50), 64, 3)
    assert lines == ["one two three", "one two three", "one two three" + MORE]
    (line,) = pieces(Text("word " * 100_000), 100, 1)
    assert line.endswith("word" + MORE)
    assert len(line.encode()) <= 100


def test_formatting_goes_on_in_the_next_piece() -> None:
    """Each line opens and closes what spans it."""
    assert pieces(Text("aaaa bbbb", (Entity("bold", 0, 9),)), 7, 9) == ["\x02aaaa\x02", "\x02bbbb\x02"]

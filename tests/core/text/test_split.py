"""Parts that fit: nothing lost, nothing torn, never too long."""

from __future__ import annotations

from collections.abc import Callable

import grapheme
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.contract import Unit
from core.model import Entity, Text
from core.text import html, markdown
from core.text.graphemes import border
from core.text.nesting import normalise
from core.text.ops import bold, concat, link, mention, plain
from core.text.split import size, split, split_by, truncate
from tests.core.text.strategies import texts, words

UNITS: tuple[Unit, ...] = ("bytes", "utf16", "characters")
MEGABYTE_PIECES = (
    *("a", "word ", "a\n", "\u0301", "e\u0301", "👨\u200d👩\u200d👧\u200d👦", "🇩🇪", "日", "क्", "\r\n"),
    *("ᄀ", "\u0600", "\u200d", "\U000e0061"),
)


def without_blanks(said: str) -> str:
    return "".join(said.split())


@given(texts(), st.integers(4, 40), st.sampled_from(UNITS))
def test_parts_fit_and_lose_nothing(text: Text, limit: int, unit: Unit) -> None:
    """No part is too long, and together they are the text but for white space at the cuts."""
    parts = split(text, limit, unit)
    assert all(size(part.plain, unit) <= limit for part in parts)
    assert without_blanks("".join(part.plain for part in parts)) == without_blanks(text.plain)


@given(texts(), st.integers(4, 40), st.sampled_from(UNITS))
def test_parts_are_pieces_of_the_text_with_their_entities(text: Text, limit: int, unit: Unit) -> None:
    """Each part is a stretch of the text; only white space lies between; entities go on across the cuts."""
    text = normalise(text)
    at = 0
    for part in split(text, limit, unit):
        start = text.plain.index(part.plain, at)
        assert not text.plain[at:start].strip()
        at = start + len(part.plain)
        expected = {
            Entity(e.type, max(e.start, start) - start, min(e.start + e.length, at) - max(e.start, start), e.value)
            for e in text.entities
            if e.start < at and e.start + e.length > start
        }
        assert set(part.entities) == expected


@given(words, st.integers(30, 60))
def test_no_character_is_torn(said: str, limit: int) -> None:
    """Cuts are where the reference segmentation of the whole text has a border."""
    borders = {0}
    for length in grapheme.grapheme_lengths(said):
        borders.add(max(borders) + length)
    at = 0
    for part in split(Text(said), limit, "characters"):
        start = said.index(part.plain, at)
        at = start + len(part.plain)
        assert start in borders
        assert at in borders


@given(st.text("🇩🇪\u200d👩👍🏽\u0301e क्षि\r\n", max_size=200), st.integers(1, 200))
def test_borders_are_the_reference_s(said: str, at: int) -> None:
    """The last border near a place is found from near that place, flags counted right."""
    at = min(at, len(said))
    reference = [0]
    for length in grapheme.grapheme_lengths(said):
        reference.append(reference[-1] + length)
    expected = max(place for place in reference if place <= at)
    if at - expected < 16 and expected > 0:
        assert border(said, 0, at) == expected


@pytest.mark.parametrize("unit", UNITS)
@pytest.mark.parametrize("cluster", ["👨\u200d👩\u200d👧\u200d👦", "👍🏽", "🇩🇪", "e\u0301", "क्षि"])
def test_a_row_of_clusters_is_cut_between_them(cluster: str, unit: Unit) -> None:
    """Families, skin tones, flags and accents stay whole in every unit."""
    for part in split(Text(cluster * 50), size(cluster, unit) * 3 + 1, unit):
        assert part.plain == cluster * (len(part.plain) // len(cluster))


def test_lines_before_words_before_characters() -> None:
    """A part ends with its line, else with its word, else within it."""
    assert [p.plain for p in split(Text("one two\nthree four"), 10, "characters")] == ["one two", "three four"]
    assert [p.plain for p in split(Text("one two three"), 9, "characters")] == ["one two", "three"]
    assert [p.plain for p in split(Text("a" * 12), 5, "characters")] == ["aaaaa", "aaaaa", "aa"]
    assert [p.plain for p in split(Text("x = 1\n\n  y = 2"), 8, "characters")] == ["x = 1", "  y = 2"]


def test_a_mention_is_not_cut() -> None:
    """A name stays whole, or else it would call somebody else."""
    text = concat(plain("hello there "), mention("@Alice Longname", "U1"), plain("!"))
    assert [p.plain for p in split(text, 20, "characters")] == ["hello there ", "@Alice Longname!"]


@pytest.mark.parametrize("unit", UNITS)
def test_what_fits_is_the_same_object(unit: Unit) -> None:
    """Nothing is made anew of what fits."""
    text = Text("short")
    assert split(text, 400, unit)[0] is text
    assert split_by(text, 400, lambda part: len(part.plain))[0] is text
    assert truncate(text, 5) is text


def test_an_impossible_limit_is_refused() -> None:
    """A limit that no character fits into is an error, not an endless loop."""
    with pytest.raises(ValueError, match="at least 4"):
        split(Text("abc"), 3, "bytes")


def test_blanks_alone_make_one_empty_part() -> None:
    """White space that is too long is nothing."""
    assert split(Text(" " * 100), 10, "bytes") == [Text()]


@pytest.mark.parametrize("format_", [html.format, markdown.format])
@given(text=texts(), limit=st.integers(70, 120))
def test_formatted_parts_fit(format_: Callable[[Text], str], text: Text, limit: int) -> None:
    """The escapes and tags of a dialect count."""
    parts = split_by(text, limit, lambda part: len(format_(part)))
    assert all(len(format_(part)) <= limit for part in parts)
    assert without_blanks("".join(part.plain for part in parts)) == without_blanks(text.plain)


def test_a_link_longer_than_a_post_goes_without() -> None:
    """Words arrive even where their link never fits."""
    text = concat(plain("see "), link("here", "https://x.org/" + "a" * 100), plain(" now"))
    parts = split_by(text, 50, lambda part: len(html.format(part)))
    assert "".join(part.plain for part in parts).replace(" ", "") == "seeherenow"


@given(texts(), st.integers(1, 30))
def test_a_truncated_text_fits(text: Text, max_chars: int) -> None:
    """What is left is the beginning, and the mark says that there was more."""
    short = truncate(text, max_chars, "…")
    assert len(short.plain) <= max_chars
    if len(text.plain) > max_chars:
        assert short.plain == "…" or text.plain.startswith(short.plain.removesuffix("…"))
        assert max_chars == 1 or short.plain.endswith("…")


def test_a_truncated_family_is_left_out_whole() -> None:
    """A mark never follows half a character."""
    assert truncate(bold("ab👨\u200d👩\u200d👧\u200d👦cd"), 7) == Text("ab…", (Entity("bold", 0, 2),))


@pytest.mark.parametrize("piece", MEGABYTE_PIECES)
@pytest.mark.parametrize("unit", UNITS)
def test_a_megabyte_is_split(piece: str, unit: Unit) -> None:
    """Text of 1 MB, however hostile, is cut to the end and fits."""
    said = piece * (1_000_000 // len(piece.encode()))
    parts = split(Text(said), 2_000, unit)
    assert all(size(part.plain, unit) <= 2_000 for part in parts)
    assert without_blanks("".join(part.plain for part in parts)) == without_blanks(said)


def test_a_megabyte_of_entities_is_split() -> None:
    """A hundred thousand spans and one over all of them reach their parts."""
    entities = (Entity("bold", 0, 1_000_000), *(Entity("italic", i * 10, 5) for i in range(100_000)))
    parts = split(Text("0123456789" * 100_000, entities), 400, "bytes")
    assert sum(len(part.entities) for part in parts) == 100_000 + len(parts)


def test_a_long_text_is_split_as_formatted() -> None:
    """Measuring does not start over for each part."""
    text = Text("a & b < c " * 20_000, tuple(Entity("bold", i * 100, 50) for i in range(2_000)))
    parts = split_by(text, 4_000, lambda part: len(html.format(part)))
    assert all(len(html.format(part)) <= 4_000 for part in parts)

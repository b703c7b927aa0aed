"""Names and words that cannot do harm."""

from __future__ import annotations

import re
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.model import Entity, Text
from core.text.ops import bold, code, concat, plain
from core.text.safety import (
    _PERHAPS_MARKS,
    MASS_MENTIONS,
    NAMELESS,
    TEXT_MARKS,
    clean_name,
    clean_text,
    defuse_mass_mentions,
)
from tests.core.text.strategies import any_words, texts

BIDI = "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\u200e\u200f\u061c"
SIGNS = "@\uff20\ufe6b<"
VERY = "Z" + "".join(chr(0x300 + i) for i in range(60)) + "algo"
turned = st.text("ab \n" + BIDI, max_size=60)


def balanced(line: str) -> bool:
    """Does the line leave no direction open, and close none that it did not open?"""
    stack: list[str] = []
    for char in line:
        if char in "\u202a\u202b\u202d\u202e":
            stack.append("\u202c")
        elif char in "\u2066\u2067\u2068":
            stack.append("\u2069")
        elif char in "\u202c\u2069":
            if char == "\u2069" and char in stack:
                while stack[-1] != char:
                    stack.pop()
            if not stack or stack.pop() != char:
                return False
    return not stack


def longest_tower(said: str) -> int:
    kinds = "".join("m" if unicodedata.category(char)[0] == "M" else "." for char in said)
    return max((len(run) for run in re.findall("m+", kinds)), default=0)


# --- names --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("Alice", "Alice"),
        ("  Alice \n\t Smith ", "Alice Smith"),
        ("Alice\u202e gpj.exe", "Alice gpj.exe"),
        ("Al\u200bi\u2060ce\ufeff", "Alice"),
        ("\u0301Alice", "Alice"),
        (VERY, VERY[:5] + "algo"),
        ("", NAMELESS),
        (" \u200b\u3164\u2800\u115f ", NAMELESS),
        ("\u0301\u0302", NAMELESS),
        ("\u202e\u2067", NAMELESS),
        ("אבג", "\u2068אבג\u2069"),
        ("علی \u202eevil", "\u2068علی evil\u2069"),
        ("می\u200cخواهم", "\u2068می\u200cخواهم\u2069"),
        ("a\u200db", "ab"),
        ("👨\u200d👩\u200d👧 home", "👨\u200d👩\u200d👧 home"),
        ("❤\ufe0f", "❤\ufe0f"),
        ("क्षि", "क्षि"),
        ("José\x00\x07", "José"),
        ("bad\ud800name", "badname"),
        ("x" * 100, "x" * 31 + "…"),
        ("👨\u200d👩\u200d👧\u200d👦" * 20, "👨\u200d👩\u200d👧\u200d👦" * 4 + "…"),
        ("@everyone", "@everyone"),
    ],
)
def test_a_name_is_what_it_seems(name: str, shown: str) -> None:
    """Tricks go, names stay."""
    assert clean_name(name, 32) == shown


@given(any_words | turned, st.integers(8, 40))
def test_a_name_is_one_short_visible_line(name: str, max_chars: int) -> None:
    """Whatever somebody calls themselves, it is visible, short, on one line, and turns nothing around."""
    shown = clean_name(name, max_chars)
    assert 0 < len(shown) <= max_chars
    assert shown == shown.strip()
    assert not re.search(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]|\s\s", shown)
    inside = shown.removeprefix("\u2068").removesuffix("\u2069") if shown[0] == "\u2068" else shown
    assert not set(inside) & set(BIDI)
    assert shown[0] == "\u2068" or not any(unicodedata.bidirectional(char) in ("R", "AL") for char in shown)
    assert longest_tower(shown) <= 4


def test_a_name_of_a_megabyte_is_cut() -> None:
    """The longest of names costs no more than a long one."""
    for piece in ("a", "\u0301", " \u0301", "אb", "\u200d"):
        assert len(clean_name(piece * 1_000_000, 64)) <= 64


# --- texts --------------------------------------------------------------------------------------------------


@given(texts())
def test_clean_text_stays(text: Text) -> None:
    """Cleaning twice is cleaning once."""
    clean = clean_text(text)
    assert clean_text(clean) == clean


@given(any_words | turned)
def test_a_clean_text_has_no_tricks(said: str) -> None:
    """No controls, each line's directions balanced, no towers of marks, and it can be encoded."""
    clean = clean_text(Text(said)).plain
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029]", clean)
    assert all(balanced(line) for line in clean.split("\n"))
    assert longest_tower(clean) <= TEXT_MARKS
    assert clean.encode().decode() == clean


@pytest.mark.parametrize(
    ("said", "clean"),
    [
        ("a\r\nb\rc\u2028d", "a\nb\nc\nd"),
        ("a\x00b\x1b[31mc\x85", "ab[31mc"),
        ("tab\tand\nline", "tab\tand\nline"),
        ("\u202eevil\nnext", "\u202eevil\u202c\nnext"),
        ("\u2067a\u202eb\u2069c", "\u2067a\u202eb\u2069c"),
        ("stray\u202c\u2069", "stray"),
        ("\u202a\u2066x", "\u202a\u2066x\u2069\u202c"),
        ("left\u200eright\u200f", "left\u200eright\u200f"),
        (VERY, VERY[:9] + "algo"),
        ("\ud83d lone", "\ufffd lone"),
        ("שָׁלוֹם", "שָׁלוֹם"),
        ("3:100:7", "3:100:7"),
    ],
)
def test_a_text_keeps_its_words(said: str, clean: str) -> None:
    """What does harm goes, everything else stays."""
    assert clean_text(Text(said)).plain == clean


def test_cleaning_moves_entities() -> None:
    """A span stays on its words when something before it goes."""
    assert clean_text(concat(plain("\x00a\r\n"), bold("b\x01c"))) == concat(plain("a\n"), bold("bc"))


def test_what_is_clean_is_the_same_object() -> None:
    """Nothing is made anew of harmless words."""
    for said in ("hello there", "two\nlines", "naïve 日本 👍🏽", "mail a@here.org"):
        text = Text(said)
        assert clean_text(text) is text
        assert defuse_mass_mentions(text) is text


def test_ranges_left_out_have_no_marks() -> None:
    """The shortcut over scripts without marks skips no mark."""
    for code_point in range(0x110000):
        char = chr(code_point)
        if unicodedata.category(char)[0] == "M":
            assert _PERHAPS_MARKS.match(char * (TEXT_MARKS + 1))


@pytest.mark.parametrize(
    "piece",
    ["\u0301", "a\u0301", "\u202e", "\u202e\n", "\u2069", "\x00", "\x00a", "@", "<!", "@é", "\u2066\u202a", "@e\u200b"],
)
def test_a_megabyte_is_cleaned(piece: str) -> None:
    """Hostile words of 1 MB are cleaned and defused to the end."""
    clean = defuse_mass_mentions(clean_text(Text(piece * (1_000_000 // len(piece)))))
    assert longest_tower(clean.plain[:10_000]) <= TEXT_MARKS


# --- mass mentions ------------------------------------------------------------------------------------------


def test_there_are_forty_variants() -> None:
    """The list that every sink is tested with is long, and has no doubles."""
    assert len(set(MASS_MENTIONS)) >= 40


@pytest.mark.parametrize("variant", MASS_MENTIONS)
@pytest.mark.parametrize("around", ["{}", "hey {} look", "line\n{}", "({})", "日本 {} é"])
def test_no_variant_calls(variant: str, around: str) -> None:
    """Behind the sign of every variant there is something that breaks it."""
    said = around.format(variant)
    defused = defuse_mass_mentions(Text(said)).plain
    assert defused.replace("\u200b", "") == said.replace("\u200b", "")
    sign = next(char for char in variant if char in SIGNS)
    at = defused.rindex(sign) if variant.startswith("@@") else defused.index(sign)
    assert defused[at + 1] == "\u200b"
    assert defuse_mass_mentions(Text(defused)).plain == defused


@pytest.mark.parametrize("zero_width", ["\u200b", "\u2060"])
def test_the_breaking_character_is_chosen(zero_width: str) -> None:
    """A dialect that strips one zero-width character takes another."""
    assert defuse_mass_mentions(Text("@all"), zero_width).plain == f"@{zero_width}all"


@pytest.mark.parametrize(
    "text",
    [
        concat(plain("@here"), bold("x")),
        concat(plain("a"), bold("@here.org")),
        concat(bold("a@here"), plain(".org")),
        plain("(" * 150 + "@hereabouts"),
    ],
)
def test_marks_and_cuts_end_a_word(text: Text) -> None:
    """A name that only a dialect's marks or a part's end set free is broken as well."""
    assert "@\u200bhere" in defuse_mass_mentions(text).plain


@pytest.mark.parametrize(
    "said",
    [
        "a@here.org",
        "write to first.last+x@all.example.com, please",
        "@alice",
        "@hereford @allison @channels @teammate @roomba @grouped",
        "all @ home",
        "x < y",
        "<!DOCTYPE html>",
        "<@U123>",
        "é a@here.org @alice",
    ],
)
def test_others_are_left_alone(said: str) -> None:
    """Addresses and single people are not touched."""
    text = Text(said)
    assert defuse_mass_mentions(text) is text


def test_code_is_no_hiding_place() -> None:
    """Entities keep their words, and words in code are broken too."""
    text = concat(bold("@all"), code("@here"), bold("x"))
    assert defuse_mass_mentions(text) == Text(
        "@\u200ball@\u200bherex", (Entity("bold", 0, 5), Entity("code", 5, 6), Entity("bold", 11, 1))
    )


@given(any_words)
def test_breaking_changes_nothing_that_is_seen(said: str) -> None:
    """Without the zero-width characters the words are what they were, and once is enough."""
    once = defuse_mass_mentions(Text(said))
    assert once.plain.replace("\u200b", "") == said.replace("\u200b", "")
    assert defuse_mass_mentions(once) == once

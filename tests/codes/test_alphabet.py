"""Codes are random enough, and are read however people type or paste them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codes.alphabet import ALPHABET, BITS, new_code, normalise


def test_a_code_has_forty_random_bits() -> None:
    """The size of the alphabet and the length give at least 40 bits, and the source uses all of it."""
    assert BITS >= 40
    codes = [new_code() for _ in range(1000)]
    assert len(set(codes)) == 1000
    for position in (0, 1, 2, 3, 4, 6, 7, 8, 9):
        assert {code[position] for code in codes} == set(ALPHABET)


def test_no_two_characters_look_alike() -> None:
    """Of each group of look-alikes at most one is in the alphabet, and the vowels but U are not."""
    for group in ("0OQ", "1IL", "UV", "2Z", "5S", "6G", "8B"):
        assert len(set(group) & set(ALPHABET)) <= 1, group
    assert not set("AEIO") & set(ALPHABET)


@pytest.mark.parametrize(
    "typed",
    [
        "HLDMU-42K7",
        "hldmu-42k7",
        "  HLDMU-42K7\n",
        "HLDMU42K7",
        "HLDMU 42K7",
        "HLDMU – 42K7",
        "HLDMU—42K7",
        "HLDMU−42K7",
        "HLDMU--42K7",
        "HLDMU_42K7",
        "HLDMU-42K7.",
        "HLDMU-42K7!?",
        "HLDMU-42K7…",
        "HLDMU-42K7。",
        '"HLDMU-42K7"',
        "'HLDMU-42K7'",
        "“HLDMU-42K7”",
        "„HLDMU-42K7“",
        "‘HLDMU-42K7’",
        "«HLDMU-42K7»",
        "(HLDMU-42K7)",
        "`HLDMU-42K7`",
        "```HLDMU-42K7```",
        "**HLDMU-42K7**",
        "<HLDMU-42K7>",
        "<code>HLDMU-42K7</code>",
        "＜ＨＬＤＭＵ－４２Ｋ７＞",
        "HLDMU\u200b-42K7\ufeff",
        "H1DMV-42K7",
        "HlDMU-42K7",
        "H|DMU-4ZK7",
        "hıdmu-42k7",
    ],
)
def test_a_code_is_read_however_it_is_written(typed: str) -> None:
    """Case, width, dashes, quotes, brackets, punctuation and look-alikes do not matter."""
    assert normalise(typed) == "HLDMU-42K7"


def test_look_alikes_are_read_as_the_one_that_is_issued() -> None:
    """Each character that is not in the alphabet and looks like one that is, is read as that one."""
    assert normalise("0oSGB-bZvI") == "QQ568-82UL"


@pytest.mark.parametrize(
    "typed",
    ["", " ", "-", "HLDMU-42K", "HLDMU-42K77", "HLDMU-42KA", "HLDMU+42K7", "code HLDMU-42K7", "HLDMU-42K7" * 99],
)
def test_what_is_no_code_is_not_read_as_one(typed: str) -> None:
    """Too short, too long, or with a character that no code has."""
    assert normalise(typed) is None


@given(st.text(max_size=80))
def test_reading_never_fails_and_is_stable(typed: str) -> None:
    """Whatever is typed gives None or a canonical code, which reads as itself."""
    code = normalise(typed)
    assert code is None or (normalise(code) == code and len(code) == 10)


@given(st.text(alphabet=ALPHABET, min_size=9, max_size=9))
def test_every_code_reads_as_itself(symbols: str) -> None:
    """No code that can be issued is read as another one, in upper or in lower case."""
    code = f"{symbols[:5]}-{symbols[5:]}"
    assert normalise(code) == code
    assert normalise(code.lower()) == code

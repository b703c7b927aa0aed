"""How a code looks, how one is made, and how what people type is read as one.

Of each group of look-alikes the alphabet has one member and reads the others as it: what a person saw is what
they meant. U is the only vowel and C, F and S are out, so that codes rarely spell anything.
"""

from __future__ import annotations

import math
import secrets
import unicodedata

ALPHABET = "23456789DHJKLMNPQRTUWXY"
GROUPS = (5, 4)
"""Characters before and after the dash: ``HLDMU-42K7``."""
LENGTH = sum(GROUPS)
BITS = LENGTH * math.log2(len(ALPHABET))
"""Random bits of a code: 40.7."""

_READ_AS = str.maketrans("0O1I|VZSGB", "QQLLLU2568")
_MAX_TYPED = 64
_MARKS = frozenset("<>`\N{MINUS SIGN}")
_SYMBOLS = frozenset(ALPHABET)


def new_code() -> str:
    """A new random code in its canonical form, ``HLDMU-42K7``."""
    return _grouped("".join(secrets.choice(ALPHABET) for _ in range(LENGTH)))


def normalise(text: str) -> str | None:
    """The canonical form of a code as somebody typed or pasted it; None where it cannot be one.

    Case, width, white space, dashes, quotes, brackets and punctuation do not matter.
    """
    if len(text) > _MAX_TYPED:
        return None
    bare = text.strip().lower().removeprefix("<code>").removesuffix("</code>")
    folded = unicodedata.normalize("NFKC", bare).upper().translate(_READ_AS)
    code = "".join(c for c in folded if not _is_wrapping(c))
    if len(code) != LENGTH or not _SYMBOLS.issuperset(code):
        return None
    return _grouped(code)


def _is_wrapping(character: str) -> bool:
    # P: punctuation, Z: spaces; C and M: the invisible characters that pasting brings along.
    return character in _MARKS or unicodedata.category(character)[0] in "PZCM"


def _grouped(code: str) -> str:
    return f"{code[: GROUPS[0]]}-{code[GROUPS[0] :]}"

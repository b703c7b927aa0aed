"""Names and words that cannot do harm: no controls, no tricks of direction, no towers of marks, no mass mention.

Short ASCII text, which is most of what is said, comes back as the same object in about a microsecond.
"""

from __future__ import annotations

import re
import unicodedata
from typing import Final

from core.model import Text
from core.text.graphemes import border
from core.text.mass import MASS_MENTIONS, defuse_mass_mentions
from core.text.spans import Edit, rewrite

__all__ = ["MASS_MENTIONS", "NAMELESS", "clean_name", "clean_text", "defuse_mass_mentions"]

NAMELESS: Final = "someone"
NAME_MARKS: Final = 4
"""Combining marks on one base in a name; no living script needs more."""
TEXT_MARKS: Final = 8
"""Combining marks on one base in a text: enough for Tibetan stacks and pointed Hebrew."""

_LOOKED_AT: Final = 16
"""How many times its shown length of a name is looked at, whatever somebody calls themselves."""
_INVISIBLE: Final = re.compile(
    "[\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b\u200e\u200f\u202a-\u202e\u2060-\u206f\u2800\u3164"
    "\ufe00-\ufe0e\ufeff\uffa0\ufff0-\ufffb\ud800-\udfff\U000e0000-\U000e0fff]"
)
"""Shown as nothing, or turns the direction of what follows. Joiners (U+200C, U+200D) are looked at one by one."""
_STRAY_JOINER: Final = re.compile(
    "[\u200c\u200d](?![\u0600-\u0fff\u2190-\u2bff\U0001f000-\U0001faff])"
    "|(?<![\u0600-\u0fff\u2190-\u2bff\ufe0f\U0001f000-\U0001faff])[\u200c\u200d]"
)
"""A joiner that joins neither emoji nor the letters of the scripts that need it."""
_BLANKS: Final = re.compile(r"[\s\x00-\x1f\x7f-\x9f]+")


# --- names --------------------------------------------------------------------------------------------------


def clean_name(name: str, max_chars: int) -> str:
    """``name`` for one line among other words: visible, of at most ``max_chars`` code points, with single blanks,
    at most four marks on a letter, and unable to turn the direction of the rest of the line (a name written from
    right to left comes in isolates, U+2068 and U+2069). ``someone`` where nothing is left.
    """
    name = name[: max_chars * _LOOKED_AT]
    if not name.isascii():
        name = _STRAY_JOINER.sub("", _INVISIBLE.sub("", name))
    name = _BLANKS.sub(" ", name).strip()
    if not name.isascii():
        name = _visible(name)
    if not name:
        return NAMELESS
    if name.isascii() or not any(unicodedata.bidirectional(char) in ("R", "AL", "AN") for char in name):
        return _cut(name, max_chars)
    return f"\u2068{_cut(name, max_chars - 2)}\u2069"


def _visible(name: str) -> str:
    name = rewrite(Text(name), _marks_above(name, NAME_MARKS)).plain
    while name and unicodedata.category(name[0])[0] in "MZ":
        name = name[1:]
    return name if any(unicodedata.category(char)[0] in "LNPS" for char in name) else ""


def _cut(name: str, max_chars: int) -> str:
    if len(name) <= max_chars:
        return name
    return name[: border(name, 0, max(1, max_chars - 1))].rstrip() + ("…" if max_chars > 1 else "")


# --- texts --------------------------------------------------------------------------------------------------

_CONTROL: Final = re.compile("\r\n?|[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_BIDI: Final = re.compile("[\u202a-\u202e\u2066-\u2069\n]")
_PERHAPS_MARKS: Final = re.compile(
    f"[^\x00-\u02ff\u0370-\u0482\u048a-\u0590\u30a0-\ua66e\uac00-\ud7ff\U0001f000-\U0001faff]{{{TEXT_MARKS + 1}}}"
)
"""A run that could be marks: the ranges left out have none."""
_EMBEDS: Final = frozenset("\u202a\u202b\u202d\u202e")
_ISOLATES: Final = frozenset("\u2066\u2067\u2068")
_POP_EMBED: Final = "\u202c"
_POP_ISOLATE: Final = "\u2069"
_MOST_BIDI: Final = 60
"""Deepest nesting of directions; the algorithm itself (Unicode Standard Annex 9, BD2) ends at 125."""


def clean_text(text: Text) -> Text:
    """``text`` without what no reader can see or every reader suffers from; the same object where there is none.

    C0 and C1 controls but line feed and tab go (a carriage return and the Unicode line ends become a line feed,
    a lone surrogate U+FFFD); direction controls are closed where their line ends, and stray closings go; of the
    combining marks on one base the first eight stay. Linear.
    """
    plain = text.plain
    if plain.isascii() and plain.isprintable():
        return text
    text = rewrite(text, _controls(plain))
    if plain.isascii():
        return text
    plain = text.plain
    if _BIDI.search(plain):
        text = rewrite(text, _unbalanced(plain))
        plain = text.plain
    if _PERHAPS_MARKS.search(plain):
        text = rewrite(text, _marks_above(plain, TEXT_MARKS))
    return text


def _controls(plain: str) -> list[Edit]:
    return [Edit(found.start(), found.end(), _instead(found[0])) for found in _CONTROL.finditer(plain)]


def _instead(control: str) -> str:
    if control[0] in "\r\u2028\u2029":
        return "\n"
    return "\ufffd" if "\ud800" <= control <= "\udfff" else ""


def _marks_above(plain: str, most: int) -> list[Edit]:
    """Edits that take away every combining mark beyond the first ``most`` on one base."""
    edits: list[Edit] = []
    category = unicodedata.category
    run = 0
    for at, char in enumerate(plain):
        if char < "\u0300" or category(char)[0] != "M":
            if run > most:
                edits.append(Edit(at - run + most, at, ""))
            run = 0
        else:
            run += 1
    if run > most:
        edits.append(Edit(len(plain) - run + most, len(plain), ""))
    return edits


def _unbalanced(plain: str) -> list[Edit]:
    """Edits that close directions at the end of their line and take away closings of nothing."""
    edits: list[Edit] = []
    opened: list[str] = []
    for found in _BIDI.finditer(plain):
        at, char = found.start(), found[0]
        if char == "\n":
            if opened:
                edits.append(Edit(at, at, _closing(opened)))
                opened = []
        elif char in _EMBEDS or char in _ISOLATES:
            if len(opened) < _MOST_BIDI:
                opened.append(_POP_EMBED if char in _EMBEDS else _POP_ISOLATE)
            else:
                edits.append(Edit(at, at + 1, ""))
        elif char == _POP_ISOLATE and char in opened:
            while opened.pop() != char:
                pass
        elif opened and opened[-1] == char:
            opened.pop()
        else:
            edits.append(Edit(at, at + 1, ""))
    if opened:
        edits.append(Edit(len(plain), len(plain), _closing(opened)))
    return edits


def _closing(opened: list[str]) -> str:
    return "".join(reversed(opened))

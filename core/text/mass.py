"""Mass mentions: words that would call a whole room, made harmless for every dialect at once."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from typing import Final

from core.model import Text
from core.text.spans import Edit, rewrite

ZERO_WIDTH: Final = "\u200b"

MASS_MENTIONS: Final[tuple[str, ...]] = (
    "@everyone",
    "@channel",
    "@here",
    "@all",
    "@room",
    "@group",
    "@team",
    "@everybody",
    "@anyone",
    "@anybody",
    "@stream",
    "@topic",
    "@EVERYONE",
    "@Channel",
    "@hErE",
    "(@all)",
    "cc:@room",
    "@all!",
    "@channel:",
    "@here, look",
    "@@everyone",
    "a@everyone",
    "@**all**",
    "@**everyone**",
    "@_**channel**",
    "@*team*",
    "\uff20everyone",
    "\ufe6bhere",
    "@\uff45\uff56\uff45\uff52\uff59\uff4f\uff4e\uff45",
    "@e\u200bveryone",
    "@al\u00adl",
    "@\u2060room",
    "<!channel>",
    "<!here>",
    "<!everyone>",
    "<!HERE|here>",
    "<!subteam^S0123ABC>",
    "<\u200d!channel>",
    "<@everyone>",
    "<@all>",
    "<@&1234567890>",
    "<users/all>",
)
"""Ways to call a whole room, for the tests of every place that text goes out through."""

_NAMES: Final = "everyone|everybody|anyone|anybody|channel|here|all|room|group|team|stream|topic"
_CALL: Final = re.compile(
    rf"@(?=_?\*{{0,2}}(?P<name>{_NAMES}))"
    rf"|<(?=!(?:channel|here|everyone|group|subteam)|@&|@(?:{_NAMES})|users/all)",
    re.IGNORECASE,
)
_MAIL: Final = re.compile(r"(?<=[\w.+-])@[\w-]+(?:\.[\w-]+)+")
_WHOLE_WORD_CHARS: Final = 100
"""A word at least this long may be cut anywhere by a room's limits, and a name then ends at the cut."""
_SIGN: Final = re.compile("[@<\uff20\ufe6b\uff1c\ufe64]")
_IGNORED: Final = re.compile(
    "[\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f\u2800\u3164"
    "\ufe00-\ufe0f\ufeff\uffa0\U000e0000-\U000e0fff]"
)


def defuse_mass_mentions(text: Text, zero_width: str = ZERO_WIDTH) -> Text:
    """``text`` with ``zero_width`` behind the sign of everything that could call a whole room: nobody sees a
    difference and no platform calls. The same object where there is nothing to do, or it was done already.

    Case, width and style of the letters and invisible characters between them make no difference, nor does
    being in code. E-mail addresses and the names of single people are left alone. Linear.
    """
    plain = text.plain
    if plain.isascii():
        if "@" not in plain and "<" not in plain:
            return text
        seen: str = plain
        origins: Sequence[int] = range(len(plain) + 1)
    elif _SIGN.search(plain):
        seen, origins = _as_seen(plain)
    else:
        return text
    edges = {edge for entity in text.entities for edge in (entity.start, entity.start + entity.length)}
    places = [origins[found.start()] + 1 for found in _CALL.finditer(seen) if _calls(found, origins, edges)]
    return rewrite(text, [Edit(at, at, zero_width) for at in places if not plain.startswith(zero_width, at)])


def _as_seen(plain: str) -> tuple[str, Sequence[int]]:
    """What a lenient reader would make of the words, and where in them each of its characters comes from."""
    seen: list[str] = []
    origins: list[int] = []
    for at, char in enumerate(plain):
        if not char.isascii():
            if _IGNORED.match(char):
                continue
            char = unicodedata.normalize("NFKC", char)
        seen.append(char)
        origins += [at] * len(char)
    origins.append(len(plain))
    return "".join(seen), origins


def _calls(found: re.Match[str], origins: Sequence[int], edges: set[int]) -> bool:
    """Is this more than a person's name or a mail address? A dialect writes marks where an entity begins or
    ends, so a word ends there as well."""
    if found["name"] is None or found["name"].lower() == "everyone":
        ends_there = True
    else:
        after = found.string[found.end("name") : found.end("name") + 1]
        is_over = not after or not (after.isalnum() or after == "_")
        ends_there = is_over or origins[found.end("name")] in edges or _in_long_word(found)
    if not ends_there:
        return False
    mail = _MAIL.match(found.string, found.start())
    return mail is None or (bool(edges) and any(origins[at] in edges for at in range(found.start(), mail.end())))


def _in_long_word(found: re.Match[str]) -> bool:
    before = found.string[max(0, found.start() - _WHOLE_WORD_CHARS) : found.start()].rpartition(" ")[2]
    after = found.string[found.start() : found.start() + _WHOLE_WORD_CHARS].partition(" ")[0]
    return len(before) + len(after) >= _WHOLE_WORD_CHARS

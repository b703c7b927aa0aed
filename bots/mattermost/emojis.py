"""Emoji by Mattermost's names of them (those of emoji-datasource), and as Unicode characters."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

_TONE: Final = re.compile(r"[_-](light|medium_light|medium|medium_dark|dark)_skin_tone$")
_TONES: Final = dict(zip(("light", "medium_light", "medium", "medium_dark", "dark"), "🏻🏼🏽🏾🏿", strict=True))
_FLAG: Final = re.compile(r"flag-([a-z]{2})")
_FIRST_NAMES: Final = {"👍": "+1", "👎": "-1"}
"""Where Mattermost's own name is not the one that comes first in the library."""
_VARIATION: Final = "\ufe0f"
_NAME: Final = re.compile(r"[A-Za-z0-9_+-]{1,64}")
"""What the server takes for a name (server/public/model/emoji.go). It becomes a part of an address, so nothing else may
stand in it: people elsewhere react with whatever they like."""


@lru_cache(maxsize=2_000)
def shown(name: str) -> str:
    """The character that ``name`` (no colons) stands for; empty for the server's own emoji and for no emoji."""
    import emoji

    if flag := _FLAG.fullmatch(name):
        return "".join(chr(0x1F1E6 + ord(letter) - ord("a")) for letter in flag[1])
    tone = _TONE.search(name)
    base = name[: tone.start()] if tone else name
    for spelled in (base, base.replace("-", "_")):
        found = emoji.emojize(f":{spelled}:", language="alias")
        if not found.startswith(":"):
            return found[0] + _TONES[tone[1]] + found[1:].lstrip(_VARIATION) if tone else found
    return ""


@lru_cache(maxsize=2_000)
def names(emoji_or_code: str) -> tuple[str, ...]:
    """What Mattermost may call a character or a ``:shortcode:``, most likely first."""
    import emoji

    if emoji_or_code.startswith(":") and emoji_or_code.endswith(":") and len(emoji_or_code) > 2:
        return (emoji_or_code[1:-1],) if _NAME.fullmatch(emoji_or_code[1:-1]) else ()
    plain = "".join(char for char in emoji_or_code if char not in _TONES.values())
    for spelled in (plain, plain.rstrip(_VARIATION), plain + _VARIATION):
        if known := emoji.EMOJI_DATA.get(spelled):
            found = [*known.get("alias", ()), known["en"]]
            first = _FIRST_NAMES.get(plain)
            return tuple(dict.fromkeys(([first] if first else []) + [str(name).strip(":") for name in found]))
    return ()

"""Slack's names of emoji and the emoji themselves. The table is the ``emoji`` library's, read when first needed."""

from __future__ import annotations

import re
from typing import Final

_TONE: Final = re.compile("[\U0001f3fb-\U0001f3ff]")
_TONE_NAME: Final = re.compile(r"::skin-tone-([2-6])$")
_FIRST_TONE: Final = 0x1F3FB
_FLAG: Final = re.compile("[\U0001f1e6-\U0001f1ff]{2}")
_FLAG_NAME: Final = re.compile(r"flag-([a-z]{2})")
_FIRST_LETTER: Final = 0x1F1E6
_JOINER: Final = "\u200d"
_LOOK: Final = "\ufe0f"
_NAME: Final = re.compile(r"[a-z0-9_+'-]{1,100}(?:::skin-tone-[2-6])?")
_GENDERS: Final = {"male": "man", "female": "woman"}
_SIGNS: Final = ("\u2640", "\u2642")
_KEYCAPS: Final = {"keycap_star": "*\ufe0f\u20e3", "simple_smile": "🙂", "knife_fork_plate": "🍽️"}
_OURS: Final = {"😁": "grin", "🙂": "slightly_smiling_face", "👍": "+1", "👎": "-1", "🍽": "knife_fork_plate"}
"""Where Slack's name is neither the library's nor one that can be made of it."""


def is_name(name: str) -> bool:
    """Could this be a name of an emoji on Slack?"""
    return _NAME.fullmatch(name) is not None


def from_codepoints(raw: str) -> str:
    """``1f468-200d-1f33e`` (a rich text emoji's ``unicode``) as characters; empty where it is none."""
    try:
        return "".join(chr(int(code, 16)) for code in raw.split("-")) if raw else ""
    except (ValueError, OverflowError):
        return ""


def to_unicode(name: str) -> str:
    """``+1::skin-tone-3`` → 👍🏼; empty where it is a workspace's own emoji."""
    tone = _TONE_NAME.search(name)
    found = _known(_TONE_NAME.sub("", name))
    if not tone or not found:
        return found
    shade = chr(_FIRST_TONE + int(tone[1]) - 2)
    return found[0] + shade + found[1:].removeprefix(_LOOK)


def _known(name: str) -> str:
    if flag := _FLAG_NAME.fullmatch(name):
        return "".join(chr(_FIRST_LETTER + ord(letter) - ord("a")) for letter in flag[1])
    if name in _KEYCAPS:
        return _KEYCAPS[name]
    import emoji

    first, _, rest = name.partition("-")
    rest = rest.replace("doctor", "health_worker")
    cldr = f"{_GENDERS.get(first, first)}_{rest}" if rest else name
    for tried in (name, name.replace("-", "_"), cldr.replace("-", "_")):
        found = emoji.emojize(f":{tried}:", language="alias")
        if found != f":{tried}:":
            return found
    return ""


def names_of(shown: str) -> list[str]:
    """Names that Slack may have for an emoji or ``:shortcode:``, the likeliest first; without skin tones where Slack
    takes none of a joined emoji."""
    if shown.startswith(":") and shown.endswith(":") and len(shown) > 2:
        name = shown.strip(":")
        return [name] if is_name(name) else []
    if _FLAG.fullmatch(shown):
        return ["flag-" + "".join(chr(ord(letter) - _FIRST_LETTER + ord("a")) for letter in shown)]
    tones = _TONE.findall(shown)
    found = _names(_TONE.sub("", shown))
    if len(tones) == 1:
        suffix = f"::skin-tone-{ord(tones[0]) - _FIRST_TONE + 2}"
        return [name + suffix for name in found] + found
    return found


def _names(base: str) -> list[str]:
    if (ours := _OURS.get(base.removesuffix(_LOOK))) is not None:
        return [ours]
    import emoji

    data = emoji.EMOJI_DATA.get(base) or emoji.EMOJI_DATA.get(base + _LOOK) or emoji.EMOJI_DATA.get(base.strip(_LOOK))
    if data is None:
        return []
    found = [name.strip(":") for name in (*data.get("alias", ()), data["en"])]
    made = found[-1]
    if base[:1] in "👨👩" and _JOINER in base:
        role = made.partition("_")[2].replace("health_worker", "doctor").replace("_", "-")
        found.insert(0, f"{'male' if base[0] == '👨' else 'female'}-{role}")
    elif any(sign in base for sign in _SIGNS):
        found.insert(0, made.replace("_", "-"))
    return [name for name in dict.fromkeys(found) if is_name(name)]

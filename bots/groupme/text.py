"""GroupMe's texts both ways: plain words of at most 1000 characters, with mentions beside them.

There is no markup, so nothing has to be escaped. Only a ``mentions`` attachment calls anybody (Attachments,
"Mentions"): ``@all`` as a word calls nobody, and no attachment is ever made for it. Places in a text are counted in
UTF-16 units, as the clients do.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from core.model import Entity, Text
from core.text.ops import Edit, rewrite, slice_text, strip
from core.text.safety import clean_text
from core.text.split import size, split

LIMIT = 1000
MORE = " … continued"
POWERUP = "[powerup]"
REACTIONS = ("❤️", "👍", "🤣", "🎉", "🔥", "😮", "👀", "😭", "🥺", "🙏", "💀", "🫶", "🤬", "💅", "🫠")
"""The only Unicode reactions that GroupMe takes (Reactions)."""
_NEAREST = {
    "❤️": "♥❤💕💖💗💘💙💚💛💜🖤🤍🤎🧡🩷🩵💓💞💟❣😍🥰😘",
    "👍": "👌✅✔☑🆗💪🤝➕",
    "🤣": "😂😆😹😅😄😁😀😃",
    "🎉": "🎊👏🥳🙌🎈🏆🎂🍾",
    "🔥": "💯🚀⚡💥",
    "😮": "😯😲😱🤯😳",
    "👀": "👁🤔🧐🔍",
    "😭": "😢😿💔☹🙁😞😔",
    "🥺": "🙇😟",
    "💀": "☠",
    "🫶": "🤗",
    "🤬": "😠😡👿",
}
_PLAIN = {shown.rstrip("\ufe0f"): shown for shown in REACTIONS}
_NEAR = {emoji: shown for shown, others in _NEAREST.items() for emoji in others}
_SKINS = dict.fromkeys([0xFE0F, *range(0x1F3FB, 0x1F400)])


def reaction(emoji: str) -> str:
    """The reaction that GroupMe takes for ``emoji``; empty where none of its fifteen means the same."""
    bare = emoji.translate(_SKINS)
    return _PLAIN.get(bare) or _NEAR.get(bare, "")


# --- in -----------------------------------------------------------------------------------------------------


def _places(words: str) -> list[int]:
    """UTF-16 place → code point."""
    places: list[int] = []
    for at, char in enumerate(words):
        places += [at] * (2 if char > "\uffff" else 1)
    return [*places, len(words)]


def incoming(words: str, attachments: Sequence[Mapping[str, Any]]) -> Text:
    """A message's words with the people they mention, its powerups and places as words."""
    text = Text(words, tuple(_mentions(words, attachments)))
    edits = [edit for part in attachments if part.get("type") == "emoji" for edit in _powerups(words, part)]
    text = rewrite(text, sorted(edits)) if edits else text
    lines = [line for part in attachments if part.get("type") == "location" and (line := _location(part))]
    if lines:
        text = Text("\n".join([*([text.plain] if text.plain else []), *lines]), text.entities)
    return clean_text(text)


def _mentions(words: str, attachments: Sequence[Mapping[str, Any]]) -> list[Entity]:
    found: dict[tuple[int, int], list[str]] = {}
    places = _places(words)
    for part in attachments:
        people, loci = part.get("user_ids"), part.get("loci")
        if part.get("type") != "mentions" or not isinstance(people, list) or not isinstance(loci, list):
            continue
        for person, locus in zip(people, loci, strict=False):
            if isinstance(locus, list) and len(locus) == 2 and all(type(n) is int and n >= 0 for n in locus):
                start, end = locus[0], locus[0] + locus[1]
                if start < end < len(places):
                    found.setdefault((places[start], places[end]), []).append(str(person))
    # Many people at one place are a call to everybody, not somebody's name.
    spans = [(start, end, people[0]) for (start, end), people in sorted(found.items()) if len(people) == 1]
    entities: list[Entity] = []
    for start, end, person in spans:
        if start < end and (not entities or start >= entities[-1].start + entities[-1].length):
            entities.append(Entity("mention", start, end - start, person))
    return entities


def _powerups(words: str, part: Mapping[str, Any]) -> list[Edit]:
    placeholder, charmap = part.get("placeholder"), part.get("charmap")
    if not isinstance(placeholder, str) or not placeholder or not isinstance(charmap, list):
        return []
    edits: list[Edit] = []
    at = words.find(placeholder)
    while at >= 0 and len(edits) < len(charmap):
        edits.append(Edit(at, at + len(placeholder), POWERUP))
        at = words.find(placeholder, at + len(placeholder))
    return edits


def _location(part: Mapping[str, Any]) -> str:
    try:
        lat, lng = float(part.get("lat") or ""), float(part.get("lng") or "")
    except (TypeError, ValueError):
        return ""
    name = " ".join(str(part.get("name") or "").split())
    return f"📍 {name + ' ' if name else ''}https://maps.google.com/?q={lat:.6f},{lng:.6f}"


# --- out ----------------------------------------------------------------------------------------------------


def parts(text: Text, max_parts: int) -> list[Text]:
    """``text`` in at most ``max_parts`` posts; the last one says so where something was cut off."""
    text = clean_text(text)
    text = strip(text) if len(text.plain) > LIMIT else text
    most = (max_parts + 1) * LIMIT
    cut = [part for part in split(slice_text(text, 0, most), LIMIT, "utf16") if part.plain.strip()]
    if not cut or (len(cut) <= max_parts and len(text.plain) <= most):
        return cut
    last = split(cut[:max_parts][-1], LIMIT - len(MORE), "utf16")[0]
    return [*cut[:max_parts][:-1], Text(last.plain.rstrip() + MORE, last.entities)]


def mentions(text: Text, members: Mapping[str, str]) -> list[dict[str, Any]]:
    """The ``mentions`` attachment for the people in ``text`` who are members (id → name) under that very name."""
    people: list[str] = []
    loci: list[list[int]] = []
    for entity in text.entities:
        shown = text.plain[entity.start : entity.start + entity.length]
        name = members.get(entity.value, "") if entity.type == "mention" else ""
        if name and shown.lstrip("@").casefold() == name.casefold():
            people.append(entity.value)
            loci.append([size(text.plain[: entity.start], "utf16"), size(shown, "utf16")])
    return [{"type": "mentions", "user_ids": people, "loci": loci}] if people else []

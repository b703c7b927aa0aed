"""What people type to the bot: reading ``-sameroom connect HLDMU-42K7`` in all the ways a phone makes of it."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from codes.alphabet import normalise

DASHES = "-\u2010\u2011\u2012\u2013\u2014\u2015\u2212\ufe58\ufe63\uff0d"
_AT = "@\uff20"
_SLASH = "/\uff0f"
# Invisible characters that phones and web pages put before a text: marks of width, direction and byte order.
_INVISIBLE = "\u200b\u200c\u200d\u200e\u200f\u2060\u2066\u2067\u2068\u2069\ufeff"
_BLANK = _INVISIBLE + "".join(c for c in map(chr, range(0x3001)) if c.isspace())
_LEADS = frozenset(DASHES + _AT + _SLASH)
_AFTER_WORD = ".,:;!?\u2026\u3002"
_FULL_STOPS = (".", "\u3002")
_WRAPPED = (
    ("<", ">"),
    ('"', '"'),
    ("'", "'"),
    ("`", "`"),
    ("\u201c", "\u201d"),
    ("\u201d", "\u201d"),
    ("\u201e", "\u201c"),
    ("\u201e", "\u201d"),
    ("\u2018", "\u2019"),
    ("\u201a", "\u2018"),
    ("\u00ab", "\u00bb"),
    ("\u00bb", "\u00ab"),
    ("\u2039", "\u203a"),
    ("\u300c", "\u300d"),
)
_LOOSE = ".,:;!?()[]<>\"'`\u201c\u201d\u201e\u2018\u2019\u201a\u00ab\u00bb\u2026\u3002" + _BLANK
_WORD_MAX = 32
_MORE_DASHES = 2


class CommandSpec(msgspec.Struct, frozen=True):
    """A command for people: what it does in a line, and how it is typed after the prefix."""

    summary: str
    usage: str
    takes_argument: bool = False
    needs_argument: bool = False


def _spec(summary: str, usage: str) -> CommandSpec:
    return CommandSpec(summary, usage, " " in usage, "<" in usage)


COMMANDS: dict[str, CommandSpec] = {
    "help": _spec("shows this list", "help"),
    "open": _spec("gives a code that connects another room to this one", "open"),
    "connect": _spec("connects this room to the one the code or link came from", "connect <code or link>"),
    "portal": _spec("gives a link that connects rooms to this one until you close it", "portal"),
    "close": _spec("makes this room's codes and links worthless", "close"),
    "list": _spec("shows which rooms are connected, and how they are", "list"),
    "map": _spec("gives a link to a drawing of all connected rooms", "map"),
    "ping": _spec("measures how fast each connected room answers", "ping"),
    "pause": _spec("stops relaying here and keeps the connections", "pause"),
    "resume": _spec("relays again", "resume"),
    "disconnect": _spec("ends the connection to one room", "disconnect <room>"),
    "disable": _spec("ends all connections of this room", "disable"),
    "format": _spec("shows or sets how names are shown here", "format [name|name+platform|name+room|plain]"),
    "ban": _spec("keeps out what a person or room elsewhere says", "ban <name>"),
    "unban": _spec("lets a banned person or room in again", "unban <name>"),
    "manage": _spec("gives you a link to this room's settings", "manage"),
    "confirm": _spec("lets a room that asked connect to this one", "confirm [room]"),
    "deny": _spec("turns down a room that asked to connect", "deny [room]"),
}
"""Every command, in the order in which help shows them. Usage: ``<needed>``, ``[may be left out]``."""

_MEANT = {
    "add": "connect",
    "join": "connect",
    "accept": "confirm",
    "block": "ban",
    "code": "open",
    "commands": "help",
    "invite": "open",
    "leave": "disconnect",
    "link": "portal",
    "mute": "pause",
    "reject": "deny",
    "rooms": "list",
    "settings": "manage",
    "start": "open",
    "status": "list",
    "stop": "pause",
    "unpause": "resume",
}


class Command(msgspec.Struct, frozen=True):
    """A command of COMMANDS, and the rest of the line; empty where nothing follows."""

    name: str
    argument: str = ""


class Unknown(msgspec.Struct, frozen=True):
    """A word after the prefix that is no command, the command that was most likely meant, and the rest."""

    word: str
    nearest: str
    argument: str = ""


def looks_like_command(plain: str, prefix: str, *, slash: bool = True) -> bool:
    """May this be a command? Quick for all that is not: everything that :func:`parse_command` reads passes."""
    if plain[:1] not in _LEADS:
        if plain[:1].isalnum():
            return False
        plain = plain.lstrip(_BLANK)
        if plain[:1] not in _LEADS:
            return False
    if not slash and plain[:1] in _SLASH:
        return False
    return prefix.casefold() in plain[: 2 * len(prefix) + 1 + _MORE_DASHES].casefold()


def is_hush(plain: str) -> bool:
    """Is it said for this room only (``^^^ text``)?"""
    return not plain[:1].isalnum() and plain.lstrip(_BLANK).startswith("^^^")


def parse_command(text: str, prefix: str, *, slash: bool, bot_names: Sequence[str] = ()) -> Command | Unknown | None:
    """Read a command; None for all other talk.

    ``slash``: the platform has slash commands, so ``/sameroom`` is one too; ``/sameroom@name`` is ours if
    ``name`` is one of ``bot_names`` (any, where none are given).
    """
    head, rest = _word(text)
    if not _addressed(head, prefix, slash, bot_names):
        return None
    typed, argument = _word(rest)
    word = typed.rstrip(_AFTER_WORD).casefold()
    if not word:
        return Command("help")
    if word in COMMANDS:
        return Command(word, _argument(word, argument))
    if normalise(f"{typed} {argument}") or "://" in typed:
        return Unknown(typed[:_WORD_MAX], "connect", _argument("connect", f"{typed} {argument}"))
    return Unknown(word[:_WORD_MAX], nearest(word), argument)


def nearest(word: str) -> str:
    """The command that ``word`` was most likely meant to be."""
    if word in _MEANT:
        return _MEANT[word]
    from difflib import get_close_matches

    return next(iter(get_close_matches(word[:_WORD_MAX], COMMANDS, n=1, cutoff=0.4)), "help")


def _word(text: str) -> tuple[str, str]:
    """The first word, and the rest."""
    head, *rest = text.strip(_BLANK).split(None, 1)[:2] or [""]
    return head, rest[0] if rest else ""


def _addressed(head: str, prefix: str, slash: bool, bot_names: Sequence[str]) -> bool:
    lead, name = head[:1], head[1:].rstrip(_AFTER_WORD)
    if lead and lead in DASHES:
        name = name[:_MORE_DASHES].lstrip(DASHES) + name[_MORE_DASHES:]
    elif lead and lead in _SLASH:
        name, at, bot = name.partition("@")
        ours = not bot_names or bot.casefold() in (n.casefold() for n in bot_names)
        if not slash or (at and not ours):
            return False
    elif not lead or lead not in _AT:
        return False
    return name.casefold() == prefix.casefold()


def _argument(name: str, text: str) -> str:
    text = text.strip(_BLANK)
    if name == "connect":
        return normalise(text) or text.strip(_LOOSE)
    return _unwrapped(text)


def _unwrapped(text: str) -> str:
    """Without the full stop that ends the line, and without the quotes or brackets around it all."""
    if text.endswith(_FULL_STOPS):
        text = text[:-1].rstrip()
    for opening, closing in _WRAPPED:
        if len(text) > 2 and text.startswith(opening) and text.endswith(closing):
            return text[1:-1].strip(_BLANK)
    return text

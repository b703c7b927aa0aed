"""Stanzas for what goes out."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final
from xml.etree.ElementTree import Element

from bots.xmpp import styling
from bots.xmpp import xml as x
from bots.xmpp.rooms import Room
from bots.xmpp.text import clean, to_xhtml
from core.model import Text

RETRACTED: Final = "(took back a message)"


def message(stanza: Element, text: Text, *, room: Room | None = None, answers: str = "", replaces: str = "") -> Element:
    """Words, into an empty message with its id: a body with Message Styling where that says the same, XHTML-IM for
    formatting, and what it answers (in ``room``) or replaces."""
    text = clean(text)
    words, is_styled = styling.format(text) if text.entities else (text.plain, False)
    quoted = ""
    if answers and room is not None:
        quoted = _quote(room, answers)
        seen = room.seen.get(answers)
        x.add(stanza, x.REPLY, "reply", to=f"{room.jid}/{seen.nick}" if seen else room.jid, id=answers)
        if quoted:
            fallback = x.add(stanza, x.FALLBACK, "fallback", for_=x.REPLY)
            x.add(fallback, x.FALLBACK, "body", start="0", end=str(len(quoted)))
    body = x.add(stanza, x.namespace_of(stanza), "body")
    body.text = quoted + words
    if not is_styled:
        x.add(stanza, x.STYLING, "unstyled")
    shown = to_xhtml(text) if text.entities else None
    if shown is not None:
        x.add(stanza, x.XHTML_IM, "html").append(shown)
    if replaces:
        x.add(stanza, x.CORRECT, "replace", id=replaces)
    return _ours(stanza, active=True)


def _quote(room: Room, answers: str) -> str:
    """The beginning of what is answered, for clients that know no replies (XEP-0461 section 3.1)."""
    seen = room.seen.get(answers)
    return f"> {x.sendable(seen.nick)}:\n> {x.sendable(seen.excerpt)}\n" if seen and seen.excerpt else ""


def file(stanza: Element, url: str) -> Element:
    """A file that was uploaded, into an empty message: its address alone, which clients show as the file (XEP-0066)."""
    x.add(stanza, x.namespace_of(stanza), "body").text = url
    x.add(x.add(stanza, x.OOB, "x"), x.OOB, "url", url)
    return _ours(stanza, active=True)


def retraction(stanza: Element, native: str, origin: str) -> Element:
    """Take a message back, into an empty message: by the room's id of it (XEP-0424 0.4) and by ours (0.3)."""
    x.add(stanza, x.RETRACT, "retract", id=native)
    if origin:
        x.add(x.add(stanza, x.FASTEN, "apply-to", id=origin), x.RETRACT_OLD, "retract")
    x.add(stanza, x.FALLBACK, "fallback", for_=x.RETRACT)
    x.add(stanza, x.namespace_of(stanza), "body").text = RETRACTED
    return _ours(stanza)


def reactions(stanza: Element, native: str, emoji: Iterable[str]) -> Element:
    """All reactions of the sender to a message, into an empty message (XEP-0444)."""
    found = x.add(stanza, x.REACTIONS, "reactions", id=native)
    for one in emoji:
        x.add(found, x.REACTIONS, "reaction", x.sendable(one))
    return _ours(stanza)


def state(stanza: Element, name: str) -> Element:
    """A chat state (XEP-0085), into an empty message; nobody keeps it."""
    x.add(stanza, x.STATES, name)
    x.add(stanza, x.HINTS, "no-store")
    return stanza


def _ours(stanza: Element, *, active: bool = False) -> Element:
    if active:
        x.add(stanza, x.STATES, "active")
    x.add(stanza, x.SID, "origin-id", id=stanza.get("id", ""))
    x.add(stanza, x.HINTS, "store")
    x.add(stanza, x.MARK, "relayed")
    return stanza

"""Invitations: through the room (XEP-0045 section 7.8.2) or from a person (XEP-0249)."""

from __future__ import annotations

from xml.etree.ElementTree import Element

from bots.xmpp import xml as x
from bots.xmpp.rooms import Room
from core.model import Author

Invitation = tuple[str, str, str]
"""Room, who, password."""


def invitation(stanza: Element) -> Invitation | None:
    """The invitation that a message is; None if it is none."""
    if stanza.get("type") in ("error", "groupchat"):
        return None
    return _mediated(stanza) or _direct(stanza)


def inviter(room: Room) -> Author | None:
    """Who invited us into the room."""
    jid = x.bare(room.invited_by)
    if jid == room.jid:
        return room.author(x.resource(room.invited_by))
    return Author(f"jid:{jid}", jid.partition("@")[0]) if jid else None


def _mediated(stanza: Element) -> Invitation | None:
    user = x.child(stanza, x.MUC_USER, "x")
    invite = x.child(user, x.MUC_USER, "invite") if user is not None else None
    if user is None or invite is None:
        return None
    return _room(stanza.get("from", "")), invite.get("from", ""), user.findtext(f"{{{x.MUC_USER}}}password") or ""


def _direct(stanza: Element) -> Invitation | None:
    found = x.child(stanza, x.CONFERENCE, "x")
    if found is None or "@" not in found.get("jid", ""):
        return None
    return _room(found.get("jid", "")), stanza.get("from", ""), found.get("password", "")


def _room(jid: str) -> str:
    return x.bare(jid).lower()

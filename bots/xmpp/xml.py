"""XML of XMPP: the namespaces that are used, and short ways to build and to look into elements."""

from __future__ import annotations

import re
from typing import Final
from xml.etree.ElementTree import Element, SubElement

CLIENT: Final = "jabber:client"
COMPONENT: Final = "jabber:component:accept"
STANZAS: Final = "urn:ietf:params:xml:ns:xmpp-stanzas"
DATA: Final = "jabber:x:data"
DISCO_INFO: Final = "http://jabber.org/protocol/disco#info"
DISCO_ITEMS: Final = "http://jabber.org/protocol/disco#items"
MUC: Final = "http://jabber.org/protocol/muc"
MUC_USER: Final = "http://jabber.org/protocol/muc#user"
MUC_OWNER: Final = "http://jabber.org/protocol/muc#owner"
MUC_ADMIN: Final = "http://jabber.org/protocol/muc#admin"
CONFERENCE: Final = "jabber:x:conference"
DELAY: Final = "urn:xmpp:delay"
PING: Final = "urn:xmpp:ping"
MAM: Final = "urn:xmpp:mam:2"
RSM: Final = "http://jabber.org/protocol/rsm"
FORWARD: Final = "urn:xmpp:forward:0"
SID: Final = "urn:xmpp:sid:0"
OCCUPANT: Final = "urn:xmpp:occupant-id:0"
HATS: Final = "urn:xmpp:hats:0"
CORRECT: Final = "urn:xmpp:message-correct:0"
RETRACT: Final = "urn:xmpp:message-retract:1"
RETRACT_OLD: Final = "urn:xmpp:message-retract:0"
MODERATE: Final = "urn:xmpp:message-moderate:1"
MODERATE_OLD: Final = "urn:xmpp:message-moderate:0"
FASTEN: Final = "urn:xmpp:fasten:0"
REPLY: Final = "urn:xmpp:reply:0"
FALLBACK: Final = "urn:xmpp:fallback:0"
REACTIONS: Final = "urn:xmpp:reactions:0"
STATES: Final = "http://jabber.org/protocol/chatstates"
HINTS: Final = "urn:xmpp:hints"
STYLING: Final = "urn:xmpp:styling:0"
XHTML_IM: Final = "http://jabber.org/protocol/xhtml-im"
XHTML: Final = "http://www.w3.org/1999/xhtml"
OOB: Final = "jabber:x:oob"
SHARING: Final = "urn:xmpp:sfs:0"
FILE: Final = "urn:xmpp:file:metadata:0"
URL_DATA: Final = "http://jabber.org/protocol/url-data"
UPLOAD: Final = "urn:xmpp:http:upload:0"
EME: Final = "urn:xmpp:eme:0"
MARK: Final = "urn:bridgebot:relayed:0"
"""Our own: a bridge posted it."""

_NOT_IN_XML: Final = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")


def sendable(words: str) -> str:
    """``words`` without what XML 1.0 (section 2.2) has no place for; line ends as line feeds."""
    return _NOT_IN_XML.sub("", words.replace("\r\n", "\n").replace("\r", "\n"))


def element(namespace: str, name: str, text: str = "", **attributes: str) -> Element:
    """A new element; attributes that are empty are left out."""
    made = Element(f"{{{namespace}}}{name}", {key.rstrip("_"): value for key, value in attributes.items() if value})
    made.text = text or None
    return made


def add(parent: Element, namespace: str, name: str, text: str = "", **attributes: str) -> Element:
    """A new element below ``parent``; attributes that are empty are left out."""
    given = {key.rstrip("_"): value for key, value in attributes.items() if value}
    made = SubElement(parent, f"{{{namespace}}}{name}", given)
    made.text = text or None
    return made


def namespace_of(stanza: Element) -> str:
    """The namespace of a stanza: its bodies and errors are in the same."""
    return stanza.tag[1:].partition("}")[0]


def local(tag: str) -> str:
    """A tag without its namespace."""
    return tag.rpartition("}")[2]


def child(parent: Element, namespace: str, name: str) -> Element | None:
    """The first such element directly below."""
    return parent.find(f"{{{namespace}}}{name}")


def body(stanza: Element) -> str:
    """The words of a message."""
    return stanza.findtext(f"{{{namespace_of(stanza)}}}body") or ""


def condition(stanza: Element) -> tuple[str, str, str]:
    """Of an error: its condition (RFC 6120 section 8.3.3), its type and the server's words."""
    error = child(stanza, namespace_of(stanza), "error")
    if error is None:
        return "undefined-condition", "cancel", ""
    names = [local(item.tag) for item in error if item.tag.startswith(f"{{{STANZAS}}}")]
    said = error.findtext(f"{{{STANZAS}}}text") or ""
    found = next((name for name in names if name != "text"), "undefined-condition")
    return found, error.get("type", "cancel"), said


def statuses(x: Element | None) -> frozenset[str]:
    """The status codes of a room's ``x`` (XEP-0045 section 15.6)."""
    return (
        frozenset(item.get("code", "") for item in x.findall(f"{{{MUC_USER}}}status")) if x is not None else frozenset()
    )


def bare(jid: str) -> str:
    """An address without its resource."""
    return jid.partition("/")[0]


def resource(jid: str) -> str:
    """What stands behind the first slash: in a room the nick."""
    return jid.partition("/")[2]

"""From a message stanza of a room to what it says. Pure: no state, no ids of ours."""

from __future__ import annotations

from datetime import UTC, datetime
from mimetypes import guess_type
from typing import Final
from urllib.parse import unquote, urlsplit
from xml.etree.ElementTree import Element

import msgspec

from bots.xmpp import xml as x
from bots.xmpp.text import as_html

MOST_EMOJI: Final = 20
"""Reactions of one person to one message that are looked at."""
EMOJI_CHARS: Final = 32
EXCERPT_CHARS: Final = 200
ID_CHARS: Final = 500
"""Longer ids are nobody's."""
ENCRYPTED: Final = "(an encrypted message, which the bridge cannot read)"
_ENCRYPTED: Final = (
    "{eu.siacs.conversations.axolotl}encrypted",
    "{urn:xmpp:omemo:2}encrypted",
    f"{{{x.EME}}}encryption",
)


class Link(msgspec.Struct, frozen=True):
    """A file that a message points to."""

    url: str
    name: str
    mime: str
    size_bytes: int = 0


class Answer(msgspec.Struct, frozen=True):
    """What a message answers."""

    native: str
    nick: str
    excerpt: str


class Heard(msgspec.Struct, frozen=True):
    """A message of a room. Fields that it does not have are empty."""

    nick: str
    """Empty: the room itself speaks."""
    native: str
    """The room's own id of it (XEP-0359); where the room gives none, the sender's."""
    origin: str
    """The sender's id of it, which corrections refer to (XEP-0308)."""
    body: str = ""
    """Without the part that only repeats what is answered (XEP-0428)."""
    html: str = ""
    unstyled: bool = False
    replaces: str = ""
    retracts: str = ""
    moderated: bool = False
    reacts_to: str = ""
    emoji: tuple[str, ...] = ()
    """All reactions of the sender to ``reacts_to``, now."""
    answers: Answer | None = None
    links: tuple[Link, ...] = ()
    composing: bool = False
    at_ms: int = 0
    """When it was said, if it was said before now."""
    occupant_id: str = ""
    jid: str = ""
    """The sender's real address, bare, where the room tells it."""
    marked: bool = False
    """A bridge like this one posted it."""
    config_changed: bool = False


def hear(stanza: Element, room: str, *, stable_ids: bool, archive_id: str = "", at_ms: int = 0) -> Heard | None:
    """What a ``groupchat`` message of ``room`` (its bare address) says; None for one of another type or room.

    ``stable_ids``: the room gives ids (it would take out forged ones, XEP-0359 section 6). ``archive_id``, ``at_ms``:
    its place in the archive, if it comes from there.
    """
    sender = stanza.get("from", "")
    if stanza.get("type") != "groupchat" or x.bare(sender) != room:
        return None
    origin = _origin(stanza)
    native = archive_id or (_stanza_id(stanza, room) if stable_ids else "")
    retracts, moderated = _retraction(stanza, from_room=not x.resource(sender))
    reacts_to, emoji = _reactions(stanza)
    body, quoted = _without_fallback(stanza, x.body(stanza))
    links = _links(stanza, body)
    encrypted = any(stanza.find(tag) is not None for tag in _ENCRYPTED)
    written = stanza.find(f"{{{x.XHTML_IM}}}html/{{{x.XHTML}}}body") if not quoted else None
    user = x.child(stanza, x.MUC_USER, "x")
    return Heard(
        nick=x.resource(sender),
        native=native or origin,
        origin=origin,
        body=ENCRYPTED if encrypted else "" if _is_only_link(body, links) else body,
        html=as_html(written) if written is not None and not encrypted else "",
        unstyled=encrypted or x.child(stanza, x.STYLING, "unstyled") is not None,
        replaces=_attribute(stanza, x.CORRECT, "replace", "id"),
        retracts=retracts,
        moderated=moderated,
        reacts_to=reacts_to,
        emoji=emoji,
        answers=_answer(stanza, room, quoted),
        links=links,
        composing=x.child(stanza, x.STATES, "composing") is not None,
        at_ms=at_ms or _delayed_ms(stanza, room),
        occupant_id=_attribute(stanza, x.OCCUPANT, "occupant-id", "id"),
        jid=_real_jid(user),
        marked=x.child(stanza, x.MARK, "relayed") is not None,
        config_changed=not x.resource(sender) and bool(x.statuses(user)),
    )


def _attribute(stanza: Element, namespace: str, name: str, attribute: str) -> str:
    found = x.child(stanza, namespace, name)
    return "" if found is None else _id(found.get(attribute, ""))


def _id(written: str) -> str:
    return written if len(written) <= ID_CHARS else ""


def _origin(stanza: Element) -> str:
    return _id(stanza.get("id", "")) or _attribute(stanza, x.SID, "origin-id", "id")


def _stanza_id(stanza: Element, room: str) -> str:
    for item in stanza.findall(f"{{{x.SID}}}stanza-id"):
        if item.get("by") == room:
            return _id(item.get("id", ""))
    return ""


def _real_jid(user: Element | None) -> str:
    item = x.child(user, x.MUC_USER, "item") if user is not None else None
    return x.bare(item.get("jid", "")).lower() if item is not None else ""


# --- changes of earlier messages ----------------------------------------------------------------------------


def _retraction(stanza: Element, *, from_room: bool) -> tuple[str, bool]:
    """What is taken back, and whether a moderator did it (which only the room itself can say): XEP-0424 0.4 and 0.3,
    XEP-0425 0.3 and 0.2."""
    found = x.child(stanza, x.RETRACT, "retract")
    if found is not None:
        moderated = x.child(found, x.MODERATE, "moderated") is not None
        return (_id(found.get("id", "")), moderated) if moderated == from_room else ("", False)
    fastened = x.child(stanza, x.FASTEN, "apply-to")
    if fastened is None:
        return "", False
    target = _id(fastened.get("id", ""))
    if x.child(fastened, x.RETRACT_OLD, "retract") is not None and not from_room:
        return target, False
    by_moderator = fastened.find(f"{{{x.MODERATE_OLD}}}moderated/{{{x.RETRACT_OLD}}}retract") is not None
    return (target, True) if by_moderator and from_room else ("", False)


def _reactions(stanza: Element) -> tuple[str, tuple[str, ...]]:
    found = x.child(stanza, x.REACTIONS, "reactions")
    if found is None:
        return "", ()
    said = [(item.text or "").strip() for item in found.findall(f"{{{x.REACTIONS}}}reaction")]
    kept = dict.fromkeys(emoji for emoji in said if emoji and len(emoji) <= EMOJI_CHARS)
    return _id(found.get("id", "")), tuple(kept)[:MOST_EMOJI]


# --- answers ------------------------------------------------------------------------------------------------


def _without_fallback(stanza: Element, body: str) -> tuple[str, str]:
    """The body without what is there for clients that know no replies, and that part (XEP-0461 section 3.1)."""
    quoted: list[str] = []
    for fallback in stanza.findall(f"{{{x.FALLBACK}}}fallback"):
        if fallback.get("for") != x.REPLY:
            continue
        ranges = fallback.findall(f"{{{x.FALLBACK}}}body")
        spans = [(_number(item.get("start", "0")), _number(item.get("end", str(len(body))))) for item in ranges]
        for start, end in sorted(spans, reverse=True):
            if 0 <= start < end:
                quoted.insert(0, body[start:end])
                body = body[:start] + body[end:]
    return body.lstrip("\n") if quoted else body, "".join(quoted)


def _number(written: str) -> int:
    """-1 where it is none."""
    return int(written) if written.isascii() and written.isdigit() and len(written) < 10 else -1


def _answer(stanza: Element, room: str, quoted: str) -> Answer | None:
    found = x.child(stanza, x.REPLY, "reply")
    if found is None or not _id(found.get("id", "")):
        return None
    to = found.get("to", "")
    lines = [line.removeprefix(">").strip() for line in quoted.splitlines()]
    nick = x.resource(to) if x.bare(to) == room else ""
    if nick and lines and lines[0].rstrip(":") == nick:
        lines = lines[1:]
    return Answer(found.get("id", ""), nick, " ".join(filter(None, lines))[:EXCERPT_CHARS])


# --- files --------------------------------------------------------------------------------------------------


def _links(stanza: Element, body: str) -> tuple[Link, ...]:
    """Files by XEP-0447, else by XEP-0066."""
    found = [link for item in stanza.findall(f"{{{x.SHARING}}}file-sharing") for link in _shared(item)]
    if not found:
        urls = [item.findtext(f"{{{x.OOB}}}url") or "" for item in stanza.findall(f"{{{x.OOB}}}x")]
        found = [link_to(url.strip()) for url in urls if is_web(url.strip())]
    return tuple(found)


def _shared(item: Element) -> list[Link]:
    target = next((data.get("target", "") for data in item.iter(f"{{{x.URL_DATA}}}url-data")), "")
    if not is_web(target):
        return []
    about = x.child(item, x.FILE, "file")
    if about is None:
        return [link_to(target)]
    plain = link_to(target)
    size = max(0, _number(about.findtext(f"{{{x.FILE}}}size") or ""))
    name = about.findtext(f"{{{x.FILE}}}name") or plain.name
    return [Link(target, name, about.findtext(f"{{{x.FILE}}}media-type") or plain.mime, size)]


def is_web(url: str) -> bool:
    """An address that can be fetched; not one of an encrypted file (``aesgcm:``)."""
    return url.startswith(("https://", "http://")) and len(url) <= 4096 and url.isprintable() and " " not in url


def link_to(url: str) -> Link:
    """A file of which only the address is known."""
    try:
        name = unquote(urlsplit(url).path.rstrip("/").rpartition("/")[2])
    except ValueError:
        name = ""
    return Link(url, name or "file", guess_type(name)[0] or "application/octet-stream")


def _is_only_link(body: str, links: tuple[Link, ...]) -> bool:
    """The body repeats the address of the file, as XEP-0363 clients do."""
    return bool(links) and body.strip() in {link.url for link in links}


# --- when ---------------------------------------------------------------------------------------------------


def _delayed_ms(stanza: Element, room: str) -> int:
    """When the room took it, if it hands it over later (XEP-0203). What a sender's client had to hold back is new."""
    for found in stanza.findall(f"{{{x.DELAY}}}delay"):
        if found.get("from", "") in ("", room, room.partition("@")[2]):
            return stamp_ms(found.get("stamp", ""))
    return 0


def stamp_ms(stamp: str) -> int:
    """An XMPP date (XEP-0082) as Unix time; 0 where it is none."""
    try:
        moment = datetime.fromisoformat(stamp)
    except ValueError:
        return 0
    return int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1000)

"""A room's events as the homeserver tells them, put into the relay's words. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import msgspec

from bots.matrix.text import answered, from_content
from core.model import (
    AccountId,
    Author,
    FileRef,
    MessageEdited,
    MessageNew,
    NativeId,
    Reaction,
    ReplyTo,
    RoomId,
    Text,
)
from core.text.ops import concat

MARK: Final = "org.bridgebot.relayed"
"""Stands in the content of everything that we post: another bridge like us leaves it alone."""
NOT_FOR_READERS: Final = frozenset({"m.key.verification.request"})
_FILES: Final = {"m.image": "image/", "m.video": "video/", "m.audio": "audio/", "m.file": "application/"}
POLL_STARTS: Final = ("m.poll.start", "m.poll", "org.matrix.msc3381.poll.start", "org.matrix.msc3381.v2.poll.start")
POLL_ENDS: Final = ("m.poll.end", "org.matrix.msc3381.poll.end", "org.matrix.msc3381.v2.poll.end")
SAID: Final = frozenset({"m.room.message", "m.sticker", *POLL_STARTS, *POLL_ENDS})
MOST_ANSWERS: Final = 20


class Told(msgspec.Struct, frozen=True):
    """An event. ``state_key`` is None for what is no state; ``before`` is the state that it replaced."""

    room: str
    id: str
    kind: str
    sender: str
    at_ms: int
    content: dict[str, Any]
    state_key: str | None = None
    redacts: str = ""
    before: dict[str, Any] | None = None


def told(raw: object, room: str = "") -> Told | None:
    """The event in ``raw``; None where it has not what every event has. ``room`` where the event does not say."""
    if not isinstance(raw, dict):
        return None
    content, unsigned = raw.get("content"), raw.get("unsigned")
    words = [raw.get(name) for name in ("event_id", "type", "sender")]
    at_ms, state_key, where = raw.get("origin_server_ts"), raw.get("state_key"), room or raw.get("room_id")
    if not all(isinstance(word, str) and word for word in (*words, where)) or not isinstance(content, dict):
        return None
    before = unsigned.get("prev_content") if isinstance(unsigned, dict) else None
    redacts = raw.get("redacts") or content.get("redacts")
    return Told(
        room=str(where),
        id=str(words[0]),
        kind=str(words[1]),
        sender=str(words[2]),
        at_ms=at_ms if isinstance(at_ms, int) else 0,
        content=content,
        state_key=state_key if isinstance(state_key, str) else None,
        redacts=redacts if isinstance(redacts, str) else "",
        before=before if isinstance(before, dict) else None,
    )


def relation(content: dict[str, Any], kind: str) -> str:
    """The event that ``content`` relates to by ``rel_type`` ``kind``; empty where it does not."""
    found = content.get("m.relates_to")
    if not isinstance(found, dict) or found.get("rel_type") != kind:
        return ""
    target = found.get("event_id")
    return target if isinstance(target, str) else ""


def answers(event: Told) -> str:
    """The message that a message answers; empty where it answers none, or only stands in a thread."""
    return answered(event.content)


def said(
    event: Told, room: RoomId, account: AccountId, author: Author, reply: ReplyTo | None
) -> MessageNew | MessageEdited | None:
    """A new message or an edit; None for what has nothing to read."""
    content = event.content
    target = relation(content, "m.replace")
    if target:
        changed = content.get("m.new_content")
        if not isinstance(changed, dict) or event.kind != "m.room.message":
            return None
        text, files, _ = _shown(event.kind, changed, account)
        return MessageEdited(
            room=room,
            native=NativeId(event.id),
            at_ms=event.at_ms,
            target=NativeId(target),
            author=author,
            text=text,
            files=files,
        )
    text, files, emote = _shown(event.kind, content, account)
    if not text.plain and not files:
        return None
    bot = content.get("msgtype") == "m.notice"
    return MessageNew(
        room=room,
        native=NativeId(event.id),
        at_ms=event.at_ms,
        author=msgspec.structs.replace(author, is_bot=True) if bot else author,
        text=text,
        files=files,
        reply_to=reply,
        thread=NativeId(relation(content, "m.thread")),
        emote=emote,
        bridged=bot or MARK in content,
    )


def reaction(event: Told, room: RoomId, author: Author) -> Reaction | None:
    """An emoji put on a message. A picture of somebody's own comes with its shortcode (MSC4027)."""
    target, found = relation(event.content, "m.annotation"), event.content.get("m.relates_to")
    key = found.get("key") if isinstance(found, dict) else None
    if not target or not isinstance(key, str) or not key:
        return None
    if key.startswith("mxc://"):
        name = event.content.get("shortcode") or event.content.get("com.beeper.reaction.shortcode") or "custom"
        key = f":{str(name).strip(':')}:"
    return Reaction(
        room=room,
        native=NativeId(event.id),
        at_ms=event.at_ms,
        target=NativeId(target),
        author=author,
        emoji=key[:64],
    )


# --- what a message shows -----------------------------------------------------------------------------------


def _shown(kind: str, content: dict[str, Any], account: AccountId) -> tuple[Text, tuple[FileRef, ...], bool]:
    if kind == "m.sticker":
        return _sticker(content, account)
    if kind in POLL_STARTS:
        return Text(_poll(content)), (), False
    if kind in POLL_ENDS:
        return Text(_extensible(content) or "📊 The poll is over."), (), False
    msgtype = str(content.get("msgtype"))
    if msgtype in _FILES:
        text, files = _file(content, msgtype, account)
        return text, files, False
    if msgtype == "m.location":
        return Text(_location(content)), (), False
    if msgtype in NOT_FOR_READERS:
        return Text(), (), False
    return from_content(content), (), msgtype == "m.emote"


def _file(content: dict[str, Any], msgtype: str, account: AccountId) -> tuple[Text, tuple[FileRef, ...]]:
    body, name = content.get("body"), content.get("filename")
    body = body if isinstance(body, str) else ""
    named = isinstance(name, str) and bool(name)
    caption = from_content(content) if named and body != name else Text()
    ref = _ref(content, str(name) if named else body, msgtype, account)
    if ref is None:
        encrypted = isinstance(content.get("file"), dict)
        why = "encrypted file, which cannot be passed on" if encrypted else "file that Matrix does not hold"
        return concat(Text(f"[{why}: {body or 'no name'}]"), Text("\n" if caption.plain else ""), caption), ()
    if "org.matrix.msc3245.voice" in content or "m.voice" in content:
        caption = concat(Text(f"🎤 Voice message{_length(content)}"), Text("\n" if caption.plain else ""), caption)
    return caption, (ref,)


def _ref(content: dict[str, Any], name: str, msgtype: str, account: AccountId) -> FileRef | None:
    url = content.get("url")
    if not isinstance(url, str) or not url.startswith("mxc://"):
        return None
    found = content.get("info")
    info: dict[str, Any] = found if isinstance(found, dict) else {}
    mime, size = info.get("mimetype"), info.get("size")
    known = isinstance(mime, str) and "/" in mime
    return FileRef(
        account,
        url.removeprefix("mxc://"),
        name or msgtype.removeprefix("m."),
        str(mime) if known else "application/octet-stream",
        size if isinstance(size, int) and size > 0 else 0,
    )


def _length(content: dict[str, Any]) -> str:
    info = content.get("info")
    duration_ms = info.get("duration") if isinstance(info, dict) else None
    if not isinstance(duration_ms, int) or not 0 < duration_ms < 86_400_000:
        return ""
    minutes, seconds = divmod(round(duration_ms / 1000), 60)
    return f" ({minutes}:{seconds:02})"


def _sticker(content: dict[str, Any], account: AccountId) -> tuple[Text, tuple[FileRef, ...], bool]:
    body = content.get("body")
    name = body if isinstance(body, str) else ""
    ref = _ref(content, name or "sticker", "m.sticker", account)
    return Text(f"[sticker: {name}]" if name else "[sticker]"), (ref,) if ref else (), False


def _location(content: dict[str, Any]) -> str:
    body, geo = content.get("body"), content.get("geo_uri")
    words = body if isinstance(body, str) else ""
    place = str(geo).removeprefix("geo:").partition(";")[0].split(",") if isinstance(geo, str) else []
    try:
        latitude, longitude = float(place[0]), float(place[1])
    except (ValueError, IndexError):
        return f"📍 {words}".strip()
    link = f"https://www.openstreetmap.org/?mlat={latitude:.5f}&mlon={longitude:.5f}"
    return f"📍 {words} {link}" if words and "geo:" not in words else f"📍 {link}"


def _poll(content: dict[str, Any]) -> str:
    found = next((content[kind] for kind in POLL_STARTS if isinstance(content.get(kind), dict)), None)
    if found is None:
        return _extensible(content)
    question, listed = _extensible(found.get("question")), found.get("answers")
    options = [_extensible(answer) for answer in listed[:MOST_ANSWERS]] if isinstance(listed, list) else []
    lines = [f"{number}. {option}" for number, option in enumerate(options, 1) if option]
    return "\n".join((f"📊 {question or 'Poll'}", *lines))


def _extensible(content: object) -> str:
    """The plain words of an extensible event's block, in any of the forms that they have had."""
    if not isinstance(content, dict):
        return ""
    for name in ("m.text", "org.matrix.msc1767.text", "body"):
        words = content.get(name)
        if isinstance(words, str):
            return words
        if isinstance(words, Sequence):
            plain = [
                block["body"]
                for block in words
                if isinstance(block, dict)
                and isinstance(block.get("body"), str)
                and block.get("mimetype", "text/plain") == "text/plain"
            ]
            if plain:
                return str(plain[0])
    return ""

"""What Google tells us, as events. Pure: what is missing in a payload was looked up before (see intake)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from bots.googlechat.text import read
from core.model import (
    AccountId,
    Author,
    FileRef,
    Joined,
    Left,
    MessageDeleted,
    MessageEdited,
    MessageNew,
    NativeId,
    PlatformEvent,
    Reaction,
    ReplyTo,
    Text,
    room_id,
)
from core.text.ops import concat, quote, slice_text

Json = dict[str, Any]
MARKER: Final = "client-br-"
"""Our posts' own ids begin so; people's clients give no ids."""
EXCERPT_CHARS: Final = 200
MAX_LINES: Final = 20
_MESSAGE: Final = re.compile(r"spaces/([\w-]{1,100})/messages/([\w.-]{1,200})")
_REACTION: Final = re.compile(r"spaces/([\w-]{1,100})/messages/([\w.-]{1,200})/reactions/([\w.=~-]{1,300})")
_MEMBER: Final = re.compile(r"spaces/([\w-]{1,100})/members/([\w.@+-]{1,200})")
_SPACE: Final = re.compile(r"spaces/([\w-]{1,100})")
_TYPE: Final = re.compile(r"google\.workspace\.chat\.(message|reaction|membership|space)\.v1\.(\w+)")


class Space(msgspec.Struct, frozen=True):
    """A space as we know it."""

    id: str
    title: str = ""
    kind: str = "SPACE"
    """``SPACE``, ``GROUP_CHAT`` or ``DIRECT_MESSAGE``."""
    threads: bool = False
    keeps_history: bool = True

    def shown(self) -> str:
        """Its name for people."""
        return self.title or {"DIRECT_MESSAGE": "a direct message", "GROUP_CHAT": "a group chat"}.get(
            self.kind, "a space"
        )


class Change(msgspec.Struct, frozen=True):
    """One change of a Workspace event: what (``message``, ``reaction`` …), how (``created`` …), and the resource."""

    kind: str
    action: str
    resource: Json


# --- names and places ---------------------------------------------------------------------------------------


def space_of(raw: Any) -> Space | None:
    """A space resource; None for what is none. Knows the fields of older events too (``type``: ``ROOM``, ``DM``)."""
    found = _SPACE.fullmatch(str(raw.get("name", ""))) if isinstance(raw, dict) else None
    if found is None:
        return None
    kind = raw.get("spaceType") or {"ROOM": "SPACE", "DM": "DIRECT_MESSAGE"}.get(str(raw.get("type")), "SPACE")
    threading = raw.get("spaceThreadingState")
    return Space(
        found[1],
        _text_of(raw.get("displayName"))[:200],
        str(kind),
        threading in ("THREADED_MESSAGES", "GROUPED_MESSAGES") if threading else bool(raw.get("threaded")),
        raw.get("spaceHistoryState") != "HISTORY_OFF",
    )


def message_place(name: Any) -> tuple[str, NativeId] | None:
    """``spaces/X/messages/Y`` → the space's id and the message's."""
    found = _MESSAGE.fullmatch(name) if isinstance(name, str) else None
    return (found[1], NativeId(found[2])) if found else None


def member_place(name: Any) -> tuple[str, str] | None:
    """``spaces/X/members/Y`` → the space's id and the member's."""
    found = _MEMBER.fullmatch(name) if isinstance(name, str) else None
    return (found[1], found[2]) if found else None


def reacted_place(name: Any) -> tuple[str, NativeId] | None:
    """``spaces/X/messages/Y/reactions/Z`` → the space's id and the message's."""
    found = _REACTION.fullmatch(name) if isinstance(name, str) else None
    return (found[1], NativeId(found[2])) if found else None


def thread_of(native: NativeId) -> str:
    """The id of the thread that a message is in; empty where its id does not say. A message's id is
    ``<thread>.<message>``, and the first one's is the thread's twice."""
    thread, dot, rest = native.partition(".")
    return thread if dot and rest else ""


def at_ms(stamp: Any) -> int:
    """Unix time in ms of an RFC 3339 time; 0 for what is none."""
    try:
        moment = datetime.fromisoformat(re.sub(r"(\.\d{6})\d+", r"\1", str(stamp)))
    except ValueError:
        return 0
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return int(moment.timestamp() * 1000)


def author_of(user: Any) -> Author | None:
    """A user resource as an author; None for what is none."""
    if not isinstance(user, dict) or not isinstance(user.get("name"), str) or not user["name"].startswith("users/"):
        return None
    avatar = _text_of(user.get("avatarUrl"))
    return Author(
        user["name"][:200],
        _text_of(user.get("displayName")) or "Somebody",
        avatar if avatar.startswith("https://") else "",
        user.get("type") == "BOT",
    )


def is_ours(raw: Json, me: str) -> bool:
    """Did we post this message?"""
    sender = raw.get("sender")
    sender = sender if isinstance(sender, dict) else {}
    if str(raw.get("clientAssignedMessageId", "")).startswith(MARKER) and sender.get("type") != "HUMAN":
        return True
    return sender.get("name") == "users/app" or bool(me and sender.get("name") == me)


def _text_of(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _dicts(value: Any) -> Iterator[Json]:
    if isinstance(value, list):
        yield from (entry for entry in value if isinstance(entry, dict))


# --- Workspace events ---------------------------------------------------------------------------------------


def changes(kind: str, data: Any) -> list[Change]:
    """What a Workspace event of CloudEvents type ``kind`` says; batches give several. Unknown types give none."""
    found = _TYPE.fullmatch(kind)
    if found is None or not isinstance(data, dict):
        return []
    what, action = found[1], found[2]
    if action.startswith("batch"):
        entries = list(_dicts(data.get(f"{what}s")))
        action = action.removeprefix("batch").lower()
    else:
        entries = [data]
    return [Change(what, action, entry[what]) for entry in entries if isinstance(entry.get(what), dict)]


# --- messages -----------------------------------------------------------------------------------------------


def new_message(account: AccountId, raw: Json, me: str, markup: str) -> MessageNew | None:
    """A message; None for ours, for private ones, and for what has nothing to be read."""
    place, author = message_place(raw.get("name")), author_of(raw.get("sender"))
    if place is None or author is None or is_ours(raw, me) or raw.get("deleteTime"):
        return None
    text = spoken(raw, me, markup)
    slash = isinstance(raw.get("slashCommand"), dict)
    if raw.get("privateMessageViewer") and not slash:
        return None
    files = tuple(_files(account, raw))
    if not text.plain.strip() and not files:
        return None
    space, native = place
    thread = thread_of(native)
    in_thread = bool(raw.get("threadReply")) and bool(thread) and native != f"{thread}.{thread}"
    return MessageNew(
        room=room_id(account, space),
        native=native,
        at_ms=at_ms(raw.get("createTime")),
        author=author,
        text=text,
        files=files,
        reply_to=_reply(raw, space),
        thread=NativeId(f"{thread}.{thread}" if in_thread else ""),
        bridged=author.is_bot,
    )


def edited_message(account: AccountId, raw: Json, me: str, markup: str) -> MessageEdited | None:
    """A message's new text; None where it is ours, or nobody edited it (a preview was added)."""
    stamp = raw.get("lastUpdateTime")
    new = new_message(account, raw, me, markup) if isinstance(stamp, str) and stamp else None
    if new is None or new.author.is_bot:
        return None
    return MessageEdited(
        room=new.room,
        native=NativeId(f"{new.native}@{stamp}"[:300]),
        at_ms=at_ms(stamp) or new.at_ms,
        target=new.native,
        author=new.author,
        text=new.text,
        files=new.files,
    )


def deleted_message(account: AccountId, raw: Json, time: str) -> MessageDeleted | None:
    """A message is gone. Google lets only its author and who runs the space do that."""
    place = message_place(raw.get("name"))
    if place is None:
        return None
    when = at_ms(raw.get("deleteTime") or time)
    return MessageDeleted(room=room_id(account, place[0]), native=NativeId(f"{place[1]}-"), at_ms=when, target=place[1])


def spoken(raw: Json, me: str, markup: str) -> Text:
    """What a message says, with all that is not text in readable words; without the mention of us at its start."""
    names, emoji = annotated(raw)
    formatted = raw.get("formattedText")
    if isinstance(formatted, str) and formatted:
        text = read(formatted, markup, names, emoji)
    else:
        text = Text(_text_of(raw.get("text")))
    text = _without_us(text, names.get(me, "") if me else "", me)
    for line in [_forwarded(raw), *map(Text, _lines(raw))][: MAX_LINES + 1]:
        if line.plain:
            text = concat(text, Text("\n"), line) if text.plain else line
    return text


def annotated(raw: Json) -> tuple[dict[str, str], frozenset[str]]:
    """Names of the mentioned people and of the custom emoji."""
    names: dict[str, str] = {}
    emoji: set[str] = set()
    for note in _dicts(raw.get("annotations")):
        user = note["userMention"].get("user") if isinstance(note.get("userMention"), dict) else None
        if isinstance(user, dict) and isinstance(user.get("name"), str):
            all_ = user["name"] == "users/all"
            names[user["name"]] = _text_of(user.get("displayName")) or ("all" if all_ else "somebody")
        custom = note.get("customEmojiMetadata")
        custom = custom.get("customEmoji") if isinstance(custom, dict) else None
        if isinstance(custom, dict):
            emoji.add(_text_of(custom.get("emojiName")).strip(":"))
    return names, frozenset(emoji - {""})


def _without_us(text: Text, name: str, me: str) -> Text:
    """People begin with our name so that Google tells us; nobody else needs to read it."""
    first = next(iter(sorted(text.entities, key=lambda entity: entity.start)), None)
    if not name or first is None or first.type != "mention" or first.value != me:
        return text
    if text.plain[: first.start].strip():
        return text
    end = first.start + first.length
    while end < len(text.plain) and text.plain[end] in " \t\u00a0,:":
        end += 1
    return slice_text(text, end, len(text.plain))


def _reply(raw: Json, space: str) -> ReplyTo | None:
    quoted = raw.get("quotedMessageMetadata")
    if not isinstance(quoted, dict) or quoted.get("quoteType") == "FORWARD":
        return None
    place = message_place(quoted.get("name"))
    if place is None or place[0] != space:
        return None
    said = quoted.get("quotedMessageSnapshot")
    said = said if isinstance(said, dict) else {}
    return ReplyTo(place[1], _text_of(said.get("sender"))[:100], _text_of(said.get("text"))[:EXCERPT_CHARS])


def _forwarded(raw: Json) -> Text:
    quoted = raw.get("quotedMessageMetadata")
    if not isinstance(quoted, dict) or quoted.get("quoteType") != "FORWARD":
        return Text()
    said = quoted.get("quotedMessageSnapshot")
    said = said if isinstance(said, dict) else {}
    sender = _text_of(said.get("sender"))
    return quote(f"↪ {sender}{': ' if sender else ''}{_text_of(said.get('text'))}".strip())


# --- what is not text ---------------------------------------------------------------------------------------


def _files(account: AccountId, raw: Json) -> Iterator[FileRef]:
    for entry in _dicts(raw.get("attachment")):
        data = entry.get("attachmentDataRef")
        resource = data.get("resourceName") if isinstance(data, dict) else None
        if entry.get("source") != "DRIVE_FILE" and isinstance(resource, str) and resource:
            name, mime = _text_of(entry.get("contentName")), _text_of(entry.get("contentType"))
            yield FileRef(account, resource, name or "file", mime or "application/octet-stream")


def _lines(raw: Json) -> Iterator[str]:
    """A line for each thing that a reader elsewhere would not see."""
    for entry in _dicts(raw.get("attachment")):
        drive = entry.get("driveDataRef")
        if isinstance(drive, dict) and isinstance(drive.get("driveFileId"), str):
            name = _text_of(entry.get("contentName")) or "a file in Google Drive"
            yield f"📎 {name} https://drive.google.com/open?id={drive['driveFileId']}"
    for gif in _dicts(raw.get("attachedGifs")):
        if _text_of(gif.get("uri")).startswith("https://"):
            yield f"GIF: {gif['uri']}"
    words = _text_of(raw.get("formattedText")) + _text_of(raw.get("text"))
    for note in _dicts(raw.get("annotations")):
        link = note.get("richLinkMetadata")
        uri = _text_of(link.get("uri")) if isinstance(link, dict) else ""
        if uri.startswith("https://") and not note.get("length") and uri not in words:
            yield uri
    if not words:
        yield from _cards(raw)


def _cards(raw: Json) -> Iterator[str]:
    """The words on an app's cards."""
    if fallback := _text_of(raw.get("fallbackText")):
        yield fallback
        return
    for entry in _dicts(raw.get("cardsV2")):
        card = entry.get("card")
        if not isinstance(card, dict):
            continue
        header = card.get("header")
        if isinstance(header, dict):
            yield " – ".join(filter(None, (_text_of(header.get("title")), _text_of(header.get("subtitle")))))
        for section in _dicts(card.get("sections")):
            for widget in _dicts(section.get("widgets")):
                yield _widget(widget)


def _widget(widget: Mapping[str, Any]) -> str:
    from core.text import html

    for kind, field in (("textParagraph", "text"), ("decoratedText", "text"), ("image", "altText")):
        body = widget.get(kind)
        if isinstance(body, dict) and isinstance(body.get(field), str):
            return html.parse(body[field]).plain
    return ""


# --- reactions, people --------------------------------------------------------------------------------------


def reaction(account: AccountId, raw: Json, added: bool, time: str) -> Reaction | None:
    """An emoji on a message, or off it."""
    place, author, emoji = reacted_place(raw.get("name")), author_of(raw.get("user")), _emoji(raw.get("emoji"))
    if place is None or author is None or author.is_bot or not emoji:
        return None
    return Reaction(
        room=room_id(account, place[0]),
        native=NativeId(f"{raw['name'].rpartition('/')[2]}{'+' if added else '-'}{time}"[:400]),
        at_ms=at_ms(time),
        target=place[1],
        author=author,
        emoji=emoji,
        added=added,
    )


def _emoji(raw: Any) -> str:
    if not isinstance(raw, dict):
        return ""
    custom = raw.get("customEmoji")
    if isinstance(custom, dict):
        name = _text_of(custom.get("emojiName")).strip(":")
        return f":{name}:"[:66] if name else ""
    return _text_of(raw.get("unicode"))[:32]


def membership(account: AccountId, raw: Json, action: str, time: str) -> PlatformEvent | None:
    """Somebody came in or went away."""
    place = member_place(raw.get("name"))
    member = author_of(raw.get("member"))
    if place is None or member is None or member.is_bot or action not in ("created", "deleted"):
        return None
    if action == "created" and raw.get("state") not in (None, "JOINED"):
        return None
    kind = Joined if action == "created" else Left
    native = NativeId(f"{place[1]}{'+' if kind is Joined else '-'}{time}")
    return kind(room=room_id(account, place[0]), native=native, at_ms=at_ms(time), author=member)

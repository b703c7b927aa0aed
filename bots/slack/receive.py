"""From a payload of Slack's to an event of ours. Pure: ids have been looked up by who calls this."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

import msgspec

from bots.slack import blocks, emoji, mrkdwn
from bots.slack.blocks import Json, Names
from bots.slack.memory import Person
from core.command_language import COMMANDS
from core.model import (
    AccountId,
    Author,
    FileRef,
    MessageDeleted,
    MessageEdited,
    MessageNew,
    NativeId,
    Reaction,
    ReplyTo,
    RoomId,
    Text,
    room_id,
)
from core.text import ops

RELAYED: Final = frozenset(
    {"", "me_message", "file_share", "thread_broadcast", "reply_broadcast", "bot_message", "huddle_thread"}
)
"""Subtypes of what somebody said (docs.slack.dev/reference/events/message); the others are notices of Slack's."""
ID: Final = re.compile(r"[A-Z][A-Z0-9]{1,39}")
TS: Final = re.compile(r"[0-9]{1,12}\.[0-9]{1,9}")
MARKER: Final = "bridgebot_post"
"""Type of the metadata that every post of ours carries."""
FILES_MAX: Final = 20
_HOSTED: Final = ("hosted", "snippet", "post", "email", "")


class Me(msgspec.Struct, frozen=True):
    """Who we are in the workspace."""

    account: AccountId
    prefix: str
    team_id: str = ""
    user_id: str = ""
    bot_id: str = ""
    app_id: str = ""

    def room(self, channel: str) -> RoomId:
        """A conversation's RoomId."""
        return room_id(self.account, channel)


def at_ms(ts: Any) -> int:
    """Slack's ``1700000000.000100`` in milliseconds; 0 where it makes no sense."""
    return at_us(ts) // 1000


def at_us(ts: Any) -> int:
    """The same in microseconds, by which Slack tells apart what happened in one moment."""
    raw = str(ts)
    if not TS.fullmatch(raw):
        return 0
    seconds, _, rest = raw.partition(".")
    return int(seconds) * 1_000_000 + int(rest.ljust(6, "0")[:6])


def is_ours(raw: Json, me: Me) -> bool:
    """Is this a post of ours?"""
    profile = raw.get("bot_profile")
    app = raw.get("app_id") or (profile.get("app_id") if isinstance(profile, Mapping) else "")
    return (
        (bool(me.bot_id) and raw.get("bot_id") == me.bot_id)
        or (bool(me.user_id) and raw.get("user") == me.user_id)
        or (bool(me.app_id) and bool(raw.get("bot_id")) and app == me.app_id)
    )


def author_of(raw: Json, people: Mapping[str, Person]) -> Author:
    """Who said it; a bot under the name that it posts under."""
    user, bot = str(raw.get("user") or ""), str(raw.get("bot_id") or "")
    profile = raw.get("bot_profile")
    profile = profile if isinstance(profile, Mapping) else {}
    person = people.get(user)
    if bot:
        icons = profile.get("icons")
        picture = str(icons.get("image_72") or "") if isinstance(icons, Mapping) else ""
        name = str(raw.get("username") or profile.get("name") or (person.name if person else "") or bot)
        return Author(bot, name, picture or (person.avatar if person else ""), is_bot=True)
    if person is not None:
        return Author(user, person.name, person.avatar, person.is_bot)
    return Author(user, str(raw.get("username") or user))


# --- what a message says ------------------------------------------------------------------------------------


def text_of(raw: Json, names: Names) -> Text:
    """A message's words: what people write as rich text, what bots write in blocks, markup or attachments."""
    source = raw.get("text")
    source = source if isinstance(source, str) else ""
    listed = [block for block in raw.get("blocks") or () if isinstance(block, Mapping)]
    if any(block.get("type") == "rich_text" for block in listed):
        text = blocks.joined([_block(block, names) for block in listed])
    else:
        text = mrkdwn.read(source, names)
        if not text.plain.strip():
            text = blocks.joined([_block(block, names) for block in listed])
    shared = [_attachment(each, names) for each in raw.get("attachments") or () if isinstance(each, Mapping)]
    return ops.normalise(blocks.joined([text, *shared]))


def _block(block: Json, names: Names) -> Text:
    """One of Block Kit's blocks in words."""
    kind = block.get("type")
    if kind == "rich_text":
        return blocks.read([block], names)
    if kind == "header":
        return ops.bold(_object(block.get("text"), names))
    if kind == "section":
        fields = [_object(each, names) for each in block.get("fields") or ()]
        return blocks.joined([_object(block.get("text"), names), *fields])
    if kind == "markdown":
        from core.text import markdown

        return markdown.parse(str(block.get("text") or ""))
    if kind == "context":
        return blocks.joined([_object(each, names) for each in block.get("elements") or ()])
    if kind in ("image", "video"):
        words = str(block.get("alt_text") or kind)
        url = str(block.get("image_url") or block.get("title_url") or "")
        return ops.link(words, url) if ops.web_link(url) else Text(words)
    return Text()


def _object(raw: Any, names: Names) -> Text:
    """A text object (docs.slack.dev/reference/block-kit/composition-objects/text-object)."""
    if not isinstance(raw, Mapping) or not isinstance(raw.get("text"), str):
        return Text()
    return mrkdwn.read(raw["text"], names) if raw.get("type") == "mrkdwn" else Text(raw["text"])


def _attachment(raw: Json, names: Names) -> Text:
    """A message that somebody passes on, or what a bot attaches. Previews of links are Slack's own doing."""
    is_share = raw.get("is_share") is True or raw.get("is_msg_unfurl") is True
    if not is_share and (raw.get("from_url") or raw.get("original_url")):
        return Text()
    inner = raw.get("message_blocks")
    rich = [
        block
        for each in (inner if isinstance(inner, list) else ())
        if isinstance(each, Mapping) and isinstance(each.get("message"), Mapping)
        for block in each["message"].get("blocks") or ()
    ]
    words = blocks.read(rich, names)
    if not words.plain:
        title = Text(str(raw.get("title") or ""))
        if title.plain and ops.web_link(str(raw.get("title_link") or "")):
            title = ops.link(title, str(raw["title_link"]))
        fields = [
            blocks.joined([ops.bold(str(each.get("title") or "")), mrkdwn.read(str(each.get("value") or ""), names)])
            for each in raw.get("fields") or ()
            if isinstance(each, Mapping)
        ]
        parts = [mrkdwn.read(str(raw.get(name) or ""), names) for name in ("pretext", "text")]
        listed = [_block(each, names) for each in raw.get("blocks") or () if isinstance(each, Mapping)]
        words = blocks.joined([parts[0], title, parts[1], *fields, *listed])
    if not words.plain:
        words = Text(mrkdwn.unescape(str(raw.get("fallback") or "")))
    if not is_share or not words.plain:
        return words
    who = str(raw.get("author_name") or raw.get("author_subname") or "")
    return blocks.joined([Text(f"{who}:" if who else ""), ops.quote(words)])


def ids_in(raw: Json) -> tuple[set[str], set[str]]:
    """``(people, channels)`` that a message names."""
    people, channels = set[str](), set[str]()
    for kind, value in _named(raw, 12):
        if ID.fullmatch(value):
            (people if kind == "@" else channels).add(value)
    return people, channels


def _named(value: Any, depth: int) -> Iterator[tuple[str, str]]:
    if depth == 0:
        return
    if isinstance(value, str):
        yield from mrkdwn.MENTIONED.findall(value)
    elif isinstance(value, list):
        for each in value:
            yield from _named(each, depth - 1)
    elif isinstance(value, Mapping):
        if value.get("type") == "user":
            yield "@", str(value.get("user_id"))
        elif value.get("type") == "channel":
            yield "#", str(value.get("channel_id"))
        for name in ("text", "blocks", "elements", "attachments", "fields", "value", "pretext", "message_blocks"):
            yield from _named(value.get(name), depth - 1)
        yield from _named(value.get("message"), depth - 1)


def as_command(text: Text, me: Me) -> Text:
    """``@Sameroom open`` as the command it means; only where it begins with our name and names a command."""
    first = text.entities[0] if text.entities else None
    if first is None or first.type != "mention" or first.value != me.user_id or first.start != 0 or not me.user_id:
        return text
    rest = text.plain[first.length :].strip().lstrip(":,").strip()
    if not rest or rest.split()[0].casefold() in COMMANDS:
        return Text(f"@{me.prefix} {rest or 'help'}")
    return text


# --- files --------------------------------------------------------------------------------------------------


def files_of(raw: Json, me: Me) -> tuple[tuple[FileRef, ...], list[Text]]:
    """A message's files, and words for those that are not on Slack or cannot be had."""
    found: list[FileRef] = []
    words: list[Text] = []
    for file in (raw.get("files") or ())[:FILES_MAX]:
        if not isinstance(file, Mapping):
            continue
        name = str(file.get("name") or file.get("title") or "file")
        mode, native = str(file.get("mode") or ""), str(file.get("id") or "")
        link = str(file.get("url_private") or file.get("permalink") or "")
        if mode in _HOSTED and not file.get("is_external") and ID.fullmatch(native):
            size = file.get("size")
            mime = str(file.get("mimetype") or "application/octet-stream")
            found.append(FileRef(me.account, native, name, mime, size if isinstance(size, int) else 0))
        elif mode in ("tombstone", "hidden_by_limit"):
            words.append(Text(f"(the file {name} is no longer there on Slack)"))
        else:
            link = link if mode == "external" else str(file.get("permalink") or link)
            words.append(ops.link(f"📎 {name}", link) if ops.web_link(link) else Text(f"📎 {name}"))
    return tuple(found), words


# --- events -------------------------------------------------------------------------------------------------


def said(raw: Json, channel: str, me: Me, people: Mapping[str, Person], names: Names) -> MessageNew | None:
    """A new message; None for what nobody said, for what is ours, and where there is nothing in it."""
    subtype, ts = str(raw.get("subtype") or ""), str(raw.get("ts") or "")
    if subtype not in RELAYED or not TS.fullmatch(ts) or is_ours(raw, me):
        return None
    text, files = _content(raw, me, names)
    if subtype == "huddle_thread":
        text = Text("(started a huddle)")
    if not text.plain.strip() and not files:
        return None
    root = str(raw.get("thread_ts") or "")
    root = root if root != ts and TS.fullmatch(root) else ""
    return MessageNew(
        room=me.room(channel),
        native=NativeId(ts),
        at_ms=at_ms(ts),
        author=author_of(raw, people),
        text=as_command(text, me),
        files=files,
        reply_to=ReplyTo(NativeId(root), _parent(raw, me, people)) if root else None,
        thread=NativeId(root),
        emote=subtype == "me_message",
        bridged=bool(raw.get("bot_id")),
    )


def _parent(raw: Json, me: Me, people: Mapping[str, Person]) -> str:
    parent = str(raw.get("parent_user_id") or "")
    person = people.get(parent)
    return person.name if person and parent != me.user_id else ""


def _content(raw: Json, me: Me, names: Names) -> tuple[Text, tuple[FileRef, ...]]:
    files, words = files_of(raw, me)
    return ops.strip(blocks.joined([text_of(raw, names), *words])), files


def is_edit(new: Json, old: Json) -> bool:
    """Did somebody change the words? Slack also tells of previews of links and of counted answers."""
    if new.get("edited") and new.get("edited") != old.get("edited"):
        return True
    return bool(old) and (new.get("text") != old.get("text") or _ids(new.get("files")) != _ids(old.get("files")))


def _ids(files: Any) -> list[Any]:
    return [(f.get("id"), f.get("mode")) for f in files or () if isinstance(f, Mapping)]


def changed(
    event: Json, channel: str, me: Me, people: Mapping[str, Person], names: Names
) -> MessageEdited | MessageDeleted | None:
    """A message that was changed, or that only its answers have outlived."""
    new, old = event.get("message"), event.get("previous_message")
    old = old if isinstance(old, Mapping) else {}
    if not isinstance(new, Mapping) or is_ours(new, me) or is_ours(old, me):
        return None
    ts, happened = str(new.get("ts") or ""), str(event.get("event_ts") or event.get("ts") or "")
    if not TS.fullmatch(ts):
        return None
    if new.get("subtype") == "tombstone":
        return deleted(me, channel, ts, happened)
    if str(new.get("subtype") or "") not in RELAYED or not is_edit(new, old):
        return None
    text, files = _content(new, me, names)
    edited = new.get("edited")
    mark = str(edited.get("ts") or "") if isinstance(edited, Mapping) else ""
    return MessageEdited(
        room=me.room(channel),
        native=NativeId(f"{ts}@{mark or happened}"),
        at_ms=at_ms(happened),
        target=NativeId(ts),
        author=author_of(new, people),
        text=text,
        files=files,
    )


def deleted(me: Me, channel: str, ts: str, happened: str) -> MessageDeleted:
    """Slack lets authors and admins delete, nobody else."""
    return MessageDeleted(
        room=me.room(channel), native=NativeId(f"{ts}@deleted"), at_ms=at_ms(happened), target=NativeId(ts)
    )


def reaction(event: Json, me: Me, people: Mapping[str, Person]) -> Reaction | None:
    """An emoji on a message, or no longer."""
    item, user = event.get("item"), str(event.get("user") or "")
    if not isinstance(item, Mapping) or item.get("type") != "message" or user == me.user_id or not user:
        return None
    channel, ts, name = str(item.get("channel") or ""), str(item.get("ts") or ""), str(event.get("reaction") or "")
    if not ID.fullmatch(channel) or not TS.fullmatch(ts) or not emoji.is_name(name):
        return None
    happened = str(event.get("event_ts") or "")
    return Reaction(
        room=me.room(channel),
        native=NativeId(f"{ts}:{user}:{name}@{happened}"),
        at_ms=at_ms(happened),
        target=NativeId(ts),
        author=author_of({"user": user}, people),
        emoji=emoji.to_unicode(name) or f":{name.partition('::')[0]}:",
        added=event.get("type") == "reaction_added",
    )

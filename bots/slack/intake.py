"""From an event of Slack's to events of ours: looks up what is missing, and leaves the rest to receive."""

from __future__ import annotations

from typing import Final

import structlog

from bots.slack import receive
from bots.slack.api import Refused
from bots.slack.blocks import Json
from bots.slack.directory import Directory
from bots.slack.memory import Memory, Room
from bots.slack.receive import ID, TS, Me, at_ms
from core.contract import AdapterError
from core.model import (
    Author,
    BotAdded,
    BotRemoved,
    Joined,
    Left,
    MessageNew,
    NativeId,
    PlatformEvent,
    RoomMoved,
    RoomRenamed,
    Text,
)

log = structlog.get_logger()
_GONE: Final = {
    "channel_left": "the app was removed from the channel",
    "group_left": "the app was removed from the channel",
    "channel_archive": "the channel was archived",
    "group_archive": "the channel was archived",
    "channel_deleted": "the channel was deleted",
    "group_deleted": "the channel was deleted",
}
_BACK: Final = ("channel_unarchive", "group_unarchive")
_RENAMED: Final = ("channel_rename", "group_rename")


class Intake:
    """Of one account; in every process that serves its routes, and in the one that holds its socket."""

    def __init__(self, directory: Directory, memory: Memory) -> None:
        self._directory = directory
        self._memory = memory

    async def for_us(self, envelope: Json) -> bool:
        """Is this callback for our app in our workspace? One app may be in several."""
        me = await self._directory.me()
        if me.app_id and envelope.get("api_app_id") not in (None, me.app_id):
            return False
        listed = envelope.get("authorizations")
        teams = [each.get("team_id") for each in listed if isinstance(each, dict)] if isinstance(listed, list) else []
        return me.team_id in (teams or [envelope.get("team_id")])

    async def events(self, event: Json) -> list[PlatformEvent]:
        """What one event of the Events API means (docs.slack.dev/reference/events). Raises any AdapterError, and the
        store's; reading the same event again gives the same natives."""
        me = await self._directory.me()
        kind = str(event.get("type") or "")
        if kind in ("message", "app_mention"):
            return await self._message(event, me)
        if kind in ("reaction_added", "reaction_removed") and event.get("user") != me.user_id:
            people, _ = await self._directory.names({"user": event.get("user")})
            found = receive.reaction(event, me, people)
            return [found] if found else []
        if kind == "user_change" and isinstance(event.get("user"), dict):
            await self._directory.learn_person(event["user"])
            return []
        return await self._room_event(kind, event, me)

    # --- messages ---

    async def _message(self, event: Json, me: Me) -> list[PlatformEvent]:
        channel, subtype = str(event.get("channel") or ""), event.get("subtype")
        if not ID.fullmatch(channel):
            return []
        if subtype == "message_changed":
            new = event.get("message")
            if not isinstance(new, dict) or receive.is_ours(new, me):
                return []
            is_stone = new.get("subtype") == "tombstone"
            people, names = await self._directory.names({} if is_stone else new)
            found = receive.changed(event, channel, me, people, names)
            return [found] if found else []
        if subtype == "message_deleted":
            return self._deleted(event, channel, me)
        said = await self.said(event, channel)
        return [said] if said else []

    def _deleted(self, event: Json, channel: str, me: Me) -> list[PlatformEvent]:
        old, ts = event.get("previous_message"), str(event.get("deleted_ts") or "")
        if not TS.fullmatch(ts) or (isinstance(old, dict) and receive.is_ours(old, me)):
            return []
        return [receive.deleted(me, channel, ts, str(event.get("event_ts") or event.get("ts") or ""))]

    async def said(self, raw: Json, channel: str) -> MessageNew | None:
        """A new message as an event; None for what is not to be relayed."""
        me = await self._directory.me()
        if str(raw.get("subtype") or "") not in receive.RELAYED or receive.is_ours(raw, me):
            return None
        raw = await self._with_files(raw)
        await self._directory.room(channel)
        people, names = await self._directory.names(raw)
        found = receive.said(raw, channel, me, people, names)
        if found and found.thread:
            await self._memory.mark("root", channel, found.native, found.thread)
        return found

    async def _with_files(self, raw: Json) -> Json:
        """Of a file in a channel that is shared between workspaces, the event says its id only
        (docs.slack.dev/apis/slack-connect)."""
        files = raw.get("files")
        if not isinstance(files, list):
            return raw
        full = [await self._file(file) if isinstance(file, dict) else file for file in files[: receive.FILES_MAX]]
        return {**raw, "files": full}

    async def _file(self, file: Json) -> Json:
        if file.get("file_access") != "check_file_info" or not ID.fullmatch(str(file.get("id"))):
            return file
        try:
            return await self._directory.file(str(file["id"]))
        except Refused as error:
            log.info("slack does not say what a file is", reason=error.reason)
            return file

    # --- rooms ---

    async def _room_event(self, kind: str, event: Json, me: Me) -> list[PlatformEvent]:
        raw, happened = event.get("channel"), str(event.get("event_ts") or "")
        native, when = NativeId(f"{kind}@{happened}"), at_ms(happened)
        channel = str(raw.get("id") if isinstance(raw, dict) else raw or "")
        if kind == "channel_id_changed":
            return await self._moved(event, me, native, when)
        if not ID.fullmatch(channel):
            return []
        if kind in ("member_joined_channel", "member_left_channel"):
            return await self._member(kind, event, channel, me)
        if kind in _GONE:
            await self._memory.forget_room(channel)
            return [BotRemoved(room=me.room(channel), native=native, at_ms=when, reason=_GONE[kind])]
        if kind in _BACK:
            title = (await self._directory.room(channel)).title
            return [BotAdded(room=me.room(channel), native=native, at_ms=when, title=title, greet=False)]
        if kind in _RENAMED and isinstance(raw, dict) and raw.get("name"):
            title = f"#{raw['name']}"
            await self._memory.keep_room(channel, Room(title))
            return [RoomRenamed(room=me.room(channel), native=native, at_ms=when, title=title)]
        return []

    async def _moved(self, event: Json, me: Me, native: NativeId, when: int) -> list[PlatformEvent]:
        """Slack gives a private channel a new id when it is shared with another workspace."""
        old, new = str(event.get("old_channel_id") or ""), str(event.get("new_channel_id") or "")
        if not ID.fullmatch(old) or not ID.fullmatch(new) or old == new:
            return []
        await self._memory.move_room(old, new)
        return [RoomMoved(room=me.room(old), native=native, at_ms=when, to=me.room(new))]

    async def _member(self, kind: str, event: Json, channel: str, me: Me) -> list[PlatformEvent]:
        user, happened = str(event.get("user") or ""), str(event.get("event_ts") or "")
        room, native, when = me.room(channel), NativeId(f"{kind}:{user}@{happened}"), at_ms(happened)
        came = kind == "member_joined_channel"
        if user == me.user_id and came:
            title = (await self._directory.room(channel)).title
            inviter = str(event.get("inviter") or "")
            by = await self._author(inviter) if inviter else None
            return [BotAdded(room=room, native=native, at_ms=when, title=title, by=by)]
        if user == me.user_id:
            await self._memory.forget_room(channel)
            return [BotRemoved(room=room, native=native, at_ms=when, reason=_GONE["channel_left"])]
        author = await self._author(user)
        event_type = Joined if came else Left
        return [event_type(room=room, native=native, at_ms=when, author=author)]

    async def _author(self, user: str) -> Author:
        return receive.author_of({"user": user}, {user: await self._directory.person(user)})

    # --- slash commands ---

    async def command(self, form: Json, now_ms: int) -> tuple[list[PlatformEvent], str]:
        """``/sameroom open`` as the event it is, or words for the one who typed it
        (docs.slack.dev/interactivity/implementing-slash-commands). Whatever it is called in the app's settings, it
        stands for our commands."""
        me = await self._directory.me()
        channel, user = str(form.get("channel_id") or ""), str(form.get("user_id") or "")
        if not ID.fullmatch(channel) or not ID.fullmatch(user):
            return [], "That is not possible here."
        try:
            await self._directory.enter(channel)
        except AdapterError as error:
            log.info("a command came from where we are not", account=me.account, error=str(error))
            return [], "I am not in this conversation yet. Add me with /invite, then type it again."
        author = await self._author(user)
        words = f"/{me.prefix} {str(form.get('text') or '').strip()}".rstrip()
        native = NativeId(f"command:{form.get('trigger_id') or now_ms}"[:200])
        return [MessageNew(room=me.room(channel), native=native, at_ms=now_ms, author=author, text=Text(words))], ""

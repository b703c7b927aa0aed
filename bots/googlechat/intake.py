"""From what Google tells us to what the relay gets: looks up what is missing, and leaves the rest to receive."""

from __future__ import annotations

from typing import Any, Final

import structlog
from msgspec.structs import replace

from bots.googlechat import receive
from bots.googlechat.api import Api, Refused
from bots.googlechat.memory import Memory, Person
from bots.googlechat.receive import Change, Json, Space
from core.command_language import COMMANDS
from core.contract import Services
from core.model import (
    AccountId,
    BotAdded,
    BotRemoved,
    MessageNew,
    NativeId,
    PlatformEvent,
    RoomRenamed,
    Text,
    room_id,
)

log = structlog.get_logger()
UNKNOWN: Final = Person("Somebody")


class Intake:
    """Of one account; in every process that serves its routes, and in the one that pulls."""

    def __init__(self, account: AccountId, api: Api, memory: Memory, services: Services) -> None:
        self._account = account
        self._api = api
        self._memory = memory
        self._prefix = services.prefix
        self._markup = api.config.markup

    # --- messages ---

    async def message(self, raw: Json) -> MessageNew | None:
        """A new message as an event; None for what is not to be relayed. Raises any AdapterError, and the store's."""
        raw = await self._filled(raw)
        event = receive.new_message(self._account, raw, self._memory.me, self._markup)
        return self._as_command(raw, event) if event else None

    def _as_command(self, raw: Json, event: MessageNew) -> MessageNew:
        """Slash commands begin with our prefix, whatever they are called in Google's console; so does what is said
        to an app that is called like the prefix."""
        if isinstance(raw.get("slashCommand"), dict):
            rest = str(raw.get("argumentText") or "").strip()
            return replace(event, text=Text(f"/{self._prefix} {rest}".rstrip()), files=())
        word = event.text.plain.partition(" ")[0].casefold()
        if word in COMMANDS and self._is_called_like_prefix(raw):
            return replace(event, text=Text(f"@{self._prefix} {event.text.plain}"))
        return event

    def _is_called_like_prefix(self, raw: Json) -> bool:
        names, _ = receive.annotated(raw)
        name = names.get(self._memory.me, "") if self._memory.me else ""
        return name.lstrip("@").replace(" ", "").casefold() == self._prefix.casefold()

    async def _filled(self, raw: Json) -> Json:
        """The message with its sender's name; read from Google where the event held its name only."""
        place = receive.message_place(raw.get("name"))
        if place and "sender" not in raw and not raw.get("deleteTime"):
            raw = await self._read(raw)
        if place is None or receive.is_ours(raw, self._memory.me):
            return raw
        await self._know_me(place[0], raw)
        sender = raw.get("sender")
        if isinstance(sender, dict):
            raw = {**raw, "sender": await self._named(place[0], sender)}
        return raw

    async def _read(self, raw: Json) -> Json:
        syntax = "MARKUP_SYNTAX_CHAT" if self._markup == "chat" else "MARKUP_SYNTAX_MARKDOWN"
        try:
            return await self._api.read(str(raw["name"]), {"markupSyntax": syntax})
        except Refused as error:
            log.info("a message cannot be read", account=self._account, reason=error.reason)
            return raw

    async def _know_me(self, space_id: str, raw: Json) -> None:
        """Learn who we are when an app is mentioned and we do not know yet."""
        if not any(_is_app(note) for note in raw.get("annotations") or ()) or await self._memory.know_me():
            return
        try:
            member = (await self._api.chat("GET", f"spaces/{space_id}/members/app")).get("member")
        except Refused as error:
            log.info("google does not say who the app is", account=self._account, reason=error.reason)
            return
        if isinstance(member, dict) and str(member.get("name", "")).startswith("users/"):
            await self._memory.learn_me(str(member["name"]))

    async def _named(self, space_id: str, user: Json) -> Json:
        """The user with a name and a picture: from the event, from memory, or from the space's list of members."""
        user_id = user.get("name")
        if not isinstance(user_id, str) or not user_id.startswith("users/") or len(user_id) > 200:
            return user
        if isinstance(user.get("displayName"), str) and user["displayName"]:
            await self._memory.learn_person(user_id, Person(user["displayName"], str(user.get("avatarUrl") or "")))
            return user
        person = await self._memory.person(user_id) or await self._look_up(space_id, user_id)
        return {**user, "displayName": person.name, "avatarUrl": person.avatar}

    async def _look_up(self, space_id: str, user_id: str) -> Person:
        member_id = user_id.removeprefix("users/")
        if receive.member_place(f"spaces/{space_id}/members/{member_id}") is None:
            return UNKNOWN
        try:
            member = (await self._api.chat("GET", f"spaces/{space_id}/members/{member_id}")).get("member")
        except Refused:
            return UNKNOWN
        if not isinstance(member, dict) or not member.get("displayName"):
            return UNKNOWN
        person = Person(str(member["displayName"]), str(member.get("avatarUrl") or ""))
        await self._memory.learn_person(user_id, person)
        return person

    # --- spaces ---

    async def space(self, space: Space, event_id: str, at_ms: int) -> list[PlatformEvent]:
        """A space as Google shows it now: was it renamed?"""
        before = await self._memory.learn(space)
        if before is None or before.title == space.title or not space.title:
            return []
        return [
            RoomRenamed(
                room=room_id(self._account, space.id),
                native=NativeId(f"renamed-{event_id}"[:200]),
                at_ms=at_ms,
                title=space.title,
            )
        ]

    async def added(self, space: Space, user: Any, time: str) -> BotAdded:
        """We were brought into a space."""
        await self._memory.learn(space)
        return BotAdded(
            room=room_id(self._account, space.id),
            native=NativeId(f"added-{time}"[:100]),
            at_ms=receive.at_ms(time),
            title=space.shown(),
            by=receive.author_of(user),
        )

    def removed(self, space_id: str, time: str) -> BotRemoved:
        """We were put out of a space. Forgetting it is for the upkeep of subscriptions, which also ends its own."""
        return BotRemoved(
            room=room_id(self._account, space_id),
            native=NativeId(f"removed-{time}"[:100]),
            at_ms=receive.at_ms(time),
            reason="the app was removed from the space",
        )

    # --- Workspace events ---

    async def change(self, change: Change, event_id: str, time: str) -> list[PlatformEvent]:
        """One change as events. Raises any AdapterError, and the store's."""
        raw = change.resource
        if change.kind == "message":
            return await self._message_change(change, raw, time)
        if change.kind == "space":
            space = receive.space_of(raw)
            return await self.space(space, event_id, receive.at_ms(time)) if space else []
        place = receive.reacted_place(raw.get("name")) or receive.member_place(raw.get("name"))
        if place is None:
            return []
        found: PlatformEvent | None
        if change.kind == "reaction":
            user = raw.get("user")
            raw = {**raw, "user": await self._named(place[0], user)} if isinstance(user, dict) else raw
            found = receive.reaction(self._account, raw, change.action == "created", time)
        else:
            member = raw.get("member")
            member = member if isinstance(member, dict) else {"name": f"users/{place[1]}", "type": "HUMAN"}
            raw = {**raw, "member": await self._named(place[0], member)}
            found = receive.membership(self._account, raw, change.action, time)
        return [found] if found else []

    async def _message_change(self, change: Change, raw: Json, time: str) -> list[PlatformEvent]:
        found: PlatformEvent | None = None
        if change.action == "created":
            found = await self.message(raw)
        elif change.action == "updated":
            raw = await self._filled(raw)
            found = receive.edited_message(self._account, raw, self._memory.me, self._markup)
        elif change.action == "deleted":
            place = receive.message_place(raw.get("name"))
            if place and not await self._memory.deleted_by_us(*place):
                found = receive.deleted_message(self._account, raw, time)
        return [found] if found else []


def _is_app(note: Any) -> bool:
    mention = note.get("userMention") if isinstance(note, dict) else None
    user = mention.get("user") if isinstance(mention, dict) else None
    return isinstance(user, dict) and user.get("type") == "BOT"

"""Who and what the ids in Slack's payloads are: from memory, else asked of Slack once a day."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import structlog

from bots.slack.api import Api
from bots.slack.blocks import Json, Names
from bots.slack.config import SlackConfig
from bots.slack.memory import Memory, Person, Room
from bots.slack.mrkdwn import labels
from bots.slack.receive import ID, Me, ids_in
from core.contract import AdapterError, Rejected
from core.model import AccountId

log = structlog.get_logger()
NAMED_MAX: Final = 20
"""Names that are looked up for one message; further ones stay ids."""
_LOST_FOR_US: Final = Person("Somebody")


def person_of(user: Mapping[str, Any]) -> Person:
    """A user object as a person (docs.slack.dev/reference/objects/user-object)."""
    profile = user.get("profile")
    profile = profile if isinstance(profile, Mapping) else user
    names = (profile.get("display_name"), profile.get("real_name"), user.get("real_name"), user.get("name"))
    name = next((str(name) for name in names if name), "Somebody")
    pictures = (profile.get("image_192"), profile.get("image_72"), profile.get("image_48"))
    return Person(name, next((str(url) for url in pictures if url), ""), user.get("is_bot") is True)


class Directory:
    """Looks up for one account."""

    def __init__(self, account: AccountId, api: Api, config: SlackConfig, memory: Memory, prefix: str) -> None:
        self._api = api
        self._memory = memory
        self._self = Person(config.bot_name or prefix, is_bot=True)
        self._me = Me(account, prefix, config.team_id, config.user_id, config.bot_id, config.app_id)

    async def me(self) -> Me:
        """Who we are; asked of Slack where the configuration does not say. Raises any AdapterError."""
        me = self._me
        if not (me.user_id and me.bot_id and me.team_id):
            told = await self._api.ask("auth.test")
            self._me = me = Me(
                me.account, me.prefix, str(told["team_id"]), str(told["user_id"]), str(told["bot_id"]), me.app_id
            )
        return me

    async def names(self, raw: Json) -> tuple[dict[str, Person], Names]:
        """The people of a message, and what everything that it names is called."""
        users, channels = ids_in(raw)
        groups, known = labels(str(raw.get("text") or ""))
        asked = sorted(users)[:NAMED_MAX]
        asked += [str(raw.get(name)) for name in ("user", "parent_user_id") if raw.get(name) and not raw.get("bot_id")]
        people: dict[str, Person] = {}
        for user in dict.fromkeys(asked):
            profile = raw.get("user_profile") if user == raw.get("user") else None
            people[user] = await self.person(user, profile)
        for channel in sorted(channels - known.keys())[:NAMED_MAX]:
            room = await self.room(channel)
            known[channel] = room.title.lstrip("#")
        shown = {user: person.name for user, person in people.items()}
        return people, Names(shown, known, groups)

    async def person(self, user: str, profile: Any = None) -> Person:
        """Somebody by id; ``profile``: what the event itself says, which it does of people of other workspaces."""
        if user == self._me.user_id and user:
            return self._self
        known = await self._memory.person(user)
        if known is not None:
            return known
        if not ID.fullmatch(user):
            return _LOST_FOR_US
        try:
            found = person_of((await self._api.ask("users.info", user=user))["user"])
        except (AdapterError, KeyError, TypeError) as error:
            log.info("slack does not say who somebody is", account=self._me.account, error=str(error))
            if not isinstance(profile, Mapping) and not isinstance(error, Rejected):
                return _LOST_FOR_US
            found = person_of({"profile": profile}) if isinstance(profile, Mapping) else _LOST_FOR_US
        await self._memory.keep_person(user, found)
        return found

    async def learn_person(self, user: Json) -> None:
        """Slack says that somebody changed their profile."""
        if ID.fullmatch(str(user.get("id"))):
            await self._memory.keep_person(str(user["id"]), person_of(user))

    async def room(self, channel: str) -> Room:
        """A conversation by id; remembered only if we are in it."""
        known = await self._memory.find_room(channel)
        if known is not None:
            return known
        try:
            raw = (await self._api.ask("conversations.info", channel=channel))["channel"]
            room = await self.room_of(raw)
        except (AdapterError, KeyError, TypeError) as error:
            log.info("slack does not say what a channel is", account=self._me.account, error=str(error))
            return Room(channel)
        if raw.get("is_member") or raw.get("is_im") or raw.get("is_mpim"):
            await self._memory.keep_room(channel, room)
        return room

    async def room_of(self, raw: Json) -> Room:
        """A conversation object as a room (docs.slack.dev/reference/objects/conversation-object)."""
        if raw.get("is_im"):
            user = str(raw.get("user") or "")
            return Room((await self.person(user)).name, user)
        return Room("a group message" if raw.get("is_mpim") else f"#{raw['name']}")

    async def enter(self, channel: str) -> None:
        """Be in a conversation: known, or joined if it is a public channel. Raises any AdapterError."""
        if await self._memory.find_room(channel) is not None:
            return
        raw = (await self._api.ask("conversations.info", channel=channel)).get("channel")
        raw = raw if isinstance(raw, dict) else {}
        if not (raw.get("is_member") or raw.get("is_im") or raw.get("is_mpim")):
            raw = (await self._api.ask("conversations.join", channel=channel)).get("channel") or raw
        await self._memory.keep_room(channel, await self.room_of(raw))

    async def file(self, file: str) -> dict[str, Any]:
        """What Slack knows of a file. Raises any AdapterError."""
        found = (await self._api.ask("files.info", file=file)).get("file")
        return found if isinstance(found, dict) else {}

    async def learn_rooms(self) -> None:
        """Every conversation that we are in, by its name now. Raises any AdapterError."""
        cursor = ""
        while True:
            found = await self._api.ask(
                "users.conversations",
                types="public_channel,private_channel,mpim,im",
                exclude_archived=True,
                limit=200,
                cursor=cursor or None,
            )
            for raw in found.get("channels") or ():
                if isinstance(raw, dict) and ID.fullmatch(str(raw.get("id"))):
                    await self._memory.keep_room(str(raw["id"]), await self.room_of(raw))
            cursor = str((found.get("response_metadata") or {}).get("next_cursor") or "")
            if not cursor:
                return

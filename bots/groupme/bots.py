"""A GroupMe account that is one bot in each of its groups: hears by callbacks, posts by bot ids."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping, Sequence

import structlog

from bots.groupme import text as dialect
from bots.groupme.api import NotThere
from bots.groupme.callback import Callbacks
from bots.groupme.config import PATH_KEY_CHARS, GroupBot, GroupMeConfig
from bots.groupme.files import LIMIT_BYTES, uploaded, with_link
from bots.groupme.payload import Message, id_of
from bots.groupme.shared import GroupMe
from core.contract import (
    AuthLost,
    Capabilities,
    Emit,
    Invite,
    Level,
    Outbound,
    Receipt,
    Rejected,
    Remembered,
    Retry,
    RoomInfo,
    Route,
    Services,
    Since,
)
from core.model import AccountId, BotAdded, BotRemoved, NativeId, RoomId, Text, native_room, room_id
from core.store import TRANSIENT

log = structlog.get_logger()

PATIENCE_LEFT = 3
"""After so many posts whose callback did not come in time, none is waited for until one comes again."""


class BotsAdapter(GroupMe):
    """Bots without an access token: GroupMe tells them what is said, and takes their posts, and no more."""

    file_level: Level = "fallback"
    entities: frozenset[str] = frozenset()

    def __init__(self, account: AccountId, config: GroupMeConfig, services: Services) -> None:
        super().__init__(account, config, services)
        self._bots = {bot.group: bot.bot for bot in config.group_bots()}
        self._names: dict[str, str] = dict.fromkeys(self._bots, config.bot_name)
        self._task: asyncio.Task[None] | None = None
        self._deaf: dict[str, int] = {}
        self._capabilities = Capabilities(
            reply="full",
            file=self.file_level,
            entities=self.entities,
            text_limit=dialect.LIMIT,
            text_unit="utf16",
            file_limit_bytes=LIMIT_BYTES,
            rate_per_s=config.rate_per_s,
            rate_burst=config.rate_burst,
        )

    # --- life

    async def start(self, emit: Emit) -> None:
        """Look for the bots; return at once. Raises Rejected where the callback paths would be no secret."""
        if not self._secret():
            raise Rejected("The account has no secret for its callback addresses. Remove it and add it again.")
        if not self._bots:
            raise Rejected("The account names no group that a bot could be in. Remove it and add it again.")
        self._emit = emit
        self._task = asyncio.create_task(self._keep_trying(emit, self._begin), name=f"groupme {self.account}")

    async def stop(self) -> None:
        """Forget the connections."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        await self._close()

    async def _begin(self, emit: Emit) -> None:
        await self._find_bots()
        await self._announce(emit)
        self._auth_lost = ""
        emit.online()

    async def _find_bots(self) -> None:
        """Without a token the configuration says it all."""

    async def _announce(self, emit: Emit) -> None:
        """Groups that we were not in before are greeted; those that are no longer named are gone."""
        await self._groups.load()
        for group in self._bots:
            if await self._groups.came(group, self._groups.titles.get(group, "")):
                at_ms, title = self._services.now_ms(), self._groups.titles[group]
                native = self._native("added", str(at_ms))
                emit(BotAdded(room=self._room(group), native=native, at_ms=at_ms, title=title or f"group {group}"))
        for group in (await self._memory.groups()).keys() - self._bots.keys():
            await self._removed(emit, group, "The account has no bot in this group any more.")

    async def _removed(self, emit: Emit, group: str, reason: str) -> None:
        if await self._groups.went(group):
            at_ms = self._services.now_ms()
            native = self._native("removed", str(at_ms))
            emit(BotRemoved(room=self._room(group), native=native, at_ms=at_ms, reason=reason))

    def _room(self, group: str) -> RoomId:
        return room_id(self.account, group)

    def _secret(self) -> bool:
        return len(self._config.path_key) >= PATH_KEY_CHARS

    def routes(self, emit: Emit) -> Sequence[Route]:
        """The callback; none while its path would be no secret."""
        if not self._secret():
            return ()
        callbacks = Callbacks(self._config, self._services.prefix, list(self._bots), self, emit)
        return (Route("POST", "/{secret}", callbacks.take), Route("GET", "/{secret}", callbacks.look))

    # --- what is heard

    async def is_ours(self, message: Message) -> bool:
        """A bot's message that this group's bot of ours posted."""
        group = id_of(message.group_id)
        if message.sender_type != "bot":
            return False
        like_us = message.name == self._names.get(group, self._config.bot_name)
        text = _echoed(message.text or "", message.attachments or ())
        if not await self._memory.is_ours(group, message.sender, text, named_like_us=like_us):
            return False
        self._deaf.pop(group, None)
        await self._memory.heard_echo(group, text, message.native)
        return True

    async def confirm(self, message: Message) -> bool:
        """Does GroupMe say the same? Without a token nobody can ask: the secret path has to do."""
        return True

    async def events(self, message: Message) -> Sequence[object]:
        """The events of a callback's message. Raises Malformed and redis errors."""
        await self._groups.load()
        events = await self._said(message)
        for event in events:
            title = getattr(event, "title", "")
            if title:
                await self._groups.renamed(id_of(message.group_id), title)
        return events

    # --- what rooms can show

    def capabilities(self, room: RoomId) -> Capabilities:
        """The same in all groups."""
        return self._capabilities

    async def rooms(self) -> Sequence[RoomInfo]:
        """The groups that have a bot of ours."""
        await self._groups.load()
        return [self.room_info(self._room(group)) for group in self._bots]

    def invite(self, code: str) -> Invite:
        """How to get a bot into a group: whoever runs this installation adds it."""
        return Invite(
            title="GroupMe group",
            steps=(
                "Ask whoever runs this BridgeBot to add a bot to your GroupMe group. They make it at "
                "https://dev.groupme.com/bots, which takes a member of the group, and add it to the account "
                f"{self.account}.",
                f"When the bot has said hello, say in the group: -{self._services.prefix} connect {code}",
            ),
        )

    # --- posting

    async def send(self, outbound: Outbound) -> Receipt:
        """Post it, then wait a moment for the callbacks, which alone tell the messages' ids."""
        if self._auth_lost:
            raise AuthLost(self._auth_lost)
        group = native_room(outbound.room)
        bot = self._bots.get(group, "")
        if not bot:
            if group in self._bots:
                raise Retry(2.0, "the group's bot is being made")
            raise Rejected("The account has no bot in this group any more.")
        said: list[str] = []
        attachments, text = await self._attached(group, outbound)
        cut = dialect.parts(text, outbound.max_parts)
        if not cut and not attachments:
            raise Rejected("The message has no text that GroupMe could show.")
        for number, part in enumerate(cut or [Text(outbound.files[0].name)]):
            extra = dialect.mentions(part, await self._members_for(group, part))
            said.append(await self._post(group, bot, part.plain, [*(attachments if number == 0 else ()), *extra]))
        return Receipt(await self._echoes(group, said))

    async def _attached(self, group: str, outbound: Outbound) -> tuple[list[dict[str, object]], Text]:
        text = outbound.text
        for file in outbound.files:
            text = with_link(text, file)
        return _reply(outbound), text

    async def _post(self, group: str, bot: str, text: str, attachments: Sequence[dict[str, object]]) -> str:
        echoed = _echoed(text, attachments)
        try:
            await self._memory.will_say(group, echoed)
        except TRANSIENT:
            raise Retry(1.0, "the store does not answer") from None
        try:
            await self._api.bot_post(bot, text, attachments)
        except NotThere:
            if self._emit is not None:
                with contextlib.suppress(*TRANSIENT):
                    await self._removed(self._emit, group, "GroupMe knows the group's bot no more.")
            raise Rejected("GroupMe knows the bot of this group no more. Make it anew and add it again.") from None
        return echoed

    async def _echoes(self, group: str, said: Sequence[str]) -> tuple[NativeId, ...]:
        """The ids of posts, in order, as far as their callbacks come in time; all of them or none."""
        loop = asyncio.get_running_loop()
        until_s = loop.time() + self._config.echo_s
        natives: list[NativeId] = []
        for text in said:
            left_s = until_s - loop.time()
            if self._deaf.get(group, 0) >= PATIENCE_LEFT or left_s <= 0:
                return ()
            try:
                native = await self._memory.echo(group, text, max(left_s, 0.01))
            except TRANSIENT:
                return ()
            if not native:
                self._deaf[group] = self._deaf.get(group, 0) + 1
                return ()
            natives.append(NativeId(native))
        return tuple(natives)


class ReadingBotsAdapter(BotsAdapter):
    """Bots of a user whose access token is there as well: bots are found or made, pictures go up, commands are
    confirmed, gaps are filled."""

    file_level: Level = "partial"
    entities = frozenset({"mention"})

    async def _find_bots(self) -> None:
        titles = await self._api.groups()
        self._groups.titles |= {group: title for group, title in titles.items() if group in self._bots}
        there = {id_of(bot.bot_id): bot for bot in await self._api.bots()}
        base = f"{self._services.public_url}/bots/{self.account}"
        for bot in self.configured():
            url = f"{base}/{self._config.path(bot.group)}"
            found = there.get(bot.bot) if bot.bot else None
            same_url = [b for b in there.values() if b.callback_url == url and id_of(b.group_id) == bot.group]
            found = found or next(iter(same_url), None)
            if found is None and not bot.bot:
                if bot.group not in titles:
                    log.warning("groupme bot not made: its user is not in the group", account=self.account)
                    continue
                found = await self._api.make_bot(bot.group, self._config.bot_name, url)
            if found is not None:
                self._bots[bot.group] = id_of(found.bot_id)
                self._names[bot.group] = found.name or self._config.bot_name

    def configured(self) -> Sequence[GroupBot]:
        """The bots of the configuration."""
        return self._config.group_bots()

    async def confirm(self, message: Message) -> bool:
        """Is the message in the group's index, from the same person and with the same words? Raises AdapterErrors."""
        found = await self._api.messages(id_of(message.group_id))
        same = next((other for other in found if id_of(other.id) == id_of(message.id)), None)
        if same is None:
            return False
        said = (message.sender, message.text or "", bool(message.system), (message.event or {}).get("type"))
        return said == (same.sender, same.text or "", bool(same.system), (same.event or {}).get("type"))

    async def _attached(self, group: str, outbound: Outbound) -> tuple[list[dict[str, object]], Text]:
        made, text = await uploaded(self._api, group, outbound.files, outbound.text, only_pictures=True)
        return [*_reply(outbound), *made], text

    async def is_admin(self, room: RoomId, author_id: str) -> bool:
        """Is this member the group's owner or one of its admins?"""
        return await self._groups.is_admin(self._api, native_room(room), author_id)

    async def ping(self, room: RoomId) -> None:
        """Read the newest message of the group."""
        await self._api.messages(native_room(room), limit=1)

    async def history(self, room: RoomId, since: Since) -> Remembered:
        """What was said after ``since``."""
        return await self._history(room, since)


def _reply(outbound: Outbound) -> list[dict[str, object]]:
    if not outbound.reply_to:
        return []
    return [{"type": "reply", "reply_id": outbound.reply_to, "base_reply_id": outbound.reply_to}]


def _echoed(text: str, attachments: Sequence[Mapping[str, object]]) -> str:
    """What tells a post from others when its callback comes: its words and its pictures."""
    return "\n".join([text, *(str(part.get("url")) for part in attachments if part.get("type") == "image")])

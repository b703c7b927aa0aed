"""A Telegram account: a bot, and the chats it was added to."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Final, TypeVar
from urllib.parse import quote

import structlog

from bots.telegram.api import Api, ChatMoved, Refused
from bots.telegram.config import TelegramConfig
from bots.telegram.hook import Hook
from bots.telegram.life import Life
from bots.telegram.memory import Marks, Rooms
from bots.telegram.reactions import Wishes, allowed
from bots.telegram.receive import Me
from bots.telegram.send import TEXT_LIMIT, Sender, Where, where
from bots.telegram.text import ENTITIES
from core.contract import (
    AdapterError,
    AuthLost,
    Capabilities,
    Emit,
    Invite,
    Offline,
    Outbound,
    Receipt,
    Rejected,
    RoomInfo,
    Route,
    Services,
)
from core.model import (
    AccountId,
    Author,
    BotRemoved,
    NativeId,
    RoomId,
    RoomMoved,
    native_room,
)

log = structlog.get_logger()
Done = TypeVar("Done")

TYPING_EVERY_S: Final = 4.0
"""Telegram shows it for five seconds (core.telegram.org/bots/api#sendchataction)."""
_DEEP_LINK: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")
"""What a startgroup link may carry (core.telegram.org/bots/features#deep-linking)."""
_ADMIN: Final = ("creator", "administrator")
PRIVACY: Final = (
    "I cannot relay yet what people say here: Telegram's privacy mode is on for me, so I only see commands and answers "
    "to me. Either of these mends it: make me an admin of this group; or let my owner open @BotFather, choose "
    "/setprivacy, @{username}, Disable, and then remove me from this group and add me again."
)


class TelegramAdapter:
    """One bot."""

    def __init__(self, account: AccountId, config: TelegramConfig, services: Services) -> None:
        self.account = account
        self._config = config
        self._services = services
        self._api = Api(config)
        self._rooms = Rooms(account, services)
        self._marks = Marks(services)
        self._sender = Sender(self._api, config, self._marks)
        self._wishes = Wishes(services)
        self._life = Life(
            account, config, services, self._api, self._rooms, self._marks, self._is_ours, self._connected
        )
        self._emit: Emit | None = None
        self._me: Me | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._typed_at_s: dict[RoomId, float] = {}
        self._downloads = 0
        self._posting: dict[str, asyncio.Lock] = {}
        """Of a channel: held while a post is under way whose id is not known yet."""
        self._in_groups = self._capable(config.group_rate_per_s, config.group_burst)
        self._elsewhere = self._capable(config.chat_rate_per_s, config.chat_burst)

    def _capable(self, rate_per_s: float, burst: int) -> Capabilities:
        return Capabilities(
            edit="full",
            delete="full",
            reply="full",
            reaction="partial",
            file="full",
            typing="partial",
            entities=ENTITIES,
            text_limit=TEXT_LIMIT,
            text_unit="utf16",
            file_limit_bytes=self._config.upload_limit_bytes,
            rate_per_s=rate_per_s,
            rate_burst=burst,
            account_rate_per_s=self._config.account_rate_per_s,
            account_rate_burst=max(1, int(self._config.account_rate_per_s)),
            bold_names=True,
        )

    # --- life ---

    async def start(self, emit: Emit) -> None:
        """Begin to connect; return at once. Raises Rejected where a webhook is asked for that anybody could forge."""
        config = self._config
        if config.webhook and not (config.webhook_path and config.webhook_secret):
            raise Rejected(
                "This account has a webhook without secrets, so anybody could speak in Telegram's name. "
                "Add it anew with: bridgebot accounts add telegram"
            )
        self._emit = emit
        self._run(self._life.run(emit))

    async def stop(self) -> None:
        """Disconnect. What was not confirmed comes again at the next start."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._emit = None
        await self._api.close()

    def _run(self, work: Awaitable[None]) -> None:
        async def until_done() -> None:
            await work

        task = asyncio.create_task(until_done(), name=f"telegram {self.account}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _connected(self, me: Me) -> None:
        self._me = me
        if not me.hears_all:
            for native in self._rooms.all():
                if ":" not in native and self._rooms.is_deaf(native):
                    await self._rooms.set_privacy(native, "owed")
            self._run(self._explain_everywhere())

    def capabilities(self, room: RoomId) -> Capabilities:
        """By the kind of chat: groups take fewer posts."""
        is_group = self._rooms.kind(self._rooms.now(native_room(room))).endswith("group")
        return self._in_groups if is_group else self._elsewhere

    def room_info(self, room: RoomId) -> RoomInfo:
        """The chat or topic for people."""
        return self._rooms.info(native_room(room))

    async def rooms(self) -> Sequence[RoomInfo]:
        """The chats and topics in which something was said or done since the bot came."""
        return [self._rooms.info(native) for native in self._rooms.all()]

    def routes(self, emit: Emit) -> Sequence[Route]:
        """Where Telegram calls, if it is to."""
        return Hook(self._config, self._services).routes()

    def invite(self, code: str) -> Invite:
        """A link that adds the bot to a group and connects it in one go."""
        username = self._me.username if self._me else self._config.username
        command = f"-{self._services.prefix} connect {code}"
        if not username:
            return Invite("Telegram", ("Add the bot to your group.", f"Type there: {command}"))
        steps = (f"Open the group, and add @{username} as a member.", f"Type there: {command}")
        url = f"https://t.me/{quote(username)}?startgroup={code}" if _DEEP_LINK.fullmatch(code) else ""
        return Invite("Telegram", steps, url)

    # --- posts ---

    async def _at(self, room: RoomId, do: Callable[[Where], Awaitable[Done]]) -> Done:
        """Do something in a chat, wherever it is now. Raises any AdapterError."""
        if self._emit is None:
            raise Offline(1.0, "the account is not started")
        if self._life.auth_lost:
            raise AuthLost(self._life.auth_lost)
        native = native_room(room)
        try:
            return await do(where(self._rooms.now(native)))
        except ChatMoved as moved:
            await self._moved(native, moved.to)
        except Refused as refused:
            if ":" in native and (
                "message thread not found" in refused.description or "topic_deleted" in refused.description
            ):
                self._gone(room, refused.reason)
            raise
        return await do(where(self._rooms.now(native)))

    async def _moved(self, native: str, to: int) -> None:
        assert self._emit is not None  # noqa: S101 - _at() looked
        new = str(to)
        await self._rooms.move(native, new)
        self._emit(
            RoomMoved(
                room=self._rooms.room(native),
                native=NativeId(f"migrate:{new}"),
                at_ms=self._services.now_ms(),
                to=self._rooms.room(new),
            )
        )

    def _gone(self, room: RoomId, reason: str) -> None:
        """Telegram says nothing of a topic that is deleted until somebody writes there."""
        assert self._emit is not None  # noqa: S101 - _at() looked
        now_ms = self._services.now_ms()
        self._emit(BotRemoved(room=room, native=NativeId(f"gone@{now_ms}"), at_ms=now_ms, reason=reason))

    async def send(self, outbound: Outbound) -> Receipt:
        """Post it, in as many messages as needed."""
        natives = await self._at(outbound.room, lambda to: self._send(to, outbound))
        native = self._rooms.now(native_room(outbound.room))
        if (room := self._rooms.get(native)) and room.privacy == "owed":
            self._run(self._explain_privacy(native))
        return Receipt(tuple(natives))

    async def _send(self, to: Where, outbound: Outbound) -> list[NativeId]:
        chat = str(to.chat_id)
        if self._rooms.kind(chat) != "channel":
            natives = await self._sender.send(to, outbound)
            if to.thread_id:
                for native in natives:
                    await self._marks.note("topic", chat, native, f"{chat}:{to.thread_id}")
            return natives
        async with self._posting.setdefault(chat, asyncio.Lock()):
            natives = await self._sender.send(to, outbound)
            for native in natives:
                await self._marks.note("own", chat, native, "1")
        return natives

    async def _is_ours(self, chat: str, message: str) -> bool:
        """Is this message of a channel a post of ours? Waits for a post that is under way there."""
        async with self._posting.setdefault(chat, asyncio.Lock()):
            return bool(await self._marks.find("own", chat, message))

    async def edit(self, natives: Sequence[NativeId], outbound: Outbound) -> Receipt:
        """Change our posts in their place."""
        return Receipt(tuple(await self._at(outbound.room, lambda to: self._sender.edit(to, natives, outbound))))

    async def delete(self, room: RoomId, natives: Sequence[NativeId]) -> None:
        """Take our posts away."""
        await self._at(room, lambda to: self._sender.delete(to, natives))

    async def react(self, room: RoomId, native: NativeId, emoji: str, added: bool, author: Author) -> None:
        """Show the newest of the reactions that people elsewhere put on a message. Raises Rejected where Telegram has
        no such reaction, or the chat does not allow it."""
        if not (ours := allowed(emoji)):
            raise Rejected("Telegram has no such reaction")

        async def set_reaction(to: Where) -> None:
            shown = await self._wishes.change(str(to.chat_id), native, author.id, ours, added)
            reaction = [{"type": "emoji", "emoji": shown}] if shown else []
            await self._api.call("setMessageReaction", chat_id=to.chat_id, message_id=int(native), reaction=reaction)

        await self._at(room, set_reaction)

    async def typing(self, room: RoomId, author: Author) -> None:
        """Show that somebody types: as the bot."""
        now_s = asyncio.get_running_loop().time()
        if now_s - self._typed_at_s.get(room, -TYPING_EVERY_S) < TYPING_EVERY_S:
            return
        self._typed_at_s[room] = now_s
        await self._at(room, lambda to: self._api.call("sendChatAction", action="typing", **to.params()))

    async def open_file(self, ref: str) -> AsyncIterator[bytes]:
        """Stream a file by its ``file_id``."""
        self._downloads += 1
        try:
            async for chunk in self._api.download(ref):
                yield chunk
        finally:
            self._downloads -= 1
            if self._emit is None and not self._downloads:
                await self._api.close()

    # --- people ---

    async def is_admin(self, room: RoomId, author_id: str) -> bool:
        """Is this person, or the chat that an anonymous admin speaks for, an admin of the chat right now?"""
        chat = self._rooms.now(native_room(room)).partition(":")[0]
        if author_id == chat:
            return True
        try:
            user_id = int(author_id)
        except ValueError:
            return False
        if user_id <= 0:
            return False
        try:
            member = await self._at(
                room, lambda to: self._api.call("getChatMember", chat_id=to.chat_id, user_id=user_id)
            )
        except Rejected:
            return False
        return isinstance(member, dict) and member.get("status") in _ADMIN

    async def ping(self, room: RoomId) -> None:
        """Ask for the chat."""
        await self._at(room, lambda to: self._api.call("getChat", chat_id=to.chat_id))

    # --- privacy mode ---

    async def _explain_everywhere(self) -> None:
        for native in self._rooms.all():
            if (room := self._rooms.get(native)) and room.privacy == "owed":
                await self._explain_privacy(native)

    async def _explain_privacy(self, native: str) -> None:
        """Tell a room once why nothing of what is said there is relayed."""
        room = self._rooms.get(native)
        if room is None or room.privacy != "owed" or self._me is None:
            return
        # Marked first: a room that reads it twice is worse off than one whose only try failed.
        await self._rooms.set_privacy(native, "told")
        if not room.is_admin:
            with contextlib.suppress(AdapterError):
                words = PRIVACY.format(username=self._me.username)
                await self._api.call("sendMessage", text=words, **where(native).params())

"""A Mattermost account: one user of one server, and the channels that it is in."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Sequence
from typing import Final

import structlog

from bots.mattermost import emojis
from bots.mattermost.api import Api, Refused, is_id
from bots.mattermost.config import MattermostConfig, base_url
from bots.mattermost.intake import Intake
from bots.mattermost.memory import DIRECT, People, Rooms, Threads, Wishes
from bots.mattermost.send import Sender, Server, channel_of, server_of
from bots.mattermost.stream import Stream
from bots.mattermost.text import ENTITIES
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
    Remembered,
    RoomInfo,
    Services,
    Since,
)
from core.model import AccountId, Author, NativeId, RoomId, native_room
from core.store import insist

log = structlog.get_logger()

TYPING_EVERY_S: Final = 4.0
"""Clients show it for five seconds (TimeBetweenUserTypingUpdatesMilliseconds)."""
AUTH_RETRY_S: Final = 60.0


class MattermostAdapter:
    """One user."""

    def __init__(self, account: AccountId, config: MattermostConfig, services: Services) -> None:
        self.account = account
        self._config = config
        self._services = services
        self._api = Api(config, base_url(config.server_url))
        self._stream = Stream(self._api, config.ping_s)
        self._rooms = Rooms(account, services)
        self._people = People(self._api, services)
        self._wishes = Wishes(services)
        threads = Threads(self._api)
        self._intake = Intake(account, self._api, self._rooms, self._people, threads, services)
        self._sender = Sender(self._api, self._people, threads, mentions=config.mentions)
        self._caps: tuple[Server, Capabilities] | None = None
        self._emit: Emit | None = None
        self._task: asyncio.Task[None] | None = None
        self._is_online = False
        self._auth_lost = ""
        self._typed_at_s: dict[RoomId, float] = {}
        self._downloads = 0

    # --- life

    async def start(self, emit: Emit) -> None:
        """Begin to connect; return at once."""
        self._emit = emit
        self._task = asyncio.create_task(self._run(emit), name=f"mattermost {self.account}")

    async def stop(self) -> None:
        """Disconnect."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        self._emit, self._is_online = None, False
        await self._stream.close()
        await self._api.close()

    async def _run(self, emit: Emit) -> None:
        wait_s = self._config.reconnect_min_s
        while True:
            try:
                await self._connected(emit)
            except AuthLost as error:
                self._auth_lost, reason, pause_s = str(error), str(error), AUTH_RETRY_S
            except AdapterError as error:
                reason, pause_s = str(error), wait_s
            except Exception:  # an answer nobody expects must not end the account for good
                log.exception("the connection to Mattermost failed", account=self.account)
                reason, pause_s = "an error of the bot", wait_s
            if self._is_online:
                pause_s = wait_s = self._config.reconnect_min_s
            else:
                wait_s = min(wait_s * 2, self._config.reconnect_max_s)
            self._is_online = False
            await self._stream.close()
            emit.offline(reason)
            await asyncio.sleep(pause_s * random.uniform(0.8, 1.2))  # noqa: S311 - to spread many bots, no secret

    async def _connected(self, emit: Emit) -> None:
        """Connect and take in events until the connection breaks. Raises AdapterError."""
        me = await self._api.call("GET", "users/me")
        self._intake.me = self._sender.me = str(me["id"])
        goes_on = await self._stream.connect()
        if not goes_on:
            server = server_of(await self._api.call("GET", "config/client", format="old"))
            self._sender.server, self._people.display = server, server.display
            self._intake.overrides = server.shows_names
            await self._intake.sync(emit)
            await insist(emit.accepted)
        self._is_online, self._auth_lost = True, ""
        emit.online()
        async for frame in self._stream.frames():
            try:
                await self._intake.take(frame, self._stream.place(frame), emit)
            except AdapterError:
                raise
            except Exception:  # it would come again and again with every new connection
                log.exception("an event of Mattermost was passed over", account=self.account, event_type=frame.event)
            await insist(emit.accepted)

    def capabilities(self, room: RoomId) -> Capabilities:
        """The same in all rooms; by what the server lets us do."""
        server = self._sender.server
        if self._caps is None or self._caps[0] != server:
            self._caps = server, self._capable(server)
        return self._caps[1]

    def _capable(self, server: Server) -> Capabilities:
        return Capabilities(
            edit="full",
            delete="full",
            reply="partial",
            thread="full",
            reaction="partial",
            file="full" if server.files else "fallback",
            typing="partial",
            names="full" if server.names else "fallback",
            avatars="full" if server.icons else "drop",
            entities=ENTITIES,
            text_limit=server.text_limit,
            file_limit_bytes=server.file_limit_bytes,
            account_rate_per_s=self._config.account_rate_per_s,
            account_rate_burst=self._config.account_burst,
            bold_names=True,
        )

    def room_info(self, room: RoomId) -> RoomInfo:
        """The channel for people."""
        return self._rooms.info(native_room(room))

    async def rooms(self) -> Sequence[RoomInfo]:
        """The channels that the bot is in, by the server's word."""
        return await self._intake.listed()

    def invite(self, code: str) -> Invite:
        """What a member of a channel types."""
        name = f"@{self._config.username}" if self._config.username else "@ and the bot's name"
        return Invite(
            "Mattermost",
            (f"In the channel, type: /invite {name}", f"Then type there: -{self._services.prefix} connect {code}"),
        )

    # --- posts

    def _ready(self) -> None:
        if self._auth_lost:
            raise AuthLost(self._auth_lost)
        if not self._is_online:
            raise Offline(1.0, "the account is not connected")

    async def send(self, outbound: Outbound) -> Receipt:
        """Post it, in as many posts as needed."""
        self._ready()
        channel_of(outbound.room)
        return Receipt(tuple(await self._sender.send(outbound)))

    async def find_sent(self, outbound: Outbound) -> Receipt | None:
        """Look for our mark among the newest posts of the channel."""
        self._ready()
        channel_of(outbound.room)
        found = await self._sender.find(outbound)
        return Receipt(tuple(found)) if found else None

    async def edit(self, natives: Sequence[NativeId], outbound: Outbound) -> Receipt:
        """Change our posts in their place."""
        self._ready()
        return Receipt(tuple(await self._sender.edit(natives, outbound)))

    async def delete(self, room: RoomId, natives: Sequence[NativeId]) -> None:
        """Take our posts away."""
        self._ready()
        await self._sender.delete(natives)

    async def react(self, room: RoomId, native: NativeId, emoji: str, added: bool, author: Author) -> None:
        """Put the bot's own reaction on a post while anybody elsewhere has put that emoji there."""
        self._ready()
        names = emojis.names(emoji)
        if not is_id(native):
            return
        stands = bool(names) and await self._wishes.change(native, names[0], author.id, added)
        me = self._sender.me
        gone = False
        for name in names:
            try:
                if stands:
                    body = {"user_id": me, "post_id": native, "emoji_name": name}
                    await self._api.call("POST", "reactions", body)
                    return
                await self._api.call("DELETE", f"users/{me}/posts/{native}/reactions/{name}")
                gone = True
            except Refused as refused:
                if refused.code not in (400, 404):
                    raise
        if not gone:
            raise Rejected("Mattermost has no such emoji.")

    async def typing(self, room: RoomId, author: Author) -> None:
        """Show that somebody types: as the bot."""
        self._ready()
        now_s = asyncio.get_running_loop().time()
        if now_s - self._typed_at_s.get(room, -TYPING_EVERY_S) >= TYPING_EVERY_S:
            self._typed_at_s[room] = now_s
            await self._stream.act("user_typing", {"channel_id": channel_of(room), "parent_id": ""})

    async def open_file(self, ref: str) -> AsyncIterator[bytes]:
        """Stream a file by its id."""
        self._downloads += 1
        try:
            async for chunk in self._api.download(ref):
                yield chunk
        finally:
            self._downloads -= 1
            if self._emit is None and not self._downloads:
                await self._api.close()

    # --- people and the past

    async def is_admin(self, room: RoomId, author_id: str) -> bool:
        """Is this person an admin of the channel or of its team right now? In a direct message, everybody there is."""
        if not is_id(author_id):
            return False
        channel = channel_of(room)
        try:
            member = await self._api.call("GET", f"channels/{channel}/members/{author_id}")
            known = self._rooms.get(channel)
            if _runs(member, "channel_admin") or (known is not None and known.type in (DIRECT, "G")):
                return True
            if known is None or not known.team:
                return False
            return _runs(await self._api.call("GET", f"teams/{known.team}/members/{author_id}"), "team_admin")
        except Rejected:
            return False

    async def ping(self, room: RoomId) -> None:
        """Ask for the channel."""
        await self._api.call("GET", f"channels/{channel_of(room)}")

    async def history(self, room: RoomId, since: Since) -> Remembered:
        """What was said in the channel after ``since``, and which older posts were changed or deleted."""
        channel_of(room)
        return await self._intake.history(room, since)


def _runs(member: object, role: str) -> bool:
    """Does a ChannelMember or TeamMember have a role, by a scheme or by name?"""
    return isinstance(member, dict) and (member.get("scheme_admin") is True or role in str(member.get("roles")).split())

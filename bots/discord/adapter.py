"""A Discord account: a bot, and the servers that it was added to."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any, Final
from urllib.parse import quote

from bots.discord import receive
from bots.discord.api import UNKNOWN_MESSAGE, Api, Refused
from bots.discord.cache import (
    ADMINISTRATOR,
    CREATE_THREADS,
    MANAGE_CHANNELS,
    NEEDED,
    SEND_IN_THREADS,
    Cache,
)
from bots.discord.config import DiscordConfig
from bots.discord.gateway import Gateway
from bots.discord.intake import Intake
from bots.discord.past import page
from bots.discord.receive import Me
from bots.discord.send import Sender, target
from bots.discord.text import ENTITIES, TEXT_LIMIT
from core.contract import (
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
from core.model import AccountId, Author, NativeId, PlatformEvent, RoomId, native_room, room_id
from core.store import as_awaitable

TYPING_EVERY_S: Final = 8.0
"""Discord shows it for ten seconds (Channel, Trigger Typing Indicator)."""
WISH_S: Final = 30 * 86_400
WISHES_MAX: Final = 1_000


def invitation(config: DiscordConfig, application: str) -> str:
    """The link that adds the bot to a server, with what it needs there and no more."""
    return (
        f"{config.site_url}/oauth2/authorize?client_id={quote(application)}&scope=bot"
        f"&permissions={sum(NEEDED.values())}"
    )


class DiscordAdapter:
    """One bot."""

    def __init__(self, account: AccountId, config: DiscordConfig, services: Services) -> None:
        self.account = account
        self._config = config
        self._services = services
        self._api = Api(config)
        self._cache = Cache()
        self._sender = Sender(config, self._api, self._cache, services.now_ms)
        self._me = Me(account, "", config.application_id, services.prefix, config.cdn_url.rstrip("/"))
        self._intake: Intake | None = None
        self._gateway: Gateway | None = None
        self._task: asyncio.Task[None] | None = None
        self._online = False
        self._downloads = 0
        self._typed_at_s: dict[RoomId, float] = {}
        self._capable = {
            (webhook, threads): self._capabilities(webhook, threads)
            for webhook in (False, True)
            for threads in (False, True)
        }

    def _capabilities(self, webhook: bool, threads: bool) -> Capabilities:
        config = self._config
        return Capabilities(
            edit="full",
            delete="full",
            reply="partial" if webhook else "full",
            thread="full" if threads else "fallback",
            reaction="partial",
            file="full",
            typing="partial",
            names="full" if webhook else "fallback",
            avatars="full" if webhook else "drop",
            entities=ENTITIES,
            text_limit=TEXT_LIMIT,
            file_limit_bytes=config.upload_limit_bytes,
            rate_per_s=config.webhook_rate_per_s if webhook else config.bot_rate_per_s,
            rate_burst=config.webhook_burst if webhook else config.bot_burst,
            account_rate_per_s=config.account_rate_per_s,
            account_rate_burst=max(1, int(config.account_rate_per_s)),
            bold_names=True,
            idempotent=not webhook,
        )

    # --- life ---

    async def start(self, emit: Emit) -> None:
        """Begin to connect; return at once."""
        self._intake = Intake(self._me, self._cache, self._api, self._services, _Watched(self, emit))
        self._gateway = Gateway(self._config, self._api, self._take_in)
        self._task = asyncio.create_task(self._run(emit), name=f"discord {self.account}")

    async def _run(self, emit: Emit) -> None:
        assert self._intake is not None  # noqa: S101 - start() made them
        assert self._gateway is not None  # noqa: S101
        intake = self._intake

        def offline(reason: str) -> None:
            self._online = False
            intake.pause()
            emit.offline(reason)

        await self._intake.load()
        await self._gateway.run(offline)

    async def _take_in(self, name: str, data: dict[str, Any], mark: str) -> None:
        assert self._intake is not None  # noqa: S101 - start() made it
        await self._intake.take_in(name, data, mark)
        self._me = self._intake.me
        self._sender.application = self._me.application

    def came_online(self) -> None:
        """The gateway has told everything."""
        assert self._intake is not None  # noqa: S101 - start() made it
        self._sender.application = self._intake.me.application
        self._online = True

    async def stop(self) -> None:
        """Disconnect."""
        if self._task:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None
        if self._intake:
            self._intake.pause()
        self._online = False
        await self._api.close()

    def capabilities(self, room: RoomId) -> Capabilities:
        """By what the bot may do in the channel."""
        channel = native_room(room)
        threads = self._cache.has_threads(channel) and self._cache.may(channel, CREATE_THREADS | SEND_IN_THREADS)
        return self._capable[self._sender.by_webhook(channel), threads]

    def room_info(self, room: RoomId) -> RoomInfo:
        """The channel's name, and the server's."""
        channel = native_room(room)
        found = self._cache.channels.get(channel)
        guild = self._cache.guilds.get(found.guild) if found else None
        return RoomInfo(room, self._cache.title(channel), guild.name if guild else "")

    async def rooms(self) -> Sequence[RoomInfo]:
        """All channels that the bot can read."""
        found = [room for guild in self._cache.guilds for room in self._cache.rooms(guild)]
        return [self.room_info(room_id(self.account, room)) for room in found]

    def invite(self, code: str) -> Invite:
        """The link that adds the bot to a server, and what to type there."""
        command = f"-{self._services.prefix} connect {code}"
        steps = (
            "Open the link and choose your server (you need Manage Server there).",
            f"Type in a channel: {command}",
        )
        url = invitation(self._config, self._me.application) if self._me.application else ""
        return Invite("Discord", steps, url)

    # --- posts ---

    def _ready(self) -> None:
        if self._gateway and self._gateway.lost:
            raise AuthLost(self._gateway.lost)
        if not self._online:
            raise Offline(1.0, "there is no connection to Discord")

    async def send(self, outbound: Outbound) -> Receipt:
        """Post it, in as many messages as needed."""
        self._ready()
        return Receipt(tuple(await self._sender.send(outbound, native_room(outbound.room))))

    async def find_sent(self, outbound: Outbound) -> Receipt | None:
        """Did a post arrive whose answer was lost? It is looked for among the newest messages."""
        self._ready()
        try:
            found = await self._sender.find(outbound)
        except Refused:
            # The history may not be read: rather twice than not at all.
            return None
        return None if found is None else Receipt(tuple(found))

    async def edit(self, natives: Sequence[NativeId], outbound: Outbound) -> Receipt:
        """Change our posts in their place."""
        self._ready()
        return Receipt(tuple(await self._sender.edit(native_room(outbound.room), natives, outbound)))

    async def delete(self, room: RoomId, natives: Sequence[NativeId]) -> None:
        """Take our posts away."""
        self._ready()
        assert self._intake is not None  # noqa: S101 - _ready() looked
        for native in natives:
            self._intake.deleting(native.rpartition("/")[2])
        await self._sender.delete(native_room(room), natives)

    async def react(self, room: RoomId, native: NativeId, emoji: str, added: bool, author: Author) -> None:
        """One reaction of the bot for each emoji, as long as anybody elsewhere wants it. Raises Rejected also where the
        server has no such emoji, or no room for one more kind."""
        self._ready()
        to, message = target(native_room(room), native)
        if not (ours := self._emoji(to.channel, emoji)):
            raise Rejected("The server on Discord has no such emoji.")
        store, wishes = self._services.store, self._services.key("wishes", message, ours)
        if added:
            if await as_awaitable(store.scard(wishes)) < WISHES_MAX:
                await as_awaitable(store.sadd(wishes, author.id))
            await as_awaitable(store.expire(wishes, WISH_S))
        else:
            await as_awaitable(store.srem(wishes, author.id))
            if await as_awaitable(store.scard(wishes)):
                return
        path = f"/channels/{to.written_to}/messages/{message}/reactions/{quote(ours, safe='')}/@me"
        try:
            route = f"/channels/{to.written_to}/messages/:id/reactions"
            await self._api.call("PUT" if added else "DELETE", path, route=route)
        except Refused as refused:
            if refused.code != UNKNOWN_MESSAGE:
                raise

    def _emoji(self, channel: str, emoji: str) -> str:
        """As the reaction endpoints want it (Message, Create Reaction); empty where the server has no such emoji."""
        if not (emoji.startswith(":") and emoji.endswith(":")):
            return emoji
        found = self._cache.channels.get(channel)
        guild = self._cache.guilds.get(found.guild) if found else None
        name = emoji.strip(":")
        return f"{name}:{guild.emoji[name]}" if guild and name in guild.emoji else ""

    async def typing(self, room: RoomId, author: Author) -> None:
        """Show that somebody types: as the bot."""
        now_s = asyncio.get_running_loop().time()
        if now_s - self._typed_at_s.get(room, -TYPING_EVERY_S) < TYPING_EVERY_S:
            return
        self._ready()
        self._typed_at_s[room] = now_s
        await self._api.call("POST", f"/channels/{target(native_room(room), '0')[0].channel}/typing", again=True)

    async def ping(self, room: RoomId) -> None:
        """Ask for the channel."""
        self._ready()
        await self._api.call("GET", f"/channels/{target(native_room(room), '0')[0].channel}")

    # --- files, people, the past ---

    async def open_file(self, ref: str) -> AsyncIterator[bytes]:
        """Stream an attachment. Its address expires, so the message is asked for it each time."""
        from core.egress import fetch, guarded_session

        self._downloads += 1
        try:
            url = await self._attachment(ref)
            async with guarded_session(self._config.trusted_addresses, trust_env=False) as session:
                async for chunk in fetch(session, url, self._config.download_limit_bytes, allow_redirects=False):
                    yield chunk
        finally:
            self._downloads -= 1
            if self._task is None and not self._downloads:
                await self._api.close()

    async def _attachment(self, ref: str) -> str:
        ids = ref.split("/")
        if len(ids) != 3 or not all(part.isascii() and part.isdecimal() for part in ids):
            raise Rejected("There is no such file on Discord.")
        path = f"/channels/{ids[0]}/messages"
        raw = await self._api.call("GET", f"{path}/{ids[1]}", route=f"{path}/:id")
        snapshots = (found.get("message") or {} for found in raw.get("message_snapshots") or ())
        for source in (raw, *snapshots):
            for attachment in source.get("attachments") or ():
                if str(attachment.get("id")) == ids[2]:
                    return self._allowed(str(attachment.get("url")))
        raise Rejected("The file is no longer there on Discord.")

    def _allowed(self, url: str) -> str:
        if not url.startswith(tuple(self._config.file_urls)):
            raise Rejected("The file is not where Discord keeps its files.")
        return url

    async def is_admin(self, room: RoomId, author_id: str) -> bool:
        """May this person manage the channel, by the server's roles as of now? In a direct message: are they in it?"""
        channel = native_room(room)
        if not (author_id.isascii() and author_id.isdecimal()):
            return False
        found = self._cache.channels.get(channel)
        try:
            if found is None or not found.guild:
                raw = await self._api.call("GET", f"/channels/{target(channel, '0')[0].channel}")
                return any(str(user["id"]) == author_id for user in raw.get("recipients") or ())
            path = f"/guilds/{found.guild}/members"
            member = await self._api.call("GET", f"{path}/{author_id}", route=f"{path}/:id")
        except Refused:
            return False
        may = self._cache.permissions(channel, author_id, map(str, member.get("roles") or ()))
        return bool(may & (ADMINISTRATOR | MANAGE_CHANNELS))

    async def history(self, room: RoomId, since: Since) -> Remembered:
        """What was said in the channel and its threads after ``since``."""
        channel = native_room(room)
        _, after = target(channel, since.native)
        # Messages that are asked for do not say which server they are in.
        guild = {"guild_id": self._cache.channels[channel].guild} if channel in self._cache.channels else {}
        while True:
            try:
                found, after = await page(self._api, self._cache, channel, after)
            except Refused:
                return Remembered((), complete=False)
            said = [receive.new_message(guild | raw, place, self._cache, self._me) for raw, place in found]
            events = tuple(event for event in said if event)
            if events or not after:
                return Remembered(events, more=bool(after))


class _Watched:
    """An Emit that tells the adapter first."""

    def __init__(self, adapter: DiscordAdapter, emit: Emit) -> None:
        self._adapter = adapter
        self._emit = emit

    def __call__(self, event: PlatformEvent) -> None:
        self._emit(event)

    async def accepted(self) -> None:
        await self._emit.accepted()

    def online(self) -> None:
        self._adapter.came_online()
        self._emit.online()

    def offline(self, reason: str) -> None:
        self._emit.offline(reason)

"""A Slack account: an app in one workspace, and the conversations that it was added to."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Final

import structlog

from bots.slack.api import Api, Refused
from bots.slack.blocks import ENTITIES, TEXT_LIMIT
from bots.slack.config import SlackConfig
from bots.slack.directory import Directory
from bots.slack.emoji import names_of
from bots.slack.intake import Intake
from bots.slack.memory import Memory
from bots.slack.past import Past
from bots.slack.receive import ID
from bots.slack.send import Sender
from bots.slack.socket import Socket
from bots.slack.webhook import Webhook
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
    Route,
    Services,
    Since,
)
from core.model import AccountId, Author, NativeId, RoomId, native_room

log = structlog.get_logger()
RETRY_MIN_S: Final = 0.2
RETRY_MAX_S: Final = 30.0
AUTH_RETRY_S: Final = 300.0
LOOK_S: Final = 5.0
"""How often the process that posts looks whether another one has heard that the app was removed."""
GONE: Final = (
    "The app was removed from the workspace on Slack, or its token was revoked there. Add it again, in the same way as "
    "before: its rooms and connections go on."
)
NO_WAY_IN: Final = (
    "This account has neither an app-level token for Socket Mode nor a signing secret, so anybody could speak in "
    "Slack's name. Add it anew with: bridgebot accounts add slack"
)
_NOT_THERE: Final = ("already_reacted", "no_reaction", "message_not_found")


class SlackAdapter:
    """One app."""

    def __init__(self, account: AccountId, config: SlackConfig, services: Services) -> None:
        self.account = account
        self._config = config
        self._services = services
        self._api = Api(config)
        self._memory = Memory(account, services, config.team_name)
        self._directory = Directory(account, self._api, config, self._memory, services.prefix)
        self._intake = Intake(self._directory, self._memory)
        self._sender = Sender(self._api, config, self._memory)
        self._past = Past(self._api, self._intake)
        self._task: asyncio.Task[None] | None = None
        self.webhook: Webhook | None = None
        """What takes Slack's calls for this account, once its routes were asked for."""
        self._capabilities = Capabilities(
            edit="full",
            delete="full",
            reply="fallback" if config.replies == "words" else "partial",
            thread="full",
            reaction="partial",
            file="partial",
            names="full" if config.customize else "fallback",
            avatars="full" if config.customize else "drop",
            entities=ENTITIES,
            text_limit=TEXT_LIMIT,
            file_limit_bytes=config.file_limit_bytes,
            rate_per_s=config.rate_per_s,
            rate_burst=config.rate_burst,
            account_rate_per_s=config.account_rate_per_s,
            account_rate_burst=max(1, int(config.account_rate_per_s * 4)),
            bold_names=True,
        )

    # --- life ---

    async def start(self, emit: Emit) -> None:
        """Begin to connect; return at once. Raises Rejected where Slack's calls could not be told from others."""
        if not (self._config.app_token or self._config.signing_secret or self._config.by_app):
            raise Rejected(NO_WAY_IN)
        self._task = asyncio.create_task(self._live(emit), name=f"slack {self.account}")

    async def stop(self) -> None:
        """Disconnect. What was not acknowledged comes again."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None
        await self._api.close()

    async def _live(self, emit: Emit) -> None:
        """Be connected until cancelled."""
        await self._memory.load()
        failures = 0
        while True:
            try:
                await self._begin()
                if not self._config.app_token:
                    emit.online()
                    await self._until_lost()
                failures = await self._listen(emit, failures)
                continue
            except AuthLost as error:
                emit.offline(str(error))
                await asyncio.sleep(AUTH_RETRY_S)
            except AdapterError as error:
                emit.offline(str(error))
            except Exception as error:  # noqa: BLE001 - an account must not be gone for good, whatever it was
                log.error("account connects again", account=self.account, error=type(error).__name__)
                emit.offline("something unexpected happened; see the log")
            await asyncio.sleep(_pause_s(failures))
            failures += 1

    async def _begin(self) -> None:
        await self._api.ask("auth.test")
        try:
            await self._directory.learn_rooms()
        except Rejected as error:
            log.warning("slack does not say where the app is", account=self.account, error=str(error))

    async def _listen(self, emit: Emit, failures: int) -> int:
        """Hold one socket. While there is none, posting goes on, so the account stays online."""
        socket = Socket(self._api, self._config.app_token, self._intake, emit, self._services.now_ms)
        try:
            await socket.hold()
        except AuthLost:
            raise
        except AdapterError as error:
            log.warning("the socket is connected again", account=self.account, error=str(error))
            await asyncio.sleep(_pause_s(failures))
            return failures + 1
        return 0

    def routes(self, emit: Emit) -> Sequence[Route]:
        """Where Slack calls this account, if it is to; for an app of many teams it calls the app (see door)."""
        self.webhook = Webhook(self._config, self._services, self._intake, emit, self._look_whether_lost)
        return self.webhook.routes()

    # --- one app in many workspaces ---

    @property
    def team(self) -> tuple[str, str]:
        """The app, and the workspace that it is in; empty where the account has an app of its own."""
        return (self._config.app_id, self._config.team_id) if self._config.by_app else ("", "")

    async def is_in(self, channel: str) -> bool:
        """Are we in this conversation, as far as is known?"""
        return await self._memory.find_room(channel) is not None

    async def _look_whether_lost(self) -> None:
        """Slack says that tokens were revoked. Events may come late and in any order, so it is asked about ours: the
        app may have been added again since. Raises Retry."""
        try:
            await self._api.ask("auth.test")
        except AuthLost:
            await self._memory.lose(self._config.bot_token)

    async def _until_lost(self) -> None:
        """Wait until the process that Slack calls has heard that the token is worthless. Raises AuthLost."""
        while True:
            if await self._memory.is_lost(self._config.bot_token):
                raise AuthLost(GONE)
            await asyncio.sleep(LOOK_S)

    # --- rooms ---

    def capabilities(self, room: RoomId) -> Capabilities:
        """The same in all conversations."""
        return self._capabilities

    def room_info(self, room: RoomId) -> RoomInfo:
        """The conversation for people."""
        return self._memory.info(native_room(room))

    async def rooms(self) -> Sequence[RoomInfo]:
        """The conversations that the app is in, as Slack says now."""
        await self._directory.learn_rooms()
        return [self._memory.info(channel) for channel in self._memory.channels()]

    def invite(self, code: str) -> Invite:
        """The steps; Slack has no link that adds an app to a channel."""
        name = self._config.bot_name or "the app"
        return Invite(
            "Slack",
            (
                f"Open the channel{f' in {self._config.team_name}' if self._config.team_name else ''} and type: "
                f"/invite @{name}",
                f"Type there: /{self._services.prefix} connect {code}",
            ),
        )

    async def is_admin(self, room: RoomId, author_id: str) -> bool:
        """Is this person an admin or owner of the workspace, the channel's creator, or whose direct message it is?"""
        channel = native_room(room)
        if not ID.fullmatch(author_id):
            return False
        known = await self._memory.find_room(channel)
        if known is not None and known.with_user == author_id:
            return True
        try:
            user = (await self._api.ask("users.info", user=author_id)).get("user")
            conversation = (await self._api.ask("conversations.info", channel=channel)).get("channel")
        except Refused:
            return False
        if not isinstance(user, dict) or user.get("deleted") or user.get("is_bot"):
            return False
        # Admins of other workspaces are guests in a channel that is shared with them.
        is_here = user.get("team_id") == (await self._directory.me()).team_id
        if is_here and any(user.get(right) is True for right in ("is_admin", "is_owner", "is_primary_owner")):
            return True
        return isinstance(conversation, dict) and conversation.get("creator") == author_id

    async def ping(self, room: RoomId) -> None:
        """Ask for the conversation."""
        self._started()
        await self._api.ask("conversations.info", channel=native_room(room))

    async def history(self, room: RoomId, since: Since) -> Remembered:
        """What was said after ``since``."""
        return await self._past.since(native_room(room), since)

    # --- posts ---

    def _started(self) -> None:
        if self._task is None:
            raise Offline(1.0, "the account is not started")

    async def send(self, outbound: Outbound) -> Receipt:
        """Post it, in as many messages as needed."""
        self._started()
        return Receipt(tuple(await self._sender.send(outbound)))

    async def find_sent(self, outbound: Outbound) -> Receipt | None:
        """By the key that every post of ours carries where people do not see it."""
        self._started()
        found = await self._sender.find(outbound)
        return None if found is None else Receipt(tuple(found))

    async def edit(self, natives: Sequence[NativeId], outbound: Outbound) -> Receipt:
        """Change our posts in their place."""
        self._started()
        return Receipt(tuple(await self._sender.edit(natives, outbound)))

    async def delete(self, room: RoomId, natives: Sequence[NativeId]) -> None:
        """Take our posts away."""
        self._started()
        await self._sender.delete(native_room(room), natives)

    async def react(self, room: RoomId, native: NativeId, emoji: str, added: bool, author: Author) -> None:
        """An app puts every emoji on a message once: it stands as long as anybody elsewhere wants it."""
        self._started()
        channel, names = native_room(room), names_of(emoji)
        if names and await self._memory.wish(channel, native, names[0], author.id, added) != added:
            return
        for name in names:
            try:
                await self._api.call(
                    "reactions.add" if added else "reactions.remove", channel=channel, timestamp=native, name=name
                )
            except Refused as refused:
                if refused.error == "invalid_name" or (refused.error == "no_reaction" and name != names[-1]):
                    continue
                if refused.error not in _NOT_THERE:
                    raise
            return
        raise Rejected("Slack has no such emoji.")

    # --- files ---

    async def open_file(self, ref: str) -> AsyncIterator[bytes]:
        """Stream a file that somebody shared. Raises Rejected when it is gone."""
        if not ID.fullmatch(ref):
            raise Rejected("Slack has no such file.")
        file = await self._directory.file(ref)
        url = str(file.get("url_private_download") or file.get("url_private") or "")
        async for chunk in self._api.download(url, str(file.get("mimetype") or "")):
            yield chunk


def _pause_s(failures: int) -> float:
    return min(RETRY_MIN_S * 2.0 ** min(failures, 10), RETRY_MAX_S)

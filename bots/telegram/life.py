"""An account's life: asks Telegram who it is, then takes updates in and confirms them, for ever."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import quote

import structlog

from bots.telegram.api import Api, Conflict
from bots.telegram.config import TelegramConfig
from bots.telegram.intake import Intake, IsOurs
from bots.telegram.memory import Marks, Rooms
from bots.telegram.receive import ALLOWED_UPDATES, Me
from bots.telegram.sources import Polling, Source, Stored
from core.contract import AdapterError, AuthLost, Emit, Offline, Retry, Services
from core.model import AccountId
from core.store import TRANSIENT, StoreDown

log = structlog.get_logger()

RETRY_MIN_S = 0.5
RETRY_MAX_S = 30.0
AUTH_RETRY_S = 300.0
STORE_RETRY_S = 0.3


def hook_url(public_url: str, account: AccountId, config: TelegramConfig) -> str:
    """Where Telegram is to call."""
    return f"{public_url}/bots/{quote(account)}/hook/{quote(config.webhook_path)}"


class Life:
    """Runs one account until it is cancelled."""

    def __init__(
        self,
        account: AccountId,
        config: TelegramConfig,
        services: Services,
        api: Api,
        rooms: Rooms,
        marks: Marks,
        is_ours: IsOurs,
        connected: Callable[[Me], Awaitable[None]],
    ) -> None:
        self._account = account
        self._config = config
        self._services = services
        self._api = api
        self._rooms = rooms
        self._marks = marks
        self._is_ours = is_ours
        self._connected = connected
        self.auth_lost = ""
        """Why the token no longer works; empty while it does."""
        self._failures = 0
        self._rival = False
        """Somebody else was reading this bot's updates when we last tried."""

    async def run(self, emit: Emit) -> None:
        """Connect and take in; again and again."""
        await self._rooms.load()
        while True:
            try:
                me = await self._connect()
                self.auth_lost = ""
                if not self._rival:
                    emit.online()
                await self._connected(me)
                await self._take_in(me, emit)
            except AuthLost as error:
                self.auth_lost = str(error)
                emit.offline(str(error))
                await asyncio.sleep(AUTH_RETRY_S)
            except AdapterError as error:
                self._rival = isinstance(error, Conflict)
                emit.offline(str(error))
                await asyncio.sleep(self._pause_s(error))
            except Exception as error:  # noqa: BLE001 - an account must not be gone for good, whatever it was
                # Without the traceback: it may lead through the HTTP library, which knows the token.
                log.error("account connects again", account=self._account, error=type(error).__name__)
                emit.offline("something unexpected happened; see the log")
                await asyncio.sleep(self._pause_s(Retry(RETRY_MAX_S)))

    def _pause_s(self, error: AdapterError) -> float:
        pause_s = min(RETRY_MIN_S * 2.0**self._failures, RETRY_MAX_S)
        self._failures = min(self._failures + 1, 10)
        # How long Telegram itself asks for is longer; that it cannot be reached is looked at again soon.
        return max(pause_s, error.after_s) if isinstance(error, Retry) and not isinstance(error, Offline) else pause_s

    async def _connect(self) -> Me:
        user = await self._api.call("getMe")
        if self._config.webhook:
            await self._api.call(
                "setWebhook",
                url=hook_url(self._services.public_url, self._account, self._config),
                secret_token=self._config.webhook_secret,
                allowed_updates=ALLOWED_UPDATES,
            )
        else:
            await self._api.call("deleteWebhook", drop_pending_updates=False)
        return me_of(user, self._account, self._config, self._services.prefix)

    async def _take_in(self, me: Me, emit: Emit) -> None:
        source: Source = Stored(self._services) if self._config.webhook else Polling(self._api, self._config.poll_s)
        intake = Intake(me, self._rooms, self._marks, emit, self._config.album_wait_s, self._is_ours)
        loop = asyncio.get_running_loop()
        while True:
            due_s = intake.due_s()
            wait_s = 0.0 if self._rival else None if due_s is None else max(0.0, due_s - loop.time())
            try:
                updates = await source.more(wait_s)
                self._failures = 0
                if self._rival:
                    self._rival = False
                    emit.online()
                await intake.take(updates)
                await intake.flush()
                await emit.accepted()
                await source.settle(intake.held)
            except (StoreDown, *TRANSIENT) as error:
                log.warning("updates wait for the store", account=self._account, error=str(error))
                intake.forget()
                source.again()
                await asyncio.sleep(STORE_RETRY_S)


def me_of(user: Any, account: AccountId, config: TelegramConfig, prefix: str) -> Me:
    """Ourselves, by the answer to getMe (core.telegram.org/bots/api#getme). Raises Retry where it makes no sense."""
    if not isinstance(user, dict) or not isinstance(user.get("id"), int):
        raise Retry(RETRY_MAX_S, "Telegram does not say who the bot is")
    return Me(
        account,
        user["id"],
        str(user.get("username") or ""),
        prefix,
        config.download_limit_bytes,
        hears_all=bool(user.get("can_read_all_group_messages")),
    )

"""An IRC account: kept connected, its channels as rooms."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Sequence

import structlog

from bots.irc.channels import Channels, is_operator
from bots.irc.config import IrcConfig
from bots.irc.format import ENTITIES
from bots.irc.intake import Intake
from bots.irc.memory import Memory
from bots.irc.session import Session
from bots.irc.whois import look_up
from bots.irc.wire import build
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
    Services,
)
from core.model import AccountId, Author, NativeId, RoomId, native_room

log = structlog.get_logger()

QUICK_FOR_S = 60.0
QUICK_MOST_S = 1.5
"""While a server that was there is gone for less than QUICK_FOR_S, knock at least this often."""
AUTH_RETRY_S = 300.0
TYPING_EVERY_S = 3.0
"""Least time between two typing notices (client-tags/typing)."""


class IrcAdapter:
    """One connection to one IRC network, all its channels as rooms."""

    def __init__(self, account: AccountId, config: IrcConfig, services: Services) -> None:
        self.account = account
        self._config = config
        self._services = services
        self._channels = Channels(account)
        for entry in config.channels:
            name, _, key = entry.partition(" ")
            channel = self._channels.add(name)
            channel.key, channel.configured = key, True
        self._memory = Memory(services)
        self._session: Session | None = None
        self._task: asyncio.Task[None] | None = None
        self._intake: Intake | None = None
        self._auth_lost = ""
        self._why_offline = "not connected yet"
        self._capabilities: dict[tuple[object, ...], Capabilities] = {}
        self._network = config.host
        self._stopping = False

    # --- life ---

    async def start(self, emit: Emit) -> None:
        """Begin to connect; return at once."""
        self._intake = Intake(emit)
        self._task = asyncio.create_task(self._keep_connected(emit), name=f"irc {self.account}")

    async def stop(self) -> None:
        """Say goodbye and disconnect."""
        self._stopping = True
        if self._session is not None and self._session.connection.open:
            await self._session.connection.quit("bridgebot goes off")
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        if self._intake is not None:
            await self._intake.stop()
        await self._memory.stop()

    async def _keep_connected(self, emit: Emit) -> None:
        await self._memory.load(self._channels)
        loop = asyncio.get_running_loop()
        failures = 0
        gone_at_s = loop.time()
        while True:
            greeted, reason, said_by_server = await self._one_session(emit)
            if greeted:
                gone_at_s = loop.time()
            # A server that sends us away is not to be pestered; one that is just not there is.
            failures = 0 if greeted and not said_by_server else failures + 1
            quick = loop.time() - gone_at_s < QUICK_FOR_S and not (said_by_server and failures > 1)
            await asyncio.sleep(self._pause_s(failures, quick=quick))
            log.debug("irc reconnects", account=self.account, reason=reason, failures=failures)

    def _pause_s(self, failures: int, *, quick: bool) -> float:
        if self._auth_lost:
            return AUTH_RETRY_S
        if failures == 0:
            return 0.0
        config = self._config
        grown_s = config.reconnect_min_s * 2.0 ** min(failures - 1, 16)
        pause_s = min(grown_s, config.reconnect_max_s, QUICK_MOST_S if quick else grown_s)
        return pause_s * random.uniform(0.7, 1.0)  # noqa: S311 - spreads reconnects, keeps no secret

    async def _one_session(self, emit: Emit) -> tuple[bool, str, bool]:
        """Connect once. Was there a greeting, why did it end, and was that the server's decision?"""
        assert self._intake is not None  # noqa: S101 - start() made it
        session: Session | None = None

        def ready() -> None:
            assert session is not None  # noqa: S101 - it calls us
            self._auth_lost = ""
            self._network = session.connection.features.network or self._config.host
            log.info("irc connected", account=self.account, network=self._network, nick=session.connection.nick)
            emit.online()

        session = Session(self._config, self._services, self._channels, self._intake, self._memory, ready)
        self._session = session
        try:
            reason = await session.run()
        except (OSError, UnicodeError) as error:
            reason = str(error) or type(error).__name__
        except Exception as error:  # an account that died silently would be worse than one that tries again
            log.exception("irc session failed", account=self.account)
            reason = f"an error of the bot ({error})"
        finally:
            self._session = None
        self._auth_lost = session.registration.auth_error or self._auth_lost
        what = "does not accept the account's name or password" if self._auth_lost else "is not reachable"
        self._why_offline = f"{self._config.host}:{self._config.port} {what}: {reason}"
        if not self._stopping:
            log.warning("irc disconnected", account=self.account, reason=reason)
            emit.offline(self._why_offline)
        return session.registration.welcome_over, reason, bool(session.connection.reason)

    def _ready_session(self) -> Session:
        """The session, when posts can go out. Raises AuthLost or Offline."""
        session = self._session
        if session is not None and session.ready:
            return session
        if self._auth_lost:
            raise AuthLost(f"{self._why_offline}. Correct the account's sasl_user and sasl_password.")
        raise Offline(0.5, self._why_offline)

    # --- what rooms can show ---

    def capabilities(self, room: RoomId) -> Capabilities:
        """What the channel can show, by what the server offers."""
        session, channel = self._session, self._channels.by_room.get(room)
        if session is None:
            return self._capability(False, False, False, False, False, 350)
        features = session.connection.features
        ids = features.has_ids()
        return self._capability(
            bool(features.relay_separator) and (channel is None or channel.relaymsg),
            ids and "draft/message-redaction" in features.caps,
            ids and features.tag_allowed("draft/reply"),
            ids and features.tag_allowed("draft/react") and features.tag_allowed("draft/reply"),
            features.tag_allowed("typing"),
            session.sender.composer.text_limit_bytes(),
        )

    def _capability(
        self, names: bool, delete: bool, reply: bool, react: bool, typing: bool, text_limit: int
    ) -> Capabilities:
        key = (names, delete, reply, react, typing, text_limit)
        found = self._capabilities.get(key)
        if found is None:
            found = self._capabilities[key] = Capabilities(
                names="full" if names else "fallback",
                delete="full" if delete else "fallback",
                reply="full" if reply else "fallback",
                reaction="full" if react else "fallback",
                typing="full" if typing else "drop",
                entities=ENTITIES,
                text_limit=text_limit,
                text_unit="bytes",
                rate_per_s=self._config.rate_lines_per_s,
                rate_burst=self._config.burst_lines,
                multiline=False,
            )
        return found

    def room_info(self, room: RoomId) -> RoomInfo:
        """The channel's name and its network."""
        channel = self._channels.by_room.get(room)
        return RoomInfo(room, channel.name if channel else native_room(room), self._network)

    async def rooms(self) -> Sequence[RoomInfo]:
        """The channels we are in."""
        return [self.room_info(channel.room) for channel in self._channels if channel.state == "joined"]

    def invite(self, code: str) -> Invite:
        """How to bring the bot into a channel."""
        nick = self._session.connection.nick if self._session else self._config.nick
        return Invite(
            title=f"IRC channel on {self._network}",
            steps=(
                f"In your channel on {self._network}, as one of its operators, type: /invite {nick} #channel",
                f"When {nick} has come, say in the channel: -{self._services.prefix} connect {code}",
            ),
        )

    # --- posting ---

    async def send(self, outbound: Outbound) -> Receipt:
        """Post it and wait for the server's confirmation."""
        result = (await self.send_stream((outbound,)))[0]
        if isinstance(result, AdapterError):
            raise result
        return result

    async def send_stream(self, posts: Sequence[Outbound]) -> Sequence[Receipt | AdapterError]:
        """Post all of them in order; they are confirmed together."""
        try:
            session = self._ready_session()
        except AdapterError as error:
            return [error] * len(posts)
        return await session.sender.send_stream(posts)

    async def delete(self, room: RoomId, natives: Sequence[NativeId]) -> None:
        """REDACT our posts (IRCv3 message-redaction). Raises Rejected where the server cannot or will not."""
        session = self._ready_session()
        if "draft/message-redaction" not in session.connection.features.caps:
            raise Rejected("This IRC server cannot take messages back.")
        for native in natives:
            failures = await session.sender.command(build("REDACT", self._name(room), str(native)))
            if refusal := [line for line in failures if line.params[1] != "UNKNOWN_MSGID"]:
                raise Rejected(f"The server does not delete the message: {refusal[0].params[-1]}")

    async def react(self, room: RoomId, native: NativeId, emoji: str, added: bool, author: Author) -> None:
        """Put a reaction on a message, by a TAGMSG (client-tags/react)."""
        session = self._ready_session()
        tags = {
            "+draft/reply": str(native),
            "+reply": str(native),
            "+draft/react" if added else "+draft/unreact": emoji,
        }
        failures = await session.sender.command(build("TAGMSG", self._name(room), tags=tags))
        if failures:
            raise Rejected(f"The server does not pass the reaction on: {failures[0].params[-1]}")

    async def typing(self, room: RoomId, author: Author) -> None:
        """Show that somebody is typing; at most every three seconds, and only if there is room for it."""
        session, channel = self._session, self._channels.by_room.get(room)
        if session is None or channel is None or channel.state != "joined":
            return
        now_s = asyncio.get_running_loop().time()
        if now_s - channel.typed_at_s < TYPING_EVERY_S or not session.connection.features.tag_allowed("typing"):
            return
        if session.sender.hint(build("TAGMSG", channel.name, tags={"+typing": "active"})):
            channel.typed_at_s = now_s

    def _name(self, room: RoomId) -> str:
        channel = self._channels.by_room.get(room)
        if channel is None or channel.state != "joined":
            raise Rejected(f"The bot is not in {native_room(room)}.")
        return channel.name

    # --- people ---

    async def is_admin(self, room: RoomId, author_id: str) -> bool:
        """Is this person an operator of the channel right now?

        Somebody known by user and host only may share them with others: then all of them that are in the
        channel must be operators.
        """
        session = self._ready_session()
        channel = self._channels.by_room.get(room)
        if channel is None or channel.state != "joined":
            return False
        features, people = session.connection.features, session.people
        if not people.nicks(author_id):
            await look_up(session.connection, session.sender, people, channel.name)
        present = [channel.members[nick] for nick in people.nicks(author_id) if nick in channel.members]
        rights = [is_operator(modes, features) for modes in present]
        return any(rights) if author_id.startswith("account:") else bool(rights) and all(rights)

    async def ping(self, room: RoomId) -> None:
        """A round trip to the server."""
        await self._ready_session().sender.ping()

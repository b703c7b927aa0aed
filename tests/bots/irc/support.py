"""What the IRC tests share: an Emit that records, services on the real store, a scripted server."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import Callable
from typing import Any, Self, TypeVar

from bots.irc.adapter import IrcAdapter
from bots.irc.config import IrcConfig
from core.contract import Outbound, Services
from core.model import AccountId, Author, MessageNew, RoomId, Text, room_id
from core.store import Redis, StoreDown

ACCOUNT = AccountId("irc-test")
TIMEOUT_S = 10.0
Kind = TypeVar("Kind")


class RecordingEmit:
    """An Emit that keeps what it gets. ``shut`` makes the store down, ``slow`` holds ``accepted`` back."""

    def __init__(self) -> None:
        self.events: list[Any] = []
        self.is_online = asyncio.Event()
        self.reasons: list[str] = []
        self.shut = False
        self.open = asyncio.Event()
        self.open.set()
        self._news = asyncio.Event()

    def __call__(self, event: Any) -> None:
        """Keep an event."""
        self.events.append(event)
        self._news.set()

    async def accepted(self) -> None:
        """As the relay would."""
        await self.open.wait()
        if self.shut:
            raise StoreDown("shut by the test")

    def online(self) -> None:
        """The account can post."""
        self.is_online.set()
        self._news.set()

    def offline(self, reason: str) -> None:
        """The account cannot post."""
        self.is_online.clear()
        self.reasons.append(reason)
        self._news.set()

    def of(self, kind: type[Kind]) -> list[Kind]:
        """The events of one kind."""
        return [event for event in self.events if isinstance(event, kind)]

    def texts(self) -> list[str]:
        """What was said, in order."""
        return [event.text.plain for event in self.of(MessageNew)]

    async def until(self, condition: Callable[[], bool], timeout_s: float = TIMEOUT_S) -> None:
        """Wait until the events fulfil ``condition``."""
        try:
            async with asyncio.timeout(timeout_s):
                while not condition():
                    self._news.clear()
                    await self._news.wait()
        except TimeoutError:
            raise AssertionError(f"never happened; last events: {self.events[-5:]}, {self.reasons[-3:]}") from None

    async def message(self, text: str) -> MessageNew:
        """Wait for the message with this text."""
        await self.until(lambda: text in self.texts())
        return next(event for event in self.of(MessageNew) if event.text.plain == text)


def services(store: Redis, **changes: Any) -> Services:
    """Services of one account on the tests' store."""
    given: dict[str, Any] = {
        "store": store,
        "key": lambda *parts: ":".join(("{irc-test}", *map(str, parts))),
        "now_ms": lambda: 1_800_000_000_000,
        "prefix": "sameroom",
        "random_id": lambda: secrets.token_hex(16),
        "public_url": "http://localhost",
        "sign": lambda purpose, payload: payload,
        "verify": lambda purpose, token, max_age_s: token,
    }
    return Services(**(given | changes))


def config(port: int, **changes: Any) -> IrcConfig:
    """A configuration for a test server without flood control."""
    given: dict[str, Any] = {
        "host": "127.0.0.1",
        "port": port,
        "tls": False,
        "nick": "relay",
        "channels": ("#garden",),
        "rate_lines_per_s": 0.0,
    }
    return IrcConfig(**(given | changes))


def room(channel: str) -> RoomId:
    """The room of a channel."""
    return room_id(ACCOUNT, channel)


_keys = iter(range(10**9))


def post(channel: str, text: str | Text, *, author: str = "", **more: Any) -> Outbound:
    """A post for a channel."""
    return Outbound(
        room=room(channel),
        key=f"k{next(_keys)}",
        text=text if isinstance(text, Text) else Text(text),
        author=Author(f"remote:{author}", author) if author else None,
        **more,
    )


class Running:
    """An adapter that is started and stopped with a test."""

    def __init__(self, adapter: IrcAdapter) -> None:
        self.adapter = adapter
        self.emit = RecordingEmit()

    async def __aenter__(self) -> Self:
        await self.adapter.start(self.emit)
        return self

    async def __aexit__(self, *_: object) -> None:
        self.emit.open.set()
        await self.adapter.stop()

    async def online(self, timeout_s: float = TIMEOUT_S) -> Self:
        """Wait until posts can go out."""
        async with asyncio.timeout(timeout_s):
            await self.emit.is_online.wait()
        return self


def running(store: Redis, port: int, **changes: Any) -> Running:
    """An adapter for a server on ``port``."""
    return Running(IrcAdapter(ACCOUNT, config(port, **changes), services(store)))


class ScriptedServer:
    """An IRC server that does what a test tells it: our own double, made from the IRCv3 specifications, for
    what no server at hand offers. ``lines`` keeps what the client sent; ``answer`` maps a line to replies.
    """

    def __init__(self, *, caps: str = "", features: str = "CASEMAPPING=ascii CHANTYPES=# PREFIX=(ov)@+") -> None:
        self.caps = caps
        self.features = features
        self.lines: list[str] = []
        self.answer: Callable[[str], str | None] = lambda line: None
        self.port = 0
        self.connections = 0
        self.nick = ""
        self._news = asyncio.Event()
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[Any]] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port, limit=1 << 20)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        self.cut()
        await self._server.wait_closed()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def send(self, *lines: str) -> None:
        """Send lines to the client."""
        self.send_bytes("".join(line + "\r\n" for line in lines).encode())

    def send_bytes(self, data: bytes) -> None:
        """Send bytes to the client."""
        for writer in self._writers:
            writer.write(data)

    def cut(self) -> None:
        """Break all connections."""
        for writer in list(self._writers):
            writer.transport.abort()

    async def got(self, wanted: Callable[[str], bool] | str, timeout_s: float = TIMEOUT_S) -> str:
        """Wait for a line that the client sends, or has sent."""
        matches = wanted if callable(wanted) else (lambda line: wanted in line)
        try:
            async with asyncio.timeout(timeout_s):
                while True:
                    for line in self.lines:
                        if matches(line):
                            return line
                    self._news.clear()
                    await self._news.wait()
        except TimeoutError:
            raise AssertionError(f"the client never sent {wanted}; it sent {self.lines[-20:]}") from None

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self._writers.add(writer)
        try:
            while raw := await reader.readline():
                line = raw.decode().rstrip("\r\n")
                self.lines.append(line)
                self._news.set()
                if line.startswith("QUIT"):
                    break
                replies = self.answer(line)
                if replies is None:
                    replies = self._usual(line)
                if replies:
                    writer.write(replies.encode().replace(b"\n", b"\r\n") + b"\r\n")
        except OSError:
            self._news.set()
        finally:
            self._writers.discard(writer)
            writer.transport.abort()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    def _usual(self, line: str) -> str:
        """What an ordinary server says."""
        command, _, rest = line.partition(" ")
        words = rest.lstrip(":").split(" ")
        if command == "CAP" and words[0] == "LS":
            return f":s CAP * LS :{self.caps}"
        if command == "CAP" and words[0] == "REQ":
            return f":s CAP * ACK :{rest[4:].lstrip(':')}"
        if command == "NICK":
            self.nick = words[0]
        if command == "CAP" and words[0] == "END":
            return self.greeting()
        if command == "JOIN":
            return "\n".join(
                f":{self.nick}!bot@host JOIN {name}\n:s 353 {self.nick} = {name} :{self.nick} @boss alice\n"
                f":s 366 {self.nick} {name} :End"
                for name in words[0].split(",")
            )
        if command == "PING":
            return f":s PONG s :{rest.lstrip(':')}"
        return ""

    def greeting(self) -> str:
        """001, 005 and the end of the greeting."""
        nick = self.nick
        return f":s 001 {nick} :Welcome\n:s 005 {nick} {self.features} :are supported\n:s 422 {nick} :No MOTD"

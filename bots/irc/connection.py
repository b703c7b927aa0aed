"""One TCP or TLS connection to a server: bytes in and lines out, pings answered, silence noticed.

Lines are handled as they arrive, so that a PING is answered and a confirmation seen however busy the relay is.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import ssl
from collections.abc import Callable
from typing import cast

from bots.irc.config import IrcConfig
from bots.irc.features import Features
from bots.irc.wire import Line, build, decode, parse

QUICK_ACK: int | None = getattr(socket, "TCP_QUICKACK", None)
"""Linux only: tcp(7)."""
REST_MAX_BYTES = 65_536
"""Longest line taken in, tags included (8,191 + 512 by the message-tags specification)."""
PING_AFTER_S = 60.0
DEAD_AFTER_S = 90.0
CHECK_EVERY_S = 10.0
PEEK_AFTER_S = 20.0
"""While reading is held back, one chunk is read this often, so that the server's pings are still answered."""


class Connection(asyncio.Protocol):
    """``take_lines`` gets each chunk's lines; ``lost`` the reason once the connection is gone.

    ``nick`` and ``source`` (our ``nick!user@host``) are as the server told us last.
    """

    def __init__(self, config: IrcConfig) -> None:
        self.config = config
        self.features = Features()
        self.nick = config.nick
        self.source = ""
        self._handlers: dict[str, list[Callable[[Line], None]]] = {}
        self.on(self._on_ping, "PING")
        self.on(self._on_error, "ERROR")
        self.other: Callable[[Line], None] = lambda line: None
        """Takes every line that has no handler."""
        self.take_lines: Callable[[list[str]], None] = self.take_each
        self.made: Callable[[], None] = lambda: None
        self.closed: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self.reason = ""
        """Why the server said it would close the connection."""
        self.malformed = 0
        self.held = False
        self._transport: asyncio.Transport | None = None
        self._socket: socket.socket | None = None
        self._rest = b""
        self._skipping = False
        self._peeking = False
        self._loop = asyncio.get_running_loop()
        self._heard_at_s = self._loop.time()
        self._check: asyncio.TimerHandle | None = None

    # --- asyncio.Protocol ---

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The socket is open: introduce ourselves."""
        self._transport = cast("asyncio.Transport", transport)
        # The event loop's own stand-in for the socket makes a new one for every option that is set.
        self._socket = socket.socket(fileno=os.dup(transport.get_extra_info("socket").fileno()))
        self._check = self._loop.call_later(CHECK_EVERY_S, self._look)
        self.made()

    def connection_lost(self, exc: Exception | None) -> None:
        """The socket is gone."""
        self._transport = None
        if self._socket is not None:
            self._socket.close()
            self._socket = None
        if self._check:
            self._check.cancel()
        if not self.closed.done():
            self.closed.set_result(self.reason or (str(exc) if exc else "the server closed the connection"))

    def data_received(self, data: bytes) -> None:
        """Cut a chunk into lines. The unfinished last one waits for the next chunk."""
        self._heard_at_s = self._loop.time()
        self._acknowledge()
        if self._peeking and self._transport is not None:
            self._peeking = False
            self._transport.pause_reading()
        head, newline, self._rest = (self._rest + data if self._rest else data).rpartition(b"\n")
        if len(self._rest) > REST_MAX_BYTES:
            self._rest = b""
            self._skipping = True
            self.malformed += 1
        if not newline:
            return
        try:
            lines = head.decode().replace("\r", "").split("\n")
        except UnicodeDecodeError:
            lines = [decode(line, self.config.fallback_encoding) for line in head.replace(b"\r", b"").split(b"\n")]
        if self._skipping:
            self._skipping = False
            del lines[0]
        self.take_lines(lines)

    # --- what others use ---

    def on(self, handler: Callable[[Line], None], *commands: str) -> None:
        """Have ``handler`` take the lines with one of ``commands``, after those who asked before."""
        for command in commands:
            self._handlers.setdefault(command, []).append(handler)

    def off(self, handler: Callable[[Line], None], command: str) -> None:
        """``handler`` wants no more of these lines."""
        self._handlers[command].remove(handler)

    def write(self, lines: str) -> None:
        """Send whole lines. Without a connection nothing happens: :attr:`closed` tells."""
        if self._transport is not None:
            self._transport.write(lines.encode("utf-8", "replace"))

    @property
    def open(self) -> bool:
        """Is there a connection to write to?"""
        return self._transport is not None and not self._transport.is_closing()

    def hold(self) -> None:
        """Stop reading: the relay cannot take more for now."""
        if not self.held and self._transport is not None:
            self.held = True
            self._transport.pause_reading()
            self._loop.call_later(PEEK_AFTER_S, self._peek)

    def release(self) -> None:
        """Read on."""
        if self.held:
            self.held = False
            self._heard_at_s = self._loop.time()
            if self._peeking:
                self._peeking = False
            elif self.open and self._transport is not None:
                self._transport.resume_reading()

    def abort(self, reason: str) -> None:
        """Give the connection up at once."""
        self.reason = self.reason or reason
        if self._transport is not None:
            self._transport.abort()

    async def quit(self, message: str, within_s: float = 2.0) -> None:
        """Say goodbye; return when the server has closed the connection, or ``within_s`` later."""
        self.release()
        self.write(build("QUIT", message))
        try:
            await asyncio.wait_for(asyncio.shield(self.closed), within_s)
        except TimeoutError:
            self.abort("closed by us")
            await self.closed

    def take_each(self, lines: list[str]) -> None:
        """Hand every line to its handler."""
        for raw in lines:
            if raw:
                self.take(raw)

    def take(self, raw: str) -> None:
        """Hand a line to its handler; count it when it is none."""
        line = parse(raw)
        if line is None:
            self.malformed += 1
            return
        try:
            for handler in self._handlers.get(line.command) or (self.other,):
                handler(line)
        except (IndexError, ValueError):
            # A line with too few or unusable parameters says nothing; the next one may.
            self.malformed += 1

    # --- inside ---

    def _acknowledge(self) -> None:
        """Have the kernel acknowledge what we read at once.

        A server without TCP_NODELAY keeps the end of its answer back until then: 40 ms with delayed ACKs.
        """
        if QUICK_ACK is not None and self._socket is not None:
            with contextlib.suppress(OSError):
                self._socket.setsockopt(socket.IPPROTO_TCP, QUICK_ACK, 1)

    def _on_ping(self, line: Line) -> None:
        self.write(build("PONG", line.params[-1]))

    def _on_error(self, line: Line) -> None:
        self.reason = line.params[-1]

    def _peek(self) -> None:
        if self.held and self.open and self._transport is not None:
            self._peeking = True
            self._transport.resume_reading()
            self._loop.call_later(PEEK_AFTER_S, self._peek)

    def _look(self) -> None:
        """Ask a silent server for a sign of life, and give up on a dead one."""
        self._check = self._loop.call_later(CHECK_EVERY_S, self._look)
        silent_s = 0.0 if self.held else self._loop.time() - self._heard_at_s
        if silent_s > DEAD_AFTER_S:
            self.abort("the server went silent")
        elif silent_s > PING_AFTER_S:
            self.write(build("PING", "alive"))


def tls_context(config: IrcConfig) -> ssl.SSLContext:
    """How to talk TLS to this server. Raises OSError or ssl.SSLError when a certificate file is unusable."""
    context = ssl.create_default_context(cafile=config.tls_ca_file or None)
    if not config.tls_verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if config.tls_cert_file:
        context.load_cert_chain(config.tls_cert_file)
    return context

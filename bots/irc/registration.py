"""Introducing ourselves to a server: capabilities, signing in, a nick, and what the server says of itself."""

from __future__ import annotations

import base64
from collections.abc import Callable

from bots.irc.connection import Connection
from bots.irc.features import WANTED
from bots.irc.sasl import Mechanism, SaslError, chunks, mechanism
from bots.irc.wire import Line, build, casefold

LOGIN_FAILED = frozenset({"902", "904", "905", "906", "908"})
MAX_CHALLENGE = 65_536
NO_SASL = "the server offers no SASL at the moment"


class Registration:
    """Runs once per connection, from its first byte to the end of the greeting, and keeps the nick after that."""

    def __init__(self, connection: Connection, new_nonce: Callable[[], str], welcomed: Callable[[], None]) -> None:
        self._connection = connection
        self._config = connection.config
        self._features = connection.features
        self._new_nonce = new_nonce
        self._welcomed = welcomed
        self._offered: dict[str, str] = {}
        self._asked = 0
        self._ended = False
        self._login: Mechanism | None = None
        self._challenge = ""
        self._tried_nicks = 0
        self.registered = False
        self.welcome_over = False
        self.auth_error = ""
        """Why the server does not accept who we say we are; empty: no such trouble."""
        on = connection.on
        on(self._on_cap, "CAP")
        on(self._on_authenticate, "AUTHENTICATE")
        on(self._on_login, "903")
        on(self._on_login_failed, *LOGIN_FAILED, "464")
        on(self._on_welcome, "001")
        on(self._on_features, "005")
        on(self._on_end, "376", "422")
        on(self._on_host, "396")
        on(self._on_nick, "NICK")
        on(self._on_nick_taken, "432", "433", "436", "437")
        connection.made = self.begin

    def begin(self) -> None:
        """The first lines, all at once: a server without capabilities just goes on with NICK and USER."""
        config = self._config
        lines = [build("CAP", "LS", "302")]
        if config.password:
            lines.append(build("PASS", config.password))
        lines.append(build("NICK", config.nick))
        lines.append(build("USER", config.username, "0", "*", config.realname))
        self._connection.write("".join(lines))

    def regain(self) -> None:
        """Ask for our own nick when we go by another."""
        if self.registered and self._connection.nick != self._config.nick:
            self._connection.write(build("NICK", self._config.nick))

    # --- capabilities (IRCv3 capability-negotiation) ---

    def _on_cap(self, line: Line) -> None:
        kind = line.params[1].upper()
        if kind == "LS":
            self._offered |= _caps(line.params[-1])
            if len(line.params) < 4 or line.params[2] != "*":
                self._request([name for name in WANTED if name in self._offered])
        elif kind == "ACK":
            self._acknowledged(_caps(line.params[-1]))
        elif kind == "NAK":
            self._refused(list(_caps(line.params[-1])))
        elif kind == "NEW":
            self._offered |= _caps(line.params[-1])
            self._request([name for name in WANTED if name in _caps(line.params[-1])])
        elif kind == "DEL":
            for name in _caps(line.params[-1]):
                self._features.caps.pop(name, None)

    def _request(self, names: list[str]) -> None:
        if not self.registered and self._config.mechanism and "sasl" in self._offered:
            names = [*names, "sasl"]
        if names:
            self._asked += 1
            self._connection.write(build("CAP", "REQ", " ".join(names)))
        elif not self.registered:
            self._after_caps()

    def _acknowledged(self, names: dict[str, str]) -> None:
        self._asked -= 1
        for name in names:
            if name.startswith("-"):
                self._features.caps.pop(name[1:], None)
            else:
                self._features.caps[name] = self._offered.get(name, "")
        if self._asked == 0 and not self.registered:
            self._after_caps()

    def _refused(self, names: list[str]) -> None:
        """One of several is not to be had: ask for each by itself."""
        self._asked -= 1
        if len(names) > 1:
            self._asked += len(names)
            self._connection.write("".join(build("CAP", "REQ", name) for name in names))
        elif self._asked == 0 and not self.registered:
            self._after_caps()

    def _after_caps(self) -> None:
        if not self._config.mechanism:
            self._end()
        elif "sasl" in self._features.caps:
            self._start_login()
        else:
            self._connection.abort(NO_SASL)

    def _end(self) -> None:
        if not self._ended:
            self._ended = True
            self._connection.write(build("CAP", "END"))

    # --- signing in (IRCv3 sasl-3.2) ---

    def _start_login(self) -> None:
        config = self._config
        self._login = mechanism(config.mechanism, config.sasl_user, config.sasl_password, self._new_nonce)
        self._connection.write(build("AUTHENTICATE", self._login.name))

    def _on_authenticate(self, line: Line) -> None:
        piece = line.params[0]
        if piece != "+":
            self._challenge += piece
        if self._login is None or len(self._challenge) > MAX_CHALLENGE:
            self._fail("the server asked for something it may not ask for")
            return
        if len(piece) == 400:
            return
        try:
            answer = self._login.answer(base64.b64decode(self._challenge, validate=True))
        except (SaslError, ValueError) as error:
            self._connection.write(build("AUTHENTICATE", "*"))
            self._fail(str(error))
            return
        self._challenge = ""
        self._connection.write("".join(build("AUTHENTICATE", part) for part in chunks(answer)))

    def _on_login(self, line: Line) -> None:
        if self._login is not None and not self._login.proven:
            self._fail("the server did not prove that it knows the password")
            return
        self._login = None
        self._end()

    def _on_login_failed(self, line: Line) -> None:
        self._fail(line.params[-1])

    def _fail(self, reason: str) -> None:
        if not self.registered:
            self.auth_error = reason
            self._connection.abort(reason)

    # --- the nick ---

    def _on_nick_taken(self, line: Line) -> None:
        if self.registered:
            return
        self._tried_nicks += 1
        wanted = self._config.nick
        room = max(1, self._features.nick_length - 4) if self._tried_nicks < 3 else 5
        mark = (
            "_" * self._tried_nicks if self._tried_nicks < 3 else str(int.from_bytes(self._new_nonce().encode()) % 1000)
        )
        self._connection.nick = wanted[:room] + mark
        self._connection.write(build("NICK", self._connection.nick))

    def _on_nick(self, line: Line) -> None:
        """Somebody's change of nick: ours?"""
        connection = self._connection
        if casefold(line.nick, self._features.case_mapping) == casefold(connection.nick, self._features.case_mapping):
            connection.nick = line.params[0]
            if "!" in connection.source:
                connection.source = connection.nick + connection.source[connection.source.index("!") :]

    # --- the greeting ---

    def _on_welcome(self, line: Line) -> None:
        self.registered = True
        self._connection.nick = line.params[0]

    def _on_features(self, line: Line) -> None:
        self._features.learn(line.params[1:-1])

    def _on_host(self, line: Line) -> None:
        """396: what others see as our host (RPL_VISIBLEHOST)."""
        source = self._connection.source
        if "@" in source:
            self._connection.source = f"{source.partition('@')[0]}@{line.params[1].rpartition('@')[2]}"

    def _on_end(self, line: Line) -> None:
        """The end of the greeting (376, or 422 where there is no message of the day)."""
        if not self.registered or self.welcome_over:
            return
        self.welcome_over = True
        config, features = self._config, self._features
        lines = []
        if len(features.bot_mode) == 1:
            lines.append(build("MODE", self._connection.nick, f"+{features.bot_mode}"))
        if config.nickserv_password and not config.mechanism:
            words = f"{config.sasl_user} {config.nickserv_password}".strip()
            lines.append(build("PRIVMSG", "NickServ", f"IDENTIFY {words}"))
        self._connection.write("".join(lines))
        self._welcomed()


def _caps(words: str) -> dict[str, str]:
    return dict(word.partition("=")[::2] for word in words.split())

"""The first look at a server, before an account is added: introduce ourselves once, sign in, and leave again.

Numerics: RFC 1459 section 6 and modern.ircdocs.horse, "Numerics".
"""

from __future__ import annotations

import asyncio
import secrets
import socket
import ssl
from collections.abc import Sequence
from typing import Final, NoReturn

from bots.irc.config import PLAIN_PORT, TLS_PORT, IrcConfig, suggested_id
from bots.irc.connection import Connection, tls_context
from bots.irc.registration import NO_SASL, Registration
from bots.irc.wire import Line
from core.contract import Rejected, Retry

LOOK_S: Final = 15.0
HANDSHAKE_S: Final = 6.0
MOST_NICKS: Final = 5
"""So many variations of a nick are tried before another one is asked for."""
MOST_SAID: Final = 200
RETRY_S: Final = 10.0
NO_SUCH_NAME: Final = frozenset({socket.EAI_NONAME, getattr(socket, "EAI_NODATA", socket.EAI_NONAME)})


class _Look:
    """One connection up to its greeting, and what the server had against it."""

    def __init__(self, config: IrcConfig) -> None:
        self.config = config
        self.place = f"{config.host}:{config.port}"
        self.connection = Connection(config)
        self.greeted = asyncio.Event()
        self.registration = Registration(self.connection, lambda: secrets.token_hex(16), self.greeted.set)
        self.problem = ""
        self.banned = ""
        self._signed_in = False
        self._taken = 0
        on = self.connection.on
        on(self._on_signed_in, "903")
        on(self._on_bad_nick, "432")
        on(self._on_taken, "433", "436", "437")
        on(self._on_password, "464")
        on(self._on_banned, "463", "465", "466")

    async def connect(self) -> None:
        """Open the connection. Raises OSError, ssl.SSLError, UnicodeError."""
        config, handshake_s = self.config, HANDSHAKE_S if self.config.tls else None
        await asyncio.get_running_loop().create_connection(
            lambda: self.connection,
            config.host,
            config.port,
            ssl=tls_context(config) if config.tls else None,
            ssl_handshake_timeout=handshake_s,
        )

    async def greeting(self) -> None:
        """Return once the server has greeted us. Raises Rejected and Retry."""
        greeted = asyncio.create_task(self.greeted.wait())
        try:
            await asyncio.wait((greeted, self.connection.closed), return_when=asyncio.FIRST_COMPLETED)
        finally:
            greeted.cancel()
        if self.problem:
            raise Rejected(self.problem)
        if not self.greeted.is_set():
            self._explain(self.connection.closed.result())
        if self.config.mechanism and not self._signed_in:
            raise Rejected(self._no_sasl())

    def _explain(self, reason: str) -> NoReturn:
        if self.banned:
            raise Rejected(self._is_banned(reason))
        if self.registration.auth_error:
            raise Rejected(
                f"{self.place} does not take the SASL account and its password ({said(reason)}). Correct them, or "
                "leave both empty."
            )
        if reason == NO_SASL:
            raise Rejected(self._no_sasl())
        if "password" in reason.lower():
            raise Rejected(self._wants_password(reason))
        if not self.connection.reason:
            raise Retry(RETRY_S, f"{self.place} closes the connection without a word. {_places(self.config)}")
        raise Retry(RETRY_S, f"{self.place} closes the connection: {said(reason)}.")

    def _no_sasl(self) -> str:
        return (
            f"{self.place} offers no SASL, so the bot cannot sign in there. Leave the SASL account and its password "
            "empty; or try again later, if this network has SASL."
        )

    def _wants_password(self, reason: str) -> str:
        what = "does not take the server password" if self.config.password else "wants a server password"
        return f"{self.place} {what} ({said(reason)}). Ask whoever runs the server for it."

    # --- what the server has against us

    def _fail(self, problem: str) -> None:
        if not self.registration.registered:
            self.problem = self.problem or problem
            self.connection.abort(problem)

    def _on_signed_in(self, line: Line) -> None:
        self._signed_in = True

    def _on_bad_nick(self, line: Line) -> None:
        self._fail(f"{self.place} does not take the nick {self.config.nick} ({said(line.params[-1])}). Choose another.")

    def _on_taken(self, line: Line) -> None:
        self._taken += 1
        if self._taken >= MOST_NICKS:
            self._fail(
                f"The nick {self.config.nick} is taken on {self.place}, and so is all that is like it. Choose another."
            )

    def _on_password(self, line: Line) -> None:
        self._fail(self._wants_password(line.params[-1]))

    def _on_banned(self, line: Line) -> None:
        """The reason may stand here, or in the ERROR that follows as the server closes the connection."""
        self.banned = line.params[-1]

    def _is_banned(self, reason: str) -> str:
        return (
            f"{self.place} does not let the bot in: {said(self.banned)} ({said(reason)}). Ask the network's staff to "
            "lift that: many ban the addresses of hosting providers, and exempt bots that are announced to them."
        )


async def prepared(config: IrcConfig) -> tuple[str, IrcConfig]:
    """A suggested id and the configuration. Raises Rejected for what people must mend, Retry where nobody answers."""
    if config.mechanism != "EXTERNAL" and not config.nickserv_password:
        if config.sasl_user and not config.sasl_password:
            raise Rejected("There is a SASL account without its password. Give both, or none of them.")
        if config.sasl_password and not config.sasl_user:
            raise Rejected("There is a SASL password without its account. Give both, or none of them.")
    look = _Look(config)
    try:
        async with asyncio.timeout(LOOK_S):
            await look.connect()
            await look.greeting()
        await look.connection.quit("bridgebot has seen enough")
    except TimeoutError:
        raise Retry(RETRY_S, f"{look.place} does not answer in time. {_places(config)}") from None
    except (OSError, UnicodeError) as error:
        _unreachable(config, look.place, error)
    finally:
        if look.connection.open:
            look.connection.abort("closed by us")
            await look.connection.closed
    return suggested_id(config), config


def _unreachable(config: IrcConfig, place: str, error: OSError | UnicodeError) -> NoReturn:
    """Why there is no connection. Raises Rejected and Retry."""
    if isinstance(error, ssl.SSLCertVerificationError):
        raise Rejected(
            f"{place} has a certificate that cannot be trusted: {error.verify_message}. Write the name that the "
            "certificate is made for; of a server of your own, the operator can name its authority in tls_ca_file."
        ) from None
    if isinstance(error, ssl.SSLError | ConnectionAbortedError | ConnectionResetError) and config.tls:
        raise Rejected(f"{place} does not speak TLS, or not in time. {_places(config)}") from None
    if isinstance(error, UnicodeError) or (isinstance(error, socket.gaierror) and error.errno in NO_SUCH_NAME):
        raise Rejected(f"There is no server called {config.host}. Look at its spelling.") from None
    if isinstance(error, socket.gaierror):
        raise Retry(RETRY_S, f"the name {config.host} cannot be looked up at the moment.") from None
    if isinstance(error, ConnectionRefusedError):
        raise Retry(RETRY_S, f"nothing listens at {place}. {_places(config)}") from None
    raise Retry(
        RETRY_S, f"{place} cannot be reached: {said(error.strerror or str(error))}. {_places(config)}"
    ) from None


def _places(config: IrcConfig) -> str:
    if not config.tls:
        return f"Without TLS it is usually port {PLAIN_PORT}: irc://{config.host}:{PLAIN_PORT}"
    usual = f"TLS is usually on port {TLS_PORT}"
    return f"{usual}: write {config.host}" if config.port != TLS_PORT else f"{usual}; if it is another, write HOST:PORT"


def said(words: str) -> str:
    """A server's words for people: nothing that steers a terminal, no novels, no full stop."""
    return "".join(c for c in words if c.isprintable())[:MOST_SAID].strip().rstrip(".!")


def steps(config: IrcConfig) -> Sequence[str]:
    """From the account to a channel with the bot in it."""
    names = ", ".join(entry.partition(" ")[0] for entry in config.channels)
    found = [f"The bot joins {names} by itself, and says hello."] if names else []
    found.append(
        f"{'In any other channel' if names else 'In your channel'}, as one of its operators, type: "
        f"/invite {config.nick} #channel"
    )
    found.append(f"If the nick {config.nick} is taken, the bot is called {config.nick}_ until it is free: invite that.")
    if not config.mechanism and not config.nickserv_password:
        found.append(
            "On a public network, register a nick for the bot with NickServ, and add the account again with it as SASL "
            "account: many channels take registered nicks only."
        )
    return found

"""One XML stream to the server: slixmpp connects, signs in and manages the stream; the rest is elements."""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final, Literal
from xml.etree.ElementTree import Element

from slixmpp import ClientXMPP, ComponentXMPP
from slixmpp.exceptions import IqError, IqTimeout
from slixmpp.stanza import Message, Presence

from bots.xmpp import xml as x
from bots.xmpp.config import XmppConfig
from core.contract import AdapterError, AuthLost, Offline, Rejected, Retry, Uncertain

IQ_TIMEOUT_S: Final = 15.0
OPEN_TIMEOUT_S: Final = 30.0
GOODBYE_S: Final = 1.0
_KINDS: Final[dict[str, Any]] = {"message": Message, "presence": Presence}

logging.getLogger("slixmpp").setLevel(logging.CRITICAL)
"""What goes wrong is said by us; at DEBUG it would log passwords."""


class Refused(Rejected):
    """The other side answered with an error."""

    def __init__(self, stanza: Element) -> None:
        self.condition, self.kind, said = x.condition(stanza)
        super().__init__(f"{self.condition}: {said}" if said else self.condition)


class _OneTry:
    """slixmpp tries again by itself; we do that."""

    event: Callable[[str], None]

    def reschedule_connection_attempt(self) -> None:
        self.event("gave_up")


class _Client(_OneTry, ClientXMPP):  # type: ignore[misc]
    pass


class _Component(_OneTry, ComponentXMPP):  # type: ignore[misc]
    pass


@dataclass
class Resumption:
    """What a stream leaves behind so that the next one can go on with it (XEP-0198 section 5)."""

    jid: Any
    sm_id: str
    handled: int
    seq: int
    last_ack: int
    unacked: deque[Any] = field(default_factory=deque)


def tls_context(config: XmppConfig) -> ssl.SSLContext:
    """How the server's certificate is checked. Raises OSError for a file that cannot be read."""
    context = ssl.create_default_context(cafile=config.tls_ca_file or None)
    if not config.tls_verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


class Stream:
    """One connection, from :meth:`open` until ``closed``. ``take`` gets every message and presence."""

    def __init__(
        self, config: XmppConfig, take: Callable[[Element], None], resume: Resumption | None = None, tail: str = ""
    ) -> None:
        self._config = config
        self._take = take
        loop = asyncio.get_running_loop()
        self.closed: asyncio.Future[str] = loop.create_future()
        """Why it ended."""
        self._ready: asyncio.Future[bool] = loop.create_future()
        self._why = ""
        self.resumed = False
        self._xmpp: Any = self._make_component() if config.is_component else self._make_client(tail)
        if resume is not None and not config.is_component:
            self._xmpp.boundjid = resume.jid
            sm = self._xmpp.plugin["xep_0198"]
            sm.sm_id, sm.handled, sm.seq = resume.sm_id, resume.handled, resume.seq
            sm.last_ack, sm.unacked_queue = resume.last_ack, resume.unacked
        self._listen()

    def _make_client(self, tail: str) -> Any:
        config = self._config
        jid = config.jid + (f"/{tail}" if tail else "")
        client = _Client(jid, config.password, sasl_mech=config.sasl or None, ssl_context=tls_context(config))
        client.enable_starttls = config.tls == "starttls" or (config.tls == "direct" and not config.host)
        client.enable_direct_tls = config.tls == "direct" or (config.tls == "starttls" and not config.host)
        client.enable_plaintext = config.tls == "none"
        if config.tls == "none":
            mechanisms = client.plugin["feature_mechanisms"]
            mechanisms.unencrypted_plain = mechanisms.unencrypted_scram = True
        client.register_plugin("xep_0198")
        return client

    def _make_component(self) -> Any:
        config = self._config
        make: Any = _Component
        return make(config.jid, config.password, config.host, config.connect_port)

    def _listen(self) -> None:
        on = self._xmpp.add_event_handler
        on("session_start", lambda _: self._set_ready(resumed=False))
        on("session_resumed", lambda _: self._set_ready(resumed=True))
        on("connection_failed", lambda why: self._note(_reason(why)))
        on("gave_up", lambda _: self._fail(Offline(0.5, self._why or "no connection")))
        on("failed_auth", lambda stanza: self._note(f"signing in was refused ({stanza['condition']})"))
        on("failed_all_auth", lambda _: self._not_signed_in())
        on("stream_negotiated", lambda _: self._not_signed_in() if not self._is_signed_in() else None)
        on("ssl_invalid_chain", self._bad_certificate)
        on("stream_error", self._stream_error)
        on("disconnected", self._disconnected)
        self._xmpp.add_filter("in", self._filter)

    # --- life ---

    @property
    def me(self) -> str:
        """The bot's own full address."""
        return f"{self._config.address}/bridge" if self._config.is_component else str(self._xmpp.boundjid.full)

    @property
    def namespace(self) -> str:
        """The namespace of the stream's stanzas."""
        return str(self._xmpp.default_ns)

    async def open(self) -> bool:
        """Connect and sign in. True: what was begun on an earlier stream goes on. Raises AuthLost and Offline."""
        config = self._config
        try:
            if config.host:
                self._xmpp.connect(config.host, config.connect_port)
            else:
                self._xmpp.connect()
            async with asyncio.timeout(OPEN_TIMEOUT_S):
                self.resumed = await asyncio.shield(self._ready)
        except TimeoutError:
            await self.close()
            raise Offline(0.5, self._why or "the server does not answer in time") from None
        except BaseException:
            self._ready.cancel()
            await self.close()
            raise
        return self.resumed

    async def close(self) -> None:
        """Say goodbye and disconnect."""
        xmpp = self._xmpp
        xmpp.cancel_connection_attempt()
        if xmpp.is_connected():
            await xmpp.disconnect(wait=GOODBYE_S)
        self._end("closed by us")
        for name in list(xmpp.scheduled_events):
            xmpp.cancel_schedule(name)
        writer = xmpp._run_out_filters
        if writer is not None:
            writer.cancel()
            await asyncio.gather(writer, return_exceptions=True)

    def cut(self) -> None:
        """End it without a word."""
        self._xmpp.abort()

    def resumption(self) -> Resumption | None:
        """What the next stream needs to go on with this one; None where the server does not offer it."""
        sm = None if self._config.is_component else self._xmpp.plugin["xep_0198"]
        if sm is None or not sm.sm_id or not self._ready.done():
            return None
        return Resumption(self._xmpp.boundjid, sm.sm_id, sm.handled, sm.seq, sm.last_ack, sm.unacked_queue)

    def hold(self) -> None:
        """Read no more until :meth:`release`: the server waits."""
        if self._xmpp.transport is not None and self._xmpp.transport.is_reading():
            self._xmpp.transport.pause_reading()

    def release(self) -> None:
        """Read on."""
        if self._xmpp.transport is not None and not self._xmpp.transport.is_reading():
            self._xmpp.transport.resume_reading()

    def _set_ready(self, *, resumed: bool) -> None:
        if not self._ready.done():
            self._ready.set_result(resumed)

    def _note(self, why: str) -> None:
        self._why = why

    def _fail(self, error: AdapterError) -> None:
        self._why = str(error)
        if not self._ready.done():
            self._ready.set_exception(error)
            self._ready.exception()

    def _is_signed_in(self) -> bool:
        return self._config.is_component or bool(self._xmpp.authenticated)

    def _not_signed_in(self) -> None:
        encrypted = isinstance(self._xmpp.socket, (ssl.SSLSocket, ssl.SSLObject))
        if self._why:
            self._fail(AuthLost(self._why))
        elif not encrypted and self._config.tls != "none":
            # Perhaps somebody in between took the offer out: no password is sent.
            self._fail(Offline(0.5, "the server offers no encryption"))
        else:
            self._fail(AuthLost("the server offers no way to sign in that can be used here"))
        self._xmpp.abort()

    def _bad_certificate(self, error: Any) -> None:
        self._fail(Offline(0.5, _reason(error)))
        self._xmpp.abort()

    def _stream_error(self, error: Any) -> None:
        condition = error["condition"]
        self._note(f"the server ended the stream: {error['text'] or condition}")
        if condition == "not-authorized":
            self._fail(AuthLost("the server refuses the secret"))
        elif condition == "host-unknown":
            self._fail(Offline(0.5, f"the server does not serve {self._config.domain}"))

    def _disconnected(self, reason: object) -> None:
        self._why = self._why or _reason(reason)
        self._fail(Offline(0.5, self._why))
        self._end(self._why)

    def _end(self, why: str) -> None:
        if not self.closed.done():
            self.closed.set_result(why)

    # --- stanzas ---

    def _filter(self, stanza: Any) -> Any:
        """Messages and presences are for us alone; slixmpp keeps what signing in and questions need."""
        if isinstance(stanza, (Message, Presence)):
            self._take(stanza.xml)
            return None
        return stanza

    def element(self, name: Literal["message", "presence"], to: str, **attributes: str) -> Element:
        """A new stanza from the bot."""
        given = {"from_": self.me} if self._config.is_component else {}
        return x.element(self.namespace, name, to=to, **{**given, **attributes})

    def send(self, stanza: Element) -> None:
        """Write a stanza. Raises Offline: nothing was written."""
        if self.closed.done() or not self._ready.done():
            raise Offline(0.5, self._why or "no connection")
        kind = _KINDS[x.local(stanza.tag)]
        self._xmpp.send(kind(self._xmpp, xml=stanza))

    async def ask(
        self,
        kind: Literal["get", "set"],
        to: str,
        payload: Element,
        *,
        sender: str = "",
        timeout_s: float = IQ_TIMEOUT_S,
    ) -> Element:
        """The answer to an ``iq``. Raises Refused, Offline (the connection ended) and Uncertain (no answer came)."""
        if self.closed.done():
            raise Offline(0.5, self._why or "no connection")
        stanza = self._xmpp.Iq(stype=kind, sto=to, sid=self._xmpp.new_id())
        if self._config.is_component:
            stanza["from"] = sender or self.me
        stanza.xml.append(payload)
        answer = stanza.send(timeout=timeout_s)
        await asyncio.wait((answer, self.closed), return_when=asyncio.FIRST_COMPLETED)
        if not answer.done():
            answer.cancel()
            raise Offline(0.5, self._why)
        try:
            result: Element = (await answer).xml
        except IqError as error:
            raise _as_ours(Refused(error.iq.xml)) from None
        except IqTimeout:
            raise Uncertain("the server did not answer in time") from None
        return result


def _reason(error: object) -> str:
    """Why a connection ended, for people."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"the server's certificate cannot be trusted: {error.verify_message}"
    return str(error or "the connection is gone")


def _as_ours(refused: Refused) -> AdapterError:
    if refused.kind == "wait" and refused.condition in ("resource-constraint", "policy-violation"):
        return Retry(5.0, refused.reason)
    return refused

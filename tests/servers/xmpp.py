"""A real Prosody that tests start and stop, people on it, and a door in front of it that can be shut."""

from __future__ import annotations

import asyncio
import contextlib
import resource
import shutil
import socket
import ssl
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from xml.etree.ElementTree import Element, fromstring
from xml.sax.saxutils import escape

from slixmpp import ClientXMPP
from slixmpp.stanza import Message, Presence

from tests.servers.irc import free_port, make_certificate

START_TIMEOUT_S = 20.0
PATIENCE_S = 10.0
PASSWORD = "correct horse"
SECRET = "component secret"
USERS = ("bridge", "ann", "bob", "cleo")
DOMAIN = "localhost"
CONFERENCE = "conference.localhost"
BRIDGE = "bridge.localhost"
MUC = "http://jabber.org/protocol/muc"
SID = "urn:xmpp:sid:0"
UPLOAD = "urn:xmpp:http:upload:0"


class Prosody:
    """A server with accounts, rooms, uploads and a place for one component. The ports stay the same over kill and
    start. ``modern`` False: rooms keep no archive and the server has no uploads and no stream management. ``locking``:
    new rooms are locked until whoever made them has accepted how they are set up."""

    def __init__(self, folder: Path, *, modern: bool = True, locking: bool = False) -> None:
        self.folder = folder
        self.modern = modern
        self.locking = locking
        self.port, self.direct_port, self.component_port, self.http_port = (free_port() for _ in range(4))
        self.ca_file = folder / "cert.pem"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it; return when it takes connections."""
        binary = shutil.which("prosody") or shutil.which("prosody", path="/usr/bin:/usr/sbin")
        if binary is None:
            raise FileNotFoundError("These tests need Prosody. Install the package prosody.")
        self.folder.mkdir(parents=True, exist_ok=True)
        if not self.ca_file.exists():
            make_certificate(self.ca_file, self.folder / "key.pem")
            self._register()
        (self.folder / "prosody.cfg.lua").write_text(self._config())
        with open(self.folder / "out.log", "ab") as log:
            self._process = subprocess.Popen(
                [binary, "--config", str(self.folder / "prosody.cfg.lua"), "-F"],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_CORE, (0, 0)),
            )
        deadline_s = time.monotonic() + START_TIMEOUT_S
        while not all(map(_answers, (self.port, self.component_port))):
            if self._process.poll() is not None or time.monotonic() > deadline_s:
                self.kill()
                raise RuntimeError(f"prosody did not start:\n{(self.folder / 'out.log').read_text()[-2000:]}")
            time.sleep(0.02)

    def kill(self) -> None:
        """End it as a power cut would. Harmless when it does not run."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()

    def _register(self) -> None:
        accounts = self.folder / "data" / DOMAIN / "accounts"
        accounts.mkdir(parents=True)
        for user in USERS:
            (accounts / f"{user}.dat").write_text(f'return {{ ["password"] = "{PASSWORD}"; }};\n')

    def _config(self) -> str:
        folder = self.folder
        smacks = ', "smacks"' if self.modern else ""
        archive = '  modules_enabled = { "muc_mam" }\n  muc_log_by_default = true\n' if self.modern else ""
        upload = f"""Component "upload.localhost" "http_file_share"
  http_file_share_size_limit = 1024 * 1024
  http_host = "127.0.0.1"
  http_external_url = "http://127.0.0.1:{self.http_port}/"
"""
        return f"""run_as_root = true
daemonize = false
pidfile = "{folder}/prosody.pid"
data_path = "{folder}/data"
admin_socket = "{folder}/admin.sock"
interfaces = {{ "127.0.0.1" }}
c2s_ports = {{ {self.port} }}
c2s_direct_tls_ports = {{ {self.direct_port} }}
s2s_ports = {{ }}
component_ports = {{ {self.component_port} }}
component_interfaces = {{ "127.0.0.1" }}
http_ports = {{ {self.http_port} }}
http_interfaces = {{ "127.0.0.1" }}
https_ports = {{ }}
http_default_host = "upload.localhost"
modules_enabled = {{ "saslauth", "tls", "disco", "ping", "posix", "presence", "message", "iq"{smacks} }}
modules_disabled = {{ "s2s" }}
authentication = "internal_plain"
storage = "internal"
c2s_require_encryption = true
ssl = {{ key = "{folder}/key.pem", certificate = "{self.ca_file}" }}
limits = {{ }}
log = {{ warn = "{folder}/prosody.log" }}
VirtualHost "{DOMAIN}"
Component "{CONFERENCE}" "muc"
{archive}  muc_room_locking = {str(self.locking).lower()}
  restrict_room_creation = false
{upload if self.modern else ""}Component "{BRIDGE}"
  component_secret = "{SECRET}"
"""


def _answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


class Door:
    """A TCP port that leads to another one, and can be shut."""

    def __init__(self, target: int) -> None:
        self._target = target
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self.shut = False
        self.silent = asyncio.Event()
        """Cleared: what the server says does not get through."""
        self.silent.set()
        self.up_bytes: int | None = None
        """So many more bytes get to the server."""

    @property
    def port(self) -> int:
        """Where it listens."""
        assert self._server
        return int(self._server.sockets[0].getsockname()[1])

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._come_in, "127.0.0.1", 0)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._server
        self.close()
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def close(self) -> None:
        """Cut every connection and take no new ones, until ``open``."""
        self.shut = True
        for writer in self._writers:
            writer.transport.abort()

    def open(self) -> None:
        """Take connections again."""
        self.shut, self.up_bytes = False, None

    async def _come_in(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        if self.shut:
            writer.transport.abort()
            return
        there_reader, there_writer = await asyncio.open_connection("127.0.0.1", self._target)
        self._writers |= {writer, there_writer}
        ways = [asyncio.create_task(self._pass(reader, there_writer))]
        ways.append(asyncio.create_task(self._pass(there_reader, writer, waits=True)))
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            # First of all, for whoever waits in here may be cancelled.
            for end in (writer, there_writer):
                end.transport.abort()
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)
            self._writers -= {writer, there_writer}
            for end in (writer, there_writer):
                with contextlib.suppress(OSError):
                    await end.wait_closed()

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, waits: bool = False) -> None:
        while data := await reader.read(65_536):
            if waits:
                await self.silent.wait()
            elif self.up_bytes is not None:
                data = data[: self.up_bytes]
                self.up_bytes -= len(data)
            writer.write(data)
            await writer.drain()


def element(written: str) -> Element:
    """XML that a test wrote."""
    return fromstring(written)  # noqa: S314


class Person:
    """Somebody with a client, in raw XML. ``heard`` keeps every message and presence."""

    def __init__(self, server: Prosody, user: str) -> None:
        context = ssl.create_default_context(cafile=str(server.ca_file))
        self._server = server
        self._client = ClientXMPP(f"{user}@{DOMAIN}", PASSWORD, ssl_context=context)
        self._client.enable_direct_tls = False
        self._client.add_filter("in", self._take)
        self.jid = f"{user}@{DOMAIN}"
        self.heard: list[Element] = []
        self.news = asyncio.Event()
        self._count = 0

    async def __aenter__(self) -> Self:
        ready = asyncio.get_running_loop().create_future()
        self._client.add_event_handler("session_start", lambda _: ready.set_result(None))
        self._client.connect("127.0.0.1", self._server.port)
        async with asyncio.timeout(PATIENCE_S):
            await ready
        self.send("<presence/>")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._client.disconnect(wait=0.5)
        for name in list(self._client.scheduled_events):
            self._client.cancel_schedule(name)
        writer = self._client._run_out_filters
        writer.cancel()
        await asyncio.gather(writer, return_exceptions=True)

    def _take(self, stanza: Any) -> Any:
        if not isinstance(stanza, (Message, Presence)):
            return stanza
        self.heard.append(stanza.xml)
        self.news.set()
        return None

    def send(self, xml: str) -> None:
        """Send a stanza as it is written."""
        self._client.send_raw(xml)

    async def ask(self, kind: str, to: str, payload: str) -> Element:
        """The answer to an ``iq``."""
        stanza = self._client.Iq(stype=kind, sto=to, sid=self._client.new_id())
        stanza.xml.append(element(payload))
        answer: Element = (await stanza.send(timeout=PATIENCE_S)).xml
        return answer

    def new_id(self) -> str:
        """An id for a stanza."""
        self._count += 1
        return f"{self.jid.partition('@')[0]}-{self._count}"

    async def until(self, found: Callable[[Element], bool]) -> Element:
        """Wait for a message or presence; the first one that fits."""
        at = 0
        async with asyncio.timeout(PATIENCE_S):
            while True:
                while at < len(self.heard):
                    if found(self.heard[at]):
                        return self.heard[at]
                    at += 1
                self.news.clear()
                await self.news.wait()

    async def enter(self, room: str, nick: str) -> None:
        """Come into a room."""
        self.send(f"<presence to='{room}/{escape(nick)}'><x xmlns='{MUC}'><history maxstanzas='0'/></x></presence>")
        await self.until(
            lambda s: (
                s.tag.endswith("presence")
                and s.get("from", "").startswith(f"{room}/")
                and any(code.get("code") == "110" for code in s.iter(f"{{{MUC}#user}}status"))
            )
        )

    async def sees(self, room: str, nick: str) -> Element:
        """Wait for somebody to be in a room."""
        return await self.until(
            lambda s: s.tag.endswith("presence") and s.get("from") == f"{room}/{nick}" and s.get("type") is None
        )

    async def say(self, room: str, inside: str, id_: str = "") -> Element:
        """Say something in a room, with these elements; the message as the room reflects it."""
        id_ = id_ or self.new_id()
        self.send(f"<message to='{room}' type='groupchat' id='{id_}'>{inside}</message>")
        return await self.until(
            lambda s: s.tag.endswith("message") and s.get("id") == id_ and s.get("type") == "groupchat"
        )

    async def upload(self, name: str, mime: str, data: bytes) -> str:
        """Bring a file to the server; its address."""
        import aiohttp

        request = f"<request xmlns='{UPLOAD}' filename='{name}' size='{len(data)}' content-type='{mime}'/>"
        answer = await self.ask("get", "upload.localhost", request)
        put, get = (answer.find(f".//{{{UPLOAD}}}{way}") for way in ("put", "get"))
        assert put is not None
        assert get is not None
        headers = {item.get("name", ""): item.text or "" for item in put}
        headers["Content-Type"] = mime
        async with (
            aiohttp.ClientSession() as session,
            session.put(put.get("url", ""), data=data, headers=headers) as done,
        ):
            assert done.status == 201
        return get.get("url", "")


def stanza_id(message: Element) -> str:
    """The room's id of a message."""
    found = message.find(f"{{{SID}}}stanza-id")
    return found.get("id", "") if found is not None else ""

"""Real IRC servers that tests start and stop: InspIRCd (with and without IRCv3) and ngIRCd; and people on them."""

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
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from types import TracebackType
from typing import Self

START_TIMEOUT_S = 15.0
LINE_TIMEOUT_S = 10.0
INSPIRCD_MODULES = Path("/usr/lib/inspircd/modules")
IRCV3_MODULES = (
    "cap",
    "ircv3",
    "ircv3_accounttag",
    "ircv3_batch",
    "ircv3_capnotify",
    "ircv3_chghost",
    "ircv3_ctctags",
    "ircv3_echomessage",
    "ircv3_labeledresponse",
    "ircv3_msgid",
    "ircv3_servertime",
    "services_account",
    "namesx",
    "botmode",
)


def free_port() -> int:
    """A TCP port of the loopback that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class _Server:
    """A server process in a folder of its own. The port stays the same over kill and start."""

    binary = ""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_port()
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it; return when it takes connections."""
        found = shutil.which(self.binary) or shutil.which(self.binary, path="/usr/sbin:/usr/bin")
        if found is None:
            raise FileNotFoundError(f"These tests need {self.binary}. Install the package of that name.")
        self.folder.mkdir(parents=True, exist_ok=True)
        self._prepare()
        with open(self.folder / "out.log", "ab") as log:
            self._process = subprocess.Popen(
                self._command(found),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_CORE, (0, 0)),
            )
        deadline_s = time.monotonic() + START_TIMEOUT_S
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline_s:
                self.kill()
                raise RuntimeError(f"{self.binary} did not start:\n{(self.folder / 'out.log').read_text()[-2000:]}")
            time.sleep(0.01)

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

    def _answers(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def _prepare(self) -> None:
        raise AssertionError

    def _command(self, binary: str) -> list[str]:
        raise AssertionError


class NgIrcd(_Server):
    """ngIRCd: a plain server without message tags, echoes or SASL."""

    binary = "ngircd"

    def _prepare(self) -> None:
        (self.folder / "ngircd.conf").write_text(
            f"""[Global]
Name = irc.test.local
Info = test
AdminInfo1 = test
AdminEMail = test@test.local
Network = PlainNet
Listen = 127.0.0.1
Ports = {self.port}
ServerUID = 0
ServerGID = 0
MotdPhrase = hello
PidFile = {self.folder}/ngircd.pid
[Limits]
MaxConnectionsIP = 0
MaxJoins = 0
MaxNickLength = 30
MaxPenaltyTime = 0
[Options]
DNS = no
Ident = no
PAM = no
"""
        )

    def _command(self, binary: str) -> list[str]:
        return [binary, "-n", "-f", str(self.folder / "ngircd.conf")]


class InspIrcd(_Server):
    """InspIRCd. ``modern`` loads its IRCv3 modules; ``tls`` opens a second, encrypted port."""

    binary = "inspircd"

    def __init__(self, folder: Path, *, modern: bool = True, tls: bool = False) -> None:
        super().__init__(folder)
        self.modern = modern
        self.tls_port = free_port() if tls else 0
        self.ca_file = folder / "cert.pem"

    def _prepare(self) -> None:
        folder = self.folder
        modules = list(IRCV3_MODULES) if self.modern else []
        binds = f'<bind address="127.0.0.1" port="{self.port}" type="clients">\n'
        if self.tls_port:
            make_certificate(self.ca_file, folder / "key.pem")
            modules.append("ssl_gnutls")
            binds += (
                f'<bind address="127.0.0.1" port="{self.tls_port}" type="clients" sslprofile="C">\n'
                f'<sslprofile name="C" provider="gnutls" certfile="{self.ca_file}" keyfile="{folder}/key.pem">\n'
            )
        (folder / "inspircd.conf").write_text(
            f"""<server name="irc.test.local" description="test" network="TestNet" id="00A">
<admin name="t" nick="t" email="t@test.local">
{binds}
<connect name="main" allow="*" timeout="60" pingfreq="120" hardsendq="100M" softsendq="90M" recvq="10M"
 threshold="100000" commandrate="1000000" fakelag="no" localmax="1000" globalmax="1000" resolvehostnames="no"
 useident="no" useconnectban="no" maxchans="500" limit="1000">
<dns server="127.0.0.1" timeout="1">
<options prefixquit="Quit: " syntaxhints="no" defaultmodes="no" splitwhois="no">
<performance netbuffersize="65534" somaxconn="128" softlimit="12800" quietbursts="yes" nouserdns="yes">
<limits maxnick="30" maxchan="64" maxident="12">
<security hideserver="" maxtargets="20">
<log method="file" type="* -USERINPUT -USEROUTPUT" level="default" target="{folder}/inspircd.log">
<pid file="{folder}/inspircd.pid">
<path configdir="{folder}" datadir="{folder}" logdir="{folder}" moduledir="{INSPIRCD_MODULES}">
"""
            + "".join(f'<module name="{name}">\n' for name in modules)
        )

    def _command(self, binary: str) -> list[str]:
        return [binary, "--config", str(self.folder / "inspircd.conf"), "--nofork", "--nopid", "--runasroot"]


def make_certificate(cert_file: Path, key_file: Path) -> None:
    """A certificate for localhost, signed by itself."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.DNSName("localhost"), x509.IPAddress(ip_address("127.0.0.1"))]),
            critical=False,
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    cert_file.write_bytes(certificate.public_bytes(pem))
    key_file.write_bytes(key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))


class HermeticIrcClient:
    """A person on a server, in raw lines. ``lines`` keeps all that was received."""

    def __init__(self, nick: str) -> None:
        self.nick = nick
        self.lines: list[str] = []
        self._read = 0
        self._news = asyncio.Event()
        self._writer: asyncio.StreamWriter | None = None
        self._task: asyncio.Task[None] | None = None

    async def connect(self, port: int, *, caps: str = "", context: ssl.SSLContext | None = None) -> Self:
        """Connect and register; return when the server has greeted."""
        reader, self._writer = await asyncio.open_connection("127.0.0.1", port, ssl=context, limit=1 << 20)
        self._task = asyncio.create_task(self._receive(reader))
        if caps:
            self.send("CAP LS 302")
        self.send(f"NICK {self.nick}", f"USER {self.nick} 0 * :{self.nick}")
        if caps:
            await self.sees(" LS ")
            self.send(f"CAP REQ :{caps}", "CAP END")
        await self.sees(f" 376 {self.nick} ", f" 422 {self.nick} ")
        return self

    def send(self, *lines: str) -> None:
        """Send lines, as they are."""
        self.send_bytes("".join(line + "\r\n" for line in lines).encode())

    def send_bytes(self, data: bytes) -> None:
        """Send bytes, as they are."""
        assert self._writer is not None
        self._writer.write(data)

    def say(self, channel: str, *texts: str) -> None:
        """Say something in a channel."""
        self.send(*(f"PRIVMSG {channel} :{text}" for text in texts))

    async def join(self, *channels: str) -> None:
        """Join channels; return when all are joined."""
        self.send(f"JOIN {','.join(channels)}")
        await self.sees(f" 366 {self.nick} {channels[-1]} ")

    async def sees(self, *any_of: str, timeout_s: float = LINE_TIMEOUT_S) -> str:
        """The next line, after the one found last, that holds one of these."""
        return await self.sees_where(
            lambda line: any(words in line for words in any_of), str(any_of), timeout_s=timeout_s
        )

    async def sees_where(
        self, wanted: Callable[[str], bool], what: str = "", *, timeout_s: float = LINE_TIMEOUT_S
    ) -> str:
        """The next line, after the one found last, that is ``wanted``."""
        try:
            async with asyncio.timeout(timeout_s):
                while True:
                    while self._read < len(self.lines):
                        self._read += 1
                        if wanted(self.lines[self._read - 1]):
                            return self.lines[self._read - 1]
                    self._news.clear()
                    await self._news.wait()
        except TimeoutError:
            raise AssertionError(f"{self.nick} never saw {what}; last: {self.lines[-15:]}") from None

    async def settled(self) -> None:
        """Return when the server has handled everything we sent."""
        token = f"settled{len(self.lines)}"
        self.send(f"PING {token}")
        await self.sees(token)

    def said(self, channel: str, by: str = "") -> list[str]:
        """The texts of all PRIVMSG lines in a channel so far."""
        start = f" PRIVMSG {channel} :"
        return [
            line.partition(start)[2]
            for line in self.lines
            if start in line and (not by or f":{by}!" in line.partition(start)[0])
        ]

    async def close(self) -> None:
        """Go away without a word."""
        if self._writer is not None:
            self._writer.transport.abort()
            with contextlib.suppress(OSError):
                await self._writer.wait_closed()
        if self._task is not None:
            await asyncio.gather(self._task, return_exceptions=True)

    async def _receive(self, reader: asyncio.StreamReader) -> None:
        try:
            while raw := await reader.readline():
                line = raw.decode("utf-8", "replace").rstrip("\r\n")
                if line.startswith("PING "):
                    self.send("PONG " + line[5:])
                else:
                    self.lines.append(line)
                    self._news.set()
        except OSError:
            self.lines.append("(the connection broke)")
            self._news.set()

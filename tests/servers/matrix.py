"""A real Synapse that tests start and stop, people on it, and the way by which it reaches an application service."""

from __future__ import annotations

import base64
import http.client
import json
import secrets
import socket
import subprocess
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

import aiohttp
from yarl import URL

PYTHON = Path(__file__).parents[2] / ".venv-synapse" / "bin" / "python"
START_TIMEOUT_S = 60.0
SERVER_NAME = "localhost"
TINY_PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)


def free_port() -> int:
    """A TCP port of the loopback that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Door:
    """Where the homeserver pushes to: passes on to whichever application service is there now.

    With nobody behind it, it takes everything in, so that nothing is left over for the next one.
    """

    def __init__(self) -> None:
        self.target = ""
        """Where requests go; empty: nowhere."""
        self.shut = False
        """Break every connection."""
        self.passed: list[tuple[str, str, dict[str, str], bytes]] = []
        """Method, path, headers and body of what came for the present target."""
        door = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_any(self) -> None:
                """Pass it on."""
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                if door.shut:
                    self.close_connection = True
                    return
                status, answer = door.pass_on(self.command, self.path, dict(self.headers), body)
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            do_GET = do_PUT = do_POST = handle_any

            def log_message(self, *args: Any) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self._thread.start()

    def pass_on(self, method: str, path: str, headers: dict[str, str], body: bytes) -> tuple[int, bytes]:
        """Ask the target; 502 where it is not there."""
        if not self.target:
            return 200, b"{}"
        self.passed.append((method, path, headers, body))
        to = urlsplit(self.target)
        connection = http.client.HTTPConnection(to.hostname or "", to.port, timeout=30)
        try:
            connection.request(method, to.path + path, body, headers)
            answer = connection.getresponse()
            return answer.status, answer.read()
        except OSError:
            return 502, b"{}"
        finally:
            connection.close()

    def lead_to(self, target: str) -> None:
        """From now on to ``target``; empty: nowhere."""
        self.passed = []
        self.shut = False
        self.target = target

    def close(self) -> None:
        """Listen no more."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class Synapse:
    """A homeserver in a folder of its own. ``registration`` is what its application service's file says."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.door = Door()
        self.as_token, self.hs_token = secrets.token_hex(16), secrets.token_hex(16)
        self.bot = f"@bridgebot:{SERVER_NAME}"
        self.registration = ""
        """Text of the registration file; empty: one of the test's own."""
        self._process: subprocess.Popen[bytes] | None = None
        self._people: dict[str, Person] = {}

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()
        self.door.close()

    def start(self) -> None:
        """Start it; return when it answers. The data stay over kill and start."""
        if not PYTHON.exists():
            raise FileNotFoundError("These tests need Synapse. Install it: make .venv-synapse/.installed")
        self._prepare()
        with open(self.folder / "out.log", "ab") as log:
            self._process = subprocess.Popen(
                [str(PYTHON), "-m", "synapse.app.homeserver", "--config-path", str(self.folder / "homeserver.yaml")],
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        deadline_s = time.monotonic() + START_TIMEOUT_S
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline_s:
                self.kill()
                raise RuntimeError(f"Synapse did not start:\n{(self.folder / 'out.log').read_text()[-3000:]}")
            time.sleep(0.05)

    def kill(self) -> None:
        """End it as a power cut would. Harmless when it does not run."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait()

    def _answers(self) -> bool:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
        try:
            connection.request("GET", "/_matrix/client/versions")
            return connection.getresponse().status == 200
        except OSError:
            return False
        finally:
            connection.close()

    def _prepare(self) -> None:
        folder = self.folder
        if (folder / "homeserver.yaml").exists():
            return
        folder.mkdir(parents=True, exist_ok=True)
        key = base64.b64encode(secrets.token_bytes(32)).decode().rstrip("=")
        (folder / "signing.key").write_text(f"ed25519 a_test {key}\n")
        logging = {"version": 1, "handlers": {"h": {"class": "logging.StreamHandler"}}}
        logging |= {"root": {"level": "WARNING", "handlers": ["h"]}, "disable_existing_loggers": False}
        (folder / "log.yaml").write_text(json.dumps(logging))
        own = {
            "id": "bridgebot",
            "url": self.door.url,
            "as_token": self.as_token,
            "hs_token": self.hs_token,
            "sender_localpart": "bridgebot",
            "rate_limited": False,
            "receive_ephemeral": True,
            "de.sorunome.msc2409.push_ephemeral": True,
            "namespaces": {
                "users": [
                    {"exclusive": True, "regex": "@_bridge_.*:localhost"},
                    {"exclusive": True, "regex": "@bridgebot:localhost"},
                ]
            },
        }
        (folder / "bridge.yaml").write_text(self.registration or json.dumps(own))
        # Every JSON text is a YAML text, too.
        (folder / "homeserver.yaml").write_text(json.dumps(self._config(), indent=1))

    def _config(self) -> dict[str, Any]:
        folder = self.folder
        free = {"per_second": 10_000, "burst_count": 10_000}
        listener = {"port": self.port, "tls": False, "type": "http", "bind_addresses": ["127.0.0.1"]}
        return {
            "server_name": SERVER_NAME,
            "public_baseurl": f"{self.url}/",
            "pid_file": f"{folder}/hs.pid",
            "listeners": [listener | {"resources": [{"names": ["client", "media"]}]}],
            "database": {"name": "sqlite3", "args": {"database": f"{folder}/hs.db"}},
            "log_config": f"{folder}/log.yaml",
            "media_store_path": f"{folder}/media",
            "signing_key_path": f"{folder}/signing.key",
            "macaroon_secret_key": secrets.token_hex(16),
            "form_secret": secrets.token_hex(16),
            "report_stats": False,
            "trusted_key_servers": [],
            "federation_domain_whitelist": [],
            "enable_registration": True,
            "enable_registration_without_verification": True,
            "bcrypt_rounds": 4,
            "password_config": {"enabled": True},
            "app_service_config_files": [f"{folder}/bridge.yaml"],
            "presence": {"enabled": False},
            "enable_authenticated_media": True,
            "rc_message": free,
            "rc_registration": free,
            "rc_login": {"address": free, "account": free, "failed_attempts": free},
            "rc_joins": {"local": free, "remote": free},
            "rc_joins_per_room": free,
            "rc_invites": {"per_room": free, "per_user": free, "per_issuer": free},
            "rc_room_creation": free,
            "rc_media_create": free,
        }

    async def person(self, name: str) -> Person:
        """Somebody with an account, a name and a picture; the same for the same name."""
        if name not in self._people:
            made = Person(self, name, secrets.token_hex(3))
            async with aiohttp.ClientSession() as session:
                made.session = session
                await made.sign_up()
                made.session = None
            self._people[name] = made
        return self._people[name]


class MatrixError(Exception):
    """The homeserver refuses."""

    def __init__(self, status: int, answer: Any) -> None:
        super().__init__(f"{status}: {answer}")
        self.status = status
        self.errcode = answer.get("errcode", "") if isinstance(answer, dict) else ""


class Person:
    """Somebody who uses the Client-Server API as a client program does. ``session`` is lent by the test."""

    def __init__(self, server: Synapse, name: str, suffix: str) -> None:
        self.name = name
        self.id = f"@{name.lower()}-{suffix}:{SERVER_NAME}"
        self.token = ""
        self.password = f"pw-{suffix}"
        self.session: aiohttp.ClientSession | None = None
        self._url = server.url

    async def sign_up(self) -> None:
        """Make the account, give it a name and a picture."""
        body = {"username": self.id[1:].partition(":")[0], "password": self.password}
        answer = await self.call("POST", "v3/register", body | {"auth": {"type": "m.login.dummy"}})
        self.token = answer["access_token"]
        await self.call("PUT", f"v3/profile/{self.id}/displayname", {"displayname": self.name})
        mxc = await self.upload("me.png", TINY_PNG, "image/png")
        await self.call("PUT", f"v3/profile/{self.id}/avatar_url", {"avatar_url": mxc})

    async def call(self, method: str, path: str, body: Any = None, **query: str) -> Any:
        """A request to ``/_matrix/client/<path>``; raises MatrixError."""
        return await self._request(method, f"/_matrix/client/{path}", query, json=body)

    async def upload(self, name: str, data: bytes, mime: str) -> str:
        """Upload a file; its ``mxc://`` address."""
        query = {"filename": name}
        headers = {"Content-Type": mime}
        answer = await self._request("POST", "/_matrix/media/v3/upload", query, data=data, headers=headers)
        return str(answer["content_uri"])

    async def download(self, mxc: str) -> bytes:
        """The bytes of a file."""
        assert self.session is not None
        url = f"{self._url}/_matrix/client/v1/media/download/{mxc.removeprefix('mxc://')}"
        async with self.session.get(url, headers=self._headers()) as response:
            assert response.status == 200, await response.text()
            return await response.read()

    async def send(self, room: str, content: dict[str, Any], kind: str = "m.room.message") -> str:
        """Send an event; its id."""
        path = f"v3/rooms/{room}/send/{kind}/{secrets.token_hex(8)}"
        return str((await self.call("PUT", path, content))["event_id"])

    async def state(self, room: str, kind: str, content: dict[str, Any], key: str = "") -> str:
        """Set a state of the room; the event's id."""
        return str((await self.call("PUT", f"v3/rooms/{room}/state/{kind}/{key}", content))["event_id"])

    async def events(self, room: str) -> list[dict[str, Any]]:
        """All events of the room that this person may see, oldest first."""
        found: list[dict[str, Any]] = []
        token: dict[str, str] = {}
        while True:
            page = await self.call("GET", f"v3/rooms/{room}/messages", dir="f", limit="500", **token)
            found += page["chunk"]
            if not page.get("end") or not page["chunk"]:
                return found
            token = {"from": page["end"]}

    async def members(self, room: str) -> dict[str, dict[str, Any]]:
        """Who is in the room: user id → ``display_name`` and ``avatar_url``."""
        return dict((await self.call("GET", f"v3/rooms/{room}/joined_members"))["joined"])

    def _headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token}"} if self.token else {}

    async def _request(self, method: str, path: str, query: dict[str, str], **options: Any) -> Any:
        assert self.session is not None
        headers = options.pop("headers", {}) | self._headers()
        if options.get("json") is None:
            options.pop("json", None)
        url = URL(f"{self._url}{path}").with_query(query)
        async with self.session.request(method, url, headers=headers, **options) as response:
            answer = await response.json()
            if response.status != 200:
                raise MatrixError(response.status, answer)
            return answer

"""A real identity provider that tests start and stop: Canaille, with people and their groups in it.

It runs in a process and with dependencies of its own (identity_app.py), on a port of the loopback.
"""

from __future__ import annotations

import json
import socket
import subprocess
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.error import URLError
from urllib.request import urlopen

START_TIMEOUT_S = 60.0
CLIENT_ID, CLIENT_SECRET = "bridgebot-client", "canary:of the+client%secret"
PASSWORD = "correct horse battery staple"
PYTHON = Path(__file__).parents[2] / ".venv-canaille" / "bin" / "python"
APP = Path(__file__).with_name("identity_app.py")


@dataclass(frozen=True)
class Somebody:
    """A person of the company."""

    login: str
    name: str
    groups: tuple[str, ...] = ()


@dataclass
class Identity:
    """The provider. ``redirect_uri`` is the bridge's."""

    folder: Path
    redirect_uri: str
    people: list[Somebody] = field(default_factory=list)
    port: int = 0
    _process: subprocess.Popen[bytes] | None = None

    @property
    def issuer(self) -> str:
        """What it calls itself."""
        return f"http://localhost:{self.port}"

    def __enter__(self) -> Self:
        """Start it; return when it answers."""
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = int(probe.getsockname()[1])
        wanted = {
            "port": self.port,
            "redirect_uri": self.redirect_uri,
            "client": [CLIENT_ID, CLIENT_SECRET],
            "password": PASSWORD,
            "people": [asdict(one) for one in self.people],
        }
        self.folder.mkdir(parents=True, exist_ok=True)
        with open(self.folder / "out.log", "wb") as log:
            self._process = subprocess.Popen(
                [PYTHON, "-W", "ignore", APP, json.dumps(wanted)],
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        deadline_s = time.monotonic() + START_TIMEOUT_S
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline_s:
                self.stop()
                raise RuntimeError(f"Canaille did not start:\n{(self.folder / 'out.log').read_text()[-3000:]}")
            time.sleep(0.05)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self.stop()

    def stop(self) -> None:
        """End it."""
        if self._process:
            self._process.kill()
            self._process.wait()

    def _answers(self) -> bool:
        try:
            with urlopen(f"{self.issuer}/.well-known/openid-configuration", timeout=5) as answer:  # noqa: S310
                return bool(answer.status == 200)
        except (URLError, OSError):
            return False

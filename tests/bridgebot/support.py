"""``bridgebot`` as its users start it: a process of its own, in an environment of its own."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parents[2]
PATIENCE_S = 30.0
KEY = "0123456789abcdef" * 4


def environment(home: Path, **more: str) -> dict[str, str]:
    """Nothing of this machine's settings; a home that is empty."""
    return {"PATH": os.environ["PATH"], "HOME": str(home), "PYTHONWARNINGS": "default", **more}


def free_port() -> int:
    """A port of the loopback that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def call(home: Path, *words: str, env: Mapping[str, str] = {}, text: str = "") -> subprocess.CompletedProcess[str]:
    """Run ``bridgebot`` with ``words`` to its end."""
    return subprocess.run(
        [sys.executable, "-m", "bridgebot", *words],
        capture_output=True,
        text=True,
        input=text,
        cwd=ROOT,
        env=environment(home, **env),
        timeout=PATIENCE_S,
        check=False,
    )


class Running:
    """A process that was started and has said that it runs."""

    def __init__(self, process: subprocess.Popen[str], first_line: str, errors: list[str]) -> None:
        self.process = process
        self.first_line = first_line
        self._errors = errors

    @property
    def pid(self) -> int:
        """Its process id."""
        return self.process.pid

    @property
    def url(self) -> str:
        """The address it told to open."""
        found = re.search(r"http://\S+", self.first_line)
        assert found, self.first_line
        return found[0]

    @property
    def log(self) -> str:
        """What it wrote to standard error until now."""
        return "".join(self._errors)

    def end(self, number: signal.Signals) -> int:
        """Send a signal and wait for the end; returns the exit code."""
        self.process.send_signal(number)
        return self.process.wait(PATIENCE_S)


@contextmanager
def started(home: Path, *words: str, env: Mapping[str, str] = {}) -> Iterator[subprocess.Popen[str]]:
    """``bridgebot`` with ``words``, not waited for; ended after the block if it still runs."""
    process = subprocess.Popen(
        [sys.executable, "-m", "bridgebot", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env=environment(home, **env),
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.terminate()
        process.wait(PATIENCE_S)
        for stream in (process.stdout, process.stderr):
            if stream:
                stream.close()


@contextmanager
def running(home: Path, *words: str, env: Mapping[str, str] = {}) -> Iterator[Running]:
    """``bridgebot`` with ``words``, once it says that it runs."""
    with started(home, *words, env=env) as process:
        assert process.stdout
        assert process.stderr
        errors: list[str] = []
        reader = threading.Thread(target=lambda: errors.extend(iter(process.stderr.readline, "")))
        reader.start()
        try:
            yield Running(process, process.stdout.readline(), errors)
        finally:
            if process.poll() is None:
                process.terminate()
            process.wait(PATIENCE_S)
            reader.join()

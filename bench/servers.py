"""The servers that messages travel over: InspIRCd with flood control off, and Redis for roles that run apart."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
from pathlib import Path

from bench.children import Child, ChildEnded, free_port
from core.embedded import server_binaries

START_TIMEOUT_S = 15.0

_CONFIG = """\
<server name="{name}.bench" description="bench" network="{name}">
<admin name="bench" nick="bench" email="bench@localhost">
{binds}
<connect name="everybody" allow="*" timeout="60" pingfreq="600" threshold="1000000" commandrate="1000000" fakelag="no"
         recvq="100000000" softsendq="900000000" hardsendq="1000000000" localmax="5000" globalmax="5000"
         maxchans="5000" useident="no" resolvehostnames="no" useconnectban="no" uniqueusername="no">
<dns server="127.0.0.1" timeout="1">
<options defaultmodes="n" casemapping="ascii" welcomenotice="no">
<performance netbuffersize="65534" somaxconn="1024" softlimit="6000" quietbursts="yes" nouserdns="yes">
<security maxtargets="20">
<pid file="{folder}/pid">
<log method="file" type="* -USERINPUT -USEROUTPUT" level="default" target="{folder}/server.log">
<path configdir="{folder}" datadir="{folder}" logdir="{folder}" runtimedir="{folder}">
<files motd="">
"""
_BIND = '<bind address="127.0.0.1" port="{port}" type="clients">'


def binary(name: str) -> str:
    """Where a server program is. Raises FileNotFoundError that says what to install."""
    found = shutil.which(name) or shutil.which(name, path="/usr/sbin:/usr/bin:/usr/local/bin")
    if found is None:
        raise FileNotFoundError(f"The benchmarks need {name}. Install the package of that name.")
    return found


async def answers(port: int) -> bool:
    """Whether somebody listens on a port of the loopback."""
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    writer.close()
    return True


async def until_up(child: Child, port: int) -> None:
    """Wait until a server listens. Raises ChildEnded, TimeoutError."""
    async with asyncio.timeout(START_TIMEOUT_S):
        while not await answers(port):
            if not child.pid:
                raise ChildEnded(child.last_words())
            await asyncio.sleep(0.01)


class Ircd:
    """An IRC server with two doors: ``port`` for the bridge, ``harness_port`` for the harness.

    The bridge's door can be opened later, so that after a restart the harness is in its channels before
    the bridge is, and nothing that the bridge says goes unseen.
    """

    def __init__(self, name: str, folder: Path) -> None:
        self.name = name
        self.port, self.harness_port = free_port(), free_port()
        self._folder = folder
        self._config = folder / "inspircd.conf"
        argv = [binary("inspircd"), f"--config={self._config}", "--nofork"]
        self._child = Child([*argv, "--runasroot"] if os.geteuid() == 0 else argv, folder / "out.log")

    async def start(self, *, bridge_door: bool = True) -> None:
        """Start it; return when it takes connections."""
        self._folder.mkdir(parents=True, exist_ok=True)
        self._write(bridge_door=bridge_door)
        await self._child.start()
        await until_up(self._child, self.harness_port)

    async def open_bridge_door(self) -> None:
        """Open ``port`` on a server that was started without; return when it takes connections."""
        self._write(bridge_door=True)
        os.kill(self._child.pid, signal.SIGHUP)
        await until_up(self._child, self.port)

    async def kill(self) -> None:
        """End it at once: all connections break and new ones are refused."""
        await self._child.kill()

    async def stop(self) -> None:
        """End it. Harmless when it does not run."""
        await self._child.stop()

    def _write(self, *, bridge_door: bool) -> None:
        ports = [self.harness_port, *([self.port] if bridge_door else [])]
        binds = "\n".join(_BIND.format(port=port) for port in ports)
        self._config.write_text(_CONFIG.format(name=self.name, binds=binds, folder=self._folder))


class RedisServer:
    """A Valkey (or Redis) server with an append-only file, as a site with several processes would run it."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        self._folder = folder
        program = next(iter(server_binaries()), "") or binary("redis-server")
        options = {"port": str(self.port), "bind": "127.0.0.1", "dir": str(folder), "save": "", "appendonly": "yes"}
        options |= {"appendfsync": "everysec", "maxmemory-policy": "noeviction"}
        argv = [program, *(word for name, value in options.items() for word in (f"--{name}", value))]
        self._child = Child(argv, folder / "out.log")

    @property
    def url(self) -> str:
        """What REDIS_URL takes."""
        return f"redis://127.0.0.1:{self.port}/0"

    @property
    def runs(self) -> bool:
        """Whether it runs."""
        return self._child.runs

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._child.pid

    async def start(self) -> None:
        """Start it; return when it takes connections."""
        self._folder.mkdir(parents=True, exist_ok=True)
        await self._child.start()
        await until_up(self._child, self.port)

    async def stop(self) -> None:
        """End it. Harmless when it does not run."""
        await self._child.stop()

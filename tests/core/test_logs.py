"""Logs: no way of writing a secret gets it through, no value can forge a line. And the operator's figures."""

from __future__ import annotations

import io
import json
import logging
import subprocess
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog

from core.logs import HIDDEN, Redactor, configure, traceback_text
from core.metrics import Metrics

CANARY = 'canary/47+11 "s\\ecrét'


@pytest.fixture(params=["console", "json"])
def written(request: pytest.FixtureRequest) -> Iterator[io.StringIO]:
    """What is logged, in either style; the logging of the tests themselves is as before afterwards."""
    stream = io.StringIO()
    root = logging.getLogger()
    before, level, hook = root.handlers[:], root.level, sys.excepthook
    configure("DEBUG", request.param, Redactor([CANARY]), stream)
    yield stream
    structlog.contextvars.clear_contextvars()
    structlog.reset_defaults()
    logging.captureWarnings(False)
    root.handlers[:], sys.excepthook = before, hook
    root.setLevel(level)


def fail_with(secret: str) -> None:
    """Raise an error that holds the secret, from one that does."""
    try:
        raise KeyError(secret)
    except KeyError as error:
        raise ValueError(f"cannot use {secret!r}") from error


def looks_clean(text: str) -> bool:
    """No readable part of the canary is there."""
    return not any(part in text for part in ("canary", "47+11", "47%2B11", "ecrét", "ecr\\"))


def test_no_way_of_logging_lets_a_secret_through(written: io.StringIO) -> None:
    """Arguments, fields, context, exceptions with causes, tracebacks, warnings, uncaught errors, any logger."""
    log = structlog.get_logger()
    structlog.contextvars.bind_contextvars(room=CANARY)
    log.info(f"event {CANARY}", token=CANARY, nested={"a": [CANARY, CANARY.encode()]}, made=("x", CANARY))
    logging.getLogger("some.library").error("%s and %r", CANARY, {"k": CANARY})
    try:
        fail_with(CANARY)
    except ValueError as raised:
        log.exception("failed")
        logging.getLogger("x").exception("failed: %s", raised)
        error = raised
    sys.excepthook(ValueError, error, error.__traceback__)
    assert looks_clean(traceback_text(error, Redactor([CANARY])))
    logging.getLogger("py.warnings").warning("%s", warnings.formatwarning(f"old {CANARY}", UserWarning, "f.py", 1))
    text = written.getvalue()
    assert text.count(HIDDEN) >= 12
    assert "ValueError" in text
    assert looks_clean(text), text


@pytest.mark.parametrize(
    "line",
    [
        "redis://:CANARY-x1@host:6379/0",
        "connecting to rediss://user:CANARY-x1@host/0 failed",
        "redis+sentinel://u:CANARY-x1@a:1,b:2/m",
        "GET https://api.example/bot123456:CANARY-x1_abc/getUpdates",
        "GET /p/CANARY-x1.abc.def?x=1",
        "https://bridge.example/manage/CANARY-x1",
        "POST /bots/web/ws/CANARY-x1/say",
        "{'Authorization': 'Bearer CANARY-x1'}",
        "{'authorization': b'Basic CANARY-x1=='}",
        'headers: {"Authorization": "CANARY-x1"}',
        "Proxy-Authorization: Digest CANARY-x1",
        "sent Bearer CANARY-x1.eyJ",
        "sent: AUTHENTICATE CANARY-x1",
        "sent: PASS :CANARY-x1",
        "Config(nick='b', sasl_password='CANARY-x1', password=\"CANARY-x1\")",
        "https://h/cb?access_token=CANARY-x1&state=2",
        '{"client_secret": "CANARY-x1"}',
        "SECRET_KEY=CANARY-x1",
        "Cookie: CANARY-x1",
    ],
)
def test_what_looks_like_a_secret_is_hidden(line: str) -> None:
    """A secret nobody registered is recognised by where it stands."""
    shown = Redactor()(line)
    assert "CANARY" not in shown, shown
    assert HIDDEN in shown


@pytest.mark.parametrize(
    "line",
    [
        "POST /p/{token}/code 200 12 bytes 0.012 s",
        "connected to redis://localhost:6379/0",
        "account irc-libera is online, 3 rooms, 12:30:01",
        "passed 12 of 12 checks; 5 tokens were made; a basic test",
    ],
)
def test_what_is_no_secret_stays(line: str) -> None:
    """Redaction leaves ordinary lines as they are."""
    assert Redactor()(line) == line


def test_quoted_forms_are_known() -> None:
    """JSON, Python and URLs quote a secret differently; none of it is shown. Very short ones are not looked for."""
    redactor = Redactor(["", "abc"])
    assert redactor("abc") == "abc"
    redactor.add(CANARY)
    for quoted in (json.dumps(CANARY), repr(CANARY), ascii(CANARY), repr(CANARY.encode()), "canary%2F47%2B11%20%22"):
        assert looks_clean(redactor(quoted)) or quoted.startswith("canary%")
    redactor.add_url("redis://u:pass-in-url@h")
    assert "pass-in-url" not in redactor("pass-in-url")


def test_no_value_forges_a_line_or_steers_a_terminal(written: io.StringIO) -> None:
    """Line breaks and control characters of a name are shown as what they are."""
    structlog.get_logger().warning("said", name="a\n12:00:00 info  all is well\x1b[2J\r\u202e")
    assert written.getvalue().count("\n") == 1
    assert not set("\x1b\r") & set(written.getvalue())


def test_json_lines_are_json(written: io.StringIO) -> None:
    """Each line is one object with time, level, event and fields (in the style that promises it)."""
    structlog.get_logger().info("hello", room="irc/#a", count=3)
    line = written.getvalue()
    if line.startswith("{"):
        record = json.loads(line)
        assert (record["event"], record["level"], record["room"], record["count"]) == ("hello", "info", "irc/#a", 3)
        assert record["at"].endswith("Z")
    else:
        assert line.rstrip().endswith("info    hello  room=irc/#a  count=3")


def test_levels_hold_for_all_loggers() -> None:
    """At INFO no debug line, no access line and no chatter of libraries comes out. Colours are never loaded."""
    code = """
import logging, sys, structlog
from core.logs import Redactor, configure
assert "rich" not in sys.modules
configure("INFO", "console", Redactor(), sys.stdout)
import rich
structlog.get_logger().debug("no1")
logging.getLogger("bridgebot.access").info("no2")
logging.getLogger("asyncio").info("no3")
logging.getLogger("bridgebot.portal").info("yes")
raise RuntimeError("PASS hunter22")
"""
    code = code.replace("import logging, sys, structlog", "import logging, sys").replace(
        "import rich", "import structlog, rich"
    )
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=root, check=False)
    assert done.returncode == 1
    assert "yes" in done.stdout
    assert "RuntimeError: PASS [hidden]" in done.stdout
    assert "no" not in done.stdout.replace("known", "").split("critical")[0]
    assert done.stderr == ""


def test_the_figures_are_prometheus_text() -> None:
    """Counts, gauges and latencies per account; a forgotten account keeps its counts only."""
    metrics = Metrics()
    metrics.accepted("a", 3)
    metrics.delivered("a", [0, 1, 2, 30, 5_000_000])
    metrics.dead("a")
    metrics.duplicates("a", 2)
    metrics.waiting("a", 7)
    metrics.under_way("a", 2)
    metrics.online("a", True)
    metrics.online("b", False)
    metrics.store_error()
    text = metrics.text().decode()
    for line in (
        'bridgebot_accepted_total{account="a"} 3.0',
        'bridgebot_delivered_total{account="a"} 5.0',
        'bridgebot_dead_total{account="a"} 1.0',
        'bridgebot_duplicates_total{account="a"} 2.0',
        'bridgebot_waiting{account="a"} 7.0',
        'bridgebot_under_way{account="a"} 2.0',
        'bridgebot_online{account="b"} 0.0',
        "bridgebot_store_errors_total 1.0",
        'bridgebot_latency_seconds_bucket{account="a",le="0.001"} 2.0',
        'bridgebot_latency_seconds_bucket{account="a",le="0.05"} 4.0',
        'bridgebot_latency_seconds_bucket{account="a",le="+Inf"} 5.0',
        'bridgebot_latency_seconds_count{account="a"} 5.0',
        'bridgebot_latency_seconds_sum{account="a"} 5000.033',
    ):
        assert line in text.splitlines(), line
    metrics.forget("a")
    after = metrics.text().decode()
    assert 'bridgebot_online{account="a"}' not in after
    assert 'bridgebot_accepted_total{account="a"} 3.0' in after

"""Logging: what is written, how, and above all what never is.

Every line passes one redactor as the last thing before it is written, whatever made it: our own log calls,
a library's, a warning, a traceback. It takes out secrets it was told of, in every form in which they are
usually quoted, and whatever has the looks of a secret (passwords in URLs, authorization headers, tokens in
paths). Nothing is logged per message above DEBUG.
"""

from __future__ import annotations

import json
import logging
import re
import sys
import traceback
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Literal, TextIO
from urllib.parse import quote, quote_plus, urlsplit

HIDDEN = "[hidden]"
MIN_SECRET_CHARS = 4
"""Shorter secrets are not looked for: they would turn up everywhere."""
_QUIET = ("asyncio", "aiohttp", "redis")
"""Libraries that say too much below WARNING."""
_ACCESS = "bridgebot.access"
"""The web server's access log: a line per request, and so shown only at DEBUG."""

_LOOKS = re.compile(
    r"""
      (?P<url> ://[^\s/@:"']* : ) [^\s/"']+ (?= @ )                       # a password in a URL
    | (?P<bot> /bot ) \d+ : [\w-]+                                        # a bot's token in a path
    | (?P<path> / (?: p | manage | map | f | try | bots/[a-z0-9-]+ ) / ) (?! \{ ) [^\s"'<>?#,)]+ # our own links
    | (?P<header> \b (?: proxy- )? authorization ["']? \s* [:=,] \s* [bB]? ["']? ) (?! \[hidden ) [^"'\r\n,})]+
    | (?P<scheme> \b (?: bearer | basic ) \s+ ) [\w.~+/=-]{6,}
    | (?P<irc> \b (?-i: AUTHENTICATE | PASS ) \s+ :? ) [^\s"']+            # what protocols in lines of text send
    | (?P<named> \b (?: \w* password | passwd | pass | sasl \w* | \w* secret | secret_key | \w* token | api_?key
        | cookie ) ["']? (?: \s* [:=] \s* | =3D ) [bB]? ["']? ) (?! \[hidden ) [^\s"',;&)}\]]+
    """,
    re.VERBOSE | re.IGNORECASE,
)


class Redactor:
    """Takes secrets out of a text. ``add`` what must never be seen."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        self._forms: set[str] = set()
        self._known: re.Pattern[str] | None = None
        for secret in secrets:
            self.add(secret)

    def add(self, secret: str) -> None:
        """Never show ``secret`` again: neither as it is nor quoted as JSON, Python or URLs quote it."""
        if len(secret) < MIN_SECRET_CHARS:
            return
        quoted = {
            secret,
            repr(secret)[1:-1],
            ascii(secret)[1:-1],
            repr(secret.encode())[2:-1],
            quote(secret, safe=""),
            quote(secret),
            quote_plus(secret),
        }
        # A value that was quoted by Python is quoted once more by JSON.
        for in_json in (True, False):
            quoted |= {json.dumps(form, ensure_ascii=in_json)[1:-1] for form in quoted}
        self._forms |= quoted
        longest_first = sorted(self._forms, key=len, reverse=True)
        self._known = re.compile("|".join(map(re.escape, longest_first)))

    def add_url(self, url: str) -> None:
        """Never show the password of ``url``."""
        if password := urlsplit(url).password:
            self.add(password)

    def __call__(self, text: str) -> str:
        """``text`` without secrets."""
        if self._known is not None:
            text = self._known.sub(HIDDEN, text)
        return _LOOKS.sub(_keep_label, text)


def _keep_label(match: re.Match[str]) -> str:
    return match.group(match.lastgroup or 0) + HIDDEN


@contextmanager
def _without_rich() -> Iterator[None]:
    """structlog imports rich when there is one: 5 MiB and 0.1 s for coloured tracebacks that we do not print."""
    if "rich" in sys.modules:
        yield
        return
    sys.modules["rich"] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        del sys.modules["rich"]


with _without_rich():
    import structlog

_ESCAPES = {code: f"\\x{code:02x}" for code in (*range(32), *range(127, 160)) if chr(code) not in "\n\t"}
_IN_VALUES = _ESCAPES | {ord("\n"): "\\n"} | {code: f"\\u{code:04x}" for code in (0x2028, 0x2029, 0x202E, 0x2066)}


def _console(_: Any, __: str, event: dict[str, Any]) -> str:
    """``12:00:01 warning  store is slow  room=irc/#garden``. No value can start a line or steer a terminal."""
    at, level = event.pop("at"), event.pop("level")
    trace = event.pop("exception", "")
    said = str(event.pop("event")).translate(_IN_VALUES)
    values = "".join(f"  {name}={str(value).translate(_IN_VALUES)}" for name, value in event.items())
    return f"{at} {level:<7} {said}{values}" + ("\n" + trace.translate(_ESCAPES) if trace else "")


def _json(_: Any, __: str, event: dict[str, Any]) -> str:
    return json.dumps(event, default=str, ensure_ascii=False)


class _RedactingFormatter(structlog.stdlib.ProcessorFormatter):
    """Renders a record, and then takes the secrets out of all of it."""

    def __init__(self, redactor: Redactor, **options: Any) -> None:
        super().__init__(**options)
        self._redactor = redactor

    def format(self, record: logging.LogRecord) -> str:
        return self._redactor(super().format(record))


def configure(
    level: str, style: Literal["console", "json"], redactor: Redactor, stream: TextIO | None = None
) -> logging.Handler:
    """Send all logging of this process through ``redactor`` to ``stream`` (stderr). Returns the handler.

    Call once, before the first line is logged. Uncaught exceptions are logged too.
    """
    stamp = structlog.processors.TimeStamper(
        fmt="%H:%M:%S" if style == "console" else "iso", utc=style == "json", key="at"
    )
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        stamp,
        structlog.processors.format_exc_info,
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(stream or sys.stderr)
    render = _console if style == "console" else _json
    drop_meta = structlog.stdlib.ProcessorFormatter.remove_processors_meta
    handler.setFormatter(_RedactingFormatter(redactor, foreign_pre_chain=shared, processors=[drop_meta, render]))
    logging.basicConfig(level=level, handlers=[handler], force=True)
    for name in _QUIET:
        logging.getLogger(name).setLevel(max(logging.WARNING, logging.getLevelNamesMapping()[level]))
    logging.getLogger(_ACCESS).setLevel(logging.INFO if level == "DEBUG" else logging.WARNING)
    logging.captureWarnings(True)
    sys.excepthook = _log_uncaught
    return handler


def _log_uncaught(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    if issubclass(kind, KeyboardInterrupt):
        sys.__excepthook__(kind, error, trace)
        return
    logging.getLogger("bridgebot").critical("stopped by an error of our own", exc_info=(kind, error, trace))


def traceback_text(error: BaseException, redactor: Redactor) -> str:
    """The traceback of ``error``, fit to be shown."""
    return redactor("".join(traceback.format_exception(error)))
